"""A small refiner from store to scheme: it learns, and the card says by how much."""

import numpy as np
import pytest

from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.models.report_frame import FEATURES
from receivers.training.data.clusters import random_clusters
from receivers.training.loop import run
from receivers.training.recipe import parse_training
from receivers.training.tasks.refinement import RefinementTask, refined_sgcs
from simulator.core.errors import ConfigError
from simulator.core.types import CsiEstimate, Panel
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter
from simulator.maths.transforms import subband_eigenvectors

PANEL = Panel(4, 2, 2)
RECIPE = {
    "task": "refinement",
    "name": "small",
    "dataset": "clusters",
    "model": {"params": {"dim": 32, "num_layers": 1, "num_heads": 2, "hidden": 32}},
    "subband_size": 2,
    "reports": [
        {"scheme": "etype2-r16", "params": {"combination": 1}},
        {"scheme": "etype2-r16", "params": {"combination": 4}, "samples": 200},
    ],
    "clusters": {"samples": 100, "share": 0.25},
    "epochs": 2,
    "num_steps": 12,
    "batch_size": 64,
    "warmup_samples": 256,
    "val_samples": 60,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clusters")
    layout = ChannelLayout(PANEL, 26, 360e3, carrier_hz=3.5e9)
    with StoreWriter(folder, layout, name="clusters") as writer:
        for number, (split, count) in enumerate((("train", 400), ("val", 60), ("test", 80))):
            h = random_clusters(np.random.default_rng(number), count, PANEL, 26, 360e3)
            writer.add(split, h.reshape(count, *layout.entry_shape))
        writer.finish({})
    return ChannelStore(folder)


def task(store, **changes):
    return RefinementTask(parse_training({**RECIPE, **changes}), [store])


@pytest.mark.long
def test_loss_of_decoded_reports_is_that_of_the_scheme(store):
    one = task(store)
    h = one.channels("val", None, 0)
    v = subband_eigenvectors(h, 2, 1)[:, 0]
    scheme = EnhancedTypeTwoFeedback(one.config, combination=4, rank=1)
    csi = CsiEstimate(h[:, None], np.zeros((60, 1), np.float32))
    w = scheme.reconstruct(scheme.report(csi)).w[:, 0, :, 0]
    expected = np.mean(np.abs(np.einsum("ntp,npt->nt", v.conj(), w)) ** 2, axis=1)
    network = one.build(None, print)
    before, after = refined_sgcs(network, one.val[1])
    np.testing.assert_allclose(before, expected, atol=1e-5)
    np.testing.assert_allclose(after, before, atol=1e-5)


@pytest.mark.long
def test_it_learns_and_serves(store, tmp_path):
    """Thirty steps on 200 reports lift these; the card has both scores of every scheme, and the folder serves one."""
    fast = {"epochs": 1, "num_steps": 30, "batch_size": 64, "learning_rate": 1e-2, "clusters": None}
    exclude = ["embedding", "head", "change"]
    fast["optimizer"] = {"name": "muon", "schedule": "trapezoid", "decay": 0.2, "adam_ratio": 0.5, "exclude": exclude}
    few = task(store, reports=[{"scheme": "etype2-r16", "params": {"combination": 1}, "samples": 200}], **fast)
    model, history = run(few, tmp_path / "run", lambda line: None)
    decoded, refined = refined_sgcs(model, few.train[0])
    assert refined.mean() > decoded.mean() + 0.003
    folder = tmp_path / "weights"
    folder.mkdir()
    card = few.card(model, history, folder)
    assert card["task"] == "refinement" and card["parameters"] == model.count_params()
    (found,) = few.score(model, folder)["by_report"].values()
    assert set(found) == {"decoded", "refined"} and len(found["refined"].values) == 80
    np.testing.assert_array_equal(few.test_samples(model, folder).values, found["refined"].values)
    scheme = EnhancedTypeTwoFeedback(few.config, combination=1, rank=1, refine=str(folder))
    assert scheme.label == "etype2-pc1-rank1-small"


@pytest.mark.long
def test_a_batch_has_store_and_clusters(store):
    some = task(store)
    tokens, target = next(some.batches(0))
    again, _ = next(task(store).batches(0))
    np.testing.assert_array_equal(tokens, again)
    assert tokens.shape == (64, 8, FEATURES) and target.shape == (64, 8, 2, 13, 2)
    assert [len(s) for s in some.train] == [400, 200] and [len(s) for s in some.clusters] == [50, 50]
    np.testing.assert_allclose(np.square(target).sum(axis=(1, 2, 4)), 1, rtol=1e-4)  # of every unit


def test_schemes_without_beams_and_delays_are_refused(store):
    with pytest.raises(ConfigError, match=r"reports\.0\.scheme"):
        _ = task(store, reports=[{"scheme": "type1"}]).books
    with pytest.raises(ConfigError, match=r"subband_size"):
        _ = task(store, subband_size=60).books


@pytest.mark.long
def test_products_in_bfloat16_train_under_every_backend(store, eager):
    one = task(store, mixed=True)
    model = one.build(None, print)
    one.compile(model, one.stages[0])
    assert np.isfinite(model.train_on_batch(*next(one.batches(0))))
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    tokens, _ = one.val[0].batch(np.arange(2))
    assert np.asarray(model(tokens)).dtype == np.float32
