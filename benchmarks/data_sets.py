"""Data sets that recipes name: a folder by its path, or a name in a folder of data sets."""

from __future__ import annotations

from pathlib import Path

from simulator.data.store import ChannelStore


def store_folder(dataset: str, root: Path | None = None) -> Path:
    """Folder of a data set.

    Args:
        dataset: a path (it has a ``/``), or a name.
        root: folder of the names, by default ``datasets``.
    """
    return Path(dataset) if "/" in dataset else (root or Path("datasets")) / dataset


def is_data_set(store: ChannelStore, dataset: str) -> bool:
    """Whether a store can be the data set of a recipe: by the name of store or folder; any store fits a path."""
    return "/" in dataset or dataset in (store.name, store.folder.name)
