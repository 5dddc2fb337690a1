"""Runs a scenario: points to chunks, progress, stopping rule, resume, tables, manifest."""

from __future__ import annotations

import copy
import json
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.build import channel_name, check_parts, payloads_of
from benchmarks.doubling import untested
from benchmarks.duration import precoding_seconds, say_if_long
from benchmarks.engines import check_engine, make_engine, run_units
from benchmarks.memory import block_drops, chunk_drops, drop_bytes, fitting_workers
from benchmarks.normalization import mean_power
from benchmarks.outlook import outlook
from benchmarks.progress import DropProgress
from benchmarks.provenance import commit, machine
from benchmarks.reads import note_parts
from benchmarks.results_folder import claimed_results, everything_read
from benchmarks.store import TABLES, Accumulator, Unit, cdf_frame, tidy_frame, write_tables
from benchmarks.sweep_notes import equal_axes, idle_axes, seen_along
from scenarios.load import apply_override, find_file, load_mapping, set_field
from scenarios.schema import Run, Scenario
from scenarios.sweep import Point, content_hash, expand
from simulator.core.content import noting, sha256
from simulator.core.durable import write_bytes
from simulator.core.errors import ConfigError
from simulator.core.paths import nothing_left

SNR_DEFINITION = (
    "snr_db is the total transmit power over all ports and streams, divided by the noise power, per subcarrier. "
    "The channel is scaled to E|h|^2 = 1 per antenna pair as `normalization` says: per_sample scales each UE and drop, "
    "per_dataset uses one factor for all runs with this channel, none keeps the path gain."
)
_LOOK_S = 2.0  # between looks at half-widths for the progress
_PACKAGES = ("csilink", "sionna", "tensorflow", "keras", "numpy", "scipy", "pandas")


# A scenario: path of a YAML file, name of a preset, mapping of fields, or validated.
Source = str | Path | Mapping[str, Any] | Scenario
# ``["ue.num_users=2", ...]`` with values in YAML, or ``{"ue.num_users": 2, ...}``.
Overrides = Sequence[str] | Mapping[str, Any]


def load_points(
    file: Source, overrides: Overrides = (), drops: int | None = None
) -> tuple[dict[str, Any], list[Point]]:
    """A scenario with overrides as plain data, and its validated points.

    Raises:
        ConfigError: for the first fault.
    """
    data = _plain(file)
    if isinstance(overrides, Mapping):
        for path, value in overrides.items():
            set_field(data, path, copy.deepcopy(value))
    else:
        for assignment in [overrides] if isinstance(overrides, str) else overrides:
            apply_override(data, assignment)
    if drops is not None:
        run = data.setdefault("run", {})
        if isinstance(run, dict):
            run["drops"] = drops
            if run.get("max_drops") is not None and drops > run["max_drops"]:
                run["max_drops"] = drops
    return data, expand(data)


def _plain(file: Source) -> dict[str, Any]:
    """Fields of a scenario as plain data of our own."""
    if isinstance(file, Scenario):
        return file.model_dump(mode="json")
    if isinstance(file, Mapping):
        return copy.deepcopy(dict(file))
    if not isinstance(file, str | Path):
        allowed = "a path, the name of a preset, a mapping of fields, or a Scenario"
        raise ConfigError("scenario", f"a {type(file).__name__}", allowed)
    return load_mapping(find_file(file))


def check(file: Source, overrides: Overrides = (), drops: int | None = None) -> list[Point]:
    """Validate a scenario and build all that :func:`run` builds, with the same errors; computes and writes nothing.

    Args:
        file: path of a YAML file, name of a shipped preset, mapping of fields, or a ``Scenario``.
        overrides: ``{"ue.num_users": 2}``, or ``["ue.num_users=2"]`` with values in YAML.
        drops: overrides ``run.drops``.

    Returns:
        the points, one for each combination of the swept axes; ``.scenario`` and ``.axes`` say what each is.

    Raises:
        CsilinkError: for the first thing that is wrong.

    Example:
        >>> import csilink
        >>> points = csilink.check("quickstart", {"sweep": {"ue.num_users": [1, 2]}, "feedback": [{"scheme": "dft"}]})
        >>> [point.axes for point in points]
        [{'ue.num_users': 1}, {'ue.num_users': 2}]
    """
    _, points = load_points(file, overrides, drops)
    for point in points:
        _sized(point)
    _warn(idle_axes(points))
    return points


def run(
    file: Source,
    *,
    out: str | Path | None = None,
    drops: int | None = None,
    overrides: Overrides = (),
    workers: int | None = None,
    engine: str = "local",
    resume: bool = False,
    report: bool = True,
) -> pd.DataFrame:
    """Run a scenario and return its results.

    Args:
        file: path of a YAML file, name of a shipped preset, mapping of fields, or a ``Scenario``.
        out: results folder, by default ``results/<name>``.
        drops: overrides ``run.drops``.
        overrides: ``{"ue.num_users": 2}``, or ``["ue.num_users=2"]`` with values in YAML.
        workers: processes (local; None takes all CPUs, at most 8) or tasks in flight (ray; None takes the cluster).
        engine: "local" or "ray".
        resume: go on in a folder that already holds results of this scenario; what it reads must be the same, too.
        report: also draw the figures and ``report.html``.

    Returns:
        tidy frame, the content of ``results.csv``.

    Raises:
        CsilinkError: for wrong input; nothing was computed then.

    Example:
        >>> import csilink, tempfile
        >>> scenario = {
        ...     "name": "small",
        ...     "carrier": {"num_rb": 4},
        ...     "bs": {"n1": 4, "n2": 1, "num_pol": 1},
        ...     "channel": {"model": "rayleigh"},
        ...     "feedback": [{"scheme": "rvq", "bits": 4}],
        ...     "snr_db": [0, 10],
        ... }
        >>> folder = tempfile.TemporaryDirectory()
        >>> frame = csilink.run(scenario, out=folder.name, drops=8, workers=1, report=False)
        >>> frame[frame.metric == "sum_rate_bpshz"].snr_db.tolist()
        [0.0, 10.0]
    """
    from benchmarks.report.frames import read_results
    from benchmarks.report.report import write_report

    started = time.time()
    check_engine(engine, workers)
    data, points = load_points(file, overrides, drops)
    name = points[0].scenario.name
    folder = Path(out) if out is not None else Path("results") / name
    plans, block_bytes, seconds = zip(*(_plan(point, folder) for point in points), strict=True)
    points = [plan[0].point for plan in plans]
    if engine == "local":
        chunks = sum(_planned(*each) for each in zip(points, plans, strict=True))
        chunks -= sum(unit.done for plan in plans for unit in plan)
        workers = fitting_workers(workers, chunks, max(block_bytes))
    say_if_long(sum(seconds))
    idle = idle_axes(points)
    _warn(idle)
    drops_of = [plan[0].drops for plan in plans]
    with nothing_left(folder) as claimed, claimed_results(folder, data, points, drops_of, resume):
        claimed()
        totals = _compute(points, plans, engine, workers)
        frame = tidy_frame(name, list(zip(points, totals, strict=True)))
        write_tables(folder, frame, cdf_frame(list(zip(points, totals, strict=True))))
        if not idle:
            idle = equal_axes(frame, list(points[0].axes))
            _warn(idle)
        write_manifest(folder, data, points, totals, started, {"engine": engine, "workers": workers}, idle)
        if report:
            write_report(folder)
        return read_results(folder / "results.csv")


def _warn(texts: Iterable[str]) -> None:
    for text in texts:
        print(f"warning: {text}", file=sys.stderr)


def _sized(point: Point) -> tuple[int, float, float]:
    """Drops of a chunk, memory of a block [byte], time of precoding a drop [s]; all that computes it was built once."""
    link = check_parts(point.scenario)
    payloads = payloads_of(point.scenario, link.reporting)
    max_bits = [payload.max_bits for payload in payloads.values()]
    memory = block_drops(point.scenario.geometry) * drop_bytes(point.scenario, max_bits)
    return chunk_drops(point.scenario, max_bits), memory, precoding_seconds(point.scenario, link)


def _plan(point: Point, folder: Path) -> tuple[list[Unit], float, float]:
    """All chunks of a point that knows what its parts read, memory of a block [byte], time of precoding [s]."""
    with noting() as read:
        size, block_bytes, seconds = _sized(point)
        note_parts(point.scenario)
    return units_of(replace(point, content=read), folder, size), block_bytes, seconds * point.scenario.run.drops


def units_of(point: Point, folder: Path, size: int) -> list[Unit]:
    """All chunks of a point of ``size`` drops, up to ``max_drops``."""
    total = point.scenario.run.max_drops or point.scenario.run.drops
    return [Unit(point, first, min(size, total - first), folder) for first in range(0, total, size)]


def _compute(
    points: Sequence[Point], plans: Sequence[list[Unit]], engine_name: str, workers: int | None
) -> list[Accumulator]:
    """Compute what is missing and merge, point by point in chunk order."""
    wanted = sum(point.scenario.run.drops for point in points)
    finished: set[Path] = {unit.path for plan in plans for unit in plan if _intact(unit)}
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
    engine = make_engine(engine_name, workers)
    try:
        done = min(sum(unit.drops for plan in plans for unit in plan if unit.path in finished), wanted)
        with DropProgress(points[0].scenario.name, wanted, done).running() as progress:
            looked, text = -np.inf, ""
            for unit in run_units(engine, missing()):
                finished.add(unit.path)
                settle(number_of[unit.path])
                done += unit.drops
                if time.monotonic() - looked > _LOOK_S:
                    (wanted, text), looked = outlook(points, totals), time.monotonic()
                progress.update(done, wanted, text)
    finally:
        engine.close()
    return totals


def _intact(unit: Unit) -> bool:
    """Whether the unit is done; a damaged or foreign file is reported, and computed again."""
    if not unit.path.is_file():
        return False
    if (fault := unit.fault) is not None:
        print(f"csilink: {unit.path}: {fault}; computed again", file=sys.stderr)
    return fault is None


def _planned(point: Point, plan: Sequence[Unit]) -> int:
    """Chunks up to ``run.drops``."""
    covered = 0
    for count, unit in enumerate(plan):
        covered += unit.drops
        if covered >= point.scenario.run.drops:
            return count + 1
    return len(plan)


def _tight(scenario: Scenario, total: Accumulator) -> bool:
    """Enough drops, and every row of the watched metric has a small enough relative half-width; or no new samples.

    A finite store is exhausted when further drops can shrink the half-widths by 5 % at most.
    """
    rule = scenario.run
    if total.drops < rule.drops:
        return False
    return rule.ci_rel is None or total.exhausted or _meets(rule, total)


def _meets(rule: Run, total: Accumulator) -> bool:
    """Every row of the watched metric has the relative half-width that the rule wants."""
    rows = [row for row in total.summary() if row["metric"] == rule.ci_metric]
    if not rows:
        raise ConfigError("run.ci_metric", rule.ci_metric, ", ".join(sorted({r["metric"] for r in total.summary()})))
    return all(row["ci95"] <= rule.ci_rel * abs(row["value"]) for row in rows)


def _repeats(points: Sequence[Point], totals: Sequence[Accumulator]) -> list[str]:
    """Notes on drops that repeat the samples of a finite store."""
    notes = []
    for point, total in zip(points, totals, strict=True):
        rule, users = point.scenario.run, point.scenario.ue.num_users
        if total.independent_drops < 0.9 * total.drops:
            store, samples = channel_name(point.scenario.channel), round(total.distinct * users)
            notes.append(
                f"The {total.drops} drops repeat the {samples} samples of {store} ({users} a drop): half-widths are "
                f"those of {total.independent_drops:.1f} independent drops, about the population of the samples."
            )
        if rule.ci_rel is not None and total.exhausted and not _meets(rule, total):
            notes.append(
                f"run.ci_rel = {rule.ci_rel:g} was not reached: more drops of the same samples would not help."
            )
    return list(dict.fromkeys(notes))


def write_manifest(
    folder: Path,
    data: dict[str, Any],
    points: Sequence[Point],
    totals: Sequence[Accumulator],
    started: float | None = None,
    engine: Mapping[str, Any] | None = None,
    idle: Sequence[str] = (),
) -> None:
    """``manifest.json`` of finished tables; without ``started`` (seconds since 1970) of a run whose manifest is lost.

    ``engine`` is its name and its number of workers, ``idle`` lists the axes without an effect.
    """
    scenario = points[0].scenario
    notes = list(idle)
    if scenario.normalization == "none":
        notes.append("The channel keeps its path gain: SNR at the receiver is far below snr_db.")
    powers = {}
    if scenario.normalization == "per_dataset":
        powers = {point.key: mean_power(point.scenario.channel, point.scenario.geometry) for point in points}
        for text in dict.fromkeys(power.text for power in powers.values()):
            notes.append(f"E|h|^2 of the channel before the common factor: {text}; known for all seeds and SNRs alike.")
    notes += _repeats(points, totals) + untested(everything_read(points))
    drops = sorted({total.drops for total in totals})
    manifest = {
        "name": scenario.name,
        "scenario": data,
        "normalization": scenario.normalization,
        "snr_definition": SNR_DEFINITION,
        "seed": scenario.seed,
        "num_drops": drops[0] if len(drops) == 1 else f"{drops[0]} to {drops[-1]} per point",
        "versions": versions(),
        **(commit() if started else {"commit": None, "dirty": None}),
        "machine": {**machine(), **(engine or {})} if started else {},
        "hashes": {
            "scenario": content_hash(json.loads(json.dumps(data, default=str))),
            **{name: sha256(folder / name) for name in TABLES},
            **everything_read(points),
        },
        "points": [
            {"key": point.key, "axes": point.axes, "drops": t.drops}
            | ({"distinct_samples": round(t.distinct * point.scenario.ue.num_users)} if np.isfinite(t.distinct) else {})
            | {"independent_drops": round(t.independent_drops, 1)}
            | ({"mean_power": asdict(powers[point.key])} if powers else {})
            for point, t in zip(points, totals, strict=True)
        ],
        "seen_along": {axis: seen_along(points, axis) for axis in points[0].axes},
        "started": started and time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "wall_time_s": started and round(time.time() - started, 1),
        "notes": notes,
    }
    write_bytes(folder / "manifest.json", (json.dumps(manifest, indent=1, default=str) + "\n").encode())


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute."""
    return {"python": platform.python_version(), **{package: _version(package) for package in _PACKAGES}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
