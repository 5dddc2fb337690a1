"""Make a codebook from stores: RVQ, coloured RVQ, LBG or a network's; the folder serves the scheme `codebook`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.claim import claimed, training_inputs
from receivers.codebooks.lbg import lbg_codebook
from receivers.codebooks.rvq import coloured_rvq_codebook, rvq_codebook
from receivers.codebooks.stored import CARD, StoredCodebook, write_codebook
from receivers.models.checked import build_checked
from receivers.training.codebook_recipe import CodebookRecipe, NetworkSection
from receivers.training.refine import directions, mean_cosine, refine_codebook
from simulator.core import registry
from simulator.core.content import own_version
from simulator.core.seeding import derive
from simulator.data.channel_version import channel_version
from simulator.data.store import ChannelStore

Progress = Callable[[str], None]


def make_codebook(
    recipe: CodebookRecipe, stores: dict[str, ChannelStore], folder: Path, progress: Progress | None = None
) -> StoredCodebook:
    """Codebooks of all environments and their card, with test scores; a finished folder is returned as it is.

    Training samples make the codebook, validation samples choose among a network's epochs, test samples are used once.
    All methods start at the same RVQ codebook (seeded by recipe, ports and bits).

    Args:
        recipe: of the codebook.
        stores: channel store of each environment, one panel.
        folder: target.
        progress: receives lines.

    Raises:
        StoreError: ``folder`` holds the codebook of another recipe or of other stores, or another process writes there.
    """
    with claimed(folder, training_inputs(recipe, stores)):
        return StoredCodebook(folder) if (folder / CARD).exists() else _write(recipe, stores, folder, progress)


def _write(
    recipe: CodebookRecipe, stores: dict[str, ChannelStore], folder: Path, progress: Progress | None
) -> StoredCodebook:
    """Codebooks and card of a folder that has none."""
    panel = next(iter(stores.values())).layout.panel
    base_seed = derive(recipe.seed, "rvq", panel.num_ports, recipe.bits)
    base = rvq_codebook(panel.num_ports, recipe.bits, base_seed)
    books: dict[str, np.ndarray] = {}
    made_by: dict[str, Any] = {"csilink": own_version(), "recipe": recipe.model_dump(mode="json"), "environments": {}}
    for environment, store in stores.items():
        train, val, test = (center_rows(store, split, recipe.max_samples) for split in ("train", "val", "test"))
        say = None if progress is None else lambda line, e=environment: progress(f"{recipe.name} {e}: {line}")
        start = time.monotonic()
        book, notes = _make(recipe, base, train, val, panel.num_pol, say)
        seconds = round(time.monotonic() - start, 1)
        searched = base if recipe.side == "ss" else book
        cosine = mean_cosine(directions(test), searched, book)
        books[environment] = book
        made_by["environments"][environment] = {
            "store": {"name": store.name, "sha256": store.hash, "channels": channel_version(store.origin)},
            "samples": {"train": len(train), "val": len(val), "test": len(test)},
            "seconds": seconds,
            "cosine_test": round(cosine, 5),
            **notes,
        }
        if progress is not None:
            progress(f"{recipe.name} {environment}: test cosine {cosine:.4f}, {seconds} s")
    base_of_ue = base_seed if recipe.side == "ss" else None
    return write_codebook(folder, recipe.name, panel, books, side=recipe.side, base=base_of_ue, made_by=made_by)


def center_rows(store: ChannelStore, split: str, most: int | None = None) -> np.ndarray:
    """Channel rows complex64 ``[sample, port]``: the first antenna at the centre of the band."""
    rows = []
    for h, _ in store.read(split):
        rows.append(h[:, 0, :, -1, h.shape[-1] // 2])
        if most is not None and sum(map(len, rows)) >= most:
            break
    return np.concatenate(rows)[:most]


def _make(
    recipe: CodebookRecipe, base: np.ndarray, train: np.ndarray, val: np.ndarray, num_pol: int, say: Progress | None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Codebook of one environment and its entry in the card."""
    if recipe.network is not None:
        return _refined(recipe, recipe.network, base, train, val, num_pol, say)
    if recipe.method == "rvq":
        return base, {}
    if recipe.method == "coloured":
        v = directions(train)
        return coloured_rvq_codebook(v.T @ v.conj() / len(v), recipe.bits, derive(recipe.seed, "coloured")), {}
    return lbg_codebook(train, recipe.bits, derive(recipe.seed, "lbg")), {}


def _refined(
    recipe: CodebookRecipe,
    section: NetworkSection,
    base: np.ndarray,
    train: np.ndarray,
    val: np.ndarray,
    num_pol: int,
    say: Progress | None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Codebook of a network and its entry in the card."""
    import keras

    notes: dict[str, Any] = {"pretrained": "random initialisation"}

    def make(seed: int) -> Any:
        keras.utils.set_random_seed(seed)
        network = build_checked(
            "network.params", registry.load("refiners", section.name), section.params, base.shape[1], num_pol
        )
        if section.pretrained is not None:
            from receivers.weights.safetensors import load_backbone

            notes["pretrained"] = load_backbone(network, section.pretrained)
            if section.freeze:
                network.freeze_backbone()
        notes["parameters"] = network.count_params()
        return network

    refined = refine_codebook(make, base, train, val, recipe.refine_schedule(), num_pol, say)
    return refined.codebook, {**notes, "history": refined.history}
