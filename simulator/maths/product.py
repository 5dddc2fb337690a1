"""Products of a small matrix and a long one that stay in the thread which asks for them."""

from __future__ import annotations

import numpy as np

_SMALL, _SMALL_VECTOR = 2**18, 9216  # multiplications up to which OpenBLAS starts no threads of its own


def product(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``a @ x`` of ``a [row, k]`` or ``[k]`` and ``x [k, column]``, some columns at a time.

    Threads that divide the work among them wait for one another in BLAS, whose own threads serve one product at a time:
    on two cores a product of two such threads takes three times as long as one of small slices.
    """
    found = np.empty((*a.shape[:-1], x.shape[1]), np.result_type(a, x))
    width = max((_SMALL if a.ndim == 2 else _SMALL_VECTOR) // a.size, 1)
    for i in range(0, x.shape[1], width):
        np.matmul(a, x[:, i : i + width], out=found[..., i : i + width])
    return found
