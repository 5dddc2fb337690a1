"""Canonical Huffman code with a length limit; all reports of a batch are coded at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from receivers.coding.fixed import as_table, blocks, check_alphabet, check_payload, check_symbols
from simulator.core.errors import ConfigError
from simulator.core.interfaces import EntropyCoder

MAX_LENGTH = 20
_TABLE_LENGTH = 12  # with several tables, whose look-up arrays all stay in memory; more for large alphabets
_END = 1 << 40  # length of an illegal codeword: moves the read position past every report


class HuffmanCoder(EntropyCoder):
    r"""Prefix code given by its codeword lengths :math:`l_k` alone, :math:`\sum_k 2^{-l_k} \le 1`.

    Canonical convention (RFC 1951, 3.2.2): the shorter codeword comes first, among equal lengths the smaller
    symbol. In this order the first codeword is all zeros and each next one is the last plus one, shifted left
    by the growth in length; it is sent most significant bit first. Lengths (2, 1, 3, 3): 10, 0, 110, 111.

    With several tables, symbol i of a report is coded with table ``i mod T``; each of them has an escape codeword, the
    last entry of its row. A symbol of length 0 has no codeword: it is sent as escape followed by its index in
    :math:`\lceil \log_2 K \rceil` bits.

    The code may be incomplete (a sum below 1): bits that start no codeword make a report invalid. An alphabet
    of one symbol costs one bit per symbol. The tables are integers, so both ends hold the same code.

    Args:
        num_symbols: size K of the alphabet, 1..2**20.
        lengths: bits of the codewords as made by :meth:`fit`: ``[symbol]`` (one table, no escape) or
            ``[table][symbol + 1]``, the last column being the escape, 0 where there is none. At most 20; with several
            tables at most 12, or the bits of K if these are more.
    Raises:
        ConfigError: for a wrong size, a length out of range, or lengths that no prefix code has.
    Source: Huffman, Proc. IRE 40(9), 1952; canonical form: RFC 1951, 3.2.2.
    """

    def __init__(self, num_symbols: int, *, lengths: Sequence[int] | Sequence[Sequence[int]]) -> None:
        self.num_symbols = check_alphabet("coders.huffman.num_symbols", num_symbols)
        self.lengths = _check_lengths(lengths, self.num_symbols)
        one = self.lengths if self.lengths.ndim == 2 else np.append(self.lengths, 0)[None]
        self._raw = (self.num_symbols - 1).bit_length()
        self._max = int(one.max())
        tables = [_canonical(row, self._max) for row in one]
        self.codewords = tables[0][0][: self.num_symbols] if self.lengths.ndim == 1 else None
        # Encoder, [table * symbol]: codeword, an escaped symbol's index included, in octets from its first bit on;
        # the bits of the octets that it uses; their number.
        words = np.stack([t[0] for t in tables])
        self._escaped = one[:, :-1] == 0
        escape_words = words[:, -1:] << self._raw | np.arange(self.num_symbols)
        words = np.where(self._escaped, escape_words, words[:, :-1]).ravel()
        self._word_bits = np.where(self._escaped, one[:, -1:] + self._raw, one[:, :-1]).ravel()
        self._widest = int(self._word_bits.max())
        self._num_tables = len(one)
        shifts = np.arange((self._widest - 1) // 8 * 8, -8, -8)
        free = shifts[0] + 8 - self._word_bits
        self._octets = ((words << free)[:, None] >> shifts & 255).astype(np.uint8)
        self._used = ((-1 << free)[:, None] >> shifts & 255).astype(np.uint8)
        # Decoder: symbol (num_symbols: escape) and length of the codeword that a window starts with.
        self._symbol_of = np.concatenate([t[1] for t in tables])
        self._length_of = np.concatenate([t[2] for t in tables])

    @classmethod
    def fit(cls, counts: NDArray[np.integer[Any]]) -> dict[str, Any]:
        """Parameters ``{"lengths": ...}`` of the shortest codes with codewords of at most 20 bits (several tables: 12).

        Args:
            counts: how often each symbol occurred, integers >= 0 with sums below 2**58. ``[symbol]``: one table, in
            which a count of 0 is read as 1, so that every symbol has a codeword. ``[table, symbol]``: symbols that
                never occurred share the escape of their table, which has the weight of one occurrence.
        Raises:
            ConfigError: for anything else.
        Source: package-merge: Larmore, Hirschberg, J. ACM 37(3), 1990.
        """
        counts, field = np.asarray(counts), "coders.huffman.counts"
        if counts.ndim not in (1, 2) or counts.size < 1 or not np.issubdtype(counts.dtype, np.integer):
            raise ConfigError(field, f"{counts.dtype} {counts.shape}", "integers [symbol] or [table, symbol]")
        if counts.min() < 0 or counts.sum(axis=-1, dtype=np.float64).max() >= 2**58:
            raise ConfigError(field, f"{counts.min()}..{counts.max()}", ">= 0 with a sum below 2**58")
        counts = counts.astype(np.int64)
        if counts.ndim == 1:
            return {"lengths": package_merge(np.maximum(counts, 1), MAX_LENGTH).tolist()}
        limit = _limit(*counts.shape)
        rows = []
        for row in counts:
            weights = np.append(row, int((row == 0).any()))
            lengths = np.zeros(len(weights), np.int64)
            lengths[weights > 0] = package_merge(weights[weights > 0], limit)
            rows.append(lengths.tolist())
        return {"lengths": rows}

    @property
    def max_length(self) -> int:
        """Bits of the longest codeword, an escaped index included."""
        return self._widest

    def max_bits(self, num_symbols: int) -> int:
        """Longest possible report of ``num_symbols`` symbols [bit]."""
        longest = self._word_bits.reshape(self._num_tables, -1).max(axis=1)
        return int(np.resize(longest, num_symbols).sum())

    def encode(self, symbols: NDArray[np.integer[Any]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Bits uint8 ``[report, max_bits]``, zero padded to the longest report; their number ``[report]``.

        Args:
            symbols: integers ``[report, symbol]`` in the alphabet.
        Raises:
            PayloadError: for anything else.
        """
        symbols = check_symbols(symbols, self.num_symbols)
        first = self._first(symbols.shape[1], self.num_symbols)  # entry of each position's table
        num_bits = np.zeros(len(symbols), np.int64)
        for block in blocks(*symbols.shape):
            num_bits[block] = self._word_bits[symbols[block].astype(np.int64) + first].sum(axis=1)
        bits = np.zeros((len(symbols), num_bits.max(initial=0)), np.uint8)
        column = np.arange(bits.shape[1])
        for block in blocks(len(symbols), symbols.shape[1] * 8 * self._octets.shape[1]):
            # Codewords in a row, unused bits dropped: the bits of all reports one after the other.
            entry = symbols[block].astype(np.int64) + first
            used = np.unpackbits(self._used.take(entry, axis=0)).view(np.bool_)
            stream = np.unpackbits(self._octets.take(entry, axis=0))[used]
            bits[block][column < num_bits[block, None]] = stream
        return bits, num_bits

    def decode(
        self, bits: NDArray[np.uint8], num_bits: NDArray[np.integer[Any]], num_symbols: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Symbols int64 ``[report, num_symbols]`` (0 where not valid) and ``valid`` bool ``[report]``.

        A report is valid if ``num_symbols`` codewords fill exactly ``num_bits`` bits and no symbol that has a codeword
        is sent by escape.

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
            decoded, position = self._decode(bits[block], num_symbols)
            symbols[block] = decoded.T
            valid[block] = position == num_bits[block]
        valid &= (symbols < self.num_symbols).all(axis=1)
        symbols[~valid] = 0
        return symbols, valid

    def _first(self, num_symbols: int, size: int) -> NDArray[np.int64]:
        """First entry of the table of every position, in arrays with ``size`` entries per table."""
        return np.arange(num_symbols) % self._num_tables * size

    def _decode(self, bits: NDArray[np.uint8], num_symbols: int) -> tuple[NDArray[np.int64], ...]:
        """Symbols int64 ``[symbol, report]``; ends ``[report]``."""
        num_reports, width = bits.shape
        octets = np.pad(np.packbits(bits, axis=1), ((0, 0), (0, 4))).astype(np.int64)
        # The 32 bits from each octet on hold any codeword that starts in it: 7 + 20 bits.
        words = octets[:, :-3] << 24 | octets[:, 1:-2] << 16 | octets[:, 2:-1] << 8 | octets[:, 3:]
        row, words = np.arange(num_reports) * words.shape[1], words.reshape(-1)
        position = np.zeros(num_reports, np.int64)

        def window(length: int) -> NDArray[np.int64]:
            found = words.take(row + (position >> 3))
            found >>= 32 - length - (position & 7)
            found &= (1 << length) - 1
            return found

        symbols = np.empty((num_symbols, num_reports), np.int64)
        for symbol, first in zip(symbols, self._first(num_symbols, 1 << self._max), strict=True):
            entry = window(self._max) + first
            symbol[:] = self._symbol_of.take(entry)
            position += self._length_of.take(entry)
            np.minimum(position, width + 1, out=position)  # past the end: zeros follow, never valid again
            if self._escaped.any() and (escaped := symbol == self.num_symbols).any():
                index = window(self._raw)[escaped]
                legal = self._escaped[first >> self._max].take(index, mode="clip")
                symbol[escaped] = np.where(legal, index, self.num_symbols)
                position[escaped] += self._raw
                np.minimum(position, width + 1, out=position)
        return symbols, position


def _limit(num_tables: int, num_symbols: int) -> int:
    """Longest codeword [bit]. It serves ``num_symbols`` codewords: a table with an escape has a symbol without."""
    return min(max(_TABLE_LENGTH, num_symbols.bit_length()), MAX_LENGTH) if num_tables > 1 else MAX_LENGTH


def _canonical(lengths: NDArray[np.int64], longest: int) -> tuple[NDArray[np.int64], ...]:
    """Codewords of lengths (0: none); symbol and length of the codeword that each window of bits starts with."""
    used = np.flatnonzero(lengths)
    order = used[np.argsort(lengths[used], kind="stable")]
    spans = 1 << (longest - lengths[order])  # windows that start with the codeword; together they fill 0, 1, 2, ...
    codewords = np.zeros(len(lengths), np.int64)
    codewords[order] = (np.cumsum(spans) - spans) >> (longest - lengths[order])
    symbol_of = np.zeros(2**longest, np.int32)
    length_of = np.full(2**longest, _END, np.int64)
    symbol_of[: spans.sum()] = np.repeat(order, spans)
    length_of[: spans.sum()] = np.repeat(lengths[order], spans)
    return codewords, symbol_of, length_of


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


def _check_lengths(lengths: Sequence[int] | Sequence[Sequence[int]], num_symbols: int) -> NDArray[np.int64]:
    array, field = as_table(lengths), "coders.huffman.lengths"
    tables = array.ndim == 2 and len(array) > 0 and array.shape[1] == num_symbols + 1
    if not (tables or array.shape == (num_symbols,)) or not np.issubdtype(array.dtype, np.integer):
        allowed = f"{num_symbols} integers, or rows of {num_symbols + 1}"
        raise ConfigError(field, f"{array.dtype} {array.shape}", allowed)
    limit = _limit(len(array) if tables else 1, num_symbols)
    if array.min() < 1 - tables or array.max() > limit:
        raise ConfigError(field, f"{array.min()}..{array.max()}", f"{1 - tables}..{limit} bits")
    array = array.astype(np.int64)
    kraft = np.where(array > 0, 1 << (MAX_LENGTH - array), 0).sum(axis=-1).max()
    if kraft > 1 << MAX_LENGTH:
        raise ConfigError(field, f"a Kraft sum of {kraft / (1 << MAX_LENGTH):g}", "a sum <= 1 (prefix code)")
    if tables and ((array[:, :-1] == 0).any(axis=1) & (array[:, -1] == 0)).any():
        raise ConfigError(field, "symbols without codeword and no escape", "an escape length > 0 in such rows")
    return array
