"""Statistics of recorded channels, one value per sample of ``h [sample, rx_ant, port, slot, subcarrier]``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.core.types import Panel
from simulator.core.units import db_to_lin, lin_to_db

# Beams weaker than this next to the strongest do not count as directions (TR 38.901, 7.5 step 6: clusters, -25 dB).
FLOOR = float(db_to_lin(-25.0))


def delay_profile(h: np.ndarray) -> np.ndarray:
    """Power delay profile, mean over antennas and slots, float64 ``[sample, subcarrier]``; tap ``1 / (N df)``.

    For pictures: a Hann window over frequency keeps side lobes below -31 dB; it doubles the width of a tap.
    """
    count = h.shape[-1]
    window = np.hanning(count + 2)[1:-1].astype(np.float32)
    taps = np.fft.ifft(h * window, axis=-1) * np.sqrt(count / np.sum(window**2))
    return np.mean(np.abs(taps) ** 2, axis=(1, 2, 3), dtype=np.float64) * count


def rms_delay_spread_s(h: np.ndarray, spacing_hz: float) -> np.ndarray:
    r"""Second central moment of the power delay profile [s], float64 ``[sample]``; no window, no floor.

    The frequency correlation :math:`r(k) = |\sum h_n^* h_{n+k}| / \sqrt{\sum |h_n|^2 \sum |h_{n+k}|^2}` over antennas,
    slots and subcarriers is the Fourier transform of the profile (paths of independent phases), so that
    :math:`g(k) = -2 \ln r(k) = (2 \pi k \Delta f \sigma)^2 + O(k^4)`. The fourth order is taken out by
    :math:`(16 g(1) - g(2)) / 12`. Taps do not limit the resolution, their side lobes add nothing. Low by 4 % for an
    exponential profile of :math:`\sigma = 0.1 / \Delta f`, by less for shorter ones; delays count modulo
    :math:`1 / \Delta f`.
    """
    first = -2 * np.log(_frequency_correlation(h, 1))
    if h.shape[-1] > 2:
        second = _frequency_correlation(h, 2)
        first = np.where(second > 0.3, (16 * first + 2 * np.log(second)) / 12, first)
    return np.sqrt(np.maximum(first, 0)) / (2 * np.pi * spacing_hz)


def _frequency_correlation(h: np.ndarray, lag: int) -> np.ndarray:
    """Magnitude for two subcarriers ``lag`` apart, 1e-12..1, float64 ``[sample]``."""
    rows = h.reshape(len(h), -1, h.shape[-1])
    early, late = rows[..., :-lag], rows[..., lag:]
    inner = np.abs(np.einsum("sak,sak->s", early.conj(), late, dtype=np.complex128))
    energy = [np.einsum("sak,sak->s", x.conj(), x, dtype=np.complex128).real for x in (early, late)]
    return np.clip(inner / np.maximum(np.sqrt(energy[0] * energy[1]), 1e-300), 1e-12, 1)


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
    return lin_to_db(root / np.maximum(1 - root, 1e-12))


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
    line = Panel(panel.n1, 1, panel.num_pol * panel.n2)  # rows and polarisations add up in power
    columns = np.moveaxis(h.reshape(*h.shape[:2], panel.num_pol, panel.n1, panel.n2, *h.shape[3:]), 4, 3)
    power = beam_power(columns.reshape(h.shape), line, oversampling=8)[:, :, 0]
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


def dominant_directions(h: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Number of eigenvalues of a sample's port covariance that hold each share of its energy, ``[share, sample]``."""
    x = np.moveaxis(h, 2, -1).reshape(len(h), -1, h.shape[2])
    x = x[:, :: max(1, x.shape[1] // 64)]
    pairs = (
        "snp,snq->spq" if x.shape[1] >= x.shape[2] else "snp,smp->snm"
    )  # the smaller of two with the same eigenvalues
    power = np.cumsum(np.linalg.eigvalsh(np.einsum(pairs, x, x.conj()))[:, ::-1], axis=1)
    return np.stack([1.0 + np.sum(power < share * power[:, -1:], axis=1) for share in shares])
