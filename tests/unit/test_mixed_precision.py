"""Encoders with weights of few bits: blocks, what a policy does to the kernels and outputs, and bit operations."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops
from tolerances import assert_close

from receivers.models.cost import count_cost, count_work
from receivers.models.mixed_precision import LARGE, MixedPrecisionEncoder
from receivers.quantization.weight_bits import WIDTHS, quantize_weight
from simulator.core import registry
from simulator.core.errors import ConfigError

MAMBA = {"height": 8, "width": 8, "maps": 16, "num_latents": 8, "state": 2, "hidden": 32}
NETWORKS = {
    "csinet": {"height": 8, "width": 8, "num_latents": 16},
    "csinet_plus": {"height": 8, "width": 8, "num_latents": 16},
    "crnet": {"height": 8, "width": 8, "num_latents": 16},
    "clnet": {"height": 8, "width": 8, "num_latents": 16},
    "attention_csinet": {"height": 8, "width": 8, "num_latents": 16},
    "transnet": {"height": 8, "width": 8, "num_latents": 16, "dim": 16, "hidden": 32},
    "mamba_transformer": MAMBA,
    "mamba_transformer with a gain": {**MAMBA, "num_blocks": 1, "latent_gain": 0.05},
}

# 16 bits: a kernel is known to 1.5e-5 of its largest entry, an activation to 1.5e-5 of the layer's.
SIXTEEN_BITS = 1e-3

# One float32 product against the same product.
ROUNDING = 1e-6


def randomised(name, rng, **params):
    """Network without a trivial gain, offset or statistic."""
    model = registry.build("models", name.split()[0], **{**NETWORKS.get(name, {}), **params})
    for w in model.encoder.weights:
        value = np.array(w) + 0.1 * rng.standard_normal(w.shape)
        w.assign(np.abs(value) + 0.5 if "variance" in w.path else value)
    return model


def images(rng, model, samples=5):
    return rng.standard_normal((samples, *model.encoder.input_shape[1:])).astype(np.float32)


@pytest.fixture(scope="module")
def mamba():
    return randomised("mamba_transformer", np.random.default_rng(1))


@pytest.fixture(scope="module")
def large():
    """A dense kernel of 32,768 weights, which is cut."""
    return randomised("csinet", np.random.default_rng(2), height=16, width=16, num_latents=64)


# Blocks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
class TestEveryNetwork:
    @pytest.mark.long
    def test_sixteen_bits_are_the_float_encoder(self, name, rng):
        model = randomised(name, rng)
        encoder = MixedPrecisionEncoder(model.encoder)
        x = images(rng, model)
        expected = np.array(model.encoder(x))
        latent = encoder.encode(x, (16,) * len(encoder.blocks))
        assert latent.dtype == np.float32 and np.std(expected) > 1e-3
        assert_close(latent, expected, SIXTEEN_BITS)

    @pytest.mark.long
    def test_blocks_are_all_kernels_that_multiply_once(self, name, rng):
        model = randomised(name, rng).encoder
        encoder = MixedPrecisionEncoder(model, parts=3)
        blocks = encoder.blocks
        words = ("kernel", "x_proj", "dt_proj")
        kernels = [i for i, w in enumerate(model.weights) if w.path.split("/")[-1].endswith(words)]
        assert sorted({block.weight for block in blocks}) == kernels
        assert len({block.name for block in blocks}) == len(blocks)
        assert sum(block.params for block in blocks) == sum(int(np.prod(model.weights[i].shape)) for i in kernels)
        for block in blocks:
            weight = model.weights[block.weight]
            assert block.name == weight.path and (block.start, block.stop) == (0, weight.shape[-1])
            assert block.params == np.prod(weight.shape)

    @pytest.mark.long
    def test_blocks_share_the_multiplications(self, name, rng):
        model = randomised(name, rng).encoder
        cost, encoder = count_cost(model), MixedPrecisionEncoder(model)
        weights = sum(work.macs for work in count_work(model) if work.kind in ("layer", "projection"))
        assert sum(block.macs for block in encoder.blocks) == weights == cost.macs - encoder.product_macs
        assert sum(block.macs for block in encoder.blocks if block.published) == cost.macs_published
        policy = [WIDTHS[i % 4] for i in range(len(encoder.blocks))]
        macs = [block.macs for block in encoder.blocks]
        by_hand = 16 * sum(m * b for m, b in zip(macs, policy, strict=True)) + 256 * encoder.product_macs
        assert encoder.bops(policy) == by_hand
        kappa = encoder.kappa()
        assert kappa.shape == (len(macs), 4) and abs(kappa[:, 0].sum() - 1) < 1e-12
        expected = [[m * b / (16 * sum(macs)) for b in WIDTHS] for m in macs]
        np.testing.assert_allclose(kappa, expected, rtol=1e-12)


@pytest.mark.parametrize("parts", [1, 4, 7, 100])
def test_parts_are_the_whole_kernel(parts, large):
    model = large.encoder
    encoder = MixedPrecisionEncoder(model, parts=parts)
    conv, *dense = encoder.blocks
    assert (conv.macs, conv.params) == (16 * 16 * 36, 36) and conv.published
    stops = [block.stop for block in dense]
    assert [block.start for block in dense] == [0, *stops[:-1]] and stops[-1] == 64
    assert len(dense) == min(parts, 64)
    widths = [block.stop - block.start for block in dense]
    assert max(widths) - min(widths) <= 1
    assert [block.macs for block in dense] == [block.params for block in dense] == [512 * width for width in widths]
    assert len({block.name for block in dense}) == len(dense)


def test_only_large_kernels_are_cut():
    assert LARGE == 20_000
    for units, parts in ((100, 1), (101, 3)):  # 20,000 and 20,200 weights
        image = keras.Input((10, 10, 2))
        model = keras.Model(image, layers.Dense(units)(layers.Flatten()(image)))
        assert len(MixedPrecisionEncoder(model, parts=3).blocks) == parts


@pytest.mark.long
def test_a_kernel_that_runs_twice_is_one_block(rng):
    """TransNet's released encoder applies one layer twice."""
    encoder = MixedPrecisionEncoder(randomised("transnet", rng, num_layers=2).encoder)
    once = MixedPrecisionEncoder(randomised("transnet", rng, num_layers=1).encoder)
    assert [block.params for block in encoder.blocks] == [block.params for block in once.blocks]
    assert [block.macs for block in encoder.blocks][:-1] == [2 * block.macs for block in once.blocks][:-1]
    assert encoder.product_macs == 2 * once.product_macs == 2 * 2 * 8 * 8 * 16  # tokens of 16 numbers, two products


@pytest.mark.long
def test_order_and_kind_of_the_mamba_blocks(mamba):
    encoder = MixedPrecisionEncoder(mamba.encoder)
    block = [("in_proj/kernel", 1), ("conv/kernel", 1), ("scan/x_proj", 0), ("scan/dt_proj", 0), ("out_proj/kernel", 1)]
    expected = [("stem/kernel", True)]
    expected += [(f"mamba{i}/mamba/{path}", bool(published)) for i in (0, 1) for path, published in block]
    expected += [("project/kernel", True), ("codeword/kernel", True)]
    assert [(b.name, b.published) for b in encoder.blocks] == expected
    # 16 pixels, 16 maps, 32 inner channels, steps from one number, two states, four directions.
    macs = [16 * 64 * 16, 9 * 16 * 32, 4 * 16 * 32 * 5, 4 * 16 * 32, 16 * 32 * 16]
    assert [b.macs for b in encoder.blocks] == [16 * 18 * 16, *macs, *macs, 16 * 16 * 8, 128 * 8]
    assert encoder.product_macs == 2 * 3 * 4 * 16 * 32 * 2


# Rounding ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("options", [{}, {"clip": "mse"}, {"scheme": "tensor_minmax"}], ids=str)
def test_a_part_is_rounded_as_a_kernel_of_its_own_and_nothing_else_is(bits, options, large):
    model = large.encoder
    encoder = MixedPrecisionEncoder(model, parts=5, **options)
    reference = [np.array(w) for w in model.weights]

    def rounded(block, bits):
        return quantize_weight(np.array(model.weights[block.weight])[..., block.start : block.stop], bits, **options)

    for block in encoder.blocks:
        reference[block.weight][..., block.start : block.stop] = rounded(block, 16)
    for index in (0, 1, 3, 5):
        block = encoder.blocks[index]
        encoder.assign([bits if i == index else 16 for i in range(6)])
        for number, weight in enumerate(encoder._network.weights):
            expected = np.array(reference[number])
            if number == block.weight:
                expected[..., block.start : block.stop] = rounded(block, bits)
            np.testing.assert_array_equal(np.array(weight), expected)
    change = encoder.perturbation()
    assert change.shape == (6, 4) and change.dtype == np.float64
    for block, row in zip(encoder.blocks, change, strict=True):
        part = np.array(model.weights[block.weight])[..., block.start : block.stop]
        for width, value in zip(WIDTHS, row, strict=True):
            assert value == pytest.approx(np.sum((np.float64(rounded(block, width)) - part) ** 2), rel=1e-12)


@pytest.mark.long
@pytest.mark.parametrize("name", ["csinet", "transnet", "mamba_transformer"])
def test_the_network_itself_is_untouched(name, rng):
    model = randomised(name, rng)
    x = images(rng, model)
    before, latent = model.encoder.get_weights(), np.array(model.encoder(x))
    encoder = MixedPrecisionEncoder(model.encoder)
    assert np.abs(encoder.encode(x, (2,) * len(encoder.blocks)) - latent).max() > 1e-2 * np.abs(latent).max()
    assert all(np.array_equal(a, b) for a, b in zip(before, model.encoder.get_weights(), strict=True))
    np.testing.assert_array_equal(np.array(model.encoder(x)), latent)


@pytest.mark.long
def test_a_policy_gives_the_same_whatever_came_before(mamba, rng):
    x = images(rng, mamba)
    encoder = MixedPrecisionEncoder(mamba.encoder)
    count = len(encoder.blocks)
    policies = [(16,) * count, (2,) * count, tuple(rng.choice(WIDTHS, count)), tuple(rng.choice(WIDTHS, count))]
    first = [MixedPrecisionEncoder(mamba.encoder).encode(x, policies[3])]
    first = [encoder.encode(x, policy) for policy in policies[:3]] + first
    for a, b in itertools.combinations(first, 2):
        assert np.abs(a - b).max() > 1e-3
    for index in (3, 3, 0, 1, 2, 1, 3, 0):
        np.testing.assert_array_equal(encoder.encode(x, policies[index]), first[index])


def test_batches_and_padding_leave_no_trace(large, rng):
    encoder = MixedPrecisionEncoder(large.encoder, activation_bits=8)
    x = images(rng, large, 300)
    policy = (8, 4)
    together = encoder.encode(x, policy)
    assert together.shape == (300, 64)
    for part in (slice(0, 1), slice(250, 263)):
        assert_close(encoder.encode(x[part], policy), together[part], 0.02)  # a tie may fall to the next of 127 steps
        assert np.mean(np.abs(encoder.encode(x[part], policy) - together[part]) > 1e-5) < 0.01


@pytest.mark.long
@pytest.mark.parametrize("name", ["csinet", "mamba_transformer with a gain"])
def test_latents_lie_on_the_grid_of_their_activation(name, rng):
    model = randomised(name, rng)
    x = images(rng, model)
    for bits in (8, 16):
        encoder = MixedPrecisionEncoder(model.encoder, activation_bits=bits)
        latent = np.float64(encoder.encode(x, (16,) * len(encoder.blocks)))
        top = 2 ** (bits - 1) - 1
        grid = latent / np.abs(latent).max(axis=1, keepdims=True) * top
        assert np.abs(grid - np.rint(grid)).max() < top * ROUNDING
        assert np.abs(np.rint(grid)).max() == top
        assert_close(latent, np.array(model.encoder(x)), {8: 0.05, 16: SIXTEEN_BITS}[bits])


def test_outputs_of_all_layers_are_rounded(rng):
    """Layer after layer by hand; a tie that falls the other way changes its sample, so most samples must agree."""
    model = randomised("csinet", rng)
    x = images(rng, model)
    encoder = MixedPrecisionEncoder(model.encoder, activation_bits=8)
    policy = (4, 8)
    y = x
    for layer in model.encoder.layers[1:]:
        if layer.name == "codeword" or "conv" in layer.name:
            kernel = quantize_weight(np.array(layer.kernel), policy[layer.name == "codeword"])
            apply = ops.matmul if layer.name == "codeword" else lambda x, k: ops.conv(x, k, padding="same")
            y = np.array(apply(y, kernel)) + np.array(layer.bias)
        else:
            y = np.array(layer(y))
        step = np.abs(y).max(axis=tuple(range(1, y.ndim)), keepdims=True) / np.float32(127)
        y = np.rint(y / step) * step
    latent = encoder.encode(x, policy)
    assert_close(latent, y, 0.02)
    assert np.median(np.mean(np.abs(latent - y) > 1e-5, axis=1)) < 0.05
    assert np.mean(np.abs(latent - np.array(model.encoder(x))) > 1e-5) > 0.9


# Bit operations ------------------------------------------------------------------------------------------------------


def test_published_bit_operations_of_csinet():
    """Table IV: 277.87, 138.94 and 69.47 million."""
    encoder = MixedPrecisionEncoder(registry.build("models", "csinet", num_latents=512).encoder)
    assert sum(block.macs for block in encoder.blocks) == 1_085_440 and encoder.product_macs == 0
    for bits, printed in ((16, 277.87), (8, 138.94), (4, 69.47)):
        policy = (bits,) * len(encoder.blocks)
        assert encoder.bops(policy) == 1_085_440 * bits * 16
        assert round(encoder.bops(policy) / 1e6, 2) == printed


@pytest.mark.long
def test_bit_operations_by_hand(rng, mamba):
    model = randomised("csinet", rng).encoder
    conv, dense = 8 * 8 * 9 * 2 * 2, 128 * 16
    for activation in (8, 16):
        encoder = MixedPrecisionEncoder(model, activation_bits=activation)
        assert encoder.bops((8, 4)) == (conv * 8 + dense * 4) * activation
        share = encoder.kappa()
        assert share[0, 1] + share[1, 2] == pytest.approx((conv * 8 + dense * 4) / (16 * (conv + dense)), rel=1e-12)
    encoder = MixedPrecisionEncoder(mamba.encoder, activation_bits=8)
    policy = (4,) * len(encoder.blocks)
    cost, products = count_cost(mamba.encoder), 2 * 3 * 4 * 16 * 32 * 2
    assert encoder.bops(policy) == (cost.macs - products) * 4 * 8 + products * 8 * 8


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"activation_bits": 12}, "activation_bits"),
        ({"activation_bits": 32}, "activation_bits"),
        ({"parts": 0}, "parts"),
        ({"parts": True}, "parts"),
        ({"parts": 1.5}, "parts"),
        ({"scheme": "log"}, "weight_scheme"),
        ({"clip": "none"}, "weight_clip"),
    ],
)
def test_wrong_arguments(options, field, large):
    with pytest.raises(ConfigError) as caught:
        MixedPrecisionEncoder(large.encoder, **options)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ((16,), "got '1 widths'; allowed: 2, one for every block"),
        ((16, 8, 8), "got '3 widths'; allowed: 2, one for every block"),
        ((16, 3), "got 3; allowed: 16, 8, 4, 2"),
        ((32, 8), "got 32; allowed: 16, 8, 4, 2"),
        ((8.5, 8), "got 8.5; allowed: 16, 8, 4, 2"),
    ],
)
def test_wrong_policies(policy, text, large, rng):
    encoder = MixedPrecisionEncoder(large.encoder)
    x = images(rng, large)
    before = encoder.encode(x, (8, 8))
    for method in (encoder.assign, encoder.bops, encoder.check):
        with pytest.raises(ConfigError) as caught:
            method(policy)
        assert caught.value.field == "policy" and text in str(caught.value)
    with pytest.raises(ConfigError):
        encoder.encode(x, policy)
    np.testing.assert_array_equal(encoder.encode(x, (8, 8)), before)
