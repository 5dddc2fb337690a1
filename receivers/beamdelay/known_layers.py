"""What contexts see of the other layers of whole reports, all places at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from receivers.beamdelay.contexts import log
from receivers.beamdelay.grid import NEAR, Grid
from receivers.beamdelay.tables import NUM_OTHERS

_UNIT = 16  # of the numbers of the layer and of the layers


class _Tables(NamedTuple):
    """For every row of another origin, counted from the own one: its places that are coded before a place of the own.

    Args:
        near: those at the same cell and around it, int ``[row, offset, place]``; the number of places: none.
        first: of the sorted places, the first one of the row, and of the row of the other polarisation, int
            ``[row, 2, place]``.
        last: the first one that is not coded before, same shape.
        tap: first and last of the tap, int ``[2, place]``.
    """

    near: np.ndarray
    first: np.ndarray
    last: np.ndarray
    tap: np.ndarray


class KnownLayers:
    """The features of :class:`receivers.beamdelay.layers.Others` where all coefficients are known, without a loop.

    Args:
        grid: cells counted from an origin.
        shape: sizes of their axes.
        cell: int ``[origin, place]``, cell counted from beam 0 of a place where the origin has this row.
        near: int ``[cell, offset]``, cells around a cell; the number of cells where there is none.
        across: row of the other polarisation, int ``[row]``; the number of rows where there is none.
    """

    def __init__(
        self, grid: Grid, shape: tuple[int, int, int, int], cell: np.ndarray, near: np.ndarray, across: np.ndarray
    ):
        self._grid, self._rows = grid, shape[:3]
        self._by_row, self._by_tap = (np.argsort(x, kind="stable") for x in (grid.row, grid.tap))
        place_of = np.full((grid.num_rows, grid.size + 1), grid.size)
        np.put_along_axis(place_of, cell, np.arange(grid.size), axis=1)
        here = np.concatenate([cell[0][None], near[cell[0]].T])  # [offset, place]
        row = cell[0] // grid.num_taps
        rows = np.stack([row, across[row]])  # [2, place], counted from beam 0
        row_of = np.pad(grid.row[place_of[:, : grid.size : grid.num_taps]], ((0, 0), (0, 1)), constant_values=-1)
        self._before, self._up_to = (
            self._tables(place_of[:, here], row_of[:, rows], later) for later in (0, 1)
        )  # of a later layer, of an earlier one, whose coefficient at the same place is coded before

    def _tables(self, near: np.ndarray, rows: np.ndarray, later: int) -> _Tables:
        grid, place = self._grid, np.arange(self._grid.size)
        found = []
        for group, order, wanted in ((grid.row, self._by_row, rows), (grid.tap, self._by_tap, grid.tap)):
            key = group[order] * (grid.size + 1) + order
            first, last = (np.searchsorted(key, wanted * (grid.size + 1) + end) for end in (0, place + later))
            found.append((first, np.maximum(first, last)))
        (first, last), tap = found
        near = np.where(near < place + later, near, grid.size)
        return _Tables(near, first, last, np.stack(tap))

    def features(self, row: np.ndarray, power: np.ndarray) -> np.ndarray:
        """Features uint8 ``[feature, place, report, layer]``.

        Args:
            row: of the origins, ``[report, layer]``.
            power: energies float32 ``[place, report, layer]``.
        """
        places, reports, layers = power.shape
        energy = np.zeros((layers, reports, self._grid.size + 1), np.float32)
        energy[..., :places] = power.transpose(2, 1, 0)
        sums = [self._sums(energy[..., order]) for order in (self._by_row, self._by_tap)]
        total = np.cumsum(energy[..., :places], axis=2)
        own = np.stack(np.unravel_index(row, self._rows))
        found = np.empty((NUM_OTHERS, places, reports, layers), np.uint8)
        for layer in range(layers):
            seen = np.zeros((reports, NUM_OTHERS - 2, places), np.float32)
            for other in (x for x in range(layers) if x != layer):
                shift = (own[..., other] - own[..., layer]) % np.array(self._rows)[:, None]
                shift, table = np.ravel_multi_index(tuple(shift), self._rows), self._up_to
                seen[:, -1] += total[other]
                if other > layer:
                    table = self._before
                    seen[:, -1] -= energy[other, :, :places]
                seen[:, : len(NEAR) + 1] += _taken(energy[other], table.near[shift, :, :places])
                first, last = (_taken(sums[0][other], x[shift, :, :places]) for x in (table.first, table.last))
                seen[:, -4:-2] += last - first
                first, last = sums[1][other][:, table.tap[:, :places]].swapaxes(0, 1)
                seen[:, -2] += last - first
            found[:-2, :, :, layer] = log(seen).transpose(1, 2, 0)
            found[-2, :, :, layer] = _UNIT * layer
        found[-1] = _UNIT * (layers - 1)
        return found

    @staticmethod
    def _sums(x: np.ndarray) -> np.ndarray:
        """Sums of the entries before every one, and of all."""
        return np.pad(np.cumsum(x, axis=-1), ((0, 0), (0, 0), (1, 0)))


def _taken(x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """``x [report, entry]`` at ``index [report, ...]``."""
    return np.take_along_axis(x, index.reshape(len(x), -1), axis=1).reshape(index.shape)
