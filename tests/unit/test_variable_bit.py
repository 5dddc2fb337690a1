"""Variable-bit feedback: bits inside a network, distillation, learning rates, and the scheme for every length."""

import json
import math
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from eager import eagerly
from keras import ops
from scipy.special import erf, expit, logit, rel_entr, softmax
from scipy.stats import kstest
from tolerances import FLOAT32, KL, KS_PVALUE, SECOND_ORDER, SIGMAS, assert_close, assert_mean

from benchmarks.dataset import make_dataset
from benchmarks.train import train
from receivers.feedback.variable_bit import VariableBitFeedback
from receivers.models.concrete import concrete_temperature, mask_bits, soft_bits
from receivers.models.cost import count_cost
from receivers.models.variable_bit import VariableBitTransformer
from receivers.training.concrete import ConcreteBottleneck, with_lengths
from receivers.training.data.images import EpochBatches, ImageView
from receivers.training.distillation.outputs import Distillation, kl_loss, z_score
from receivers.training.image_model import build_model
from receivers.training.recipe import ConcreteSection, DistillSection, parse_training
from receivers.training.schedules import WarmRestarts
from receivers.weights.folder import TrainedModel
from scenarios.dataset import parse_recipe
from simulator.core.errors import ConfigError, PayloadError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport


def array(x):
    return np.asarray(ops.convert_to_numpy(x))


def noise(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


# The network ---------------------------------------------------------------------------------------------------------

TINY = {"features": 6, "tokens": 3, "bit_features": 7, "dim": 8, "num_heads": 2, "hidden": 10, "num_layers": 2}


@pytest.mark.long
def test_the_size_of_the_paper():
    paper = {"height": 128, "width": 1024, "num_latents": 256, "features": 256, "tokens": 32, "bit_features": 384}
    model = VariableBitTransformer(**paper, dim=512, num_heads=8, hidden=2048, num_layers=3, head="token", dropout=0.1)
    encoder, decoder = count_cost(model.encoder), count_cost(model.decoder)
    assert (encoder.params, encoder.params + decoder.params) == (594_530, 144_893_666)
    assert encoder.macs == 2048 * 256 * 128 + 128 * 32 * 256 + 256 * 256 * 32 + 32 * 2 * 256 == 70_270_976


def gelu(x):
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def normed(x, gamma, beta):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * gamma + beta


def layer_by_hand(x, w, heads):
    """Post-norm layer with GELU of one sample float64 ``[token, dim]``, head by head."""
    gamma1, beta1, gamma2, beta2, qkv, qkv_bias, out, out_bias, up, up_bias, down, down_bias = w
    q, k, v = np.split(x @ qkv + qkv_bias, 3, axis=-1)
    depth = x.shape[1] // heads
    parts = [slice(depth * i, depth * i + depth) for i in range(heads)]
    mixed = [softmax(q[:, s] @ k[:, s].T / np.sqrt(depth), axis=-1) @ v[:, s] for s in parts]
    x = normed(x + np.concatenate(mixed, axis=1) @ out + out_bias, gamma1, beta1)
    return normed(x + gelu(x @ up + up_bias) @ down + down_bias, gamma2, beta2)


@pytest.mark.parametrize(("head", "token_rows"), [("shared", 1), ("token", 1), ("token", 3), ("shared", 2)])
def test_the_network_is_the_published_one(head, token_rows, rng):
    """Encoder and decoder sample by sample in float64; a head for all tokens or one for each, to one row or several."""
    model = VariableBitTransformer(6, 4, 9, **TINY, token_rows=token_rows, head=head, logit_gain=3.0)
    for weight in model.weights:
        weight.assign(np.abs(weight) + 0.5 if "variance" in weight.path else 0.4 * rng.standard_normal(weight.shape))
    w = {
        name: [array(x).astype(np.float64) for x in model.find(name).weights]
        for name in ("mix-features", "mix-rows", "to-bits", "logits", "from-bits", "from-bits-norm", "token", "head")
    }
    x = rng.standard_normal((3, 6, 4, 2)).astype(np.float32)
    bits = rng.choice([-1.0, 0.0, 1.0], (3, 9)).astype(np.float32)
    logits, images = array(model.encoder(x)), array(model.decoder(bits))
    for sample in range(3):
        y = gelu(x[sample].reshape(6, 8).astype(np.float64) @ w["mix-features"][0] + w["mix-features"][1])
        y = w["mix-rows"][0].T @ y + w["mix-rows"][1][:, None]  # [token, feature]
        pair = gelu(y @ w["to-bits"][0] + w["to-bits"][1]).T @ w["logits"][0] + w["logits"][1]
        np.testing.assert_allclose(logits[sample], 3 * (pair[:, 0] - pair[:, 1]), atol=1e-4)
        gamma, beta, mean, variance = w["from-bits-norm"]
        y = bits[sample].astype(np.float64) @ w["from-bits"][0] + w["from-bits"][1]
        y = gelu((y - mean) / np.sqrt(variance + 1e-5) * gamma + beta) @ w["token"][0] + w["token"][1]
        y = y + array(model.find("position").table)
        for index in range(2):
            layer = model.find(f"layer{index}")
            a, (n1, n2) = layer.self_attn, layer.norms
            parts = [n1.gamma, n1.beta, n2.gamma, n2.beta, a.in_kernel, a.in_bias, a.out_kernel, a.out_bias]
            parts += [layer.up.kernel, layer.up.bias, layer.down.kernel, layer.down.bias]
            y = layer_by_hand(y, [array(part).astype(np.float64) for part in parts], 2)
        kernel, bias = (np.broadcast_to(x, (len(y), *x.shape[head == "token" :])) for x in w["head"])
        tokens = [y[t] @ kernel[t] + bias[t] for t in range(6 // token_rows)]
        np.testing.assert_allclose(images[sample], np.reshape(tokens, (6, 4, 2)), atol=1e-4)


# Bits inside a network -----------------------------------------------------------------------------------------------


def test_the_temperature_falls_exponentially():
    assert [concrete_temperature(p) for p in (0, 0.5, 1)] == pytest.approx([10, 0.1**0.5, 0.01])


@pytest.mark.parametrize("x", [-2.0, 0.0, 0.7])
def test_cold_bits_are_coins_with_the_probability_of_their_log_odds(x):
    bits = array(soft_bits(np.full((200, 100), x, np.float32), 0.01, keras.random.SeedGenerator(1)))
    assert_mean(bits > 0.5, expit(x))
    between = expit(0.01 * logit(0.99) - x) - expit(0.01 * logit(0.01) - x)  # a share of 2 %
    assert np.mean((bits > 0.01) & (bits < 0.99)) < between + SIGMAS * (between / bits.size) ** 0.5


@pytest.mark.parametrize("temperature", [0.5, 1.0, 10.0])
@pytest.mark.parametrize("x", [-2.0, 0.7])
def test_warm_bits_have_the_binary_concrete_distribution(temperature, x):
    r""":math:`P(\sigma((x + L) / T) < q) = \sigma(T \operatorname{logit} q - x)`, L logistic."""
    bits = array(soft_bits(np.full((100, 100), x, np.float32), temperature, keras.random.SeedGenerator(2)))
    found = kstest(bits.ravel().astype(np.float64), lambda q: expit(temperature * logit(q) - x))
    assert found.pvalue > KS_PVALUE


def test_bits_that_are_not_sent_read_minus_one(rng):
    bits, lengths = rng.random((6, 5)).astype(np.float32), np.array([0, 1, 2, 4, 5, 3])
    masked = array(mask_bits(bits, lengths))
    for sample, bit in np.ndindex(6, 5):
        assert masked[sample, bit] == (bits[sample, bit] if bit < lengths[sample] else -1)


def bottleneck(num_latents=16, **section):
    return ConcreteBottleneck(ConcreteSection(**section), num_latents, seed=3)


def test_the_bottleneck_relaxes_in_training_only(rng):
    layer = bottleneck(8)
    x = rng.standard_normal((50, 8)).astype(np.float32)
    lengths = rng.integers(1, 9, 50)
    sent = np.arange(8) < lengths[:, None]
    np.testing.assert_array_equal(array(layer(x, lengths)), np.where(sent, x > 0, -1))
    np.testing.assert_array_equal(array(layer(x)), x > 0)
    layer.set_progress(0.5)
    soft = array(layer(x, lengths, training=True))
    assert (soft[~sent] == -1).all() and ((0 <= soft) & (soft <= 1))[sent].all()
    assert ((0 < soft) & (soft < 1))[sent].mean() > 0.97  # float32 rounds the rare log-odds beyond 17 to 1
    assert kstest(soft[sent] - expit((x / 0.1**0.5)[sent]), "uniform").pvalue < KS_PVALUE  # random
    assert float(layer.temperature) == pytest.approx(0.1**0.5)


def test_lengths_are_uniform_in_training_and_spread_in_validation():
    layer = bottleneck(16)
    drawn = layer.lengths(16000, np.random.default_rng(5))
    count = np.bincount(drawn, minlength=17)
    assert count[0] == 0 and len(count) == 17
    assert (np.abs(count[1:] - 1000) < SIGMAS * 1000**0.5).all()
    for samples in (16, 33, 1000):
        spread = np.bincount(layer.lengths(samples), minlength=17)
        assert spread[0] == 0 and spread[1:].min() >= samples // 16 and spread.max() <= -(-samples // 16)
    fixed = bottleneck(16, variable=False)
    assert (fixed.lengths(9) == 16).all() and (fixed.lengths(9, np.random.default_rng(0)) == 16).all()


def test_lengths_of_a_step_depend_on_seed_and_epoch_alone(rng):
    """The same from a data set in memory and from a stream."""
    images, layer = rng.standard_normal((60, 2, 3, 2)).astype(np.float32), bottleneck()
    plain = EpochBatches(images, 20, 1, 4)
    batches = list(with_lengths(plain, layer, 1, 4))
    streamed = list(with_lengths(iter([plain[i] for i in range(3)]), layer, 1, 4))
    assert len(batches) == len(streamed) == len(plain) == 3
    for index, ((x, lengths), y) in enumerate(batches):
        np.testing.assert_array_equal(x, plain[index][0])
        np.testing.assert_array_equal(y, plain[index][1])
        np.testing.assert_array_equal(lengths, streamed[index][0][1])
    first, *rest = (lengths for (_, lengths), _ in batches)
    for seed, epoch in ((2, 4), (1, 5)):
        rest.append(next(with_lengths(plain, layer, seed, epoch))[0][1])
    for other in rest:
        assert (other != first).any()


# Distillation --------------------------------------------------------------------------------------------------------

TAU = 5.0


def images(rng, std=1.0, shape=(4, 12, 16, 2)):
    return (std * rng.standard_normal(shape)).astype(np.float32)


def kl_by_hand(teacher, student):
    p, q = (softmax(v.reshape(len(v), -1).astype(np.float64) / TAU, axis=1) for v in (teacher, student))
    return TAU**2 * rel_entr(p, q).sum(axis=1)


def z_by_hand(v):
    flat = v.reshape(len(v), -1).astype(np.float64)
    return (flat - flat.mean(axis=1, keepdims=True)) / flat.std(axis=1, keepdims=True)


def stub():
    return SimpleNamespace(trainable=True)


def distilled(loss, task, target, student, share=1.0, alpha=0.3):
    """Loss of every sample with a teacher."""
    section = DistillSection(teacher="none", loss=loss, alpha=alpha, temperature=TAU)
    return array(Distillation(section, stub())(task, target, student, share))


def test_the_divergence_of_softened_images(rng):
    teacher, student = images(rng, 3.0), images(rng, 3.0)
    assert_close(array(kl_loss(teacher, student, TAU)), kl_by_hand(teacher, student), KL)
    assert_close(array(z_score(teacher)).reshape(4, -1), z_by_hand(teacher), FLOAT32)
    assert np.abs(array(kl_loss(teacher, teacher, TAU))).max() < 1e-6


def test_the_divergence_is_half_the_variance_of_the_error(rng):
    """To second order in entries over temperature; a constant added to an image is not seen."""
    shape = (4, 64, 32, 2)
    teacher, error = images(rng, 1.0, shape), images(rng, 0.3, shape)
    student = teacher + error
    divergence = array(kl_loss(teacher, student, TAU))
    assert_close(divergence, 0.5 * np.var(error.reshape(4, -1), axis=1), SECOND_ORDER)
    constants = np.float32([-7, 0.5, 1, 20])[:, None, None, None]
    assert_close(array(kl_loss(teacher, student + constants, TAU)), divergence, KL)
    error -= error.mean(axis=(1, 2, 3), keepdims=True)
    task = rng.random(4).astype(np.float32)
    losses = [distilled(loss, task, teacher, teacher + error) - 0.7 * task for loss in ("nf_kd", "mse")]
    assert_close(*losses, SECOND_ORDER)


def test_normalised_images_have_lost_their_scale(rng):
    r"""NF-KD, Eqs. (3), (4).

    :math:`d/da` of the divergence to ``a * student`` is
    :math:`\tau \sum_i (P_{S,i} - P_{T,i}) s_i` for raw images, 0 for z-scored ones.
    """
    teacher, student = images(rng, 4.0), images(rng, 6.0)
    raw, scored = (
        np.stack([array(kl_loss(change(teacher), change(np.float32(a) * student), TAU)) for a in (0.98, 1.0, 1.02)])
        for change in (lambda v: v, z_score)
    )
    flat = student.reshape(4, -1).astype(np.float64)
    p_t, p_s = softmax(teacher.reshape(4, -1) / np.float64(TAU), axis=1), softmax(flat / TAU, axis=1)
    slope = TAU * np.sum((p_s - p_t) * flat, axis=1)
    assert_close((raw[2] - raw[0]) / 0.04, slope, 1e-2)  # a central difference, rounding divided by 0.04
    assert (slope > 1).all()
    assert_close(scored, np.broadcast_to(scored[1], scored.shape), KL)


def test_task_and_teacher_share_the_loss(rng):
    teacher, student = images(rng), images(rng)
    task, share = rng.random(4).astype(np.float32), np.float32([0, 0.25, 0.5, 1])
    mse = np.mean((teacher - student).astype(np.float64) ** 2, axis=(1, 2, 3))
    z = [z_by_hand(v) for v in (teacher, student)]
    for loss, term in (("nf_kd", kl_by_hand(teacher, student)), ("normalized_kd", kl_by_hand(*z)), ("mse", 0.5 * mse)):
        for alpha in (0.0, 0.4, 1.0):
            expected = (1 - alpha) * task.astype(np.float64) + alpha * term
            assert_close(distilled(loss, task, teacher, student, share, alpha), expected, KL)
    weight = [0.5, 0.375, 0.25, 0.0]  # 0.5 (1 - b / b_max)
    expected = [(1 - a) * t + a * m for a, t, m in zip(weight, task.astype(np.float64), mse, strict=True)]
    assert_close(distilled("bit_adaptive", task, teacher, student, share), expected, FLOAT32)


# Learning rates ------------------------------------------------------------------------------------------------------


def rates_by_hand(base, peak, first, multiplier, gamma, warmup, steps):
    """Step by step, with a counter that starts anew in every cycle."""
    length, done = first, 0
    for _ in range(steps):
        fall = 0.5 * (1 + math.cos(math.pi * (done - warmup) / (length - warmup)))
        yield base + (peak - base) * (done / warmup if done < warmup else fall)
        done += 1
        if done >= length:
            done, length, peak = done - length, length * multiplier, base + gamma * (peak - base)


@pytest.mark.parametrize(
    "config", [(1, 0.8, 0, 7), (1, 0.5, 3, 10), (2, 0.8, 5, 7), (3, 1.0, 0, 4), (1.5, 0.9, 2, 8), (2.5, 0.8, 0, 7)]
)
def test_warm_restarts_step_by_step(config):
    multiplier, gamma, warmup, first = config
    schedule = WarmRestarts(1e-5, 1e-3, first, multiplier, gamma, warmup)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    expected = list(rates_by_hand(1e-5, 1e-3, first, multiplier, gamma, warmup, 30_000))
    for each in (schedule, again):
        np.testing.assert_allclose(array(each(np.arange(30_000))), expected, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("first", [18_500, 1_000_000])
def test_long_cycles_end_at_their_last_step(first):
    """A restart one step early would be a step with a negative rate."""
    schedule = WarmRestarts(1e-5, 1e-3, first, 1.5)
    starts = [sum(first * 1.5**i for i in range(k)) for k in range(5)]
    for cycle, start in enumerate(starts):
        assert float(schedule(start)) == pytest.approx(1e-5 + 0.8**cycle * (1e-3 - 1e-5), rel=1e-4)
        if cycle:
            assert float(schedule(start - 1)) == pytest.approx(1e-5, rel=1e-3)


# The scheme ----------------------------------------------------------------------------------------------------------

STORE = {
    "name": "pairs",
    "seed": 3,
    "carrier": {"num_rb": 12},
    "bs": {"n1": 2, "n2": 2, "num_pol": 2},
    "ue": {"num_rx_ant": 2},
    "parts": [{"channel": {"model": "rayleigh", "taps": 4}}],
    "splits": {"train": 60, "val": 20, "test": 20},
    "shard_samples": 60,
}
BITS, TAPS = 12, 6
RECIPE = {
    "task": "variable_bit",
    "name": "vb",
    "seed": 2,
    "dataset": "pairs",
    "target": "mimo",
    "model": {"name": "variable_bit", "params": {**TINY, "num_latents": BITS, "logit_gain": 4.0}},
    "num_delays": TAPS,
    "concrete": {},
    "epochs": 1,
    "batch_size": 20,
}
VIEWS = [(d, s) for d in ("angular_delay", "antenna_frequency") for s in ("per_sample", "none")]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_dataset(parse_recipe(STORE), tmp_path_factory.mktemp("pairs") / "store")


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """Folders of weights: trained for one epoch in every domain; a card says which scale they take images to have."""
    place, folders = tmp_path_factory.mktemp("vb"), {}
    for domain in ("angular_delay", "antenna_frequency"):
        first = folders[domain, "none"] = place / f"{domain}-none"
        with eagerly():
            train(parse_training({**RECIPE, "domain": domain, "scaling": "none"}), store, first, lambda line: None)
        other = folders[domain, "per_sample"] = shutil.copytree(first, place / f"{domain}-per_sample")
        card = json.loads((other / "card.json").read_text())
        card["input"]["scaling"] = "per_sample"
        (other / "card.json").write_text(json.dumps(card))
    return folders


@pytest.fixture(params=VIEWS, ids="-".join)
def view(request):
    return request.param


def config_of(store):
    layout = store.layout
    return CsiConfig(layout.panel, layout.num_rx_ant, layout.num_subcarriers, layout.spacing_hz, 4)


def scheme_of(store, folder, **params):
    return VariableBitFeedback(config_of(store), weights=str(folder), **params)


def estimate(h):
    return CsiEstimate(h, np.zeros(h.shape[:2], np.float32))


def dft(n):
    return np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) / np.sqrt(n)


def image_by_hand(h, domain, scaling):
    """Complex128 ``[row, column]`` of a channel ``[rx_ant, port, subcarrier]`` by sums over DFT matrices."""
    n = h.shape[-1]
    x = h.astype(np.complex128)
    if domain == "angular_delay":
        grid = x.reshape(2, 2, 2, 2, n)  # rx, pol, n1, n2
        x = np.einsum("ka,lb,tf,rpabf->rpklt", dft(2), dft(2), dft(n).conj()[:TAPS], grid).reshape(2, 8, TAPS)
        x = x * np.sqrt(TAPS / n)
    rows = np.concatenate([x[0].T, x[1].T], axis=1)
    return rows / np.sqrt(np.mean(np.abs(rows) ** 2)) if scaling == "per_sample" else rows


def channel_by_hand(image, domain, n=12):
    """Inverse, complex128 ``[rx_ant, port, subcarrier]``."""
    x = np.stack(np.split(image, 2, axis=1)).transpose(0, 2, 1)
    if domain == "antenna_frequency":
        return x
    grid = x.reshape(2, 2, 2, 2, TAPS) * np.sqrt(n / TAPS)
    return np.einsum("ak,bl,ft,rpklt->rpabf", dft(2).conj(), dft(2).conj(), dft(n)[:, :TAPS], grid).reshape(2, 8, n)


@pytest.mark.long
def test_n_bits_are_those_of_encoder_and_decoder(store, trained, view, rng):
    """Image, signs of the log-odds, -1 for the rest, decoder, inverse transform: one UE after the other."""
    network = TrainedModel(str(trained[view])).model
    h = noise(rng, 2, 3, 2, 8, 12) * np.float32([[[[[0.3]]]], [[[[4]]]]])
    sent = {}
    for n in (1, 5, BITS):
        scheme = scheme_of(store, trained[view], bits=n)
        report = scheme.report(estimate(h))
        known = scheme.reconstruct(report).h
        for b, u in np.ndindex(2, 3):
            image = image_by_hand(h[b, u], *view)
            logits = array(network.encoder(np.stack([image.real, image.imag], axis=-1)[None].astype(np.float32)))[0]
            np.testing.assert_array_equal(report.bits[b, u], logits[:n] > 0)
            received = np.where(np.arange(BITS) < n, logits > 0, -1.0).astype(np.float32)
            x = array(network.decoder(received[None]))[0]
            assert_close(known[b, u], channel_by_hand(x[..., 0] + 1j * x[..., 1], view[0]), FLOAT32)
        sent[n] = report.bits
    assert 0.1 < sent[BITS].mean() < 0.9 and len(np.unique(sent[BITS].reshape(6, -1), axis=0)) > 3


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.long
def test_reports_of_every_length_are_prefixes_and_may_be_cut(store, trained, noisy, rng):
    """A report that was cut on its way, with or without its padding, is the short report bit for bit."""
    folder = trained["angular_delay", "per_sample"]
    csi = estimate(noise(rng, 4, 2, 2, 8, 12))
    longest = scheme_of(store, folder, noisy=noisy)
    whole = longest.report(csi)
    assert longest.max_bits == BITS and whole.bits.dtype == np.uint8 and set(np.unique(whole.bits)) == {0, 1}
    for n in range(1, BITS + 1):
        scheme = scheme_of(store, folder, bits=n, noisy=noisy)
        report = scheme.report(csi)
        assert report.bits.shape[2] == scheme.max_bits == n and (report.num_bits == n).all()
        np.testing.assert_array_equal(report.bits, whole.bits[..., :n])
        expected = scheme.reconstruct(report)
        assert expected.valid.all()
        num_bits = np.full((4, 2), n)
        for cut in (CsiReport(whole.bits, num_bits), CsiReport(whole.bits[..., :n], num_bits)):
            for decoder in (scheme, longest):
                np.testing.assert_array_equal(decoder.reconstruct(cut).h, expected.h)


@pytest.mark.long
def test_every_ue_may_have_its_own_length(store, trained, rng):
    scheme = scheme_of(store, trained["antenna_frequency", "none"])
    report = scheme.report(estimate(noise(rng, 3, 2, 2, 8, 12)))
    num_bits = np.array([[0, 1], [7, 0], [12, 3]])
    known = scheme.reconstruct(CsiReport(report.bits, num_bits))
    np.testing.assert_array_equal(known.valid, num_bits > 0)
    assert not known.h[num_bits == 0].any()
    for b, u in zip(*np.nonzero(num_bits), strict=True):
        alone = scheme.reconstruct(CsiReport(report.bits[b : b + 1, u : u + 1], num_bits[b : b + 1, u : u + 1]))
        assert_close(known.h[b, u], alone.h[0, 0], FLOAT32)


@pytest.mark.long
def test_more_bits_than_the_network_has_are_refused(store, trained):
    scheme = scheme_of(store, trained["angular_delay", "none"], bits=3)
    with pytest.raises(PayloadError, match=r"report\.num_bits: got 13; allowed: 0\.\.12"):
        scheme.reconstruct(CsiReport(np.zeros((1, 2, 13), np.uint8), np.array([[3, 13]])))


@pytest.mark.long
def test_the_encoder_reads_in_the_link_what_it_read_in_training(store, trained, view, monkeypatch):
    """Images of unit power after truncation, whatever the scale of the channel; or with their scale."""
    (h, _), *_ = store.read("test")
    seen, encode = [], TrainedModel.encode
    monkeypatch.setattr(TrainedModel, "encode", lambda self, x: seen.append(x) or encode(self, x))
    scheme = scheme_of(store, trained[view])
    reports = [scheme.report(estimate(gain * h[:, None, :, :, 0])) for gain in (1, np.float32(8))]
    expected = ImageView(store.layout, TAPS, target="mimo", domain=view[0], scaling=view[1])(h)
    assert_close(seen[0], expected, FLOAT32)
    np.testing.assert_array_equal(seen[1], (1 if view[1] == "per_sample" else 8) * seen[0])
    if view[1] == "per_sample":
        np.testing.assert_array_equal(reports[1].bits, reports[0].bits)


@pytest.mark.long
def test_the_card_has_the_scores_of_the_scheme(store, trained):
    folder = trained["antenna_frequency", "none"]
    card = json.loads((folder / "card.json").read_text())
    assert "codec" not in card and "tables" not in card and not (folder / "tables.npz").exists()
    assert card["input"] | {"num_rx_ant": 2, "target": "mimo", "num_latents": BITS} == card["input"]
    assert sorted(map(int, card["test"]["by_bits"])) == [1, 2, 4, 8, 12]
    h = np.concatenate([h for h, _ in store.read("test")])[:, None, :, :, 0]
    for n, entry in card["test"]["by_bits"].items():
        scheme = scheme_of(store, folder, bits=int(n))
        error = scheme.reconstruct(scheme.report(estimate(h))).h - h
        nmse = np.mean(np.sum(np.abs(error) ** 2, axis=(1, 2, 3, 4)) / np.sum(np.abs(h) ** 2, axis=(1, 2, 3, 4)))
        assert entry["nmse_db"] == pytest.approx(10 * np.log10(nmse), abs=2e-3)


@pytest.mark.long
def test_noisy_bits_flip_with_the_probability_of_their_log_odds(store, trained, monkeypatch):
    log_odds = np.float32([-3, -2, -1, -0.5, 0, 0.25, 0.5, 1, 1.5, 2, 3, 4])
    monkeypatch.setattr(TrainedModel, "encode", lambda self, x: np.tile(log_odds, (len(x), 1)))
    folder = trained["angular_delay", "per_sample"]
    h = np.random.default_rng(2).standard_normal((5_000, 2, 2, 8, 12, 2), np.float32).view(np.complex64)[..., 0]
    csi = estimate(h)
    clean, noisy, other = (scheme_of(store, folder, **p) for p in ({}, {"noisy": True, "seed": 5}, {"noisy": True}))
    assert noisy.label == f"{clean.label}-noisy" == "vb-b12-noisy"
    bits = noisy.report(csi).bits
    np.testing.assert_array_equal(noisy.report(csi).bits, bits)
    assert (other.report(csi).bits != bits).any()
    for bit, x in enumerate(log_odds):
        assert (clean.report(csi).bits[..., bit] == (x > 0)).all()
        assert_mean(bits[..., bit] != (x > 0), expit(-abs(x)))


def untrained(data, images):
    """Training model of a recipe on some images."""
    recipe = parse_training(data)
    layer = ConcreteBottleneck(recipe.concrete, BITS)
    return build_model(recipe, images, lambda autoencoder: layer)


@pytest.mark.long
def test_teachers_of_other_images_are_refused(store, trained):
    """Before anything is trained: what the teacher knows, and what it should know."""
    teacher = str(trained["antenna_frequency", "per_sample"])
    section = {"teacher": teacher}
    blank = np.zeros((20, 12, 16, 2), np.float32)
    fitting = {**RECIPE, "domain": "antenna_frequency", "distill": section}
    assert untrained(fitting, blank).distillation.teacher.num_latents == BITS
    for changes, shape, words in (
        ({"domain": "angular_delay"}, (12, 16), r"distill\.teacher.*domain antenna_frequency.*domain angular_delay$"),
        ({"scaling": "none"}, (12, 16), r"distill\.teacher.*scaling per_sample.*scaling none$"),
        ({}, (12, 32), r"distill\.teacher.*image 12 x 16.*image 12 x 32$"),
    ):
        with pytest.raises(ConfigError, match=words):
            untrained({**fitting, **changes}, np.zeros((20, *shape, 2), np.float32))
