"""What a healthy installation can do, each as a tiny real computation against a reference.

``python -P -m benchmarks.doctor_checks NAME`` runs one in a process of its own, so that a library that crashes, or that
cannot live in a process with another one, fails alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from simulator.core.extras import need


class Check(NamedTuple):
    """One thing that works or not.

    Args:
        run: computes it and returns what it saw, in words; raises where it is wrong.
        extra: extra of pyproject.toml that it belongs to; "": the run requirements promise it.
        packages: importable names without which it is not installed.
        environment: variables of its process.
    """

    run: Callable[[], str]
    extra: str = ""
    packages: tuple[str, ...] = ()
    environment: dict[str, str] = {}


def numpy_product() -> str:
    """Complex product against a loop."""
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((5, 5)) + 1j * rng.standard_normal((5, 5)) for _ in range(2))
    loop = [[sum(a[i, k] * b[k, j] for k in range(5)) for j in range(5)] for i in range(5)]
    return _close(a @ b, np.array(loop), "5 x 5 complex product")


def keras_products() -> str:
    """Batched products under the backend of this process, among them the form that oneDNN corrupts."""
    import keras

    rng, backend = np.random.default_rng(1), keras.backend.backend()
    for left, right in (((2, 1, 9, 1), (1, 1, 16)), ((2, 1, 9, 2), (1, 2, 16)), ((3, 4, 5), (3, 5, 2))):
        for _ in range(5):
            a, b = rng.standard_normal(left), rng.standard_normal(right)
            single = keras.ops.matmul(a.astype(np.float32), b.astype(np.float32))
            _close(keras.ops.convert_to_numpy(single), a @ b, f"matmul {left} x {right}")
    x = (rng.standard_normal(8) + 1j * rng.standard_normal(8)).astype(np.complex64)
    norm = keras.ops.convert_to_numpy(keras.ops.real(keras.ops.sum(x * keras.ops.conj(x))))
    _close(norm, np.sum(np.abs(x) ** 2), "complex sum")
    return f"Keras {keras.__version__} on {backend}: products and complex sums equal NumPy's"


def sionna_channel() -> str:
    """Mean power of CDL drops of unit power."""
    from benchmarks.face.channel import channel

    h = channel("cdl", panel=(2, 1, 2), num_rb=2, profile="A").sample(64, seed=1)
    power = float(np.mean(np.abs(h) ** 2))
    if not 0.5 < power < 2.0:
        raise ValueError(f"mean power of 64 CDL-A drops is {power:.3f}, not near 1")
    return f"64 CDL-A drops, mean power {power:.2f}"


def range_coder() -> str:
    """Reports survive, at a length that the entropy of their symbols bounds from below."""
    from receivers.coding.range_coder import RangeCoder

    rng = np.random.default_rng(1)
    symbols = rng.binomial(15, 0.3, (8, 64))
    counts = np.bincount(symbols.ravel(), minlength=16)
    coder = RangeCoder(16, **RangeCoder.fit(counts))
    bits, num_bits = coder.encode(symbols)
    decoded, valid = coder.decode(bits, num_bits, 64)
    share = counts[counts > 0] / counts.sum()
    entropy = -64 * np.sum(share * np.log2(share))
    if not valid.all() or not np.array_equal(decoded, symbols):
        raise ValueError("a report did not survive the range coder")
    if not entropy - 1 < num_bits.mean() < entropy + 8:
        raise ValueError(f"{num_bits.mean():.0f} bits at an entropy of {entropy:.0f}")
    return f"8 reports survive, {num_bits.mean():.0f} bits at an entropy of {entropy:.0f}"


def codebook() -> str:
    """Enhanced Type II through its bits, closer to the channel than chance."""
    from benchmarks.face.channel import channel
    from benchmarks.face.downlink import precoder, rate
    from benchmarks.face.feedback import feedback

    link = channel("rayleigh", panel=(4, 2, 2), num_rb=24)
    h = link.sample(4, seed=1)
    known = feedback("etype2-r16", link, combination=4)
    reported, best, chance = (
        float(np.mean(np.asarray(rate(h, precoder("mrt")(csi), snr_db=10))))
        for csi in (known.reconstruct(known.report(h)), h, h[::-1].copy())
    )
    if not chance < reported <= best * 1.0001:
        raise ValueError(f"rates {chance:.2f} (chance), {reported:.2f}, {best:.2f} (perfect CSI) are out of order")
    return f"enhanced Type II through bits: {reported:.1f} of {best:.1f} bit/s/Hz, {chance:.1f} by chance"


def network() -> str:
    """A shipped network and its weights."""
    from benchmarks.face.channel import channel
    from benchmarks.face.feedback import feedback

    link = channel("rayleigh", panel=(8, 2, 2), num_rb=52)
    scheme = feedback("autoencoder", link, weights="csinet-100")
    report = scheme.report(link.sample(2, seed=1))
    if not 0 < report.num_bits.min() <= report.num_bits.max() <= scheme.max_bits:
        raise ValueError(f"reports of {report.num_bits.min()} to {report.num_bits.max()} bits")
    return f"csinet-100 reports {report.num_bits.mean():.0f} bits"


def files() -> str:
    """HDF5, Parquet, YAML and SVG, written and read."""
    import h5py
    import pandas as pd
    import yaml
    from matplotlib.figure import Figure

    rng = np.random.default_rng(1)
    values = rng.standard_normal((4, 3))
    with TemporaryDirectory() as name:
        folder = Path(name)
        with h5py.File(folder / "a.h5", "w") as file:
            file["x"] = values
        with h5py.File(folder / "a.h5") as file:
            _close(file["x"][()], values, "HDF5")
        pd.DataFrame(values, columns=list("abc")).to_parquet(folder / "a.parquet")
        _close(pd.read_parquet(folder / "a.parquet").to_numpy(), values, "Parquet")
        if yaml.safe_load(yaml.safe_dump({"a": [1, 2.5, None]})) != {"a": [1, 2.5, None]}:
            raise ValueError("YAML does not survive")
        figure = Figure()
        figure.add_subplot().plot(values)
        figure.savefig(folder / "a.svg")
        if b"<svg" not in (folder / "a.svg").read_bytes():
            raise ValueError("Matplotlib wrote no SVG")
    return "HDF5, Parquet, YAML and SVG"


def ray_tracing() -> str:
    """Paths of a tiny scene."""
    from simulator.phy.llvm import working_llvm

    return f"paths of a tiny scene with {working_llvm()}"


def ray_task() -> str:
    """One task on a local cluster."""
    need("doctor", "ray")
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    answer = ray.get(ray.remote(lambda numbers: sum(numbers)).remote([1, 2, 3]))
    ray.shutdown()
    if answer != 6:
        raise ValueError(f"1 + 2 + 3 gave {answer}")
    return "one task on a local cluster"


def onnx_export() -> str:
    """A dense network to ONNX and back through its runtime."""
    return _exported("onnx")


def litert_export() -> str:
    """A dense network to LiteRT and back through its runtime."""
    return _exported("litert")


def nearest_neighbours() -> str:
    """Exact search against NumPy."""
    need("doctor", "faiss")
    import faiss

    points = np.random.default_rng(1).standard_normal((50, 4)).astype(np.float32)
    index = faiss.IndexFlatL2(4)
    index.add(points)
    found = index.search(points[:5] + np.float32(0.01), 1)[1][:, 0]
    if found.tolist() != [0, 1, 2, 3, 4]:
        raise ValueError(f"nearest neighbours are {found.tolist()}")
    return "exact search among 50 points"


def constriction_coder() -> str:
    """Symbols through its range coder."""
    need("doctor", "constriction")
    import constriction

    symbols = np.array([0, 2, 1, 1, 0], np.int32)
    model = constriction.stream.model.Categorical(np.array([0.5, 0.3, 0.2], np.float32), perfect=False)
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(symbols, model)
    decoded = constriction.stream.queue.RangeDecoder(encoder.get_compressed()).decode(model, 5)
    if decoded.tolist() != symbols.tolist():
        raise ValueError(f"decoded {decoded.tolist()}")
    return "five symbols survive its range coder"


def hub_cache() -> str:
    """A folder of weights that the hub's library finds in its cache, without a network."""
    need("doctor", "huggingface_hub")
    import huggingface_hub

    commit = "0" * 40
    with TemporaryDirectory() as name:
        folder = Path(name) / "models--user--name"
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "snapshots" / commit / "card.json").write_text("{}")
        found = huggingface_hub.snapshot_download(
            "user/name", revision=commit, cache_dir=name, local_files_only=True, allow_patterns=["card.json"]
        )
        if not (Path(found) / "card.json").is_file():
            raise ValueError(f"no card in {found}")
    return f"huggingface_hub {huggingface_hub.__version__} finds weights in its cache"


def _exported(format_: str) -> str:
    import keras

    from benchmarks.export_graph import write_graph
    from benchmarks.export_runtime import runtime

    source = keras.Input((4,), name="latent")
    graph = keras.Model(source, keras.layers.Identity(name="image")(keras.layers.Dense(3, "relu")(source)))
    x = np.random.default_rng(1).standard_normal((1, 4)).astype(np.float32)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        write_graph(graph, path, format_, ("latent", "image"))
        found = runtime(format_, path, ("latent", "image"))(x)
    return _close(found, graph(x).numpy(), "a dense layer in its runtime")


def _close(found: np.ndarray, wanted: np.ndarray, what: str) -> str:
    error = float(np.max(np.abs(found - wanted)))
    if not error < 1e-4:
        raise ValueError(f"{what} is off by {error:.3g}")
    return f"{what}, error {error:.1e}"


_THREADS = {"TF_NUM_INTRAOP_THREADS": "4"}  # with one thread, oneDNN makes no error
CHECKS: dict[str, Check] = {
    "NumPy": Check(numpy_product),
    "files": Check(files),
    "range coder": Check(range_coder),
    "TensorFlow": Check(keras_products, environment={"KERAS_BACKEND": "tensorflow", **_THREADS}),
    "Sionna": Check(sionna_channel),
    "codebook": Check(codebook),
    "network": Check(network),
    "JAX": Check(keras_products, "jax", ("jax",), {"KERAS_BACKEND": "jax"}),
    "PyTorch": Check(keras_products, "torch", ("torch",), {"KERAS_BACKEND": "torch"}),
    "ONNX": Check(onnx_export, "onnx", ("tf2onnx", "onnx", "onnxruntime")),
    "LiteRT": Check(litert_export, "litert", ("ai_edge_litert",)),
    "Ray": Check(ray_task, "ray", ("ray",)),
    "FAISS": Check(nearest_neighbours, "bench", ("faiss",)),
    "constriction": Check(constriction_coder, "bench", ("constriction",)),
    "hub": Check(hub_cache, "hub", ("huggingface_hub",)),
    "ray tracing": Check(ray_tracing, "libLLVM"),
}


def main() -> None:
    """Run the check of the first argument; its answer is the last line of standard output."""
    try:
        answer = CHECKS[sys.argv[1]].run()
    except BaseException as error:
        lines = str(error).strip().splitlines() or [""]
        print(f"{type(error).__name__}: {lines[0]}", flush=True)
        os._exit(1)
    print(answer, flush=True)
    os._exit(0)  # libraries that hang or crash while Python ends do not count


if __name__ == "__main__":
    main()
