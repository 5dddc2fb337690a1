"""Range coder with integer tables; all reports of a batch are coded at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from receivers.coding.fixed import as_table, blocks, check_alphabet, check_payload, check_symbols
from simulator.core.errors import ConfigError
from simulator.core.interfaces import EntropyCoder

PRECISION = 16
TOTAL = 1 << PRECISION
MAX_ALPHABET = 1 << 15
_STATE = np.uint64(48)  # bits of low and range
_TOP = np.uint64(1 << 48)
_BOTTOM = np.uint64(1 << 40)  # below, the range is renormalised by a byte
_MASK = np.uint64((1 << 48) - 1)
_BYTE = np.uint64(8)


class RangeCoder(EntropyCoder):
    r"""Arithmetic coding by subdivision of a range, :math:`r \leftarrow \lfloor r / 2^{16} \rfloor f_s`.

    Symbol i of a report is coded with table ``i mod T``. A report is the shortest bit string all of whose continuations
    lie in the final range, a prefix code: its length exceeds :math:`\sum -\log_2 (f / 2^{16})` by 0 to 2 bits.
    Everything is integer arithmetic, so both ends agree on every machine. The state has 48 bits, which leaves 24 or
    more for a table of 16: the loss by rounding is below :math:`10^{-6}` bit per symbol.

    Args:
        num_symbols: size K of the alphabet, 1..2**15.
        frequencies: integers >= 1 ``[table][symbol]``, each row with the sum 2**16, as made by :meth:`fit`.
    Raises:
        ConfigError: for anything else.
    Source: Martin, "Range encoding: an algorithm for removing redundancy from a digitised message", 1979; carries:
        Subbotin's and Schindler's later forms.
    """

    def __init__(self, num_symbols: int, *, frequencies: Sequence[Sequence[int]]) -> None:
        self.num_symbols = check_alphabet("coders.range.num_symbols", num_symbols)
        table, field = as_table(frequencies), "coders.range.frequencies"
        if self.num_symbols > MAX_ALPHABET:
            raise ConfigError("coders.range.num_symbols", num_symbols, f"1..{MAX_ALPHABET}")
        if table.ndim != 2 or table.shape[1] != self.num_symbols or not np.issubdtype(table.dtype, np.integer):
            raise ConfigError(field, f"{table.dtype} {table.shape}", f"integers [table][{self.num_symbols}]")
        if not len(table) or table.min() < 1 or table.max() > TOTAL or (table.sum(axis=1) != TOTAL).any():
            sums = ", ".join(map(str, np.unique(table.sum(axis=1))[:4]))
            raise ConfigError(field, f"rows with the sums {sums or 'none'}", f"values >= 1 with the sum {TOTAL}")
        table = table.astype(np.int64)
        self._frequency = table.astype(np.uint64)
        ends = np.cumsum(table, axis=1)
        self._start = (ends - table).astype(np.uint64)
        # All tables in one increasing array for the decoder's search: table t lies in [t * TOTAL, (t + 1) * TOTAL).
        self._ends = (ends + TOTAL * np.arange(len(table))[:, None]).ravel()

    @classmethod
    def fit(cls, counts: NDArray[np.integer[Any]]) -> dict[str, list[list[int]]]:
        r"""Parameters ``{"frequencies": ...}`` for symbol counts.

        :math:`f_s = 1 + \lfloor c_s (2^{16} - K) / \sum c \rfloor`; the remainder goes to the most frequent symbol.

        Args:
            counts: integers >= 0 ``[symbol]`` or ``[table, symbol]`` with sums below 2**46; a row of zeros is read as
                a row of ones.
        Raises:
            ConfigError: for anything else, and for more than 2**15 symbols.
        """
        counts = np.atleast_2d(np.asarray(counts))
        field = "coders.range.counts"
        if counts.ndim != 2 or counts.size < 1 or not np.issubdtype(counts.dtype, np.integer):
            raise ConfigError(field, f"{counts.dtype} {counts.shape}", "integers [symbol] or [table, symbol]")
        if counts.min() < 0 or counts.sum(axis=1, dtype=np.float64).max() >= 2**46:
            raise ConfigError(field, f"{counts.min()}..{counts.max()}", ">= 0 with a sum below 2**46")
        size = counts.shape[1]
        if size > MAX_ALPHABET:
            raise ConfigError(field, f"{size} symbols", f"at most {MAX_ALPHABET}")
        counts = counts.astype(np.int64)
        counts[counts.sum(axis=1) == 0] = 1
        table = 1 + counts * (TOTAL - size) // counts.sum(axis=1, keepdims=True)
        table[np.arange(len(table)), counts.argmax(axis=1)] += TOTAL - table.sum(axis=1)
        return {"frequencies": table.tolist()}

    def max_bits(self, num_symbols: int) -> int:
        """Bound on a report of ``num_symbols`` [bit], at most 3 above the ideal length of their rarest values."""
        rarest = self._frequency.min(axis=1).tolist()
        rounds, rest = divmod(num_symbols, len(rarest))
        product = math.prod(rarest) ** rounds * math.prod(rarest[:rest])
        lost = -(-num_symbols // 2**23)  # by rounding, below 2**-23 bit per symbol
        return PRECISION * num_symbols - (product.bit_length() - 1) + lost + 1 if num_symbols else 0

    def encode(self, symbols: NDArray[np.integer[Any]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Bits uint8 ``[report, max_bits]``, zero padded to the longest report; their number ``[report]``.

        Args:
            symbols: integers ``[report, symbol]`` in the alphabet.
        Raises:
            PayloadError: for anything else.
        """
        symbols = check_symbols(symbols, self.num_symbols)
        parts, num_bits = [], np.zeros(len(symbols), np.int64)
        for block in blocks(len(symbols), 2 * symbols.shape[1] + 8):
            octets, num_bits[block] = self._encode(symbols[block].T.astype(np.int64))
            parts.append(octets[:, : (num_bits[block].max() + 7) // 8].copy())
        bits = np.zeros((len(symbols), num_bits.max(initial=0)), np.uint8)
        for block, octets in zip(blocks(len(symbols), 2 * symbols.shape[1] + 8), parts, strict=True):
            part = np.unpackbits(octets, axis=1)[:, : bits.shape[1]]
            bits[block, : part.shape[1]] = part
        return bits, num_bits

    def _encode(self, symbols: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Octets uint8 ``[report, octet]``, zero padded, and bits ``[report]`` of symbols ``[symbol, report]``."""
        encoder = RangeEncoder(symbols.shape[1], 2 * len(symbols) + 8)
        for index, symbol in enumerate(symbols):
            table = index % len(self._frequency)
            encoder.put(self._start[table].take(symbol), self._frequency[table].take(symbol))
        return encoder.finish()

    def decode(
        self, bits: NDArray[np.uint8], num_bits: NDArray[np.integer[Any]], num_symbols: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Symbols int64 ``[report, num_symbols]`` (0 where not valid) and ``valid`` bool ``[report]``.

        A report is valid if the decoded symbols, encoded again, give exactly these bits.

        Args:
            bits: uint8 0/1 ``[report, max_bits]``; bits from ``num_bits`` on are ignored.
            num_bits: integers ``[report]`` in 0..max_bits.
            num_symbols: symbols of each report, >= 0.
        Raises:
            PayloadError: for malformed arguments; never for the value of the bits.
        """
        bits, num_bits = check_payload(bits, num_bits, num_symbols)
        symbols = np.zeros((len(bits), num_symbols), np.int64)
        valid = np.empty(len(bits), np.bool_)
        column = np.arange(bits.shape[1])
        for block in blocks(len(bits), max(2 * num_symbols + 8, bits.shape[1])):
            sent = np.packbits(bits[block] & (column < num_bits[block, None]), axis=1)
            found = self._decode(sent, num_symbols)
            again, length = self._encode(found)
            width = min(sent.shape[1], again.shape[1])  # after it, reports of equal length have zeros
            valid[block] = (length == num_bits[block]) & (sent[:, :width] == again[:, :width]).all(axis=1)
            symbols[block] = found.T
        symbols[~valid] = 0
        return symbols, valid

    def _decode(self, octets: NDArray[np.uint8], num_symbols: int) -> NDArray[np.int64]:
        """Symbols int64 ``[symbol, report]``; zeros follow the octets."""
        decoder = RangeDecoder(octets)
        symbols = np.empty((num_symbols, len(octets)), np.int64)
        for index in range(num_symbols):
            table = index % len(self._frequency)
            target = decoder.target()
            symbol = np.searchsorted(self._ends, target + TOTAL * table, side="right") - table * self.num_symbols
            symbols[index] = symbol
            decoder.take(self._start[table].take(symbol), self._frequency[table].take(symbol))
        return symbols


class RangeEncoder:
    """Encoders of many reports in lockstep: one symbol of every report at a time, each with a table of its own.

    Args:
        num_reports: reports.
        octets: room for every report; it grows where it does not suffice.
    """

    def __init__(self, num_reports: int, octets: int = 64):
        self._low = np.zeros(num_reports, np.uint64)
        self._span = np.full(num_reports, _MASK + np.uint64(1), np.uint64)
        self._digits = np.zeros((num_reports, octets), np.int16)  # bytes, with carries not yet resolved
        self._position = np.zeros(num_reports, np.int64)
        self._report = np.arange(num_reports)

    def put(self, start: NDArray[np.uint64], frequency: NDArray[np.uint64], precision: int = PRECISION) -> None:
        """Code the symbols that lie in ``[start, start + frequency)`` of ``2**precision``, at most 2**24.

        ``frequency = 2**precision`` leaves a report as it is.

        Args:
            start: uint64 ``[report]``.
            frequency: uint64 ``[report]``, at least 1.
            precision: bits of all tables.
        """
        whole = frequency >> np.uint64(precision) != 0
        unit = self._span >> np.uint64(precision)
        self._low += unit * start
        self._span = np.where(whole, self._span, unit * frequency)
        low, span, digits, position, report = self._low, self._span, self._digits, self._position, self._report
        carry = low >> _STATE != 0
        if carry.any():
            digits[report[carry], position[carry] - 1] += 1
            low &= _MASK
        while (short := span <= _BOTTOM).any():
            if position.max() + 8 >= digits.shape[1]:
                self._digits = digits = np.pad(digits, ((0, 0), (0, digits.shape[1] + 8)))
            digits[report[short], position[short]] = (low[short] >> np.uint64(40)).astype(np.int16)
            low[short] = low[short] << _BYTE & _MASK
            span[short] <<= _BYTE
            position[short] += 1

    def lower_ends(self, num_bits: int, up: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Lower ends of the final ranges, uint8 ``[report, num_bits]``, rounded up or down ``[report]``.

        A symbol that starts its table leaves the lower end as it is. Of a report that ends in such symbols a decoder of
        ``num_bits`` bits determines all before them, if it is rounded up and they have ``num_bits - 1`` bits or fewer.

        Returns:
            the bits, and by how much they were raised, ``[report]`` in units of the last bit.
        """
        digits = np.pad(self._digits, ((0, 0), (0, max(0, num_bits // 8 + 1 - self._digits.shape[1]) + 8)))
        tail = (self._low[:, None] >> np.arange(40, -1, -8, dtype=np.uint64)) & np.uint64(255)
        digits[self._report[:, None], self._position[:, None] + np.arange(6)] += tail.astype(np.int16)
        for column in range(digits.shape[1] - 1, 0, -1):
            digits[:, column - 1] += digits[:, column] >> 8
        bits = np.unpackbits((digits & 255).astype(np.uint8), axis=1)
        rest = bits[:, num_bits : num_bits + 40] @ 0.5 ** np.arange(1, 1 + bits[:, num_bits : num_bits + 40].shape[1])
        bits = bits[:, :num_bits]
        raised = np.flatnonzero(up & (rest > 0) & (bits == 0).any(axis=1))
        place = num_bits - 1 - (bits[raised, ::-1] == 0).argmax(axis=1)
        bits[raised] *= (np.arange(num_bits) < place[:, None]).astype(np.uint8)
        bits[raised, place] = 1
        return bits, np.where(up & (rest > 0), 1 - rest, 0)

    def finish(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Octets uint8 ``[report, octet]``, zero padded, and the bits of every report.

        These are the fewest leading bits that keep any continuation in the final range.
        """
        low, span, position, report = self._low, self._span, self._position, self._report
        if position.max(initial=0) + 8 >= self._digits.shape[1]:
            self._digits = np.pad(self._digits, ((0, 0), (0, 8)))
        digits = self._digits
        num_bits, value = np.full(len(low), 48), low.copy()
        for kept in range(48, -1, -1):
            unit = np.uint64(1) << np.uint64(48 - kept)
            up = (low + (unit - np.uint64(1))) // unit * unit
            fits = up - low + unit <= span
            num_bits[fits], value[fits] = kept, up[fits]
        carry = value >> _STATE != 0
        digits[report[carry], position[carry] - 1] += 1
        value &= _MASK
        tail = (value[:, None] >> np.arange(40, -1, -8, dtype=np.uint64)) & np.uint64(255)
        digits[report[:, None], position[:, None] + np.arange(6)] = tail.astype(np.int16)
        for column in range(digits.shape[1] - 1, 0, -1):
            digits[:, column - 1] += digits[:, column] >> 8
        return (digits & 255).astype(np.uint8), 8 * position + num_bits


class RangeDecoder:
    """Decoders of many reports in lockstep, also of reports that were cut.

    Args:
        octets: uint8 ``[report, octet]``; zeros follow.
        num_bits: known bits of every report; None: all, the zeros after the octets included. A symbol that the known
            bits leave open, and all after it, are undetermined.
    """

    def __init__(self, octets: NDArray[np.uint8], num_bits: NDArray[np.int64] | None = None):
        self._stream = np.pad(octets, ((0, 0), (0, 16))).astype(np.uint64)
        self._report = np.arange(len(octets))
        self._value = np.zeros(len(octets), np.uint64)  # of the report, above the start of the range
        for column in range(6):
            self._value = self._value << _BYTE | self._stream[:, column]
        self._position = np.full(len(octets), 6)
        self._span = np.full(len(octets), _MASK + np.uint64(1), np.uint64)
        self._num_bits = num_bits
        self.determined = np.ones(len(octets), bool)

    def target(self, precision: int = PRECISION) -> NDArray[np.int64]:
        """Where the next symbol lies in ``[0, 2**precision)``, int64 ``[report]``."""
        self._unit = self._span >> np.uint64(precision)
        return np.minimum(self._value // self._unit, np.uint64((1 << precision) - 1)).astype(np.int64)

    def take(self, start: NDArray[np.uint64], frequency: NDArray[np.uint64], precision: int = PRECISION) -> None:
        """Go on after the symbols that hold the :meth:`target`; arguments as those of :meth:`RangeEncoder.put`."""
        whole = frequency >> np.uint64(precision) != 0
        self._value -= self._unit * start
        self._span = np.where(whole, self._span, self._unit * frequency)
        value, span, stream, position, report = self._value, self._span, self._stream, self._position, self._report
        if self._num_bits is not None:
            unknown = np.clip(8 * position - self._num_bits, 0, 48).astype(np.uint64)
            highest = value + ((np.uint64(1) << unknown) - np.uint64(1))
            self.determined &= (highest < span) | whole
        while (short := span <= _BOTTOM).any():
            column = np.minimum(position[short], stream.shape[1] - 1)
            value[short] = value[short] << _BYTE | stream[report[short], column]
            position[short] += 1
            span[short] <<= _BYTE
