"""Tables and figures of the Tiny-WiFo experiments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.papers.tiny_wifo import experiments
from benchmarks.report.figures import PALETTE, RC
from benchmarks.saved import save_figure, save_table
from simulator.core.units import lin_to_db
from simulator.data.store import ChannelStore

NAMES = {
    "mcakd": "Tiny-WiFo (MCAKD)",
    "none": "Tiny-WiFo without KD",
    "lmkd": "Tiny-WiFo, LMKD",
    "teacher": "teacher WiFo",
    "transformer": "Transformer",
    "lstm": "LSTM",
    "llm4cp": "LLM4CP",
    "ar": "AR (order 4)",
    "wiener": "Wiener, Jakes",
    "repeat": "last slot",
}
COLORS = dict(zip(NAMES, (*PALETTE[:7], "0.2", "0.5", "0.75"), strict=True))


def report(plan: dict[str, Any], stores: dict[str, ChannelStore], out: Path, recorded: Path | None = None) -> None:
    """Everything below, as CSV and PNG in ``out``; existing results are not measured again."""
    single = by_set(plan, stores, out)
    grouped = experiments.grouped(single)
    table = experiments.over_seeds(grouped, list(plan["methods"]), plan["seeds"])
    others = grouped.rename(columns={"network": "method"})
    others = others[others.method.isin(["teacher", "transformer", "lstm", "llm4cp", "ar", "wiener", "repeat"])]
    table = pd.concat([table, others.assign(std=np.nan, seeds=1).drop(columns="ratio")], ignore_index=True)
    feedback, first = experiments.feedback(stores, out), plan["seeds"][0]
    parts = grouped[grouped.network.isin([f"mcakd-s{first}", f"none-s{first}", *plan["ablations"]])]
    sizes = grouped[grouped.network.isin(["teacher", f"mcakd-s{first}", *plan["versions"]])]
    tables = {
        "table_1": table,
        "paired": experiments.paired(grouped, list(plan["methods"]), plan["seeds"]),
        "retention": experiments.retention(table),
        "table_2": parts.pivot_table(index="network", columns=["group", "task"], values="nmse_db"),
        "table_3": sizes.pivot_table(index=["network", "parameters"], columns=["group", "task"], values="nmse_db"),
        "table_4": _kept(out / "table_4.csv", lambda: experiments.latency(plan, stores, out)),
        "feedback": feedback,
        "feedback_paired": experiments.paired(feedback, list(plan["feedback"]["methods"]), plan["seeds"], by="uplink"),
        "equal_epochs": experiments.equal_epochs(out),
    }
    tables["noise"] = _kept(out / "noise.csv", lambda: noise_table(plan, stores, out))
    if recorded is not None:
        names, most = scored_networks(plan, out), plan["data"]["max_entries"]
        tables["recorded"] = _kept(
            out / "recorded.csv", lambda: experiments.recorded(recorded, out, names, most)
        ).pivot_table(index="network", columns="set", values="nmse_db")
    moving = _kept(out / "mobility.csv", lambda: experiments.mobility(out))
    tables["recovered"] = experiments.recovered(moving)
    for name, frame in tables.items():
        save_table(
            frame,
            out / f"{name}.csv",
            index=name in ("table_2", "table_3", "recorded", "equal_epochs"),
            float_format="%.5g",
        )
        print(f"\n{name}\n{frame.to_string()}")
    with mpl.rc_context(RC):
        save_figure(nmse_figure(single, plan), out / "nmse_by_set.png")
        save_figure(convergence_figure(plan, out), out / "convergence.png")
        save_figure(mobility_figure(tables["recovered"]), out / "mobility.png")
    print(f"figures and tables: {out}")


def by_set(plan: dict[str, Any], stores: dict[str, ChannelStore], out: Path) -> pd.DataFrame:
    """NMSE of every predictor, trained or not, on every data set; the tasks of one baseline under one name."""
    kept = _kept(out / "classical.csv", lambda: experiments.classical(stores))
    frame = pd.concat([experiments.networks(plan, stores, out), kept], ignore_index=True)
    for name in plan["baselines"]:
        frame.loc[frame.network.str.startswith(f"{name}-"), "network"] = name
    save_table(frame, out / "nmse_by_set.csv", index=False, float_format="%.6g")
    return frame


def noise_table(plan: dict[str, Any], stores: dict[str, ChannelStore], out: Path) -> pd.DataFrame:
    """NMSE in time from histories with noise, by predictor and group of data sets."""
    parts = [
        experiments.noisy_networks(stores, out, scored_networks(plan, out), experiments.NOISE_SNR_DB),
        experiments.classical(stores, experiments.NOISE_SNR_DB),
    ]
    grouped = experiments.grouped(pd.concat(parts, ignore_index=True))
    return grouped.pivot_table(index="network", columns="group", values="nmse_db").reset_index()


def scored_networks(plan: dict[str, Any], out: Path) -> list[str]:
    """Teacher, the best seed of every method, baselines in time."""
    methods = [best_seed(plan, out, name) for name in plan["methods"]]
    names = ["teacher", *methods, *(f"{name}-time" for name in plan["baselines"])]
    return [name for name in names if name and (out / name / "card.json").exists()]


def best_seed(plan: dict[str, Any], out: Path, method: str) -> str | None:
    """The finished network of a method with the lowest validation loss."""
    found = [name for name in (f"{method}-s{seed}" for seed in plan["seeds"]) if (out / name / "card.json").exists()]
    return min(
        found,
        default=None,
        key=lambda name: min(e.get("val_loss", np.inf) for e in _card(out, name)["training"]["curve"]),
    )


def nmse_figure(frame: pd.DataFrame, plan: dict[str, Any]) -> Figure:
    """NMSE over the data sets, prediction in time and in frequency; students as mean over their seeds."""
    frame = frame.assign(method=frame.network.str.replace(r"-s\d+$", "", regex=True))
    frame = frame[frame.method.isin(NAMES)]
    sets = sorted(frame["set"].unique(), key=lambda key: int(key[1:]))
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    for axis, task in zip(figure.subplots(2, 1, sharex=True), experiments.TASKS, strict=True):
        part = frame[frame.task == task]
        for method in NAMES:
            mean = part[part.method == method].groupby("set").nmse_db.mean().reindex(sets)
            if mean.notna().any():
                axis.plot(sets, mean, marker="o", ms=5, lw=0.6, color=COLORS[method], label=NAMES[method])
        axis.axvspan(len(sets) - 2.5, len(sets) - 0.5, color="0.93", zorder=0)
        axis.axhline(0, color="k", lw=0.8)
        low = part[part.method.isin(["teacher", "mcakd", "none", "lstm"])].nmse_db.min()
        axis.set(ylabel="NMSE [dB]", title=f"prediction in {task}", ylim=(low - 2, 4))
    axis.set_xlabel("data set (shaded: carrier not trained)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=9)
    return figure


def convergence_figure(plan: dict[str, Any], out: Path) -> Figure:
    """Validation NMSE of every training, finished or not; grey: ablations and versions."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axis, task in zip(figure.subplots(1, 2, sharey=True), experiments.TASKS, strict=True):
        for path in sorted(out.glob("*/history.json")):
            epochs = json.loads(path.read_text())["epochs"]
            curve = [(i, e[f"val_{task}"]) for i, e in enumerate(epochs, 1) if f"val_{task}" in e]
            method = path.parent.name.rsplit("-s", 1)[0].split("-time")[0].split("-frequency")[0]
            if curve:
                epoch, nmse = np.transpose(curve)
                axis.plot(epoch, lin_to_db(nmse), color=COLORS.get(method, "0.8"), lw=1.2)
        axis.set(xlabel="epoch", title=f"prediction in {task}")
    figure.axes[0].set_ylabel("validation NMSE [dB], D1-D16")
    shown = [key for key in NAMES if key not in ("ar", "wiener", "repeat")]
    handles = [mpl.lines.Line2D([], [], color=COLORS[key]) for key in shown]
    figure.legend(handles, [NAMES[key] for key in shown], loc="outside right upper", fontsize=9)
    return figure


def mobility_figure(frame: pd.DataFrame) -> Figure:
    """Relative rate over speed at 4 slots, and over delay at about 60 km/h."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    styles = _scheme_styles(list(frame.scheme.unique()))
    for scheme, part in frame.groupby("scheme", sort=False):
        rows = part[part.delay_slots == 4].sort_values("speed_mps")
        left.semilogx(3.6 * rows.speed_mps, rows.relative_rate, label=scheme, **styles[scheme])
        rows = part[np.isclose(part.speed_mps, 16.7)].sort_values("delay_slots")
        right.plot(rows.delay_slots, rows.relative_rate, **styles[scheme])
    left.set(xlabel="speed [km/h]", ylabel="sum rate / that with perfect CSI", title="delay of 4 slots (2 ms)")
    right.set(xlabel="delay [slots of 0.5 ms]", title="60 km/h")
    figure.legend(loc="outside right upper", fontsize=9)
    return figure


def _scheme_styles(schemes: list[str]) -> dict[str, dict[str, Any]]:
    colors = {"aged": "k", "AR": COLORS["ar"], "LSTM": COLORS["lstm"]}
    colors |= {"WiFo": COLORS["teacher"], "Tiny-WiFo": COLORS["mcakd"]}
    styles = {}
    for scheme in schemes:
        color = next((colors[key] for key in ("Tiny-WiFo", "WiFo", "LSTM", "AR") if key in scheme), colors["aged"])
        line = "-" if not scheme.startswith("160 bit") else "--" if "gNB" not in scheme else ":"
        styles[scheme] = {"color": color, "ls": line, "marker": "o" if line == "-" else "s", "ms": 4}
    return styles


def _card(out: Path, name: str) -> dict[str, Any]:
    return json.loads((out / name / "card.json").read_text())


def _kept(path: Path, make: Any) -> pd.DataFrame:
    if not path.exists():
        save_table(make(), path, index=False, float_format="%.6g")
    return pd.read_csv(path)
