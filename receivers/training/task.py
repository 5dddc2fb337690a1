"""What a kind of training is: base of the plug-ins of ``csilink.tasks``. No Keras here."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from receivers.training.recipe import Recipe, StageSection
from receivers.weights.card import write_card
from simulator.core.content import own_version
from simulator.core.onednn import onednn_is_on
from simulator.data.channel_version import channel_version
from simulator.data.store import ChannelStore


@dataclass(frozen=True)
class Samples:
    """Scores of single samples, of which a card states mean and 95 % half-width.

    Args:
        values: float64 ``[sample]``.
        metric: name in the card; values of a name that ends in ``_db`` are ratios, whose mean is stated in dB.
        bounds: smallest and largest possible value.
        digits: of the card.
        counted: the number of samples is stated, too.
    """

    values: np.ndarray
    metric: str = "nmse_db"
    bounds: tuple[float, float] = (math.nan, math.nan)
    digits: int = 3
    counted: bool = False


class Epoch(NamedTuple):
    """Length of an epoch.

    Args:
        steps: batches.
        samples: samples seen.
    """

    steps: int
    samples: int


class Task(ABC):
    """One kind of training: its recipe, its model, its data, its scores, its card.

    The loop (:func:`receivers.training.loop.run`) calls ``build`` once, ``compile`` at the start of each stage,
    ``set_phase``, ``start_epoch`` and ``batches`` in each epoch and ``validate`` after those that are ``due``; ``card``
    and ``score`` follow. What ``batches`` gives depends on seed and epoch only, and all that learns is a variable of
    the model: then a killed training goes on as if it had never stopped. Data are read when they are first needed.

    Args:
        recipe: of the class ``schema``.
        stores: data sets of ``recipe.data``, in order.
        unseen: more data sets, to be scored on alone.

    Raises:
        ConfigError: recipe and data sets that do not fit.
    """

    schema: ClassVar[type[Recipe]]
    curve: ClassVar[tuple[str, ...]] = ("loss", "val_loss")  # what the learning curve shows, where it is there
    by_batch: ClassVar[bool] = False  # shapes or tasks differ from batch to batch: compiled steps for each
    patience: float = math.inf  # scores without a better one before a stage ends
    fresh: Callable[[int], Iterator[np.ndarray]]  # channels of an epoch that is drawn anew; set by the front end
    validate_every: int = 1  # epochs between two scores; the last epoch of a stage has one, too

    def __init__(self, recipe: Any, stores: Sequence[ChannelStore] = (), unseen: Sequence[ChannelStore] = ()):
        self.recipe, self.stores, self.unseen = recipe, list(stores), list(unseen)

    @property
    def described(self) -> dict[str, Any]:
        """What the checkpoints of a folder belong to."""
        return self.recipe.model_dump(mode="json")

    @property
    def stages(self) -> tuple[StageSection, ...]:
        """Stages of the training; none: ``build`` gives the finished result."""
        recipe = self.recipe
        if stages := getattr(recipe, "stages", ()):
            return stages
        if not getattr(recipe, "epochs", 0):
            return ()
        samples, rate = getattr(recipe, "samples", None), getattr(recipe, "learning_rate", 1.0)
        return (StageSection(epochs=None if samples else recipe.epochs, samples=samples, learning_rate=rate),)

    @cached_property
    def plan(self) -> tuple[tuple[Epoch, ...], ...]:
        """Every epoch, stage by stage; the last one of a stage that counts samples may not be whole."""
        found: list[tuple[Epoch, ...]] = []
        for left in self._samples:
            epochs = []
            while left > 0:
                steps = self.steps(self.batch_size(sum(map(len, found)) + len(epochs)))
                seen = min(left, self.epoch_samples)
                epochs.append(Epoch(-(-seen * steps // self.epoch_samples), seen))
                left -= seen
            found.append(tuple(epochs))
        return tuple(found)

    @property
    def _samples(self) -> list[int]:
        """Samples seen in each stage."""
        return [(stage.epochs or 0) * self.epoch_samples or stage.samples or 0 for stage in self.stages]

    def batch_size(self, epoch: int) -> int:
        """Samples of a step in an epoch, which is counted over all stages from 0."""
        shares = getattr(self.recipe, "batch_growth", ())
        epochs = sum(-(-samples // self.epoch_samples) for samples in self._samples)
        return getattr(self.recipe, "batch_size", 1) * 2 ** sum(epoch >= share * epochs for share in shares)

    def steps(self, batch_size: int) -> int:
        """Batches of a whole epoch, of any size."""
        return self.num_steps * getattr(self.recipe, "batch_size", 1) // batch_size

    def optimizer(self, stage: StageSection) -> Any:
        """Fresh optimiser of the recipe for a stage."""
        from receivers.training.optimizer import build_optimizer

        number = self.stages.index(stage)
        first, steps = sum(map(len, self.plan[:number])), [epoch.steps for epoch in self.plan[number]]
        base = self.recipe.batch_size
        sizes = [self.batch_size(first + index) // base for index in range(len(steps))]
        return build_optimizer(self.recipe, stage.learning_rate, steps, self.num_steps, sizes)

    @abstractmethod
    def build(self, folder: Path, progress: Callable[[str], None]) -> Any:
        """Fresh training model, seeded by the recipe; a task without stages works in ``folder`` and tells progress."""

    def compile(self, model: Any, stage: StageSection) -> None:
        """Optimiser, loss and what learns in a stage; the optimiser is built."""
        raise NotImplementedError

    @property
    def num_steps(self) -> int:
        """Batches of a whole epoch."""
        raise NotImplementedError

    @property
    def epoch_samples(self) -> int:
        """Samples seen in a whole epoch."""
        return self.num_steps * getattr(self.recipe, "batch_size", 1)

    def start_epoch(self, model: Any, epoch: int) -> None:  # noqa: B027 - most have nothing to set
        """Set what changes from epoch to epoch, counted over all stages from 0."""

    def set_phase(self, model: Any, losses: Sequence[float]) -> None:  # noqa: B027 - most have one phase
        """Choose what an epoch trains by the losses of all epochs before it; called as it starts and as it resumes."""

    def due(self, losses: Sequence[float], length: int) -> bool:
        """Whether the epoch that ended last is scored: every ``validate_every``-th of a stage, and its last one.

        Args:
            losses: of all epochs of the stage so far.
            length: epochs of the whole stage.
        """
        return self._falls_due(len(losses), length)

    def _falls_due(self, number: int, length: int) -> bool:
        return number % self.validate_every == 0 or number == length

    def batches(self, epoch: int) -> Iterator[tuple[Any, ...]]:
        """Arguments of ``train_on_batch``, step by step: ``(x,)`` or ``(x, y)``."""
        raise NotImplementedError

    def validate(self, model: Any) -> dict[str, float]:
        """Scores ``val_*`` on validation samples, ``val_loss`` among them, the smaller the better."""
        raise NotImplementedError

    def objective(self, entry: Mapping[str, float]) -> float:
        """What the best epoch of a stage has least of."""
        return entry["val_loss"]

    def decibel(self, key: str) -> bool:
        """Whether a loss or score of the history is a ratio, shown in dB."""
        return key.startswith("val_")

    @abstractmethod
    def write(self, model: Any, folder: Path) -> dict[str, Any]:
        """Write the files of the folder; returns the sections of the card that name and describe them."""

    def score(self, model: Any, folder: Path) -> dict[str, Any]:
        """Section ``test`` of the card; leaves may be :class:`Samples`. ``folder`` has its card by then."""
        return {}

    def test_samples(self, model: Any, folder: Path) -> Samples | None:
        """One score for each test sample, which the doubling test compares; ``folder`` has its card by then."""
        return None

    def data(self) -> dict[str, Any]:
        """Section of the card that names the data sets."""
        return {"datasets": [_facts(store) for store in self.stores]}

    def card(self, model: Any, history: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Files and card of the folder, without scores."""
        description = " ".join((self.recipe.description or f"{self.recipe.task}, see recipe").split())
        card = {
            "name": self.recipe.name,
            "description": description,
            **self.write(model, folder),
            "recipe": self.recipe.model_dump(mode="json"),
            **self.data(),
            "training": training_facts(history),
        }
        if self.stores:
            card["channels"] = "; ".join(dict.fromkeys(channel_version(store.origin) for store in self.stores))
        return write_card(folder, card)


def _facts(store: ChannelStore) -> dict[str, Any]:
    """Name, hash of the recipe and hash of the data."""
    return {"name": store.name, "origin": store.origin.get("recipe_hash"), "store_sha256": store.hash}


def training_facts(history: Mapping[str, Any]) -> dict[str, Any]:
    """Version, backend, machine where it began, number of epochs, samples seen, seconds, learning curve."""
    facts: dict[str, Any] = {"csilink": own_version()}
    if epochs := history.get("epochs"):
        import keras

        facts |= {
            "backend": keras.backend.backend(),
            "machine": history["machine"],
            **({"onednn": onednn_is_on()} if keras.backend.backend() == "tensorflow" else {}),
            "epochs": len(epochs),
            "samples": _seen(epochs, history["plan"]),
            "seconds": round(sum(e["seconds"] for e in epochs)),
            "curve": [{k: round(v, 5) for k, v in e.items()} for e in epochs],
        }
    return facts


def _seen(epochs: Sequence[Mapping[str, float]], plan: Sequence[Sequence[Sequence[int]]]) -> int:
    """Samples seen in these epochs, by :attr:`Task.plan`."""
    done: Counter[int] = Counter(int(epoch["stage"]) for epoch in epochs)
    return sum(samples for stage, count in done.items() for _, samples in plan[stage][:count])
