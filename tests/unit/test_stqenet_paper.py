"""STQENet's tables by hand: noise on CSI and latents, average gains, cost, the paper's own combination."""

import keras
import numpy as np
import pandas as pd
import pytest

from benchmarks.papers.kit.run import load_plan
from benchmarks.papers.stqenet import experiments, figures
from receivers.models.losses import nmse_loss
from receivers.training.bottleneck import Bottleneck
from receivers.training.image_model import build_model
from receivers.training.recipe import parse_training


def test_noise_has_its_snr_on_the_csi_and_on_the_latents(rng):
    """A linear encoder that doubles: noise on images shows in the latents; noise on latents is relative to each."""
    images = rng.standard_normal((50, 16, 16, 2)).astype(np.float32) * np.float32(0.5**0.5)
    encode = lambda x: 2 * x.reshape(len(x), -1)  # noqa: E731
    clean = encode(images)
    np.testing.assert_array_equal(experiments.noisy_latents(encode, images, "none", np.inf), clean)
    for noise in experiments.NOISES:
        for snr_db in (0.0, 13.0):
            error = experiments.noisy_latents(encode, images, noise, snr_db) - clean
            assert 10 * np.log10(np.mean(clean**2) / np.mean(error**2)) == pytest.approx(snr_db, abs=0.15)
    loud = images * np.linspace(0.1, 10, 50, dtype=np.float32)[:, None, None, None]
    error, power = experiments.noisy_latents(encode, loud, "latent", 10.0) - encode(loud), encode(loud) ** 2
    np.testing.assert_allclose(np.mean(error**2, axis=1), 0.1 * np.mean(power, axis=1), rtol=0.3)  # every sample


def test_average_gain_by_hand():
    """Ours 3 dB below the first baseline at all common rates: half the error; 20 % more dB than the second."""
    rows = [("stqenet-eb", 0.2, -6.0), ("stqenet-eb", 0.6, -6.0), ("crnet-eb", 0.0, -5.0), ("crnet-eb", 1.0, -5.0)]
    rows += [("baseline1-eb", 0.1, -2.99), ("baseline1-eb", 0.5, -2.99), ("baseline2 (fixed)", 0.7, -1.0)]
    table = pd.DataFrame(rows, columns=["family", "bpp", "nmse_db"]).assign(environment="indoor", snr_db=np.inf)
    found = experiments.gains(table).set_index("baseline")
    assert list(found.index) == ["baseline1-eb", "crnet-eb", "all"]  # the other has no common rate
    assert (found.from_bpp["baseline1-eb"], found.to_bpp["baseline1-eb"]) == (0.2, 0.5)
    assert found.error_percent["baseline1-eb"] == pytest.approx(50, abs=0.1)
    assert found.decibel_percent["crnet-eb"] == pytest.approx(20)
    assert found.error_percent["all"] == pytest.approx((50 + 100 * (1 - 10**-0.1)) / 2, abs=0.1)


def test_figure_3_has_both_noises():
    columns = {"environment": "indoor", "nmse_db": -3.0, "ci95_db": 0.1}
    rows = [(f"stqenet-b{b}-fixed", n, s) for b in (2, 4, 6, 8) for n in experiments.NOISES for s in (0.0, 10.0)]
    table = pd.DataFrame(rows, columns=["code", "noise", "snr_db"]).assign(**columns)
    axis = figures.noise_panels(table, ["indoor"]).axes[0]
    labels = axis.get_legend_handles_labels()[1]
    assert len(labels) == 8 and sum("released code" in label for label in labels) == 4
    assert len(axis.containers) == 8 and all(len(c.lines[0].get_xdata()) == 2 for c in axis.containers)


def test_cost_of_csinet_is_the_published_one():
    """1,085,440 of the encoder at 1/4 and 5,414,912 in all; no attention in it (CsiNet+ paper, Table III)."""
    plan = load_plan("stqenet", "full")
    plan["runs"] = {"baseline2-eb": plan["runs"]["baseline2-eb"]}
    row = experiments.cost(plan).iloc[0]
    assert (row.encoder_published, row.encoder_published + row.decoder_published) == (1_085_440, 5_414_912)
    assert row.encoder_attention == 0 and np.isnan(row.eq3)


@pytest.mark.long
def test_the_papers_own_combination_learns(rng):
    """Mu-law of one width with a rate term: in a few steps from the linear code the loss and the rate fall."""
    plan = load_plan("stqenet")
    data = next(r for r in experiments.recipes(plan, "x") if r["name"] == "stqenet-eb-mulaw-l1e-05")
    recipe = parse_training(data)
    assert (recipe.quantizer.name, recipe.quantizer.bits, recipe.rate.weight) == ("mu_law", (4,), (1e-5,))
    images = rng.standard_normal((16, 16, 16, 2)).astype(np.float32)
    model = build_model(recipe, images, lambda network: Bottleneck(recipe.quantizer, network.num_latents, 1e-3))
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=nmse_loss, run_eagerly=True)
    before = np.mean(model.bottleneck.bits(model.latents(images)))
    loss = model.fit(images, images, batch_size=16, epochs=5, verbose=0).history["loss"]
    assert loss[-1] < loss[0] and np.mean(model.bottleneck.bits(model.latents(images))) < 0.99 * before
    assert model.bottleneck.probabilities(4).shape == (128, 16)
