"""Beam-delay reports of estimates with a known error variance: weights against loops, gain, nothing without errors."""

import numpy as np
import pytest
from test_beamdelay import channels, config, tables

from receivers.beamdelay.denoise import Denoiser
from receivers.beamdelay.grid import Grid
from receivers.feedback.beamdelay import BeamDelayFeedback
from simulator.core.types import CsiEstimate, Panel
from simulator.maths.transforms import subband_eigenvectors


def test_weights_are_those_of_a_loop():
    grid = Grid((2, 1, 3, 5), tables().importance)
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((grid.size, 2, 2, 2)) * rng.random((grid.size, 2, 2, 1)) @ [1, 1j]).astype(np.complex64)
    error = np.array([[0.05, 0.3], [0.0, 1.0]])
    found = Denoiser(grid)(x, error)
    power = np.abs(x.astype(complex)) ** 2
    for report, layer in np.ndindex(2, 2):
        p = power[:, report, layer]
        y = np.empty(grid.size, complex)
        for place in range(grid.size):
            row, tap = p[grid.row == grid.row[place]].mean(), p[grid.tap == grid.tap[place]].mean()
            expected = 0.6 * p[place] + 0.4 * row * tap / p.mean()
            variance = min(error[report, layer], np.median(p[grid.tap == grid.tap[place]]) / np.log(2))
            y[place] = x[place, report, layer] * max(0, 1 - 0.5 * variance / expected)
        y *= np.sqrt(p.sum() / np.sum(np.abs(y) ** 2))
        np.testing.assert_allclose(found[:, report, layer], y, rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(found[:, 1, 0], x[:, 1, 0], rtol=1e-5)
    assert np.array_equal(Denoiser(grid)(0 * x, error), 0 * x)


def test_the_error_of_a_cell():
    """Of flat channels with two antennas: error variance over gain of the direction, a share of every subband."""
    book = BeamDelayFeedback(config(num_rx_ant=2, num_subcarriers=10, num_layers=2), bits=90, rank=2).codebooks[2]
    rng = np.random.default_rng(2)
    h = np.repeat((rng.standard_normal((3, 2, 16, 2)) @ [1, 1j])[..., None], 10, axis=3).astype(np.complex64)
    found = book._noise(h, subband_eigenvectors(h, 4, 2), np.array([0.1, 0.2, 1e9]))
    gain = np.linalg.svd(h[..., 0], compute_uv=False) ** 2
    np.testing.assert_allclose(found[:2], np.array([[0.1], [0.2]]) / gain[:2] / 3, rtol=1e-4)
    np.testing.assert_allclose(found[2], 1 / 16 / 3, rtol=1e-5)  # no more than all the energy


@pytest.mark.parametrize("params", [{"bits": 200}, {"step": 0.1}], ids=str)
def test_less_noise_is_described(params):
    """With a step fewer bits, worth more than what is lost of the SGCS with the true channel; else none is lost."""
    c = config(Panel(8, 2, 2), num_subcarriers=28)
    h = channels(c, 150, paths=4)
    rng = np.random.default_rng(3)
    power = np.mean(np.abs(h) ** 2, axis=(1, 2, 3, 4))
    noise = (rng.standard_normal((*h.shape, 2)) @ [1, 1j]) * np.sqrt(0.4 * power / 2)[:, None, None, None, None]
    seen = (h + noise).astype(np.complex64)
    v = subband_eigenvectors(h[:, 0], 4, 1)[:, 0]
    scheme, bits, found = BeamDelayFeedback(c, **params), [], []
    for variance in (0 * power, 0.4 * power):
        report = scheme.report(CsiEstimate(seen, variance[:, None].astype(np.float32)))
        w = scheme.reconstruct(report).w[:, 0, :, 0]
        found.append(np.mean(np.abs(np.einsum("ntp,npt->nt", v.conj(), w)) ** 2, axis=1))
        bits.append(report.num_bits.mean())
    gain = found[1] - found[0]
    assert gain.mean() > -2 * gain.std() / len(gain) ** 0.5 - 6e-4 * (bits[0] - bits[1])  # a bit is worth 0.06 step^2
    assert bits[1] < 0.97 * bits[0] if "step" in params else bits[1] == bits[0]
