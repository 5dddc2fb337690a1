"""Weights on other data sets: the same bits and errors as one report after another, yardsticks at equal bits."""

import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.dataset import make_dataset
from benchmarks.other_data import klt_score_at, scores_on
from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.feedback.latents import LatentCodec
from receivers.models.klt import Klt
from receivers.training.codecs import image_error
from receivers.training.data.images import ImageView, load_images
from receivers.weights.folder import TrainedModel, zoo_folder
from scenarios.dataset import parse_recipe
from simulator.core.errors import ConfigError
from simulator.core.readers import read_json
from simulator.core.types import CsiConfig, CsiEstimate
from simulator.maths.transforms import subband_eigenvectors


def drawn(folder, n1=8):
    recipe = {
        "name": "few",
        "seed": 5,
        "carrier": {"carrier_hz": 3.5e9, "num_rb": 52, "subcarrier_spacing_hz": 30e3, "granularity": "rb"},
        "bs": {"n1": n1, "n2": 2, "num_pol": 2},
        "parts": [{"channel": {"model": "rayleigh"}}, {"channel": {"model": "cdl", "profile": "D"}}],
        "splits": {"test": 24},
        "shard_samples": 24,
    }
    return make_dataset(parse_recipe(recipe), folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("data") / "few")


def test_channels_are_scored_by_themselves_and_report_by_report(store, tmp_path):
    found = scores_on("csinet-100", [store], tmp_path)["few"]
    assert list(found) == ["rayleigh", "cdl-D"] and sum(e["num_samples"] for e in found.values()) == 24
    trained = TrainedModel("csinet-100")
    codec = LatentCodec(trained, "mid_tread", trained.codec.bits, "range", "latent", "shipped", 1)
    images, part = load_images(store, "test", ImageView(store.layout, 32))
    for number, entry in enumerate(found.values()):
        bits, errors = [], []
        for image in images[part == number]:
            coded, num_bits = codec.encode(trained.encode(image[None]))
            bits.append(num_bits[0])
            errors.append(image_error(image[None], trained.decode(codec.decode(coded, num_bits)[0]))[0])
        assert entry["bits_mean"] == pytest.approx(np.mean(bits), abs=0.05)
        assert entry["nmse_db"] == pytest.approx(10 * np.log10(np.mean(errors)), abs=0.01)
        assert abs(entry["sparse"]["bits_mean"] - entry["bits_mean"]) < 12  # whole entries of the code
        assert "klt" not in entry  # its data set is not in this folder


def test_eigenvectors_stand_beside_the_codebook_of_nearest_bits(store):
    found = scores_on("evt-120", [store])["few"]["cdl-D"]["etype2"]
    assert found["combination"] == 3
    h = np.concatenate([h[labels["part"] == 1] for h, labels in store.read("test")])[..., 0, :]
    config = CsiConfig(store.layout.panel, 1, 52, store.layout.spacing_hz, 4)
    scheme = EnhancedTypeTwoFeedback(config, combination=3, rank=1)
    w = scheme.reconstruct(scheme.report(CsiEstimate(h[:, None], np.zeros((len(h), 1), np.float32)))).w[:, 0, :, 0]
    v = subband_eigenvectors(h, 4, 1)[:, 0]
    sgcs = [abs(np.vdot(v[s, k], w[s, :, k])) ** 2 for s in range(len(h)) for k in range(13)]
    assert found["sgcs_subband"] == pytest.approx(np.mean(sgcs), abs=1e-4)


def test_the_klt_has_the_bits_that_it_is_asked_for():
    rng = np.random.default_rng(1)
    shape = np.exp(-np.arange(16) / 3)[:, None, None].astype(np.float32)
    draw = lambda n: (shape * rng.standard_normal((n, 16, 4, 2))).astype(np.float32)  # noqa: E731
    klt = Klt.fit(draw(500), 32)
    found = klt_score_at(klt, 2 * draw(200), 60.0)
    assert found["bits_mean"] == pytest.approx(60, abs=1)


def test_another_panel_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"bs\.n1"):
        scores_on("csinet-100", [drawn(tmp_path / "few", n1=4)])


def test_the_command_prints_and_keeps_scores(store, tmp_path):
    folder = tmp_path / "own" / "evt-80"
    shutil.copytree(zoo_folder() / "evt-80", folder)
    done = CliRunner().invoke(app, ["bench", "weights", str(folder), "--store", str(store.folder), "--card"])
    assert done.exit_code == 0 and "cdl-D" in done.output, done.output
    card = read_json(folder / "card.json")
    assert set(card["other_data"]["few"]) == {"rayleigh", "cdl-D"} and card["test"]
