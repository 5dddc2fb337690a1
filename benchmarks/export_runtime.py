"""An exported graph in the runtime of its format. Nothing of csilink is needed here: a program of its own checks that.

``python -I export_runtime.py FOLDER SOURCE.npy OUTPUT.npy`` runs the graph of an exported folder by the names that its
``codec.json`` has for input and output, in a process that cannot import csilink.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LAYERS = "csilink_layers.py"
_ROOMS = {"simulator", "receivers", "scenarios", "benchmarks", "csilink"}


def runtime(
    format_: str, path: Path, names: tuple[str, str] | None = None, layers: Path | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """The graph as a function float32 -> float32.

    Args:
        format_: "keras", "savedmodel", "onnx" or "litert".
        path: of the graph.
        names: of input and output; None: the first of each.
        layers: registration file of a Keras graph with layers of its own, or None.
    """
    return {"keras": _keras, "savedmodel": _savedmodel, "onnx": _onnx, "litert": _litert}[format_](path, names, layers)


def _keras(path: Path, names: Any, layers: Path | None) -> Callable[[np.ndarray], np.ndarray]:
    import keras

    if layers is not None:
        spec = importlib.util.spec_from_file_location(layers.stem, layers)
        sys.modules[layers.stem] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    model = keras.models.load_model(path, compile=False, safe_mode=True)
    source, output = names or (model.inputs[0].name, model.output_names[0])
    held = [model.inputs[0].name, *model.output_names]
    if held != [source, output]:
        raise ValueError(f"input and output {held}, not {[source, output]}")
    return lambda x: keras.ops.convert_to_numpy(model(x, training=False))


def _savedmodel(path: Path, names: Any, layers: Any) -> Callable[[np.ndarray], np.ndarray]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))  # holds what the signature uses
    signature = loaded.signatures["serving_default"]
    source, output = names or (
        next(iter(signature.structured_input_signature[1])),
        next(iter(signature.structured_outputs)),
    )

    def run(x: np.ndarray, loaded: Any = loaded) -> np.ndarray:
        return signature(**{source: tf.constant(x)})[output].numpy()

    return run


def _onnx(path: Path, names: Any, layers: Any) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    source, output = names or (session.get_inputs()[0].name, session.get_outputs()[0].name)
    return lambda x: session.run([output], {source: x})[0]


def _litert(path: Path, names: Any, layers: Any) -> Callable[[np.ndarray], np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    if names is not None:
        held = [
            [t["name"] for t in part] for part in (interpreter.get_input_details(), interpreter.get_output_details())
        ]
        if held != [[names[0]], [names[1]]]:
            raise ValueError(f"tensors {held}, not {names}")
        runner = interpreter.get_signature_runner()
        return lambda x: np.array(runner(**{names[0]: x})[names[1]])
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(x: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(source, x.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(target))

    return run


class _Refuse:
    """First finder of modules: csilink's are not found."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        """No module of csilink; all others are for the next finder."""
        if name.partition(".")[0] in _ROOMS:
            raise ModuleNotFoundError(f"{name}: not in this process", name=name)


def _main(folder: Path, source: Path, target: Path) -> None:
    sys.meta_path.insert(0, _Refuse)  # type: ignore[arg-type]
    description = json.loads((folder / "codec.json").read_bytes())
    graph = description["graph"]
    layers = folder / LAYERS if LAYERS in description["sha256"] else None
    run = runtime(description["format"], folder / graph["file"], (graph["input"], graph["output"]), layers)
    np.save(target, run(np.load(source)))


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:4]))
