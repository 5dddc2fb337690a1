"""New stores from old ones: split by user or site, mix by weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.errors import ConfigError
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter

_BLOCK = 2000


def split_store(
    store: ChannelStore, folder: Path, *, shares: Mapping[str, float], by: str = "sample", seed: int = 1
) -> ChannelStore:
    """All samples of a store in new splits; samples that share a label value stay together.

    Groups are shuffled by ``seed`` and dealt out in that order, each to the split that lacks most of its share, so
    that shares are met up to one group.

    Args:
        store: source; its old splits are put together first.
        folder: the new store.
        shares: new split names and their weights.
        by: label kept together (``user``, ``site``, ...), or "sample".
        seed: of the shuffle.

    Raises:
        ConfigError: no such label, or fewer groups than splits.
    """
    origin = [(split, i) for split in store.shards for i in range(store.num_samples(split))]
    if by == "sample":
        groups = np.arange(len(origin))
    else:
        labels = {split: store.labels(split) for split in store.shards}
        if any(by not in known or known[by].ndim != 1 for known in labels.values()):
            raise ConfigError("--by", by, ", ".join(["sample", *(k for k, v in _first(labels).items() if v.ndim == 1)]))
        values = np.concatenate([known[by] for known in labels.values()])
        groups = np.unique(values, return_inverse=True)[1]
    sizes = np.bincount(groups)
    if len(sizes) < len(shares):
        raise ConfigError("--share", f"{len(shares)} splits", f"at most {len(sizes)}, the number of different {by}s")
    wanted = np.array(list(shares.values())) / sum(shares.values()) * len(groups)
    got = np.zeros(len(shares))
    target = np.zeros(len(sizes), int)
    for group in np.random.default_rng(seed).permutation(len(sizes)):
        target[group] = np.argmax((wanted - got) / wanted)
        got[target[group]] += sizes[group]
    if (got == 0).any():
        raise ConfigError("--share", dict(shares), f"shares that give every split at least one {by}")
    offsets = np.cumsum([0] + [store.num_samples(split) for split in store.shards])
    description = {"split_of": _identity(store), "by": by, "shares": dict(shares), "seed": seed}
    kept = {key: store.origin[key] for key in ("parts", "truncation") if key in store.origin}
    with StoreWriter(folder, store.layout, name=folder.absolute().name) as writer:
        for number, (name, first) in enumerate(zip(store.shards, offsets, strict=False)):
            size = offsets[number + 1] - first
            home = target[groups[first : first + size]]
            for piece in store.slices(name, _BLOCK):
                h, labels = store.read_slice(name, piece)
                start = sum(s["num_samples"] for s in store.shards[name][: piece[0]]) + piece[1]
                for index, new in enumerate(shares):
                    pick = home[start : start + len(h)] == index
                    if pick.any():
                        writer.add(new, h[pick], {key: value[pick] for key, value in labels.items()})
        writer.finish({**kept, **description})
    return ChannelStore(folder, verify=False)


def mix_stores(stores: Sequence[tuple[ChannelStore, float]], folder: Path, *, seed: int = 1) -> ChannelStore:
    """Samples of several stores in the given proportions, split by split, shuffled.

    As many samples as the weights allow are taken, each at most once; which ones is drawn by ``seed``.

    Args:
        stores: stores of one layout with the same split names, and their weights.
        folder: the new store. Label ``part`` is the index of the source; labels that all sources know are kept.
        seed: of choice and order.

    Raises:
        ConfigError: layouts or splits differ.
    """
    first = stores[0][0]
    for store, _ in stores[1:]:
        first.layout.require_equal(store.layout, str(store.folder))
        if set(store.shards) != set(first.shards):
            raise ConfigError(str(store.folder), ", ".join(store.shards), f"splits {', '.join(first.shards)}")
    weights = np.array([weight for _, weight in stores])
    sources = [{**_identity(store), "weight": weight} for store, weight in stores]
    with StoreWriter(folder, first.layout, name=folder.absolute().name) as writer:
        for number, split in enumerate(first.shards):
            rng = np.random.default_rng([seed, number])
            count = [store.num_samples(split) for store, _ in stores]
            take = np.floor(weights * np.min(np.array(count) / weights) + 1e-9).astype(int)
            if (take == 0).any():
                raise ConfigError("STORE", list(weights), f"weights that leave a sample of each in split {split}")
            part = rng.permutation(np.repeat(np.arange(len(stores)), take))
            chosen = [rng.choice(n, size, replace=False) for n, size in zip(count, take, strict=True)]
            used = np.zeros(len(stores), int)
            known = [store.labels(split) for store, _ in stores]
            common = [k for k in known[0] if k != "part" and all(k in each for each in known)]
            for start in range(0, len(part), _BLOCK):
                which = part[start : start + _BLOCK]
                h = np.empty((len(which), *first.layout.entry_shape), np.complex64)
                labels: dict[str, Any] = {
                    k: np.empty((len(which), *known[0][k].shape[1:]), known[0][k].dtype) for k in common
                }
                for i, (store, _) in enumerate(stores):
                    rows = chosen[i][used[i] : used[i] + np.sum(which == i)]
                    used[i] += len(rows)
                    h[which == i] = store.take(split, rows)
                    for key in common:
                        labels[key][which == i] = known[i][key][rows]
                writer.add(split, h, {**labels, "part": which.astype(np.uint8)})
        writer.finish({"mix_of": sources, "parts": [store.name for store, _ in stores], "seed": seed})
    return ChannelStore(folder, verify=False)


def _identity(store: ChannelStore) -> dict[str, Any]:
    return {"name": store.name, "sha256": store.hash, "origin": store.origin}


def _first(labels: Mapping[str, Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    return next(iter(labels.values()))
