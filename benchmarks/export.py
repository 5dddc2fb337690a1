"""Encoder or decoder of trained weights in one folder for another link, verified in its own runtime."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from receivers.feedback.latents import LatentCodec
from receivers.models.weights import CARD, TrainedModel
from simulator.core import registry
from simulator.core.errors import ConfigError, StoreError
from simulator.core.extras import need
from simulator.data.store import sha256, write_json

FORMATS = {"keras": "model.keras", "savedmodel": "savedmodel", "onnx": "model.onnx", "litert": "model.tflite"}
SIDES = {"ue": ("image", "latent"), "gnb": ("latent", "image")}
# Packages that a format needs besides Keras and TensorFlow.
NEEDS = {"onnx": ("tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}
# Largest deviation from Keras against the largest output; of eight-bit graphs the mean square is asked, as they code.
TOLERANCE = 1e-4
TOLERANCE_INT8 = 0.25
_GOLDEN = 32


def export_model(weights: str, side: str, format_: str, folder: Path, *, int8: bool = False) -> None:
    """Write graph, ``codec.json``, ``card.json`` and ``golden.npz`` into ``folder``.

    The graph is real-valued with one named input and output, float32: ``image [batch, height, width, 2]`` (real and
    imaginary parts of a unit-power image) and ``latent [batch, latent]``. ``codec.json`` says how latents become bits.

    Args:
        weights: zoo name or folder.
        side: "ue" or "gnb".
        format_: "keras", "savedmodel", "onnx" or "litert".
        folder: where to write; must not exist or be an older export.
        int8: quantise weights and activations to eight bits (onnx, litert), calibrated on the golden images.

    Raises:
        ConfigError: unknown side, format, or combination; an extra that is not installed.
        StoreError: the folder holds something else.
    """
    if side not in SIDES:
        raise ConfigError("--side", side, ", ".join(SIDES))
    if format_ not in FORMATS:
        raise ConfigError("--format", format_, ", ".join(FORMATS))
    if int8 and format_ not in ("onnx", "litert"):
        raise ConfigError("--int8", format_, "onnx, litert")
    need("--format", *NEEDS.get(format_, ()))
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigError("KERAS_BACKEND", keras.backend.backend(), "tensorflow, for export")
    trained = TrainedModel(weights)
    if trained.card["model"]["name"] == "klt" or trained.codec is None:
        raise ConfigError("weights", weights, "weights of a network with a codec")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "codec.json").exists():
        raise StoreError(f"{folder}: holds other files; choose another --out")
    target, folder = folder, folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    graph = _graph(trained, side)
    codec = LatentCodec(
        trained, None, None, "range" if trained.input.target == "channel" else "fixed", "latent", "shipped", 1
    )
    images = _images(trained)
    latent = trained.encode(images)
    bits, num_bits = codec.encode(latent)
    received, _ = codec.decode(bits, num_bits)
    golden = {"image": images, "latent": latent, "bits": bits, "num_bits": num_bits, "received": received}
    np.savez_compressed(folder / "golden.npz", **golden, image_hat=trained.decode(received))
    source = images if side == "ue" else received
    _write_graph(graph, folder / FORMATS[format_], format_, source if int8 else None)
    write_json(folder / "codec.json", _codec_json(trained, codec, side, format_, int8, folder))
    shutil.copy(trained.folder / CARD, folder / CARD)
    shutil.rmtree(target, ignore_errors=True)
    folder.rename(target)


def verify_folder(folder: Path) -> str:
    """Run an exported folder in the runtime of its format against its golden vectors.

    Returns:
        what was compared, in words.

    Raises:
        StoreError: damaged files, an output that deviates, or bits that differ.
    """
    try:
        description = json.loads((folder / "codec.json").read_text())
        with np.load(folder / "golden.npz") as data:
            golden = {key: data[key] for key in data.files}
        graph = folder / description["graph"]["file"]
        for name, expected in description["sha256"].items():
            if _hash(folder / name) != expected:
                raise StoreError(f"{folder / name}: damaged, SHA-256 differs from codec.json")
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{folder}: no exported model ({error})") from None
    side, int8 = description["side"], description["int8"]
    source, expected = (
        (golden["image"], golden["latent"]) if side == "ue" else (golden["received"], golden["image_hat"])
    )
    output = _runtime(description["format"], graph)(source)
    error = np.abs(np.float64(output) - expected)
    if int8:
        deviation, of = float((np.mean(error**2) / np.mean(np.float64(expected) ** 2)) ** 0.5), "root mean square"
    else:
        deviation, of = float(error.max() / np.abs(expected).max()), "largest output"
    limit = TOLERANCE_INT8 if int8 else TOLERANCE
    if not deviation <= limit:
        raise StoreError(f"{graph}: deviates from Keras by {deviation:.2e} of the {of}; allowed: {limit:g}")
    words = f"{description['format']}{' int8' if int8 else ''}, deviation {deviation:.1e} of the {of}"
    coder, quantizer = _coder(description)
    symbols = quantizer.quantize(_normalised(golden["latent"] if int8 or side == "gnb" else output, description))
    bits, num_bits = coder.encode(symbols)
    width = golden["bits"].shape[1]
    scale_bits = description["latent"]["scale_bits"]
    same = (num_bits + scale_bits == golden["num_bits"]) & (
        _padded(bits, width - scale_bits) == golden["bits"][:, scale_bits:]
    ).all(axis=1)
    if not same.all():
        raise StoreError(f"{folder}: the bitstreams of {int(np.sum(~same))} of {len(same)} golden vectors differ")
    decoded, valid = coder.decode(bits, num_bits, symbols.shape[1])
    if not valid.all() or (decoded != symbols).any():
        raise StoreError(f"{folder}: coder does not return the symbols")
    return f"{words}; {len(same)} bitstreams equal"


def _graph(trained: TrainedModel, side: str) -> Any:
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


def _images(trained: TrainedModel) -> np.ndarray:
    """Golden images: channels of six random plane waves each, seeded, seen as the network sees channels."""
    from simulator.core.types import Panel
    from simulator.transforms import subband_eigenvectors, to_angular_delay, to_eigenvector_image, to_real

    known, rng = trained.input, np.random.default_rng(20260)
    panel = Panel(known.n1, known.n2, known.num_pol)
    n1, n2, frequency = np.arange(panel.n1), np.arange(panel.n2), np.arange(known.num_subcarriers)
    h = np.zeros((_GOLDEN, panel.num_ports, known.num_subcarriers), complex)
    for _ in range(6):
        u, v = rng.uniform(-0.5, 0.5, (2, _GOLDEN, 1))
        delay = rng.uniform(0, 0.3, (_GOLDEN, 1))
        gain = rng.standard_normal((_GOLDEN, panel.num_pol, 2)) @ [1, 1j]
        beam = np.einsum("bi,bj->bij", np.exp(2j * np.pi * u * n1), np.exp(2j * np.pi * v * n2)).reshape(_GOLDEN, 1, -1)
        ports = (gain[..., None] * beam).reshape(_GOLDEN, -1, 1)
        h += ports * np.exp(-2j * np.pi * delay * frequency)[:, None]
    if known.target == "eigenvector":
        w = subband_eigenvectors(h[:, None].astype(np.complex64), known.subband_size, 1)[:, 0]
        return to_eigenvector_image(w, panel)
    x = to_real(to_angular_delay(h, panel, known.num_delays))
    return (x / np.sqrt(2 * np.mean(x**2, axis=(1, 2, 3), keepdims=True))).astype(np.float32)


def _write_graph(graph: Any, path: Path, format_: str, calibration: np.ndarray | None) -> None:
    graph(np.zeros((1, *graph.input_shape[1:]), np.float32))  # exporters want a model that has run
    if format_ == "keras":
        graph.save(path)
    elif format_ == "savedmodel":
        graph.export(path, format="tf_saved_model", verbose=False)
    elif format_ == "onnx":
        graph.export(path, format="onnx", verbose=False)
        if calibration is not None:
            _onnx_int8(
                path, graph.input_names[0] if hasattr(graph, "input_names") else graph.inputs[0].name, calibration
            )
    elif calibration is None:
        graph.export(path, format="litert", verbose=False)
    else:
        _litert_int8(graph, path, calibration)


def _onnx_int8(path: Path, name: str, calibration: np.ndarray) -> None:
    need("--format", "onnxruntime")
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rows = iter(calibration[:, None])

        def get_next(self) -> dict[str, np.ndarray] | None:
            row = next(self._rows, None)
            return None if row is None else {name: row}

    plain = path.with_name("float.onnx")
    path.rename(plain)
    quantize_static(str(plain), str(path), Reader(), weight_type=QuantType.QInt8, per_channel=True)
    plain.unlink()


def _litert_int8(graph: Any, path: Path, calibration: np.ndarray) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(graph)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None]] for row in calibration)
    path.write_bytes(converter.convert())


def _runtime(format_: str, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The graph as a function, in the runtime that belongs to its format."""
    if format_ == "keras":
        import keras

        for name in registry.names("models"):
            registry.load("models", name)
        model = keras.models.load_model(path)
        return lambda x: keras.ops.convert_to_numpy(model(x, training=False))
    if format_ == "savedmodel":
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path))
        return lambda x: loaded.serve(tf.constant(x)).numpy()
    if format_ == "onnx":
        need("--format", "onnxruntime")
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda x: session.run(None, {name: x})[0]
    need("--format", "ai_edge_litert")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(x: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(source, x.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(target))

    return run


def _codec_json(
    trained: TrainedModel, codec: LatentCodec, side: str, format_: str, int8: bool, folder: Path
) -> dict[str, Any]:
    """Everything between latents and bits, in plain numbers."""
    table = trained.tables[codec.key]
    name, _, bits = codec.key.rpartition("-b")
    coders = {c: registry.load("coders", c).fit(table.counts) for c in ("range", "huffman")}
    used = "range" if trained.input.target == "channel" else "fixed"
    parameters = trained.codec.params | table.params
    return {
        "name": trained.name,
        "side": side,
        "format": format_,
        "int8": int8,
        "graph": {"file": FORMATS[format_], "input": SIDES[side][0], "output": SIDES[side][1], "dtype": "float32"},
        "image": {
            "target": trained.input.target,
            "mean_power_of_entries": 1.0,
            "axes": "batch, delay or subband, port, (re, im)",
        },
        "latent": {
            "quantizer": name,
            "bits": int(bits),
            "params": parameters,
            "levels": table.levels.tolist(),
            "scale_bits": trained.codec.scale_bits,
        },
        "coder": used,
        "tables": coders,
        "sha256": {path.name: _hash(path) for path in sorted(folder.iterdir())},
    }


def _coder(description: dict[str, Any]) -> tuple[Any, Any]:
    """Coder and quantiser from ``codec.json`` alone."""
    latent = description["latent"]
    quantizer = registry.build("quantizers", latent["quantizer"], bits=latent["bits"], **latent["params"])
    name = description["coder"]
    tables = description["tables"].get(name, {})
    coder = registry.build("coders", name, num_symbols=2 ** latent["bits"], **tables)
    return coder, quantizer


def _normalised(latent: np.ndarray, description: dict[str, Any]) -> np.ndarray:
    from receivers.quantization.scale import scale_index, scale_of

    bits = description["latent"]["scale_bits"]
    return latent / scale_of(scale_index(np.abs(latent).max(axis=1), bits), bits)[:, None] if bits else latent


def _padded(bits: np.ndarray, width: int) -> np.ndarray:
    return np.pad(bits, ((0, 0), (0, max(0, width - bits.shape[1]))))[:, :width]


def _hash(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files in order."""
    if path.is_file():
        return sha256(path)
    import hashlib

    files = sorted(p for p in path.rglob("*") if p.is_file())
    return hashlib.sha256("".join(sha256(p) for p in files).encode()).hexdigest()
