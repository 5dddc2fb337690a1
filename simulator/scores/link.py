"""Metrics of the link: rates, outage, fairness, ranks."""

from __future__ import annotations

import numpy as np

from simulator.core.interfaces import Metric
from simulator.core.shapes import per_drop
from simulator.outcomes import LinkOutcome


class UserRate(Metric):
    """Spectral efficiency of one UE (all its layers), mean over UEs."""

    unit, better, scope = "bit/s/Hz", "higher", "link"

    def evaluate(self, outcome: LinkOutcome) -> dict[str, np.ndarray]:
        """Mean over users and slots."""
        return {"user_rate_bpshz": per_drop(outcome.rate, 2)}


class SumRate(Metric):
    """Sum over UEs of the spectral efficiency."""

    unit, better, scope = "bit/s/Hz", "higher", "link"

    def evaluate(self, outcome: LinkOutcome) -> dict[str, np.ndarray]:
        """Sum over users, mean over slots."""
        return {"sum_rate_bpshz": per_drop(outcome.rate.sum(axis=2, dtype=np.float64), 2)}


class RelativeRate(Metric):
    """Sum rate over that of the same precoder with perfect CSI of the same slot: the loss by feedback and ageing."""

    unit, better, scope, bounds = "1", "higher", "link", (0.0, 1.0)

    def evaluate(self, outcome: LinkOutcome) -> dict[str, np.ndarray]:
        """Ratio of the rates summed over users and slots."""
        rate, best = (np.sum(x, axis=(2, 3), dtype=np.float64) for x in (outcome.rate, outcome.rate_ref))
        return {"relative_rate": rate / np.maximum(best, 1e-12)}


def _share_of_served(failed: np.ndarray, served: np.ndarray) -> np.ndarray:
    """Share of failures among the served reports of a drop, float64 ``[snr, batch]``; 1 where nobody was served."""
    count = np.sum(served, axis=(2, 3), dtype=np.float64)
    return np.where(count > 0, np.sum(failed & served, axis=(2, 3)) / np.maximum(count, 1), 1.0)


class OutageGamma(Metric):
    """Share of reports with ``r < gamma * r_ref``, r_ref = same precoder with perfect CSI (RP-MPQ, Sec. V-E).

    With a scheduler, over the users that are served with and without perfect CSI in the same slot; 1 for drops without.
    """

    unit, better, scope, bounds = "1", "lower", "link", (0.0, 1.0)

    def evaluate(self, outcome: LinkOutcome) -> dict[str, np.ndarray]:
        """One share per gamma."""
        failed = {gamma: outcome.rate < gamma * outcome.rate_ref for gamma in outcome.gammas}
        if outcome.scheduled:
            served = (outcome.rank > 0) & (outcome.rank_ref > 0)
            return {f"outage_gamma_{gamma:g}": _share_of_served(x, served) for gamma, x in failed.items()}
        return {f"outage_gamma_{gamma:g}": per_drop(x, 2) for gamma, x in failed.items()}


class OutageRate(Metric):
    """Classical outage, share of reports with ``r < R``. With a scheduler, over the users that are served."""

    unit, better, scope, bounds = "1", "lower", "link", (0.0, 1.0)

    def evaluate(self, outcome: LinkOutcome) -> dict[str, np.ndarray]:
        """One share per target rate."""
        failed = {rate: outcome.rate < rate for rate in outcome.rates_bpshz}
        if outcome.scheduled:
            return {f"outage_rate_{rate:g}": _share_of_served(x, outcome.rank > 0) for rate, x in failed.items()}
        return {f"outage_rate_{rate:g}": per_drop(x, 2) for rate, x in failed.items()}


class Fairness(Metric):
    r"""Jain's index of the rates :math:`r_k` of a drop's users, means over its slots. Drops with several users only.

    .. math:: \Big( \sum_k r_k \Big)^2 / \Big( K \sum_k r_k^2 \Big)

    1 when all have the same, 1/K when one has all; 0 when nobody has any. Users that a scheduler leaves out count, so
    one slot of k of K users has at most k/K.

    Source: Jain, Chiu, Hawe, DEC Research Report TR-301, 1984.
    """

    unit, better, scope, bounds = "1", "higher", "link", (0.0, 1.0)

    def evaluate(self, outcome: LinkOutcome) -> dict[str, np.ndarray]:
        """Index per drop."""
        if outcome.rate.shape[2] == 1:
            return {}
        rate = np.mean(outcome.rate, axis=3, dtype=np.float64)
        square = rate.shape[2] * np.sum(rate**2, axis=2)
        return {"fairness": np.sum(rate, axis=2) ** 2 / np.maximum(square, 1e-30)}


class RankMean(Metric):
    """Layers of a user that is served. Links with more than one layer per user only."""

    unit, better, scope = "1", "higher", "link"

    def evaluate(self, outcome: LinkOutcome) -> dict[str, np.ndarray]:
        """Mean over served users and slots, 0 for drops that serve nobody."""
        if outcome.rank is None or outcome.max_rank == 1:
            return {}
        served = np.sum(outcome.rank > 0, axis=(2, 3))
        return {"rank_mean": np.sum(outcome.rank, axis=(2, 3)) / np.maximum(served, 1)}

    def bounds_of(self, outcome: LinkOutcome) -> tuple[float, float]:
        """Nobody served, all layers."""
        return 0.0, float(outcome.max_rank)
