"""Tables: entries of a payload class in order, each with its paired difference from the leader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from benchmarks.intervals import Moments, half_width
from benchmarks.leaderboard.entry import Entry
from benchmarks.leaderboard.result import Line, Result, Score, finished, read_result
from benchmarks.leaderboard.track import NONE, Track
from simulator.core import registry
from simulator.core.errors import ConfigError

Kind = Literal["mean", "max"]
KINDS: tuple[Kind, ...] = ("mean", "max")


@dataclass(frozen=True)
class Place:
    """One entry in a class.

    Args:
        entry: the entry.
        line: its best operating point in the class.
        score: of that point.
        behind: leader minus this, positive where the leader is better, and its 95 % half-width over pairs of drops;
            None for the leader.
        leads: whether this is the leader.
    """

    entry: Entry
    line: Line
    score: Score
    behind: tuple[float, float] | None
    leads: bool = False

    @property
    def significant(self) -> bool:
        """Whether the interval of the difference leaves out zero."""
        return self.behind is not None and not abs(self.behind[0]) <= self.behind[1]


def results(entries: Iterable[tuple[Path, Entry]], track: Track) -> list[tuple[Entry, Result]]:
    """Results of entries on a track, of those that have one.

    Raises:
        StoreError: a damaged or outdated result.
    """
    found = []
    for folder, entry in entries:
        if track.name in entry.tracks and (result := read_result(folder, entry, track)) is not None:
            found.append((entry, result))
    return found


def places(
    found: Sequence[tuple[Entry, Result]], track: Track, limit: float, kind: Kind = "mean", score: str | None = None
) -> list[Place]:
    """Entries with an operating point of at most ``limit`` bits, the best one first.

    The leader is the best entry without side information; entries with side information are compared with it.

    Args:
        found: results of the track.
        track: the track.
        limit: largest number of bits.
        kind: of which the limit is, the mean or the longest report.
        score: metric; None: the first of the track.
    """
    metric = score or track.scores[0]
    if metric not in track.scores:
        raise ConfigError("--score", metric, ", ".join(track.scores))
    sign = 1 if registry.load("metrics", metric).better == "higher" else -1
    best: list[tuple[float, Entry, Line, np.ndarray, float]] = []
    for entry, result in found:
        fitting = [
            (sign * line.scores[metric].value, entry, line, result.values[metric][index], result.distinct)
            for index, line in enumerate(result.head.lines)
            if metric in line.scores and bits_of(line, track, kind) <= limit + 1e-9
        ]
        best += [max(fitting, key=lambda each: each[0])] if fitting else []
    best.sort(key=lambda each: (-each[0], each[1].name))
    leader = next((each for each in best if each[1].side_information == NONE), None)
    table = []
    for each in best:
        _, entry, line, values, distinct = each
        leads = each is leader
        snr_db = track.scenario["snr_db"]
        behind = None if leader is None or leads else paired(metric, leader[3], values, distinct, snr_db)
        if behind is not None:
            behind = sign * behind[0], behind[1]
        table.append(Place(entry, line, line.scores[metric], behind, leads))
    return table


def bits_of(line: Line, track: Track, kind: Kind) -> float:
    """Bits of a line that the limits of a track are about, the longest report over the slots that the mean is over."""
    if kind == "mean":
        return line.bits.mean if track.bits == "bits_mean" else line.bits.per_slot
    share = 1.0 if track.bits == "bits_mean" else line.bits.per_slot / max(line.bits.mean, 1e-12)
    return line.bits.max * share


def paired(
    metric: str, leader: np.ndarray, other: np.ndarray, distinct: float = np.inf, snr_db: float | None = None
) -> tuple[float, float]:
    r"""Difference of the finished means of two lines over the same drops, and its 95 % half-width over pairs.

    Means m that a metric turns into :math:`g(m)` (dB) have the half-width of the mean of
    :math:`g'(\bar a) a_i - g'(\bar b) b_i`; without it that of :math:`a_i - b_i`.

    Args:
        metric: name.
        leader: values :math:`a_i` ``[drop]``.
        other: values :math:`b_i` ``[drop]``.
        distinct: drops without a repeated user.
        snr_db: SNR of the track.
    """
    (a, slope_a), (b, slope_b) = finished(metric, leader, snr_db), finished(metric, other, snr_db)
    pairs = slope_a * np.asarray(leader, np.float64) - slope_b * np.asarray(other, np.float64)
    return a - b, float(half_width(Moments.of(pairs), distinct))


def frame(table: Sequence[Place], track: Track) -> pd.DataFrame:
    """A class as a frame of texts."""
    rows: list[dict[str, Any]] = []
    for number, place in enumerate(table, 1):
        line, bits = place.line, place.line.bits
        per_slot = {} if track.bits == "bits_mean" else {"bits per slot": f"{bits.per_slot:.1f}"}
        rows.append(
            {"": number, "entry": place.entry.name, "operating point": line.label}
            | {"score": _pm(place.score.value, place.score.ci95), "behind the leader": behind_text(place)}
            | per_slot
            | {"bits mean": f"{bits.mean:.1f}", "p95": f"{bits.p95:.0f}", "max": f"{bits.max:.0f}"}
            | {"UE [Gbop]": "" if line.ue_gbops is None else f"{line.ue_gbops:.3g}"}
            | {"encode [ms]": f"{line.encode_ms:.3g}", "decode [ms]": f"{line.decode_ms:.3g}"}
            | {"side information": place.entry.side_information, "training": place.entry.training}
        )
    return pd.DataFrame(rows)


def behind_text(place: Place) -> str:
    """Difference to the leader in words; ``*`` where it is significant."""
    if place.leads:
        return "leads"
    if place.behind is None:
        return ""
    return f"{_pm(*place.behind)}{' *' if place.significant else ''}"


def _pm(value: float, half: float | None) -> str:
    return f"{value:.4f}" if half is None or np.isnan(half) else f"{value:.4f} ± {half:.4f}"
