"""A run computes the same whatever happens to it: workers, order, interruption, resumption."""

import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from inline import Inline

import benchmarks
from benchmarks import engines, runner
from benchmarks.memory import block_drops, chunk_drops
from benchmarks.runner import load_points
from simulator.core.errors import ConfigError

CSILINK = Path(sysconfig.get_path("scripts")) / "csilink"
POINTS, CHUNKS, BLOCK = 2, 12, 32
SCENARIO = {
    "name": "small",
    "seed": 5,
    "carrier": {"num_rb": 4},
    "bs": {"n1": 4, "n2": 1, "num_pol": 1},
    "ue": {"num_users": 2},
    "channel": {"model": "rayleigh", "taps": 2},
    "feedback": [{"scheme": "rvq", "bits": 4}, {"scheme": "perfect"}],
    "precoding": {"precoders": ["mrt", "zf"]},
    "snr_db": [0, 10],
    "run": {"drops": BLOCK * CHUNKS, "chunk_drops": BLOCK},
    "sweep": {"feedback.rvq.bits": [2, 6]},
}


def written(folder, **changes):
    path = Path(folder) / "s.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, **changes}, sort_keys=False))
    return path


def chunks(folder):
    """Finished chunks of a results folder."""
    return sorted(p for p in Path(folder).glob("points/*/chunk-*.npz"))


def wait_for(condition, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


# Real worker processes


def workers_of(pid):
    """Process ids of the worker processes of a process."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    pids = [int(child) for file in children for child in file.read_text().split()]
    return [p for p in pids if b"benchmarks.worker" in Path(f"/proc/{p}/cmdline").read_bytes()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The undisturbed run, in this process: results.csv."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "make_engine", lambda name, workers: Inline())
        frame = benchmarks.run(written(folder), out=folder / "out", report=False)
    assert len(chunks(folder / "out")) == POINTS * CHUNKS
    assert set(frame["num_samples"]) == {BLOCK * CHUNKS}
    return (folder / "out" / "results.csv").read_bytes()


def started(folder, *options, workers=1):
    """``csilink run`` as a process group of its own, with at least one finished chunk."""
    command = [CSILINK, "run", written(folder), "--out", folder / "out", "--workers", workers, *options]
    process = subprocess.Popen(
        list(map(str, command)),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in its background with SIGINT ignored, and so would be its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    before = len(chunks(folder / "out"))
    wait_for(lambda: len(chunks(folder / "out")) > before or process.poll() is not None)
    return process


def gone(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.long
def test_interrupted_then_killed_then_resumed_is_byte_identical(finished, tmp_path, run_here):
    process = started(tmp_path, workers=2)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 130, said
    said = [line for line in said.splitlines() if " drops, " not in line]  # progress, on a slow machine
    assert said == ["csilink: interrupted; run again with --resume to go on"]
    wait_for(lambda: gone(process.pid), 20)
    assert 0 < len(chunks(tmp_path / "out")) < POINTS * CHUNKS

    process = started(tmp_path, "--resume")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=600)
    done = chunks(tmp_path / "out")
    assert 0 < len(done) < POINTS * CHUNKS
    assert not (tmp_path / "out" / "results.csv").exists()
    times = {path: path.stat().st_mtime_ns for path in done}
    # Files of a process that was killed while writing are not taken for results.
    (done[0].parent / f".chunk-{BLOCK * (CHUNKS - 1):08d}-{BLOCK}.npz.4711").write_bytes(b"half")

    benchmarks.run(tmp_path / "s.yaml", out=tmp_path / "out", resume=True, report=False)
    assert (tmp_path / "out" / "results.csv").read_bytes() == finished
    assert {path: path.stat().st_mtime_ns for path in done} == times  # nothing was computed twice


@pytest.mark.long
def test_a_killed_worker_is_replaced(finished, tmp_path):
    victims = []

    def kill_first_worker():
        wait_for(lambda: chunks(tmp_path / "out"))
        victims.extend(workers_of(os.getpid()))
        for pid in victims:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_first_worker)
    killer.start()
    benchmarks.run(written(tmp_path), out=tmp_path / "out", workers=1, report=False)
    killer.join()
    assert len(victims) == 1
    assert (tmp_path / "out" / "results.csv").read_bytes() == finished
    assert workers_of(os.getpid()) == []


def test_a_worker_that_always_dies_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(engines.WorkerError, match=r"died 3 times on drops 0 to 31 .*--workers"):
        benchmarks.run(written(tmp_path), out=tmp_path / "out", workers=1, report=False)
    assert chunks(tmp_path / "out") == []


def test_a_worker_that_cannot_start_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(engines.WorkerError, match=r"cannot be started .*/nowhere/python"):
        benchmarks.run(written(tmp_path), out=tmp_path / "out", workers=2, report=False)


def test_errors_of_a_worker_reach_the_user(tmp_path):
    """A fault carries its trace; what the user can mend comes as CsilinkError."""
    unit = runner._plan(load_points(written(tmp_path))[1][0], tmp_path)[0]
    fault = engines._judge({"error": "boom", "user": False, "trace": "Traceback: boom"}, unit)
    assert isinstance(fault, engines.WorkerError) and "Traceback" in str(fault)
    mistake = engines._judge({"error": "x: got 1; allowed: 2", "user": True, "trace": ""}, unit)
    assert isinstance(mistake, engines.CsilinkError) and str(mistake) == "x: got 1; allowed: 2"


@pytest.mark.slow
def test_memory_of_a_worker_does_not_grow_with_drops(tmp_path):
    point = load_points(written(tmp_path, sweep={}))[1][0]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def peak_mib(first, last):
        for index in range(first, last):
            job = {"scenario": point.scenario.model_dump_json(), "first": BLOCK * index, "drops": BLOCK}
            job |= {"point": point.key, "content": {}}
            process.stdin.write(json.dumps({**job, "path": str(tmp_path / f"{index}.npz")}) + "\n")
            process.stdin.flush()
            assert "done" in json.loads(process.stdout.readline())
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024

    warm = peak_mib(0, 10)
    assert peak_mib(10, 100) < warm + 30
    process.stdin.close()
    assert process.wait(timeout=600) == 0


# An engine in this process, which finishes chunks in any order


@pytest.fixture
def inline(monkeypatch, tmp_path):
    """Run a scenario in this process; returns the frame and the folder."""
    number = iter(range(100))

    def go(slots=2, out=None, resume=False, drops=None, **changes):
        monkeypatch.setattr(runner, "make_engine", lambda name, workers: Inline(slots))
        folder = tmp_path / (out or f"run{next(number)}")
        file = written(tmp_path, **{"sweep": {}, **changes})
        return benchmarks.run(file, out=folder, resume=resume, drops=drops, report=False), folder

    return go


@pytest.mark.long
def test_columns_and_files(inline):
    frame, folder = inline(sweep={"bs.n1": [4, 8], "uplink.on_loss": ["last", "none"]}, run={"drops": 16})
    leading = "scenario,channel,scheme,bits_mean,bits_max,precoder,num_ports,num_users,snr_db"
    columns = f"{leading},bs.n1,uplink.on_loss,metric,value,ci95,unit,num_samples,seed"
    assert (folder / "results.csv").read_text().splitlines()[0] == columns
    assert ",".join(frame.columns) == columns
    assert set(frame["num_ports"]) == {4, 8} and set(frame["num_users"]) == {2}
    assert set(frame["scheme"]) == {"rvq-b4", "perfect"} and set(frame["seed"].astype(int)) == {5}
    keys = ["scheme", "precoder", "snr_db", "bs.n1", "uplink.on_loss", "metric"]
    assert not frame.duplicated(keys).any()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [p["axes"] for p in manifest["points"]][1] == {"bs.n1": 4, "uplink.on_loss": "none"}
    assert manifest["scenario"]["sweep"]["bs.n1"] == [4, 8] and manifest["num_drops"] == 16


def test_run_returns_what_the_files_hold(inline):
    frame, folder = inline(run={"drops": 16})
    table = pd.read_csv(folder / "results.csv", keep_default_na=False, na_values=[""])
    parquet = pd.read_parquet(folder / "results.parquet")
    assert list(parquet.columns) == list(table.columns) == list(frame.columns)
    for column in ("value", "ci95", "snr_db", "bits_mean", "bits_max", "num_samples"):
        np.testing.assert_allclose(parquet[column], table[column], rtol=1e-8)
        np.testing.assert_allclose(frame[column], table[column])
    for column in ("scenario", "channel", "scheme", "precoder", "metric", "unit"):
        assert list(parquet[column].fillna("")) == list(table[column].fillna("")), column


CLOSE = 0.06
STOP = {"drops": BLOCK, "chunk_drops": BLOCK, "ci_rel": CLOSE, "ci_metric": "sum_rate_bpshz", "max_drops": 2048}


@pytest.mark.long
def test_the_stopping_rule(inline):
    """Stops before the limit, when every watched row is tight, and at the same drop for any engine."""
    frame, folder = inline(1, run=STOP, sweep={"feedback.rvq.bits": [2, 6]})
    watched = frame[frame["metric"] == "sum_rate_bpshz"]
    assert len(watched) == 2 * 2 * 2 * 2
    assert (watched["ci95"] <= CLOSE * watched["value"]).all()
    _, other = inline(4, run=STOP, sweep={"feedback.rvq.bits": [2, 6]})
    assert (other / "results.csv").read_bytes() == (folder / "results.csv").read_bytes()
    for bits, rows in frame.groupby("feedback.rvq.bits"):
        (count,) = set(rows["num_samples"])
        assert BLOCK < count < 2048 and count % BLOCK == 0
        # One block less would not have done.
        schemes = [{"scheme": "rvq", "bits": bits}, {"scheme": "perfect"}]
        less, _ = inline(run={"drops": count - BLOCK}, feedback=schemes)
        less = less[less["metric"] == "sum_rate_bpshz"]
        assert (less["ci95"] > CLOSE * less["value"]).any()


@pytest.mark.long
def test_the_stopping_rule_gives_up_at_max_drops(inline):
    frame, _ = inline(run={**STOP, "ci_rel": 1e-4, "max_drops": 80})
    assert set(frame["num_samples"]) == {80}


@pytest.mark.long
def test_resuming_with_more_drops_computes_only_the_rest(inline):
    _, whole = inline(run={"drops": 8 * BLOCK, "chunk_drops": BLOCK})
    inline(out="grown", run={"drops": 3 * BLOCK, "chunk_drops": BLOCK})
    Inline.computed = 0
    inline(out="grown", run={"drops": 8 * BLOCK, "chunk_drops": BLOCK}, resume=True)
    assert Inline.computed == 5
    assert (whole.parent / "grown" / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()


def test_resuming_a_finished_run_computes_nothing(inline):
    _, folder = inline(out="twice", run={"drops": 16})
    before = (folder / "results.csv").read_bytes()
    Inline.computed = 0
    inline(out="twice", run={"drops": 16}, resume=True)
    assert Inline.computed == 0 and (folder / "results.csv").read_bytes() == before


@pytest.mark.long
def test_drops_need_not_fill_the_last_chunk(inline):
    frame, folder = inline(run={"drops": 85, "chunk_drops": BLOCK})
    assert set(frame["num_samples"]) == {85}
    assert [p.name for p in chunks(folder)] == [
        "chunk-00000000-32.npz",
        "chunk-00000032-32.npz",
        "chunk-00000064-21.npz",
    ]


@pytest.mark.parametrize(("engine", "workers"), [("local", 1), ("ray", None)])
def test_number_of_workers_left_open(tmp_path, monkeypatch, engine, workers):
    """Local: not more than there are chunks. Ray: whatever the cluster has."""
    if engine == "ray":
        pytest.importorskip("ray")
    asked = []

    def make(name, count):
        asked.append((name, count))
        return Inline(1)

    monkeypatch.setattr(runner, "make_engine", make)
    file = written(tmp_path, sweep={}, run={"drops": 2})
    benchmarks.run(file, out=tmp_path / "out", engine=engine, report=False)
    assert asked == [(engine, workers)]


def test_chunks_are_whole_blocks_and_a_block_must_fit(tmp_path):
    def size(gib, **changes):
        run = {"drops": 64, "chunk_drops": 33, "memory_gib": gib}
        return chunk_drops(load_points(written(tmp_path, run=run, **changes))[1][0].scenario, [6])

    said = r"run\.memory_gib: got 1e-06; allowed: at least (\S+) for the 32 drops"
    with pytest.raises(ConfigError, match=said) as error:
        size(1e-6)
    least = float(re.search(r"at least (\S+)", str(error.value))[1])
    assert [size(least * k) for k in (1.01, 1000)] == [64, 64]


def test_blocks_depend_on_the_geometry_alone(tmp_path):
    def size(**changes):
        return block_drops(load_points(written(tmp_path, **changes))[1][0].scenario.geometry)

    assert size() == size(run={"memory_gib": 0.5}, snr_db=[*range(100)], feedback=[{"scheme": "dft"}], sweep={}) == 32
    large = [size(bs={"n1": n}, ue={"num_users": 4, "num_rx_ant": 2}) for n in (16, 32, 64)]
    assert large == sorted(large, reverse=True) and large[0] > large[-1] and all(32 % b == 0 for b in large)
