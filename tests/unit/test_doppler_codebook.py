"""Enhanced Type II for predicted PMI: sizes of TS 38.212, payloads read by hand, Doppler shifts on and off the grid."""

from itertools import pairwise
from math import ceil, comb, log2

import numpy as np
import pytest
from test_pmi_codebooks import dft_beam, gaussian, read

from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.codebooks.etype2_doppler import DopplerCodebook
from receivers.feedback.etype2_doppler import DopplerFeedback
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel

PANEL = Panel(8, 2, 2)
# L, p_v of ranks 1-2 and of ranks 3-4, beta: TS 38.214, Table 5.2.2.2.10-1.
TABLE = {
    1: (2, 1 / 8, 1 / 16, 1 / 4), 2: (2, 1 / 4, 1 / 8, 1 / 2), 3: (4, 1 / 4, 1 / 8, 1 / 4), 4: (4, 1 / 4, 1 / 4, 1 / 4),
    5: (4, 1 / 4, 1 / 4, 1 / 2), 6: (4, 1 / 4, 1 / 4, 3 / 4), 7: (4, 1 / 2, 1 / 4, 1 / 2), 8: (6, 1 / 4, None, 1 / 2),
    9: (6, 1 / 4, None, 3 / 4),
}  # fmt: skip
# Bits of part 2, 32 ports (8, 2), 13 subbands, rank 1, all coefficients, N_4 = 4.
BITS = [60, 166, 202, 202, 315, 428, 534, 462, 631]
# The same of rank 2: i_{1,8} has ceil(log2(2 L Q)) bits a layer, 2 K_0 coefficients, the other fields twice.
BITS_2 = [111, 319, 389, 389, 613, 837, 1049, 905, 1241]


def book_of(combination, intervals=4, rank=1, panel=PANEL, samples=13, unit=1, **more):
    return DopplerCodebook(panel, samples, unit, rank, combination, intervals, max_rank=rank, **more)


def moving(rng, reports, intervals, subcarriers=13, paths=6, rx=1, turns=0.3):
    """Plane waves with delays and Doppler shifts, complex64 ``[report, rx, port, interval, subcarrier]``."""
    shape = reports, paths, 1
    angle, delay, shift = rng.random(shape), 3 * rng.random(shape), turns * (2 * rng.random(shape) - 1)
    beam = np.exp(2j * np.pi * angle * np.arange(8))
    beam = np.einsum("npa,npb->npab", beam, np.exp(2j * np.pi * rng.random(shape) * np.arange(2))).reshape(
        reports, paths, 16
    )
    time = np.exp(2j * np.pi * shift * np.arange(intervals))
    band = np.exp(-2j * np.pi * delay * np.arange(subcarriers) / subcarriers)
    gain = gaussian(rng, reports, rx, paths, 2) * 2.0 ** -np.arange(paths)[:, None]
    h = np.einsum("nrkq,nka,nkt,nkf->nrqatf", gain, beam, time, band, optimize=True)
    return h.reshape(reports, rx, 32, intervals, subcarriers).astype(np.complex64)


def fit(w, h):
    """Mean squared cosine ``[report, interval]`` of ``w [report, port, 1, interval, unit]`` to one antenna."""
    v = h[:, 0].conj()
    v = v / np.linalg.norm(v, axis=1, keepdims=True)
    return np.mean(np.abs(np.einsum("npit,npit->nit", v.conj(), w[:, :, 0])) ** 2, axis=2)


# Sizes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("intervals", "more"), [(2, -2), (4, 0), (8, 1)])
def test_sizes(intervals, more, rng):
    assert [book_of(pc, intervals).part2_bits for pc in TABLE] == [bits + more for bits in BITS]
    assert [book_of(pc, intervals, 2).part2_bits for pc in TABLE] == [bits + 2 * more for bits in BITS_2]
    h = gaussian(rng, 3, 2, 32, intervals, 13)
    for combination in (1, 5, 9):
        book = book_of(combination, intervals)
        assert set(book.pack(book.select(h))[2]) == {book.part2_bits}


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: book_of(3, panel=Panel(2, 1, 2)), r"combination.*3.*1, 2 with 4 ports.*Table 5\.2\.2\.2\.10-1"),
        (lambda: book_of(8, panel=Panel(6, 2, 2)), r"8 with 24 ports.*8 and 9 only with 32 ports.*5\.2\.2\.2\.10-1"),
        (lambda: book_of(9, rank=3), r"combination.*rank 3.*5\.2\.2\.2\.10-1"),
        (lambda: book_of(8, unit=2, two_units=True), r"combination.*R = 2"),
        (lambda: book_of(10), r"combination.*1\.\.9.*5\.2\.2\.2\.10-1"),
        (lambda: book_of(1, 3), r"intervals.*3.*1, 2, 4, 8"),
        (lambda: book_of(1, rank=5), r"rank.*1\.\.4"),
        (lambda: book_of(1, panel=Panel(16, 2, 2)), r"n1.*16x2"),
        (lambda: DopplerFeedback(CsiConfig(PANEL, 1, 12, 1e5, 3), r=2), r"r.*1 with subbands of 3"),
        (lambda: DopplerFeedback(CsiConfig(PANEL, 4, 12, 1e5, 4, 4), combination=8, rank=3), r"rank.*3"),
    ],
)
def test_what_the_tables_do_not_have(build, words):
    with pytest.raises(ConfigError, match=words):
        build()


# Payload -------------------------------------------------------------------------------------------------------------


def random_pmi(book, reports, rng):
    """Legal PMIs of any number of coefficients."""
    pool, (layers, rows, taps) = book.payload, book.payload.shape
    pmi = {
        "group": rng.integers(0, pool.num_groups, reports),
        "beams": np.sort(rng.permuted(np.tile(np.arange(pool.group_size), (reports, 1)), axis=1)[:, : pool.num_beams]),
        "window": rng.integers(0, 2 * taps, reports) if pool.windowed else np.zeros(reports, int),
        "strongest": rng.integers(0, rows, (reports, layers)),
        "reference": rng.integers(1, 16, (reports, layers)),
    }
    taps_of, bitmaps = np.zeros((reports, layers, taps), int), np.zeros((reports, layers, rows, taps), int)
    for n in range(reports):
        units = pool.num_units
        inside = np.arange(units)
        if pool.windowed:
            start = pmi["window"][n] - 2 * taps if pmi["window"][n] else 0
            inside = np.sort(np.arange(start, start + 2 * taps) % units)
        for layer in range(layers):
            others = rng.permutation(inside[inside > 0])[: taps - 1]
            taps_of[n, layer] = np.sort(np.append(others, 0))
            most = min(pool.budget, rows * taps, pool.most // layers)
            where = rng.permutation(rows * taps)[: rng.integers(0, most)]
            bitmaps[n, layer].ravel()[where] = 1
            bitmaps[n, layer, pmi["strongest"][n, layer], 0] = 1
    first = np.zeros_like(bitmaps)
    np.put_along_axis(first[..., 0], pmi["strongest"][..., None], 1, axis=2)
    amplitude = np.where(first, 7, bitmaps * rng.integers(0, 8, bitmaps.shape))
    phase = np.where(first, 0, bitmaps * rng.integers(0, 16, bitmaps.shape))
    if pool.num_dopplers > 1:
        pmi["doppler"] = rng.integers(0, pool.num_intervals - 1, (reports, layers))
    return {**pmi, "taps": taps_of, "bitmap": bitmaps, "amplitude": amplitude, "phase": phase}


def by_hand(part1, part2, panel, units, rank, combination, intervals, two_units=False):
    """Directions ``[port, layer, interval, unit]`` of one report, field by field, as in TS 38.214, 5.2.3."""
    half, low, high, beta = TABLE[combination]
    o1, o2, beams = 4, 4 if panel.n2 > 1 else 1, panel.n1 * panel.n2
    share = units / (2 if two_units else 1)
    taps, most = ceil((low if rank < 3 else high) * share), ceil(2 * beta * half * ceil(low * share) * 2)
    assert len(part1) == ceil(log2(most * min(rank, 2)))
    nonzero = read(part1, [len(part1)])[0][0] + 1
    last, elements = nonzero // 2, rank * 2 * half * taps * 2
    pool = 2 * taps if units > 19 else units
    i18_bits = ceil(log2(nonzero)) if rank == 1 else ceil(log2(4 * half))
    # Group 0: i_{1,1}, i_{1,2}, i_{1,8}.
    head, at = read(part2, [int(log2(o1)), int(log2(o2)), ceil(log2(comb(beams, half)))] + [i18_bits] * rank)
    q1, q2, i12, *i18 = head
    # Group 1: i_{1,5}, i_{1,6}, first part of i_{1,7}, i_{2,3}, first parts of i_{2,4} and i_{2,5}, i_{1,10}.
    tap_bits = ceil(log2(comb(pool - 1, taps - 1)))
    (i15, *i16), used = read(part2[at:], [ceil(log2(2 * taps)) if units > 19 else 0] + [tap_bits] * rank)
    at += used
    n3 = []
    for number in i16:
        chosen, rest = [0], number
        for f in range(1, taps):
            n = next(n for n in range(1, pool) if comb(pool - 1 - n, taps - f) <= rest)
            rest -= comb(pool - 1 - n, taps - f)
            chosen.append(n)
        if units > 19:
            start = 0 if i15 == 0 else i15 - 2 * taps
            chosen = [n if n <= start + 2 * taps - 1 else n + units - 2 * taps for n in chosen]
        n3.append(chosen)
    priority = sorted(
        (2 * half * rank * taps * tau + 2 * half * rank * f + rank * i + layer, layer, i, f, tau)
        for layer in range(rank)
        for i in range(2 * half)
        for f in range(taps)
        for tau in range(2)
    )
    high_bits = part2[at : at + elements - last]
    at += elements - last
    i23, used = read(part2[at:], [4] * rank)
    at += used
    first = max(ceil(nonzero / 2) - rank, 0)
    k_high, used = read(part2[at:], [3] * first)
    at += used
    c_high, used = read(part2[at:], [4] * first)
    at += used
    i110, used = read(part2[at:], [ceil(log2(intervals - 1))] * rank)
    at += used
    # Group 2: the rest of i_{1,7}, i_{2,4}, i_{2,5}.
    low_bits = part2[at : at + last]
    at += last
    k_low, used = read(part2[at:], [3] * (nonzero - rank - first))
    at += used
    c_low, used = read(part2[at:], [4] * (nonzero - rank - first))
    assert at + used == len(part2)
    mapped = [place[1:] for place, bit in zip(priority, [*high_bits, *low_bits], strict=True) if bit]
    assert len(mapped) == nonzero
    values, n_of, rest = iter(zip([*k_high, *k_low], [*c_high, *c_low], strict=True)), [], i12
    for i in range(half):
        n = next(n for n in range(beams) if comb(beams - 1 - n, half - i) <= rest)
        rest -= comb(beams - 1 - n, half - i)
        n_of.append(n)
    star = []
    for layer in range(rank):  # I = 2 L tau + i; of rank 1 its number among the coefficients of tap 0
        places = sorted(2 * half * tau + i for ll, i, f, tau in mapped if ll == layer and f == 0)
        star.append(places[i18[layer]] if rank == 1 else i18[layer])
    w = np.zeros((panel.num_ports, rank, intervals, units), complex)
    for layer, i, f, tau in mapped:
        value = 1.0
        if f > 0 or 2 * half * tau + i != star[layer]:
            k, c = next(values)
            same = i // half == star[layer] % (2 * half) // half
            p1 = 1.0 if same else 2 ** (-(15 - i23[layer]) / 4)
            value = p1 * 2 ** (-(7 - k) / 2) * np.exp(2j * np.pi * c / 16)
        n, n4 = n_of[i % half], (0, i110[layer] + 1)[tau]
        beam = dft_beam(o1 * (n % panel.n1) + q1, o2 * (n // panel.n1) + q2, panel, o1, o2)
        for interval in range(intervals):
            for t in range(units):
                turn = np.exp(2j * np.pi * (t * n3[layer][f] / units + interval * n4 / intervals))
                w[(i // half) * beams : (i // half + 1) * beams, layer, interval, t] += value * turn * beam
    return w


CASES = [
    (PANEL, 1, 5, 4, 13, 1, False),
    (PANEL, 1, 1, 2, 13, 1, False),
    (PANEL, 2, 7, 8, 13, 1, False),
    (PANEL, 2, 9, 4, 13, 1, False),
    (PANEL, 4, 3, 4, 52, 4, False),
    (PANEL, 3, 1, 8, 13, 1, False),
    (Panel(4, 1, 2), 3, 6, 2, 40, 4, False),
    (Panel(6, 2, 2), 2, 5, 4, 52, 2, True),
    (Panel(2, 1, 2), 1, 2, 4, 24, 4, False),
    (Panel(4, 4, 2), 1, 4, 8, 104, 2, True),
    (Panel(4, 2, 2), 3, 7, 4, 13, 1, False),
]


@pytest.mark.parametrize(("panel", "rank", "combination", "intervals", "samples", "unit", "two"), CASES)
def test_payload_read_field_by_field(panel, rank, combination, intervals, samples, unit, two, rng):
    book = book_of(combination, intervals, rank, panel, samples, unit, two_units=two)
    pmi = random_pmi(book, 6, rng)
    w = book.precoder(pmi)
    part1, part2, length = book.pack(pmi)
    for i in range(len(w)):
        sums = by_hand(part1[i], part2[i, : length[i]], panel, book.num_units, rank, combination, intervals, two)
        norm = np.linalg.norm(sums, axis=0)
        seen = norm > 1e-3 * norm.max()  # where all coefficients cancel any direction will do
        expected = sums / np.where(seen, norm, np.inf)
        np.testing.assert_allclose(w[i] * seen, expected, atol=2e-4)


@pytest.mark.parametrize(("rank", "combination", "intervals"), [(1, 4, 4), (2, 2, 8), (4, 1, 2), (1, 3, 1)])
def test_random_pmis_come_back(rank, combination, intervals, rng):
    book = book_of(combination, intervals, rank)
    pmi = random_pmi(book, 2500, rng)
    part1, part2, length = book.pack(pmi)
    assert len(set(length)) > 3 and length.max() <= book.part2_bits
    back, valid = book.unpack(part1, part2, length)
    assert valid.all() and back.keys() == pmi.keys()
    for key, value in pmi.items():
        np.testing.assert_array_equal(back[key], value, err_msg=key)
    assert not book.unpack(part1, part2, length + 1)[1].any()


def test_a_shift_that_does_not_exist_is_no_codeword(rng):
    """With N_4 = 4 three of the four values of i_{1,10} are shifts, with N_4 = 8 seven of eight."""
    for intervals, width in ((4, 2), (8, 3)):
        book = book_of(4, intervals)
        part1, part2, length = book.pack({**random_pmi(book, 200, rng), "doppler": np.zeros((200, 1), int)})
        size = 2 * 4 * 4 * 2
        nonzero = book.unpack(part1, part2, length)[0]["bitmap"].sum(axis=(1, 2, 3))
        at = 4 + 11 + np.ceil(np.log2(nonzero)).astype(int) + 8 + size - nonzero // 2 + 4
        at += 7 * np.maximum(-(-nonzero // 2) - 1, 0)
        for value in range(2**width):
            for bit in range(width):
                part2[np.arange(200), at + bit] = value >> (width - 1 - bit) & 1
            back, valid = book.unpack(part1, part2, length)
            assert valid.all() == (value < intervals - 1) == valid.any()
            if value < intervals - 1:
                assert (back["doppler"] == value).all()


def test_omitted_groups(rng):
    """Fewer groups of part 2 are a worse report, still a report; group 0 alone is one beam."""
    scheme = DopplerFeedback(CsiConfig(PANEL, 1, 13, 1.44e6, 1), combination=5, rank=1)
    h = gaussian(rng, 60, 1, 32, 4, 13)
    report = scheme.report(CsiEstimate(h[:, None, :, :, 0], np.zeros((60, 1), np.float32), future=h[:, None]))
    assert set(report.num_bits.ravel()) == {scheme.max_bits} == {5 + 315}
    book = scheme.codebooks[1]
    group2 = 16 + 7 * 16  # K_NZ = 32
    assert book.lengths(report.bits[0, :, :5]).tolist() == [[315, 315 - group2, 4 + 11 + 5]]
    quality = []
    for most in (320, 319, 190):
        short = scheme.omit(report, most)
        assert set(short.num_bits.ravel()) == {320 if most == 320 else 320 - group2 if most == 319 else 25}
        known = scheme.reconstruct(short)
        assert known.valid.all()
        quality.append(fit(known.intervals[:, 0], h).mean())
    assert quality[0] > quality[1] + 0.02 and quality[1] > quality[2] + 0.02


@pytest.mark.long
def test_random_payloads_give_unit_norms_or_are_invalid(rng):
    config = CsiConfig(PANEL, 3, 13, 1.44e6, 1, 3)
    scheme = DopplerFeedback(config, combination=1)
    bits = rng.integers(0, 2, (3000, 1, scheme.max_bits), dtype=np.uint8)
    num_bits = rng.integers(scheme.part1_bits + 1, scheme.max_bits + 1, (3000, 1))
    bits *= np.arange(scheme.max_bits) < num_bits[..., None]
    known = scheme.reconstruct(CsiReport(bits, num_bits))
    norm = np.linalg.norm(known.intervals, axis=2)  # [report, user, layer, interval, subband]
    assert 0 < known.valid.mean() < 0.5 and not norm[~known.valid].any()
    np.testing.assert_allclose(norm[known.valid][:, 0], 1, atol=1e-5)


# Selection -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "of_r16"), [(2, 2), (3, 3), (6, 5), (7, 6), (8, 7), (9, 8)])
@pytest.mark.parametrize("rank", [1, 2])
def test_one_interval_is_enhanced_type_two(own, of_r16, rank, rng):
    """Bit for bit where the parameters of the two tables agree."""
    h = gaussian(rng, 20, 2, 32, 13)
    one, other = book_of(own, 1, rank), EnhancedTypeTwoCodebook(PANEL, 13, 1, rank, of_r16, rank)
    pmi = one.select(h)
    for found, expected in zip(one.pack(pmi), other.pack(other.select(h)), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(one.precoder(pmi), other.precoder(other.select(h)))


@pytest.mark.parametrize("intervals", [2, 4, 8])
def test_a_doppler_shift_on_the_grid_is_rebuilt(intervals):
    """Two equal waves on beams, one turning by k / N_4 an interval: exact; a held report decays as cos^2(pi i k / N_4).

    The two waves have different delays, one tap apart, and phases on the grid of 16. Two beams: four of a group
    between theirs would do, too.
    """
    t, i = np.arange(13), np.arange(intervals)
    beam = [np.kron([1, np.exp(2j * np.pi * 3 / 16)], dft_beam(4 * n, 0, PANEL, 4, 4)) for n in (1, 6)]
    for k in range(1, intervals):
        still = np.einsum("p,i,t->pit", beam[0], np.ones(intervals), np.exp(2j * np.pi * 2 * t / 13))
        turning = np.einsum("p,i,t->pit", beam[1], np.exp(2j * np.pi * k * i / intervals), np.exp(6j * np.pi * t / 13))
        h = (still + turning).conj()[None, None].astype(np.complex64)
        book = book_of(2, intervals)
        pmi = book.select(h)
        assert pmi["doppler"][0, 0] + 1 in (k, intervals - k)  # either wave may be the one at shift 0
        np.testing.assert_allclose(fit(book.precoder(pmi), h), 1, atol=1e-5)
        held = EnhancedTypeTwoCodebook(PANEL, 13, 1, 1, 2)
        first = held.precoder(held.select(h[..., 0, :]))
        stale = fit(np.repeat(first[:, :, :, None], intervals, axis=3), h)[0]
        np.testing.assert_allclose(stale, np.cos(np.pi * k * i / intervals) ** 2, atol=5e-3)  # sends all K_0


@pytest.mark.parametrize("combination", [2, 5, 9])
def test_a_channel_in_the_span_is_found(combination, rng):
    """A codeword as the channel: coefficients on the grid come back nearly exactly."""
    book = book_of(combination)
    w = book.precoder(book.select(gaussian(rng, 60, 1, 32, 4, 13)))
    found = book.precoder(book.select(np.moveaxis(w[:, :, 0], 1, 1)[:, None].conj()))
    value = fit(found, w[:, None, :, 0].conj())
    assert value.mean() > 0.97 and np.median(value) > 0.98


@pytest.mark.long
def test_the_fit_grows_with_the_payload(rng):
    """Paired over 150 moving channels: each step of more beams, taps or coefficients by over three standard errors."""
    h = moving(rng, 150, 4)
    values = [fit(book.precoder(book.select(h)), h).mean(axis=1) for book in map(book_of, (1, 2, 4, 5, 7))]
    for small, large in pairwise(values):
        gain = large - small
        assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))


def test_two_shifts_are_better_than_a_held_report(rng):
    """Of moving channels at about equal bits: 202 for four intervals, 225 for one that is held."""
    h = moving(rng, 150, 4)
    book, held = book_of(4), EnhancedTypeTwoCodebook(PANEL, 13, 1, 1, 5)
    several = fit(book.precoder(book.select(h)), h)
    one = held.precoder(held.select(h[..., 1, :]))
    gain = (several - fit(np.repeat(one[:, :, :, None], 4, axis=3), h)).mean(axis=1)
    assert gain.mean() > 0.05 and gain.mean() > 5 * gain.std() / np.sqrt(len(gain))


def test_without_a_prediction_all_intervals_are_the_present_one(rng):
    scheme = DopplerFeedback(CsiConfig(PANEL, 1, 13, 1.44e6, 1), combination=4)
    h = moving(rng, 8, 1)[:, None, :, :, 0]
    known = scheme.reconstruct(scheme.report(CsiEstimate(h, np.zeros((8, 1), np.float32))))
    np.testing.assert_allclose(known.intervals, np.repeat(known.w[..., None, :], 4, axis=-2), atol=1e-5)


def test_rank_follows_the_channel(rng):
    """Two equally strong orthogonal paths are two layers in every interval, one path is one."""
    scheme = DopplerFeedback(CsiConfig(PANEL, 2, 13, 1.44e6, 1, 2), combination=5, snr_db=20)
    turns = np.exp(2j * np.pi * 0.25 * np.arange(4))[:, None] * np.ones(13)
    beams = [np.kron([1, 1], dft_beam(4 * n, 0, PANEL, 4, 4)).conj() / np.sqrt(32) for n in (1, 4)]
    one = np.einsum("r,p,it->rpit", [1, 1], beams[0], turns)
    two = np.einsum("r,p,it->rpit", [1, 0], beams[0], turns) + np.einsum("r,p,it->rpit", [0, 1], beams[1], turns.conj())
    future = (np.stack([one, two])[:, None] * 5).astype(np.complex64)
    known = scheme.reconstruct(
        scheme.report(CsiEstimate(future[..., 0, :], np.zeros((2, 1), np.float32), None, future))
    )
    layers = np.linalg.norm(known.intervals, axis=2)[:, 0]  # [report, layer, interval, subband]
    np.testing.assert_allclose(layers[:, 0], 1, atol=1e-5)
    assert not layers[0, 1].any()
    np.testing.assert_allclose(layers[1, 1], 1, atol=1e-5)


def test_the_rate_of_a_rank_is_the_mean_over_the_intervals(rng):
    """One antenna, one layer: log2(1 + |h w|^2 / noise) by loops."""
    scheme = DopplerFeedback(CsiConfig(PANEL, 1, 13, 1.44e6, 1), combination=4)
    h, w = gaussian(rng, 3, 1, 32, 4, 13), gaussian(rng, 3, 32, 1, 4, 13)
    noise = np.array([0.1, 1.0, 10.0])
    rates = np.zeros(3)
    for n, i, t in np.ndindex(3, 4, 13):
        rates[n] += np.log2(1 + np.abs(h[n, 0, :, i, t] @ w[n, :, 0, i, t]) ** 2 / noise[n]) / 52
    np.testing.assert_allclose(scheme._rate(h, w, 1, noise), rates, rtol=1e-4)
