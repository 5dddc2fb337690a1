"""What a computation reads, by content: files and plug-ins are noted by those who read them."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from importlib.metadata import EntryPoint, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from simulator.core.errors import StoreError

_ROOT = Path(__file__).resolve().parents[2]
_notes: ContextVar[dict[str, str] | None] = ContextVar("notes", default=None)
_expected: ContextVar[Mapping[str, str] | None] = ContextVar("expected", default=None)


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def noting() -> Iterator[dict[str, str]]:
    """Collect what is read inside: path of a file or folder, or name of a plug-in, to its SHA-256 or version."""
    notes: dict[str, str] = {}
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


@contextmanager
def expecting(content: Mapping[str, str]) -> Iterator[None]:
    """Everything read inside that has a note in ``content`` must be unchanged; StoreError otherwise."""
    token = _expected.set(content)
    try:
        yield
    finally:
        _expected.reset(token)


def note(path: Path | str, what: str) -> None:
    """Tell :func:`noting` of something that was read.

    Args:
        path: as the user gave it; files of csilink's own packages are named from their root.
        what: SHA-256, or a version.

    Raises:
        StoreError: :func:`expecting` has another note.
    """
    label = str(path)
    with suppress(ValueError, OSError):
        if Path(path).is_absolute():
            label = Path(path).relative_to(_ROOT).as_posix()
    expected = _expected.get()
    if expected is not None and expected.get(label, what) != what:
        raise StoreError(f"{path}: has another content than at the start of the run; run again")
    notes = _notes.get()
    if notes is not None:
        notes[label] = what


def is_noting() -> bool:
    """Whether reads are being collected."""
    return _notes.get() is not None or _expected.get() is not None


def note_plugin(kind: str, point: EntryPoint, cls: type | None = None) -> None:
    """Note distribution, version and source text of a plug-in of another package; csilink's own have its version.

    A plug-in without a distribution (a dotted path) is its source text, a class of this process (``cls``) its own.
    """
    if not is_noting() or (point.dist is not None and point.dist.name.lower() == "csilink"):
        return
    package = "" if point.dist is None else f"{point.dist.name} {point.dist.version} "
    note(f"{kind}.{point.name}", package + (package_source(point.module) if cls is None else _class_source(cls)))


def note_files(data: Any) -> None:
    """Note every file, and every file directly in a folder, that a text in plain data names."""
    if isinstance(data, Mapping | list | tuple):
        for each in data.values() if isinstance(data, Mapping) else data:
            note_files(each)
    elif isinstance(data, str) and data.strip("./\\ "):
        with suppress(OSError, ValueError):
            path = Path(data)
            for file in [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file()):
                note(file, sha256(file))


def package_source(module: str) -> str:
    """SHA-256 over the Python files of the top package of a module, which is not imported."""
    digest = hashlib.sha256()
    with suppress(ImportError, ValueError, OSError):
        spec = find_spec(module.partition(".")[0])
        if spec is not None:
            files = [Path(spec.origin)] if spec.origin else []
            for place in spec.submodule_search_locations or ():
                files += sorted(Path(place).rglob("*.py"))
            for file in files:
                digest.update(file.read_bytes())
    return digest.hexdigest()


def _class_source(cls: type) -> str:
    """SHA-256 of the text of a class; without one (typed into an interpreter) every object is another class."""
    text = f"{cls.__qualname__} {id(cls)}"
    with suppress(OSError, TypeError):
        text = inspect.getsource(cls)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def own_version() -> str:
    """Version of csilink."""
    return version("csilink")
