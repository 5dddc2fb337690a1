"""From a data set recipe to weights in the link: reproducible, resumable, the same under every backend."""

import copy
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

import benchmarks
from benchmarks import cli
from benchmarks.build import ChannelDraw
from benchmarks.dataset import make_dataset
from benchmarks.runner import load_points
from benchmarks.train import train as run_training
from receivers.models.weights import TrainedModel
from receivers.quantization.mu_law import MuLawQuantizer
from receivers.training.data import load_images, scale_images
from receivers.training.recipe import parse_training
from scenarios.dataset import parse_recipe
from simulator.data.store import ChannelStore, sha256
from simulator.transforms import to_angular_delay, to_real

RECIPE = {
    "name": "tiny",
    "seed": 3,
    "carrier": {"num_rb": 16},
    "bs": {"n1": 4, "n2": 2, "num_pol": 2},
    "parts": [
        {"channel": {"model": "rayleigh"}, "weight": 1},
        {"channel": {"model": "rayleigh", "taps": 2}, "weight": 3},
    ],
    "splits": {"train": 200, "val": 40, "test": 40},
    "shard_samples": 80,
}
LATENTS = 32
TRAINING = {
    "name": "tiny-net",
    "seed": 2,
    "dataset": "tiny",
    "model": {
        "name": "csinet",
        "params": {"num_latents": LATENTS, "latent_activation": "tanh", "image_activation": "linear"},
    },
    "num_delays": 8,
    "quantizer": {"name": "mu_law", "bits": [2, 4]},
    "init": "pca",
    "epochs": 3,
    "batch_size": 40,
}


def csilink(*argv):
    """The command in this process; it must succeed."""
    before, sys.argv = sys.argv, ["csilink", *map(str, argv)]
    try:
        with pytest.raises(SystemExit) as stop:
            cli.main()
    finally:
        sys.argv = before
    assert stop.value.code == 0


def written(path, content):
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def hashes(folder):
    return {path.name: sha256(path) for path in sorted(Path(folder).iterdir()) if path.is_file()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def store(place):
    return make_dataset(parse_recipe(RECIPE), place / "store")


# The store


def test_the_store_is_reproducible_byte_for_byte(store, tmp_path):
    time.sleep(1.1)  # times in a file would differ
    csilink("dataset", written(tmp_path / "r.yaml", RECIPE), "--out", tmp_path / "again")
    assert hashes(tmp_path / "again") == hashes(store.folder)
    assert ChannelStore(tmp_path / "again").hash == store.hash
    assert list(hashes(store.folder)) == [
        *("manifest.json", "recipe.json", "test-00000.h5"),
        *("train-00000.h5", "train-00001.h5", "train-00002.h5", "val-00000.h5"),
    ]


def test_an_unfinished_store_is_finished_and_a_damaged_shard_drawn_again(store, tmp_path):
    make_dataset(parse_recipe(RECIPE), tmp_path / "s")
    (tmp_path / "s" / "manifest.json").unlink()
    (tmp_path / "s" / "train-00001.h5").unlink()
    (tmp_path / "s" / ".train-00001.h5.4711").write_bytes(b"half")
    kept = (tmp_path / "s" / "train-00000.h5").stat().st_mtime_ns
    make_dataset(parse_recipe(RECIPE), tmp_path / "s")
    assert (tmp_path / "s" / "train-00000.h5").stat().st_mtime_ns == kept
    (tmp_path / "s" / ".train-00001.h5.4711").unlink()
    assert hashes(tmp_path / "s") == hashes(store.folder)

    (tmp_path / "s" / "val-00000.h5").write_bytes(b"damaged")
    make_dataset(parse_recipe(RECIPE), tmp_path / "s")
    assert hashes(tmp_path / "s") == hashes(store.folder)


def test_splits_and_parts(store):
    drawn = {split: np.concatenate([h for h, _ in store.read(split)]) for split in RECIPE["splits"]}
    for split, h in drawn.items():
        part = store.labels(split)["part"]
        assert h.shape == (RECIPE["splits"][split], 1, 16, 1, 16) and h.dtype == np.complex64
        np.testing.assert_allclose(np.mean(np.abs(h) ** 2, axis=(1, 2, 3, 4)), 1, rtol=1e-5)
        np.testing.assert_array_equal(np.bincount(part), np.array([1, 3]) * len(part) // 4)
        flat = np.ptp(np.abs(h), axis=-1).max(axis=(1, 2, 3)) < 1e-6  # one tap: the same at all frequencies
        np.testing.assert_array_equal(flat, part == 0)
        assert len(np.unique(h[:, 0, 0, 0, 0])) == len(h)
    first = {split: set(h[:, 0, 0, 0, 0].tolist()) for split, h in drawn.items()}
    assert not first["train"] & first["val"] and not first["train"] & first["test"] and not first["val"] & first["test"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [{"model": "tdl", "profile": "A"}, {"model": "cdl", "profile": "C"}, {"model": "umi"}]
)
def test_stores_of_standard_channels_are_reproducible_over_processes(tmp_path, model):
    recipe = {**RECIPE, "parts": [{"channel": model}], "splits": {"train": 30}, "shard_samples": 20}
    for name in ("a", "b"):
        command = [sys.executable, "-m", "benchmarks.cli", "dataset", written(tmp_path / "r.yaml", recipe)]
        subprocess.run([*command, "--out", tmp_path / name], check=True, capture_output=True, timeout=300)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


# Training


@pytest.fixture(scope="module")
def trained(place, store):
    """Folder of three epochs in one go."""
    csilink("train", written(place / "t.yaml", TRAINING), "--store", store.folder, "--out", place / "net")
    return place / "net"


def test_training_leaves_weights_and_a_card(trained, store):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    card = json.loads((trained / "card.json").read_text())
    assert card["dataset"]["store_sha256"] == store.hash
    assert card["dataset"]["samples"] == RECIPE["splits"]
    assert card["weights"]["sha256"] == sha256(trained / "model.weights.h5")
    assert card["training"]["epochs"] == 3 and card["training"]["backend"] == "tensorflow"
    assert card["input"] | {"num_delays": 8, "num_latents": LATENTS, "num_subcarriers": 16} == card["input"]
    scores = card["test"]["unquantized"]
    assert scores["model"]["nmse_db"] < -2 and scores["pca"]["nmse_db"] < -2
    assert (trained / "epoch-0003.keras").is_file() and not (trained / "epoch-0002.keras").exists()
    epochs = json.loads((trained / "history.json").read_text())["epochs"]
    assert [sorted(epoch) for epoch in epochs] == [["loss", "seconds", "val_nmse"]] * 3
    log = EventAccumulator(str(trained / "tensorboard")).Reload()
    logged = [(event.step, event.value) for event in log.Scalars("val_nmse_db")]
    assert logged == [(i + 1, pytest.approx(10 * np.log10(e["val_nmse"]), abs=1e-5)) for i, e in enumerate(epochs)]


def test_training_from_a_stream(store, tmp_path):
    """Images that exceed ``memory_gib`` are streamed; two runs give the same scores."""
    recipe = parse_training({**copy.deepcopy(TRAINING), "memory_gib": 1e-5, "epochs": 2})
    cards = [run_training(recipe, store, tmp_path / name, lambda line: None) for name in "ab"]
    assert cards[0]["dataset"]["samples"] == {"train": 200, "val": 40, "test": 40}
    assert cards[0]["test"]["unquantized"] == cards[1]["test"]["unquantized"]
    assert cards[0]["test"]["unquantized"]["model"]["nmse_db"] < -1


def test_killed_and_resumed_training_is_the_same(trained, store, tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from benchmarks.train import train
from receivers.training.recipe import parse_training
from scenarios.load import load_mapping
from simulator.data.store import ChannelStore
kill = lambda line: os.kill(os.getpid(), signal.SIGKILL)
train(parse_training(load_mapping(Path(sys.argv[1]))), ChannelStore(sys.argv[2]), Path(sys.argv[3]), kill)
"""
    recipe, out = written(tmp_path / "t.yaml", TRAINING), tmp_path / "net"
    command = [sys.executable, "-c", code, recipe, store.folder, out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(json.loads((out / "history.json").read_text())["epochs"]) == 1
    assert not (out / "card.json").exists()

    csilink("train", recipe, "--store", store.folder, "--out", out)

    def curve(folder):
        return [(e["loss"], e["val_nmse"]) for e in json.loads((folder / "history.json").read_text())["epochs"]]

    assert curve(out) == curve(trained)
    with h5py.File(out / "model.weights.h5") as a, h5py.File(trained / "model.weights.h5") as b:
        compared = []

        def compare(name, node):
            if isinstance(node, h5py.Dataset):
                np.testing.assert_array_equal(node[()], b[name][()], err_msg=name)
                compared.append(name)

        a.visititems(compare)
        assert len(compared) > 20
    cards = [json.loads((folder / "card.json").read_text()) for folder in (out, trained)]
    assert cards[0]["test"] == cards[1]["test"] and cards[0]["tables"] == cards[1]["tables"]


def test_the_folder_serves_as_weights_in_the_link(trained, tmp_path):
    entry = {"scheme": "autoencoder", "weights": str(trained), "bits": [2, 4], "coder": ["huffman", "fixed"]}
    scenario = {
        **{k: copy.deepcopy(RECIPE[k]) for k in ("carrier", "bs")},
        "name": "small",
        "seed": 11,
        "channel": {"model": "rayleigh", "taps": 2},
        "feedback": [entry],
        "precoding": {"precoders": ["mrt"]},
        "snr_db": [10],
        "run": {"drops": 64, "chunk_drops": 64},
    }
    file = written(tmp_path / "s.yaml", scenario)
    frame = benchmarks.run(file, out=tmp_path / "out", workers=1, report=False)
    table = frame.set_index(["scheme", "metric"])["value"]
    (point,) = load_points(file)[1]
    h = ChannelDraw(point).chunk(0, 64)[:, 0, 0, :, 0]
    images = scale_images(to_real(to_angular_delay(h, point.scenario.panel, 8)))[0]
    latent = TrainedModel(str(trained)).encode(images)
    for bits in (2, 4):
        label = f"tiny-net-mu_law-b{bits}"
        for coder in ("huffman", "fixed"):
            assert -20 < table[f"{label}-{coder}", "nmse_db"] < -1.5
        assert table[f"{label}-fixed", "bits_mean"] == LATENTS * bits
        share = np.bincount(MuLawQuantizer(bits).quantize(latent).reshape(-1), minlength=2**bits) / latent.size
        entropy = -LATENTS * np.sum(share[share > 0] * np.log2(share[share > 0]))
        assert entropy <= table[f"{label}-huffman", "bits_mean"] < entropy + LATENTS
        assert table[f"{label}-huffman", "bits_mean"] <= LATENTS * bits
        assert table[f"{label}-huffman", "nmse_db"] == table[f"{label}-fixed", "nmse_db"]


BACKEND_CODE = """
import sys
from pathlib import Path
import numpy as np
from receivers.models.weights import TrainedModel
from receivers.models import csinet
from receivers.training import data, fit, losses, mixed_quantizer, pca, recipe
from receivers.feedback import autoencoder
folder, work = sys.argv[1], Path(sys.argv[2])
model = TrainedModel(folder)
images = np.load(work / "images.npy")
latent = model.encode(images)
np.savez(work / "out.npz", latent=latent, image=model.decode(latent))
fit._TensorBoard(work / "log").scalars(1, loss_db=-1.0)
print("BACKEND", fit.keras.backend.backend(), sorted({"tensorflow", "sionna"} & set(sys.modules)))
"""


@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_weights_give_the_same_output_under_other_backends(trained, store, tmp_path, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    images = load_images(store, "test", 8)[0]
    np.save(tmp_path / "images.npy", images)
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", BACKEND_CODE, str(trained), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.stdout == f"BACKEND {backend} []\n", done
    model = TrainedModel(str(trained))
    latent = model.encode(images)
    with np.load(tmp_path / "out.npz") as theirs:
        np.testing.assert_allclose(theirs["latent"], latent, atol=1e-4)
        np.testing.assert_allclose(theirs["image"], model.decode(latent), atol=1e-4)
        assert np.std(latent) > 0.05 and np.std(theirs["image"]) > 0.1
