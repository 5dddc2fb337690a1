"""One training of a paper: recipe and stores to a folder of weights, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.train import train as train_recipe
from receivers.training.recipe import parse_training
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
    unseen = [channels[key] for key in training.unseen]
    train_recipe(
        parse_training(training.recipe),
        list(stores.values()),
        folder,
        lambda line: progress(f"{training.folder}: {line}"),
        unseen,
    )
