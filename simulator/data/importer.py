"""Importer of a file format, and the conversion of its channels to a store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.content import sha256
from simulator.core.errors import StoreError
from simulator.core.finite import LARGEST, first_unfit
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter

Block = tuple[np.ndarray, dict[str, np.ndarray]]


class Importer(ABC):
    """Recorded channels of one file format (entry points ``csilink.importers``).

    Constructor: ``(path: Path, **params)``. It opens the files, checks keys, shapes and dtypes from their headers
    where the format allows it, and sets the attributes; :meth:`blocks` reads.

    Attributes:
        layout: axes of the channels.
        files: every input file, for the hashes of the manifest.
        splits: names of the splits that the files hold, e.g. ("train", "val", "test") or ("all",).
    """

    layout: ChannelLayout
    files: tuple[Path, ...]
    splits: tuple[str, ...]

    @abstractmethod
    def blocks(self, split: str) -> Iterator[Block]:
        """Channels of a split, some hundred MiB at a time.

        Yields:
            ``h`` complex64 ``[sample, *layout.entry_shape]`` as recorded (no normalisation), ports polarisation-major,
            and labels ``name -> array [sample, ...]`` (``site``, ``user``, ``position_m``, ``los``, ...), the same
            names in every block.

        Raises:
            StoreError: wrong, damaged or non-finite content; the message names file, key, found and expected.
        """

    def facts(self) -> dict[str, Any]:
        """Facts beyond the samples (e.g. the energy lost by truncation), JSON data, after reading."""
        return {}


def import_store(
    importer: Importer, folder: Path, *, name: str, origin: dict[str, Any], shard_samples: int = 4000
) -> ChannelStore:
    """Write all channels of an importer into a new store.

    Inputs are hashed while they are read. The store is built under a temporary name and renamed into place, so an
    interrupted import leaves nothing that looks complete.

    Args:
        importer: open files.
        folder: the new store; must not exist, or be empty.
        name: of the data set.
        origin: where the data come from (format and parameters); file names, sizes and SHA-256 are added.
        shard_samples: samples of one shard, at most.

    Raises:
        StoreError: bad input files, or ``folder`` cannot be written.
    """
    with (
        ThreadPoolExecutor(1) as pool,
        StoreWriter(folder, importer.layout, name=name, shard_samples=shard_samples) as writer,
    ):
        hashes = [pool.submit(sha256, file) for file in importer.files]
        for split in importer.splits:
            for h, labels in importer.blocks(split):
                writer.add(split, h, labels)
        inputs = [
            {"name": file.name, "bytes": file.stat().st_size, "sha256": future.result()}
            for file, future in zip(importer.files, hashes, strict=True)
        ]
        writer.finish({**origin, "inputs": inputs, **importer.facts()})
    return ChannelStore(folder, verify=False)


def check_block(h: np.ndarray, where: str, first: int = 0) -> None:
    """StoreError when a channel block ``[sample, ...]`` holds entries that cannot be computed with.

    NaN, infinite, or larger than :data:`simulator.core.finite.LARGEST`; ``where`` names file and key.
    """
    if first_unfit(h) is not None:
        bad = [number for number, sample in enumerate(h, first) if first_unfit(sample) is not None]
        raise StoreError(
            f"{where}: {len(bad)} samples with NaN or infinite values, first {bad[0]}; "
            f"allowed: finite, at most {LARGEST:g}"
        )
