"""Runs entries over tracks: all lines of a track in one run of the simulator, then a result for each entry."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.kept_drops import kept_drops, kept_times
from benchmarks.leaderboard.entry import Entry
from benchmarks.leaderboard.result import Result, read_result, write_result
from benchmarks.leaderboard.track import Track
from benchmarks.provenance import commit, machine
from benchmarks.runner import run, versions
from scenarios.sweep import content_hash
from simulator.core.content import own_version
from simulator.core.errors import StoreError

Named = tuple[Path, Entry]


def run_track(
    track: Track,
    entries: Sequence[Named],
    *,
    out: Path = Path("results/leaderboard"),
    workers: int = 1,
    say: Callable[[str], Any] = print,
) -> list[Result]:
    """Run entries on a track and write a result into the folder of each.

    Args:
        track: one that this machine can run.
        entries: folders and entries; those that are not made for the track are left out.
        out: folder of the runs, which go on where they were interrupted.
        workers: processes.
        say: receives a line for each result.

    Raises:
        CsilinkError: an entry that does not fit; nothing was computed then.
    """
    groups: dict[str, list[tuple[Path, Entry, dict[str, dict[str, Any]], dict[str, str]]]] = {}
    for folder, entry in entries:
        if track.name in entry.tracks:
            groups.setdefault(entry.side_information, []).append((folder, entry, *entry.prepared(track)))
    results = []
    for side_information, group in groups.items():
        lines = [line for _, _, labelled, _ in group for line in labelled.values()]
        data = track.scenario_of(lines, side_information)
        key = content_hash([own_version(), track.hash, data, [reads for *_, reads in group]])
        place = out / f"{track.name}-{key[:8]}"
        frame = run(data, out=place, workers=workers, resume=True, report=False)
        common = _common(track, _distinct(data))
        (drops,), (times,) = kept_drops(place), kept_times(place)
        for folder, entry, labelled, reads in group:
            labels = [f"{entry.name}/{label}" for label in labelled]
            head, values = _result(track, entry, labels, frame, drops, times)
            result = write_result(folder, track, {**common, **head, "reads": reads}, values)
            results.append(result)
            say(f"{entry.name}, {track.name}: {_said(track, result)}")
    return results


def is_missing(folder: Path, entry: Entry, track: Track) -> bool:
    """Whether an entry has no result on a track, or one that is not valid (any more)."""
    try:
        return read_result(folder, entry, track) is None
    except StoreError:
        return True


def _common(track: Track, distinct: float) -> dict[str, Any]:
    """What all results of a run share."""
    own = commit()
    return {
        "track": track.name, "track_hash": track.hash, "version": track.version,
        "date": time.strftime("%Y-%m-%d", time.gmtime()), "versions": versions(), "commit": own["commit"],
        "dirty": own["dirty"], "machine": machine(), "drops": track.drops,
        "distinct_drops": None if np.isinf(distinct) else distinct,
    }  # fmt: skip


def _distinct(data: dict[str, Any]) -> float:
    from benchmarks.build import build_source
    from scenarios.schema import parse_scenario

    scenario = parse_scenario(data)
    if scenario.channel.model not in ("recorded", "site"):
        return np.inf
    found = build_source(scenario.channel, scenario.geometry).num_distinct
    return np.inf if found is None else found / scenario.ue.num_users


def _result(
    track: Track,
    entry: Entry,
    labels: list[str],
    frame: pd.DataFrame,
    drops: pd.DataFrame,
    times: dict[str, tuple[float, float]],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Head without what is common to a run, and the values of the drops."""
    columns = {(label, metric): drops[column] for column in drops for label, metric in [(column[0], column[3])]}
    nothing = np.full(track.drops, np.nan, np.float32)
    names = dict.fromkeys((*track.scores, track.bits, "bits_max"))
    values = {
        name: np.stack([np.asarray(columns.get((label, name), nothing), np.float32) for label in labels])
        for name in names
    }
    table = frame.set_index(["scheme", "metric"])["value"]
    lines = []
    for index, label in enumerate(labels):
        # Of what the values hold, exactly what the values give.
        bits = {name: float(table[label, f"bits_{name}"]) for name in ("mean", "p95", "max")}
        per_slot = float(table.get((label, "bits_per_slot"), bits["mean"]))
        bits["per_slot"] = per_slot
        bits["mean" if track.bits == "bits_mean" else "per_slot"] = float(
            np.mean(values[track.bits][index], dtype=float)
        )
        gbops = table.get((label, "ue_gbops"))
        encode, decode = (round(each, 4) for each in times[label])
        lines.append(
            {"label": label.partition("/")[2], "bits": bits, "ue_gbops": None if gbops is None else float(gbops)}
            | {"encode_ms": encode, "decode_ms": decode}
        )
    return {"entry": entry.name, "entry_hash": entry.hash(track), "lines": lines}, values


def _said(track: Track, result: Result) -> str:
    metric = track.scores[0]
    shown = [
        f"{line.label} {line.bits.mean:.0f} bit {line.scores[metric].value:.4f}"
        for line in result.head.lines
        if metric in line.scores
    ]
    return f"{metric} " + ", ".join(shown)
