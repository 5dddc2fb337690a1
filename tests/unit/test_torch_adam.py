"""Adam as PyTorch has it, against its formula in NumPy float64; where Keras's own differs; recipes that ask for it."""

import keras
import numpy as np
import pytest
from keras import ops

from receivers.training.optimizer import build_optimizer
from receivers.training.recipe import parse_training
from receivers.training.torch_adam import TorchAdam
from simulator.core.errors import ConfigError


def array(x):
    return np.asarray(ops.convert_to_numpy(x))


def problem(rng):
    """Loss and gradient of a small network with small gradients, where epsilon matters."""
    x, y = rng.standard_normal((40, 6)), rng.standard_normal((40, 3))

    def loss(w):
        z = np.tanh(x @ w)
        return 1e-6 * np.mean((z - y) ** 2), 2e-6 * x.T @ ((z - y) * (1 - z**2)) / y.size

    return loss


def losses_of_formula(loss, w, rate, steps=10, decay=0.0):
    m, v, losses = np.zeros(w.shape), np.zeros(w.shape), []
    for t in range(1, steps + 1):
        value, g = loss(w)
        losses.append(value)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - rate * decay * w
        w = w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return np.array(losses)


def losses_of(optimizer, loss, w, steps=10):
    variable, losses = keras.Variable(w, dtype="float64"), []
    optimizer.build([variable])
    for _ in range(steps):
        value, g = loss(array(variable))
        losses.append(value)
        optimizer.apply([ops.convert_to_tensor(g, "float64")])
    return np.array(losses)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_ten_losses_are_those_of_the_formula(decay, rng):
    loss, w = problem(rng), rng.standard_normal((6, 3))
    expected = losses_of_formula(loss, w, 0.05, decay=decay)
    np.testing.assert_allclose(losses_of(TorchAdam(0.05, weight_decay=decay), loss, w), expected, rtol=1e-8)
    keras_own = losses_of(keras.optimizers.AdamW(0.05, weight_decay=decay, epsilon=1e-8), loss, w)
    assert np.abs(keras_own / expected - 1).max() > 1e-3


def test_recipe_chooses(rng):
    base = {
        "task": "autoencoder",
        "name": "a",
        "dataset": "d",
        "model": {"name": "csinet"},
        "weight_decay": 0.2,
        "warmup_epochs": 0,
    }
    recipes = [parse_training({**base, **o}) for o in ({}, {"optimizer": {"name": "adam", "torch": True}})]
    ours, theirs = (build_optimizer(recipe, 1e-3, [5, 5], 5) for recipe in recipes)
    assert type(ours) is keras.optimizers.AdamW and ours.weight_decay == 0.2
    assert isinstance(theirs, TorchAdam) and theirs.weight_decay == 0 and theirs.epsilon == 1e-8
    constant = parse_training({**base, "optimizer": {"schedule": "constant"}, "warmup_epochs": 1})
    rates = build_optimizer(constant, 1e-3, [5, 5], 5)._learning_rate
    np.testing.assert_allclose([float(rates(t)) for t in (5, 7, 10)], 1e-3, rtol=1e-6)
    assert float(rates(0)) < 1e-4
    with pytest.raises(ConfigError, match=r"^optimizer\.name"):
        parse_training({**base, "optimizer": {"name": "sgd"}})


def test_momentum_of_clnets_spatial_gate():
    from simulator.core import registry

    network = registry.build("models", "clnet", height=8, width=8, num_latents=4)
    norms = {x.name: x.momentum for x in network.encoder.layers if isinstance(x, keras.layers.BatchNormalization)}
    assert norms.pop("encoder-sa-spatial-bn") == pytest.approx(0.99)
    assert set(np.round(list(norms.values()), 9)) == {0.9}
