"""Tiny-WiFo's latency: networks that were trained, and the published sizes, which need no training for it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.papers.kit.latency import RUNTIMES, apart, deviation, milliseconds, runtimes
from benchmarks.papers.kit.run import Run
from benchmarks.papers.tiny_wifo.sets import sections

TIMED = ("teacher", "none-s1", "mcakd-s1", "lstm-time", "transformer-time", "llm4cp-time")
KERAS = "Keras (TensorFlow)"
# Teacher and student of the paper, and those of the plan `small`.
PUBLISHED = ("base", "small", "tiny", "32")


def trained(run: Run) -> pd.DataFrame:
    """Table IV: networks of the run on D1, in a process of its own."""
    layout = run.stores["D1"].layout
    sizes = (layout.num_slots, layout.num_subcarriers, layout.panel.num_ports)
    folders = [run.out / name for name in TIMED if (run.out / name / "card.json").exists()]
    return apart(f"{__name__}:trained_times", run.out / "latency.csv", *sizes, *folders)


def published(run: Run) -> pd.DataFrame:
    """Table IV's own sizes on the paper's D1, all subcarriers, in a process of its own."""
    section = sections({"data": {**run.plan["data"], "max_entries": 10**6, "sets": ["D1"]}})["D1"]
    sizes = (
        section["time"]["num_slots"],
        section["carrier"]["num_subcarriers"],
        section["bs"]["n1"] * section["bs"]["n2"],
    )
    return apart(f"{__name__}:published_times", run.out / "latency_published.csv", *sizes, *PUBLISHED)


def trained_times(slots: str, subcarriers: str, antennas: str, *weights: str) -> pd.DataFrame:
    """:func:`times` of networks in folders, one sample and 32 at once."""
    from receivers.weights.folder import TrainedPredictor

    networks = {Path(name).name: TrainedPredictor(name).model for name in weights}
    return times(networks, (int(slots), int(subcarriers), int(antennas)), {1: 60, 32: 12})


def published_times(slots: str, subcarriers: str, antennas: str, *sizes: str) -> pd.DataFrame:
    """:func:`times` of WiFo of these sizes with random weights, one sample, processor time on one core."""
    if hasattr(os, "sched_setaffinity"):  # before the threads of the runtimes are made
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from receivers.models.wifo import WiFo

    networks = {f"WiFo, {size}": WiFo(int(size) if size.isdecimal() else size) for size in sizes}
    grid = (int(slots), int(subcarriers), int(antennas))
    frame = times(networks, grid, {1: 60}, ("LiteRT float",), time.process_time)
    return frame.assign(slots=grid[0], subcarriers=grid[1], antennas=grid[2])


def times(
    networks: Mapping[str, Any],
    grid: tuple[int, int, int],
    rounds: Mapping[int, int],
    wanted: Sequence[str] = RUNTIMES,
    clock: Callable[[], float] = time.perf_counter,
) -> pd.DataFrame:
    """Time of a prediction of the second half of the slots in Keras and in runtimes.

    Args:
        networks: with ``forecast``, by name.
        grid: slots, subcarriers, antennas.
        rounds: calls by size of the batch.
        wanted: runtimes.
        clock: of the time of a call.

    Returns:
        milliseconds by network, batch and runtime: median, 10 % and 90 % quantile; relative deviation from Keras.
    """
    import keras
    import tensorflow as tf

    from benchmarks.speed.timing import in_turn

    known, rows = grid[0] // 2, []
    for name, network in networks.items():
        compiled = tf.function(lambda h, network=network: network.forecast(h, grid[0] - known))
        for batch, count in rounds.items():
            x = np.random.default_rng(0).standard_normal((batch, known, *grid[1:], 2)).astype(np.float32)
            source = keras.Input(batch_shape=x.shape, name="history")
            with tempfile.TemporaryDirectory() as place:
                graph = keras.Model(source, forecast_layer(network, grid[0] - known)(source))
                found = runtimes(graph, x, Path(place), wanted)
                calls = {KERAS: lambda call=compiled, x=x: call(x).numpy()}
                calls |= {runtime: (lambda call=call, x=x: call(x)) for runtime, call in found.items()}
                reference = calls[KERAS]()
                for runtime, values in in_turn(calls, count, clock).items():
                    row = {"network": name, "parameters": network.count_params(), "batch": batch}
                    off = deviation(calls[runtime](), reference)
                    rows.append({**row, "runtime": runtime, **milliseconds(values), "deviation": off})
    return pd.DataFrame(rows)


def forecast_layer(network: Any, count: int) -> Any:
    """The prediction of ``count`` slots as a layer, for export."""
    import keras

    class _Forecast(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def call(self, history: Any) -> Any:
            return self.network.forecast(history, count)

        def compute_output_shape(self, shape: Any) -> Any:
            return (shape[0], count, *shape[2:])

    return _Forecast()
