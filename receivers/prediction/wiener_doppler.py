"""Wiener prediction of a channel with Jakes' Doppler spectrum."""

from __future__ import annotations

import numpy as np
from scipy.constants import speed_of_light
from scipy.special import j0

from receivers.prediction.covariance import combine, slot_covariance
from simulator.core.interfaces import Predictor
from simulator.core.params import SnrDb, Speed, validated
from simulator.core.types import RadioGeometry
from simulator.core.units import db_to_lin

# Maximum Doppler shifts that are tried, in turns per slot; denser where the correlation is nearly 1.
_DOPPLERS = 0.5 * (np.arange(501) / 500) ** 2
# Least share of noise: bounds the weights where slots are nearly equal.
_MIN_NOISE = 1e-5


class WienerDopplerPredictor(Predictor):
    r"""LMMSE prediction :math:`\hat x(t + d) = r^T (R + \sigma^2 I)^{-1} x`, the same for all entries of a UE.

    :math:`R_{st} = P J_0(2\pi f_d T (s - t))` (isotropic scattering), noise variance :math:`\sigma^2` on the diagonal.
    Parameters that are not given are estimated for every UE from the sample autocorrelation of its history over slots,
    averaged over antennas, ports and subcarriers: ``f_d`` (up to half a turn per slot) and P are the least-squares fit
    of :math:`P J_0` at lags 1 and above, weighted by the number of slot pairs; the rest of the power at lag 0 is noise.
    The root mean square of the residuals of the fit, which Jakes' spectrum cannot explain, is a lower limit of the
    noise: a channel of few paths would otherwise be extrapolated from a model that does not hold.

    Args:
        geometry: carrier and slot duration, for a given speed; the speed of the scenario is not read.
        speed_mps: speed of the UEs [m/s]; None estimates the maximum Doppler shift.
        snr_db: SNR of the estimates per entry [dB]; None estimates it.

    Source: W. C. Jakes, "Microwave Mobile Communications", 1974, Ch. 1; S. M. Kay, "Fundamentals of Statistical
        Signal Processing: Estimation Theory", 1993, Ch. 12.
    """

    @validated("predict")
    def __init__(
        self,
        geometry: RadioGeometry,
        *,
        speed_mps: Speed | None = None,
        snr_db: SnrDb | None = None,
    ):
        self._turns = None
        if speed_mps is not None:
            self._turns = speed_mps * geometry.carrier_hz / speed_of_light * geometry.slot_s
        self._snr_db = snr_db

    @property
    def num_history(self) -> int:
        """One slot, and one more for the speed and for the SNR where they are not given."""
        return 1 + (self._turns is None) + (self._snr_db is None)

    def predict(self, history: np.ndarray, num_slots: int) -> np.ndarray:
        """The channel ``num_slots`` after the history; the present estimate, as it is, for 0."""
        slots = history.shape[4]
        self.check(slots, num_slots)
        if num_slots == 0:
            return history[..., -1, :].copy()
        turns, share, misfit = self._fit(slot_covariance(history))
        age = np.arange(slots)[::-1]
        correlation = share[..., None, None] * j0(2 * np.pi * turns[..., None, None] * (age[:, None] - age))
        noise = np.maximum(1 - share, np.maximum(misfit, _MIN_NOISE))[..., None, None] * np.eye(slots)
        future = share[..., None] * j0(2 * np.pi * turns[..., None] * (age + num_slots))
        weights = np.linalg.solve(correlation + noise, future[..., None])[..., 0]
        return combine(weights, history)

    def _fit(self, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Maximum Doppler shift [turns per slot], share of the channel in the power, residual; ``[batch, user]`` each.

        The residual is relative to the power, 0 where speed and SNR are given.
        """
        slots = covariance.shape[-1]
        pairs = slots - np.arange(slots)
        lags = [np.trace(covariance, -lag, -2, -1).real / pairs[lag] for lag in range(slots)]
        r = np.stack(lags, axis=-1) / np.maximum(lags[0], 1e-30)[..., None]  # autocorrelation [batch, user, lag]
        turns = _DOPPLERS if self._turns is None else np.array([self._turns])
        shape = j0(2 * np.pi * turns[:, None] * np.arange(1, slots))  # [doppler, lag]
        r, weight = r[..., None, 1:], pairs[1:]
        if self._snr_db is None:
            energy = np.maximum(np.sum(weight * shape**2, axis=-1), 1e-30)
            share = np.clip(np.sum(weight * r * shape, axis=-1) / energy, 0, 1)  # [batch, user, doppler]
        else:
            share = np.full((*r.shape[:2], len(turns)), 1 / (1 + db_to_lin(-self._snr_db)))
        error = np.sum(weight * (r - share[..., None] * shape) ** 2, axis=-1)
        best = np.argmin(error, axis=-1)
        share, error = (np.take_along_axis(x, best[..., None], axis=-1)[..., 0] for x in (share, error))
        given = self._turns is not None and self._snr_db is not None
        return turns[best], share, np.zeros_like(error) if given else np.sqrt(error / max(weight.sum(), 1))
