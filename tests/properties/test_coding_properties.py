"""Laws of every code (round trip, prefix freedom, entropy bounds, optimality) and of every quantiser."""

import heapq
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from receivers.coding.fixed import FixedLengthCoder
from receivers.coding.huffman import HuffmanCoder, package_merge
from receivers.coding.range_coder import RangeCoder
from receivers.quantization.mu_law import MuLawQuantizer
from receivers.quantization.uniform import UniformQuantizer
from simulator.core.errors import ConfigError

# The same examples in every run; building a table of 2**20 windows takes a while on a busy machine.
unhurried = settings(deadline=None, derandomize=True)

# A codeword of 21 bits needs counts with a sum of at least 28657 (Fibonacci): 20 bits are no limit here.
small_counts = st.lists(st.integers(1, 440), min_size=2, max_size=64)
wide_counts = st.lists(st.one_of(st.integers(0, 50), st.integers(0, 2**50)), min_size=1, max_size=90)


@st.composite
def codes(draw):
    """A code of each kind, complete or not, and as many symbols as it has."""
    counts = draw(wide_counts)
    if draw(st.booleans()):
        return FixedLengthCoder(len(counts))
    lengths = HuffmanCoder.fit(counts)["lengths"]
    drop = draw(st.integers(0, len(lengths) - 1))  # leaving symbols out makes the code incomplete
    return HuffmanCoder(len(lengths) - drop, lengths=lengths[drop:])


@st.composite
def codes_and_symbols(draw):
    coder = draw(codes())
    shape = draw(st.tuples(st.integers(0, 6), st.integers(0, 40)))
    return coder, draw(hnp.arrays(np.int64, shape, elements=st.integers(0, coder.num_symbols - 1)))


@st.composite
def codes_with_tables(draw):
    """A code of one to five tables; of many symbols in them no occurrence was seen."""
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 40)))
    counts = draw(hnp.arrays(np.int64, shape, elements=st.one_of(st.integers(0, 3), st.integers(0, 2**40))))
    kind = draw(st.sampled_from([HuffmanCoder, RangeCoder]))
    return kind(shape[1], **kind.fit(counts))


def strings(coder):
    """Codewords as text."""
    bits, num_bits = coder.encode(np.arange(coder.num_symbols)[:, None])
    return ["".join(map(str, row[:length])) for row, length in zip(bits, num_bits, strict=True)]


def huffman_cost(weights):
    """Total bits of Huffman's tree: the sum of all merged weights."""
    heap, cost = list(weights), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        heapq.heappush(heap, merged)
        cost += merged
    return cost


@pytest.mark.long
@unhurried
@given(codes_and_symbols())
def test_round_trip(case):
    coder, symbols = case
    bits, num_bits = coder.encode(symbols)
    decoded, valid = coder.decode(bits, num_bits, symbols.shape[1])
    assert valid.all()
    np.testing.assert_array_equal(decoded, symbols)
    codewords = strings(coder)
    for row, report in enumerate(symbols):
        stream = "".join(codewords[symbol] for symbol in report)
        assert "".join(map(str, bits[row, : num_bits[row]])) == stream


@pytest.mark.long
@unhurried
@given(codes_with_tables(), st.data())
def test_round_trip_with_tables(coder, data):
    shape = data.draw(st.tuples(st.integers(0, 6), st.integers(0, 40)))
    symbols = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(0, coder.num_symbols - 1)))
    bits, num_bits = coder.encode(symbols)
    assert bits.shape == (shape[0], num_bits.max(initial=0)) and num_bits.max(initial=0) <= coder.max_bits(shape[1])
    decoded, valid = coder.decode(bits, num_bits, shape[1])
    assert valid.all()
    np.testing.assert_array_equal(decoded, symbols)
    streams = sorted({"".join(map(str, row[:n])) for row, n in zip(bits, num_bits, strict=True)})
    assert len(streams) == len(np.unique(symbols, axis=0))
    assert not any(b.startswith(a) for a, b in itertools.pairwise(streams)), "no prefix code"


@unhurried
@given(st.lists(st.one_of(st.integers(0, 50), st.integers(0, 2**40)), min_size=1, max_size=300))
def test_frequencies_of_the_range_code(counts):
    """Exact, and one and the same on every machine."""
    (row,) = RangeCoder.fit(counts)["frequencies"]
    counts = counts if any(counts) else [1] * len(counts)
    expected = [1 + count * (2**16 - len(counts)) // sum(counts) for count in counts]
    expected[counts.index(max(counts))] += 2**16 - sum(expected)
    assert row == expected and sum(row) == 2**16 and min(row) >= 1


@unhurried
@given(codes())
def test_no_codeword_starts_another(coder):
    codewords = strings(coder)
    assert len(set(codewords)) == len(codewords)
    assert max(map(len, codewords)) == coder.max_length
    for i, first in enumerate(codewords):
        assert not any(other.startswith(first) for j, other in enumerate(codewords) if i != j)


@unhurried
@given(codes())
def test_codewords_are_canonical(coder):
    """By (length, symbol), codewords read as binary fractions increase: the convention of RFC 1951."""
    ordered = sorted(enumerate(strings(coder)), key=lambda item: (len(item[1]), item[0]))
    codewords = [codeword for _, codeword in ordered]
    assert set(codewords[0]) <= {"0"}
    for low, high in itertools.pairwise(codewords):
        assert int(high, 2) == (int(low, 2) + 1) << (len(high) - len(low))


@unhurried
@given(small_counts)
def test_mean_length_lies_between_the_entropy_and_one_bit_more(counts):
    total = sum(counts)
    entropy = -sum(count / total * math.log2(count / total) for count in counts)
    lengths = HuffmanCoder.fit(counts)["lengths"]
    mean = sum(count * length for count, length in zip(counts, lengths, strict=True)) / total
    assert entropy - 1e-9 <= mean < entropy + 1


@unhurried
@given(st.lists(st.one_of(st.integers(1, 9), st.integers(1, 2**40)), min_size=2, max_size=60))
def test_package_merge_costs_what_the_huffman_tree_costs(counts):
    """With a limit that no tree can meet; a limit of 20 bits can only cost more."""
    free = package_merge(np.array(counts), len(counts))
    assert int(free @ counts) == huffman_cost(counts)
    limited = HuffmanCoder.fit(counts)["lengths"]
    assert max(limited) <= 20
    assert np.dot(limited, counts) >= huffman_cost(counts)
    assert max(free) > 20 or np.dot(limited, counts) == huffman_cost(counts)


def test_large_alphabets():
    """65,536 symbols: the limit is not met by even counts, and holds for uneven ones."""
    rng = np.random.default_rng(3)
    counts = rng.integers(300, 1000, 65_536)
    lengths = np.array(HuffmanCoder.fit(counts)["lengths"])
    assert (2.0**-lengths).sum() == 1 and lengths @ counts == huffman_cost(counts)
    lengths = np.array(HuffmanCoder.fit(counts * rng.integers(0, 2, 65_536))["lengths"])
    assert (2.0**-lengths).sum() == 1 and lengths.max() == 20


def test_length_limit():
    fibonacci = [1, 1]
    while len(fibonacci) < 40:
        fibonacci.append(sum(fibonacci[-2:]))
    lengths = np.array(HuffmanCoder.fit(fibonacci)["lengths"])
    assert lengths.max() == 20 and (2.0**-lengths).sum() == 1
    assert (lengths * fibonacci).sum() > huffman_cost(fibonacci)
    assert HuffmanCoder.fit([2**57, 1])["lengths"] == [1, 1]
    with pytest.raises(ConfigError):
        package_merge(np.ones(9, np.int64), 3)


def test_package_merge_is_optimal_under_the_limit():
    """Against every length vector that Kraft allows."""
    rng = np.random.default_rng(4)
    for num_symbols, limit in [(2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (6, 4)]:
        vectors = np.array(list(itertools.product(range(1, limit + 1), repeat=num_symbols)))
        legal = vectors[(2.0**-vectors).sum(axis=1) <= 1]
        for _ in range(20):
            counts = np.minimum(rng.pareto(0.4, num_symbols) * 10, 1e6).astype(np.int64) + 1
            lengths = package_merge(counts, limit)
            assert (2.0**-lengths).sum() <= 1 and lengths.max() <= limit
            assert lengths @ counts == (legal @ counts).min()


@pytest.mark.long
@unhurried
@given(st.one_of(codes(), codes_with_tables()), st.data())
def test_any_bits_decode_and_valid_ones_are_codewords(coder, data):
    bits = data.draw(hnp.arrays(np.uint8, st.tuples(st.integers(0, 5), st.integers(0, 70)), elements=st.integers(0, 1)))
    limits = st.integers(0, bits.shape[1])
    num_bits = data.draw(hnp.arrays(np.int64, len(bits), elements=limits))
    num_symbols = data.draw(st.integers(0, 20))
    symbols, valid = coder.decode(bits, num_bits, num_symbols)
    assert symbols.shape == (len(bits), num_symbols)
    assert (symbols >= 0).all() and (symbols < coder.num_symbols).all()
    assert not symbols[~valid].any()
    again, again_bits = coder.encode(symbols[valid])
    np.testing.assert_array_equal(again_bits, num_bits[valid])
    for row, length, old in zip(again, again_bits, bits[valid], strict=True):
        np.testing.assert_array_equal(row[:length], old[:length])


@unhurried
@given(st.lists(st.integers(0, 30), min_size=2, max_size=40), st.randoms())
def test_fit_depends_on_counts_only(counts, random):
    """Which symbol has which count does not change how many codewords have which length."""
    shuffled = random.sample(counts, len(counts))
    assert Counter(HuffmanCoder.fit(counts)["lengths"]) == Counter(HuffmanCoder.fit(shuffled)["lengths"])


@unhurried
@given(
    st.sampled_from([UniformQuantizer, MuLawQuantizer]),
    st.integers(1, 16),
    hnp.arrays(np.float32, st.integers(0, 30), elements=st.floats(width=32)),
)
def test_quantizers_are_idempotent_and_monotone_on_any_float(kind, bits, x):
    quantizer = kind(bits)
    index = quantizer.quantize(x)
    assert ((index >= 0) & (index < 2**bits)).all()
    np.testing.assert_array_equal(quantizer.quantize(quantizer.dequantize(index)), index)
    order = np.argsort(x[~np.isnan(x)])
    assert (np.diff(index[~np.isnan(x)][order]) >= 0).all()
