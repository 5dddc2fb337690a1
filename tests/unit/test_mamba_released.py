"""Checkpoints of the Mamba-Transformer autoencoder: sizes, and the released forward pass against one in float64."""

import numpy as np
import pytest
from keras import ops
from mamba_forward import MambaForward, random_state

from receivers.models.mamba_transformer import MambaTransformer
from receivers.weights.torch_mamba import RELEASED, load_mamba_transformer, mamba_transformer_params
from simulator.core.errors import ConfigError, StoreError


def array(x):
    return np.asarray(ops.convert_to_numpy(x))


def imported(state, side=16, **changes):
    network = MambaTransformer(side, side, **{**mamba_transformer_params(state), **changes})
    load_mamba_transformer(network, {f"module.{key}": value for key, value in state.items()})
    return network


@pytest.mark.long
def test_released_forward_pass(rng):
    state, x = random_state(rng, side=32, blocks=1), rng.standard_normal((3, 2, 32, 32))
    latent, image = MambaForward(state)(x)
    network, seen = imported(state, 32), np.moveaxis(x, 1, -1).astype(np.float32)
    z = array(network.encoder(seen))
    y = np.moveaxis(array(network.decoder(z)), -1, 1)
    assert np.abs(z - latent).max() < 2e-5 * np.abs(latent).max()
    assert np.abs(y - image).max() < 2e-5 * np.abs(image).max()


@pytest.mark.long
def test_every_convention_matters(rng):
    """Ours in place of the released one gives something else, so that the test above holds each of them."""
    state, seen = random_state(rng, side=32, blocks=1), rng.standard_normal((3, 32, 32, 2)).astype(np.float32)
    network = imported(state, 32)
    ours = {"attention_axis": "token", "cross_attention": "memory", "chunk": None}
    assert ours.keys() == RELEASED.keys()
    for name, value in ours.items():
        other = imported(state, 32, **{name: value})
        assert np.abs(array(other(seen)) - array(network(seen))).max() > 1e-3, name
    alone = array(imported(state, 32, attention_axis="alone")(seen))
    for i in range(3):
        np.testing.assert_allclose(alone[i], array(network(seen[i : i + 1]))[0], atol=1e-5)


def test_sizes_are_told_by_the_tensors(rng):
    params = mamba_transformer_params(random_state(rng, latents=5, maps=6, blocks=1, states=2, hidden=7, layers=3))
    expected = {"num_latents": 5, "maps": 6, "num_blocks": 1, "state": 2, "expand": 2, "dim": 8, "hidden": 7}
    assert params == {**expected, "num_layers": 3, **RELEASED}
    with pytest.raises(StoreError, match="no mamba_transformer"):
        mamba_transformer_params({"a": np.zeros(1)})
    for name, value in (("cross_attention", "both"), ("chunk", 0)):
        with pytest.raises(ConfigError, match=name):
            MambaTransformer(8, 8, num_latents=4, **{name: value})


@pytest.mark.long
def test_a_chunk_that_does_not_fit_is_the_whole_image(rng):
    state = random_state(rng, side=12)
    x = rng.standard_normal((1, 12, 12, 2)).astype(np.float32)
    np.testing.assert_array_equal(array(imported(state, 12)(x)), array(imported(state, 12, chunk=None)(x)))
