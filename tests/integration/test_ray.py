"""The Ray engine leaves the same results as the local one, also when a worker process dies."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import yaml
from inline import Inline

import benchmarks
from benchmarks import runner
from benchmarks.engines import RayEngine
from benchmarks.store import Unit
from scenarios.schema import parse_scenario
from scenarios.sweep import Point
from simulator.core.errors import CsilinkError

ray = pytest.importorskip("ray")

SCENARIO = {
    "name": "small",
    "seed": 5,
    "carrier": {"num_rb": 4},
    "bs": {"n1": 4, "n2": 1, "num_pol": 1},
    "ue": {"num_users": 2},
    "channel": {"model": "rayleigh", "taps": 2},
    "feedback": [{"scheme": "rvq", "bits": 4}],
    "precoding": {"precoders": ["mrt", "zf"]},
    "snr_db": [0, 10],
    "run": {"drops": 256, "chunk_drops": 32},
    "sweep": {"feedback.rvq.bits": [2, 6]},
}


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    """A Ray of two workers on this machine."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 << 20)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """results.csv of units that are computed in this process, as those of the local engine (test_run.py)."""
    folder = tmp_path_factory.mktemp("local")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "make_engine", lambda name, workers: Inline())
        benchmarks.run(written(folder), out=folder / "out", report=False)
    return (folder / "out" / "results.csv").read_bytes()


def written(folder):
    path = Path(folder) / "s.yaml"
    path.write_text(yaml.safe_dump(SCENARIO, sort_keys=False))
    return path


def ours(pid):
    """Whether a process descends from this one: other clusters on the machine are not ours to disturb."""
    while pid > 1 and pid != os.getpid():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid == os.getpid()


def busy_workers():
    """Process ids of our Ray workers that compute a chunk."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::_remote_chunk") and ours(int(folder.name)):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.long
def test_results_are_those_of_the_local_engine_although_a_worker_is_killed(local, tmp_path):
    victims, over = [], threading.Event()

    def kill_one():
        while not victims and not over.is_set():
            if list(tmp_path.glob("out/points/*/chunk-*.npz")):
                victims.extend(busy_workers()[:1])
            time.sleep(0.005)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        benchmarks.run(written(tmp_path), out=tmp_path / "out", engine="ray", workers=2, report=False)
    finally:
        over.set()
        killer.join()
    assert len(victims) == 1
    assert (tmp_path / "out" / "results.csv").read_bytes() == local
    assert ray.is_initialized()  # a cluster that was there before stays


@pytest.mark.long
def test_what_the_user_can_mend_comes_back_as_such(tmp_path):
    entry = {"scheme": "autoencoder", "weights": "./gone", "bits": 4}
    scenario = parse_scenario({**SCENARIO, "feedback": [entry], "sweep": {}})
    engine = RayEngine(1)
    engine.submit(Unit(Point(scenario, {}), 0, 8, tmp_path))
    with pytest.raises(CsilinkError, match=r"weights: got './gone'; allowed: "):
        engine.next_done()
    engine.close()
    assert list(tmp_path.iterdir()) == []
