"""Percentiles of reports: exact for any chunks, with half-widths that cover."""

from itertools import pairwise

import numpy as np
import pytest

from benchmarks.percentiles import Tally, percentile


@pytest.mark.parametrize(
    ("reduce", "share"), [("p95", 0.95), ("p05", 0.05), ("p50", 0.5), ("p999", 0.999), ("mean", None), ("max", None)]
)
def test_name_of_a_percentile(reduce, share):
    assert percentile(reduce) == share


@pytest.mark.parametrize("sizes", [(40,), (1,) * 40, (7, 1, 12, 20), (20, 12, 1, 7)])
def test_chunks_merge_to_the_whole(rng, sizes):
    """Counts and squares are integers: equal, not close, in any order and at any size."""
    sample = rng.integers(60, 90, (40, 3)).astype(float)
    sample[5:9] += 200  # values that some chunks lack
    starts = np.cumsum((0, *sizes))
    parts = [Tally.of(sample[start:stop]) for start, stop in pairwise(starts)]
    lines = [Tally.from_lines(part.drops, np.concatenate([part.lines(3), part.lines(8)]))[8] for part in parts]
    total = sum(lines[1:], lines[0])
    values, counts = np.unique(sample, return_counts=True)
    squares = [sum(np.sum(drop <= value) ** 2 for drop in sample) for value in values]
    assert total.drops == 40
    for found, expected in ((total.values, values), (total.counts, counts), (total.squares, squares)):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("share", [0.95, 0.5, 0.05])
@pytest.mark.parametrize("count", [1, 19, 20, 21, 100, 101])
def test_it_is_the_inverse_of_the_distribution_function(rng, share, count):
    sample = rng.integers(0, 50, (count, 1)).astype(float)
    assert Tally.of(sample).quantile(share)[0] == np.quantile(sample, share, method="inverted_cdf")


def test_half_width_by_order_statistics():
    """100 reports 1..100: 95 % of Bin(100, .95) lie in 90..99; ranks 90 and 100 bracket the percentile."""
    from scipy.stats import binom

    assert binom.cdf(89, 100, 0.95) < 0.025 < binom.cdf(90, 100, 0.95)
    assert binom.cdf(98, 100, 0.95) < 0.975 < binom.cdf(99, 100, 0.95)
    assert Tally.of(np.arange(1.0, 101)[:, None]).quantile(0.95) == (95, 5)


def test_too_few_reports_have_no_half_width():
    """The largest of n bounds the percentile from above with confidence 1 - .95^n > .975 from 72 on."""
    for count, known in ((71, False), (72, True)):
        value, half = Tally.of(np.full((count, 1), 40.0)).quantile(0.95)
        assert value == 40 and (half == 0 if known else np.isnan(half))


def test_reports_of_drops_that_repeat_count_once():
    """Four times the same 100 reports: the percentile and its half-width are theirs."""
    once, repeated = (Tally.of(np.tile(np.arange(1.0, 101), times)[:, None]) for times in (1, 4))
    assert repeated.quantile(0.95, 1 / 4) == once.quantile(0.95) == (95, 5)
    assert repeated.quantile(0.95)[1] < 5


@pytest.mark.long
@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_half_widths_cover_whether_reports_of_a_drop_are_alike_or_not(rng, alike):
    """120 drops of four users, 1,500 runs: the true percentile lies within in at least 95 % of them (less 4 sigma)."""
    runs, drops, users = 1500, 120, 4
    common = rng.random((runs, drops, 1)) < alike
    bits = np.where(common, rng.normal(size=(runs, drops, 1)), rng.normal(size=(runs, drops, users)))
    bits = np.round(200 + 20 * bits)
    true = np.round(200 + 20 * 1.644854)
    found = [Tally.of(x).quantile(0.95) for x in bits]
    inside = np.mean([abs(value - true) <= half for value, half in found])
    assert inside > 0.95 - 4 * np.sqrt(0.95 * 0.05 / runs)
    widths = np.mean([half for _, half in found])
    assert widths < 20 if alike else widths < 8, "as if a drop were one report"
