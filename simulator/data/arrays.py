"""Named arrays of `.mat` (v5, v7.3), `.npz`, `.npy`, `.csv` and HDF5 files: one reader, no pickles, clear errors."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from simulator.core.errors import StoreError
from simulator.core.readers import FAULTS, reason
from simulator.data import matlab5
from simulator.data.hdf5 import open_hdf5
from simulator.data.tables import read_table, table_shape

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


class ArrayFile:
    """One file of named arrays.

    Args:
        path: `.mat` (v5, v7.3), `.npz`, `.npy`, HDF5 or `.csv` (one array, whose key is the name of the file without
            its ending; columns apart by comma, semicolon, tab or space, complex numbers as 1+2i, a header is skipped).

    Raises:
        StoreError: missing, empty, or no such file format.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        try:
            if not self.path.is_file():
                raise StoreError(f"{self.path}: no such file")
            with self.path.open("rb") as file:
                head = file.read(1024)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read ({error.strerror})") from None
        if not head:
            raise StoreError(f"{self.path}: empty; allowed: .mat (v5, v7.3), .npz, .npy, .csv or HDF5")
        if _HDF5_MAGIC in (head[:8], head[512:520]):
            self._kind = "hdf5"
        elif head[:4] == b"PK\x03\x04":
            self._kind = "npz"
        elif head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):
            self._kind = "mat5"
        elif head[:6] == b"\x93NUMPY":
            self._kind = "npy"
        elif self.path.suffix.lower() in (".csv", ".txt"):
            self._kind = "csv"
        else:
            raise StoreError(f"{self.path}: got {head[:8]!r}...; allowed: .mat (v5, v7.3), .npz, .npy, .csv or HDF5")
        self.reads_parts = self._kind in ("hdf5", "npy")
        self.is_matlab_hdf5 = self._kind == "hdf5" and head.startswith(b"MATLAB")
        self.shapes: dict[str, tuple[int, ...]] = self.guard("its list of arrays", self._list)

    def require(self, key: str, shape: tuple[int | None, ...]) -> tuple[int, ...]:
        """Shape of an array; None in ``shape`` stands for any length.

        MATLAB stores reversed axes in v7.3 files; shapes and arrays here have the order that MATLAB shows.

        Raises:
            StoreError: no such key, or another shape.
        """
        if key not in self.shapes:
            raise StoreError(f"{self.path}: key {key!r} not found; it holds {', '.join(self.shapes) or 'nothing'}")
        found = self.shapes[key]
        if len(found) != len(shape) or any(want not in (None, got) for want, got in zip(shape, found, strict=True)):
            want = tuple("any" if n is None else n for n in shape)
            raise StoreError(f"{self.path}: {key} has shape {found}; allowed: {want}".replace("'any'", "any"))
        if 0 in found:
            raise StoreError(f"{self.path}: {key} has shape {found}; allowed: at least one entry")
        return found

    def read(self, key: str, rows: slice | None = None) -> np.ndarray:
        """An array, or ``rows`` of its first axis; only uncompressed storage and HDF5 are read in part.

        Returns:
            real or complex numbers of any precision, axes as MATLAB or NumPy shows them.

        Raises:
            StoreError: no numbers, or damaged.
        """
        value = self.guard(key, lambda: self._read(key, rows))
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fciub":
            raise StoreError(f"{self.path}: {key} is {getattr(value, 'dtype', type(value).__name__)}; allowed: numbers")
        return value

    def is_cell(self, key: str) -> bool:
        """Whether ``key`` is a cell array of MATLAB."""
        return self.guard(key, lambda: self._is_cell(key))

    def read_cells(self, key: str) -> np.ndarray:
        """Numbers ``[*cells, *shape of each]`` of a MATLAB cell array whose cells have one shape; 1 x N gives N.

        Raises:
            StoreError: cells of different shapes, or no numbers.
        """
        cells = [np.asarray(cell) for cell in self.guard(key, lambda: self._cells(key))]
        for number, cell in enumerate(cells):
            if cell.dtype.kind not in "fciub" or cell.shape != cells[0].shape:
                raise StoreError(
                    f"{self.path}: {key}{{{number + 1}}} is {cell.dtype} {cell.shape}; allowed: numbers of the shape "
                    f"of the first cell, {cells[0].shape}"
                )
        shape = self.shapes[key]
        outer = (len(cells),) if sum(n > 1 for n in shape) < 2 else shape
        return np.stack(cells).reshape(*outer, *cells[0].shape)

    def read_field(self, key: str, field: str) -> list[np.ndarray]:
        """Numbers of one field of every struct of a MATLAB v5 cell array, in the order of NumPy.

        Raises:
            StoreError: no such cells, structs or numbers.
        """

        def read() -> list[np.ndarray]:
            if self._kind != "mat5":
                raise ValueError("no MATLAB v5 file")
            found = [matlab5.fields(cell)[field] for cell in matlab5.cells(self._variable(key))]
            return [matlab5.numbers(item) if len(item.parts) else np.zeros((0, 0)) for item in found]

        return self.guard(f"{key}.{field}", read)

    def guard(self, what: str, action: Callable[[], Any]) -> Any:
        """Result of an action on the file; every fault of damaged content becomes a StoreError that names ``what``."""
        try:
            return action()
        except StoreError:
            raise
        except MemoryError:
            raise StoreError(f"{self.path}: {what} needs too much memory, or its size is damaged") from None
        except NotImplementedError as error:
            raise StoreError(f"{self.path}: {what} is stored in a way that is not supported ({error})") from None
        except (*FAULTS, struct.error, StopIteration) as error:
            raise StoreError(f"{self.path}: {what} cannot be read, damaged or truncated ({reason(error)})") from None

    def _variable(self, key: str) -> matlab5.Variable:
        """An array of a MATLAB v5 file."""
        return next(matlab5.variables(self.path, key))

    def _is_cell(self, key: str) -> bool:
        if self._kind == "mat5":
            return self._variable(key).kind == "cell"
        if not self.is_matlab_hdf5:
            return False
        with open_hdf5(self.path) as file:
            return h5py.check_ref_dtype(file[key].dtype) is h5py.Reference

    def _cells(self, key: str) -> list[np.ndarray]:
        """Content of every cell, in the order of NumPy."""
        if self._kind == "mat5":
            found = matlab5.cells(self._variable(key))
            for number, cell in enumerate(found, 1):
                if cell.kind != "numbers":
                    raise StoreError(f"{self.path}: {key}{{{number}}} is a {cell.kind}; allowed: numbers")
            return [matlab5.numbers(cell) for cell in found]
        with open_hdf5(self.path) as file:
            items = [file[reference] for reference in file[key][()].T.reshape(-1)]
            for item in items:  # a reference may name what no link of the file leads to
                if not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
                    raise StoreError(f"{self.path}: {key} has a cell outside the file, or no array; allowed: numbers")
            found = [item[()] for item in items]
        return [(_complex(value) if value.dtype.names else value).T for value in found]

    def _list(self) -> dict[str, tuple[int, ...]]:
        if self._kind == "mat5":
            return {variable.name: variable.shape for variable in matlab5.variables(self.path)}
        if self._kind == "hdf5":
            with open_hdf5(self.path) as file:
                step = -1 if self.is_matlab_hdf5 else 1
                return {key: item.shape[::step] for key, item in file.items() if isinstance(item, h5py.Dataset)}
        if self._kind == "npy":
            return {self.path.stem: np.load(self.path, mmap_mode="r", allow_pickle=False).shape}
        if self._kind == "csv":
            return {self.path.stem: table_shape(self.path)}
        shapes = {}
        with zipfile.ZipFile(self.path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    version = np.lib.format.read_magic(file)
                    read = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shapes[member.removesuffix(".npy")] = read(file)[0]
        return shapes

    def _read(self, key: str, rows: slice | None) -> Any:
        if key not in self.shapes:
            raise StoreError(f"{self.path}: key {key!r} not found; it holds {', '.join(self.shapes) or 'nothing'}")
        if self._kind == "mat5":
            variable = self._variable(key)
            if variable.kind != "numbers":
                raise StoreError(f"{self.path}: {key} is a {variable.kind}; allowed: numbers")
            value = matlab5.numbers(variable)
        elif self._kind == "npz":
            with np.load(self.path, allow_pickle=False) as archive:
                value = archive[key]
        elif self._kind == "npy":
            mapped = np.load(self.path, mmap_mode="r", allow_pickle=False)
            return np.array(mapped if rows is None else mapped[rows])
        elif self._kind == "csv":
            value = read_table(self.path)
        else:
            with open_hdf5(self.path) as file:
                item = file[key]
                part = rows if rows is not None else slice(None)
                value = item[..., part] if self.is_matlab_hdf5 and item.ndim else item[part] if item.ndim else item[()]
            if value.dtype.names is not None and set(value.dtype.names) == {"real", "imag"}:
                value = _complex(value)
            return value.T if self.is_matlab_hdf5 else value
        return value if rows is None else value[rows]


def _complex(pairs: np.ndarray) -> np.ndarray:
    """Compound ('real', 'imag') of MATLAB and h5py to complex, without a copy where the fields lie in that order."""
    real = pairs.dtype.fields["real"][0]
    if real.kind != "f":
        raise ValueError(f"complex numbers of {real}")
    kind = np.complex64 if real.itemsize == 4 else np.complex128
    if pairs.dtype.names == ("real", "imag") and pairs.dtype.itemsize == np.dtype(kind).itemsize:
        return pairs.view(kind)
    return (pairs["real"] + 1j * pairs["imag"]).astype(kind)
