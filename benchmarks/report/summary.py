"""Results frame to short tables for a terminal: key results, one metric at all operating points, curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report.cells import bits_text, cell
from benchmarks.report.frames import at, combinations, describe, nearest_snr, plain, swept_axes
from benchmarks.terminal import sparkline
from simulator.core.errors import ConfigError

RATES = ("goodput_bpshz", "sum_rate_bpshz")
DIRECTIONS = ("sgcs_subband", "sgcs")
NAMES = {
    "goodput_bpshz": "goodput",
    "sum_rate_bpshz": "sum rate",
    "sgcs_subband": "SGCS",
    "sgcs": "SGCS per sample",
    "nmse_db": "NMSE",
}


@dataclass(frozen=True)
class Short:
    """A table.

    Args:
        title: operating point.
        heads: of the columns.
        rows: cells.
        right: heads of columns of numbers.
        keys: value of every row by which it may be sorted, by head.
    """

    title: str
    heads: list[str]
    rows: list[list[str]]
    right: list[str] = field(default_factory=list)
    keys: dict[str, list[Any]] = field(default_factory=dict)

    def sorted_by(self, head: str) -> Short:
        """Rows in the order of a column, texts ascending, numbers descending but for bits.

        Raises:
            ConfigError: no such column.
        """
        if head not in self.keys:
            raise ConfigError("--sort", head, ", ".join(self.keys))
        keys = self.keys[head]
        numbers = head != "bits" and all(isinstance(key, float) for key in keys)
        order = sorted(range(len(keys)), key=lambda row: _rank(keys[row], numbers))
        sorted_keys = {name: [values[row] for row in order] for name, values in self.keys.items()}
        return Short(self.title, self.heads, [self.rows[row] for row in order], self.right, sorted_keys)


def key_results(frame: pd.DataFrame) -> Short:
    """Scheme, bits, SGCS, rate with half-widths, and the rate along the swept axis, or the SNR, as a sparkline.

    At the SNR nearest to 20 dB, the precoder of the highest mean rate, the last value of the swept axis and the first
    ones of other axes.
    """
    axis, here, where = _operating_point(frame)
    along, rate = here if axis is None else at(frame, where.others), _first(frame, RATES)
    snr_db = nearest_snr(frame)
    precoder = _precoder(here, rate, snr_db)
    metrics = [name for name in (_first(frame, DIRECTIONS), rate) if name]
    shown, x = metrics[-1:], axis or ("snr_db" if rate and frame["snr_db"].nunique() > 1 else None)
    title = ", ".join(
        filter(
            None,
            [f"SNR {snr_db:g} dB" if rate else "", f"precoder {precoder}" if precoder else "", describe(where.here)],
        )
    )
    table = Short(title, ["scheme", "bits", *(NAMES[name] for name in metrics)], [])
    heads = [*table.heads, f"over {plain_axis(x)}"] if x and shown else table.heads
    keys: dict[str, list[Any]] = {head: [] for head in heads[: len(table.heads)]}
    rows = []
    for scheme in frame["scheme"].unique():
        own = here[here["scheme"] == scheme]
        own = own if len(own) else along[along["scheme"] == scheme]
        if own.empty:
            continue
        found = [_row(own, name, precoder, snr_db) for name in metrics]
        rows.append([scheme, bits_text(own["bits_mean"].max()), *(cell(*each) for each in found)])
        for head, key in zip(keys, [scheme, float(own["bits_mean"].max()), *(each[1] for each in found)], strict=True):
            keys[head].append(key)
        if len(heads) > len(table.heads):
            rows[-1].append(_spark(along[along["scheme"] == scheme], shown[0], str(x), precoder, snr_db))
    return Short(title, heads, rows, table.heads[1:], keys)


def one_metric(frame: pd.DataFrame, metric: str) -> Short:
    """One metric: a row per scheme, precoder and swept axes, a column per SNR."""
    rows = frame[frame["metric"] == metric]
    axes, has_precoder = swept_axes(frame), rows["precoder"].notna().any()
    names = [*axes, "scheme", *(["precoder"] if has_precoder else [])]
    snrs = sorted(rows["snr_db"].dropna().unique()) or [np.nan]
    unit = rows["unit"].dropna().iloc[0] if rows["unit"].notna().any() else ""
    columns = [metric if np.isnan(snr) else f"{snr:g} dB" for snr in snrs]
    body, keys = [], {head: [] for head in [*names, "bits", *columns]}
    for key, part in rows.groupby(names, sort=False, dropna=False):
        at_snr = {row.snr_db: row for row in part.itertuples()}
        found = [at_snr.get(snr) if np.isfinite(snr) else next(part.itertuples()) for snr in snrs]
        cells = ["–" if row is None else cell(metric, row.value, row.ci95) for row in found]
        bits = float(part["bits_mean"].max())
        body.append([*(plain(value) for value in key), bits_text(bits), *cells])
        sort = [*key, bits, *(np.nan if row is None else float(row.value) for row in found)]
        for head, value in zip(keys, sort, strict=True):
            keys[head].append(value)
    title = f"{metric} ({unit})" if unit not in ("", "1") else metric
    return Short(title, list(keys), body, ["bits", *columns], keys)


def curves(frame: pd.DataFrame, metric: str) -> tuple[dict[str, list[tuple[float, float]]], str]:
    """Label to points of a metric over the swept axis, else the SNR, else the bits; name of that axis."""
    axis, _, where = _operating_point(frame)
    rows = at(frame, where.others)
    rows = rows[(rows["metric"] == metric) & (rows["value"] > -200)]
    if axis is not None:
        rows = rows[rows["snr_db"].isna() | (rows["snr_db"] == nearest_snr(rows))]
        x = axis
    else:
        x = "snr_db" if rows["snr_db"].nunique() > 1 else "bits_mean"
    precoder = _precoder(rows, metric, nearest_snr(rows))
    rows = _rows(rows, metric, precoder)
    found = {
        str(scheme): [(float(a), float(b)) for a, b in part.sort_values(x)[[x, "value"]].to_numpy(float)]
        for scheme, part in rows.groupby("scheme", sort=False)
    }
    return found, plain_axis(x) + (f", precoder {precoder}" if precoder else "")


def chosen(
    frame: pd.DataFrame, folder: Path, *, schemes: Sequence[str] = (), metric: str | None, snr_db: float | None
) -> pd.DataFrame:
    """Rows of the wanted schemes, metric and SNR.

    Args:
        frame: results.
        folder: where they are, for messages.
        schemes: labels, or patterns with ``*`` and ``?``; empty: all.
        metric: name; None: all.
        snr_db: SNR [dB]; metrics without an SNR stay; None: all.

    Raises:
        ConfigError: nothing like it in the folder.
    """
    labels = list(frame["scheme"].unique())
    for pattern in schemes:
        if not any(fnmatchcase(label, pattern) for label in labels):
            raise ConfigError("--scheme", pattern, f"schemes of {folder}: {', '.join(labels)}")
    if schemes:
        wanted = [label for label in labels if any(fnmatchcase(label, pattern) for pattern in schemes)]
        frame = frame[frame["scheme"].isin(wanted)]
    if metric is not None:
        known = sorted(frame["metric"].unique())
        if metric not in known:
            raise ConfigError("--metric", metric, f"metrics of {folder}: {', '.join(known)}")
        frame = frame[frame["metric"] == metric]
    if snr_db is not None:
        snrs = sorted(frame["snr_db"].dropna().unique())
        if snr_db not in snrs:
            allowed = ", ".join(f"{snr:g}" for snr in snrs) or "none: this has no SNR"
            raise ConfigError("--snr", snr_db, f"SNRs of {folder}: {allowed}")
        frame = frame[frame["snr_db"].isna() | (frame["snr_db"] == snr_db)]
    return frame


def plain_axis(axis: str | None) -> str:
    """``SNR (dB)`` for ``snr_db``; other axes as they are called."""
    return {"snr_db": "SNR (dB)", "bits_mean": "bits"}.get(str(axis), str(axis))


@dataclass(frozen=True)
class _Where:
    here: dict[str, Any]  # value of every swept axis
    others: dict[str, Any]  # of all but the one along which it goes


def _operating_point(frame: pd.DataFrame) -> tuple[str | None, pd.DataFrame, _Where]:
    """Numeric axis along which results go, rows at its last value and the first ones of other axes, and where."""
    axes = swept_axes(frame)
    numeric = [
        axis
        for axis in axes
        if pd.api.types.is_numeric_dtype(frame[axis])
        and not pd.api.types.is_bool_dtype(frame[axis])
        and frame[axis].nunique() > 1
    ]
    axis = numeric[0] if numeric else None
    first = combinations(frame, axes)[0]
    others = {name: value for name, value in first.items() if name != axis}
    here = dict(others) if axis is None else {**others, axis: at(frame, others)[axis].max()}
    return axis, at(frame, here), _Where(here, others)


def _first(frame: pd.DataFrame, metrics: Sequence[str]) -> str | None:
    return next((name for name in metrics if (frame["metric"] == name).any()), None)


def _precoder(frame: pd.DataFrame, rate: str | None, snr_db: float | None) -> str | None:
    rows = frame[(frame["metric"] == rate) & (frame["snr_db"] == snr_db) & frame["precoder"].notna()]
    means = rows.groupby("precoder", sort=False)["value"].mean().dropna()
    return None if means.empty else str(means.idxmax())


def _row(own: pd.DataFrame, metric: str, precoder: str | None, snr_db: float | None) -> tuple[str, float, float]:
    """Metric, value, half-width at an operating point, at the last value of an axis that is this scheme's own."""
    rows = _rows(own, metric, precoder)
    rows = rows[rows["snr_db"].isna() | (rows["snr_db"] == snr_db)]
    if rows.empty:
        return metric, np.nan, np.nan
    return metric, float(rows["value"].iloc[-1]), float(rows["ci95"].iloc[-1])


def _rows(own: pd.DataFrame, metric: str, precoder: str | None) -> pd.DataFrame:
    return own[(own["metric"] == metric) & (own["precoder"].isna() | (own["precoder"] == precoder))]


def _spark(own: pd.DataFrame, metric: str, x: str, precoder: str | None, snr_db: float | None) -> str:
    rows = _rows(own, metric, precoder)
    if x != "snr_db":
        rows = rows[rows["snr_db"].isna() | (rows["snr_db"] == snr_db)]
    values = rows.sort_values(x)["value"].tolist()
    return sparkline(values) if len(values) > 1 else ""


def _rank(key: Any, descending: bool) -> tuple[bool, Any]:
    if isinstance(key, float):
        return bool(np.isnan(key)), -key if descending else key
    return False, str(key)
