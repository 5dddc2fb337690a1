"""Checkpoints of WiFo-CF: sizes told by the tensors, and the released forward pass against one in float64."""

import numpy as np
import pytest
from keras import ops
from wifo_cf_forward import WiFoCfForward, random_state

from receivers.models.user_embedding import user_embedding
from receivers.models.wifo_cf import RELEASED, WiFoCf
from receivers.quantization.unit_interval import UnitQuantizer
from receivers.weights.torch_wifo_cf import load_wifo_cf, wifo_cf_params
from simulator.core.errors import ConfigError, StoreError


def array(x):
    return np.asarray(ops.convert_to_numpy(x))


def imported(state, **changes):
    model = WiFoCf(**{**wifo_cf_params(state), "top_k": 2, **changes})
    load_wifo_cf(model, {f"module.{key}": value for key, value in state.items()})
    return model


@pytest.mark.parametrize(("bits", "shared"), [((5, 5), 1), ((3, 6), 1), ((4, 2, 7), 2)], ids=str)
@pytest.mark.long
def test_released_forward_pass(bits, shared, rng):
    state = random_state(rng, shared=shared)
    x = rng.standard_normal((3, 2, len(bits), 8, 16))
    levels, expected = WiFoCfForward(state, top_k=2)(x, np.array(bits))
    model = imported(state)
    trace = model.trace(np.moveaxis(x, 1, -1).astype(np.float32), np.array(bits))
    assert np.abs(array(trace.quantised) - levels).max() < 1e-5
    assert np.abs(np.moveaxis(array(trace.prediction), -1, 1) - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.long
def test_every_convention_matters(rng):
    """Ours in place of the released one gives something else, so that the test above holds each of them."""
    state = random_state(rng, depth=1, decoder_depth=1)
    x = rng.standard_normal((2, 2, 8, 16, 2)).astype(np.float32)
    ours = {"attention": "token", "expert_input": "residual", "level": "middle", "position": "row_first"}
    ours["width_code"] = "user"
    assert ours.keys() == RELEASED.keys()
    found = array(imported(state)(x, np.array([3, 6])))
    for name, value in ours.items():
        changed = array(imported(state, **{name: value})(x, np.array([3, 6])))
        assert np.abs(found - changed).max() > 1e-3 * np.abs(found).max(), name


@pytest.mark.long
def test_alone_is_the_batch_of_one(rng):
    state = random_state(rng, depth=1, decoder_depth=1)
    x = rng.standard_normal((3, 1, 8, 16, 2)).astype(np.float32)
    alone, batch = imported(state, attention="alone"), imported(state)
    expected = np.concatenate([array(batch(x[i : i + 1], 4)) for i in range(3)])
    np.testing.assert_allclose(array(alone(x, 4)), expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(array(batch(x, 4)) - expected).max() > 1e-3 * np.abs(expected).max()
    maps = alone.trace(x, 4).encoder_maps
    assert all((array(m) == np.eye(8)).all() for m in maps)


def test_sizes_are_told_by_the_tensors(rng):
    params = wifo_cf_params(random_state(rng, dim=24, patch_dim=8, hidden=5, experts=16, depth=1, decoder_depth=3))
    assert params.items() >= {"dim": 24, "patch_dim": 8, "expert_dim": 5, "num_experts": 16, "top_k": 2}.items()
    assert (params["depth"], params["decoder_depth"], params["decoder_shared"], params["conv_dim"]) == (1, 3, 1, 4)
    assert params["patches"] == ((4, 4), (4, 2), (2, 2)) and params.items() >= RELEASED.items()
    with pytest.raises(StoreError, match="no wifo_cf of this kind"):
        wifo_cf_params({"encoder.weight": np.zeros(3)})


@pytest.mark.long
def test_foreign_tensors_are_refused(rng):
    state = random_state(rng, depth=1, decoder_depth=1)
    for change, words in (
        ({"encoder.layer.0.moe.experts.2.w1.bias": None}, "numbered from 0"),
        ({"encoder.layer.0.moe.experts.2.w1.bias": np.zeros(5)}, "one shape"),
        ({"decoder.norm.weight": None}, "missing tensors: decoder.norm.weight"),
        ({"decoder.norm.bias": np.zeros(16)}, "without a place: decoder.norm.bias"),
        ({"proj_embed_decoder.bias": np.zeros(17)}, "another size of wifo_cf"),
    ):
        damaged = {key: value for key, value in {**state, **change}.items() if value is not None}
        with pytest.raises(StoreError, match=words):
            load_wifo_cf(WiFoCf(**{**wifo_cf_params(state), "top_k": 2}), damaged)


def test_interleaved_widths_and_column_first_positions():
    bits = ops.convert_to_tensor([[3, 9]])
    ours = array(user_embedding((2, 3), bits, 16))
    theirs = array(user_embedding((2, 3), bits, 16, "column_first", "interleaved"))
    for user, row, column in np.ndindex(2, 2, 3):
        token, n = 3 * row + column, 6 * user + 3 * row + column
        np.testing.assert_array_equal(theirs[0, user, token, 8:], ours[0, n % 2, 0, 8:])
        np.testing.assert_array_equal(theirs[0, user, token, :4], ours[0, user, token, 4:8])
        np.testing.assert_array_equal(theirs[0, user, token, 4:8], ours[0, user, token, :4])
    for options in ({"position": "rows"}, {"width_code": "token"}, {"level": "lower"}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            WiFoCf(dim=16, num_heads=2, num_experts=4, top_k=2, conv_dim=2, **options)


@pytest.mark.parametrize("law", ["mu_law", "uniform"])
def test_upper_edges(law, rng):
    """Levels of the released quantiser: its ceil, expanded; hard and soft path agree."""
    quantizer = UnitQuantizer(law, level="upper")
    x, bits = rng.uniform(0.001, 1, 300), 4
    y = np.log1p(255 * x) / np.log1p(255) if law == "mu_law" else x
    upper = np.ceil(16 * y) / 16
    expected = np.expm1(upper * np.log1p(255)) / 255 if law == "mu_law" else upper
    np.testing.assert_allclose(quantizer.dequantize(quantizer.quantize(x, bits), bits), expected, rtol=1e-6)
    np.testing.assert_allclose(array(quantizer.soft(x.astype(np.float32), bits)), expected, rtol=1e-5)
    middle = UnitQuantizer(law)
    error, ours = (np.mean((q.dequantize(q.quantize(x, bits), bits) - x) ** 2) for q in (quantizer, middle))
    assert ours < 0.4 * error  # why the middle is the default
