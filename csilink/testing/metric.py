"""What csilink asks of metrics."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np

from csilink.testing.common import Part, noise, run
from simulator.core.interfaces import Metric
from simulator.outcomes import CsiOutcome, LinkOutcome
from simulator.throughput.blocks import ThroughputOutcome


def check_metric(metric: str | type[Metric], **params: Any) -> None:
    """All checks of a metric: :data:`METRIC_CHECKS`.

    Args:
        metric: class, name of a plug-in, or dotted path.
        **params: of the constructor.

    Raises:
        AssertionError: what the metric does and must not.
        ConfigError: it cannot be constructed.

    Example:
        >>> from csilink.testing import check_metric
        >>> check_metric("sgcs")
    """
    run(METRIC_CHECKS, Part("metrics", metric, **params))


def outcomes(rng: np.random.Generator) -> dict[str, tuple[Any, Any]]:
    """A perfect and a poor outcome of each scope: six drops of three users."""
    h = noise(rng, 6, 3, 2, 4, 2, 5)
    c2 = rng.uniform(0.2, 0.6, (6, 3, 2, 2, 5)).astype(np.float32)
    v = np.moveaxis(np.linalg.qr(noise(rng, 12, 3, 3, 4, 2))[0], -1, 2)  # two layers, three subbands
    num_bits, snr_db = rng.integers(5, 60, (6, 3, 2)), (0.0, 10.0)
    rate = rng.uniform(1, 6, (2, 6, 3, 2)).astype(np.float32)
    targets, odd = ((0.9, 0.95), (1.0, 2.0)), (num_bits % 2 == 1, num_bits % 4 == 2)
    uneven = np.array([0.1, 0.4, 0.4], np.float32)[:, None]  # of the users

    def blocks(share: float, mcs: int) -> ThroughputOutcome:
        """Transport blocks of which ``share`` arrives."""
        index = np.full(rate.shape, mcs)
        index[..., 0, 0] = -1
        bler = np.where(index >= 0, 1 - share, 0).astype(np.float32)
        goodput = share * rate * (index >= 0)
        return ThroughputOutcome(index >= 0, bler, index, np.where(index >= 0, 1, 0), goodput, 6.0)

    return {
        "csi": (
            CsiOutcome(
                *(h, h, np.ones_like(c2), num_bits, snr_db, 0, 1e9 * num_bits, num_bits < 0, num_bits < 0),
                directions=lambda: (v, v),
                pai=np.full((*num_bits.shape, 4), 14),
                csi_rs_ports=8,
            ),
            CsiOutcome(
                *(h, h + noise(rng, *h.shape), c2, num_bits + 1, snr_db, 0, 1e9 * num_bits + 1e9, *odd),
                directions=lambda: (v, noise(np.random.default_rng(1), *v.shape)),
                pai=np.broadcast_to([2, 7], (*num_bits.shape, 2, 2)).reshape(*num_bits.shape, 4),
                csi_rs_ports=16,
            ),
        ),
        "link": (
            LinkOutcome(rate, rate, *targets, rank=np.full(rate.shape, 2), max_rank=2, throughput=blocks(0.95, 12)),
            LinkOutcome(
                uneven * rate, rate, *targets, rank=np.ones(rate.shape, int), max_rank=2, throughput=blocks(0.5, 3)
            ),
        ),
    }


def _percentile(metric: Metric) -> bool:
    """Whether it is one of single reports, whose values have one axis more."""
    return re.fullmatch(r"p\d\d+", metric.reduce) is not None


def declaration(part: Part, rng: np.random.Generator) -> None:
    """``unit``, ``better``, ``scope`` and ``reduce`` are declared."""
    metric = part.one
    assert metric.unit, "no unit"
    assert metric.better in ("higher", "lower", "one"), f"better is {metric.better!r}"
    assert metric.scope in ("csi", "link"), f"scope is {metric.scope!r}"
    assert metric.reduce in ("mean", "max") or _percentile(metric), f"reduce is {metric.reduce!r}"


def values(part: Part, rng: np.random.Generator) -> None:
    """Finite float64 per drop within the bounds, under names that begin with that of the plug-in."""
    metric = part.one
    key = part.plugin if isinstance(part.plugin, str) and ":" not in part.plugin else ""
    for outcome in outcomes(rng)[metric.scope]:
        found = metric.evaluate(outcome)
        assert found and all(name.startswith(key) for name in found), f"names {sorted(found)} of {key}"
        for drops in found.values():
            assert drops.dtype == np.float64 and np.isfinite(drops).all(), f"{drops.dtype}, or NaN or infinity"
            if _percentile(metric):
                assert drops.shape[-1] == 6, f"values of shape {drops.shape}; six reports of a drop"
                drops = drops[..., 0]
            wanted = [(6,), (2, 6)] if metric.scope == "csi" else [(2, 6)]
            assert drops.shape in wanted, f"values of shape {drops.shape}, not {' or '.join(map(str, wanted))}"
            assert np.isfinite(metric.finalize(drops.mean(axis=-1), 10.0)).all(), "finalize() gives NaN or infinity"
            low, high = metric.bounds_of(outcome) or (-np.inf, np.inf)
            assert low <= drops.min() and drops.max() <= high, f"{drops.min()}..{drops.max()}; bounds {low}..{high}"


def no_drops(part: Part, rng: np.random.Generator) -> None:
    """Of no drop, a value of no drop."""
    metric = part.one
    outcome = outcomes(rng)[metric.scope][0]
    axis = 0 if metric.scope == "csi" else 1

    def none(thing: Any) -> Any:
        arrays = {k: v for k, v in vars(thing).items() if isinstance(v, np.ndarray)}
        return dataclasses.replace(thing, **{k: np.take(v, [], axis=axis) for k, v in arrays.items()})

    empty = none(outcome)
    if metric.scope == "csi":
        empty = dataclasses.replace(empty, directions=lambda: tuple(x[:0] for x in outcome.directions()))
    else:
        empty = dataclasses.replace(empty, throughput=none(outcome.throughput))
    for full, drops in zip(metric.evaluate(outcome).values(), metric.evaluate(empty).values(), strict=True):
        assert drops.size == 0 and drops.ndim == full.ndim, f"values of shape {drops.shape}"


def perfect_is_better(part: Part, rng: np.random.Generator) -> None:
    """Perfect CSI scores better than a poor one, in the sense that the metric declares."""
    metric = part.one
    perfect, poor = (metric.evaluate(outcome) for outcome in outcomes(rng)[metric.scope])
    assert set(perfect) == set(poor), f"names {sorted(perfect)} and {sorted(poor)}"
    tail = 2 if _percentile(metric) else 1
    distance = {"higher": lambda x: -x, "lower": lambda x: x, "one": lambda x: abs(x - 1)}[metric.better]
    for key in perfect:
        good, bad = (
            metric.finalize(v[key].mean(axis=tuple(range(v[key].ndim - tail, v[key].ndim))), 10.0)
            for v in (perfect, poor)
        )
        assert (distance(good) < distance(bad)).all(), f"{key}: {good} of a perfect CSI, {bad} of a poor one"


def implicit_schemes(part: Part, rng: np.random.Generator) -> None:
    """Without a channel at the gNB a value is left out or computed from directions."""
    if part.one.scope == "csi":
        implicit = dataclasses.replace(outcomes(rng)["csi"][0], h_hat=None)
        assert all(np.isfinite(v).all() for v in part.one.evaluate(implicit).values()), "NaN or infinity"


METRIC_CHECKS = (declaration, values, no_drops, perfect_is_better, implicit_schemes)
