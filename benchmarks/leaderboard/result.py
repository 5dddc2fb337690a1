"""Result of an entry on a track: scores with intervals in JSON, the values of all drops in a compact array file.

The scores are a function of the values, and reading compares the two: an edit of one of them is found here, an edit of
both by ``csilink leaderboard verify``.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.intervals import Moments, half_width
from benchmarks.leaderboard.entry import Entry
from benchmarks.leaderboard.track import Track
from scenarios.sections import Section
from simulator.core import registry
from simulator.core.content import sha256
from simulator.core.durable import write_bytes
from simulator.core.errors import ConfigError, StoreError
from simulator.core.interfaces import Metric
from simulator.core.params import parsed
from simulator.core.paths import is_file
from simulator.core.readers import read_json, read_npz

FORMAT = 1
_TOLERANCE = 2e-6  # of scores that are written with seven digits


class Score(Section):
    """Mean over drops, finished, and its 95 % half-width; null: too few drops."""

    value: float
    ci95: float | None


class Bits(Section):
    """Length of a report [bit]; ``per_slot`` [bit] in the mean over the slots from one report to the next."""

    mean: float
    p95: float
    max: float
    per_slot: float


class Line(Section):
    """One operating point: scores by metric, bits, bit operations of the UE's network [Gbop], times per report [ms]."""

    label: str
    scores: dict[str, Score]
    bits: Bits
    ue_gbops: float | None
    encode_ms: float
    decode_ms: float


class Head(Section):
    """The JSON file."""

    format: int
    entry: str
    entry_hash: str
    track: str
    track_hash: str
    version: str
    date: str
    versions: dict[str, str]
    commit: str | None
    dirty: bool | None
    machine: dict[str, Any]
    reads: dict[str, str]
    drops: int
    distinct_drops: float | None
    values_sha256: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Result:
    """A result that was read and agrees with itself.

    Args:
        head: the JSON file.
        values: metric to float32 ``[line, drop]``; NaN for lines without that metric.
    """

    head: Head
    values: dict[str, np.ndarray]

    @property
    def distinct(self) -> float:
        """Drops without a repeated user that the channels of the track allow; infinite where every drop is new."""
        return np.inf if self.head.distinct_drops is None else self.head.distinct_drops


def score(metric: str, values: np.ndarray, distinct: float = np.inf, snr_db: float | None = None) -> Score:
    """Mean of values ``[drop]`` and half-width, as ``results.csv`` states them."""
    mean, slope = finished(metric, values, snr_db)
    of = Moments.of(np.asarray(values, np.float64))
    plugin: Metric = registry.load("metrics", metric)()
    ci = slope * float(half_width(of, distinct, plugin.bounds or (np.nan, np.nan), plugin.alike))
    return Score(value=float(f"{mean:.7g}"), ci95=None if np.isnan(ci) else float(f"{ci:.4g}"))


def finished(metric: str, values: np.ndarray, snr_db: float | None = None) -> tuple[float, float]:
    """Finished mean of values ``[drop]``, and the size of the slope of its finish there (dB by mean, 1 by default)."""
    plugin: Metric = registry.load("metrics", metric)()
    mean = float(np.mean(values, dtype=np.float64))
    step = 1e-6 * max(abs(mean), 1e-12)
    low, high = (float(plugin.finalize(np.float64(mean + s), snr_db)) for s in (-step, step))
    return float(plugin.finalize(np.float64(mean), snr_db)), abs(high - low) / (2 * step)


def paths(folder: Path, track: Track) -> tuple[Path, Path]:
    """JSON file and values of a result."""
    return folder / f"{track.name}.json", folder / f"{track.name}.npz"


def write_result(folder: Path, track: Track, head: dict[str, Any], values: dict[str, np.ndarray]) -> Result:
    """Write a result; ``head`` lacks what follows from the values, its lines lack their scores."""
    file, array = paths(folder, track)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.asarray(x, np.float32) for name, x in values.items()})
    write_bytes(array, buffer.getvalue())
    lines = [
        {**line, "scores": {name: s.model_dump() for name, s in _scores(track, values, index, head).items()}}
        for index, line in enumerate(head["lines"])
    ]
    data = {**head, "format": FORMAT, "values_sha256": sha256(array), "lines": lines}
    write_bytes(file, (json.dumps(data, indent=1) + "\n").encode())
    return Result(parsed(Head, data, file.name), values)


def _scores(track: Track, values: dict[str, np.ndarray], line: int, head: dict[str, Any]) -> dict[str, Score]:
    distinct = np.inf if head["distinct_drops"] is None else head["distinct_drops"]
    snr_db = track.scenario["snr_db"]
    return {
        name: score(name, values[name][line], distinct, snr_db)
        for name in track.scores
        if np.isfinite(values[name][line]).all()
    }


def read_result(folder: Path, entry: Entry, track: Track) -> Result | None:
    """The result of an entry on a track; None where there is none yet.

    Raises:
        StoreError: damaged or edited, or of another track, entry, number of drops or format.
    """
    file, array = paths(folder, track)
    if not is_file(file):
        return None
    again = f"run `csilink leaderboard run {entry.name} --track {track.name}` again"
    try:
        head = parsed(Head, read_json(file), file.name)
    except ConfigError as error:
        raise StoreError(f"{file}: damaged ({error.line}); {again}") from None
    wanted = {
        "format": FORMAT, "entry": entry.name, "entry_hash": entry.hash(track), "track": track.name,
        "track_hash": track.hash, "version": track.version, "drops": track.drops,
    }  # fmt: skip
    for name, value in wanted.items():
        if getattr(head, name) != value:
            raise StoreError(f"{file}: {name} is {getattr(head, name)}, not {value}; {again}")
    if not is_file(array) or sha256(array) != head.values_sha256:
        raise StoreError(f"{array}: missing or damaged, SHA-256 differs from {file.name}; {again}")
    values = read_npz(array)
    if fault := _fault(track, head, values):
        raise StoreError(f"{file}: {fault}; {again}")
    return Result(head, values)


def _fault(track: Track, head: Head, values: dict[str, np.ndarray]) -> str | None:
    """Where scores and values disagree, in words."""
    names = {*track.scores, track.bits, "bits_max"}
    if set(values) != names:
        return f"values of {', '.join(values)}, not of {', '.join(sorted(names))}"
    for name, x in values.items():
        if x.shape != (len(head.lines), track.drops) or x.dtype != np.float32:
            return f"{name} is {x.dtype} {list(x.shape)}, not float32 {[len(head.lines), track.drops]}"
    for index, line in enumerate(head.lines):
        expected = _scores(track, values, index, head.model_dump())
        if set(expected) != set(line.scores):
            return f"scores of {line.label} are {', '.join(line.scores)}, not {', '.join(expected)}"
        for name, found in line.scores.items():
            for part in ("value", "ci95"):
                said, is_ = getattr(found, part), getattr(expected[name], part)
                if (said is None) != (is_ is None) or (said is not None and not _close(said, is_)):
                    return f"{name} of {line.label}: {part} is {said}, the values of the drops give {is_}"
        bits = {"mean" if track.bits == "bits_mean" else "per_slot": np.mean(values[track.bits][index], dtype=float)}
        bits["max"] = float(values["bits_max"][index].max())
        for name, is_ in bits.items():
            if not _close(getattr(line.bits, name), float(is_)):
                return f"bits of {line.label}: {name} is {getattr(line.bits, name)}, the values of the drops give {is_}"
    return None


def _close(said: float, is_: float) -> bool:
    return abs(said - is_) <= _TOLERANCE * max(abs(is_), 1e-3) + 1e-9
