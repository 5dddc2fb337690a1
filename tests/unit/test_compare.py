"""Differences of two results folders against drop-by-drop values from the parts of the link, SciPy and a jackknife."""

import io
import re
import sys

import numpy as np
import pytest
from inline import Inline
from scipy.stats import sem, skew, t

import csilink
from benchmarks import cli, runner
from benchmarks.compare import compare, only_one
from benchmarks.drop_values import read_drops
from benchmarks.results_folder import read_points
from benchmarks.runner import units_of
from simulator.core.errors import ConfigError, StoreError

A_DROPS, B_DROPS = 24, 40
BASE = {
    "name": "pairs",
    "carrier": {"num_rb": 2},
    "bs": {"n1": 4, "n2": 1, "num_pol": 1},
    "ue": {"num_users": 2},
    "channel": {"model": "rayleigh"},
    "feedback": [{"scheme": "rvq", "bits": [2, 6]}, {"scheme": "perfect"}],
    "precoding": {"precoders": ["mrt"]},
    "metrics": ["sum_rate_bpshz", "nmse_db", "outage_rate", "bits_mean", "bits_max"],
    "outage": {"gammas": [0.9], "rates_bpshz": [1e-9]},
    "snr_db": [0, 10],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A; B with more drops and another estimator; C of another seed, D of another array, E of other SNRs."""
    place = tmp_path_factory.mktemp("compare")
    changes = {
        "a": {},
        "b": {"estimation": {"name": "noisy", "snr_db": 10}},
        "c": {"seed": 2},
        "d": {"bs": {"n1": 2, "n2": 1, "num_pol": 1}},
        "e": {"snr_db": [10, 20]},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "make_engine", lambda name, workers: Inline())
        for name, change in changes.items():
            drops = B_DROPS if name == "b" else A_DROPS
            csilink.run({**BASE, **change}, out=place / name, drops=drops, report=False)
    return {name: place / name for name in changes}


def by_drop(bits, drops):
    """Sum rate of every drop at 10 dB, from the parts of the link."""
    link = csilink.channel("rayleigh", panel=(4, 1, 1), num_users=2, num_rb=2)
    h = link.sample(drops, seed=1)
    scheme = csilink.feedback("rvq", link, bits=bits)
    w = csilink.precoder("mrt")(scheme.reconstruct(scheme.report(h)))
    return np.asarray(csilink.rate(h, w, snr_db=10), np.float64).sum(axis=1)


def half_width(samples):
    """The documented formula, by SciPy."""
    n = len(samples)
    quantile = t(n - 1).ppf(0.975)
    quantile += quantile * (quantile**4 + 2 * quantile**2 - 3) / 18 * skew(samples) ** 2 / n
    return quantile * sem(samples)


def one(found, metric, snr_db=None, schemes=None):
    (row,) = [d for d in found if (d.metric, d.snr_db) == (metric, snr_db) and schemes in (None, d.schemes)]
    return row


@pytest.mark.long
def test_two_schemes_of_one_folder_are_paired_drop_by_drop(folders):
    a = folders["a"]
    row = one(compare(a, a, schemes=["rvq-b2"], against=["rvq-b6"]), "sum_rate_bpshz", 10)
    few, many = by_drop(2, A_DROPS), by_drop(6, A_DROPS)
    assert (row.drops, row.why_not) == (A_DROPS, "")
    np.testing.assert_allclose([row.a, row.b], [few.mean(), many.mean()], rtol=1e-5)
    np.testing.assert_allclose(row.ci95, half_width(many - few), rtol=1e-4)
    assert row.verdict == ("B better" if (many - few).mean() > row.ci95 else "not distinguished")
    assert row.ci95 < np.hypot(half_width(many), half_width(few))  # what pairs are for


def test_the_common_drops_of_longer_and_shorter_runs_are_compared(folders):
    values = [each.values for name in "ab" for each in read_drops(folders[name])]
    assert [len(each) for each in values] == [A_DROPS, B_DROPS]
    found = compare(folders["a"], folders["b"], metrics=["nmse_db", "sum_rate_bpshz", "bits_mean"])
    bits = one(found, "bits_mean", None, ("rvq-b2", "rvq-b2"))
    assert (bits.a, bits.b, bits.ci95, bits.verdict) == (2, 2, 0, f"equal in all {A_DROPS} drops")
    row = one(found, "sum_rate_bpshz", 10, ("rvq-b6", "rvq-b6"))
    assert row.drops == A_DROPS
    np.testing.assert_allclose(row.a, by_drop(6, A_DROPS).mean(), rtol=1e-5)


def test_half_widths_in_db_follow_the_slopes(folders, tmp_path):
    """A jackknife of the difference in dB gives nearly the same."""
    place = tmp_path / "e"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "make_engine", lambda name, workers: Inline())
        csilink.run({**BASE, "estimation": {"name": "noisy", "snr_db": 0}}, out=place, drops=B_DROPS, report=False)
    row = one(compare(folders["b"], place), "nmse_db", None, ("perfect", "perfect"))
    x, y = (
        each.values[:, each.rows.index(("nmse_db", "perfect", None, None, "nmse_db"))]
        for folder in (folders["b"], place)
        for each in read_drops(folder)
    )
    whole = 10 * np.log10(y.mean() / x.mean())
    left_out = [10 * np.log10(np.delete(y, i).mean() / np.delete(x, i).mean()) for i in range(B_DROPS)]
    jackknife = np.sqrt((B_DROPS - 1) / B_DROPS * np.sum((left_out - np.mean(left_out)) ** 2))
    assert row.value == pytest.approx(whole, rel=1e-5) and whole == pytest.approx(10, abs=1.5)
    assert row.ci95 == pytest.approx(t(B_DROPS - 1).ppf(0.975) * jackknife, rel=0.1)
    assert row.verdict == "A better"


def test_a_share_that_never_differed_is_equal(folders):
    """No outage anywhere: nothing is claimed beyond the drops that were seen."""
    row = one(compare(folders["a"], folders["a"], schemes=["rvq-b2"], against=["rvq-b6"]), "outage_rate_1e-09", 10)
    assert row.verdict == f"equal in all {A_DROPS} drops"


@pytest.mark.parametrize(("name", "why"), [("c", "seed 1 and 2"), ("d", r"other channels: panel\.n1: 4 -> 2")])
def test_other_channels_are_no_pairs_and_the_reason_is_said(folders, name, why):
    row = one(compare(folders["a"], folders[name]), "sum_rate_bpshz", 10, ("rvq-b6", "rvq-b6"))
    assert re.match(why, row.why_not) and row.drops == 0
    alone = [
        frame[(frame.metric == "sum_rate_bpshz") & (frame.snr_db == 10) & (frame.scheme == "rvq-b6")].iloc[0]
        for frame in (csilink.load(folders["a"]), csilink.load(folders[name]))
    ]
    np.testing.assert_allclose(row.ci95, np.hypot(alone[0].ci95, alone[1].ci95), rtol=1e-6)
    np.testing.assert_allclose([row.a, row.b], [alone[0].value, alone[1].value], rtol=1e-6)


def test_chunks_of_an_earlier_csilink_have_no_pairs(folders, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "make_engine", lambda name, workers: Inline())
        csilink.run(BASE, out=tmp_path / "old", drops=A_DROPS, report=False)
    _, (point,), (size,) = read_points(tmp_path / "old")
    for unit in units_of(point, tmp_path / "old", size):
        if unit.path.is_file():
            with np.load(unit.path) as stored:
                kept = {name: stored[name] for name in stored if name != "values"}
            buffer = io.BytesIO()
            np.savez(buffer, **kept)
            unit.write(buffer.getvalue())
    row = one(compare(folders["a"], tmp_path / "old"), "sum_rate_bpshz", 10, ("rvq-b6", "rvq-b6"))
    assert row.why_not.startswith("no values of drops") and row.value == 0 and row.ci95 > 0


def test_errors_name_folder_and_field(folders, tmp_path):
    a, b = folders["a"], folders["b"]
    with pytest.raises(ConfigError, match=f"--metric: got 'sgcs'.*metrics of {a}: bits_max"):
        compare(a, b, metrics=["sgcs"])
    with pytest.raises(ConfigError, match=f"--scheme: got 'dft'.*schemes of {a}: rvq-b2, rvq-b6"):
        compare(a, b, schemes=["dft"])
    with pytest.raises(ConfigError, match=r"--against: got '1 labels'.*one for each --scheme"):
        compare(a, b, against=["rvq-b2"])
    with pytest.raises(StoreError, match=r"nowhere/scenario\.json"):
        compare(a, tmp_path / "nowhere")


def test_the_command_prints_pairs_and_reasons(folders, monkeypatch, capsys):
    for other, said in (("b", f"paired: the same channels in {A_DROPS} drops"), ("c", "not paired, seed 1 and 2")):
        monkeypatch.setattr(sys, "argv", ["csilink", "compare", str(folders["a"]), str(folders[other]), "--snr", "10"])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out = capsys.readouterr().out
        assert stop.value.code == 0 and said in out and "SNR 10 dB" in out
        assert len([line for line in out.splitlines() if "sum_rate_bpshz" in line]) == 3


def test_the_command_names_operating_points_of_one_folder_alone(folders, monkeypatch, capsys):
    a, e = folders["a"], folders["e"]
    monkeypatch.setattr(sys, "argv", ["csilink", "compare", str(a), str(e)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out = capsys.readouterr().out
    assert stop.value.code == 0 and "SNR 10 dB" in out
    assert f"not compared, only in {a}: SNR 0 dB" in out and f"not compared, only in {e}: SNR 20 dB" in out
    assert only_one(a, folders["b"]) == {}
