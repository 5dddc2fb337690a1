"""Numbers of the papers' READMEs are those of their files; what is kept, trained once, and compared by pairs."""

import re
import shlex
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from typer.main import get_command

from benchmarks.cli import app
from benchmarks.papers.kit.readme import grid, listed, markdown, readme, text, with_tables
from benchmarks.papers.kit.run import PAPERS, Run, load_plan, papers, run_paper, sizes
from benchmarks.papers.kit.seeds import paired
from benchmarks.papers.kit.training import Training, train
from simulator.core.errors import ConfigError, StoreError
from simulator.core.types import Panel
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter


@pytest.mark.parametrize("key", papers())
def test_the_tables_of_a_readme_are_made_of_its_files(key):
    assert (PAPERS / key / "README.md").read_text() == readme(key), f"python -m benchmarks.papers.kit.readme {key}"


@pytest.mark.parametrize("key", papers())
def test_no_table_of_results_is_written_by_hand(key):
    """Outside the markers only tables of words: what differs from the paper, its claims, plans and data."""
    text = re.sub(r"<!-- table: .*?<!-- /table -->", "", (PAPERS / key / "README.md").read_text(), flags=re.S)
    lines = text.splitlines()
    heads = {line for line, rule in pairwise(lines) if rule.startswith(("|---", "| ---"))}
    words = (
        "| paper | here |",
        "| paper or its code | here |",
        "| the paper says | here",
        "| environment | channels |",
    )
    assert all(head.startswith((*words, "| plan | teacher |")) for head in heads), heads


@pytest.mark.parametrize("key", papers())
def test_every_file_of_results_is_a_table_with_its_own_columns(key):
    files = sorted((PAPERS / key / "results").rglob("*.csv"))
    assert files
    for path in files:
        frame = pd.read_csv(path)
        assert len(frame) and not any(name.startswith("Unnamed") for name in frame), path
        if path.name.startswith("printed"):
            assert frame.source.str.fullmatch(r"README of [0-9a-f]{7} .*").all(), path


def test_a_number_of_a_file_reaches_the_text(tmp_path):
    text = "Before\n\n<!-- table: a -->\n| old |\n<!-- /table -->\n\nafter, <!-- table: b -->\n<!-- /table -->\n"
    (tmp_path / "a.csv").write_text("x,y\nred,1.25\nblue,\n")

    def make(results):
        return pd.read_csv(results / "a.csv")

    made = with_tables(text, {"a": make, "b": make}, tmp_path)
    table = "| x | y |\n| --- | --- |\n| red | 1.25 |\n| blue |  |\n"
    assert made == text.replace("| old |\n", table).replace("b -->\n", f"b -->\n{table}")
    assert with_tables(made, {"a": make, "b": make}, tmp_path) == made
    for makers in ({"a": make}, {"a": make, "b": make, "c": make}):
        with pytest.raises(ConfigError, match="README"):
            with_tables(text, makers, tmp_path)
    assert markdown(pd.DataFrame({"x": []})) == "| x |\n| --- |\n"


def test_cells_of_a_readme_by_hand():
    """A spread that is not known goes, a cell without its value is empty, rows stand in the order of their names."""
    frame = pd.DataFrame({"m": ["b", "a", "b"], "n": [1, 2, 2], "x": [0.25, 1.5, np.nan], "std": [0.125, np.nan, 1.0]})
    table = grid(frame, "m", "n", "{x:.1f} ± {std:.2f}", {"a": "A", "b": "B", "c": "C"}, "method")
    assert table.to_dict("list") == {"method": ["A", "B"], 1: ["", "0.2 ± 0.12"], 2: ["1.5", ""]}
    assert text("{x:.2f} ({std:.1f})", {"x": 2.0, "std": np.nan}) == "2.00"
    assert listed(frame, {"both": "{m}, {x:+.2f}"}).both.tolist() == ["b, +0.25", "a, +1.50", ""]


@pytest.mark.parametrize("key", papers())
def test_commands_of_a_readme_are_understood(key):
    lines = [line.partition("#")[0] for line in (PAPERS / key / "README.md").read_text().splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("    csilink paper ")]
    command = get_command(app).commands["paper"]
    assert {words[4] for words in commands} == set(sizes(key))
    for words in commands:
        context = command.make_context("paper", words[2:])
        assert context.params["key"] == key and load_plan(key, context.params["size"])["data"]


def test_unknown_papers_sizes_and_trainings_are_named(tmp_path):
    with pytest.raises(ConfigError, match="nf_kd"):
        sizes("kit")
    with pytest.raises(ConfigError, match="full, small"):
        load_plan("stqenet", "medium")
    assert load_plan("nf_kd", overrides=["seeds.gain=[4]"])["seeds"] == {"scaled": [1, 2, 3], "gain": [4]}
    for key, name in (("stqenet", "indoor/klt"), ("tiny_wifo", "cf-teacher"), ("lvm4cf", "rma3g5/b4/lbg")):
        with pytest.raises(ConfigError, match=name):
            run_paper(key, load_plan(key), tmp_path, ["x"])
    assert not any(tmp_path.iterdir()), "channels are drawn for what is trained"


def test_a_table_is_kept_for_its_plan_and_code(tmp_path, monkeypatch):
    made = []

    def kept(run, name="t.csv"):
        def make(path):
            made.append(name)
            path.write_text(f"x\n{len(made)}\n")

        return int(run.kept(name, make, pd.read_csv).x[0])

    training = Training("k", {}, {})
    monkeypatch.setattr("benchmarks.papers.kit.run.trainings", lambda run: [training])
    run = Run("stqenet", {"a": 1}, tmp_path, {})
    assert kept(run) == kept(run) == 1
    assert kept(run, "u.csv") == 2 and kept(run) == 1
    assert kept(replace(run, plan={"a": 2})) == 3
    assert kept(run) == 4  # the file is that of the other plan
    assert kept(replace(run, key="nf_kd")) == 5
    (tmp_path / "t.csv").unlink()
    assert kept(replace(run, key="nf_kd")) == 6
    monkeypatch.setattr("benchmarks.papers.kit.run.own_version", lambda: "another")
    assert kept(replace(run, key="nf_kd")) == 7
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "card.json").write_text("{}")
    assert kept(replace(run, key="nf_kd")) == kept(replace(run, key="nf_kd")) == 8


def stored(folder):
    rng = np.random.default_rng(3)
    with StoreWriter(folder / "store", ChannelLayout(Panel(4, 1, 1), 8, 360e3), name="data") as writer:
        for split in ("train", "val", "test"):
            writer.add(split, rng.standard_normal((40, 1, 4, 1, 8, 2)).astype(np.float32).view(np.complex64)[..., 0])
        writer.finish({})
    return ChannelStore(folder / "store")


def test_a_finished_training_is_not_repeated_and_belongs_to_its_recipe(tmp_path):
    store = stored(tmp_path)
    recipe = {"task": "klt", "name": "k", "dataset": "data", "num_delays": 4}
    training = Training("k", {**recipe, "model": {"name": "klt", "params": {"num_components": 8}}}, {"data": "a"})
    train(training, {"a": store}, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "k").iterdir()}
    train(training, {"a": store}, tmp_path)
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "k").iterdir()}
    other = {**recipe, "model": {"name": "klt", "params": {"num_components": 4}}}
    with pytest.raises(StoreError, match="num_components: 8 -> 4"):
        train(replace(training, recipe=other), {"a": store}, tmp_path)


def test_pairs_by_hand():
    """Two methods, three seeds, one of them missing: t of one degree of freedom is 12.7062."""
    values = {("a", 1): 1.0, ("a", 2): 2.0, ("a", 3): 9.0, ("b", 1): 0.5, ("b", 2): 2.5}
    frame = pd.DataFrame([{"method": m, "seed": s, "bits": 4, "nmse_db": v} for (m, s), v in values.items()])
    row = paired(frame, ["a", "b", "c"], ["bits"]).iloc[0]
    assert (row.method, row.bits, row.difference, row.seeds) == ("b", 4, 0.0, 2)
    assert row.ci95 == pytest.approx(12.7062 * np.std([-0.5, 0.5], ddof=1) / 2**0.5, rel=1e-4)
    assert np.isnan(paired(frame[frame.seed == 1], ["a", "b"], ["bits"]).ci95[0])
