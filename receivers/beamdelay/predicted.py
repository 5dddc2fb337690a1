"""Beam-delay reports that refer to an earlier one: its cells, scaled by a gain, are predicted; the rest is coded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt
from typing import Any

import numpy as np

from receivers.beamdelay.coder import BeamDelayCoder
from receivers.beamdelay.content import Content
from receivers.beamdelay.contexts import CAP, NUM_FEATURES, log
from receivers.beamdelay.grid import Grid
from receivers.beamdelay.reference import UNIT
from receivers.beamdelay.state import State
from receivers.beamdelay.tables import LEVEL_UNIT, Tables

GAINS = (0, 2, 3, 4)  # quarters
AROUND = [(0, 0, 0, 0), (0, 0, 0, -1), (0, 0, 0, 1), (0, 0, -1, 0), (0, 0, 1, 0), (0, 1, 0, 0), (1, 0, 0, 0)]
NUM_PREDICTED = NUM_FEATURES + len(AROUND) + 2 + len(GAINS) - 1
_GAIN_FEATURE = 16
_STEP_BITS = 22  # after the point of a step


class PredictedTables(Tables):
    """Learned integers of reports with a reference; ``origin`` is not used."""

    num_features = NUM_PREDICTED


@dataclass(frozen=True)
class PredictedContent(Content):
    """What reports with a reference say: ``real`` and ``imag`` are the parts of what the prediction leaves.

    Group and row are those of the reference.

    Args:
        gain: index into :data:`GAINS`, ``[report]``.
        energy: of the reference, int64 ``[place, report, layer]``, unit 2**-28.
    """

    gain: np.ndarray
    energy: np.ndarray

    def of(self, reports: slice | np.ndarray) -> PredictedContent:
        """Some of the reports."""
        part = super().of(reports)
        return replace(part, gain=self.gain[reports], energy=self.energy[:, reports])


class PredictedCoder(BeamDelayCoder):
    r"""Range code of gain, step and all coefficients, the contexts of which see the reference.

    A report is the ``gain`` and, with several steps, the ``step``, each uniform, then place by place, layer by layer, a
    coefficient as in :class:`~receivers.beamdelay.coder.BeamDelayCoder`; the first one, too.

    Features beyond those of the coefficients of this report, with P the energy of a cell of the reference in squared
    steps, rounded down: L(P) at the cell and six neighbours, L of the sum of P over its row and over all places coded
    before, and 16 at the place of the gain where it is not 0.

    Args:
        grid: cells.
        shape: sizes of their axes.
        tables: shared integers.
        rank: layers.
        energies: of a layer in squared steps, whole, for every step that a report may name.
    """

    prefixes = origins = False

    def __init__(
        self, grid: Grid, shape: tuple[int, int, int, int], tables: PredictedTables, rank: int, energies: list[int]
    ):  # fmt: skip
        super().__init__(grid, tables, 1, rank, energies)
        self._heads = [len(GAINS), len(energies)]
        self._around = around(grid, shape)
        self.sizes = np.array([isqrt((1 << 2 * _STEP_BITS) // energy) for energy in energies])  # steps, unit 2**-22

    def _head_values(self, content: Content) -> list[np.ndarray]:
        return [content.gain, content.step]

    def _features(self, content: Content) -> np.ndarray:
        own = super()._features(content)
        return np.concatenate([own, self.referred(content.gain, content.step, content.energy)])

    def referred(self, gain: np.ndarray, step: np.ndarray, energy: np.ndarray) -> np.ndarray:
        """Features of the reference, float32 ``[feature, place, report * layer]``.

        Args:
            gain: index ``[report]``.
            step: index ``[report]``.
            energy: int64 ``[place, report, layer]``.
        """
        places, _, rank = energy.shape
        scale = self.energies[step].astype(np.int64)[:, None]
        power = np.minimum(energy * scale >> 28, 1 << 12).astype(np.float32).reshape(places, -1)
        found = np.zeros((NUM_PREDICTED - NUM_FEATURES, *power.shape), np.float32)
        level = np.concatenate([log(power), np.zeros((1, power.shape[1]), np.float32)])
        for number in range(len(AROUND)):
            np.take(level, self._around[:, number], axis=0, out=found[number], mode="clip")
        rows = (np.arange(self.grid.num_rows)[:, None] == self.grid.row).astype(np.float32) @ power
        found[len(AROUND)] = log(rows)[self.grid.row]
        found[len(AROUND) + 1] = log(np.cumsum(power, axis=0) - power)
        chosen = np.repeat(gain, rank)
        for number in range(1, len(GAINS)):
            found[len(AROUND) + 1 + number] = _GAIN_FEATURE * (chosen == number)
        return found

    def decode(
        self, bits: np.ndarray, num_bits: np.ndarray, energy: np.ndarray | None = None
    ) -> tuple[PredictedContent, np.ndarray]:
        """Content of reports uint8 ``[report, bit]`` whose references have ``energy [place, report, layer]``."""
        content, bins = self._decode(bits, num_bits, energy=energy)
        return content, bins

    def _states(self, heads: list[np.ndarray], **given: Any) -> list[State]:
        gain, step = heads
        energy = given["energy"]
        found = self.referred(gain, step, energy)
        found = found.reshape(*found.shape[:2], *energy.shape[1:])
        return [_PredictedState(self.grid, self.energies[step], found[..., layer]) for layer in range(self.rank)]

    def _content(self, heads: list[np.ndarray], real: np.ndarray, imag: np.ndarray, **given: Any) -> PredictedContent:
        none = np.zeros(real.shape[1:], np.int64)
        return PredictedContent(none[:, 0], heads[1], none, real, imag, heads[0], given["energy"])


class _PredictedState(State):
    """With the features of the reference, float32 ``[feature, place, report]``."""

    def __init__(self, grid: Grid, energy: np.ndarray, referred: np.ndarray):
        super().__init__(grid, energy)
        self._referred = referred

    def features(self, place: int) -> np.ndarray:
        return np.concatenate([super().features(place), self._referred[:, place : place + 1]])


def around(grid: Grid, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Places ``[place, offset]`` of the cells around every place; the number of places where there is none."""
    place = np.empty(grid.size, np.int64)
    place[grid.order] = np.arange(grid.size)
    here = np.array(np.unravel_index(grid.order, shape))
    found = np.full((grid.size, len(AROUND)), grid.size)
    for number, offset in enumerate(AROUND):
        if offset[0] < shape[0]:
            moved = [(x + o) % n for x, o, n in zip(here, offset, shape, strict=True)]
            found[:, number] = place[np.ravel_multi_index(moved, shape)]
    return found


def predicted(cells: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Prediction int64 from cells of references ``[2, report, layer, cell]`` with gains by index ``[report]``."""
    return cells * np.array(GAINS)[gain][:, None, None] >> 2


def decoded(content: Content, bins: np.ndarray, levels: np.ndarray, sizes: np.ndarray, origins: bool) -> np.ndarray:
    """What a report adds to its prediction: int64 ``[2, place, report, layer]``, unit 2**-14, integers alone.

    Args:
        content: of the reports.
        bins: tables of their coefficients.
        levels: int ``[bin, part]``, 1/256 step.
        sizes: of the steps, unit 2**-22.
        origins: the first coefficients are origins, whose sizes are nominal.
    """
    parts = np.stack([content.real, content.imag]).astype(np.int64)
    size = np.abs(parts)
    level = np.where(size >= CAP, size * LEVEL_UNIT, levels[bins, np.minimum(size, CAP)])
    if origins:
        level[:, 0] = size[:, 0] * LEVEL_UNIT
    value = np.minimum(level, 1 << 24) * sizes[content.step][:, None] >> _STEP_BITS + 8 - 14
    return np.sign(parts) * np.minimum(value, 2 * UNIT - 1)
