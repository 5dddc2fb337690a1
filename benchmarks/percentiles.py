"""Percentiles of single reports that merge exactly: a count of every value, whatever the chunks."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np


def percentile(reduce: str) -> float | None:
    """Share of the reports that ``Metric.reduce`` names: 0.95 for "p95"; None for the mean and the maximum."""
    return float(f"0.{reduce[1:]}") if re.fullmatch(r"p\d\d+", reduce) else None


@dataclass(frozen=True)
class Tally:
    r"""How often every value occurred, and how it clusters in drops.

    Args:
        drops: drops, independent of each other.
        values: float64 ``[value]``, ascending.
        counts: int64 ``[value]``, reports that have it.
        squares: int64 ``[value]``, :math:`\sum_d C_d^2` with :math:`C_d` reports of drop d up to the value.
    """

    drops: int
    values: np.ndarray
    counts: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, sample: np.ndarray) -> Tally:
        """Of the values ``[drop, report]``."""
        values, index = np.unique(sample, return_inverse=True)
        by_drop = np.zeros((len(sample), len(values)), np.int64)
        np.add.at(by_drop, (np.arange(len(sample))[:, None], index.reshape(sample.shape)), 1)
        return cls(len(sample), values, by_drop.sum(axis=0), np.sum(np.cumsum(by_drop, axis=1) ** 2, axis=0))

    def __add__(self, other: Tally) -> Tally:
        values = np.union1d(self.values, other.values)
        counts, squares = np.zeros((2, len(values)), np.int64)
        for part in (self, other):
            counts[np.searchsorted(values, part.values)] += part.counts
            below = np.searchsorted(part.values, values, side="right")
            squares += np.concatenate([[0], part.squares])[below]
        return Tally(self.drops + other.drops, values, counts, squares)

    def lines(self, row: int) -> np.ndarray:
        """float64 ``[value, 4]``: row, value, count, square."""
        return np.stack([np.full(len(self.values), row), self.values, self.counts, self.squares], axis=1)

    @classmethod
    def from_lines(cls, drops: int, lines: np.ndarray) -> dict[int, Tally]:
        """Tallies by row."""
        rows = lines[:, 0].astype(np.int64)
        parts = {int(row): lines[rows == row] for row in np.unique(rows)}
        return {
            row: cls(drops, x[:, 1], x[:, 2].astype(np.int64), x[:, 3].astype(np.int64)) for row, x in parts.items()
        }

    def quantile(self, share: float, new: float = 1.0) -> tuple[float, float]:
        r"""Smallest value that at least ``share`` of the reports do not exceed, and its 95 % half-width.

        Ranks of the order statistics on both sides are binomial, for as many independent reports as have the variance
        that the shares of the drops show (reports of a drop are alike), at least one a drop. The half-width reaches to
        the farther side. NaN with too few reports: for 0.95, fewer than 72 independent ones.

        Args:
            share: of the reports.
            new: share of the drops that are new where those of a finite store repeat
                (:func:`~benchmarks.intervals.independent_drops`).

        Source: Korn, Graubard, Survey Methodology 24(2), 1998 (effective sample size); David, Nagaraja, Order
        Statistics, 3rd ed., Sec. 7.1.
        """
        from scipy.stats import binom

        total = int(self.counts.sum())
        up_to = np.cumsum(self.counts)
        place = int(np.searchsorted(up_to, share * total - 1e-9))
        value = float(self.values[place])
        p, per_drop = up_to[place] / total, total / self.drops
        between = self.squares[place] / self.drops / per_drop**2 - p**2  # variance of the share of a drop
        size = self.drops if between <= 0 or p == 1 else p * (1 - p) / between * (self.drops - 1)
        size = int(np.clip(size, self.drops, total) * new)
        low, high = int(binom.ppf(0.025, size, share)), int(binom.ppf(0.975, size, share)) + 1
        if not 1 <= low < high <= size:
            return value, float("nan")
        ends = self.values[np.searchsorted(up_to, np.array([low, high]) / size * total - 1e-9)]
        return value, float(max(value - ends[0], ends[1] - value))
