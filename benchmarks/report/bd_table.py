"""Bjontegaard differences of all families of a results frame from the 3GPP codebook, as tables."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report.bd_rate import bd_difference
from benchmarks.report.frames import at, combinations, describe, family, reference_labels, swept_axes

QUALITIES = ("sgcs_subband", "sgcs", "sum_rate_bpshz")  # the second where there is no first
ANCHOR = "etype2"


def curve(scheme: str) -> str:
    """Family of a scheme over its rates, rates in the name of weights left out too: ``evt-uniform-fixed``."""
    return re.sub(r"-\d+(?=[-+]|$)", "", family(scheme))


def without_bits(axes: list[str]) -> list[str]:
    """Swept axes but those of bits, which are points of a curve."""
    return [axis for axis in axes if not re.search(r"(^|[._])bits$", axis)]


def bd_frame(frame: pd.DataFrame, references: Collection[str] | None = None) -> pd.DataFrame:
    """A row per family, quality metric, precoder, SNR and combination of the swept axes; empty without two families.

    Families with one number of bits are left out. Columns: the axes, ``metric, precoder, snr_db, family, reference,
    points, points_reference, bd_rate_percent, bd_quality, unit, quality_low, quality_high, note``. ``references`` are
    labels that send perfect CSI and are no family; None: by their label.
    """
    if references is None:
        references = reference_labels(frame["scheme"].unique(), {})
    axes = without_bits(swept_axes(frame))
    metrics = [metric for metric in QUALITIES if (frame["metric"] == metric).any()]
    if "sgcs_subband" in metrics:
        metrics = [metric for metric in metrics if metric != "sgcs"]
    rows = frame[frame["metric"].isin(metrics) & np.isfinite(frame["value"]) & (frame["bits_mean"] > 0)]
    rows = rows[~rows["scheme"].isin(list(references))]
    rows = rows.assign(family=rows["scheme"].map(curve))
    found = []
    for combination in combinations(rows, axes):
        here = at(rows, combination)
        for (metric, precoder, snr_db), part in here.groupby(
            ["metric", "precoder", "snr_db"], sort=False, dropna=False
        ):
            counts = part.groupby("family", sort=False)["bits_mean"].nunique()
            names = list(counts[counts > 1].index)
            anchor = _anchor(names)
            for name in names:
                if name == anchor:
                    continue
                ref, own = (part[part["family"] == n] for n in (anchor, name))
                got = bd_difference(ref["bits_mean"], ref["value"], own["bits_mean"], own["value"])
                found.append(
                    {
                        **combination,
                        **{"metric": metric, "precoder": precoder, "snr_db": snr_db, "family": name},
                        **{"reference": anchor, "points": len(own), "points_reference": len(ref)},
                        **{"bd_rate_percent": got.rate_percent, "bd_quality": got.quality},
                        "unit": part["unit"].iloc[0],
                        **{"quality_low": got.low, "quality_high": got.high, "note": got.note},
                    }
                )
    return pd.DataFrame(found)


def _anchor(names: list[str]) -> str | None:
    """The 3GPP family: plain enhanced Type II before its variants, else the first."""
    variants = [name for name in names if re.match(rf"{ANCHOR}(-|$)", name)]
    return min(variants, key=len) if variants else next(iter(names), None)


def bd_tables(table: pd.DataFrame, snr_db: float | None) -> list[dict[str, Any]]:
    """Tables for the page, one per combination of the swept axes and reference: rows are families.

    Args:
        table: from :func:`bd_frame`.
        snr_db: SNR of the page; link metrics at others stay in the file.
    """
    if table.empty:
        return []
    axes = list(table.columns[: list(table.columns).index("metric")])
    shown = table[table["snr_db"].isna() | (table["snr_db"] == snr_db)]
    tables = []
    for combination in combinations(shown, [*axes, "reference"]):
        here = at(shown, combination)
        heads = list(dict.fromkeys(_head(row) for row in here.itertuples()))
        lines: dict[str, dict[Any, dict[str, str]]] = {}
        for row in here.itertuples():
            lines.setdefault(row.family, {})[_head(row)] = _cell(row)
        reference = combination.pop("reference")
        body = [(name, [cells.get(head) for head in heads]) for name, cells in lines.items()]
        tables.append({"title": describe(combination), "reference": reference, "heads": heads, "body": body})
    return tables


def _head(row: Any) -> tuple[str, str]:
    if pd.isna(row.precoder):
        return row.metric, ""
    return row.metric, f"{row.precoder}, {row.snr_db:g} dB"


def _cell(row: Any) -> dict[str, str]:
    digits = 3 if row.unit == "1" else 2
    common = f"{row.quality_low:.{digits}f} to {row.quality_high:.{digits}f}" if np.isfinite(row.quality_low) else ""
    rate = f"{row.bd_rate_percent:+.1f} %" if np.isfinite(row.bd_rate_percent) else "–"
    quality = f"{row.bd_quality:+.{digits}f}" if np.isfinite(row.bd_quality) else "–"
    return {"rate": rate, "quality": quality, "common": common, "note": row.note}
