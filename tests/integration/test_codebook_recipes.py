"""From stores to codebooks in the link, by the command line."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import benchmarks
from benchmarks import cli
from benchmarks.dataset import make_dataset
from receivers.codebooks.rvq import rvq_codebook
from receivers.codebooks.stored import StoredCodebook
from receivers.training.recipe import parse_training
from receivers.training.tasks.codebook import center_rows
from scenarios.dataset import parse_recipe
from simulator.core.errors import ConfigError
from simulator.core.seeding import derive

SMALL = {"fc": {"width": 32, "depth": 1}, "lvm4cf": {"d_model": 16, "hidden": 24, "num_heads": 2, "num_layers": 1}}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two data sets ``near`` and ``far`` under ``datasets/`` of a folder."""
    folder = tmp_path_factory.mktemp("codebooks")
    for seed, name in enumerate(("near", "far")):
        recipe = {
            "name": name,
            "seed": seed,
            "carrier": {"num_rb": 2},
            "bs": {"n1": 4, "n2": 1, "num_pol": 2},
            "parts": [{"channel": {"model": "rayleigh"}}],
            "splits": {"train": 300, "val": 50, "test": 60},
            "shard_samples": 100,
        }
        make_dataset(parse_recipe(recipe), folder / "datasets" / name)
    return folder


def recipe(**changes):
    return {
        "task": "codebook",
        "name": "book",
        "seed": 4,
        "environments": {"near": "near", "far": "far"},
        "bits": 4,
        **changes,
    }


def run(folder, *words):
    result = CliRunner().invoke(cli.app, list(words))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.long
@pytest.mark.parametrize(
    "method",
    [
        {"method": "rvq"},
        {"method": "coloured"},
        {"method": "lbg"},
        {"method": "refine", "side": "ss", "network": {"name": "fc", "params": SMALL["fc"]}, "schedule": {"epochs": 4}},
        pytest.param(
            {
                "method": "refine",
                "network": {"name": "lvm4cf", "params": SMALL["lvm4cf"]},
                "schedule": {"epochs": 4, "update_interval": 2, "batch_size": 50},
            },
            marks=pytest.mark.long,
        ),
    ],
    ids=lambda m: m["method"] + m.get("side", ""),
)
def test_recipe_to_link(stores, tmp_path, monkeypatch, run_here, method):
    monkeypatch.chdir(stores)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(**method)))
    out = tmp_path / "book"
    run(stores, "train", str(path), "--out", str(out))
    card = json.loads((out / "card.json").read_text())
    assert set(card["environments"]) == {"near", "far"} and card["side"] == method.get("side", "ds")
    for name, entry in card["made_by"]["environments"].items():
        assert entry["samples"] == {"train": 300, "val": 50, "test": 60}, name
        assert 0.3 < entry["cosine_test"] < 1
    times = [p.stat().st_mtime_ns for p in sorted(out.iterdir())]
    run(stores, "train", str(path), "--out", str(out))  # finished: nothing is written again
    assert [p.stat().st_mtime_ns for p in sorted(out.iterdir())] == times
    if "network" in method:
        assert card["made_by"]["environments"]["near"]["pretrained"] == "random initialisation"
    stored = StoredCodebook(out)
    base = rvq_codebook(8, 4, derive(4, "rvq", 8, 4))
    if method["method"] == "rvq" or method.get("side") == "ss":
        np.testing.assert_array_equal(stored.searched("far"), base)
    scenario = {
        "name": "books",
        "carrier": {"num_rb": 2},
        "bs": {"n1": 4, "n2": 1, "num_pol": 2},
        "channel": {"model": "rayleigh"},
        "feedback": [{"scheme": "codebook", "path": str(out), "environment": "near"}],
        "snr_db": [10],
        "run": {"drops": 8, "chunk_drops": 8},
    }
    path.write_text(yaml.safe_dump(scenario))
    frame = benchmarks.run(path, out=tmp_path / "run", workers=1, report=False)
    assert set(frame.scheme) == {"book-b4"} and set(frame[frame.metric == "bits_mean"].value) == {5.0}


def test_a_learned_codebook_is_better_than_its_start(stores, tmp_path, monkeypatch):
    monkeypatch.chdir(stores)
    cosine = {}
    for method in ("rvq", "lbg"):
        path = tmp_path / f"{method}.yaml"
        path.write_text(yaml.safe_dump(recipe(method=method, environments={"near": "near"})))
        run(stores, "train", str(path), "--out", str(tmp_path / method))
        card = json.loads((tmp_path / method / "card.json").read_text())
        cosine[method] = card["made_by"]["environments"]["near"]["cosine_test"]
    assert cosine["lbg"] > cosine["rvq"]


def test_rows_are_those_of_the_band_centre(stores):
    from simulator.data.store import ChannelStore

    store = ChannelStore(stores / "datasets" / "near")
    h = np.concatenate([h for h, _ in store.read("train")])
    rows = center_rows(store, "train", 250)
    np.testing.assert_array_equal(rows, h[:250, 0, :, 0, h.shape[-1] // 2])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "refine"}, r"network.*none"),
        ({"method": "lbg", "network": {"name": "fc"}}, r"network.*fc"),
        ({"method": "lbg", "side": "ss"}, r"side.*ss"),
        ({"method": "lbg", "bits": 21}, r"bits.*21"),
        ({"method": "magic"}, r"method.*magic"),
        ({"method": "lbg", "environments": {}}, r"environments"),
        ({"method": "lbg", "colour": 1}, r"colour"),
    ],
)
def test_wrong_recipes(changes, words):
    with pytest.raises(ConfigError, match=words):
        parse_training(recipe(**changes))


def test_unknown_refiners_and_missing_weights_are_named(stores, tmp_path, monkeypatch):
    monkeypatch.chdir(stores)
    for network, words in (
        ({"name": "oracle"}, ("oracle", "lvm4cf")),
        ({"name": "lvm4cf", "params": SMALL["lvm4cf"], "pretrained": "nowhere"}, ("pretrained", "nowhere")),
    ):
        path = tmp_path / "r.yaml"
        path.write_text(yaml.safe_dump(recipe(method="refine", network=network)))
        result = CliRunner().invoke(cli.app, ["train", str(path), "--out", str(tmp_path / "no")])
        assert result.exit_code != 0 and all(word in str(result.exception) for word in words)
        assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("size", ["small", "medium", "full"])
def test_the_recipes_of_the_paper_are_legal(size):
    from benchmarks.papers.kit.run import load_plan
    from benchmarks.papers.lvm4cf import experiments as paper

    plan = load_plan("lvm4cf", size)
    for dataset in plan["data"].values():
        parse_recipe({k: v for k, v in dataset.items() if k not in ("split_by", "shares")})
    made = paper.codebooks(plan)
    assert len(set(made)) == len(made)
    methods = {paper.without_seed(code)[0] for _, _, code in made}
    assert methods >= {"rvq", "coloured", "lbg", "lvm4cf-ds", "lvm4cf-ss", "mlp-ds"}
    for environment, bits, code in made:
        recipe = parse_training(paper.recipe_of(plan, environment, bits, code))
        assert (recipe.name, recipe.bits) == (code, bits)
        method, seed = paper.without_seed(code)
        assert recipe.side == ("ss" if method.endswith("-ss") else "ds")
        assert (seed in plan["seeds"] and recipe.seed == seed) if "seeds" in plan else recipe.seed == plan["seed"]


def test_seeds_of_the_paper_are_paired():
    """A method that is .01 below LBG and .002 below its longer training with every seed, whatever the seed is worth."""
    from types import SimpleNamespace

    from benchmarks.papers.lvm4cf import experiments as paper

    worth = {1: 0.5, 2: 0.6, 3: 0.8}
    offsets = {"lbg": 0.0, "fc-ds": -0.01, "fc-ds-double": -0.008}
    rows = [
        {"environment": "a", "bits": 8, "code": f"{method}-s{seed}", "cosine": value + offset}
        for method, offset in offsets.items()
        for seed, value in worth.items()
    ]
    table = paper.seeds(SimpleNamespace(table=lambda name: pd.DataFrame(rows))).set_index("method")
    assert table.cosine["lbg"] == pytest.approx(1.9 / 3) and (table.seeds == 3).all()
    assert table.less_lbg["fc-ds"] == pytest.approx(-0.01) and table.less_lbg_ci95["fc-ds"] < 1e-9
    assert table.double_gain["fc-ds"] == pytest.approx(0.002) and np.isnan(table.double_gain["lbg"])
