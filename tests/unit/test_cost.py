"""What a network costs: every layer with weights is counted or named; cards of shipped networks hold."""

import json
from dataclasses import asdict

import keras
import numpy as np
import pytest
from keras import layers, ops
from zoo_scores import loaded

from receivers.models.cost import count_cost, work_of
from receivers.weights.folder import zoo_folder, zoo_names
from simulator.core.errors import ConfigError


class Mixer(layers.Layer):
    """A product with a kernel of its own over the first axis, and what it costs if it says so."""

    def __init__(self, trainable=True, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.keep = layers.Dense(3), trainable

    def build(self, shape):
        self.inner.build((*shape[:-1], shape[-1]))
        self.kernel = self.add_weight(shape=(shape[1], shape[1]), trainable=self.keep)

    def call(self, x):
        return self.inner(ops.einsum("bnc,nm->bmc", x, self.kernel))


class Honest(Mixer):
    def macs(self, x, y):
        return x.shape[1] ** 2 * x.shape[2]


class Overridden(layers.Dense):
    def call(self, inputs):
        return ops.matmul(inputs, self.kernel)


class Inherited(layers.Dense):
    def call(self, inputs):
        return 2 * super().call(inputs)


def network(*parts, shape=(4, 5)):
    x = image = keras.Input(shape)
    for part in parts:
        x = part(x)
    return keras.Model(image, x)


@pytest.mark.parametrize("part", [Mixer(), Mixer(False), Overridden(3), layers.LSTM(3), layers.SeparableConv1D(2, 3)])
def test_a_layer_that_is_not_known_is_named(part):
    with pytest.raises(ConfigError, match=rf"\({type(part).__name__}(Cell)?\).*macs\(x, y\)"):
        count_cost(network(layers.Dense(5), part))
    with pytest.raises(ConfigError):
        work_of(lambda: part(np.zeros((1, 4, 5), np.float32)))
    assert count_cost(network(layers.Dense(5))).macs == 4 * 5 * 5  # all is as before


def test_a_layer_says_its_cost():
    assert count_cost(network(Honest())).macs == 16 * 5 + 4 * 5 * 3
    assert count_cost(network(Inherited(3))).macs == 4 * 5 * 3


def test_layers_without_products_cost_nothing():
    free = (layers.Dropout(0.5), layers.GaussianNoise(0.1), layers.RMSNormalization(), layers.Flatten())
    assert count_cost(network(*free)).macs == 0


@pytest.mark.parametrize(
    ("equation", "output", "macs"),
    [
        ("abc,cd->abd", (None, 7), 4 * 5 * 7),
        ("abc,cde->abde", (None, 2, 3), 4 * 5 * 6),
        ("abc,bcd->ad", (7,), 4 * 5 * 7),  # two axes are summed
        ("abc,bcd->abd", (4, 7), 4 * 5 * 7),  # a kernel for each row
        ("...c,cd->...d", (7,), 4 * 5 * 7),
    ],
)
def test_einsum(equation, output, macs):
    """Sizes of all indices multiplied, batch 1."""
    assert count_cost(network(layers.EinsumDense(equation, output))).macs == macs


def test_convolution_over_one_axis():
    assert count_cost(network(layers.Conv1D(6, 3))).macs == 2 * 3 * 5 * 6


@pytest.mark.long
@pytest.mark.parametrize("name", [n for n in zoo_names() if not n.startswith("klt")])
def test_shipped_networks_cost_what_their_cards_say(name):
    card = json.loads((zoo_folder() / name / "card.json").read_text())
    model = loaded(name).model
    for part in ("encoder", "decoder"):
        cost = asdict(count_cost(getattr(model, part)))
        assert {key: cost[key] for key in card["cost"][part]} == card["cost"][part]
