"""Training of the pilot denoiser from beginning to end, tiny: the folder serves the estimator."""

import json

import numpy as np
import pytest

from benchmarks.doubling import read_samples
from benchmarks.train import train
from receivers.training.recipe import parse_training
from receivers.weights.folder import TrainedEstimator
from simulator.core.errors import ConfigError

RECIPE = {
    "task": "estimator",
    "name": "w",
    "channels": {"a": {"model": "tdl", "profile": "A"}, "b": {"model": "rayleigh"}},
    "splits": {"train": 8, "val": 4, "test": 4},
    "batch_size": 4,
    "epochs": 2,
}


@pytest.mark.long
def test_a_trained_folder_serves_the_estimator(tmp_path, eager):
    lines = []
    card = train(parse_training(RECIPE), [], tmp_path / "w", lines.append)
    assert len(lines) == 2 and card == json.loads((tmp_path / "w" / "card.json").read_text())
    facts = card["training"]
    assert facts["epochs"] == 2
    assert [set(e) for e in facts["curve"]] == 2 * [{"stage", "loss", "val_loss", "seconds"}]
    assert {name.split(",")[0] for name in card["test"]["by_channel"]} == {"a", "b"}
    assert set(card["test"]["by_channel"]["a, 1x1"]) == {"-5 dB", "5 dB", "15 dB", "25 dB"}
    mean = np.mean([value for scores in card["test"]["by_channel"].values() for value in scores.values()])
    assert read_samples(tmp_path / "w").values.mean() == pytest.approx(mean, abs=1e-4)
    assert TrainedEstimator(str(tmp_path / "w")).model.count_params() == card["parameters"]
    first, second = (np.array([e[key] for e in facts["curve"]]) for key in ("loss", "val_loss"))
    assert np.isfinite(first).all() and (second < 1.5).all()  # of the error of least squares


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channels": {"a": {"model": "foo"}}}, r"channels\.a\.model: got 'foo'"),
        ({"channels": {}}, "channels"),
        ({"lengths": [53]}, r"lengths: got \[53\]"),
        ({"model": {"name": "foo"}}, "model.name"),
    ],
)
def test_wrong_recipes(changes, words):
    with pytest.raises(ConfigError, match=words):
        parse_training({**RECIPE, **changes})
