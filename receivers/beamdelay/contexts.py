"""Contexts of beam-delay coefficients: an integer network maps what is already coded to one of 1,024 tables."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from receivers.beamdelay.grid import OFFSETS, Grid
from simulator.maths.product import product

CAP = 15  # largest part of a symbol; it announces an escape
NUM_SYMBOLS = (CAP + 1) ** 2
NUM_ZERO, NUM_SIZES = 64, 16  # probabilities of a zero, and tables of the others
NUM_BINS = NUM_ZERO * NUM_SIZES
UNITS = np.array([2**13, 2**15])  # by which the two scores rise from one number to the next
FIRST = np.array([40, 5])  # numbers at a score of 0
MOST_HIDDEN = 2**13 - 1
NUM_FEATURES = len(OFFSETS) + 6
_LOG_LIMIT = 4096
_NUMBERS = (1 / UNITS).astype(np.float32)[:, None, None]  # powers of two: exact
_LAST = np.float32([NUM_ZERO - 1, NUM_SIZES - 1])[:, None, None]


@lru_cache
def log_table() -> np.ndarray:
    """``floor(8 log2(1 + n))`` for n = 0..4096, float32, by integer arithmetic."""
    return np.array([((n + 1) ** 8).bit_length() - 1 for n in range(_LOG_LIMIT + 1)], np.float32)


@lru_cache
def energy_table() -> np.ndarray:
    """Energy ``a^2 + b^2`` of every symbol ``16 a + b``, float32."""
    part = np.arange(CAP + 1)
    return np.add.outer(part**2, part**2).ravel().astype(np.float32)


def log(energy: np.ndarray) -> np.ndarray:
    """:func:`log_table` of whole energies."""
    return log_table()[np.clip(energy, 0, _LOG_LIMIT).astype(np.int32)]


class Contexts:
    """Table of the coefficient at every place, from its class and from all that was coded before it.

    Features are whole numbers: ``floor(8 log2(1 + energy))`` of neighbours, of the coded part of the row, of the same
    row in the other polarisation, and of the tap, of the energy that is left, and of all energy in squared steps. All
    sums stay below 2**24, so that float32 arithmetic is exact in any order and on any machine.

    Args:
        grid: cells.
        network: integers ``w1 [feature, hidden]``, ``b1 [class, hidden]``, ``w2 [hidden, score]``,
            ``w3 [feature, score]``, ``b2 [class, score]``; two scores: of a coefficient that is not 0, and of its size.
    """

    def __init__(self, grid: Grid, network: dict[str, np.ndarray]):
        self.grid, self._network = grid, network
        self._parts: dict[int, Contexts] = {}
        self._in = np.concatenate([network["w1"], network["w3"]], axis=1).T.astype(np.float32).copy()
        self._out = network["w2"].T.astype(np.float32).copy()
        self.b1 = np.ascontiguousarray(network["b1"].astype(np.float32)[grid.kind].T)  # [hidden, place]
        b2 = (network["b2"] + FIRST * UNITS).astype(np.float32)
        self.b2 = np.ascontiguousarray(b2[grid.kind].T)  # [score, place]
        self._near = np.ascontiguousarray(grid.neighbours.T)
        self._rows = _Groups(grid.row, grid.num_rows)
        self._taps = _Groups(grid.tap, grid.num_taps)
        self._across = _Before(grid.row, grid.across[grid.row], grid.num_rows)

    def first(self, places: int) -> Contexts:
        """The same for the first places alone."""
        if places >= self.grid.size:
            return self
        if places not in self._parts:
            self._parts[places] = Contexts(self.grid.first(places), self._network)
        return self._parts[places]

    def features(self, symbols: np.ndarray, energy: np.ndarray) -> np.ndarray:
        """Features float32 ``[feature, place, item]`` of symbols ``[place, item]`` that are all known.

        Args:
            symbols: ``16 a + b``.
            energy: of a layer in squared steps, ``[item]``.
        """
        power = energy_table()[symbols]
        level = np.concatenate([log(power), np.zeros((1, power.shape[1]), np.float32)])
        found = np.empty((NUM_FEATURES, *power.shape), np.float32)
        np.take(level, self._near, axis=0, out=found[: len(OFFSETS)], mode="clip")
        total = np.cumsum(power, axis=0) - power
        found[-6], found[-5] = log(self._rows.before(power)), log(self._across(power))
        found[-4], found[-3] = log(self._taps.before(power)), log(energy - total)
        found[-2], found[-1] = log(energy), log(total)
        return found

    def bins(self, features: np.ndarray, place: Any = slice(None)) -> np.ndarray:
        """Number of the table, 16 times that of the zero and that of the size, int32 ``[place, item]``."""
        shape = features.shape[1:]
        found = product(self._in, features.reshape(len(features), -1)).reshape(-1, *shape)
        hidden, scores = found[:-2], found[-2:]
        hidden += self.b1[:, place, None]
        np.clip(hidden, 0, MOST_HIDDEN, out=hidden)
        scores += product(self._out, hidden.reshape(len(hidden), -1)).reshape(scores.shape)
        scores += self.b2[:, place, None]
        scores *= _NUMBERS
        zero, size = np.clip(scores, 0, _LAST).astype(np.int32)
        return NUM_SIZES * zero + size


class _Groups:
    """Sums over the places of a group that come before a place."""

    def __init__(self, group: np.ndarray, num_groups: int):
        self._sorted = np.argsort(group, kind="stable")
        self._back = np.argsort(self._sorted, kind="stable")
        counts = np.bincount(group, minlength=num_groups)
        self._first = np.repeat(np.cumsum(counts) - counts, counts)  # of the group, for every sorted place

    def before(self, x: np.ndarray) -> np.ndarray:
        """``[place, item]`` of ``x [place, item]``."""
        x = x[self._sorted]
        ends = np.cumsum(x, axis=0, dtype=np.float32) - x
        return (ends - ends[self._first])[self._back]


class _Before:
    """Sums over the places of another group that come before a place."""

    def __init__(self, group: np.ndarray, other: np.ndarray, num_groups: int):
        self._sorted = np.argsort(group, kind="stable")
        counts = np.bincount(group, minlength=num_groups)
        starts = np.concatenate([np.cumsum(counts) - counts, [len(group)]])
        key = group[self._sorted] * len(group) + self._sorted
        self._first = starts[other]
        last = np.searchsorted(key, np.minimum(other, num_groups) * len(group) + np.arange(len(group)))
        self._last = np.maximum(last, self._first)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        ends = np.concatenate([np.zeros((1, x.shape[1]), np.float32), np.cumsum(x[self._sorted], axis=0)])
        return ends[self._last] - ends[self._first]
