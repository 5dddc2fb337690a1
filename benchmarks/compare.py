r"""Two results folders, row by row: differences, paired where both saw the same channels.

Drop i of both runs has the same channel where seed, channel law and csilink's version agree. Then the half-width of the
mean difference is that of the differences drop by drop,

.. math:: d_i = g'(\bar b) \, b_i - g'(\bar a) \, a_i,

with :math:`g` the metric's ``finalize`` (the identity, or dB). Otherwise both means are independent, with the
half-width :math:`\sqrt{c_a^2 + c_b^2}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.claim import differences, summary
from benchmarks.drop_values import DropValues, Row, read_drops
from benchmarks.intervals import Moments, half_width
from benchmarks.results_folder import read_points
from simulator.core import registry
from simulator.core.errors import ConfigError


@dataclass(frozen=True)
class Difference:
    """B minus A of one row.

    Args:
        schemes: of A and of B.
        precoder: or None for metrics of the feedback alone.
        snr_db: SNR [dB], or None.
        axes: swept axes of A and B, where they have a value.
        metric: name.
        better: "higher", "lower" or "one".
        a: value of A, in the metric's unit; with pairs over the drops that both have.
        b: value of B.
        ci95: half-width of ``b - a``, in the same unit; 0 where all drops are equal.
        drops: drops that both have; 0 without pairs.
        why_not: why drops are no pairs; empty: they are.
    """

    schemes: tuple[str, str]
    precoder: str | None
    snr_db: float | None
    axes: dict[str, Any]
    metric: str
    better: str
    a: float
    b: float
    ci95: float
    drops: int
    why_not: str

    @property
    def value(self) -> float:
        """B minus A."""
        return self.b - self.a

    @property
    def verdict(self) -> str:
        """Whether B is better or worse than A, by more than the half-width."""
        if self.ci95 == 0:
            return f"equal in all {self.drops} drops"
        if not abs(self.value) > self.ci95:
            return "not distinguished"
        gain = abs(self.a - 1) - abs(self.b - 1) if self.better == "one" else self.value
        return "B better" if (gain < 0) == (self.better == "lower") else "A better"


def compare(
    a: Path,
    b: Path,
    *,
    metrics: Sequence[str] | None = None,
    schemes: Sequence[str] | None = None,
    against: Sequence[str] | None = None,
) -> list[Difference]:
    """Differences of all rows that both folders have.

    Args:
        a: results folder.
        b: another one, or the same.
        metrics: their names; None: all.
        schemes: labels in ``a``; None: those that both have.
        against: labels in ``b``, one for each of ``schemes``; None: the same.

    Raises:
        ConfigError: a metric or scheme that a folder does not have, no common row.
        StoreError: no results there, or damaged ones.
    """
    ours, theirs = read_drops(a), read_drops(b)
    pairs = _pairs(a, b, _labels(ours), _labels(theirs), schemes, against)
    for name in metrics or ():
        for folder, points in ((a, ours), (b, theirs)):
            known = {row[4] for point in points for row in point.rows}
            if name not in known:
                raise ConfigError("--metric", name, f"metrics of {folder}: {', '.join(sorted(known))}")
    found = [
        row
        for one in ours
        for other in theirs
        if all(other.point.axes.get(axis, value) == value for axis, value in one.point.axes.items())
        for row in _differences(one, other, pairs, set(metrics) if metrics else None)
    ]
    if not found:
        raise ConfigError("B", str(b), f"a folder with an operating point of {a}: {_operating(ours)}")
    return found


def only_one(a: Path, b: Path) -> dict[Path, list[str]]:
    """SNRs and values of common axes that one folder alone has, by folder; empty where both have the same."""
    sides = {}
    for folder in (a, b):
        points = read_points(folder)[1]
        snrs = [("SNR", float(snr)) for point in points for snr in point.scenario.snr_db]
        sides[folder] = dict.fromkeys([*snrs, *(item for point in points for item in point.axes.items())])
    common = set.intersection(*({name for name, _ in side} for side in sides.values()))
    found = {
        folder: [
            f"SNR {value:g} dB" if name == "SNR" else f"{name} = {value}"
            for name, value in side
            if name in common and any((name, value) not in other for other in sides.values())
        ]
        for folder, side in sides.items()
    }
    return {folder: words for folder, words in found.items() if words}


def unpaired(one: DropValues, other: DropValues) -> str:
    """Why drops of two points are not the same channels; empty where they are."""
    a, b = one.point, other.point
    if a.version != b.version:
        return f"computed by csilink {a.version} and {b.version}"
    if a.scenario.seed != b.scenario.seed:
        return f"seed {a.scenario.seed} and {b.scenario.seed}"
    if a.channel_key != b.channel_key:
        return f"other channels: {summary(differences(a.channel_law, b.channel_law))}"
    store = str(getattr(a.scenario.channel, "store", ""))
    read = [{name: what for name, what in p.content.items() if store and store.endswith(name)} for p in (a, b)]
    if read[0] != read[1]:
        return f"channel.store: {store} had another content"
    if one.values is None or other.values is None:
        return "no values of drops: computed before csilink kept them; run again"
    return ""


def _differences(
    one: DropValues, other: DropValues, pairs: Sequence[tuple[str, str]], metrics: set[str] | None
) -> Iterator[Difference]:
    why_not = unpaired(one, other)
    at = {row: number for number, row in enumerate(other.rows)}
    axes = {**one.point.axes, **other.point.axes}
    for number, (plugin, scheme, precoder, snr_db, name) in enumerate(one.rows):
        if metrics is not None and name not in metrics:
            continue
        metric = registry.load("metrics", plugin)()
        if metric.reduce != "mean":
            continue
        for mine, its in pairs:
            key: Row = (plugin, its, precoder, snr_db, name)
            if mine != scheme or key not in at:
                continue
            (a, half_a), (b, half_b) = one.table[plugin, scheme, precoder, snr_db, name], other.table[key]
            ci95, drops = float(np.hypot(half_a, half_b)), 0
            if not why_not:
                x, y = one.values[:, number], other.values[:, at[key]]  # type: ignore[index]
                drops = min(len(x), len(y))
                x, y = x[:drops], y[:drops]
                a, b = (float(metric.finalize(np.mean(side), snr_db)) for side in (x, y))
                off = _slope(metric, y.mean(), snr_db) * y - _slope(metric, x.mean(), snr_db) * x
                bounds = _bounds(one.bounds[number], other.bounds[at[key]])
                ci95 = 0.0 if not off.any() else float(half_width(Moments.of(off), one.distinct, bounds))
            yield Difference((mine, its), precoder, snr_db, axes, name, metric.better, a, b, ci95, drops, why_not)


def _slope(metric: Any, mean: float, snr_db: float | None) -> float:
    step = 1e-6 * max(abs(mean), 1e-12)
    low, high = (float(metric.finalize(np.float64(mean + s), snr_db)) for s in (-step, step))
    return (high - low) / (2 * step)


def _bounds(mine: np.ndarray, its: np.ndarray) -> tuple[float, float]:
    """Between which a difference lies."""
    return float(its[0] - mine[1]), float(its[1] - mine[0])


def _labels(points: Sequence[DropValues]) -> list[str]:
    return list(dict.fromkeys(row[1] for point in points for row in point.rows))


def _pairs(
    a: Path, b: Path, ours: list[str], theirs: list[str], schemes: Sequence[str] | None, against: Sequence[str] | None
) -> list[tuple[str, str]]:
    """Labels in A and B that are compared."""
    if against is not None and len(schemes or ()) != len(against):
        raise ConfigError("--against", f"{len(against)} labels", "one for each --scheme")
    for option, wanted, known, folder in (
        ("--scheme", schemes, ours, a),
        ("--against", against if against is not None else schemes, theirs, b),
    ):
        for label in wanted or ():
            if label not in known:
                raise ConfigError(option, label, f"schemes of {folder}: {', '.join(known)}")
    if schemes is not None:
        return list(zip(schemes, against or schemes, strict=True))
    common = [label for label in ours if label in theirs]
    if not common:
        allowed = f"a common scheme, or --scheme and --against; {a} has {', '.join(ours)}; {b} has {', '.join(theirs)}"
        raise ConfigError("schemes", "none in both folders", allowed)
    return [(label, label) for label in common]


def _operating(points: Sequence[DropValues]) -> str:
    rows = [row for point in points for row in point.rows]
    snrs = sorted({row[3] for row in rows if row[3] is not None})
    axes = sorted({f"{axis} = {value}" for point in points for axis, value in point.point.axes.items()})
    return "; ".join([f"SNR {', '.join(f'{s:g}' for s in snrs)} dB", *axes])
