"""CRC of uplink control information as a linear map over GF(2)."""

from __future__ import annotations

from functools import cache

import numpy as np

# Exponents of the generator polynomials, TS 38.212, 5.1.
POLYNOMIALS = {6: (6, 5, 0), 11: (11, 10, 9, 5, 0)}


@cache
def parity_matrix(num_bits: int, degree: int) -> np.ndarray:
    """Matrix uint8 ``[num_bits, degree]`` whose product with the bits (mod 2) is their CRC, first bit first.

    Row k is the remainder of x^(num_bits - 1 - k + degree) divided by the polynomial; the register starts at zero.
    Source: TS 38.212, 5.1.
    """
    taps = np.zeros(degree, np.uint8)
    taps[[degree - 1 - e for e in POLYNOMIALS[degree] if e < degree]] = 1
    rows = np.empty((num_bits, degree), np.uint8)
    row = taps
    for k in reversed(range(num_bits)):
        rows[k] = row
        row = np.append(row[1:], 0) ^ (taps * row[0])  # times x
    rows.setflags(write=False)
    return rows


def attach(bits: np.ndarray, degree: int) -> np.ndarray:
    """Bits uint8 ``[..., num_bits]`` followed by their CRC, ``[..., num_bits + degree]``."""
    return np.concatenate([bits, _product(bits, parity_matrix(bits.shape[-1], degree))], axis=-1)


def check(bits: np.ndarray, degree: int) -> np.ndarray:
    """Bool ``[...]``: the last ``degree`` of the bits uint8 ``[..., num_bits]`` are the CRC of those before."""
    head, tail = bits[..., :-degree], bits[..., -degree:]
    return (_product(head, parity_matrix(head.shape[-1], degree)) == tail).all(axis=-1)


def _product(bits: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    # Counts of up to 2000 are exact in float32, which has a fast product.
    return (bits.astype(np.float32) @ matrix.astype(np.float32)).astype(np.int32).astype(np.uint8) & 1
