"""Bjontegaard differences against closed forms and an independent program; tables of a report."""

import re

import numpy as np
import pandas as pd
import pytest
from synthetic_results import synthetic, write

from benchmarks.report import report
from benchmarks.report.bd_rate import bd_difference, envelope
from benchmarks.report.bd_table import bd_frame, bd_tables, curve
from benchmarks.report.frames import family

BITS = np.array([60.0, 90, 120, 180, 300])
QUALITY = np.array([0.58, 0.66, 0.70, 0.78, 0.82])


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_factor_in_bits(factor):
    """Half the bits at every quality: -50 %, whatever the shape of the curve."""
    found = bd_difference(BITS, QUALITY, factor * BITS, QUALITY)
    assert found.rate_percent == pytest.approx(100 * (factor - 1), abs=1e-9) and found.note == ""
    assert (found.low, found.high) == (0.58, 0.82)
    assert np.sign(found.quality) == np.sign(1 - factor)


def test_an_offset_in_quality():
    found = bd_difference(BITS, QUALITY, BITS, QUALITY + 0.03)
    assert found.quality == pytest.approx(0.03, abs=1e-12) and found.rate_percent < 0
    assert (found.low, found.high) == pytest.approx((0.61, 0.82))


def test_straight_lines():
    """Ln B = a + c q with two slopes: the mean difference is that in the middle of the common range."""
    q, q2 = np.array([0.2, 0.4, 0.5, 0.8]), np.array([0.1, 0.3, 0.6])
    found = bd_difference(np.exp(3 + 2 * q), q, np.exp(2.5 + 4 * q2), q2)
    assert found.rate_percent == pytest.approx(100 * np.expm1(-0.5 + 2 * 0.4), rel=1e-12)
    start, stop = 3.4, 4.6  # common ln B: that of the reference from q = .2, up to that of the curve at .5 ...
    stop = min(stop, 2.5 + 4 * 0.6)
    middle = (start + stop) / 2
    assert found.quality == pytest.approx((middle - 2.5) / 4 - (middle - 3) / 2, rel=1e-12)


def test_swapped_curves_have_the_inverse_ratio():
    other = BITS * [0.8, 0.7, 1.1, 0.9, 0.6]
    there, back = (
        bd_difference(BITS, QUALITY, other, QUALITY + 0.01),
        bd_difference(other, QUALITY + 0.01, BITS, QUALITY),
    )
    assert (1 + there.rate_percent / 100) * (1 + back.rate_percent / 100) == pytest.approx(1, rel=1e-12)
    assert there.quality == pytest.approx(-back.quality, rel=1e-12)


def test_an_independent_program():
    """Rates and PSNRs of a video codec; pchip of the package bjontegaard 1.3.0 (PyPI), run on its own example."""
    ref = [9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851]
    own = [9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987]
    found = bd_difference(*ref, *own)
    assert found.rate_percent == pytest.approx(-4.417485350589, rel=1e-10)
    assert found.quality == pytest.approx(0.119692785425, rel=1e-10)


def test_a_trapezoid_sum_of_the_interpolants():
    """Slopes of Fritsch and Butland written out, a million trapezoids; no end may be extrapolated."""

    def hermite(x, y, at):
        h, d = np.diff(x), np.diff(y) / np.diff(x)
        m = np.zeros(len(x))
        for k in range(1, len(x) - 1):
            w1, w2 = 2 * h[k] + h[k - 1], h[k] + 2 * h[k - 1]
            m[k] = (w1 + w2) / (w1 / d[k - 1] + w2 / d[k])
        for end, (a, b) in ((0, (0, 1)), (-1, (-1, -2))):
            m[end] = ((2 * h[a] + h[b]) * d[a] - h[a] * d[b]) / (h[a] + h[b])
            m[end] = 0 if m[end] * d[a] <= 0 else m[end]
        k = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(h) - 1)
        t = (at - x[k]) / h[k]
        basis = (1 + 2 * t) * (1 - t) ** 2, t * (1 - t) ** 2, t**2 * (3 - 2 * t), t**2 * (t - 1)
        return basis[0] * y[k] + basis[1] * h[k] * m[k] + basis[2] * y[k + 1] + basis[3] * h[k] * m[k + 1]

    bits, quality = np.array([50.0, 110, 150, 240]), np.array([0.61, 0.69, 0.75, 0.79])
    at = np.linspace(0.61, 0.79, 1_000_001)
    gap = hermite(quality, np.log(bits), at) - hermite(QUALITY, np.log(BITS), at)
    found = bd_difference(BITS, QUALITY, bits, quality)
    assert found.rate_percent == pytest.approx(100 * np.expm1(np.trapezoid(gap, at) / 0.18), rel=1e-8)


def test_points_that_others_beat_do_not_count(rng):
    bits = np.append(BITS, [100.0, 200, 300, 0, 50])
    quality = np.append(QUALITY, [0.66, 0.75, 0.80, 0.9, np.nan])
    order = rng.permutation(len(bits))
    kept_bits, kept_quality = envelope(bits[order], quality[order])
    np.testing.assert_array_equal(kept_bits, BITS)
    np.testing.assert_array_equal(kept_quality, QUALITY)
    assert bd_difference(BITS, QUALITY, bits[order], quality[order]).rate_percent == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("bits", "quality", "note"),
    [
        (BITS[:2], QUALITY[:2], "2 points on the envelope of this curve, 3 needed"),
        (BITS, QUALITY[::-1], "1 point on the envelope of this curve, 3 needed"),
        ([], [], "0 points on the envelope of this curve, 3 needed"),
        (BITS, QUALITY - 0.5, "no common quality"),
        (BITS + 1000, QUALITY, "no common bits"),
        (BITS + 1000, QUALITY - 0.5, "no common quality, no common bits"),
    ],
)
def test_what_has_no_difference_says_so(bits, quality, note):
    found = bd_difference(BITS, QUALITY, bits, quality)
    assert found.note == note
    assert np.isnan(found.rate_percent) == ("common bits" != note[-11:] or "quality" in note)
    assert np.isnan(found.quality) == (note != "no common quality")


@pytest.mark.parametrize(
    ("scheme", "name"),
    [
        ("etype2-pc4", "etype2"),
        ("etype2-pc4-R2-rank1", "etype2-R2-rank1"),
        ("etype2-pc4+ar@ue", "etype2+ar@ue"),
        ("sparse-b100", "sparse"),
        ("evt-120-uniform-b2-fixed", "evt-uniform-fixed"),
        ("transnet-250-mid_tread-b5-range-w8", "transnet-mid_tread-range-w8"),
        ("vb-munich-b64", "vb-munich"),
        ("type2-L4-psk8", "type2-L4-psk8"),
        ("klt-mixed-fixed-b100", "klt-mixed-fixed"),
    ],
)
def test_curve_of_a_scheme(scheme, name):
    assert curve(scheme) == name


def test_family_with_a_prediction():
    assert family("etype2-pc4+ar@ue") == "etype2+ar@ue"


SCHEMES = {
    "perfect": (106496, 106496, 1.0, None),
    "dft": (8, 8, 0.42, None),
    **{f"sparse-b{b}": (b, b, q, -3.0) for b, q in ((60, 0.5), (100, 0.6), (250, 0.78))},
    **{f"etype2-pc{i + 1}": (b, b, q, None) for i, (b, q) in enumerate(zip(BITS, QUALITY, strict=True))},
    **{f"net-{b:.0f}-uniform-b2-fixed": (b / 2, b, q, None) for b, q in zip(BITS, QUALITY, strict=True)},
    "two-b60": (60, 60, 0.6, None),
    "two-b90": (90, 90, 0.7, None),
}


@pytest.fixture(scope="module")
def frame():
    found, _ = synthetic(SCHEMES)
    return pd.concat([found, found[found["metric"] == "sgcs"].assign(metric="sgcs_subband")])


def test_families_are_compared_with_enhanced_type_two(frame):
    table = bd_frame(frame)
    assert set(table["family"]) == {"sparse", "net-uniform-fixed", "two"} and set(table["reference"]) == {"etype2"}
    assert set(table["metric"]) == {"sgcs_subband", "sum_rate_bpshz"}
    rows = table[table["metric"] == "sgcs_subband"].set_index("family")
    assert rows.bd_rate_percent["net-uniform-fixed"] == pytest.approx(-50) and rows.note["net-uniform-fixed"] == ""
    expected = bd_difference(BITS, QUALITY, [60, 100, 250], [0.5, 0.6, 0.78])
    assert rows.bd_rate_percent["sparse"] == expected.rate_percent and rows.bd_quality["sparse"] == expected.quality
    assert rows.note["two"] == "2 points on the envelope of this curve, 3 needed"
    assert np.isnan(rows.bd_rate_percent["two"])
    # sum rates: a row per precoder and SNR
    assert len(table) == 3 * (1 + 2 * 7)
    assert set(bd_frame(frame[frame["metric"] != "sgcs_subband"])["metric"]) == {"sgcs", "sum_rate_bpshz"}


@pytest.mark.long
def test_without_the_codebook_the_first_family_is_the_reference(frame):
    table = bd_frame(frame[~frame["scheme"].str.startswith("etype2-")])
    assert set(table["reference"]) == {"sparse"}
    variants = frame.assign(scheme=frame["scheme"].str.replace(r"(pc\d)", r"\1-R2", regex=True))
    assert set(bd_frame(pd.concat([variants, frame]).drop_duplicates())["reference"]) == {"etype2"}
    assert set(bd_frame(variants)["reference"]) == {"etype2-R2"}


def test_one_family_or_none_is_no_table(frame):
    for names in ("perfect|dft", "etype2-.*", "etype2-.*|dft|perfect"):
        table = bd_frame(frame[frame["scheme"].str.fullmatch(names)])
        assert table.empty and bd_tables(table, 20.0) == []


def test_a_swept_axis_gets_tables_of_its_own_and_swept_bits_are_points():
    parts = []
    for speed in (0.0, 3.0):
        for b, q in zip(BITS, QUALITY, strict=True):
            schemes = {"mine": (b, b, q - 0.01 * speed, None), "etype2-pc1": (b * 2, b * 2, q, None)}
            parts.append(synthetic(schemes, ("zf",), {"speed": speed, "feedback.bits": b})[0])
    table = bd_frame(pd.concat(parts))
    rows = table[table["metric"] == "sgcs"]
    assert list(rows["speed"]) == [0.0, 3.0] and list(rows["points"]) == [5, 5]
    assert rows.bd_rate_percent.iloc[0] == pytest.approx(-50) and rows.bd_rate_percent.iloc[1] > -50
    assert [t["title"] for t in bd_tables(table, 20.0)] == ["speed = 0", "speed = 3"]


@pytest.mark.long
def test_the_page_and_the_file_show_them(frame, tmp_path, undrawn):
    frame = frame[frame["metric"].isin(["sgcs_subband", "bits_mean"])]  # one figure
    write(tmp_path, frame, None)
    page = report.write_report(tmp_path).read_text(encoding="utf-8")
    text = " ".join(re.sub("<[^>]*>", " ", page).split())
    assert "Compared with etype2" in text and "-50.0 % 0.580 to 0.820" in text
    assert "2 points on the envelope of this curve, 3 needed" in text
    table = pd.read_csv(tmp_path / "bd_rate.csv")
    assert table[(table.family == "net-uniform-fixed") & (table.metric == "sgcs_subband")].bd_rate_percent.item() == -50
    assert len(table) == 3
    frame[frame["scheme"] == "dft"].to_csv(tmp_path / "results.csv", index=False)
    assert 'id="bd"' not in report.write_report(tmp_path).read_text() and not (tmp_path / "bd_rate.csv").exists()
