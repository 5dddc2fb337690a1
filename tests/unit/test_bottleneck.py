"""Rate of latents in cells of several widths: each sample has that of its own width, under one prior."""

import numpy as np
import pytest
from keras import ops

from receivers.training.bottleneck import Bottleneck
from receivers.training.recipe import QuantizerSection

N, BATCH, WEIGHT = 6, 8, 1e-3


def bottleneck(*bits):
    layer = Bottleneck(
        QuantizerSection(name="mid_tread", bits=bits, unquantized_share=False, calibrate=False), N, WEIGHT
    )
    layer.step = 1 / 8  # unit of the prior: that of the first width
    return layer


@pytest.mark.backend
def test_widths_share_a_prior_and_have_their_own_lambda(rng):
    latent = np.float32(0.3 * rng.standard_normal((BATCH, N)))
    mixed = bottleneck(4, 6, 5)
    for variable in mixed.prior.variables:
        variable.assign(variable + np.float32(0.1 * rng.standard_normal(variable.shape)))
    rates, terms, values = [], [], []
    for bits in (4, 6, 5):
        one = bottleneck(bits)
        for old, new in zip(mixed.prior.variables, one.prior.variables, strict=True):
            new.assign(old)
        rates.append(ops.convert_to_numpy(one.bits(latent)))
        terms.append(WEIGHT * 4.0 ** (4 - bits) * rates[-1])  # as the square of the cell's width
        values.append(ops.convert_to_numpy(one(latent)))
        assert np.allclose(mixed.probabilities(bits), one.probabilities(bits))
    own = np.arange(BATCH) % 3, np.arange(BATCH)
    found = mixed.bits(latent)
    np.testing.assert_allclose(ops.convert_to_numpy(found), np.stack(rates)[own], rtol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(mixed.rate_term(found)), np.stack(terms)[own], rtol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(mixed(latent)), np.stack(values)[own], rtol=1e-6)
    (loss,) = mixed.losses
    assert float(loss) == pytest.approx(np.mean(np.stack(terms)[own]), rel=1e-5)
    assert np.stack(rates)[:, 0].argsort().tolist() == [0, 2, 1]  # finer cells, more bits
