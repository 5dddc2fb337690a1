"""Contenders timed in turn, so that a drift of the machine hits all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def in_turn(
    contenders: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, np.ndarray]:
    """Seconds of every call, float64 ``[round]`` per contender, after one call each that is not counted.

    ``clock=time.process_time`` has the seconds of processor time: on one core those of an idle machine.
    """
    for call in contenders.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            start = clock()
            call()
            seconds[name].append(clock() - start)
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
