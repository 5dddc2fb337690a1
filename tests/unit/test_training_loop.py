"""The training loop against a loop in NumPy; kills, pauses, early stop, stages; scores and cards."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from marks import long_but

from benchmarks import cli
from benchmarks.train import summary
from receivers.training import loop
from receivers.training.loop import PausedError, run
from receivers.training.recipe import Recipe, StageSection, parse_training, task_of
from receivers.training.steps import jit_compiled
from receivers.training.task import Samples, Task
from receivers.weights.card import read_card, write_card
from simulator.core import registry
from simulator.core.errors import ConfigError, StoreError

pytestmark = pytest.mark.usefixtures("eager_module")  # a step takes less time than to trace it
RATE, STEPS, ROWS, SIZE = 0.05, 4, 8, 3


class Line(Task):
    """y = x w by plain gradient descent; ``scores`` stand in for those of validation samples."""

    schema = Recipe

    def __init__(self, epochs=(2,), scores=None, seed=1):
        super().__init__(Recipe(task="line", name="line", seed=seed))
        self.epochs, self.given, self.seen = epochs, iter(scores or ()), []

    @property
    def stages(self):
        return tuple(StageSection(epochs=n, learning_rate=RATE / (i + 1)) for i, n in enumerate(self.epochs))

    @property
    def num_steps(self):
        return STEPS

    def build(self, folder, progress):
        keras.utils.set_random_seed(self.recipe.seed)
        return keras.Sequential([keras.Input((SIZE,)), keras.layers.Dense(1, use_bias=False)])

    def compile(self, model, stage):
        model.compile(keras.optimizers.SGD(stage.learning_rate, momentum=0.5), loss="mse", jit_compile=jit_compiled())
        model.optimizer.build(model.trainable_variables)

    def batches(self, epoch):
        rng = np.random.default_rng([self.recipe.seed, epoch])
        for step in range(STEPS):
            self.seen.append((epoch, step))
            x = rng.standard_normal((ROWS, SIZE)).astype(np.float32)
            yield x, x @ np.float32([[1], [2], [3]])

    def validate(self, model):
        w = np.float64(model.get_weights()[0])
        return {"val_loss": next(self.given, float(np.sum((w[:, 0] - [1, 2, 3]) ** 2)))}

    def write(self, model, folder):
        return {}


def quiet(line):
    pass


def weights(model):
    return np.array(model.get_weights()[0])


@pytest.mark.long
def test_steps_are_those_of_a_loop_in_numpy(tmp_path, graphs):
    task = Line()
    w = np.float64(weights(task.build(None, None)))
    model, history = run(task, tmp_path, quiet)
    velocity, means = np.zeros_like(w), []
    for epoch in range(2):
        losses = []
        for x, y in Line().batches(epoch):
            x, y = np.float64(x), np.float64(y)
            losses.append(np.mean((x @ w - y) ** 2))
            velocity = 0.5 * velocity - RATE * 2 * x.T @ (x @ w - y) / ROWS
            w = w + velocity
        means.append(np.mean(losses))
    np.testing.assert_allclose(weights(model), w, rtol=1e-5)
    np.testing.assert_allclose([e["loss"] for e in history["epochs"]], means, rtol=1e-5)
    assert [e["stage"] for e in history["epochs"]] == [0, 0] and history["machine"]


class Killed(BaseException):
    """As a kill leaves it: nothing runs after it."""


@pytest.mark.long
@pytest.mark.parametrize("by_batch", [False, True])
@pytest.mark.parametrize("saves", long_but([1, 2, 3, 5, 6, 7, 9], 2, 6))
def test_a_run_killed_at_any_step_ends_with_the_same_weights(tmp_path, monkeypatch, saves, by_batch):
    """A checkpoint after every step; the kill comes between checkpoint and history, in each of two stages."""
    monkeypatch.setattr(Line, "by_batch", by_batch)
    count, save = [], loop.save_variables

    def killed(model, path):
        if len(count) == saves:
            raise Killed
        count.append(path)
        return save(model, path)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_variables", killed)
        with pytest.raises(Killed):
            run(Line((1, 1)), tmp_path / "a", quiet, checkpoint_s=0)
    left = {path.name for path in (tmp_path / "a").glob("*.npz") if not path.name.startswith("best")}
    assert 1 <= len(left) <= 2
    model, history = run(Line((1, 1)), tmp_path / "a", quiet)
    whole, other = run(Line((1, 1)), tmp_path / "b", quiet)
    np.testing.assert_array_equal(weights(model), weights(whole))
    drop = lambda h: [{k: v for k, v in e.items() if k != "seconds"} for e in h["epochs"]]  # noqa: E731
    for one, two in zip(drop(history), drop(other), strict=True):
        assert one == pytest.approx(two, rel=1e-6)
    assert {path.name for path in (tmp_path / "a").glob("part*")} == set()


@pytest.mark.long
def test_a_limit_of_wall_time_pauses(tmp_path):
    with pytest.raises(PausedError, match="paused in epoch 1 after 1 steps"):
        run(Line(), tmp_path / "a", quiet, seconds=0)
    state = json.loads((tmp_path / "a" / "history.json").read_text())
    assert state["part"]["file"] == "part-0000-0000001.npz" and state["part"]["steps"] == 1
    (tmp_path / "a" / "part-0000-0000009.npz").write_bytes(b"of a kill between checkpoint and history")
    model, _ = run(Line(), tmp_path / "a", quiet)
    np.testing.assert_array_equal(weights(model), weights(run(Line(), tmp_path / "b", quiet)[0]))
    assert not list((tmp_path / "a").glob("part*"))


def test_the_command_pauses_and_prints_scores(tmp_path, monkeypatch, capsys):
    given = []

    def trained(recipe, stores, folder, progress, seconds):
        given.append((recipe.task, recipe.name, stores, seconds))
        if len(given) == 1:
            raise PausedError(f"{folder}: paused in epoch 1 after 3 steps")
        score = {"nmse_db": -3.5, "ci95": 0.1, "bits_mean": 62.5, "bits_max": 70, "num_samples": 4}
        return {"weights": {}, "test": {"metric": "nmse", "codecs": {"a": {**score, "klt_at_these_bits": score}}}}

    monkeypatch.setattr("benchmarks.train.train", trained)
    monkeypatch.setattr("benchmarks.data_sets.open_store", str)
    for options in (["--minutes", "0.5"], []):
        cli.app(["train", "klt_mixed", "--out", str(tmp_path / "k"), *options], standalone_mode=False)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.endswith("paused in epoch 1 after 3 steps; the same command goes on")
    assert rest[0] == "test, a: 62.5 bit, nmse -3.5 dB (klt at these bits: nmse -3.5 dB)"
    assert rest[1] == f"weights and card: {tmp_path / 'k'}"
    assert given == [("klt", "klt-mixed", ["datasets/mixed_3g5_32ports"], s) for s in (30, float("inf"))]


@pytest.mark.long
def test_the_best_epoch_counts_and_patience_ends(tmp_path):
    class Impatient(Line):
        patience = 2

    task, kept = Impatient((9,), [5.0, 3.0, 4.0, 3.5, 1.0]), []
    model, history = run(task, tmp_path, lambda line: kept.append(line))
    assert [e["val_loss"] for e in history["epochs"]] == [5.0, 3.0, 4.0, 3.5] and len(kept) == 4
    two, _ = run(Line((9,), [9.0, 0.0, *7 * [8.0]]), tmp_path / "two", quiet)
    np.testing.assert_array_equal(weights(model), weights(two))


@pytest.mark.long
def test_scores_every_third_epoch_and_after_the_last(tmp_path):
    class Rare(Line):
        validate_every = 3

    _, history = run(Rare((5,)), tmp_path, quiet)
    assert ["val_loss" in e for e in history["epochs"]] == [False, False, True, False, True]


@pytest.mark.parametrize(
    ("changes", "every", "expected"),
    [
        ({}, 3, "01000100"),  # alone, alone, taught, taught, ...: 3 moves to 2, 6 stays, 8 moves to 6
        ({}, 1, "11001100"),
        ({"autonomous": 0}, 3, "00100101"),
        ({"switch": "progress", "least_progress": 0.3}, 4, "00010010"),  # by half until the seventh: 8 moves to 7
    ],
)
def test_scores_follow_epochs_without_the_teacher(changes, every, expected):
    distill = {"teacher": "x", "autonomous": 2, "passive": 2, **changes}
    model = {"name": "wifo", "params": {}}
    recipe = {"task": "prediction", "name": "x", "datasets": ["a"], "model": model, "validate_every": every}
    task = task_of("prediction")(parse_training({**recipe, "distill": distill}))
    losses = [1.0, 0.5, 0.25, 0.12, 0.06, 0.03, 0.025, 9.0]
    assert [task.due(losses[:n], 8) for n in range(1, 9)] == [digit == "1" for digit in expected]
    assert task_of("prediction")(parse_training(recipe)).due(losses[:every], 8)


@pytest.mark.long
def test_divergence_and_another_recipe(tmp_path):
    with pytest.raises(StoreError, match="diverged in epoch 1"):
        run(Line(scores=[float("nan")]), tmp_path / "nan", quiet)
    run(Line((1,)), tmp_path / "one", quiet)
    with pytest.raises(StoreError, match="another recipe"):
        run(Line((1,), seed=2), tmp_path / "one", quiet)


def test_every_task_has_a_recipe_of_its_own():
    for name in registry.names("tasks"):
        cls = task_of(name)
        assert cls.__doc__ and issubclass(cls, Task) and issubclass(cls.schema, Recipe)
        assert {"task", "name", "seed"} <= set(cls.schema.model_fields)
    for given in (None, {}, {"name": "x"}, {"task": 3}, {"task": "autoencodr"}, {"task": "nowhere:Task"}):
        with pytest.raises(ConfigError):
            parse_training(given)
    with pytest.raises(ConfigError, match="did you mean autoencoder"):
        parse_training({"task": "autoencodr"})
    with pytest.raises(ConfigError, match=r"derived from receivers\.training\.task\.Task"):
        parse_training({"task": "receivers.weights.card:Card"})


def test_means_in_decibel_by_hand():
    ratio = np.random.default_rng(1).exponential(0.1, 4000)
    found = summary({"a": {"score": Samples(ratio), "bits": 7}, "b": Samples(ratio, counted=True), "c": [1]})
    assert set(found["a"]) == {"nmse_db", "ci95", "bits"} and found["c"] == [1] and found["b"]["num_samples"] == 4000
    assert found["a"]["nmse_db"] == pytest.approx(10 * np.log10(ratio.mean()), abs=6e-4)
    sigma = ratio.std(ddof=1) / np.sqrt(4000)
    ends = 10 * np.log10(ratio.mean() + 1.96 * sigma * np.array([-1, 1]))
    assert found["a"]["ci95"] == pytest.approx(np.ptp(ends) / 2, rel=0.02)
    cosine = summary(Samples(np.float64([0.25, 0.75]), "sgcs", (0.0, 1.0), 4))
    assert cosine["sgcs"] == 0.5


def test_a_card_is_written_as_it_is_read(tmp_path):
    entry = {"file": "model.weights.h5", "sha256": "0" * 64}
    card = {"name": "p", "task": "prediction", "model": {"name": "lstm", "params": {"a": (1, 2)}}, "weights": entry}
    card |= {"history_slots": 1, "max_history_slots": 4, "horizon_slots": 4}
    written = write_card(tmp_path, card)
    plain, checked = read_card(tmp_path, "prediction")
    assert plain == written == {**card, "model": {"name": "lstm", "params": {"a": [1, 2]}}}
    assert checked.horizon_slots == 4
    with pytest.raises(ConfigError, match=r"card\.horizon_slots"):
        write_card(tmp_path, {**card, "horizon_slots": 0})
    assert read_card(tmp_path, "prediction")[0] == written  # nothing was written
    with pytest.raises(StoreError, match=r"card\.json: not a model card \(input"):
        read_card(tmp_path, "feedback")
    with pytest.raises(StoreError, match="not a model card"):
        read_card(Path(tmp_path) / "nowhere", "feedback")
