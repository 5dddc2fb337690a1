"""Task ``estimator``: corrections of LMMSE estimates of CSI-RS pilots, for the network of ``csi_rs_learned``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from receivers.estimation.learned import lmmse_matrices, to_bins
from receivers.estimation.pilot_covariance import apply_matrices, pilot_covariance
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
# Drops that are drawn at once, and that the network takes at once.
_BLOCK, _FORWARD = 200, 16


class EstimationModelSection(TrainingSection):
    """Network by name, with its constructor arguments.

    Args:
        name: network of the estimator.
        params: arguments of its constructor.
    """

    name: str = "delay_beam_denoiser"
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
    """One training of a network that corrects LMMSE estimates of the pilots of a CSI-RS.

    Channels are drawn when the training begins, for the largest panel. A step has ``batch_size`` drops at an SNR each,
    of one of the ``panels``, one of the ``lengths``, which start anywhere in the band, and 1 to ``num_rx_ant`` antennas
    per polarisation.

    Args:
        task: this one.
        model: network.
        channels: channel sections of a scenario by name; drops are taken from all alike.
        carrier_hz: carrier frequency [Hz].
        panels: (columns, rows) of the panels.
        num_pol: polarisations of a panel.
        num_rx_ant: antennas of a UE.
        ue_num_pol: their polarisations.
        num_pilots: pilots across the band.
        subcarriers_per_pilot: distance of two of them [subcarrier].
        spacing_hz: distance of two of them [Hz].
        splits: drops of each channel.
        snr_db: range of the SNR of a drop [dB].
        lengths: pilots of a step.
    """

    task: Literal["estimator"]
    model: EstimationModelSection = EstimationModelSection()
    channels: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    carrier_hz: PositiveFloat = 3.5e9
    panels: Annotated[tuple[tuple[Count, Count], ...], Field(min_length=1)] = ((8, 2), (4, 1), (1, 1))
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
            Panel(*map(max, zip(*self.panels, strict=True)), self.num_pol),
            1,
            self.num_rx_ant,
            self.num_pilots,
            self.spacing_hz,
            ue_num_pol=self.ue_num_pol,
            subcarriers_per_sample=self.subcarriers_per_pilot,
        )


class EstimatorTask(Task):
    """Network on LMMSE of pilots in white noise; the epoch with the lowest error over that of LMMSE."""

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
        """Fresh network on panels, bands and antennas of any number."""
        import keras

        from receivers.models.checked import build_checked

        keras.utils.set_random_seed(self.recipe.seed)
        section = self.recipe.model
        self.network = build_checked("model.params", registry.load("estimation_models", section.name), section.params)
        bins = [keras.Input((None, None, None, None, 2)) for _ in range(2)]
        return keras.Model(bins, self.network(*bins))

    @property
    def num_steps(self) -> int:
        """Whole batches of the training drops."""
        return len(self.train) // self.recipe.batch_size

    def compile(self, model: keras.Model, stage: StageSection) -> None:
        """Mean squared error, over that of LMMSE by weights of samples."""
        optimizer = self.optimizer(stage)
        model.compile(optimizer, loss=loss)
        optimizer.build(model.trainable_variables)

    def batches(self, epoch: int) -> Iterator[tuple[Any, ...]]:
        """Bins of LMMSE and of what it removed; its error; its mean square, inverted."""
        recipe, size = self.recipe, self.batch_size(epoch)
        steps = self.steps(size)
        rng = np.random.default_rng([recipe.seed, epoch])
        order = rng.permutation(len(self.train))[: steps * size]
        for index in np.split(order, steps):
            panel = rng.choice(recipe.panels)
            length, antennas = rng.choice(recipe.lengths), rng.integers(1, recipe.num_rx_ant + 1)
            first = rng.integers(recipe.num_pilots - length + 1)
            h = self.crop(self.train[index], panel)[:, :, :antennas, ..., first : first + length]
            *x, missed = self.example(h, panel, rng, rng.uniform(*recipe.snr_db, len(h)))
            yield x, missed, 1 / np.mean(np.square(missed), axis=(1, 2, 3, 4, 5)) / 2

    def crop(self, h: np.ndarray, panel: Sequence[int]) -> np.ndarray:
        """Ports of the first columns and rows."""
        whole = self.recipe.geometry.panel
        x = h.reshape(*h.shape[:3], whole.num_pol, whole.n1, whole.n2, *h.shape[4:])
        x = x[:, :, :, :, : panel[0], : panel[1]]
        return x.reshape(*h.shape[:3], -1, *h.shape[4:])

    def example(
        self, h: np.ndarray, panel: Sequence[int], rng: np.random.Generator, snr_db: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs of the network, and what is to be added to the first of them, of channels at an SNR each."""
        var = db_to_lin(-snr_db).astype(np.float32)[:, None, None]
        n = rng.standard_normal((*h.shape, 2), np.float32).view(np.complex64)[..., 0] * np.float32(np.sqrt(0.5))
        ports = Panel(*map(int, panel), self.recipe.num_pol)
        z = h + np.sqrt(var)[:, :, None, None, :, None] * n
        kept = apply_matrices(z, lmmse_matrices(pilot_covariance(z, var)[1], var))
        given, removed, wanted = (to_bins(x, var, ports) for x in (kept, z - kept, h))
        return given, removed, wanted - given

    def residuals(self, network: Any, h: np.ndarray, snr_db: float, seed: int = 1) -> np.ndarray:
        """Error of the pilots of each drop over that of least squares, float64 ``[network or LMMSE, panel, drop]``."""
        from keras import ops

        found = []
        for panel in self.recipe.panels:
            rng = np.random.default_rng(seed)
            *x, missed = self.example(self.crop(h, panel), panel, rng, np.full(len(h), snr_db))
            starts = range(0, len(h), _FORWARD)
            change = [ops.convert_to_numpy(network(*(part[i : i + _FORWARD] for part in x))) for i in starts]
            found.append(
                [_power(e).reshape(len(h), -1).mean(axis=1) for e in (np.concatenate(change) - missed, missed)]
            )
        return np.swapaxes(found, 0, 1)

    def validate(self, model: keras.Model) -> dict[str, float]:
        """Error over that of LMMSE, geometric mean over panels and SNRs."""
        errors = [self.residuals(self.network, self.val, snr_db).mean(axis=2) for snr_db in SCORED_DB]
        return {"val_loss": float(np.exp(np.mean([np.log(network / lmmse) for network, lmmse in errors])))}

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
        """Error by channel, panel and SNR, of the network and of LMMSE."""
        by_channel: dict[str, dict[str, float]] = {}
        lmmse: dict[str, dict[str, float]] = {}
        for name, h in self.draw("test").items():
            for snr_db in SCORED_DB:
                means = self.residuals(self.network, h, snr_db).mean(axis=2)
                for table, row in zip((by_channel, lmmse), means, strict=True):
                    for (n1, n2), value in zip(self.recipe.panels, row, strict=True):
                        table.setdefault(f"{name}, {n1}x{n2}", {})[f"{snr_db:g} dB"] = round(float(value), 4)
        return {
            "metric": "error of the pilots over that of least squares",
            "num_samples": self.recipe.splits.test,
            "by_channel": by_channel,
            "lmmse": lmmse,
        }

    def test_samples(self, model: keras.Model, folder: Path) -> Samples:
        """Error of every drop over that of least squares, mean over panels and SNRs."""
        sets = self.draw("test").values()
        errors = [
            np.mean([self.residuals(self.network, h, snr_db)[0] for snr_db in SCORED_DB], axis=(0, 1)) for h in sets
        ]
        return Samples(np.concatenate(errors), "residual_db", digits=4)


def loss(y: Any, y_hat: Any) -> Any:
    """Squared error of complex entries, mean of each sample."""
    from keras import ops

    return 2 * ops.mean((y - y_hat) ** 2, axis=(1, 2, 3, 4, 5))


def _power(x: np.ndarray) -> np.ndarray:
    """Squared magnitude of complex numbers as pairs."""
    return np.sum(np.square(x, dtype=np.float64), axis=-1)
