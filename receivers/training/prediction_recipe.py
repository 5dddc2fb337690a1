"""What the training of a prediction network is. No Keras here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from receivers.training.recipe import Finite, NonNegative, TrainingSection, known_plugin
from simulator.core.errors import ConfigError
from simulator.core.params import Count, Integer, PositiveFloat, config_error

Task = Literal["random", "time", "frequency"]
Term = Literal["attention", "embedding", "hidden"]


class NetworkSection(TrainingSection):
    """Prediction network by name, with its constructor arguments."""

    name: str
    params: dict[str, Any] = {}

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        known_plugin("model.name", "prediction_models", name)
        return name


class TeacherSection(TrainingSection):
    """Frozen teacher (zoo name or folder of weights) and what is learned from it, see ``training/mcakd.py``."""

    teacher: str
    kind: Literal["mcakd", "lmkd"] = "mcakd"
    weight: PositiveFloat = 1.0
    terms: Annotated[tuple[Term, ...], Field(min_length=1)] = ("attention", "embedding", "hidden")
    selection: Literal["ca_ks", "linear"] = "ca_ks"
    scope: Literal["sample", "batch"] = "sample"
    autonomous: Annotated[Integer, Field(ge=0)] = 4
    passive: Count = 1


class PredictionRecipe(TrainingSection):
    """One training run over several data sets; a batch has the samples of one of them.

    Masked networks (wifo) train on ``tasks``; with ``rotate`` every step has one of them, in turn. The others learn one
    task, "time" or "frequency": the second half from the first. ``noise_snr_db`` adds noise to what is both input and
    target of a masked network, as the released WiFo does; of the others, which treat antennas alike, every step trains
    on ``antennas`` random ones of a sample. Channels are read from the stores as they are needed.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
    description: str = ""
    seed: Annotated[Integer, Field(ge=0, lt=2**31)] = 1
    datasets: Annotated[tuple[str, ...], Field(min_length=1)]
    model: NetworkSection
    tasks: Annotated[tuple[Task, ...], Field(min_length=1)] = ("random", "time", "frequency")
    rotate: bool = False
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.85
    distill: TeacherSection | None = None
    noise_snr_db: Finite | None = None
    antennas: Count | None = None
    epochs: Count = 40
    batch_size: Count = 128
    learning_rate: PositiveFloat = 5e-4
    warmup_epochs: NonNegative = 1.0
    weight_decay: NonNegative = 0.05
    clipnorm: PositiveFloat = 1.0
    max_samples: Count | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> PredictionRecipe:
        if len(set(self.datasets)) < len(self.datasets):
            raise ConfigError("datasets", list(self.datasets), "each data set once")
        if self.model.name != "wifo":
            if len(self.tasks) != 1 or self.tasks[0] == "random":
                raise ConfigError("tasks", list(self.tasks), f"[time] or [frequency] with {self.model.name}")
            if self.distill is not None or self.noise_snr_db is not None:
                raise ConfigError("distill, noise_snr_db", "given", f"none with {self.model.name}")
        elif self.antennas is not None:
            raise ConfigError("antennas", self.antennas, "none with wifo, which looks at all of them together")
        return self


def parse_prediction(data: dict[str, Any]) -> PredictionRecipe:
    """Plain data to a validated recipe; the first problem as a ConfigError that names the field."""
    try:
        return PredictionRecipe(**data)
    except ValidationError as error:
        raise config_error(error) from None
