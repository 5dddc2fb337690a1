"""Recipe and channel stores to the weights of a prediction network with a model card, ready for the link."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cards import channel_facts, data_facts, training_facts
from benchmarks.claim import claimed, training_inputs
from benchmarks.data_sets import is_data_set
from benchmarks.intervals import half_width_of
from benchmarks.saved import save_figure
from receivers.training.prediction_recipe import PredictionRecipe
from receivers.weights.folder import save_weights
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.units import lin_to_db
from simulator.data.store import ChannelStore, sha256, write_json


def train_prediction(
    recipe: PredictionRecipe,
    stores: Sequence[ChannelStore],
    folder: Path,
    progress: Any = print,
    unseen: Sequence[ChannelStore] = (),
) -> dict[str, Any]:
    """Train (or finish training) and write weights, learning curve and model card into ``folder``.

    Validation samples choose the epoch; test samples, those of ``unseen`` data sets too, are used once, for the card.

    Raises:
        ConfigError: the stores are not the data sets that the recipe names.
        StoreError: ``folder`` holds another run.
    """
    require_stores(recipe.datasets, stores)
    with claimed(folder, training_inputs(recipe, dict(zip(recipe.datasets, stores, strict=True)))):
        return _train(recipe, stores, folder, progress, unseen)


def _train(
    recipe: PredictionRecipe,
    stores: Sequence[ChannelStore],
    folder: Path,
    progress: Any,
    unseen: Sequence[ChannelStore],
) -> dict[str, Any]:
    from receivers.training.fit_prediction import fit_prediction, known_entries

    trained, history = fit_prediction(recipe, stores, folder, progress)
    # A fresh network: the trained one would save its optimiser along.
    network = registry.build("prediction_models", recipe.model.name, **trained.get_config())
    network.set_weights(trained.get_weights())
    save_weights(network, folder / "model.weights.h5")
    save_figure(learning_curve(history["epochs"], recipe.name), folder / "learning_curve.png", dpi=120)
    slots = [store.layout.num_slots for store in stores]
    card = {
        "name": recipe.name,
        "task": "prediction",
        "description": " ".join((recipe.description or "channel prediction, see recipe").split()),
        "model": {"name": recipe.model.name, "params": network.get_config()},
        "parameters": network.count_params(),
        "history_slots": network.num_history,
        "max_history_slots": max(known_entries(n) for n in slots),
        "horizon_slots": max(n - known_entries(n) for n in slots),
        "weights": {"file": "model.weights.h5", "sha256": sha256(folder / "model.weights.h5")},
        "recipe": recipe.model_dump(mode="json"),
        "channels": channel_facts(stores),
        "datasets": data_facts(stores),
        "training": training_facts(history),
        "test": test_scores(network, recipe, [*stores, *unseen]),
    }
    write_json(folder / "card.json", card)
    return card


def require_stores(names: Sequence[str], stores: Sequence[ChannelStore]) -> None:
    """ConfigError unless the stores are the data sets of these names, in order."""
    if len(names) != len(stores) or not all(map(is_data_set, stores, names)):
        raise ConfigError("--store", [store.name for store in stores], f"stores of {', '.join(names)}")


def test_scores(network: Any, recipe: PredictionRecipe, stores: Sequence[ChannelStore]) -> dict[str, Any]:
    """NMSE of the unknown half of every test sample by data set and task: mean, 95 % half-width [dB], samples."""
    from receivers.training.fit_prediction import prediction_nmse, split_samples

    tasks = [task for task in ("time", "frequency") if task in recipe.tasks] or ["time", "frequency"]
    scores: dict[str, Any] = {"metric": "nmse of the unknown half", "by_data_set": {}}
    for store in stores:
        x = split_samples(store, "test")
        scores["by_data_set"][store.name] = {task: score(prediction_nmse(network, x, task)) for task in tasks}
    return scores


def score(ratio: np.ndarray) -> dict[str, float]:
    """Mean of per-sample ratios in dB, its 95 % half-width [dB], number of samples."""
    mean, half = float(np.mean(ratio)), half_width_of(ratio)
    return {
        "nmse_db": round(lin_to_db(mean), 3),
        "ci95": round(10 / np.log(10) * half / mean, 3),
        "num_samples": len(ratio),
    }


def learning_curve(epochs: list[dict[str, float]], name: str) -> Any:
    """Validation NMSE of every task, or of the one there is, over epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axis, scored = figure.add_subplot(), [(i, e) for i, e in enumerate(epochs, 1) if "val_loss" in e]
    tasks = [key for key in ("val_time", "val_frequency") if key in scored[0][1]]
    for key in tasks or ["val_loss"]:
        axis.plot(
            [i for i, _ in scored],
            lin_to_db([e[key] for _, e in scored]),
            marker="o",
            ms=3,
            label=key.replace("val_", ""),
        )
    axis.set(xlabel="epoch", ylabel="validation NMSE [dB]", title=f"Learning curve of {name}")
    axis.grid(alpha=0.3)
    if tasks:
        axis.legend()
    return figure
