"""Metrics by name: one value per drop from what happened in the link."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.core.interfaces import Metric
from simulator.core.shapes import flat_tail
from simulator.core.units import db_to_lin
from simulator.throughput import ThroughputOutcome


@dataclass(frozen=True)
class CsiOutcome:
    """What one scheme made of the CSI of a block of drops.

    Args:
        h: true channel complex64 ``[batch, user, rx_ant, port, slot, subcarrier]``.
        h_hat: channel known at the gNB, same shape, or None for implicit schemes.
        correlation2: float ``[batch, user, layer, slot, subcarrier]``, squared cosine of true and known directions.
        num_bits: int ``[batch, user, slot]``, bits sent.
        snr_db: SNR points of the scenario [dB].
        part1_bits: bits of every report that are not of its PMI: rank, CQI, lengths.
        ue_bops: float ``[batch, user, slot]``, bit operations that the UE's network spent on every report, or None.
        lost: bool ``[batch, user, slot]``, the gNB knows that it has no report; None: the uplink never fails.
        wrong: bool ``[batch, user, slot]``, the report was taken with wrong bits in it; None as ``lost``.
        directions: gives true and known directions by subband, complex64 ``[batch * slot, user, layer, subband, port]``
            each, unit norm or 0; None: no subbands.
    """

    h: np.ndarray
    h_hat: np.ndarray | None
    correlation2: np.ndarray
    num_bits: np.ndarray
    snr_db: tuple[float, ...]
    part1_bits: int = 0
    ue_bops: np.ndarray | None = None
    lost: np.ndarray | None = None
    wrong: np.ndarray | None = None
    directions: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None


@dataclass(frozen=True)
class LinkOutcome:
    """Rates of a block of drops under one precoder.

    Args:
        rate: float ``[snr, batch, user, slot]``, mean over the band of the sum over layers [bit/s/Hz].
        rate_ref: the same with perfect CSI at the gNB.
        gammas: relative outage targets.
        rates_bpshz: absolute outage targets [bit/s/Hz].
        rank: int ``[snr, batch, user, slot]``, layers served, 0 for users that are not; None: unknown.
        rank_ref: the same with perfect CSI at the gNB.
        max_rank: layers that the gNB wants per user.
        scheduled: the gNB chose the users of every slot; those it left out had no outage.
        sinr: float32 ``[snr, batch * slot, subcarrier, user, layer]`` behind detection, linear, 0 for layers that are
            not served; None unless the link was asked to keep it.
        throughput: transport blocks with the same precoder, or None.
    """

    rate: np.ndarray
    rate_ref: np.ndarray
    gammas: tuple[float, ...]
    rates_bpshz: tuple[float, ...]
    rank: np.ndarray | None = None
    rank_ref: np.ndarray | None = None
    max_rank: int = 1
    scheduled: bool = False
    sinr: np.ndarray | None = None
    throughput: ThroughputOutcome | None = None


def _per_drop(x: Any, lead: int = 1) -> np.ndarray:
    """Mean over all axes but the first ``lead``, float64."""
    return flat_tail(np.asarray(x, np.float64), lead).mean(axis=-1)


def _per_report(key: str, function: str, outcome: CsiOutcome, axes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Mean per drop of a function of :mod:`simulator.metrics` over ``axes`` of h; nothing for implicit schemes."""
    if outcome.h_hat is None:
        return {}
    from keras import ops

    from simulator import metrics

    return {key: _per_drop(ops.convert_to_numpy(getattr(metrics, function)(outcome.h, outcome.h_hat, axes)))}


def _rho(key: str, outcome: CsiOutcome) -> dict[str, np.ndarray]:
    return _per_report(key, "cosine_matrix", outcome, (2, 3))


class Nmse(Metric):
    """NMSE in the antenna-frequency domain: 10 log10 of the mean of per-report ratios. Explicit schemes only."""

    unit, better, scope = "dB", "lower", "csi"

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Linear ratio per drop."""
        return _per_report("nmse_db", "nmse", outcome, (2, 3, 5))

    def finalize(self, mean: np.ndarray, snr_db: float | None = None) -> np.ndarray:
        """Ratio to dB."""
        return 10 * np.log10(np.maximum(mean, 1e-30))


class NmseScaled(Metric):
    """NMSE after the best complex factor for each report: a scheme that loses only the scale has none."""

    unit, better, scope = "dB", "lower", "csi"

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Linear ratio per drop."""
        return _per_report("nmse_scaled_db", "nmse_scaled", outcome, (2, 3, 5))

    def finalize(self, mean: np.ndarray, snr_db: float | None = None) -> np.ndarray:
        """Ratio to dB."""
        return 10 * np.log10(np.maximum(mean, 1e-30))


class EnergyRatio(Metric):
    """Mean over reports of the energy of the known channel over that of the true one.

    Neither more nor less is better: below 1 a scheme shrinks what it is unsure of, above 1 it promises gain that is
    not there. A mean of 1 may hide reports on both sides; ``nmse_db`` beside ``nmse_scaled_db`` shows them.
    """

    unit, better, scope = "1", "one", "csi"

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean ratio per drop."""
        return _per_report("energy_ratio", "energy_ratio", outcome, (2, 3, 5))


class Rho(Metric):
    """Mean over subcarriers of the cosine of true and known channel matrix, 0 to 1 (NF-KD, Eq. 9, with modulus).

    ``cosine`` compares the directions of the layers instead; for one antenna they are the same.
    """

    unit, better, scope, bounds = "1", "higher", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean modulus per drop."""
        return _rho("rho", outcome)


class RhoBeamformingGainLoss(Metric):
    r"""Beamforming-gain loss :math:`-20 \log_{10} \rho` with the mean :math:`\rho` of matrices (NF-KD, Table 4)."""

    unit, better, scope, bounds = "dB", "lower", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean modulus per drop."""
        return _rho("rho_bf_gain_loss_db", outcome)

    def finalize(self, mean: np.ndarray, snr_db: float | None = None) -> np.ndarray:
        """Cosine to loss in dB."""
        return -20 * np.log10(np.maximum(mean, 1e-15))


class RhoSe(Metric):
    r""":math:`\log_2(1 + \mathrm{SNR} \rho^2)` with the mean :math:`\rho` of matrices (NF-KD, Table 4)."""

    unit, better, scope, bounds = "bit/s/Hz", "higher", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean modulus per drop, one row per SNR."""
        found = _rho("rho_se_bpshz", outcome)
        return {key: np.broadcast_to(rho, (len(outcome.snr_db), len(rho))) for key, rho in found.items()}

    def finalize(self, mean: np.ndarray, snr_db: float | None = None) -> np.ndarray:
        """Cosine to spectral efficiency."""
        return np.log2(1 + db_to_lin(snr_db) * mean**2)


class Cosine(Metric):
    """Mean over subcarriers and layers of ``|v^H v_hat| / (|v| |v_hat|)``, 0 to 1."""

    unit, better, scope, bounds = "1", "higher", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean modulus per drop."""
        return {"cosine": _per_drop(np.sqrt(outcome.correlation2))}


class Sgcs(Metric):
    """Squared generalised cosine similarity, mean over subcarriers and layers of the squared cosine, 0 to 1.

    The target is the direction of every frequency sample, so that a subband precoder stays below 1 however many bits
    it has; ``sgcs_subband`` has the eigenvector of the subband as target, as 3GPP.
    """

    unit, better, scope, bounds = "1", "higher", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean squared cosine per drop."""
        return {"sgcs": _per_drop(outcome.correlation2)}


class BeamformingGainLoss(Metric):
    r"""Beamforming-gain loss :math:`-20 \log_{10} \rho` with the mean cosine :math:`\rho` (NF-KD, Table 4)."""

    unit, better, scope, bounds = "dB", "lower", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean cosine per drop."""
        return {"bf_gain_loss_db": _per_drop(np.sqrt(outcome.correlation2))}

    def finalize(self, mean: np.ndarray, snr_db: float | None = None) -> np.ndarray:
        """Cosine to loss in dB."""
        return -20 * np.log10(np.maximum(mean, 1e-15))


class RhoSquaredSe(Metric):
    r"""Spectral efficiency without array gain, :math:`\log_2(1 + \mathrm{SNR} \rho^2)` (NF-KD, Table 4)."""

    unit, better, scope, bounds = "bit/s/Hz", "higher", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean cosine per drop, one row per SNR."""
        rho = _per_drop(np.sqrt(outcome.correlation2))
        return {"rho2_se_bpshz": np.broadcast_to(rho, (len(outcome.snr_db), len(rho)))}

    def finalize(self, mean: np.ndarray, snr_db: float | None = None) -> np.ndarray:
        """Cosine to spectral efficiency."""
        return np.log2(1 + db_to_lin(snr_db) * mean**2)


class BitsMean(Metric):
    """Mean length of a report."""

    unit, better, scope = "bit", "lower", "csi"

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean bits per drop."""
        return {"bits_mean": _per_drop(outcome.num_bits)}


class PmiBits(Metric):
    """Mean length of the PMI alone: part 2 of a 3GPP report; the whole report of schemes without parts."""

    unit, better, scope = "bit", "lower", "csi"

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean bits per drop."""
        return {"pmi_bits": _per_drop(outcome.num_bits - outcome.part1_bits)}


class BitsMax(Metric):
    """Longest report that was sent."""

    unit, better, scope, reduce = "bit", "lower", "csi", "max"

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Largest number of bits per drop."""
        return {"bits_max": flat_tail(outcome.num_bits).max(axis=1).astype(np.float64)}


class BitsP95(Metric):
    """95th percentile of the length of a report: the smallest number of bits that 95 % of the reports do not exceed."""

    unit, better, scope, reduce = "bit", "lower", "csi", "p95"

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Bits of every report, float64 ``[batch, report]``."""
        return {"bits_p95": flat_tail(outcome.num_bits).astype(np.float64)}


class ReportLoss(Metric):
    """Share of reports that the gNB knows to be lost: erased, CRC failed, or no codeword. For uplinks that may fail."""

    unit, better, scope, bounds = "1", "lower", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Share per drop."""
        return {} if outcome.lost is None else {"report_loss": _per_drop(outcome.lost)}


class ReportError(Metric):
    """Share of reports that passed with wrong bits, unknown to the gNB. For uplinks that may fail."""

    unit, better, scope, bounds = "1", "lower", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Share per drop."""
        return {} if outcome.wrong is None else {"report_error": _per_drop(outcome.wrong)}


class UeCost(Metric):
    """Bit operations that the UE's network spends on a report: MACs times bits of weight and of activation.

    Products of activations, attention and scans included; 32 bits each in floating point. Schemes without a network
    have none.
    """

    unit, better, scope = "Gbop", "lower", "csi"

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean over reports per drop."""
        return {} if outcome.ue_bops is None else {"ue_gbops": _per_drop(outcome.ue_bops) / 1e9}


class UserRate(Metric):
    """Spectral efficiency of one UE (all its layers), mean over UEs."""

    unit, better, scope = "bit/s/Hz", "higher", "link"

    def evaluate(self, outcome: LinkOutcome) -> dict[str, np.ndarray]:
        """Mean over users and slots."""
        return {"user_rate_bpshz": _per_drop(outcome.rate, 2)}


class SumRate(Metric):
    """Sum over UEs of the spectral efficiency."""

    unit, better, scope = "bit/s/Hz", "higher", "link"

    def evaluate(self, outcome: LinkOutcome) -> dict[str, np.ndarray]:
        """Sum over users, mean over slots."""
        return {"sum_rate_bpshz": _per_drop(outcome.rate.sum(axis=2, dtype=np.float64), 2)}


class RelativeRate(Metric):
    """Sum rate over that of the same precoder with perfect CSI of the very slot: what feedback and ageing leave."""

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

    Behind a scheduler, of the users that are served with and without perfect CSI in the same slot; 1 for drops without.
    """

    unit, better, scope, bounds = "1", "lower", "link", (0.0, 1.0)

    def evaluate(self, outcome: LinkOutcome) -> dict[str, np.ndarray]:
        """One share per gamma."""
        failed = {gamma: outcome.rate < gamma * outcome.rate_ref for gamma in outcome.gammas}
        if outcome.scheduled:
            served = (outcome.rank > 0) & (outcome.rank_ref > 0)
            return {f"outage_gamma_{gamma:g}": _share_of_served(x, served) for gamma, x in failed.items()}
        return {f"outage_gamma_{gamma:g}": _per_drop(x, 2) for gamma, x in failed.items()}


class OutageRate(Metric):
    """Classical outage, share of reports with ``r < R``. Behind a scheduler, of the users that are served."""

    unit, better, scope, bounds = "1", "lower", "link", (0.0, 1.0)

    def evaluate(self, outcome: LinkOutcome) -> dict[str, np.ndarray]:
        """One share per target rate."""
        failed = {rate: outcome.rate < rate for rate in outcome.rates_bpshz}
        if outcome.scheduled:
            return {f"outage_rate_{rate:g}": _share_of_served(x, outcome.rank > 0) for rate, x in failed.items()}
        return {f"outage_rate_{rate:g}": _per_drop(x, 2) for rate, x in failed.items()}


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
