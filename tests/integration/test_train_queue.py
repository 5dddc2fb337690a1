"""Trainings from a queue: killed and resumed with the same weights, failed ones marked, two at a time, status."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from benchmarks.train import train
from benchmarks.train_queue import _Runner, load_queue, run_queue, state_folder, status
from receivers.training.recipe import parse_training
from simulator.core.errors import ConfigError
from simulator.core.onednn import VARIABLE, switch_on_onednn
from simulator.core.types import Panel
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter

RECIPE = {
    "task": "autoencoder",
    "name": "net",
    "dataset": "small",
    "model": {
        "name": "csinet",
        "params": {"num_latents": 8, "latent_activation": "tanh", "image_activation": "linear"},
    },
    "num_delays": 4,
    "quantizer": {"name": "mu_law", "bits": [2]},
    "epochs": 20,
    "batch_size": 20,
}


@pytest.fixture
def place(tmp_path):
    layout, rng = ChannelLayout(Panel(4), 8, 360e3), np.random.default_rng(1)
    with StoreWriter(tmp_path / "small", layout, name="small") as writer:
        for split in ("train", "val", "test"):
            writer.add(split, rng.standard_normal((40, *layout.entry_shape)).astype(np.complex64))
        writer.finish({})
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path


def queue_of(place, *names, file="q.yaml", workers=1, **fields):
    entries = [
        {
            "recipe": str(place / "r.yaml"),
            "name": n,
            "store": str(place / "small"),
            "out": str(place / file[0] / n),
            **fields,
        }
        for n in names
    ]
    (place / file).write_text(yaml.safe_dump({"workers": workers, "trainings": entries}))
    return place / file


def weights(folder):
    """Best weights, checkpoint and tables; names of layers in the .h5 count the networks of a process."""
    return {p.name: p.read_bytes() for p in folder.glob("*.npz")}


@pytest.mark.long
def test_a_killed_queue_goes_on_to_the_same_weights_and_past_a_failed_training(place):
    """Two at a time; one fails, is marked, and fails again when the queue goes on."""
    path = queue_of(place, "bad", "a", file="k.yaml", workers=2)
    queue = yaml.safe_load(path.read_text())
    queue["trainings"][0]["store"] = str(place / "absent")
    path.write_text(yaml.safe_dump(queue))
    assert [row["state"] for row in status(path)] == ["waiting", "waiting"]
    process = subprocess.Popen([sys.executable, "-m", "csilink", "train", "--queue", str(path)])
    history, limit = place / "k" / "a" / "history.json", time.monotonic() + 600
    while not (history.exists() and len(json.loads(history.read_text())["epochs"]) >= 3):
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.01)
    child = json.loads((state_folder(path) / "a.json").read_text())["pid"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    while os.path.exists(f"/proc/{child}"):
        assert time.monotonic() < limit
        time.sleep(0.01)
    assert len(json.loads(history.read_text())["epochs"]) < RECIPE["epochs"]
    assert [row["state"] for row in status(path)] == ["failed", "paused"]
    lines = []
    assert not run_queue(path, lines.append)
    assert ["started" in line for line in lines[:2]] == [True, True]
    train(parse_training({**RECIPE, "name": "a"}), ChannelStore(place / "small"), place / "whole", lambda line: None)
    assert weights(place / "whole") and weights(place / "whole") == weights(place / "k" / "a")
    bad, good = status(path)
    assert bad["state"] == "failed" and "absent" in bad["error"]
    assert (good["state"], good["epoch"], good["samples"]) == ("done", "20.00/20", "800")


def test_cores_are_divided_among_workers(place):
    path = queue_of(place, "a", "b", workers=2)
    cores = sorted(os.sched_getaffinity(0))
    free = _Runner(*load_queue(path), place, print).free
    assert len(free) == 2 and {len(f) for f in free} == {max(len(cores) // 2, 1)}
    if len(cores) > 1:
        assert not set(free[0]) & set(free[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": -1}, "seed"),
        ({"bacend": "jax"}, "bacend"),
        ({"set": ["epochs=no"]}, "epochs"),
        ({"backend": "x"}, "backend"),
    ],
)
def test_errors_name_the_field(place, change, said):
    with pytest.raises(ConfigError, match=said):
        load_queue(queue_of(place, "a", **change))


def test_two_trainings_of_one_name_are_refused(place):
    with pytest.raises(ConfigError, match=r"trainings\.1\.name"):
        load_queue(queue_of(place, "a", "a"))


def test_onednn_is_for_networks_whose_products_were_checked(place, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert load_queue(queue_of(place, "a", onednn=True))
    for change, said in (
        ({"backend": "jax"}, "onednn: got 'under jax'"),
        ({"recipe": "beamdelay_urban"}, "onednn.*networks of csilink"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_queue(queue_of(place, "a", onednn=True, **change))
    with pytest.raises(ConfigError, match="before TensorFlow is imported"):  # as it is in this process
        switch_on_onednn("onednn")


@pytest.mark.long
def test_a_training_with_onednn_says_so(place, eager):
    command = [sys.executable, "-m", "csilink", "train", str(place / "r.yaml"), "--store", str(place / "small")]
    environment = {k: v for k, v in os.environ.items() if k not in (VARIABLE, "KERAS_BACKEND")}
    out = ["--out", str(place / "on"), "--set", "epochs=1", "--onednn"]
    subprocess.run([*command, *out], env=environment, check=True, capture_output=True, timeout=600)
    train(parse_training({**RECIPE, "epochs": 1}), ChannelStore(place / "small"), place / "off", lambda line: None)
    for name in ("on", "off"):
        assert json.loads((place / name / "card.json").read_text())["training"]["onednn"] == (name == "on")
