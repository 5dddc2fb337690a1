"""Tables of a results folder from its chunks."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.results_folder import CONTENT, SCENARIO, read_points
from benchmarks.store import TABLES, Accumulator, cdf_frame, tidy_frame, write_tables
from scenarios.sweep import Point
from simulator.core.content import own_version, sha256
from simulator.core.durable import write_bytes
from simulator.core.errors import StoreError
from simulator.core.lock import held
from simulator.core.paths import inside, is_file
from simulator.core.readers import read_json

MANIFEST = "manifest.json"


def mend_tables(folder: Path) -> None:
    """Write tables and manifest of a results folder again, where they are missing or changed since the run.

    Folders without chunks, or whose manifest has no hashes of tables, stay as they are.

    Raises:
        StoreError: chunks are missing or damaged, or the folder cannot be written.
    """
    if not (is_file(folder / SCENARIO) and is_file(folder / CONTENT) and (folder / "points").is_dir()):
        return
    wrong = wrong_tables(folder)
    if not wrong:
        return
    print(f"csilink: {folder}: {', '.join(wrong)} not as the run wrote it; written from the chunks", file=sys.stderr)
    with held(folder):
        data, tables = tables_of(folder)
        write_tables(folder, *tables[:2])
        manifest = _manifest(folder)
        if manifest is None:
            from benchmarks.runner import write_manifest

            write_manifest(folder, data, *tables[2:])
        else:
            manifest["hashes"] |= {name: sha256(folder / name) for name in TABLES}
            write_bytes(folder / MANIFEST, (json.dumps(manifest, indent=1, default=str) + "\n").encode())


def wrong_tables(folder: Path) -> list[str]:
    """Tables whose hash is not that of the manifest; the manifest itself, if it cannot be read."""
    manifest = _manifest(folder)
    if manifest is None:
        return [MANIFEST]
    paths = {name: inside(folder, name) for name in TABLES if name in manifest["hashes"]}
    return [name for name, path in paths.items() if not is_file(path) or sha256(path) != manifest["hashes"][name]]


def tables_of(folder: Path) -> tuple[dict[str, Any], tuple[Any, Any, list[Point], list[Accumulator]]]:
    """Scenario, tables and statistics from the chunks of a finished run.

    Returns:
        scenario as plain data; tidy table, distribution of the user rate, points, their statistics.

    Raises:
        StoreError: a chunk is missing, damaged or of another scenario; the run is of another version of csilink.
    """
    from benchmarks.runner import _tight, units_of

    data, points, sizes = read_points(folder)
    if points[0].version != own_version():
        raise StoreError(f"{folder}: computed by csilink {points[0].version}; this is {own_version()}")
    totals = []
    for point, size in zip(points, sizes, strict=True):
        totals.append(Accumulator())
        for unit in units_of(point, folder, size):
            if not unit.done:
                fault = unit.fault if unit.path.is_file() else "missing"
                raise StoreError(f"{unit.path}: {fault}; `csilink run` with --resume computes it")
            if totals[-1].add(unit.path, partial(_tight, point.scenario)):
                break
    pairs = list(zip(points, totals, strict=True))
    return data, (tidy_frame(points[0].scenario.name, pairs), cdf_frame(pairs), points, totals)


def _manifest(folder: Path) -> dict[str, Any] | None:
    """Content of the manifest with its hashes, or None when it is damaged or missing."""
    try:
        manifest = read_json(inside(folder, MANIFEST))
        dict(manifest["hashes"])
        return manifest
    except OSError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        if "not inside the folder" in str(error):
            raise
        return None
