"""Values of every drop of a results folder, from its chunks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.results_folder import read_points
from benchmarks.store import Accumulator
from scenarios.sweep import Point
from simulator.core.errors import StoreError
from simulator.core.paths import inside
from simulator.core.readers import read_json, read_npz

Row = tuple[str, str, str | None, float | None, str]  # plug-in, scheme, precoder, snr_db [dB], metric


@dataclass(frozen=True)
class DropValues:
    """Drops of one point.

    Args:
        point: the point, with what it read.
        rows: rows of results, in order.
        values: float64 ``[drop, row]``, before the metric's ``finalize``; None where csilink did not keep them yet.
        bounds: float64 ``[row, 2]``, between which values lie (NaN: anywhere).
        distinct: drops of a finite store, else infinite.
        table: value and half-width of every row, as in ``results.csv``.
    """

    point: Point
    rows: list[Row]
    values: np.ndarray | None
    bounds: np.ndarray
    distinct: float
    table: dict[Row, tuple[float, float]]


def read_drops(folder: Path) -> list[DropValues]:
    """Values of all points of a finished run.

    Raises:
        StoreError: no results there, or damaged ones.
    """
    from benchmarks.runner import units_of

    _, points, sizes = read_points(folder)
    counts = counted_drops(folder, points)
    found = []
    for point, size, count in zip(points, sizes, counts, strict=True):
        parts: list[np.ndarray | None] = []
        total = Accumulator()
        for unit in units_of(point, folder, size):
            if not unit.done:
                fault = unit.fault if unit.path.is_file() else "missing"
                raise StoreError(f"{unit.path}: {fault}; `csilink run` with --resume computes it")
            parts.append(read_npz(unit.path).get("values"))
            if total.add(unit.path, partial(_reaches, count)):
                break
        rows: list[Row] = [(plugin, scheme, at or None, snr, name) for plugin, scheme, at, snr, name in total.rows]
        kept = [part for part in parts if part is not None]
        values = np.concatenate(kept)[:count].astype(np.float64) if len(kept) == len(parts) else None
        table = {row: (each["value"], each["ci95"]) for row, each in zip(rows, total.summary(), strict=True)}
        found.append(DropValues(point, rows, values, total.bounds, total.distinct, table))
    return found


def _reaches(count: int, total: Accumulator) -> bool:
    return total.drops >= count


def counted_drops(folder: Path, points: list[Point]) -> list[int]:
    """Drops of every point that count."""
    path = inside(folder, "manifest.json")
    try:
        listed = {each["key"]: int(each["drops"]) for each in read_json(path)["points"]}
        return [listed[point.key] for point in points]
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error}); is the run finished?") from None
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: points are not those of scenario.json ({error})") from None
