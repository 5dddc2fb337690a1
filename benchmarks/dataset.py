"""Data set recipe to a sharded store: seeded, resumable, with a hash per shard."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.build import build_source, channel_name
from benchmarks.claim import differences, summary
from benchmarks.leaderboard.overlap import check_seed
from benchmarks.memory import bytes_per_drop
from benchmarks.normalization import MeanPower, mean_power, mixed
from benchmarks.progress import track
from benchmarks.reads import note_channel
from scenarios.dataset import DatasetRecipe
from scenarios.sweep import content_hash
from simulator.core.content import noting, own_version
from simulator.core.durable import sweep
from simulator.core.errors import ConfigError, StoreError
from simulator.core.interfaces import ChannelSource
from simulator.core.lock import FILE as LOCK
from simulator.core.lock import held
from simulator.core.paths import nothing_left, writable
from simulator.core.readers import read_json
from simulator.core.seeding import derive, derive_wide
from simulator.data.layout import ChannelLayout
from simulator.data.store import MANIFEST, ChannelStore, manifest, sha256, write_json, write_shard
from simulator.maths.transforms import unit_power

MEMORY_BYTES = 2 << 30
SHARDS = "shards.json"  # hashes of the shards of a store without a manifest


def make_dataset(recipe: DatasetRecipe, folder: Path) -> ChannelStore:
    """Write (or finish) the store of a recipe.

    Raises:
        ConfigError: the seed is that of the test channels of a leaderboard's track.
        StoreError: the folder holds another recipe's store or cannot be written.
    """
    check_seed(recipe.seed)
    _check_memory(recipe)
    sources: dict[int, ChannelSource] = {}
    corrections = {
        channel_name(part.channel): list(found)
        for number, part in enumerate(recipe.parts)
        if (found := _source(recipe, sources, number).corrections)
    }
    # Part of the identity: the same recipe drawn from corrected channels is another data set.
    description = recipe.model_dump(mode="json") | ({"corrections": corrections} if corrections else {})
    with noting() as read:  # other stores, plug-ins of other packages
        for part in recipe.parts:
            note_channel(part.channel)
    description |= {"reads": dict(read)} if read else {}
    marker = writable(folder / "recipe.json")
    if not marker.exists() and folder.is_dir() and any(path.name != LOCK for path in folder.iterdir()):
        raise StoreError(f"{folder}: holds other files; choose another --out")
    with nothing_left(folder, kept="*.h5") as claimed, held(folder):
        sweep(folder)
        _require_same(marker, {**description, "csilink": own_version()})
        claimed()
        write_json(marker, {**description, "csilink": own_version()})
        return _finish(recipe, folder, sources, description, corrections)


def _require_same(marker: Path, description: dict[str, Any]) -> None:
    """StoreError unless the folder is new, or holds the data of this recipe."""
    if not marker.exists():
        return
    try:
        before = {"csilink": own_version(), **read_json(marker)}
    except (OSError, ValueError, TypeError):
        before = {}
    if found := differences(before, description):
        what = summary(found) if before else f"{marker.name} cannot be read"
        raise StoreError(f"{marker.parent}: holds the data of another recipe; choose another --out ({what})")


def _finish(
    recipe: DatasetRecipe,
    folder: Path,
    sources: dict[int, ChannelSource],
    description: dict[str, Any],
    corrections: dict[str, list[str]],
) -> ChannelStore:
    """Draw the shards that are missing or damaged, and write the manifest."""
    finished = _finished(folder)
    noted = bool(finished)  # in a new folder, shards that were renamed into place are whole
    power = _mean_power(recipe) if recipe.normalization == "per_dataset" else None
    scale = None if power is None else power.value**-0.5
    work = [
        (split, index, min(recipe.shard_samples, total - index * recipe.shard_samples))
        for split, total in recipe.splits.items()
        for index in range(-(-total // recipe.shard_samples))
    ]
    entries: dict[str, list[dict[str, Any]]] = {split: [] for split in recipe.splits}
    for split, index, count in track(work, f"data set {recipe.name}", unit="shard"):
        path = folder / f"{split}-{index:05d}.h5"
        found = sha256(path) if path.exists() else None
        if found is None or (noted and finished.get(path.name) != found):
            write_shard(path, *draw_shard(recipe, sources, scale, split, index, count))
            found = sha256(path)
        if finished.get(path.name) != found:
            finished[path.name] = found
            write_json(folder / SHARDS, finished)
        entries[split].append({"file": path.name, "num_samples": count, "sha256": found})
    origin = {
        "recipe": recipe.model_dump(mode="json"),
        "recipe_hash": content_hash(description),
        "corrections": corrections,  # active in the sources, by part
        "parts": [channel_name(p.channel) for p in recipe.parts],
    }
    if power is not None:
        # Every sample is a channel of its source times this amplitude, which is known to this half-width.
        origin |= {"scale": scale, "scale_half_width_db": power.half_width_db}
    write_json(folder / MANIFEST, manifest(recipe.name, ChannelLayout.of(recipe.geometry), origin, entries))
    (folder / SHARDS).unlink(missing_ok=True)
    return ChannelStore(folder, verify=False)


def _check_memory(recipe: DatasetRecipe) -> None:
    """Before anything is allocated: one drop, and one shard with its shuffled copies, must fit."""
    g = recipe.geometry
    if bytes_per_drop(g) > MEMORY_BYTES:
        need = f"{bytes_per_drop(g) / 2**30:.1f} GiB for one drop"
        raise ConfigError("bs", need, f"antennas, subcarriers and slots that need {MEMORY_BYTES >> 30} GiB")
    most = MEMORY_BYTES // (3 * 8 * g.num_rx_ant * g.panel.num_ports * g.num_slots * g.num_subcarriers)
    if min(recipe.shard_samples, max(recipe.splits.values())) > most:
        raise ConfigError("shard_samples", recipe.shard_samples, f"1..{most} with {MEMORY_BYTES >> 30} GiB of memory")


def _finished(folder: Path) -> dict[str, str]:
    """SHA-256 of every shard that an earlier run finished, whether or not that run was completed."""
    found: dict[str, str] = {}
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        splits = read_json(folder / MANIFEST)["splits"]
        found |= {shard["file"]: shard["sha256"] for split in splits.values() for shard in split}
    with suppress(OSError, ValueError, TypeError):
        found |= dict(read_json(folder / SHARDS))
    return found


def _source(recipe: DatasetRecipe, sources: dict[int, ChannelSource], number: int) -> ChannelSource:
    if number not in sources:
        sources[number] = build_source(recipe.parts[number].channel, recipe.geometry)
    return sources[number]


def _mean_power(recipe: DatasetRecipe) -> MeanPower:
    """E|h|^2 of the mixture: of the distribution, not of the samples drawn."""
    powers = [mean_power(part.channel, recipe.geometry) for part in recipe.parts]
    return mixed(powers, [part.weight for part in recipe.parts])


def draw_shard(
    recipe: DatasetRecipe,
    sources: dict[int, ChannelSource],
    scale: float | None,
    split: str,
    index: int,
    count: int,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """One shard: every part by its share, shuffled; the labels of the sources and ``part``.

    Channels are multiplied by ``scale``; None scales each to unit power.
    """
    share = np.cumsum([part.weight for part in recipe.parts])
    edges = np.round(count * share / share[-1]).astype(int)
    sizes = np.diff(edges, prepend=0)
    blocks: list[np.ndarray] = []
    labels: list[dict[str, np.ndarray]] = []
    for number, size in enumerate(sizes):
        source = _source(recipe, sources, number)
        step = int(np.clip(MEMORY_BYTES // bytes_per_drop(recipe.geometry), 1, 400))
        seed = derive_wide(recipe.seed, "dataset", split, number, index)
        for start in range(0, size, step):
            drops = min(step, size - start)
            blocks.append(source.sample(drops, seed=seed, first=start)[:, 0])
            known = {key: value[:, 0] for key, value in source.labels(drops, seed=seed, first=start).items()}
            labels.append({**known, "part": np.full(drops, number, np.uint8)})
    order = np.random.default_rng(derive(recipe.seed, "shuffle", split, index)).permutation(count)
    common = [key for key in labels[0] if all(key in each for each in labels)]
    merged = {key: np.concatenate([each[key] for each in labels])[order] for key in common}
    h = np.concatenate(blocks)
    return (unit_power(h, num_lead=1) if scale is None else h * np.float32(scale))[order], merged
