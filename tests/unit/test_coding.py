"""Fixed-length and Huffman code: worked examples, pinned streams, damaged streams, wrong arguments."""

import numpy as np
import pytest

from receivers.coding.fixed import FixedLengthCoder, blocks
from receivers.coding.huffman import HuffmanCoder
from simulator.core.errors import ConfigError, PayloadError

RFC_LENGTHS = [3, 3, 3, 3, 3, 2, 4, 4]
RFC_CODE = ["010", "011", "100", "101", "110", "00", "1110", "1111"]  # RFC 1951, 3.2.2, A..H


def text(bits, num_bits):
    return "".join(map(str, bits[:num_bits]))


def reference_decode(codewords, stream, num_symbols):
    """One report, bit by bit: symbols, or None where it is no sequence of ``num_symbols`` codewords."""
    symbol_of = {codeword: symbol for symbol, codeword in enumerate(codewords)}
    symbols, current = [], ""
    for position, bit in enumerate(stream):
        current += bit
        if current in symbol_of:
            symbols.append(symbol_of[current])
            current = ""
            if len(symbols) == num_symbols:
                return symbols if position + 1 == len(stream) else None
    return symbols if (current, len(symbols)) == ("", num_symbols) else None


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


def test_pinned_table():
    """Both ends must derive the same table from the same counts, today and later."""
    assert HuffmanCoder.fit([90, 3, 5, 0, 1, 40, 40, 7]) == {"lengths": [1, 6, 5, 7, 7, 3, 2, 4]}
    assert FixedLengthCoder.fit([90, 3]) == {}


@pytest.mark.parametrize("num_symbols", [1, 2, 3, 4, 16, 64, 256, 5000])
@pytest.mark.parametrize("kind", [FixedLengthCoder, HuffmanCoder])
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
@pytest.mark.parametrize("coder", [FixedLengthCoder(4), HuffmanCoder(4, lengths=[1, 2, 3, 3])])
def test_empty_batches(coder, shape):
    bits, num_bits = coder.encode(np.zeros(shape, np.int64))
    decoded, valid = coder.decode(bits, num_bits, shape[1])
    assert decoded.shape == shape and valid.shape == shape[:1] and valid.all()


def test_one_symbol_costs_one_bit_and_only_zero_is_legal():
    coder = HuffmanCoder(1, **HuffmanCoder.fit([12]))
    bits, num_bits = coder.encode(np.zeros((2, 3), np.int64))
    assert num_bits.tolist() == [3, 3] and not bits.any()
    bits[1, 1] = 1
    assert coder.decode(bits, num_bits, 3)[1].tolist() == [True, False]
    assert FixedLengthCoder(1).encode(np.zeros((2, 3), np.int64))[1].tolist() == [0, 0]


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
            expected = reference_decode(codewords, stream, num_symbols)
            assert valid[row] == (expected is not None)
            assert symbols[row].tolist() == (expected or [0] * num_symbols)


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


@pytest.mark.parametrize("coder", [FixedLengthCoder(8), HuffmanCoder(8, lengths=RFC_LENGTHS)])
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


@pytest.mark.parametrize("coder", [FixedLengthCoder(8), HuffmanCoder(8, lengths=RFC_LENGTHS)])
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
    [[1, 2], [1, 2, 2, 2], [1, 1, 2], [0, 1, 1], [1, 2, 21], [1.0, 2.0, 2.0], [[1, 2, 2]], []],
)
def test_wrong_lengths(lengths):
    with pytest.raises(ConfigError) as caught:
        HuffmanCoder(3, lengths=lengths)
    assert caught.value.field == "coders.huffman.lengths"


@pytest.mark.parametrize("counts", [[], [-1, 2], [1.5, 2.0], [[[1, 2]]], [2**58, 1]])
def test_wrong_counts(counts):
    with pytest.raises(ConfigError) as caught:
        HuffmanCoder.fit(counts)
    assert caught.value.field == "coders.huffman.counts"


@pytest.mark.parametrize("num_symbols", [0, -1, 2**20 + 1, 3.0, True, "4", None])
def test_wrong_alphabet(num_symbols):
    for build in [FixedLengthCoder, lambda size: HuffmanCoder(size, lengths=[1, 1])]:
        with pytest.raises(ConfigError) as caught:
            build(num_symbols)
        assert caught.value.field.endswith(".num_symbols")
