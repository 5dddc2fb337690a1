"""Scalar quantisers: known levels, error bounds, and agreement of the soft with the hard path."""

import subprocess
import sys

import numpy as np
import pytest

from receivers.quantization.mu_law import MuLawQuantizer
from receivers.quantization.uniform import UniformQuantizer
from simulator.core.errors import ConfigError, PayloadError

ALL_BITS = range(1, 17)
KINDS = [UniformQuantizer, MuLawQuantizer]
kinds = pytest.mark.parametrize("kind", KINDS, ids=[kind.key for kind in KINDS])


def compress(x, mu=255.0):
    return np.sign(x) * np.log(1 + mu * np.abs(x)) / np.log(1 + mu)


def hard(quantizer, x):
    return quantizer.dequantize(quantizer.quantize(x))


def soft(quantizer, x):
    from keras import ops

    return ops.convert_to_numpy(quantizer.soft(ops.convert_to_tensor(x)))


def gradient(quantizer, x, weight):
    """Gradient of sum(weight * soft(x)) under the active backend."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        point = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(point)
            loss = tf.reduce_sum(quantizer.soft(point) * weight)
        return tape.gradient(loss, point).numpy()
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda point: (quantizer.soft(point) * weight).sum())(x))
    import torch

    point = torch.tensor(x, requires_grad=True)
    (quantizer.soft(point) * torch.tensor(weight)).sum().backward()
    return point.grad.numpy()


def difficult_values(quantizer):
    """Float32: every cell border with both neighbours, every level, subnormals, random values."""
    levels = quantizer.dequantize(np.arange(2**quantizer.bits)).astype(np.float64)
    if quantizer.key == "uniform":
        borders = (levels[1:] + levels[:-1]) / 2
    else:
        y = (compress(levels[1:]) + compress(levels[:-1])) / 2
        borders = np.sign(y) * (256.0 ** np.abs(y) - 1) / 255
    borders = np.concatenate([borders, [0, 1, -1, 1e-40, -1e-40, 2e-38, -2e-38, np.inf, -np.inf]])
    near = borders.astype(np.float32)
    below, above = np.nextafter(near, np.float32(-9)), np.nextafter(near, np.float32(9))
    noise = np.random.default_rng(5).uniform(-1.3, 1.3, 5000)
    values = np.concatenate([near, below, above, levels, noise]).astype(np.float32)
    return values[np.isfinite(values)]


def test_mu_law_levels_are_those_of_the_closed_form():
    """Values worked out by hand from the equation, mu = 255."""
    known = {
        1: [1.0],
        2: [0.02098, 1.0],
        3: [0.00474, 0.03830, 0.20197, 1.0],
        4: [0.00175, 0.00797, 0.02098, 0.04823, 0.10532, 0.22490, 0.47537, 1.0],
    }
    for bits, positive in known.items():
        levels = MuLawQuantizer(bits).dequantize(np.arange(2**bits))
        expected = np.concatenate([-np.flip(positive), positive])
        np.testing.assert_allclose(levels, expected, rtol=0, atol=5.1e-6)
        assert levels.dtype == np.float32
        assert levels[0] == -1 and levels[-1] == 1


def test_uniform_levels():
    np.testing.assert_array_equal(UniformQuantizer(1).dequantize(np.arange(2)), [-0.5, 0.5])
    np.testing.assert_array_equal(UniformQuantizer(2).dequantize(np.arange(4)), [-0.75, -0.25, 0.25, 0.75])


@kinds
@pytest.mark.parametrize("bits", ALL_BITS)
def test_quantize_is_idempotent_and_levels_increase(kind, bits):
    quantizer, index = kind(bits), np.arange(2**bits)
    levels = quantizer.dequantize(index)
    assert (np.diff(levels) > 0).all() and np.abs(levels).max() <= 1
    np.testing.assert_array_equal(levels, -levels[::-1])
    np.testing.assert_array_equal(quantizer.quantize(levels), index)


@pytest.mark.parametrize("bits", ALL_BITS)
def test_uniform_error_is_at_most_half_a_cell(bits):
    x = np.random.default_rng(0).uniform(-1, 1, 20_000)
    error = np.abs(hard(UniformQuantizer(bits), x).astype(np.float64) - x)
    assert 0.95 * 2.0**-bits < error.max() <= 2.0**-bits


@pytest.mark.parametrize("bits", ALL_BITS)
def test_mu_law_error_is_at_most_half_a_cell_after_compression(bits):
    x = np.random.default_rng(0).uniform(-1, 1, 20_000)
    error = np.abs(compress(hard(MuLawQuantizer(bits), x).astype(np.float64)) - compress(x))
    assert 0.95 / (2**bits - 1) < error.max() <= 1 / (2**bits - 1) + 1e-7  # 1e-7: levels are float32


@pytest.mark.parametrize("mu", [1e-3, 1.0, 255.0, 1e6])
@pytest.mark.parametrize("bits", [1, 4, 11, 16])
def test_mu_law_cells_are_the_rounded_compressed_values(bits, mu):
    x = np.random.default_rng(1).uniform(-1, 1, 50_000)
    exact = (compress(x, mu) + 1) / 2 * (2**bits - 1)
    clear = np.abs(exact % 1 - 0.5) > 1e-6  # a tie may fall to either side of the reference
    expected = np.rint(exact)[clear]
    np.testing.assert_array_equal(MuLawQuantizer(bits, mu).quantize(x)[clear], expected)


@kinds
def test_unusual_values_have_a_defined_cell(kind):
    x = [np.nan, np.inf, -np.inf, 7.0, -7.0, 0.0, -0.0, 1.0, -1.0, 1e-300, -1e-300]
    cells = kind(3).quantize(np.array(x))
    assert cells.tolist() == [4, 7, 0, 7, 0, 4, 4, 7, 0, 4, 4]
    assert cells.dtype == np.int64
    assert kind(3).quantize(np.zeros((2, 0, 3), np.float32)).shape == (2, 0, 3)
    assert kind(3).quantize(np.float32(0.5)).shape == ()


@kinds
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8, 12, 16])
def test_soft_value_is_exactly_the_hard_level(kind, bits):
    quantizer = kind(bits)
    x = difficult_values(quantizer)
    value = soft(quantizer, x)
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value, hard(quantizer, x))


@kinds
def test_soft_gradient_is_one_everywhere(kind):
    x = np.concatenate([np.linspace(-1.5, 1.5, 61), [0.0, 1.0, -1.0]]).astype(np.float32).reshape(8, 8)
    weight = np.random.default_rng(2).standard_normal(x.shape).astype(np.float32)
    np.testing.assert_array_equal(gradient(kind(3), x, weight), weight)


@kinds
def test_soft_shows_non_finite_values_and_keeps_the_shape(kind):
    x = np.array([[np.nan, 0.3, np.inf, -0.2]], np.float32)
    value = soft(kind(4), x)
    assert value.shape == x.shape
    np.testing.assert_array_equal(np.isnan(value), ~np.isfinite(x))


@kinds
@pytest.mark.parametrize("bits", [0, 17, -1, 2.0, True, "4", None])
def test_wrong_bits(kind, bits):
    with pytest.raises(ConfigError) as caught:
        kind(bits)
    assert caught.value.field == "feedback.autoencoder.bits"


@pytest.mark.parametrize("mu", [0.0, -1.0, 2e6, np.nan, np.inf, True, "255"])
def test_wrong_mu(mu):
    with pytest.raises(ConfigError) as caught:
        MuLawQuantizer(4, mu=mu)
    assert caught.value.field == "feedback.autoencoder.mu"


@kinds
@pytest.mark.parametrize("index", [[-1], [8], [0.0], [True]])
def test_wrong_index(kind, index):
    with pytest.raises(PayloadError):
        kind(3).dequantize(np.array(index))


def test_hard_path_needs_no_backend():
    code = (
        "import sys, numpy as np\n"
        "from receivers.quantization.mu_law import MuLawQuantizer\n"
        "from receivers.quantization.uniform import UniformQuantizer\n"
        "for q in MuLawQuantizer(4), UniformQuantizer(4): q.dequantize(q.quantize(np.zeros(3)))\n"
        "sys.exit(bool({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
