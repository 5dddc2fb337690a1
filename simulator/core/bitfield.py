"""Fixed-width fields in a report, most significant bit first (as in TS 38.212)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack(values: NDArray[np.integer[Any]], width: int) -> NDArray[np.uint8]:
    """Integers ``[..., field]`` to bits uint8 ``[..., field * width]``, each field most significant bit first."""
    shifts = np.arange(width - 1, -1, -1)
    bits = (np.asarray(values, np.int64)[..., None] >> shifts) & 1
    return bits.reshape(*bits.shape[:-2], bits.shape[-2] * width).astype(np.uint8)


def unpack(bits: NDArray[np.uint8], width: int) -> NDArray[np.int64]:
    """Inverse of :func:`pack`: bits ``[..., field * width]`` to int64 ``[..., field]``."""
    fields = bits.reshape(*bits.shape[:-1], bits.shape[-1] // width if width else 0, width)
    return np.asarray(fields.astype(np.int64) @ (1 << np.arange(width - 1, -1, -1, dtype=np.int64)), np.int64)
