"""Statistics of recorded channels, one value per sample of ``h [sample, rx_ant, port, slot, subcarrier]``."""

from __future__ import annotations

import numpy as np

from simulator.core.types import Panel

# Cells weaker than this below the strongest do not count as paths (TR 38.901, 7.5 step 6 removes clusters at -25 dB).
FLOOR = 10 ** (-2.5)


def delay_profile(h: np.ndarray) -> np.ndarray:
    """Power delay profile, mean over antennas and slots, float64 ``[sample, subcarrier]``; tap ``1 / (N df)``.

    A Hann window over frequency keeps side lobes below -31 dB; it doubles the width of a tap.
    """
    count = h.shape[-1]
    window = np.hanning(count + 2)[1:-1].astype(np.float32)
    taps = np.fft.ifft(h * window, axis=-1) * np.sqrt(count / np.sum(window**2))
    return np.mean(np.abs(taps) ** 2, axis=(1, 2, 3), dtype=np.float64) * count


def rms_delay_spread_s(h: np.ndarray, spacing_hz: float) -> np.ndarray:
    r"""Second central moment of the power delay profile [s], float64 ``[sample]``.

    :math:`\sqrt{\sum_d p_d (\tau_d - \bar\tau)^2 / \sum_d p_d}` around the circular mean delay, cells above -25 dB of
    the strongest, less the variance of the window itself. Not finer than one tap, ``1 / bandwidth``.
    """
    profile, count = delay_profile(h), h.shape[-1]
    tap = 1 / (count * spacing_hz)
    own = delay_profile(np.ones((1, 1, 1, 1, count), np.complex64))
    return np.sqrt(np.maximum(_circular_variance(profile) - _circular_variance(own), 0)) * tap


def _circular_variance(profile: np.ndarray) -> np.ndarray:
    """Variance in cells around the circular mean, ``[sample]``."""
    count = profile.shape[-1]
    p = np.where(profile >= FLOOR * profile.max(axis=-1, keepdims=True), profile, 0)
    p /= p.sum(axis=-1, keepdims=True)
    cell = np.arange(count)
    centre = np.angle(p @ np.exp(2j * np.pi * cell / count))[:, None] * count / (2 * np.pi)
    offset = (cell - centre + count / 2) % count - count / 2
    mean = np.sum(p * offset, axis=-1, keepdims=True)
    return np.sum(p * (offset - mean) ** 2, axis=-1)


def energy_in_taps(h: np.ndarray, num_delays: int) -> np.ndarray:
    """Share of the energy in the first delay taps (no window), as an angular-delay image keeps it, ``[sample]``."""
    taps = np.abs(np.fft.ifft(h, axis=-1)) ** 2
    return taps[..., :num_delays].sum(axis=(1, 2, 3, 4)) / np.maximum(taps.sum(axis=(1, 2, 3, 4)), 1e-300)


def k_factor_db(h: np.ndarray) -> np.ndarray:
    r"""Ricean K from the first two moments of :math:`G = |h|^2` over antennas, slots and frequency [dB], ``[sample]``.

    :math:`K = \sqrt{1 - v} / (1 - \sqrt{1 - v})`, :math:`v = \mathrm{var}(G) / E[G]^2`; -inf for :math:`v \ge 1`.

    Source: Greenstein, Michelson, Erceg, "Moment-method estimation of the Ricean K-factor", IEEE Commun. Lett., 1999.
    """
    gain = np.abs(h.reshape(len(h), -1)).astype(np.float64) ** 2
    v = gain.var(axis=1) / np.maximum(gain.mean(axis=1) ** 2, 1e-300)
    root = np.sqrt(np.clip(1 - v, 0, 1))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(root / np.maximum(1 - root, 1e-12))


def beam_power(h: np.ndarray, panel: Panel, oversampling: int = 4) -> np.ndarray:
    """Bartlett spectrum over direction cosines -1..1, float64 ``[sample, oversampling * n1, oversampling * n2]``."""
    x = np.moveaxis(h, 2, -1).reshape(len(h), -1, panel.num_pol, panel.n1, panel.n2)
    step = max(1, x.shape[1] // 64)  # every pair of slot and subcarrier tells nearly the same
    size = (oversampling * panel.n1, oversampling * panel.n2 if panel.n2 > 1 else 1)
    spectrum = np.fft.fftshift(np.fft.fft2(x[:, ::step], s=size, axes=(-2, -1)), axes=(-2, -1))
    return np.mean(np.abs(spectrum) ** 2, axis=(1, 2), dtype=np.float64)


def angular_spread_deg(h: np.ndarray, panel: Panel) -> np.ndarray:
    """Circular azimuth spread of the Bartlett spectrum over the columns [degree], ``[sample]``.

    Half-wavelength columns; not finer than their beam width. Source of the measure: TR 38.901, Annex A.1.
    """
    power = beam_power(h, panel, oversampling=8).sum(axis=2)
    power = np.where(power >= FLOOR * power.max(axis=1, keepdims=True), power, 0)
    azimuth = np.arcsin(np.linspace(-1, 1, power.shape[1], endpoint=False))
    length = np.abs(power @ np.exp(1j * azimuth)) / power.sum(axis=1)
    return np.degrees(np.sqrt(-2 * np.log(np.clip(length, 1e-12, 1))))


def coherence(h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Correlation over one slot, and the lag in slots where it falls below 0.5 (interpolated; num_slots if never).

    :math:`\rho(k) = |\sum_t h_t^H h_{t+k}| / \sqrt{\sum_t \|h_t\|^2 \sum_t \|h_{t+k}\|^2}`, both ``[sample]``.
    """
    x = np.moveaxis(h, 3, 1).reshape(len(h), h.shape[3], -1)
    slots = x.shape[1]
    energy = np.sum(np.abs(x) ** 2, axis=2)
    rho = np.ones((len(h), slots))
    for lag in range(1, slots):
        inner = np.abs(np.einsum("stn,stn->s", x[:, :-lag].conj(), x[:, lag:]))
        rho[:, lag] = inner / np.sqrt(energy[:, :-lag].sum(axis=1) * energy[:, lag:].sum(axis=1))
    below = rho < 0.5
    first = np.where(below.any(axis=1), below.argmax(axis=1), slots)
    lag = first.astype(float)
    hit = first < slots
    rows = np.flatnonzero(hit)
    before, after = rho[rows, first[rows] - 1], rho[rows, first[rows]]
    lag[rows] = first[rows] - 1 + (before - 0.5) / (before - after)
    return rho[:, 1], lag


def dominant_directions(h: np.ndarray, share: float) -> np.ndarray:
    """Eigenvalues of the port covariance of a sample that hold ``share`` of its energy, their number, ``[sample]``."""
    x = np.moveaxis(h, 2, -1).reshape(len(h), -1, h.shape[2])
    step = max(1, x.shape[1] // 64)
    covariance = np.einsum("snp,snq->spq", x[:, ::step], x[:, ::step].conj())
    power = np.cumsum(np.linalg.eigvalsh(covariance)[:, ::-1], axis=1)
    return 1.0 + np.sum(power < share * power[:, -1:], axis=1)
