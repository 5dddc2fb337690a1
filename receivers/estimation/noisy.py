"""The channel plus white Gaussian noise of a given estimation SNR."""

from __future__ import annotations

import numpy as np

from simulator.core.interfaces import Estimator
from simulator.core.params import SnrDb, validated
from simulator.core.types import CsiEstimate, RadioGeometry
from simulator.core.units import db_to_lin


class NoisyEstimator(Estimator):
    r"""Estimate :math:`\hat h = h + n`, :math:`n \sim \mathcal{CN}(0, \bar P / \mathrm{SNR})` per entry.

    :math:`\bar P` is the mean of ``|h|^2`` over the entries of one UE in one slot.

    Args:
        geometry: not used.
        snr_db: estimation SNR per entry [dB].
    """

    @validated("estimation")
    def __init__(self, geometry: RadioGeometry | None = None, *, snr_db: SnrDb):
        self.snr_db = snr_db

    def estimate(self, h: np.ndarray, *, seed: int) -> CsiEstimate:
        """Noisy copy of ``h`` complex64 ``[batch, user, rx_ant, port, slot, subcarrier]`` and its error variance."""
        rng = np.random.default_rng(seed)
        slots = np.ascontiguousarray(np.moveaxis(h, 4, 1))  # [batch, slot, user, rx, port, subcarrier]
        power = np.mean(np.abs(slots) ** 2, axis=(3, 4, 5))
        error_var = (power * float(db_to_lin(-self.snr_db))).astype(np.float32)
        noise = rng.standard_normal((*slots.shape, 2), np.float32).view(np.complex64)[..., 0]
        h_hat = slots + np.sqrt(error_var / 2)[..., None, None, None] * noise
        return CsiEstimate(np.moveaxis(h_hat, 1, 4), np.moveaxis(error_var, 1, 2))
