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


def to_mimo_image(h: np.ndarray, panel: Panel, num_delays: int | None) -> np.ndarray:
    """One image of all antennas of a UE, power per entry kept up to truncation.

    Args:
        h: complex ``[..., rx_ant, port, subcarrier]``.
        panel: gNB panel.
        num_delays: delay taps of beams; None: subcarriers of antennas.

    Returns:
        float32 ``[..., row, rx_ant * port, 2]``, rows are delay taps or subcarriers.
    """
    if num_delays is None:
        x = np.moveaxis(h, -1, -3)
    else:
        gain = np.float32((num_delays / h.shape[-1]) ** 0.5)
        x = np.swapaxes(to_angular_delay(h, panel, num_delays), -3, -2) * gain  # [..., delay, rx_ant, port]
    return to_real(x.reshape(*x.shape[:-2], -1))


def from_mimo_image(x: np.ndarray, panel: Panel, num_delays: int | None, num_subcarriers: int) -> np.ndarray:
    """Inverse of :func:`to_mimo_image`; missing delay taps are zero.

    Args:
        x: float ``[..., row, rx_ant * port, 2]``.
        panel: gNB panel.
        num_delays: as the image was made.
        num_subcarriers: frequency samples of the result.

    Returns:
        complex64 ``[..., rx_ant, port, subcarrier]``.
    """
    h = to_complex(x).reshape(*x.shape[:-2], -1, panel.num_ports)  # [..., row, rx_ant, port]
    if num_delays is None:
        return np.moveaxis(h, -3, -1)
    gain = np.float32((num_subcarriers / num_delays) ** 0.5)
    return gain * from_angular_delay(np.swapaxes(h, -3, -2), panel, num_subcarriers)


def subband_eigenvectors(h: np.ndarray, subband_size: int, num_layers: int) -> np.ndarray:
    r"""Strongest transmit directions of every subband: leading eigenvectors of :math:`\sum_n H_n^H H_n`.

    Args:
        h: complex ``[..., rx_ant, port, subcarrier]``.
        subband_size: frequency samples of a subband; the last may be smaller.
        num_layers: directions, at most ``min(rx_ant, port)``.

    Returns:
        complex64 ``[..., layer, subband, port]``, unit norm, strongest first, any phase; w maximises
        :math:`\sum_n \|H_n w\|^2`.

    Source: 3GPP TR 38.843, 6.2.2 (eigenvector per layer and subband as target CSI).
    """
    found = []
    for start in range(0, h.shape[-1], subband_size):
        rows = np.moveaxis(h[..., start : start + subband_size], -1, -3)
        rows = rows.reshape(*rows.shape[:-3], -1, rows.shape[-1])  # [..., sample * rx, port]
        if rows.shape[-2] <= rows.shape[-1]:
            _, u = np.linalg.eigh(rows @ np.conj(np.swapaxes(rows, -1, -2)))
            w = np.conj(np.swapaxes(u, -1, -2))[..., ::-1, :][..., :num_layers, :] @ rows  # u^H H = sigma v^H
            w = np.conj(w)
        else:
            _, v = np.linalg.eigh(np.conj(np.swapaxes(rows, -1, -2)) @ rows)
            w = np.swapaxes(v, -1, -2)[..., ::-1, :][..., :num_layers, :]
        found.append(w / np.maximum(np.linalg.norm(w, axis=-1, keepdims=True), 1e-20))
    return np.stack(found, axis=-2).astype(np.complex64)


def to_eigenvector_image(w: np.ndarray, panel: Panel) -> np.ndarray:
    """Beam-domain image of subband directions, phases aligned along the band, unit power per entry.

    Args:
        w: complex64 ``[..., subband, port]``, unit norm.
        panel: gNB panel.

    Returns:
        float32 ``[..., subband, port, 2]``. The strongest beam of the first subband is real and positive; each next
        subband has a positive inner product with the one before.
    """
    beams = to_angular_delay(w[..., None], panel, 1)[..., 0, :]
    first = beams[..., 0, :]
    strongest = np.take_along_axis(first, np.abs(first).argmax(axis=-1)[..., None], axis=-1)
    steps = np.sum(beams[..., :-1, :] * np.conj(beams[..., 1:, :]), axis=-1)
    turns = np.cumsum(np.concatenate([-np.angle(strongest), np.angle(steps)], axis=-1), axis=-1)
    return to_real(beams * np.exp(1j * turns)[..., None]) * np.float32(panel.num_ports**0.5)


def from_eigenvector_image(x: np.ndarray, panel: Panel) -> np.ndarray:
    """Directions complex64 ``[..., subband, port]``, unit norm, of images float32 ``[..., subband, port, 2]``."""
    w = from_angular_delay(to_complex(x)[..., None, :], panel, 1)[..., 0]
    return (w / np.maximum(np.linalg.norm(w, axis=-1, keepdims=True), 1e-20)).astype(np.complex64)
