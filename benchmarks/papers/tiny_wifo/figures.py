"""Tiny-WiFo's figures, and the tables of its README."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.papers.kit.figures import convergence, history, loss_curve
from benchmarks.papers.kit.readme import grid, listed, text
from benchmarks.papers.kit.run import Run
from benchmarks.papers.tiny_wifo.experiments import GROUPS, TASKS, grouped, over_seeds
from benchmarks.report.figures import PALETTE

NAMES = {
    "mcakd": "Tiny-WiFo (MCAKD)",
    "none": "Tiny-WiFo without KD",
    "lmkd": "Tiny-WiFo, LMKD",
    "teacher": "teacher WiFo",
    "transformer": "Transformer",
    "lstm": "LSTM",
    "llm4cp": "LLM4CP",
    "ar": "AR (order 4)",
    "wiener": "Wiener, Jakes; exponential",
    "lmmse": "LMMSE, trained covariance",
    "repeat": "last entry",
}
COLORS = dict(zip(NAMES, (*PALETTE[:7], "0.2", "0.5", PALETTE[7], "0.75"), strict=True))


def nmse_figure(run: Run) -> Figure:
    """NMSE over the data sets, prediction in time and in frequency; students as mean over their seeds."""
    frame = run.table("nmse_by_set")
    frame = frame.assign(method=frame.network.str.replace(r"-s\d+$", "", regex=True))
    frame = frame[frame.method.isin(NAMES)]
    sets = sorted(frame["set"].unique(), key=lambda key: int(key[1:]))
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    for axis, task in zip(figure.subplots(2, 1, sharex=True), TASKS, strict=True):
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


def convergence_figure(run: Run) -> Figure:
    """Validation NMSE of every training, finished or not; grey: ablations and versions."""
    panels = {}
    for task in TASKS:
        curves, labelled = panels.setdefault(f"prediction in {task}", []), set()
        for path in sorted(run.out.glob("*/history.json")):
            method = path.parent.name.rsplit("-s", 1)[0].split("-time")[0].split("-frequency")[0]
            if any(f"val_{task}" in entry for entry in history(path.parent)):
                label = NAMES.get(method) if method not in labelled else None
                labelled.add(method)
                curves.append(loss_curve(path.parent, f"val_{task}", color=COLORS.get(method, "0.8"), label=label))
    return convergence(panels, "validation NMSE [dB], D1-D16", sharey=True)


def mobility_figure(run: Run) -> Figure:
    """Relative rate over speed at 4 slots, and over delay at about 60 km/h."""
    frame = run.table("recovered")
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


FIGURES = {"nmse_by_set": nmse_figure, "convergence": convergence_figure, "mobility": mobility_figure}

LABELS = {
    "teacher": "teacher WiFo",
    "none": "Tiny-WiFo without KD",
    "mcakd": "Tiny-WiFo, MCAKD",
    "lmkd": "Tiny-WiFo, LMKD",
    "v1": "version 1 (3 and 2 layers), MCAKD",
    "v2": "version 2 (half the width), MCAKD",
    "v3": "version 3 (both), MCAKD",
    "lstm": "LSTM (one for each task)",
    "transformer": "Transformer (same)",
    "llm4cp": "LLM4CP (same, random body)",
    "ar": "AR, order 4, no training",
    "wiener": "Wiener, Jakes, no training",
    "repeat": "last slot",
    "ar-corrected": "AR, corrected channels",
    "wiener-corrected": "Wiener (Jakes; exponential profile), corrected channels",
    "lmmse-corrected": "LMMSE over subcarriers, covariance of 60 to 250 training channels, corrected channels",
    "repeat-corrected": "last slot, last subcarrier, corrected channels",
    "no-attention": "without attention",
    "no-embedding": "without embedding",
    "no-hidden": "without hidden states",
    "no-ca-ks": "linear maps in place of CA-KS",
    "no-al-pl": "teacher in every epoch",
    "al-pl-cycle": "AL-PL in a fixed cycle",
    "order-index": "CA-KS in the order of the index",
    "scope-batch": "CA-KS for the batch",
    "batch-index": "CA-KS for the batch, order of the index",
}
# Rows of a table of its own.
ABLATIONS = ("no-attention", "no-embedding", "no-hidden", "no-ca-ks", "no-al-pl", "al-pl-cycle", "order-index")
ABLATIONS += ("scope-batch", "batch-index")
SEEDS, TRAINED = (1, 2, 3), ("none", "mcakd", "lmkd")
MEAN = "{nmse_db:.2f} ({std:.2f})"


def by_group(
    frame: pd.DataFrame, names: dict[str, str], cell: str = MEAN, cases: Iterable[str] = TASKS, mark: str = ", "
) -> pd.DataFrame:
    """A row for each of ``names``, a column for each group; a cell holds the texts of all ``cases``, "-" for none.

    Args:
        frame: columns ``method, group, case`` and those of ``cell``.
        names: titles of methods.
        cell: template of one case.
        cases: in order.
        mark: between them.
    """
    parts = {(row["method"], row["group"], row["case"]): text(cell, row) for _, row in frame.iterrows()}
    joined = [
        (method, group, mark.join(parts.get((method, group, case), "-") for case in cases))
        for method in names
        for group in GROUPS
        if any((method, group, case) in parts for case in cases)
    ]
    filled = pd.DataFrame(joined, columns=["method", "group", "text"])
    return grid(filled, "method", "group", "{text}", names, "network")


def nmse_table(results: Path) -> pd.DataFrame:
    """NMSE by network and group, time and frequency: means and standard deviations where there are several seeds."""
    single = pd.concat([grouped(pd.read_csv(results / "nmse_by_set.csv")), corrected(results)])
    others = single.rename(columns={"network": "method"}).assign(std=np.nan, seeds=1)
    frame = pd.concat([over_seeds(single, list(TRAINED), list(SEEDS)), others], ignore_index=True)
    first = frame.sort_values("task", ascending=False, kind="stable").drop_duplicates("method").set_index("method")
    names = {key: label for key, label in LABELS.items() if key in first.index and key not in ABLATIONS}
    table = by_group(frame.rename(columns={"task": "case"}), names)
    table.insert(1, "parameters", [f"{n:,}" if n else "" for n in first.parameters[list(names)]])
    table.insert(
        2, "seeds", [str(n) if p else "" for n, p in zip(first.seeds[list(names)], table.parameters, strict=True)]
    )
    return table


def corrected(results: Path) -> pd.DataFrame:
    """Predictors without training on corrected channels, which ``results/classical.csv`` has for every plan."""
    place = next(place for place in (results, results.parent) if (place / "classical.csv").exists())
    frame = grouped(pd.read_csv(place / "classical.csv"))
    return frame.assign(network=frame.network + "-corrected")


def latency_table(results: Path) -> pd.DataFrame:
    """Processor time of one prediction by WiFo of four sizes."""
    frame = pd.read_csv(results / "latency_published.csv")
    names = {"base": "teacher of the paper", "small": "student of the paper", "tiny": "width 64", "32": "width 32"}
    names = {f"WiFo, {size}": f"{name} ({size})" if size.isalpha() else name for size, name in names.items()}
    table = grid(frame, "network", "runtime", "{ms:.1f} ({low:.1f}, {high:.1f})", names, "network")
    sizes = frame.drop_duplicates("network").set_index("network").parameters
    table.insert(1, "parameters", [f"{sizes[key]:,}" for key in names])
    return table


def paired_table(results: Path) -> pd.DataFrame:
    """Differences to the student without KD of the same seed, time and frequency, with half-widths."""
    frame = pd.read_csv(results / "paired.csv").rename(columns={"task": "case"})
    return by_group(frame, LABELS, "{difference:+.2f} ({ci95:.2f})")


def parts_table(results: Path) -> pd.DataFrame:
    """MCAKD without one of its parts, time and frequency, one seed."""
    cell = ", ".join(f"{{GROUP {task}:.2f}}" for task in TASKS)
    frame = pd.read_csv(results / "table_2.csv")
    frame = frame.assign(network=frame.network.str.replace("-s1", "").map(LABELS))
    return listed(frame, {"network": "{network}", **{group: cell.replace("GROUP", group) for group in GROUPS}})


def feedback_table(results: Path) -> pd.DataFrame:
    """WiFo-CF: NMSE from reports in bits / from the same codeword as analog values."""
    frame = pd.read_csv(results / "feedback.csv")
    names = {"cf-teacher": "teacher", "cf-none": "student without KD", "cf-mcakd": "student, MCAKD"}
    students = over_seeds(frame, list(names)[1:], list(SEEDS), "uplink")
    frame = pd.concat([frame.rename(columns={"network": "method"}).assign(std=np.nan), students])
    table = by_group(frame.rename(columns={"uplink": "case"}), names, MEAN, ("bits", "analog"), " / ")
    sizes = frame.drop_duplicates("method").set_index("method").parameters
    table.insert(1, "parameters", [f"{sizes[key]:,}" for key in names if key in sizes])
    return table


def mobility_table(results: Path) -> pd.DataFrame:
    """Relative rate by speed and delay; in brackets the share of the ageing loss that is won back [%]."""
    frame = pd.read_csv(results / "recovered.csv")
    points = [(8.3, 2), (8.3, 4), (8.3, 10), (16.7, 2), (16.7, 4), (33.3, 2), (33.3, 4), (83.3, 4), (0.83, 4)]
    names = {point: f"{3.6 * point[0]:.0f} km/h, {point[1]} slots" for point in points}
    schemes = ["aged", "WiFo", "Tiny-WiFo", "LSTM", "AR"]
    schemes += ["160 bit, aged", "160 bit, WiFo at UE", "160 bit, AR at UE", "160 bit, AR at gNB"]
    frame = pd.concat([frame[frame.scheme == scheme] for scheme in schemes])
    unquantised = ~frame.scheme.str.contains("aged|bit")
    frame = frame.assign(
        point=list(zip(frame.speed_mps, frame.delay_slots, strict=True)),
        percent=(100 * frame.recovered).where(unquantised),
    )
    return grid(frame, "point", "scheme", "{relative_rate:.3f} ({percent:.0f})", names, "speed, delay")


def printed(name: str) -> Callable[[Path], pd.DataFrame]:
    """A table whose run left no other file than this: texts, with the README that they come from."""
    return lambda results: pd.read_csv(results / f"{name}.csv", dtype=str).drop(columns="source")


def small(make: Callable[[Path], pd.DataFrame]) -> Callable[[Path], pd.DataFrame]:
    """The same table of the plan `small`."""
    return lambda results: make(results / "small")


README = {
    "medium": nmse_table,
    "distillation": printed("printed_distillation"),
    "small": small(nmse_table),
    "paired": small(paired_table),
    "parts": small(parts_table),
    "feedback_medium": feedback_table,
    "feedback": small(feedback_table),
    "recorded": printed("printed_recorded"),
    "latency": printed("printed_latency"),
    "latency_published": latency_table,
    "mobility": mobility_table,
}
