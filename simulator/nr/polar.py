"""Polar code of uplink control information: construction, rate matching, CRC-aided list decoding."""

from __future__ import annotations

import json
import math
from functools import cache
from importlib.resources import files

import numpy as np

from simulator.nr import crc
from simulator.nr.polar_list import ListDecoder, transform

# Sub-block interleaver, TS 38.212, Table 5.4.1.1-1.
_SUB_BLOCKS = np.array(
    [
        0, 1, 2, 4, 3, 5, 6, 7, 8, 16, 9, 17, 10, 18, 11, 19,
        12, 20, 13, 21, 14, 22, 15, 23, 24, 25, 26, 28, 27, 29, 30, 31,
    ]
)  # fmt: skip
_KNOWN = np.float32(1e9)  # LLR of a bit that is known to be 0


def parity_bits(num_bits: int) -> int:
    """n_PC of a code block of ``num_bits`` bits with CRC (TS 38.212, 6.3.1.3.1)."""
    return 3 if 18 <= num_bits <= 25 else 0


def mother_length(num_bits: int, length: int) -> int:
    """N for ``num_bits`` bits with CRC in ``length`` coded bits (TS 38.212, 5.3.1; n_max = 10)."""
    n1 = math.ceil(math.log2(length))
    if length <= 9 / 8 * 2 ** (n1 - 1) and num_bits / length < 9 / 16:
        n1 -= 1
    return 2 ** max(min(n1, math.ceil(math.log2(8 * num_bits)), 10), 5)


class PolarCode:
    """One code block: ``num_bits`` bits with their CRC to ``length`` coded bits and back.

    Args:
        num_bits: K, CRC included; 18 to 1023.
        length: E, at least K + n_PC.
        crc_bits: 6 or 11.
        list_size: paths of the decoder, a power of two.

    The order of reliability is Sionna's copy of TS 38.212, Table 5.3.1.2-1. Sionna's ``Polar5GEncoder`` (1.2) has no
    parity-check bits, ends at one block of 1088 coded bits, and freezes other bits than 5.4.1.1 says for some punctured
    lengths (96, 192, ...); elsewhere the codes are the same. Its list decoder is some hundred times slower than this.

    Source: TS 38.212, 5.3.1, 5.4.1 (I_IL = 0, I_BIL = 1).
    """

    def __init__(self, num_bits: int, length: int, crc_bits: int, list_size: int = 8):
        size = mother_length(num_bits, length)
        self.num_bits, self.length, self.size, self._crc_bits = num_bits, length, size, crc_bits
        sub = _sub_block(size)
        punctured = 16 * num_bits <= 7 * length
        never = np.zeros(size, bool)  # bits that rate matching makes useless
        start = 0
        if length < size and punctured:
            never[sub[: size - length]] = True
            low = 3 * size / 4 - length / 2 if length >= 3 * size / 4 else 9 * size / 16 - length / 4
            never[: math.ceil(low)] = True
            start = size - length
        elif length < size:
            never[sub[length:]] = True
        order = _reliability(size)  # least reliable first
        usable = order[~never[order]]
        parity = parity_bits(num_bits)
        chosen = usable[len(usable) - num_bits - parity :]
        self.parity = np.zeros(size, bool)
        if parity:
            by_weight = int(length - num_bits + 3 > 192)
            self.parity[chosen[: parity - by_weight]] = True
            if by_weight:
                rest = chosen[parity:]
                weight = np.array([int(i).bit_count() for i in rest])
                self.parity[rest[np.flatnonzero(weight == weight.min())[-1]]] = True
        self.frozen = np.ones(size, bool)
        self.frozen[chosen] = False
        self.info = np.flatnonzero(~self.frozen & ~self.parity)
        # Coded bit k is bit `_picked[k]` of the mother code; shortened bits are never picked, and known.
        self._picked = sub[(start + np.arange(length)) % size][_triangle(length)]
        self._default = np.zeros(size, np.float32)
        if length < size and not punctured:
            self._default[sub[length:]] = _KNOWN
        self._decoder = ListDecoder(self.frozen, self.parity, list_size)

    def encode(self, bits: np.ndarray) -> np.ndarray:
        """Bits with CRC uint8 ``[batch, num_bits]`` to coded bits uint8 ``[batch, length]``."""
        u = np.zeros((len(bits), self.size), np.uint8)
        u[:, self.info] = bits
        for index in np.flatnonzero(self.parity):
            before = self.info[(self.info < index) & (self.info % 5 == index % 5)]
            u[:, index] = np.bitwise_xor.reduce(u[:, before], axis=1)
        return transform(u)[:, self._picked]

    def decode(self, llr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Likeliest word whose CRC holds; the likeliest word where none does.

        Args:
            llr: float32 ``[batch, length]``, log P(0) / P(1).

        Returns:
            bits with CRC uint8 ``[batch, num_bits]``, and bool ``[batch]``: the CRC holds.
        """
        mother = np.tile(self._default, (len(llr), 1))
        for start in range(0, self.length, self.size):  # within one repetition no bit comes twice
            mother[:, self._once(start)] += llr[:, self._order[start : start + self.size]]
        u, _ = self._decoder(mother)
        words = u[..., self.info]
        good = crc.check(words, self._crc_bits)
        first = good.argmax(axis=1)
        return words[np.arange(len(words)), first], good.any(axis=1)

    @property
    def _order(self) -> np.ndarray:
        """Coded bits in the order of the circular buffer, ``[length]``."""
        return np.argsort(_triangle(self.length))

    def _once(self, start: int) -> np.ndarray:
        return self._picked[self._order[start : start + self.size]]


@cache
def _sequence() -> np.ndarray:
    """Bits of the longest mother code, the least reliable first (TS 38.212, Table 5.3.1.2-1)."""
    return np.array(json.loads(files("simulator.nr").joinpath("polar_sequence.json").read_text()), np.int64)


def _reliability(size: int) -> np.ndarray:
    """Bits of a mother code, the least reliable first."""
    sequence = _sequence()
    return sequence[sequence < size]


def _sub_block(size: int) -> np.ndarray:
    """J: bit of the mother code at every position after the sub-block interleaver (TS 38.212, 5.4.1.1)."""
    return (_SUB_BLOCKS[:, None] * (size // 32) + np.arange(size // 32)).reshape(-1)


@cache
def _triangle(length: int) -> np.ndarray:
    """Position before the channel interleaver of every coded bit (TS 38.212, 5.4.1.3)."""
    side = math.ceil((math.sqrt(8 * length + 1) - 1) / 2)
    widths = np.arange(side, 0, -1)
    row = np.repeat(np.arange(side), widths)
    column = np.arange(len(row)) - np.repeat(np.cumsum(widths) - widths, widths)
    written = np.lexsort((row, column))  # read column by column
    return written[written < length]
