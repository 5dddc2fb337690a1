"""The folder of an export: ownership of its files, publication, and graphs that may run."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from simulator.core.cache import cache_folder
from simulator.core.content import sha256
from simulator.core.durable import sync_tree
from simulator.core.errors import StoreError
from simulator.core.paths import inside, is_file
from simulator.core.readers import read_json

FORMATS = {"keras": "model.keras", "savedmodel": "savedmodel", "onnx": "model.onnx", "litert": "model.tflite"}
LIST = "codec.json"  # names every other file with its hash, written last
_OURS = {*FORMATS.values(), "csilink_layers.py", "golden.npz", "card.json"}


def content_sha256(path: Path) -> str:
    """SHA-256 of a file, or of names and contents of a folder's files in order.

    Raises:
        StoreError: a symbolic link in the folder: its target is not hashed.
    """
    if not path.is_dir():
        return sha256(path)
    lines = []
    for member in sorted(path.rglob("*")):
        if member.is_symlink():
            raise StoreError(f"{member}: is a link; allowed: files")
        if member.is_file():
            lines.append(f"{member.relative_to(path).as_posix()}\0{sha256(member)}\n")
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def own_files(folder: Path) -> list[Path]:
    """Files of an earlier export that are unchanged; the list itself comes first.

    Raises:
        StoreError: a file that we would overwrite is not ours, or the folder is a file.
    """
    if not os.path.lexists(folder):
        return []
    if not folder.is_dir():
        raise StoreError(f"{folder}: is a file; choose another --out")
    held = {name for name in (*_OURS, LIST) if os.path.lexists(folder / name)}
    listed: dict[str, Any] = {}
    if LIST in held:
        with suppress(StoreError, OSError, KeyError, TypeError, ValueError):
            listed = dict(read_json(inside(folder, LIST))["sha256"])
    elif any(folder.iterdir()):
        raise StoreError(f"{folder}: holds other files and no export; choose another --out")
    for name in sorted(held - {LIST}):
        if listed.get(name) != content_sha256(inside(folder, name)):
            raise StoreError(f"{folder / name}: was not written by an export; choose another --out, or move it")
    if LIST in held and not listed:
        raise StoreError(f"{folder / LIST}: was not written by an export; choose another --out, or move it")
    return [folder / name for name in sorted(held, key=lambda name: (name != LIST, name))]


def publish(made: Path, folder: Path) -> None:
    """Move the files of a finished export into their folder, in place of those of an earlier one and of no others."""
    sync_tree(made)
    with locked(folder.parent):
        for old in own_files(folder):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        folder.mkdir(exist_ok=True)
        for new in sorted(made.iterdir(), key=lambda path: path.name == LIST):
            new.rename(folder / new.name)
        sync_tree(folder)


@contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock on a folder: one export moves its files at a time, and none while one is verified.

    A folder that cannot be opened is not held for reading (``shared``): nobody exports there.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        if not shared:
            raise
        yield
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def remember(digest: str) -> None:
    """Note that this user exported the graph of this hash, so that it may run again."""
    with suppress(OSError):
        place = cache_folder() / "exports"
        place.mkdir(parents=True, exist_ok=True)
        (place / digest).touch()


def is_own(digest: str) -> bool:
    """Whether this user exported the graph of this hash."""
    return is_file(cache_folder() / "exports" / digest)
