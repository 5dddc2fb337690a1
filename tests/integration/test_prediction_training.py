"""Prediction networks from data sets to the link: training, teachers, resume, cards, wrong input."""

import json

import numpy as np
import pytest
from tolerances import FLOAT32

from benchmarks import cli
from benchmarks.dataset import make_dataset
from benchmarks.doubling import read_samples
from benchmarks.runner import run
from benchmarks.train import train
from receivers.feedback.wifo_cf import WiFoCfFeedback
from receivers.models.history import from_history, to_history
from receivers.prediction.network import NetworkPredictor
from receivers.training.data.sequences import PredictionBatches
from receivers.training.loop import PausedError
from receivers.training.recipe import parse_training, task_of
from receivers.training.stores import split_samples
from receivers.training.tasks.prediction import halves, prediction_nmse
from receivers.weights.folder import TrainedModel, TrainedPredictor, zoo_names
from scenarios.dataset import parse_recipe
from simulator.core.errors import ConfigError, StoreError
from simulator.core.types import CsiConfig, CsiEstimate, Panel, RadioGeometry

GEOMETRY = RadioGeometry(3.5e9, Panel(4), 1, 1, 8, 1e6, num_slots=8)
DATA = {
    "carrier": {"num_subcarriers": 8, "subcarrier_spacing_hz": 1e6, "granularity": "subcarrier"},
    "time": {"num_slots": 8, "slot_s": 1e-3},
    "ue": {"speed_mps": 0.5, "max_speed_mps": 3.0},
    "parts": [{"channel": {"model": "tdl", "profile": "A"}}],
    "splits": {"train": 16, "val": 16, "test": 16},
    "shard_samples": 16,
}
WIFO = {"size": 16, "depth": 1, "decoder_depth": 1, "num_heads": 2}
RECIPE = {
    "task": "prediction",
    "name": "net",
    "datasets": ["four", "two"],
    "model": {"name": "wifo", "params": WIFO},
    "mask_ratio": 0.5,
    "batch_size": 16,
    "learning_rate": 3e-3,
    "epochs": 2,
    "tasks": ["time"],
}
LSTM = {"model": {"name": "lstm", "params": {"group": 8, "width": 8, "num_layers": 1}}, "tasks": ["time"]}


def quiet(line):
    pass


pytestmark = [pytest.mark.long, pytest.mark.usefixtures("eager_module")]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    sizes = {"four": {"n1": 4, "n2": 1, "num_pol": 1}, "two": {"n1": 2, "n2": 1, "num_pol": 2}}
    sizes["eight"] = {"n1": 4, "n2": 2, "num_pol": 1}
    recipes = {name: {**DATA, "name": name, "seed": 5, "bs": bs} for name, bs in sizes.items()}
    return [make_dataset(parse_recipe(recipe), folder / name) for name, recipe in recipes.items()]


@pytest.fixture(scope="module")
def teacher(stores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    recipe = {**RECIPE, "name": "teacher", "epochs": 1, "model": {"name": "wifo", "params": {**WIFO, "size": 32}}}
    train(parse_training(recipe), stores[:2], folder, quiet)
    return folder


def test_channels_of_antennas_are_samples_and_come_back(rng):
    shape = (2, 3, 4, 5, 6, 7)
    h = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    x = to_history(h)
    assert x.shape == (24, 6, 7, 5, 2) and x.dtype == np.float32
    assert x[1 * 12 + 2 * 4 + 3, 4, 6, 2, 1] == h[1, 2, 3, 2, 4, 6].imag
    np.testing.assert_array_equal(from_history(x, (2, 3, 4)), h)


def test_batches_are_of_one_store_and_follow_seed_and_epoch(stores):
    stores = [stores[0], stores[2]]
    batches = PredictionBatches(stores, "train", 8)
    first = list(batches.epoch(1, 0))
    assert len(first) == len(batches) == 4
    assert sorted({x.shape for x in first}) == [(8, 8, 8, 4, 2), (8, 8, 8, 8, 2)]
    for x, y in zip(first, batches.epoch(1, 0), strict=True):
        np.testing.assert_array_equal(x, y)
    assert any(x.shape != y.shape or not np.array_equal(x, y) for x, y in zip(first, batches.epoch(1, 1), strict=True))
    stored = np.concatenate([to_history(h) for h, _ in stores[0].read("train")])
    power = np.sort(np.sum(stored**2, axis=(1, 2, 3, 4)))
    drawn = np.sort(np.concatenate([np.sum(x**2, axis=(1, 2, 3, 4)) for x in first if x.shape[3] == 4]))
    np.testing.assert_allclose(drawn, power, rtol=FLOAT32)  # every sample once, turned in phase alone
    assert len(PredictionBatches(stores, "train", 8, max_samples=10)) == 2
    with pytest.raises(ConfigError, match="batch_size: got 64"):
        PredictionBatches(stores, "train", 64)


def test_nmse_is_that_of_the_second_half(stores, teacher):
    x, network = split_samples(stores[0], "test"), TrainedPredictor(str(teacher)).model
    for task, axis in (("time", 0), ("frequency", 1)):
        history, future = halves(x, axis)
        assert history.shape[1 + axis] == future.shape[1 + axis] == 4
        hidden = x.copy()
        hidden[(slice(None),) * (1 + axis) + (slice(4, None),)] = 99.0
        assert np.array_equal(halves(hidden, axis)[0], history)
        predicted = np.asarray(network.forecast(history, 4, axis))
        expected = [np.sum((p - f) ** 2) / np.sum(f**2) for p, f in zip(predicted, future, strict=True)]
        np.testing.assert_allclose(prediction_nmse(network, x, task), expected, rtol=1e-4)


class TestTraining:
    @pytest.mark.parametrize("kind", ["none", pytest.param("mcakd", marks=pytest.mark.long)])
    def test_it_learns_and_the_card_says_what_was_measured(self, kind, stores, teacher, tmp_path):
        section = (
            {}
            if kind == "none"
            else {"distill": {"teacher": str(teacher), "kind": kind, "autonomous": 1, "passive": 1}, "epochs": 3}
        )
        recipe = parse_training(
            {**RECIPE, **section, **({"tasks": ["random", "time"], "rotate": True} if kind == "none" else {})}
        )
        card = train(recipe, stores[:2], tmp_path / "net", quiet)
        curve = card["training"]["curve"]
        scores = [entry["val_loss"] for entry in curve if "val_loss" in entry]  # not of the second epoch, a taught one
        assert len(curve) == (2 if kind == "none" else 3) and len(scores) == 2 and scores[1] < scores[0]
        assert (card["task"], card["history_slots"], card["max_history_slots"], card["horizon_slots"]) == (
            "prediction", 4, 4, 4,
        )  # fmt: skip
        trained = TrainedPredictor(str(tmp_path / "net"))
        ratio = prediction_nmse(trained.model, split_samples(stores[1], "test"), "time")
        entry = card["test"]["by_data_set"]["two"]["time"]
        assert entry["nmse_db"] == pytest.approx(10 * np.log10(ratio.mean()), abs=2e-3)
        ratios = [prediction_nmse(trained.model, split_samples(store, "test"), "time") for store in stores[:2]]
        np.testing.assert_allclose(read_samples(tmp_path / "net").values, np.concatenate(ratios), rtol=1e-4)
        assert entry["num_samples"] == 16 and (tmp_path / "net" / "learning_curve.png").exists()

    @pytest.mark.long
    @pytest.mark.parametrize(
        ("phases", "scored"),
        [
            ({"autonomous": 1}, [True, False, True]),  # the second epoch is a taught one
            ({"switch": "progress", "autonomous": 2, "least_progress": 0.99}, [False, True, False]),  # the third is
        ],
    )
    def test_an_interrupted_run_ends_with_the_same_weights(self, phases, scored, stores, teacher, tmp_path):
        distill = {"teacher": str(teacher), **phases}
        recipe = parse_training({**RECIPE, "distill": distill, "epochs": 3, "validate_every": 2})

        def stop(line):
            if line.startswith("epoch 2"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(recipe, stores[:2], tmp_path / "twice", stop)
        with pytest.raises(PausedError, match="in epoch 3 after 1 steps"):
            train(recipe, stores[:2], tmp_path / "twice", quiet, seconds=0)
        again = train(recipe, stores[:2], tmp_path / "twice", quiet)
        once = train(recipe, stores[:2], tmp_path / "once", quiet)
        drop = lambda card: [{k: v for k, v in e.items() if k != "seconds"} for e in card["training"]["curve"]]  # noqa: E731
        assert drop(again) == drop(once) and again["test"] == once["test"]
        assert ["val_loss" in entry for entry in once["training"]["curve"]] == scored
        found = [TrainedPredictor(str(tmp_path / name)).model.get_weights() for name in ("twice", "once")]
        for one, two in zip(*found, strict=True):
            np.testing.assert_array_equal(one, two)
        with pytest.raises(StoreError, match="another recipe"):
            train(recipe.model_copy(update={"seed": 9}), stores[:2], tmp_path / "once", quiet)

    def test_sequence_networks_learn_one_task_on_some_antennas(self, stores, tmp_path):
        recipe = parse_training({**RECIPE, **LSTM, "datasets": ["four", "two", "eight"], "epochs": 1})
        train(recipe, stores, tmp_path / "all", quiet)
        card = train(recipe.model_copy(update={"antennas": 1}), stores, tmp_path / "lstm", quiet)
        assert set(card["test"]["by_data_set"]["four"]) == {"time"} and card["history_slots"] == 1

    def test_from_the_command_line(self, stores, tmp_path, capsys):
        import yaml

        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({**RECIPE, **LSTM, "epochs": 1}))
        command = ["train", str(path), "--store", str(stores[0].folder.parent), "--out", str(tmp_path / "net")]
        cli.app(command, standalone_mode=False)
        out = capsys.readouterr().out
        assert "epoch 1/1: loss" in out and "test, two, time: nmse -" in out


@pytest.mark.long
def test_wifo_cf_from_data_sets_to_reports_in_the_link(stores, tmp_path):
    params = {"dim": 8, "depth": 1, "decoder_depth": 1, "num_heads": 2, "patch_dim": 16, "num_experts": 2, "top_k": 1}
    params |= {"conv_dim": 4, "patches": [[2, 4]], "pad": True}
    recipe = {
        "task": "wifo_cf",
        "name": "cf",
        "datasets": ["four"],
        "model": {"name": "wifo_cf", "params": params},
        "batch_size": 16,
    }
    recipe |= {"epochs": 2, "learning_rate": 3e-3, "users": 2}
    card = train(parse_training(recipe), stores[:1], tmp_path / "cf", quiet)
    scores = card["test"]["by_data_set"]["four"]
    assert scores["bits"]["num_samples"] == 16 and scores["report_bits"] == 10
    nmse = 10 * np.log10(read_samples(tmp_path / "cf").values.mean())
    assert nmse == pytest.approx(scores["bits"]["nmse_db"], abs=1e-3)
    assert card["training"]["curve"][1]["val_loss"] < card["training"]["curve"][0]["val_loss"]
    scheme = WiFoCfFeedback(CsiConfig(Panel(4), 1, 8, 1e6, 8), weights=str(tmp_path / "cf"))
    h = np.concatenate([h for h, _ in stores[0].read("test")])[:, :, :, 0]  # [sample, rx_ant, port, subcarrier]
    h = h.reshape(8, 2, *h.shape[1:]) / np.sqrt(np.mean(np.abs(h) ** 2, axis=(1, 2, 3)).reshape(8, 2, 1, 1, 1))
    report = scheme.report(CsiEstimate(h, np.zeros((8, 2), np.float32)))
    error, power = (np.sum(np.abs(x) ** 2, axis=(2, 3, 4)) for x in (scheme.reconstruct(report).h - h, h))
    error /= power
    assert 10 * np.log10(error.mean()) == pytest.approx(scores["bits"]["nmse_db"], abs=0.01)
    for change, message in (({"users": 3}, "batch_size"), ({"bits": 1}, "spread"), ({"colour": 1}, "colour")):
        with pytest.raises(ConfigError, match=message):
            parse_training({**recipe, **change})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": ["four", "four"]}, "datasets: .* each data set once"),
        (
            {"model": {"name": "csinet"}},
            "model.name: got 'csinet'; allowed: delay_beam, llm4cp, lstm, transformer, wifo",
        ),
        ({**LSTM, "tasks": ["random"]}, "tasks: .* \\[time\\] or \\[frequency\\]"),
        ({**LSTM, "distill": {"teacher": "x"}}, "distill"),
        ({"antennas": 2}, "antennas: got 2"),
        ({"distill": {"teacher": "x", "terms": []}}, "terms"),
        ({"distill": {"teacher": "x", "switch": "progress", "autonomous": 1}}, "distill.autonomous: got 1"),
        ({"mask_ratio": 1.5}, "mask_ratio"),
    ],
)
def test_wrong_recipes(changes, message):
    with pytest.raises(ConfigError, match=message):
        recipe = parse_training({**RECIPE, **changes})
        task_of(recipe.task)(recipe)


def test_wrong_data_and_networks(stores, teacher, tmp_path):
    with pytest.raises(ConfigError, match="--store"):
        train(parse_training({**RECIPE, "datasets": ["two", "four"]}), stores[:2], tmp_path, quiet)
    with pytest.raises(ConfigError, match=r"model\.params"):
        section = {"name": "wifo", "params": {"colour": 1}}
        train(parse_training({**RECIPE, "model": section}), stores[:2], tmp_path, quiet)
    with pytest.raises(ConfigError, match="weights"):
        bad = {"teacher": "csinet-250"}  # weights of another task
        train(parse_training({**RECIPE, "distill": bad}), stores[:2], tmp_path, quiet)
    with pytest.raises(ConfigError, match=r"weights: got '.*\(for prediction\)'"):
        TrainedModel(str(teacher))
    assert not set(zoo_names()) & set(zoo_names("prediction"))


class TestPredictor:
    def test_history_and_horizon(self, teacher, rng):
        predictor = NetworkPredictor(GEOMETRY, weights=str(teacher))
        shape = (2, 1, 2, 4, 6, 8)
        history = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
        future = predictor.predict(history, 3)
        assert future.shape == (2, 1, 2, 4, 8)
        x = to_history(history[..., -4:, :])
        power = np.sqrt(2 * np.mean(x**2, axis=(1, 2, 3, 4), keepdims=True))
        expected = np.asarray(TrainedPredictor(str(teacher)).model.forecast(x / power, 3))[:, -1:] * power
        np.testing.assert_allclose(future, from_history(expected, (2, 1, 2))[..., 0, :], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(predictor.predict(1e-3 * history, 3), 1e-3 * future, rtol=1e-3, atol=1e-8)
        np.testing.assert_array_equal(predictor.predict(history, 0), history[..., -1, :])
        with pytest.raises(ConfigError, match=r"time.history_slots: got 3; allowed: at least 4"):
            predictor.predict(history[..., :3, :], 1)
        with pytest.raises(ConfigError, match=r"uplink.delay_slots: got 5; allowed: 0..4"):
            predictor.predict(history, 5)
        with pytest.raises(ConfigError, match="pad=True"):  # sizes that the patch does not divide
            predictor.predict(history[..., :7], 1)

    def test_in_the_link_at_both_ends(self, teacher, tmp_path, run_here):
        network = {"name": "network", "weights": str(teacher)}
        scenario = {
            "name": "moving",
            "carrier": DATA["carrier"],
            "bs": {"n1": 4, "n2": 1, "num_pol": 1},
            "ue": {"speed_mps": 3.0},
            "time": {"num_slots": 9, "history_slots": 4, "slot_s": 1e-3},
            "channel": {"model": "tdl", "profile": "A"},
            "feedback": [
                {"scheme": "perfect"},
                {"scheme": "perfect", "predict": {"at": "ue", **network}},
                {"scheme": "perfect", "predict": {"at": "gnb", **network}},
            ],
            "uplink": {"delay_slots": 2},
            "precoding": {"precoders": ["mrt"]},
            "snr_db": 10,
            "run": {"drops": 6},
        }
        path = tmp_path / "moving.yaml"
        path.write_text(json.dumps(scenario))
        frame = run(path, out=tmp_path / "results", workers=1, report=False)
        rate = frame[frame.metric == "relative_rate"].set_index("scheme").value
        assert rate["perfect+network@ue"] == pytest.approx(
            rate["perfect+network@gnb"], rel=1e-3
        )  # same CSI at both ends
        assert 0 < rate["perfect+network@ue"] < 1 and 0 < rate["perfect"] < 1
        scenario["uplink"]["delay_slots"] = 5
        path.write_text(json.dumps(scenario))
        with pytest.raises(ConfigError, match=r"delay_slots: got 5; allowed: 0\.\.4"):
            run(path, out=tmp_path / "more", workers=1)
