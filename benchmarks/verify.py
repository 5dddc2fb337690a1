"""Integrity of a folder: hashes of results, stores, weights, codebooks and exports against their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rebuild import MANIFEST, tables_of
from benchmarks.results_folder import SCENARIO, everything_read, read_points
from benchmarks.runner import units_of
from benchmarks.store import TABLES, write_tables
from receivers.precision.policy_set import FILE as POLICIES
from receivers.precision.policy_set import PolicySet
from receivers.weights.card import noted_hash
from simulator.core.content import own_version, sha256
from simulator.core.errors import CsilinkError, StoreError
from simulator.core.paths import inside, is_file
from simulator.core.readers import read_json, reason
from simulator.data.store import ChannelStore

CARD, LIST = "card.json", "codec.json"
_ROOT = Path(__file__).resolve().parents[1]
Line = tuple[bool, str]


def verify(folder: Path) -> Iterator[Line]:
    """One line for each thing checked: whether it is intact, and its name.

    Args:
        folder: of results, a channel store, weights, a codebook, or an exported model. No graph of a model runs.

    Raises:
        StoreError: a folder of none of these.
    """
    folder = Path(folder)
    if is_file(folder / SCENARIO):
        yield from _results(folder)
    elif is_file(folder / LIST):
        yield from _export(folder)
    elif is_file(folder / CARD):
        yield from _weights(folder)
    elif is_file(folder / MANIFEST):
        yield from _store(folder)
    else:
        raise StoreError(f"{folder}: holds no {SCENARIO}, {MANIFEST} or {CARD}; allowed: results, a store, weights")


def _results(folder: Path) -> Iterator[Line]:
    """Chunks, tables, manifest, and the files that were read, as they are now."""
    _, points, sizes = read_points(folder)
    for point, size in zip(points, sizes, strict=True):
        for unit in units_of(point, folder, size):
            if unit.path.is_file():
                yield _line(str(unit.path.relative_to(folder)), unit.fault)
    known = {point.key for point in points}
    for path in sorted(folder.glob("points/*")):
        if path.name not in known:
            yield True, f"points/{path.name}: of an earlier content, not used"
    if points[0].version == own_version():
        yield from _tables(folder)
    else:
        yield True, f"tables: computed by csilink {points[0].version}, not compared with the chunks"
    manifest = _checked(lambda: dict(read_json(inside(folder, MANIFEST))["hashes"]))
    if isinstance(manifest, str):
        yield False, f"{MANIFEST}: {manifest}"
        return
    for name in TABLES:
        path = inside(folder, name)
        yield _line(f"{name}: hash", None if is_file(path) and sha256(path) == manifest.get(name) else "differs")
    for label, what in everything_read(points).items():
        if manifest.get(label) != what:
            yield False, f"{label}: {MANIFEST} has another hash than the results"
        else:
            yield _line(label, _changed(label, what))


def _tables(folder: Path) -> Iterator[Line]:
    """Whether the chunks give the tables."""
    from tempfile import TemporaryDirectory

    made = _checked(lambda: tables_of(folder)[1])
    if isinstance(made, str):
        yield False, f"results.csv: {made}"
        return
    with TemporaryDirectory() as place:
        write_tables(Path(place), *made[:2])
        for name in TABLES:
            there = inside(folder, name)
            same = is_file(there) and there.read_bytes() == (Path(place) / name).read_bytes()
            yield _line(f"{name}: from the chunks", None if same else "not what the chunks give")


def _changed(label: str, what: str) -> str | None:
    """Present state of an input, in words; None when it is unchanged."""
    path = Path(label)
    if not path.is_absolute() and not path.exists() and (_ROOT / path).exists():
        path = _ROOT / path
    if " " in what and not path.exists():
        return None  # a plug-in
    found = _checked(lambda: ChannelStore(path).hash if path.is_dir() else noted_hash(path))
    return None if found == what else f"{path}: {'has another content now' if len(found) == 64 else found}"


def _store(folder: Path) -> Iterator[Line]:
    """Manifest, layout, every shard."""
    store = ChannelStore(folder, verify=False)
    yield True, f"{MANIFEST}: layout {store.layout.entry_shape}, SHA-256 {store.hash}"
    for split, shards in store.shards.items():
        for shard in shards:
            path = inside(folder, shard["file"])
            yield _line(shard["file"], None if sha256(path) == shard["sha256"] else f"damaged ({split})")
        if all(sha256(inside(folder, shard["file"])) == shard["sha256"] for shard in shards):
            fault = _checked(lambda split=split: all(np.isfinite(h).all() for h, _ in store.read(split)))
            yield _line(f"{split}: channels", fault if isinstance(fault, str) else None if fault else "not finite")


def _weights(folder: Path) -> Iterator[Line]:
    """Every file that the card names, and policies of the weights."""
    card = _checked(lambda: read_json(inside(folder, CARD)))
    named = [] if isinstance(card, str) else list(_named(card))
    if not named:
        yield False, f"{CARD}: {card if isinstance(card, str) else 'names no file with its SHA-256'}"
        return
    yield True, f"{CARD}: {card.get('name')}"
    for name, expected in dict(named).items():
        found = _checked(lambda name=name: sha256(inside(folder, name)))
        yield _line(name, None if found == expected else "damaged or missing, not the hash of the card")
    if is_file(folder / POLICIES):
        found = _checked(lambda: PolicySet.load(inside(folder, POLICIES)).meta["weights_sha256"])
        own = found == card.get("weights", {}).get("sha256")
        yield _line(POLICIES, None if own else "damaged, or of other weights")


def _export(folder: Path) -> Iterator[Line]:
    from benchmarks.export_folder import content_sha256

    listed = _checked(lambda: dict(read_json(inside(folder, LIST))["sha256"]))
    if isinstance(listed, str):
        yield False, f"{LIST}: {listed}"
        return
    for name, expected in listed.items():
        found = _checked(lambda name=name: content_sha256(inside(folder, name)))
        yield _line(name, None if found == expected else "damaged or missing, not the hash of the list")


def _named(node: Any) -> Iterator[tuple[str, str]]:
    """File and hash of every section of a card that has both."""
    if isinstance(node, Mapping):
        if isinstance(node.get("file"), str) and isinstance(node.get("sha256"), str):
            yield node["file"], node["sha256"]
        for key, each in node.items():
            if key not in ("recipe", "origin"):
                yield from _named(each)


def _checked(make: Callable[[], Any]) -> Any:
    """A value, or the fault in words."""
    try:
        return make()
    except CsilinkError as error:
        return str(error)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"cannot be read ({reason(error)})"


def _line(name: str, fault: str | None) -> Line:
    return fault is None, name if fault is None else f"{name}: {fault}"
