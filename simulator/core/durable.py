"""Files that are whole or absent, also after a power failure: written under a temporary name, synced, renamed."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from simulator.core.errors import StoreError

# Error numbers of file systems that cannot sync a folder.
_NO_FOLDERS = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES)
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)(?:\.[^/]*)?")


@contextmanager
def renamed(path: Path, suffix: str = "") -> Iterator[Path]:
    """A temporary file that becomes ``path`` when it is complete and on the disk.

    Args:
        path: target; its folder is made.
        suffix: end of the temporary name ``.NAME.PID``, for writers that look at it.

    Raises:
        StoreError: it cannot be written; the temporary file is gone then, and an old file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
    try:
        make_folder(path.parent)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from None
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file as :func:`renamed` does."""
    with renamed(path) as temporary:
        temporary.write_bytes(data)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, and sync their names to the disk."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def partial_folder(folder: Path) -> Path:
    """Temporary path at which a folder is built before :func:`publish_folder` renames it."""
    folder = folder.absolute()
    return folder.with_name(f".{folder.name}.partial.{os.getpid()}")


def publish_folder(made: Path, folder: Path) -> None:
    """Rename a folder with files into its place, once all of it is on the disk; OSError when that is impossible."""
    sync_tree(made)
    made.replace(folder)
    _sync_folder(folder.absolute().parent)


def sync_tree(folder: Path) -> None:
    """Bring a folder and all in it to the disk."""
    for path in folder.rglob("*"):
        _sync_folder(path) if path.is_dir() else _sync(path)
    _sync_folder(folder)


def sweep(folder: Path, name: str | None = None) -> list[str]:
    """Remove files that dead processes left half-written in a folder: ``.NAME.PID``, ``.NAME.partial.PID``.

    Args:
        folder: the folder itself, not those in it.
        name: only temporaries of this file or folder; None takes all, in a folder that holds nothing but ours.

    Returns:
        names of the removed files.
    """
    gone = []
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            found = _TEMPORARY.fullmatch(path.name)
            if found is None or name not in (None, found["name"].removesuffix(".partial")) or _alive(int(found["pid"])):
                continue
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                gone.append(path.name)
    return gone


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDERS:
            raise
