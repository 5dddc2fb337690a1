"""One writer in a folder: a lock of the operating system, which ends with its process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from simulator.core.durable import make_folder
from simulator.core.errors import StoreError

FILE = ".lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock ``FOLDER/.lock``; the folder is made. The file is gone at the end, or stays, free, after a kill.

    A folder that was made here and is still empty at the end is gone, too.

    Raises:
        StoreError: another process writes here (the message names its id), or the folder cannot be written.
    """
    path, new = folder / FILE, not folder.exists()
    try:
        make_folder(folder)
        handle = _locked(path)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror or error})") from None
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(handle)
        if new:
            with suppress(OSError):
                folder.rmdir()


def _locked(path: Path) -> int:
    """Open file that is locked and still the one of that name: its last holder may have removed it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise StoreError(
                f"{path.parent}: process {holder} writes here; wait until it ends, or choose another --out"
            ) from None
        except OSError:
            os.close(handle)
            raise
        os.close(handle)
