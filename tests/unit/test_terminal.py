"""Tables, sparklines, plots and progress in a terminal. All results here are synthetic: a seeded formula, no link."""

import sys
import time

import numpy as np
import pandas as pd
import pytest
from synthetic_results import SCHEMES, synthetic, write

from benchmarks import cli, progress
from benchmarks.outlook import outlook
from benchmarks.report import cells, summary
from benchmarks.report.frames import read_results
from benchmarks.terminal import plot, show_table, sparkline
from scenarios.schema import parse_scenario
from scenarios.sweep import Point
from simulator.core.errors import ConfigError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("results"), *synthetic())


def called(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["csilink", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code, capsys.readouterr()


def value(frame, metric, scheme, precoder=None, snr_db=None):
    rows = frame[(frame["metric"] == metric) & (frame["scheme"] == scheme)]
    rows = rows if precoder is None else rows[(rows["precoder"] == precoder) & (rows["snr_db"] == snr_db)]
    (row,) = rows.to_dict("records")
    return row["value"], row["ci95"]


def test_the_short_table_holds_the_numbers_of_the_file(folder, monkeypatch, capsys):
    frame = read_results(folder / "results.csv")
    code, said = called(monkeypatch, capsys, "show", folder)
    lines = {line.split()[0]: line for line in said.out.splitlines() if line.split()[:1] and line.startswith(" ")}
    means = frame[(frame["metric"] == "sum_rate_bpshz") & (frame["snr_db"] == 20)].groupby("precoder")["value"].mean()
    best = means.idxmax()
    assert code == 0 and said.out.splitlines()[0] == f"SNR 20 dB, precoder {best}"
    for scheme, (bits, *_) in SCHEMES.items():
        expected = cells.cell("sum_rate_bpshz", *value(frame, "sum_rate_bpshz", scheme, best, 20))
        assert f" {cells.bits_text(bits)} " in lines[scheme] and expected in lines[scheme]
        rates = frame[(frame["metric"] == "sum_rate_bpshz") & (frame["scheme"] == scheme) & (frame["precoder"] == best)]
        assert lines[scheme].endswith(sparkline(rates.sort_values("snr_db")["value"].tolist()))


def test_one_metric_filter_order_and_snr(folder, monkeypatch, capsys):
    frame = read_results(folder / "results.csv")
    options = ("--metric", "sum_rate_bpshz", "--scheme", "csinet*", "--scheme", "dft", "--snr", "10")
    _, said = called(monkeypatch, capsys, "show", folder, *options, "--sort", "10 dB")
    rows = [line for line in said.out.splitlines() if line.startswith(" ") and "±" in line]
    assert {line.split()[0] for line in rows} == {s for s in SCHEMES if s.startswith(("csinet", "dft"))}
    shown = [float(line.split("±")[0].split()[-1]) for line in rows]
    assert len(rows) == 8 and shown == sorted(shown, reverse=True)
    top = max(
        value(frame, "sum_rate_bpshz", s, p, 10)[0]
        for s in SCHEMES
        for p in ("mrt", "zf")
        if s != "perfect" and s.startswith(("csinet", "dft"))
    )
    assert shown[0] == pytest.approx(top, abs=0.5)
    assert "\x1b" not in said.out and not any(line.endswith(" ") for line in said.out.splitlines())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--metric", "nmse"), "--metric: got 'nmse'"),
        (("--scheme", "etype2*"), "--scheme: got 'etype2*'"),
        (("--snr", "7"), "--snr: got 7.0"),
        (("--sort", "rate"), "--sort: got 'rate'"),
        (("--open",), "--open: got"),
    ],
)
def test_errors_name_folder_and_field(folder, options, said, monkeypatch, capsys):
    code, out = called(monkeypatch, capsys, "show", folder, *options)
    assert code == 2 and said in out.err and (options[0] == "--sort" or str(folder) in out.err)


def test_open_hands_the_page_to_the_browser(tmp_path, monkeypatch, capsys):
    folder = write(tmp_path / "r", *synthetic({"dft": SCHEMES["dft"]}, ("zf",)))
    (folder / "report.html").write_text("<p>")
    opened = []
    monkeypatch.setattr("typer.launch", opened.append)
    assert called(monkeypatch, capsys, "show", folder, "--open")[0] == 0
    assert opened == [(folder / "report.html").resolve().as_uri()]


def test_a_swept_axis_comes_before_the_snr():
    """The table stands at its last value, the sparkline goes along it, the other axis stays at its first value."""
    parts = []
    for quality in (0.2, 0.6, 1.0):
        for other in ("a", "b"):
            part, _ = synthetic({"dft": SCHEMES["dft"]}, ("zf",), {"quality": quality, "kind": other})
            parts.append(part.assign(value=part["value"] + (100 if other == "b" else 0)))
    frame = pd.concat(parts, ignore_index=True)
    table = summary.key_results(frame)
    assert table.heads[-1] == "over quality" and table.title.endswith("quality = 1")
    here = frame[(frame["metric"] == "sum_rate_bpshz") & (frame["snr_db"] == 20) & (frame["kind"] == "a")]
    assert table.rows[0][-1] == sparkline(here.sort_values("quality")["value"].tolist())
    assert float(table.rows[0][3].split()[0]) == pytest.approx(here["value"].max(), abs=0.1)
    points, x_label = summary.curves(frame, "sum_rate_bpshz")
    assert [x for x, _ in points["dft"]] == [0.2, 0.6, 1.0] and x_label.startswith("quality")


@pytest.mark.parametrize(
    ("metric", "number", "ci95", "text"),
    [
        ("nmse_db", -300.0, 0.0, "exact"),
        ("nmse_db", -12.3, 0.25, "-12.30 ± 0.25"),
        ("sgcs", 1.0, 1e-9, "1"),
        ("sgcs", 0.9999995, 0.03, "1"),
        ("outage_rate_1", 0.0, 0.0076, "0 (≤ 0.0076)"),
        ("outage_rate_1", 0.0, 1.5, "0 (0 to 1)"),
        ("bler", 1.0, 0.031, "1 (≥ 0.969)"),
        ("bler", 0.25, 1.2, "0.25 (0 to 1)"),
        ("outage_rate_1", 0.25, 0.02, "0.250 ± 0.020"),
        ("sum_rate_bpshz", 12.5, 1e-9, "12.5"),
    ],
)
def test_numbers_that_cannot_be_are_not_said(metric, number, ci95, text):
    assert cells.cell(metric, number, ci95) == text


def test_sparkline_and_plot():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, 5]) == "▁▁" and sparkline([np.nan, 1.0, 3.0]) == " ▁█" and sparkline([]) == ""
    drawn = plot({"up": [(0, 0), (10, 4)], "flat": [(5, 0), (0, np.nan)]}, "x", "y", width=11, height=5).splitlines()
    assert drawn[0] == "y" and drawn[1] == "4 │          a" and drawn[5] == "0 │a    b"
    assert drawn[6] == "  └───────────" and drawn[7].split() == ["0", "x", "10"] and drawn[8:] == ["a up", "b flat"]
    assert plot({"none": [(np.nan, 1)]}, "x", "y") == "nothing to plot"


def test_a_table_without_a_terminal_is_as_wide_as_its_content(capsys):
    show_table(["a", "b"], [["x" * 150, "[bold]"]], "title")
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "title" and f" {'x' * 150}   [bold]" in out


def test_work_without_a_terminal_tells_every_ten_seconds(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY_S", 0.05)
    for item in progress.track(range(3), "long", unit="item"):
        time.sleep(0.08 if item == 1 else 0)
    with progress.waiting("silent"):
        time.sleep(0.08)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "long: 1/3 items" and said[-1] == "silent: 0 s"


def test_progress_of_a_run_tells_rate_time_left_and_half_width(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = progress.DropProgress("r", 300, 60)
    now[0] += 20
    assert shown.text == "60/300 drops, 20 s: workers start and compile"
    shown.update(100, 300, "sum_rate_bpshz within 3.1 %")
    assert shown.text == "100/300 drops, 2 drops/s, 1 min 40 s left, sum_rate_bpshz within 3.1 %"
    shown.update(320, 300, "")
    assert shown.text.startswith("320/320 drops") and ", 0 s left" in shown.text
    assert progress.duration(7500) == "2 h 5 min"


def test_the_outlook_of_a_run_that_a_half_width_ends():
    """A quarter of the wanted drops gives twice the half-width; never more than max_drops, never fewer than drops."""

    class Total:
        def __init__(self, drops, *rows):
            self.drops, self._rows = drops, rows

        def summary(self):
            return [{"metric": name, "value": value, "ci95": ci95} for name, value, ci95 in self._rows]

    def point(**rule):
        data = {"name": "r", "carrier": {"num_rb": 2}, "bs": {"n1": 2}, "channel": {"model": "rayleigh"}}
        feedback = [{"scheme": "rvq", "bits": 2}]
        return Point(parse_scenario({**data, "feedback": feedback, "snr_db": [0], "run": rule}), {})

    rows = ("sum_rate_bpshz", 10.0, 0.2), ("sum_rate_bpshz", 5.0, 0.05), ("sgcs", 0.5, 0.4)
    alone = outlook([point(drops=100), point(drops=100)], [Total(40, *rows), Total(0)])
    assert alone == (200, "sum_rate_bpshz within 2 %")
    wanted, text = outlook([point(drops=100, ci_rel=0.01, max_drops=500)], [Total(100, *rows)])
    assert (wanted, text) == (400, "sum_rate_bpshz within 2 % (wanted: 1 %)")
    assert outlook([point(drops=100, ci_rel=0.001, max_drops=500)], [Total(100, *rows)])[0] == 500
    assert outlook([point(drops=100, ci_rel=0.5, max_drops=500)], [Total(100, *rows)])[0] == 100


def test_a_terminal_gets_a_live_display(monkeypatch):
    """Columns with drops and text; nothing of the lines for pipes."""
    import io

    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream)
    shown = progress.DropProgress("name", 10)
    with shown.running():
        shown.update(10, 10, "sum_rate_bpshz within 2 %")
    assert "10/10 drops" in stream.getvalue() and "within 2 %" in stream.getvalue()


def test_sorting_by_a_column_that_is_not_there():
    table = summary.Short("", ["a"], [["x"]], keys={"a": ["x"]})
    with pytest.raises(ConfigError, match="--sort: got 'b'"):
        table.sorted_by("b")
