"""Table IV: time of a prediction in Keras and two runtimes, float and int8, one sample and 32 at once.

python -m benchmarks.papers.tiny_wifo.latency OUT.csv SLOTS SUBCARRIERS ANTENNAS WEIGHTS ...
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

ROUNDS = {1: 60, 32: 12}


def measure(weights: list[str], sizes: tuple[int, int, int]) -> pd.DataFrame:
    """Milliseconds by network, runtime and batch: median, 10 % and 90 % quantile; relative deviation from Keras."""
    from benchmarks.speed.timing import in_turn
    from receivers.weights.folder import TrainedPredictor

    slots, subcarriers, antennas = sizes
    rows = []
    for name in weights:
        trained = TrainedPredictor(name)
        network, known = trained.model, slots // 2
        for batch, rounds in ROUNDS.items():
            x = np.random.default_rng(0).standard_normal((batch, known, subcarriers, antennas, 2)).astype(np.float32)
            with tempfile.TemporaryDirectory() as place:
                calls = runtimes(network, x, slots - known, Path(place))
                reference = calls["Keras (TensorFlow)"]()
                seconds = in_turn(calls, rounds)
                for runtime, values in seconds.items():
                    low, middle, high = 1e3 * np.quantile(values, (0.1, 0.5, 0.9))
                    deviation = np.sqrt(np.mean((calls[runtime]() - reference) ** 2) / np.mean(reference**2))
                    row = {"network": Path(name).name, "parameters": network.count_params(), "batch": batch}
                    row |= {"runtime": runtime, "ms": middle, "low": low, "high": high, "deviation": deviation}
                    rows.append(row)
    return pd.DataFrame(rows)


def runtimes(network: Any, x: np.ndarray, count: int, place: Path) -> dict[str, Callable[[], np.ndarray]]:
    """The prediction of ``count`` slots as a call in every runtime that can convert the network."""
    need("latency", "tf2onnx", "onnxruntime", "ai_edge_litert")
    import keras
    import tensorflow as tf
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from benchmarks.export import _runtime

    source = keras.Input(batch_shape=x.shape, name="history")
    graph = keras.Model(source, forecast_layer(network, count)(source))
    graph(x)  # Keras exports to ONNX what was called
    compiled = tf.function(lambda h: network.forecast(h, count))
    found: dict[str, Callable[[], np.ndarray]] = {"Keras (TensorFlow)": lambda: compiled(x).numpy()}

    def add(runtime: str, make: Callable[[Path], Any]) -> None:
        try:
            path = place / runtime.replace(" ", "-")
            make(path)
            run = _runtime("litert" if runtime.startswith("LiteRT") else "onnx", path)
            run(x)
        except Exception as error:  # an operation that a converter does not know
            print(f"{runtime}: left out ({str(error).strip().splitlines()[0][:120]})", file=sys.stderr)
            return
        found[runtime] = lambda: run(x)

    def litert(path: Path, optimizations: list[Any]) -> None:
        converter = tf.lite.TFLiteConverter.from_keras_model(graph)
        converter.optimizations = optimizations
        path.write_bytes(converter.convert())

    add("ONNX Runtime float", lambda path: graph.export(path, format="onnx", verbose=False))
    onnx = place / "ONNX-Runtime-float"
    add("ONNX Runtime int8", lambda path: quantize_dynamic(onnx, path, weight_type=QuantType.QInt8))
    add("LiteRT float", lambda path: litert(path, []))
    add("LiteRT int8", lambda path: litert(path, [tf.lite.Optimize.DEFAULT]))
    return found


def forecast_layer(network: Any, count: int) -> Any:
    """The prediction as a layer, for export."""
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


if __name__ == "__main__":
    save_table(
        measure(sys.argv[5:], tuple(int(n) for n in sys.argv[2:5])), sys.argv[1], index=False, float_format="%.5g"
    )
