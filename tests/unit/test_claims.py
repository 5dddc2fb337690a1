"""What is made in a folder belongs to its recipe and its stores, by content."""

import json
import shutil

import numpy as np
import pytest

from benchmarks import dataset
from benchmarks.claim import FILE, claimed, differences
from benchmarks.data_sets import store_folder
from benchmarks.dataset import make_dataset
from benchmarks.papers.stores import paper_store
from benchmarks.train import train
from receivers.training.recipe import parse_training
from scenarios.dataset import parse_recipe
from simulator.core.errors import ConfigError, StoreError
from simulator.core.lock import held
from simulator.core.types import Panel
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter

BOOK = {"task": "codebook", "name": "cb", "environments": {"one": "data"}, "bits": 4, "method": "lbg"}
KLT = {
    "task": "klt",
    "name": "k",
    "dataset": "data",
    "num_delays": 4,
    "model": {"name": "klt", "params": {"num_components": 8}},
}


def stored(folder, seed, name="data"):
    """A store of 40 channels in every split."""
    rng = np.random.default_rng(seed)
    with StoreWriter(folder, ChannelLayout(Panel(4, 1, 1), 8, 360e3), name=name) as writer:
        for split in ("train", "val", "test"):
            writer.add(split, rng.standard_normal((40, 1, 4, 1, 8, 2)).astype(np.float32).view(np.complex64)[..., 0])
        writer.finish({})
    return ChannelStore(folder)


def test_a_finished_codebook_belongs_to_its_recipe_and_store(tmp_path):
    one, two = stored(tmp_path / "1", 1), stored(tmp_path / "2", 2)
    folder = tmp_path / "cb"
    made = train(parse_training(BOOK), one, folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert made["made_by"]["environments"]["one"]["store"]["sha256"] == one.hash != two.hash
    assert made["made_by"]["csilink"]
    with pytest.raises(StoreError, match=r"cb: made with another recipe or inputs \(recipe\.bits: 4 -> 5\)"):
        train(parse_training({**BOOK, "bits": 5}), one, folder)
    with pytest.raises(StoreError, match=r"cb: made with another recipe or inputs \(stores\.one: other content\)"):
        train(parse_training(BOOK), two, folder)
    train(parse_training(BOOK), one, folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    with held(folder), pytest.raises(StoreError, match="writes here"):
        train(parse_training(BOOK), one, folder)
    (folder / FILE).unlink()  # of a csilink that noted no inputs
    with pytest.raises(StoreError, match="inputs that were not noted"):
        train(parse_training(BOOK), one, folder)


def test_finished_weights_belong_to_their_recipe_and_store(tmp_path):
    one, two = stored(tmp_path / "1", 1), stored(tmp_path / "2", 2)
    folder = tmp_path / "k"
    card = train(parse_training(KLT), one, folder)
    assert card["dataset"]["store_sha256"] == one.hash and card["training"]["csilink"]
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(StoreError, match=r"\(recipe\.num_delays: 4 -> 2\)"):
        train(parse_training({**KLT, "num_delays": 2}), one, folder)
    with pytest.raises(StoreError, match=r"\(stores\.data: other content\)"):
        train(parse_training(KLT), two, folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert train(parse_training(KLT), one, folder) == card


def test_weights_to_start_at_are_an_input(tmp_path):
    from benchmarks.claim import training_inputs

    store = stored(tmp_path / "1", 1)
    train(parse_training(KLT), store, tmp_path / "k")
    network = {**KLT, "task": "autoencoder", "model": {"name": "csinet"}, "init": str(tmp_path / "k")}
    before = training_inputs(parse_training(network), {"data": store})
    card = tmp_path / "k" / "card.json"
    card.write_text(card.read_text().replace('"description": ""', '"description": "other"'))
    found = differences(before, training_inputs(parse_training(network), {"data": store}))
    assert found == [f"reads.{card}: other content"]


def test_a_fault_before_anything_is_made_leaves_nothing(tmp_path):
    with pytest.raises(ConfigError), claimed(tmp_path / "x", {"recipe": {}}):
        raise ConfigError("init", "nowhere", "random")
    assert not (tmp_path / "x").exists()
    with pytest.raises(KeyboardInterrupt), claimed(tmp_path / "x", {"recipe": {}}):
        (tmp_path / "x" / "epoch-0001.npz").touch()
        raise KeyboardInterrupt
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["epoch-0001.npz", FILE]


def test_a_recipe_names_its_data_by_any_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(store_folder("urban")) == "datasets/urban" and str(store_folder("./x/y")) == "x/y"
    store = stored(tmp_path / "anywhere" / "folder", 1, name="other")
    for named in ("anywhere/folder", str(tmp_path / "anywhere" / "folder"), "folder", "other"):
        card = train(parse_training({**KLT, "dataset": named}), store, tmp_path / "k")
        assert card["dataset"]["store_sha256"] == store.hash
        shutil.rmtree(tmp_path / "k")
    with pytest.raises(ConfigError, match=r"--store: got 'other'; allowed: a store of the data set urban"):
        train(parse_training({**KLT, "dataset": "urban"}), store, tmp_path / "k")


def test_a_checkpoint_of_another_epoch_is_told(tmp_path):
    import keras

    from receivers.training.checkpoint import load_variables, save_variables

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile(optimizer="adam", loss="mse")
    model.optimizer.build(model.trainable_variables)
    known = {}
    for epoch in (1, 2):
        model.layers[0].bias.assign([epoch, epoch])
        known[f"e{epoch}.npz"] = save_variables(model, tmp_path / f"e{epoch}.npz")
    load_variables(model, tmp_path / "e1.npz", known=known)
    assert np.array(model.layers[0].bias).tolist() == [1, 1]
    shutil.copyfile(tmp_path / "e2.npz", tmp_path / "e1.npz")
    with pytest.raises(StoreError, match=r"e1\.npz: damaged or missing \(SHA-256 is not that of its epoch\)"):
        load_variables(model, tmp_path / "e1.npz", known=known)


RECIPE = {
    "name": "d",
    "carrier": {"num_rb": 4},
    "bs": {"n1": 4, "n2": 1, "num_pol": 1},
    "parts": [{"channel": {"model": "rayleigh"}}],
    "splits": {"train": 8},
}


def test_a_data_set_belongs_to_its_recipe_and_to_what_that_reads(tmp_path):
    make_dataset(parse_recipe(RECIPE), tmp_path / "d")
    with pytest.raises(StoreError, match=r"data of another recipe; choose another --out \(seed: 1 -> 2\)"):
        make_dataset(parse_recipe({**RECIPE, "seed": 2}), tmp_path / "d")
    with held(tmp_path / "d"), pytest.raises(StoreError, match="writes here"):
        make_dataset(parse_recipe(RECIPE), tmp_path / "d")
    source = {"model": "recorded", "store": str(tmp_path / "s"), "split": "train"}
    recipe = parse_recipe({**RECIPE, "parts": [{"channel": source}]})
    stored(tmp_path / "s", 1)
    made = make_dataset(recipe, tmp_path / "r")
    assert json.loads((tmp_path / "r" / "recipe.json").read_text())["reads"] == {
        source["store"]: ChannelStore(source["store"]).hash
    }
    shutil.rmtree(tmp_path / "s")
    stored(tmp_path / "s", 2)
    with pytest.raises(StoreError, match=r"data of another recipe; .*\(reads\..*/s: other content\)"):
        make_dataset(recipe, tmp_path / "r")
    assert make_dataset(recipe, tmp_path / "fresh").hash != made.hash


def test_the_data_of_a_paper_belong_to_their_section(tmp_path):
    parts = [{"channel": {"model": "rayleigh", "taps": taps}} for taps in (1, 2)]
    section = {**RECIPE, "seed": 1, "parts": parts, "split_by": "part", "shares": {"train": 1, "test": 1}}
    made = paper_store(section, tmp_path / "d")
    assert paper_store(section, tmp_path / "d").hash == made.hash
    for change, said in (({"seed": 2}, "seed: 1 -> 2"), ({"split_by": "sample"}, "by: 'part' -> 'sample'")):
        with pytest.raises(StoreError, match=rf"d: made with another recipe or inputs \({said}"):
            paper_store({**section, **change}, tmp_path / "d")


def test_shards_of_an_unfinished_data_set_are_compared_with_what_was_written(tmp_path, monkeypatch):
    recipe = parse_recipe({**RECIPE, "splits": {"train": 24}, "shard_samples": 8})
    whole = make_dataset(recipe, tmp_path / "whole")
    write, drawn = dataset.write_shard, []

    def stop(path, *args):
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(path.name)
        write(path, *args)

    monkeypatch.setattr(dataset, "write_shard", stop)
    with pytest.raises(KeyboardInterrupt):
        make_dataset(recipe, tmp_path / "d")
    (tmp_path / "d" / "train-00000.h5").write_bytes((tmp_path / "d" / "train-00001.h5").read_bytes())
    monkeypatch.setattr(dataset, "write_shard", lambda path, *args: drawn.append(path.name) or write(path, *args))
    assert make_dataset(recipe, tmp_path / "d").hash == whole.hash
    assert drawn[2:] == ["train-00000.h5", "train-00002.h5"]
    assert not (tmp_path / "d" / dataset.SHARDS).exists()


def test_what_differs_is_named_by_field():
    old = {"a": {"b": [1, 2], "c": [{"d": 1}, {"d": 2}]}, "e": "0" * 64, "g": 1}
    new = {"a": {"b": [1, 3], "c": [{"d": 1}, {"d": 3}]}, "e": "1" * 64, "f": None}
    said = ["a.b: [1, 2] -> [1, 3]", "a.c.1.d: 2 -> 3", "e: other content", "g: 1 -> nothing", "f: nothing -> None"]
    assert differences(old, new) == said and differences(old, old) == []
