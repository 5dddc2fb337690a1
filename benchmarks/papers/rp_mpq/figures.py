"""RP-MPQ's figures, and the tables of its README."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from benchmarks.papers.kit.figures import convergence, legend, loss_curve, row_of_panels
from benchmarks.papers.kit.readme import listed
from benchmarks.papers.kit.run import Run
from benchmarks.papers.rp_mpq.networks import networks
from benchmarks.papers.rp_mpq.scheduling import policies, ranking
from benchmarks.report.figures import PALETTE
from simulator.core.units import lin_to_db

NETWORKS = {
    "mamba_transformer": "Mamba-Transformer",
    "csinet": "CsiNet",
    "csinet_plus": "CsiNet+",
    "transnet": "TransNet",
    "linear code (PCA)": "linear code (PCA)",
}
COLORS = dict(zip(NETWORKS, PALETTE, strict=False))
CONTROLLERS = {
    "uniform 8 bit": {"color": "0.5", "marker": "s", "ls": "none"},
    "uniform 4 bit": {"color": "0.5", "marker": "s", "ls": "none"},
    "random": {"color": PALETTE[4], "ls": ":"},
    "static, ILP only (HAWQ)": {"color": PALETTE[3], "ls": "--"},
    "static (offline only)": {"color": PALETTE[2]},
    "online": {"color": PALETTE[0], "lw": 2},
    "oracle (upper bound)": {"color": "k", "ls": "--", "lw": 0.9},
}


def ranking_figure(run: Run) -> Figure:
    """Fig. 1: prediction by the ILP and the divergence against the distortion that a policy causes."""
    distinct = ranking(run).drop_duplicates(["omega", "kappa"])
    figure, axes = row_of_panels(2, width=4.2, height=3.6, sharey=True)
    labels = {"omega": r"ILP objective $\sum\Omega_m(b_m)$", "kl": r"divergence $J(\pi)$ (nat)"}
    for axis, (key, label) in zip(axes, labels.items(), strict=True):
        points = axis.scatter(distinct[key], lin_to_db(distinct.nmse), c=distinct.kappa, s=14, cmap="viridis")
        rank = spearmanr(distinct[key], distinct.nmse).statistic
        axis.set(xscale="log", xlabel=label, title=f"Spearman {rank:.2f}")
    axes[0].set_ylabel("measured NMSE (dB)")
    figure.colorbar(points, ax=axes, label="cost, share of 16 bit")
    return figure


def outage_figure(run: Run) -> Figure:
    """Fig. 2: outage over the average cost, one panel for each reliability target and SNR."""
    online = run.table("fig2_table5")
    gammas, snrs = sorted(online.gamma.unique(), reverse=True), sorted(online.snr_db.unique())
    figure = Figure(figsize=(3.1 * len(snrs) + 0.6, 2.3 * len(gammas) + 0.6), layout="constrained")
    for row, gamma in zip(figure.subplots(len(gammas), len(snrs), sharex=True, squeeze=False), gammas, strict=True):
        for axis, snr_db in zip(row, snrs, strict=True):
            here = online[(online.gamma == gamma) & (online.snr_db == snr_db)]
            for name, style in CONTROLLERS.items():
                part = here[here.controller == name].sort_values("kappa")
                label = "uniform 8, 4 bit" if name.startswith("uniform 8") else None if "4 bit" in name else name
                axis.plot(part.kappa, part.outage, label=label, ms=4, **style)
                if name == "online":
                    axis.fill_between(
                        part.kappa, part.outage - part.ci95, part.outage + part.ci95, color=PALETTE[0], alpha=0.15, lw=0
                    )
            axis.set_title(rf"$\gamma$ = {gamma:g}, {snr_db:g} dB", fontsize=9)
        row[0].set_ylabel("outage")
    for axis in figure.axes[-len(snrs) :]:
        axis.set_xlabel("average cost, share of 16 bit")
    legend(figure)
    return figure


def width_figure(run: Run) -> Figure:
    """Table IV: NMSE over the width of all weights, for every way of rounding."""
    table, clips = run.table("table_4"), list(run.plan["clips"])
    figure, axes = row_of_panels(len(clips), width=3.4, height=3.3, sharey=True)
    for axis, clip in zip(axes, clips, strict=True):
        for network, part in table[table.rounding == clip].groupby("network", sort=False):
            axis.plot(part.weight_bits, part.nmse_db, "o-", ms=4, color=COLORS[network], label=NETWORKS[network])
        axis.set_xscale("log", base=2)
        axis.set_xticks([16, 8, 4, 2], ["16", "8", "4", "2"])
        axis.set(xlabel="bits of a weight", title=clip)
    axes[0].set_ylabel("NMSE (dB)")
    legend(figure)
    return figure


def policy_figure(run: Run) -> Figure:
    """Widths of every block of the representative policies, by cost."""
    known = policies(run)
    chosen = known.policies[known.refined]
    names = [name.replace("/kernel", "").replace("/mamba/", " ").replace("scan/", "") for name in known.meta["names"]]
    figure = Figure(figsize=(7.5, 0.24 * len(names) + 1.4), layout="constrained")
    axis = figure.add_subplot()
    image = axis.imshow(np.log2(chosen.T), aspect="auto", cmap="viridis", interpolation="nearest")
    axis.set_yticks(range(len(names)), names, fontsize=7)
    ticks = np.linspace(0, len(chosen) - 1, min(8, len(chosen))).round().astype(int)
    axis.set_xticks(ticks, [f"{known.kappa[known.refined][tick]:.2f}" for tick in ticks])
    axis.set(xlabel="cost of the policy, share of 16 bit")
    axis.grid(False)
    bar = figure.colorbar(image, ax=axis, label="bits of a weight", ticks=[1, 2, 3, 4])
    bar.ax.set_yticklabels(["2", "4", "8", "16"])
    return figure


def convergence_figure(run: Run) -> Figure:
    """Validation NMSE of every network over its epochs."""
    panels = {}
    for data in run.stores:
        panels[run.plan["titles"][data]] = [
            loss_curve(
                run.out / data / name,
                **{"color": COLORS[model], "ls": "-" if ratio == "1/4" else "--", "marker": "o", "ms": 3},
                label=f"{NETWORKS[model]}, {ratio}",
            )
            for model, ratio, name in networks(run.plan, data)
        ]
    return convergence(panels, "validation NMSE (dB)")


FIGURES = {
    "fig1_ranking": ranking_figure,
    "fig2_outage": outage_figure,
    "table4_widths": width_figure,
    "convergence": convergence_figure,
    "policies": policy_figure,
}


NMSE = "{nmse_db:.2f} ± {ci95:.2f}"
MACS = "{encoder_published_M:.2f} / {encoder_thop_M:.2f} / {encoder_all_M:.2f}"


def named(results: Path, table: str) -> pd.DataFrame:
    """A table with the title of each network in place of its key, with the paper's NMSE where that is known."""
    frame = pd.read_csv(results / f"{table}.csv")
    paper = pd.read_csv(results / "paper_table_2.csv").set_index("network").nmse_db
    return frame.assign(paper=frame.network.map(paper), network=frame.network.map(NETWORKS))


def table_2_3(results: Path) -> pd.DataFrame:
    """NMSE, unquantised and with 8 bits, cost and bits of a report."""
    cells = {"network": "{network}", "compression": "{compression}", "the paper": "{paper:.2f}", "NMSE": NMSE}
    cells |= {"8 bit": "{nmse_8bit_db:.2f}", "encoder [M]": MACS, "total, everything [M]": "{total_all_M:.1f}"}
    cells |= {"bits: fixed, range": "{bits_fixed:.0f}, {bits_range:.0f}"}
    frame = named(results, "table_2_3")
    return listed(frame.assign(paper=frame.paper.where(frame.compression == "1/4")), cells)


def table_4(results: Path) -> pd.DataFrame:
    """Table IV: NMSE with weights of equal width, by way of rounding."""
    frame = named(results, "table_4")
    wide = frame.pivot_table(index=["network", "rounding"], columns="weight_bits", values="nmse_db", sort=False)
    unrounded = wide[32].dropna().droplevel("rounding")
    wide = wide.drop(columns=32).dropna().reset_index()
    cells = {"network": "{network}", "rounding": "{rounding}", "float": "{float:.2f}"}
    wide = wide.assign(float=wide.network.map(unrounded)).rename(columns={bits: f"w{bits}" for bits in (16, 8, 4, 2)})
    return listed(wide, {**cells, **{f"{bits} bit": f"{{w{bits}:.2f}}" for bits in (16, 8, 4, 2)}})


def table_6(results: Path) -> pd.DataFrame:
    """NMSE by profile of one network for all of them, and the cost of its encoder."""
    cells = {"network": "{network}", "all profiles": NMSE}
    cells |= {profile: f"{{nmse_{profile.lower()}_db:.2f}}" for profile in ("tdl-A", "tdl-B", "tdl-C")}
    frame = named(results, "table_6").rename(columns=str.lower)
    cells |= {"encoder [M]": MACS.lower(), "encoder [MB]": "{encoder_mb:.1f}"}
    return listed(frame, cells).rename(columns=lambda title: title.replace("tdl", "TDL"))


def ranks(results: Path) -> pd.DataFrame:
    """Rank correlations with the measured NMSE, of Fig. 1."""
    table = pd.read_csv(results / "fig1_spearman.csv")
    names = {"omega": "ILP objective", "kl": "divergence", "kl_softmax": "divergence, released softmax"}
    cells = {"rank by": "{rank by}", "all candidates": "{all candidates:.2f}"}
    cells |= {"within a budget": "{within a budget:.2f} ± {ci95:.2f}", "budgets": "{budgets}"}
    return listed(table[table.against == "nmse"].replace({"rank by": names}), cells)


BUDGETS = {
    "target": "{target:.3f}",
    "achieved": "{achieved:.3f}",
    "deviation, worst [%]": "{deviation_%:.1f}, {worst_%:.1f}",
}
TIMES = {"component": "{component}", "median": "{ms:.3g}", "10 %, 90 %": "{low:.3g}, {high:.3g}"}
README = {
    "table_2_3": table_2_3,
    "table_4": table_4,
    "table_5": lambda results: listed(pd.read_csv(results / "table_5.csv"), BUDGETS),
    "table_6": table_6,
    "table_7": lambda results: listed(
        pd.read_csv(results / "table_7.csv"), {**TIMES, "deviation (rms)": "{deviation:.2g}"}
    ),
    "ranks": ranks,
}
