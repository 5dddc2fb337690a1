"""Channels of the link as prediction networks take them, and back."""

from __future__ import annotations

import numpy as np


def to_history(h: np.ndarray) -> np.ndarray:
    """Every UE antenna a sample: complex64 ``[..., port, slot, subcarrier]`` to real ones.

    Returns:
        float32 ``[sample, slot, subcarrier, port, 2]`` (real, imaginary); ``sample`` runs over the leading axes.
    """
    x = np.ascontiguousarray(np.moveaxis(h.reshape(-1, *h.shape[-3:]), 1, -1), np.complex64)
    return x[..., None].view(np.float32)


def from_history(x: np.ndarray, lead: tuple[int, ...]) -> np.ndarray:
    """Inverse of :func:`to_history`, complex64 ``[*lead, port, slot, subcarrier]``."""
    h = np.ascontiguousarray(x, np.float32).view(np.complex64)[..., 0]
    return np.ascontiguousarray(np.moveaxis(h, -1, 1)).reshape(*lead, h.shape[3], h.shape[1], h.shape[2])
