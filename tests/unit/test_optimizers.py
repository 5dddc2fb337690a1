"""Muon, moving averages and growing batches against loops in NumPy; resume with averages."""

import keras
import numpy as np
import pytest
from eager import eagerly
from keras import ops
from test_training_loop import RATE as LINE_RATE
from test_training_loop import ROWS, SIZE, STEPS, Line, weights

from receivers.training.averages import averaged, keep_averages
from receivers.training.loop import PausedError, run
from receivers.training.optimizer import build_optimizer, learning_rates
from receivers.training.recipe import StageSection, parse_training
from receivers.training.steps import jit_compiled
from simulator.core.errors import ConfigError

IMAGES = {"task": "autoencoder", "name": "n", "dataset": "d", "model": {"name": "csinet"}, "warmup_epochs": 0}
RATE, DECAY = 0.02, 0.1


def quiet(line):
    pass


# Muon ----------------------------------------------------------------------------------------------------------------


def newton_schulz(g):
    """Five quintic steps towards the orthogonal factor of a matrix (Jordan et al., 2024)."""
    x = (g if g.shape[0] <= g.shape[1] else g.T) / np.linalg.norm(g)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x - 4.775 * a @ x + 2.0315 * a @ a @ x
    return x if g.shape[0] <= g.shape[1] else x.T


def muon(w, gradients):
    """Nesterov momentum .95, orthogonalised, scaled by .2 sqrt(longer side) (Liu et al., arXiv:2502.16982, Eq. 4)."""
    momentum = np.zeros_like(w)
    for g in gradients:
        w = w - RATE * DECAY * w
        momentum = 0.95 * momentum + g
        w = w - RATE * 0.2 * np.sqrt(max(w.shape)) * newton_schulz(g + 0.95 * momentum)
    return w


def adamw(w, gradients, rate, decay):
    m = v = np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        w = w - rate * decay * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-8)
    return w


@pytest.mark.backend
def test_muon_moves_matrices_and_adamw_the_rest(rng):
    """Wide, tall and excluded matrices, a kernel of a convolution, a bias: three steps on given gradients."""
    shapes = {"wide": (3, 5), "tall": (6, 2), "head": (3, 4), "conv": (3, 3, 1, 2), "bias": (4,), "plain": (4,)}
    section = {"name": "muon", "schedule": "constant", "adam_ratio": 0.5, "exclude": ["head"]}
    fields = {"weight_decay": DECAY, "optimizer": section, "clipnorm": None, "learning_rate": RATE}
    recipe = parse_training({**IMAGES, **fields})
    start = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    steps = [{name: rng.standard_normal(shape) for name, shape in shapes.items()} for _ in range(3)]
    variables = {name: keras.Variable(np.float32(w), name=name) for name, w in start.items()}
    optimizer = build_optimizer(recipe, RATE, [3], 3)
    optimizer.build(list(variables.values()))
    for step in steps:
        optimizer.apply([ops.convert_to_tensor(np.float32(step[name])) for name in shapes])
    for name, w in start.items():
        gradients = [step[name] for step in steps]
        if name in ("wide", "tall"):
            expected = muon(w, gradients)
        else:
            expected = adamw(w, gradients, RATE / 2, 0.0 if name == "bias" else 2 * DECAY)
        # Keras decays all variables with the rate of Muon
        np.testing.assert_allclose(ops.convert_to_numpy(variables[name]), expected, rtol=2e-5, atol=2e-6, err_msg=name)
    s = np.linalg.svd(newton_schulz(steps[0]["wide"]), compute_uv=False)
    assert 0.6 < s.min() and s.max() < 1.3  # near the orthogonal factor


# Moving averages -----------------------------------------------------------------------------------------------------


MOMENTUM = 0.25


class Averaged(Line):
    """A line whose averages are scored and kept."""

    def compile(self, model, stage):
        optimizer = keras.optimizers.SGD(stage.learning_rate, momentum=0.5, use_ema=True, ema_momentum=MOMENTUM)
        keep_averages(optimizer)
        model.compile(optimizer, loss="mse", jit_compile=jit_compiled())
        model.optimizer.build(model.trainable_variables)


@pytest.mark.parametrize("by_batch", [False, True])
def test_averages_are_scored_and_kept_and_the_weights_go_on(tmp_path, monkeypatch, by_batch):
    monkeypatch.setattr(Averaged, "by_batch", by_batch)
    task = Averaged((3,))
    w = np.float64(weights(task.build(None, None)))
    model, history = run(task, tmp_path, quiet)
    velocity, average, scores, best, t = np.zeros_like(w), np.zeros_like(w), [], None, 0
    for epoch in range(3):
        for x, y in Line().batches(epoch):
            velocity = 0.5 * velocity - LINE_RATE * 2 * np.float64(x).T @ (x @ w - y) / ROWS
            w = w + velocity
            momentum, t = min(MOMENTUM, t / (t + 9)), t + 1
            average = momentum * average + (1 - momentum) * w
        scores.append(np.sum((average[:, 0] - [1, 2, 3]) ** 2))
        best = average if scores[-1] <= min(scores) else best
    np.testing.assert_allclose([e["val_loss"] for e in history["epochs"]], scores, rtol=1e-4)
    np.testing.assert_allclose(weights(model), best, rtol=1e-5)


@pytest.mark.parametrize("by_batch", [pytest.param(False, marks=pytest.mark.long), True])
@pytest.mark.long
def test_a_pause_keeps_weights_and_averages_apart(tmp_path, monkeypatch, by_batch, eager):
    monkeypatch.setattr(Averaged, "by_batch", by_batch)
    whole, history = run(Averaged((2, 1)), tmp_path / "a", quiet)
    while True:
        try:
            parts, other = run(Averaged((2, 1)), tmp_path / "b", quiet, seconds=0.0)
            break
        except PausedError:
            continue
    np.testing.assert_array_equal(weights(parts), weights(whole))
    assert [e["val_loss"] for e in other["epochs"]] == [e["val_loss"] for e in history["epochs"]]


@pytest.mark.long
@pytest.mark.backend
def test_the_swap_leaves_no_trace(rng):
    model = keras.Sequential([keras.Input((SIZE,)), keras.layers.Dense(2)])
    recipe = parse_training({**IMAGES, "ema": 0.9, "learning_rate": 0.1, "optimizer": {"schedule": "constant"}})
    model.compile(build_optimizer(recipe, 0.1, [4], 4), loss="mse", jit_compile=jit_compiled())
    x = np.float32(rng.standard_normal((8, SIZE)))
    model.fit(x, x[:, :2], batch_size=2, epochs=1, verbose=0)
    before = [np.array(w) for w in model.get_weights()]
    with pytest.raises(ZeroDivisionError), averaged(model, list):
        inside = [np.array(w) for w in model.get_weights()]
        assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(before, inside, strict=True))
        _ = 1 / 0
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.long
@pytest.mark.backend
def test_averages_have_their_own_statistics_of_batch_norm(rng):
    """Means of the moments of some batches; the running ones, of other weights, come back."""
    dense, norm = keras.layers.Dense(2, use_bias=False), keras.layers.BatchNormalization(momentum=0.99)
    model = keras.Sequential([keras.Input((SIZE,)), dense, norm])
    recipe = parse_training({**IMAGES, "ema": 0.9, "learning_rate": 0.1, "optimizer": {"schedule": "constant"}})
    model.compile(build_optimizer(recipe, 0.1, [4], 4), loss="mse", jit_compile=jit_compiled())
    x = np.float32(3 * rng.standard_normal((8, SIZE)) + 1)
    model.fit(x, x[:, :2], batch_size=2, epochs=1, verbose=0)
    before = [np.array(w) for w in model.get_weights()]
    batches = [np.float32(rng.standard_normal((1500, SIZE)) + shift) for shift in (0, 1, 2)]
    with averaged(model, lambda: zip(batches, batches, strict=True)):
        average = ops.convert_to_numpy(dense.kernel)
        y = [batch @ average for batch in batches[:2]]  # enough samples
        mean = np.mean([part.mean(axis=0) for part in y], axis=0)
        variance = np.mean([part.var(axis=0) for part in y], axis=0)
        np.testing.assert_allclose(ops.convert_to_numpy(norm.moving_mean), mean, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(ops.convert_to_numpy(norm.moving_variance), variance, rtol=1e-3)
    assert norm.momentum == 0.99
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# Growing batches -----------------------------------------------------------------------------------------------------


class Grown(Line):
    """A line whose batch doubles after half the epochs, and again after three quarters."""

    def __init__(self):
        super().__init__()
        fields = {"batch_growth": [0.5, 0.75], "batch_size": ROWS, "epochs": 4, "learning_rate": LINE_RATE}
        self.recipe = parse_training({**IMAGES, **fields})

    @property
    def stages(self):
        return (StageSection(epochs=4, learning_rate=LINE_RATE),)


def test_batches_double_and_every_epoch_sees_the_same_samples():
    task = Grown()
    assert [task.batch_size(epoch) for epoch in range(4)] == [ROWS, ROWS, 2 * ROWS, 4 * ROWS]
    assert task.plan == (((STEPS, 32), (STEPS, 32), (STEPS // 2, 32), (STEPS // 4, 32)),)


def test_rates_are_those_of_the_samples_seen():
    recipe = parse_training({**IMAGES, "warmup_epochs": 1, "learning_rate": 1e-3})
    equal = learning_rates(recipe, 1e-3, [4, 4, 4, 4], 4)
    grown = learning_rates(recipe, 1e-3, [4, 4, 2, 1], 4, [1, 1, 2, 4])
    batches = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12]
    np.testing.assert_array_equal([float(grown(t)) for t in range(11)], [float(equal(t)) for t in batches])
    again = type(grown).from_config(grown.get_config())
    assert float(again(9)) == float(grown(9)) > 0
    assert type(equal) is keras.optimizers.schedules.CosineDecay


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_growth": [0.5, 0.2]}, "in order"),
        ({"ema": 1.0}, "ema"),
        ({"noise_snr_db": [10, 0]}, "noise_snr_db"),
        ({"noise_snr_db": [0, 10], "max_samples": 5}, "max_samples"),
    ],
)
def test_wrong_recipes(changes, words):
    with pytest.raises(ConfigError, match=words):
        parse_training({**IMAGES, **changes})


@pytest.mark.parametrize("decay", [None, 0.01])
def test_adam_of_eager_tests_is_that_of_keras(rng, decay):
    """Tests without graphs have an update of their own; its weights are those of Keras to rounding."""
    x, y = rng.standard_normal((32, 5)).astype(np.float32), rng.standard_normal((32, 2)).astype(np.float32)

    def trained():
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(7, "tanh"), keras.layers.Dense(2)])
        rate = keras.optimizers.schedules.CosineDecay(0.05, 6)
        model.compile(keras.optimizers.Adam(rate, weight_decay=decay), loss="mse", run_eagerly=True)
        for _ in range(6):
            model.train_on_batch(x, y)
        return model.get_weights()

    ours = trained()
    with eagerly():
        fused = trained()
    for a, b in zip(ours, fused, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)
        assert not np.array_equal(a, np.zeros_like(a))
