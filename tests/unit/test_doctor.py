"""`csilink doctor` finds what is broken: checks can fail, each in its process; a promised one is exit code 1."""

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cli, doctor, doctor_checks
from receivers.coding.range_coder import RangeCoder
from simulator.core.extras import EXTRAS, installed

ROOT = Path(__file__).resolve().parents[2]


def called(monkeypatch, capsys, *arguments):
    """Exit code and output of `csilink doctor`."""
    monkeypatch.setattr(sys, "argv", ["csilink", "doctor", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code, capsys.readouterr()


def test_a_healthy_part_works_and_the_facts_are_those_of_the_machine(monkeypatch, capsys):
    code, said = called(monkeypatch, capsys, "--check", "NumPy")
    assert code == 0 and "all promised parts work" in said.out
    (line,) = [line for line in said.out.splitlines() if line.strip().startswith("NumPy")]
    assert line.split()[:3] == ["NumPy", "works", "promised"]
    facts = dict(doctor.facts())
    assert facts["numpy"] == np.__version__ and sys.executable in facts["Python"]
    (total,) = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")]
    assert float(facts["memory"].split()[0]) == pytest.approx(int(total.split()[1]) / 2**20, rel=0.01)
    assert 0 < doctor.available_gib() < int(total.split()[1]) / 2**20


def test_a_broken_promise_is_exit_code_1(monkeypatch, capsys, tmp_path):
    """A library that cannot be imported, found before the real one; in this process all is well."""
    (tmp_path / "h5py.py").write_text("raise ImportError('libhdf5.so: cannot open\\nsecond line')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    code, said = called(monkeypatch, capsys, "--check", "files", "--check", "NumPy")
    assert code == 1 and said.out.splitlines()[-1].endswith("requirements promise it: files")
    assert "ImportError: libhdf5.so: cannot open" in said.out and "second line" not in said.out


def test_a_crash_of_an_optional_part_is_seen_and_no_exit_code(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(doctor, "installed", lambda *names: True)
    (tmp_path / "constriction.py").write_text("import os\nos.kill(os.getpid(), 11)")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    code, said = called(monkeypatch, capsys, "--check", "constriction")
    assert code == 0 and "killed by signal 11" in said.out and "optional parts that fail: constriction" in said.out


def test_what_is_not_installed_names_its_extra(monkeypatch):
    monkeypatch.setattr(doctor, "installed", lambda *names: "torch" not in names)
    (found,) = doctor.findings(["PyTorch"])
    assert (found.state, found.detail, found.sick) == ("not installed", "pip install 'csilink[torch]'", False)


def test_an_unknown_check_lists_the_known_ones(monkeypatch, capsys):
    code, said = called(monkeypatch, capsys, "--check", "Torch")
    assert code == 2 and "PyTorch" in said.err


def test_every_extra_has_a_check():
    checked = {package for check in doctor_checks.CHECKS.values() for package in check.packages}
    assert checked == set(EXTRAS)
    assert {check.extra for check in doctor_checks.CHECKS.values()} == {"", "libLLVM", *EXTRAS.values()}


def test_every_run_requirement_is_among_the_facts_or_used_by_a_check():
    """Names of pyproject.toml, for one that is added later."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {requirement.partition(">")[0] for requirement in project["dependencies"]}
    helpers = {
        "pyarrow",
        "pydantic",
        "pyyaml",
        "typer",
        "rich",
        "jinja2",
        "tensorboard",
    }  # files, or this command itself
    assert names - helpers <= set(doctor.PACKAGES)


@pytest.mark.parametrize("name", ["numpy_product", "range_coder", "files"])
def test_cheap_checks_pass(name):
    assert getattr(doctor_checks, name)()


def test_a_wrong_answer_fails(monkeypatch):
    monkeypatch.setattr(RangeCoder, "decode", lambda self, bits, num, n: (np.zeros((len(num), n)), np.ones(len(num))))
    with pytest.raises(ValueError, match="did not survive"):
        doctor_checks.range_coder()
    with pytest.raises(ValueError, match=r"x is off by 0.5"):
        doctor_checks._close(np.array([1.5]), np.array([1.0]), "x")


@pytest.mark.slow
def test_all_checks_work_here():
    """All parts that are installed: those with libraries of their own as `csilink doctor` runs them."""
    here = ("Sionna", "codebook", "network", "ONNX", "LiteRT")  # on TensorFlow, which this process has loaded
    apart = [name for name in doctor_checks.CHECKS if name not in here]
    assert [found.name for found in doctor.findings(apart) if found.state == "fails"] == []
    for check in map(doctor_checks.CHECKS.get, here):
        assert not installed(*check.packages) or check.run()
