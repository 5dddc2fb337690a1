"""Metrics of coded throughput by name."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from simulator.core.interfaces import Metric
from simulator.outcomes import LinkOutcome
from simulator.throughput.blocks import ThroughputOutcome


class _OfBlocks(Metric):
    """A score of transport blocks; nothing where the scenario has no throughput."""

    scope, alike = "link", 0.01  # probabilities of loss differ, however small, where nothing else does
    needs = frozenset({"throughput"})
    key: ClassVar[str]

    def evaluate(self, outcome: LinkOutcome) -> dict[str, np.ndarray]:
        """Values per SNR and drop."""
        blocks = outcome.throughput
        return {} if blocks is None else {self.key: self._of(blocks)}

    @abstractmethod
    def _of(self, blocks: ThroughputOutcome) -> np.ndarray:
        """Values float64 ``[snr, batch]``."""


def _per_block(x: Any, blocks: ThroughputOutcome) -> np.ndarray:
    """Mean over the blocks that were sent in a drop; 0 in a drop without any."""
    total = np.sum(np.where(blocks.sent, x, 0), axis=(2, 3), dtype=np.float64)
    return total / np.maximum(blocks.sent.sum(axis=(2, 3)), 1)


class Bler(_OfBlocks):
    """Share of lost transport blocks of those sent; in the fast mode the mean of their probabilities."""

    unit, better, bounds, alike, key = "1", "lower", (0.0, 1.0), 0.05, "bler"

    def _of(self, blocks: ThroughputOutcome) -> np.ndarray:
        return _per_block(blocks.bler, blocks)


class Goodput(_OfBlocks):
    """Delivered bits of all UEs over bandwidth and time, overheads of pilots, control and cyclic prefix taken off."""

    unit, better, key = "bit/s/Hz", "higher", "goodput_bpshz"

    def _of(self, blocks: ThroughputOutcome) -> np.ndarray:
        return blocks.goodput_bpshz.sum(axis=2, dtype=np.float64).mean(axis=-1)

    def bounds_of(self, outcome: LinkOutcome) -> tuple[float, float] | None:
        """Nothing delivered, all that the highest MCS sends to every user."""
        blocks = outcome.throughput
        return None if blocks is None else (0.0, blocks.max_goodput_bpshz * blocks.mcs.shape[2])


class UserGoodput(_OfBlocks):
    """Delivered bits of one UE, mean over UEs."""

    unit, better, key = "bit/s/Hz", "higher", "user_goodput_bpshz"

    def _of(self, blocks: ThroughputOutcome) -> np.ndarray:
        return blocks.goodput_bpshz.mean(axis=(2, 3), dtype=np.float64)

    def bounds_of(self, outcome: LinkOutcome) -> tuple[float, float] | None:
        """Nothing delivered, all that the highest MCS sends."""
        blocks = outcome.throughput
        return None if blocks is None else (0.0, blocks.max_goodput_bpshz)


class McsMean(_OfBlocks):
    """Mean MCS index of the transport blocks that were sent."""

    unit, better, bounds, key = "1", "higher", (0.0, 28.0), "mcs_mean"

    def _of(self, blocks: ThroughputOutcome) -> np.ndarray:
        return _per_block(blocks.mcs, blocks)
