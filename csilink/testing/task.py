"""What csilink asks of tasks: the kinds of trainings."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from csilink.testing.common import run
from simulator.core.errors import ConfigError
from simulator.data.store import ChannelStore


@dataclass
class _Training:
    recipe: dict[str, Any]
    stores: Sequence[ChannelStore]

    @cached_property
    def cls(self) -> Any:
        from receivers.training.recipe import task_of

        return task_of(self.recipe["task"])

    def task(self) -> Any:
        from receivers.training.recipe import parse_training

        return self.cls(parse_training(self.recipe), self.stores)

    @cached_property
    def place(self) -> Any:
        """A folder that goes when this object goes."""
        return tempfile.TemporaryDirectory()

    def trained(self) -> tuple[Path, dict[str, Any]]:
        """Folder of a training in one go by the front end, made by the first call, and its card."""
        from benchmarks.train import train
        from receivers.training.recipe import parse_training

        folder = Path(self.place.name) / "whole"
        return folder, train(parse_training(self.recipe), self.stores, folder, lambda line: None)


def check_task(recipe: dict[str, Any], stores: Sequence[ChannelStore]) -> None:
    """All checks of a task on one of its recipes: :data:`TASK_CHECKS`.

    Args:
        recipe: as in its YAML file, with ``task`` (name or dotted path), for two epochs of a few steps.
        stores: the small data sets that it names, in order.

    Raises:
        AssertionError: what the task does and must not.
        ConfigError: the recipe or the stores do not fit.

    Example:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from csilink.testing import check_task
        >>> from simulator.core.types import Panel
        >>> from simulator.data.layout import ChannelLayout
        >>> from simulator.data.store import ChannelStore
        >>> from simulator.data.writer import StoreWriter
        >>> layout, rng = ChannelLayout(Panel(4), 8, 360e3), np.random.default_rng(1)
        >>> with StoreWriter(Path("small"), layout, name="small") as writer:
        ...     for split in ("train", "val", "test"):
        ...         writer.add(split, rng.standard_normal((40, *layout.entry_shape)).astype(np.complex64))
        ...     _ = writer.finish({})
        >>> check_task({"task": "klt", "name": "k", "dataset": "small", "num_delays": 4}, [ChannelStore(Path("small"))])
    """
    given = _Training(recipe, stores)
    assert given.cls.__doc__, f"{given.cls.__qualname__} has no docstring"
    run(TASK_CHECKS, given)


def own_recipe(given: _Training, rng: np.random.Generator) -> None:
    """The recipe is a schema of fields ``task``, ``name``, ``seed`` that refuses others and survives its YAML form."""
    from receivers.training.recipe import Recipe, parse_training
    from receivers.training.task import Task

    assert issubclass(given.cls, Task), "it is not derived from Task"
    assert issubclass(given.cls.schema, Recipe), "its schema is not derived from Recipe"
    recipe = parse_training(given.recipe)
    assert parse_training(recipe.model_dump(mode="json")) == recipe, "written and read again it is another recipe"
    try:
        parse_training({**given.recipe, "no_such_field": 1})
    except ConfigError:
        return
    raise AssertionError("an unknown field is taken")


def seeded_batches(given: _Training, rng: np.random.Generator) -> None:
    """Batches depend on seed and epoch alone, differ from epoch to epoch, and are as many as ``num_steps`` says."""
    one, other = given.task(), given.task()
    if not one.stages:
        return
    with tempfile.TemporaryDirectory() as folder:
        for task in (one, other):
            task.build(Path(folder), lambda line: None)
    first, second = _arrays(one, 0), _arrays(one, 1)
    assert len(first) == one.num_steps, f"{len(first)} batches, num_steps {one.num_steps}"
    assert _equal(first, _arrays(other, 0)) and _equal(second, _arrays(other, 1)), "two objects give other batches"
    assert not _equal(first, second), "every epoch has the same batches in the same order"


def resumes(given: _Training, rng: np.random.Generator) -> None:
    """A training that is stopped and goes on ends with the weights of one that was never stopped."""
    from receivers.training.loop import PausedError
    from receivers.training.loop import run as train

    if not given.task().stages:
        return
    with tempfile.TemporaryDirectory() as root:
        for _ in range(2):  # in the first epoch
            try:
                train(given.task(), Path(root), lambda line: None, seconds=0.0)
            except PausedError:
                continue
            raise AssertionError("a limit of time does not stop it")
        train(given.task(), Path(root), lambda line: None)
        parts, whole = _best(Path(root)), _best(given.trained()[0])
    assert parts.keys() == whole.keys(), f"weights of other stages: {[*parts]}, {[*whole]}"
    same = [np.array_equal(parts[key], whole[key]) for key in whole]
    assert all(same), f"{same.count(False)} of {len(same)} arrays of weights differ"


def finishes(given: _Training, rng: np.random.Generator) -> None:
    """The front end writes a folder with a card; a second call changes nothing in it."""
    folder, card = given.trained()
    assert card["name"] == given.recipe["name"], f"the card is of {card['name']!r}"
    files = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    assert folder / "card.json" in files and len(files) > 1, "no card, or nothing but a card"
    assert given.trained()[1] == card, "the second call gives another card"
    assert files == {path: path.read_bytes() for path in files}, "the second call changes files"


def _best(folder: Path) -> dict[str, np.ndarray]:
    """Arrays of the best checkpoints of all stages: weights and what optimisers keep."""
    found = {}
    for path in sorted(folder.glob("best-*.npz")):
        with np.load(path) as data:
            found |= {f"{path.stem} {key}": data[key] for key in data.files}
    assert found, "no best checkpoint"
    return found


def _arrays(task: Any, epoch: int) -> list[list[np.ndarray]]:
    from simulator.core.backend import ops

    return [[np.array(ops.convert_to_numpy(x)) for x in _leaves(batch)] for batch in task.batches(epoch)]


def _leaves(batch: Any) -> list[Any]:
    if isinstance(batch, dict):
        return [leaf for key in sorted(batch) for leaf in _leaves(batch[key])]
    if isinstance(batch, list | tuple):
        return [leaf for part in batch for leaf in _leaves(part)]
    return [] if batch is None else [batch]


def _equal(one: list[list[np.ndarray]], other: list[list[np.ndarray]]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(len(a) == len(b) and all(map(np.array_equal, a, b)) for a, b in pairs)


TASK_CHECKS = (own_recipe, seeded_batches, resumes, finishes)
