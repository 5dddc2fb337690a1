"""The examples of the README and the shipped scenario script run as printed."""

import re
import runpy
from pathlib import Path

import pandas as pd
import pytest
import typer

from benchmarks.cli import app
from benchmarks.runner import check

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def block(language):
    """The first block of a language."""
    return re.search(rf"```{language}\n(.*?)```", README, flags=re.S)[1]


@pytest.mark.long
def test_python_example_runs(tmp_path, monkeypatch, run_here, eager, undrawn):
    """As printed: a link on plain arrays, then a preset with overrides and its table read again.

    In this process; worker processes are started by the tests of runs.
    """
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(block("python"), "README example", "exec"), names)
    h, scheme = names["h"], names["scheme"]
    assert h.shape == (32, 4, 1, 32, 52) and 0 < names["report"].num_bits.max() <= scheme.max_bits
    csilink = names["csilink"]
    rate, best = (
        csilink.rate(h, w, snr_db=20).sum(axis=1).mean() for w in (names["w"], csilink.precoder("zf", names["link"])(h))
    )
    assert 0.3 < rate / best < 0.8  # README's table: 17.5 of 36.9 bit/s/Hz
    frame = names["frame"]
    assert set(frame.num_users) == {2} and set(frame[frame.metric == "sum_rate_bpshz"].num_samples) == {64}


def test_the_scenario_is_valid_and_short(tmp_path):
    text = block("yaml")
    assert len(text.splitlines()) <= 11
    (tmp_path / "my.yaml").write_text(text)
    points = check(str(tmp_path / "my.yaml"))
    assert [point.scenario.ue.num_users for point in points] == [2, 4]


def test_every_command_exists():
    """First words of all lines that call csilink, in README and docs."""
    known, called = set(typer.main.get_command(app).commands), set()
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for word in re.findall(r"(?:^|`)\s*csilink ([a-z][\w-]*)", page.read_text(), flags=re.M):
            assert word in known, f"{page.name}: csilink {word}"
            called.add(word)
    assert called >= {"run", "check", "report", "verify", "list", "dataset", "train", "export"}


@pytest.mark.long
def test_scenario_script_draws_both_figures(tmp_path, capsys, run_here, eager, undrawn):
    pytest.importorskip("matplotlib")
    script = runpy.run_path(str(ROOT / "scenarios" / "scripts" / "sweep_snr_and_bits.py"))
    script["main"](str(tmp_path / "sweep"), 16)
    for name in ("sum_rate_vs_snr.png", "sum_rate_vs_bits.png"):
        assert (tmp_path / "sweep" / name).stat().st_size > 5000
    frame = pd.read_csv(tmp_path / "sweep" / "results.csv")
    # more bits never hurt a random codebook on average, and perfect CSI is the bound
    rvq = frame[(frame.metric == "sgcs") & frame.scheme.str.startswith("rvq")].set_index("bits_mean").value.sort_index()
    assert rvq.index.tolist() == [2, 4, 6, 8, 10, 12]
    assert rvq.iloc[-1] > rvq.iloc[0]
