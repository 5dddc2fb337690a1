"""Half-widths against closed forms, exact coverage of shares, and laws with known means."""

import json
import math
from functools import reduce

import numpy as np
import pytest
import yaml
from scipy import stats

from benchmarks import runner
from benchmarks.intervals import Moments, half_width, independent_drops
from benchmarks.store import Accumulator
from scenarios.schema import parse_scenario
from scenarios.sweep import Point
from simulator.core.types import Panel, RadioGeometry
from simulator.data.layout import ChannelLayout
from simulator.data.recorded import RecordedChannels
from simulator.data.writer import StoreWriter

SHARE = (0.0, 1.0)


def coverage(values, mean, **params):
    """Share of the rows of ``values [seed, drop]`` whose interval holds the mean."""
    of = Moments.of(values)
    return np.mean(np.abs(of.mean - mean) <= half_width(of, **params))


def test_merged_moments_are_those_of_all_drops(rng):
    values = rng.gamma(0.3, 2.0, (4, 57))
    parts = np.split(values, [1, 2, 20, 33], axis=1)
    merged = reduce(lambda a, b: a + b, map(Moments.of, parts))
    assert merged.drops == 57
    np.testing.assert_allclose(merged.mean, values.mean(axis=1), rtol=1e-13)
    for power in (2, 3):
        np.testing.assert_allclose(merged[power], 57 * stats.moment(values, power, axis=1), rtol=1e-11)
    np.testing.assert_array_equal(merged.low, values.min(axis=1))
    np.testing.assert_array_equal(merged.high, values.max(axis=1))


def test_two_drops_by_hand():
    """The 97.5 % quantile of Student's t with one degree of freedom is tan(0.475 pi); two values have no skewness."""
    half = half_width(Moments.of(np.array([[3.0, 5.0]])))
    np.testing.assert_allclose(half, math.tan(0.475 * math.pi) * 1.0, rtol=1e-12)


def test_skewness_widens():
    """0, 0, 3: mean 1, s^2 = 3, skewness^2 = 1/2; t = 4.302653 with two degrees of freedom."""
    t = 4.302652729911275
    factor = t + t * (t**4 + 2 * t**2 - 3) / 18 * 0.5 / 3
    np.testing.assert_allclose(half_width(Moments.of(np.array([[0.0, 0.0, 3.0]]))), factor * 1.0, rtol=1e-9)


@pytest.mark.parametrize(
    ("value", "bounds", "far"), [(0.0, SHARE, 1.0), (1.0, SHARE, 1.0), (27.0, (0, 28), 27), (0.25, (0, 2), 1.75)]
)
@pytest.mark.parametrize("drops", [2, 40, 1000])
def test_where_all_drops_are_alike_the_rule_of_three_holds(value, bounds, far, drops):
    """With n drops alike, a share q of others at the far bound has a probability of (1 - q)^n = 5 %."""
    of = Moments.of(np.full((1, drops), value))
    (half,) = half_width(of, bounds=bounds)
    assert (1 - half / far) ** drops == pytest.approx(0.05, rel=1e-9)
    assert drops < 1000 or half == pytest.approx(3 / drops * far, rel=3e-3)
    assert half_width(of) == 0  # without bounds nothing is known of what was not drawn


def test_what_counts_as_alike(rng):
    """Up to a share of the bounds; up to a twentieth of them while drops are few."""
    for drops, spread, alike, floor in [
        (40, 0.02, 1e-6, False),
        (40, 0.02, 0.05, True),
        (40, 0.06, 0.05, False),
        (15, 0.04, 1e-6, True),
        (15, 0.06, 1e-6, False),
    ]:
        values = 0.6 + spread * np.linspace(0, 1, drops)[None]
        (half,) = half_width(Moments.of(values), bounds=SHARE, alike=alike)
        assert (half >= 0.6 * (1 - 0.05 ** (1 / drops))) == floor, (drops, spread, alike)


def test_the_floor_takes_nothing_from_a_wider_interval():
    of = Moments.of(np.array([[0.0, 1.0]]))
    assert half_width(of, bounds=SHARE, alike=1.0) == half_width(of) > 6


@pytest.mark.parametrize("drops", [2, 4, 8, 16, 32, 64, 128])
def test_exact_coverage_of_shares(drops):
    """Binomial, for every probability: no Monte Carlo."""
    hits = np.arange(drops + 1)
    of = Moments.of((np.arange(drops) < hits[:, None]).astype(float))
    half = half_width(of, bounds=SHARE)
    p = np.linspace(0.002, 0.998, 499)
    # Ends of intervals that just touch p count as outside.
    holds = np.abs(of.mean[:, None] - p) < half[:, None] - 1e-12
    covered = np.sum(stats.binom.pmf(hits[:, None], drops, p) * holds, axis=0)
    assert covered.min() > 0.89
    assert 0.94 < covered.mean() < 0.995


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("law", "drops", "low", "high"),
    [
        (stats.norm(5, 2), 2, 0.94, 0.96),
        (stats.norm(5, 2), 5, 0.94, 0.98),
        (stats.norm(5, 2), 32, 0.94, 0.96),
        (stats.expon(), 16, 0.93, 0.96),  # Student's t alone: 90.7 %
        (stats.expon(), 32, 0.935, 0.96),
        (stats.beta(8, 0.5), 32, 0.935, 0.97),  # close to its upper bound; Student's t alone: 91.6 %
    ],
)
def test_coverage_of_known_laws(rng, law, drops, low, high):
    values = law.rvs((20_000, drops), random_state=rng)  # standard error 0.15 %
    assert low < coverage(values, law.mean()) < high


# Finite stores.


def test_drops_of_an_unlimited_source_are_independent():
    assert independent_drops(100) == 100
    assert independent_drops(1) == 1


def test_a_store_is_never_worth_more_than_its_samples():
    drops = 2 ** np.arange(1, 24)
    worth = np.array([independent_drops(int(n), 120.0) for n in drops])
    assert (np.diff(worth) > 0).all() and (worth < np.minimum(drops, 119)).all()
    assert worth[-1] == pytest.approx(119, rel=1e-4)
    assert np.isnan(half_width(Moments.of(np.array([[1.0, 2.0]])), 1.0)).all()  # every drop is the same


@pytest.mark.statistical
@pytest.mark.parametrize("drops", [10, 40, 400])
@pytest.mark.parametrize(("users", "law"), [(1, "sum"), (2, "sum"), (2, "product")])
def test_half_widths_of_a_store_are_about_its_population(rng, drops, users, law):
    """Stores of 40 samples, each drawn from a population; drops of their sums and products, whose mean is 0."""
    seeds, samples = 3_000, 40
    store = rng.standard_normal((seeds, samples))
    first = rng.integers(samples, size=(seeds, drops))
    picks = [first, (first + rng.integers(1, samples, size=(seeds, drops))) % samples][:users]
    drawn = np.stack([np.take_along_axis(store, pick, axis=1) for pick in picks])
    values = drawn.sum(axis=0) if law == "sum" else drawn.prod(axis=0)
    found = coverage(values, 0.0, distinct=samples / users)
    # A product has no part of one sample alone that repeats, for which half-widths allow.
    assert 0.94 < found < 0.97 or (law == "product" and found >= 0.97)
    if law == "sum" and drops == 400:
        assert coverage(values, 0.0) < 0.6  # had repeats counted


def geometry(**changes):
    return RadioGeometry(
        3.5e9, Panel(2), **{"num_users": 2, "num_rx_ant": 1, "num_subcarriers": 4, "spacing_hz": 360e3, **changes}
    )


@pytest.fixture
def store(tmp_path):
    layout = ChannelLayout(Panel(2), 4, 360e3, carrier_hz=3.5e9)
    draw = np.random.default_rng(1).standard_normal((24, *layout.entry_shape, 2), np.float32)
    with StoreWriter(tmp_path / "store", layout, name="store") as writer:
        writer.add("test", draw.view(np.complex64)[..., 0], {"site": np.repeat([0, 1, 2], (13, 10, 1))})
        writer.finish({"made": "by a test"})
    return str(tmp_path / "store")


def test_sources_say_how_many_ues_they_have(store):
    assert RecordedChannels(geometry(), store=store).num_distinct == 24
    # The site of one sample serves no two users.
    assert RecordedChannels(geometry(), store=store, group_by="site").num_distinct == 23


def accumulated(values, distinct, metric="sum_rate_bpshz"):
    """What a run knows of the values of drops."""
    total = Accumulator()
    total.drops, total.moments = len(values), Moments.of(values[None])
    total.rows, total.curves = [[metric, "a", "zf", 10.0, metric]], []
    total.bounds, total.distinct = np.full((1, 2), np.nan), distinct
    return total


def test_the_stop_rule_uses_the_half_widths_of_the_table_and_ends_with_the_store(rng):
    run = {"drops": 16, "max_drops": 10**6, "ci_rel": 0.05}
    scenario = parse_scenario(
        {
            "name": "s",
            "carrier": {"num_rb": 4},
            "ue": {"num_users": 2},
            "bs": {"n1": 2, "n2": 1, "num_pol": 1},
            "channel": {"model": "recorded", "store": "here"},
            "feedback": [{"scheme": "perfect"}],
            "snr_db": [10],
            "run": run,
        }
    )
    values = 5 + rng.standard_normal(119)
    for count in (8, 64, 100, 119):
        unlimited, finite = (accumulated(values[:count], distinct) for distinct in (np.inf, 12.0))
        (row,) = unlimited.summary()
        assert runner._tight(scenario, unlimited) == (count >= 16 and row["ci95"] <= 0.05 * row["value"])
        assert not runner._tight(scenario, finite)
    assert runner._tight(scenario, unlimited)
    assert runner._repeats([Point(scenario, {})], [unlimited]) == []
    # Ten times the 12 drops that 24 samples make without repetition: no more can be learned.
    total = accumulated(np.append(values, 5.0), 12.0)
    assert total.summary()[0]["ci95"] > 0.05 * 5 and runner._tight(scenario, total)
    repeat, missed = runner._repeats([Point(scenario, {})], [total])
    assert "120 drops repeat the 24 samples of recorded-here (2 a drop)" in repeat and "10.1 independent" in repeat
    assert "run.ci_rel = 0.05 was not reached" in missed


@pytest.mark.long
def test_a_run_on_a_store_counts_its_samples(store, tmp_path, run_here):
    """Twelve drops of two users in a store of 24 samples: at most 11 independent ones; the run ends, with notes."""
    scenario = {
        "name": "s",
        "carrier": {"num_rb": 4},
        "ue": {"num_users": 2},
        "bs": {"n1": 2, "n2": 1, "num_pol": 1},
        "channel": {"model": "recorded", "store": store},
        "feedback": [{"scheme": "dft"}],
        "precoding": {"precoders": ["mrt"]},
        "metrics": ["sum_rate_bpshz", "sgcs", "bits_mean"],
        "snr_db": [10],
        "run": {"drops": 16, "chunk_drops": 64, "max_drops": 1024, "ci_rel": 0.001},
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(scenario))
    frame = runner.run(tmp_path / "s.yaml", out=tmp_path / "out", report=False)
    assert set(frame["num_samples"]) == {128}  # the first chunk that ends at ten times 12 drops or later
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    worth = round(independent_drops(128, 12.0), 1)
    assert manifest["points"][0] | {"distinct_samples": 24, "independent_drops": worth} == manifest["points"][0]
    repeat, missed = manifest["notes"]
    assert "128 drops repeat the 24 samples" in repeat and "0.001 was not reached" in missed
    total = Accumulator()
    for path in sorted((tmp_path / "out").glob("points/*/*.npz"))[:2]:  # later ones were in flight
        total.add(path)
    known = half_width(total.moments, 12.0, total.bounds.T)
    np.testing.assert_allclose(frame["ci95"], known[[row[0] in scenario["metrics"] for row in total.rows]], rtol=1e-6)
