"""Results folder: one atomic file per finished chunk, merged in order to tidy tables."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.build import channel_name
from benchmarks.chunk import MOMENTS, RATE_EDGES
from benchmarks.percentiles import Tally, percentile
from scenarios.sweep import Point
from simulator.core import registry
from simulator.core.errors import ConfigError, StoreError

LEADING = [
    "scenario",
    "channel",
    "scheme",
    "bits_mean",
    "bits_max",
    "precoder",
    "num_ports",
    "num_users",
    "snr_db",
]
TRAILING = ["metric", "value", "ci95", "unit", "num_samples", "seed"]
# Two-sided 95 % quantile of the normal distribution.
_Z95 = 1.959964


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and rename it into place; StoreError when that is impossible."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from None


@dataclass(frozen=True)
class Unit:
    """One chunk of one point, drops ``first`` to ``first + drops - 1``: computed, stored and resumed as one."""

    point: Point
    first: int
    drops: int
    folder: Path

    @property
    def path(self) -> Path:
        """Where its result lies once it is finished."""
        return self.folder / "points" / self.point.key / f"chunk-{self.first:08d}-{self.drops}.npz"

    @property
    def done(self) -> bool:
        """The file was renamed into place."""
        return self.path.is_file()

    @property
    def scenario_text(self) -> str:
        """Scenario of the point as JSON."""
        return self.point.scenario.model_dump_json(exclude={"sweep"})


class Accumulator:
    """Mean, squared deviations and maximum, merged block by block in their order (Chan, Golub, LeVeque 1983)."""

    def __init__(self) -> None:
        self.drops = 0
        self.rows: list[list[Any]] = []
        self.curves: list[list[Any]] = []
        self.tallies: dict[int, Tally] = {}  # by row

    def add(self, path: Path, enough: Callable[[Accumulator], bool] = lambda total: False) -> bool:
        """Add the blocks of one finished chunk until there are ``enough``, and say so.

        Raises:
            StoreError: the file is damaged.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data:
                rows, curves = json.loads(str(data["rows"])), json.loads(str(data["curves"]))
                drops, tally, hist = data["drops"].tolist(), data["tally"], data["hist"]
                moments = np.stack([data[name] for name in MOMENTS], axis=1)
                blocks = [
                    (n, moments[i], hist[i].astype(np.int64), Tally.from_lines(n, tally[tally[:, 0] == i, 1:]))
                    for i, n in enumerate(drops)
                ]
        except (OSError, ValueError, KeyError, EOFError, IndexError, zipfile.BadZipFile) as error:
            raise StoreError(f"{path}: damaged chunk ({error}); delete it and resume") from None
        if not self.drops:
            self.rows, self.curves = rows, curves
        elif rows != self.rows:
            raise StoreError(f"{path}: rows differ from the other chunks; delete the results folder")
        for block in blocks:
            self._add_block(*block)
            if enough(self):
                return True
        return False

    def _add_block(self, n: int, moments: np.ndarray, hist: np.ndarray, tallies: dict[int, Tally]) -> None:
        mean, m2, largest = moments
        if not self.drops:
            self.mean, self.m2, self.max, self.hist = mean, m2, largest, hist
        else:
            total = self.drops + n
            delta = mean - self.mean
            self.mean = self.mean + delta * n / total
            self.m2 = self.m2 + m2 + delta**2 * self.drops * n / total
            self.max = np.maximum(self.max, largest)
            self.hist = self.hist + hist
            tallies = {row: self.tallies[row] + tally for row, tally in tallies.items()}
        self.tallies = tallies
        self.drops += n

    def summary(self) -> list[dict[str, Any]]:
        """One dictionary per row: scheme, precoder, snr_db, metric, value, ci95, unit."""
        out = []
        half = _Z95 * np.sqrt(self.m2 / max(self.drops - 1, 1) / self.drops)
        for index, ((plugin, scheme, precoder, snr_db, column), mean, ci, largest) in enumerate(
            zip(self.rows, self.mean, half, self.max, strict=True)
        ):
            metric = registry.load("metrics", plugin)()
            if metric.reduce == "max":
                value, ci = largest, np.nan
            elif (share := percentile(metric.reduce)) is not None:
                value, ci = self.tallies[index].quantile(share)
            else:
                ci = max(ci, 3 / self.drops) if metric.share else ci
                value = float(metric.finalize(np.float64(mean), snr_db))
                step = 1e-6 * max(abs(mean), 1e-12)
                low, high = (metric.finalize(np.float64(mean + s), snr_db) for s in (-step, step))
                ci = float(abs(high - low) / (2 * step) * ci)
            out.append(
                {"scheme": scheme, "precoder": precoder, "snr_db": snr_db, "metric": column, "value": value}
                | {"ci95": ci, "unit": metric.unit}
            )
        return out


def merge(units: Iterable[Unit]) -> Accumulator:
    """Statistics of finished chunks, in the order given."""
    total = Accumulator()
    for unit in units:
        total.add(unit.path)
    return total


def tidy_frame(name: str, points: Sequence[tuple[Point, Accumulator]]) -> pd.DataFrame:
    """One row per (point, scheme, precoder, SNR, metric), columns as documented in the README."""
    axes = list(points[0][0].axes)
    rows = []
    for point, total in points:
        summary = total.summary()
        bits = {
            kind: {row["scheme"]: row["value"] for row in summary if row["metric"] == kind}
            for kind in ("bits_mean", "bits_max")
        }
        wanted = point.scenario.metrics
        for row, key in zip(summary, total.rows, strict=True):
            if wanted is not None and key[0] not in wanted:
                continue
            rows.append(
                {
                    "scenario": name,
                    "channel": channel_name(point.scenario.channel),
                    "bits_mean": bits["bits_mean"][row["scheme"]],
                    "bits_max": bits["bits_max"][row["scheme"]],
                    "num_ports": point.scenario.panel.num_ports,
                    "num_users": point.scenario.ue.num_users,
                    "num_samples": total.drops,
                    "seed": point.scenario.seed,
                    **point.axes,
                    **row,
                }
            )
    if not rows:
        metrics, schemes = points[0][0].scenario.metrics, ", ".join(bits["bits_mean"])
        raise ConfigError("metrics", list(metrics or ()), f"at least one that exists for the schemes {schemes}")
    frame = pd.DataFrame(rows)[[*LEADING, *axes, *TRAILING]]
    frame["snr_db"] = frame["snr_db"].astype(float)
    return frame


def cdf_frame(points: Sequence[tuple[Point, Accumulator]]) -> pd.DataFrame:
    """Distribution of the user rate: columns of the axes, scheme, precoder, snr_db, rate_bpshz, cdf."""
    frames = []
    for point, total in points:
        for (scheme, precoder, snr_db), counts in zip(total.curves, total.hist, strict=True):
            cdf = np.cumsum(counts) / max(counts.sum(), 1)
            keep = np.flatnonzero(np.diff(cdf, prepend=0.0) > 0)
            frame = pd.DataFrame({"rate_bpshz": RATE_EDGES[1:][keep], "cdf": cdf[keep]})
            frames.append(frame.assign(**point.axes, scheme=scheme, precoder=precoder, snr_db=snr_db))
    table = pd.concat(frames, ignore_index=True)
    return table[[*points[0][0].axes, "scheme", "precoder", "snr_db", "rate_bpshz", "cdf"]]


def write_tables(folder: Path, frame: pd.DataFrame, cdf: pd.DataFrame) -> None:
    """`results.csv`, `results.parquet` and `user_rate_cdf.csv`, each renamed into place."""
    write_bytes(folder / "results.csv", frame.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode())
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    write_bytes(folder / "results.parquet", buffer.getvalue())
    write_bytes(
        folder / "user_rate_cdf.csv",
        cdf.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode(),
    )
