"""Features of beam-delay coefficients while reports are decoded."""

from __future__ import annotations

import numpy as np

from receivers.beamdelay.contexts import NUM_FEATURES, log
from receivers.beamdelay.grid import OFFSETS, Grid


class State:
    """Features of one layer of all reports while they are decoded."""

    def __init__(self, grid: Grid, energy: np.ndarray):
        self._grid, self._energy = grid, energy
        self._level = np.zeros((grid.size + 1, len(energy)), np.float32)
        self._row = np.zeros((grid.num_rows + 1, len(energy)), np.float32)
        self._tap = np.zeros((grid.num_taps, len(energy)), np.float32)
        self._total = np.zeros(len(energy), np.float32)

    def features(self, place: int) -> np.ndarray:
        """Features float32 ``[feature, 1, report]`` of a place."""
        grid = self._grid
        row = grid.row[place]
        found = np.empty((NUM_FEATURES, 1, len(self._energy)), np.float32)
        found[: len(OFFSETS), 0] = self._level[grid.neighbours[place]]
        sums = [self._row[row], self._row[grid.across[row]], self._tap[grid.tap[place]]]
        found[-6:, 0] = log(np.stack([*sums, self._energy - self._total, self._energy, self._total]))
        return found

    def add(self, place: int, power: np.ndarray) -> None:
        """Energies ``[report]`` that were decoded at a place."""
        self._level[place] = log(power)
        self._row[self._grid.row[place]] += power
        self._tap[self._grid.tap[place]] += power
        self._total += power
