"""Training of prediction networks, and their error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from receivers.models.checked import build_checked
from receivers.models.history import to_history
from receivers.training.distillation.mcakd import Mcakd
from receivers.training.fit_stores import fit_stores
from receivers.training.prediction_recipe import PredictionRecipe
from receivers.training.supervised import SequenceTraining
from receivers.weights.folder import TrainedPredictor
from simulator.core import registry
from simulator.data.store import ChannelStore

AXES = {"time": 0, "frequency": 1}


def build_network(recipe: PredictionRecipe) -> keras.Model:
    """Fresh network of a recipe."""
    keras.utils.set_random_seed(recipe.seed)
    return build_checked("model.params", registry.load("prediction_models", recipe.model.name), recipe.model.params)


def build_training(recipe: PredictionRecipe, network: keras.Model) -> keras.Model:
    """The network with its loss: called, it gives that of every sample."""
    if recipe.model.name != "wifo":
        return SequenceTraining(network, AXES[recipe.tasks[0]])
    options: dict[str, Any] = {"kind": "none"}
    if recipe.distill is not None:
        options = recipe.distill.model_dump(exclude={"teacher"})
        options["teacher"] = TrainedPredictor(recipe.distill.teacher).model
    return Mcakd(
        network,
        tasks=recipe.tasks,
        rotate=recipe.rotate,
        ratio=recipe.mask_ratio,
        noise_snr_db=recipe.noise_snr_db,
        seed=recipe.seed,
        **options,
    )


def fit_prediction(
    recipe: PredictionRecipe,
    stores: Sequence[ChannelStore],
    folder: Path,
    progress: Callable[[str], None] = print,
) -> tuple[keras.Model, dict[str, Any]]:
    """Train to the end, from the last finished epoch if ``folder`` has one.

    The epoch with the lowest NMSE on the validation samples, mean over data sets and over the tasks "time" and
    "frequency" that the network learns, gives the weights.

    Returns:
        the network with its best weights, and the history.

    Raises:
        StoreError: the folder belongs to another recipe, or training diverged.
    """
    network = build_network(recipe)
    tasks = [task for task in AXES if task in recipe.tasks] or list(AXES)

    def validate() -> dict[str, float]:
        samples = [split_samples(store, "val") for store in stores]
        scores = {
            f"val_{task}": float(np.mean([prediction_nmse(network, x, task).mean() for x in samples])) for task in tasks
        }
        return {**scores, "val_loss": float(np.mean(list(scores.values())))}

    def prepare(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if recipe.antennas is None or recipe.antennas >= x.shape[3]:
            return x
        return x[:, :, :, rng.choice(x.shape[3], recipe.antennas, replace=False)]

    def build() -> keras.Model:
        return build_training(recipe, network)

    _, state = fit_stores(recipe, stores, folder, build, validate, prepare, progress)
    return network, state


def prediction_nmse(network: keras.Model, x: np.ndarray, task: str, seen: np.ndarray | None = None) -> np.ndarray:
    r"""Per-sample :math:`\sum |h - \hat h|^2 / \sum |h|^2` over the second half, predicted from the first.

    Halves are those of the masks: whole tokens of four slots or subcarriers, of an odd number the larger half unknown.

    Args:
        network: with ``forecast``.
        x: channels float32 ``[sample, slot, subcarrier, antenna, 2]``.
        task: "time" or "frequency".
        seen: channels that the network sees, same shape (estimates); None: the true channels.

    Returns:
        float64 ``[sample]``.
    """
    axis = AXES[task]
    history, future = halves(x if seen is None else seen, axis)[0], halves(x, axis)[1]
    errors = []
    for start in range(0, len(x), 256):
        part = slice(start, start + 256)
        predicted = ops.convert_to_numpy(network.forecast(history[part], future.shape[1 + axis], axis))
        error = np.sum(np.square(predicted - future[part], dtype=np.float64), axis=(1, 2, 3, 4))
        errors.append(error / np.maximum(np.sum(np.square(future[part], dtype=np.float64), axis=(1, 2, 3, 4)), 1e-30))
    return np.concatenate(errors)


def halves(x: np.ndarray, axis: int, step: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Known and unknown entries along slots (0) or subcarriers (1)."""
    known = known_entries(x.shape[1 + axis], step)
    return tuple(np.split(x, [known], axis=1 + axis))


def known_entries(size: int, step: int = 4) -> int:
    """Entries of an axis that are known when the last half of its tokens is hidden (of an odd number the larger)."""
    return -(-size // step) // 2 * step


def split_samples(store: ChannelStore, split: str) -> np.ndarray:
    """All samples of a split, float32 ``[sample, slot, subcarrier, antenna, 2]``."""
    return np.concatenate([to_history(h) for h, _ in store.read(split)])
