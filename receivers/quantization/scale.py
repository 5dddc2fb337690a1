"""Amplitudes on a grid uniform in dB: the field of a scale in a report."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core.units import db_to_amplitude

# Range of the grid of unit-power images and of latents [dB].
LOW_DB, HIGH_DB = -60.0, 40.0


def scale_index(
    scale: NDArray[np.floating[Any]], bits: int, range_db: tuple[float, float] = (LOW_DB, HIGH_DB)
) -> NDArray[np.int64]:
    """Nearest grid point of positive amplitudes (any shape), int64 0 .. 2**bits - 1."""
    steps, (low_db, high_db) = 2**bits - 1, range_db
    position = (20 * np.log10(np.maximum(scale, 1e-30)) - low_db) / (high_db - low_db) * steps
    return np.clip(np.round(position), 0, steps).astype(np.int64)


def scale_of(
    index: NDArray[np.integer[Any]], bits: int, range_db: tuple[float, float] = (LOW_DB, HIGH_DB)
) -> NDArray[np.float32]:
    """Amplitude float32 of every grid point."""
    low_db, high_db = range_db
    step = (high_db - low_db) / max(2**bits - 1, 1)
    return db_to_amplitude(low_db + np.asarray(index) * step).astype(np.float32)


def scale_values(scale: Any, bits: int) -> Any:
    """The same round trip in ``keras.ops`` (or NumPy, for NumPy arrays): amplitude to its grid point, float32."""
    if isinstance(scale, np.ndarray):
        return scale_of(scale_index(scale, bits), bits)
    from keras import ops

    steps = 2**bits - 1
    position = (20 * ops.log10(ops.maximum(scale, 1e-30)) - LOW_DB) / (HIGH_DB - LOW_DB) * steps
    db = LOW_DB + ops.clip(ops.round(position), 0, steps) * ((HIGH_DB - LOW_DB) / steps)
    return 10.0 ** (db / 20)
