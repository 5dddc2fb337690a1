"""JSON and NumPy files from anywhere: one reader of each, no pickle, every fault a StoreError that names the file."""

from __future__ import annotations

import json
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from simulator.core.errors import StoreError

MAX_JSON = 64 << 20  # octets; a manifest of 100,000 shards has 12 MiB
MAX_NPZ = 4 << 30  # octets of all arrays, unpacked
# Exceptions that readers raise on damaged content, in addition to MemoryError.
FAULTS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    IndexError,
    RuntimeError,  # RecursionError and NotImplementedError among them
    SyntaxError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)


def reason(error: BaseException) -> str:
    """First line of an error's message, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        OSError: no such file, or one that cannot be opened.
        StoreError: anything else; the message does not quote the content.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_JSON + 1)
        if len(text) > MAX_JSON:
            raise ValueError(f"more than {MAX_JSON >> 20} MiB")
        return json.loads(text)
    except (ValueError, RecursionError, MemoryError) as error:
        raise StoreError(f"{path}: cannot be read as JSON ({reason(error)})") from None


def read_npz(path: Path, content: BinaryIO | None = None) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz`` file by name.

    Args:
        path: the file, or its name where ``content`` holds it.
        content: its octets.

    Raises:
        StoreError: missing, damaged, pickled, or larger than 4 GiB unpacked.
    """
    try:
        with zipfile.ZipFile(content if content is not None else path) as archive:
            entries = archive.infolist()
            size = sum(entry.file_size for entry in entries)
            if size > MAX_NPZ:
                raise ValueError(f"{size} octets unpacked; allowed: {MAX_NPZ}")
            found: dict[str, np.ndarray] = {}
            for entry in entries:
                key = entry.filename.removesuffix(".npy")
                if key in found:
                    raise ValueError("two arrays of one name")
                with archive.open(entry) as member:
                    found[key] = np.lib.format.read_array(member, allow_pickle=False)
            return found
    except MemoryError:
        raise StoreError(f"{path}: cannot be read as npz (an array needs too much memory)") from None
    except FAULTS as error:
        raise StoreError(f"{path}: cannot be read as npz ({reason(error)})") from None
