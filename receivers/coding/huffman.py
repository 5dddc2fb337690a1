"""Canonical Huffman code with a length limit; all reports of a batch are coded at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from receivers.coding.fixed import blocks, check_alphabet, check_payload, check_symbols
from simulator.core.errors import ConfigError
from simulator.core.interfaces import EntropyCoder

MAX_LENGTH = 20
_END = 1 << 40  # length of an illegal codeword: moves the read position behind every report


class HuffmanCoder(EntropyCoder):
    r"""Prefix code given by its codeword lengths :math:`l_k` alone, :math:`\sum_k 2^{-l_k} \le 1`.

    Canonical convention (RFC 1951, 3.2.2): the shorter codeword comes first, among equal lengths the smaller
    symbol. In this order the first codeword is all zeros and each next one is the last plus one, shifted left
    by the growth in length; it is sent most significant bit first. Lengths (2, 1, 3, 3): 10, 0, 110, 111.

    The code may be incomplete (a sum below 1): bits that start no codeword make a report invalid. An alphabet
    of one symbol costs one bit per symbol. The table is integers, so both ends hold the same code.

    Args:
        num_symbols: size of the alphabet, 1..2**20.
        lengths: bits of the codeword of each symbol, 1..20, as made by :meth:`fit`.
    Raises:
        ConfigError: for a wrong size, a length out of range, or lengths that no prefix code has.
    Source: Huffman, Proc. IRE 40(9), 1952; canonical form: RFC 1951, 3.2.2.
    """

    def __init__(self, num_symbols: int, *, lengths: Sequence[int]) -> None:
        self.num_symbols = check_alphabet("coders.huffman.num_symbols", num_symbols)
        self.lengths = _check_lengths(lengths, self.num_symbols)
        self._max = int(self.lengths.max())
        free = self._max - self.lengths  # bits that may follow the codeword in a window of max_length bits
        order = np.argsort(self.lengths, kind="stable")
        spans = 1 << free[order]  # windows that start with the codeword; together they fill 0, 1, 2, ...
        first = np.empty_like(self.lengths)
        first[order] = np.cumsum(spans) - spans
        self.codewords = first >> free
        # Encoder, [symbol, max_length]: the bits of the codeword and the columns that it uses.
        column = np.arange(self._max)
        self._bits = (first[:, None] >> (self._max - 1 - column) & 1).astype(np.uint8)
        self._used = column < self.lengths[:, None]
        # Decoder: symbol and length of the codeword that a window starts with.
        self._symbol_of = np.zeros(2**self._max, np.int32)
        self._length_of = np.full(2**self._max, _END, np.int64)
        self._symbol_of[: spans.sum()] = np.repeat(order, spans)
        self._length_of[: spans.sum()] = np.repeat(self.lengths[order], spans)

    @classmethod
    def fit(cls, counts: NDArray[np.integer[Any]]) -> dict[str, list[int]]:
        """Parameters ``{"lengths": [...]}`` of the shortest code with codewords of at most 20 bits.

        Args:
            counts: how often each symbol occurred, integers >= 0 ``[symbol]`` with a sum below 2**58. A count
                of 0 is read as 1, so that every symbol has a codeword.
        Raises:
            ConfigError: for anything else.
        Source: package-merge: Larmore, Hirschberg, J. ACM 37(3), 1990.
        """
        counts, field = np.asarray(counts), "coders.huffman.counts"
        if counts.ndim != 1 or counts.size < 1 or not np.issubdtype(counts.dtype, np.integer):
            raise ConfigError(field, f"{counts.dtype} {counts.shape}", "integers [symbol], at least one")
        if counts.min() < 0 or counts.sum(dtype=np.float64) >= 2**58:
            raise ConfigError(field, f"{counts.min()}..{counts.max()}", ">= 0 with a sum below 2**58")
        return {"lengths": package_merge(np.maximum(counts.astype(np.int64), 1), MAX_LENGTH).tolist()}

    @property
    def max_length(self) -> int:
        """Bits of the longest codeword."""
        return self._max

    def encode(self, symbols: NDArray[np.integer[Any]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Bits uint8 ``[report, max_bits]``, zero padded to the longest report; their number ``[report]``.

        Args:
            symbols: integers ``[report, symbol]`` in the alphabet.
        Raises:
            PayloadError: for anything else.
        """
        symbols = check_symbols(symbols, self.num_symbols)
        num_bits = np.zeros(len(symbols), np.int64)
        for block in blocks(*symbols.shape):
            num_bits[block] = self.lengths[symbols[block]].sum(axis=1)
        bits = np.zeros((len(symbols), num_bits.max(initial=0)), np.uint8)
        column = np.arange(bits.shape[1])
        for block in blocks(len(symbols), symbols.shape[1] * self._max):
            # Codewords in a row, unused columns dropped: the bits of all reports one after the other.
            stream = self._bits[symbols[block]][self._used[symbols[block]]]
            bits[block][column < num_bits[block, None]] = stream
        return bits, num_bits

    def decode(
        self, bits: NDArray[np.uint8], num_bits: NDArray[np.integer[Any]], num_symbols: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Symbols int64 ``[report, num_symbols]`` (0 where not valid) and ``valid`` bool ``[report]``.

        A report is valid if ``num_symbols`` codewords fill exactly ``num_bits`` bits.

        Args:
            bits: uint8 0/1 ``[report, max_bits]``; bits from ``num_bits`` on are ignored.
            num_bits: integers ``[report]`` in 0..max_bits.
            num_symbols: symbols of each report, >= 0.
        Raises:
            PayloadError: for malformed arguments; never for the value of the bits.
        """
        bits, num_bits = check_payload(bits, num_bits, num_symbols)
        symbols = np.empty((len(bits), num_symbols), np.int64)
        valid = np.empty(len(bits), np.bool_)
        for block in blocks(len(bits), max(num_symbols, bits.shape[1])):
            windows, position = self._windows(bits[block], num_symbols)
            symbols[block] = self._symbol_of[windows].T
            valid[block] = position == num_bits[block]
        symbols[~valid] = 0
        return symbols, valid

    def _windows(self, bits: NDArray[np.uint8], num_symbols: int) -> tuple[NDArray[np.int64], ...]:
        """The ``max_length`` bits from each codeword on, int64 ``[symbol, report]``; ends ``[report]``."""
        num_reports, width = bits.shape
        octets = np.pad(np.packbits(bits, axis=1), ((0, 0), (0, 4))).astype(np.int64)
        # The 32 bits from each octet on hold any codeword that starts in it: 7 + 20 bits.
        words = octets[:, :-3] << 24 | octets[:, 1:-2] << 16 | octets[:, 2:-1] << 8 | octets[:, 3:]
        row, words = np.arange(num_reports) * words.shape[1], words.reshape(-1)
        position = np.zeros(num_reports, np.int64)
        windows = np.empty((num_symbols, num_reports), np.int64)
        for window in windows:
            window[:] = words.take(row + (position >> 3))
            window >>= 32 - self._max - (position & 7)
            window &= (1 << self._max) - 1
            position += self._length_of.take(window)
            np.minimum(position, width + 1, out=position)  # behind the end: zeros follow, never valid again
        return windows, position


def package_merge(counts: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Lengths int64 ``[symbol]`` of the shortest prefix code with no codeword above ``limit`` bits.

    On each level pairs of neighbours, lightest first, become packages and are merged with the symbols. Of the
    last level the 2K - 2 lightest items are bought; each purchase of a symbol is one bit of its codeword.

    Args:
        counts: positive weights int64 ``[symbol]``; ``limit`` times their sum must fit in int64.
        limit: longest codeword allowed [bit].
    Raises:
        ConfigError: for more than ``2**limit`` symbols.
    Source: Larmore, Hirschberg, J. ACM 37(3), 1990, Sec. 2.
    """
    num_symbols = len(counts)
    if num_symbols > 2**limit:
        raise ConfigError("coders.huffman.counts", f"{num_symbols} symbols", f"at most 2**{limit}")
    if num_symbols == 1:
        return np.ones(1, np.int64)
    order = np.argsort(counts, kind="stable")
    leaves = counts[order]
    items, is_leaf = leaves, [np.ones(num_symbols, np.bool_)]
    for _ in range(limit - 1):
        merged = np.concatenate([leaves, items[: len(items) // 2 * 2].reshape(-1, 2).sum(axis=1)])
        rank = np.argsort(merged, kind="stable")  # ties: symbols first
        items = merged[rank]
        is_leaf.append(rank < num_symbols)
    lengths = np.zeros(num_symbols, np.int64)
    bought = 2 * num_symbols - 2
    for leaf in reversed(is_leaf):
        num_leaves = int(leaf[:bought].sum())
        lengths[order[:num_leaves]] += 1  # always the lightest symbols
        bought = 2 * (bought - num_leaves)
    return lengths


def _check_lengths(lengths: Sequence[int], num_symbols: int) -> NDArray[np.int64]:
    array, field = np.asarray(lengths), "coders.huffman.lengths"
    if array.shape != (num_symbols,) or not np.issubdtype(array.dtype, np.integer):
        raise ConfigError(field, f"{array.dtype} {array.shape}", f"{num_symbols} integers")
    if array.min() < 1 or array.max() > MAX_LENGTH:
        raise ConfigError(field, f"{array.min()}..{array.max()}", f"1..{MAX_LENGTH} bits")
    kraft = int((1 << (MAX_LENGTH - array.astype(np.int64))).sum())
    if kraft > 1 << MAX_LENGTH:
        raise ConfigError(field, f"a Kraft sum of {kraft / (1 << MAX_LENGTH):g}", "a sum <= 1 (prefix code)")
    return array.astype(np.int64)
