"""WiFo-CF: sizes, experts against a loop, widths, padding, released quirks, who learns what, exact reports."""

import json
import shutil

import keras
import numpy as np
import pytest
from keras import ops
from learned import assert_as_recorded, drawn_weight, moved
from tolerances import FLOAT32, assert_close

from receivers.feedback.wifo_cf import WiFoCfFeedback
from receivers.models.cost import work_of
from receivers.models.expert_layer import ExpertLayer
from receivers.models.mixture_of_experts import MixtureOfExperts
from receivers.models.token_codec import Compressor, Expander
from receivers.models.user_embedding import user_embedding
from receivers.models.wifo_cf import SIZES, WiFoCf
from receivers.quantization.unit_interval import UnitQuantizer
from receivers.training.steps import jit_compiled
from receivers.training.tasks.wifo_cf import write_weights
from receivers.training.wifo_cf import WiFoCfTraining, channel_error, noise_scale
from simulator.core import bitfield, registry
from simulator.core.errors import ConfigError, PayloadError, StoreError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel

SMALL = {
    "dim": 16,
    "depth": 1,
    "decoder_depth": 1,
    "num_heads": 2,
    "patch_dim": 16,
    "num_experts": 4,
    "top_k": 2,
    "conv_dim": 4,
    "dropout": 0.0,
}
CONFIG = CsiConfig(Panel(4, 1, 2), num_rx_ant=2, num_subcarriers=16, spacing_hz=360e3, subband_size=4)
LATENTS = 2  # of CONFIG: 2 x 4 tokens, 8 / 8 x 16 / 8


def array(x):
    return np.asarray(ops.convert_to_numpy(x))


def small(**params):
    return WiFoCf(**{**SMALL, **params})


def channels(rng, *shape):
    return rng.standard_normal((*shape, 2)).astype(np.float32)


def shaken(model, rng, scale=0.3):
    """The model with weights that are all different, biases and norms too; statistics stay."""
    for w in model.trainable_weights:
        w.assign(array(w) + scale * rng.standard_normal(w.shape) / np.sqrt(max(w.shape[0], 1)))
    return model


def size(part):
    return sum(int(np.prod(w.shape)) for w in part.trainable_weights)


# Sizes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({}, 5_568_318),
        ({"num_experts": 16, "top_k": 2}, 3_321_918),
        (SIZES["tiny"], 1_273_918),
        ({**SIZES["tiny"], "expert_dim": 128}, 1_869_758),
    ],
)
def test_published_parameters(params, count):
    model = WiFoCf(**params)
    assert size(model) == count
    if not params:
        parts = [
            [*model.encoder, model.norm],
            [*model.decoder, model.decoder_norm],
            [model.compressor],
            [model.expander],
        ]
        assert [sum(map(size, part)) for part in parts] == [1_581_120, 3_328_576, 319_363, 319_363]
        assert [size(model.encoder[0].experts), size(model.decoder[0].experts)] == [773_760, 798_656]
        assert size(WiFoCf(patches=((4, 4),))) == count - 3_224
        assert model.num_latents(32, 64) * 32 == 2 * 32 * 64


def test_bad_parameters_are_errors():
    for params, field in (
        ({"dim": 12}, "dim"),
        ({"patch_dim": 20}, "patch_dim"),
        ({"num_heads": 3}, "num_heads"),
        ({"depth": 0}, "depth"),
        ({"top_k": 5}, "top_k"),
        ({"num_experts": 0}, "num_experts"),
        ({"conv_dim": 0}, "conv_dim"),
        ({"dropout": 1.0}, "dropout"),
        ({"patches": ()}, "patches"),
        ({"attention": "users"}, "attention"),
        ({"expert_input": "both"}, "expert_input"),
        ({"law": "a_law"}, "law"),
    ):
        with pytest.raises(ConfigError, match=rf"^{field}"):
            small(**params)


@pytest.mark.long
def test_configuration_and_weights_survive_a_file(rng, tmp_path):
    model, x = shaken(small(), rng), channels(rng, 2, 2, 8, 16)
    model.save_weights(tmp_path / "w.weights.h5")
    again = WiFoCf.from_config(model.get_config())
    assert np.abs(array(again(x)) - array(model(x))).max() > 1e-3
    again.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(array(again(x)), array(model(x)))


# Experts -------------------------------------------------------------------------------------------------------------


def experts_by_loop(layer, x):
    """Tokens one by one, in float64."""
    w = {v.name: array(v).astype(np.float64) for v in layer.weights}

    def expert(kind, e, t):
        a, b = (t @ w[f"{kind}_{p}_kernel"][e] + w[f"{kind}_{p}_bias"][e, 0] for p in "ab")
        return (a / (1 + np.exp(-a)) * b) @ w[f"{kind}_d_kernel"][e] + w[f"{kind}_d_bias"][e, 0]

    y, counts, mean = np.zeros(x.shape), np.zeros(layer.num_experts), np.zeros(layer.num_experts)
    for i in range(len(x)):
        p = np.exp(x[i] @ w["gate"])
        p /= p.sum()
        mean += p / len(x)
        for e in np.argsort(-p)[: layer.top_k]:
            y[i] += p[e] * expert("routed", e, x[i])
            counts[e] += 1
        for s in range(layer.num_shared):
            y[i] += expert("shared", s, x[i])
    return y, layer.num_experts * np.sum(counts / counts.sum() * mean)


@pytest.mark.parametrize(("experts", "top_k", "shared"), [(31, 3, 1), (5, 1, 0), (4, 4, 2), (1, 1, 0)])
def test_experts_against_a_loop(experts, top_k, shared, rng):
    layer = MixtureOfExperts(experts, top_k, shared, 12)
    layer.build((None, 8))
    shaken(layer, rng, 1.0)
    for tokens in (1, 150):
        x = rng.standard_normal((tokens, 8)).astype(np.float32)
        y, balance = layer(x)
        expected, expected_balance = experts_by_loop(layer, x.astype(np.float64))
        assert_close(array(y), expected, FLOAT32)
        assert float(balance) == pytest.approx(expected_balance, rel=1e-5)
    y, _ = layer(x.reshape(3, 50, 8))
    assert_close(array(y).reshape(150, 8), expected, FLOAT32)


def test_experts_that_are_all_used_or_hardly(rng):
    """Any number of tokens on one expert is computed; balance is 1 for even use and E when all is on one."""
    layer = MixtureOfExperts(4, 1, 0, 6)
    layer.build((None, 4))
    shaken(layer, rng)
    x = np.repeat(np.eye(4, dtype=np.float32), 40, axis=0)
    for gate, balance in ((60 * np.eye(4), 1.0), (60 * np.float32([[0, 0, 1, 0]] * 4), 4.0)):
        layer.gate.assign(gate)
        y, found = layer(x)
        np.testing.assert_allclose(array(y), experts_by_loop(layer, x.astype(np.float64))[0], atol=1e-5)
        assert float(found) == pytest.approx(balance, rel=1e-5)


@pytest.mark.long
def test_layers_do_what_they_say(rng):
    """Branches in order; the released decoder hands its experts the last branch and not the sum."""
    x, memory = (rng.standard_normal((2, 5, 16)).astype(np.float32) for _ in range(2))
    for source in ("residual", "branch"):
        layer = ExpertLayer(2, 4, 2, 1, 12, cross=True, expert_input=source)
        layer.build((None, 5, 16))
        shaken(layer, rng)
        y, _, state, maps = layer(x, memory, keep=True)

        def norm(i, v, layer=layer):
            return v / np.sqrt((v**2).mean(-1, keepdims=True) + 1e-5) * array(layer.norms[i].scale)

        a = norm(0, x + array(layer.attentions[0](x)))
        branch = array(layer.attentions[1](a, memory))
        b = norm(1, a + branch)
        np.testing.assert_allclose(array(state), b, atol=1e-5)
        mixed, _ = layer.experts(b if source == "residual" else branch)
        np.testing.assert_allclose(array(y), norm(2, b + array(mixed)), atol=1e-5)
        assert len(maps) == 2 and maps[0].shape == (2, 2, 5, 5)
        plain, _, _, none = layer(x, memory)
        assert none == [] and np.abs(array(plain) - array(y)).max() < 1e-5


def test_attention_weights(rng):
    """They are what the values are averaged with."""
    from receivers.models.attention import MultiHeadAttention

    layer = MultiHeadAttention(2)
    layer.build((None, 5, 8))
    x = rng.standard_normal((3, 5, 8)).astype(np.float32)
    y, weights = layer(x, keep=True)
    v = (x @ array(layer.in_kernel)[:, 16:]).reshape(3, 5, 2, 4)
    mixed = np.einsum("bhqk,bkhd->bqhd", array(weights), v).reshape(3, 5, 8)
    np.testing.assert_allclose(mixed @ array(layer.out_kernel), array(y), atol=1e-5)
    np.testing.assert_allclose(array(layer(x)), array(y), atol=1e-6)
    np.testing.assert_allclose(array(weights).sum(-1), 1, rtol=FLOAT32)


# Tokens and codewords ------------------------------------------------------------------------------------------------


def test_user_embedding_against_a_loop():
    bits = np.array([[3, 16], [5, 5]])
    found = array(user_embedding((2, 3), ops.convert_to_tensor(bits), 16))
    assert found.shape == (2, 2, 6, 16)
    for b, u, a, c in np.ndindex(2, 2, 2, 3):
        expected = []
        for n, features in ((a, 4), (c, 4), (bits[b, u], 8)):
            rates = [n / 10000 ** (2 * i / features) for i in range(features // 2)]
            expected += [*np.sin(rates), *np.cos(rates)]
        np.testing.assert_allclose(found[b, u, 3 * a + c], expected, atol=1e-6)
    with pytest.raises(ConfigError, match=r"^dim"):
        user_embedding((2, 3), ops.convert_to_tensor(bits), 12)


def test_compressor_and_expander(rng):
    compressor, expander = Compressor(4), Expander(4)
    for layer in (compressor, expander):
        layer.build()
        layer.built = True
        shaken(layer, rng)
    x = rng.standard_normal((2, 19, 16)).astype(np.float32)
    z = array(compressor(x))
    assert z.shape == (2, 3, 2) and 0 < z.min() and z.max() < 1 and z.std() > 1e-3
    full = np.pad(x, [(0, 0), (0, 5), (0, 0)])
    np.testing.assert_array_equal(array(compressor(full)), z)
    assert expander(z).shape == (2, 24, 16)
    # A first stage by hand: the zero of a stride of 2 is at the end, not at the start.
    wide, narrow = array(compressor.wide[0](full[..., None])), compressor.narrow[0]
    hidden = np.maximum(array(compressor.norms[0](wide, training=False)), 0)
    one = np.pad(hidden, [(0, 0), (0, 1), (0, 1), (0, 0)])[:, 2:5, 4:7]
    expected = np.einsum("nijc,ijcd->nd", one, array(narrow.kernel)) + array(narrow.bias)
    seen = []
    original = type(narrow).call
    try:
        type(narrow).call = lambda layer, x: seen.append((layer, original(layer, x))) or seen[-1][1]
        compressor(full)
    finally:
        type(narrow).call = original
    found = next(array(y) for layer, y in seen if layer is narrow)
    np.testing.assert_allclose(found[:, 1, 2], expected, atol=1e-5)


@pytest.mark.long
def test_other_sizes_are_padded_and_cropped_or_refused(rng):
    model = shaken(small(), rng)
    padded = WiFoCf.from_config({**model.get_config(), "pad": True})
    padded.set_weights(model.get_weights())
    x = channels(rng, 2, 2, 8, 16)
    np.testing.assert_array_equal(array(padded(x)), array(model(x)))
    short = x[:, :, :6, :13]
    at_end = np.pad(short, [(0, 0), (0, 0), (0, 2), (0, 3), (0, 0)])
    assert padded(short).shape == short.shape
    np.testing.assert_allclose(array(padded(short)), array(model(at_end))[:, :, :6, :13], atol=1e-6)
    few = x[:, :, :4, :12]  # 3 tokens
    assert padded(few).shape == few.shape and padded.num_latents(4, 12) == 2
    for bad in (short, few, x[:, 0], x[..., :1]):
        with pytest.raises(ConfigError, match=r"^channels"):
            model(bad)
    with pytest.raises(ConfigError, match=r"^channels.*pad=True"):
        model.num_latents(6, 16)


@pytest.mark.long
def test_a_report_is_its_ues_own_and_the_decoder_sees_all(rng):
    """Token attention: codewords depend on nothing else, outputs on the other UEs of the sample but on no other sample.

    Released attention over the batch: both depend on the other samples.
    """
    x = channels(rng, 3, 2, 8, 16)
    other = x.copy()
    other[1] += 1
    neighbour = x.copy()
    neighbour[0, 1] += 1
    for attention, alone in (("token", True), ("batch", False)):
        model = shaken(small(attention=attention), rng)
        codeword, changed = (array(model.encode(v, 16)) for v in (x, other))
        prediction, moved = (array(model(v, 16)) for v in (x, other))
        assert (np.abs(changed[0] - codeword[0]).max() < 1e-6) == alone
        assert (np.abs(moved[0] - prediction[0]).max() < 1e-5) == alone
    model = shaken(small(), rng)
    assert np.abs(array(model.encode(neighbour, 5))[0, 0] - array(model.encode(x, 5))[0, 0]).max() < 1e-6
    codeword = array(model.encode(x, 5))
    decoded = array(model.decode(codeword, 5, (8, 16)))
    codeword[0, 1] = 1 - codeword[0, 1]
    assert np.abs(array(model.decode(codeword, 5, (8, 16)))[0, 0] - decoded[0, 0]).max() > 1e-4
    single = array(model.decode(codeword[:, :1], 5, (8, 16)))
    assert single.shape == (3, 1, 8, 16, 2) and np.abs(single[0, 0] - decoded[0, 0]).max() > 1e-4


@pytest.mark.long
def test_trace_is_the_call(rng):
    model, x = shaken(small(decoder_depth=2), rng), channels(rng, 3, 2, 8, 16)
    bits = np.array([[3, 4], [5, 6], [7, 8]])
    trace = model.trace(x, bits)
    np.testing.assert_allclose(array(trace.prediction), array(model(x, bits)), atol=1e-5)
    np.testing.assert_array_equal(array(trace.codeword), array(model.encode(x, bits)))
    hard = model.quantizer.dequantize(model.quantizer.quantize(array(trace.codeword), bits[..., None]), bits[..., None])
    np.testing.assert_allclose(array(trace.quantised), hard, atol=1e-6)
    np.testing.assert_allclose(array(model.decode(hard, bits, (8, 16))), array(trace.prediction), atol=1e-4)
    assert [m.shape for m in trace.encoder_maps] == [(6, 2, 8, 8)]
    assert [m.shape for m in trace.decoder_maps] == 4 * [(3, 2, 16, 16)]
    for m in (*trace.encoder_maps, *trace.decoder_maps):
        np.testing.assert_allclose(array(m).sum(-1), 1, rtol=1e-5)
    assert trace.embedding.shape == trace.encoder_state.shape == (6, 8, 16)
    assert trace.decoder_state.shape == (3, 16, 16)
    assert not model.trace(x, bits, keep=False).encoder_maps
    # The width is known to both sides: the same codeword reads differently.
    assert np.abs(array(model.decode(hard, bits[::-1], (8, 16)) - trace.prediction)).max() > 1e-4
    doubled = model.trace(x, bits, uplink=lambda z: 2 * z)
    np.testing.assert_allclose(array(doubled.prediction), array(model.decode(2 * hard, bits, (8, 16))), atol=1e-4)


@pytest.mark.long
def test_multiply_accumulates(rng):
    model = small(encoder_shared=1)
    work = work_of(lambda: model.encode(channels(rng, 1, 1, 8, 16), 1))
    tokens, d, p, c = 8, 16, 16, 4
    dense = tokens * (32 * p + p * d + d * p)
    attention = tokens * 4 * d * d + 2 * tokens * tokens * d
    experts = tokens * (d * 4 + (2 + 1) * 3 * d * 32)
    pixels = [8 * 16, 4 * 8, 2 * 4]
    convolutions = 25 * c * pixels[0] + 25 * c * c * sum(pixels[1:]) + 9 * c * c * (32 + 8 + 2) + 25 * c * 2
    assert sum(w.macs for w in work if w.kind != "norm") == dense + attention + experts + convolutions


# Quantiser -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", ["mu_law", "uniform"])
def test_quantiser_at_a_width_for_each_value(law, rng):
    quantizer = UnitQuantizer(law)
    x, bits = rng.uniform(0, 1, (40, 16)), rng.integers(1, 17, (40, 1))
    index = quantizer.quantize(x, bits)
    level = quantizer.dequantize(index, bits)
    for i, j in np.ndindex(x.shape):
        cells = 2 ** int(bits[i, 0])
        y = np.log(1 + 255 * x[i, j]) / np.log(256) if law == "mu_law" else x[i, j]
        assert index[i, j] == int(np.ceil(cells * y)) - 1
        middle = (index[i, j] + 0.5) / cells
        expected = (256**middle - 1) / 255 if law == "mu_law" else middle
        assert level[i, j] == pytest.approx(expected, rel=1e-6)
    np.testing.assert_array_equal(quantizer.quantize(level, bits), index)
    soft = array(quantizer.soft(ops.convert_to_tensor(x.astype(np.float32)), ops.convert_to_tensor(bits)))
    near = np.abs(soft - level) < 1e-6
    assert near[bits[:, 0] <= 10].all() and near.mean() > 0.9  # cells of 16 bits are near the rounding of float32
    assert np.abs(soft - level).max() < 3e-4
    edges = quantizer.quantize(np.array([-1.0, 0.0, 0.5, 1.0, 2.0, np.nan]), 1)
    assert edges.tolist() == ([0, 0, 1, 1, 1, 0] if law == "mu_law" else [0, 0, 0, 1, 1, 0])
    assert len(np.unique(quantizer.dequantize(np.arange(2**16), 16))) == 2**16


def test_bad_widths_and_indices():
    quantizer = UnitQuantizer()
    for bits in (0, 17, 2.5, [3, 20], []):
        with pytest.raises(ConfigError, match=r"^bits"):
            quantizer.quantize(np.zeros(2), bits)
    for index in (np.array([8]), np.array([-1]), np.array([1.0])):
        with pytest.raises(PayloadError, match=r"^index"):
            quantizer.dequantize(index, 3)
    with pytest.raises(ConfigError, match=r"^mu"):
        UnitQuantizer(mu=0)


# Training ------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_every_weight_gets_a_gradient_through_the_quantiser(rng):
    import tensorflow as tf

    model = small(patches=((4, 4),))
    x = ops.convert_to_tensor(channels(rng, 8, 2, 8, 16))
    with tf.GradientTape() as tape:
        loss = ops.mean(channel_error(x, model(x, 3, training=True)))
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    dead = [w.path for w, g in zip(model.trainable_weights, gradients, strict=True) if g is None or not np.any(g)]
    assert all("bias" in path for path in dead), dead  # before a normalisation they cannot matter
    encoder = [
        g for w, g in zip(model.trainable_weights, gradients, strict=True) if w.path == model.tokenisers[0].kernel.path
    ]
    assert np.abs(array(encoder[0])).max() > 1e-7


@pytest.mark.long
def test_terms_of_the_loss(rng):
    model, x = shaken(small(patches=((4, 4),)), rng), channels(rng, 4, 2, 8, 16)
    training = WiFoCfTraining(model, bits=4, spread=0, commitment=0.3, encoder_balance=0.02, decoder_balance=0.05)
    terms = {name: array(value) for name, value in training.losses_of(x).items()}
    np.testing.assert_allclose(array(training(x)), sum(terms.values()), rtol=1e-5)
    trace = model.trace(x, 4)
    error = array(trace.prediction) - x
    nmse = (error**2).sum((2, 3, 4)) / (x**2).sum((2, 3, 4))
    np.testing.assert_allclose(terms["reconstruction"], nmse.mean(1), rtol=1e-4)
    gap = (array(trace.quantised) - array(trace.codeword)) ** 2
    np.testing.assert_allclose(terms["commitment"], 0.3 * gap.mean((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(terms["encoder_balance"], 0.02 * float(trace.encoder_balance), rtol=1e-5)
    np.testing.assert_allclose(terms["decoder_balance"], 0.05 * float(trace.decoder_balance), rtol=1e-5)
    mse = array(channel_error(ops.convert_to_tensor(x), trace.prediction, "mse"))
    np.testing.assert_allclose(mse, (error**2).sum((2, 3, 4)).mean(1) / (8 * 16), rtol=1e-4)


def test_widths_are_drawn_for_every_ue(rng, monkeypatch):
    model = small()
    seen = []
    original = model.trace
    monkeypatch.setattr(
        model, "trace", lambda x, bits, *args, **kw: seen.append(array(bits)) or original(x, bits, *args, **kw)
    )
    WiFoCfTraining(model, bits=5, spread=2)(channels(rng, 60, 3, 8, 16))
    assert seen[0].shape == (60, 3) and set(seen[0].ravel()) == {3, 4, 5, 6, 7}
    assert (seen[0][:, 0] != seen[0][:, 1]).any()


@pytest.mark.long
def test_noise_of_the_uplink(rng):
    """Ten dB below the mean square of each codeword, whatever its size."""
    z = rng.uniform(0, 1, (2, 3, 4000)).astype(np.float32) * np.float32([[1, 5, 0.1]])[..., None]
    scale = array(noise_scale(ops.convert_to_tensor(z), 10.0))
    np.testing.assert_allclose(scale[..., 0] ** 2, 0.1 * (z**2).mean(-1), rtol=1e-4)
    model, x = shaken(small(), rng), channels(rng, 2, 2, 8, 16)
    clean, noisy, loud = (
        array(WiFoCfTraining(model, spread=0, uplink_snr_db=snr).losses_of(x)["reconstruction"])
        for snr in (None, 60.0, 0.0)
    )
    assert np.abs(noisy - clean).max() < 0.05 * np.abs(loud - clean).max()


@pytest.mark.long
def test_a_teacher_in_some_epochs(rng):
    """MCAKD adds its terms in passive epochs only, the student learns, the teacher stays."""
    teacher = shaken(small(dim=32, depth=2, decoder_depth=2), rng)
    student, x = shaken(small(), rng), channels(rng, 4, 2, 8, 16)
    before = teacher.get_weights()
    training = WiFoCfTraining(student, teacher, "mcakd", weight=0.5, uplink_snr_db=10.0)
    own = {"reconstruction", "commitment", "encoder_balance", "decoder_balance"}
    assert set(training.losses_of(x)) == own
    training.compile(keras.optimizers.Adam(1e-3), run_eagerly=True)
    selections = [array(w) for layer in training.selections.values() for w in layer.trainable_weights]
    training.train_on_batch(x)
    moved = [array(w) for layer in training.selections.values() for w in layer.trainable_weights]
    assert all((a == b).all() for a, b in zip(selections, moved, strict=True))
    training.passive = True
    training.set_step(1)
    terms = {name: array(value) for name, value in training.losses_of(x).items()}
    assert set(terms) == own | {"attention", "embedding", "hidden"}
    assert all(value.shape == (4,) and np.isfinite(value).all() for value in terms.values())
    assert all((terms[name] > 1e-4).all() for name in ("attention", "embedding", "hidden"))
    weights = student.get_weights()
    training.train_on_batch(x)
    assert any((a != b).any() for a, b in zip(weights, student.get_weights(), strict=True))
    assert all((a == b).all() for a, b in zip(before, teacher.get_weights(), strict=True))
    assert not any("teacher" in w.path for w in training.weights)
    assert len(training.trainable_weights) == len(student.trainable_weights) + 3 * 3
    # A student like its teacher has nothing to learn from it.
    twin = small()
    twin.set_weights(student.get_weights())
    same = WiFoCfTraining(student, twin, "mcakd", terms=["attention"], uplink_snr_db=0.0)
    same.passive = True
    assert np.abs(array(same.losses_of(x)["attention"])).max() < 1e-5
    lmkd = WiFoCfTraining(student, twin, "lmkd", uplink_snr_db=0.0)
    lmkd.passive = True
    logits = lmkd.losses_of(x)
    assert set(logits) == own | {"lmkd"} and np.abs(array(logits["lmkd"])).max() < 1e-6


@pytest.mark.long
def test_bad_training_is_an_error():
    student = small()
    for params, field in (
        ({"bits": 2, "spread": 2}, "bits, spread"),
        ({"bits": 15, "spread": 2}, "bits, spread"),
        ({"error": "db"}, "error"),
        ({"kind": "mcakd"}, "teacher"),
        ({"teacher": student}, "teacher"),
        ({"teacher": small(patch_dim=24), "kind": "lmkd"}, "teacher.patch_dim"),
        ({"teacher": small(pad=True), "kind": "lmkd"}, "teacher.pad"),
        ({"teacher": small(num_heads=4), "kind": "mcakd"}, "teacher.num_heads"),
        ({"teacher": small(attention="batch"), "kind": "mcakd"}, "teacher.attention"),
        ({"teacher": small(depth=2), "student": small(depth=3), "kind": "mcakd"}, "depth"),
        ({"teacher": small(), "kind": "mcakd", "selection": "best"}, "selection"),
    ):
        with pytest.raises(ConfigError, match=rf"^{field}"):
            WiFoCfTraining(**{"student": student, **params})
    with pytest.raises(ConfigError, match=r"^channels"):
        WiFoCfTraining(student)(np.zeros((2, 1, 6, 16, 2), np.float32))


@pytest.mark.long
def test_a_small_network_learns_64_samples_by_heart(rng):
    """Plane waves of unit power: more than 3 dB in a few dozen steps."""
    keras.utils.set_random_seed(3)
    u, v = rng.uniform(0, 0.5, (2, 64, 1, 1, 1))
    phase = 2 * np.pi * (u * np.arange(8)[:, None] + v * np.arange(16))
    x = np.stack([np.cos(phase), np.sin(phase)], -1).astype(np.float32)
    model = small(dim=32, patch_dim=64, conv_dim=8, num_heads=4, patches=((4, 4),))
    training = WiFoCfTraining(model, bits=6, spread=1)
    training.compile(keras.optimizers.Adam(3e-3), jit_compile=jit_compiled())
    training.optimizer.build(training.trainable_variables)
    losses = [float(np.asarray(training.train_on_batch(x))) for _ in range(50)]
    first, last = np.mean(losses[:3]), np.mean(losses[-3:])
    assert last < 0.5 * first, losses
    assert 10 * np.log10(last / first) < -3


# Link ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights of antennas and subcarriers, not trained."""
    keras.utils.set_random_seed(5)
    path = tmp_path_factory.mktemp("weights") / "cf"
    write_weights(path, "cf", shaken(small(), np.random.default_rng(5)), CONFIG, bits=6)
    return path


def estimate(rng, batch=3, users=2):
    h = rng.standard_normal((batch, users, 2, 8, 16, 2)) @ [1, 1j] * rng.uniform(0.5, 2, (batch, users, 2, 1, 1))
    return CsiEstimate(h.astype(np.complex64), np.zeros((batch, users), np.float32))


def scheme(folder, **params):
    return registry.build("feedback", "wifo-cf", CONFIG, seed=7, weights=str(folder), **params)


@pytest.mark.long
def test_reports_have_exactly_their_bits(folder, rng):
    csi = estimate(rng, users=5)
    report = scheme(folder).report(csi)
    assert (report.num_bits == 2 * LATENTS * 6).all() and report.bits.shape[2] == scheme(folder).max_bits
    some = scheme(folder, user_bits=[3, 9], scale_bits=4)
    report = some.report(csi)
    assert report.num_bits.tolist() == 3 * [[2 * (4 + LATENTS * b) for b in (3, 9, 3, 9, 3)]]
    assert some.max_bits == 2 * (4 + LATENTS * 9) == report.bits.shape[2]
    assert not report.bits[:, 0, report.num_bits[0, 0] :].any()
    labels = {scheme(folder, **p).label for p in ({}, {"bits": 3}, {"user_bits": [3, 9]}, {"users": "single"})}
    assert labels == {"cf-b6", "cf-b3", "cf-b3.9", "cf-b6-single"} and some.label == "cf-b3.9-s4"
    assert scheme(folder, uplink_snr_db=10.0).label == "cf-b16-analog10dB"


@pytest.mark.long
@pytest.mark.parametrize("users", ["joint", "single"])
def test_the_link_is_the_network(folder, users, rng):
    """Bits and channel are what the network makes of unit-power images, quantised exactly."""
    csi, widths = estimate(rng), np.array([4, 7])
    model = small()
    model.load_weights(folder / "model.weights.h5")
    link = scheme(folder, user_bits=[4, 7], users=users)
    report = link.report(csi)
    known = link.reconstruct(report)
    assert known.valid.all()
    for rx in range(2):
        h = csi.h_hat[:, :, rx]
        h = h / np.sqrt((np.abs(h) ** 2).mean((2, 3), keepdims=True))
        x = np.stack([h.real, h.imag], -1).astype(np.float32)
        z = array(model.encode(x, widths))
        index = model.quantizer.quantize(z, widths[:, None])
        for user, b in enumerate(widths):
            part = report.bits[:, user, rx * LATENTS * b : (rx + 1) * LATENTS * b]
            np.testing.assert_array_equal(bitfield.unpack(part, int(b)), index[:, user])
        level = model.quantizer.dequantize(index, widths[:, None])
        if users == "joint":
            expected = array(model.decode(level, widths, (8, 16)))
        else:
            parts = [array(model.decode(level[:, u : u + 1], widths[u : u + 1], (8, 16))) for u in range(2)]
            expected = np.concatenate(parts, axis=1)
        np.testing.assert_allclose(known.h[:, :, rx], expected[..., 0] + 1j * expected[..., 1], atol=1e-4)


@pytest.mark.long
def test_amplitudes_are_sent_or_one(folder, rng):
    csi = estimate(rng)
    plain, scaled = (scheme(folder, scale_bits=b) for b in (0, 12))
    one, many = plain.reconstruct(plain.report(csi)).h, scaled.reconstruct(scaled.report(csi)).h
    truth = np.sqrt((np.abs(csi.h_hat) ** 2).mean((3, 4)))
    np.testing.assert_allclose(np.abs(many / one).mean((3, 4)), truth, rtol=0.002)


@pytest.mark.long
def test_a_lost_report_is_left_out(folder, rng):
    """The others are decoded as if that UE were not there; what it sent does not matter."""
    link, csi = scheme(folder, user_bits=[4, 5, 6]), estimate(rng, users=3)
    report = link.report(csi)
    num_bits = report.num_bits.copy()
    num_bits[0, 1] = 0
    num_bits[2] = 0
    known = link.reconstruct(CsiReport(report.bits, num_bits))
    assert known.valid.tolist() == [[True, False, True], [True] * 3, [False] * 3]
    assert not known.h[0, 1].any() and not known.h[2].any()
    np.testing.assert_allclose(known.h[1], link.reconstruct(report).h[1], atol=1e-5)
    pair = scheme(folder, user_bits=[4, 6])
    two = CsiReport(report.bits[:1, ::2], report.num_bits[:1, ::2])
    np.testing.assert_allclose(known.h[0, ::2], pair.reconstruct(two).h[0], atol=1e-5)


@pytest.mark.long
def test_analog_uplink(folder, rng):
    """Noise of the declared power, drawn by seed and report alone: the same for the same report anywhere."""
    csi = estimate(rng, batch=60)
    link, fine = scheme(folder, uplink_snr_db=10.0), scheme(folder, bits=16)
    report = link.report(csi)
    np.testing.assert_array_equal(report.bits, fine.report(csi).bits)
    h = link.reconstruct(report).h
    np.testing.assert_array_equal(link.reconstruct(report).h, h)
    part = link.reconstruct(CsiReport(report.bits[7:9], report.num_bits[7:9])).h
    np.testing.assert_allclose(part, h[7:9], atol=1e-5)
    other = registry.build("feedback", "wifo-cf", CONFIG, seed=8, weights=str(folder), uplink_snr_db=10.0)
    assert np.abs(other.reconstruct(report).h - h).max() > 1e-3
    received = {}
    for snr in (10.0, 150.0):
        noisy = scheme(folder, uplink_snr_db=snr)
        decode = noisy._decode
        noisy._decode = lambda z, widths, snr=snr, decode=decode: decode(received.setdefault(snr, z), widths)
        noisy.reconstruct(report)
    ratio = np.mean((received[10.0] - received[150.0]) ** 2) / np.mean(received[150.0] ** 2)
    assert ratio == pytest.approx(0.1, rel=0.3)  # 480 draws
    clean = fine.reconstruct(report).h
    np.testing.assert_allclose(scheme(folder, uplink_snr_db=150.0).reconstruct(report).h, clean, atol=1e-4)


@pytest.mark.long
def test_weights_for_beams_and_delays(rng, tmp_path):
    """Two unitary transforms apart the network sees the same images, with all delays kept."""
    model = shaken(small(), rng)
    write_weights(tmp_path / "ad", "ad", model, CONFIG, num_delays=16)
    delayed = scheme(tmp_path / "ad", bits=12, scale_bits=10)
    csi = estimate(rng)
    x = np.fft.fft(np.fft.ifft(csi.h_hat, axis=-1, norm="ortho").reshape(3, 2, 2, 2, 4, 16), axis=4, norm="ortho")
    write_weights(tmp_path / "af", "af", model, CONFIG)
    link = scheme(tmp_path / "af", bits=12, scale_bits=10)
    beams = CsiEstimate(x.reshape(csi.h_hat.shape).astype(np.complex64), csi.error_var)
    one, two = delayed.report(csi), link.report(beams)
    assert (one.bits != two.bits).mean() < 0.02  # rounding
    back = np.fft.fft(
        np.fft.ifft(link.reconstruct(one).h.reshape(3, 2, 2, 2, 4, 16), axis=4, norm="ortho"), axis=-1, norm="ortho"
    )
    np.testing.assert_allclose(delayed.reconstruct(one).h, back.reshape(csi.h_hat.shape), atol=1e-4)


@pytest.mark.long
def test_cost_of_a_report(folder, rng):
    link, model = scheme(folder), small()
    macs = sum(w.macs for w in work_of(lambda: model.encode(channels(rng, 1, 1, 8, 16), 1)) if w.kind != "norm")
    np.testing.assert_array_equal(link.ue_bops(estimate(rng)), np.full((3, 2), 2 * macs * 1024.0))


def changed(folder, to, **changes):
    """A copy of the folder with another card."""
    shutil.copytree(folder, to)
    card = json.loads((to / "card.json").read_text())
    for dotted, value in changes.items():
        section, field = dotted.split("__")
        card[section][field] = value
    (to / "card.json").write_text(json.dumps(card))
    return to


@pytest.mark.long
def test_bad_input_names_its_field(folder, rng, tmp_path):
    for params, field in (
        ({"bits": 0}, "bits"),
        ({"bits": 17}, "bits"),
        ({"bits": 2.5}, "bits"),
        ({"user_bits": []}, "user_bits"),
        ({"user_bits": [4, 17]}, "user_bits"),
        ({"bits": 4, "user_bits": [4]}, "user_bits"),
        ({"users": "all"}, "users"),
        ({"scale_bits": 17}, "scale_bits"),
        ({"uplink_snr_db": float("nan")}, "uplink_snr_db"),
    ):
        with pytest.raises(ConfigError, match=rf"^feedback\.wifo-cf\.{field}"):
            scheme(folder, **params)
    with pytest.raises(ConfigError, match=r"^weights: got 'nowhere'"):
        scheme("nowhere")
    for index, (changes, match) in enumerate(
        (
            ({"model__name": "csinet"}, r"^feedback\.wifo-cf\.weights.*network wifo_cf"),
            ({"codec__quantizer": "lloyd_max"}, r"^feedback\.wifo-cf\.weights.*network wifo_cf"),
            ({"input__n1": 2}, r"^bs\.n1: got 4; allowed: 2"),
            ({"input__num_subcarriers": 8}, r"^carrier \(frequency samples\)"),
        )
    ):
        with pytest.raises(ConfigError, match=match):
            scheme(changed(folder, tmp_path / f"a{index}", **changes))
    for index, (changes, error, match) in enumerate(
        (
            ({"input__num_latents": 7}, ConfigError, r"input\.num_latents: got 7; allowed: 2"),
            ({"model__params": {"size": "small"}}, StoreError, r"model\.params"),
            ({"model__params": {**small().get_config(), "dim": 24}}, StoreError, "no weights of the model"),
            ({"model__params": {**small().get_config(), "dim": 12}}, ConfigError, "^dim"),
        )
    ):
        link = scheme(changed(folder, tmp_path / f"b{index}", **changes))
        with pytest.raises(error, match=match):
            link.report(estimate(rng))
    with pytest.raises(ConfigError, match=r"^channels"):
        write_weights(tmp_path / "c", "c", small(), CONFIG, num_delays=10)
    assert not (tmp_path / "c").exists()
    with pytest.raises(ConfigError, match=r"^feedback\.wifo-cf"):
        registry.build("feedback", "wifo-cf", CONFIG, seed=1, weights=str(folder), size=3)
    with pytest.raises(ConfigError):  # other schemes with these weights
        registry.build("feedback", "autoencoder", CONFIG, seed=1, weights=str(folder))
    assert issubclass(WiFoCfFeedback, registry.load("feedback", "wifo-cf"))


# Backends ------------------------------------------------------------------------------------------------------------


def learned():
    """A report, losses of four steps, two of them passive, and how far each weight moves; nothing random is drawn."""
    rng = np.random.default_rng(11)
    student, teacher = small(), small(dim=24, depth=2)
    for network in (student, teacher):
        network.set_weights([drawn_weight(w, rng) for w in network.get_weights()])
    x = channels(rng, 4, 2, 8, 16)
    training = WiFoCfTraining(student, teacher, "mcakd", selection="linear", spread=0)
    for layer in training.selections.values():
        layer.matrix.assign(np.eye(*layer.matrix.shape))
    training.compile(keras.optimizers.SGD(0.05), jit_compile=jit_compiled())
    training.optimizer.build(training.trainable_variables)
    before, prediction, losses = student.get_weights(), array(student(x, [4, 6])), []
    for epoch in range(4):
        training.passive = epoch % 2 == 1
        training.set_step(epoch)
        losses += np.atleast_1d(np.asarray(training.train_on_batch(x))).tolist()
    return {
        "prediction": prediction[:2, :, :2, :3].ravel().tolist(),
        "loss": losses,
        "moved": moved(before, student.get_weights()),
    }


@pytest.mark.backend
@pytest.mark.slow
def test_every_backend_learns_the_same():
    assert_as_recorded("wifo_cf", learned())
