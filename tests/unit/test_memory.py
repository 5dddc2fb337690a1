"""Memory of workers is counted before any starts."""

import subprocess
import sys

import pytest
import yaml

from benchmarks import memory, runner
from simulator.core.errors import ConfigError

GIB = 2**30
SCENARIO = {
    "name": "small",
    "carrier": {"num_rb": 50},
    "bs": {"n1": 8, "n2": 2, "num_pol": 2},
    "channel": {"model": "rayleigh"},
    "feedback": [{"scheme": "rvq", "bits": 4}],
    "precoding": {"precoders": ["mrt"]},
    "metrics": ["sum_rate_bpshz"],
    "snr_db": [0],
    "run": {"drops": 256, "chunk_drops": 32},
}


@pytest.fixture
def machine(monkeypatch):
    """Function that sets the memory [GiB] and the processors of this machine."""

    def set_(gib, processors=6):
        monkeypatch.setattr(memory, "machine_bytes", lambda: gib * GIB)
        monkeypatch.setattr(memory.os, "cpu_count", lambda: processors)

    return set_


def test_workers_left_open_fit_the_machine(machine, capsys):
    machine(10)
    assert memory.fitting_workers(None, 100, 0.2 * GIB) == 6 and not capsys.readouterr().err
    assert memory.fitting_workers(None, 4, 0.2 * GIB) == 4
    assert memory.fitting_workers(None, 0, 0.2 * GIB) == 1
    machine(10, 100)
    assert memory.fitting_workers(None, 100, 0.1 * GIB) == 8
    assert memory.fitting_workers(None, 100, 2.2 * GIB) == 3  # 3 GiB each
    said = capsys.readouterr().err
    assert said.startswith("3 workers, not 8: each takes 0.8 GiB for TensorFlow and Sionna and up to 2.2 GiB")
    assert "of the 10 GiB of this machine" in said


def test_workers_asked_for_that_do_not_fit_are_refused(machine, capsys):
    machine(10)
    assert memory.fitting_workers(3, 100, 2.2 * GIB) == 3
    with pytest.raises(ConfigError, match=r"^--workers: got 4; allowed: 1\.\.3: each takes"):
        memory.fitting_workers(4, 100, 2.2 * GIB)
    assert memory.fitting_workers(40, 3, 2.2 * GIB) == 40  # three processes start
    for workers in (None, 1):
        with pytest.raises(ConfigError, match=r"^--workers: got .*one worker fits: "):
            memory.fitting_workers(workers, 100, 9.5 * GIB)
    assert not capsys.readouterr().err


def test_a_run_is_refused_before_anything_is_written(machine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(SCENARIO))
    machine(2)
    monkeypatch.setattr(runner, "make_engine", lambda *args: pytest.fail("started"))
    with pytest.raises(ConfigError, match=r"^--workers: got 4; allowed: 1\.\.2"):
        runner.run("s.yaml", workers=4)
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


def test_the_smaller_limit_of_machine_and_container(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_LIMITS", ())
    whole = memory.machine_bytes()
    assert GIB / 4 < whole < 1e15
    for text, right in (("max\n", whole), (f"{10**8}\n", 1e8), (f"{2**63}\n", whole)):
        (tmp_path / "limit").write_text(text)
        monkeypatch.setattr(memory, "_LIMITS", (str(tmp_path / "limit"), str(tmp_path / "none")))
        assert memory.machine_bytes() == right


@pytest.mark.long
def test_a_worker_without_channels_takes_what_is_counted():
    """TensorFlow, Keras, Sionna and the link in a process of its own: within 25 %, and silent as command lines are."""
    code = (
        "from benchmarks.quiet import quiet_imports; quiet_imports()\n"
        "import re, benchmarks.chunk, simulator.phy.system_level, keras\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert done.stderr == ""
    assert int(done.stdout) * 1024 == pytest.approx(memory.WORKER_BYTES, rel=0.25)
