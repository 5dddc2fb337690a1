"""Table VII: time of the encoder in two runtimes and of the choice of a policy, one image at a time.

The unrolled scans make a graph of thousands of nodes, whose static calibration takes too long: int8 means weights of
eight bits, and activations where the runtime rounds them on its own.

python -m benchmarks.papers.rp_mpq.latency WEIGHTS POLICIES OUT.csv
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.saved import save_table
from simulator.core.extras import need

ROUNDS = 50


def measure(weights: str, policies: Path) -> pd.DataFrame:
    """Milliseconds of one image: median, 10 % and 90 % quantile; deviation of latents, root mean square."""
    from benchmarks.export import _images
    from benchmarks.speed.timing import in_turn
    from receivers.precision.control import choose
    from receivers.precision.policy_set import PolicySet
    from receivers.precision.violation import hoyer_sparsity, importance
    from receivers.weights.folder import TrainedModel

    known, trained = PolicySet.load(policies), TrainedModel(weights)
    image = _images(trained)[:1]
    kappa, table = known.kappa[known.refined], known.surrogates[0]

    def selection() -> Any:
        sparsity = hoyer_sparsity(image)
        return choose(table.lookup(10.0, sparsity)[:, known.refined], importance(sparsity, 1.0), kappa, 0.1)

    with tempfile.TemporaryDirectory() as place:
        calls = {name: (lambda run=run: run(image)) for name, run in encoders(trained, Path(place)).items()}
        seconds = {**in_turn(calls, ROUNDS), **in_turn({"policy selection": selection}, 20 * ROUNDS)}
        reference = trained.encode(image)
        rows = []
        for name, values in seconds.items():
            low, middle, high = 1e3 * np.quantile(values, (0.1, 0.5, 0.9))
            error = (
                (np.mean((calls[name]() - reference) ** 2) / np.mean(reference**2)) ** 0.5 if name in calls else None
            )
            rows.append({"component": name, "ms": middle, "low": low, "high": high, "deviation": error})
    frame = pd.DataFrame(rows)
    return frame.assign(selection_percent=100 * frame.ms.iloc[-1] / frame.ms)


def encoders(trained: Any, place: Path) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """The encoder as a function in every runtime, float and with 8-bit weights."""
    need("latency", "tf2onnx", "onnxruntime", "ai_edge_litert")
    import tensorflow as tf  # the converter of LiteRT is a part of it
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from benchmarks.export import _runtime
    from benchmarks.export_graph import side_graph

    graph = side_graph(trained, "ue")
    graph(np.zeros((1, *graph.input_shape[1:]), np.float32))
    graph.export(place / "float.onnx", format="onnx", verbose=False)
    quantize_dynamic(place / "float.onnx", place / "int8.onnx", weight_type=QuantType.QInt8)
    found = {f"ONNX Runtime, {kind}": _runtime("onnx", place / f"{kind}.onnx") for kind in ("float", "int8")}
    for kind, options in (("float", []), ("int8", [tf.lite.Optimize.DEFAULT])):
        converter = tf.lite.TFLiteConverter.from_keras_model(graph)
        converter.optimizations = options
        (place / f"{kind}.tflite").write_bytes(converter.convert())
        found[f"LiteRT, {kind}"] = _runtime("litert", place / f"{kind}.tflite")
    return found


if __name__ == "__main__":
    save_table(measure(sys.argv[1], Path(sys.argv[2])), sys.argv[3], index=False, float_format="%.5g")
