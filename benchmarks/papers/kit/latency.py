"""Time of a network in Keras' exports, float and with 8-bit weights, measured in a process of its own.

python -m benchmarks.papers.kit.latency MODULE:FUNCTION OUT.csv ARGUMENTS ...
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.saved import save_table
from simulator.core.extras import need

Call = Callable[[np.ndarray], np.ndarray]
RUNTIMES = ("ONNX Runtime float", "ONNX Runtime int8", "LiteRT float", "LiteRT int8")


def apart(function: str, out: Path, *arguments: Any) -> pd.DataFrame:
    """Table of ``module:function(*arguments)``, called under TensorFlow, which exports need, in another process.

    Args:
        function: its arguments are texts.
        out: CSV to write.
        arguments: of the function.
    """
    command = [sys.executable, "-m", "benchmarks.papers.kit.latency", function, str(out), *map(str, arguments)]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(command, env=environment, check=True, timeout=3600)
    return pd.read_csv(out)


def runtimes(graph: Any, x: np.ndarray, place: Path, wanted: Sequence[str] = RUNTIMES) -> dict[str, Call]:
    """A Keras graph as a function in every runtime that can convert it; what cannot is named on stderr.

    The weights are rounded to 8 bits for "int8", activations where the runtime rounds them on its own.

    Args:
        graph: functional model of one input.
        x: an input.
        place: folder for the exports.
        wanted: some of ``RUNTIMES``.
    """
    need("latency", "tf2onnx", "onnxruntime", "ai_edge_litert")
    import tensorflow as tf  # the converter of LiteRT is a part of it
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from benchmarks.export import _runtime

    graph(x)  # Keras exports to ONNX what was called
    found: dict[str, Call] = {}

    def add(runtime: str, format_: str, make: Callable[[Path], Any]) -> None:
        if runtime not in wanted:
            return
        path = place / f"{runtime.replace(' ', '-')}.{format_}"
        try:
            make(path)
            call = _runtime(format_, path)
            call(x)
        except Exception as error:  # an operation that a converter does not know
            print(f"{runtime}: left out ({str(error).strip().splitlines()[0][:120]})", file=sys.stderr)
        else:
            found[runtime] = call

    def litert(path: Path, optimizations: list[Any]) -> None:
        converter = tf.lite.TFLiteConverter.from_keras_model(graph)
        converter.optimizations = optimizations
        path.write_bytes(converter.convert())

    onnx = place / "ONNX-Runtime-float.onnx"
    add("ONNX Runtime float", "onnx", lambda path: graph.export(path, format="onnx", verbose=False))
    add("ONNX Runtime int8", "onnx", lambda path: quantize_dynamic(onnx, path, weight_type=QuantType.QInt8))
    add("LiteRT float", "litert", lambda path: litert(path, []))
    add("LiteRT int8", "litert", lambda path: litert(path, [tf.lite.Optimize.DEFAULT]))
    return found


def milliseconds(seconds: np.ndarray) -> dict[str, float]:
    """Median, 10 % and 90 % quantile of times of one call."""
    low, middle, high = 1e3 * np.quantile(seconds, (0.1, 0.5, 0.9))
    return {"ms": middle, "low": low, "high": high}


def deviation(output: np.ndarray, reference: np.ndarray) -> float:
    """Root mean square of the difference, relative to the reference."""
    return float(np.sqrt(np.mean((output - reference) ** 2) / np.mean(reference**2)))


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    table = getattr(import_module(module), name)(*sys.argv[3:])
    save_table(table, Path(sys.argv[2]), index=False, float_format="%.5g")
