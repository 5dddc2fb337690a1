"""The filter over beams: an independent loop, its declared error, and that it never costs where beams tell nothing."""

import numpy as np
import pytest

from receivers.estimation.beam_filter import beam_filter
from receivers.estimation.lmmse import LmmseEstimator
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.types import Panel, RadioGeometry
from simulator.maths.transforms import unit_power

PANEL = Panel(4, 2, 2)


def noise(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def plane_waves(rng, drops, beams, samples=6):
    """Power on some DFT beams of the panel alone: ``[drop, 1, rx_ant, port, slot, subcarrier]``."""
    n1, n2, wave = np.arange(4)[:, None], np.arange(2)[None, :], 0
    for b1, b2 in beams:
        steering = np.exp(2j * np.pi * (b1 * n1 / 4 + b2 * n2 / 2)) / np.sqrt(8)
        gain = noise(rng, drops, 1, 2, 2, 1, samples)
        wave = wave + np.einsum("durptk,xy->durpxytk", gain, steering)
    return (2 * wave).reshape(drops, 1, 2, 16, 1, samples).astype(np.complex64)


def test_filter_equals_a_loop(rng):
    h = noise(rng, 2, 1, 2, 16, 2, 6) + plane_waves(rng, 2, [(1, 0)])[..., :6]
    var, freedom = np.array([[[0.3, 0.5]], [[0.2, 0.9]]]), np.full((2, 1, 2), 4.0)
    ours, change = beam_filter(h, var, freedom, PANEL)
    for d in range(2):
        for t in range(2):
            x = h[d, 0, :, :, t].astype(complex).reshape(2, 2, 4, 2, 6)
            y, risk = np.zeros_like(x), 0.0
            for b1 in range(4):
                for b2 in range(2):
                    wave = np.exp(2j * np.pi * (b1 * np.arange(4)[:, None] / 4 + b2 * np.arange(2) / 2)) / np.sqrt(8)
                    z = np.einsum("rpxyk,xy->rpk", x, wave.conj())
                    p, s = np.mean(np.abs(z) ** 2), var[d, 0, t]
                    g = max(1 - s / p, 0)
                    y += np.einsum("rpk,xy->rpxyk", g * z, wave)
                    slope = g + (s / p / 16 if g else 0)  # 2 antennas, 2 polarisations, 4 of the subcarriers
                    risk += ((1 - g) ** 2 * p + 2 * s * slope - 2 * s) / 8
            np.testing.assert_allclose(ours[d, 0, :, :, t].reshape(x.shape), y, atol=1e-5)
            assert change[d, 0, t] == pytest.approx(risk, abs=1e-6)


@pytest.mark.parametrize("beams", [[(1, 0)], [(0, 1), (3, 0)], [(b, c) for b in range(4) for c in range(2)]])
def test_the_declared_change_is_the_true_one(beams, rng):
    """Also where all beams have power, and little is gained."""
    h = plane_waves(rng, 400, beams)
    z = h + np.float32(np.sqrt(0.5)) * noise(rng, *h.shape)
    ones = np.ones((400, 1, 1))
    filtered, change = beam_filter(z, 0.5 * ones, 6 * ones, PANEL)
    true = np.mean(np.abs(filtered - h) ** 2) - np.mean(np.abs(z - h) ** 2)
    assert change.mean() == pytest.approx(true, abs=0.01)
    # A known beam of eight leaves an eighth of the noise.
    if len(beams) == 1:
        assert np.mean(np.abs(filtered - h) ** 2) < 1.35 * 0.5 / 8


@pytest.mark.long
@pytest.mark.parametrize(("samples", "per", "spacing"), [(52, 12, 360e3), (312, 1, 30e3)])
def test_lmmse_over_beams_leaves_less_and_says_how_much(samples, per, spacing, eager):
    geometry = RadioGeometry(3.5e9, Panel(8, 2, 2), 1, 2, samples, spacing, ue_num_pol=2, subcarriers_per_sample=per)
    h = unit_power(registry.build("channels", "umi", geometry).sample(30, seed=3), num_lead=2)
    for snr_db, most in ((0, 0.8), (10, 0.85)):
        errors = []
        for beams in (False, True):
            found = LmmseEstimator(geometry, snr_db=snr_db, beams=beams).estimate(h, seed=1)
            errors.append(float(np.mean(np.abs(found.h_hat - h) ** 2)))
        assert errors[1] < most * errors[0]
        assert found.error_var.mean() == pytest.approx(errors[1], rel=0.15)


def test_beams_need_an_estimated_covariance():
    geometry = RadioGeometry(3.5e9, PANEL, 1, 2, 26, 360e3)
    with pytest.raises(ConfigError, match="beams"):
        LmmseEstimator(geometry, snr_db=0, covariance="profile", delay_spread_s=1e-7, beams=True)
