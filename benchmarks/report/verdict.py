"""What a run says: the best scheme for every number of bits, and whether its lead is more than noise."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.drop_values import DropValues, read_drops
from benchmarks.intervals import Moments, half_width
from benchmarks.report.frames import at_one_snr
from simulator.core.errors import CsilinkError

_METRICS = ("goodput_bpshz", "sum_rate_bpshz", "sgcs_subband", "sgcs", "nmse_db")
_SLACK = 1.01  # reports this much longer than a budget are within it

# Half-width of the difference of two schemes, each with its precoder, in a metric at an SNR; None: no pairs.
Paired = Callable[[str, tuple[str, str | None], tuple[str, str | None], float | None], float | None]


@dataclass(frozen=True)
class Winner:
    """Best scheme among those whose mean report has at most ``budget`` bits.

    Args:
        budget: bits.
        scheme: label.
        precoder: or None.
        bits: mean bits of its report.
        value: of the metric.
        ci95: its half-width.
        share: percent of the reference with the same precoder, NaN without one.
        runner_up: best one of another family within the budget, or None.
        lead: value minus that of the runner-up, positive for the better one.
        lead_ci95: half-width of the lead.
    """

    budget: int
    scheme: str
    precoder: str | None
    bits: float
    value: float
    ci95: float
    share: float
    runner_up: str | None
    lead: float
    lead_ci95: float

    @property
    def clear(self) -> bool:
        """The lead is more than its half-width."""
        return self.lead > self.lead_ci95


def metric_of(frame: pd.DataFrame) -> str | None:
    """Metric by which schemes are judged: goodput, else sum rate, else SGCS, else NMSE."""
    return next((name for name in _METRICS if (frame["metric"] == name).any()), None)


def winners(
    frame: pd.DataFrame,
    snr_db: float | None,
    references: Collection[str],
    family: Callable[[str], str],
    paired: Paired = lambda *_: None,
) -> list[Winner]:
    """The best scheme for every budget of bits (powers of two), where it is another one than for the budget before.

    Args:
        frame: results of one combination of swept axes.
        snr_db: SNR [dB] of the rates.
        references: labels that are no contenders.
        family: of a label.
        paired: half-widths of differences, where drops are pairs.
    """
    metric = metric_of(frame)
    if metric is None:
        return []
    rows, _ = at_one_snr(frame[(frame["metric"] == metric) & np.isfinite(frame["value"])], snr_db)
    sign = -1.0 if metric == "nmse_db" else 1.0
    is_reference = rows["scheme"].isin(list(references))
    ceiling = rows[is_reference].drop_duplicates("precoder").set_index("precoder", drop=False)["value"]
    rows = rows[~is_reference & np.isfinite(rows["bits_mean"]) & (rows["bits_mean"] > 0)]
    found: list[Winner] = []
    for budget in _budgets(rows["bits_mean"]):
        inside = rows[rows["bits_mean"] <= budget * _SLACK]
        best = inside.loc[(sign * inside["value"]).idxmax()]
        others = inside[inside["scheme"].map(family) != family(best["scheme"])]
        own = (best["scheme"], _name(best["precoder"]))
        lead, lead_ci95, second = np.nan, np.nan, None
        if len(others):
            other = others.loc[(sign * others["value"]).idxmax()]
            second, lead = str(other["scheme"]), sign * float(best["value"] - other["value"])
            width = paired(metric, own, (second, _name(other["precoder"])), _number(best["snr_db"]))
            lead_ci95 = float(np.hypot(best["ci95"], other["ci95"])) if width is None else width
        reference = ceiling.get(best["precoder"], np.nan) if own[1] is not None else np.nan
        winner = Winner(
            budget, *own, float(best["bits_mean"]), float(best["value"]), float(best["ci95"]),
            100 * float(best["value"]) / reference if np.isfinite(reference) else np.nan, second, lead, lead_ci95,
        )  # fmt: skip
        if found and (found[-1].scheme, found[-1].precoder, found[-1].runner_up) == (*own, second):
            continue
        found.append(winner)
    return found


def paired_of(folder: Path) -> Callable[[dict[str, object]], Paired]:
    """Half-widths of paired differences by combination of swept axes, from the values of drops of a results folder."""
    try:
        points = read_drops(folder) if (folder / "content.json").is_file() else []
    except CsilinkError:
        points = []

    def at(axes: dict[str, object]) -> Paired:
        here = [point for point in points if all(point.point.axes.get(axis) == value for axis, value in axes.items())]
        return lambda *row: _half_width(here[0], *row) if here and here[0].values is not None else None

    return at


def _half_width(
    drops: DropValues, metric: str, one: tuple[str, str | None], other: tuple[str, str | None], snr_db: float | None
) -> float | None:
    at = {row[1:]: number for number, row in enumerate(drops.rows)}
    keys = [(scheme, precoder, snr_db, metric) for scheme, precoder in (one, other)]
    if metric.endswith("_db") or drops.values is None or not all(key in at for key in keys):
        return None
    off = drops.values[:, at[keys[0]]] - drops.values[:, at[keys[1]]]
    return float(half_width(Moments.of(off), drops.distinct))


def _budgets(bits: pd.Series) -> list[int]:
    """Powers of two from the first that holds a scheme to the first that holds all."""
    if bits.empty:
        return []
    low, high = (int(np.ceil(np.log2(max(each / _SLACK, 1)))) for each in (bits.min(), bits.max()))
    return [2**power for power in range(low, high + 1)]


def _name(precoder: object) -> str | None:
    return precoder if isinstance(precoder, str) else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
