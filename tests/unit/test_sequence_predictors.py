"""Predictors of sequences: cutting channels, roll-out against a loop, causality, published counts, learning."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from tolerances import FLOAT32

from receivers.models.attention import MultiHeadAttention
from receivers.models.gpt2 import Gpt2Body
from receivers.models.llm4cp import VOCABULARY_ENTRIES, Llm4cp, delay_matrix
from receivers.models.lstm_predictor import LstmPredictor
from receivers.models.sequence_predictor import SequencePredictor
from receivers.models.transformer_predictor import TransformerPredictor
from receivers.training.steps import jit_compiled
from receivers.training.supervised import SequenceTraining
from receivers.weights.safetensors import load_gpt2
from simulator.core.errors import ConfigError

NARROW = {"width": 4, "num_blocks": 1, "d_model": 8, "num_heads": 2, "num_layers": 1, "num_positions": 8}


def array(x):
    return np.asarray(ops.convert_to_numpy(x))


def llm4cp(group=4, num_history=8, num_future=4, **params):
    return Llm4cp(group, num_history, num_future, **{**NARROW, **params})


MODELS = {
    "lstm": lambda group=4: LstmPredictor(group, 8),
    "transformer": lambda group=4: TransformerPredictor(group, 8, 2, 1, 12),
    "llm4cp": llm4cp,
}


class Stamp(SequencePredictor):
    """Repeats the last step, plus the number of the future step."""

    def __init__(self, group):
        super().__init__(group, {"group": group})
        self.built = True

    def call(self, history, num_future, training=False):
        return history[:, -1:] + ops.expand_dims(ops.arange(1, num_future + 1, dtype="float32"), -1)


def channels(rng, *shape):
    return rng.standard_normal((*shape, 2)).astype(np.float32)


def shaken(model, rng, scale=0.5):
    """The model with weights that are all different, biases and norms too."""
    for w in model.weights:
        w.assign(array(w) + scale * rng.standard_normal(w.shape) / np.sqrt(max(w.shape[0], 1)))
    return model


def size(weights):
    return sum(int(np.prod(w.shape)) for w in weights)


# Channels as sequences -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [1, 4, 7, 9])
def test_groups_are_put_back_where_they_were(group, rng):
    x = channels(rng, 2, 3, 7, 5)
    steps = np.arange(1, 5)
    expected = x[:, -1:] + steps[:, None, None, None]
    np.testing.assert_allclose(array(Stamp(group).forecast(x, 4)), expected, rtol=FLOAT32)
    expected = x[:, :, -1:] + steps[:, None, None]
    np.testing.assert_allclose(array(Stamp(group).forecast(x, 4, axis=1)), expected, rtol=FLOAT32)


@pytest.mark.parametrize("name", MODELS)
def test_channel_is_predicted_group_by_group_along_either_axis(name, rng):
    model = shaken(MODELS[name](), rng)
    x = channels(rng, 2, 8, 6, 3)
    y = array(model.forecast(x, 3))
    assert y.shape == (2, 3, 6, 3, 2)
    padded = np.concatenate([x, np.zeros((2, 8, 2, 3, 2), np.float32)], axis=2)
    one = array(model(padded[:1, :, 4:, 2].reshape(1, 8, 8), 3)).reshape(3, 4, 2)
    np.testing.assert_allclose(y[0, :, 4:, 2], one[:, :2], atol=FLOAT32)
    along = array(model.forecast(x.swapaxes(1, 2), 3, axis=1))
    assert along.shape == (2, 6, 3, 3, 2)
    np.testing.assert_allclose(along, y.swapaxes(1, 2), atol=FLOAT32)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_its_configuration_and_its_weights(name, rng):
    model = shaken(MODELS[name](), rng)
    copy = type(model).from_config(json.loads(json.dumps(model.get_config())))
    copy.set_weights(model.get_weights())
    x = rng.standard_normal((2, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(array(copy(x, 2)), array(model(x, 2)))
    assert keras.saving.get_registered_name(type(model)).startswith("csilink>")


# Networks ------------------------------------------------------------------------------------------------------------


def lstm_by_hand(w, x, num_future, residual):
    """One sequence float64 ``[step, feature]``; gates in the order input, forget, cell, output."""

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    w = [np.asarray(v, np.float64) for v in w]
    (up, up_bias), (down, down_bias), cells = w[:2], w[-2:], [w[i : i + 3] for i in range(2, len(w) - 2, 3)]
    states = [(np.zeros(up.shape[1]), np.zeros(up.shape[1])) for _ in cells]
    steps = [*x.astype(np.float64)]
    for t in range(len(x) + num_future - 1):
        y = steps[t] @ up + up_bias
        for n, (kernel, recurrent, bias) in enumerate(cells):
            h, c = states[n]
            i, f, g, o = np.split(y @ kernel + h @ recurrent + bias, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            y = sigmoid(o) * np.tanh(c)
            states[n] = y, c
        if t >= len(x) - 1:
            steps.append(y @ down + down_bias + residual * steps[t])
    return np.stack(steps[len(x) :])


@pytest.mark.parametrize("residual", [True, False])
def test_roll_out_equals_a_loop(residual, rng):
    model = shaken(LstmPredictor(2, 6, residual=residual), rng)
    x = rng.standard_normal((3, 5, 4)).astype(np.float32)
    parts = (model.embed, *model.recurrent, model.head)
    weights = [array(w) for layer in parts for w in layer.weights]
    expected = np.stack([lstm_by_hand(weights, sample, 4, residual) for sample in x])
    np.testing.assert_allclose(array(model(x, 4)), expected, atol=FLOAT32)
    np.testing.assert_allclose(array(model(x, 2)), expected[:, :2], atol=FLOAT32)


def test_transformer_counts_steps_from_the_present(rng):
    model = shaken(TransformerPredictor(2, 8, 2, 1, 12), rng)
    model.embed.kernel.assign(np.zeros((4, 8)))
    attention = model.encoder[0].self_attn
    x = rng.standard_normal((1, 6, 4)).astype(np.float32)
    assert np.abs(array(model(x, 2)) - array(model(x[:, 3:], 2))).max() > 1e-4  # tokens still have positions
    attention.out_kernel.assign(np.zeros((8, 8)))  # queries see nothing but their place
    np.testing.assert_allclose(array(model(x, 2)), array(model(x[:, 3:], 2)), atol=FLOAT32)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_gpt2_does_not_look_ahead(bidirectional, rng):
    body = shaken(Gpt2Body(8, 2, 2, 6, bidirectional=bidirectional), rng)
    x = rng.standard_normal((1, 5, 8)).astype(np.float32)
    other = x.copy()
    other[:, 3] += rng.standard_normal(8)
    change = np.abs(array(body(other)) - array(body(x))).max(axis=(0, 2))
    assert change[3] > 1e-3 and change[4] > 1e-3
    assert (change[:3].max() > 1e-3) == bidirectional
    if not bidirectional:
        np.testing.assert_allclose(array(body(x))[:, :3], array(body(x[:, :3])), atol=FLOAT32)
    assert MultiHeadAttention.from_config(body.blocks[0].self_attn.get_config()).causal == (not bidirectional)


def test_delay_branch_is_an_inverse_dft(rng):
    x = rng.standard_normal((3, 6, 2))
    delay = np.fft.ifft(x[..., 0] + 1j * x[..., 1], axis=1)
    paired, released = (x.reshape(3, 12) @ delay_matrix(6, layout) for layout in ("paired", "released"))
    np.testing.assert_allclose(paired, np.stack([delay.real, delay.imag], -1).reshape(3, 12), atol=1e-6)
    np.testing.assert_allclose(released, np.concatenate([delay.real, delay.imag], -1), atol=1e-6)


@pytest.mark.long
def test_llm4cp_options_change_what_they_say(rng):
    model = shaken(llm4cp(), rng)
    x = rng.standard_normal((2, 11, 8)).astype(np.float32)
    y = array(model(x, 4))
    np.testing.assert_array_equal(array(model(x[:, 3:], 4)), y)  # the latest slots of the history
    np.testing.assert_array_equal(array(model(x, 2)), y[:, :2])
    np.testing.assert_allclose(array(model(x[:1], 4)), y[:1], atol=FLOAT32)  # no statistics of the batch
    for option in ({"delay_layout": "released"}, {"bidirectional": True}):
        other = llm4cp(**option)
        other.set_weights(model.get_weights())
        assert np.abs(array(other(x, 4)) - y).max() > 1e-4


def published(width=64, blocks=4, dim=768, layers=6, positions=1024, feature=96, past=16, future=4):
    """Parameters of one branch, of all but GPT-2, of GPT-2, and of those of GPT-2 that train when frozen."""
    block = 2 * (9 * width * width + width) + 2 * width * width
    branch = (18 * width + width) + blocks * block + (18 * width + 2)
    other = 2 * (4 * 4 + 4) + (past + 1) * past + (past + 1) * future
    own = 2 * branch + 3 * feature * dim + (dim + 1) * feature + other
    layer = (dim + 1) * 3 * dim + (dim + 1) * dim + (dim + 1) * 4 * dim + (4 * dim + 1) * dim + 4 * dim
    return branch, own, positions * dim + layers * layer + 2 * dim, positions * dim + (4 * layers + 2) * dim


def check_counts(model, counts):
    branch, own, body, trained = counts
    assert [size(b.weights) for b in model.branches] == [branch] * 2
    assert (size(model.body.weights), size(model.weights)) == (body, own + body)
    assert size(model.trainable_weights) == own + trained


@pytest.mark.long
def test_llm4cp_counts():
    branch, own, body, trained = published()
    assert (branch, own, body + VOCABULARY_ENTRIES, trained) == (330_562, 956_512, 81_912_576, 806_400)
    model = Llm4cp(3, 8, 2, 4, 6, 2, 10, 2, 3, 9, freeze=True)
    check_counts(model, published(6, 2, 10, 3, 9, 6, 8, 2))
    assert size(llm4cp().trainable_weights) == size(llm4cp().weights)


@pytest.mark.slow
def test_published_llm4cp():
    model = Llm4cp(freeze=True)
    check_counts(model, published())
    assert size(model.weights) + VOCABULARY_ENTRIES == 82_869_088
    assert array(model(np.ones((1, 16, 96), np.float32), 4)).shape == (1, 4, 96)


def test_gpt2_weights_reach_their_places(tmp_path, rng):
    shapes = {"wpe.weight": (6, 8), "ln_f.weight": (8,), "ln_f.bias": (8,)}
    for n in range(3):  # one more than are used
        shapes |= {
            f"h.{n}.ln_1.weight": (8,), f"h.{n}.ln_1.bias": (8,), f"h.{n}.attn.c_attn.weight": (8, 24),
            f"h.{n}.attn.c_attn.bias": (24,), f"h.{n}.attn.c_proj.weight": (8, 8), f"h.{n}.attn.c_proj.bias": (8,),
            f"h.{n}.ln_2.weight": (8,), f"h.{n}.ln_2.bias": (8,), f"h.{n}.mlp.c_fc.weight": (8, 32),
            f"h.{n}.mlp.c_fc.bias": (32,), f"h.{n}.mlp.c_proj.weight": (32, 8), f"h.{n}.mlp.c_proj.bias": (8,),
        }  # fmt: skip
    tensors = {name: rng.standard_normal(shape).astype("<f4") for name, shape in shapes.items()}
    for prefix in ("", "transformer."):
        header, blob = {}, b""
        for name, value in tensors.items():
            offsets = [len(blob), len(blob) + value.nbytes]
            header[prefix + name] = {"dtype": "F32", "shape": value.shape, "data_offsets": offsets}
            blob += value.tobytes()
        head = json.dumps(header).encode()
        (tmp_path / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + blob)
        body = Gpt2Body(8, 2, 2, 6)
        assert load_gpt2(body, tmp_path)["layers"] == 2
        used = [value for name, value in tensors.items() if not name.startswith("h.2.")]
        assert sum(float(np.abs(v).sum()) for v in used) == pytest.approx(
            sum(float(np.abs(array(w)).sum()) for w in body.weights), rel=FLOAT32
        )
        np.testing.assert_array_equal(array(body.table), tensors["wpe.weight"])
        np.testing.assert_array_equal(array(body.norm.gamma), tensors["ln_f.weight"])
        np.testing.assert_array_equal(array(body.norm.beta), tensors["ln_f.bias"])
        np.testing.assert_array_equal(array(body.blocks[1].down.kernel), tensors["h.1.mlp.c_proj.weight"])
    with pytest.raises(ConfigError, match=r"wpe\.weight"):
        load_gpt2(Gpt2Body(8, 2, 2, 7), tmp_path)


# Training ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("axis", "shape", "known"), [(0, (9, 3, 2), 4), (0, (16, 3, 2), 8), (1, (3, 24, 1), 12)])
def test_loss_is_the_mean_error_of_what_is_hidden(axis, shape, known, rng):
    x = channels(rng, 2, *shape)
    h = np.moveaxis(x[..., 0] + 1j * x[..., 1], axis + 1, 1).astype(np.complex128)
    hidden = h.shape[1] - known
    steps = np.arange(1, hidden + 1).reshape(-1, 1, 1) * (1 + 1j)  # what Stamp adds, to both parts
    expected = np.mean(np.abs(h[:, known:] - h[:, known - 1 : known] - steps) ** 2, axis=(1, 2, 3))
    training = SequenceTraining(Stamp(4), axis)
    loss = array(training(x))
    np.testing.assert_allclose(loss, expected, rtol=FLOAT32)
    assert float(training.compute_loss(y_pred=loss)) == pytest.approx(expected.mean(), rel=FLOAT32)


@pytest.mark.long
def test_dropout_acts_in_training_alone(rng):
    training = SequenceTraining(shaken(llm4cp(num_future=8, dropout=0.5), rng))
    x = channels(rng, 1, 16, 4, 1)
    np.testing.assert_array_equal(array(training(x)), array(training(x, training=False)))
    assert abs(array(training(x, training=True)) - array(training(x)))[0] > 1e-6


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_weight(name, rng):
    training = SequenceTraining(shaken(llm4cp(num_future=8) if name == "llm4cp" else MODELS[name](), rng))
    before = [array(w) for w in training.trainable_weights]
    training.compile(optimizer=keras.optimizers.SGD(1e-1), run_eagerly=True)
    training.fit(channels(rng, 2, 16, 5, 1), epochs=1, verbose=0)
    assert all((b != array(w)).any() for b, w in zip(before, training.trainable_weights, strict=True))


def exponentials(rng, count):
    """Unit-modulus entries that turn at a rate of their own, float32 ``[count, 16, 1, 1, 2]``."""
    phase = rng.uniform(-0.6, 0.6, (count, 1)) * np.arange(16) + rng.uniform(0, 2 * np.pi, (count, 1))
    return np.stack([np.cos(phase), np.sin(phase)], -1)[:, :, None, None].astype(np.float32)


@pytest.mark.long
def test_lstm_learns_to_continue_exponentials(rng):
    keras.utils.set_random_seed(1)
    training = SequenceTraining(LstmPredictor(1, 32))
    training.compile(optimizer=keras.optimizers.Adam(5e-3), jit_compile=jit_compiled())
    training.optimizer.build(training.trainable_variables)
    training.fit(exponentials(rng, 64 * 100), batch_size=64, epochs=3, verbose=0)
    x = exponentials(rng, 256)
    assert 10 * np.log10(array(training(x)).mean()) < -10  # unit power: the loss is the NMSE
    still = np.mean(np.sum((x[:, 8:] - x[:, 7:8]) ** 2, axis=-1))
    assert 10 * np.log10(still) > 0


# Errors --------------------------------------------------------------------------------------------------------------

BAD = {
    "group": lambda: LstmPredictor(0),
    "width, num_layers": lambda: LstmPredictor(2, 0),
    "d_model, num_heads": lambda: TransformerPredictor(2, 12, 8),
    "num_layers, hidden": lambda: TransformerPredictor(2, 8, 2, 0),
    "num_history": lambda: llm4cp(num_history=6),
    "num_positions": lambda: llm4cp(num_positions=7),
    "num_future, width, num_blocks": lambda: llm4cp(num_future=0),
    "d_model": lambda: llm4cp(d_model=9),
    "delay_layout": lambda: llm4cp(delay_layout="blocks"),
    "num_heads": lambda: Gpt2Body(8, num_heads=3),
    "num_layers, num_positions": lambda: Gpt2Body(8, 0, 2),
    "dropout": lambda: Gpt2Body(8, 1, 2, dropout=1.0),
    "axis": lambda: SequenceTraining(Stamp(2), 2),
    "token": lambda: SequenceTraining(Stamp(2), token=0),
}


@pytest.mark.parametrize("field", BAD)
def test_bad_parameters_are_named(field):
    with pytest.raises(ConfigError) as error:
        BAD[field]()
    assert error.value.field == field


@pytest.mark.long
def test_bad_shapes_are_named():
    x = np.zeros((1, 8, 6, 1, 2), np.float32)
    cases = [
        ("axis", lambda: Stamp(2).forecast(x, 1, axis=2)),
        ("count", lambda: Stamp(2).forecast(x, 0)),
        ("history", lambda: Stamp(2).forecast(x[..., :1], 1)),
        ("history", lambda: Stamp(2).forecast(x[0], 1)),
        ("history", lambda: Stamp(2)(np.zeros((1, 3, 5), np.float32), 1)),
        ("history", lambda: LstmPredictor(2, 4)(np.zeros((1, 0, 4), np.float32), 1)),
        ("num_future", lambda: Stamp(2)(np.zeros((1, 3, 4), np.float32), 0)),
        ("history", lambda: llm4cp().forecast(x[:, :7], 1)),
        ("num_future", lambda: llm4cp().forecast(x, 5)),
        ("x", lambda: SequenceTraining(Stamp(2))(x[:, :4])),
        ("x", lambda: SequenceTraining(Stamp(2))(x[0])),
        ("history", lambda: SequenceTraining(llm4cp())(x)),
        ("num_future", lambda: SequenceTraining(llm4cp(num_history=4))(np.zeros((1, 16, 2, 1, 2), np.float32))),
    ]
    for field, call in cases:
        with pytest.raises(ConfigError) as error:
            call()
        assert error.value.field == field
