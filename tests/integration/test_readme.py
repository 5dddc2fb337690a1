"""The examples of the README and the shipped scenario script run as printed."""

import re
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simulator.core.types import CsiConfig, CsiEstimate, Panel

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)


@pytest.mark.long
def test_python_example_runs(tmp_path, monkeypatch):
    """As printed: a link on plain arrays, then a preset with overrides and its table read again."""
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(BLOCKS[0], "README example", "exec"), names)
    h, scheme = names["h"], names["scheme"]
    assert h.shape == (32, 4, 1, 32, 52) and 0 < names["report"].num_bits.max() <= scheme.max_bits
    csilink = names["csilink"]
    rate, best = (
        csilink.rate(h, w, snr_db=20).sum(axis=1).mean() for w in (names["w"], csilink.precoder("zf", names["link"])(h))
    )
    assert 0.3 < rate / best < 0.8  # README's table: 17.5 of 36.9 bit/s/Hz
    frame = names["frame"]
    assert set(frame.num_users) == {2} and set(frame[frame.metric == "sum_rate_bpshz"].num_samples) == {64}


def test_scheme_example_reports_the_strongest_port():
    names: dict = {}
    exec(compile(BLOCKS[1], "README scheme", "exec"), names)
    config = CsiConfig(Panel(4, 2, 2), 1, 6, 360e3, subband_size=2)
    scheme = names["StrongestPort"](config)
    h = np.ones((3, 2, 1, 16, 6), np.complex64)
    h[:, :, :, 5] = 3
    report = scheme.report(CsiEstimate(h, np.zeros((3, 2), np.float32)))
    assert report.num_bits.tolist() == [[4, 4]] * 3
    w = scheme.reconstruct(report).w
    assert w.shape == (3, 2, 16, 1, 3)
    assert np.array_equal(np.argmax(np.abs(w), axis=2), np.full((3, 2, 1, 3), 5))


@pytest.mark.long
def test_scenario_script_draws_both_figures(tmp_path, capsys):
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
