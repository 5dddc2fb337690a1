"""What the script of the page draws, the verdict, the reference, and the pictures of a channel.

All results here are synthetic: a seeded formula, no link.
"""

import json
import re
from html import unescape

import numpy as np
import pytest
from synthetic_results import SCHEMES, synthetic, words, write

from benchmarks.picture import Picture
from benchmarks.report import figures, frames, pictures, report, verdict
from simulator.core.types import Panel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("report"), *synthetic(precoders=("zf",)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "render", lambda figure: {"svg": b"", "png": b""})  # no test looks at them
        report.write_report(path)
    return path


@pytest.fixture(scope="module")
def frame(folder):
    return report.read_results(folder / "results.csv")


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def data_of(page):
    """What the script draws, and the recipes of the figures."""
    text = page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    recipes = [json.loads(unescape(found)) for found in re.findall(r'data-recipe="([^"]*)"', page)]
    return json.loads(text), recipes


@pytest.mark.long
def test_the_script_gets_every_row_of_its_metrics(frame, page):
    data, recipes = data_of(page)
    names = [each["name"] for each in data["metrics"]]
    wanted = frame[frame["metric"].isin(names)]
    wanted = wanted[~((wanted["metric"] == "nmse_db") & (wanted["value"] < -200))]
    got = {
        (
            data["schemes"][scheme]["name"],
            data["precoders"][precoder] if precoder >= 0 else None,
            names[metric],
            snr_db,
        ): (value, ci95)
        for scheme, precoder, metric, _, snr_db, value, ci95, *_ in data["rows"]
    }
    assert len(got) == len(data["rows"]) == len(wanted)
    for row in wanted.to_dict("records"):
        snr_db = None if np.isnan(row["snr_db"]) else row["snr_db"]
        precoder = row["precoder"] if isinstance(row["precoder"], str) else None
        value, ci95 = got[row["scheme"], precoder, row["metric"], snr_db]
        assert value == pytest.approx(row["value"], rel=1e-5) and ci95 == pytest.approx(row["ci95"], rel=1e-5)
    assert [each["name"] for each in data["schemes"] if each["reference"]] == ["perfect"]
    drawn = [(chart["x"], chart["metric"]) for charts in recipes for chart in charts]
    assert drawn[:3] == [("snr_db", "sum_rate_bpshz"), ("bits", "sum_rate_bpshz"), ("rate", "user_rate_bpshz")]
    assert [metric for _, metric in drawn if metric.startswith("outage_")] == [
        "outage_gamma_0.9", "outage_gamma_0.95", "outage_rate_1"
    ]  # fmt: skip
    assert all(chart["combinations"] == [0] for charts in recipes for chart in charts)


def test_the_reference_is_known_by_what_it_is(tmp_path, undrawn):
    """By its scheme, whatever its label; a scheme that is only called perfect is a contender."""
    bits, *rest = SCHEMES["perfect"]
    frame, cdf = synthetic({"genie": (bits, *rest), "perfect": (8, 8, 0.42, None), "dft": (9, 9, 0.4, None)}, ("zf",))
    frame = frame[frame["metric"].isin(["sum_rate_bpshz", "bits_mean"])]
    lines = [
        {"scheme": "perfect", "label": "genie"},
        {"scheme": "rvq", "label": "perfect", "bits": 8},
        {"scheme": "dft"},
    ]
    manifest = {"scenario": {"name": "x", "feedback": lines}}
    page = report.write_report(write(tmp_path, frame, cdf, **manifest)).read_text()
    assert [each["name"] for each in data_of(page)[0]["schemes"] if each["reference"]] == ["genie"]
    assert "genie sends the channel itself and is the reference" in words(page)
    assert frames.reference_labels(["perfect+ar@ue", "rvq-b6"], {}) == {"perfect+ar@ue"}
    axes = figures.metric_vs_bits(
        frame, "sum_rate_bpshz", styles=figures.scheme_styles(frame["scheme"], ["genie"])
    ).axes
    assert axes[0].get_xlim()[1] < 100  # not stretched to its bits


def test_the_reference_does_not_stretch_the_rates(frame):
    high = frame["value"].where((frame["scheme"] != "perfect") | (frame["metric"] != "sum_rate_bpshz"), 500.0)
    drawn = frame.assign(value=high)
    top = drawn[(drawn["metric"] == "sum_rate_bpshz") & (drawn["scheme"] != "perfect")]["value"].max()
    for figure in (figures.metric_vs_snr(drawn), figures.metric_vs_bits(drawn, "sum_rate_bpshz")):
        assert figure.axes[0].get_ylim()[1] < 1.3 * top
        assert any("perfect: up to 500" in text.get_text() for text in figure.axes[0].texts)


def test_the_best_scheme_for_every_number_of_bits(frame, page):
    """Counted by hand from the rows: the highest sum rate with a precoder among reports that are short enough."""
    found = verdict.winners(frame, 20.0, ["perfect"], frames.family)
    rows = frame[(frame["metric"] == "sum_rate_bpshz") & (frame["snr_db"] == 20) & (frame["scheme"] != "perfect")]
    by_budget = {}
    for budget in (8, 16, 32, 64, 128, 256, 512, 1024):
        fits = [row for row in rows.to_dict("records") if row["bits_mean"] <= budget]
        by_budget[budget] = max(fits, key=lambda row: row["value"])["scheme"]
    changed = [budget for budget in by_budget if by_budget[budget] != by_budget.get(budget // 2)]
    assert [(each.budget, each.scheme) for each in found] == [(budget, by_budget[budget]) for budget in changed]
    last, second = found[-1], found[-1].runner_up
    assert second == "rvq-b12" and last.share < 100
    (own,), (other,) = (
        rows[(rows["scheme"] == s) & (rows["precoder"] == "zf")].to_dict("records") for s in (last.scheme, second)
    )
    assert last.lead == pytest.approx(own["value"] - other["value"])
    assert last.lead_ci95 == pytest.approx(np.hypot(own["ci95"], other["ci95"])) and last.clear
    assert "In short: best sum rate at SNR 20 dB" in words(page)
    assert words(page).index("In short") < words(page).index("What SNR means here")


def test_pictures_of_a_single_path(rng):
    """One plane wave of one delay: one bright beam, one delay; a scaled copy has SGCS 1, an orthogonal one 0."""
    panel, spacing_hz, samples = Panel(4, 2, 2), 30e3, 64
    wave = np.kron([1, 1j], np.kron(np.exp(2j * np.pi * np.arange(4) / 4), [1, -1]))  # beam (1, 1) of the grid
    h = np.outer(wave, np.exp(-2j * np.pi * 5 * np.arange(samples) / samples))  # five samples of delay
    power = pictures.beam_power(h.T, panel)
    assert power.argmax() == 1 * panel.n2 + 1 and power.max() == pytest.approx(power.sum())
    stations = pictures.beam_power(np.concatenate([0 * h, h]).T, panel.at(2))  # the wave comes from the second one
    np.testing.assert_allclose(stations, [*np.zeros(8), *power])
    figure = pictures.profile(Picture(h=np.concatenate([0 * h, h])), panel.at(2), spacing_hz)
    assert figure.axes[1].images[0].get_array().shape == (2, 8)
    delays_s, power_db = pictures.delay_profile(h, spacing_hz)
    assert delays_s[power_db.argmax()] == pytest.approx(5 / (samples * spacing_hz)) and power_db[12] < -60
    true = rng.standard_normal((3, 16)) + 1j * rng.standard_normal((3, 16))
    off = rng.standard_normal((3, 16)) + 1j * rng.standard_normal((3, 16))
    off -= true * (np.sum(true.conj() * off, axis=1) / np.sum(np.abs(true) ** 2, axis=1))[:, None]
    np.testing.assert_allclose(pictures.cosines(true, 2j * true), 1)
    np.testing.assert_allclose(pictures.cosines(true, off), 0, atol=1e-20)
    assert pictures.cosines(true, 0 * true).tolist() == [0, 0, 0]
    picture = Picture(h.astype(np.complex64), true, {"a": h.astype(np.complex64)}, {"a": true, "b": off})
    titles = [ax.get_title() for ax in pictures.rebuilt(picture, panel).axes if ax.get_title()]
    assert titles == ["true direction", "a\nSGCS 1.00", "b\nSGCS 0.00"]
    assert [ax.get_title() for ax in pictures.magnitudes(picture).axes][:2] == ["true |h|", "a\nexact"]
    assert pictures.profile(Picture(), panel, 1.0) is None and pictures.rebuilt(Picture(), panel) is None
