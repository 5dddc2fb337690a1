"""(e) Import and reading of recorded channels compared with bare `scipy.io` and `h5py` on the same bytes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.speed.timing import in_turn, row
from receivers.training.data.images import ImageView
from receivers.training.data.stream import StreamedImages
from simulator.core import registry
from simulator.core.types import Panel
from simulator.data.importer import import_store
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter

_TARGET = 0.7


def measure(samples: int = 6000, rounds: int = 5) -> list[dict[str, Any]]:
    """Rates in MB/s of array bytes, everything in the page cache.

    An import reads, checks, hashes, converts, writes and hashes again; its peer only reads. ``equal_to`` is the largest
    difference between what both read.
    """
    import scipy.io

    folder = Path(tempfile.mkdtemp(prefix="csilink-speed-"))
    rng = np.random.default_rng(5)
    try:
        mat5, images = _cost2100(folder, samples, rng)
        mat73, wifo = _matlab73(folder, samples // 10, rng)
        layout = ChannelLayout(Panel(8, 2, 2), 52, 360e3)
        with StoreWriter(folder / "big", layout, name="big") as writer:
            h = rng.standard_normal((samples, *layout.entry_shape, 2), np.float32).view(np.complex64)[..., 0]
            writer.add("train", h)
            writer.finish({})
        store = ChannelStore(folder / "big")

        def load(format_: str, path: Path, **params: Any) -> Callable[[], ChannelStore]:
            def call() -> ChannelStore:
                shutil.rmtree(folder / "new", ignore_errors=True)
                importer = registry.build("importers", format_, path, **params)
                return import_store(importer, folder / "new", name="new", origin={})

            return call

        def raw_hdf5(path: Path, key: str) -> np.ndarray:
            with h5py.File(path) as file:
                return file[key][:]

        def bare() -> list[np.ndarray]:
            return [raw_hdf5(store.folder / shard["file"], "h") for shard in store.shards["train"]]

        panel = {"n1": 4, "n2": 4, "spacing_hz": 180e3, "slot_s": 1e-3}
        cases: list[tuple[str, int, Callable[[], Any], Callable[[], Any], str]] = [
            (
                "e import .mat v5 vs scipy.io",
                images.nbytes,
                load("cost2100", folder, environment="outdoor"),
                lambda: scipy.io.loadmat(mat5)["HT"],
                "compressed, as CsiNet's COST 2100 files",
            ),
            (
                "e import .mat v7.3 vs h5py",
                wifo.nbytes,
                load("wifo", mat73, **panel),
                lambda: raw_hdf5(mat73, "X_val"),
                "compressed, as MATLAB writes it",
            ),
            ("e read store vs h5py", h.nbytes, lambda: [x for x, _ in store.read("train")], bare, "shards as they are"),
        ]
        rows = []
        for item, size, ours, peer, note in cases:
            seconds = in_turn({"ours": ours, "peer": peer}, rounds)
            rate = {name: size / 1e6 / float(np.median(value)) for name, value in seconds.items()}
            ratio = float(np.median(seconds["peer"] / seconds["ours"]))
            rows.append(
                row(item, rate["ours"], rate["peer"], "MB/s", ratio, _TARGET, _difference(ours(), peer()), note)
            )
        stream = StreamedImages(store, "train", ImageView(store.layout, 32))
        seconds = in_turn({"ours": lambda: sum(len(x) for x, _ in stream.batches(200, 1, 0))}, rounds)["ours"]
        rate_ = samples // 200 * 200 / float(np.median(seconds))
        note = "32 ports, 52 RB, shuffle buffer; the ratio is against 5,000 samples/s"
        rows.append(row("e stream to CsiNet", rate_, 5000.0, "samples/s", rate_ / 5000.0, 1.0, 0.0, note))
        return rows
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _cost2100(folder: Path, samples: int, rng: np.random.Generator) -> tuple[Path, np.ndarray]:
    """A compressed file of MATLAB 5 as CsiNet's data are, and its array."""
    import scipy.io

    images = np.round((0.5 + 0.02 * rng.standard_normal((samples, 2048))).clip(0, 1) * 2**20) / 2**20
    path = folder / "DATA_Htestout.mat"
    scipy.io.savemat(path, {"HT": images}, do_compression=True)
    return path, images


def _matlab73(folder: Path, samples: int, rng: np.random.Generator) -> tuple[Path, np.ndarray]:
    """A compressed file of MATLAB 7.3 as WiFo's data are, and its array."""
    h = rng.standard_normal((samples, 24, 64, 16, 2), np.float32).view(np.complex64)[..., 0]
    path = folder / "X_test.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        data = np.ascontiguousarray(h.T).view([("real", "<f4"), ("imag", "<f4")])
        file.create_dataset("X_val", data=data, chunks=(16, 8, 24, 32), compression=3)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return path, h


def _difference(ours: Any, peer: Any) -> float:
    """Largest difference of the values that both read, in the peer's own form."""
    if isinstance(ours, ChannelStore):
        h = np.concatenate([x for x, _ in ours.read(next(iter(ours.shards)))])
        if ours.layout.num_delays is not None:
            flat = h.reshape(len(h), -1)
            return float(np.max(np.abs(np.concatenate([flat.real, flat.imag], axis=1) + 0.5 - peer)))
        truth = (peer["real"] + 1j * peer["imag"]).T
        return float(np.max(np.abs(h[:, 0].transpose(0, 2, 3, 1) - truth)))
    return float(max(np.max(np.abs(a - b)) for a, b in zip(ours, peer, strict=True)))
