"""RP-MPQ's Table VII: time of the encoder and of the choice of a policy."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.papers.kit.latency import deviation, milliseconds, runtimes
from receivers.precision.control import choose
from receivers.precision.policy_set import FILE, PolicySet
from receivers.precision.violation import hoyer_sparsity, importance
from receivers.weights.folder import TrainedModel


def encoder_times(weights: str, rounds: int = 50) -> pd.DataFrame:
    """Time of the encoder in two runtimes and of the choice of a policy, one image at a time.

    The unrolled scans make a graph of thousands of nodes, whose static calibration takes too long: int8 means weights
    of eight bits, and activations where the runtime rounds them on its own.

    Args:
        weights: folder of the scheduled network with its policies.
        rounds: calls of every encoder.

    Returns:
        milliseconds of one image: median, 10 % and 90 % quantile; relative root mean square deviation of the latents.
    """
    from benchmarks.export import _images
    from benchmarks.export_graph import side_graph
    from benchmarks.speed.timing import in_turn

    known, trained = PolicySet.load(Path(weights) / FILE), TrainedModel(weights)
    image = _images(trained)[:1]
    kappa, table = known.kappa[known.refined], known.surrogates[0]

    def selection() -> Any:
        sparsity = hoyer_sparsity(image)
        return choose(table.lookup(10.0, sparsity)[:, known.refined], importance(sparsity, 1.0), kappa, 0.1)

    with tempfile.TemporaryDirectory() as place:
        encoders = runtimes(side_graph(trained, "ue"), image, Path(place))
        calls = {name: (lambda call=call: call(image)) for name, call in encoders.items()}
        seconds = {**in_turn(calls, rounds), **in_turn({"policy selection": selection}, 20 * rounds)}
        reference = trained.encode(image)
        off = {name: deviation(call(), reference) for name, call in calls.items()}
    rows = [{"component": name, **milliseconds(values), "deviation": off.get(name)} for name, values in seconds.items()]
    frame = pd.DataFrame(rows)
    return frame.assign(selection_percent=100 * frame.ms.iloc[-1] / frame.ms)
