"""The front end of all trainings: recipe and channel stores to a folder with weights and card, ready for the link."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.claim import claimed, training_inputs
from benchmarks.data_sets import is_data_set
from benchmarks.doubling import DECIBEL, doubling_test, write_samples
from benchmarks.fresh import FreshChannels
from benchmarks.intervals import half_width_of
from benchmarks.leaderboard.overlap import check_training
from benchmarks.saved import save_figure
from receivers.training.loop import run
from receivers.training.recipe import Recipe, task_of
from receivers.training.task import Samples, Task
from receivers.weights.card import CARD, write_card
from simulator.core.errors import ConfigError
from simulator.core.readers import read_json
from simulator.core.units import lin_to_db
from simulator.data.store import ChannelStore


def train(
    recipe: Recipe,
    stores: ChannelStore | Sequence[ChannelStore],
    folder: Path,
    progress: Any = print,
    unseen: Sequence[ChannelStore] = (),
    *,
    seconds: float = math.inf,
) -> dict[str, Any]:
    """Train (or finish training) and write weights, learning curve and card into ``folder``.

    The Keras backend is the one that is active. Validation samples choose the epoch; test samples, those of ``unseen``
    data sets too, are used once, for the card. A finished folder of the same inputs is left as it is.

    Args:
        recipe: of any task.
        stores: its data sets, in order; or the one.
        folder: target.
        progress: receives lines.
        unseen: data sets to be scored on alone.
        seconds: wall time of this call, at most [s].

    Returns:
        the card.

    Raises:
        ConfigError: the stores are not the data sets that the recipe names, or do not fit.
        StoreError: ``folder`` holds a training with another recipe, store or start, or another process writes
            there; or a store shares channels with a track of the leaderboard.
        PausedError: after ``seconds``; the same call goes on.
    """
    stores = [stores] if isinstance(stores, ChannelStore) else list(stores)
    names = recipe.data
    if len(names) != len(stores) or not all(map(is_data_set, stores, names.values())):
        wanted = ", ".join(names.values())
        given: Any = [store.name for store in stores]
        raise ConfigError(
            "--store",
            given[0] if len(given) == 1 else given,
            f"a store of the data set {wanted}" if len(names) == 1 else f"stores of {wanted}",
        )
    for store in stores:
        check_training(store)
    task = task_of(recipe.task)(recipe, stores, unseen)
    with ExitStack() as stack:
        if samples := getattr(recipe, "fresh_samples", None):
            task.fresh = stack.enter_context(FreshChannels(stores[0], recipe.seed, samples))
        stack.enter_context(claimed(folder, training_inputs(recipe, dict(zip(names, stores, strict=True)))))
        return _finished(task, folder) or _train(task, folder, progress, seconds)


def train_doubled(
    recipe: Recipe,
    stores: ChannelStore | Sequence[ChannelStore],
    folder: Path,
    progress: Any = print,
    unseen: Sequence[ChannelStore] = (),
    *,
    half: Path | None = None,
    seconds: float = math.inf,
) -> dict[str, Any]:
    """The doubling test: train a recipe, train it with twice the samples seen, compare on the test samples.

    Args:
        recipe: of a task that trains in epochs.
        stores: as of :func:`train`.
        folder: of the weights that saw twice the samples of the recipe.
        progress: receives lines.
        unseen: as of :func:`train`.
        half: folder of the plain recipe, finished or not; default: ``half`` in the folder.
        seconds: wall time of this call, at most [s].

    Returns:
        the card, with its section ``converged``.

    Raises:
        ConfigError: as :func:`train`, or a task without epochs.
        StoreError: as :func:`train`; or a finished half without scores of its test samples.
        PausedError: after ``seconds``; the same call goes on.
    """
    half, full, end = half or folder / "half", recipe.doubled(), time.monotonic() + seconds
    train(recipe, stores, half, progress, unseen, seconds=seconds)
    card = train(full, stores, folder, progress, unseen, seconds=max(end - time.monotonic(), 0.0))
    if "converged" not in card:
        card = write_card(folder, {**card, "converged": doubling_test(half, folder)})
    return card


def _finished(task: Task, folder: Path) -> dict[str, Any] | None:
    """Card of a folder that is done, None of another."""
    card = read_json(folder / CARD) if (folder / CARD).exists() else {}
    scored = type(task).score is not Task.score
    return card if card and ("test" in card or not scored) else None


def _train(task: Task, folder: Path, progress: Any, seconds: float) -> dict[str, Any]:
    model, history = run(task, folder, progress, seconds=seconds)
    if epochs := history.get("epochs"):
        save_figure(_learning_curve(task, epochs), folder / "learning_curve.png", dpi=120)
    card = task.card(model, history, folder)
    scores = summary(task.score(model, folder))
    if (samples := task.test_samples(model, folder)) is not None:
        write_samples(folder, samples)
    return write_card(folder, {**card, "test": scores}) if scores else card


def summary(scores: Any) -> Any:
    """Scores of a task with a mean and its 95 % half-width in place of :class:`~receivers.training.task.Samples`.

    Those under the key "score" go into the section around them.
    """
    if isinstance(scores, Samples):
        return score(scores)
    if not isinstance(scores, dict):
        return scores
    found: dict[str, Any] = {}
    for key, value in scores.items():
        if key == "score":
            found |= summary(value)
        else:
            found[key] = summary(value)
    return found


def score(samples: Samples) -> dict[str, float]:
    """Mean, in dB where the metric says so, and its 95 % half-width; the number of samples where it is asked for."""
    mean, half = float(samples.values.mean()), half_width_of(samples.values, samples.bounds)
    if samples.metric.endswith("_db"):
        mean, half = lin_to_db(mean), DECIBEL * half / mean
    found = {samples.metric: round(mean, samples.digits), "ci95": round(half, samples.digits)}
    return {**found, "num_samples": len(samples.values)} if samples.counted else found


def _learning_curve(task: Task, epochs: list[dict[str, float]]) -> Any:
    """Losses and scores over the epochs that have them, bits on an axis of their own."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axis, scored = figure.add_subplot(), [(i, e) for i, e in enumerate(epochs, 1) if "val_loss" in e]
    count = [i for i, _ in scored]
    keys = [key for key in task.curve if key in scored[0][1]] or ["val_loss"]
    for key in keys:
        values = [e[key] for _, e in scored]
        label = {"loss": "training", "val_loss": "validation"}.get(key, key.removeprefix("val_"))
        axis.plot(count, lin_to_db(values) if task.decibel(key) else values, marker="o", ms=3, label=label)
    unit = "NMSE [dB]" if task.decibel(keys[-1]) else "loss"
    axis.set(xlabel="epoch", ylabel=unit, title=f"Learning curve of {task.recipe.name}")
    axis.grid(alpha=0.3)
    handles = axis.get_lines()
    if "val_bits" in scored[0][1]:
        right = axis.twinx()
        handles += right.plot(count, [e["val_bits"] for _, e in scored], color="0.5", ls="--", label="validation [bit]")
        right.set_ylabel("bits per sample")
    axis.legend(handles=handles)
    return figure
