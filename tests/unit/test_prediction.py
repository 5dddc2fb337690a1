"""Predictors against exact recursions, plain float64 loops and closed forms of the prediction error."""

import numpy as np
import pytest
from scipy.linalg import toeplitz
from scipy.special import j0
from tolerances import FLOAT32, PREDICTION, assert_close, assert_mean

from receivers.prediction.ar import ArPredictor
from receivers.prediction.covariance import combine, slot_covariance
from receivers.prediction.repeat import RepeatPredictor
from receivers.prediction.wiener_doppler import WienerDopplerPredictor
from simulator.core.errors import ConfigError
from simulator.core.interfaces import Predictor
from simulator.core.types import Panel, RadioGeometry
from simulator.reporting.prediction import windows

GEOMETRY = RadioGeometry(3.5e9, Panel(2, 1, 2), 2, 1, 5, 360e3, slot_s=1e-3)
LIGHT_MPS = 299_792_458.0


def speed(turns):
    """Speed [m/s] whose Doppler shift makes ``turns`` turns per slot."""
    return turns * LIGHT_MPS / 3.5e9 / 1e-3


def ar(order, loading=1e-12):
    return ArPredictor(GEOMETRY, order=order, loading=loading)


def wiener(**params):
    return WienerDopplerPredictor(GEOMETRY, **params)


def gaussian(rng, *shape):
    return rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)


def jakes(rng, turns, slots, shape=(3, 2, 1, 4), subcarriers=5):
    """Rayleigh fading with correlation J0 over slots, exact, entries independent; complex128."""
    covariance = toeplitz(j0(2 * np.pi * turns * np.arange(slots)))
    root = np.linalg.cholesky(covariance + 1e-12 * np.eye(slots))
    return root @ gaussian(rng, *shape, slots, subcarriers)


def exponentials(rng, turns, slots, shape=(3, 2, 1, 4), subcarriers=5):
    """Sum of rays with the same Doppler shifts and independent gains on all entries, complex128."""
    phases = np.exp(2j * np.pi * np.outer(np.arange(slots), turns))
    return phases @ gaussian(rng, *shape, len(turns), subcarriers)


def split(x, history):
    """History complex64 and what follows, ``x[..., history - 1 + d, :]`` for d = 0, 1, .."""
    return x[..., :history, :].astype(np.complex64), np.moveaxis(x[..., history - 1 :, :], -2, 0)


ALL = [RepeatPredictor(GEOMETRY), ar(2), ar(5), wiener(), wiener(speed_mps=0.0), wiener(snr_db=60.0)]


class TestAll:
    @pytest.mark.parametrize("predictor", ALL)
    def test_now_is_the_present_estimate(self, rng, predictor):
        history, _ = split(jakes(rng, 0.1, 7), 7)
        np.testing.assert_array_equal(predictor.predict(history, 0), history[..., -1, :])

    @pytest.mark.parametrize("predictor", ALL)
    def test_what_stands_still_stays(self, rng, predictor):
        history = np.repeat(gaussian(rng, 2, 2, 1, 4, 1, 5).astype(np.complex64), 7, axis=4)
        # The least noise that Wiener prediction allows for shrinks the channel by 1e-5 over the slots.
        assert_close(predictor.predict(history, 3), history[..., -1, :], FLOAT32)

    @pytest.mark.parametrize("predictor", ALL)
    def test_ues_do_not_mix(self, rng, predictor):
        one, two = (split(jakes(rng, turns, 7), 7)[0] for turns in (0.02, 0.2))
        both = predictor.predict(np.concatenate([one, two]), 2)
        assert_close(both[:3], predictor.predict(one, 2), FLOAT32)
        assert_close(both[3:], predictor.predict(two, 2), FLOAT32)
        users = predictor.predict(np.concatenate([one, two], axis=1), 2)
        assert_close(users[:, 2:], predictor.predict(two, 2), FLOAT32)

    @pytest.mark.parametrize("predictor", ALL)
    def test_too_short_or_backwards(self, rng, predictor):
        history, _ = split(jakes(rng, 0.1, 7), 7)
        need = predictor.num_history
        assert np.isfinite(predictor.predict(history[..., -need:, :], 2)).all()
        with pytest.raises(ConfigError, match=rf"time\.history_slots: got {need - 1}; allowed: at least {need}, which"):
            predictor.predict(history[..., : need - 1, :], 2)
        with pytest.raises(ConfigError, match=r"uplink\.delay_slots: got -1; allowed: 0 or more"):
            predictor.predict(history, -1)


def test_horizon():
    class Near(RepeatPredictor):
        horizon = 4

    Near(GEOMETRY).check(1, 4)
    with pytest.raises(ConfigError, match=r"uplink\.delay_slots: got 5; allowed: 0\.\.4, which Near looks ahead"):
        Near(GEOMETRY).check(1, 5)
    assert issubclass(Near, Predictor)


def test_repeat_is_the_last_slot(rng):
    history, _ = split(jakes(rng, 0.1, 3), 3)
    out = RepeatPredictor(GEOMETRY).predict(history, 9)
    np.testing.assert_array_equal(out, history[..., -1, :])
    assert not np.shares_memory(out, history)


def test_covariance_and_weighted_sum_against_loops(rng):
    history = gaussian(rng, 2, 2, 2, 3, 4, 5).astype(np.complex64)
    x = history.astype(np.complex128)
    covariance = np.zeros((2, 2, 4, 4), complex)
    weights = gaussian(rng, 2, 2, 3)
    summed = np.zeros((2, 2, 2, 3, 5), complex)
    for b, u, r, p, n in np.ndindex(2, 2, 2, 3, 5):
        for s, t in np.ndindex(4, 4):
            covariance[b, u, s, t] += x[b, u, r, p, s, n] * x[b, u, r, p, t, n].conj()
        summed[b, u, r, p, n] = sum(weights[b, u, i] * x[b, u, r, p, i + 1, n] for i in range(3))
    np.testing.assert_allclose(slot_covariance(history), covariance, atol=1e-12)
    assert_close(combine(weights, history), summed, FLOAT32)


def test_windows(rng):
    x = gaussian(rng, 2, 6, 3, 1, 4, 5)
    found = windows(x, 4, 1)
    assert found.shape == (2, 3, 3, 1, 4, 4, 5)
    for end in range(3):
        for age in range(4):
            np.testing.assert_array_equal(found[:, end, ..., 3 - age, :], x[:, end + 3 - age])


class TestAr:
    @pytest.mark.parametrize("turns", [(0.1,), (0.05, -0.2), (0.05, -0.12, 0.23), (-0.3, -0.1, 0.06, 0.21)])
    def test_rays_are_predicted_exactly(self, rng, turns):
        for slots in (len(turns) + 1, 12):
            history, future = split(exponentials(rng, turns, slots + 4), slots)
            for ahead in range(5):
                assert_close(ar(len(turns)).predict(history, ahead), future[ahead], PREDICTION)

    def test_recursion_of_order_two(self, rng):
        """x(t) = 2 cos(w) x(t - 1) - x(t - 2) from any start."""
        x = list(gaussian(rng, 2, 3, 2, 2, 4, 5))
        for _ in range(10):
            x.append(2 * np.cos(0.7) * x[-1] - x[-2])
        history, future = split(np.stack(x, axis=-2), 8)
        np.testing.assert_allclose(ar(2).coefficients(history)[..., 0], 2 * np.cos(0.7), atol=1e-5)
        np.testing.assert_allclose(ar(2).coefficients(history)[..., 1], -1, atol=1e-5)
        assert_close(ar(2).predict(history, 4), future[4], PREDICTION)

    def test_higher_orders_than_rays(self, rng):
        """Normal equations without a unique solution: the loading decides, and predicts well."""
        history, future = split(exponentials(rng, (0.05, -0.12), 15), 12)
        assert_close(ArPredictor(GEOMETRY, order=6).predict(history, 3), future[3], 1e-4)

    @pytest.mark.parametrize("loading", [1e-12, 0.1])
    def test_coefficients_against_stacked_equations(self, rng, loading):
        """Ridge regression on rows of a matrix, forwards and backwards in time, one UE at a time."""
        p, slots = 3, 7
        history, _ = split(jakes(rng, 0.15, slots) + 0.3 * gaussian(rng, 3, 2, 1, 4, slots, 5), slots)
        found = ar(p, loading).coefficients(history)
        for b, u in np.ndindex(3, 2):
            rows, targets = [], []
            for r, port, n in np.ndindex(1, 4, 5):
                x = history[b, u, r, port, :, n].astype(np.complex128)
                for series in (x, x[::-1].conj()):
                    for t in range(p, slots):
                        rows.append([series[t - i] for i in range(1, p + 1)])
                        targets.append(series[t])
            rows = np.array(rows)
            ridge = np.sqrt(loading * np.sum(np.abs(rows) ** 2) / p)
            rows = np.concatenate([rows, ridge * np.eye(p)])
            expected = np.linalg.lstsq(rows, np.concatenate([targets, np.zeros(p)]), rcond=None)[0]
            np.testing.assert_allclose(found[b, u], expected, atol=1e-9)

    def test_coefficients_of_a_noise_driven_process(self, rng):
        a = np.array([1.2 * np.exp(0.3j), -0.5 * np.exp(0.6j)])
        x = [np.zeros((1, 1, 1, 50, 40), complex)] * 2
        for _ in range(80):
            x.append(a[0] * x[-1] + a[1] * x[-2] + gaussian(rng, 1, 1, 1, 50, 40))
        history, _ = split(np.stack(x[-20:], axis=-2), 20)
        # 2000 entries of 18 equations, forwards and backwards: standard error about (2000 * 18)^-1/2 = 0.005.
        np.testing.assert_allclose(ar(2).coefficients(history)[0, 0], a, atol=0.025)

    def test_zeros(self):
        assert not ar(3).predict(np.zeros((1, 1, 1, 2, 5, 3), np.complex64), 2).any()

    @pytest.mark.parametrize("params", [{"order": 0}, {"order": 1.5}, {"order": [1, 2]}, {"loading": 0}, {"p": 2}])
    def test_bad_parameters(self, params):
        with pytest.raises(ConfigError, match=rf"^predict(\.|: unknown: ){next(iter(params))}"):
            ArPredictor(GEOMETRY, **params)


def reference_wiener(x, turns, share, ahead, misfit=0.0):
    """One UE ``[rx, port, slot, n]``, float64, one entry at a time."""
    slots = x.shape[2]
    matrix, future = np.zeros((slots, slots)), np.zeros(slots)
    for s in range(slots):
        future[s] = share * j0(2 * np.pi * turns * (slots - 1 + ahead - s))
        for t in range(slots):
            matrix[s, t] = share * j0(2 * np.pi * turns * abs(s - t)) + (s == t) * max(1 - share, misfit, 1e-5)
    weights = np.linalg.inv(matrix) @ future
    out = np.zeros((x.shape[0], x.shape[1], x.shape[3]), complex)
    for r, p, n in np.ndindex(out.shape):
        out[r, p, n] = sum(weights[s] * x[r, p, s, n] for s in range(slots))
    return out


def reference_fit(x, grid, share=None):
    """Doppler shift, share of the channel in the power and residual of one UE, by trying them all."""
    slots, best = x.shape[2], (np.inf, 0, 0)
    r = [np.mean([np.mean(x[:, :, t + k] * x[:, :, t].conj()).real for t in range(slots - k)]) for k in range(slots)]
    for turns in grid:
        shape = [j0(2 * np.pi * turns * k) for k in range(slots)]
        pairs = [slots - k for k in range(slots)]
        lags = range(1, slots)
        p = share
        if share is None:
            p = sum(pairs[k] * r[k] / r[0] * shape[k] for k in lags) / sum(pairs[k] * shape[k] ** 2 for k in lags)
            p = min(max(p, 0), 1)
        error = sum(pairs[k] * (r[k] / r[0] - p * shape[k]) ** 2 for k in lags)
        best = min(best, (error, turns, p))
    return *best[1:], np.sqrt(best[0] / sum(slots - k for k in range(1, slots)))


class TestWiener:
    @pytest.mark.parametrize("turns", [0.03, 0.2, 0.7])
    def test_given_speed_and_snr_against_the_loop(self, rng, turns):
        history, _ = split(gaussian(rng, 2, 2, 2, 3, 6, 4), 6)
        predictor = wiener(speed_mps=speed(turns), snr_db=10.0)
        assert predictor.num_history == 1
        found, share = predictor.predict(history, 2), 10 / 11
        for b, u in np.ndindex(2, 2):
            expected = reference_wiener(history[b, u].astype(np.complex128), turns, share, 2)
            assert_close(found[b, u], expected, FLOAT32)

    @pytest.mark.parametrize("params", [{}, {"snr_db": 12.0}, {"speed_mps": speed(0.1)}])
    def test_estimated_parameters_against_the_loop(self, rng, params):
        x = jakes(rng, 0.1, 6) + 0.25 * gaussian(rng, 3, 2, 1, 4, 6, 5)
        history, _ = split(x, 6)
        grid = [0.1] if "speed_mps" in params else 0.5 * (np.arange(501) / 500) ** 2
        share = 1 / (1 + 10**-1.2) if "snr_db" in params else None
        assert wiener(**params).num_history == 3 - len(params)
        found = wiener(**params).predict(history, 2)
        for b, u in np.ndindex(3, 2):
            x = history[b, u].astype(np.complex128)
            turns, p, misfit = reference_fit(x, grid, share)
            expected = reference_wiener(x, turns, p, 2, misfit)
            assert_close(found[b, u], expected, PREDICTION)

    @pytest.mark.parametrize(("turns", "ahead"), [(0.05, 1), (0.05, 4), (0.15, 2)])
    def test_closed_form_of_the_error(self, rng, turns, ahead):
        """Mean squared error 1 - r^T (R + sigma^2 I)^-1 r of a Jakes process in noise."""
        slots, noise_var = 6, 0.1
        x = jakes(rng, turns, slots + ahead, shape=(400, 1, 1, 4))
        clean, future = split(x, slots)
        noisy = (clean + np.sqrt(noise_var) * gaussian(rng, *clean.shape)).astype(np.complex64)
        matrix = toeplitz(j0(2 * np.pi * turns * np.arange(slots))) + noise_var * np.eye(slots)
        r = j0(2 * np.pi * turns * (ahead + np.arange(slots)[::-1]))
        expected = 1 - r @ np.linalg.solve(matrix, r)
        out = wiener(speed_mps=speed(turns), snr_db=10.0).predict(noisy, ahead)
        assert_mean(np.abs(out - future[ahead]) ** 2, expected)
        # What is estimated from 64 times 20 entries costs little, and no predictor does better.
        pooled = noisy[:384].reshape(6, 1, 1, 256, slots, 5)
        truth = future[ahead][:384].reshape(6, 1, 1, 256, 5)
        errors = {}
        for name, predictor in {"wiener": wiener(), "ar": ar(4), "repeat": RepeatPredictor(GEOMETRY)}.items():
            errors[name] = np.mean(np.abs(predictor.predict(pooled, ahead) - truth) ** 2)
        oracle = np.mean(np.abs(out[:384].reshape(truth.shape) - truth) ** 2)
        assert 0.97 * oracle < errors["wiener"] < 1.1 * oracle
        assert errors["wiener"] < errors["ar"] < errors["repeat"]

    def test_the_fit_finds_doppler_and_noise(self, rng):
        x = jakes(rng, 0.12, 10, shape=(2, 1, 1, 400)) + np.sqrt(0.2) * gaussian(rng, 2, 1, 1, 400, 10, 5)
        turns, share, misfit = wiener()._fit(slot_covariance(x.astype(np.complex64)))
        np.testing.assert_allclose(turns, 0.12, atol=0.01)
        np.testing.assert_allclose(share, 1 / 1.2, atol=0.03)
        assert (misfit < 0.03).all()

    @pytest.mark.parametrize("turns", [(-0.12, 0.12), (0.1,), (-0.11, 0.02, 0.13)])
    def test_few_rays_are_no_jakes_spectrum(self, rng, turns):
        """The prediction stays bounded: it is better than to know nothing and than to repeat."""
        x = exponentials(rng, turns, 12, shape=(20, 1, 1, 16)) / np.sqrt(len(turns))
        x = x + 0.17 * gaussian(rng, *x.shape)
        history, future = split(x, 8)
        for ahead in (1, 4):
            error = np.mean(np.abs(wiener().predict(history, ahead) - future[ahead]) ** 2)
            assert error < 1 and error < np.mean(np.abs(history[..., -1, :] - future[ahead]) ** 2)

    def test_pure_noise_and_zeros(self, rng):
        history, _ = split(gaussian(rng, 2, 1, 1, 100, 6, 20), 6)
        assert np.mean(np.abs(wiener().predict(history, 1)) ** 2) < 0.01
        for predictor in (wiener(), wiener(snr_db=10.0)):
            assert not predictor.predict(np.zeros_like(history), 1).any()

    @pytest.mark.parametrize("params", [{"speed_mps": -1}, {"snr_db": "10"}, {"noise": 1}])
    def test_bad_parameters(self, params):
        with pytest.raises(ConfigError, match=rf"^predict(\.|: unknown: ){next(iter(params))}"):
            wiener(**params)
