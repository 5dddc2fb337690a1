"""Codes of up to 11 bits of uplink control information: repetition, simplex, and the (32, A) block code."""

from __future__ import annotations

from functools import cache

import numpy as np

from simulator.core import bitfield

MAX_BITS = 11
# Basis sequences M_(i,0..10) of row i, M_(i,0) first (TS 38.212, Table 5.3.3.3-1).
_BASIS = """
11000000001 11100000011 10010010111 10110000101 11110001001 11001011101 10101010111 10011001101
11011001011 10111010011 10100111011 11100110101 10010101111 11010101011 10001101001 11001111011
11101110010 10011100100 11011111000 10000110000 10100010001 11010000011 10001001101 11101000111
11111011110 11000111001 10110100110 11110101110 10101110100 10111111100 11111111111 10000000000
"""


@cache
def generator(num_bits: int) -> np.ndarray:
    """Generator matrix uint8 ``[num_bits, N]`` with N = 1, 3, 32 for 1, 2, 3..11 bits.

    Source: TS 38.212, 5.3.3.1 to 5.3.3.3 (QPSK: the placeholder of one bit repeats it).
    """
    if num_bits == 1:
        return np.ones((1, 1), np.uint8)
    if num_bits == 2:
        return np.array([[1, 0, 1], [0, 1, 1]], np.uint8)
    return np.array([[int(b) for b in row[:num_bits]] for row in _BASIS.split()], np.uint8).T


@cache
def shortest_length(num_bits: int) -> int:
    """Fewest coded bits that distinguish all payloads: the cut generator has full rank over GF(2)."""
    pivots: list[int] = []  # columns as integers, each with a leading bit that no other one has
    for count, column in enumerate(generator(num_bits).T, start=1):
        value = int("".join(map(str, column)), 2)
        for pivot in pivots:
            value = min(value, value ^ pivot)
        if value:
            pivots.append(value)
        if len(pivots) == num_bits:
            return count
    raise ValueError("no such code")  # generators have full rank


@cache
def _signs(num_bits: int) -> np.ndarray:
    """All codewords as signs, float32 ``[N, word]``."""
    words = bitfield.pack(np.arange(2**num_bits)[:, None], num_bits)
    return (1 - 2 * (words @ generator(num_bits) % 2).astype(np.float32)).T


def encode(bits: np.ndarray, length: int) -> np.ndarray:
    """Bits uint8 ``[batch, num_bits]`` to coded bits uint8 ``[batch, length]``, repeated or cut (TS 38.212, 5.4.3)."""
    word = bits @ generator(bits.shape[1]) % 2
    return word[:, np.arange(length) % word.shape[1]]


def decode(llr: np.ndarray, num_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Maximum-likelihood decoding.

    Args:
        llr: float32 ``[batch, length]``, log P(0) / P(1) of every coded bit.
        num_bits: bits that were sent.

    Returns:
        bits uint8 ``[batch, num_bits]``, and the correlation ``|<llr, word>| / (|llr| |word|)`` float32 ``[batch]`` in
        [0, 1]: near 1 for a clean codeword, small for noise alone.
    """
    signs = _signs(num_bits)
    size = len(signs)
    folded = np.pad(llr, ((0, 0), (0, -llr.shape[1] % size))).reshape(len(llr), -1, size).sum(axis=1)
    metric = folded @ signs
    best = metric.argmax(axis=1)
    norm = np.linalg.norm(llr, axis=1) * np.sqrt(llr.shape[1])
    return bitfield.pack(best[:, None], num_bits), metric.max(axis=1) / np.maximum(norm, 1e-30)
