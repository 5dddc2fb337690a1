"""Least squares with denoising in the delay domain."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from receivers.estimation.csi_rs import CsiRsEstimator
from simulator.core.params import Real, validated
from simulator.core.types import RadioGeometry
from simulator.core.units import db_to_lin


class DenoisingEstimator(CsiRsEstimator):
    r"""Window the delays of the least-squares pilots by their power over the noise.

    Taps are the unitary inverse DFT of the pilots. A tap of mean power :math:`\bar S` over the ports and antennas of a
    UE is multiplied by :math:`\max(1 - T \sigma^2 / \bar S, 0)`: nothing below the threshold, and above it about the
    share of the channel in it. Interpolation follows. ``error_var`` is Stein's unbiased estimate, tap by tap.

    Args:
        geometry: of the scenario.
        threshold_db: T, over the variance of the noise on a tap [dB].
        max_delay_s: longest delay, and one eighth of it before zero, that may be kept [s]; None: all.
        interpolation: "nearest" or "linear".
        csi_rs: ``snr_db``, ``inr_db``, ``period_slots``, ``density``, ``row`` of
            :class:`~receivers.estimation.csi_rs.CsiRsEstimator`.

    Source: James, Stein, Proc. 4th Berkeley Symp., 1961 (positive part); Stein, Ann. Statist. 9(6), 1981.
    """

    @validated("estimation")
    def __init__(
        self,
        geometry: RadioGeometry,
        *,
        threshold_db: Annotated[Real, Field(ge=0, le=30)] = 0.5,
        max_delay_s: Annotated[Real, Field(gt=0, le=1e-3)] | None = None,
        interpolation: Literal["nearest", "linear"] = "linear",
        **csi_rs: Any,
    ):
        self._between_pilots = interpolation
        super().__init__(geometry, **csi_rs)
        self._threshold = float(db_to_lin(threshold_db))
        # Delays of the taps in cycles per frequency sample, the upper half before zero.
        delays = np.fft.fftfreq(self.signal.positions.shape[1], self.spacing)
        self._power = self.interpolation.spectrum(delays)[1].astype(np.float32)
        limit = np.inf if max_delay_s is None else max_delay_s * geometry.spacing_hz
        self._window = (delays <= limit) & (delays >= -limit / 8)

    def _denoise(self, z: np.ndarray, noise_var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        taps = np.fft.ifft(z, axis=-1, norm="ortho")
        noise = noise_var[..., None]  # [batch, user, slot, tap], as all below
        power = np.maximum(np.mean(taps.real**2 + taps.imag**2, axis=(2, 3)), np.float32(1e-30))
        cut = np.float32(self._threshold) * noise / power
        kept = self._window & (cut < 1)
        gain = np.where(kept, 1 - cut, 0).astype(np.float32)
        entries = z.shape[2] * z.shape[3]
        error = np.where(kept, noise * (1 + cut * (self._threshold - 2 * (1 - 1 / entries))), power - noise)
        cleaned = np.fft.fft(taps * gain[:, :, None, None], axis=-1, norm="ortho")
        return cleaned, np.maximum(np.mean(error * self._power, axis=-1), 1e-3 * noise_var)
