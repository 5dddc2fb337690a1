"""Files in the safetensors format: eight octets with the length of a JSON header, the header, the numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.durable import renamed
from simulator.core.readers import reason

TENSORS = ".safetensors"
TYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
_MAX_HEADER = 100_000_000  # octets, the limit of the format


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write float32 tensors, whole or absent; the same tensors give the same octets.

    Args:
        path: target.
        tensors: by name, float32.

    Raises:
        ValueError: another type.
    """
    header, end = {}, 0
    for name, value in sorted(tensors.items()):
        if value.dtype != np.float32:
            raise ValueError(f"{name} is {value.dtype}, not float32")
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [end, end + value.nbytes]}
        end += value.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with renamed(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, value in sorted(tensors.items()):
            file.write(np.ascontiguousarray(value, TYPES["F32"]).tobytes())


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a file of float32 tensors, by name.

    Raises:
        ValueError: a malformed file, or another type; the message says what is wrong.
    """
    start, entries = read_header(path)
    data, found = np.fromfile(path, np.uint8, offset=start), {}
    for name, entry in entries.items():
        if entry["dtype"] != "F32":
            raise ValueError(f"{name} of type {entry['dtype']}, not F32")
        first, last = entry["data_offsets"]
        found[name] = data[first:last].view(TYPES["F32"]).reshape(entry["shape"])
    return found


def read_header(path: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """First octet of the data and the checked entry of every tensor; they fill the file without gap or overlap.

    Raises:
        ValueError: what is wrong.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size - 8
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if 0 <= length <= min(size, _MAX_HEADER) else None
        header = None if text is None else json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"header ({reason(error)})") from None
    if text is None:
        raise ValueError(f"a header of {length} octets")
    if not isinstance(header, dict):
        raise ValueError(f"a header that is a {type(header).__name__}")
    header.pop("__metadata__", None)
    _check_spans(header, size - length)
    return 8 + length, header


def _check_spans(header: dict[str, Any], size: int) -> None:
    """ValueError unless the tensors fill ``size`` octets, each as many as its type and shape take."""
    spans = []
    for name, entry in header.items():
        values = entry if isinstance(entry, dict) else {}
        kind, shape, span = (values.get(key) for key in ("dtype", "shape", "data_offsets"))
        if not isinstance(kind, str) or not _counts(shape) or not _counts(span) or len(span) != 2:
            raise ValueError(f"{name} without type, shape or octets")
        octets = math.prod(shape) * TYPES[kind].itemsize if kind in TYPES else span[1] - span[0]
        if span[1] - span[0] != octets or span[1] > size:
            raise ValueError(f"{name} in octets {span[0]}..{span[1]} of {size}")
        spans.append((*span, name))
    end = 0
    for start, stop, name in sorted(spans):
        if start != end:
            raise ValueError(f"{name} in octets {start}..{stop} after octet {end}")
        end = stop
    if end != size:
        raise ValueError(f"{size - end} octets of no tensor")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a name a second time")
    return dict(pairs)


def _counts(value: Any) -> bool:
    """Whether this is a list of at most 32 numbers of 0 and more, no truth values, below 2**63."""
    return isinstance(value, list) and len(value) <= 32 and all(type(n) is int and 0 <= n < 1 << 63 for n in value)
