"""Results folder: one atomic file per finished chunk, merged in order to tidy tables."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.build import channel_name
from benchmarks.chunk import RATE_EDGES
from benchmarks.intervals import Moments, half_width, independent_drops
from benchmarks.percentiles import Tally, percentile
from benchmarks.seal import Identity, seal_fault, sealed
from scenarios.sweep import Point
from simulator.core import registry
from simulator.core.durable import write_bytes
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
TABLES = ("results.csv", "results.parquet", "user_rate_cdf.csv")
TRAILING = ["metric", "value", "ci95", "unit", "num_samples", "seed"]


@dataclass(frozen=True)
class Unit:
    """One chunk of one point, drops ``first`` to ``first + drops - 1``: computed, stored and resumed as one."""

    point: Point
    first: int
    drops: int
    folder: Path

    @property
    def path(self) -> Path:
        """Path of its result once it is finished."""
        return self.folder / "points" / self.point.key / f"chunk-{self.first:08d}-{self.drops}.npz"

    @property
    def done(self) -> bool:
        """The file was renamed into place, is whole, and holds this chunk."""
        return self.path.is_file() and self.fault is None

    @property
    def fault(self) -> str | None:
        """Fault of its file, in words."""
        fault = seal_fault(self.path, self._identity)
        if fault is None and self.point.scenario.run.keep_drops:
            with zipfile.ZipFile(self.path) as archive:
                if not {"values.npy", "times.npy"} <= set(archive.namelist()):
                    return "without the values of single drops (run.keep_drops)"
        return fault

    def write(self, data: bytes) -> None:
        """Store its result, an ``.npz`` file in memory, with checksum and identity."""
        write_bytes(self.path, sealed(data, self._identity))

    @property
    def _identity(self) -> Identity:
        return Identity(self.point.key, self.first, self.drops)

    @property
    def scenario_text(self) -> str:
        """Scenario of the point as JSON."""
        return self.point.scenario.model_dump_json(exclude={"sweep"})


class Accumulator:
    """Moments and tallies, merged block by block in their order."""

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
                bounds, distinct = data["bounds"], float(data["distinct"])
                moments = [data[name] for name in Moments._fields[1:]]
                blocks = [
                    (
                        Moments(n, *(of[i] for of in moments)),
                        hist[i].astype(np.int64),
                        Tally.from_lines(n, tally[tally[:, 0] == i, 1:]),
                    )
                    for i, n in enumerate(drops)
                ]
        except (OSError, ValueError, KeyError, EOFError, IndexError, zipfile.BadZipFile) as error:
            raise StoreError(f"{path}: damaged chunk ({error}); delete it and resume") from None
        if not self.drops:
            self.rows, self.curves, self.bounds, self.distinct = rows, curves, bounds, distinct
        elif rows != self.rows:
            raise StoreError(f"{path}: rows differ from the other chunks; delete the results folder")
        for block in blocks:
            self._add_block(*block)
            if enough(self):
                return True
        return False

    def _add_block(self, moments: Moments, hist: np.ndarray, tallies: dict[int, Tally]) -> None:
        if not self.drops:
            self.moments, self.hist = moments, hist
        else:
            self.moments = self.moments + moments
            self.hist = self.hist + hist
            tallies = {row: self.tallies[row] + tally for row, tally in tallies.items()}
        self.tallies = tallies
        self.drops += moments.drops

    @property
    def independent_drops(self) -> float:
        """Drops, or fewer where the channels of a finite store repeat."""
        return independent_drops(self.drops, self.distinct)

    @property
    def exhausted(self) -> bool:
        """Half-widths are within 5 % of the smallest that a finite store allows, or there are none."""
        return self.independent_drops <= 1 or self.drops >= 10 * self.distinct

    def summary(self) -> list[dict[str, Any]]:
        """One dictionary per row: scheme, precoder, snr_db, metric, value, ci95, unit."""
        out = []
        metrics = {plugin: registry.load("metrics", plugin)() for plugin in dict.fromkeys(row[0] for row in self.rows)}
        alike = np.array([metrics[row[0]].alike for row in self.rows])
        half = half_width(self.moments, self.distinct, self.bounds.T, alike)
        for index, ((plugin, scheme, precoder, snr_db, column), mean, ci, largest) in enumerate(
            zip(self.rows, self.moments.mean, half, self.moments.high, strict=True)
        ):
            metric = metrics[plugin]
            if metric.reduce == "max":
                value, ci = largest, np.nan
            elif (share := percentile(metric.reduce)) is not None:
                value, ci = self.tallies[index].quantile(share, self.independent_drops / self.drops)
            else:
                value = float(metric.finalize(np.float64(mean), snr_db))
                step = 1e-6 * max(abs(mean), 1e-12)
                low, high = (metric.finalize(np.float64(mean + s), snr_db) for s in (-step, step))
                ci = float(abs(high - low) / (2 * step) * ci)
            out.append(
                {"scheme": scheme, "precoder": precoder, "snr_db": snr_db, "metric": column, "value": value}
                | {"ci95": ci, "unit": metric.unit}
            )
        return out


def tidy_frame(name: str, points: Sequence[tuple[Point, Accumulator]]) -> pd.DataFrame:
    """One row per (point, scheme, precoder, SNR, metric), columns as documented in docs/results.md."""
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
