"""Every kind of training keeps what `csilink.testing.check_task` asks, on two epochs of small data sets."""

import numpy as np
import pytest

from csilink.testing import check_task
from receivers.training.tasks import ntc
from simulator.core import registry
from simulator.core.types import Panel
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter

CSINET = {"name": "csinet", "params": {"num_latents": 4}}
SMALL_EVT = {"num_latents": 4, "dim": 8, "hidden": 8, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
SMALL_WIFO_CF = {"dim": 8, "depth": 1, "decoder_depth": 1, "num_heads": 2, "patch_dim": 16, "num_experts": 2}
SMALL_WIFO_CF |= {"top_k": 1, "conv_dim": 4, "patches": [[2, 4]], "pad": True}
SMALL_BITS = {"num_latents": 10, "features": 6, "tokens": 4, "bit_features": 8, "dim": 8, "num_heads": 2}
SMALL_BITS |= {"hidden": 12, "num_layers": 1, "logit_gain": 4.0}
# Two steps an epoch.
IMAGES = {"dataset": "still", "num_delays": 8, "batch_size": 20, "epochs": 2}
RECIPES = {
    "klt": {"dataset": "still", "num_delays": 8},
    "autoencoder": {**IMAGES, "model": CSINET},
    "eigenvector": {
        **IMAGES,
        "model": {"name": "evt", "params": SMALL_EVT},
        "subband_size": 2,
    },
    "variable_bit": {
        **IMAGES,
        "target": "mimo",
        "domain": "antenna_frequency",
        "model": {"name": "variable_bit", "params": SMALL_BITS},
    },
    "prediction": {
        "datasets": ["moving"],
        "model": {"name": "lstm", "params": {"group": 8, "width": 8, "num_layers": 1}},
        "tasks": ["time"],
        "batch_size": 20,
        "epochs": 2,
    },
    "wifo_cf": {
        "datasets": ["moving"],
        "model": {"name": "wifo_cf", "params": SMALL_WIFO_CF},
        "batch_size": 20,
        "epochs": 2,
        "users": 2,
    },
    "klt_mixture": {
        "dataset": "still",
        "model": {"name": "klt_mixture", "params": {"num_classes": 2, "num_components": 4, "num_samples": 20}},
        "subband_size": 2,
    },
    "beamdelay": {"datasets": ["still"], "samples": [40], "subband_size": 2, "hidden": 2, "passes": 0.1},
    "beamdelay-temporal": {
        "dataset": "moving",
        "samples": 20,
        "lags": [1],
        "subband_size": 2,
        "hidden": 2,
        "passes": 0.1,
    },
    "ntc": {
        "dataset": "still",
        "subband_size": 2,
        "model": {"params": {"dim": 8, "num_heads": 2, "hidden": 8, "num_layers": 1}},
        "epochs": 2,
        "num_steps": 2,
        "batch_size": 20,
        "learning_rate": 1e-3,
        "val_samples": 10,
    },
    "codebook": {"environments": {"one": "still"}, "bits": 3, "method": "lbg"},
    "estimator": {
        "channels": {"a": {"model": "rayleigh"}},
        "splits": {"train": 8, "val": 4, "test": 4},
        "batch_size": 4,
        "epochs": 2,
    },
}
LONG = {"autoencoder", "variable_bit", "wifo_cf", "estimator", "eigenvector", "prediction", "ntc"}
# Data of policies are trained weights (tests/integration/test_precision.py); refinement is trained in
# tests/integration/test_refinement_training.py, on reports of panels that a 3GPP codebook knows, as are tables of
# recoded reports (tests/unit/test_recoding.py).
ELSEWHERE = {"policies", "refinement", "etype2_recoding"}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Complex Gaussian channels of users that stand still, and of users that move."""
    rng, made = np.random.default_rng(3), {}
    for name, slots in (("still", 1), ("moving", 8)):
        layout = ChannelLayout(Panel(4, 1, 1), 8, 360e3, num_slots=slots, slot_s=1e-3)
        folder = tmp_path_factory.mktemp("stores") / name
        with StoreWriter(folder, layout, name=name) as writer:
            for split in ("train", "val", "test"):
                x = rng.standard_normal((40, *layout.entry_shape, 2)).astype(np.float32)
                writer.add(split, x.view(np.complex64)[..., 0])
            writer.finish({})
        made[name] = ChannelStore(folder)
    return made


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] * (n in LONG)) for n in RECIPES])
def test_tasks(name, stores, eager, monkeypatch):
    monkeypatch.setattr(ntc, "PASSES", 1)  # of the search for the best report, which scores nothing here
    recipe = {"task": name, "name": "net", "seed": 2, **RECIPES[name]}
    names = recipe.get("datasets") or [recipe.get("dataset")] * ("dataset" in recipe)
    check_task(recipe, [stores[n] for n in names or recipe.get("environments", {}).values()])


def test_every_task_is_tested():
    assert set(RECIPES) | ELSEWHERE == set(registry.names("tasks"))
