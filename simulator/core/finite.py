"""Channels that can be computed with: finite, and within the range of float32 once they are squared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import ConfigError

LARGEST = 1e15  # of a source, whose channels are squared when they are normalised
LARGEST_IN_LINK = 1e6  # magnitudes that pass the link, which takes fourth powers of rows


def first_unfit(h: NDArray[Any], largest: float = LARGEST) -> tuple[tuple[int, ...], str] | None:
    """Index of the first entry that is NaN, infinite or larger, and the entry; None: there is none.

    Args:
        h: real or complex, any shape.
        largest: magnitude of real and imaginary parts that is allowed.
    """
    parts = (h.real, h.imag) if np.iscomplexobj(h) else (h,)
    # Two passes without temporaries; NaN fails every comparison.
    if not h.size or all(np.min(part) >= -largest and np.max(part) <= largest for part in parts):
        return None
    good = np.all([np.abs(part) <= largest for part in parts], axis=0)
    index = np.unravel_index(int(np.argmin(good)), h.shape)
    return tuple(map(int, index)), f"{h[index]:.6g}"


def check_channels(h: NDArray[Any], largest: float = LARGEST, first: int = 0) -> None:
    """ConfigError unless channels ``[drop, user, ...]`` can be computed with; it names the drop and the user.

    Args:
        h: channels.
        largest: see :func:`first_unfit`.
        first: number of the first drop.
    """
    found = first_unfit(h, largest)
    if found is not None:
        (drop, user, *_), value = found
        allowed = f"finite entries of at most {largest:g}"
        raise ConfigError(f"channel of drop {first + drop}, user {user}", value, allowed)
