"""Reshaping that knows every size, so that empty arrays have one too (``-1`` means nothing where a size is 0)."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray


def flat_tail(x: NDArray[Any], lead: int = 1) -> NDArray[Any]:
    """All axes after the first ``lead`` as one: ``[*lead, ...]`` to ``[*lead, n]``."""
    return np.reshape(x, (*x.shape[:lead], prod(x.shape[lead:])))


def flat_lead(x: NDArray[Any], lead: int = 2) -> NDArray[Any]:
    """The first ``lead`` axes as one: ``[batch, slot, ...]`` to ``[batch * slot, ...]``."""
    return np.reshape(x, (prod(x.shape[:lead]), *x.shape[lead:]))


def per_drop(x: Any, lead: int = 1) -> NDArray[np.float64]:
    """Mean over all axes but the first ``lead``, float64."""
    return np.asarray(flat_tail(np.asarray(x, np.float64), lead).mean(axis=-1))
