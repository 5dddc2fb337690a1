"""Graph of one side of trained weights, written in the format of another runtime."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from receivers.weights.folder import TrainedModel
from simulator.core.errors import StoreError
from simulator.core.extras import need


def side_graph(trained: TrainedModel, side: str) -> Any:
    """Functional model from unit-power image to latent, or back."""
    import keras
    from keras import ops

    known = trained.input
    network = trained.model.encoder if side == "ue" else trained.model.decoder
    shape = network.input_shape[1:]
    if side == "ue":
        if known.transposed:
            shape = (shape[1], shape[0], 2)
        x = source = keras.Input(shape, name="image")
        x = ops.transpose(x, (0, 2, 1, 3)) if known.transposed else x
        x = x * known.scale + known.offset if (known.scale, known.offset) != (1.0, 0.0) else x
        return keras.Model(source, keras.layers.Identity(name="latent")(network(x)))
    source = keras.Input(shape, name="latent")
    y = network(source)
    y = (y - known.offset) / known.scale if (known.scale, known.offset) != (1.0, 0.0) else y
    y = ops.transpose(y, (0, 2, 1, 3)) if known.transposed else y
    return keras.Model(source, keras.layers.Identity(name="image")(y))


def write_graph(
    graph: Any, path: Path, format_: str, names: tuple[str, str], calibration: np.ndarray | None = None
) -> None:
    """Write a graph whose input and output bear these names.

    Args:
        graph: functional model of one input and one output.
        path: file, or folder of a SavedModel.
        format_: "keras", "savedmodel", "onnx" or "litert".
        names: of input and output.
        calibration: inputs; with them weights and activations of products get eight bits: in "onnx" activations by the
            ranges that these give, in "litert" by those of every input.
    """
    graph(np.zeros((1, *graph.input_shape[1:]), np.float32))  # exporters want a model that has run
    if format_ == "keras":
        graph.save(path)
    elif format_ == "savedmodel":
        _savedmodel(graph, path, names)
    elif format_ == "onnx":
        graph.export(path, format="onnx", verbose=False)
        if calibration is not None:
            _onnx_int8(path, calibration)
        _rename_onnx(path, names)
    else:
        _litert(graph, path, names, calibration is not None)


def _savedmodel(graph: Any, path: Path, names: tuple[str, str]) -> None:
    import keras
    import tensorflow as tf

    source, output = names
    archive = keras.export.ExportArchive()
    archive.track(graph)
    signature = tf.TensorSpec((None, *graph.input_shape[1:]), tf.float32, name=source)
    archive.add_endpoint("serve", lambda x: {output: graph(x, training=False)}, input_signature=[signature])
    archive.write_out(path, verbose=False)


def _rename_onnx(path: Path, names: tuple[str, str]) -> None:
    need("--format", "onnx")
    import onnx

    model = onnx.load_model(path)
    graph = model.graph
    new = dict(zip((graph.input[0].name, graph.output[0].name), names, strict=True))
    taken = {tensor for node in graph.node for tensor in (*node.input, *node.output)} - set(new)
    new |= {name: f"{name}_" for name in taken & set(names)}
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = new.get(value.name, value.name)
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [new.get(name, name) for name in tensors]
    onnx.save_model(model, path)


def _onnx_int8(path: Path, calibration: np.ndarray) -> None:
    """Eight bits in products, after batch normalisations are folded into them, where they cost no rounding.

    Norms, softmax and skips stay float: in eight bits they turn TransNet's decoder into noise.
    """
    need("--format", "onnxruntime")
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rows = iter(calibration[:, None])

        def get_next(self) -> dict[str, np.ndarray] | None:
            row = next(self._rows, None)
            return None if row is None else {name: row}

    plain, folded = path.with_name("float.onnx"), path.with_name("folded.onnx")
    path.rename(plain)
    quant_pre_process(str(plain), str(folded), skip_symbolic_shape=True)
    name = onnxruntime.InferenceSession(folded.read_bytes()).get_inputs()[0].name
    products = ["Conv", "Gemm", "MatMul"]
    # Weights of seven bits: sums of two products of eight overflow the 16 bits of CPUs without VNNI.
    options = {"weight_type": QuantType.QInt8, "per_channel": True, "reduce_range": True}
    options["op_types_to_quantize"] = products
    quantize_static(str(folded), str(path), Reader(), **options)
    plain.unlink()
    folded.unlink()


def _litert(graph: Any, path: Path, names: tuple[str, str], int8: bool) -> None:
    import tensorflow as tf
    from tensorflow.lite.tools import flatbuffer_utils

    saved = path.with_name("saved")
    _savedmodel(graph, saved, names)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved), signature_keys=["serving_default"])
    if int8:
        # Weights in eight bits, activations when they are known: with ranges from calibration norms and softmax are in
        # eight bits as well, and TransNet's output is off by up to its own size.
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    try:
        content = bytearray(converter.convert())
    except RuntimeError as error:  # an operation that LiteRT does not have, e.g. slices of more than five dimensions
        raise StoreError(f"{path.name}: LiteRT cannot run this network ({str(error).splitlines()[0]})") from None
    model = flatbuffer_utils.convert_bytearray_to_object(content)
    shutil.rmtree(saved)
    part = model.subgraphs[0]  # tensors are named for what they were in TensorFlow
    for index, name in zip((part.inputs[0], part.outputs[0]), names, strict=True):
        part.tensors[index].name = name.encode()
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
