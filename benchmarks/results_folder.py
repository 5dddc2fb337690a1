"""A results folder belongs to one scenario and one content of its input files; one process at a time writes in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.claim import differences, summary
from scenarios.schema import parse_scenario
from scenarios.sweep import Point, content_hash, expand
from simulator.core.content import own_version
from simulator.core.durable import sweep, write_bytes
from simulator.core.errors import ConfigError, StoreError
from simulator.core.lock import FILE as LOCK
from simulator.core.lock import held
from simulator.core.paths import inside, writable
from simulator.core.readers import read_json
from simulator.data.store import write_json

SCENARIO, CONTENT = "scenario.json", "content.json"
_FREE = {"run", "name", "description"}  # fields outside a point


@contextmanager
def claimed_results(
    folder: Path, data: dict[str, Any], points: Sequence[Point], chunk_drops: Sequence[int], resume: bool
) -> Iterator[None]:
    """Hold a folder for the results of these points.

    Resuming is adding: every point that the folder was made for must be one of ``points``, with the same content. So
    the scenario may differ in ``run``, ``name``, ``description``, and in further values of a swept axis.

    Args:
        folder: new, empty, or with ``resume`` one with results.
        data: scenario as plain data.
        points: its points with what they read.
        chunk_drops: drops of a chunk, for each point.
        resume: go on in a folder with results.

    Raises:
        StoreError: other files, results of another scenario or content (the message lists the differences), or another
            process that writes here.
    """
    _check_free(folder, resume)
    with held(folder):
        _check_free(folder, resume)
        if (folder / SCENARIO).is_file():
            _require_same(folder, data, points)
        for place in (folder, folder / "figures", *folder.glob("points/*")):
            sweep(place)
        contents = [dict(point.content) for point in points]
        keys = [content_hash(content) for content in contents]
        listed = [{"content": key, "chunk_drops": size} for key, size in zip(keys, chunk_drops, strict=True)]
        unique = dict(zip(keys, contents, strict=True))
        write_json(folder / CONTENT, {"csilink": own_version(), "contents": unique, "points": listed})
        write_bytes(folder / SCENARIO, (json.dumps(data, indent=1, default=str) + "\n").encode())
        yield


def read_points(folder: Path) -> tuple[dict[str, Any], list[Point], list[int]]:
    """Scenario of a results folder as plain data, its points with their inputs then, drops of their chunks.

    Raises:
        StoreError: no results, or damaged files.
    """
    data, content = _read(folder / SCENARIO), _read(folder / CONTENT)
    try:
        points = expand(data)
        found = [content["contents"][listed["content"]] for listed in content["points"]]
        version = str(content["csilink"])
        points = [replace(p, content=dict(read), version=version) for p, read in zip(points, found, strict=True)]
        sizes = [int(listed["chunk_drops"]) for listed in content["points"]]
        if min(sizes) < 1:
            raise ValueError("chunk_drops below 1")
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"{folder}: {SCENARIO} and {CONTENT} are not those of a run ({error})") from None
    return data, points, sizes


def everything_read(points: Sequence[Point]) -> dict[str, str]:
    """Inputs of all points, by path or plug-in."""
    return {label: what for point in points for label, what in point.content.items()}


def _check_free(folder: Path, resume: bool) -> None:
    marker = writable(folder / SCENARIO)
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder}: is a file; choose another --out")
    if folder.is_dir() and any(path.name != LOCK for path in folder.iterdir()):
        if not marker.is_file():
            raise StoreError(f"{folder}: holds other files and no results to resume; choose another --out")
        if not resume:
            raise StoreError(f"{folder}: not empty; add --resume to go on in it, or choose another --out")


def _require_same(folder: Path, data: dict[str, Any], points: Sequence[Point]) -> None:
    before = _read(folder / SCENARIO)
    old: Mapping[str, Any] = {key: value for key, value in before.items() if key not in _FREE}
    new: Mapping[str, Any] = {key: value for key, value in data.items() if key not in _FREE}
    same = old == new
    if not same:
        try:
            keys = {replace(point, content={}).key for point in points}
            same = all(point.key in keys for point in expand(before))
            old, new = (parse_scenario(each).model_dump(mode="json", exclude=_FREE) for each in (before, data))
        except ConfigError:  # a scenario of another version
            same = False
    if not same:
        found = summary(differences(old, new))
        raise StoreError(f"{folder}: holds results of another scenario ({found}); choose another --out")
    if not (folder / CONTENT).is_file():
        return  # of an earlier version, or ended before it computed: keys hold what is read
    content = _read(folder / CONTENT)
    try:
        read = {label: what for each in content["contents"].values() for label, what in each.items()}
        stored = {"csilink": content["csilink"], **read}
    except (KeyError, TypeError, AttributeError):
        raise StoreError(f"{folder / CONTENT}: not what a run writes; choose another --out") from None
    now = {"csilink": own_version(), **everything_read(points)}
    common = stored.keys() & now.keys()
    if found := differences(*({key: each[key] for key in sorted(common)} for each in (stored, now))):
        raise StoreError(f"{folder}: its results were computed with others ({summary(found)}); choose another --out")


def _read(path: Path) -> dict[str, Any]:
    try:
        data = read_json(inside(path.parent, path.name))
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; allowed: a results folder, which `csilink run` writes") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not isinstance(data, dict):
        raise StoreError(f"{path}: not what a run writes")
    return data
