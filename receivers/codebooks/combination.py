"""Sets of k among n numbered as in TS 38.214 (combinatorial number system)."""

from __future__ import annotations

from math import comb

import numpy as np


def combination_rank(members: np.ndarray, size: int) -> np.ndarray:
    r"""Number of each set, :math:`\sum_i C(n - 1 - x_i, k - i)` over its increasing members :math:`x_0 < x_1 < ...`.

    Args:
        members: integers ``[..., k]``, increasing, 0 .. size - 1.
        size: n.

    Returns:
        int64 ``[...]``, 0 .. C(n, k) - 1.

    Source: TS 38.214, 5.2.2.2.3 (i_{1,2}) and 5.2.2.2.5 (i_{1,6}).
    """
    count = members.shape[-1]
    ranks = np.zeros(members.shape[:-1], np.int64)
    for i in range(count):
        ranks += _binomials(size, count - i)[size - 1 - members[..., i]]
    return ranks


def combination_members(rank: np.ndarray, size: int, count: int) -> np.ndarray:
    """Inverse of :func:`combination_rank` for numbers below C(size, count): int64 ``[..., count]``, increasing."""
    left = np.asarray(rank, np.int64).copy()
    members = np.empty((*left.shape, count), np.int64)
    for i in range(count):
        table = _binomials(size, count - i)
        x = np.searchsorted(table, left, side="right") - 1  # the largest x with C(x, k - i) <= left
        left -= table[x]
        members[..., i] = size - 1 - x
    return members


def combination_bits(size: int, count: int) -> int:
    """Bits of the number, ceil(log2(C(size, count)))."""
    return (comb(size, count) - 1).bit_length()


def _binomials(size: int, count: int) -> np.ndarray:
    """C(x, count) for x = 0 .. size - 1."""
    return np.array([comb(x, count) for x in range(size)], np.int64)
