"""Mixture of KLTs from store to scheme."""

import numpy as np
import pytest

from receivers.feedback.klt_mixture import KltMixtureFeedback
from receivers.training.data.clusters import random_clusters
from receivers.training.recipe import parse_training
from receivers.training.tasks.klt_mixture import KltMixtureTask
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, Panel
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter
from simulator.maths.transforms import subband_eigenvectors

PANEL = Panel(4, 1, 2)
PARAMS = {"num_classes": 3, "num_components": 16, "num_samples": 100, "bits": 40.0, "iterations": 2}


def config_of(layers):
    return CsiConfig(PANEL, 2 if layers == 2 else 1, 8, 360e3, subband_size=2, num_layers=layers)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    root = tmp_path_factory.mktemp("mixture")
    layout = ChannelLayout(PANEL, 8, 360e3, carrier_hz=3.5e9)
    with StoreWriter(root / "store", layout, name="clusters") as writer:
        for number, (split, count) in enumerate((("train", 400), ("val", 20), ("test", 60))):
            h = random_clusters(np.random.default_rng(number), count, PANEL, 8, 360e3)
            writer.add(split, h.reshape(count, *layout.entry_shape))
        writer.finish({})
    recipe = {"task": "klt_mixture", "name": "mix", "dataset": "x", "model": {"params": PARAMS}, "subband_size": 2}
    task = KltMixtureTask(parse_training(recipe), [ChannelStore(root / "store")])
    folder = root / "mix"
    task.card(task.build(folder, print), {}, folder)
    return folder, task


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("coding", ["entropy", "fixed"])
def test_more_bits_higher_similarity(weights, coding, layers):
    folder, _ = weights
    h = random_clusters(np.random.default_rng(9), layers * 60, PANEL, 8, 360e3).reshape(60, layers, 8, 8)[:, None]
    config = config_of(layers)
    scores, csi = [], CsiEstimate(h, np.zeros((60, 1), np.float32))
    v = subband_eigenvectors(h, 2, layers)[:, 0]
    for bits in (20, 40, 100):
        scheme = KltMixtureFeedback(config, weights=str(folder), bits=bits, coding=coding)
        report = scheme.report(csi)
        assert (report.num_bits <= scheme.max_bits).all()
        if coding == "fixed":
            assert report.num_bits.max() == report.num_bits.min() <= layers * bits
        known = scheme.reconstruct(report)
        assert known.valid.all()
        w = known.w[:, 0]  # [sample, port, layer, subband]
        np.testing.assert_allclose(np.linalg.norm(w, axis=1), 1, rtol=1e-4)
        scores.append(np.mean(np.abs(np.einsum("nltp,nplt->nlt", v.conj(), w)) ** 2))
    assert scores[0] < scores[1] < scores[2] and scores[2] > 0.8


def test_entropy_coded_reports_have_the_length_asked_for(weights):
    folder, task = weights
    scheme = KltMixtureFeedback(config_of(1), weights=str(folder), bits=40)
    (store,) = task.stores
    h = store.take("train", np.arange(300)).reshape(300, 1, 1, 8, 8)
    report = scheme.report(CsiEstimate(h, np.zeros((300, 1), np.float32)))
    assert report.num_bits.mean() == pytest.approx(40, abs=4)
    assert scheme.label == "mix-b40"


def test_budget_below_the_class_is_refused(weights):
    with pytest.raises(ConfigError, match=r"klt-mixture\.bits"):
        KltMixtureFeedback(config_of(1), weights=str(weights[0]), bits=2)
