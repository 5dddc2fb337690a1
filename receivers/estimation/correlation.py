"""Correlation between the pilots of a UE."""

from __future__ import annotations

import numpy as np


def pilot_correlation(z: np.ndarray, noise_var: np.ndarray, count: int) -> np.ndarray:
    r""":math:`r_m`, mean of :math:`z_{p + m} z_p^*` over antennas, ports and pilots.

    Args:
        z: pilots complex64 ``[batch, user, rx_ant, port, slot, pilot]``.
        noise_var: variance of their noise ``[batch, user, slot]``; it is in :math:`r_0` alone, from which it is taken.
        count: lags m = 0 .. count - 1, at most the number of pilots.

    Returns:
        complex64 ``[batch, user, slot, lag]``.
    """
    pilots = z.shape[-1]
    taps = np.fft.fft(z, n=pilots + count, axis=-1)
    power = np.mean(taps.real**2 + taps.imag**2, axis=(2, 3))
    r = np.fft.ifft(power, axis=-1)[..., :count] / (pilots - np.arange(count))
    r[..., 0] -= noise_var
    return r.astype(np.complex64)
