"""Random clusters: what holds for any draw."""

import numpy as np

from receivers.training.data.clusters import random_clusters
from simulator.core.types import Panel

PANEL = Panel(4, 2, 2)


def test_same_seed_same_channels():
    one, two = (random_clusters(np.random.default_rng(3), 4, PANEL, 13, 360e3) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (4, 16, 13) and one.dtype == np.complex64
    assert random_clusters(np.random.default_rng(3), 2, Panel(3, 1, 1), 5, 360e3).shape == (2, 3, 5)


def test_a_band_of_one_tone_is_flat_and_neighbours_are_alike(rng):
    """Delays of some microseconds at most: samples 1 kHz apart are equal, and 18 MHz are not."""
    close = random_clusters(np.random.default_rng(5), 20, PANEL, 2, 1.0)
    np.testing.assert_allclose(close[..., 0], close[..., 1], atol=1e-3 * np.abs(close).max())
    wide = random_clusters(np.random.default_rng(5), 20, PANEL, 2, 18e6)
    np.testing.assert_allclose(wide[..., 0], close[..., 0], atol=1e-5 * np.abs(close).max())
    inner = np.abs(np.sum(wide[..., 0].conj() * wide[..., 1], axis=1))
    cosine = inner / np.linalg.norm(wide[..., 0], axis=1) / np.linalg.norm(wide[..., 1], axis=1)
    assert (cosine < 0.99).mean() > 0.5


def test_angles_stay_within_those_of_a_panel_of_half_wavelength_spacing():
    """A lone ray is a plane wave: neighbouring columns differ by one phase everywhere."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        h = random_clusters(rng, 1, Panel(8, 1, 1), 1, 1.0)[0, :, 0]
        step = h[1:] / h[:-1]
        if np.abs(np.abs(step) - 1).max() < 1e-4:
            np.testing.assert_allclose(step, step[0], atol=1e-3)
            return
    raise AssertionError("no draw of one ray")
