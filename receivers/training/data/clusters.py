"""Random clusters of paths: channels of no profile, so that a network learns no profile by heart."""

from __future__ import annotations

import numpy as np

from simulator.core.types import Panel


def random_clusters(
    rng: np.random.Generator, count: int, panel: Panel, num_subcarriers: int, spacing_hz: float
) -> np.ndarray:
    r"""Channels complex64 ``[sample, port, subcarrier]`` of one-antenna users, elements half a wavelength apart.

    Every sample has 1 to 30 clusters of 1 to 15 rays, log-uniform spreads of delay (10 to 700 ns), azimuth (2 to 70
    degree) and zenith (0.5 to 20 degree) among clusters and smaller ones within them, in three of ten a path of its own
    with a K-factor of -3 to 13 dB, and any ratio and phase of the polarisations. The draws follow no standard.

    Args:
        rng: of all draws.
        count: samples.
        panel: gNB panel.
        num_subcarriers: frequency samples.
        spacing_hz: between them [Hz].
    """
    return np.stack([_one(rng, panel, num_subcarriers, spacing_hz) for _ in range(count)])


def _one(rng: np.random.Generator, panel: Panel, num_subcarriers: int, spacing_hz: float) -> np.ndarray:
    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    clusters, rays = int(between(1, 30)), int(rng.integers(1, 16))
    shape = (clusters, rays)
    spread = between(10e-9, 700e-9)
    delay = np.sort(rng.exponential(1, clusters))
    delay = spread * (delay - delay[0])
    power = np.exp(-delay / spread * rng.uniform(0, 1.5)) * 10 ** (rng.uniform(0, 0.6) * rng.standard_normal(clusters))
    if rng.random() < 0.3:
        power[0] += power.sum() * 10 ** rng.uniform(-0.3, 1.3)
    azimuth = rng.uniform(-60, 60) + between(2, 70) * rng.standard_normal(clusters)
    zenith = 90 + rng.uniform(-15, 15) + between(0.5, 20) * rng.standard_normal(clusters)
    azimuth = np.radians(azimuth[:, None] + between(0.5, 12) * rng.laplace(size=shape)).ravel()
    zenith = np.radians(zenith[:, None] + between(0.3, 7) * rng.laplace(size=shape)).ravel()
    delay = (delay[:, None] + between(0.1e-9, 10e-9) * rng.exponential(1, shape)).ravel()
    amplitude = np.sqrt(np.repeat(power / rays, rays))

    phase = np.exp(2j * np.pi * rng.random((2, clusters * rays)))
    if rng.random() < 0.5:  # leakage between two slanted polarisations
        slant, leakage = np.pi * rng.random(), 10 ** (-rng.uniform(2, 20) / 20)
        turn = np.array([[np.cos(slant), np.sin(slant)], [-np.sin(slant), np.cos(slant)]])
        pol = turn @ (phase * np.array([[1.0], [leakage]]))
    else:
        pol = phase * np.array([[1.0], [10 ** (rng.uniform(-6, 6) / 20)]])
    pol = pol[: panel.num_pol]
    first = np.exp(1j * np.pi * np.outer(np.arange(panel.n1), np.sin(azimuth) * np.sin(zenith)))
    second = np.exp(1j * np.pi * np.outer(np.arange(panel.n2), np.cos(zenith)))
    ports = (pol[:, None, None] * first[:, None] * second * amplitude).reshape(panel.num_ports, -1)
    tones = np.exp(-2j * np.pi * np.outer(delay, np.arange(num_subcarriers) * spacing_hz))
    return (ports.astype(np.complex64) @ tones.astype(np.complex64)).astype(np.complex64)
