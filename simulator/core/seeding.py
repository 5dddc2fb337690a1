"""Seeds derived from coordinates, so that equal coordinates see equal randomness."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


def derive(root: int, role: str, *keys: object) -> int:
    """Seed in [0, 2**31) from a root seed, a role ("channel", "estimation", "uplink", ...) and coordinates.

    The channel role is keyed by the channel's own parameters and the chunk, never by the scheme: all schemes see
    the same channels, so that their differences have a small variance.
    """
    text = json.dumps([int(root), role, *keys], sort_keys=True, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def of_each(seed: int, values: NDArray[Any]) -> Iterator[np.random.Generator]:
    """A generator for each row of ``values [report, ...]``, seeded by that row alone.

    What a UE draws from it depends on its own channel, not on who else is in the batch.
    """
    for row in np.ascontiguousarray(values):
        yield np.random.default_rng([seed, *np.frombuffer(hashlib.sha256(row.tobytes()).digest(), np.uint32)])
