"""Contenders timed in turn, so that a drift of the machine hits all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def in_turn(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of every call, float64 ``[round]`` per contender, after one call each that is not counted."""
    for call in contenders.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def row(
    item: str, ours: float, peer: float, unit: str, ratio: float, target: float, deviation: float, note: str
) -> dict[str, Any]:
    """One line of the table; met when ``ratio >= target``."""
    met = bool(ratio >= target)
    return {
        "item": item, "ours": ours, "peer": peer, "unit": unit, "ratio": ratio, "target": target, "met": met,
        "equal_to": deviation, "note": note,
    }  # fmt: skip
