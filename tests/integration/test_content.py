"""Results belong to a scenario and to the content of what it reads; what is damaged is told and computed again."""

import itertools
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from inline import Inline
from typer.testing import CliRunner

import benchmarks
from benchmarks import provenance, results_folder, runner
from benchmarks.cli import app
from benchmarks.rebuild import mend_tables
from benchmarks.report.report import write_report
from benchmarks.results_folder import read_points
from benchmarks.verify import verify
from benchmarks.worker import compute
from receivers.codebooks.rvq import rvq_codebook
from receivers.codebooks.stored import write_codebook
from simulator.core.content import own_version
from simulator.core.errors import StoreError
from simulator.core.types import Panel
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter

SCENARIO = {
    "name": "small",
    "carrier": {"num_rb": 4},
    "bs": {"n1": 4, "n2": 1, "num_pol": 1},
    "channel": {"model": "rayleigh"},
    "feedback": [{"scheme": "rvq", "bits": 4}, {"scheme": "perfect"}],
    "precoding": {"precoders": ["mrt"]},
    "snr_db": [0, 10],
    "run": {"drops": 128, "chunk_drops": 32},
}


def book(folder, seed):
    """A codebook of 16 words."""
    shutil.rmtree(folder, ignore_errors=True)
    write_codebook(folder, "book", Panel(4, 1, 1), {"one": rvq_codebook(4, 4, seed)})
    return {"feedback": [{"scheme": "codebook", "path": str(folder)}]}


def stored(folder, seed, spacing_hz=360e3):
    """A store of 40 flat channels."""
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(seed)
    h = np.broadcast_to(rng.standard_normal((40, 1, 4, 1, 1)).astype(np.complex64), (40, 1, 4, 1, 4))
    with StoreWriter(folder, ChannelLayout(Panel(4, 1, 1), 4, spacing_hz), name="data") as writer:
        writer.add("test", np.ascontiguousarray(h))
        writer.finish({})
    return {"channel": {"model": "recorded", "store": str(folder)}}


@pytest.fixture
def go(run_here, tmp_path):
    """Run a scenario in this process."""

    def run(out="r", resume=False, report=False, drops=None, **changes):
        file = tmp_path / "s.yaml"
        file.write_text(yaml.safe_dump({**SCENARIO, **changes}))
        before = Inline.computed
        frame = benchmarks.run(file, out=tmp_path / out, resume=resume, report=report, drops=drops)
        return frame, Inline.computed - before

    return run


def chunks(folder):
    return sorted(folder.glob("points/*/chunk-*.npz"))


def csilink(*argv):
    return CliRunner().invoke(app, list(map(str, argv)))


# Another scenario, another content, another process


@pytest.mark.long
def test_resuming_with_another_scenario_is_refused_with_what_differs(go, tmp_path):
    go(sweep={"feedback.rvq.bits": [2, 4]})
    before = {p: p.read_bytes() for p in (tmp_path / "r").rglob("*") if p.is_file()}
    others = {
        r"feedback\.0\.bits: 4 -> 6": {
            "feedback": [{"scheme": "rvq", "bits": 6}, SCENARIO["feedback"][1]],
            "sweep": {},
        },
        r"snr_db: \[0\.0, 10\.0\] -> \[0\.0\]": {"snr_db": [0], "sweep": {"feedback.rvq.bits": [2, 4]}},
        r"sweep\.feedback\.rvq\.bits: \[2, 4\] -> \[2\]": {"sweep": {"feedback.rvq.bits": [2]}},
        r"channel\.taps: 1 -> 2": {"channel": {"model": "rayleigh", "taps": 2}, "sweep": {"feedback.rvq.bits": [2, 4]}},
    }
    for said, changes in others.items():
        with pytest.raises(StoreError, match=rf"another scenario \(.*{said}"):
            go(resume=True, **changes)
    assert {p: p.read_bytes() for p in (tmp_path / "r").rglob("*") if p.is_file()} == before


@pytest.mark.long
def test_resuming_is_adding(go, tmp_path):
    go(sweep={"feedback.rvq.bits": [2, 4]})
    old = chunks(tmp_path / "r")
    frame, computed = go(resume=True, name="renamed", description="more", sweep={"feedback.rvq.bits": [2, 3, 4]})
    assert computed == 4 and set(frame["scenario"]) == {"renamed"} and set(old) < set(chunks(tmp_path / "r"))
    frame, computed = go(resume=True, drops=192, sweep={"feedback.rvq.bits": [2, 3, 4]})
    assert computed == 6 and set(frame["num_samples"]) == {192}
    assert go("fresh", drops=192, sweep={"feedback.rvq.bits": [2, 3, 4]})[0].equals(frame)


@pytest.mark.long
@pytest.mark.parametrize("make", [book, stored])
def test_replaced_files_are_refused_and_never_mixed(go, tmp_path, make):
    parts = make(tmp_path / "x", 1)
    old, _ = go(**parts)
    make(tmp_path / "x", 2)
    with pytest.raises(StoreError, match=r"computed with others \(.*x(/card\.json)?: other content"):
        go(resume=True, drops=256, **parts)
    # Also where nobody compares: the points have other keys.
    (tmp_path / "r" / "content.json").unlink()
    mixed, computed = go(resume=True, drops=256, **parts)
    fresh, _ = go("fresh", drops=256, **parts)
    assert computed == 8 and mixed.equals(fresh) and not mixed.equals(old)


def test_a_file_that_changes_during_the_run_stops_it(go, tmp_path):
    parts = book(tmp_path / "x", 1)
    go(**parts)
    (point,) = read_points(tmp_path / "r")[1]
    text = point.scenario.model_dump_json(exclude={"sweep"})
    compute(text, 0, 8, point.content)
    book(tmp_path / "x", 2)
    with pytest.raises(StoreError, match=r"card\.json: has another content than at the start"):
        compute(text, 1, 8, {**point.content, "again": ""})


@pytest.mark.long
def test_the_version_of_csilink_and_of_plugins_is_in_the_key(go, tmp_path, monkeypatch):
    from simulator.core import registry

    go()
    key = read_points(tmp_path / "r")[1][0].key
    later = replace(runner.load_points(tmp_path / "s.yaml")[1][0], version="9.9")
    assert later.key != key == replace(later, version=own_version()).key
    monkeypatch.setattr(results_folder, "own_version", lambda: "9.9")
    with pytest.raises(StoreError, match=r"another scenario|computed with others \(csilink: '.*' -> '9\.9'\)"):
        go(resume=True)
    monkeypatch.undo()
    package = tmp_path / "guest_csi.py"
    package.write_text("from receivers.feedback.perfect import PerfectFeedback as Guest\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for number, text in enumerate(("1.0", "1.1", "1.1")):
        if number == 2:
            package.write_text(package.read_text() + "# changed\n")
        info = tmp_path / "guest_csi-1.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: guest-csi\nVersion: {text}\n")
        (info / "entry_points.txt").write_text("[csilink.feedback]\nguest = guest_csi:Guest\n")
        registry._points.cache_clear()
        (tmp_path / "s.yaml").write_text(yaml.safe_dump({**SCENARIO, "feedback": [{"scheme": "guest"}]}))
        unit = runner._plan(runner.load_points(tmp_path / "s.yaml")[1][0], tmp_path)[0][0]
        found.append((unit.point.key, unit.point.content["feedback.guest"]))
    registry._points.cache_clear()
    assert (
        len(set(found)) == 3 and found[0][1].startswith("guest-csi 1.0 ") and found[2][1].startswith("guest-csi 1.1 ")
    )


def test_two_runs_at_once_are_two_folders(go, tmp_path):
    from simulator.core.lock import held

    go()
    with held(tmp_path / "r"), pytest.raises(StoreError, match=r"r: process \d+ writes here"):
        go(resume=True)


# Damage


DAMAGE = {
    "zeroed block": lambda path, other: path.write_bytes(
        path.read_bytes()[:512] + bytes(512) + path.read_bytes()[1024:]
    ),
    "nan": lambda path, other: rewritten(path, mean=lambda x: x * np.nan),
    "short": lambda path, other: rewritten(path, mean=lambda x: x[:-1]),
    "negative drops": lambda path, other: rewritten(path, drops=lambda x: -x),
    "copied over": lambda path, other: path.write_bytes(other.read_bytes()),
    "empty": lambda path, other: path.write_bytes(b""),
}


def rewritten(path, **changes):
    with np.load(path) as data:
        arrays = dict(data)
    np.savez(path, **{key: changes.get(key, lambda x: x)(value) for key, value in arrays.items()})


@pytest.mark.long
def test_damaged_chunks_are_computed_again(go, tmp_path, capsys):
    """One of each kind of damage, between two that are sound."""
    drops = 32 * (len(DAMAGE) + 2)
    whole, _ = go(drops=drops)
    _, *files, sound = chunks(tmp_path / "r")
    for damage, file in zip(DAMAGE.values(), files, strict=True):
        damage(file, sound)
    capsys.readouterr()
    again, computed = go(resume=True, drops=drops)
    assert computed == len(files) and again.equals(whole)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(files) and all("computed again" in line for line in said)
    assert all(sum(f"{file.name}: " in line for line in said) == 1 for file in files)


@pytest.mark.long
def test_tables_are_written_again_from_the_chunks(go, tmp_path, capsys):
    go()
    capsys.readouterr()
    names = ("results.csv", "user_rate_cdf.csv", "results.parquet", "manifest.json")
    for name, how in itertools.product(names, ("truncated", "gone")):
        path = tmp_path / "r" / name
        before = path.read_bytes()
        path.write_bytes(before[: len(before) * 2 // 3]) if how == "truncated" else path.unlink()
        mend_tables(tmp_path / "r")
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and f"{name} not as the run wrote it; written from the chunks" in said, how
        if name != "manifest.json":
            assert path.read_bytes() == before
        mend_tables(tmp_path / "r")
        assert capsys.readouterr().err == "" and not (tmp_path / "r" / ".lock").exists()


@pytest.mark.long
def test_a_report_of_a_cut_table_is_that_of_the_whole_one(go, tmp_path):
    go(report=True, snr_db=[0], feedback=[{"scheme": "perfect"}])
    table, page = (tmp_path / "r" / name for name in ("results.csv", "report.html"))
    before = page.read_bytes()
    table.write_bytes(table.read_bytes()[:200])
    assert csilink("report", tmp_path / "r").exit_code == 0 and page.read_bytes() == before


def test_a_report_without_all_chunks_is_an_error(go, tmp_path):
    go()
    (tmp_path / "r" / "results.csv").write_text("scenario\n")
    chunks(tmp_path / "r")[2].unlink()
    with pytest.raises(StoreError, match=r"chunk-00000064-32\.npz: missing; `csilink run` with --resume"):
        write_report(tmp_path / "r")


def test_temporaries_of_killed_runs_are_swept(go, tmp_path):
    go()
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left = [
        chunks(tmp_path / "r")[0].parent / f".chunk-00000288-32.npz.{process.pid}",
        tmp_path / "r" / f".r.csv.{process.pid}",
    ]
    for path in left:
        path.write_bytes(b"half")
    go(resume=True)
    assert not any(path.exists() for path in left)


# `csilink verify`


def test_verify_results(go, tmp_path):
    go(**book(tmp_path / "x", 1))
    folder = tmp_path / "r"
    lines = list(verify(folder))
    assert all(sound for sound, _ in lines)
    told = "\n".join(text for _, text in lines)
    for part in ("chunk-00000096-32.npz", "results.csv: hash", "results.csv: from the chunks", "x/card.json"):
        assert part in told
    assert csilink("verify", folder).exit_code == 0
    (folder / "results.csv").write_text(
        (folder / "results.csv").read_text().replace("rvq", "xyz").replace("0.9", "0.8")
    )
    rewritten(chunks(folder)[1], mean=lambda x: x + 1)
    book(tmp_path / "x", 2)
    bad = [text for sound, text in verify(folder) if not sound]
    assert len([text for text in bad if "chunk-00000032-32.npz: damaged" in text]) >= 1
    assert any(text.startswith("results.csv: ") for text in bad)
    assert any("x/card.json: has another content now" in text for text in bad)


def test_verify_stores_weights_and_codebooks(tmp_path):
    stored(tmp_path / "s", 1)
    book(tmp_path / "b", 1)
    zoo = Path(__file__).resolve().parents[2] / "receivers" / "zoo"
    for name in ("klt-mixed", "transnet-250"):
        shutil.copytree(zoo / name, tmp_path / name)
    damaged = {"s": "test-00000.h5", "b": "one.npy", "klt-mixed": "klt.npz", "transnet-250": "tables.npz"}
    for folder, file in damaged.items():
        done = csilink("verify", tmp_path / folder)
        assert done.exit_code == 0 and file in done.output, done.output
        path = tmp_path / folder / file
        path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
        assert [text.split(":")[0] for sound, text in verify(tmp_path / folder) if not sound] == [file]
        assert csilink("verify", tmp_path / folder).exit_code != 0
    with pytest.raises(StoreError, match="allowed: results, a store, weights"):
        list(verify(tmp_path))


def test_layout_is_part_of_the_hash_of_a_store(tmp_path):
    stored(tmp_path / "a", 1, 30e3)
    stored(tmp_path / "b", 1, 360e3)
    a, b = (ChannelStore(tmp_path / name) for name in "ab")
    assert a.shards == b.shards and a.hash != b.hash


# The manifest


def test_the_manifest_tells_code_machine_and_content(go, tmp_path):
    go(**book(tmp_path / "x", 1))
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    card = str(tmp_path / "x" / "card.json")
    assert len(manifest["hashes"][card]) == 64 and {"results.csv", "user_rate_cdf.csv"} < set(manifest["hashes"])
    machine = manifest["machine"]
    assert machine["cpu"] and machine["memory_gib"] > 0 and machine["blas"] and machine["onednn"] is False
    assert machine["threads_per_worker"] == 1 and machine["engine"] == "local" and machine["workers"] >= 1
    assert manifest["versions"]["csilink"]


def repository(folder, name):
    """A git repository with packages of ours in it."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(f"[project]\nname = '{name}'\n")
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "x.py").write_text("x = 1\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder)]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    return folder


def test_only_a_checkout_of_csilink_has_a_commit(tmp_path):
    nothing = {"commit": None, "dirty": None}
    ours = repository(tmp_path / "ours", "csilink")
    found = provenance.commit(ours)
    assert len(found["commit"]) == 40 and found["dirty"] is False
    (ours / "notes.txt").write_text("no code")
    assert provenance.commit(ours) == found
    (ours / "benchmarks" / "y.py").write_text("y = 1\n")
    assert provenance.commit(ours) == {**found, "dirty": True}
    # Packages installed in an environment inside somebody's own repository.
    theirs = repository(tmp_path / "theirs", "thesis")
    assert provenance.commit(theirs) == nothing
    place = theirs / ".venv" / "lib" / "site-packages"
    place.mkdir(parents=True)
    assert provenance.commit(place) == nothing
    (place / "pyproject.toml").write_text("[project]\nname = 'csilink'\n")
    assert provenance.commit(place) == nothing
