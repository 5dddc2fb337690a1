"""Half-widths of every metric cover its mean in 93 to 97 % of the runs, on Rayleigh channels and UMi.

The link runs once on many drops. They are independent, so that blocks of them are the runs of as many seeds; the mean
comes from the other half of them.
"""

from functools import cache

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.build import ChannelDraw, build_link
from benchmarks.intervals import Moments
from benchmarks.store import Accumulator
from scenarios.schema import parse_scenario
from scenarios.sweep import Point
from simulator.core import registry
from simulator.core.seeding import derive

SEEDS, DROPS = 40, 32
SCENARIO = {
    "name": "coverage",
    "carrier": {"num_rb": 4},
    "bs": {"n1": 2, "n2": 1, "num_pol": 2},
    "ue": {"num_users": 2, "num_rx_ant": 2, "num_pol": 2},
    "time": {"num_slots": 2},
    "estimation": {"name": "noisy", "snr_db": 10},
    "feedback": [{"scheme": "sparse", "bits": 60, "num_delays": 4}, {"scheme": "etype2-r16", "combination": 1}],
    "uplink": {"loss_probability": 0.05, "bit_flip_probability": 0.002},
    "precoding": {"precoders": ["rzf"], "layers_per_user": 2, "rank": "adaptive"},
    "throughput": {"olla_warm_up_slots": 10},
    "outage": {"gammas": [0.5, 0.9], "rates_bpshz": [0.5, 2]},
    "snr_db": [0, 15],
}
# Of a single report, without an interval; of networks, whose cost is the same in every drop.
WITHOUT = {"bits_max", "bits_p95", "ue_gbops", "pai", "pai_fallback", "csi_rs_ports"}


@cache
def drops_of(channel):
    """Rows, their values ``[row, drop]`` and their bounds ``[row, 2]``."""
    scenario = parse_scenario({**SCENARIO, "channel": {"model": channel}})
    draw, link = ChannelDraw(Point(scenario, {})), build_link(scenario)
    metrics = {name: registry.build("metrics", name) for name in registry.names("metrics")}
    values, bounds = {}, {}
    h = draw.block(0, 2 * SEEDS * DROPS)
    for scheme, precoder, outcome in link.run(h, seed=derive(1, "coverage", 0)):
        for name, metric in metrics.items():
            if metric.scope != ("csi" if precoder is None else "link") or name in WITHOUT:
                continue
            for column, found in metric.evaluate(outcome).items():
                snrs = (None,) if found.ndim == 1 else link.snr_db
                for snr_db, sample in zip(snrs, found.reshape(len(snrs), -1), strict=True):
                    key = (name, scheme, precoder or "", snr_db, column)
                    values[key], bounds[key] = sample, metric.bounds_of(outcome) or (np.nan, np.nan)
    return list(values), np.array(list(values.values())), np.array(list(bounds.values()))


def summary(rows, values, bounds):
    """Values and half-widths of the table of a run with the drops ``values [row, drop]``, float ``[2, row]``."""
    total = Accumulator()
    total.rows, total.drops, total.moments = rows, values.shape[1], Moments.of(values)
    total.bounds, total.distinct = bounds, np.inf
    return np.array([(row["value"], row["ci95"]) for row in total.summary()]).T


def covered(channel, drops):
    """Metrics ``[row]``, and whether the interval of each seed holds the mean over the other half, ``[seed, row]``."""
    rows, values, bounds = drops_of(channel)
    found = []
    halves = np.split(values, 2, axis=1)
    for half, other in (halves, halves[::-1]):
        truth, _ = summary(rows, other, bounds)
        runs = np.array([summary(rows, run, bounds) for run in np.split(half, half.shape[1] // drops, axis=1)])
        found.append(np.abs(runs[:, 0] - truth) <= runs[:, 1] * (1 + 1e-9))  # of [seed, (value, half-width), row]
    return np.array([row[0] for row in rows]), np.concatenate(found)


@pytest.mark.long
@pytest.mark.statistical
def test_coverage(eager):
    """93 to 97 % in the mean over metrics, which twice 40 seeds on two channels know to 0.7 %; with four drops >= 93 %.

    No row is below what its seeds tell from 93 %.
    """
    by_metric = {DROPS: {}, 4: {}}
    for channel in ("rayleigh", "umi"):
        for drops, found in by_metric.items():
            metric, holds = covered(channel, drops)
            assert set(metric) == {*registry.names("metrics")} - WITHOUT
            found |= {(channel, str(name)): holds[:, metric == name].mean() for name in metric}
            if drops == DROPS:
                least = binom.ppf(1e-5, len(holds), 0.93) / len(holds)
                assert holds.mean(axis=0).min() > least, dict(zip(metric, holds.mean(axis=0), strict=True))
    many, few = by_metric.values()
    assert 0.93 < np.mean([*many.values()]) < 0.97, many
    assert np.mean([*few.values()]) > 0.93 and min(few.values()) > 0.85, few
