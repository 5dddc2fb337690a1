"""Scalar quantisers: known levels, error bounds, and agreement of the soft with the hard path."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import ndtr

from receivers.quantization.lloyd_max import LloydMaxQuantizer, gaussian_levels
from receivers.quantization.mu_law import MuLawQuantizer
from receivers.quantization.scale import scale_index, scale_of, scale_values
from receivers.quantization.uniform import UniformQuantizer
from receivers.quantization.vector import VectorQuantizer
from simulator.core.errors import ConfigError, PayloadError

ALL_BITS = range(1, 17)
KINDS = [UniformQuantizer, MuLawQuantizer]
kinds = pytest.mark.parametrize("kind", KINDS, ids=[kind.key for kind in KINDS])


def compress(x, mu=255.0):
    return np.sign(x) * np.log(1 + mu * np.abs(x)) / np.log(1 + mu)


def hard(quantizer, x):
    return quantizer.dequantize(quantizer.quantize(x))


def soft(quantizer, x):
    return ops.convert_to_numpy(quantizer.soft(ops.convert_to_tensor(x)))


def gradient(quantizer, x, weight):
    """Gradient of sum(weight * soft(x)) under the active backend."""
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


# Learned levels and codebooks -----------------------------------------------------------------------------------------

# Max, IRE Trans. Inf. Theory 6(1), 1960, Table I: positive levels and distortion for a unit Gaussian.
MAX_1960 = {
    1: ([0.7980], 0.3634),
    2: ([0.4528, 1.510], 0.1175),
    3: ([0.2451, 0.7560, 1.344, 2.152], 0.03454),
    4: ([0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733], 0.009497),
}


@pytest.mark.parametrize("bits", MAX_1960)
def test_gaussian_levels_are_those_printed(bits):
    levels, distortion = MAX_1960[bits]
    ours = gaussian_levels(bits)
    np.testing.assert_allclose(ours, -ours[::-1], atol=1e-6)
    np.testing.assert_allclose(ours[2 ** (bits - 1) :], levels, rtol=1e-3)
    x = np.linspace(-9, 9, 200_001)
    density = np.exp(-0.5 * x**2)
    error = np.min((x[:, None] - ours) ** 2, axis=1)
    assert np.sum(error * density) / np.sum(density) == pytest.approx(distortion, rel=1e-3)


@pytest.mark.parametrize("bits", [8, 10, 13, 16])
def test_many_gaussian_levels_reach_the_high_rate_distortion(bits):
    """Panter and Dite, Proc. IRE 39(1), 1951: sqrt(3) pi / 2 times 4 ** -b; each level is the mean of its cell."""
    levels = gaussian_levels(bits)
    edges = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
    mass = np.where(edges[1:] > 0, ndtr(-edges[:-1]) - ndtr(-edges[1:]), ndtr(edges[1:]) - ndtr(edges[:-1]))
    assert (1 - np.sum(mass * levels**2)) * 4.0**bits == pytest.approx(3**0.5 * np.pi / 2, rel=0.01)
    density = np.exp(-0.5 * edges**2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(-np.diff(density) / mass, levels, atol=1e-6)


@pytest.mark.parametrize("bits", ALL_BITS)
def test_default_levels_of_every_width(bits):
    quantizer, index = LloydMaxQuantizer(bits), np.arange(2**bits)
    np.testing.assert_array_equal(quantizer.quantize(quantizer.dequantize(index)), index)


def test_no_level_is_wasted_on_data_with_outliers(rng):
    x = np.concatenate([0.01 * rng.standard_normal(20_000), [-1, 0.9, 1]])
    for bits in (3, 6):
        quantizer = LloydMaxQuantizer(bits, LloydMaxQuantizer.fit(x, bits)["levels"])
        assert len(np.unique(quantizer.quantize(x))) == 2**bits


def test_lloyd_max_learns_the_levels_of_its_data(rng):
    x = 0.2 * rng.standard_normal((20_000, 4))
    for bits in (1, 2, 3):
        fitted = LloydMaxQuantizer.fit(x, bits)["levels"]
        np.testing.assert_allclose(fitted, 0.2 * gaussian_levels(bits), atol=0.006)
    error = [
        np.mean((q.dequantize(q.quantize(x)) - x) ** 2)
        for q in (LloydMaxQuantizer(4, LloydMaxQuantizer.fit(x, 4)["levels"]), MuLawQuantizer(4), UniformQuantizer(4))
    ]
    assert error[0] < min(error[1:])
    atoms = LloydMaxQuantizer(3, LloydMaxQuantizer.fit(np.array([0.5, -0.5, 0.5, 1.0]), 3)["levels"])
    np.testing.assert_allclose(
        atoms.dequantize(atoms.quantize(np.array([0.5, -0.5, 1.0]))), [0.5, -0.5, 1.0], atol=1e-5
    )


def test_vector_quantiser_beats_the_scalar_one(rng):
    """4 bits for two Gaussian values: about 0.11 each, above Shannon's 0.0625, below Max's 0.1175 at 2 bits each."""
    x = 0.2 * rng.standard_normal((40_000, 2))
    quantizer = VectorQuantizer(4, **VectorQuantizer.fit(x, 4))
    error = np.mean((quantizer.dequantize(quantizer.quantize(x)) - x) ** 2) / 0.04
    assert 0.105 < error < 0.112
    codebook = quantizer.codebook.astype(np.float64)
    few = x[:200]
    nearest = [min(range(16), key=lambda i, v=v: np.sum((codebook[i] - v) ** 2)) for v in few]
    np.testing.assert_array_equal(quantizer.quantize(few)[:, 0], nearest)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: LloydMaxQuantizer(2, [0.1, 0.2, 0.3]), r"levels.*increasing"),
        (lambda: LloydMaxQuantizer(1, [0.2, 0.1]), r"levels.*increasing"),
        (lambda: LloydMaxQuantizer(1, [0.2, 1.5]), r"levels.*\[-1, 1\]"),
        (lambda: VectorQuantizer(13), r"bits.*1\.\.12"),
        (lambda: VectorQuantizer(2, 0), r"dim.*1\.\.16"),
        (lambda: VectorQuantizer(1, 2, [[0, 0]]), r"codebook.*\(2, 2\)"),
        (lambda: VectorQuantizer(1, 2).quantize(np.zeros((4, 3))), r"dim.*divisor"),
    ],
)
def test_wrong_levels_and_codebooks(build, words):
    with pytest.raises(ConfigError, match=words):
        build()


def test_scale_grid():
    """Uniform in dB from -60 to 40, nearest point, both paths alike."""
    scale = np.geomspace(1e-4, 1e3, 200).astype(np.float32)
    for bits in (1, 5, 8):
        index = scale_index(scale, bits)
        grid = scale_of(np.arange(2**bits), bits)
        np.testing.assert_allclose(20 * np.log10(grid[[0, -1]]), [-60, 40], atol=1e-4)
        inside = (scale > grid[0]) & (scale < grid[-1])
        step = 100 / (2**bits - 1)
        assert np.abs(20 * np.log10(scale_of(index, bits)[inside] / scale[inside])).max() <= step / 2 + 1e-4
        soft = np.asarray(ops.convert_to_numpy(scale_values(ops.convert_to_tensor(scale), bits)))
        assert np.mean(np.abs(soft / scale_of(index, bits) - 1) < 1e-4) > 0.97  # but for ties of the rounding
    assert scale_index(np.array([0.0, 1e-9, 1e9]), 8).tolist() == [0, 0, 255]
