"""One chunk of one point: simulate, reduce to sufficient statistics, nothing larger leaves the process."""

from __future__ import annotations

import io
import json
from functools import lru_cache
from typing import Any

import numpy as np

from benchmarks.build import ChannelDraw, build_link, build_metrics
from benchmarks.intervals import Moments
from benchmarks.percentiles import Tally, percentile
from scenarios.schema import parse_scenario
from scenarios.sweep import Point
from simulator.core.seeding import derive

# User rates are kept as a histogram for the distribution figure [bit/s/Hz].
RATE_EDGES = np.linspace(0.0, 30.0, 601)
ALWAYS = ("bits_mean", "bits_max")


@lru_cache(maxsize=2)
def _prepared(text: str) -> tuple[Point, ChannelDraw, Any, dict[str, Any]]:
    scenario = parse_scenario(json.loads(text))
    point = Point(scenario, {})
    return point, ChannelDraw(point), build_link(scenario), build_metrics(scenario, ALWAYS)


def run_chunk(scenario_text: str, index: int, drops: int) -> bytes:
    """Statistics of one chunk as an `.npz` file in memory.

    Args:
        scenario_text: scenario of the point as JSON.
        index: number of the chunk, part of every seed.
        drops: drops of the chunk.

    Returns:
        `.npz` with ``rows`` (JSON: plug-in, scheme, precoder, snr_db, metric), float64 ``mean, m2, m3, low,
        high [row]`` (:class:`~benchmarks.intervals.Moments`), ``bounds [row, 2]`` (NaN: none), ``distinct`` drops of
        the source, the user-rate histograms int64 ``hist [curve, bin]`` with ``curves`` (JSON), and for rows of
        percentiles ``tally [row_and_value, 4]``: row, value, reports, sum over drops of the square of the reports up to
        it.
    """
    point, draw, link, metrics = _prepared(scenario_text)
    h = draw.chunk(index, drops)
    rows: list[tuple[str, str, str, float | None, str]] = []
    stats: list[Moments] = []
    bounds: list[tuple[float, float]] = []
    curves: list[tuple[str, str, float]] = []
    hist: list[np.ndarray] = []
    tallies: dict[int, Tally] = {}
    for scheme, precoder, outcome in link.run(h, seed=derive(point.scenario.seed, "link", point.channel_key, index)):
        scope = "csi" if precoder is None else "link"
        for name, metric in metrics.items():
            if metric.scope != scope:
                continue
            for column, values in metric.evaluate(outcome).items():
                values = np.asarray(values, np.float64)
                one = 1 if percentile(metric.reduce) is None else 2  # axes at one SNR
                snrs = (None,) if values.ndim == one else link.snr_db
                for snr_db, sample in zip(snrs, values.reshape(len(snrs), *values.shape[-one:]), strict=True):
                    if one == 2:
                        tallies[len(rows)] = Tally.of(sample)
                    rows.append((name, scheme, precoder or "", snr_db, column))
                    stats.append(Moments.of(sample.reshape(drops, -1).mean(axis=1)))
                    bounds.append(metric.bounds_of(outcome) or (np.nan, np.nan))
        if precoder is not None:
            for snr_db, rate in zip(link.snr_db, outcome.rate, strict=True):
                curves.append((scheme, precoder, snr_db))
                hist.append(np.histogram(np.clip(rate, 0, RATE_EDGES[-1]), RATE_EDGES)[0])
    buffer = io.BytesIO()
    np.savez(
        buffer,
        drops=np.int64(drops),
        rows=np.array(json.dumps(rows)),
        **{name: np.array([getattr(of, name) for of in stats]) for name in Moments._fields[1:]},
        bounds=np.array(bounds),
        distinct=np.float64(draw.distinct_drops),
        curves=np.array(json.dumps(curves)),
        tally=np.concatenate([np.empty((0, 4)), *(tally.lines(row) for row, tally in tallies.items())]),
        hist=np.array(hist, np.int64).reshape(len(curves), len(RATE_EDGES) - 1),
    )
    return buffer.getvalue()
