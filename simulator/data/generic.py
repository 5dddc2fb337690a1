"""Any array file with a declared order of axes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from simulator.core.errors import ConfigError, StoreError
from simulator.core.params import Count, FileName, PositiveFloat, validated
from simulator.core.types import Panel
from simulator.data.arrays import ArrayFile
from simulator.data.importer import Block, Importer, check_block
from simulator.data.labels import read_labels
from simulator.data.layout import ChannelLayout

_AXES = ("sample", "rx_ant", "pol", "n1", "n2", "slot", "subcarrier")  # the order of the store; port = pol, n1, n2
_BLOCK_BYTES = 256 << 20


class Generic(Importer):
    """One array of an `.npz`, HDF5 or `.mat` file.

    Args:
        path: the file.
        key: name of the array.
        axes: names of its axes in order, of sample, rx_ant, port (or pol, n1, n2 in any order), slot, subcarrier;
            those that are left out have length 1. E.g. "sample subcarrier n2 n1 pol".
        spacing_hz: distance of two frequency samples [Hz].
        n1, n2, num_pol: the panel; needed where ``axes`` has ``port``, polarisation-major.
        slot_s: time step [s].
        carrier_hz: carrier frequency [Hz].
        complex_axis: "none" for complex numbers, "first" or "last" for real numbers with an axis (real, imaginary).
        labels: name of a label to its key in the file.
        split: name of the split in the store.
    """

    @validated("import")
    def __init__(
        self,
        path: Path,
        *,
        key: str,
        axes: str,
        spacing_hz: PositiveFloat,
        n1: Count | None = None,
        n2: Count = 1,
        num_pol: Count = 1,
        slot_s: PositiveFloat | None = None,
        carrier_hz: PositiveFloat | None = None,
        complex_axis: Literal["none", "first", "last"] = "none",
        labels: dict[str, str] | None = None,
        split: FileName = "all",
    ):
        self._axes = re.split(r"[\s,]+", axes.strip())
        known = {*_AXES, "port"}
        if len(set(self._axes)) < len(self._axes) or not set(self._axes) <= known or "sample" not in self._axes:
            raise ConfigError("import.axes", axes, f"sample and others of {', '.join(sorted(known))}, each once")
        if "port" in self._axes and {"pol", "n1", "n2"} & set(self._axes):
            raise ConfigError("import.axes", axes, "port, or pol, n1 and n2")
        self._file, self._key, self._complex_axis = ArrayFile(path), key, complex_axis
        dims: list[int | None] = [None] * len(self._axes)
        shape = self._file.require(key, tuple({"none": dims, "first": [2, *dims], "last": [*dims, 2]}[complex_axis]))
        shape = {"none": shape, "first": shape[1:], "last": shape[:-1]}[complex_axis]
        size = dict(zip(self._axes, shape, strict=True))
        if "port" in size:
            if n1 is None or n1 * n2 * num_pol != size["port"]:
                raise ConfigError(
                    "import.n1", f"n1 {n1}, n2 {n2}, num_pol {num_pol}", f"a panel of {size['port']} ports"
                )
            at = self._axes.index("port")
            self._axes[at : at + 1] = ["pol", "n1", "n2"]
            size |= {"pol": num_pol, "n1": n1, "n2": n2}
        if size.get("pol", 1) > 2:
            raise StoreError(f"{path}: {key} has {size['pol']} polarisations; allowed: 1 or 2")
        self._count, self._labels = size["sample"], labels or {}
        for name, label_key in self._labels.items():
            if label_key not in self._file.shapes:
                raise ConfigError(f"import.labels.{name}", label_key, ", ".join(self._file.shapes))
        self.files, self.splits = (path,), (split,)
        self.layout = ChannelLayout(
            Panel(size.get("n1", 1), size.get("n2", 1), size.get("pol", 1)),
            size.get("subcarrier", 1),
            spacing_hz,
            num_rx_ant=size.get("rx_ant", 1),
            num_slots=size.get("slot", 1),
            slot_s=slot_s,
            carrier_hz=carrier_hz,
        )

    def blocks(self, split: str) -> Iterator[Block]:
        """See the base class; in parts where ``sample`` is the first axis of an HDF5 file, else at once."""
        in_parts = self._axes[0] == "sample" and self._complex_axis != "first"
        entry = int(np.prod(self.layout.entry_shape))
        step = max(1, _BLOCK_BYTES // (8 * entry)) if in_parts else self._count
        labels = read_labels(self._file, {key: name for name, key in self._labels.items()}, self._count)
        whole = None if in_parts and self._file.reads_parts else self._file.read(self._key)
        for start in range(0, self._count, step):
            part = slice(start, min(start + step, self._count))
            value = self._file.read(self._key, part) if whole is None else whole[part] if in_parts else whole
            value = self._as_complex(value)
            check_block(value if self._axes[0] == "sample" else value[None], f"{self._file.path}: {self._key}", start)
            sizes = dict(zip(("rx_ant", "port", "slot", "subcarrier"), self.layout.entry_shape, strict=True))
            panel = self.layout.panel
            sizes |= {"sample": part.stop - start, "pol": panel.num_pol, "n1": panel.n1, "n2": panel.n2}
            value = value.reshape([sizes[axis] for axis in self._axes])
            order = [self._axes.index(axis) for axis in _AXES if axis in self._axes]
            h = np.ascontiguousarray(value.transpose(order), np.complex64).reshape(-1, *self.layout.entry_shape)
            yield h, {name: x[part] for name, x in labels.items()}

    def _as_complex(self, value: np.ndarray) -> np.ndarray:
        where = f"{self._file.path}: {self._key} is {value.dtype}"
        if self._complex_axis == "none":
            if value.dtype.kind != "c":
                raise StoreError(f"{where}; allowed: complex, or set complex_axis")
            return value
        if value.dtype.kind == "c":
            raise StoreError(f"{where}; allowed: real where complex_axis is {self._complex_axis}")
        re_, im = (value[0], value[1]) if self._complex_axis == "first" else (value[..., 0], value[..., 1])
        out = np.empty(re_.shape, np.complex64)
        out.real, out.imag = re_, im
        return out
