"""One training of a paper: recipe and stores to a folder of weights, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.claim import claimed, training_inputs
from simulator.core import registry
from simulator.core.readers import read_json
from simulator.data.store import ChannelStore


@dataclass(frozen=True)
class Training:
    """A network or codebook that a paper needs.

    Args:
        folder: of its weights, relative to the results folder.
        recipe: as plain data.
        data: section of the plan's data for each name that the recipe has for channels, in its order.
        unseen: sections that the weights are tested on, too.
    """

    folder: str
    recipe: dict[str, Any]
    data: dict[str, str]
    unseen: Sequence[str] = ()


def train(
    training: Training, channels: Mapping[str, ChannelStore], out: Path, progress: Callable[[str], Any] = print
) -> None:
    """Train, or finish training, into ``out/<folder>``; a finished folder is only compared with the recipe.

    Raises:
        StoreError: the folder is of another recipe or of other stores.
    """
    folder, stores = out / training.folder, {name: channels[key] for name, key in training.data.items()}
    recipe, make = _parsed(training.recipe, stores, [channels[key] for key in training.unseen])
    if finished(folder):
        with claimed(folder, training_inputs(recipe, stores)):
            return
    make(folder, lambda line: progress(f"{training.folder}: {line}"))


def finished(folder: Path) -> bool:
    """Whether the folder has weights with their test scores (a linear code has no scores of its own)."""
    if not (folder / "card.json").exists():
        return False
    card = read_json(folder / "card.json")
    return "test" in card or "epochs" not in card.get("training", {})


def _parsed(
    data: dict[str, Any], stores: dict[str, ChannelStore], unseen: Sequence[ChannelStore]
) -> tuple[Any, Callable[[Path, Any], Any]]:
    """The recipe as its task reads it, and what trains it into a folder: the only place that knows how."""
    if "environments" in data:
        from benchmarks.codebook import make_codebook
        from receivers.training.codebook_recipe import parse_codebook

        book = parse_codebook(data)
        return book, lambda folder, say: make_codebook(book, stores, folder, say)
    if "dataset" in data:
        from benchmarks.train import train as train_images
        from receivers.training.recipe import parse_training

        recipe = parse_training(data)
        return recipe, lambda folder, say: train_images(recipe, stores[recipe.dataset], folder, say)
    more: Any
    if data["model"]["name"] in registry.names("prediction_models"):
        from benchmarks.train_prediction import train_prediction as over_stores
        from receivers.training.prediction_recipe import parse_prediction as parse
    else:
        from benchmarks.train_wifo_cf import train_wifo_cf as over_stores
        from receivers.training.wifo_cf_recipe import parse_wifo_cf as parse
    more = parse(data)
    return more, lambda folder, say: over_stores(more, list(stores.values()), folder, say, unseen)
