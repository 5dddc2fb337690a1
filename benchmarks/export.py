"""Encoder or decoder of trained weights in one folder for another link, verified in its own runtime."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import export_runtime
from benchmarks.export_folder import FORMATS, LIST, content_sha256, is_own, locked, own_files, publish, remember
from benchmarks.export_graph import side_graph, write_graph
from benchmarks.export_layers import registration
from benchmarks.export_runtime import LAYERS, runtime
from receivers.feedback.latents import LatentCodec
from receivers.weights.folder import CARD, TrainedModel
from simulator.core import registry
from simulator.core.durable import make_folder, sweep
from simulator.core.errors import ConfigError, CsilinkError, StoreError
from simulator.core.extras import need
from simulator.core.paths import inside, writable
from simulator.core.readers import read_json, read_npz, reason
from simulator.data.hdf5 import check_hdf5
from simulator.data.store import write_json

SIDES = {"ue": ("image", "latent"), "gnb": ("latent", "image")}
# Packages that a format needs besides Keras and TensorFlow.
NEEDS = {"onnx": ("tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}
# Largest deviation from Keras against the largest output; of eight-bit graphs the mean square is asked, as they code.
TOLERANCE = 1e-4
TOLERANCE_INT8 = 0.25
_GOLDEN = 32
# Layers of Keras that run a program or read a file named in their configuration.
_PROGRAMS = {
    *("Lambda", "__lambda__", "TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper"),
    *("StringLookup", "IntegerLookup", "TextVectorization", "HashedCrossing"),
}
_EXTERNAL_DATA = b"\x0a\x08location"  # key of an ONNX tensor whose numbers lie in another file


def export_model(weights: str, side: str, format_: str, folder: Path, *, int8: bool = False) -> None:
    """Write graph, ``codec.json``, ``card.json`` and ``golden.npz`` into ``folder``.

    A Keras graph with layers that are not Keras's own has ``csilink_layers.py`` next to it; importing that file, which
    needs nothing of csilink, lets ``keras.models.load_model`` load the graph.

    The graph is real-valued with one named input and output, float32: ``image [batch, height, width, 2]`` (real and
    imaginary parts of a unit-power image) and ``latent [batch, latent]``. ``codec.json`` maps latents to bits.

    Args:
        weights: zoo name or folder.
        side: "ue" or "gnb".
        format_: "keras", "savedmodel", "onnx" or "litert".
        folder: target. In an older export its files are replaced and all others stay; two exports at once
            leave the files of the one that ends last.
        int8: quantise weights and activations of products to eight bits (onnx, with the golden images; litert).

    Raises:
        ConfigError: unknown side, format, or combination; an extra that is not installed.
        StoreError: the folder holds other files and no export, or a file of ours that was changed since.
    """
    if side not in SIDES:
        raise ConfigError("--side", side, ", ".join(SIDES))
    if format_ not in FORMATS:
        raise ConfigError("--format", format_, ", ".join(FORMATS))
    if int8 and format_ not in ("onnx", "litert"):
        raise ConfigError("--int8", format_, "onnx, litert")
    need("--format", *NEEDS.get(format_, ()))
    trained = TrainedModel(weights, alone=True)
    if not trained.is_network or trained.codec is None:
        raise ConfigError("weights", weights, "weights of a network with a codec")
    folder = writable(folder.resolve())
    own_files(folder)  # refuse before the work
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigError("KERAS_BACKEND", keras.backend.backend(), "tensorflow, for export")
    try:
        make_folder(folder.parent)
        sweep(folder.parent, folder.name)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial.{os.getpid()}.", dir=folder.parent))
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror})") from None
    try:
        _write_files(trained, side, format_, int8, made)
        publish(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write_files(trained: TrainedModel, side: str, format_: str, int8: bool, folder: Path) -> None:
    graph = side_graph(trained, side)
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
    write_graph(graph, folder / FORMATS[format_], format_, SIDES[side], source if int8 else None)
    if format_ == "keras" and (layers := registration(graph, {*_rooms(), "simulator"})) is not None:
        (folder / LAYERS).write_text(layers)
        remember(content_sha256(folder / LAYERS))
    shutil.copyfile(trained.folder / CARD, folder / CARD)
    write_json(folder / LIST, _codec_json(trained, codec, side, format_, int8, folder))
    remember(content_sha256(folder / FORMATS[format_]))


def verify_folder(folder: Path, *, trust: bool = False) -> str:
    """Run an exported folder in the runtime of its format against its golden vectors.

    Nothing is loaded before the hashes of all listed files were compared. A SavedModel is a program that may read and
    write files: one that this user did not export runs only with ``trust``. A Keras graph is loaded in safe mode, from
    layers of Keras and of registered models; ONNX and LiteRT graphs only compute. The graph is called by the names of
    ``codec.json`` in a process that cannot import csilink; a Keras graph whose ``csilink_layers.py`` this user did not
    write only with ``trust``, and otherwise in this process with our own layers.

    Args:
        folder: written by :func:`export_model`, here or elsewhere.
        trust: run a SavedModel or ``csilink_layers.py`` of unknown origin.

    Returns:
        the comparison in words.

    Raises:
        ConfigError: a SavedModel of unknown origin without ``trust``.
        StoreError: damaged files, files outside the folder, an output that deviates, or bits that differ.
    """
    try:
        with locked(folder.resolve().parent, shared=True):
            return _verify(folder, trust)
    except CsilinkError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise StoreError(f"{folder}: no exported model ({reason(error)})") from None


def _verify(folder: Path, trust: bool) -> str:
    try:
        description = read_json(inside(folder, LIST))
        format_, hashes = description["format"], dict(description["sha256"])
        name = FORMATS[format_]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{folder}: no exported model ({reason(error)})") from None
    graph = inside(folder, description["graph"]["file"])
    if graph != folder / name or name not in hashes:
        raise StoreError(f"{folder / LIST}: the graph is not {name} with its SHA-256")
    for listed, expected in hashes.items():
        if content_sha256(inside(folder, listed)) != expected:
            raise StoreError(f"{folder / listed}: damaged, SHA-256 differs from {LIST}")
    if format_ == "savedmodel" and not (trust or is_own(hashes[name])):
        raise ConfigError(
            "--verify",
            f"{graph}, a SavedModel of unknown origin",
            "--trust, as it is a program with your rights",
        )
    golden = read_npz(inside(folder, "golden.npz"))
    side, int8 = description["side"], description["int8"]
    source, expected = (
        (golden["image"], golden["latent"]) if side == "ue" else (golden["received"], golden["image_hat"])
    )
    try:
        _check_graph(format_, graph)
        own = format_ != "keras" or trust or all(is_own(hashes[part]) for part in (name, LAYERS) if part in hashes)
        output = _isolated(folder, format_, source) if own else _runtime(format_, graph)(source)
    except CsilinkError:
        raise
    except Exception as error:
        raise StoreError(f"{graph}: does not run ({type(error).__name__}: {reason(error)})") from None
    error = np.abs(np.float64(output) - expected)
    if int8:
        deviation, of = float((np.mean(error**2) / np.mean(np.float64(expected) ** 2)) ** 0.5), "root mean square"
    else:
        deviation, of = float(error.max() / np.abs(expected).max()), "largest output"
    limit = TOLERANCE_INT8 if int8 else TOLERANCE
    if not deviation <= limit:
        raise StoreError(f"{graph}: deviates from Keras by {deviation:.2e} of the {of}; allowed: {limit:g}")
    words = f"{format_}{' int8' if int8 else ''}, deviation {deviation:.1e} of the {of}"
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


def _images(trained: TrainedModel) -> np.ndarray:
    """Golden images: channels of six random plane waves each, seeded, prepared as the network sees channels."""
    from simulator.core.types import Panel
    from simulator.maths.transforms import subband_eigenvectors, to_angular_delay, to_eigenvector_image, to_real

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


def _runtime(format_: str, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The graph as a function, in the runtime that belongs to its format and in this process."""
    need("--format", *NEEDS.get(format_, ())[-1:])
    if format_ == "keras":
        for name in registry.names("models"):
            with suppress(ConfigError):  # a broken guest; Keras names the class where this file needs it
                registry.load("models", name)
    _check_graph(format_, path)
    return runtime(format_, path)


def _isolated(folder: Path, format_: str, source: np.ndarray) -> np.ndarray:
    """Output of the graph for ``source``, called by the names of ``codec.json`` in a process without csilink."""
    with tempfile.TemporaryDirectory() as place:
        files = [Path(place) / "source.npy", Path(place) / "output.npy"]
        np.save(files[0], source)
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            [sys.executable, "-IB", str(Path(export_runtime.__file__)), str(folder.resolve()), *map(str, files)],
            capture_output=True,
            text=True,
            env=environment,
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise StoreError(f"{folder / FORMATS[format_]}: does not run without csilink ({said[-1]})")
        return np.load(files[1])


def _check_graph(format_: str, path: Path) -> None:
    """Refuse a Keras archive of more than layers, and an ONNX graph with numbers elsewhere."""
    if format_ == "keras":
        _check_keras(path)
    if format_ == "onnx" and _EXTERNAL_DATA in path.read_bytes():
        raise StoreError(f"{path}: names other files for its numbers; allowed: numbers in the file itself")


def _check_keras(path: Path) -> None:
    """Refuse a Keras archive with members of other kinds, with data of other files, or with layers from elsewhere."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        if not names <= {"metadata.json", "config.json", "model.weights.h5"}:
            raise StoreError(f"{path}: holds more than a configuration and weights")
        check_hdf5(path, io.BytesIO(archive.read("model.weights.h5")))
        _check_layers(path, json.loads(archive.read("config.json")))


def _check_layers(path: Path, node: Any) -> None:
    """Every class is one of Keras or of our rooms, none takes a program or a file."""
    if isinstance(node, dict):
        module, name = node.get("module"), node.get("class_name")
        if "class_name" in node and not (isinstance(name, str) and (module is None or _known_module(module))):
            raise StoreError(f"{path}: holds {module}.{name}; allowed: layers of Keras and of registered models")
        if name in _PROGRAMS:
            raise StoreError(f"{path}: holds a layer {name}, which runs a program or reads a file")
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _check_layers(path, child)


def _known_module(module: Any) -> bool:
    return isinstance(module, str) and module.split(".")[0] in {"keras", "builtins", *_rooms()}


def _rooms() -> set[str]:
    """Packages of the registered models."""
    return {registry.target("models", name).split(".")[0] for name in registry.names("models")}


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
        "sha256": {path.name: content_sha256(path) for path in sorted(folder.iterdir())},
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
