"""Metrics by name: one value per drop from what happened in the link."""

from __future__ import annotations

import numpy as np

from simulator.core.interfaces import Metric
from simulator.core.shapes import flat_tail, per_drop
from simulator.core.units import amplitude_to_db, db_to_lin, lin_to_db
from simulator.outcomes import CsiOutcome


def _per_report(key: str, function: str, outcome: CsiOutcome, axes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Mean per drop of a function of :mod:`simulator.maths.rates` over ``axes`` of h; nothing for implicit schemes."""
    if outcome.h_hat is None:
        return {}
    from keras import ops

    from simulator.maths import rates

    return {key: per_drop(ops.convert_to_numpy(getattr(rates, function)(outcome.h, outcome.h_hat, axes)))}


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
        return lin_to_db(np.maximum(mean, 1e-30))


class NmseScaled(Metric):
    """NMSE after the best complex factor for each report: a scheme that loses only the scale has no error."""

    unit, better, scope = "dB", "lower", "csi"

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Linear ratio per drop."""
        return _per_report("nmse_scaled_db", "nmse_scaled", outcome, (2, 3, 5))

    def finalize(self, mean: np.ndarray, snr_db: float | None = None) -> np.ndarray:
        """Ratio to dB."""
        return lin_to_db(np.maximum(mean, 1e-30))


class EnergyRatio(Metric):
    """Mean over reports of the energy of the known channel over that of the true one.

    Neither more nor less is better: below 1 a scheme shrinks uncertain parts, above 1 it promises gain that does not
    exist. A mean of 1 may hide reports on both sides; ``nmse_db`` compared with ``nmse_scaled_db`` shows them.
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
        return -amplitude_to_db(np.maximum(mean, 1e-15))


class RhoSe(Metric):
    r""":math:`\log_2(1 + \mathrm{SNR} \rho^2)` with the mean :math:`\rho` of matrices (NF-KD, Table 4)."""

    unit, better, scope, bounds = "bit/s/Hz", "higher", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean modulus per drop, one row per SNR."""
        rho_by_key = _rho("rho_se_bpshz", outcome)
        return {key: np.broadcast_to(rho, (len(outcome.snr_db), len(rho))) for key, rho in rho_by_key.items()}

    def finalize(self, mean: np.ndarray, snr_db: float | None = None) -> np.ndarray:
        """Cosine to spectral efficiency."""
        return np.log2(1 + db_to_lin(snr_db) * mean**2)


class Cosine(Metric):
    """Mean over subcarriers and layers of ``|v^H v_hat| / (|v| |v_hat|)``, 0 to 1."""

    unit, better, scope, bounds = "1", "higher", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean modulus per drop."""
        return {"cosine": per_drop(np.sqrt(outcome.correlation2))}


class Sgcs(Metric):
    """Squared generalised cosine similarity, mean over subcarriers and layers of the squared cosine, 0 to 1.

    The target is the direction of every frequency sample, so that a subband precoder stays below 1 however many bits
    it has; ``sgcs_subband`` has the eigenvector of the subband as target, as 3GPP.
    """

    unit, better, scope, bounds = "1", "higher", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean squared cosine per drop."""
        return {"sgcs": per_drop(outcome.correlation2)}


class BeamformingGainLoss(Metric):
    r"""Beamforming-gain loss :math:`-20 \log_{10} \rho` with the mean cosine :math:`\rho` (NF-KD, Table 4)."""

    unit, better, scope, bounds = "dB", "lower", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean cosine per drop."""
        return {"bf_gain_loss_db": per_drop(np.sqrt(outcome.correlation2))}

    def finalize(self, mean: np.ndarray, snr_db: float | None = None) -> np.ndarray:
        """Cosine to loss in dB."""
        return -amplitude_to_db(np.maximum(mean, 1e-15))


class RhoSquaredSe(Metric):
    r"""Spectral efficiency without array gain, :math:`\log_2(1 + \mathrm{SNR} \rho^2)` (NF-KD, Table 4)."""

    unit, better, scope, bounds = "bit/s/Hz", "higher", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean cosine per drop, one row per SNR."""
        rho = per_drop(np.sqrt(outcome.correlation2))
        return {"rho2_se_bpshz": np.broadcast_to(rho, (len(outcome.snr_db), len(rho)))}

    def finalize(self, mean: np.ndarray, snr_db: float | None = None) -> np.ndarray:
        """Cosine to spectral efficiency."""
        return np.log2(1 + db_to_lin(snr_db) * mean**2)


class BitsMean(Metric):
    """Mean length of a report."""

    unit, better, scope = "bit", "lower", "csi"

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean bits per drop."""
        return {"bits_mean": per_drop(outcome.num_bits)}


class BitsPerSlot(Metric):
    """Bits that a UE sends in a slot in the mean: length of a report over the slots from one report to the next."""

    unit, better, scope = "bit", "lower", "csi"

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean bits per drop."""
        return {"bits_per_slot": per_drop(outcome.num_bits) / outcome.period_slots}


class PmiBits(Metric):
    """Mean length of the PMI alone: part 2 of a 3GPP report; the whole report of schemes without parts."""

    unit, better, scope = "bit", "lower", "csi"

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean bits per drop."""
        return {"pmi_bits": per_drop(outcome.num_bits - outcome.part1_bits)}


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
        return {} if outcome.lost is None else {"report_loss": per_drop(outcome.lost)}


class ReportError(Metric):
    """Share of reports that passed with wrong bits, unknown to the gNB. For uplinks that may fail."""

    unit, better, scope, bounds = "1", "lower", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Share per drop."""
        return {} if outcome.wrong is None else {"report_error": per_drop(outcome.wrong)}


class CsiRsPorts(Metric):
    """CSI-RS ports sent for all users of a drop, one resource element each per resource block at density 1.

    Ports of the antennas serve all users alike; beamformed ones are sent for every user. For links with a scheme on
    beamformed ports.
    """

    unit, better, scope = "1", "lower", "csi"

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """The same for every drop."""
        if outcome.csi_rs_ports is None:
            return {}
        return {"csi_rs_ports": np.full(len(outcome.h), float(outcome.csi_rs_ports))}


class UeCost(Metric):
    """Bit operations that the UE's network spends on a report: MACs times bits of weight and of activation.

    Products of activations, attention and scans included; 32 bits each in floating point. Schemes without a network
    have none.
    """

    unit, better, scope = "Gbop", "lower", "csi"

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean over reports per drop."""
        return {} if outcome.ue_bops is None else {"ue_gbops": per_drop(outcome.ue_bops) / 1e9}
