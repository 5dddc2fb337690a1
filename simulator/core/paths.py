"""Names that files give for other files: they stay inside their folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

from simulator.core.errors import ConfigError, CsilinkError, StoreError

# Longest part of a path that is written [octet]: file systems allow 255, temporary names add up to 40.
LONGEST_PART = 200
MaybePath = TypeVar("MaybePath", Path, None)


def inside(folder: Path, name: object) -> Path:
    """Path of a file that a card, manifest or listing of ``folder`` names; it need not exist.

    Args:
        folder: the folder, of any path (it may be a link itself).
        name: relative path of plain parts.

    Raises:
        StoreError: an absolute path, a part ``..``, a drive, or a symbolic link that leaves the folder.
    """
    fault = StoreError(f"{folder}: file {_cut(name)} is not inside the folder; allowed: a relative name without ..")
    if not isinstance(name, str | Path) or not str(name) or "\0" in str(name) or "\\" in str(name):
        raise fault
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    if posix.is_absolute() or windows.drive or windows.root or ".." in posix.parts or not posix.parts:
        raise fault
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise fault
    except (OSError, RuntimeError):  # a loop of links, a name that is too long
        raise fault from None
    return path


def is_file(path: Path) -> bool:
    """Whether a file is there; False for a path that no file can have (too long, a loop of links, a NUL)."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def writable(path: MaybePath) -> MaybePath:
    """The path, if its parts are short enough to be created, so that nothing is made before one fails; None stays None.

    Raises:
        ConfigError: a part longer than 200 octets, or a NUL.
    """
    parts: tuple[str, ...] = () if path is None else path.parts
    for part in parts:
        octets = len(part.encode(errors="surrogateescape"))
        if octets > LONGEST_PART or "\0" in part:
            raise ConfigError("--out", f"{part[:60]}...", f"parts of at most {LONGEST_PART} octets, not {octets}")
    return path


@contextmanager
def nothing_left(folder: Path, kept: str = "*.npz") -> Iterator[Callable[[], None]]:
    """Context of a command that claims a folder: one that is refused inside leaves the disk as it was.

    On a CsilinkError, folders that were not there before go if they are empty. Once the command called the function
    that the context yields, the content of a folder that was new or empty is its own and goes as well, unless a file
    that matches ``kept`` is among it: work that was done stays, to be resumed.

    Args:
        folder: claimed inside.
        kept: name of files that are results.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    ours = bool(new) or (folder.is_dir() and not any(folder.iterdir()))
    claims: list[None] = []
    try:
        yield lambda: claims.append(None)
    except CsilinkError:
        if ours and claims and folder.is_dir() and not any(folder.rglob(kept)):
            for path in folder.iterdir():
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        for path in new:
            with suppress(OSError):  # not empty, or never made
                path.rmdir()
        raise


def _cut(name: object) -> str:
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:77]}..."
