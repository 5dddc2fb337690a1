"""UE cost, bits and outage of every scheme in one picture."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.report.figures import MARKERS, PALETTE, PLAIN, network, shown
from benchmarks.report.frames import at_one_snr, outage_text

_BITS = 1.05  # longer reports than this are longer
COST, COST_LABEL = "ue_gbops", "Bit operations of the UE per report (10⁹)"


def cost_points(frame: pd.DataFrame, snr_db: float | None = None) -> pd.DataFrame:
    """One row per scheme that has a UE cost: ``cost``, ``bits``, ``outage``, ``ci95``, ``criterion``, ``front``.

    The outage criterion is the one that separates the schemes best (largest spread) at the SNR nearest to
    ``snr_db`` (default 20 dB) under the first precoder. ``front``: no other scheme is as good in all three and better
    in one, where bits within 5 % count as equal.
    """
    cost = frame[frame["metric"] == COST].drop_duplicates("scheme").set_index("scheme")
    outage = frame[frame["metric"].str.startswith("outage_gamma") & frame["scheme"].isin(cost.index)]
    outage = outage[outage["precoder"] == outage["precoder"].iloc[0]] if len(outage) else outage
    if outage.empty:
        return pd.DataFrame()
    outage, _ = at_one_snr(outage, snr_db)
    criterion = outage.groupby("metric", sort=False)["value"].agg(np.ptp).idxmax()
    rows = outage[outage["metric"] == criterion].drop_duplicates("scheme").set_index("scheme")
    points = pd.DataFrame(
        {
            "cost": cost["value"].reindex(rows.index),
            "bits": rows["bits_mean"],
            "outage": rows["value"],
            "ci95": rows["ci95"],
            "criterion": criterion,
        }
    ).reset_index()
    triple, slack = points[["cost", "bits", "outage"]].to_numpy(), np.array([1.0, _BITS, 1.0])
    mine, theirs = triple[:, None], triple[None]
    better = (mine <= theirs * slack).all(axis=2) & (mine * slack < theirs).any(axis=2)
    return points.assign(front=~better.any(axis=0))


def outage_vs_ue_cost(frame: pd.DataFrame, *, snr_db: float | None = None, title: str = "") -> Figure | None:
    """Outage over UE cost; area of a marker: bits of a report; black edge: on the Pareto front of all three."""
    points = cost_points(frame, snr_db)
    if len(points) < 2:
        return None
    narrow = points["cost"].max() < 10 * points["cost"].min()
    with mpl.rc_context(PLAIN):
        figure = Figure(figsize=(8.2, 4.6), layout="constrained")
        axis = figure.add_subplot()
        points = points.assign(network=points["scheme"].map(network))
        for index, (name, part) in enumerate(points.groupby("network", sort=False)):
            part = part.sort_values("cost")
            color = PALETTE[index % len(PALETTE)]
            axis.plot(part["cost"], part["outage"], color=color, lw=0.8, alpha=0.6)
            axis.scatter(
                part["cost"],
                part["outage"],
                s=14 + 0.5 * part["bits"],
                color=color,
                marker=MARKERS[index % len(MARKERS)],
                edgecolors=["black" if front else color for front in part["front"]],
                linewidths=1.3,
                alpha=0.85,
                label=f"{shown(name)} ({part['bits'].min():.0f} bit)",
            )
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if narrow else ""))
        axis.set(xlabel=COST_LABEL, ylabel=f"Outage, {outage_text(points['criterion'].iloc[0])}", title=title)
        axis.set_ylim(bottom=0)
        figure.legend(
            loc="outside right upper", title="network (bits of a report)\nblack edge: Pareto front", fontsize=8
        )
    return figure
