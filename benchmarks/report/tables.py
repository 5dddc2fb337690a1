"""Tables of the page: key results at one SNR, and all numbers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report.cells import bits_text, cell
from benchmarks.report.figures import LABELS
from benchmarks.report.frames import outage_text, plain, reference_labels, swept_axes


def key_results(
    frame: pd.DataFrame,
    snr_db: float | None,
    references: Collection[str] | None = None,
    best: Collection[tuple[str, str | None]] = (),
) -> dict[str, Any]:
    """Scheme x precoder at one SNR, with the share of the perfect-CSI sum rate.

    Args:
        frame: results of one combination of swept axes.
        snr_db: SNR of the rates [dB].
        references: labels that send perfect CSI; None: by their label.
        best: schemes and precoders of the rows to be marked.
    """
    if references is None:
        references = reference_labels(frame["scheme"].unique(), {})
    outages = [metric for metric in frame["metric"].unique() if metric.startswith("outage_")]
    sgcs = "sgcs_subband" if (frame["metric"] == "sgcs_subband").any() else "sgcs"  # one of the two, for room
    others = [m for m in ("goodput_bpshz", "bler", sgcs, "nmse_db") if (frame["metric"] == m).any()]
    metrics = outages + others
    link = frame[frame["precoder"].notna() & (frame["snr_db"] == snr_db)]
    rate = link[link["metric"] == "sum_rate_bpshz"].set_index(["scheme", "precoder"])["value"].dropna()
    pairs = link[["scheme", "precoder"]].drop_duplicates().to_dict("records")
    pairs = pairs or [{"scheme": scheme, "precoder": None} for scheme in frame["scheme"].unique()]
    p95 = _p95(frame)
    rows = []
    for pair in pairs:
        own = frame[frame["scheme"] == pair["scheme"]]
        here = own[own["precoder"].isna() | (own["precoder"] == pair["precoder"]) & (own["snr_db"] == snr_db)]
        found = {row.metric: cell(row.metric, row.value, row.ci95) for row in here.itertuples()}
        ceiling = next((rate[key] for key in rate.index if key[0] in references and key[1] == pair["precoder"]), np.nan)
        share = 100.0 * rate.get((pair["scheme"], pair["precoder"]), np.nan) / ceiling
        rows.append(
            {
                "precoder": pair["precoder"] or "–",
                "scheme": pair["scheme"],
                "bits": [
                    bits_text(bits) for bits in (own["bits_mean"].max(), *p95[pair["scheme"]], own["bits_max"].max())
                ],
                "sum_rate": found.get("sum_rate_bpshz", "–"),
                "share": f"{share:.1f}" if np.isfinite(share) else None,
                "bar": f"{np.clip(share, 0, 100):.1f}",
                "others": [found.get(metric, "–") for metric in metrics],
                "best": (pair["scheme"], pair["precoder"]) in best,
            }
        )
    order = list(dict.fromkeys(row["precoder"] for row in rows))
    rows.sort(key=lambda row: order.index(row["precoder"]))
    heads = [("Outage", outage_text(metric)) for metric in outages]
    heads += [LABELS[metric].partition(" ")[::2] for metric in others]
    has_share = any(row["share"] is not None for row in rows)
    bits_heads = ["mean", *(["95 %"] if any(p95.values()) else []), "max"]
    return {"heads": heads, "bits_heads": bits_heads, "has_rate": len(rate) > 0, "has_share": has_share, "rows": rows}


def _p95(frame: pd.DataFrame) -> dict[str, list[float]]:
    """Percentile of the bits by scheme, in a list; empty lists where it equals the maximum."""
    found = frame[frame["metric"] == "bits_p95"].groupby("scheme")[["value", "bits_max"]].max()
    tells = (found["value"] < found["bits_max"]).any()
    return {scheme: [found["value"].get(scheme, np.nan)] * bool(tells) for scheme in frame["scheme"].unique()}


def pivots(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The whole tidy table: a pivot by SNR per link metric, sum rate first, then the feedback metrics."""
    axes = swept_axes(frame)
    tables = []
    link = frame[frame["snr_db"].notna()]
    for metric in sorted(link["metric"].unique(), key=lambda metric: metric != "sum_rate_bpshz"):
        rows = link[link["metric"] == metric]
        keys = [*axes, "scheme", *(["precoder"] if rows["precoder"].notna().any() else [])]
        heads = [f"{snr_db:g} dB" for snr_db in sorted(rows["snr_db"].unique())]
        tables.append(_pivot(metric, rows, keys, rows["snr_db"].map("{:g} dB".format), heads))
    rows = frame[frame["snr_db"].isna()]
    if len(rows):
        tables.append(
            _pivot(
                "Metrics of the feedback alone",
                rows,
                [*axes, "scheme"],
                rows["metric"],
                rows["metric"].unique(),
            )
        )
    return tables


def _pivot(title: str, rows: pd.DataFrame, keys: list[str], column: pd.Series, heads: Any) -> dict[str, Any]:
    cells: dict[tuple, dict[str, str]] = {}
    for key, head, *numbers in zip(
        rows[keys].itertuples(index=False, name=None), column, rows["metric"], rows["value"], rows["ci95"], strict=True
    ):
        cells.setdefault(tuple(plain(part) for part in key), {})[head] = cell(*numbers)
    body = [(key, [line.get(head, "–") for head in heads]) for key, line in cells.items()]
    unit = rows["unit"].iloc[0] if rows["unit"].nunique() == 1 else ""
    counts = sorted({f"{count:,.0f}" for count in (rows["num_samples"].min(), rows["num_samples"].max())}, key=len)
    about = ", ".join(filter(None, ["" if unit == "1" else unit, f"{' to '.join(counts)} samples each"]))
    return {"title": title, "about": about, "names": keys, "heads": list(heads), "body": body}
