"""Seeds derived from coordinates, so that equal coordinates see equal randomness."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


def derive(root: int, role: str, *keys: object) -> int:
    """Seed in [0, 2**31) from a root seed, a role ("feedback", "training", ...) and coordinates.

    Keras and TensorFlow accept no longer seeds; NumPy generators take :func:`derive_wide`.
    """
    return int.from_bytes(_digest(root, role, *keys)[:4], "big") >> 1


def derive_wide(root: int, role: str, *keys: object) -> int:
    """Seed in [0, 2**63), as :func:`derive`: a million of them have a duplicate with a probability of 5e-8."""
    return int.from_bytes(_digest(root, role, *keys)[:8], "big") >> 1


def by_drop(
    seed: int, first: int, batch_size: int, draw: Callable[[np.random.Generator], Any], role: str = ""
) -> list[Any]:
    """Results of ``draw`` with the random numbers of every drop ``first``, ``first + 1``, ...

    A drop's stream (Philox, a key of 128 bits) depends on seed, role and the number of the drop: not on how many drops
    are drawn together. The generator is that of the drop only until ``draw`` returns.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    bits = np.random.Philox(key=0)
    generator, start = np.random.Generator(bits), bits.state
    drawn, known = [], json.dumps([int(seed), role])[:-1]
    for drop in range(first, first + batch_size):  # of the digest of (seed, role, drop), written here for speed
        digest = hashlib.sha256(f"{known}, {drop}]".encode()).digest()
        start["state"]["key"][:] = np.frombuffer(digest, "<u8", 2)
        bits.state = start
        drawn.append(draw(generator))
    return drawn


def _digest(root: int, *keys: object) -> bytes:
    return hashlib.sha256(json.dumps([int(root), *keys], sort_keys=True, default=str).encode()).digest()


def of_each(seed: int, values: NDArray[Any]) -> Iterator[np.random.Generator]:
    """A generator for each row of ``values [report, ...]``, seeded by that row alone.

    What a UE draws from it depends on its own channel, not on who else is in the batch.
    """
    for row in np.ascontiguousarray(values):
        yield np.random.default_rng([seed, *np.frombuffer(hashlib.sha256(row.tobytes()).digest(), np.uint32)])
