"""How far a run is from what it wants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.store import Accumulator
from scenarios.sweep import Point


def outlook(points: Sequence[Point], totals: Sequence[Accumulator]) -> tuple[int, str]:
    """Drops that all points will need, and the largest relative half-width of the watched metric so far, in words.

    Where ``run.ci_rel`` decides, half-widths are taken to fall with the root of the drops.
    """
    wanted, widest = 0, 0.0
    for point, total in zip(points, totals, strict=True):
        rule, found = point.scenario.run, total.summary() if total.drops > 1 else []
        rows = [row for row in found if row["metric"] == rule.ci_metric and row["value"]]
        share = max((row["ci95"] / abs(row["value"]) for row in rows), default=0.0)
        needed = rule.drops
        if rule.ci_rel is not None and rule.max_drops is not None:
            expected = total.drops * (share / rule.ci_rel) ** 2
            needed = int(np.clip(max(expected, total.drops), rule.drops, rule.max_drops))
        wanted, widest = wanted + needed, max(widest, share)
    rule = points[0].scenario.run
    goal = "" if rule.ci_rel is None else f" (wanted: {100 * rule.ci_rel:.2g} %)"
    return wanted, f"{rule.ci_metric} within {100 * widest:.2g} %{goal}" if widest else ""
