"""Recipe of the training of a prediction network. No Keras here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from receivers.training.recipe import Finite, TrainingSection, known_plugin
from receivers.training.stores_recipe import StoresRecipe
from simulator.core.errors import ConfigError
from simulator.core.params import Count, parsed

Task = Literal["random", "time", "frequency"]


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

    Masked networks (wifo) train on ``tasks``; with ``rotate`` every step has one of them, in turn. The others learn one
    task, "time" or "frequency": the second half from the first. ``noise_snr_db`` adds noise to what is both input and
    target of a masked network, as the released WiFo does; of the others, which treat antennas alike, every step trains
    on ``antennas`` random ones of a sample.

    Args:
        model: network.
        tasks: what is hidden: random tokens, the later slots, the higher subcarriers.
        rotate: one task per step, in turn, instead of all.
        mask_ratio: share of hidden tokens of task "random".
        noise_snr_db: SNR of noise on inputs and targets [dB], wifo only; null: none.
        antennas: antennas of a sample in a step, not with wifo; null: all.
    """

    model: NetworkSection
    tasks: Annotated[tuple[Task, ...], Field(min_length=1)] = ("random", "time", "frequency")
    rotate: bool = False
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.85
    noise_snr_db: Finite | None = None
    antennas: Count | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> PredictionRecipe:
        if self.model.name != "wifo":
            if len(self.tasks) != 1 or self.tasks[0] == "random":
                raise ConfigError("tasks", list(self.tasks), f"[time] or [frequency] with {self.model.name}")
            if self.distill is not None or self.noise_snr_db is not None:
                raise ConfigError("distill, noise_snr_db", "given", f"none with {self.model.name}")
        elif self.antennas is not None:
            raise ConfigError("antennas", self.antennas, "none with wifo, which looks at all of them together")
        return self


def parse_prediction(data: dict[str, Any]) -> PredictionRecipe:
    """Plain data to a validated recipe; all problems as one ConfigError that names the fields."""
    return parsed(PredictionRecipe, data)
