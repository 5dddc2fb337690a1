"""Files that are computed once and kept for later runs of this user."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from simulator.core.durable import make_folder, renamed, sweep
from simulator.core.errors import CsilinkError, StoreError
from simulator.core.readers import FAULTS, reason

T = TypeVar("T")


def cache_folder() -> Path:
    """Where they are kept: ``$CSILINK_CACHE``, else ``$XDG_CACHE_HOME/csilink``, else ``~/.cache/csilink``."""
    if chosen := os.environ.get("CSILINK_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "csilink"


def cached(path: Path, make: Callable[[Path], None], read: Callable[[Path], T]) -> T:
    """Content of a file of the cache, made by one process at a time where it is missing or damaged.

    Args:
        path: the file; its name says all that its content depends on.
        make: writes it under the temporary name it is given.
        read: its content; one of :data:`~simulator.core.readers.FAULTS` says that it is damaged.

    Raises:
        CsilinkError: what ``make`` raises, as it is.
        StoreError: the cache cannot be written.
    """
    try:
        make_folder(path.parent)
        lock = path.with_suffix(".lock").open("w")
    except OSError as error:
        raise _unusable(path, error) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep(path.parent, path.name)
        if path.exists():
            try:
                return read(path)
            except FAULTS as error:
                print(f"csilink: {path}: damaged ({reason(error)}); made again", file=sys.stderr)
        with renamed(path, path.suffix) as temporary:
            make(temporary)
        try:
            return read(path)
        except CsilinkError:
            raise
        except FAULTS as error:
            raise _unusable(path, error) from None


def _unusable(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path}: cannot be read or written ({reason(error)}); set CSILINK_CACHE")
