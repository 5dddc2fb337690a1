"""Fixed-length code, and the common part of all coders: argument checks and blocks of reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core import bitfield
from simulator.core.errors import ConfigError, PayloadError
from simulator.core.interfaces import EntropyCoder

MAX_SYMBOLS = 2**20


class FixedLengthCoder(EntropyCoder):
    r"""Every symbol in :math:`\lceil \log_2 K \rceil` bits, most significant bit first (no bit for K = 1).

    Args:
        num_symbols: size K of the alphabet 0 .. K - 1, 1..2**20.
    Raises:
        ConfigError: for any other ``num_symbols``.
    Source: 3GPP TS 38.212, 6.3.1.1 (fields of a report, first bit most significant).
    """

    def __init__(self, num_symbols: int) -> None:
        self.num_symbols = check_alphabet("coders.fixed.num_symbols", num_symbols)

    @classmethod
    def fit(cls, counts: NDArray[np.integer[Any]]) -> dict[str, list[int]]:
        """Parameters of the code for these symbol counts: none."""
        return {}

    @property
    def max_length(self) -> int:
        """Bits of every codeword."""
        return (self.num_symbols - 1).bit_length()

    def max_bits(self, num_symbols: int) -> int:
        """Length of every report of ``num_symbols`` symbols [bit]."""
        return num_symbols * self.max_length

    def encode(self, symbols: NDArray[np.integer[Any]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Bits uint8 ``[report, symbol * max_length]`` and their number int64 ``[report]``.

        Args:
            symbols: integers ``[report, symbol]`` in the alphabet.
        Raises:
            PayloadError: for anything else.
        """
        symbols = check_symbols(symbols, self.num_symbols)
        num_reports, per_report = symbols.shape
        bits = np.empty((num_reports, per_report * self.max_length), np.uint8)
        for block in blocks(num_reports, bits.shape[1]):
            bits[block] = bitfield.pack(symbols[block], self.max_length)
        return bits, np.full(num_reports, bits.shape[1], np.int64)

    def decode(
        self, bits: NDArray[np.uint8], num_bits: NDArray[np.integer[Any]], num_symbols: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Symbols int64 ``[report, num_symbols]`` (0 where not valid) and ``valid`` bool ``[report]``.

        A report is valid if it has ``num_symbols * max_length`` bits and every field is in the alphabet.

        Args:
            bits: uint8 0/1 ``[report, max_bits]``; bits from ``num_bits`` on are ignored.
            num_bits: integers ``[report]`` in 0..max_bits.
            num_symbols: symbols of each report, >= 0.
        Raises:
            PayloadError: for malformed arguments; never for the value of the bits.
        """
        bits, num_bits = check_payload(bits, num_bits, num_symbols)
        length = num_symbols * self.max_length
        symbols = np.zeros((len(bits), num_symbols), np.int64)
        valid = num_bits == length
        if self.max_length and length <= bits.shape[1]:
            for block in blocks(len(bits), length):
                symbols[block] = bitfield.unpack(bits[block, :length], self.max_length)
        valid &= (symbols < self.num_symbols).all(axis=1)
        symbols[~valid] = 0
        return symbols, valid


def blocks(num_reports: int, per_report: int, budget: int = 2**21) -> Iterator[slice]:
    """Slices of reports with about ``budget`` elements each, so that temporary arrays stay small."""
    step = max(1, budget // max(1, per_report))
    return (slice(start, start + step) for start in range(0, num_reports, step))


def check_alphabet(field: str, num_symbols: int) -> int:
    """``num_symbols`` if it is an integer 1..2**20; ConfigError naming ``field`` otherwise."""
    is_int = isinstance(num_symbols, int | np.integer) and not isinstance(num_symbols, bool)
    if not is_int or not 1 <= num_symbols <= MAX_SYMBOLS:
        raise ConfigError(field, num_symbols, f"an integer 1..{MAX_SYMBOLS}")
    return int(num_symbols)


def as_table(table: Any) -> NDArray[Any]:
    """A table of a coder as an array; rows of unequal length give an empty one, which no coder takes."""
    try:
        return np.asarray(table)
    except ValueError:
        return np.empty(0)


def check_symbols(symbols: NDArray[np.integer[Any]], alphabet: int) -> NDArray[np.integer[Any]]:
    """The symbols ``[report, symbol]``; PayloadError for another shape or dtype, or outside the alphabet."""
    symbols = np.asarray(symbols)
    if symbols.ndim != 2 or not np.issubdtype(symbols.dtype, np.integer):
        raise PayloadError(f"symbols: got {symbols.dtype} {symbols.shape}; allowed: integers [report, symbol]")
    if symbols.size and not 0 <= symbols.min() <= symbols.max() < alphabet:
        raise PayloadError(f"symbols: got {symbols.min()}..{symbols.max()}; allowed: 0..{alphabet - 1}")
    return symbols


def check_payload(
    bits: NDArray[np.uint8], num_bits: NDArray[np.integer[Any]], num_symbols: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The arguments of ``decode`` as arrays; PayloadError for a wrong shape, dtype or value."""
    bits, num_bits = np.asarray(bits), np.asarray(num_bits)
    if bits.ndim != 2 or bits.dtype != np.uint8:
        raise PayloadError(f"bits: got {bits.dtype} {bits.shape}; allowed: uint8 [report, max_bits]")
    if bits.size and bits.max() > 1:
        raise PayloadError(f"bits: got value {bits.max()}; allowed: 0 or 1")
    if num_bits.shape != bits.shape[:1] or not np.issubdtype(num_bits.dtype, np.integer):
        allowed = f"integers of shape {bits.shape[:1]}"
        raise PayloadError(f"num_bits: got {num_bits.dtype} {num_bits.shape}; allowed: {allowed}")
    if num_bits.size and not 0 <= num_bits.min() <= num_bits.max() <= bits.shape[1]:
        raise PayloadError(f"num_bits: got {num_bits.min()}..{num_bits.max()}; allowed: 0..{bits.shape[1]}")
    if isinstance(num_symbols, bool) or not isinstance(num_symbols, int | np.integer) or num_symbols < 0:
        raise PayloadError(f"num_symbols: got {num_symbols!r}; allowed: an integer >= 0")
    return bits, num_bits.astype(np.int64)
