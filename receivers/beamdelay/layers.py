"""Beam-delay reports of several layers: contexts see what is already coded of the other layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from receivers.beamdelay.coder import BeamDelayCoder
from receivers.beamdelay.content import Content, symbols_of
from receivers.beamdelay.contexts import energy_table, log
from receivers.beamdelay.grid import NEAR, Grid
from receivers.beamdelay.known_layers import KnownLayers
from receivers.beamdelay.state import State
from receivers.beamdelay.tables import NUM_OTHERS, LayeredTables

_UNIT = 16  # of the numbers of the layer and of the layers
_VALUES = 2**25  # features of the other layers that are held at a time


class LayeredCoder(BeamDelayCoder):
    r"""Range code of several layers that share a group: the bits of :class:`~receivers.beamdelay.coder.BeamDelayCoder`.

    The rows of the origins place all layers on the same beams; taps count from the origin of each layer. Features
    beyond those of one layer, of the sum over all other layers of what is coded so far: L of the energy at the same
    beam, polarisation and tap and at seven places around it (:data:`receivers.beamdelay.grid.NEAR`), of the sums over
    the row, the row of the other polarisation, the tap, and everything; and 16 times the number of the layer, and of
    the layers, from 0 on.

    Args:
        grid: cells.
        shape: sizes of their axes.
        tables: shared integers.
        num_groups: rotation groups.
        rank: layers, 2 or more.
        energies: of a layer in squared steps, whole, for every step that a report may name.
    """

    def __init__(
        self, grid: Grid, shape: tuple[int, int, int, int], tables: LayeredTables, num_groups: int, rank: int,
        energies: list[int],
    ):  # fmt: skip
        super().__init__(grid, tables, num_groups, rank, energies)
        self._beams = Beams(grid, shape)
        self._known = KnownLayers(grid, shape, self._beams.cell, self._beams.near, self._beams.across)

    def bins(self, content: Content) -> np.ndarray:
        """Tables of all coefficients, int32 ``[place, report, layer]``."""
        reports = max(32, _VALUES // (NUM_OTHERS * content.real[:, 0].size))
        rows = [slice(i, i + reports) for i in range(0, len(content.step), reports)]
        return np.concatenate([self._bins(content.of(r), self._others(content.of(r))) for r in rows], axis=1)

    def _bins(self, content: Content, others: np.ndarray) -> np.ndarray:
        found, places = np.empty(content.real.shape, np.int32), len(content.real)
        contexts, step = self.contexts.first(places), self._at_once(places)
        for rows in (slice(i, i + step) for i in range(0, len(content.step), step)):
            own = super()._features(content.of(rows))
            features = np.concatenate([own, others[:, :, rows].reshape(NUM_OTHERS, places, -1)])
            found[:, rows] = contexts.bins(features).reshape(found[:, rows].shape)
        return found

    def _features(self, content: Content) -> np.ndarray:
        others = self._others(content)
        return np.concatenate([super()._features(content), others.reshape(*others.shape[:2], -1)])

    def _others(self, content: Content) -> np.ndarray:
        """Features of the other layers, uint8 ``[feature, place, report, layer]``."""
        return self._known.features(content.row, energy_table()[symbols_of(content)])

    def _states(self, heads: list[np.ndarray], **given: Any) -> list[State]:
        others = Others(self._beams, np.stack(heads[2:], axis=1))
        return [_LayeredState(self.grid, self.energies[heads[1]], others, layer) for layer in range(self.rank)]


class Beams:
    """Cells counted from beam 0 of polarisation 0, for every place and origin.

    Args:
        grid: cells counted from an origin.
        shape: sizes of their axes.

    Attributes:
        cell: int ``[origin, place]``, cell of a place where the origin has this row.
        near: int ``[cell, offset]`` of :data:`NEAR`; the number of cells where there is none.
        across: row of the other polarisation, int ``[row]``; the number of rows where there is none.
    """

    def __init__(self, grid: Grid, shape: tuple[int, int, int, int]):
        self.grid, rows = grid, shape[:3]
        place = np.array(np.unravel_index(grid.row, rows))[:, None]
        origin = np.array(np.unravel_index(np.arange(grid.num_rows), rows))[:, :, None]
        row = np.ravel_multi_index(tuple((place + origin) % np.array(rows)[:, None, None]), rows)
        self.cell = row * grid.num_taps + grid.tap
        here = np.array(np.unravel_index(np.arange(grid.size), shape))
        self.near = np.full((grid.size, len(NEAR)), grid.size)
        for number, offset in enumerate(NEAR):
            moved = [(x + o) % n for x, o, n in zip(here, offset, shape, strict=True)]
            found = np.ravel_multi_index(moved, shape)
            known = (found != np.arange(grid.size)) & (found[:, None] != self.near[:, :number]).all(axis=1)
            self.near[known, number] = found[known]
        self.across = np.where(grid.across < grid.num_rows, grid.across, grid.num_rows)


class Others:
    """For every layer of all reports the energy that is coded in the other layers.

    Args:
        beams: cells.
        row: of the origins, ``[report, layer]``.
    """

    def __init__(self, beams: Beams, row: np.ndarray):
        self._beams, grid = beams, beams.grid
        self._row, reports, rank = row, *row.shape
        self._reports = np.arange(reports)
        self._cells = np.zeros((rank, grid.size + 1, reports), np.float32)
        self._rows = np.zeros((rank, grid.num_rows + 1, reports), np.float32)
        self._taps = np.zeros((rank, grid.num_taps, reports), np.float32)
        self._total = np.zeros((rank, reports), np.float32)

    def features(self, place: int, layer: int) -> np.ndarray:
        """Features float32 ``[feature, report]`` of a place of one layer."""
        beams, reports = self._beams, self._reports
        cell = beams.cell[self._row[:, layer], place]
        row = cell // beams.grid.num_taps
        found = np.empty((NUM_OTHERS, len(reports)), np.float32)
        near, cells = len(NEAR) + 1, self._cells[layer]
        found[0] = cells[cell, reports]
        found[1:near] = cells[beams.near[cell].T, reports]
        found[near] = self._rows[layer, row, reports]
        found[near + 1] = self._rows[layer, beams.across[row], reports]
        found[near + 2], found[near + 3] = self._taps[layer, beams.grid.tap[place]], self._total[layer]
        found[: near + 4] = log(found[: near + 4])
        found[-2], found[-1] = _UNIT * layer, _UNIT * (len(self._cells) - 1)
        return found

    def add(self, place: int, layer: int, power: np.ndarray) -> None:
        """Energies ``[report]`` of a place of one layer, to all others."""
        some = np.flatnonzero(power)
        if not some.size:
            return
        cell, power = self._beams.cell[self._row[some, layer], place], power[some]
        row, tap = cell // self._beams.grid.num_taps, self._beams.grid.tap[place]
        for other in range(len(self._cells)):
            if other != layer:
                self._cells[other, cell, some] += power
                self._rows[other, row, some] += power
                self._taps[other, tap, some] += power
                self._total[other, some] += power


class _LayeredState(State):
    """Features of one layer, with what is coded of the others."""

    def __init__(self, grid: Grid, energy: np.ndarray, others: Others, layer: int):
        super().__init__(grid, energy)
        self._others, self._layer = others, layer

    def features(self, place: int) -> np.ndarray:
        return np.concatenate([super().features(place), self._others.features(place, self._layer)[:, None]])

    def add(self, place: int, power: np.ndarray) -> None:
        super().add(place, power)
        self._others.add(place, self._layer, power)
