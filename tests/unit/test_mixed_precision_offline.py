"""Offline stage of mixed precision: quantised weights, policies, divergences, traces of Hessians."""

import itertools
import math

import keras
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import rel_entr, softmax
from scipy.stats import norm

from receivers.models.losses import mse_loss
from receivers.precision import hessian
from receivers.precision.hessian import hessian_traces
from receivers.precision.policies import best_policies, latent_kl, representatives
from receivers.quantization.weight_bits import WIDTHS, channel_axes, quantize_weight
from simulator.core.errors import ConfigError
from tests.tolerances import SIGMAS

# The result is a float64 value rounded to float32: half a unit in the last place, 6e-8, of the largest weight.
ROUNDED = 1e-7

# Divergences against a closed form without the ridge of 1e-6: it changes a variance ratio r by 1e-6 (1 - r), times at
# most 0.5 (1 - 1/r) in the divergence; with r from 0.1 to 10 below 5e-5 per axis.
RIDGE = 1e-4

# Central differences of float32 gradients: one gradient is known to some 1e-7 of its terms, the step is 2^-8 of a
# weight, so a product with the Hessian is known to some 1e-5 of the gradient's terms; the step squared is as small.
DIFFERENCE = 2e-3

# Second differences of a float64 loss of about 1 with steps of 1e-3: rounding 1e-16 / 1e-6, truncation 1e-6.
SECOND_DIFFERENCE = 1e-4

SHAPES = [(7, 5), (3, 3, 4, 6), (3, 3, 5, 1), (4, 6, 3)]


# Weights


def loop_quantize(w, bits, scheme, clip):
    """One channel, one weight at a time, in Python floats."""
    out = np.zeros(w.shape)
    if scheme == "tensor_minmax":
        values = [float(v) for v in w.ravel()]
        low, high = min([0.0, *values]), max([0.0, *values])
        step = (high - low) / (2**bits - 1)
        zero = round(-(2 ** (bits - 1)) - low / step)
        for place in np.ndindex(w.shape):
            q = min(max(round(float(w[place]) / step) + zero, -(2 ** (bits - 1))), 2 ** (bits - 1) - 1)
            out[place] = (q - zero) * step
        return out
    n = 2 ** (bits - 1) - 1
    channels = {}
    for place in np.ndindex(w.shape):
        depthwise = w.ndim == 4 and w.shape[3] == 1
        key = place[2] if depthwise else (place[0], place[2]) if w.ndim == 3 else place[-1]
        channels.setdefault(key, []).append(place)
    for places in channels.values():
        largest = max(abs(float(w[place])) for place in places)
        if largest == 0:
            continue
        best = None
        for k in range(40 if clip == "mse" else 1):
            step = largest * (1 - 0.02 * k) / n
            values = [min(max(round(float(w[place]) / step), -n), n) * step for place in places]
            error = sum((v - float(w[place])) ** 2 for v, place in zip(values, places, strict=True))
            if best is None or error < best[0] - 1e-12 * error:
                best = error, values
        for place, value in zip(places, best[1], strict=True):
            out[place] = value
    return out


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("scheme", "clip"), [("symmetric", "max"), ("symmetric", "mse"), ("tensor_minmax", "max")])
def test_a_quantised_kernel_equals_that_of_a_plain_loop(shape, scheme, clip, rng):
    w = (rng.normal(size=shape) * rng.uniform(0.1, 3, shape[-1])).astype(np.float32)
    for bits in (2, 3, 4, 8, 16):
        value = quantize_weight(w, bits, scheme=scheme, clip=clip)
        assert value.dtype == np.float32
        expected = loop_quantize(w, bits, scheme, clip)
        np.testing.assert_allclose(value, expected, rtol=ROUNDED, atol=ROUNDED * np.abs(w).max())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_error_is_half_a_step_at_most(shape, rng):
    w = rng.normal(size=shape) + 0.3
    slack = ROUNDED * np.abs(w).max()
    largest = np.abs(w).max(axis=channel_axes(shape), keepdims=True)
    for bits in range(2, 17):
        step = largest / (2 ** (bits - 1) - 1)
        value = quantize_weight(w, bits)
        assert (np.abs(value - w) <= step / 2 + slack).all()
        assert len(np.unique(np.rint(value / step))) <= 2**bits - 1
        step = (max(w.max(), 0) - min(w.min(), 0)) / (2**bits - 1)
        value = quantize_weight(w, bits, scheme="tensor_minmax")
        assert (np.abs(value - w) <= step / 2 + slack).all()
        assert len(np.unique(value)) <= 2**bits
    assert set(WIDTHS) == {2, 4, 8, 16}


def test_channels_by_kind_of_kernel():
    assert channel_axes((7, 5)) == (0,)
    assert channel_axes((3, 3, 4, 6)) == (0, 1, 2)
    assert channel_axes((3, 3, 5, 1)) == (0, 1)
    assert channel_axes((4, 6, 3)) == (1,)
    with pytest.raises(ConfigError, match="at least two axes"):
        channel_axes((5,))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_best_clip_is_never_worse_than_none(shape, rng):
    w = rng.standard_t(3, shape).astype(np.float32)  # heavy tails, where clipping helps
    axes, better = channel_axes(shape), 0
    for bits in range(2, 17):
        none, best = (
            np.square(np.float64(quantize_weight(w, bits, clip=clip)) - w).sum(axis=axes) for clip in ("max", "mse")
        )
        assert (best <= none * (1 + 1e-12)).all()
        better += np.sum(best < none)
    assert better > 0


def test_zeros_stay_zero(rng):
    w = rng.normal(size=(6, 4))
    w[:, 2] = 0
    for scheme, clip in (("symmetric", "max"), ("symmetric", "mse"), ("tensor_minmax", "max")):
        for bits in (2, 5, 16):
            value = quantize_weight(w, bits, scheme=scheme, clip=clip)
            assert (value[:, 2] == 0).all() and np.any(value != 0)
            assert (quantize_weight(0 * w, bits, scheme=scheme, clip=clip) == 0).all()
    positive = quantize_weight(np.array([[1.0, 0.5, 0.25]]), 8, scheme="tensor_minmax")
    np.testing.assert_allclose(positive, [[1.0, 128 / 255, 64 / 255]], rtol=ROUNDED)  # the range includes zero


def test_halves_are_rounded_to_even():
    np.testing.assert_array_equal(
        quantize_weight(np.array([[3.0], [0.5], [1.5], [-2.5], [2.0]]), 3).ravel(), [3, 0, 2, -2, 2]
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"bits": 1}, "weight_bits"),
        ({"bits": 17}, "weight_bits"),
        ({"bits": 4.0}, "weight_bits"),
        ({"bits": True}, "weight_bits"),
        ({"scheme": "affine"}, "weight_scheme"),
        ({"clip": "entropy"}, "weight_clip"),
        ({"w": np.array([[np.nan, 1]])}, "weight"),
        ({"w": np.ones(3)}, "weight"),
    ],
)
def test_weights_refuse_what_has_no_meaning(change, field):
    with pytest.raises(ConfigError) as error:
        quantize_weight(**{"w": np.ones((2, 2)), "bits": 8, **change})
    assert error.value.field == field


# Policies


def brute_force(omega, cost, budget, count):
    """All policies, in Python."""
    found = []
    for policy in itertools.product(range(omega.shape[1]), repeat=len(omega)):
        if math.fsum(cost[m, b] for m, b in enumerate(policy)) <= budget * (1 + 1e-12):
            found.append((math.fsum(omega[m, b] for m, b in enumerate(policy)), policy))
    return [policy for _, policy in sorted(found)[:count]]


@pytest.mark.parametrize("decades", [1, 6, 12])
def test_the_best_policies_are_those_of_a_search_through_all(decades, rng):
    for blocks, count in ((1, 2), (2, 6), (4, 5), (5, 4), (6, 3), (6, 8)):
        omega = 10.0 ** rng.uniform(-decades, 0, (blocks, 4)) * 1e3
        if blocks % 2 == 0:  # as in practice: fewer bits harm more
            omega.sort(axis=1)
        cost = np.outer(rng.uniform(0.1, 1, blocks), WIDTHS)
        low, high = cost.min(axis=1).sum(), cost.max(axis=1).sum()
        budget = low + rng.uniform(0.1, 0.9) * (high - low)
        assert best_policies(omega, cost, budget, count) == brute_force(omega, cost, budget, count)


def test_sensitivities_of_twelve_decades_in_one_sum():
    """One block decides by its thousands, another by its billionths; the dear widths are never chosen."""
    omega = np.array([[1e3, 2e3, 1e9, 1e9], [1e-9, 2e-9, 3e-9, 1e9], [0, 1e-3, 1e9, 1e9]])
    cost = np.outer([1.0, 2, 3], WIDTHS)
    assert best_policies(omega, cost, 1e6, 12) == brute_force(omega, cost, 1e6, 12)
    assert best_policies(omega, cost, 6 * 8, 3) == brute_force(omega, cost, 6 * 8, 3)


def test_a_width_that_nobody_wants_does_not_hide_the_differences_of_the_others(rng):
    omega = rng.uniform(0.5, 1.5, (5, 4)) * 1e-9
    omega[:, 3] = 1e9
    cost = np.outer(rng.uniform(0.1, 1, 5), WIDTHS)
    budget = cost[:, :3].mean(axis=1).sum()
    assert best_policies(omega, cost, budget, 6) == brute_force(omega, cost, budget, 6)


def test_a_cost_equal_to_the_budget_fits_and_fewer_policies_come_where_fewer_fit():
    omega, cost = np.array([[0.0, 1], [0, 3]]), np.array([[0.2, 0.1], [0.2, 0.1]])
    assert best_policies(omega, cost, 0.3, 9) == [(1, 0), (0, 1), (1, 1)]
    assert best_policies(omega, cost, 0.2, 9) == [(1, 1)]
    assert best_policies(0 * omega, 0 * cost, 0, 9) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_budget_that_no_policy_meets_is_an_error_with_the_smallest_cost():
    omega, cost = np.ones((3, 4)), np.outer([1.0, 2, 3], WIDTHS)
    for budget in (11.9, -1, float("nan")):
        with pytest.raises(ConfigError, match=r"budget: got .* at least 12"):
            best_policies(omega, cost, budget, 1)
    assert best_policies(omega, cost, 12, 3) == [(3, 3, 3)]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"omega": np.ones(4)}, "omega"),
        ({"omega": np.ones((0, 4))}, "omega"),
        ({"omega": np.full((2, 4), np.nan)}, "omega"),
        ({"omega": np.full((2, 4), -1.0)}, "omega"),
        ({"cost": np.full((2, 4), -1.0)}, "cost"),
        ({"cost": np.full((2, 4), np.inf)}, "cost"),
        ({"cost": np.ones((2, 3))}, "cost"),
        ({"count": 0}, "count"),
        ({"count": 1.5}, "count"),
    ],
)
def test_policies_refuse_what_has_no_meaning(change, field):
    with pytest.raises(ConfigError) as error:
        best_policies(**{"omega": np.ones((2, 4)), "cost": np.ones((2, 4)), "budget": 8, "count": 1, **change})
    assert error.value.field == field


def test_the_representative_has_the_smallest_divergence_of_its_budget():
    calls = []
    table = {(0, 0): 3.0, (0, 1): 1.0, (1, 0): 1.0, (1, 1): float("nan")}

    def divergence(policy):
        calls.append(policy)
        return table[policy]

    budgets = [[(0, 0), (1, 0), (0, 1)], [(1, 1), (0, 0)], [(0, 1), (1, 0)], [(1, 1)], [(0, 0)]]
    assert representatives(budgets, divergence) == [(1, 0), (0, 0), (0, 1), (1, 1), (0, 0)]
    assert sorted(calls) == sorted(table)
    with pytest.raises(ConfigError, match=r"candidates\[1\]"):
        representatives([[(0, 0)], []], divergence)


# Divergences


def with_moments(rng, samples, mean, covariance):
    """Samples whose mean and covariance (maximum likelihood) are exactly these."""
    z = rng.normal(size=(samples, len(mean)))
    z -= z.mean(axis=0)
    z = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / samples)).T
    return z @ np.linalg.cholesky(covariance).T + mean


def gaussian_kl(mean, covariance, mean_ref, covariance_ref):
    """D_KL(N || N_ref) by the textbook."""
    inverse, d = np.linalg.inv(covariance_ref), mean_ref - mean
    logs = np.linalg.slogdet(covariance_ref)[1] - np.linalg.slogdet(covariance)[1]
    return 0.5 * (np.trace(inverse @ covariance) + d @ inverse @ d - len(d) + logs)


def test_the_divergence_of_gaussians_is_the_closed_form(rng):
    for size in (1, 3, 6):
        mean, mean_ref = rng.normal(size=(2, size))
        a, b = rng.normal(size=(2, size, size))
        p, p_ref = a @ a.T / size + np.eye(size), b @ b.T / size + np.eye(size)
        z, z_ref = with_moments(rng, 50, mean, p), with_moments(rng, 50, mean_ref, p_ref)
        assert latent_kl(z, z_ref) == pytest.approx(gaussian_kl(mean, p, mean_ref, p_ref), rel=RIDGE)
        # Per axis of its own scale: the divergence does not depend on the unit.
        assert latent_kl(1e-3 * z, 1e-3 * z_ref) == pytest.approx(latent_kl(z, z_ref), rel=1e-9)


def test_the_divergence_has_the_direction_of_the_text(rng):
    """Policy first, reference second, against an integral; the other way round is another number."""
    z, z_ref = with_moments(rng, 40, [0.5], [[0.25]]), with_moments(rng, 40, [0.0], [[1.0]])
    p, p_ref = norm(0.5, 0.5), norm(0.0, 1.0)
    forward, backward = (
        quad(lambda t, a=a, b=b: a.pdf(t) * (a.logpdf(t) - b.logpdf(t)), -8, 8)[0] for a, b in ((p, p_ref), (p_ref, p))
    )
    assert latent_kl(z, z_ref) == pytest.approx(forward, rel=RIDGE)
    assert latent_kl(z_ref, z) == pytest.approx(backward, rel=RIDGE)
    assert backward > 2 * forward


def test_only_the_first_principal_axes_count(rng):
    scales = np.array([8.0, 4, 2, 1, 0.5])
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    reference = with_moments(rng, 60, np.zeros(5), np.diag(scales**2))
    policy = reference.copy()
    policy[:, 3:] *= 3
    assert latent_kl(policy @ turn, reference @ turn, rank=3) == pytest.approx(0, abs=1e-9)
    expected = 2 * 0.5 * (9 - 1 - math.log(9))
    assert latent_kl(policy @ turn, reference @ turn, rank=5) == pytest.approx(expected, rel=RIDGE)
    assert latent_kl(policy @ turn, reference @ turn) == latent_kl(policy @ turn, reference @ turn, rank=5)


def test_equal_outputs_have_no_divergence_and_constant_ones_a_finite_one(rng):
    z = rng.normal(size=(80, 40)).astype(np.float32)
    assert latent_kl(z, z) == pytest.approx(0, abs=1e-12)
    assert latent_kl(z, z, "softmax") == 0
    assert 100 < latent_kl(0 * z, z) < math.inf
    dead = np.where(np.arange(40) < 20, z, 1.0)  # latents that the reference never uses
    assert latent_kl(dead, dead) == pytest.approx(0, abs=1e-12)


def test_the_softmax_divergence_is_that_of_the_released_code(rng):
    z, z_ref = rng.normal(size=(2, 30, 12)) * 2
    p, p_ref = softmax(z, axis=1), softmax(z_ref, axis=1)
    forward, backward = rel_entr(p_ref, p).sum(axis=1).mean(), rel_entr(p, p_ref).sum(axis=1).mean()
    assert latent_kl(z, z_ref, "softmax") == pytest.approx(forward, rel=1e-12)
    assert abs(forward - backward) > 1e-3


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"z": np.ones((0, 4)), "z_ref": np.ones((0, 4))}, "calibration"),
        ({"z": np.eye(4), "z_ref": np.eye(4)}, "calibration"),  # four samples, four axes
        ({"z": np.ones((9, 3))}, "calibration"),
        ({"z": np.full((9, 4), np.nan)}, "calibration"),
        ({"z_ref": np.full((9, 4), 0.1)}, "calibration"),
        ({"density": "histogram"}, "density"),
        ({"rank": 0}, "rank"),
    ],
)
def test_divergences_refuse_what_has_no_meaning(change, field):
    z = np.random.default_rng(0).normal(size=(9, 4))
    with pytest.raises(ConfigError) as error:
        latent_kl(**{"z": z, "z_ref": z, **change})
    assert error.value.field == field


# Hessians


def linear_model(rng):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
    model.set_weights([rng.normal(size=(6, 4)), rng.normal(size=4)])
    x, y = rng.normal(size=(70, 6)).astype(np.float32), rng.normal(size=(70, 4)).astype(np.float32)
    return model, x, y


@pytest.mark.long
@pytest.mark.backend
def test_the_trace_of_a_linear_model_is_the_closed_form(rng):
    """The Hessian of the mean of squares is 2/4 E[x x^T] kron I; that of the bias is diagonal, so it has no noise."""
    model, x, y = linear_model(rng)
    kernel, bias = model.trainable_variables
    trace, error = hessian_traces(model, mse_loss, x, y, [kernel], probes=48, seed=1, batch_size=70)
    expected = 2 * np.mean(np.sum(np.float64(x) ** 2, axis=1))
    assert abs(trace[0] - expected) < SIGMAS * error[0] and 0 < error[0] < 0.05 * expected
    trace, error = hessian_traces(model, mse_loss, x, y, [bias], probes=8, seed=1)
    assert trace == pytest.approx([2.0], rel=DIFFERENCE) and error[0] < DIFFERENCE
    both, errors = hessian_traces(model, mse_loss, x, y, [bias, kernel], probes=48, seed=2)
    assert (np.abs(both - [2.0, expected]) < SIGMAS * errors).all() and (errors < 0.05 * expected).all()


@pytest.mark.long
@pytest.mark.backend
def test_batches_are_averaged_and_seeds_repeat(rng):
    model, x, y = linear_model(rng)
    runs = [
        hessian_traces(model, mse_loss, x, y, model.trainable_variables, probes=4, seed=seed, batch_size=size)
        for seed, size in ((1, 70), (1, 70), (1, 32), (2, 70))
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_allclose(runs[2], runs[0], rtol=DIFFERENCE, atol=DIFFERENCE)
    assert np.abs(runs[3][0] - runs[0][0]).max() > 0.01


def deep_model(rng):
    """Dense, batch normalisation with statistics of its own, tanh, dropout, dense; the regulariser does not count."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, kernel_regularizer=keras.regularizers.L2(5.0)),
            layers.BatchNormalization(),
            layers.Activation("tanh"),
            layers.Dropout(0.5),
            layers.Dense(2),
        ]
    )
    model.set_weights(
        [np.abs(rng.normal(size=w.shape)) * 0.7 + 0.2 for w in model.get_weights()[:-2]]
        + [rng.normal(size=(4, 2)), np.zeros(2)]
    )
    x, y = rng.normal(size=(50, 3)).astype(np.float32), rng.normal(size=(50, 2)).astype(np.float32)
    return model, x, y


def deep_loss(weights, x, y):
    """The same network at inference in float64."""
    kernel, bias, gamma, beta, mean, variance, last, offset = weights
    hidden = (x @ kernel + bias - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    return np.mean((np.tanh(hidden) @ last + offset - y) ** 2)


def full_hessian(weights, chosen, x, y, step=1e-3):
    """Hessian with respect to the chosen arrays by second differences, and the slice of each."""
    sizes = [weights[i].size for i in chosen]
    ends = np.cumsum([0, *sizes])

    def at(shift):
        moved = list(weights)
        for i, (a, b) in zip(chosen, itertools.pairwise(ends), strict=True):
            moved[i] = weights[i] + shift[a:b].reshape(weights[i].shape)
        return deep_loss(moved, x, y)

    unit = np.eye(ends[-1]) * step
    out = np.empty((ends[-1], ends[-1]))
    for i, j in itertools.combinations_with_replacement(range(ends[-1]), 2):
        a, b = unit[i], unit[j]
        out[i, j] = out[j, i] = (at(a + b) - at(a - b) - at(b - a) + at(-a - b)) / (4 * step**2)
    return out, [slice(a, b) for a, b in itertools.pairwise(ends)]


@pytest.mark.long
@pytest.mark.backend
def test_the_traces_of_a_deep_network_are_those_of_its_full_hessian(rng):
    model, x, y = deep_model(rng)
    weights = [np.float64(w) for w in model.get_weights()]
    chosen = [0, 1, 2, 3, 6, 7]
    full, parts = full_hessian(weights, chosen, np.float64(x), np.float64(y))
    expected = np.array([np.trace(full[part, part]) for part in parts])
    trace, error = hessian_traces(model, mse_loss, x, y, model.trainable_variables, probes=100, seed=3)
    assert (np.abs(trace - expected) < SIGMAS * error + SECOND_DIFFERENCE).all()
    # Single estimates, with the same signs and scales: no statistical error is left.
    signs, scale = np.random.default_rng(5), [np.sqrt(np.mean(weights[i] ** 2)) for i in chosen]
    scale = np.concatenate(
        [np.full(weights[i].size, max(a, max(scale) / 10)) for i, a in zip(chosen, scale, strict=True)]
    )
    single = []
    for _ in range(2):
        v = np.concatenate([signs.integers(0, 2, weights[i].size) * 2.0 - 1 for i in chosen])
        single.append([v[part] @ (full[part] @ (scale * v)) / scale[part][0] for part in parts])
    trace, error = hessian_traces(model, mse_loss, x, y, model.trainable_variables, probes=2, seed=5)
    tolerance = DIFFERENCE * np.abs(single).max()
    np.testing.assert_allclose(trace, np.mean(single, axis=0), rtol=0, atol=tolerance)
    np.testing.assert_allclose(error, np.abs(np.subtract(*single)) / 2, rtol=0, atol=tolerance)


@pytest.mark.long
@pytest.mark.parametrize("interrupted", [False, True])
def test_the_model_is_left_as_it_was(interrupted, rng, monkeypatch):
    model, x, y = deep_model(rng)
    model.compile(optimizer="adam", loss="mse")
    before, optimizer = [np.array(v) for v in model.variables], model.optimizer
    calls = []

    def step(self, x, y):
        calls.append(len(x))
        if interrupted and len(calls) == 4:
            raise KeyboardInterrupt
        return keras.Model.train_on_batch(self, x, y)

    monkeypatch.setattr(hessian._Inference, "train_on_batch", step, raising=False)
    try:
        hessian_traces(model, mse_loss, x, y, model.trainable_variables, probes=2, seed=0, batch_size=30)
    except KeyboardInterrupt:
        assert interrupted
    assert calls == [30, 20] * (2 if interrupted else 4)
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(np.array(variable), value)
    assert model.optimizer is optimizer and int(optimizer.iterations) == 0
    assert len(model.trainable_variables) == 6
    assert np.isfinite(model.train_on_batch(x, y))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"x": np.ones((0, 6)), "y": np.ones((0, 4))}, "calibration"),
        ({"y": np.ones((3, 4))}, "calibration"),
        ({"probes": 1}, "probes"),
        ({"batch_size": 0}, "batch_size"),
        ({"variables": []}, "variables"),
        ({"variables": [keras.Variable(1.0)]}, "variables"),
    ],
)
def test_traces_refuse_what_has_no_meaning(change, field, rng):
    model, x, y = linear_model(rng)
    arguments = {"x": x, "y": y, "variables": model.trainable_variables, "seed": 0, **change}
    with pytest.raises(ConfigError) as error:
        hessian_traces(model, mse_loss, **arguments)
    assert error.value.field == field
