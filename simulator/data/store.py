"""Sharded HDF5 store of recorded channels: `<split>-00000.h5` files and one manifest with a SHA-256 per shard."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from simulator.core.errors import ConfigError, StoreError

MANIFEST = "manifest.json"


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _renamed(path: Path) -> Iterator[Path]:
    """A temporary file that becomes ``path`` when it is complete; StoreError when it cannot be written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from None


def write_json(path: Path, data: Any) -> None:
    """Write JSON under a temporary name and rename it into place."""
    with _renamed(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")


def write_shard(path: Path, h: np.ndarray, part: np.ndarray) -> None:
    """One shard, renamed into place when complete.

    Args:
        path: target.
        h: complex64 ``[sample, rx_ant, port, slot, subcarrier]``.
        part: uint8 ``[sample]``, index of the mixture part that drew the sample.
    """
    # No track_order and no track_times: both would put the time into the file, and equal data would differ in hash.
    with _renamed(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("h", data=h, track_times=False)
        file.create_dataset("part", data=part, track_times=False)


class ChannelStore:
    """Reader of a finished store.

    Args:
        folder: the store.
        verify: compare the SHA-256 of every shard with the manifest.

    Raises:
        StoreError: no manifest, missing shard, or hash mismatch; the message names the file.
    """

    def __init__(self, folder: str | Path, *, verify: bool = True):
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        try:
            self.manifest: dict[str, Any] = json.loads(path.read_text())
            self.shards: dict[str, list[dict[str, Any]]] = self.manifest["splits"]
            files = [
                (self.folder / shard["file"], shard["sha256"], int(shard["num_samples"]))
                for split in self.shards.values()
                for shard in split
            ]
        except OSError:
            raise StoreError(
                f"{path}: no finished store here; make one with `csilink dataset RECIPE --out STORE`"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StoreError(f"{path}: not a store manifest (JSON with 'splits'); make the store again") from None
        for file, expected, _ in files:
            if not file.is_file():
                raise StoreError(f"{file}: shard named in the manifest is missing; run `csilink dataset` again")
            if verify and sha256(file) != expected:
                raise StoreError(f"{file}: damaged, SHA-256 differs from the manifest; run `csilink dataset` again")

    @property
    def hash(self) -> str:
        """SHA-256 over all shard hashes: the identity of the data."""
        text = "".join(s["sha256"] for split in sorted(self.shards) for s in self.shards[split])
        return hashlib.sha256(text.encode()).hexdigest()

    def num_samples(self, split: str) -> int:
        """Samples of a split."""
        return sum(s["num_samples"] for s in self._split(split))

    def read(self, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Shards of a split in order: ``h`` complex64 ``[sample, rx_ant, port, slot, subcarrier]`` and ``part``."""
        for shard in self._split(split):
            file = self.folder / shard["file"]
            try:
                with h5py.File(file, "r") as data:
                    yield data["h"][:], data["part"][:]
            except (OSError, KeyError) as error:
                raise StoreError(f"{file}: not a readable shard ({error})") from None

    def _split(self, split: str) -> list[dict[str, Any]]:
        if split not in self.shards:
            raise ConfigError("split", split, ", ".join(self.shards))
        return self.shards[split]
