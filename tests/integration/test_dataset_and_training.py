"""From a data set recipe to weights in the link: reproducible, resumable, the same under every backend."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import yaml
from tolerances import assert_mean

import benchmarks
from benchmarks import cli, dataset, normalization
from benchmarks.build import ChannelDraw
from benchmarks.dataset import make_dataset
from benchmarks.doubling import read_samples
from benchmarks.runner import load_points
from benchmarks.train import summary
from benchmarks.train import train as run_training
from receivers.feedback.autoencoder import AutoencoderFeedback
from receivers.feedback.eigenvector import EigenvectorFeedback
from receivers.quantization.mu_law import MuLawQuantizer
from receivers.training.data.images import ImageView, load_images, scale_images
from receivers.training.image_model import build_model
from receivers.training.link_loss import sum_rate_loss
from receivers.training.loop import run
from receivers.training.recipe import parse_training, task_of
from receivers.training.tasks.variable_bit import bit_scores
from receivers.weights.folder import TrainedModel
from scenarios.dataset import parse_recipe
from simulator.core.errors import ConfigError
from simulator.core.interfaces import ChannelSource
from simulator.core.types import CsiConfig, CsiEstimate
from simulator.data.store import ChannelStore, sha256
from simulator.maths.transforms import from_angular_delay, subband_eigenvectors, to_angular_delay, to_complex, to_real

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
EAGER = {"PYTHONPATH": str(Path(__file__).parents[1])}  # where a process finds `eager`
LATENTS = 32
pytestmark = pytest.mark.usefixtures("eager_module")  # trainings of a few steps: to trace one takes more time
TRAINING = {
    "task": "autoencoder",
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
    "batch_size": 100,
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
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    half = tmp_path / "s" / f".train-00001.h5.{ended.pid}"
    half.write_bytes(b"half")
    kept = (tmp_path / "s" / "train-00000.h5").stat().st_mtime_ns
    make_dataset(parse_recipe(RECIPE), tmp_path / "s")
    assert (tmp_path / "s" / "train-00000.h5").stat().st_mtime_ns == kept
    assert not half.exists()
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


class PathGains(ChannelSource):
    """Channels of constant modulus and random phase; their exponential path gains of a given mean are a label."""

    def __init__(self, geometry, mean):
        self.mean, self.shape = mean, (1, geometry.num_rx_ant, geometry.panel.num_ports, 1, geometry.num_subcarriers)

    def labels(self, batch_size, *, seed, first=0):
        return {"gain": self.mean * np.random.default_rng([seed, first]).exponential(size=(batch_size, 1))}

    def sample(self, batch_size, *, seed, first=0):
        phases = np.random.default_rng([seed, first, 1]).uniform(0, 2 * np.pi, (batch_size, *self.shape))
        gain = self.labels(batch_size, seed=seed, first=first)["gain"]
        return (np.sqrt(gain)[..., None, None, None, None] * np.exp(1j * phases)).astype(np.complex64)


@pytest.fixture
def path_gains(monkeypatch, tmp_path):
    """A mixture, one to three, of sources with mean path gains of 1e-8 and 2e-8."""
    monkeypatch.setattr(dataset, "build_source", lambda channel, geometry: PathGains(geometry, 1e-8 * channel.taps))
    monkeypatch.setattr(
        dataset,
        "mean_power",
        lambda channel, geometry: normalization._found(PathGains(geometry, 1e-8 * channel.taps), tmp_path),
    )
    return parse_recipe({**RECIPE, "normalization": "per_dataset"})


@pytest.mark.long
def test_one_factor_for_the_data_set_keeps_path_gains(path_gains, store, tmp_path):
    made = make_dataset(path_gains, tmp_path / "s")
    scale = made.origin["scale"]
    half_width_db = made.origin["scale_half_width_db"]
    assert half_width_db < 0.06
    error_db = -20 * np.log10(scale) - 10 * np.log10(1e-8 * (1 * 1 + 3 * 2) / 4)
    assert abs(error_db) < 2.5 * half_width_db  # five standard errors
    assert "scale" not in store.origin
    powers = []
    for split in RECIPE["splits"]:
        h = np.concatenate([h for h, _ in made.read(split)])
        powers.append(np.mean(np.abs(h) ** 2, axis=(1, 2, 3, 4), dtype=np.float64))
        np.testing.assert_allclose(powers[-1], scale**2 * made.labels(split)["gain"], rtol=1e-5)
    assert_mean(np.concatenate(powers), 1)
    assert np.concatenate(powers).std() > 0.5


@pytest.mark.long
def test_the_factor_is_that_of_an_uninterrupted_run(path_gains, tmp_path):
    whole = make_dataset(path_gains, tmp_path / "whole")
    make_dataset(path_gains, tmp_path / "s")
    (tmp_path / "s" / "manifest.json").unlink()
    (tmp_path / "s" / "train-00001.h5").unlink()
    make_dataset(path_gains, tmp_path / "s")
    assert hashes(tmp_path / "s") == hashes(whole.folder)
    other = make_dataset(path_gains.model_copy(update={"seed": 4}), tmp_path / "other")
    assert other.origin["scale"] == whole.origin["scale"]  # of the law, whatever the seed


@pytest.mark.long
def test_stores_of_standard_channels_are_reproducible_over_processes(tmp_path):
    models = [{"model": "tdl", "profile": "A"}, {"model": "cdl", "profile": "C"}, {"model": "umi"}]
    parts = [{"channel": model} for model in models]
    recipe = {**RECIPE, "parts": parts, "splits": {"train": 30}, "shard_samples": 15}
    make_dataset(parse_recipe(recipe), tmp_path / "a")
    code = "from benchmarks import cli\nfrom eager import eagerly\nwith eagerly(): cli.main()"
    command = [sys.executable, "-c", code, "dataset", written(tmp_path / "r.yaml", recipe)]
    environment = {**os.environ, "PYTHONHASHSEED": "1", **EAGER}
    subprocess.run([*command, "--out", tmp_path / "b"], env=environment, check=True, capture_output=True, timeout=600)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


# Training


@pytest.fixture(scope="module")
def trained(place, store):
    """Folder of three epochs in one go."""
    csilink("train", written(place / "t.yaml", TRAINING), "--store", store.folder, "--out", place / "net")
    return place / "net"


@pytest.mark.long
def test_training_leaves_weights_and_a_card(trained, store):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    card = json.loads((trained / "card.json").read_text())
    assert card["dataset"]["store_sha256"] == store.hash
    assert card["dataset"]["samples"] == RECIPE["splits"]
    assert card["channels"] == "nothing to correct"  # Rayleigh
    assert card["weights"]["sha256"] == sha256(trained / "model.weights.h5")
    assert card["training"]["epochs"] == 3 and card["training"]["backend"] == "tensorflow"
    assert card["input"] | {"num_delays": 8, "num_latents": LATENTS, "num_subcarriers": 16} == card["input"]
    assert card["tables"]["sha256"] == sha256(trained / "tables.npz")
    scores = card["test"]
    assert scores["unquantized"]["nmse_db"] < -2
    for bits in (2, 4):
        for codec in ("range-latent", "huffman-latent", "huffman-pooled", "fixed-latent"):
            entry = scores["codecs"][f"mu_law-b{bits}-{codec}"]
            assert entry["nmse_db"] < -1 and entry["bits_mean"] <= entry["bits_max"]
        assert {"klt_at_these_bits", "sparse_at_these_bits"} <= set(scores["codecs"][f"mu_law-b{bits}-range-latent"])
        assert scores["codecs"][f"mu_law-b{bits}-fixed-latent"]["bits_max"] == LATENTS * bits
    samples = read_samples(trained)  # of the default report
    assert len(samples.values) == 40 and card["training"]["samples"] == 600
    assert summary(samples)["nmse_db"] == scores["codecs"]["mu_law-b2-range-latent"]["nmse_db"]
    assert (trained / "epoch-0003.npz").is_file() and not (trained / "epoch-0002.npz").exists()
    epochs = json.loads((trained / "history.json").read_text())["epochs"]
    assert [sorted(epoch) for epoch in epochs] == [["loss", "seconds", "stage", "val_loss"]] * 3
    log = EventAccumulator(str(trained / "tensorboard")).Reload()
    logged = [(event.step, event.value) for event in log.Scalars("val_loss")]
    assert logged == [(i + 1, pytest.approx(e["val_loss"], abs=1e-5)) for i, e in enumerate(epochs)]


@pytest.mark.long
def test_training_from_a_stream(store, tmp_path):
    """Images that exceed ``memory_gib`` are streamed; two runs give the same scores."""
    recipe = parse_training({**copy.deepcopy(TRAINING), "memory_gib": 1e-5, "epochs": 2})
    cards = [run_training(recipe, store, tmp_path / name, lambda line: None) for name in "ab"]
    assert cards[0]["dataset"]["samples"] == {"train": 200, "val": 40, "test": 40}
    assert cards[0]["test"]["unquantized"] == cards[1]["test"]["unquantized"]
    assert cards[0]["test"]["unquantized"]["nmse_db"] < -1


@pytest.mark.long
def test_killed_and_resumed_training_is_the_same(trained, store, tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from benchmarks.train import train
from eager import eagerly
from receivers.training.recipe import parse_training
from scenarios.load import load_mapping
from simulator.data.store import ChannelStore
kill = lambda line: os.kill(os.getpid(), signal.SIGKILL)
with eagerly():
    train(parse_training(load_mapping(Path(sys.argv[1]))), ChannelStore(sys.argv[2]), Path(sys.argv[3]), kill)
"""
    recipe, out = written(tmp_path / "t.yaml", TRAINING), tmp_path / "net"
    command = [sys.executable, "-c", code, recipe, store.folder, out]
    environment = {**os.environ, **EAGER}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(json.loads((out / "history.json").read_text())["epochs"]) == 1
    assert not (out / "card.json").exists()

    csilink("train", recipe, "--store", store.folder, "--out", out)

    def curve(folder):
        return [(e["loss"], e["val_loss"]) for e in json.loads((folder / "history.json").read_text())["epochs"]]

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
    assert cards[0]["test"] == cards[1]["test"]
    with np.load(out / "tables.npz") as a, np.load(trained / "tables.npz") as b:
        assert set(a.files) == set(b.files) and all(np.array_equal(a[key], b[key]) for key in a.files)


@pytest.mark.long
def test_the_folder_serves_as_weights_in_the_link(trained, tmp_path, run_here, undrawn):
    entry = {"scheme": "autoencoder", "weights": str(trained), "bits": [2, 4], "coder": ["huffman", "fixed", "range"]}
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
    frame = benchmarks.run(file, out=tmp_path / "out", workers=1)
    said = "Not tested at this size (no doubling test): tiny-net."
    assert said in json.loads((tmp_path / "out" / "manifest.json").read_text())["notes"]
    assert said in (tmp_path / "out" / "report.html").read_text()
    table = frame.set_index(["scheme", "metric"])["value"]
    (point,) = load_points(file)[1]
    h = ChannelDraw(point).block(0, 64)[:, 0, 0, :, 0]
    images = scale_images(to_real(to_angular_delay(h, point.scenario.panel, 8)))[0]
    latent = TrainedModel(str(trained)).encode(images)
    for bits in (2, 4):
        label = f"tiny-net-mu_law-b{bits}"
        for coder in ("huffman", "fixed"):
            assert -20 < table[f"{label}-{coder}", "nmse_db"] < -1.5
        assert table[f"{label}-fixed", "bits_mean"] == LATENTS * bits
        cells = MuLawQuantizer(bits).quantize(latent)
        share = np.stack([np.bincount(c, minlength=2**bits) for c in cells.T]) / len(cells)
        entropy = -np.sum(share * np.log2(np.maximum(share, 1e-30)))
        assert entropy <= table[f"{label}-range", "bits_mean"] < entropy * 1.2 + 10  # tables of another 200 samples
        assert table[f"{label}-huffman", "bits_mean"] < entropy * 1.2 + LATENTS
        assert table[f"{label}-huffman", "nmse_db"] == table[f"{label}-fixed", "nmse_db"]


# Rate, stages, targets and losses


def untrained(recipe, images):
    """Training model of a recipe on some images, with its own bottleneck."""
    cls = task_of(recipe.task)
    task = cls.__new__(cls)
    task.recipe = recipe
    return build_model(recipe, images, task.bottleneck)


def recipe_of(name, **changes):
    data = {**copy.deepcopy(TRAINING), "name": name, "init": "random", "epochs": 2}
    return parse_training({**data, **changes})


LINEAR = {"num_latents": LATENTS, "image_activation": "linear", "latent_gain": 0.05}
RATE = {
    "model": {"name": "csinet", "params": LINEAR},
    "quantizer": {"name": "mid_tread", "bits": [5], "unquantized_share": False, "calibrate": False},
    "init": "pca",
}


@pytest.mark.long
def test_one_network_of_several_rates(store, tmp_path, graphs):
    """Estimated and counted bits agree for every width; more bits, less distortion; each has its learned prior."""
    quantizer = {**RATE["quantizer"], "bits": [5, 4]}
    recipe = {**copy.deepcopy(TRAINING), **RATE, "quantizer": quantizer, "rate": {"weight": [1e-4]}, "epochs": 4}
    csilink(
        "train",
        written(tmp_path / "t.yaml", {**recipe, "batch_size": 40}),
        "--store",
        store.folder,
        "--out",
        tmp_path / "w",
    )
    card = json.loads((tmp_path / "w" / "card.json").read_text())
    fine, coarse = (card["test"]["codecs"][f"mid_tread-b{bits}-range-latent"] for bits in (5, 4))
    assert card["codec"]["bits"] == 5 and "mid_tread-b6-range-latent" not in card["test"]["codecs"]
    assert fine["bits_mean"] > 1.1 * coarse["bits_mean"] and fine["nmse_db"] < coarse["nmse_db"]
    counted = (fine["bits_mean"] + coarse["bits_mean"]) / 2
    last = card["training"]["curve"][-1]
    assert abs(last["val_bits"] - counted) < 0.25 * counted + 3
    assert last["val_rate"] == pytest.approx(1e-4 * (fine["bits_mean"] + 4 * coarse["bits_mean"]) / 2, rel=0.3)
    tables = TrainedModel(str(tmp_path / "w")).tables
    assert [tables[f"mid_tread-b{bits}"].learned.shape for bits in (5, 4)] == [(LATENTS, 32), (LATENTS, 16)]


@pytest.mark.long
def test_a_sweep_of_rate_weights_trades_bits_for_distortion(store, tmp_path, graphs):
    """Each weight starts at the one before; a larger one gives fewer bits and more distortion."""
    file = written(
        tmp_path / "t.yaml",
        {**copy.deepcopy(TRAINING), **RATE, "rate": {"weight": [1e-4, 2e-2]}, "epochs": 4, "batch_size": 40},
    )
    csilink("train", file, "--store", store.folder, "--out", tmp_path)
    cards = [json.loads((tmp_path / f"tiny-net-l{w}" / "card.json").read_text()) for w in ("0.0001", "0.02")]
    rich, poor = (card["test"]["codecs"]["mid_tread-b5-range-latent"] for card in cards)
    assert poor["bits_mean"] < 0.8 * rich["bits_mean"] and poor["nmse_db"] > rich["nmse_db"]
    assert cards[1]["recipe"]["init"].endswith("tiny-net-l0.0001")
    samples = read_samples(tmp_path / "tiny-net-l0.02")
    assert samples.metric == "objective_db"
    assert samples.values.mean() == pytest.approx(10 ** (poor["nmse_db"] / 10) + 0.02 * poor["bits_mean"], abs=1.2e-3)
    trained = TrainedModel(str(tmp_path / "tiny-net-l0.0001"))
    # The estimate of the training and the bits that were counted: rate is estimated in training, measured in the link.
    curve = cards[0]["training"]["curve"]
    assert abs(curve[-1]["val_bits"] - rich["bits_mean"]) < 0.25 * rich["bits_mean"] + 3
    learned = trained.tables["mid_tread-b5"].learned
    assert learned.shape == (LATENTS, 32) and (np.abs(learned.sum(axis=1) - 2**24) < 100).all()
    config = CsiConfig(store.layout.panel, 1, 16, store.layout.spacing_hz, 4)
    h = (np.random.default_rng(0).standard_normal((5, 2, 1, 16, 16, 2)) @ [1, 1j]).astype(np.complex64)
    lengths = {}
    for prior in ("latent", "pooled", "learned"):
        scheme = AutoencoderFeedback(config, weights=str(trained.folder), prior=prior)
        report = scheme.report(CsiEstimate(h, np.zeros((5, 2), np.float32)))
        assert scheme.reconstruct(report).valid.all()
        lengths[prior] = report.num_bits.mean()
    assert len(set(lengths.values())) == 3


@pytest.mark.long
def test_training_in_three_stages(store, tmp_path):
    """Chen et al.: without quantiser, offset network alone, all together; the middle stage moves nothing else."""
    stages = [
        {"epochs": 2, "learning_rate": 1e-3, "quantize": False},
        {"epochs": 1, "learning_rate": 1e-3, "train": "offset"},
        {"epochs": 1, "learning_rate": 1e-4},
    ]
    params = {"num_latents": LATENTS, "latent_activation": "tanh", "image_activation": "linear", "offset_layers": 2}
    recipe = recipe_of("staged", model={"name": "csinet", "params": params}, stages=stages)
    seen = {}

    def snapshot(line):
        files = sorted((tmp_path / "net").glob("best-*.npz"))
        seen[line.split(":")[0]] = {f.name: dict(np.load(f)) for f in files}

    card = run_training(recipe, store, tmp_path / "net", snapshot)
    epochs = json.loads((tmp_path / "net" / "history.json").read_text())["epochs"]
    assert [e["stage"] for e in epochs] == [0, 0, 1, 2]
    before, after = seen["epoch 3/4"]["best-0.npz"], seen["epoch 3/4"]["best-1.npz"]
    model = untrained(recipe, np.zeros((50, 8, 16, 2), np.float32))
    offset = {id(v) for v in model.autoencoder.offset.variables}
    for index, variable in enumerate(model.variables):
        moved = not np.array_equal(before[f"v{index}"], after[f"v{index}"])
        if any(variable is v for v in model.autoencoder.trainable_variables):
            assert not moved or id(variable) in offset, variable.path
    last = [f"v{i}" for i, v in enumerate(model.variables) if id(v) in offset]
    assert any((before[key] != after[key]).any() for key in last)
    assert card["model"]["params"]["offset_layers"] == 2


@pytest.mark.long
def test_per_sample_scale_is_sent_and_counted(store, tmp_path):
    """With ``scale_bits`` the latents may have any size; every image pays for its scale."""
    quantizer = {"name": "mu_law", "bits": [3], "scale_bits": 6}
    params = {**LINEAR, "latent_gain": 37.0}
    recipe = recipe_of("scaled", model={"name": "csinet", "params": params}, quantizer=quantizer, init="pca")
    card = run_training(recipe, store, tmp_path / "net", lambda line: None)
    assert card["test"]["codecs"]["mu_law-b3-fixed-latent"]["bits_max"] == 6 + 3 * LATENTS
    assert card["test"]["codecs"]["mu_law-b3-fixed-latent"]["nmse_db"] < -1


@pytest.mark.parametrize("quantizer", ["lloyd_max", "vector", "uniform"])
@pytest.mark.long
def test_other_quantisers_in_the_loop(store, tmp_path, quantizer):
    section = {"name": quantizer, "bits": [4], "calibrate": quantizer != "vector"}
    recipe = recipe_of("net", quantizer=section, init="pca", epochs=1)
    card = run_training(recipe, store, tmp_path / "net", lambda line: None)
    entry = card["test"]["codecs"][f"{quantizer}-b4-fixed-latent"]
    assert entry["bits_max"] == LATENTS * 4 // (2 if quantizer == "vector" else 1)
    assert entry["nmse_db"] < -1


FEW = {"encoder_layers": 1, "decoder_layers": 1}


@pytest.mark.long
def test_eigenvectors_as_target(store, tmp_path, graphs):
    """Directions of subbands through the link: SGCS of the card is that of the link, and beats chance."""
    recipe = recipe_of(
        "evt-tiny",
        task="eigenvector",
        subband_size=4,
        model={"name": "evt", "params": {"num_latents": 24, "dim": 16, "hidden": 16, **FEW}},
        quantizer={"name": "uniform", "bits": [2], "unquantized_share": False},
        epochs=12,
        batch_size=20,
        learning_rate=3e-3,
    )
    card = run_training(recipe, store, tmp_path / "net", lambda line: None)
    curve = [e["val_loss"] for e in card["training"]["curve"]]
    assert curve[-1] < curve[0] and card["test"]["codecs"]["uniform-b2-fixed-latent"]["bits_max"] == 48
    config = CsiConfig(store.layout.panel, 1, 16, store.layout.spacing_hz, 4)
    scheme = EigenvectorFeedback(config, weights=str(tmp_path / "net"))
    h = np.concatenate([h for h, _ in store.read("test")])[:, None, :, :, 0]
    known = scheme.reconstruct(scheme.report(CsiEstimate(h, np.zeros((len(h), 1), np.float32))))
    w = subband_eigenvectors(h, 4, 1)[:, 0, 0]  # [sample, subband, port]
    found = np.moveaxis(known.w[:, 0, :, 0], 1, 2)
    sgcs = np.mean(np.abs(np.sum(w.conj() * found, axis=-1)) ** 2)
    assert sgcs == pytest.approx(card["test"]["codecs"]["uniform-b2-fixed-latent"]["sgcs_subband"], abs=2e-4)
    assert read_samples(tmp_path / "net").values.mean() == pytest.approx(sgcs, abs=2e-4)


def test_sum_rate_loss_is_minus_the_rate_of_the_link(store):
    """Against a loop over drops, frequencies and users in NumPy, and a gradient that increases the rate."""
    rng = np.random.default_rng(3)
    panel, users, snr_db = store.layout.panel, 2, 7.0
    truth = load_images(store, "test", ImageView(store.layout, 8))[0][:8]
    known = truth + 0.3 * rng.standard_normal(truth.shape).astype(np.float32)
    loss = sum_rate_loss(panel, 8, 16, users, snr_db, 16)
    values = np.asarray(loss(truth, known))
    gain = (16 / 8) ** 0.5
    h, h_hat = (gain * from_angular_delay(to_complex(x), panel, 16) for x in (truth, known))
    for drop in range(4):
        rows = slice(2 * drop, 2 * drop + 2)
        rates = np.zeros((16, users))
        for n in range(16):
            g = h_hat[rows, :, n].astype(complex)
            w = np.linalg.pinv(g)
            w /= np.linalg.norm(w, axis=0) * users**0.5
            e = np.abs(h[rows, :, n] @ w) ** 2
            noise = 10 ** (-snr_db / 10)
            rates[n] = [np.log2(1 + e[u, u] / (e[u].sum() - e[u, u] + noise)) for u in range(users)]
        np.testing.assert_allclose(values[rows], -rates.mean(axis=0), rtol=2e-3)
    import tensorflow as tf

    x = tf.Variable(known)
    with tf.GradientTape() as tape:
        total = tf.reduce_mean(loss(truth, x))
    step = tape.gradient(total, x)
    assert float(tf.reduce_mean(loss(truth, x - 0.5 * step / tf.norm(step)))) < float(total)


# Bits and teachers

PAIRS = {
    **RECIPE,
    "name": "pairs",
    "ue": {"num_rx_ant": 2},
    "splits": {"train": 160, "val": 40, "test": 40},
    "parts": [{"channel": {"model": "rayleigh", "taps": 2}}],
}
BIT_NETWORK = {
    **{"num_latents": 10, "features": 6, "tokens": 4, "bit_features": 8, "dim": 8, "num_heads": 2, "hidden": 12},
    **{"num_layers": 1, "dropout": 0.1, "logit_gain": 4.0},
}


@pytest.fixture(scope="module")
def pairs(place):
    """UEs with two antennas."""
    return make_dataset(parse_recipe(PAIRS), place / "pairs")


def bit_recipe(name, **changes):
    data = {
        **{
            "task": "variable_bit",
            "name": name,
            "seed": 2,
            "dataset": "pairs",
            "target": "mimo",
            "domain": "antenna_frequency",
        },
        **{"model": {"name": "variable_bit", "params": BIT_NETWORK}, "concrete": {}, "epochs": 2, "batch_size": 80},
    }
    return {**data, **changes}


@pytest.fixture(scope="module")
def teacher(place, pairs):
    """Folder of a network that always sends all its bits."""
    recipe = parse_training(bit_recipe("teacher", concrete={"variable": False}, epochs=1))
    card = run_training(recipe, pairs, place / "teacher", lambda line: None)
    assert list(card["test"]["by_bits"]) == ["10"]
    assert summary(read_samples(place / "teacher"))["nmse_db"] == card["test"]["by_bits"]["10"]["nmse_db"]
    return place / "teacher"


def weights_of(folder):
    return TrainedModel(str(folder)).model.get_weights()


@pytest.mark.long
def test_a_teacher_stays_as_it_is_and_out_of_the_checkpoint(pairs, teacher, tmp_path):
    models, saved = {}, {}
    for name, changes in (("alone", {}), ("taught", {"distill": {"teacher": str(teacher), "alpha": 0.9}})):
        recipe = parse_training(bit_recipe(name, epochs=1, **changes))
        models[name], _ = run(task_of(recipe.task)(recipe, [pairs]), tmp_path / name, lambda line: None)
        with np.load(tmp_path / name / "epoch-0001.npz") as arrays:
            saved[name] = {key: arrays[key].shape for key in arrays.files}
    assert saved["taught"] == saved["alone"]
    for now, before in zip(models["taught"].distillation.teacher.get_weights(), weights_of(teacher), strict=True):
        np.testing.assert_array_equal(now, before)
    alone, taught = (models[name].autoencoder.decoder.get_weights() for name in ("alone", "taught"))
    assert any(np.abs(a - b).max() > 1e-5 for a, b in zip(alone, taught, strict=True))


@pytest.mark.long
def test_interrupted_and_resumed_training_of_bits_is_the_same(pairs, teacher, tmp_path):
    """Relaxed bits, lengths, dropout, teacher and restarts of the learning rate go on where they were."""
    recipe = parse_training(
        bit_recipe("vb", distill={"teacher": str(teacher)}, restarts={"first_epochs": 0.5}, loss="mse")
    )
    run_training(recipe, pairs, tmp_path / "whole", lambda line: None)

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(recipe, pairs, tmp_path / "net", stop)
    assert not (tmp_path / "net" / "card.json").exists()
    run_training(recipe, pairs, tmp_path / "net", lambda line: None)
    cards = [json.loads((tmp_path / name / "card.json").read_text()) for name in ("whole", "net")]
    curves = [[(e["loss"], e["val_loss"]) for e in card["training"]["curve"]] for card in cards]
    assert curves[0] == curves[1] and cards[0]["test"] == cards[1]["test"]
    for a, b in zip(weights_of(tmp_path / "whole"), weights_of(tmp_path / "net"), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.long
def test_bits_are_trained_from_a_stream(pairs, tmp_path):
    recipe = parse_training(bit_recipe("vb", memory_gib=1e-6))
    card = run_training(recipe, pairs, tmp_path / "net", lambda line: None)
    assert card["dataset"]["samples"]["train"] == 160 and len(card["training"]["curve"]) == 2
    assert np.isfinite([e["loss"] for e in card["training"]["curve"]]).all()


@pytest.mark.long
def test_real_latents_of_all_antennas_and_their_network_as_teacher(pairs, tmp_path):
    """The sparse code in the scores takes images of one antenna only."""
    params = {"num_latents": 16, "image_activation": "linear"}
    changes = {"task": "autoencoder", "quantizer": {"name": "uniform", "bits": [3]}, "init": "pca", "epochs": 1}
    data = bit_recipe("reals", model={"name": "csinet", "params": params}, **changes)
    del data["concrete"]
    recipe = parse_training(data)
    scores = run_training(recipe, pairs, tmp_path / "net", lambda line: None)["test"]["codecs"][
        "uniform-b3-range-latent"
    ]
    assert "klt_at_these_bits" in scores and "sparse_at_these_bits" not in scores
    x = load_images(pairs, "test", ImageView(pairs.layout, 8, target="mimo", domain="antenna_frequency"))[0]
    student = untrained(parse_training(bit_recipe("vb", distill={"teacher": str(tmp_path / "net")})), x)
    trained = TrainedModel(str(tmp_path / "net"))
    images = np.asarray(student.distillation.teacher_images(x))
    np.testing.assert_allclose(images, trained.decode(trained.encode(x)), atol=1e-5)


@pytest.mark.backend
@pytest.mark.slow
def test_bits_and_teachers_train_under_every_backend(pairs, teacher, tmp_path, graphs):
    """Finite losses; the folder scores as its card says."""
    changes = {"distill": {"teacher": str(teacher)}, "restarts": {"first_epochs": 1}}
    card = run_training(parse_training(bit_recipe("vb", **changes)), pairs, tmp_path / "net", lambda line: None)
    losses = np.array([(e["loss"], e["val_loss"]) for e in card["training"]["curve"]])
    assert card["training"]["backend"] == keras.backend.backend() and np.isfinite(losses).all()
    x = load_images(pairs, "test", ImageView(pairs.layout, 8, target="mimo", domain="antenna_frequency"))[0]
    here = summary(bit_scores(tmp_path / "net", x, True))["by_bits"]
    for num_bits, entry in card["test"]["by_bits"].items():
        assert entry["nmse_db"] == pytest.approx(here[num_bits]["nmse_db"], abs=2e-3)


@pytest.mark.long
def test_wrong_recipes(store):
    for changes, words in (
        ({"rate": {"weight": [1e-3]}}, "rate.*unquantized_share false"),
        ({"rate": {"weight": []}}, "weight"),
        ({"loss": "sgcs"}, "loss.*nmse"),
        ({"loss": "sum_rate", "batch_size": 41}, "batch_size.*multiple"),
        ({"quantizer": {"name": "foo"}}, "quantizer.*foo"),
        ({"model": {"name": "foo"}}, "model.*foo"),
        ({"stages": [{"epochs": 1, "learning_rate": 1e-3, "train": "some"}]}, "stages.*train"),
    ):
        with pytest.raises(ConfigError, match=words):
            recipe_of("net", **changes)
    with pytest.raises(ConfigError, match=r"init.*no linear start"):
        untrained(recipe_of("net", model={"name": "clnet"}, init="pca"), np.zeros((50, 8, 16, 2), np.float32))
    with pytest.raises(ConfigError, match=r"model.params.*multiples"):
        untrained(recipe_of("net", model={"name": "stnet"}), np.zeros((50, 8, 16, 2), np.float32))


@pytest.mark.long
def test_the_command_doubles(store, trained, tmp_path, capsys):
    """The finished plain training is the half; the card of the other says what twice the epochs gained."""
    file = written(tmp_path / "t.yaml", TRAINING)
    csilink("train", file, "--store", store.folder, "--out", tmp_path / "full", "--double", "--half", trained)
    card = json.loads((tmp_path / "full" / "card.json").read_text())
    found, half = card["converged"], json.loads((trained / "card.json").read_text())
    assert card["training"]["epochs"] == 6 and found["samples"] == [600, 1200]
    key = "mu_law-b2-range-latent"
    for name, scored in (("half", half), ("full", card)):
        assert found[name] == pytest.approx(scored["test"]["codecs"][key]["nmse_db"], abs=1e-3)
    assert f"doubling test, nmse_db: {found['half']} to {found['full']}, " in capsys.readouterr().out
