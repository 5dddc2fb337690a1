"""NF-KD's figures, and the tables of its README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.papers.kit.figures import Curve, convergence, legend, loss_curve, row_of_panels
from benchmarks.papers.kit.run import Run
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
    "link": link_figure,
    "scale": scale_figure,
    "convergence": convergence_figure,
}


def table_3(results: Path) -> pd.DataFrame:
    """NMSE and rho by bits, next to the paper's: mean and standard deviation over the seeds."""
    table = pd.read_csv(results / "table_3_4.csv")
    paper = pd.read_csv(results / "paper_table_3.csv")
    given = {(f"{r.method} (paper)", r.bits): f"{r.nmse_db:.2f}; {_share(r.rho, 4)}" for r in paper.itertuples()}
    ours = {
        (r["method"], r["bits"]): "; ".join((_mean(r, "nmse_db", 2), _mean(r, "rho", 3))) for _, r in table.iterrows()
    }
    names = {**{f"{m} (paper)": f"{TITLES[m]} (paper)" for m in dict.fromkeys(paper.method)}, **TITLES}
    return _by_bits({**given, **ours}, names)


def table_4(results: Path) -> pd.DataFrame:
    """Beamforming-gain loss, rate by rho^2, ZF sum rate, outage, by bits."""
    table = pd.read_csv(results / "table_3_4.csv")
    cells = {
        (
            r["method"],
            r["bits"],
        ): f"{r.rho_bf_gain_loss_db:.2f}, {r.rho_se_bpshz:.2f}, {_mean(r, 'sum_rate_bpshz', 1)}, "
        f"{_share(r['outage_gamma_0.5'], 2)}"
        for _, r in table.iterrows()
    }
    return _by_bits(cells, TITLES)


def standard(results: Path) -> pd.DataFrame:
    """Bits, sum rate and outage of enhanced Type II."""
    table = pd.read_csv(results / "table_3_4.csv")
    rows = table[table.method.str.startswith("etype2")]
    cells = {
        "combination": rows.method.str.removeprefix("etype2-pc"),
        "bits": rows.bits.map("{:.0f}".format),
        "ZF sum rate": rows.sum_rate_bpshz.map("{:.1f}".format),
        "outage": rows["outage_gamma_0.5"].map(lambda x: _share(x, 2)),
    }
    return pd.DataFrame(cells)


def differences(results: Path) -> pd.DataFrame:
    """NMSE minus that without a teacher, same seed: mean and 95 % half-width over the seeds of the first data set."""
    table = pd.read_csv(results / "paired.csv")
    table = table[(table.metric == "nmse_db") & (table.seeds > 1)]
    return _by_bits({(r.method, r.bits): f"{r.difference:+.2f} ± {r.ci95:.2f}" for r in table.itertuples()}, TITLES)


def _by_bits(cells: dict[tuple[str, float], str], names: dict[str, str]) -> pd.DataFrame:
    """A row for each of ``names``, in order, a column for each length."""
    lengths = sorted({bits for method, bits in cells if method in names})
    rows = [
        {"model": title, **{f"{bits:.0f} bits": cells.get((method, bits), "") for bits in lengths}}
        for method, title in names.items()
        if any((method, bits) in cells for bits in lengths)
    ]
    return pd.DataFrame(rows)


def _mean(row: Any, metric: str, digits: int) -> str:
    """Mean and standard deviation over the seeds, where there are several."""
    write = (lambda x: _share(x, digits)) if metric == "rho" else f"{{:.{digits}f}}".format
    spread = row[f"{metric} std"]
    return write(row[metric]) + ("" if pd.isna(spread) else f" ± {write(spread)}")


def _share(value: float, digits: int) -> str:
    """A number below one without its zero."""
    return f"{value:.{digits}f}".removeprefix("0")


README = {"table_3": table_3, "table_4": table_4, "standard": standard, "differences": differences}
