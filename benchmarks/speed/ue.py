"""Latency of every encoder of the zoo in the runtimes of UEs, with its bits and its outage in the link."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.export import FORMATS, NEEDS, _images, _runtime, export_model
from benchmarks.progress import track
from benchmarks.report.figures import MARKERS, PALETTE, RC, network
from benchmarks.report.figures_cost import cost_points
from benchmarks.report.frames import outage_text, read_results
from benchmarks.saved import save_figure
from benchmarks.speed.timing import in_turn
from receivers.weights.folder import TrainedModel, zoo_names
from simulator.core.durable import write_bytes
from simulator.core.errors import StoreError
from simulator.core.extras import installed

RUNTIMES = {"onnx": "ONNX Runtime", "litert": "LiteRT"}


def encoder_latency(weights: str, rounds: int = 30) -> list[dict[str, Any]]:
    """Milliseconds of one image, float and int8: median, 10 % and 90 % quantile; only runtimes that can run it."""
    image = _images(TrainedModel(weights))[:1]
    calls: dict[tuple[str, bool], Any] = {}
    with tempfile.TemporaryDirectory() as place:
        for format_, runtime in RUNTIMES.items():
            if not installed(*NEEDS[format_]):
                continue
            for int8 in (False, True):
                folder = Path(place) / f"{format_}-{int8}"
                try:
                    export_model(weights, "ue", format_, folder, int8=int8)
                    run = _runtime(format_, folder / FORMATS[format_])
                    run(image)
                except (RuntimeError, StoreError):  # LiteRT has no slices of more than five dimensions
                    continue
                calls[runtime, int8] = lambda run=run: run(image)
        seconds = in_turn({str(key): call for key, call in calls.items()}, rounds)
    rows = []
    for runtime, int8 in calls:
        low, middle, high = 1e3 * np.quantile(seconds[str((runtime, int8))], (0.1, 0.5, 0.9))
        precision = "int8" if int8 else "float"
        rows.append(
            {"weights": weights, "runtime": runtime, "precision": precision, "ms": middle, "low": low, "high": high}
        )
    return rows


def measure_zoo(results: Path, out: Path) -> pd.DataFrame:
    """Latency of all encoders with a codec; with the results of `ue_budget` also bits, outage, and ``pareto.png``.

    Int8 latency is paired with the outage of 8-bit weights, float latency with that of the float encoder.
    """
    names = [name for name in zoo_names() if TrainedModel(name).codec is not None and name != "klt-mixed"]
    rows = [row for name in track(names, "encoders", unit="encoder") for row in encoder_latency(name)]
    frame = pd.DataFrame(rows)
    if (results / "results.csv").exists():
        points = cost_points(read_results(results / "results.csv"))
        points["weights"] = points["scheme"].map(network)
        points["precision"] = np.where(points["scheme"].str.endswith("-w8"), "int8", "float")
        points = points[~points["scheme"].str.contains("-w4|-mpq-")]
        columns = ["weights", "precision", "cost", "bits", "outage", "ci95", "criterion"]
        frame = frame.merge(points[columns], how="left", on=["weights", "precision"])
    write_bytes(out / "ue_latency.csv", frame.to_csv(index=False, float_format="%.6g").encode())
    if "outage" in frame:
        save_figure(latency_figure(frame.dropna(subset=["outage"])), out / "pareto.png", dpi=150)
    return frame


def latency_figure(frame: pd.DataFrame) -> Figure:
    """Outage over time of one image; area of a marker: bits; hollow: float."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(9.6, 4.2), layout="constrained")
        runtimes = list(dict.fromkeys(frame["runtime"]))
        for axis, runtime in zip(
            figure.subplots(1, len(runtimes), squeeze=False, sharey=True)[0], runtimes, strict=True
        ):
            here = frame[frame["runtime"] == runtime]
            for index, (name, part) in enumerate(here.groupby("weights", sort=False)):
                color = PALETTE[index % len(PALETTE)]
                axis.plot(part["ms"], part["outage"], color=color, lw=0.8, alpha=0.6)
                face = [color if precision == "int8" else "none" for precision in part["precision"]]
                axis.scatter(
                    part["ms"],
                    part["outage"],
                    s=14 + 0.5 * part["bits"],
                    facecolors=face,
                    edgecolors=color,
                    marker=MARKERS[index % len(MARKERS)],
                    label=f"{name} ({part['bits'].min():.0f} bit)",
                )
            axis.set_xscale("log")
            axis.set(xlabel="Time of one report (ms)", title=runtime)
            axis.set_ylim(bottom=0)
        figure.axes[0].set_ylabel(f"Outage, {outage_text(frame['criterion'].iloc[0])}")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", fontsize=8, title="filled: int8, hollow: float")
    return figure
