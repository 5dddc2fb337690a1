"""The doubling test: paired gain and interval, cards, trainings of half and full, the zoo's table, notes of runs."""

import json

import keras
import numpy as np
import pytest
import yaml
from scipy.stats import t as student
from test_training_loop import STEPS, Line

from benchmarks import cli_train, train_queue
from benchmarks import train as front
from benchmarks.doubling import FILE, paired, read_samples, told, untested, zoo_table
from benchmarks.train import train, train_doubled
from receivers.training.recipe import Recipe, parse_training
from receivers.training.task import Samples
from receivers.weights.card import Card, convergence, file_entry, noted_hash
from receivers.weights.folder import TrainedModel, zoo_folder
from simulator.core.content import noting
from simulator.core.errors import ConfigError, StoreError
from simulator.core.params import parsed

# Pairs ---------------------------------------------------------------------------------------------------------------


def test_gain_and_interval_of_sgcs_are_those_of_the_differences():
    """Differences of .01 +- .04 in equal parts have no skewness: Student's interval."""
    half = np.random.default_rng(1).uniform(0.2, 0.9, 50)
    full = half + 0.01 + 0.04 * (-1) ** np.arange(50)
    found = paired(*(Samples(x, "sgcs_subband") for x in (half, full)))
    ci = student.ppf(0.975, 49) * 0.04 * np.sqrt(50 / 49) / np.sqrt(50)
    assert found["gain"] == 0.01 and found["ci"] == round(ci, 4) and found["passed"]
    assert found["half"] == round(half.mean(), 4)


def test_gain_in_db_is_that_of_the_means_and_its_interval_that_of_resamples(rng):
    half = rng.exponential(size=2000)
    full = half * rng.uniform(0.5, 1.1, 2000)
    found = paired(Samples(half), Samples(full))
    assert found["gain"] == pytest.approx(10 * np.log10(half.mean() / full.mean()), abs=1e-4) and not found["passed"]
    rows = rng.integers(2000, size=(2000, 2000))
    spread = np.std(10 * np.log10(half[rows].mean(axis=1) / full[rows].mean(axis=1)))
    assert found["ci"] == pytest.approx(1.96 * spread, rel=0.08)
    same = paired(Samples(half), Samples(half / 2))  # all pairs alike
    assert (same["gain"], same["ci"]) == (3.0103, 0.0)


@pytest.mark.parametrize(
    ("metric", "gain", "ci", "passed"),
    [
        ("sgcs_subband", 0.0015, 0.0001, True),
        ("sgcs_subband", 0.0025, 0.0001, False),
        ("sgcs_subband", 0.0025, 0.003, True),
        ("sgcs_subband", -0.1, 0.0, True),
        ("nmse_db", 0.049, 0.001, True),
        ("nmse_db", 0.051, 0.001, False),
        ("sum_rate_bpshz", 0.002, 0.001, False),
    ],
)
def test_cards_hold_tests_that_agree_with_their_numbers(metric, gain, ci, passed):
    sign = -1 if metric.endswith("_db") else 1
    section = {"metric": metric, "half": 1.0, "full": 1.0 + sign * gain, "gain": gain, "ci": ci, "samples": [1, 2]}
    card = {"name": "w", "model": {"name": "m", "params": {}}, "weights": {"file": "f", "sha256": 64 * "0"}}
    assert parsed(Card, {**card, "converged": {**section, "passed": passed}}).converged.gain == gain
    with pytest.raises(ConfigError, match="passed"):
        parsed(Card, {**card, "converged": {**section, "passed": not passed}})
    with pytest.raises(ConfigError, match="gain"):
        parsed(Card, {**card, "converged": {**section, "passed": passed, "full": 0.9 - sign * gain}})


# Trainings -----------------------------------------------------------------------------------------------------------


class LineRecipe(Recipe):
    """Recipe of :class:`Toy`."""

    epochs: int = 2


class Toy(Line):
    """A line whose test samples are the errors of its weights."""

    schema, runs = LineRecipe, []

    def __init__(self, recipe, stores=(), unseen=()):
        super().__init__((recipe.epochs,))
        self.recipe = recipe
        self.runs.append(recipe.epochs)

    def write(self, model, folder):
        path = folder / "net.weights.h5"
        keras.models.Model.save_weights(model, path)
        return {"task": "estimation", "model": {"name": "line", "params": {}}, "weights": file_entry(path)}

    def score(self, model, folder):
        return {"score": self.test_samples(model, folder)}

    def test_samples(self, model, folder):
        x = np.random.default_rng(5).standard_normal((64, 3))
        return Samples((x @ (model.get_weights()[0][:, 0] - [1, 2, 3])) ** 2)


@pytest.fixture
def toy(monkeypatch, eager):
    monkeypatch.setattr(front, "task_of", lambda name: Toy)
    monkeypatch.setattr("benchmarks.train.training_inputs", lambda recipe, stores: recipe.model_dump())
    monkeypatch.setattr("benchmarks.train.save_figure", lambda *args, **kwargs: None)
    return LineRecipe(task="line", name="line", epochs=2)


def quiet(line):
    pass


@pytest.mark.long
def test_twice_the_epochs_after_the_plain_training(toy, tmp_path):
    plain = train(toy, [], tmp_path / "plain", quiet)
    card = train_doubled(toy, [], tmp_path / "w", quiet)
    assert "converged" not in plain and card == json.loads((tmp_path / "w" / "card.json").read_text())
    half, full = (read_samples(tmp_path / name).values for name in ("plain", "w"))
    np.testing.assert_array_equal(half, read_samples(tmp_path / "w" / "half").values)
    found = card["converged"]
    assert found["gain"] == pytest.approx(10 * np.log10(half.mean() / full.mean()), abs=1e-4)
    assert found["full"] == pytest.approx(10 * np.log10(full.mean()), abs=1e-4)
    assert found["samples"] == [2 * STEPS, 4 * STEPS] and not found["passed"]
    assert card["training"]["epochs"] == 4 and card["training"]["samples"] == 4 * STEPS
    assert convergence(card) == "not converged" and "gain" in told(card)


@pytest.mark.long
def test_a_finished_folder_is_the_half(toy, tmp_path, monkeypatch):
    train(toy, [], tmp_path / "plain", quiet)
    before = (tmp_path / "plain" / "card.json").read_bytes()
    card = train_doubled(toy, [], tmp_path / "w", quiet, half=tmp_path / "plain")
    assert (tmp_path / "plain" / "card.json").read_bytes() == before and not (tmp_path / "w" / "half").exists()
    monkeypatch.setattr(front, "run", None)  # nothing is left to train
    assert train_doubled(toy, [], tmp_path / "w", quiet, half=tmp_path / "plain") == card
    with pytest.raises(StoreError, match="another recipe"):
        train_doubled(toy.model_copy(update={"seed": 7}), [], tmp_path / "v", quiet, half=tmp_path / "plain")


@pytest.mark.long
def test_a_half_without_scores_is_refused(toy, tmp_path):
    train(toy, [], tmp_path / "plain", quiet)
    train(toy.doubled(), [], tmp_path / "w", quiet)
    file = tmp_path / "plain" / FILE
    for text, said in (
        ("{", "damaged"),
        ('{"values": []}', "damaged"),
        ('{"values": [1], "metric": "x"}', "other test"),
    ):
        file.write_text(text)
        with pytest.raises(StoreError, match=said):
            train_doubled(toy, [], tmp_path / "w", quiet, half=tmp_path / "plain")
    file.unlink()
    with pytest.raises(StoreError, match="earlier versions"):
        train_doubled(toy, [], tmp_path / "w", quiet, half=tmp_path / "plain")


IMAGES = {"task": "autoencoder", "name": "n", "dataset": "d", "model": {"name": "csinet"}}


def test_doubled_recipes_have_twice_the_epochs_of_every_stage():
    stages = [{"epochs": 3, "learning_rate": 1e-3}, {"epochs": 5, "learning_rate": 1e-4}]
    plain = parse_training({**IMAGES, "epochs": 4, "patience": 3, "stages": stages})
    full = plain.doubled()
    assert (full.epochs, full.patience, [s.epochs for s in full.stages]) == (8, 6, [6, 10])
    changed = {"epochs", "patience", "stages"}
    assert full.model_dump(exclude=changed) == plain.model_dump(exclude=changed)
    with pytest.raises(ConfigError, match=r"--double.*klt"):
        parse_training({"task": "klt", "name": "k", "dataset": "d"}).doubled()


def test_queues_double(tmp_path, monkeypatch):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(IMAGES))
    queue = {"trainings": [{"recipe": str(tmp_path / "r.yaml"), "double": True, "half": "x", "onednn": True}]}
    (tmp_path / "q.yaml").write_text(yaml.safe_dump(queue))
    commands = []

    class Done:
        pid, returncode = 1, 0

        def __init__(self, command, **options):
            commands.append(command)

        def poll(self):
            return 0

    monkeypatch.setattr(train_queue.subprocess, "Popen", Done)
    monkeypatch.setattr(train_queue, "_POLL_S", 0)
    assert train_queue.run_queue(tmp_path / "q.yaml", quiet)
    assert commands[0][-4:] == ["--double", "--onednn", "--half", "x"]
    queue["trainings"][0]["double"] = False
    (tmp_path / "q.yaml").write_text(yaml.safe_dump(queue))
    with pytest.raises(ConfigError, match="half"):
        train_queue.load_queue(tmp_path / "q.yaml")


def test_the_half_belongs_to_a_doubling():
    with pytest.raises(ConfigError, match="--half"):
        cli_train.train(file="evt_120", half="x")


# What others say -----------------------------------------------------------------------------------------------------


def test_the_table_of_the_zoo_names_every_state():
    rows = {line.split()[0]: line for line in zoo_table().splitlines()}
    assert set(rows) == {path.parent.name for path in zoo_folder().glob("*/card.json")}
    assert "fitted" in rows["klt-mixed"] and "fitted" in rows["beamdelay-urban"]
    for name, row in rows.items():
        assert convergence(json.loads((zoo_folder() / name / "card.json").read_text())) in row


def test_runs_note_weights_without_a_passed_test(tmp_path):
    with noting() as read:
        card = TrainedModel("csinet-100").card
    assert bool(untested(read)) == (convergence(card) != "converged")
    section = {"metric": "nmse_db", "half": -1.0, "full": -2.0, "gain": 1.0, "ci": 0.0, "passed": False}
    states = {"a": None, "b": None, "bad": section, "good": {**section, "passed": True}, "tables": None}
    notes = {"x": "1", "folder/card.json": "2"}
    for name, found in states.items():
        path = tmp_path / name / "card.json"
        path.parent.mkdir()
        file = "t.npz" if name == "tables" else "model.weights.h5"
        path.write_text(json.dumps({"name": name, "weights": {"file": file}, "converged": found}))
        notes[str(path)] = noted_hash(path)
    first, second = untested(notes)
    assert first.startswith("Not tested at this size") and first.endswith(": a, b.")
    assert second.startswith("Not tested at this size") and second.endswith(": bad.")
    changed = {"name": "since", "weights": {"file": "model.weights.h5"}}
    (tmp_path / "a" / "card.json").write_text(json.dumps(changed))
    assert untested(notes)[0].endswith(": b.")
    assert untested({}) == []
