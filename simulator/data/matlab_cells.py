"""What the cells of a MATLAB v5 file hold, from their headers alone."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

_MATRIX, _COMPRESSED, _CELL, _NUMBERS = 14, 15, 1, range(6, 16)


def nested_cell(path: Path, key: str) -> int | None:
    """Number from 1 of the first cell of the cell array ``key`` that holds no numbers; None when all do.

    Readers of such files recurse into cells of cells, as deep as the file says; this one does not.

    Raises:
        ValueError: damaged.
    """
    try:
        return _nested_cell(path, key)
    except (struct.error, zlib.error, StopIteration, RuntimeError, IndexError) as error:
        raise ValueError(f"headers of cells: {error!r}") from None


def _nested_cell(path: Path, key: str) -> int | None:
    content = path.read_bytes()
    order = "<" if content[126:128] == b"IM" else ">"
    at = 128
    while at < len(content):
        kind, size = struct.unpack_from(order + "II", content, at)
        element = memoryview(content)[at + 8 : at + 8 + size]
        if kind == _COMPRESSED:
            element = memoryview(zlib.decompress(element))[8:]
        at += 8 + size
        parts = _parts(element, order)
        (_, flags), _, (_, name) = (next(parts) for _ in range(3))
        if bytes(name).decode("latin-1") == key and flags[0 if order == "<" else 3] == _CELL:
            for number, (kind, cell) in enumerate(parts, 1):
                if kind != _MATRIX or (len(cell) and _class(cell, order) not in _NUMBERS):
                    return number
    return None


def _class(matrix: memoryview, order: str) -> int:
    flags = next(_parts(matrix, order))[1]
    return flags[0 if order == "<" else 3]


def _parts(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and content of every element; up to four octets lie in the tag itself."""
    at = 0
    while at < len(data):
        (word,) = struct.unpack_from(order + "I", data, at)
        if word >> 16:
            yield word & 0xFFFF, data[at + 4 : at + 4 + (word >> 16)]
            at += 8
        else:
            (size,) = struct.unpack_from(order + "I", data, at + 4)
            yield word, data[at + 8 : at + 8 + size]
            at += 8 + size + -size % 8
