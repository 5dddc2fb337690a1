"""Numbers of MATLAB v5 files, in cells and structs too, read without a recursion and within the bounds of the file.

Source: MathWorks, "MAT-File Format" (level 5). SciPy's reader of such files ends the process on some damaged ones.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

_HEAD = 128  # octets before the first element
_MATRIX, _COMPRESSED = 14, 15
# Types of data, and classes of arrays.
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CELL, _NUMBERS = 1, range(6, 16)
_OTHERS = {2: "struct", 3: "object", 4: "text", 5: "sparse matrix", 16: "function", 17: "object"}
_COMPLEX_FLAG = 0x800
_MOST_NAME, _MOST_AXES = 4096, 64


@dataclass(frozen=True)
class Variable:
    """Header of an array.

    Args:
        name: in MATLAB, latin-1.
        shape: as MATLAB shows it.
        kind: "numbers", "cell", or what else it is.
        is_complex: it has an imaginary part.
        parts: data after the header: the real and imaginary part, or the cells.
        order: "<" or ">".
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    is_complex: bool
    parts: memoryview
    order: str


def variables(path: Path, key: str | None = None) -> Iterator[Variable]:
    """Arrays of a file in order, those that are named; compressed ones are unpacked, all or the one of name ``key``.

    Raises:
        ValueError: damaged or truncated.
    """
    content = memoryview(np.memmap(path, np.uint8, "r"))
    order = "<" if bytes(content[126:128]) == b"IM" else ">"
    at = _HEAD
    while at < len(content):
        kind, data, at = _element(content, at, order)
        if kind == _COMPRESSED:
            # The header first: an array that is not wanted is not unpacked.
            head = zlib.decompressobj().decompress(data, _HEAD + _MOST_NAME)
            if key is not None and _header(memoryview(head)[8:], order).name != key:
                continue
            data = memoryview(head)[8:] if key is None else _unpacked(data, head, order)
        elif kind != _MATRIX:
            raise ValueError(f"an element of type {kind}")
        found = _header(data, order)
        if found.name and key in (None, found.name):
            yield found


def numbers(variable: Variable) -> np.ndarray:
    """Array of a variable of numbers, in the type that the file keeps it in; complex64 of single precision.

    Raises:
        ValueError: damaged or truncated, or no numbers.
    """
    if variable.kind != "numbers":
        raise ValueError(f"a {variable.kind}; allowed: numbers")
    at, read = 0, []
    for _ in range(1 + variable.is_complex):
        kind, data, at = _element(variable.parts, at, variable.order)
        if kind not in _TYPES:
            raise ValueError(f"numbers of type {kind}")
        dtype = np.dtype(variable.order + _TYPES[kind])
        if len(data) != prod(variable.shape) * dtype.itemsize:
            raise ValueError(f"{len(data)} octets of {dtype}, not {prod(variable.shape)} numbers")
        read.append(np.frombuffer(data, dtype))
    value = np.array(read[0], read[0].dtype.newbyteorder("="))
    if variable.is_complex:
        single = all(part.dtype == np.float32 for part in (value, read[1].astype(read[1].dtype.newbyteorder("="))))
        value = value.astype(np.complex64 if single else np.complex128)
        value.imag = read[1]
    return value.reshape(variable.shape, order="F")


def cells(variable: Variable) -> list[Variable]:
    """Headers of all cells of a cell array, in the order of NumPy.

    Raises:
        ValueError: damaged or truncated.
    """
    count, at, found = prod(variable.shape), 0, []
    for _ in range(min(count, len(variable.parts))):  # a cell takes at least one octet
        kind, data, at = _element(variable.parts, at, variable.order)
        if kind != _MATRIX:
            raise ValueError(f"a cell of type {kind}")
        found.append(_inner(data, variable.order))
    if len(found) != count:
        raise ValueError(f"{len(found)} of {count} cells")
    order = np.arange(count).reshape(variable.shape, order="F").reshape(-1)
    return [found[i] for i in order]


def fields(variable: Variable) -> dict[str, Variable]:
    """Headers of the fields of a struct by name.

    Raises:
        ValueError: damaged or truncated, or not one struct.
    """
    if variable.kind != "struct" or prod(variable.shape) != 1:
        raise ValueError(f"a {variable.kind} {variable.shape}; allowed: one struct")
    _, length, at = _element(variable.parts, 0, variable.order)
    _, names, at = _element(variable.parts, at, variable.order)
    (width,) = struct.unpack(variable.order + "i", length)
    if not 0 < width <= _MOST_NAME or len(names) % width:
        raise ValueError(f"names of {width} octets")
    found = {}
    for start in range(0, len(names), width):
        kind, data, at = _element(variable.parts, at, variable.order)
        if kind != _MATRIX:
            raise ValueError(f"a field of type {kind}")
        name = bytes(names[start : start + width]).partition(b"\0")[0].decode("latin-1")
        found[name] = _inner(data, variable.order)
    return found


def _inner(data: memoryview, order: str) -> Variable:
    """Header of an array in another one; an empty one may have none."""
    return _header(data, order) if len(data) else Variable("", (0, 0), "empty array", False, data, order)


def _element(content: memoryview, at: int, order: str) -> tuple[int, memoryview, int]:
    """Type and data of the element at an offset, and the offset of the next one."""
    if at + 8 > len(content):
        raise ValueError("truncated")
    first, size = struct.unpack_from(order + "II", content, at)
    if first >> 16:  # up to four octets lie in the tag itself
        if first >> 16 > 4:
            raise ValueError(f"a small element of {first >> 16} octets")
        return first & 0xFFFF, content[at + 4 : at + 4 + (first >> 16)], at + 8
    stop = at + 8 + size
    if stop > len(content):
        raise ValueError(f"an element of {size} octets; the file ends after {len(content) - at - 8}")
    return first, content[at + 8 : stop], stop + (0 if first == _COMPRESSED else -size % 8)


def _unpacked(data: memoryview, head: bytes, order: str) -> memoryview:
    """Data of a compressed array, at most the length that its header states."""
    kind, size = struct.unpack_from(order + "II", head)
    unpacked = zlib.decompressobj().decompress(data, 8 + size)
    if kind != _MATRIX or len(unpacked) < 8 + size:
        raise ValueError(f"{len(unpacked) - 8} of {size} octets unpacked")
    return memoryview(unpacked)[8:]


def _header(data: memoryview, order: str) -> Variable:
    """Flags, dimensions and name at the start of an array."""
    kind, flags, at = _element(data, 0, order)
    if kind != 6 or len(flags) != 8:
        raise ValueError("no array")
    (word,) = struct.unpack_from(order + "I", flags)
    kind, axes, at = _element(data, at, order)
    if kind != 5 or not 0 < len(axes) <= 4 * _MOST_AXES or len(axes) % 4:
        raise ValueError("no dimensions")
    shape = struct.unpack(f"{order}{len(axes) // 4}i", axes)
    if min(shape) < 0:
        raise ValueError(f"dimensions {shape}")
    kind, name, at = _element(data, at, order)
    if kind not in (1, 2, 16) or len(name) > _MOST_NAME:
        raise ValueError("no name")
    number = word & 0xFF
    what = "numbers" if number in _NUMBERS else "cell" if number == _CELL else _OTHERS.get(number, "unknown")
    return Variable(bytes(name).decode("latin-1"), shape, what, bool(word & _COMPLEX_FLAG), data[at:], order)
