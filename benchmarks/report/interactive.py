"""What the script of ``report.html`` draws: the rows of the figures' metrics, and a recipe for every figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report.cells import EXACT_DB, SHARES
from benchmarks.report.figures import BITS_LABEL, LABELS, SNR_LABEL, Styles, label_of
from benchmarks.report.frames import combinations, family, swept_axes

_MOST_ROWS = 40_000  # of the page; further metrics are left out, the main ones first
_CDF_POINTS = 120


def page_data(frame: pd.DataFrame, cdf: pd.DataFrame, styles: Styles) -> str:
    """JSON of the results for a ``<script>`` element: no `<` in it.

    Args:
        frame: results.
        cdf: distribution of the user rate.
        styles: of the schemes, in their order.
    """
    axes, places = swept_axes(frame), {name: place for place, name in enumerate(styles)}
    table = combinations(frame, axes)
    keys = {_key(combination): number for number, combination in enumerate(table)}
    frame = frame[frame["value"].notna() & ~((frame["metric"] == "nmse_db") & (frame["value"] < EXACT_DB))]
    metrics = _metrics(frame)
    frame = frame[frame["metric"].isin(metrics)]
    precoders = [str(name) for name in frame["precoder"].dropna().unique()]
    spreads = frame[frame["metric"] == "bits_mean"].set_index(["scheme", "bits_mean"])["ci95"].to_dict()
    rows = [
        [
            places[row["scheme"]],
            precoders.index(row["precoder"]) if isinstance(row["precoder"], str) else -1,
            metrics.index(row["metric"]),
            keys[_key({axis: row[axis] for axis in axes})],
            *(_number(row[name]) for name in ("snr_db", "value", "ci95", "bits_mean")),
            _number(spreads.get((row["scheme"], row["bits_mean"]), np.nan)),
        ]
        for row in frame.to_dict("records")
    ]
    names = ["scheme", "precoder", "snr_db", *axes]
    curves = [
        {
            "scheme": places[key[0]],
            "precoder": precoders.index(key[1]),
            "snr": float(key[2]),
            "combination": keys[_key(dict(zip(axes, key[3:], strict=True)))],
            **_thinned(part.sort_values(["rate_bpshz", "cdf"])),
        }
        for key, part in cdf.groupby(names, sort=False, dropna=False)
        if key[0] in places and key[1] in precoders
    ]
    data = {
        "schemes": [
            {"name": name, "family": family(name), "color": look.color, "marker": look.marker, "dash": look.linestyle}
            | {"reference": look.reference}
            for name, look in styles.items()
        ],
        "precoders": precoders,
        "metrics": [
            {"name": name, "label": label_of(name), "share": name.startswith(SHARES), "fromZero": _from_zero(name)}
            for name in metrics
        ],
        "axes": axes,
        "combinations": [[_plain(value) for value in combination.values()] for combination in table],
        "rows": rows,
        "cdf": curves,
    }
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def recipes(
    frame: pd.DataFrame, shown: pd.DataFrame, x: str, metrics: Sequence[str], snr_db: float | None
) -> list[dict[str, Any]]:
    """What the script draws in place of a static figure, a chart per metric.

    Args:
        frame: all results.
        shown: rows of this figure.
        x: "snr_db", "bits", "rate" or a swept axis.
        metrics: their names; any for "rate".
        snr_db: where results stand that are not drawn over the SNR [dB].
    """
    axes = swept_axes(frame)
    keys = {_key(combination): number for number, combination in enumerate(combinations(frame, axes))}
    numbers = sorted({keys[_key(combination)] for combination in combinations(shown, axes)})
    labels = {"snr_db": SNR_LABEL, "bits": BITS_LABEL, "rate": "User rate (bit/s/Hz)"}
    made = []
    for metric in metrics:
        rows = shown[shown["metric"] == metric]
        x_values = rows["bits_mean"] if x == "bits" else rows[x] if x in rows and x != "snr_db" else None
        made.append(
            {
                "metric": metric,
                "x": x,
                "snr": snr_db,
                "combinations": numbers,
                "xLabel": labels.get(x, x),
                "yLabel": "Share of users at or below" if x == "rate" else label_of(metric),
                "fromZero": _from_zero(metric),
                "logX": x == "bits" or (x_values is not None and _wide(x_values)),
                "logY": metric.startswith(SHARES) and x == "snr_db",
            }
        )
    return made


def _metrics(frame: pd.DataFrame) -> list[str]:
    """Metrics of the page: the known ones first, all others while there is room."""
    counts = frame["metric"].value_counts()
    known = [name for name in LABELS if name in counts] + [name for name in counts.index if name.startswith("outage_")]
    others = [name for name in frame["metric"].unique() if name not in known and name not in ("bits_mean", "bits_max")]
    chosen, total = [], 0
    for name in (*known, *sorted(others)):
        total += counts[name]
        if name in known or total <= _MOST_ROWS:
            chosen.append(name)
    return chosen


def _from_zero(metric: str) -> bool:
    return metric.endswith("_bpshz")


def _wide(values: pd.Series) -> bool:
    values = values[np.isfinite(values)]
    return bool(len(values) and values.min() > 0 and values.max() / values.min() > 20)


def _thinned(curve: pd.DataFrame) -> dict[str, list[float]]:
    """At most 120 points of a distribution, first and last among them."""
    keep = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), _CDF_POINTS)).round().astype(int))
    part = curve.iloc[keep]
    return {"x": [float(f"{v:.5g}") for v in part["rate_bpshz"]], "y": [float(f"{v:.5g}") for v in part["cdf"]]}


def _key(combination: Mapping[str, Any]) -> str:
    return json.dumps([_plain(value) for value in combination.values()])


def _plain(value: Any) -> Any:
    """A cell as JSON has it."""
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _number(value: float) -> float | None:
    return None if not np.isfinite(value) else float(f"{value:.6g}")
