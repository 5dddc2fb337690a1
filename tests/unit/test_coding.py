"""Every code: worked examples, pinned streams, plain coders for comparison, damaged streams, wrong arguments."""

import itertools

import numpy as np
import pytest

from receivers.coding.fixed import FixedLengthCoder, blocks
from receivers.coding.huffman import HuffmanCoder
from receivers.coding.range_coder import RangeCoder
from simulator.core.errors import ConfigError, PayloadError

RFC_LENGTHS = [3, 3, 3, 3, 3, 2, 4, 4]
RFC_CODE = ["010", "011", "100", "101", "110", "00", "1110", "1111"]  # RFC 1951, 3.2.2, A..H

COUNTS = [[5, 0, 3, 0], [0, 0, 0, 0], [1, 2, 4, 9]]
TABLES = [[1, 0, 2, 0, 2], [0, 0, 0, 0, 1], [3, 3, 2, 1, 0]]
TABLE_CODES = [["0", "1101", "10", "1111"], ["000", "001", "010", "011"], ["110", "111", "10", "0"]]  # escapes in full
FREQUENCIES = [[40959, 1, 24575, 1], [16384, 16384, 16384, 16384], [4096, 8192, 16384, 36864]]
EIGHT = [[8192] * 8, [1, 1, 2, 4, 8, 16, 32, 65472]]
SOME = [
    FixedLengthCoder(8),
    HuffmanCoder(8, lengths=RFC_LENGTHS),
    HuffmanCoder(8, lengths=[[*RFC_LENGTHS, 0], [1, 0, 2, 0, 0, 0, 3, 0, 3]]),
    RangeCoder(8, frequencies=EIGHT),
]


def text(bits, num_bits):
    return "".join(map(str, bits[:num_bits]))


def reference_decode(tables, stream, num_symbols):
    """One report, bit by bit: symbols, or None where it is no sequence of ``num_symbols`` codewords of the tables."""
    symbol_of = [{codeword: symbol for symbol, codeword in enumerate(codewords)} for codewords in tables]
    symbols, current = [], ""
    for position, bit in enumerate(stream):
        current += bit
        table = symbol_of[len(symbols) % len(tables)]
        if current in table:
            symbols.append(table[current])
            current = ""
            if len(symbols) == num_symbols:
                return symbols if position + 1 == len(stream) else None
    return symbols if (current, len(symbols)) == ("", num_symbols) else None


def reference_range_code(frequencies, report, carries=None):
    """One report, with a low end of any number of bits: the code as text. ``carries``: digits at which one occurred."""
    low, span, digits = 0, 2**48, 0
    for position, symbol in enumerate(report):
        row, before = frequencies[position % len(frequencies)], low >> 48
        low += (span >> 16) * sum(row[:symbol])
        span = (span >> 16) * row[symbol]
        if carries is not None and low >> 48 > before:
            carries.append(before & 0xFFFF)
        while span <= 2**40:
            low, span, digits = low << 8, span << 8, digits + 1
    for length in itertools.count():
        unit = 2 ** (48 + 8 * digits - length)
        first = -(-low // unit)
        if (first + 1) * unit <= low + span:  # every continuation of these bits lies in the range
            return f"{first:0{length}b}" if length else ""


def cost(frequencies, symbols):
    """Ideal length [bit] of every report."""
    table = np.arange(symbols.shape[1]) % len(frequencies)
    return -np.log2(np.array(frequencies)[table, symbols] / 2**16).sum(axis=1)


def drawn(rng, counts, shape):
    """Reports whose position i is distributed as row i mod T of ``counts``."""
    share = np.array(counts, float) / np.sum(counts, axis=1, keepdims=True)
    columns = [rng.choice(len(row), shape[0], p=row) for row in share[np.arange(shape[1]) % len(share)]]
    return np.stack(columns, axis=1)


def test_canonical_codewords_of_the_rfc_example():
    coder = HuffmanCoder(8, lengths=RFC_LENGTHS)
    pairs = zip(coder.codewords, coder.lengths, strict=True)
    assert [f"{codeword:0{length}b}" for codeword, length in pairs] == RFC_CODE
    bits, num_bits = coder.encode(np.arange(8)[:, None])
    assert [text(*report) for report in zip(bits, num_bits, strict=True)] == RFC_CODE
    assert coder.max_length == 4


def test_pinned_huffman_stream():
    """A change of these bytes is a change of the format."""
    coder = HuffmanCoder(8, lengths=RFC_LENGTHS)
    bits, num_bits = coder.encode(np.array([[0, 1, 2, 3, 4, 5, 6, 7, 5, 5, 7, 0]]))
    assert num_bits.tolist() == [36]
    assert np.packbits(bits[0]).tobytes() == bytes.fromhex("4e5c7787a0")


def test_pinned_fixed_stream():
    bits, num_bits = FixedLengthCoder(5).encode(np.array([[0, 1, 2, 3, 4, 4, 0, 2]]))
    assert num_bits.tolist() == [24]
    assert np.packbits(bits[0]).tobytes() == bytes.fromhex("053902")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64, np.int64])
def test_pinned_streams_of_several_tables(dtype):
    """Huffman: by hand from ``TABLE_CODES``, escaped symbols included. Range: made by the plain coder above."""
    report = np.array([[0, 3, 2, 1, 0, 3, 2, 1, 1, 3, 2, 0]], dtype)
    stream = "0 011 10 1101 000 0 10 001 111 1111 010 110".split()
    bits, num_bits = HuffmanCoder(4, lengths=TABLES).encode(report)
    assert text(bits[0], num_bits[0]) == "".join(stream)
    assert stream == [TABLE_CODES[i % 3][symbol] for i, symbol in enumerate(report[0])]
    bits, num_bits = RangeCoder(4, frequencies=FREQUENCIES).encode(report)
    assert num_bits.tolist() == [53]
    assert np.packbits(bits[0]).tobytes() == bytes.fromhex("85bf2221202ae8")


def test_pinned_table():
    """Both ends must derive the same table from the same counts, today and later."""
    assert HuffmanCoder.fit([90, 3, 5, 0, 1, 40, 40, 7]) == {"lengths": [1, 6, 5, 7, 7, 3, 2, 4]}
    assert HuffmanCoder.fit(COUNTS) == {"lengths": TABLES}
    assert RangeCoder.fit(COUNTS) == {"frequencies": FREQUENCIES}
    assert RangeCoder.fit(COUNTS[2]) == {"frequencies": FREQUENCIES[2:]}
    assert HuffmanCoder.fit([[0]]) == {"lengths": [[0, 1]]} and HuffmanCoder.fit([[7]]) == {"lengths": [[1, 0]]}
    assert FixedLengthCoder.fit([90, 3]) == {}


@pytest.mark.parametrize("num_symbols", [1, 2, 3, 4, 16, 64, 256, 5000])
@pytest.mark.parametrize("kind", [FixedLengthCoder, HuffmanCoder, RangeCoder])
def test_round_trip(kind, num_symbols):
    rng = np.random.default_rng(num_symbols)
    symbols = np.minimum(rng.geometric(0.3, (37, 50)) - 1, num_symbols - 1)
    coder = kind(num_symbols, **kind.fit(np.bincount(symbols.ravel(), minlength=num_symbols)))
    bits, num_bits = coder.encode(symbols)
    assert bits.dtype == np.uint8 and num_bits.dtype == np.int64 and bits.shape == (37, num_bits.max())
    assert not bits[np.arange(bits.shape[1]) >= num_bits[:, None]].any(), "padding is not zero"
    decoded, valid = coder.decode(bits, num_bits, 50)
    assert decoded.dtype == np.int64 and valid.dtype == np.bool_ and valid.all()
    np.testing.assert_array_equal(decoded, symbols)


@pytest.mark.parametrize("num_tables", [1, 7, 128])
@pytest.mark.parametrize("num_symbols", [1, 2, 3, 16, 256, 4096])
@pytest.mark.parametrize("kind", [HuffmanCoder, RangeCoder])
def test_round_trip_with_tables(kind, num_symbols, num_tables):
    """Reports as the tables expect them, and reports with symbols that never occurred."""
    rng = np.random.default_rng(num_symbols + num_tables)
    counts = np.floor(10 * rng.dirichlet(np.full(num_symbols, 0.1), num_tables)).astype(int)
    counts[-1] = 0
    coder = kind(num_symbols, **kind.fit(counts))
    symbols = np.concatenate([drawn(rng, counts + 1e-9, (20, 150)), rng.integers(0, num_symbols, (20, 150))])
    assert num_symbols < 3 or (counts[np.arange(150) % num_tables, symbols] == 0).any()
    bits, num_bits = coder.encode(symbols)
    assert bits.dtype == np.uint8 and num_bits.dtype == np.int64 and bits.shape == (40, num_bits.max())
    assert num_bits.max() <= coder.max_bits(150)
    assert not bits[np.arange(bits.shape[1]) >= num_bits[:, None]].any(), "padding is not zero"
    decoded, valid = coder.decode(bits, num_bits, 150)
    assert decoded.dtype == np.int64 and valid.dtype == np.bool_ and valid.all()
    np.testing.assert_array_equal(decoded, symbols)


@pytest.mark.parametrize("skew", [0.01, 0.1, 1, 10])
@pytest.mark.parametrize(("num_symbols", "num_tables", "length"), [(2, 1, 50), (16, 3, 128), (1000, 20, 150)])
def test_range_code_is_that_of_a_plain_coder_and_close_to_the_ideal_length(num_symbols, num_tables, length, skew):
    rng = np.random.default_rng(round(100 * skew) + length)
    counts = np.floor(1e5 * rng.dirichlet(np.full(num_symbols, skew), num_tables)).astype(int)
    coder = RangeCoder(num_symbols, **RangeCoder.fit(counts))
    frequencies = RangeCoder.fit(counts)["frequencies"]
    expected, rare = drawn(rng, frequencies, (40, length)), rng.integers(0, num_symbols, (4, length))
    likeliest = np.argmax(frequencies, axis=1)[None, np.arange(length) % num_tables]
    symbols = np.concatenate([expected, rare, likeliest])
    bits, num_bits = coder.encode(symbols)
    for report, stream, count in zip(symbols.tolist(), bits, num_bits, strict=True):
        assert text(stream, count) == reference_range_code(frequencies, report)
    ideal = cost(frequencies, symbols)
    assert (num_bits >= ideal - 1e-3).all() and (num_bits <= ideal + 2 + 1e-3).all()
    rarest = np.argmin(frequencies, axis=1)[None, np.arange(length) % num_tables]
    assert 0 <= coder.max_bits(length) - coder.encode(rarest)[1] <= 3


@pytest.mark.long
def test_carries_of_the_range_code():
    """Through one digit, and on through a second one that is 255: the code is still that of a plain coder."""
    rng = np.random.default_rng(12)
    frequencies = [[1, 65534, 1]]
    symbols = drawn(rng, [[1, 2, 5]], (1500, 60))
    bits, num_bits = RangeCoder(3, frequencies=frequencies).encode(symbols)
    once, twice = 0, 0
    for report, stream, count in zip(symbols.tolist(), bits, num_bits, strict=True):
        carries = []
        expected = reference_range_code(frequencies, report, carries)
        once += bool(carries)
        twice += any(digits & 0xFF == 0xFF for digits in carries)
        assert text(stream, count) == expected
    assert once > 50 and twice > 2


def test_huffman_length_lies_between_the_entropy_and_one_bit_more_per_symbol():
    rng = np.random.default_rng(13)
    for num_symbols, skew in itertools.product([2, 16, 200], [0.05, 1, 10]):
        symbols = drawn(rng, rng.dirichlet(np.full(num_symbols, skew), 7) + 1e-12, (2000, 14))
        counts = np.array([np.bincount(symbols[:, i::7].ravel(), minlength=num_symbols) for i in range(7)])
        share = counts / counts.sum(axis=1, keepdims=True)
        entropy = -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=1).mean()
        for fitted in (counts, counts + 1):  # with escape, without
            mean = HuffmanCoder(num_symbols, **HuffmanCoder.fit(fitted)).encode(symbols)[1].mean() / 14
            assert entropy - 1e-9 <= mean <= entropy + 1
        mean = RangeCoder(num_symbols, **RangeCoder.fit(counts)).encode(symbols)[1].mean() / 14
        assert mean >= entropy - 1e-9


@pytest.mark.parametrize("skew", [0.01, 0.1, 1, 10])
def test_range_code_is_as_short_as_that_of_constriction(skew):
    constriction = pytest.importorskip("constriction")
    rng = np.random.default_rng(14)
    counts = np.floor(1e5 * rng.dirichlet(np.full(64, skew), 1)).astype(int) + 1
    symbols = drawn(rng, counts, (20, 500))
    frequencies = RangeCoder.fit(counts)["frequencies"]
    num_bits = RangeCoder(64, frequencies=frequencies).encode(symbols)[1]
    model = constriction.stream.model.Categorical(np.array(frequencies[0]) / 2**16, perfect=False)
    for report, count in zip(symbols.astype(np.int32), num_bits, strict=True):
        peer = constriction.stream.queue.RangeEncoder()
        peer.encode(report, model)
        assert 32 * len(peer.get_compressed()) - 65 <= count <= 32 * len(peer.get_compressed()) + 2  # it sends words


@pytest.mark.long
@pytest.mark.parametrize("coder", SOME[1:], ids=lambda coder: type(coder).__name__)
def test_round_trip_over_several_tables_and_blocks(coder):
    symbols = np.random.default_rng(15).integers(0, 8, (17_000, 130), dtype=np.uint8)
    bits, num_bits = coder.encode(symbols)
    some = np.r_[:17_000:997]
    np.testing.assert_array_equal(coder.encode(symbols[some])[1], num_bits[some])
    decoded, valid = coder.decode(bits, num_bits, 130)
    assert valid.all()
    np.testing.assert_array_equal(decoded, symbols)


def test_round_trip_over_several_blocks():
    symbols = np.minimum(np.random.default_rng(0).geometric(0.4, (9000, 256)) - 1, 15)
    coder = HuffmanCoder(16, **HuffmanCoder.fit(np.bincount(symbols.ravel(), minlength=16)))
    bits, num_bits = coder.encode(symbols)
    np.testing.assert_array_equal(num_bits, coder.lengths[symbols].sum(axis=1))
    decoded, valid = coder.decode(bits, num_bits, 256)
    assert valid.all()
    np.testing.assert_array_equal(decoded, symbols)


def test_a_report_larger_than_a_block_is_a_block():
    assert list(blocks(2, 11, budget=10)) == [slice(0, 1), slice(1, 2)]
    assert list(blocks(5, 3, budget=10)) == [slice(0, 3), slice(3, 6)]


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
@pytest.mark.parametrize("coder", SOME, ids=lambda coder: type(coder).__name__)
def test_empty_batches(coder, shape):
    bits, num_bits = coder.encode(np.zeros(shape, np.int64))
    decoded, valid = coder.decode(bits, num_bits, shape[1])
    assert decoded.shape == shape and valid.shape == shape[:1] and valid.all()
    assert bits.size == 0 and not num_bits.any() and coder.max_bits(0) == 0


def test_one_symbol_costs_one_bit_and_only_zero_is_legal():
    coder = HuffmanCoder(1, **HuffmanCoder.fit([12]))
    bits, num_bits = coder.encode(np.zeros((2, 3), np.int64))
    assert num_bits.tolist() == [3, 3] and not bits.any()
    bits[1, 1] = 1
    assert coder.decode(bits, num_bits, 3)[1].tolist() == [True, False]
    for free in (FixedLengthCoder(1), RangeCoder(1, frequencies=[[2**16]])):
        bits, num_bits = free.encode(np.zeros((2, 3), np.int64))
        assert num_bits.tolist() == [0, 0] and free.decode(bits, num_bits, 3)[1].all()


@pytest.mark.parametrize("lengths", [RFC_LENGTHS, [4, 2, 3, 5, 5, 5, 2, 7]], ids=["complete", "incomplete"])
def test_random_bits_never_raise_and_agree_with_a_plain_decoder(lengths):
    coder = HuffmanCoder(8, lengths=lengths)
    pairs = zip(coder.codewords, coder.lengths, strict=True)
    codewords = [f"{codeword:0{length}b}" for codeword, length in pairs]
    rng = np.random.default_rng(6)
    bits = rng.integers(0, 2, (10_000, 24), dtype=np.uint8)
    num_bits = rng.integers(0, 25, 10_000)
    for num_symbols in [0, 1, 6]:
        symbols, valid = coder.decode(bits, num_bits, num_symbols)
        assert 0 < valid.sum() < len(valid)
        for row, stream in enumerate(map(text, bits, num_bits)):
            expected = reference_decode([codewords], stream, num_symbols)
            assert valid[row] == (expected is not None)
            assert symbols[row].tolist() == (expected or [0] * num_symbols)


def test_random_bits_in_a_huffman_code_with_escapes():
    """A symbol that has a codeword is not legal after an escape: one report has one code."""
    rng = np.random.default_rng(16)
    lengths = [[2, 0, 1, 0, 3, 3], [0, 0, 0, 0, 0, 1], [1, 3, 3, 3, 3, 0], [1, 2, 0, 0, 0, 2]]
    coder = HuffmanCoder(5, lengths=lengths)
    tables = [
        ["10", "111001", "0", "111011", "110"],
        ["0000", "0001", "0010", "0011", "0100"],
        ["0", "100", "101", "110", "111"],
        ["0", "10", "11010", "11011", "11100"],
    ]
    streams = coder.encode(np.tile(np.arange(5), 4).reshape(5, 4))
    for start, stream in zip(range(0, 20, 4), map(text, *streams), strict=True):
        assert stream == "".join(table[(start + i) % 5] for i, table in enumerate(tables))
    bits = rng.integers(0, 2, (10_000, 24), dtype=np.uint8)
    num_bits = rng.integers(0, 25, 10_000)
    for num_symbols in [0, 1, 6]:
        symbols, valid = coder.decode(bits, num_bits, num_symbols)
        assert 0 < valid.sum() < len(valid)
        for row, stream in enumerate(map(text, bits, num_bits)):
            expected = reference_decode(tables, stream, num_symbols)
            assert valid[row] == (expected is not None)
            assert symbols[row].tolist() == (expected or [0] * num_symbols)


def test_random_bits_in_the_range_code():
    """Valid are exactly the codes of all 243 reports of five symbols, and none of them starts another."""
    frequencies = [[60_000, 5_000, 536], [100, 65_336, 100], [20_000, 25_536, 20_000]]
    reports = list(itertools.product(range(3), repeat=5))
    report_of = {reference_range_code(frequencies, report): report for report in reports}
    assert len(report_of) == 243 and sum(2.0 ** -len(code) for code in report_of) <= 1
    assert not any(b.startswith(a) for a, b in itertools.pairwise(sorted(report_of)))
    rng = np.random.default_rng(17)
    bits = rng.integers(0, 2, (10_000, 24), dtype=np.uint8)
    bits[::2, 4:] = 0
    num_bits = rng.integers(0, 25, 10_000)
    symbols, valid = RangeCoder(3, frequencies=frequencies).decode(bits, num_bits, 5)
    assert 0 < valid.sum() < len(valid)
    for row, stream in enumerate(map(text, bits, num_bits)):
        assert valid[row] == (stream in report_of)
        assert tuple(symbols[row]) == report_of.get(stream, (0,) * 5)


def test_long_random_bits_in_the_range_code():
    """Values outside of every range, for many symbols: never valid, no exception, no warning."""
    rng = np.random.default_rng(18)
    bits = rng.integers(0, 2, (10_000, 200), dtype=np.uint8)
    bits[::3, 20:] = 1
    num_bits = rng.integers(150, 201, 10_000)
    symbols, valid = RangeCoder(3, frequencies=[[30_000, 5_536, 30_000], [1, 1, 65_534]]).decode(bits, num_bits, 200)
    again, again_bits = RangeCoder(3, frequencies=[[30_000, 5_536, 30_000], [1, 1, 65_534]]).encode(symbols[valid])
    np.testing.assert_array_equal(again_bits, num_bits[valid])
    for old, new, count in zip(bits[valid], again, again_bits, strict=True):
        assert text(old, count) == text(new, count)
    assert not symbols[~valid].any() and valid.mean() < 0.05


def test_random_bits_in_the_fixed_code():
    rng = np.random.default_rng(7)
    bits = rng.integers(0, 2, (10_000, 12), dtype=np.uint8)
    num_bits = rng.integers(8, 13, 10_000)
    symbols, valid = FixedLengthCoder(6).decode(bits, num_bits, 3)
    for row, stream in enumerate(map(text, bits, num_bits)):
        fields = [int(stream[start : start + 3], 2) for start in (0, 3, 6)]
        legal = len(stream) == 9 and max(fields) < 6
        assert valid[row] == legal
        assert symbols[row].tolist() == (fields if legal else [0, 0, 0])


@pytest.mark.long
def test_truncated_and_over_long_range_codes_are_invalid():
    coder = SOME[-1]
    bits, num_bits = coder.encode(np.random.default_rng(8).integers(0, 8, (300, 9)))
    for fill in (0, 1):
        longer = np.pad(bits, ((0, 0), (0, 20)), constant_values=fill)
        assert coder.decode(longer, num_bits, 9)[1].all(), "bits after num_bits must not matter"
        for more in range(-int(num_bits.min()), 21):
            assert coder.decode(longer, num_bits + more, 9)[1].all() == (more == 0)
            assert more == 0 or not coder.decode(longer, num_bits + more, 9)[1].any()


@pytest.mark.parametrize("coder", SOME[:-1], ids=lambda coder: type(coder).__name__)
def test_truncated_and_over_long_streams_are_invalid(coder):
    symbols = np.random.default_rng(8).integers(0, 8, (200, 9))
    bits, num_bits = coder.encode(symbols)
    longer = np.pad(bits, ((0, 0), (0, 3)))
    ones = np.pad(bits, ((0, 0), (0, 3)), constant_values=1)
    assert not coder.decode(bits, num_bits - 1, 9)[1].any()
    assert not coder.decode(longer, num_bits + 1, 9)[1].any()
    assert not coder.decode(longer, num_bits + 3, 9)[1].any()
    assert not coder.decode(bits, num_bits, 8)[1].any()
    assert not coder.decode(bits, num_bits, 10)[1].any()
    assert not coder.decode(bits, num_bits, 1000)[1].any()
    cut = num_bits.min() - 1
    assert not coder.decode(bits[:, :cut], np.full(200, cut), 9)[1][num_bits == cut + 1].any()
    assert coder.decode(ones, num_bits, 9)[1].all(), "bits after num_bits must not matter"


@pytest.mark.parametrize("coder", SOME, ids=lambda coder: type(coder).__name__)
def test_malformed_arguments(coder):
    for symbols in [[0, 1], [[0.0]], [[8]], [[-1]], [[True]], [[[0]]]]:
        with pytest.raises(PayloadError):
            coder.encode(np.array(symbols))
    bits, num_bits = np.zeros((2, 6), np.uint8), np.array([6, 6])
    for wrong_bits in [bits[0], bits.astype(np.int64), bits + np.uint8(2), bits[None], bits[:1]]:
        with pytest.raises(PayloadError):
            coder.decode(wrong_bits, num_bits, 2)
    for wrong_num_bits in [
        num_bits[:1],
        num_bits + 1,
        num_bits - 7,
        num_bits.astype(float),
        num_bits[:, None],
    ]:
        with pytest.raises(PayloadError):
            coder.decode(bits, wrong_num_bits, 2)
    for wrong_num_symbols in [-1, 2.0, None, True]:
        with pytest.raises(PayloadError):
            coder.decode(bits, num_bits, wrong_num_symbols)


@pytest.mark.parametrize(
    "lengths",
    [
        *([1, 2], [1, 2, 2, 2], [1, 1, 2], [0, 1, 1], [1, 2, 21], [1.0, 2.0, 2.0], [[1, 2, 2]], [], [[]], None),
        *([[1, 2, 0, 0]], [[1, 2, 2, 1]], [[1, 2, 2, 0], [1, 2, 2, -1]], [[1, 2, 2, 0], [1, 2, 13, 0]]),
        *([[1, 2, 2, 0], [1, 2, 2]], [[1, 2, 21, 0]], [[[1, 2, 2, 0]]]),
    ],
)
def test_wrong_lengths(lengths):
    with pytest.raises(ConfigError) as caught:
        HuffmanCoder(3, lengths=lengths)
    assert caught.value.field == "coders.huffman.lengths"


def test_length_limits():
    """20 bits with one table; with several 12, or as many as a large alphabet needs."""
    steep = [2**i for i in range(30)]
    assert np.max(HuffmanCoder.fit([steep])["lengths"]) == 20
    assert np.max(HuffmanCoder.fit([steep, steep])["lengths"]) == 12
    assert np.max(HuffmanCoder.fit([np.r_[np.ones(5000, int), steep]] * 2)["lengths"]) == 13
    assert HuffmanCoder(3, lengths=[[1, 2, 20, 0]]).max_bits(2) == 40
    assert HuffmanCoder(3, lengths=[[1, 2, 0, 12], [1, 2, 2, 0]]).max_bits(3) == 14 + 2 + 14


@pytest.mark.parametrize(
    "frequencies",
    [
        *([2**15, 2**15], [[2**15, 2**15, 0]], [[2**15, 2**15, 1]], [[2**14, 2**14]], [], [[]], None),
        *([[2.0**14, 2.0**14, 2.0**15]], [[1, 2, 2**16 - 3], [1, 2, 2**16 - 4]], [[1, 2, 2**16 - 3], [1, 2**16 - 1]]),
        *([[2**63 - 1, 2**63 - 1, 2**16 + 2]], [[-1, 1, 2**16]]),
    ],
)
def test_wrong_frequencies(frequencies):
    with pytest.raises(ConfigError) as caught:
        RangeCoder(3, frequencies=frequencies)
    assert caught.value.field == "coders.range.frequencies"


@pytest.mark.parametrize("counts", [[], [[]], [-1, 2], [1.5, 2.0], [[[1, 2]]], [2**58, 1], np.zeros((0, 3), int)])
@pytest.mark.parametrize(("kind", "name"), [(HuffmanCoder, "huffman"), (RangeCoder, "range")])
def test_wrong_counts(kind, name, counts):
    with pytest.raises(ConfigError) as caught:
        kind.fit(counts)
    assert caught.value.field == f"coders.{name}.counts"


@pytest.mark.long
def test_largest_alphabet_of_the_range_code():
    """Its last symbols and every thirtieth."""
    counts = np.arange(2**15)
    coder, symbols = RangeCoder(2**15, **RangeCoder.fit(counts)), np.r_[counts[::-31], :20, 0]
    bits, num_bits = coder.encode(symbols[None])
    assert (coder.decode(bits, num_bits, len(symbols))[0] == symbols).all()
    for call in (lambda: RangeCoder.fit(np.ones(2**15 + 1, int)), lambda: RangeCoder(2**15 + 1, frequencies=[[1]])):
        with pytest.raises(ConfigError):
            call()


@pytest.mark.parametrize("num_symbols", [0, -1, 2**20 + 1, 3.0, True, "4", None])
def test_wrong_alphabet(num_symbols):
    for build in [
        FixedLengthCoder,
        lambda size: HuffmanCoder(size, lengths=[1, 1]),
        lambda size: RangeCoder(size, frequencies=[[2**15, 2**15]]),
    ]:
        with pytest.raises(ConfigError) as caught:
            build(num_symbols)
        assert caught.value.field.endswith(".num_symbols")


# Tables for every position, escape ------------------------------------------------------------------------------------


def skewed(rng, tables, alphabet, sharpness):
    """Probabilities ``[table, symbol]``, more or less peaked."""
    p = rng.dirichlet(np.full(alphabet, sharpness), tables)
    return p / p.sum(axis=1, keepdims=True)


def sampled(rng, p, reports, count):
    return np.stack([rng.choice(p.shape[1], reports, p=p[i % len(p)]) for i in range(count)], axis=1)


def test_escape_by_hand():
    """Symbols 0 and 2 occurred, 1 and 3 share the escape: 0 -> 0, escape -> 11, 2 -> 10; indices on two bits."""
    fitted = HuffmanCoder.fit(np.array([[8, 0, 3, 0]]))
    assert fitted == {"lengths": [[1, 0, 2, 0, 2]]}
    coder = HuffmanCoder(4, **fitted)
    bits, num_bits = coder.encode(np.array([[0, 2, 3, 1]]))
    assert "".join(map(str, bits[0])) == "0" + "10" + "1111" + "1101" and num_bits.tolist() == [11]
    assert coder.decode(bits, num_bits, 4)[0].tolist() == [[0, 2, 3, 1]]
    assert coder.max_bits(5) == 20
    everything_escapes = HuffmanCoder(4, **HuffmanCoder.fit(np.zeros((2, 4), int)))
    bits, num_bits = everything_escapes.encode(np.array([[3, 0, 1]]))
    assert num_bits.tolist() == [9] and everything_escapes.decode(bits, num_bits, 3)[0].tolist() == [[3, 0, 1]]


@pytest.mark.parametrize("lengths", [[[1, 2]], [[1, 0, 0]], [[1, 1, 1]], [[1, 1, 0], [1, 1]], [], [[21, 1, 0]]])
def test_wrong_tables(lengths):
    with pytest.raises(ConfigError, match=r"coders\.huffman\.lengths"):
        HuffmanCoder(2, lengths=lengths)


@pytest.mark.parametrize("alphabet", [2, 3, 16, 256])
@pytest.mark.parametrize("sharpness", [0.05, 1.0])
def test_tables_code_within_their_bounds(alphabet, sharpness, rng):
    """Entropy of the empirical tables <= mean length <= entropy + 1 bit per symbol (Huffman), * 1.01 + 10 (range)."""
    for count in (50, 500):
        p = skewed(rng, count, alphabet, sharpness)
        symbols = sampled(rng, p, 400, count)
        counts = np.stack([np.bincount(column, minlength=alphabet) for column in symbols.T])
        share = counts / 400
        entropy = -np.sum(share * np.log2(np.maximum(share, 1e-30)))
        for cls, bound in ((HuffmanCoder, entropy + count), (RangeCoder, entropy * 1.01 + 10)):
            coder = cls(alphabet, **cls.fit(counts))
            bits, num_bits = coder.encode(symbols)
            assert entropy - 1e-6 <= num_bits.mean() <= bound
            decoded, valid = coder.decode(bits, num_bits, count)
            assert valid.all() and (decoded == symbols).all()


# Range coder ----------------------------------------------------------------------------------------------------------


def test_range_reports_end_themselves(rng):
    """A prefix code: whatever follows, the same symbols are decoded."""
    p = skewed(rng, 5, 8, 0.5)
    coder = RangeCoder(8, **RangeCoder.fit((p * 1000).astype(int)))
    symbols = sampled(rng, p, 200, 40)
    bits, num_bits = coder.encode(symbols)
    noise = rng.integers(0, 2, (200, bits.shape[1] + 64), dtype=np.uint8)
    noise[:, : bits.shape[1]] = np.where(np.arange(bits.shape[1]) < num_bits[:, None], bits, noise[:, : bits.shape[1]])
    np.testing.assert_array_equal(coder._decode(np.packbits(noise, axis=1), 40).T, symbols)


@pytest.mark.parametrize("cls", [HuffmanCoder, RangeCoder])
def test_random_and_damaged_payloads(cls, rng):
    """10,000 random payloads, truncations, extensions, flips: invalid, or a codeword sequence to the last bit."""
    p = skewed(rng, 64, 16, 0.3)
    symbols = sampled(rng, p, 2000, 64)
    counts = np.stack([np.bincount(column, minlength=16) for column in symbols.T])
    coder = cls(16, **cls.fit(counts))
    bits, num_bits = coder.encode(symbols)
    wide = np.pad(bits, ((0, 0), (0, 9)))
    truncated, longer = coder.decode(wide, num_bits - 1, 64), coder.decode(wide, num_bits + 1, 64)
    assert not truncated[1].any() and not longer[1].any() and not truncated[0].any()
    flipped = wide.copy()
    flipped[np.arange(2000), rng.integers(0, num_bits)] ^= 1
    junk = rng.integers(0, 2, (10000, 200), dtype=np.uint8)
    for payload, length in ((flipped, num_bits), (junk, rng.integers(0, 201, 10000))):
        decoded, valid = coder.decode(payload, length, 64)
        assert decoded.min() >= 0 and decoded.max() < 16
        again, count = coder.encode(decoded[valid])
        np.testing.assert_array_equal(count, length[valid])
        for sent, back, n in zip(payload[valid], again, count, strict=True):
            np.testing.assert_array_equal(sent[:n], back[:n])


def test_range_tables_are_integers_made_by_one_rule():
    assert RangeCoder.fit(np.array([3, 0, 1])) == {"frequencies": [[49150 + 1, 1, 16384]]}
    assert RangeCoder.fit(np.array([[0, 0], [1, 1]])) == {"frequencies": [[32768, 32768], [32768, 32768]]}
    for counts in ([-1, 2], [1.5, 2.0], [[[1]]]):
        with pytest.raises(ConfigError, match=r"coders\.range\.counts"):
            RangeCoder.fit(np.array(counts))
