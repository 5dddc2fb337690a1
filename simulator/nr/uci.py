"""Channel coding of uplink control information: any payload of 1..1706 bits to any number of coded bits."""

from __future__ import annotations

from functools import cache

import numpy as np

from simulator.core.errors import ConfigError
from simulator.nr import crc, polar, short_block

MAX_BITS = 1706
MAX_LENGTH = 8192  # coded bits
_SEGMENTED = 2  # code blocks of a segmented payload


def crc_bits(num_bits: int) -> int:
    """Length of the CRC of a payload: 0 up to 11 bits, 6 up to 19, else 11 (TS 38.212, 6.3.1.2)."""
    return 0 if num_bits <= short_block.MAX_BITS else 6 if num_bits <= 19 else 11


def num_blocks(num_bits: int, length: int) -> int:
    """Code blocks of a payload, 1 or 2 (TS 38.212, 6.3.1.2.1)."""
    return _SEGMENTED if num_bits >= 1013 or (num_bits >= 360 and length >= 1088) else 1


def admits(num_bits: int, length: int) -> bool:
    """Whether a payload of 1..1706 bits fits in that many coded bits.

    With CRC and parity bits the code rate is at most 1. Codes of up to 11 bits distinguish all payloads: their
    generator, cut to the coded bits, has full rank (11 bits take 17 coded bits).
    """
    if not (1 <= num_bits <= MAX_BITS and length <= MAX_LENGTH):
        return False
    if num_bits <= short_block.MAX_BITS:
        return length >= short_block.shortest_length(num_bits)
    blocks = num_blocks(num_bits, length)
    block = -(-num_bits // blocks) + crc_bits(num_bits)
    return length // blocks >= block + polar.parity_bits(block)


@cache
def capacity(length: int) -> int:
    """Largest payload that fits in ``length`` coded bits [bit], 0 when none does."""
    return next((a for a in range(min(length, MAX_BITS), 0, -1) if admits(a, length)), 0)


def shortest_length(num_bits: int, multiple: int = 2) -> int:
    """Fewest coded bits, a multiple of the bits per symbol, that hold a payload of 1..1706 bits."""
    return next(e for e in range(multiple, MAX_LENGTH + 1, multiple) if admits(num_bits, e))


class UciCode:
    """Code of one payload size.

    1 bit is repeated, 2 bits are a simplex code, 3..11 bits the (32, A) block code, all without CRC. From 12 bits on a
    polar code with a CRC of 6 bits and 3 parity-check bits (up to 19 bits) or a CRC of 11 bits, in two blocks from 360
    bits with 1088 coded bits, or from 1013 bits on.

    Args:
        num_bits: A, 1..1706.
        length: E, coded bits.
        list_size: paths of the polar decoder, a power of two.
    Raises:
        ConfigError: the payload does not fit.
    Source: TS 38.212, 6.3.1.2 to 6.3.1.5 (6.3.2.2 to 6.3.2.5 on PUSCH), 5.2.1.
    """

    def __init__(self, num_bits: int, length: int, list_size: int = 8):
        if not admits(num_bits, length):
            raise ConfigError("uci.num_bits", num_bits, f"1..{capacity(length)} in {length} coded bits")
        self.num_bits, self.length = num_bits, length
        self.crc_bits = crc_bits(num_bits)
        self.blocks = num_blocks(num_bits, length) if self.crc_bits else 1
        if self.crc_bits:
            self._block_bits = -(-num_bits // self.blocks)
            size = self._block_bits + self.crc_bits
            self._polar = polar.PolarCode(size, length // self.blocks, self.crc_bits, list_size)

    def encode(self, bits: np.ndarray) -> np.ndarray:
        """Payload uint8 ``[batch, num_bits]`` to coded bits uint8 ``[batch, length]``."""
        if not self.crc_bits:
            return short_block.encode(bits, self.length)
        filler = self.blocks * self._block_bits - self.num_bits
        blocks = np.pad(bits, ((0, 0), (filler, 0))).reshape(-1, self._block_bits)
        coded = self._polar.encode(crc.attach(blocks, self.crc_bits)).reshape(len(bits), -1)
        return np.pad(coded, ((0, 0), (0, self.length - coded.shape[1])))

    def decode(self, llr: np.ndarray, threshold: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Payload and whether the receiver accepts it.

        Args:
            llr: float32 ``[batch, length]``, log P(0) / P(1) of the coded bits.
            threshold: least correlation in [0, 1] of a codeword without CRC.

        Returns:
            bits uint8 ``[batch, num_bits]``, and bool ``[batch]``: every CRC holds, or the correlation is large enough.
        """
        if not self.crc_bits:
            bits, correlation = short_block.decode(llr, self.num_bits)
            return bits, correlation >= threshold
        each = self.length // self.blocks
        bits, good = self._polar.decode(llr[:, : self.blocks * each].reshape(-1, each))
        bits = bits[:, : self._block_bits].reshape(len(llr), -1)
        return bits[:, bits.shape[1] - self.num_bits :], good.reshape(len(llr), -1).all(axis=1)
