"""Tables and figures of the RP-MPQ experiments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from benchmarks.intervals import half_width_of
from benchmarks.papers.rp_mpq import experiments
from benchmarks.papers.rp_mpq.networks import networks
from benchmarks.report.figures import PALETTE, RC
from benchmarks.saved import save_figure, save_table
from receivers.precision.policy_set import FILE, PolicySet
from simulator.core.units import lin_to_db
from simulator.data.store import ChannelStore

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


def report(plan: dict[str, Any], stores: dict[str, ChannelStore], out: Path) -> None:
    """Everything below, as CSV and PNG in ``out``; existing results are not measured again."""
    data = next(iter(stores))
    tables = {
        "table_2_3": _kept(out / "table_2_3.csv", lambda: experiments.structure(plan, data, stores[data], out)),
        "table_6": _kept(out / "table_6.csv", lambda: experiments.structure(plan, "tdl", stores["tdl"], out)),
        "table_4": _kept(out / "table_4.csv", lambda: experiments.uniform(plan, data, stores[data], out)),
    }
    known = experiments.policies(plan, data, stores[data], out)
    outcome, sparsity = experiments.outcome_of(plan, data, stores[data], out, known)
    online = _kept(out / "fig2_table5.csv", lambda: experiments.controllers(plan, known, outcome, sparsity))
    ranking = pd.read_csv(out / "fig1.csv")
    tables["fig1_spearman"] = spearman(ranking)
    tables["fig2"] = online[online.budget.isin(plan["compared"])].pivot_table(
        index=["gamma", "snr_db", "budget"], columns="controller", values="outage"
    )
    tables["table_5"] = budget_table(online)
    tables["table_7"] = _kept(out / "table_7.csv", lambda: latency(out / data / plan["scheduled"]))
    for name, frame in tables.items():
        save_table(frame, out / f"{name}.csv", index=name == "fig2", float_format="%.5g")
        print(f"\n{name}\n{frame.to_string(index=name == 'fig2')}")
    with mpl.rc_context(RC):
        save_figure(ranking_figure(ranking), out / "fig1_ranking.png")
        save_figure(outage_figure(online), out / "fig2_outage.png")
        save_figure(width_figure(tables["table_4"], plan), out / "table4_widths.png")
        save_figure(convergence_figure(plan, stores, out), out / "convergence.png")
        save_figure(policy_figure(known), out / "policies.png")
    print(f"figures and tables: {out}")


def _kept(path: Path, make: Any) -> pd.DataFrame:
    if not path.exists():
        save_table(make(), path, index=False, float_format="%.6g")
    return pd.read_csv(path)


def latency(folder: Path) -> pd.DataFrame:
    """Table VII, in a process of its own: exports need TensorFlow."""
    path = folder / "latency.csv"
    command = [sys.executable, "-m", "benchmarks.papers.rp_mpq.latency", str(folder), str(folder / FILE), str(path)]
    subprocess.run(command, check=True, env={**os.environ, "KERAS_BACKEND": "tensorflow"})
    return pd.read_csv(path)


def spearman(ranking: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation with measured distortion: of all candidates, and the mean over those of one budget."""
    rows = []
    distinct = ranking.drop_duplicates(["omega", "kappa"])
    for key in ("omega", "kl", "kl_softmax"):
        for target in ("nmse", "latent_mse"):
            within = [
                spearmanr(part[key], part[target]).statistic
                for _, part in ranking.groupby("budget")
                if part[key].nunique() > 2 and part[target].nunique() > 1
            ]
            within = np.array([value for value in within if np.isfinite(value)])
            rows.append(
                {
                    "rank by": key,
                    "against": target,
                    "all candidates": spearmanr(distinct[key], distinct[target]).statistic,
                    "within a budget": within.mean() if len(within) else np.nan,
                    "ci95": half_width_of(within) if len(within) else np.nan,
                    "budgets": len(within),
                }
            )
    return pd.DataFrame(rows)


def budget_table(online: pd.DataFrame) -> pd.DataFrame:
    """Table V: target and achieved average cost of the online controller on test samples, over gammas and SNRs."""
    mine = online[online.controller == "online"]
    rows = []
    for budget, part in mine.groupby("budget", sort=False):
        change = 100 * (part.kappa / budget - 1)
        worst = change.iloc[change.abs().argmax()]
        rows.append(
            {
                "target": budget,
                "achieved": part.kappa.mean(),
                "deviation_%": change.mean(),
                "worst_%": worst,
                "largest_possible": part.kappa.max(),
            }
        )
    return pd.DataFrame(rows)


def ranking_figure(ranking: pd.DataFrame) -> Figure:
    """Fig. 1: prediction by the ILP and the divergence against the distortion that a policy causes."""
    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    distinct = ranking.drop_duplicates(["omega", "kappa"])
    labels = {"omega": r"ILP objective $\sum\Omega_m(b_m)$", "kl": r"divergence $J(\pi)$ (nat)"}
    for axis, (key, label) in zip(figure.subplots(1, 2, sharey=True), labels.items(), strict=True):
        points = axis.scatter(distinct[key], lin_to_db(distinct.nmse), c=distinct.kappa, s=14, cmap="viridis")
        rank = spearmanr(distinct[key], distinct.nmse).statistic
        axis.set(xscale="log", xlabel=label, title=f"Spearman {rank:.2f}")
    figure.axes[0].set_ylabel("measured NMSE (dB)")
    figure.colorbar(points, ax=figure.axes, label="cost, share of 16 bit")
    return figure


def outage_figure(online: pd.DataFrame) -> Figure:
    """Fig. 2: outage over the average cost, one panel for each reliability target and SNR."""
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
    _legend(figure)
    return figure


def width_figure(table: pd.DataFrame, plan: dict[str, Any]) -> Figure:
    """Table IV: NMSE over the width of all weights, for every way of rounding."""
    figure = Figure(figsize=(3.4 * len(plan["clips"]), 3.3), layout="constrained")
    for axis, clip in zip(figure.subplots(1, len(plan["clips"]), sharey=True), plan["clips"], strict=True):
        for network, part in table[table.rounding == clip].groupby("network", sort=False):
            axis.plot(part.weight_bits, part.nmse_db, "o-", ms=4, color=COLORS[network], label=NETWORKS[network])
        axis.set_xscale("log", base=2)
        axis.set_xticks([16, 8, 4, 2], ["16", "8", "4", "2"])
        axis.set(xlabel="bits of a weight", title=clip)
    figure.axes[0].set_ylabel("NMSE (dB)")
    _legend(figure)
    return figure


def policy_figure(known: PolicySet) -> Figure:
    """Widths of every block of the representative policies, by cost."""
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


def convergence_figure(plan: dict[str, Any], stores: dict[str, ChannelStore], out: Path) -> Figure:
    """Training and validation NMSE of every network over its epochs."""
    figure = Figure(figsize=(4.8 * len(stores), 3.6), layout="constrained")
    for axis, data in zip(figure.subplots(1, len(stores), squeeze=False)[0], stores, strict=True):
        for model, ratio, name in networks(plan, data):
            epochs = json.loads((out / data / name / "history.json").read_text())["epochs"]
            style = {"color": COLORS[model], "ls": "-" if ratio == "1/4" else "--", "marker": "o", "ms": 3}
            loss = lin_to_db([e["val_loss"] for e in epochs])
            axis.plot(np.arange(1, len(loss) + 1), loss, label=f"{NETWORKS[model]}, {ratio}", **style)
        axis.set(xlabel="epoch", ylabel="validation NMSE (dB)", title=plan["titles"][data])
    _legend(figure)
    return figure


def _legend(figure: Figure) -> None:
    """One legend for all panels."""
    handles = {
        label: handle for axis in figure.axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncol=4, fontsize=8)
