"""The channel plus white Gaussian noise of a given estimation SNR."""

from __future__ import annotations

import numpy as np

from simulator.core.interfaces import Estimator
from simulator.core.params import SnrDb, validated
from simulator.core.types import CsiEstimate


class NoisyEstimator(Estimator):
    r"""Estimate :math:`\hat h = h + n`, :math:`n \sim \mathcal{CN}(0, \bar P / \mathrm{SNR})` per entry.

    :math:`\bar P` is the mean of ``|h|^2`` over the entries of one UE in one slot.

    Args:
        snr_db: estimation SNR per entry [dB].
    """

    @validated("estimation")
    def __init__(self, *, snr_db: SnrDb):
        self.snr_db = snr_db

    def estimate(self, h: np.ndarray, *, seed: int) -> CsiEstimate:
        """Noisy copy of ``h`` complex64 ``[batch, user, rx_ant, port, subcarrier]`` and its error variance."""
        rng = np.random.default_rng(seed)
        power = np.mean(np.abs(h) ** 2, axis=(2, 3, 4))
        error_var = (power * 10 ** (-self.snr_db / 10)).astype(np.float32)
        noise = rng.standard_normal((*h.shape, 2), np.float32).view(np.complex64)[..., 0]
        return CsiEstimate(h + np.sqrt(error_var / 2)[:, :, None, None, None] * noise, error_var)
