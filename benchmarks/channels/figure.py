"""One picture of the check: curves of the standard, our draws as points."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.channels import reference as ref
from benchmarks.channels.drops import KINDS
from benchmarks.channels.drops import draw as draw_drops
from simulator.core.durable import write_bytes

_COLOUR = {"umi": "#0072b2", "uma": "#d55e00", "rma": "#009e73"}
_NAME = {"umi": "UMi", "uma": "UMa", "rma": "RMa"}


def draw(frame: pd.DataFrame, path: Path, drops: int, corrections: Iterable[str] | None = None) -> None:
    """Write the picture.

    Args:
        frame: rows of all checks.
        path: of the PNG file.
        drops: for the points of LOS probability and indoor distance.
        corrections: of UMi, UMa and RMa; None: all that Sionna needs.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    samples = {kind: draw_drops(kind, drops, 3.5e9, corrections) for kind in KINDS}
    with plt.rc_context({"font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "axes.titlesize": 10}):
        figure, axes = plt.subplots(2, 3, figsize=(13, 7.6), layout="constrained")
        _los(axes[0, 0], samples)
        _indoor(axes[0, 1], samples)
        _gain(axes[0, 2], frame)
        _spreads(axes[1, 0], frame)
        _standard_deviations(axes[1, 1], frame)
        _scores(axes[1, 2], frame)
        figure.suptitle(
            "Channels against TR 38.901: lines are the standard, markers our draws (bars: 5 standard errors)"
        )
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=110)
        plt.close(figure)
    write_bytes(path, data.getvalue())


def _los(axis: Any, samples: dict[str, dict[str, np.ndarray]]) -> None:
    for kind, x in samples.items():
        out = ~x["indoor"]
        d, los = x["d_2d"][out], x["los"][out].astype(float)
        grid = np.geomspace(d.min(), d.max(), 200)
        axis.plot(
            grid, ref.los_probability(kind, grid, np.full_like(grid, 1.5)), color=_COLOUR[kind], label=_NAME[kind]
        )
        edges = np.quantile(d, np.linspace(0, 1, 11))
        for low, high in pairwise(edges):
            mask = (d >= low) & (d <= high)
            p = los[mask].mean()
            # At the distance where the standard has the mean probability of the bin's UEs there is no binning error.
            expected = ref.los_probability(kind, d[mask], np.full(mask.sum(), 1.5)).mean()
            at = np.interp(-expected, -ref.los_probability(kind, grid, np.full_like(grid, 1.5)), grid)
            error = 5 * np.sqrt(max(expected * (1 - expected), 1e-9) / mask.sum())
            axis.errorbar(at, p, error, fmt="o", ms=3.5, color=_COLOUR[kind], capsize=2)
    axis.set(
        xscale="log",
        xlabel="outdoor distance [m]",
        ylabel="probability",
        title="LOS probability, outdoor UEs",
        ylim=(0, 1.05),
    )
    axis.legend()


def _indoor(axis: Any, samples: dict[str, dict[str, np.ndarray]]) -> None:
    for kind, marker in (("umi", "o"), ("uma", "x"), ("rma", "o")):
        d, most = samples[kind]["d_in"][samples[kind]["indoor"]], ref.MAX_INDOOR_M[kind]
        grid = np.linspace(0, most, 100)
        if kind != "uma":
            axis.plot(grid, 1 - (1 - grid / most) ** 2, color=_COLOUR[kind], label=f"standard, up to {most:g} m")
        at = np.linspace(0.05, 0.95, 10) * most
        axis.plot(
            at, [np.mean(d < x) for x in at], marker, ms=5, color=_COLOUR[kind], ls="", label=_NAME[kind], mfc="none"
        )
    axis.set(
        xlabel="indoor distance [m]", ylabel="share of indoor UEs below", title="Indoor distance: smaller of two draws"
    )
    axis.legend(loc="lower right")


def _gain(axis: Any, frame: pd.DataFrame) -> None:
    rows = frame[frame.quantity.str.startswith("path gain")].reset_index(drop=True)
    labels = [f"{r['item']}, {r['quantity'].split(', ')[1]}" for _, r in rows.iterrows()]
    axis.hlines(np.arange(len(rows)), rows.standard - 0 * rows.standard, rows.standard, color="none")
    axis.plot(rows.standard, np.arange(len(rows)), "|", ms=16, mew=2, color="black", label="standard")
    axis.errorbar(
        rows.measured,
        np.arange(len(rows)),
        xerr=5 * rows.std_error,
        fmt="o",
        ms=4,
        color="#d55e00",
        capsize=2,
        label="measured",
    )
    axis.set(
        yticks=np.arange(len(rows)),
        yticklabels=labels,
        xlabel="mean path gain [dB]",
        title="Path loss, fading, penetration",
    )
    axis.invert_yaxis()
    axis.legend()


def _spreads(axis: Any, frame: pd.DataFrame) -> None:
    rows = frame[frame.quantity.str.match(r"mean of lg (ASD|ASA|ZSA|ZSD)$")]
    ends = [0, 2.2]
    axis.plot(ends, ends, color="black", lw=1, label="standard")
    for name, marker in (("ASD", "o"), ("ASA", "s"), ("ZSA", "^"), ("ZSD", "v")):
        part = rows[rows.quantity.str.endswith(name)]
        for kind in KINDS:
            own = part[part["item"].str.startswith(kind)]
            axis.plot(own.standard, own.measured, marker, ms=5, mfc="none", color=_COLOUR[kind])
        axis.plot([], [], marker, color="grey", mfc="none", label=name)
    low = float(min(rows.standard.min(), 0)) - 0.1
    axis.set(
        xlabel="standard, lg(spread / degree)",
        ylabel="measured",
        title="Mean angle spreads, both ends",
        xlim=(low, 2.1),
        ylim=(low, 2.1),
    )
    axis.plot([low, 2.1], [low, 2.1], color="black", lw=1)
    axis.legend()


def _standard_deviations(axis: Any, frame: pd.DataFrame) -> None:
    rows = frame[frame.quantity.str.match(r"variance of (SF|K|XPR|the O2I loss)$")].copy()
    rows["deviation"] = np.sqrt(rows.measured)
    for name, marker in (("SF", "o"), ("K", "s"), ("XPR", "^"), ("the O2I loss", "D")):
        part = rows[rows.quantity.str.endswith(f" {name}")]
        for kind in KINDS:
            own = part[part["item"].str.startswith(kind)]
            bars = 5 * own.std_error / (2 * own.deviation)
            style = {"fmt": marker, "ms": 5, "mfc": "none", "color": _COLOUR[kind], "capsize": 2}
            axis.errorbar(np.sqrt(own.standard), own.deviation, bars, **style)
        axis.plot([], [], marker, color="grey", mfc="none", label=name.removeprefix("the "))
    axis.plot([2.5, 8.5], [2.5, 8.5], color="black", lw=1, label="standard")
    axis.set(xlabel="standard [dB]", ylabel="measured [dB]", title="Standard deviations: fading, K, XPR, penetration")
    axis.legend()


_GROUPS = {
    "angles of the LOS path": "angles of (departure|arrival)|LOS path:",
    "cosines of cluster rays": "cosines",
    "rays, clusters": "ray offsets|sub-cluster|sides|share of clusters",
    "path loss, gain, heights": "path (loss|gain)|O2I|effective|offset of ZOD",
    "LOS state, indoor distance": "LOS prob|indoor dist",
    "delay spread": "delay|realised",
    "spreads, K, SF, XPR": "(mean|variance) of (lg [ADZ]|SF|K|XPR)",
    "correlations of these": "^correlation",
    "CDL, TDL: power, phase": "power|phase of the|^K of",
    "CDL: angles": "(departure|arrival): ",
}


def _scores(axis: Any, frame: pd.DataFrame) -> None:
    for k, pattern in enumerate(_GROUPS.values()):
        z = frame[frame.quantity.str.contains(pattern.replace("(", "(?:"))].z
        jitter = (np.arange(len(z)) % 7 - 3) * 0.08
        axis.plot(z.clip(-8, 8), k + jitter, ".", ms=5, color="#0072b2")
        axis.text(8.4, k, str(len(z)), va="center", fontsize=8)
    axis.axvline(-5, color="#d55e00")
    axis.axvline(5, color="#d55e00")
    axis.set(yticks=range(len(_GROUPS)), yticklabels=list(_GROUPS), xlim=(-8.2, 8.2),
             xlabel="z of every row (limits at 5; right: rows)", title="All rows")  # fmt: skip
    axis.invert_yaxis()
