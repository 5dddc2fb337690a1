"""Decibel, linear power and linear amplitude, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def db_to_lin(value_db: ArrayLike) -> Any:
    """``10 ** (value_db / 10)``."""
    return 10.0 ** (np.asarray(value_db, np.float64) / 10.0)


def lin_to_db(value: ArrayLike) -> Any:
    """``10 log10(value)``; 0 gives minus infinity without a warning."""
    with np.errstate(divide="ignore"):
        return 10.0 * np.log10(np.asarray(value, np.float64))


def db_to_amplitude(value_db: ArrayLike) -> Any:
    """``10 ** (value_db / 20)``."""
    return 10.0 ** (np.asarray(value_db, np.float64) / 20.0)


def amplitude_to_db(value: ArrayLike) -> Any:
    """``20 log10(value)``; 0 gives minus infinity without a warning."""
    with np.errstate(divide="ignore"):
        return 20.0 * np.log10(np.asarray(value, np.float64))
