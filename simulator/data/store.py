"""Sharded HDF5 store of recorded channels: `<split>-00000.h5` files and one manifest with a SHA-256 per shard."""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from simulator.core.content import note, own_version, sha256
from simulator.core.durable import renamed, write_bytes
from simulator.core.errors import ConfigError, StoreError
from simulator.core.finite import LARGEST, first_unfit
from simulator.core.paths import inside, is_file
from simulator.core.readers import read_json, reason
from simulator.data.hdf5 import open_hdf5
from simulator.data.layout import ChannelLayout

MANIFEST = "manifest.json"
FORMAT = 2


def write_json(path: Path, data: Any) -> None:
    """Write JSON under a temporary name and rename it into place."""
    write_bytes(path, (json.dumps(data, indent=1, sort_keys=True) + "\n").encode())


def write_shard(path: Path, h: np.ndarray, labels: Mapping[str, np.ndarray]) -> None:
    """One shard, renamed into place when complete.

    Args:
        path: target.
        h: complex64 ``[sample, *layout.entry_shape]``.
        labels: ``name -> [sample, ...]``, e.g. ``part`` (index of the mixture part), ``site``, ``user``.
    """
    # No track_order and no track_times: both would put the time into the file, and equal data would differ in hash.
    with renamed(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("h", data=h, track_times=False)
        for key, value in labels.items():
            file.create_dataset(key, data=value, track_times=False)


def manifest(
    name: str, layout: ChannelLayout, origin: dict[str, Any], splits: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """Content of ``manifest.json``.

    Args:
        name: of the data set.
        layout: axes of the channels.
        origin: where the data come from: a recipe, imported files, or other stores.
        splits: for each split its shards: ``file``, ``num_samples``, ``sha256``.
    """
    head = {"format": FORMAT, "csilink": own_version(), "name": name, "layout": layout.to_json()}
    return {**head, "origin": origin, "splits": splits}


class ChannelStore:
    """Reader of a finished store.

    Args:
        folder: the store.
        verify: compare the SHA-256 of every shard with the manifest.

    Raises:
        StoreError: no manifest, missing shard, one outside the folder, or hash mismatch; the message names the file.
    """

    def __init__(self, folder: str | Path, *, verify: bool = True):
        self.folder = Path(folder)
        path = inside(self.folder, MANIFEST)
        try:
            data = read_json(path)
            version = data["format"]
        except OSError:
            raise StoreError(
                f"{path}: no finished store here; make one with `csilink dataset generate RECIPE --out STORE` "
                "or `csilink dataset import FILES --format FORMAT --out STORE`"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise StoreError(f"{path}: not a store manifest (JSON with 'splits'); make the store again") from None
        if version != FORMAT:
            raise StoreError(f"{path}: store format {version!r:.20}; allowed: {FORMAT}; make the store again")
        try:
            self.name, self.origin = str(data["name"]), dict(data["origin"])
            self.layout = ChannelLayout.from_json(data["layout"])
            self.shards: dict[str, list[dict[str, Any]]] = data["splits"]
            shards = [(s["file"], s["sha256"], int(s["num_samples"])) for each in self.shards.values() for s in each]
            if min(count for *_, count in shards) < 0:
                raise ValueError("negative num_samples")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StoreError(f"{path}: not a store manifest (JSON with 'splits'); make the store again") from None
        files = [(inside(self.folder, name), expected) for name, expected, _ in shards]
        for file, expected in files:
            if not is_file(file):
                raise StoreError(f"{file}: shard named in the manifest is missing; make the store again")
            if verify and sha256(file) != expected:
                raise StoreError(f"{file}: damaged, SHA-256 differs from the manifest; make the store again")
        note(self.folder, self.hash)

    @property
    def hash(self) -> str:
        """SHA-256 over the hashes of all shards, and over the layout: the identity of the channels."""
        text = "".join(s["sha256"] for split in sorted(self.shards) for s in self.shards[split])
        shards = hashlib.sha256(text.encode()).hexdigest()
        return hashlib.sha256(f"{shards}{json.dumps(self.layout.to_json(), sort_keys=True)}".encode()).hexdigest()

    def num_samples(self, split: str) -> int:
        """Samples of a split."""
        return sum(s["num_samples"] for s in self._split(split))

    def read(self, split: str) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Shards of a split in order: ``h`` complex64 ``[sample, *layout.entry_shape]`` and labels."""
        for shard in self._split(split):
            yield self._rows(shard, slice(None))

    def labels(self, split: str) -> dict[str, np.ndarray]:
        """All labels of a split, ``name -> [sample, ...]``; no channel is read."""
        parts = [self._rows(shard, slice(None), with_h=False)[1] for shard in self._split(split)]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def take(self, split: str, index: np.ndarray) -> np.ndarray:
        """Chosen samples, complex64 ``[*index.shape, *layout.entry_shape]``; only they are read.

        Args:
            split: name of the split.
            index: int, any shape, repetitions allowed.
        """
        index = np.asarray(index)
        wanted, back = np.unique(index, return_inverse=True)
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < self.num_samples(split):
            raise ConfigError("index", f"{wanted[0]}..{wanted[-1]}", f"0..{self.num_samples(split) - 1}")
        starts = np.cumsum([0] + [s["num_samples"] for s in self._split(split)])
        blocks = []
        for number, shard in enumerate(self._split(split)):
            low, high = (bisect.bisect_left(wanted, edge) for edge in starts[number : number + 2])
            if low < high:
                blocks.append(self._rows(shard, wanted[low:high] - starts[number])[0])
        h = np.concatenate(blocks) if blocks else np.zeros((0, *self.layout.entry_shape), np.complex64)
        return h[back.reshape(index.shape)]

    def slices(self, split: str, rows: int) -> list[tuple[int, int, int]]:
        """Runs of at most ``rows`` neighbouring samples: (number of the shard, first, past the last)."""
        return [
            (number, first, min(first + rows, shard["num_samples"]))
            for number, shard in enumerate(self._split(split))
            for first in range(0, shard["num_samples"], rows)
        ]

    def read_slice(self, split: str, piece: tuple[int, int, int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """One of :meth:`slices`: ``h`` and labels."""
        return self._rows(self._split(split)[piece[0]], slice(piece[1], piece[2]))

    def _rows(self, shard: dict[str, Any], rows: Any, with_h: bool = True) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        file = inside(self.folder, shard["file"])
        try:
            with open_hdf5(file) as data:
                h = data["h"]
                if h.shape != (shard["num_samples"], *self.layout.entry_shape) or h.dtype != np.complex64:
                    raise StoreError(f"{file}: h is {h.dtype} {h.shape}; allowed: complex64 {self.layout.entry_shape}")
                labels = {key: data[key][rows] for key in data if key != "h"}
                found = h[rows] if with_h else np.empty(0)
                if (unfit := first_unfit(found)) is not None:
                    (index, *_), value = unfit
                    number = int(np.arange(h.shape[0])[rows][index])
                    raise StoreError(f"{file}: sample {number} holds {value}; allowed: finite, at most {LARGEST:g}")
                return found, labels
        except (OSError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise StoreError(f"{file}: not a readable shard ({reason(error)})") from None
        except MemoryError:
            raise StoreError(f"{file}: not a readable shard (a label needs too much memory)") from None

    def _split(self, split: str) -> list[dict[str, Any]]:
        if split not in self.shards:
            raise ConfigError("split", split, ", ".join(self.shards))
        return self.shards[split]
