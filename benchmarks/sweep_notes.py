"""Notes on a sweep: axes without an effect, and axes along which channels are the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from scenarios.sweep import Point

SAME_CHANNELS = "the same channels at every value"
SAME_PATHS = "the same paths at every value, channels as the value makes them"


def idle_axes(points: Sequence[Point]) -> list[str]:
    """A warning for every axis along which no result can differ, by the scenario alone."""
    swept = points[0].axes
    idle = [axis for axis in swept if len({p.axes[axis] for p in points}) > 1 and _agree(points, axis, "effect_key")]
    return [f"sweep.{axis} has no effect in this scenario: all its values give the same results" for axis in idle]


def equal_axes(frame: pd.DataFrame, axes: Sequence[str]) -> list[str]:
    """The same by the results: rows that differ in the axis alone are equal, all of them."""
    found = []
    for axis in axes:
        keys = [*(other for other in axes if other != axis), "scheme", "precoder", "snr_db", "metric"]
        rows = frame.groupby(keys, dropna=False, sort=False)["value"]
        if frame[axis].nunique() > 1 and (rows.size() > 1).all() and (rows.nunique(dropna=False) == 1).all():
            found.append(f"sweep.{axis} had no effect: all its values gave the same results")
    return found


def seen_along(points: Sequence[Point], axis: str) -> str:
    """``SAME_CHANNELS`` or ``SAME_PATHS`` where points that differ in the axis alone share these, else nothing."""
    for name, text in (("channel_key", SAME_CHANNELS), ("path_key", SAME_PATHS)):
        if _agree(points, axis, name):
            return text
    return ""


def _agree(points: Sequence[Point], axis: str, name: str) -> bool:
    keys: dict[tuple[Any, ...], set[str]] = {}
    for point in points:
        rest = tuple(value for other, value in point.axes.items() if other != axis)
        keys.setdefault(rest, set()).add(getattr(point, name))
    return all(len(found) == 1 for found in keys.values())
