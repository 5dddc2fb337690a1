"""Blocks of channels to a new store: sharded, hashed, renamed into place when complete."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.durable import partial_folder, publish_folder, sweep
from simulator.core.errors import StoreError
from simulator.core.paths import inside, writable
from simulator.data.layout import ChannelLayout
from simulator.data.store import MANIFEST, manifest, sha256, write_json, write_shard


class StoreWriter:
    """Context manager that builds a store under ``.<name>.partial.<pid>`` next to its final path.

    Shards are written by a thread of their own while the next block is prepared. Leaving the context without
    :meth:`finish` removes everything.

    Args:
        folder: the new store; must not exist, or be empty.
        layout: axes of the channels.
        name: of the data set.
        shard_samples: samples of one shard, at most.

    Raises:
        StoreError: the folder exists and is not empty, or cannot be written.
    """

    def __init__(self, folder: Path, layout: ChannelLayout, *, name: str, shard_samples: int = 4000):
        self._folder, self._layout, self._name, self._size = writable(Path(folder)), layout, name, shard_samples
        self._partial = partial_folder(self._folder)
        self._waiting: dict[str, list[tuple[np.ndarray, dict[str, np.ndarray]]]] = {}
        self._shards: dict[str, list[Future[dict[str, Any]]]] = {}
        self._labels: dict[str, str] | None = None
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> StoreWriter:
        if self._folder.exists() and (not self._folder.is_dir() or any(self._folder.iterdir())):
            raise StoreError(f"{self._folder}: exists already; choose another --out or delete it")
        self._new = [path for path in self._partial.parents if not path.exists()]
        try:
            sweep(self._partial.parent, self._folder.absolute().name)
            shutil.rmtree(self._partial, ignore_errors=True)
            self._partial.mkdir(parents=True)
        except OSError as error:
            raise StoreError(f"{self._folder}: cannot be written ({error.strerror})") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self._partial, ignore_errors=True)
        with suppress(OSError):  # the store is in them
            for path in self._new:
                path.rmdir()

    def add(self, split: str, h: np.ndarray, labels: Mapping[str, np.ndarray] | None = None) -> None:
        """Append samples to a split.

        Args:
            split: its name.
            h: complex64 ``[sample, *layout.entry_shape]``.
            labels: ``name -> [sample, ...]``, the same names every time.
        """
        labels = {key: np.asarray(value) for key, value in (labels or {}).items()}
        shape = self._layout.entry_shape
        if h.dtype != np.complex64 or h.shape[1:] != shape:
            raise StoreError(f"{self._folder}: got {h.dtype} {h.shape[1:]}; allowed: complex64 {shape}")
        kinds = {key: f"{value.dtype.str}{value.shape[1:]}" for key, value in labels.items()}
        if self._labels not in (None, kinds) or any(len(value) != len(h) for value in labels.values()):
            raise StoreError(f"{self._folder}: got labels {kinds}; allowed: {self._labels}, one per sample")
        self._labels = kinds
        # Whole shards go out without a copy; a rest waits for the next block.
        for start in range(0, len(h), self._size):
            part = slice(start, start + self._size)
            self._wait(split, h[part], {key: value[part] for key, value in labels.items()})

    def finish(self, origin: dict[str, Any]) -> None:
        """Write the remaining samples and the manifest, and rename the store into place.

        Args:
            origin: where the data come from, JSON data.
        """
        for split in list(self._waiting):
            self._flush(split)
        if not self._shards:
            raise StoreError(f"{self._folder}: no sample to store")
        entries = {split: [future.result() for future in shards] for split, shards in self._shards.items()}
        write_json(self._partial / MANIFEST, manifest(self._name, self._layout, origin, entries))
        with suppress(OSError):
            self._folder.rmdir()  # an empty one
        try:
            publish_folder(self._partial, self._folder)
        except OSError as error:
            raise StoreError(f"{self._folder}: cannot be written ({error.strerror})") from None

    def _wait(self, split: str, h: np.ndarray, labels: dict[str, np.ndarray]) -> None:
        waiting = self._waiting.setdefault(split, [])
        room = self._size - sum(len(block) for block, _ in waiting)
        waiting.append((h[:room], {key: value[:room] for key, value in labels.items()}))
        if len(h) >= room:
            self._flush(split)
        if len(h) > room:
            self._wait(split, h[room:], {key: value[room:] for key, value in labels.items()})

    def _flush(self, split: str) -> None:
        blocks = self._waiting.pop(split, [])
        shards = self._shards.setdefault(split, [])
        if len(shards) >= 2:
            shards[-2].result()  # at most two shards wait in memory; a fault surfaces here
        shards.append(self._pool.submit(self._write, f"{split}-{len(shards):05d}.h5", blocks))

    def _write(self, name: str, blocks: list[tuple[np.ndarray, dict[str, np.ndarray]]]) -> dict[str, Any]:
        h = blocks[0][0] if len(blocks) == 1 else np.concatenate([block for block, _ in blocks])
        labels = {key: np.concatenate([block[key] for _, block in blocks]) for key in blocks[0][1]}
        path = inside(self._partial, name)
        write_shard(path, h, labels)
        return {"file": name, "num_samples": len(h), "sha256": sha256(path)}
