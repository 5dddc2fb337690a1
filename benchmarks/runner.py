"""Runs a scenario: points to chunks, progress, stopping rule, resume, tables, manifest."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.build import build_estimator, build_payloads, build_source
from benchmarks.engines import check_engine, make_engine, run_units
from benchmarks.memory import chunk_drops
from benchmarks.normalization import mean_power
from benchmarks.progress import bar
from benchmarks.store import Accumulator, Unit, cdf_frame, tidy_frame, write_bytes, write_tables
from benchmarks.sweep_notes import equal_axes, idle_axes, seen_along
from scenarios.load import apply_override, find_file, load_mapping
from scenarios.schema import Scenario
from scenarios.sweep import Point, content_hash, expand
from simulator.core.errors import ConfigError, StoreError
from simulator.core.paths import writable

SNR_DEFINITION = (
    "snr_db is the total transmit power over all ports and streams, divided by the noise power, per subcarrier. "
    "The channel is scaled to E|h|^2 = 1 per antenna pair as `normalization` says: per_sample scales each UE and drop, "
    "per_dataset uses one factor for all runs with this channel, none keeps the path gain."
)
_PACKAGES = ("csilink", "sionna", "tensorflow", "keras", "numpy", "scipy", "pandas")


def load_points(
    file: str | Path, overrides: Sequence[str] = (), drops: int | None = None
) -> tuple[dict[str, Any], list[Point]]:
    """A scenario file with overrides as plain data, and its validated points.

    Raises:
        ConfigError: for the first thing that is wrong.
    """
    data = load_mapping(find_file(file))
    for assignment in overrides:
        apply_override(data, assignment)
    if drops is not None:
        run = data.setdefault("run", {})
        if isinstance(run, dict):
            run["drops"] = drops
            if run.get("max_drops") is not None and drops > run["max_drops"]:
                run["max_drops"] = drops
    return data, expand(data)


def check(file: str | Path, overrides: Sequence[str] = (), drops: int | None = None) -> list[Point]:
    """Validate a scenario and build all that needs no TensorFlow: recorded channels, estimators, schemes, memory."""
    _, points = load_points(file, overrides, drops)
    for point in points:
        if point.scenario.channel.model == "recorded":
            build_source(point.scenario.channel, point.scenario.geometry)
        build_estimator(point.scenario)
        _chunk_size(point)
    _warn(idle_axes(points))
    return points


def run(
    file: str | Path,
    *,
    out: str | Path | None = None,
    drops: int | None = None,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    engine: str = "local",
    resume: bool = False,
    report: bool = True,
) -> pd.DataFrame:
    """Run a scenario and return its results.

    Args:
        file: YAML file, or name of a shipped preset.
        out: results folder, by default ``results/<name>``.
        drops: overrides ``run.drops``.
        overrides: ``field=value`` assignments.
        workers: processes (local; None takes all CPUs, at most 8) or tasks in flight (ray; None takes the cluster).
        engine: "local" or "ray".
        resume: go on in a folder that already holds results of this scenario.
        report: also draw the figures and ``report.html``.

    Returns:
        tidy frame, the content of ``results.csv``.

    Raises:
        CsilinkError: for wrong input; nothing was computed then.
    """
    from benchmarks.report import read_results, write_report

    started = time.time()
    check_engine(engine, workers)
    data, points = load_points(file, overrides, drops)
    name = points[0].scenario.name
    folder = Path(out) if out is not None else Path("results") / name
    plans = [_plan(point, folder) for point in points]
    idle = idle_axes(points)
    _warn(idle)
    _claim(folder, data, resume)
    totals = _compute(points, plans, engine, workers)
    frame = tidy_frame(name, list(zip(points, totals, strict=True)))
    write_tables(folder, frame, cdf_frame(list(zip(points, totals, strict=True))))
    if not idle:
        idle = equal_axes(frame, list(points[0].axes))
        _warn(idle)
    _write_manifest(folder, data, points, totals, started, idle)
    if report:
        write_report(folder)
    return read_results(folder / "results.csv")


def _warn(texts: Iterable[str]) -> None:
    for text in texts:
        print(f"warning: {text}", file=sys.stderr)


def _chunk_size(point: Point) -> int:
    return chunk_drops(point.scenario, [payload.max_bits for payload in build_payloads(point.scenario).values()])


def _plan(point: Point, folder: Path) -> list[Unit]:
    """All chunks of a point, up to ``max_drops``."""
    run_section = point.scenario.run
    size, total = _chunk_size(point), run_section.max_drops or run_section.drops
    build_estimator(point.scenario)
    return [Unit(point, first, min(size, total - first), folder) for first in range(0, total, size)]


def _claim(folder: Path, data: dict[str, Any], resume: bool) -> None:
    """Make the results folder ours, or refuse."""
    marker = writable(folder / "scenario.json")
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder}: is a file; choose another --out")
    if folder.is_dir() and any(folder.iterdir()):
        if not resume:
            raise StoreError(f"{folder}: not empty; add --resume to go on in it, or choose another --out")
        if not marker.is_file():
            raise StoreError(f"{folder}: holds other files and no results to resume; choose another --out")
    write_bytes(marker, (json.dumps(data, indent=1, default=str) + "\n").encode())


def _compute(
    points: Sequence[Point], plans: Sequence[list[Unit]], engine_name: str, workers: int | None
) -> list[Accumulator]:
    """Compute what is missing and merge, point by point in chunk order."""
    wanted = sum(_planned(point, plan) for point, plan in zip(points, plans, strict=True))
    finished: set[Path] = {unit.path for plan in plans for unit in plan if unit.done}
    stopped: list[int | None] = [None] * len(points)
    totals = [Accumulator() for _ in points]
    merged = [0] * len(points)

    def settle(number: int) -> None:
        """Merge the unbroken prefix of finished chunks, and stop after the first block that is enough."""
        plan = plans[number]
        while stopped[number] is None and merged[number] < len(plan) and plan[merged[number]].path in finished:
            enough = totals[number].add(plan[merged[number]].path, partial(_tight, points[number].scenario))
            merged[number] += 1
            if enough or merged[number] == len(plan):
                stopped[number] = merged[number]

    def missing() -> Iterator[Unit]:
        for number, plan in enumerate(plans):
            for unit in plan:
                if stopped[number] is None and unit.path not in finished:
                    yield unit

    for number in range(len(points)):
        settle(number)
    number_of = {unit.path: number for number, plan in enumerate(plans) for unit in plan}
    if all(count is not None for count in stopped):
        return totals
    if engine_name == "local":
        workers = _useful(workers, wanted - len(finished))
    engine = make_engine(engine_name, workers)
    try:
        with bar() as progress:
            task = progress.add_task(points[0].scenario.name, total=wanted, completed=min(len(finished), wanted))
            for unit in run_units(engine, missing()):
                finished.add(unit.path)
                settle(number_of[unit.path])
                progress.update(task, total=max(wanted, len(finished)), advance=1)
    finally:
        engine.close()
    return totals


def _useful(workers: int | None, chunks: int) -> int | None:
    """Not more workers than chunks, where the number was left open."""
    import os

    return min(os.cpu_count() or 1, 8, max(chunks, 1)) if workers is None else workers


def _planned(point: Point, plan: Sequence[Unit]) -> int:
    """Chunks up to ``run.drops``."""
    covered = 0
    for count, unit in enumerate(plan):
        covered += unit.drops
        if covered >= point.scenario.run.drops:
            return count + 1
    return len(plan)


def _tight(scenario: Scenario, total: Accumulator) -> bool:
    """Enough drops, and every row of the watched metric has a small enough relative half-width."""
    rule = scenario.run
    if total.drops < rule.drops:
        return False
    if rule.ci_rel is None:
        return True
    rows = [row for row in total.summary() if row["metric"] == rule.ci_metric]
    if not rows:
        raise ConfigError("run.ci_metric", rule.ci_metric, ", ".join(sorted({r["metric"] for r in total.summary()})))
    return all(row["ci95"] <= rule.ci_rel * abs(row["value"]) for row in rows)


def _write_manifest(
    folder: Path,
    data: dict[str, Any],
    points: Sequence[Point],
    totals: Sequence[Accumulator],
    started: float,
    notes: Sequence[str] = (),
) -> None:
    scenario, notes = points[0].scenario, list(notes)
    if scenario.normalization == "none":
        notes.append("The channel keeps its path gain: SNR at the receiver is far below snr_db.")
    powers = {}
    if scenario.normalization == "per_dataset":
        powers = {point.key: mean_power(point.scenario.channel, point.scenario.geometry) for point in points}
        for text in dict.fromkeys(power.text for power in powers.values()):
            notes.append(f"E|h|^2 of the channel before the common factor: {text}; known for all seeds and SNRs alike.")
    drops = sorted({total.drops for total in totals})
    manifest = {
        "name": scenario.name,
        "scenario": data,
        "normalization": scenario.normalization,
        "snr_definition": SNR_DEFINITION,
        "seed": scenario.seed,
        "num_drops": drops[0] if len(drops) == 1 else f"{drops[0]} to {drops[-1]} per point",
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in _PACKAGES}},
        "commit": _commit(),
        "hashes": {"scenario": content_hash(json.loads(json.dumps(data, default=str)))},
        "points": [
            {"key": point.key, "axes": point.axes, "drops": t.drops}
            | ({"mean_power": asdict(powers[point.key])} if powers else {})
            for point, t in zip(points, totals, strict=True)
        ],
        "seen_along": {axis: seen_along(points, axis) for axis in points[0].axes},
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "wall_time_s": round(time.time() - started, 1),
        "notes": notes,
    }
    write_bytes(folder / "manifest.json", (json.dumps(manifest, indent=1, default=str) + "\n").encode())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Commit of the checkout this package runs from, or "unknown"."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=True
        )
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
