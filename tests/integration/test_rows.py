"""A row of results.csv depends on what it simulates and on nothing else: the others stay byte-equal."""

import json
from functools import cache

import pandas as pd
import pytest
import yaml
from inline import Inline

import benchmarks
from benchmarks import build, runner
from benchmarks.report.report import write_report
from benchmarks.sweep_notes import SAME_CHANNELS, SAME_PATHS, equal_axes, idle_axes, seen_along
from scenarios.sweep import expand

SCENARIO = {
    "name": "rows",
    "seed": 5,
    "carrier": {"num_rb": 3},
    "bs": {"n1": 4, "n2": 1, "num_pol": 1},
    "ue": {"num_users": 2},
    "channel": {"model": "rayleigh", "taps": 2},
    "estimation": {"name": "noisy", "snr_db": 15},
    "feedback": [{"scheme": "rvq", "bits": 3}],
    "precoding": {"precoders": ["zf", "rzf_robust"]},
    "snr_db": [0, 10],
    "metrics": ["sum_rate_bpshz", "bits_p95", "outage_gamma"],
    "run": {"drops": 40, "chunk_drops": 32},
}
LOSSY = {
    "time": {"num_slots": 5},
    "uplink": {"loss_probability": 0.2, "bit_flip_probability": 0.02, "max_bits": 4, "over_budget": "segment"},
}
LINKS = {
    "plain": {},
    "lossy": LOSSY,
    "throughput": {"throughput": {"olla_warm_up_slots": 5}, "metrics": ["goodput_bpshz", "bler", "mcs_mean"]},
    "coded": {"uplink": {"code": "uci", "snr_db": -3, "num_re": 20}, "detection": {"channel": "dmrs"}},
}
MORE = {
    "scheme": {"feedback": [{"scheme": "dft"}, {"scheme": "rvq", "bits": [6, 3]}]},
    "snr": {"snr_db": [-5, 10, 20, 0]},
    "precoder": {"precoding": {"precoders": ["slnr", "rzf_robust", "mrt", "zf"]}},
    "metric": {"metrics": None},
}
ALL = {key: value for changes in MORE.values() for key, value in changes.items()}


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Lines of results.csv of a run in this process, without the swept axes' names."""
    number = iter(range(100))

    def run(slots=2, **changes):
        path, out = tmp_path / "s.yaml", tmp_path / str(next(number))
        path.write_text(yaml.safe_dump({**SCENARIO, **changes}, sort_keys=False))
        with monkeypatch.context() as patch:
            patch.setattr(runner, "make_engine", lambda name, count: Inline(slots))
            benchmarks.run(path, out=out, report=False)
        return (out / "results.csv").read_text().splitlines()

    return run


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.long
def test_what_is_added_leaves_the_other_rows_as_they_are(rows, link):
    """One after the other, or all at once."""
    few = rows(**LINKS[link])
    for more in MORE.values() if link == "plain" else [ALL]:
        assert set(few) < set(rows(**{**LINKS[link], **more})), more


@pytest.mark.long
def test_chunks_and_memory_leave_all_rows_as_they_are(rows):
    drops = {"drops": 150, "chunk_drops": 32}
    known = rows(run=drops)
    for run in ({"chunk_drops": 64}, {"chunk_drops": 96}, {"chunk_drops": 1}, {"memory_gib": 0.2}):
        assert rows(slots=1, run={**drops, **run}) == known, run


@pytest.mark.long
def test_all_additions_at_once_in_umi(rows, monkeypatch, eager):
    """Sionna's channels; the source, which is given by channel and geometry alone, is built once."""
    source = cache(build.build_source)
    monkeypatch.setattr(build, "build_source", source)
    few = rows(channel={"model": "umi"})
    many = rows(channel={"model": "umi"}, run={"drops": 40, "chunk_drops": 64}, **ALL)
    assert set(few) < set(many) and source.cache_info().misses == 1


@pytest.mark.long
def test_workers_leave_all_rows_as_they_are(rows, tmp_path):
    """Two processes of one thread, and this process; a single one is in test_run.py."""
    everything = {**LINKS["lossy"], "throughput": {}, "metrics": None, "run": {"drops": 96, "chunk_drops": 32}}
    here, path = rows(**everything), tmp_path / "s.yaml"
    benchmarks.run(path, out=tmp_path / "two", workers=2, report=False)
    assert (tmp_path / "two" / "results.csv").read_text().splitlines() == here


@pytest.mark.long
def test_the_stopping_rule_stops_at_the_same_drop_in_any_chunks(rows):
    rule = {"drops": 32, "ci_rel": 0.05, "max_drops": 640}
    found = [rows(run={**rule, "chunk_drops": size}) for size in (32, 96, 640)]
    assert found[0] == found[1] == found[2]
    assert 32 < int(found[0][1].split(",")[-2]) < 640


@pytest.mark.long
def test_an_axis_without_an_effect_shows_none_and_is_named(tmp_path, monkeypatch, capsys, undrawn):
    """One slot, in which no speed can show: equal values and one warning, by check and by run."""
    monkeypatch.setattr(runner, "make_engine", lambda name, count: Inline())
    path, out = tmp_path / "s.yaml", tmp_path / "out"
    one = {"metrics": ["sum_rate_bpshz"], "precoding": {"precoders": ["zf"]}, "snr_db": [10]}
    path.write_text(yaml.safe_dump({**SCENARIO, **one, "sweep": {"ue.speed_mps": [0, 10, 30]}}))
    told = "warning: sweep.ue.speed_mps has no effect in this scenario: all its values give the same results\n"
    benchmarks.check(path)
    assert capsys.readouterr().err == told
    frame = benchmarks.run(path, out=out, report=False)
    assert capsys.readouterr().err == told
    by_speed = [rows.drop(columns="ue.speed_mps").reset_index(drop=True) for _, rows in frame.groupby("ue.speed_mps")]
    pd.testing.assert_frame_equal(by_speed[0], by_speed[1])
    pd.testing.assert_frame_equal(by_speed[0], by_speed[2])
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["notes"] == [told.removeprefix("warning: ").strip()]
    assert manifest["seen_along"] == {"ue.speed_mps": SAME_CHANNELS}
    page = write_report(out).read_text()
    assert "Everything else is equal: the same channels at every value." in page


UMI = {"channel": {"model": "umi"}, "time": {"num_slots": 3}}


@pytest.mark.parametrize(
    ("changes", "axis", "values", "idle", "seen"),
    [
        ({}, "ue.speed_mps", [0, 3], True, SAME_CHANNELS),
        ({}, "time.slot_s", [1e-3, 2e-3], True, SAME_CHANNELS),
        ({}, "estimation.snr_db", [0, 3], False, SAME_CHANNELS),
        ({}, "feedback.rvq.bits", [2, 3], False, SAME_CHANNELS),
        ({}, "channel.taps", [1, 2], False, ""),
        ({}, "ue.num_users", [2, 3], False, ""),
        ({}, "bs.antenna_pattern", ["omni", "38.901"], True, SAME_CHANNELS),
        ({"channel": {"model": "umi"}}, "bs.antenna_pattern", ["omni", "38.901"], False, ""),
        ({"channel": {"model": "umi"}}, "ue.speed_mps", [0, 3], True, SAME_CHANNELS),
        (UMI, "ue.speed_mps", [0, 3], False, SAME_PATHS),
        (UMI, "time.slot_s", [1e-3, 2e-3], True, SAME_CHANNELS),
        (UMI, "time.num_slots", [1, 3], False, SAME_PATHS),
        (UMI, "carrier.subcarrier_spacing_hz", [15e3, 30e3], False, SAME_PATHS),
        (UMI, "uplink.delay_slots", [0, 1], False, SAME_CHANNELS),
        (UMI, "carrier.carrier_hz", [2e9, 3e9], False, ""),
        ({"time": {"num_slots": 3}}, "ue.speed_mps", [0, 3], True, SAME_CHANNELS),  # of block fading
        # Between two CSI-RS an estimator reckons with the speed.
        (
            {"time": {"num_slots": 3}, "estimation": {"name": "csi_rs_ls", "snr_db": 9, "period_slots": 2}},
            "ue.speed_mps",
            [0, 3],
            False,
            SAME_CHANNELS,
        ),
    ],
)
def test_what_an_axis_shows(changes, axis, values, idle, seen):
    points = expand({**SCENARIO, **changes, "sweep": {axis: values, "uplink.on_loss": ["last", "none"]}})
    assert any(axis in text for text in idle_axes(points)) is idle
    assert seen_along(points, axis) == seen


def test_equal_results_tell_an_axis_without_an_effect():
    """Also where the scenario alone does not; an axis that names schemes, or moves one row, has an effect."""
    rows = [
        {"a": a, "scheme": "s", "precoder": None, "snr_db": snr, "metric": "m", "value": value}
        for a in (1, 2)
        for snr, value in ((0.0, 1.5), (5.0, float("nan")))
    ]
    frame = pd.DataFrame(rows)
    assert len(equal_axes(frame, ["a"])) == 1
    assert not equal_axes(frame.assign(scheme=["s", "s", "t", "t"]), ["a"])
    assert not equal_axes(frame.assign(value=[1.5, 1, 1.5, 1.0001]), ["a"])
