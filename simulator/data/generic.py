"""Any array file with a declared order of axes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simulator.core.errors import ConfigError, StoreError
from simulator.core.params import Count, FileName, PositiveFloat, Real, validated
from simulator.core.types import Panel
from simulator.data.arrays import ArrayFile
from simulator.data.axes import StoredAxes
from simulator.data.importer import Block, Importer, check_block
from simulator.data.labels import read_labels
from simulator.data.layout import ChannelLayout
from simulator.data.port_order import below_horizon, require_order

_BLOCK_BYTES = 256 << 20


class Generic(Importer):
    """One array of an `.npz`, `.npy`, HDF5, `.mat` (also a cell array) or `.csv` file.

    Args:
        path: the file.
        axes: the axes of the array in order, of sample, rx_ant, pol, n1, n2 (or port, which is ``pol*n1*n2``), slot,
            subcarrier, and reim (real, imaginary). ``a*b`` is one axis of the file over which b runs fastest, e.g.
            ``pol*n2*n1``; ``n2-`` counts downwards (stores count columns and rows along +y and +z). Other names are
            joined by definitions after them: ``sample=speed*sample`` (the index of each becomes a label). Axes that are
            left out have length 1; ``sample=1`` says that there is a single sample. ``delay`` in place of subcarrier
            stands for the first taps of the inverse DFT over ``num_subcarriers``, with n1 and n2 in the DFT domain
            (truncated angular-delay images as those of COST 2100). E.g. "sample subcarrier n2 n1 pol".
        spacing_hz: distance of two frequency samples [Hz].
        key: name of the array; not needed where the file holds one.
        key_imag: array with the imaginary part where it is stored separately, or its file next to ``path``.
        n1, n2, num_pol: the panel; needed where an axis of the file joins several of them.
        sizes: lengths of other axes that an axis of the file joins, e.g. {slot: 16}; one may be left out.
        slot_s: time step [s].
        carrier_hz: carrier frequency [Hz].
        num_subcarriers: full grid of truncated images.
        complex_axis: "first" or "last" stand for reim before or after ``axes``.
        offset: of both parts, subtracted (0.5 for CsiNet's images).
        scale: factor of the amplitude after that (the official DeepMIMO generator divides by the root of its number of
            subcarriers).
        labels: name of a label to its key in the file.
        split: name of the split in the store.
        check: refuse an order of joined port axes under which neighbouring antennas look unrelated, unlike under
            another order (see :func:`simulator.data.port_order.likely_order`).
    """

    @validated("import")
    def __init__(
        self,
        path: Path,
        *,
        axes: str,
        spacing_hz: PositiveFloat,
        key: str | None = None,
        key_imag: str | None = None,
        n1: Count | None = None,
        n2: Count = 1,
        num_pol: Count = 1,
        sizes: dict[str, Count] | None = None,
        slot_s: PositiveFloat | None = None,
        carrier_hz: PositiveFloat | None = None,
        num_subcarriers: Count | None = None,
        complex_axis: Literal["none", "first", "last"] = "none",
        offset: Real = 0.0,
        scale: PositiveFloat = 1.0,
        labels: dict[str, str] | None = None,
        split: FileName = "all",
        check: bool = True,
    ):
        self._axes = StoredAxes.parse(axes, complex_axis)
        self._parts, shape = _parts(path, key, key_imag, len(self._axes.tokens))
        panel = {"n1": n1, "n2": n2, "pol": num_pol}
        self._axes.measure(shape, {**panel, **(sizes or {})}, f"{path}: {self._parts[0].key}")
        size = self._axes.lengths
        if size["pol"] > 2:
            raise StoreError(f"{path}: {self._parts[0].key} has {size['pol']} polarisations; allowed: 1 or 2")
        if ("reim" in self._axes.size) + (key_imag is not None) > 1:
            raise ConfigError("import.key_imag", key_imag, "null where axes hold reim")
        taps = self._axes.size.get("delay")
        if (taps is None) != (num_subcarriers is None) or (taps or 0) > (num_subcarriers or 0):
            raise ConfigError(
                "import.num_subcarriers",
                num_subcarriers,
                f"at least {taps}, the delays" if taps else "null without delay",
            )
        self._offset, self._scale, self._check = offset, scale, check
        self._labels, file = labels or {}, self._parts[0].file
        for name, label_key in self._labels.items():
            if label_key not in file.shapes:
                raise ConfigError(f"import.labels.{name}", label_key, ", ".join(file.shapes))
        self.files, self.splits = tuple(dict.fromkeys(part.file.path for part in self._parts)), (split,)
        self.layout = ChannelLayout(
            Panel(size["n1"], size["n2"], size["pol"]),
            num_subcarriers or size["subcarrier"],
            spacing_hz,
            num_rx_ant=size["rx_ant"],
            num_slots=size["slot"],
            slot_s=slot_s,
            carrier_hz=carrier_hz,
            num_delays=taps,
        )
        self._facts: dict[str, Any] = {}

    def blocks(self, split: str) -> Iterator[Block]:
        """See the base class; in parts where samples run slowest in an HDF5 or `.npy` file, else at once."""
        axes, first = self._axes, self._parts[0]
        count = axes.lengths["sample"]
        each, rows = axes.rows_of_samples()  # samples of one row of the array, and its rows; 0 when not in parts
        step = max(1, _BLOCK_BYTES // (8 * each * int(np.prod(self.layout.entry_shape)))) if each else 1
        labels = axes.sample_labels() | read_labels(
            first.file, {key: name for name, key in self._labels.items()}, count
        )
        for start in range(0, rows, step) if each else [0]:
            part = slice(start, min(start + step, rows)) if each else None
            h = self._channels(*(each_part.read(part) for each_part in self._parts))
            begin = start * each
            check_block(h, f"{first.file.path}: {first.key}", begin)
            if start == 0:
                self._judge(h)
            yield h, {name: x[begin : begin + len(h)] for name, x in labels.items()}

    def facts(self) -> dict[str, Any]:
        """``direction``: a doubt about the direction of the rows."""
        return self._facts

    def _channels(self, value: np.ndarray, imag: np.ndarray | None = None) -> np.ndarray:
        where = f"{self._parts[0].file.path}: {self._parts[0].key} is {value.dtype}"
        if imag is not None:
            if "c" in (value.dtype.kind, imag.dtype.kind):
                raise StoreError(f"{where}; allowed: real where key_imag is given")
        elif "reim" in self._axes.size:
            if value.dtype.kind == "c":
                raise StoreError(f"{where}; allowed: real where axes hold reim")
        elif value.dtype.kind != "c":
            raise StoreError(f"{where}; allowed: complex, or reim in axes, complex_axis or key_imag")
        real, imaginary = self._axes.arrange(value)
        if imag is not None:
            imaginary = self._axes.arrange(imag)[0]
        h = np.empty(real.shape, np.complex64)
        with np.errstate(over="ignore"):  # what overflows is infinite, and refused as such
            if imaginary is None:
                h[...] = real
            else:
                h.real, h.imag = real, imaginary
        if self._offset:
            h -= np.complex64(self._offset * (1 + 1j))
        if self._scale != 1:
            h *= np.float32(self._scale)
        return h.reshape(-1, *self.layout.entry_shape)

    def _judge(self, h: np.ndarray) -> None:
        """Refuse an implausible order of ports, note an implausible direction of rows; on the first block."""
        if not self._check or self.layout.num_delays is not None:
            return
        declared = self._axes.joined_ports()
        if declared:
            require_order(h, self.layout.panel, declared, self._axes.down)
        below = np.mean(below_horizon(h, self.layout.panel))
        if self.layout.panel.n2 > 1 and below < 0.1 and len(h) >= 16:
            self._facts["direction"] = (
                f"{100 * (1 - below):.0f} % of the first samples lie above the horizon: do the rows count downwards "
                "(declare n2-), or are the channels conjugated?"
            )


class _Part:
    """One array of a file; cell arrays are read at once."""

    def __init__(self, path: Path, key: str | None):
        self.file = ArrayFile(path)
        if key is None:
            if len(self.file.shapes) != 1:
                raise ConfigError(
                    "import.key", "nothing", f"one of {', '.join(self.file.shapes) or 'nothing'}, in {path}"
                )
            key = next(iter(self.file.shapes))
        self.key = key
        self._whole: np.ndarray | None = None
        if key in self.file.shapes and self.file.is_cell(key):
            self._whole = self.file.read_cells(key)

    def require(self, num_axes: int) -> tuple[int, ...]:
        """Shape of the array, which must have that many axes."""
        if self._whole is None:
            return self.file.require(self.key, (None,) * num_axes)
        if self._whole.ndim != num_axes or 0 in self._whole.shape:
            raise StoreError(
                f"{self.file.path}: {self.key} has shape {self._whole.shape} (cells, then each of them); "
                f"allowed: {num_axes} axes"
            )
        return self._whole.shape

    def read(self, rows: slice | None) -> np.ndarray:
        """All, or some of its first axis."""
        if rows is None or (self.file.reads_parts and self._whole is None):
            return self.file.read(self.key, rows) if self._whole is None else self._whole
        if self._whole is None:
            self._whole = self.file.read(self.key)
        return self._whole[rows]


def _parts(path: Path, key: str | None, key_imag: str | None, num_axes: int) -> tuple[list[_Part], tuple[int, ...]]:
    """The array, and that of its imaginary part where it stands apart, in the same file or next to it; their shape."""
    parts = [_Part(path, key)]
    if key_imag is not None:
        sibling = path.parent / key_imag
        parts.append(_Part(sibling, None) if sibling.is_file() else _Part(path, key_imag))
    shapes = [part.require(num_axes) for part in parts]
    if shapes[-1] != shapes[0]:
        raise ConfigError(
            "import.key_imag", f"{key_imag} with shape {shapes[-1]}", f"shape {shapes[0]} of the real part"
        )
    return parts, shapes[0]
