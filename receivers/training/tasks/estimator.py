"""Task ``estimator``: the noise on CSI-RS pilots, for the network of estimator ``csi_rs_learned``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from receivers.training.recipe import (
    Finite,
    IterativeRecipe,
    NonNegative,
    OptimizerSection,
    StageSection,
    TrainingSection,
    known_plugin,
)
from receivers.training.task import Samples, Task
from receivers.weights.card import file_entry
from receivers.weights.folder import save_weights
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.params import Count, PositiveFloat
from simulator.core.seeding import derive
from simulator.core.types import Panel, RadioGeometry
from simulator.core.units import db_to_lin
from simulator.maths.transforms import unit_power

if TYPE_CHECKING:
    import keras

# SNRs at which the network is scored [dB].
SCORED_DB = (-5.0, 5.0, 15.0, 25.0)
# Drops that are drawn at once.
_BLOCK = 200


class EstimationModelSection(TrainingSection):
    """Network by name, with its constructor arguments.

    Args:
        name: network of the estimator.
        params: arguments of its constructor.
    """

    name: str = "conv_denoiser"
    params: dict[str, Any] = {}

    @model_validator(mode="after")
    def _known(self) -> EstimationModelSection:
        known_plugin("model.name", "estimation_models", self.name)
        return self


class SplitSection(TrainingSection):
    """Drops of each channel.

    Args:
        train: to learn from.
        val: to choose the epoch.
        test: for the card.
    """

    train: Count = 4000
    val: Count = 200
    test: Count = 400


class EstimatorRecipe(IterativeRecipe):
    """One training of a network that estimates the noise on the pilots of a CSI-RS.

    Channels are drawn when the training begins. A step has ``batch_size`` drops at an SNR each; the number of pilots
    alternates between ``lengths``, which start anywhere in the band.

    Args:
        task: this one.
        model: network.
        channels: channel sections of a scenario by name; drops are taken from all alike.
        carrier_hz: carrier frequency [Hz].
        n1: columns of the panel.
        n2: rows of the panel.
        num_pol: polarisations of the panel.
        num_rx_ant: antennas of a UE.
        ue_num_pol: their polarisations.
        num_pilots: pilots across the band.
        subcarriers_per_pilot: distance of two of them [subcarrier].
        spacing_hz: distance of two of them [Hz].
        splits: drops of each channel.
        snr_db: range of the SNR of a drop [dB].
        lengths: pilots of a step, in turn.
    """

    task: Literal["estimator"]
    model: EstimationModelSection = EstimationModelSection()
    channels: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    carrier_hz: PositiveFloat = 3.5e9
    n1: Count = 4
    n2: Count = 1
    num_pol: Count = 2
    num_rx_ant: Count = 2
    ue_num_pol: Count = 2
    num_pilots: Count = 52
    subcarriers_per_pilot: Count = 12
    spacing_hz: PositiveFloat = 360e3
    splits: SplitSection = SplitSection()
    snr_db: tuple[Finite, Finite] = (-10.0, 30.0)
    lengths: Annotated[tuple[Count, ...], Field(min_length=1)] = (52, 26)
    epochs: Count = 8
    batch_size: Count = 32
    learning_rate: PositiveFloat = 3e-3
    warmup_epochs: NonNegative = 0.5
    weight_decay: NonNegative = 0.0
    optimizer: OptimizerSection = OptimizerSection(name="adam")

    @model_validator(mode="after")
    def _fit_together(self) -> EstimatorRecipe:
        if max(self.lengths) > self.num_pilots:
            raise ConfigError("lengths", list(self.lengths), f"1..num_pilots ({self.num_pilots})")
        for name, section in self.channels.items():
            known_plugin(f"channels.{name}.model", "channels", section.get("model", "nothing"))
        return self

    @property
    def geometry(self) -> RadioGeometry:
        """Of the drops."""
        return RadioGeometry(
            self.carrier_hz,
            Panel(self.n1, self.n2, self.num_pol),
            1,
            self.num_rx_ant,
            self.num_pilots,
            self.spacing_hz,
            ue_num_pol=self.ue_num_pol,
            subcarriers_per_sample=self.subcarriers_per_pilot,
        )


class EstimatorTask(Task):
    """Network on least-squares pilots in white noise; the epoch with the lowest error over that of least squares."""

    schema = EstimatorRecipe
    by_batch = True

    @cached_property
    def sources(self) -> dict[str, Any]:
        """Channel sources by name."""
        geometry = self.recipe.geometry
        return {
            name: registry.build("channels", s["model"], geometry, **{k: v for k, v in s.items() if k != "model"})
            for name, s in self.recipe.channels.items()
        }

    def draw(self, split: str) -> dict[str, np.ndarray]:
        """Channels by name, unit power per UE, complex64 ``[drop, user, rx_ant, port, slot, pilot]``."""
        count, seed, sets = getattr(self.recipe.splits, split), self.recipe.seed, {}
        for name, source in self.sources.items():
            blocks = [
                source.sample(min(_BLOCK, count - first), seed=derive(seed, "channel", split, name), first=first)
                for first in range(0, count, _BLOCK)
            ]
            sets[name] = unit_power(np.concatenate(blocks), num_lead=2)
        return sets

    @cached_property
    def train(self) -> np.ndarray:
        """Training drops of all channels."""
        return np.concatenate(list(self.draw("train").values()))

    @cached_property
    def val(self) -> np.ndarray:
        """Validation drops of all channels."""
        return np.concatenate(list(self.draw("val").values()))

    def build(self, folder: Path, progress: Callable[[str], None]) -> keras.Model:
        """Fresh network on sequences of any length."""
        import keras

        from receivers.models.checked import build_checked

        keras.utils.set_random_seed(self.recipe.seed)
        section = self.recipe.model
        self.network = build_checked("model.params", registry.load("estimation_models", section.name), section.params)
        pilots, features = keras.Input((None, 2)), keras.Input((4,))
        return keras.Model([pilots, features], self.network(pilots, features))

    @property
    def num_steps(self) -> int:
        """Whole batches of the training drops."""
        return len(self.train) // self.recipe.batch_size

    def compile(self, model: keras.Model, stage: StageSection) -> None:
        """Mean squared error of the noise."""
        optimizer = self.optimizer(stage)
        model.compile(optimizer, loss="mse")
        optimizer.build(model.trainable_variables)

    def batches(self, epoch: int) -> Iterator[tuple[Any, ...]]:
        """Pilots and facts, and the noise."""
        recipe, size = self.recipe, self.batch_size(epoch)
        steps = self.steps(size)
        rng = np.random.default_rng([recipe.seed, epoch])
        order = rng.permutation(len(self.train))[: steps * size]
        for step, index in enumerate(np.split(order, steps)):
            length = recipe.lengths[step % len(recipe.lengths)]
            first = rng.integers(recipe.num_pilots - length + 1)
            h = self.train[index][..., first : first + length]
            *x, noise = example(h, rng, rng.uniform(*recipe.snr_db, len(h)))
            yield x, noise

    def validate(self, model: keras.Model) -> dict[str, float]:
        """Error over that of least squares, mean over SNRs."""
        return {"val_loss": float(np.mean([residual(self.network, self.val, snr_db) for snr_db in SCORED_DB]))}

    def write(self, model: keras.Model, folder: Path) -> dict[str, Any]:
        """The network."""
        save_weights(self.network, folder / "model.weights.h5")
        corrections = [name for source in self.sources.values() for name in source.corrections]
        return {
            "task": "estimation",
            "model": {"name": self.recipe.model.name, "params": self.network.get_config()},
            "parameters": self.network.count_params(),
            "weights": file_entry(folder / "model.weights.h5"),
            "channels": f"corrected: {', '.join(corrections)}",
        }

    def data(self) -> dict[str, Any]:
        """None: drops are drawn."""
        return {}

    def score(self, model: keras.Model, folder: Path) -> dict[str, Any]:
        """Error by channel and SNR."""
        return {
            "metric": "error of the pilots over that of least squares",
            "num_samples": self.recipe.splits.test,
            "by_channel": {
                name: {f"{s:g} dB": round(residual(self.network, h, s), 4) for s in SCORED_DB}
                for name, h in self.draw("test").items()
            },
        }

    def test_samples(self, model: keras.Model, folder: Path) -> Samples:
        """Error of every drop over that of least squares, mean over SNRs."""
        sets = self.draw("test").values()
        errors = [np.mean([residuals(self.network, h, snr_db) for snr_db in SCORED_DB], axis=0) for h in sets]
        return Samples(np.concatenate(errors), "residual_db", digits=4)


def example(h: np.ndarray, rng: np.random.Generator, snr_db: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pilots, facts and the noise to be estimated, as the network takes them, of channels at an SNR each."""
    from receivers.estimation.learned import facts

    var = db_to_lin(-snr_db).astype(np.float32)[:, None, None]
    n = rng.standard_normal((*h.shape, 2), np.float32).view(np.complex64)[..., 0] * np.float32(np.sqrt(0.5))
    z = h + np.sqrt(var)[:, :, None, None, :, None] * n
    turn, scale, features = facts(z, var)
    pilots = z * (turn / scale[..., None])[:, :, None, None]
    repeated = np.broadcast_to(features[:, :, None, None], (*z.shape[:-1], features.shape[-1]))
    return tuple(_sequences(x) for x in (pilots, repeated, n * turn[:, :, None, None]))  # type: ignore[return-value]


def _sequences(x: np.ndarray) -> np.ndarray:
    if np.iscomplexobj(x):
        x = np.ascontiguousarray(x, np.complex64).view(np.float32).reshape(*x.shape, 2)
        return x.reshape(-1, *x.shape[-2:])
    return x.reshape(-1, x.shape[-1])


def residual(network: Any, h: np.ndarray, snr_db: float, seed: int = 1) -> float:
    """Mean error of the pilots over that of least squares at one SNR."""
    return float(np.mean(residuals(network, h, snr_db, seed)))


def residuals(network: Any, h: np.ndarray, snr_db: float, seed: int = 1) -> np.ndarray:
    """Error of the pilots of each drop over that of least squares at one SNR, ``[drop]``."""
    from keras import ops

    pilots, features, noise = example(h, np.random.default_rng(seed), np.full(len(h), snr_db))
    error = (ops.convert_to_numpy(network(pilots, features)) - noise) ** 2
    return np.mean(error.reshape(len(h), -1), axis=1, dtype=np.float64) * 2
