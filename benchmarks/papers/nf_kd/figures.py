"""NF-KD's figures, and the tables of its README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.papers.kit.figures import Curve, convergence, legend, loss_curve, row_of_panels
from benchmarks.papers.kit.readme import grid, listed
from benchmarks.papers.kit.run import Run
from benchmarks.papers.kit.seeds import paired
from benchmarks.papers.nf_kd.experiments import at_table_snr, students
from benchmarks.report.figures import PALETTE

TITLES = {
    "baseline": "no teacher",
    "normalized_kd": "Normalized KD",
    "bit_adaptive": "Bit-Adaptive KD",
    "nf_kd_0.4": "NF-KD, 0.4",
    "nf_kd_0.3": "NF-KD, 0.3",
    "mse_control": "control: MSE, 0.15",
    "teacher": "teacher",
}
COLORS = dict(zip(TITLES, PALETTE, strict=False))


def curve_figure(run: Run) -> Figure:
    """NMSE and rho over the number of bits (the paper's Figs. 2 and 3); bands span the seeds."""
    table = run.table("curves")
    over_bits = table[table.data == next(iter(run.stores))]
    figure, axes = row_of_panels(2, height=4.0)
    labels = {"nmse_db": "NMSE (dB)", "rho": r"cosine similarity $\rho$"}
    for axis, (metric, label) in zip(axes, labels.items(), strict=True):
        for method, part in over_bits.groupby("method", sort=False):
            values = part.pivot_table(index="bits", columns="seed", values=metric)
            axis.plot(values.index, values.mean(axis=1), **{**_style(method), "lw": 1.4})
            band = {"color": COLORS[method], "alpha": 0.15, "lw": 0}
            axis.fill_between(values.index, values.min(axis=1), values.max(axis=1), **band)
        axis.set(xlabel="bits per report", ylabel=label, xlim=(0, None))
    legend(figure, 5)
    return figure


def difference_figure(run: Run) -> Figure:
    """NMSE and rho minus those without a teacher, over the number of bits (Figs. 2 and 3), on the first data set."""
    table = run.table("curves")
    return difference_panels(table[table.data == next(iter(run.stores))])


def difference_panels(table: pd.DataFrame) -> Figure:
    """A column for each method: thin lines are the pairs of one seed each, line and band their mean and 95 % interval.

    Args:
        table: columns ``method, seed, bits, nmse_db, rho`` of one data set.
    """
    methods = [method for method in TITLES if method in set(table.method) - {"teacher", "baseline"}]
    figure = Figure(figsize=(2.5 * len(methods), 4.8), layout="constrained")
    labels = {"nmse_db": "NMSE minus that\nwithout a teacher (dB)", "rho": "rho minus that\nwithout a teacher"}
    grid_of_axes = figure.subplots(2, len(methods), sharex=True, sharey="row", squeeze=False)
    for row, (metric, label) in zip(grid_of_axes, labels.items(), strict=True):
        differences = paired(table, ["baseline", *methods], ["bits"], metric).set_index("method")
        seeds = table.pivot_table(index=["bits", "seed"], columns="method", values=metric)
        for axis, method in zip(row, methods, strict=True):
            pairs = (seeds[method] - seeds["baseline"]).dropna().unstack("seed")
            axis.plot(pairs.index, pairs, color=COLORS[method], lw=0.6, alpha=0.6)
            mean = differences.loc[[method]].sort_values("bits")
            axis.plot(mean.bits, mean.difference, color=COLORS[method], lw=1.8)
            ends = (mean.difference - mean.ci95, mean.difference + mean.ci95)
            axis.fill_between(mean.bits, *ends, color=COLORS[method], alpha=0.15, lw=0)
            axis.axhline(0, color="0.3", lw=0.8)
        row[0].set_ylabel(label)
    for axis, method in zip(grid_of_axes[0], methods, strict=True):
        axis.set_title(TITLES[method])
    for axis in grid_of_axes[1]:
        axis.set_xlabel("bits per report")
    return figure


def link_figure(run: Run) -> Figure:
    """True sum rate and outage of the users next to the rho^2 approximation; eType II at its own bits."""
    panels = {
        "sum_rate_bpshz": f"ZF sum rate of {run.plan['link']['num_users']} users (bit/s/Hz)",
        "outage_gamma_0.5": r"share of reports with $r < 0.5\,r_\mathrm{ref}$",
        "rho_se_bpshz": r"$\log_2(1 + \mathrm{SNR}\,\rho^2)$ (bit/s/Hz)",
    }
    link = at_table_snr(run)
    here = link[(link.data == next(iter(run.stores))) & link.snr_db.notna()]
    figure, axes = row_of_panels(3, width=3.8, height=3.8)
    for axis, (metric, label) in zip(axes, panels.items(), strict=True):
        rows = here[here.metric == metric]
        for method, part in rows.groupby("method", sort=False):
            if method in TITLES:
                stats = part.groupby("bits").value.agg(["mean", "min", "max"])
                spread = (stats["mean"] - stats["min"], stats["max"] - stats["mean"])
                axis.errorbar(stats.index, stats["mean"], spread, **_style(method))
        standard = rows[rows.method.str.startswith("etype2")]
        if len(standard):
            axis.plot(standard.bits, standard.value, "k^", ms=5, label="enhanced Type II")
        perfect = rows[rows.method == "perfect"]
        if len(perfect) and metric == "sum_rate_bpshz":
            axis.axhline(perfect.value.iloc[0], color="0.4", ls="--", lw=1, label="perfect CSI")
        _bits_axis(axis, run.plan)
        axis.set(ylabel=label)
    legend(figure, 5)
    return figure


def scale_figure(run: Run) -> Figure:
    """Effect of scale: NMSE against NMSE at the best scale, energy ratio, rate with power by expected gain."""
    table = run.table("scale")
    table = table[table.method.isin(TITLES)]
    figure = Figure(figsize=(10.5, 2.9 * len(run.stores)), layout="constrained")
    for row, name in zip(figure.subplots(len(run.stores), 3, squeeze=False), run.stores, strict=True):
        for method, part in table[table.data == name].groupby("method", sort=False):
            wide, style = part.set_index("bits"), _style(method)
            row[0].plot(wide.index, wide.nmse_db, **style)
            row[0].plot(wide.index, wide.nmse_scaled_db, **{**style, "ls": ":", "mfc": "none", "label": None})
            row[1].plot(wide.index, wide.energy_ratio, **style)
            row[2].plot(wide.index, wide["sum_rate_bpshz, zf_water_filling"] - wide.sum_rate_bpshz, **style)
        row[0].set(ylabel="NMSE (dB)\ndotted: best scale", title=run.plan["titles"][name])
        row[1].set(ylabel=r"$|\hat h|^2 / |h|^2$")
        row[2].set(ylabel="rate gained by\nwater-filling (bit/s/Hz)")
        for axis in row:
            _bits_axis(axis, run.plan)
    legend(figure, 5)
    return figure


def convergence_figure(run: Run) -> Figure:
    """Validation NMSE of every training over its epochs."""
    plan, panels = run.plan, {}
    for data in run.stores:
        first = (plan["seeds"][data][0], plan["teacher"]["seed"])
        panels[plan["titles"][data]] = [
            _loss(run, data, method, name, TITLES[method] if seed in first else None)
            for method, seed, name in students(plan, data)
        ]
    return convergence(panels, "validation MSE (dB), all lengths", 5)


def _loss(run: Run, data: str, method: str, name: str, label: str | None) -> Curve:
    return loss_curve(run.out / data / name, color=COLORS[method], label=label, lw=0.9)


def _style(method: str) -> dict[str, Any]:
    """Line of a method; the teacher has one length."""
    marker = {"marker": "*", "ms": 9, "ls": "none"} if method == "teacher" else {"lw": 1.2}
    return {"color": COLORS[method], "label": TITLES[method], **marker}


def _bits_axis(axis: Axes, plan: dict[str, Any]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(plan["bits"], [str(b) for b in plan["bits"]])
    axis.set_xlabel("bits per report")


FIGURES = {
    "fig2_3_bits": curve_figure,
    "fig2_3_paired": difference_figure,
    "link": link_figure,
    "scale": scale_figure,
    "convergence": convergence_figure,
}


# By method and length; mean and standard deviation over the seeds.
MEAN_RHO = "{nmse_db:.2f} ± {nmse_db std:.2f}; {rho:.3f} ± {rho std:.3f}"
LINK = "{rho_bf_gain_loss_db:.2f}, {rho_se_bpshz:.2f}, {sum_rate_bpshz:.1f} ± {sum_rate_bpshz std:.1f}, {outage:.2f}"
STANDARD = {"bits": "{bits:.0f}", "ZF sum rate": "{sum_rate_bpshz:.1f}", "outage": "{outage:.2f}"}


def table_3(results: Path) -> pd.DataFrame:
    """NMSE and rho by bits, next to the paper's."""
    paper = pd.read_csv(results / "paper_table_3.csv")
    paper = paper.assign(method=paper.method + " (paper)")
    names = {**{f"{method} (paper)": f"{title} (paper)" for method, title in TITLES.items()}, **TITLES}
    return _by_bits(pd.concat([paper, pd.read_csv(results / "table_3_4.csv")]), MEAN_RHO, names)


def standard(results: Path) -> pd.DataFrame:
    """Bits, sum rate and outage of enhanced Type II."""
    table = pd.read_csv(results / "table_3_4.csv").rename(columns={"outage_gamma_0.5": "outage"})
    return listed(table[table.method.str.startswith("etype2")], STANDARD)


def differences(results: Path) -> pd.DataFrame:
    """NMSE minus that without a teacher, same seed: mean and 95 % half-width over the seeds of the first data set."""
    table = pd.read_csv(results / "paired.csv")
    return _by_bits(table[(table.metric == "nmse_db") & (table.seeds > 1)], "{difference:+.2f} ± {ci95:.2f}", TITLES)


def _by_bits(table: pd.DataFrame, cell: str, names: dict[str, str] = TITLES) -> pd.DataFrame:
    table = table.rename(columns={"outage_gamma_0.5": "outage"}).sort_values("bits", kind="stable")
    return grid(table.assign(size=table.bits.map("{:.0f} bits".format)), "method", "size", cell, names, "model")


README = {
    "table_3": table_3,
    "table_4": lambda results: _by_bits(pd.read_csv(results / "table_3_4.csv"), LINK),
    "standard": standard,
    "differences": differences,
}
