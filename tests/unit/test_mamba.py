"""Selective scan, Mamba blocks and the Mamba-Transformer: loops in float64, recorded passes, published sizes."""

import keras
import numpy as np
import pytest
from golden_files import recorded
from keras import ops
from tolerances import FLOAT32, assert_close

from receivers.models.cost import count_cost
from receivers.models.csinet import CsiNet
from receivers.models.csinet_plus import CsiNetPlus
from receivers.models.mamba import Mamba, Mamba2D, SelectiveScan
from receivers.models.mamba_transformer import MambaTransformer, ResidualMamba, StateNorm
from receivers.models.selective_scan import selective_scan
from receivers.models.transnet import TransNet
from receivers.training.pca import initialize_linear
from receivers.weights.torch_mamba import load_mamba
from simulator.core.errors import ConfigError

SMALL = {"height": 8, "width": 8, "maps": 16, "num_latents": 8, "state": 2, "hidden": 32}

# Terms of float32 gradients cancel by up to a factor of ten; the central difference is off by its step squared, 1e-8.
GRADIENT = 1e-4

# Batch normalisations at the start of a linear code: each is a gain of 1 - 1e-5 (their epsilon), three in a row.
LINEAR = 1e-4


def array(x):
    return np.asarray(ops.convert_to_numpy(x))


def randomise(layer, rng, spread=0.3):
    """Move every weight off its start, so that no gain, offset or statistic is trivial."""
    for w in layer.weights:
        value = array(w) + spread * rng.standard_normal(w.shape)
        w.assign(np.abs(value) + 0.5 if "variance" in w.path else value)


def silu(x):
    return x / (1 + np.exp(-x))


# Scan ----------------------------------------------------------------------------------------------------------------


def loop(u, dt, a, b, c, d):
    """One sample, direction and channel at a time, token after token, in float64."""
    u, dt, a, b, c, d = (np.asarray(x, np.float64) for x in (u, dt, a, b, c, d))
    y = np.zeros(u.shape)
    for sample, direction, channel in np.ndindex(u.shape[0], u.shape[1], u.shape[3]):
        h = np.zeros(a.shape[-1])
        for t in range(u.shape[2]):
            value, step = u[sample, direction, t, channel], dt[sample, direction, t, channel]
            h = np.exp(step * a[direction, channel]) * h + step * b[sample, direction, t] * value
            y[sample, direction, t, channel] = c[sample, direction, t] @ h + d[direction, channel] * value
    return y


def scan_inputs(rng, directions, length, state, step=1.0, batch=2, channels=3):
    """Arguments of a scan; steps spread over two decades around ``step``."""
    shape = (batch, directions, length)
    values = (
        rng.standard_normal((*shape, channels)),
        step * 10 ** rng.uniform(-1, 1, (*shape, channels)),
        -rng.uniform(0.1, 16, (directions, channels, state)),
        rng.standard_normal((*shape, state)),
        rng.standard_normal((*shape, state)),
        rng.standard_normal((directions, channels)),
    )
    return [x.astype(np.float32) for x in values]


@pytest.mark.parametrize("length", [1, 5, 64])
@pytest.mark.parametrize(("directions", "state"), [(1, 1), (1, 16), (4, 8)])
def test_scan_against_a_loop(length, directions, state, rng):
    values = scan_inputs(rng, directions, length, state, step=0.05)
    y = array(selective_scan(*values))
    assert y.dtype == np.float32
    assert_close(y, loop(*values), FLOAT32)


@pytest.mark.parametrize("step", [1e-6, 1e-3, 10.0, 1e4])
def test_scan_with_steps_of_all_sizes(step, rng):
    """From states that never decay to states that are gone after one token."""
    values = scan_inputs(rng, 2, 64, 4, step)
    values[5][:] = 0  # a tiny step leaves little but D u
    assert_close(selective_scan(*values), loop(*values), FLOAT32)


def test_scan_gradients_are_those_of_the_loop(rng):
    import tensorflow as tf

    for step in (1e-6, 0.1, 1e3):
        values = scan_inputs(rng, 2, 6, 3, step)
        weight = rng.standard_normal(values[0].shape)
        tensors = [tf.constant(x) for x in values]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = ops.sum(selective_scan(*tensors) * weight.astype(np.float32))
        for index, gradient in enumerate(map(array, tape.gradient(loss, tensors))):
            assert np.isfinite(gradient).all()
            relative = 1e-4 * rng.standard_normal(gradient.shape)
            ends = []
            for sign in (1, -1):
                moved = [x.astype(np.float64) for x in values]
                moved[index] *= 1 + sign * relative
                ends.append(np.sum(loop(*moved) * weight))
            terms = gradient * values[index] * relative
            rounding = 1e-15 * np.abs(loop(*values) * weight).sum()
            assert abs(terms.sum() - (ends[0] - ends[1]) / 2) <= GRADIENT * np.abs(terms).sum() + rounding


@pytest.mark.parametrize("at", [1, 7, 11])
def test_scan_is_causal(at, rng):
    values, others = scan_inputs(rng, 4, 12, 3), scan_inputs(rng, 4, 12, 3)
    mixed = [
        np.concatenate([x[:, :, :at], y[:, :, at:]], axis=2) if x.ndim == 4 else x  # not A and D
        for x, y in zip(values, others, strict=True)
    ]
    before, after = array(selective_scan(*values)), array(selective_scan(*mixed))
    np.testing.assert_array_equal(after[:, :, :at], before[:, :, :at])
    assert (after[:, :, at:] != before[:, :, at:]).any(axis=(0, 1, 3)).all()


# Blocks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dim", "params"), [(32, 9_920), (64, 32_640), (128, 116_480)])
def test_parameters_of_a_block(dim, params):
    layer = Mamba()
    layer.build((None, 10, dim))
    assert layer.count_params() == params


def test_start_of_a_block():
    layer = Mamba2D()
    layer.build((None, 4, 4, 32))
    assert layer.count_params() == 20_736
    steps = np.log1p(np.exp(array(layer.scan.dt_bias)))
    assert steps.shape == (4, 64) and steps.min() > 0.99e-3 and steps.max() < 0.101 and steps.std() > 0.01
    assert_close(np.exp(array(layer.scan.a_log)), np.broadcast_to(np.arange(1.0, 17), (4, 64, 16)), FLOAT32)
    assert (array(layer.scan.skip) == 1).all() and np.abs(array(layer.scan.dt_proj)).max() <= 2**-0.5


@pytest.mark.backend
@pytest.mark.parametrize("variant", ["d32", "d64", "d24_bias"])
def test_recorded_passes_of_the_released_block(variant):
    golden = recorded("mamba_block")[variant]
    state, io = golden["weights"], golden["io"]
    options = {"state": 8, "width": 3, "expand": 3, "dt_rank": 5, "bias": True, "conv_bias": False}
    layer = Mamba(**options if variant == "d24_bias" else {})
    layer.build(io["input"].shape)
    load_mamba(layer, state)
    assert_close(array(layer(io["input"])), io["output"], FLOAT32)

    u, delta, b, c, z = (io[f"scan_{name}"].swapaxes(1, 2)[:, None] for name in ("u", "delta", "B", "C", "z"))
    dt = array(ops.softplus(delta + io["scan_delta_bias"]))
    y = array(selective_scan(u, dt, io["scan_A"][None], b, c, io["scan_D"][None])) * silu(z)
    assert_close(y[:, 0].swapaxes(1, 2), io["scan_y"], FLOAT32)


@pytest.mark.parametrize("bias", [False, True])
def test_block_is_causal(bias, rng):
    layer = Mamba(4, bias=bias)
    x = rng.standard_normal((2, 9, 8)).astype(np.float32)
    changed = x.copy()
    changed[:, 5:] += 1
    layer.build(x.shape)
    randomise(layer, rng)
    before, after = array(layer(x)), array(layer(changed))
    assert_close(after[:, :5], before[:, :5], FLOAT32)
    assert (np.abs(after - before)[:, 5:].max(axis=(0, 2)) > 1e-3).all()


def mamba2d(layer, x):
    """The four walks over the pixels, one after the other, in float64."""
    w = {"/".join(v.path.split("/")[-2:]): array(v).astype(np.float64) for v in layer.weights}
    height, width = x.shape[1:3]
    u, gate = np.split(x @ w["in_proj/kernel"], 2, axis=-1)
    padded = np.pad(u, ((0, 0), (1, 1), (1, 1), (0, 0)))
    u = np.zeros(u.shape) + w["conv/bias"]
    for row, column in np.ndindex(3, 3):
        u += padded[:, row : row + height, column : column + width] * w["conv/kernel"][row, column, :, 0]
    u = silu(u)
    by_rows = [(r, c) for r in range(height) for c in range(width)]
    by_columns = [(r, c) for c in range(width) for r in range(height)]
    y = np.zeros(u.shape)
    for direction, walk in enumerate((by_rows, by_columns, by_rows[::-1], by_columns[::-1])):
        rows, columns = np.transpose(walk)
        tokens = u[:, rows, columns]
        rank, state = w["scan/dt_proj"].shape[1], w["scan/a_log_factor"].shape[2]
        delta, b, c = np.split(tokens @ w["scan/x_proj"][direction], (rank, rank + state), axis=-1)
        dt = np.log1p(np.exp(delta @ w["scan/dt_proj"][direction] + w["scan/dt_bias"][direction]))
        a, d = -np.exp(w["scan/a_log_factor"][[direction]]), w["scan/d_factor"][[direction]]
        y[:, rows, columns] += loop(tokens[:, None], dt[:, None], a, b[:, None], c[:, None], d)[:, 0]
    y = (y - y.mean(axis=-1, keepdims=True)) / np.sqrt(y.var(axis=-1, keepdims=True) + 1e-5)
    return ((y * w["norm/gamma"] + w["norm/beta"]) * silu(gate)) @ w["out_proj/kernel"]


@pytest.mark.backend
@pytest.mark.parametrize("shape", [(3, 5), (5, 2), (1, 4)], ids=str)
def test_image_block_against_a_loop(shape, rng):
    layer = Mamba2D(3, dt_rank=2)
    x = rng.standard_normal((2, *shape, 6)).astype(np.float32)
    layer.build(x.shape)
    randomise(layer, rng)
    assert_close(array(layer(x)), mamba2d(layer, x.astype(np.float64)), FLOAT32)


def state_norm(layer, x):
    out = np.empty(x.shape)
    for sample, channel in np.ndindex(x.shape[0], x.shape[-1]):
        pixels = x[sample, ..., channel]
        gain, offset = float(layer.gamma[channel]), float(layer.beta[channel])
        out[sample, ..., channel] = (pixels - pixels.mean()) / np.sqrt(pixels.var() + 1e-5) * gain + offset
    return out


def residual(layer, x):
    return x + float(layer.gain[0]) * mamba2d(layer.mamba, silu(state_norm(layer.norm, x)))


def test_state_norm_by_hand(rng):
    layer = StateNorm()
    x = (rng.standard_normal((3, 4, 6, 5)) * rng.uniform(0.01, 3, 5) + rng.standard_normal(5)).astype(np.float32)
    layer.build(x.shape)
    y = array(layer(x))
    np.testing.assert_allclose(y.mean(axis=(1, 2)), 0, atol=1e-5)
    randomise(layer, rng)
    assert_close(array(layer(x)), state_norm(layer, x.astype(np.float64)), FLOAT32)


@pytest.mark.backend
def test_residual_block_by_hand(rng):
    layer = ResidualMamba(2)
    x = rng.standard_normal((2, 3, 4, 4)).astype(np.float32)
    layer.build(x.shape)
    assert float(layer.gain[0]) == 0.5
    randomise(layer, rng)
    assert_close(array(layer(x)), residual(layer, x.astype(np.float64)), FLOAT32)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (SelectiveScan(3, 2), (2, 4, 6, 5)),
        (Mamba(3, 2, 3, 4, True, False), (2, 6, 5)),
        (Mamba2D(3, 1, 4), (2, 3, 4, 5)),
        (StateNorm(), (2, 3, 4, 5)),
        (ResidualMamba(3, 1), (2, 3, 4, 5)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, keras.layers.Layer) else None,
)
def test_layers_survive_their_configuration(layer, shape, rng):
    x = rng.standard_normal(shape).astype(np.float32)
    layer.build(shape)
    randomise(layer, rng)
    again = type(layer).from_config(layer.get_config())
    again.build(shape)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(array(again(x)), array(layer(x)))


# Network -------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_published_sizes():
    """Parameters of standard blocks; thop's counts are those of Table II, 4.87 M and 22.74 M."""
    model = MambaTransformer()
    encoder, decoder = count_cost(model.encoder), count_cost(model.decoder)
    assert (encoder.params, decoder.params, (encoder + decoder).params) == (1_091_586, 1_646_464, 2_738_050)
    assert (encoder.macs_thop, (encoder + decoder).macs_thop) == (4_866_048, 22_740_992)
    norms = 4 * 256 * (32 + 2 * 64)  # of the stem, and one in each block
    assert encoder.macs_published == 4_866_048 - norms
    # 256 tokens in 4 directions: 64 channels to 2 + 2 x 16 numbers, 2 numbers to 64 channels; 3 for each of 16 states.
    projections, scans = 2 * 4 * 256 * (64 * 34 + 2 * 64), 2 * 3 * 4 * 256 * 64 * 16
    assert (projections, scans) == (2 * 2_359_296, 2 * 3_145_728)
    assert encoder.macs == encoder.macs_published + projections + scans == 15_712_256


@pytest.mark.long
def test_other_encoders_as_the_table_counts_them():
    assert count_cost(TransNet(num_latents=512).encoder).macs_thop == 17_858_560
    csinet = count_cost(CsiNet(num_latents=512).encoder)
    assert csinet.macs == csinet.macs_published == 1_085_440 and csinet.macs_thop == 1_085_440 + 4 * 32 * 32 * 2


@pytest.mark.long
@pytest.mark.backend
def test_encoder_by_hand(rng):
    """Stride, padding and the places of the eight maps in the image."""
    model = MambaTransformer(**{**SMALL, "width": 12, "height": 16, "maps": 4, "num_blocks": 1})
    randomise(model.encoder, rng)
    x = rng.standard_normal((2, 16, 12, 2)).astype(np.float32)
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    stem, norm = array(model.find("stem").kernel), model.find("stem-norm")
    y = np.zeros((2, 8, 6, 4))
    for row, column in np.ndindex(3, 3):
        y += padded[:, row : row + 16 : 2, column : column + 12 : 2] @ stem[row, column]
    gain = array(norm.gamma) / np.sqrt(array(norm.moving_variance) + 1e-5)
    y = residual(model.find("mamba0"), silu((y - array(norm.moving_mean)) * gain + array(norm.beta)))
    y = y @ array(model.find("project").kernel)[0, 0]
    image = np.zeros((2, 2, 16, 12))
    for row, column, component in np.ndindex(2, 2, 2):
        image[:, component, row::2, column::2] = y[..., 4 * row + 2 * column + component]
    dense = model.find("codeword")
    expected = image.reshape(2, -1) @ array(dense.kernel) + array(dense.bias)
    assert_close(array(model.encoder(x)), expected, FLOAT32)


@pytest.mark.long
@pytest.mark.parametrize("axis", ["token", "batch"])
def test_samples_are_independent_except_in_the_released_attention(axis, rng):
    model = MambaTransformer(**SMALL, attention_axis=axis)
    randomise(model, rng, 0.1)
    x = rng.standard_normal((4, 8, 8, 2)).astype(np.float32)
    other = np.concatenate([x[:1], rng.standard_normal((3, 8, 8, 2)).astype(np.float32)])
    together = array(model(x))
    assert together.shape == x.shape and np.isfinite(together).all()
    for z in (array(model.encoder(other))[0], array(model.encoder(x[:2]))[0]):
        assert_close(z, array(model.encoder(x))[0], FLOAT32)
    changes = [np.abs(y - together[0]).max() for y in (array(model(other))[0], array(model(x[:2]))[0])]
    assert min(changes) > 1e-3 if axis == "batch" else max(changes) < FLOAT32 * np.abs(together).max()


def test_wrong_sizes_are_errors():
    for size in ({"height": 7}, {"width": 9}):
        with pytest.raises(ValueError, match="must be even"):
            MambaTransformer(**{**SMALL, **size})
    with pytest.raises(ValueError, match="do not fill tokens of dim 48"):
        MambaTransformer(**SMALL, dim=48)


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "params"),
    [
        (MambaTransformer, {**SMALL, "norm": "pre"}),
        (MambaTransformer, {**SMALL, "norm": "pre", "maps": 20, "width": 16, "num_blocks": 1}),
        (CsiNetPlus, {"height": 8, "width": 6, "image_activation": "linear", "head_activation": "linear"}),
    ],
)
def test_linear_start(model, params, rng):
    """Started at an orthonormal basis, the network is that linear code, for all images."""
    model = model(**{**params, "num_latents": 10})
    shape = model.encoder.input_shape[1:]
    basis = np.linalg.qr(rng.standard_normal((np.prod(shape), 10)))[0].T
    initialize_linear(model, basis, np.linspace(2, 1, 10))
    x = (0.5**0.5 * rng.standard_normal((6, *shape))).astype(np.float32)
    latent = x.reshape(6, -1) @ basis.T
    assert_close(array(model.encoder(x)), latent, LINEAR)
    assert_close(array(model(x)), (latent @ basis).reshape(x.shape), LINEAR)


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "params", "text"),
    [
        (MambaTransformer, SMALL, "norm: pre and maps >= 16"),
        (MambaTransformer, {**SMALL, "norm": "pre", "maps": 8}, "norm: pre and maps >= 16"),
        (CsiNetPlus, {"height": 8, "width": 8, "num_latents": 8}, "image_activation and head_activation: linear"),
        (
            CsiNetPlus,
            {"height": 8, "width": 8, "num_latents": 8, "image_activation": "linear"},
            "image_activation and head_activation: linear",
        ),
    ],
)
def test_no_linear_start(model, params, text):
    model = model(**params)
    before = model.get_weights()
    with pytest.raises(ConfigError) as caught:
        initialize_linear(model, np.eye(8, 128), np.ones(8))
    assert str(caught.value) == f"init: got 'pca'; allowed: random, or with {text}"
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.long
@pytest.mark.backend
def test_network_survives_its_configuration(rng, tmp_path):
    params = {**SMALL, "num_blocks": 1, "expand": 1, "num_heads": 4, "num_layers": 1, "norm": "pre", "dropout": 0.1}
    model = MambaTransformer(**params, latent_gain=0.5)
    assert model.get_config().items() >= {**params, "latent_gain": 0.5}.items()
    randomise(model, rng, 0.1)
    model.save_weights(tmp_path / "w.weights.h5")
    again = MambaTransformer(**model.get_config())
    x = rng.standard_normal((2, 8, 8, 2)).astype(np.float32)
    assert np.abs(array(again(x)) - array(model(x))).max() > 1e-3
    again.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(array(again(x)), array(model(x)))
