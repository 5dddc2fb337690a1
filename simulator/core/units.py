"""Decibel and linear power."""

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
