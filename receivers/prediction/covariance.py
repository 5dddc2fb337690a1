"""Sample covariance of a history over its slots: the only input of linear predictors."""

from __future__ import annotations

import numpy as np

from simulator.core.shapes import flat_tail


def slot_covariance(history: np.ndarray) -> np.ndarray:
    r"""Covariance of the slots of one UE, summed over its entries: :math:`C_{st} = \sum_k x_k(s) x_k^*(t)`.

    Args:
        history: complex64 ``[batch, user, rx_ant, port, slot, subcarrier]``.

    Returns:
        complex128 ``[batch, user, slot, slot]``, Hermitian.
    """
    x = flat_tail(np.moveaxis(history, 4, 2).astype(np.complex128), 3)
    return x @ np.conj(np.swapaxes(x, -1, -2))


def combine(weights: np.ndarray, history: np.ndarray) -> np.ndarray:
    """Weighted sum over the last slots, the same for all entries of a UE.

    Args:
        weights: ``[batch, user, slot]``, oldest slot first; may be shorter than the history.
        history: complex64 ``[batch, user, rx_ant, port, slot, subcarrier]``.

    Returns:
        complex64 ``[batch, user, rx_ant, port, subcarrier]``.
    """
    row = weights.astype(np.complex64)[:, :, None, None, None, :]
    return (row @ history[..., -weights.shape[-1] :, :])[..., 0, :]
