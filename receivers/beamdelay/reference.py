"""What a later beam-delay report may refer to: a decoded report as integers that both ends compute alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNIT = 1 << 14  # that stand for amplitude 1, the energy of a layer being 1
MOST = (1 << 15) - 1
_HEAD = 2  # rank and group, before the rows


@dataclass(frozen=True)
class Reference:
    """Decoded reports of one rank.

    Args:
        group: rotation group ``[report]``.
        row: of the origins, ``[report, layer]``.
        cells: int64 ``[2, report, layer, cell]``, real and imaginary parts counted from the origins, unit 2**-14.
    """

    group: np.ndarray
    row: np.ndarray
    cells: np.ndarray

    def of(self, reports: slice | np.ndarray) -> Reference:
        """Some of the reports."""
        return Reference(self.group[reports], self.row[reports], self.cells[:, reports])

    @property
    def values(self) -> np.ndarray:
        """Coefficients complex64 ``[report, layer, cell]``."""
        real, imag = self.cells.astype(np.float32) / np.float32(UNIT)
        return real + 1j * imag

    @property
    def energy(self) -> np.ndarray:
        """Energies int64 ``[report, layer, cell]``, unit 2**-28."""
        return np.square(self.cells[0]) + np.square(self.cells[1])

    @staticmethod
    def size(layers: int, cells: int) -> int:
        """Integers of a reference with room for that many layers."""
        return _HEAD + layers * (1 + 2 * cells)

    def pack(self, layers: int) -> np.ndarray:
        """Integers int16 ``[report, size]``: rank, group, rows, cells; zeros after the last layer."""
        reports, rank, cells = self.cells.shape[1:]
        found = np.zeros((reports, self.size(layers, cells)), np.int16)
        found[:, 0], found[:, 1], found[:, _HEAD : _HEAD + rank] = rank, self.group, self.row
        parts = np.clip(np.moveaxis(self.cells, 0, 2), -MOST, MOST)
        start = _HEAD + layers
        found[:, start : start + 2 * rank * cells] = parts.reshape(reports, -1)
        return found

    @staticmethod
    def unpack(packed: np.ndarray, layers: int, rank: int, cells: int) -> tuple[Reference, np.ndarray]:
        """References of one rank from ``packed [report, size]``, and bool ``[report]``: it is one of this rank."""
        start = _HEAD + layers
        parts = packed[:, start : start + 2 * rank * cells].reshape(-1, rank, 2, cells)
        row = packed[:, _HEAD : _HEAD + rank].astype(np.int64)
        known = packed[:, 0] == rank
        return Reference(packed[:, 1].astype(np.int64), row, np.moveaxis(parts, 2, 0).astype(np.int64)), known
