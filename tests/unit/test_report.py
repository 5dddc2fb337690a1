"""The report shows the numbers of its folder. All results here are synthetic: a seeded formula, no link."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_results import MORE, SCHEMES, SNR_DEFINITION, synthetic, words, write

from benchmarks.report import cells, figures, figures_cost, frames, report, tables
from simulator.core.errors import StoreError


def swept():
    """Three panel sizes x two estimation SNRs: six combinations."""
    parts = []
    for idx, (n1, est) in enumerate((n1, est) for n1 in (2, 4, 8) for est in (0, 20)):
        quality = (1 - 0.02 * n1) * (0.9 if est == 0 else 1.0)
        few = {scheme: SCHEMES[scheme] for scheme in ("perfect", "rvq-b6", "rvq-b12")}
        axes = {"bs.n1": n1, "estimation.snr_db": est, "quality": quality}
        frame, cdf = synthetic(few, ("zf",), axes, seed=idx)
        frame = frame[frame["metric"].isin(["sum_rate_bpshz", "sgcs", "bits_mean"])]
        parts.append((frame.drop(columns="quality"), cdf.drop(columns="quality")))
    return pd.concat([frame for frame, _ in parts]), pd.concat([cdf for _, cdf in parts])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished report with seven schemes and two precoders."""
    path = write(tmp_path_factory.mktemp("report"), *synthetic())
    report.write_report(path)
    return path


@pytest.fixture(scope="module")
def frame(folder):
    return report.read_results(folder / "results.csv")


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def lines(ax):
    """Label to (x, y) of the drawn lines of a panel."""
    return {line.get_label(): np.asarray(line.get_xydata(), float) for line in ax.get_lines()}


def values(frame, metric, scheme, precoder=None, snr_db=None):
    rows = frame[(frame["metric"] == metric) & (frame["scheme"] == scheme)]
    rows = rows if precoder is None else rows[rows["precoder"] == precoder]
    return rows if snr_db is None else rows[rows["snr_db"] == snr_db]


@pytest.mark.long
def test_lines_against_snr_are_the_rows_of_the_file(frame):
    figure = figures.metric_vs_snr(frame)
    assert [ax.get_title() for ax in figure.axes] == ["mrt", "zf"]
    for ax in figure.axes:
        drawn = lines(ax)
        assert set(drawn) == set(SCHEMES)
        for scheme in SCHEMES:
            rows = values(frame, "sum_rate_bpshz", scheme, ax.get_title())
            np.testing.assert_array_equal(drawn[scheme], rows[["snr_db", "value"]].to_numpy(float))


def test_bands_are_the_half_widths(frame):
    ax = figures.metric_vs_snr(frame).axes[0]
    for scheme, band in zip(SCHEMES, ax.collections, strict=True):
        rows = values(frame, "sum_rate_bpshz", scheme, "mrt")
        corners = band.get_paths()[0].vertices
        at_20 = corners[corners[:, 0] == 20][:, 1]
        row = rows[rows["snr_db"] == 20].iloc[0]
        assert at_20.min() == pytest.approx(row["value"] - row["ci95"])
        assert at_20.max() == pytest.approx(row["value"] + row["ci95"])


def test_outage_keeps_zeros_on_a_logarithmic_axis(frame):
    figure = figures.outage_vs_snr(frame)
    assert len(figure.axes) == 6  # three criteria x two precoders
    ax = figure.axes[0]
    drawn = lines(ax)["csinet-cr16-mu_law-b6-huffman"]
    expected = values(frame, "outage_gamma_0.9", "csinet-cr16-mu_law-b6-huffman", "mrt")
    np.testing.assert_array_equal(drawn, expected[["snr_db", "value"]].to_numpy(float))
    np.testing.assert_array_equal(lines(ax)["perfect"][:, 1], 0.0)
    low, high = ax.get_ylim()
    assert ax.get_yscale() == "symlog" and low < 0.0 < 1.0 < high
    assert "0" in [label.get_text() for label in ax.get_yticklabels()]


def test_points_against_bits_are_the_rows_of_the_file_and_perfect_is_a_level(frame):
    figure = figures.metric_vs_bits(frame, "sum_rate_bpshz")
    for ax, precoder in zip(figure.axes, ("mrt", "zf"), strict=True):
        assert ax.get_title() == f"{precoder}, SNR 20 dB" and ax.get_xscale() == "log"
        drawn = lines(ax)
        for scheme in SCHEMES:
            (row,) = values(frame, "sum_rate_bpshz", scheme, precoder, 20).to_dict("records")
            if scheme == "perfect":
                level = drawn["perfect (106,496 bits)"]
                np.testing.assert_array_equal(level, [[0.0, row["value"]], [1.0, row["value"]]])
            else:
                np.testing.assert_array_equal(drawn[scheme], [[row["bits_mean"], row["value"]]])
        joined = drawn["_csinet-cr16-mu_law-huffman"]
        assert joined[:, 0].tolist() == [214.3, 431.7, 668.2]
        assert ax.get_xlim()[1] < 2000  # the reference does not stretch the axis


def test_bits_figures_use_the_wanted_snr_and_skip_schemes_without_the_metric(frame):
    ax = figures.metric_vs_bits(frame, "sum_rate_bpshz", snr_db=4).axes[0]
    (row,) = values(frame, "sum_rate_bpshz", "dft", "mrt", 5).to_dict("records")
    assert lines(ax)["dft"][0, 1] == row["value"]
    drawn = lines(figures.metric_vs_bits(frame, "nmse_db").axes[0])
    assert {label for label in drawn if label[0] != "_"} == {s for s in SCHEMES if s.startswith("csinet")}
    drawn = lines(figures.metric_vs_bits(frame, "sgcs").axes[0])
    assert drawn["rvq-b12"].tolist() == [[12.0, 0.46]] and drawn["perfect (106,496 bits)"][:, 1].tolist() == [
        1,
        1,
    ]


def test_cdf_lines_are_the_rows_of_the_file(folder):
    cdf = pd.read_csv(folder / "user_rate_cdf.csv")
    ax = figures.user_rate_cdf(cdf).axes[1]
    rows = cdf[(cdf["scheme"] == "dft") & (cdf["precoder"] == "zf") & (cdf["snr_db"] == 20)]
    np.testing.assert_array_equal(lines(ax)["dft"], rows[["rate_bpshz", "cdf"]].to_numpy())


def test_a_scheme_looks_the_same_everywhere_and_schemes_differ():
    styles = figures.scheme_styles([*SCHEMES, *MORE])
    assert len({(look.color, look.marker) for look in styles.values()}) == 12
    frame, cdf = synthetic()
    for figure in (figures.metric_vs_snr(frame, styles=styles), figures.user_rate_cdf(cdf, styles=styles)):
        for line in figure.axes[0].get_lines():
            assert line.get_color() == styles[line.get_label()].color


def test_figures_without_data_are_none_and_the_page_says_so(tmp_path, undrawn):
    few = {scheme: SCHEMES[scheme] for scheme in ("rvq-b6", "rvq-b12")}
    frame, _ = synthetic(few)
    frame = frame[frame["metric"].isin(["sgcs", "bits_mean", "bits_max"])]
    path = report.write_report(write(tmp_path, frame, None))
    assert [file.name for file in sorted((tmp_path / "figures").iterdir())] == [
        "sgcs_vs_bits.png",
        "sgcs_vs_bits.svg",
    ]
    page = path.read_text()
    assert page.count("Not drawn") == 1 and page.count("<figure") == 1
    left_out = " ".join(page[page.index("Not drawn") :].split("</p>")[0].split())
    assert all(f"{what} against" in left_out for what in ("Sum rate", "Outage", "NMSE")) and "SGCS" not in left_out
    frame = report.read_results(tmp_path / "results.csv")
    assert figures.metric_vs_snr(frame) is None and figures.outage_vs_snr(frame) is None
    assert figures.metric_vs_bits(frame, "nmse_db") is None


@pytest.mark.long
def test_one_snr_makes_no_figure_against_snr_and_goodput_is_a_key_result(tmp_path, undrawn):
    frame, cdf = synthetic()
    frame = frame[frame["snr_db"].isna() | (frame["snr_db"] == 20)]
    blocks = frame[frame["metric"] == "sum_rate_bpshz"]
    blocks = blocks.assign(metric="goodput_bpshz", value=0.5 * blocks["value"])
    path = report.write_report(write(tmp_path, pd.concat([frame, blocks]), cdf))
    made = {file.stem for file in (tmp_path / "figures").iterdir()}
    assert "sum_rate_vs_bits" in made and not [name for name in made if name.endswith("_vs_snr")]
    assert "Goodput against SNR" in path.read_text().split("Not drawn")[1]
    frame = report.read_results(tmp_path / "results.csv")
    table = tables.key_results(frame, 20.0)
    row = next(row for row in table["rows"] if (row["scheme"], row["precoder"]) == ("dft", "zf"))
    (own,) = values(frame, "goodput_bpshz", "dft", "zf", 20).to_dict("records")
    at = [head for head, _ in table["heads"]].index("Goodput")
    assert row["others"][at] == cells.number(own["value"], own["ci95"])


@pytest.mark.parametrize(
    ("bits", "labels"), [((10, 1000), ["10", "20", "50", "100"]), ((100, 300_000), ["100", "1000"])]
)
def test_numbers_on_a_wide_axis_of_bits_keep_apart(bits, labels):
    frame, _ = synthetic({f"rvq-b{b}": (b, b, 0.5, None) for b in bits}, ("mrt",))
    figure = figures.metric_vs_bits(frame, "sgcs")
    figure.canvas.draw()
    low, high = (ax := figure.axes[0]).get_xlim()
    shown = [t.get_text() for t in ax.get_xticklabels() if low <= t.get_position()[0] <= high]
    assert shown[: len(labels)] == labels


def test_exact_csi_is_left_out_of_nmse(frame):
    exact = frame["scheme"].str.startswith("csinet-cr16-mu_law-b6") & (frame["metric"] == "nmse_db")
    assert exact.any()
    drawn = lines(figures.metric_vs_bits(frame.assign(value=frame["value"].mask(exact, -300.0)), "nmse_db").axes[0])
    assert "csinet-cr16-mu_law-b6-huffman" not in drawn and len(drawn) >= 2


@pytest.mark.long
def test_swept_axes_make_a_figure_per_combination_and_one_per_axis(tmp_path, undrawn):
    path = report.write_report(write(tmp_path, *swept()))
    frame = report.read_results(tmp_path / "results.csv")
    assert frames.swept_axes(frame) == ["bs.n1", "estimation.snr_db"]
    made = {file.name for file in (tmp_path / "figures").iterdir()}
    assert {f"sum_rate_vs_snr_{idx}.png" for idx in (1, 2, 3, 4)} <= made and "sum_rate_vs_snr_5.png" not in made
    assert {"sgcs_over_bs.n1.png", "sum_rate_bpshz_over_estimation.snr_db.svg"} <= made
    assert "4 of 6 combinations" in path.read_text()
    ax = figures.metric_vs_axis(frame, "sgcs", "bs.n1").axes[1]
    assert ax.get_title() == "estimation.snr_db = 20"
    rows = values(frame[frame["estimation.snr_db"] == 20], "sgcs", "rvq-b6")
    np.testing.assert_array_equal(lines(ax)["rvq-b6"], rows[["bs.n1", "value"]].to_numpy(float))
    for ax in figures.metric_vs_axis(frame, "sum_rate_bpshz", "bs.n1").axes:
        compared = [xy[:, 1].max() for name, xy in lines(ax).items() if name != "perfect"]
        assert ax.get_ylim()[0] == 0 and max(compared) < ax.get_ylim()[1]


def test_an_axis_that_is_the_rate_joins_the_family_and_one_of_words_has_no_figure():
    parts = []
    for bits in (2, 6, 12):
        one, _ = synthetic({f"rvq-b{bits}": (bits, bits, bits / 20, None)}, ("mrt",), {"feedback.bits": bits})
        parts.append(one.assign(**{"channel.model": "umi" if bits < 6 else "uma"}))
    frame = pd.concat(parts)
    drawn = lines(figures.metric_vs_axis(frame.drop(columns="channel.model"), "sgcs", "feedback.bits").axes[0])
    assert drawn["_rvq"].tolist() == [[2.0, 0.1], [6.0, 0.3], [12.0, 0.6]]
    assert figures.metric_vs_axis(frame, "sgcs", "channel.model") is None


@pytest.mark.parametrize("words", [("A", "B"), (True, False)])
def test_a_swept_axis_of_words_has_rows_and_no_figure_of_its_own(words, tmp_path, undrawn):
    parts = [synthetic({"rvq-b6": (6, 6, 0.5, None)}, ("mrt",), {"channel.profile": word}) for word in words]
    frame, cdf = (pd.concat(both) for both in zip(*parts, strict=True))
    page = report.write_report(write(tmp_path, frame, cdf)).read_text()
    assert not list((tmp_path / "figures").glob("*_over_*")) and "channel.profile" in page


TEMPLATES = Path(report.__file__).parents[1] / "templates"


class Attributes(HTMLParser):
    """Every src, href and url() of a page."""

    def __init__(self):
        super().__init__()
        self.links, self.tags = [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for key, value in attrs if key in ("src", "href", "srcset", "data", "action")]


def test_page_is_self_contained_and_holds_what_a_reader_needs(page):
    """Its script is its own and loads nothing; without it every figure is there as a picture."""
    parser = Attributes()
    parser.feed(page)
    assert parser.links and all(link.startswith(("#", "data:image/svg+xml;base64,")) for link in parser.links)
    assert not parser.tags & {"link", "iframe", "object"} and "url(data" not in page and "@import" not in page
    assert "default-src 'none'" in page and not re.search(r"\b(fetch|import|eval|XMLHttpRequest)\(", page)
    assert len((TEMPLATES / "report.js").read_bytes()) < 200_000
    assert SNR_DEFINITION in page and "per_dataset" in page and "nothing was simulated" in page
    assert "0123abc" in page and "61.2 s" in page and "sionna" in page and "model: umi" in page
    assert "Not drawn" not in page and page.count("<figure") == 6


def test_key_results_hold_the_numbers_of_the_file(frame, page):
    table = tables.key_results(frame, 20.0)
    row = next(row for row in table["rows"] if (row["scheme"], row["precoder"]) == ("rvq-b12", "zf"))
    (own,) = values(frame, "sum_rate_bpshz", "rvq-b12", "zf", 20).to_dict("records")
    (ceiling,) = values(frame, "sum_rate_bpshz", "perfect", "zf", 20).to_dict("records")
    assert row["bits"] == ["12", "12"] and row["share"] == f"{100 * own['value'] / ceiling['value']:.1f}"
    assert float(row["sum_rate"].split()[0]) == pytest.approx(own["value"], abs=own["ci95"] / 10)
    assert row["others"][-2:] == ["0.4600 ± 0.0040", "–"] and not row["best"]
    marked = tables.key_results(frame, 20.0, best=[("dft", "zf")])["rows"]
    assert [(row["scheme"], row["precoder"]) for row in marked if row["best"]] == [("dft", "zf")]
    text = words(page)
    assert (
        f"rvq-b12 12 12 {row['sum_rate']} {row['share']} %" in text
        and "csinet-cr16-mu_law-b6-huffman 668.2 712" in text
    )


def test_the_percentile_of_the_bits_stands_where_it_says_more_than_the_maximum(frame):
    p95 = frame[frame["metric"] == "bits_max"].assign(metric="bits_p95")
    assert tables.key_results(pd.concat([frame, p95]), 20.0)["bits_heads"] == ["mean", "max"]
    less = p95.assign(value=p95["value"].where(p95["scheme"] != "csinet-cr16-mu_law-b6-huffman", 690))
    table = tables.key_results(pd.concat([frame, less]), 20.0)
    assert table["bits_heads"] == ["mean", "95 %", "max"]
    bits = {row["scheme"]: row["bits"] for row in table["rows"]}
    assert bits["csinet-cr16-mu_law-b6-huffman"] == ["668.2", "690", "712"] and bits["dft"] == ["8", "8", "8"]


def test_the_key_results_take_the_sgcs_by_subband_where_there_is_one(frame):
    subband = frame[frame["metric"] == "sgcs"].assign(metric="sgcs_subband", value=0.25)
    assert ("SGCS", "") in tables.key_results(frame, 20.0)["heads"]
    table = tables.key_results(pd.concat([frame, subband]), 20.0)
    assert ("SGCS", "by subband") in table["heads"] and ("SGCS", "") not in table["heads"]
    assert table["rows"][0]["others"][-2].startswith("0.25")


def test_pivots_hold_every_row(frame):
    found = tables.pivots(frame)
    assert found[0]["title"] == "sum_rate_bpshz" and found[0]["heads"][0] == "-5 dB"
    shown = sum(cell != "–" for table in found for _, line in table["body"] for cell in line)
    assert shown == len(frame)


@pytest.mark.parametrize(
    "value, ci95, text",
    [
        (12.3402, 0.0519, "12.340 ± 0.052"),
        (0.5, np.nan, "0.5"),
        (106496, 0.0, "106,496"),
        (-np.inf, np.nan, "-∞"),
        (np.nan, np.nan, "–"),
        (0.0, 0.0, "0"),
    ],
)
def test_number(value, ci95, text):
    assert cells.number(value, ci95) == text


def test_values_are_escaped(tmp_path, undrawn):
    frame, cdf = synthetic({"dft": SCHEMES["dft"]}, ("zf",), name="<b>x</b>")
    notes = ["<script>alert(1)</script>"]
    page = report.write_report(write(tmp_path, frame, cdf, name="<b>x</b>", notes=notes)).read_text()
    assert "<b>x</b>" not in page and "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<script>alert" not in page


def test_the_glossary_knows_the_metrics_by_subband_and_their_layers(tmp_path, undrawn):
    frame, _ = synthetic({"dft": SCHEMES["dft"]}, ("zf",))
    base = frame[frame["metric"] == "bits_max"]
    names = ("sgcs_subband", "sgcs_subband_layer1", "sgcs_subband_layer2", "sgcs_subspace", "bits_p95")
    frame = pd.concat([base.assign(metric=name, value=0.5) for name in names])
    page = report.write_report(write(tmp_path, frame, None)).read_text()
    text = words(page)
    assert "plug-in" not in text and "sgcs_subband_layer2 SGCS by subband" in text and "bits_p95 95 % of the" in text


def test_missing_values_stay_missing(tmp_path, undrawn):
    """A failed point (no value, no half-width, no counted bits) is a dash, not a crash or a zero."""
    frame, cdf = synthetic({"perfect": SCHEMES["perfect"], "rvq-b6": SCHEMES["rvq-b6"]}, ("zf",))
    frame = frame[frame["metric"] != "bits_mean"]
    frame.loc[frame["scheme"] == "rvq-b6", ["value", "ci95"]] = np.nan
    text = report.write_report(write(tmp_path, frame, cdf)).read_text()
    text = words(text)
    assert "rvq-b6 6 6 – – – – – –" in text


@pytest.mark.long
def test_a_second_report_has_the_same_bytes_and_leaves_nothing_stale(tmp_path, request):
    frame, cdf = synthetic({"dft": SCHEMES["dft"], "rvq-b6": SCHEMES["rvq-b6"]}, ("zf",))
    write(tmp_path, frame, cdf)
    contents = []
    for _ in range(2):
        report.write_report(tmp_path)
        contents.append({path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()})
    assert contents[0] == contents[1] and len(contents[0]) == 3 + 1 + 2 * 5
    assert not re.search(rb"20\d\d-\d\d-\d\dT", b"".join(p for f, p in contents[0].items() if f.suffix == ".svg"))
    frame[frame["metric"] != "sgcs"].to_csv(tmp_path / "results.csv", index=False)
    request.getfixturevalue("undrawn")
    report.write_report(tmp_path)
    assert not (tmp_path / "figures" / "sgcs_vs_bits.png").exists()


def drop_column(path):
    pd.read_csv(path / "results.csv").drop(columns=["ci95", "unit"]).to_csv(path / "results.csv", index=False)


def double_rows(path):
    frame = pd.read_csv(path / "results.csv")
    pd.concat([frame, frame.iloc[:1]]).to_csv(path / "results.csv", index=False)


BREAKS = {
    "no results": (lambda path: (path / "results.csv").unlink(), "results.csv.*no such file.*`csilink run`"),
    "no columns": (drop_column, "results.csv.*ci95, unit missing.*scenario, channel"),
    "no bytes": (lambda path: (path / "results.csv").write_bytes(b""), "results.csv.*expected a CSV"),
    "no rows": (
        lambda path: (path / "results.csv").write_text(",".join(frames.BASE_COLUMNS)),
        "has no rows",
    ),
    "not text": (lambda path: (path / "results.csv").write_bytes(bytes(range(256)) * 9), "results.csv"),
    "a word": (
        lambda path: (path / "results.csv").write_text(
            ",".join(frames.BASE_COLUMNS) + "\na,b,dft,8,8,,32,4,,sgcs,high,,1,9,1"
        ),
        "column value must hold numbers",
    ),
    "a row twice": (double_rows, "two rows for"),
    "a bad CDF": (
        lambda path: (path / "user_rate_cdf.csv").write_text("a,b\n1,2"),
        "user_rate_cdf.csv.*rate_bpshz",
    ),
    "no manifest": (lambda path: (path / "manifest.json").unlink(), "manifest.json.*snr_definition"),
    "half a manifest": (
        lambda path: (path / "manifest.json").write_text('{"name": "x'),
        "manifest.json.*JSON",
    ),
    "notes in one piece": (
        lambda path: (path / "manifest.json").write_text(
            '{"name": "x", "scenario": {}, "snr_definition": "", "normalization": "none", "notes": "one"}'
        ),
        "manifest.json: notes of the wrong kind",
    ),
    "a thin manifest": (
        lambda path: (path / "manifest.json").write_text('{"name": "x"}'),
        "scenario, snr_definition",
    ),
}


@pytest.mark.parametrize("case", BREAKS)
def test_bad_input_is_one_clear_message(tmp_path, case):
    write(tmp_path, *synthetic({"dft": SCHEMES["dft"]}, ("zf",)))
    harm, message = BREAKS[case]
    harm(tmp_path)
    with pytest.raises(StoreError, match=message) as caught:
        report.write_report(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_the_pareto_front_of_cost_bits_and_outage():
    """Brute force over all pairs; schemes without a UE cost are not in the picture."""
    rng, rows = np.random.default_rng(5), []
    base = dict(scenario="s", channel="umi", num_ports=8, num_users=1, num_samples=100, seed=1, ci95=0.01, bits_max=99)
    triples = {f"net{i // 2}-b{i}{'-w8' * (i % 2)}": rng.integers(1, 5, 3) for i in range(12)}
    for scheme, (cost, bits, outage) in {**triples, "dft": (None, 4, 1)}.items():
        line = {**base, "scheme": scheme, "bits_mean": float(bits)}
        if cost is not None:
            rows.append({**line, "precoder": None, "snr_db": np.nan, "metric": "ue_gbops", "value": float(cost)})
        for gamma, value in ((0.5, 0.0), (0.9, outage / 10)):
            named = {**line, "precoder": "mrt", "snr_db": 20.0, "metric": f"outage_gamma_{gamma}", "value": value}
            rows.append(named)
    frame = pd.DataFrame(rows)
    points = figures_cost.cost_points(frame).set_index("scheme")
    assert set(points.index) == set(triples) and (points.criterion == "outage_gamma_0.9").all()
    for scheme, mine in triples.items():
        beaten = any((other <= mine).all() and (other < mine).any() for other in triples.values())
        assert points.front[scheme] == (not beaten)
    axis = figures_cost.outage_vs_ue_cost(frame).axes[0]
    assert sum(len(c.get_offsets()) for c in axis.collections) == len(triples)
    assert figures_cost.outage_vs_ue_cost(frame[frame.metric != "ue_gbops"]) is None


@pytest.mark.parametrize(
    ("scheme", "name"),
    [
        ("csinet-250-mid_tread-b5-range-w8", "csinet-250"),
        ("evt-120-vector-b8-fixed", "evt-120"),
        ("transnet-250-mpq-online-c0.5-g0.9-20dB-range", "transnet-250-mpq-online"),
        ("vb-munich-b8", "vb-munich"),
        ("mine", "mine"),
    ],
)
def test_network_of_a_scheme(scheme, name):
    assert figures.network(scheme) == name
