"""Antenna-frequency to angular-delay domain and back, with unitary DFTs, in NumPy."""

from __future__ import annotations

import numpy as np

from simulator.core.types import Panel


def to_angular_delay(h: np.ndarray, panel: Panel, num_delays: int) -> np.ndarray:
    r"""Truncated angular-delay image of every antenna-frequency channel.

    A 2-D unitary DFT over the panel, for each polarisation on its own, and an inverse DFT over frequency, of which the
    first ``num_delays`` taps are kept; one tap lasts :math:`1 / (N \Delta f)`.

    Args:
        h: complex ``[..., port, subcarrier]``, ports polarisation-major.
        panel: gNB panel.
        num_delays: taps kept, at most the number of subcarriers.

    Returns:
        complex ``[..., delay, port]``; only truncation loses energy.

    Source: Wen, Shih, Jin, IEEE Wireless Commun. Lett. 7(5), 2018, Sec. II (with a 2-D angular transform).
    """
    lead = h.shape[:-2]
    x = np.fft.ifft(h, axis=-1, norm="ortho")[..., :num_delays]
    x = x.reshape(*lead, panel.num_pol, panel.n1, panel.n2, num_delays)
    x = np.fft.fft2(x, axes=(-3, -2), norm="ortho").reshape(*lead, panel.num_ports, num_delays)
    return np.swapaxes(x, -1, -2).astype(h.dtype)


def from_angular_delay(x: np.ndarray, panel: Panel, num_subcarriers: int) -> np.ndarray:
    """Inverse of :func:`to_angular_delay`; missing delay taps are zero.

    Args:
        x: complex ``[..., delay, port]``.
        panel: gNB panel.
        num_subcarriers: frequency samples of the result.

    Returns:
        complex ``[..., port, subcarrier]``.
    """
    lead, num_delays = x.shape[:-2], x.shape[-2]
    x = np.swapaxes(x, -1, -2).reshape(*lead, panel.num_pol, panel.n1, panel.n2, num_delays)
    x = np.fft.ifft2(x, axes=(-3, -2), norm="ortho").reshape(*lead, panel.num_ports, num_delays)
    return np.fft.fft(x, n=num_subcarriers, axis=-1, norm="ortho").astype(np.result_type(x.dtype, np.complex64))


def to_real(x: np.ndarray) -> np.ndarray:
    """Complex ``[...]`` to float32 ``[..., 2]`` (real, imaginary)."""
    return np.stack([x.real, x.imag], axis=-1).astype(np.float32)


def to_complex(x: np.ndarray) -> np.ndarray:
    """Inverse of :func:`to_real`: float ``[..., 2]`` to complex64 ``[...]``."""
    return (x[..., 0] + 1j * x[..., 1]).astype(np.complex64)


def unit_power(h: np.ndarray, num_lead: int) -> np.ndarray:
    """Channels scaled to unit mean power per entry, one factor for each index of the first ``num_lead`` axes."""
    power = np.mean(np.abs(h) ** 2, axis=tuple(range(num_lead, h.ndim)), keepdims=True)
    return (h / np.sqrt(np.maximum(power, np.finfo(np.float32).tiny))).astype(np.complex64)
