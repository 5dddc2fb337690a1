"""Verification: a random tenth of the drops of a result is computed again and compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.engines import make_engine, run_units
from benchmarks.kept_drops import chunk_drops
from benchmarks.leaderboard.entry import Entry, built
from benchmarks.leaderboard.result import read_result
from benchmarks.leaderboard.track import Track
from benchmarks.memory import block_drops
from benchmarks.progress import track as track_progress
from benchmarks.store import Unit
from simulator.core.errors import StoreError

SHARE = 0.1
TOLERANCE = 1e-3  # of a value, relative to 1 or to its size
OUTLIERS = 0.02  # share of the drops in which rounding on another machine may have turned a decision


@dataclass(frozen=True)
class Verdict:
    """What a verification found.

    Args:
        drops: drops that were computed again.
        total: drops of the result.
        differing: values of single drops that differ by more than the tolerance, and all that were compared.
        worst: largest difference of a mean over the drops computed again, relative to 1 or to its size, and its name.
    """

    drops: int
    total: int
    differing: tuple[int, int]
    worst: tuple[float, str]

    @property
    def fault(self) -> str:
        """What is wrong, in words; empty where the result was confirmed."""
        count, compared = self.differing
        if count > OUTLIERS * compared:
            return f"{count} of {compared} values of single drops differ by more than {TOLERANCE:g}"
        if self.worst[0] > TOLERANCE:
            return f"the mean of {self.worst[1]} over the drops computed again differs by {self.worst[0]:.2g}"
        return ""


def verify(
    folder: Path, entry: Entry, track: Track, *, share: float = SHARE, seed: int | None = None, workers: int = 1
) -> Verdict:
    """Compute a random share of the drops of a result again, in whole blocks, and compare drop by drop.

    Args:
        folder: of the entry.
        entry: the entry.
        track: the track.
        share: of the drops, at least.
        seed: of the choice; None: unpredictable.
        workers: processes.

    Raises:
        StoreError: no result, or a damaged one.
        ConfigError: weights or plug-ins that are not those of the entry.
    """
    result = read_result(folder, entry, track)
    if result is None:
        raise StoreError(f"{folder}: no result on track {track.name}; `csilink leaderboard run {folder}` makes one")
    lines = entry.labelled(track)
    if list(lines) != [line.label for line in result.head.lines]:
        raise StoreError(f"{folder}: results of {[line.label for line in result.head.lines]}, not of {list(lines)}")
    point = track.point(list(lines.values()), entry.side_information)
    point = replace(point, content=built(point.scenario)[1])
    size = block_drops(point.scenario.geometry)
    units: list[tuple[int, int]] = []
    for start in np.random.default_rng(seed).permutation(np.arange(0, track.drops, size)).tolist():
        if sum(count for _, count in units) < share * track.drops:
            units.append((start, min(size, track.drops - start)))
    again, before = [], []
    with TemporaryDirectory() as place:
        chunks = [Unit(point, start, count, Path(place)) for start, count in sorted(units)]
        engine = make_engine("local", workers)
        try:
            done = run_units(engine, iter(chunks))
            for _ in track_progress(done, f"verify {entry.name}", unit="chunk", total=len(chunks)):
                pass
        finally:
            engine.close()
        for unit in chunks:
            drops = chunk_drops(unit.path)
            columns = {(column[0], column[3]): drops[column].to_numpy() for column in drops}
            for name, values in result.values.items():
                for index, label in enumerate(lines):
                    was = values[index, unit.first : unit.first + unit.drops]
                    now = columns.get((f"{entry.name}/{label}", name), np.full_like(was, np.nan))
                    again.append((f"{name} of {label}", now))
                    before.append(was)
    return _compared(again, before, sum(unit.drops for unit in chunks), track.drops)


def _compared(again: list[tuple[str, np.ndarray]], before: list[np.ndarray], drops: int, total: int) -> Verdict:
    """Values of single drops and of their means; NaN equals NaN."""
    differing = compared = 0
    sums: dict[str, list[np.ndarray]] = {}
    for (name, now), was in zip(again, before, strict=True):
        if np.isnan(now).all() and np.isnan(was).all():
            continue
        scale = np.maximum(np.abs(was), 1.0)
        differing += int(np.sum(~(np.abs(now - was) <= TOLERANCE * scale)))
        compared += len(was)
        sums.setdefault(name, []).append(np.stack([now, was]))
    worst = 0.0, ""
    for name, parts in sums.items():
        now, was = np.concatenate(parts, axis=1).mean(axis=1, dtype=np.float64)
        gap = abs(now - was) / max(abs(was), 1.0)
        worst = max(worst, (float("inf") if np.isnan(gap) else float(gap), name))
    return Verdict(drops, total, (differing, compared), worst)
