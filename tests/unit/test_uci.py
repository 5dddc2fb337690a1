"""Codes of uplink control information: against loops over the text of TS 38.212, closed forms, and Sionna."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from tolerances import SIGMAS, assert_mean

from simulator.core.errors import ConfigError
from simulator.nr import crc, polar, short_block, uci

# TS 38.212, Table 5.3.3.3-1: row i as the binary number M_(i,0) .. M_(i,10).
BASIS = [
    1537, 1795, 1175, 1413, 1929, 1629, 1367, 1229, 1739, 1491, 1339, 1845, 1199, 1707, 1129, 1659,
    1906, 1252, 1784, 1072, 1297, 1667, 1101, 1863, 2014, 1593, 1446, 1966, 1396, 1532, 2047, 1024,
]  # fmt: skip


def noisy(code, bits, snr_db, rng):
    """LLR of coded bits with this Es/N0 of a QPSK symbol."""
    amplitude = np.sqrt(10 ** (snr_db / 10))
    y = amplitude * (1.0 - 2 * code.encode(bits)) + rng.standard_normal((len(bits), code.length))
    return (2 * amplitude * y).astype(np.float32)


def random_bits(rng, count, num_bits):
    return rng.integers(0, 2, (count, num_bits), dtype=np.uint8)


class TestShortBlocks:
    def test_generator_is_the_table(self):
        table = np.array([[row >> (10 - k) & 1 for k in range(11)] for row in BASIS])
        for num_bits in range(3, 12):
            np.testing.assert_array_equal(short_block.generator(num_bits), table[:, :num_bits].T)
        # The first six columns span the first-order Reed-Muller code: a constant and every affine function once.
        assert table[:, 0].all() and len({tuple(row) for row in table[:, 1:6]}) == 32

    @pytest.mark.parametrize(("num_bits", "distance"), [(3, 16), (6, 16), (7, 12), (10, 12), (11, 10)])
    def test_minimum_distance_by_brute_force(self, num_bits, distance):
        words = np.array([[m >> k & 1 for k in range(num_bits)] for m in range(1, 2**num_bits)], np.uint8)
        assert short_block.encode(words, 32).sum(axis=1).min() == distance

    @pytest.mark.statistical
    @pytest.mark.parametrize(("length", "snr_db"), [(7, -3.0), (40, -10.0)])
    def test_one_bit_is_repeated(self, rng, length, snr_db):
        """Q(sqrt(E snr))."""
        code, bits = uci.UciCode(1, length), random_bits(rng, 20_000, 1)
        errors = (code.decode(noisy(code, bits, snr_db, rng))[0] != bits).any(axis=1)
        assert_mean(errors, norm.sf(np.sqrt(length * 10 ** (snr_db / 10))))

    @pytest.mark.statistical
    @pytest.mark.parametrize(("length", "snr_db"), [(32, -5.0), (64, -7.0), (96, -11.0)])
    def test_six_bits_are_biorthogonal(self, rng, length, snr_db):
        """Exact word error rate of 64 biorthogonal signals (Proakis, Digital Communications, Eq. 5-2-31)."""
        code, bits = uci.UciCode(6, length), random_bits(rng, 20_000, 6)
        errors = (code.decode(noisy(code, bits, snr_db, rng))[0] != bits).any(axis=1)
        a = np.sqrt(length * 10 ** (snr_db / 10))
        right, _ = quad(lambda v: (1 - 2 * norm.sf(v + a)) ** 31 * norm.pdf(v), -a, 12)
        assert_mean(errors, 1 - right)

    @pytest.mark.long
    @pytest.mark.statistical
    def test_eleven_bits_below_the_union_bound(self, rng):
        """Where errors are rare the bound over all distances is nearly met."""
        code, bits = uci.UciCode(11, 32), random_bits(rng, 100_000, 11)
        snr = 10 ** (2.5 / 10)
        words = np.array([[m >> k & 1 for k in range(11)] for m in range(1, 2048)], np.uint8)
        bound = norm.sf(np.sqrt(snr * code.encode(words).sum(axis=1))).sum()
        rate = np.mean((code.decode(noisy(code, bits, 2.5, rng))[0] != bits).any(axis=1))
        assert 0.6 * bound < rate < bound + SIGMAS * np.sqrt(bound / 100_000), (rate, bound)

    def test_threshold_tells_noise_from_words(self, rng):
        code, bits = uci.UciCode(8, 64), random_bits(rng, 2000, 8)
        assert code.decode(noisy(code, bits, -100, rng), 0.6)[1].mean() < 0.02
        assert code.decode(noisy(code, bits, 5, rng), 0.6)[1].all()
        assert code.decode(noisy(code, bits, -100, rng))[1].all()


class TestCrc:
    @pytest.mark.parametrize("degree", [6, 11])
    @pytest.mark.parametrize("num_bits", [1, 5, 12, 700])
    def test_against_long_division(self, rng, degree, num_bits):
        bits = random_bits(rng, 20, num_bits)
        divisor = [int(degree - k in crc.POLYNOMIALS[degree]) for k in range(degree + 1)]
        for row, sent in zip(bits, crc.attach(bits, degree), strict=True):
            register = [*row.tolist(), *[0] * degree]
            for k in range(num_bits):
                if register[k]:
                    register[k : k + degree + 1] = [
                        a ^ b for a, b in zip(register[k : k + degree + 1], divisor, strict=True)
                    ]
            assert sent.tolist() == [*row.tolist(), *register[num_bits:]]
        assert crc.check(crc.attach(bits, degree), degree).all()

    def test_every_short_burst_is_found(self, rng):
        word = crc.attach(random_bits(rng, 1, 40), 11)
        for start in range(51 - 11):
            for burst in (1, 3, 0x555, 0x7FF):
                wrong = word.copy()
                wrong[0, start : start + 11] ^= np.array([burst >> k & 1 for k in range(11)], np.uint8)
                assert not crc.check(wrong, 11)[0]

    def test_polynomials_are_those_of_sionna(self, rng):
        from sionna.phy.fec.crc import CRCEncoder

        bits = random_bits(rng, 10, 60)
        for degree in (6, 11):
            theirs = CRCEncoder(f"CRC{degree}")(bits.astype(np.float32)).numpy()
            np.testing.assert_array_equal(crc.attach(bits, degree), theirs)


def reference_polar(bits, length):
    """One block of bits with CRC to coded bits, as TS 38.212, 5.3.1 and 5.4.1 write it down."""
    from sionna.phy.fec.polar.utils import generate_5g_ranking

    k, e = len(bits), length
    n1 = math.ceil(math.log2(e))
    if e <= (9 / 8) * 2 ** (math.ceil(math.log2(e)) - 1) and k / e < 9 / 16:
        n1 = math.ceil(math.log2(e)) - 1
    n = 2 ** max(min(n1, math.ceil(math.log2(k / (1 / 8))), 10), 5)
    p = [0, 1, 2, 4, 3, 5, 6, 7, 8, 16, 9, 17, 10, 18, 11, 19, 12, 20, 13, 21, 14, 22, 15, 23, 24, 25, 26, 28, 27, 29,
         30, 31]  # fmt: skip
    j = [p[32 * m // n] * (n // 32) + m % (n // 32) for m in range(n)]
    frozen = set()
    if e < n:
        if k / e <= 7 / 16:
            frozen |= {j[m] for m in range(n - e)}
            last = math.ceil(3 * n / 4 - e / 2) if e >= 3 * n / 4 else math.ceil(9 * n / 16 - e / 4)
            frozen |= set(range(last))
        else:
            frozen |= {j[m] for m in range(e, n)}
    n_pc = 3 if 18 <= k <= 25 else 0
    n_wm = 1 if n_pc and e - k + 3 > 192 else 0
    ranking = [int(q) for q in generate_5g_ranking(0, n, sort=False)[0]]
    info = [q for q in ranking if q not in frozen][-(k + n_pc) :]
    pc = set(info[: n_pc - n_wm])
    if n_wm:
        candidates = info[n_pc:]
        least = min(bin(q).count("1") for q in candidates)
        pc.add([q for q in candidates if bin(q).count("1") == least][-1])
    u, y, used = [], [0] * 5, 0
    for m in range(n):
        y = [*y[1:], y[0]]
        if m not in set(info):
            u.append(0)
        elif m in pc:
            u.append(y[0])
        else:
            u.append(int(bits[used]))
            used += 1
            y[0] ^= u[-1]
    g = np.array([[1]])
    while len(g) < n:
        g = np.kron(g, [[1, 0], [1, 1]])
    d = np.array(u) @ g % 2
    y = [d[j[m]] for m in range(n)]
    if e >= n:
        out = [y[m % n] for m in range(e)]
    else:
        out = [y[m + n - e] if k / e <= 7 / 16 else y[m] for m in range(e)]
    t = next(t for t in range(1, e + 2) if t * (t + 1) // 2 >= e)
    grid, m = {}, 0
    for row in range(t):
        for column in range(t - row):
            if m < e:
                grid[row, column] = out[m]
            m += 1
    return [grid[row, column] for column in range(t) for row in range(t - column) if (row, column) in grid]


@pytest.mark.parametrize(
    ("num_bits", "length"),
    [(12, 22), (12, 64), (15, 215), (19, 220), (19, 300), (20, 31), (25, 96), (50, 192), (40, 60), (100, 700),
     (64, 2100), (31, 95), (31, 96), (359, 1086), (12, 1500), (300, 640)],
)  # fmt: skip
def test_polar_encoder_against_the_text(rng, num_bits, length):
    bits = random_bits(rng, 2, num_bits)
    degree = uci.crc_bits(num_bits)
    coded = uci.UciCode(num_bits, length).encode(bits)
    for row, found in zip(crc.attach(bits, degree), coded, strict=True):
        np.testing.assert_array_equal(found, reference_polar(row, length))


@pytest.mark.parametrize("num_bits", [20, 150, 400, 1000])
@pytest.mark.parametrize("rate", [0.1, 0.4, 0.47, 0.9])
def test_polar_encoder_against_sionna(rng, num_bits, rate):
    from sionna.phy.fec.polar import Polar5GEncoder

    length = math.ceil((num_bits + 11) / rate)
    if length > 1087:  # Sionna has one block
        length = 1087 if num_bits < 1000 else 1024
    bits = random_bits(rng, 8, num_bits)
    theirs = Polar5GEncoder(num_bits, length)(bits.astype(np.float32)).numpy()
    np.testing.assert_array_equal(uci.UciCode(num_bits, length).encode(bits), theirs)


SIZES = [1, 2, 3, 7, 11, 12, 13, 19, 20, 21, 63, 200, 359, 360, 361, 700, 1012, 1013, 1014, 1705, 1706]


@pytest.mark.parametrize("num_bits", SIZES)
@pytest.mark.parametrize("rate", [0.97, 0.5, 0.2])
def test_noise_free_round_trip(rng, num_bits, rate):
    shortest = uci.shortest_length(num_bits, 1)
    length = min(max(shortest, math.ceil((num_bits + uci.crc_bits(num_bits)) / rate)), uci.MAX_LENGTH)
    for list_size in (1, 4):
        code, bits = uci.UciCode(num_bits, length, list_size), random_bits(rng, 3, num_bits)
        coded = code.encode(bits)
        assert coded.shape == (3, length) and coded.max() <= 1
        back, good = code.decode(1 - 2 * coded.astype(np.float32))
        if num_bits > 11 or length >= 32:  # shorter words of the block code are not unique
            np.testing.assert_array_equal(back, bits)
        assert good.all()


@pytest.mark.parametrize("num_bits", SIZES)
def test_shortest_length_and_capacity_are_inverse(num_bits):
    length = uci.shortest_length(num_bits, 1)
    assert uci.admits(num_bits, length) and not uci.admits(num_bits, length - 1)
    assert num_bits <= uci.capacity(length) and uci.capacity(length - 1) < num_bits
    assert uci.num_blocks(num_bits, 1088) == (2 if num_bits >= 360 else 1)
    with pytest.raises(ConfigError, match=r"^uci\.num_bits: got \d+; allowed: 1\.\.\d+ in \d+ coded bits"):
        uci.UciCode(num_bits, length - 1)


def test_capacity_grows_with_the_length():
    rooms = [uci.capacity(e) for e in range(1, 2000)]
    assert (np.diff(rooms) >= 0).all() and max(rooms) == 1706
    for length in (25, 40, 500, 1050, 1100, 1800):
        assert all(uci.admits(a, length) for a in range(1, uci.capacity(length) + 1))


@pytest.mark.long
@pytest.mark.statistical
def test_block_errors_as_those_of_sionna(rng):
    """The same LLRs through Sionna's list decoder (exact boxplus; here: min-sum)."""
    num_bits, length, snr_db = 20, 60, 1.0
    from sionna.phy.fec.polar import Polar5GDecoder, Polar5GEncoder

    code, bits = uci.UciCode(num_bits, length), random_bits(rng, 250, num_bits)
    llr = noisy(code, bits, snr_db, rng)
    ours, good = code.decode(llr)
    wrong = (ours != bits).any(axis=1)
    decoder = Polar5GDecoder(Polar5GEncoder(num_bits, length), "SCL", list_size=8, return_crc_status=True)
    theirs, passed = decoder(-llr)  # Sionna's sign
    theirs_wrong = (theirs.numpy() != bits).any(axis=1)
    assert 0.02 < theirs_wrong.mean() < 0.3
    only_one = wrong != theirs_wrong  # paired: the difference comes from these alone
    assert abs(wrong.sum() - theirs_wrong.sum()) < 3 + SIGMAS * np.sqrt(only_one.sum())
    assert only_one.mean() < 0.03 and np.mean(good != passed.numpy().reshape(-1)) < 0.03


@pytest.mark.parametrize(("num_bits", "length"), [(12, 64), (19, 64), (15, 215), (19, 300)])
def test_every_word_of_a_list_keeps_the_parity_bits(rng, num_bits, length):
    code = uci.UciCode(num_bits, length)._polar
    words, metric = code._decoder(rng.standard_normal((50, code.size)).astype(np.float32))
    assert (np.diff(metric, axis=1) >= 0).all() and words.shape == (50, 8, code.size)
    assert not words[..., code.frozen].any() and len({row.tobytes() for row in words[0]}) == 8
    for index in np.flatnonzero(code.parity):
        before = [m for m in code.info if m < index and m % 5 == index % 5]
        np.testing.assert_array_equal(words[..., index], words[..., before].sum(axis=-1) % 2)
        assert words[..., index].any() or not before


@pytest.mark.long
@pytest.mark.statistical
@pytest.mark.parametrize(("num_bits", "list_size"), [(12, 1), (12, 4), (25, 8)])
def test_false_alarms_of_the_crc(rng, num_bits, list_size):
    """Noise alone: each of the L words of a list passes with probability 2^-CRC."""
    code = uci.UciCode(num_bits, 64, list_size)
    passed = [
        code.decode(rng.standard_normal((1000, 64)).astype(np.float32))[1] for _ in range(5 if num_bits == 12 else 20)
    ]
    assert_mean(np.concatenate(passed), 1 - (1 - 2.0**-code.crc_bits) ** list_size)


def test_larger_lists_are_better(rng):
    bits = random_bits(rng, 500, 60)
    coded = uci.UciCode(60, 160, 1)
    llr = noisy(coded, bits, -0.5, rng)
    rates = [np.mean((uci.UciCode(60, 160, size).decode(llr)[0] != bits).any(axis=1)) for size in (1, 4, 16)]
    assert rates[0] > 1.3 * rates[1] > 1.3 * rates[2]


def test_mother_code_sizes():
    # K, E -> N, by hand from 5.3.1: repetition, rate above 9/16, rate below 1/8, smallest and largest.
    for k, e, n in ((31, 72, 64), (50, 72, 128), (31, 5000, 256), (18, 21, 32), (500, 3000, 1024)):
        assert polar.mother_length(k, e) == n


@pytest.mark.parametrize("num_bits", range(1, 12))
def test_short_codes_tell_all_payloads_apart_where_they_are_admitted(num_bits):
    """Brute force over all words: where two payloads share a codeword, the length is refused."""
    payloads = (np.arange(2**num_bits)[:, None] >> np.arange(num_bits)[::-1] & 1).astype(np.uint8)
    for length in range(1, 40):
        distinct = len(np.unique(short_block.encode(payloads, length), axis=0)) == 2**num_bits
        assert uci.admits(num_bits, length) == distinct
    shortest = uci.shortest_length(num_bits, 1)
    assert uci.UciCode(num_bits, shortest).num_bits == num_bits
    if num_bits == 11:
        assert shortest == 17
        with pytest.raises(ConfigError, match=r"^uci\.num_bits: got 11; allowed: 1\.\.10 in 16 coded bits"):
            uci.UciCode(11, 16)


def test_reliabilities_are_those_of_sionna():
    """Table 5.3.1.2-1 of TS 38.212, typed by two hands, and its rule for shorter codes."""
    from sionna.phy.fec.polar.utils import generate_5g_ranking

    for size in (32, 64, 128, 256, 512, 1024):
        np.testing.assert_array_equal(polar._reliability(size), generate_5g_ranking(0, size, sort=False)[0])
