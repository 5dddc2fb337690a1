"""Predictors of Tiny-WiFo's tables that are not trained, against closed forms."""

import numpy as np
import pytest

from benchmarks.papers.tiny_wifo.classical import classical

SUBCARRIERS, KNOWN, SPREAD = 8, 4, 0.06  # delay spread of 0.06 / subcarrier spacing


def profile():
    """Covariance of subcarriers of an exponential delay profile: E exp(-j 2 pi (k - l) t), t exponential."""
    lag = np.arange(SUBCARRIERS)[:, None] - np.arange(SUBCARRIERS)
    return 1 / (1 + 2j * np.pi * lag * SPREAD)


def drawn(rng, samples, slots, antennas):
    """Gaussian channels of that covariance, float32 ``[sample, slot, subcarrier, antenna, 2]``."""
    white = rng.standard_normal((2, samples, slots, antennas, SUBCARRIERS))
    h = (white[0] + 1j * white[1]) / np.sqrt(2) @ np.linalg.cholesky(profile()).T
    h = np.swapaxes(h, 2, 3)
    return np.stack([h.real, h.imag], axis=-1).astype(np.float32)


def nmse(frame):
    return {row.network: 10 ** (row.nmse_db / 10) for row in frame.itertuples()}


def test_wiener_over_subcarriers_has_the_error_of_the_closed_form(rng):
    covariance = profile()
    known, cross = covariance[:KNOWN, :KNOWN], covariance[KNOWN:, :KNOWN]
    left = covariance[KNOWN:, KNOWN:] - cross @ np.linalg.solve(known + 1e-5 * np.eye(KNOWN), np.conj(cross.T))
    best = np.trace(left).real / (SUBCARRIERS - KNOWN)
    test, train = {"D1": drawn(rng, 12, 40, 64)}, {"D1": drawn(rng, 12, 40, 64)}
    found = nmse(classical(test, "frequency", train=train))
    assert set(found) == {"repeat", "ar", "wiener", "lmmse"}
    assert found["lmmse"] == pytest.approx(best, rel=0.05)  # 30,720 entries: 1 % of standard error; noise of the search
    assert best < found["wiener"] < 1.2 * best  # the fit to a sample, and the noise that it allows for
    assert set(nmse(classical(test, "frequency"))) == {"repeat", "ar", "wiener"}


@pytest.mark.parametrize("task", ["time", "frequency"])
def test_one_path_is_continued_exactly(task):
    """A turn of 0.7 rad per entry: the last known value is off by |1 - exp(0.7 j n)|^2 after n entries."""
    turn = np.exp(0.7j * np.arange(16))
    h = np.ones((2, 16, 16, 3), complex) * (turn[:, None, None] if task == "time" else turn[:, None])
    x = np.stack([h.real, h.imag], axis=-1).astype(np.float32)
    found = nmse(classical({"D1": x}, task))
    assert found["repeat"] == pytest.approx(np.mean(np.abs(1 - turn[1:9]) ** 2), rel=2e-3)
    assert found["ar"] < 1e-6


def test_noise_is_on_what_is_known_alone(rng):
    x = np.ones((4, 16, 16, 8, 2), np.float32) / np.sqrt(2)
    assert nmse(classical({"D1": x}, "frequency", snr_db=10.0))["repeat"] == pytest.approx(0.1, rel=0.1)
