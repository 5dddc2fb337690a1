"""Task ``prediction``: past channels to future ones, over several data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from receivers.training.recipe import Finite, TrainingSection, known_plugin
from receivers.training.stores import StoresRecipe, StoresTask, split_samples
from receivers.training.task import Samples
from receivers.weights.card import file_entry
from receivers.weights.folder import TrainedPredictor, save_weights
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.params import Count

if TYPE_CHECKING:
    import keras

AXES = {"time": 0, "frequency": 1}
Mask = Literal["random", "time", "frequency"]


class NetworkSection(TrainingSection):
    """Prediction network by name, with its constructor arguments.

    Args:
        name: prediction network.
        params: arguments of its constructor.
    """

    name: str
    params: dict[str, Any] = {}

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        known_plugin("model.name", "prediction_models", name)
        return name


class PredictionRecipe(StoresRecipe):
    """One training run of a prediction network.

    Masked networks (WiFo) train on ``tasks``; with ``rotate`` every step has one of them, in turn. The others learn one
    task, "time" or "frequency": the second half from the first. ``noise_snr_db`` adds noise to what is both input and
    target of a masked network, as the released WiFo does; of the others, which treat antennas alike, every step trains
    on ``antennas`` random ones of a sample.

    Args:
        task: this one.
        model: network.
        tasks: what is hidden: random tokens, the later slots, the higher subcarriers.
        rotate: one task per step, in turn, instead of all.
        mask_ratio: share of hidden tokens of task "random".
        noise_snr_db: SNR of noise on inputs and targets [dB], masked networks only; null: none.
        history_snr_db: range of the SNR of noise on the histories of training samples, the target exact [dB]; not of
            masked networks; null: none.
        antennas: antennas of a sample in a step; null: all, as masked networks must have them.
    """

    task: Literal["prediction"]
    model: NetworkSection
    tasks: Annotated[tuple[Mask, ...], Field(min_length=1)] = ("random", "time", "frequency")
    rotate: bool = False
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.85
    noise_snr_db: Finite | None = None
    history_snr_db: tuple[Finite, Finite] | None = None
    antennas: Count | None = None


class PredictionTask(StoresTask):
    """Predictors of channels: masked networks on masks of time, frequency and random tokens, others on one of them.

    The epoch with the lowest NMSE on the validation samples, mean over data sets and over the tasks "time" and
    "frequency" that the network learns, gives the weights.
    """

    schema = PredictionRecipe
    curve = ("val_time", "val_frequency")

    def __init__(self, recipe: PredictionRecipe, stores: Any = (), unseen: Any = ()):
        super().__init__(recipe, stores, unseen)
        self.network = registry.load("prediction_models", recipe.model.name)
        if self.masked:
            if recipe.antennas is not None:
                raise ConfigError(
                    "antennas", recipe.antennas, "none with a masked network, which looks at all together"
                )
            if recipe.history_snr_db is not None:
                raise ConfigError("history_snr_db", recipe.history_snr_db, "none with a masked network: noise_snr_db")
            return
        if len(recipe.tasks) != 1 or recipe.tasks[0] == "random":
            raise ConfigError("tasks", list(recipe.tasks), f"[time] or [frequency] with {recipe.model.name}")
        if recipe.distill is not None or recipe.noise_snr_db is not None:
            raise ConfigError("distill, noise_snr_db", "given", f"none with {recipe.model.name}")

    @property
    def masked(self) -> bool:
        """Whether the network learns from masks, as its class says."""
        return getattr(self.network, "masked", False)

    def build(self, folder: Path, progress: Callable[[str], None]) -> keras.Model:
        """Fresh network with its loss."""
        import keras

        from receivers.models.checked import build_checked

        keras.utils.set_random_seed(self.recipe.seed)
        return self.training(build_checked("model.params", self.network, self.recipe.model.params))

    def training(self, network: keras.Model) -> keras.Model:
        """The network with its loss: called, it gives that of every sample."""
        recipe = self.recipe
        if not self.masked:
            from receivers.training.supervised import SequenceTraining

            return SequenceTraining(
                network, AXES[recipe.tasks[0]], history_snr_db=recipe.history_snr_db, seed=recipe.seed
            )
        from receivers.training.distillation.mcakd import Mcakd

        return Mcakd(
            network,
            tasks=recipe.tasks,
            rotate=recipe.rotate,
            ratio=recipe.mask_ratio,
            noise_snr_db=recipe.noise_snr_db,
            seed=recipe.seed,
            **self.distillation(lambda weights: TrainedPredictor(weights).model),
        )

    def prepare(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Some antennas, where the recipe says so."""
        antennas = self.recipe.antennas
        if antennas is None or antennas >= x.shape[3]:
            return x
        return x[:, :, :, rng.choice(x.shape[3], antennas, replace=False)]

    @property
    def scored(self) -> list[str]:
        """Tasks that are scored."""
        return [task for task in AXES if task in self.recipe.tasks] or list(AXES)

    def validate(self, model: Any) -> dict[str, float]:
        """NMSE by task, and its mean."""
        samples = [split_samples(store, "val") for store in self.stores]
        scores = {
            f"val_{task}": float(np.mean([prediction_nmse(model.network, x, task).mean() for x in samples]))
            for task in self.scored
        }
        return {**scores, "val_loss": float(np.mean(list(scores.values())))}

    def write(self, model: Any, folder: Path) -> dict[str, Any]:
        """The network."""
        # A fresh network: the trained one would save its optimiser along.
        network = registry.build("prediction_models", self.recipe.model.name, **model.network.get_config())
        network.set_weights(model.network.get_weights())
        save_weights(network, folder / "model.weights.h5")
        slots = [store.layout.num_slots for store in self.stores]
        return {
            "task": "prediction",
            "model": {"name": self.recipe.model.name, "params": network.get_config()},
            "parameters": network.count_params(),
            "history_slots": network.num_history,
            "max_history_slots": max(known_entries(n) for n in slots),
            "horizon_slots": max(n - known_entries(n) for n in slots),
            "weights": file_entry(folder / "model.weights.h5"),
        }

    def score(self, model: Any, folder: Path) -> dict[str, Any]:
        """NMSE of the unknown half of every test sample by data set and task."""
        return prediction_scores(model.network, [*self.stores, *self.unseen], self.scored)

    def test_samples(self, model: Any, folder: Path) -> Samples:
        """NMSE of the unknown half, mean over tasks, samples of all data sets."""
        sets = (split_samples(store, "test") for store in self.stores)
        errors = [np.mean([prediction_nmse(model.network, x, task) for task in self.scored], axis=0) for x in sets]
        return Samples(np.concatenate(errors), digits=4)


def prediction_scores(network: Any, stores: Any, tasks: Any) -> dict[str, Any]:
    """NMSE of the unknown half of every test sample by data set and task."""
    scores: dict[str, Any] = {"metric": "nmse of the unknown half", "by_data_set": {}}
    for store in stores:
        x = split_samples(store, "test")
        scores["by_data_set"][store.name] = {
            task: Samples(prediction_nmse(network, x, task), counted=True) for task in tasks
        }
    return scores


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
    from keras import ops

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
