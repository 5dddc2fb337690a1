"""WiFo and MCAKD: recorded forward passes, sizes, masks, losses against loops, who learns when, other backends."""

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from learned import assert_as_recorded, drawn_weight, moved
from marks import long_but
from tolerances import FLOAT32, assert_close

from receivers.models.masking import (
    frequency_tokens,
    from_mask,
    hidden_tokens,
    leading_tokens,
    random_tokens,
    scatter_tokens,
    task_tokens,
    time_tokens,
)
from receivers.models.patches import from_patches, to_patches, valid_entries
from receivers.models.spatiotemporal_position import split_dim, stf_position
from receivers.models.wifo import SIZES, WiFo
from receivers.training.distillation.base import attention_loss, cosine_distance, matched_layers, token_loss
from receivers.training.distillation.caks import CrossAttentionSelection
from receivers.training.distillation.mcakd import Mcakd
from receivers.training.distillation.phases import Phases
from receivers.training.masked import add_noise, draw_masks, masked_mse
from receivers.training.steps import jit_compiled
from receivers.weights.torch import _wifo_pairs, load_wifo
from simulator.core.errors import ConfigError, StoreError

GOLDEN = Path(os.environ.get("CSILINK_GOLDEN", "not given"))  # see golden/README.md
SMALL = {"depth": 2, "decoder_depth": 2, "num_heads": 2, "patch": (2, 2, 2)}


def array(x):
    return np.asarray(ops.convert_to_numpy(x))


def small(dim=16, **params):
    return WiFo(dim, **{**SMALL, **params})


def channels(rng, *shape):
    return rng.standard_normal((*shape, 2)).astype(np.float32)


def shaken(model, rng, scale=0.3):
    """The model with weights that are all different, biases and norms too."""
    for w in model.weights:
        w.assign(array(w) + scale * rng.standard_normal(w.shape) / np.sqrt(max(w.shape[0], 1)))
    return model


def gradients(loss, variables):
    """Gradients of ``loss()`` under TensorFlow."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = loss()
    return [g if g is None else array(g) for g in tape.gradient(value, [v.value for v in variables])]


# Sizes and recorded passes -------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("size", "count"),
    long_but([("tiny", 355_776), ("little", 1_374_976), ("small", 5_404_032), ("base", 21_424_768)], "tiny"),
)
def test_published_parameters(size, count):
    model = WiFo(size)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == count
    assert len(model.weights) == len(model.trainable_weights)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="CSILINK_GOLDEN names no folder")
def test_recorded_forward_passes_of_the_published_code():
    model, plain = WiFo("tiny", encoder_position="released"), WiFo("tiny")
    with np.load(GOLDEN / "wifo_tiny_weights.npz") as weights, np.load(GOLDEN / "wifo_tiny_io.npz") as file:
        load_wifo(model, dict(weights))
        io = dict(file)
    plain.set_weights(model.get_weights())
    facts = json.loads((GOLDEN / "wifo_tiny_config.json").read_text())["checks"]
    x = np.ascontiguousarray(io["input"].transpose(0, 2, 3, 4, 1))
    patches = array(model.patches(x))
    for name, axis in (("random", None), ("temporal", 0), ("fre", 2)):
        visible = from_mask(mask := io[f"{name}_mask"])
        latent, pred, target = (io[f"{name}_{what}"] for what in ("encoder_latent", "pred_tokens", "target_tokens"))
        if axis is None:  # theirs are shuffled
            order = np.argsort(io["random_ids_restore"], axis=1)[:, : visible.shape[1]]
            latent = np.take_along_axis(latent, np.argsort(order, axis=1)[..., None], axis=1)
        else:
            own = time_tokens((4, 8, 4)) if axis == 0 else frequency_tokens((4, 8, 4), axis=2)
            np.testing.assert_array_equal(np.broadcast_to(own, visible.shape), visible)
        trace = model.trace(x, visible, axis)
        np.testing.assert_allclose(array(trace.latent), latent, atol=1e-4)
        np.testing.assert_allclose(array(trace.prediction), np.concatenate([pred.real, pred.imag], -1), atol=1e-4)
        np.testing.assert_array_equal(patches, np.concatenate([target.real, target.imag], -1))
        for what, hidden in (("masked", mask), ("kept", 1 - mask)):
            loss = array(masked_mse(patches, trace.prediction, hidden)).mean()
            np.testing.assert_allclose(loss, facts[f"{name}_loss_{what}"], rtol=FLOAT32)
        # In the released code tokens share positions unless the mask is random.
        moved = np.abs(array(plain.trace(x, visible, axis).latent) - latent).max()
        assert (moved > 0.1) == (axis is not None)


def torch_state(model):
    """A checkpoint of the model: what the conversions of :func:`load_wifo` turn into its weights."""
    state = {}
    for key, variable, convert in _wifo_pairs(model):
        value = array(variable)
        if "tokenConv.weight" in key:
            value = value.reshape(*model.patch, 2, model.dim).transpose(4, 3, 0, 1, 2)
        elif key == "mask_token":
            value = value[None, None]
        elif value.ndim == 2:
            value = value.T
        np.testing.assert_array_equal(convert(value), array(variable))
        state[key] = value
    return state


@pytest.mark.long
def test_weights_from_torch(rng):
    source, model = shaken(small(), rng), small()
    state = torch_state(source)
    tables = {"pos_embed_spatial": np.zeros((1, 64, 16)), "decoder_pos_embed_fre": np.zeros((1, 32, 16))}
    load_wifo(model, {f"module.{k}": v for k, v in {**state, **tables}.items()})
    for ours, theirs in zip(model.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(StoreError, match=r"missing tensors: blocks\.1\.mlp\.fc2\.bias"):
        load_wifo(model, {k: v for k, v in state.items() if k != "blocks.1.mlp.fc2.bias"})
    with pytest.raises(StoreError, match=r"without a place: blocks\.2\.attn\.q\.weight"):
        load_wifo(model, {**state, "blocks.2.attn.q.weight": np.zeros((16, 16))})
    embed = "Embedding.value_embedding.tokenConv.weight"
    for key, shape in (
        (embed, (16, 2, 2, 2)),
        (embed, (16, 2, 4, 2, 2)),
        ("mask_token", (1, 2, 16)),
        ("norm.bias", ()),
    ):
        with pytest.raises(StoreError, match=rf"{key}: shape .* \(another size of wifo\?\)"):
            load_wifo(model, {**state, key: np.zeros(shape)})


# Tokens --------------------------------------------------------------------------------------------------------------


def test_positions_against_a_loop():
    for dim, split in {
        64: (22, 22, 20),
        128: (42, 42, 44),
        256: (86, 86, 84),
        512: (170, 170, 172),
        768: (256,) * 3,
    }.items():
        assert split_dim(dim) == split
    grid, dim = (2, 3, 4), 64
    expected = []
    for t in range(2):
        for h in range(3):
            for w in range(4):
                row = []
                for index, d in zip((t, h, w), split_dim(dim), strict=True):
                    angles = [index * 10000 ** (-i / (d / 2)) for i in range(d // 2)]
                    row += [np.sin(a) for a in angles] + [np.cos(a) for a in angles]
                expected.append(row)
    code = stf_position(grid, dim)
    assert code.dtype == np.float32 and code.shape == (24, 64)
    np.testing.assert_allclose(code, expected, atol=1e-6)
    for dim in (4, 7):
        with pytest.raises(ConfigError, match=f"dim: got {dim}"):
            split_dim(dim)


def test_patches_against_a_loop_and_back(rng):
    x, patch = channels(rng, 2, 5, 6, 3), (4, 3, 2)
    tokens = array(to_patches(ops.convert_to_tensor(x), patch))
    padded = np.zeros((2, 8, 6, 4, 2), np.float32)
    padded[:, :5, :, :3] = x
    inside = np.zeros(padded.shape[1:], np.float32)
    inside[:5, :, :3] = 1
    expected, valid = [], []
    for t in range(2):
        for s in range(2):
            for a in range(2):
                part = (slice(4 * t, 4 * t + 4), slice(3 * s, 3 * s + 3), slice(2 * a, 2 * a + 2))
                expected.append(padded[:, *part].reshape(2, -1))
                valid.append(inside[part].ravel())
    np.testing.assert_array_equal(tokens, np.stack(expected, axis=1))
    np.testing.assert_array_equal(valid_entries((5, 6, 3), patch), valid)
    np.testing.assert_array_equal(array(from_patches(tokens, (5, 6, 3), patch)), x)


def test_masks_against_loops():
    grid = (4, 3, 2)
    cells = [(t, f, a) for t in range(4) for f in range(3) for a in range(2)]
    assert time_tokens(grid).tolist() == [i for i, c in enumerate(cells) if c[0] < 2]
    assert time_tokens(grid, 1).tolist() == [i for i, c in enumerate(cells) if c[0] < 3]
    assert frequency_tokens(grid).tolist() == [i for i, c in enumerate(cells) if c[1] < 1]
    assert frequency_tokens(grid, 1, axis=2).tolist() == [i for i, c in enumerate(cells) if c[2] < 1]
    visible = array(random_tokens(50, grid, keras.random.SeedGenerator(1), 0.85))
    assert visible.shape == (50, 3) and all(len(set(row)) == 3 for row in visible)
    assert len({tuple(sorted(row)) for row in visible}) > 30 and set(visible.ravel()) == set(range(24))
    assert random_tokens(1, (4, 5, 5), keras.random.SeedGenerator(1), 0.9).shape[1] == 10  # not 9, for 1 - 0.9 < 0.1
    hidden = array(hidden_tokens(visible, 24))
    assert all(hidden[i, j] == (j not in visible[i]) for i in range(50) for j in range(24))
    np.testing.assert_array_equal(from_mask(hidden), np.sort(visible, axis=1))
    for bad in (0, 4):
        with pytest.raises(ConfigError, match=rf"mask.hidden: got {bad}; allowed: 1 .. 3 of 4 tokens"):
            time_tokens(grid, bad)
    with pytest.raises(ConfigError, match="1 tokens along axis 2"):
        leading_tokens((4, 3, 1), 2)
    with pytest.raises(ConfigError, match=r"mask.ratio: got 0.99"):
        random_tokens(2, grid, keras.random.SeedGenerator(1), 0.99)
    with pytest.raises(ConfigError, match="equally many"):
        from_mask(np.array([[0, 1, 1], [0, 0, 1]]))
    with pytest.raises(ConfigError, match="random, time, frequency"):
        task_tokens("space", 2, grid, None)


def test_tokens_return_to_their_places(rng):
    x, fill = rng.standard_normal((2, 3, 4)).astype(np.float32), np.arange(4, dtype=np.float32)
    visible = np.array([[5, 0, 2], [1, 4, 3]])
    expected = np.broadcast_to(fill, (2, 6, 4)).copy()
    for i in range(2):
        for j in range(3):
            expected[i, visible[i, j]] = x[i, j]
    np.testing.assert_array_equal(array(scatter_tokens(ops.convert_to_tensor(x), visible, 6, fill)), expected)


# Network -------------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("task", ["random", "time", "frequency"])
@pytest.mark.parametrize("position", ["token", "released"])
def test_hidden_values_have_no_effect_and_visible_ones_have(task, position, rng):
    model = shaken(small(encoder_position=position), rng)
    x = channels(rng, 3, 6, 8, 4)
    grid = model.grid(x.shape)
    visible, axis = draw_masks([task], 3, grid, keras.random.SeedGenerator(3), 0.6)[0]
    hidden = np.broadcast_to(array(hidden_tokens(visible, 24)), (3, 24))
    change = np.repeat(hidden[..., None], 16, axis=-1).astype(np.float32)
    before = array(model(x, visible, axis=axis))
    other = x + array(model.channels(100 * change, x.shape))
    np.testing.assert_array_equal(array(model(other, visible, axis=axis)), before)
    seen = int(np.flatnonzero(hidden[1] == 0)[-1])
    change[:] = 0
    change[1, seen, 3] = 1
    moved = np.abs(array(model(x + array(model.channels(change, x.shape)), visible, axis=axis)) - before).max(axis=-1)
    assert (moved[1] > 1e-6).all() and (moved[[0, 2]] == 0).all()


def test_samples_alone_and_order_of_visible_tokens(rng):
    model = shaken(small(), rng)
    x = channels(rng, 4, 4, 6, 4)
    visible = array(random_tokens(4, model.grid(x.shape), keras.random.SeedGenerator(2), 0.5))
    together = array(model(x, visible))
    np.testing.assert_allclose(array(model(x[2:3], visible[2:3])), together[2:3], atol=FLOAT32)
    np.testing.assert_allclose(array(model(x, visible[:, ::-1].copy())), together, atol=FLOAT32)


def test_trace_shows_the_same_pass(rng):
    model = shaken(small(), rng)
    x, visible = channels(rng, 3, 4, 6, 4), time_tokens((2, 3, 2), 1)
    trace = model.trace(x, visible)
    assert_close(array(trace.prediction), array(model(x, visible)), FLOAT32)  # fused attention without maps
    assert [m.shape for m in trace.encoder_maps] == [(3, 2, 6, 6)] * 2
    assert [m.shape for m in trace.decoder_maps] == [(3, 2, 12, 12)] * 2
    for maps in trace.encoder_maps + trace.decoder_maps:
        np.testing.assert_allclose(array(maps).sum(axis=-1), 1, atol=FLOAT32)
    patches = array(model.patches(x))
    embedding = patches @ array(model.embed.kernel) + array(model.embed.bias)
    np.testing.assert_allclose(array(trace.embedding), embedding, atol=FLOAT32)

    def network(block, state):  # the rest of a layer after its attention
        return state + block.down(keras.activations.gelu(block.up(block.norms[1](state)), approximate=False))

    latent = model.norm(network(model.encoder[-1], trace.encoder_state))
    np.testing.assert_allclose(array(latent), array(trace.latent), atol=FLOAT32)
    prediction = model.head(model.decoder_norm(network(model.decoder[-1], trace.decoder_state)))
    np.testing.assert_allclose(array(prediction), array(trace.prediction), atol=FLOAT32)


@pytest.mark.long
def test_sizes_that_the_patch_does_not_divide(rng):
    x = channels(rng, 2, 5, 7, 3)
    visible = time_tokens((3, 4, 2), 1)
    with pytest.raises(ConfigError, match=r"channels: got \(5, 7, 3\); allowed: multiples .*\(2, 2, 2\), or pad=True"):
        small()(x, visible)
    model = shaken(small(pad=True), rng)
    prediction = array(model(x, visible))
    out = array(model.channels(prediction, x.shape))
    assert out.shape == x.shape
    hidden = array(hidden_tokens(visible, 24))
    target, valid = array(model.patches(x)), model.valid(x.shape)
    loss = array(masked_mse(target, prediction, hidden, valid))
    error = np.abs((x - out) @ [1, 1j])[:, 4:] ** 2  # slot 5 is hidden, slot 6 does not exist
    np.testing.assert_allclose(loss, error.mean(axis=(1, 2, 3)), rtol=FLOAT32)
    for shape in ((5, 7, 3, 2), (2, 4, 4, 4, 1)):
        with pytest.raises(ConfigError, match=r"\[batch, slot, subcarrier, antenna, 2\]"):
            model.grid(shape)


@pytest.mark.long
@pytest.mark.parametrize("position", ["token", "released"])
def test_prediction_of_future_slots(position, rng):
    model = shaken(small(pad=True, encoder_position=position), rng)
    history = channels(rng, 2, 5, 7, 4)
    out = array(model.forecast(history, 3))
    assert out.shape == (2, 3, 7, 4, 2)
    x = np.concatenate([np.zeros((2, 1, 7, 4, 2)), history, channels(rng, 2, 4, 7, 4)], axis=1).astype(np.float32)
    tokens = model(x, time_tokens((5, 4, 2), 2), axis=0)
    np.testing.assert_allclose(out, array(model.channels(tokens, x.shape))[:, 6:9], atol=FLOAT32)
    assert model.forecast(history[:, :2], 1).shape == (2, 1, 7, 4, 2)
    x = np.concatenate([np.zeros((2, 6, 1, 4, 2)), channels(rng, 2, 6, 5, 4), np.zeros((2, 6, 4, 4, 2))], axis=2)
    x = x.astype(np.float32)
    tokens = model(x, leading_tokens((3, 5, 2), 1, 2), axis=1)
    expected = array(model.channels(tokens, x.shape))[:, :, 6:9]
    np.testing.assert_allclose(array(model.forecast(x[:, :, 1:6], 3, axis=1)), expected, atol=FLOAT32)
    with pytest.raises(ConfigError, match=r"history: got \(2, 1, 7, 4, 2\); .* 2 or more along axis 1 \(a token\)"):
        model.forecast(history[:, :1], 1)
    with pytest.raises(ConfigError, match="count: got 0"):
        model.forecast(history, 0)
    with pytest.raises(ConfigError, match="pad=True"):
        small().forecast(history, 3)


@pytest.mark.long
def test_survives_its_configuration(rng, tmp_path):
    model = shaken(small(24, num_heads=4, pad=True, mlp_ratio=3), rng)
    model.save_weights(tmp_path / "w.weights.h5")
    again = WiFo(**model.get_config())
    again.load_weights(tmp_path / "w.weights.h5")
    x, visible = channels(rng, 2, 4, 5, 4), time_tokens((2, 3, 2))
    np.testing.assert_array_equal(array(again(x, visible)), array(model(x, visible)))


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"size": "large"}, "size"),
        ({"size": 0}, "size"),
        ({"size": 60}, "num_heads"),
        ({"size": 65, "num_heads": 5}, "dim"),
        ({"depth": 0}, "depth"),
        ({"patch": (4, 4)}, "patch"),
        ({"patch": (4, 0, 4)}, "patch"),
        ({"encoder_position": "learned"}, "encoder_position"),
    ],
)
def test_bad_parameters_are_errors(params, field):
    with pytest.raises(ConfigError, match=f"^{field}.*: got .*; allowed: "):
        WiFo(**params)
    assert list(SIZES) == ["tiny", "little", "small", "base"]


# Losses --------------------------------------------------------------------------------------------------------------


def test_masked_loss_against_a_loop_and_limits(rng):
    target, prediction = (rng.standard_normal((3, 5, 8)).astype(np.float32) for _ in range(2))
    hidden = np.array([[0, 1, 1, 0, 1], [1, 0, 0, 1, 1], [1, 1, 1, 0, 0]], np.float32)
    valid = np.ones((5, 8), np.float32)
    valid[4, 4:] = valid[1, :2] = 0
    for i in range(3):
        error = count = 0.0
        for j in range(5):
            for k in range(0, 8, 2):
                if hidden[i, j] and valid[j, k]:
                    error += abs(complex(*(target - prediction)[i, j, k : k + 2])) ** 2
                    count += 1
        np.testing.assert_allclose(array(masked_mse(target, prediction, hidden, valid))[i], error / count, rtol=FLOAT32)
    perfect = np.where(hidden[..., None] > 0, target, prediction)
    np.testing.assert_array_equal(array(masked_mse(target, perfect, hidden, valid)), 0)


def test_masks_of_the_tasks_hide_along_their_axes():
    tasks, grid = ("random", "time", "frequency"), (2, 3, 2)
    masks = draw_masks(tasks, 3, grid, keras.random.SeedGenerator(5), 0.5, 2)
    assert [axis for _, axis in masks] == [None, 0, 2]
    assert array(masks[0][0]).shape == (3, 6)
    order = np.arange(12).reshape(grid)
    np.testing.assert_array_equal(masks[1][0], order[:1].ravel())
    np.testing.assert_array_equal(masks[2][0], order[..., :1].ravel())


def test_a_noisy_target_has_a_floor(rng):
    x = np.array([1, 100], np.float32)[:, None, None, None, None] * channels(rng, 2, 16, 16, 16)
    noisy = array(add_noise(x, 20.0, keras.random.SeedGenerator(1)))
    error, power = (np.sum(np.square(a.reshape(2, -1)), axis=1) for a in (noisy - x, noisy))
    floor = error / power
    # 8192 entries: the noise power is known to 1.6 %.
    np.testing.assert_allclose(floor, 0.01 / 1.01, rtol=5 * 0.016)


def test_cosine_losses_against_loops(rng):
    maps = [[rng.random((2, 3, 4, 4)).astype(np.float32) for _ in range(2)] for _ in range(2)]
    tokens = rng.standard_normal((2, 2, 5, 6)).astype(np.float32)

    def distance(a, b):
        return 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    for i in range(2):
        each = [distance(maps[0][n][i, h].ravel(), maps[1][n][i, h].ravel()) for n in range(2) for h in range(3)]
        np.testing.assert_allclose(array(attention_loss(*maps))[i], np.mean(each), rtol=1e-4)
        each = [distance(tokens[0, i, j], tokens[1, i, j]) for j in range(5)]
        np.testing.assert_allclose(array(token_loss(*tokens))[i], np.mean(each), rtol=1e-4)
    np.testing.assert_allclose(array(token_loss(tokens[0], 7 * tokens[0])), 0, atol=1e-6)
    point = keras.Variable(np.zeros((1, 6), np.float32))
    (gradient,) = gradients(lambda: ops.sum(cosine_distance(tokens[0, 0, :1], point.value)), [point])
    assert array(cosine_distance(tokens[0, 0, :1], point))[0] == 1 and (gradient == 0).all()


def test_layers_of_other_depths():
    assert matched_layers(6, 6) == [0, 1, 2, 3, 4, 5] and matched_layers(6, 3) == [1, 3, 5]
    with pytest.raises(ConfigError, match="divisor of the teacher's 6 layers"):
        matched_layers(6, 4)


# Selection of knowledge ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scope", "order"), [("sample", "importance"), ("batch", "importance"), ("sample", "index")])
def test_selection_against_numpy(scope, order, rng):
    layer = CrossAttentionSelection(4, 8, num_heads=2, scope=scope, order=order)
    student, teacher = (rng.standard_normal((3, 5, d)).astype(np.float32) for d in (4, 8))
    layer(student, teacher)
    np.testing.assert_array_equal(array(layer.value), np.eye(8))
    for w in layer.weights:
        w.assign(rng.standard_normal(w.shape))
    scores = []
    for s, t in zip(student.astype(np.float64), teacher.astype(np.float64), strict=True):
        q, k, v = s @ array(layer.query), t @ array(layer.key), t @ array(layer.value)
        out = np.zeros((5, 8))
        for h in (slice(0, 4), slice(4, 8)):
            weights = np.exp(q[:, h] @ k[:, h].T / 2)
            out[:, h] = weights / weights.sum(axis=1, keepdims=True) @ v[:, h]
        scores.append(out.sum(axis=0))
    scores = [np.mean(scores, axis=0)] * 3 if scope == "batch" else scores
    np.testing.assert_allclose(array(layer.importance(student, teacher)), scores, rtol=1e-4, atol=1e-4)
    index = [np.argsort(-s)[:4] for s in scores]
    assert any((np.diff(i) < 0).any() for i in index)  # the two orders differ here
    index = [np.sort(i) for i in index] if order == "index" else index
    np.testing.assert_array_equal(array(layer.indices(student, teacher)), index)
    expected = [[[t[n, j] for j in i] for n in range(5)] for t, i in zip(teacher, index, strict=True)]
    np.testing.assert_array_equal(array(layer(student, teacher)), expected)  # as they are: weights are exactly 1


def test_selection_learns_through_soft_weights_alone(rng):
    layer = CrossAttentionSelection(4, 8, num_heads=2)
    student, teacher = (keras.Variable(rng.standard_normal((3, 5, d)).astype(np.float32)) for d in (4, 8))
    weight = rng.standard_normal((3, 5, 4)).astype(np.float32)
    layer(student.value, teacher.value)
    layer.key.assign(rng.standard_normal((8, 8)))

    def loss():
        return ops.sum(weight * layer(student.value, teacher.value))

    projections = [layer.query, layer.key, layer.value]
    *learned, by_student, by_teacher = gradients(loss, [*projections, student, teacher])
    assert all(np.abs(g).max() > 1e-4 for g in learned) and by_student is None and by_teacher is None
    # Against differences of sum(weight * teacher column * softmax at fixed indices): the logarithmic derivative.
    index = array(layer.indices(student, teacher))
    columns = np.take_along_axis(array(teacher), index[:, None], axis=-1)
    gain = (weight * columns).sum(axis=1)

    def soft():
        score = array(layer.importance(student.value, teacher.value)).astype(np.float64) / 5
        return (np.take_along_axis(score, index, -1) - np.log(np.exp(score).sum(axis=-1, keepdims=True))) * gain

    step = np.zeros((8, 8), np.float32)
    step[2, 5] = 1e-2
    value = array(layer.value)
    layer.value.assign(value + step)
    above = soft().sum()
    layer.value.assign(value - step)
    np.testing.assert_allclose(learned[2][2, 5], (above - soft().sum()) / 2e-2, rtol=1e-2)


def test_bad_selections_are_errors():
    wrong = {
        "student_dim": (9, 8),
        "num_heads": (4, 8, 3),
        "scope": (4, 8, 2, "token"),
        "order": (4, 8, 2, "batch", "up"),
    }
    for field, params in wrong.items():
        with pytest.raises(ConfigError, match=f"^{field}: got"):
            CrossAttentionSelection(*params)


# Distillation --------------------------------------------------------------------------------------------------------


class Counting(WiFo):
    """A teacher that counts its passes."""

    passes = 0

    def _forward(self, *args, **kwargs):
        self.passes += 1
        return super()._forward(*args, **kwargs)


def pair(rng, layers=2, **params):
    depth = {"depth": layers, "decoder_depth": layers}
    teacher = shaken(Counting(32, **{**SMALL, **depth}), rng)
    return shaken(small(**depth), rng), teacher, {"tasks": ("time", "frequency"), **params}


@pytest.mark.long
def test_loss_of_a_passive_epoch_against_its_parts(rng):
    student, teacher, options = pair(rng, weight=0.3, frequency_axis=2)
    model = Mcakd(student, teacher, **options)
    for layer in model.selections.values():
        layer.query.assign(rng.standard_normal(layer.query.shape))
    model.passive = True
    x = channels(rng, 3, 4, 6, 4)
    expected = dict.fromkeys(("mse", "attention", "embedding", "hidden"), 0.0)
    for visible, axis in ((time_tokens((2, 3, 2)), 0), (frequency_tokens((2, 3, 2), axis=2), 2)):
        ours, theirs = student.trace(x, visible, axis), teacher.trace(x, visible, axis)
        pairs = list(zip(theirs.encoder_maps + theirs.decoder_maps, ours.encoder_maps + ours.decoder_maps, strict=True))
        expected["attention"] += 0.5 * np.mean(
            [array(cosine_distance(*(ops.reshape(m, (3, 2, -1)) for m in maps))).mean(axis=1) for maps in pairs], axis=0
        )
        hidden = hidden_tokens(visible, 12)
        expected["mse"] += 0.5 * array(masked_mse(model.student.patches(x), ours.prediction, hidden))
        for place, share, name in (
            ("embedding", 1, "embedding"),
            ("encoder", 0.5, "hidden"),
            ("decoder", 0.5, "hidden"),
        ):
            ends = [getattr(trace, place if place == "embedding" else f"{place}_state") for trace in (ours, theirs)]
            distance = array(cosine_distance(model.selections[place](*ends), ends[0])).mean(axis=1)
            expected[name] += 0.5 * share * distance
    losses = {name: array(value) for name, value in model.losses_of(x).items()}
    assert set(losses) == set(expected)
    for name, value in losses.items():
        np.testing.assert_allclose(value, expected[name] * (1 if name == "mse" else 0.3), rtol=1e-4)
    np.testing.assert_allclose(array(model(x)), sum(losses.values()), rtol=FLOAT32)
    # Every projection and every weight of the student learns (biases of keys cannot matter), the teacher does not.
    assert len(model.trainable_weights) == len(student.trainable_weights) + 9
    found = gradients(lambda: ops.mean(model(x)), [*model.trainable_weights, *teacher.weights])
    assert all(g is None for g in found[len(model.trainable_weights) :])
    found = found[: len(model.trainable_weights)]
    dead = [w.path for w, g in zip(model.trainable_weights, found, strict=True) if g is None or not np.any(g)]
    assert not dead, dead


@pytest.mark.long
@pytest.mark.parametrize("off", ["attention", "embedding", "hidden"])
def test_terms_can_be_left_out(off, rng):
    student, teacher, options = pair(rng)
    terms = [t for t in ("attention", "embedding", "hidden") if t != off]
    model = Mcakd(student, teacher, terms=terms, **options)
    model.passive = True
    assert list(model.losses_of(channels(rng, 2, 4, 4, 4))) == ["mse", *terms]
    places = {"embedding": 1, "hidden": 2}
    assert len(model.selections) == sum(places.get(t, 0) for t in terms)


@pytest.mark.long
def test_other_kinds_and_no_selection(rng):
    student, teacher, options = pair(rng)
    x, visible = channels(rng, 2, 4, 4, 4), time_tokens((2, 2, 2))
    linear = Mcakd(student, teacher, selection="linear", terms=["embedding"], **options)
    linear.passive = True
    matrix = linear.selections["embedding"].matrix
    embeddings = [array(m.embed(m.patches(x))) for m in (student, teacher)]
    expected = array(token_loss(embeddings[0] @ array(matrix), embeddings[1]))
    np.testing.assert_allclose(array(linear.losses_of(x)["embedding"]), expected, rtol=1e-4)
    lmkd = Mcakd(student, teacher, "lmkd", weight=2.0, tasks=["time"])
    lmkd.passive = True
    taught = masked_mse(teacher(x, visible, axis=0), student(x, visible, axis=0), hidden_tokens(visible, 8))
    np.testing.assert_allclose(array(lmkd.losses_of(x)["lmkd"]), 2 * array(taught), rtol=1e-4)
    assert list(Mcakd(student, None, "none", **options).losses_of(x)) == ["mse"]
    half = Mcakd(small(depth=1), teacher, **options)
    half.passive = True
    assert np.isfinite(array(half(x))).all()


def passive(phases, losses):
    """Whether each epoch is passive, the one after ``losses`` last."""
    return [phases.passive_after(losses[:e]) > 0 for e in range(len(losses) + 1)]


def test_phases_of_a_cycle_are_counted():
    losses = [1.0] * 10
    assert passive(Phases(), losses) == [False] * 4 + [True] + [False] * 4 + [True, False]
    assert all(passive(Phases(0, 1), losses)) and passive(Phases(1, 2), losses[:2]) == [False, True, True]
    assert [Phases(1, 3).passive_after([1.0] * e) for e in range(6)] == [0, 3, 2, 1, 0, 3]


def test_phases_follow_the_progress_of_the_student_alone():
    """By hand, 10 % an epoch over two: from 1 at least to .81, and so on; losses of passive epochs do not count."""
    phases = Phases(3, 2, 0.1)
    assert passive(phases, [1.0, 0.95, 0.80]) == [False] * 4  # one slow epoch is made up for by the next
    assert passive(phases, [1.0, 0.95, 0.80, 0.76]) == [False] * 5  # below .7695 = .81 x .95
    assert passive(phases, [1.0, 0.95, 0.80, 0.76, 0.66, 0.3, 9.0, 0.6]) == [False] * 5 + [True] * 2 + [False] * 2
    assert passive(phases, [1.0, 0.9, 0.82, 5.0, 5.0, 0.9, 0.9, 0.9])[3:] == [True, True, False, False, False, True]


@pytest.mark.long
def test_the_teacher_runs_in_passive_epochs_only(rng):
    student, teacher, options = pair(rng, layers=1, tasks=["time"])
    model = Mcakd(student, teacher, **options)
    model.compile(optimizer=keras.optimizers.SGD(1e-3), run_eagerly=True)
    before = [w.copy() for w in teacher.get_weights()]
    counts = []
    for epoch in range(3):
        model.passive = epoch == 1
        model.set_step(epoch)
        teacher.passes = 0
        model.fit(channels(rng, 4, 4, 4, 4), batch_size=2, epochs=1, verbose=0)
        counts.append(teacher.passes)
    assert counts == [0, 2, 0]  # two steps
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.long
def test_noise_is_drawn_anew_and_off_by_default(rng):
    student, _, options = pair(rng)
    x = channels(rng, 2, 4, 4, 4)
    clean, noisy = (Mcakd(student, kind="none", noise_snr_db=snr, **options) for snr in (None, 10.0))
    np.testing.assert_array_equal(array(clean(x)), array(clean(x)))
    assert np.abs(array(noisy(x)) - array(noisy(x))).max() > 1e-3


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"kind": "kd"}, "kind"),
        ({"kind": "none"}, "teacher"),
        ({"teacher": None}, "teacher"),
        ({"terms": ()}, "terms"),
        ({"terms": ("logits",)}, "terms"),
        ({"tasks": ()}, "tasks"),
        ({"selection": "pca"}, "selection"),
        ({"teacher": {"patch": (4, 2, 2)}}, r"teacher\.patch"),
        ({"teacher": {"num_heads": 4}}, r"teacher\.num_heads"),
        ({"teacher": {"decoder_depth": 3}}, "depth"),
        ({"teacher": {"size": 8}}, "student_dim"),
    ],
)
def test_bad_distillations_are_errors(options, field):
    teacher = options.get("teacher", {})
    options = {**options, "teacher": None if teacher is None else WiFo(**{"size": 32, **SMALL, **teacher})}
    with pytest.raises(ConfigError, match=f"^{field}: got"):
        Mcakd(small(), **options)


# Backends ------------------------------------------------------------------------------------------------------------


def learned():
    """Losses of three epochs, the second of them passive, and how far each weight moves; nothing random is drawn."""
    rng = np.random.default_rng(7)
    params = {**SMALL, "pad": True, "depth": 1, "decoder_depth": 1}
    model = Mcakd(WiFo(16, **params), teacher := WiFo(32, **params), tasks=("time",))
    for network in (model, teacher):
        network.set_weights([drawn_weight(w, rng, 0.5) for w in network.get_weights()])
    x = channels(rng, 3, 5, 6, 4)
    model.compile(optimizer=keras.optimizers.SGD(0.02), jit_compile=jit_compiled())
    model.optimizer.build(model.trainable_variables)
    before, losses, steps = model.get_weights(), [], []
    for epoch in range(3):
        model.passive = epoch == 1
        model.set_step(epoch)
        losses += model.fit(x, batch_size=len(x), epochs=1, verbose=0).history["loss"]
        steps.append(model.train_function)
    assert steps[0] is steps[2] and steps[0] is not steps[1]  # compiled steps of both phases are kept
    return {"loss": losses, "moved": moved(before, model.get_weights())}


@pytest.mark.backend
@pytest.mark.long
def test_every_backend_learns_the_same():
    assert_as_recorded("wifo", learned())


@pytest.mark.backend
def test_random_tokens_of_every_backend():
    visible = array(random_tokens(3, (2, 3, 2), keras.random.SeedGenerator(1), 0.5))
    assert all(len(set(row) & set(range(12))) == 6 for row in visible.tolist())
