"""Solvers for hermitian systems of any scale."""

from __future__ import annotations

from typing import Any

from simulator.core.backend import ops

# Two streams whose directions differ by less than this (one minus the squared multiple correlation) are separated no
# further: Gram matrices are loaded by at least this share of their diagonal, about 100 float32 roundings. Streams of
# independent users then receive interference below this share of the power that matched beams would bring them.
PIVOT_FLOOR = 1e-5


_TINY = 1e-30
_BY_ROWS = 16  # largest matrix whose rows are eliminated one by one


def hermitian_solve(a: Any, b: Any, floor: float = PIVOT_FLOOR) -> Any:
    r"""Solution of :math:`A X = B` for positive semidefinite :math:`A` with diagonal of order one, by Gauss-Jordan.

    Every step updates all matrices of the batch at once. Unlike ``ops.solve`` this compiles under XLA, where it takes
    the time of one LAPACK call per matrix. A pivot below ``floor`` is raised to it (diagonal loading).

    Args:
        a: complex64 ``[..., n, n]``, Hermitian.
        b: complex64 ``[..., n, m]``.
        floor: smallest pivot.

    Returns:
        complex64 ``[..., n, m]``.

    Source: Golub, Van Loan, Matrix Computations, 4th ed., Sec. 3.2 (elimination; no pivoting for definite matrices).
    """
    size = a.shape[-1]
    if size > _BY_ROWS:
        return _large_solve(a, b, floor)
    rows = [ops.concatenate([a[..., i, :], b[..., i, :]], axis=-1) for i in range(size)]
    for k in range(size):
        pivot = ops.maximum(ops.real(rows[k][..., k, None]), floor)
        rows[k] = rows[k] * ops.cast(1.0 / pivot, "complex64")
        rows = [row if i == k else row - row[..., k, None] * rows[k] for i, row in enumerate(rows)]
    return ops.stack([row[..., size:] for row in rows], axis=-2)


def _large_solve(a: Any, b: Any, floor: float) -> Any:
    """As :func:`hermitian_solve`, all rows in one operation: ``n`` steps where rows one by one take ``n ** 2``."""
    size = a.shape[-1]
    x = ops.concatenate([a, b], axis=-1)
    for k in range(size):
        pivot = ops.maximum(ops.real(x[..., k, k, None]), floor)
        row = (x[..., k, :] * ops.cast(1.0 / pivot, "complex64"))[..., None, :]
        above, below = (part - part[..., k, None] * row for part in (x[..., :k, :], x[..., k + 1 :, :]))
        x = ops.concatenate([above, row, below], axis=-2)
    return x[..., size:]


def scaled_solve(a: Any, b: Any, floor: float = PIVOT_FLOOR) -> Any:
    """Solution of ``a x = b`` as :func:`hermitian_solve`, for a positive diagonal of any size: scaled to 1 before."""
    scale = ops.rsqrt(ops.sum(ops.real(a) * ops.eye(a.shape[-1]), axis=-1))
    scale = ops.cast(scale, "complex64")[..., None]
    return scale * hermitian_solve(a * scale * ops.swapaxes(scale, -1, -2), b * scale, floor=floor)


def adjoint(x: Any) -> Any:
    """Conjugate transpose of the last two axes."""
    return ops.conj(ops.swapaxes(x, -1, -2))
