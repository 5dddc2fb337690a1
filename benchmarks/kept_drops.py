"""Values of single drops of a run as tables, and times of its reports (``run.keep_drops``)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.drop_values import counted_drops, read_drops
from benchmarks.results_folder import read_points
from benchmarks.runner import units_of
from simulator.core.errors import StoreError
from simulator.core.readers import read_npz

ROW = ["scheme", "precoder", "snr_db", "metric"]


def kept_drops(folder: str | Path) -> list[pd.DataFrame]:
    """Values by drop of a finished results folder, one frame for each point.

    Args:
        folder: of a run.

    Returns:
        frames of float32 with one line for each drop and columns ``(scheme, precoder, snr_db, metric)``. A value is
        that whose mean a row of ``results.csv`` states, before the mean is turned into dB; of percentiles it is the
        mean over the reports of the drop.

    Raises:
        StoreError: no finished results, damaged ones, or a run that kept no drops.
    """
    found = []
    for point in read_drops(Path(folder)):
        if point.values is None:
            raise StoreError(f"{folder}: no values of single drops; run it again with --resume")
        found.append(_frame([row[1:] for row in point.rows], point.values))
    return found


def kept_times(folder: str | Path) -> list[dict[str, tuple[float, float]]]:
    """Processor time of a report of each scheme, encoding and decoding [ms], one dictionary for each point.

    That of the quickest block: in the first one of a process networks are compiled. One thread.

    Args:
        folder: as :func:`kept_drops`.

    Raises:
        StoreError: as :func:`kept_drops`.
    """
    found = []
    for paths, _ in _chunks(Path(folder)):
        chunks = [read_npz(path) for path in paths]
        try:
            labels = json.loads(str(chunks[0]["schemes"]))
            times = np.nanmin(np.concatenate([chunk["times"] for chunk in chunks]), axis=0)
        except KeyError as error:
            raise StoreError(f"{folder}: no times of reports ({error}); run with run.keep_drops: true") from None
        found.append({label: (float(ue), float(gnb)) for label, (ue, gnb) in zip(labels, times, strict=True)})
    return found


def _chunks(folder: Path) -> list[tuple[list[Path], int]]:
    """Files of the chunks of every point, and its drops."""
    _, points, sizes = read_points(folder)
    drops = counted_drops(folder, points)
    return [
        ([unit.path for unit in units_of(point, folder, size) if unit.first < count], count)
        for point, size, count in zip(points, sizes, drops, strict=True)
    ]


def chunk_drops(path: Path) -> pd.DataFrame:
    """Values of the drops of one chunk, as :func:`kept_drops`.

    Raises:
        StoreError: damaged, or without values of drops.
    """
    try:
        data: dict[str, Any] = read_npz(path)
        rows, values = [tuple(row[1:]) for row in json.loads(str(data["rows"]))], data["values"]
    except (OSError, KeyError, ValueError) as error:
        raise StoreError(f"{path}: no values of single drops ({error}); run it again") from None
    return _frame(rows, values)


def _frame(rows: Sequence[tuple[Any, ...]], values: np.ndarray) -> pd.DataFrame:
    """Values ``[drop, row]`` with a column for every row; a missing precoder is an empty text."""
    rows = [(scheme, precoder or "", snr_db, metric) for scheme, precoder, snr_db, metric in rows]
    columns = pd.MultiIndex.from_tuples(rows, names=ROW)
    return pd.DataFrame(np.asarray(values, np.float32), columns=columns)
