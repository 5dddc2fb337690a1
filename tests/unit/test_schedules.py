"""Trainings by samples seen: plan, last epoch, resume, learning rates, samples of the card; the optimiser section."""

import json

import numpy as np
import pytest
from test_training_loop import RATE, ROWS, STEPS, Line, weights

from receivers.training.loop import PausedError, run
from receivers.training.optimizer import learning_rates
from receivers.training.recipe import StageSection, parse_training
from receivers.training.task import training_facts
from simulator.core.errors import ConfigError

IMAGES = {"task": "autoencoder", "name": "n", "dataset": "d", "model": {"name": "csinet"}}
STEPS_SEEN = (6, 9)  # of two stages; an epoch has four


class Counted(Line):
    """A line trained for a number of samples, of which a step has one batch."""

    @property
    def stages(self):
        return tuple(StageSection(samples=n * ROWS, learning_rate=RATE) for n in STEPS_SEEN)

    @property
    def epoch_samples(self):
        return STEPS * ROWS


def quiet(line):
    pass


@pytest.mark.long
@pytest.mark.parametrize("by_batch", [False, True])
def test_the_last_epoch_of_a_stage_ends_with_its_samples(tmp_path, monkeypatch, by_batch):
    monkeypatch.setattr(Counted, "by_batch", by_batch)
    task = Counted()
    model, history = run(task, tmp_path, quiet)
    assert task.plan == (((4, 32), (2, 16)), ((4, 32), (4, 32), (1, 8)))
    assert [sum(e == epoch for e, _ in task.seen) for epoch in range(5)] == [4, 2, 4, 4, 1]
    assert training_facts(history)["samples"] == sum(STEPS_SEEN) * ROWS
    # stage by stage: momentum starts anew, at the weights of the best epoch
    w = np.float64(weights(Counted().build(None, None)))
    for stage, epochs in enumerate(((0, 1), (2, 3, 4))):
        best, velocity, values = None, np.zeros_like(w), []
        for epoch, (count, _) in zip(epochs, task.plan[stage], strict=True):
            for x, y in list(Line().batches(epoch))[:count]:
                velocity = 0.5 * velocity - RATE * 2 * np.float64(x).T @ (x @ w - y) / ROWS
                w = w + velocity
            values.append(np.sum((w[:, 0] - [1, 2, 3]) ** 2))
            best = w if values[-1] <= min(values) else best
        w = best
    np.testing.assert_allclose(weights(model), w, rtol=1e-5)


@pytest.mark.long
def test_a_pause_in_the_last_epoch_changes_nothing(tmp_path, eager):
    whole, _ = run(Counted(), tmp_path / "a", quiet)
    pauses = 0
    while True:
        try:
            parts, history = run(Counted(), tmp_path / "b", quiet, seconds=0.0)
            break
        except PausedError:
            pauses += 1
    assert pauses == sum(STEPS_SEEN)  # after every step
    np.testing.assert_array_equal(weights(parts), weights(whole))
    assert [e["stage"] for e in history["epochs"]] == [0, 0, 1, 1, 1]


def test_rounded_up_to_whole_batches():
    class One(Counted):
        stages = (StageSection(samples=3 * ROWS + 1, learning_rate=RATE),)

    assert One().plan == (((4, 25),),)


@pytest.mark.parametrize("kind", ["cosine", "constant", "trapezoid"])
def test_learning_rates_follow_samples_seen(kind):
    """Peak 1e-3, 40 batches of 50 samples, rise over 10 of them; decay of the trapezoid over the last 20."""
    recipe = parse_training(
        {
            **IMAGES,
            "samples": 2000,
            "batch_size": 50,
            "warmup_samples": 500,
            "learning_rate": 1e-3,
            "optimizer": {"schedule": kind, "decay": 0.5},
        }
    )
    rates = learning_rates(recipe, recipe.learning_rate, [40], 7)
    t = np.arange(40)
    expected = {
        "cosine": np.where(t < 10, 0.01 + 0.99 * t / 10, 0.005 + 0.995 * (1 + np.cos(np.pi * (t - 10) / 30)) / 2),
        "constant": np.where(t < 10, 0.01 + 0.99 * t / 10, 1.0),
        "trapezoid": np.minimum(np.minimum((t + 1) / 10, (40 - t) / 20), 1.0),
    }[kind]
    np.testing.assert_allclose([float(rates(step)) for step in t], 1e-3 * expected, rtol=1e-5)


def test_doubling_is_one_number():
    plain = parse_training({**IMAGES, "samples": 3_000_000, "warmup_samples": 10_000})
    assert plain.doubled().samples == 6_000_000 and plain.doubled().warmup_samples == 10_000
    staged = parse_training({**IMAGES, "stages": [{"samples": 100, "learning_rate": 1e-3}]})
    assert staged.doubled().stages[0].samples == 200


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stages": [{"learning_rate": 1e-3}]}, "epochs, samples"),
        ({"stages": [{"learning_rate": 1e-3, "epochs": 1, "samples": 1}]}, "epochs, samples"),
        ({"samples": 0}, "samples"),
        ({"warmup_samples": -1}, "warmup_samples"),
        ({"optimizer": {"name": "muon", "torch": True}}, "torch"),
        ({"optimizer": {"name": "muon", "exclude": ["("]}}, "exclude"),
        ({"optimizer": {"decay": 2}}, "decay"),
    ],
)
def test_wrong_recipes(changes, words):
    with pytest.raises(ConfigError, match=words):
        parse_training({**IMAGES, **changes})


def test_checkpoints_know_the_plan(tmp_path):
    with pytest.raises(PausedError):
        run(Counted(), tmp_path, quiet, seconds=0.0)
    state = json.loads((tmp_path / "history.json").read_text())
    assert state["plan"] == [[[4, 32], [2, 16]], [[4, 32], [4, 32], [1, 8]]] and state["part"]["steps"] == 1
