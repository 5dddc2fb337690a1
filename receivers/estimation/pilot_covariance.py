"""Covariance of the pilots of a slot over frequency, estimated from the pilots."""

from __future__ import annotations

import numpy as np

from receivers.estimation.delay_profile import delay_grid, power_delay_profile

_SIGNIFICANT = 1.75  # standard deviations of the noise on a delay


def pilot_covariance(z: np.ndarray, noise_var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Delays that stand out of the noise, and the inverse covariance of pilots with these delays.

    .. math:: (R + \sigma^2 I)^{-1}, \qquad R = \sum_\tau P(\tau) a(\tau) a(\tau)^H, \quad
        a_p(\tau) = e^{-j 2 \pi p \tau}

    Args:
        z: pilots complex64 ``[batch, user, rx_ant, port, slot, pilot]``, equidistant.
        noise_var: :math:`\sigma^2`, variance of their noise ``[batch, user, slot]``.

    Returns:
        P on the delays of :func:`~receivers.estimation.delay_profile.delay_grid`, float64 ``[batch, user, slot,
        delay]``, and the inverse complex128 ``[batch, user, slot, pilot, pilot]``.
    """
    count = z.shape[-1]
    profile = power_delay_profile(z, noise_var)
    deviation = noise_var / (2 * count) / np.sqrt(z.shape[2] * z.shape[3])
    profile = np.where(profile > _SIGNIFICANT * deviation[..., None], profile, 0).astype(np.float64)
    waves = np.exp(-2j * np.pi * np.multiply.outer(np.arange(count), delay_grid(count, 1.0)))
    covariance = (waves * profile[..., None, :]) @ np.conj(waves.T)
    return profile, np.linalg.inv(covariance + noise_var[..., None, None] * np.eye(count))


def apply_matrices(z: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Matrices complex ``[batch, user, slot, out, in]`` times complex64 ``[batch, user, rx_ant, port, slot, in]``."""
    x = np.moveaxis(z, 4, 2)
    y = x.reshape(*x.shape[:3], x.shape[3] * x.shape[4], x.shape[-1]) @ np.swapaxes(matrices, -1, -2).astype(
        np.complex64
    )
    return np.moveaxis(y.reshape(*x.shape[:-1], y.shape[-1]), 2, 4)
