"""Data sets: stores of channels by folder or name; the error of a missing one names the recipe that makes it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from simulator.core.errors import StoreError
from simulator.core.paths import is_file
from simulator.data.store import MANIFEST, ChannelStore


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


def open_store(folder: str | Path) -> ChannelStore:
    """The store; its StoreError names the command where a shipped data set bears the name of the folder."""
    try:
        return ChannelStore(folder)
    except StoreError as error:
        raise with_recipe(error, folder) from None


def with_recipe(error: StoreError, folder: str | Path) -> StoreError:
    """The error, or one that names the shipped recipe of the missing store."""
    path = Path(folder)
    if is_file(path / MANIFEST) or not is_file(Path(str(files("scenarios"))) / "datasets" / f"{path.name}.yaml"):
        return error
    out = "" if path == Path("datasets") / path.name else f" --out {path}"
    return StoreError(f"{path / MANIFEST}: no finished store here; `csilink dataset {path.name}{out}` makes it")
