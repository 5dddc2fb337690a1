"""HDF5 files from anywhere: every object that they name must lie in the file itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from simulator.core.errors import StoreError

_ALLOWED_LINKS = (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT)  # a soft link names a place in its own file


@contextmanager
def open_hdf5(path: Path, content: BinaryIO | None = None) -> Iterator[h5py.File]:
    """An HDF5 file, open for reading, after a check that no other file can be read through it.

    External links, user-defined links, external storage and virtual data sets make a file show octets of other files
    of the machine: none is followed, a file with one of them is refused as a whole.

    Args:
        path: the file, or its name where ``content`` holds it.
        content: its octets.

    Raises:
        StoreError: such a file; the message names group or data set.
        OSError: no HDF5 file.
    """
    with h5py.File(content if content is not None else path, "r") as file:
        found = file.id.links.visit(_foreign_link, info=True) or h5py.h5o.visit(file.id, _foreign_data(file))
        if found:
            raise StoreError(f"{path}: {found}; allowed: data in the file itself")
        yield file


def check_hdf5(path: Path, content: BinaryIO | None = None) -> None:
    """Open a file as :func:`open_hdf5` does, before another library reads it."""
    with open_hdf5(path, content):
        pass


def _foreign_link(name: bytes, info: Any) -> str | None:
    if info.type in _ALLOWED_LINKS:
        return None
    return f"{name.decode(errors='replace')} is a link to another file"


def _foreign_data(file: h5py.File) -> Any:
    def visit(name: bytes) -> str | None:
        item = h5py.h5o.open(file.id, name)
        if not isinstance(item, h5py.h5d.DatasetID):
            return None
        plan = item.get_create_plist()
        if plan.get_layout() == h5py.h5d.VIRTUAL:
            return f"{name.decode(errors='replace')} is a virtual data set"
        if plan.get_layout() == h5py.h5d.CONTIGUOUS and plan.get_external_count():
            return f"{name.decode(errors='replace')} is stored in another file"
        return None

    return visit
