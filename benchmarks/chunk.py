"""One chunk of one point: block by block, reduced to sufficient statistics; nothing larger leaves the process."""

from __future__ import annotations

import io
import json
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from benchmarks.build import ChannelDraw, build_link, build_metrics
from benchmarks.intervals import Moments
from benchmarks.memory import block_drops
from benchmarks.percentiles import Tally, percentile
from benchmarks.picture import Picture
from benchmarks.report_times import timed
from scenarios.schema import parse_scenario
from scenarios.sweep import Point
from simulator.core.seeding import derive_wide

# User rates are kept as a histogram for the distribution figure [bit/s/Hz].
RATE_EDGES = np.linspace(0.0, 30.0, 601)
ALWAYS = ("bits_mean", "bits_max")


@lru_cache(maxsize=2)
def _prepared(text: str) -> tuple[Point, ChannelDraw, Any, dict[str, Any], int]:
    scenario = parse_scenario(json.loads(text))
    point = Point(scenario, {})
    metrics = build_metrics(scenario, ALWAYS)
    return point, ChannelDraw(point), build_link(scenario), metrics, block_drops(scenario.geometry)


def run_chunk(scenario_text: str, first: int, drops: int) -> bytes:
    """Statistics of one chunk as an `.npz` file in memory, block by block, so that they merge alike for any chunks.

    Args:
        scenario_text: scenario of the point as JSON.
        first: number of its first drop, that of a block.
        drops: drops of the chunk; all blocks are computed as a whole; surplus drops of the last one do not count.

    Returns:
        `.npz` with ``drops [block]``, ``rows`` (JSON: plug-in, scheme, precoder, snr_db, metric), float64 ``mean, m2,
        m3, low, high [block, row]`` (:class:`~benchmarks.intervals.Moments`), ``bounds [row, 2]`` (NaN: none),
        ``distinct`` drops of the source, the user-rate histograms int32 ``hist [block, curve, bin]`` with ``curves``
        (JSON), and for rows of percentiles ``tally [row_and_value, 5]``: block, row, value, reports, sum over drops of
        the square of the reports up to it. ``values`` float32 ``[drop, row]`` are those of every drop, for paired
        differences (a third more octets); the chunk of drop 0 has a :class:`~benchmarks.picture.Picture` of it. With
        ``run.keep_drops`` also ``times [block, scheme, 2]`` (UE, gNB) [ms per report] of ``schemes`` (JSON).
    """
    point, draw, link, _, size = _prepared(scenario_text)
    keep = point.scenario.run.keep_drops
    blocks, times = [], []
    with timed(link.reporting if keep else {}) as taken:
        for start in range(first, first + drops, size):
            blocks.append(_block(scenario_text, start, min(size, first + drops - start)))
            times.append(taken())
    lines = [
        np.insert(tally.lines(row), 0, number, axis=1)
        for number, block in enumerate(blocks)
        for row, tally in block.tallies.items()
    ]
    kept = {}
    if keep:
        kept = {"times": np.stack(times), "schemes": np.array(json.dumps(list(link.reporting)))}
    buffer = io.BytesIO()
    np.savez(
        buffer,
        drops=np.array([block.drops for block in blocks], np.int64),
        rows=np.array(json.dumps(list(blocks[0].stats))),
        **{
            name: np.array([[getattr(of, name) for of in block.stats.values()] for block in blocks])
            for name in Moments._fields[1:]
        },
        bounds=np.array(list(blocks[0].bounds.values())),
        distinct=np.float64(draw.distinct_drops),
        curves=np.array(json.dumps(list(blocks[0].hist))),
        tally=np.concatenate([np.empty((0, 5)), *lines]),
        hist=np.array([list(block.hist.values()) for block in blocks], np.int32),
        values=np.concatenate([np.stack(block.values, axis=1) for block in blocks]),
        **blocks[0].picture.arrays(),
        **kept,
    )
    return buffer.getvalue()


class _Block(NamedTuple):
    """Statistics of one block."""

    drops: int
    stats: dict[tuple[str, str, str, float | None, str], Moments]  # by row
    bounds: dict[tuple[str, str, str, float | None, str], tuple[float, float]]
    hist: dict[tuple[str, str, float], np.ndarray]  # by curve
    tallies: dict[int, Tally]  # by number of the row
    values: list[np.ndarray]  # by number of the row
    picture: Picture


def _block(scenario_text: str, first: int, drops: int) -> _Block:
    """Compute the block that begins with drop ``first``; its first ``drops`` count."""
    point, draw, link, metrics, size = _prepared(scenario_text)
    found = _Block(drops, {}, {}, {}, {}, [], Picture())
    h = draw.block(first, size)
    seed, uplink = derive_wide(point.scenario.seed, "link", first), draw.uplink(first, h)
    for scheme, precoder, outcome in link.run(h, seed=seed, uplink=uplink):
        scope = "csi" if precoder is None else "link"
        if precoder is None and first == 0:
            found.picture.add(scheme, outcome)
        for name, metric in metrics.items():
            if metric.scope != scope:
                continue
            for column, values in metric.evaluate(outcome).items():
                values = np.asarray(values, np.float64)
                one = 1 if percentile(metric.reduce) is None else 2  # axes at one SNR
                snrs = (None,) if values.ndim == one else link.snr_db
                for snr_db, sample in zip(snrs, values.reshape(len(snrs), *values.shape[-one:]), strict=True):
                    sample = np.ascontiguousarray(sample[:drops])
                    if one == 2:
                        found.tallies[len(found.stats)] = Tally.of(sample)
                    row = name, scheme, precoder or "", snr_db, column
                    by_drop = sample.reshape(drops, -1).mean(axis=1)
                    found.stats[row] = Moments.of(by_drop)
                    found.values.append(by_drop.astype(np.float32))
                    found.bounds[row] = metric.bounds_of(outcome) or (np.nan, np.nan)
        if precoder is not None:
            for snr_db, rate in zip(link.snr_db, outcome.rate, strict=True):
                rate = np.clip(rate[:drops], 0, RATE_EDGES[-1])
                found.hist[scheme, precoder, snr_db] = np.histogram(rate, RATE_EDGES)[0]
    return found
