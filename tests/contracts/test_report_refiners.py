"""Every registered refiner of reports keeps its contract."""

import numpy as np
import pytest
from keras import ops

from receivers.models.report_frame import FEATURES, TAPS
from simulator.core import registry

NAMES = registry.names("report_refiners")


def tokens(rng, layers=4, beams=6):
    return rng.standard_normal((layers, beams, FEATURES)).astype(np.float32)


def run(network, x):
    return ops.convert_to_numpy(network(ops.convert_to_tensor(x), training=False))


@pytest.fixture(params=NAMES)
def network(request):
    return registry.build("report_refiners", request.param)


def test_decoded_coefficients_before_training(network, rng):
    x = tokens(rng)
    body = x[..., : 6 * TAPS].reshape(4, 6, 2 * TAPS, 3)[..., :2].reshape(4, 6, -1)
    found = run(network, x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, body, atol=1e-6)


def test_any_number_of_beams_and_layers(network, rng):
    for layers, beams in ((1, 1), (3, 16), (2, 40)):
        assert run(network, tokens(rng, layers, beams)).shape == (layers, beams, 4 * TAPS)
    assert run(network, np.zeros((0, 6, FEATURES), np.float32)).shape == (0, 6, 4 * TAPS)


def test_no_layer_depends_on_another(network, rng):
    for weight in network.trainable_weights:
        weight.assign(0.05 * rng.standard_normal(weight.shape))
    x = tokens(rng)
    y = x.copy()
    y[1] = rng.standard_normal(y[1].shape)
    one, two = run(network, x), run(network, y)
    np.testing.assert_allclose(one[[0, 2, 3]], two[[0, 2, 3]], atol=1e-5)
    assert np.abs(one[1] - two[1]).max() > 1e-3


def test_small_enough_and_rebuilt_from_its_configuration(network):
    assert network.count_params() <= 1_000_000
    again = type(network)(**network.get_config())
    assert [w.shape for w in again.weights] == [w.shape for w in network.weights]
