"""Wiener filter over the beams of the panel, with powers that are estimated from what is filtered."""

from __future__ import annotations

import numpy as np

from simulator.core.types import Panel


def beam_filter(
    h_hat: np.ndarray, noise_var: np.ndarray, freedom: np.ndarray, panel: Panel
) -> tuple[np.ndarray, np.ndarray]:
    r"""Estimates with less noise, where a channel has power on some DFT beams of the panel only.

    The noise :math:`\sigma^2` on an entry is white over ports, so that it is the same on every beam b of a unitary DFT
    over columns and rows. With :math:`P_b = \overline{|\hat h_b|^2}`, mean over UE antennas, polarisations and
    subcarriers, beam b is multiplied by :math:`g_b = \max(1 - \sigma^2 / P_b, 0)`. The error changes by

    .. math:: \overline{(1 - g_b)^2 P_b + 2 \sigma^2 (g_b + \sigma^2 / (m P_b) \, [g_b > 0])} - 2 \sigma^2,

    Stein's unbiased estimate with the number m of independent values in :math:`P_b`.

    Args:
        h_hat: complex64 ``[batch, user, rx_ant, port, slot, subcarrier]``.
        noise_var: of the noise in it, ``[batch, user, slot]``.
        freedom: independent values of the noise over the subcarriers of an entry, ``[batch, user, slot]``.
        panel: of the ports.

    Returns:
        filtered estimates, same shape, and the change of their error variance, float64 ``[batch, user, slot]``.

    Source: Stein, Ann. Statist. 9(6), 1981; Wiener filter in the beam domain: Adhikary, Nam, Ahn, Caire, IEEE Trans.
        Inf. Theory 59(10), 2013 (joint spatial division).
    """
    shape = h_hat.shape
    x = h_hat.reshape(*shape[:3], panel.num_pol, panel.n1, panel.n2, *shape[4:])
    x = np.fft.fftn(x, axes=(4, 5), norm="ortho")
    power = np.mean(x.real**2 + x.imag**2, axis=(2, 3, 7), dtype=np.float64)  # [batch, user, n1, n2, slot]
    noise = np.asarray(noise_var, np.float64)[:, :, None, None]
    values = shape[2] * panel.num_pol * np.asarray(freedom)[:, :, None, None]
    ratio = noise / np.maximum(power, 1e-30)
    gain = np.maximum(1 - ratio, 0)
    change = (1 - gain) ** 2 * power + 2 * noise * (gain + ratio / values * (gain > 0)) - 2 * noise
    x = x * gain[:, :, None, None, ..., None].astype(np.float32)
    return np.fft.ifftn(x, axes=(4, 5), norm="ortho").reshape(shape).astype(np.complex64), change.mean(axis=(2, 3))
