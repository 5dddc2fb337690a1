"""Power-delay profile of a UE from its despread pilots."""

from __future__ import annotations

import numpy as np

_EARLY = 1 / 8  # share of the unambiguous delays that represents negative ones


def delay_grid(num_pilots: int, spacing: float) -> np.ndarray:
    """Delays of a profile in cycles per frequency sample, float64 ``[2 * pilot]``, as the FFT orders them.

    Pilots every ``spacing`` samples have unambiguous delays within ``1 / spacing``; an eighth of it is before zero.
    """
    count = 2 * num_pilots
    index = np.arange(count)
    return (index - count * (index >= count * (1 - _EARLY))) / (count * spacing)


def power_delay_profile(z: np.ndarray, noise_var: np.ndarray) -> np.ndarray:
    r"""Mean power of the channel over antennas and ports at every delay of :func:`delay_grid`.

    Hann-windowed periodogram less the noise: :math:`\hat P(\tau) = (\overline{|\sum_p w_p z_p e^{j 2 \pi p \tau}|^2} -
    \sigma^2) / D`, :math:`\sum_p w_p^2 = 1`, for D delays. It is unbiased up to the width of the window, so that values
    may be negative; they add up to the power of an entry.

    Args:
        z: pilots complex64 ``[batch, user, rx_ant, port, slot, pilot]``, equidistant.
        noise_var: variance of their noise ``[batch, user, slot]``.

    Returns:
        float32 ``[batch, user, slot, delay]``, linear.
    """
    count = z.shape[-1]
    window = np.hanning(count + 2)[1:-1]
    window = (window / np.linalg.norm(window)).astype(np.float32)
    taps = np.fft.ifft(z * window, n=2 * count, axis=-1, norm="forward")
    power = np.mean(taps.real**2 + taps.imag**2, axis=(2, 3))
    return ((power - noise_var[..., None]) / (2 * count)).astype(np.float32)
