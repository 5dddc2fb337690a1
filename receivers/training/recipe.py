"""What a training run is: model, quantisers in the loop, optimiser, data geometry. No Keras here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.params import Count, Integer, PositiveFloat, Real, config_error


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _known(field: str, kind: str, name: str) -> None:
    if name not in registry.names(kind):
        raise ConfigError(field, name, ", ".join(registry.names(kind)))


class ModelSection(_Section):
    """Architecture by name, with its constructor arguments."""

    name: str
    params: dict[str, Any] = {}

    @model_validator(mode="after")
    def _known(self) -> ModelSection:
        _known("model.name", "models", self.name)
        return self


class QuantizerSection(_Section):
    """Quantiser in the training loop; every batch is divided evenly over ``bits`` and one unquantised share."""

    name: str = "mu_law"
    bits: Annotated[tuple[Annotated[Integer, Field(ge=1, le=16)], ...], Field(min_length=1)] = (2, 4, 6)

    @model_validator(mode="after")
    def _known(self) -> QuantizerSection:
        _known("quantizer.name", "quantizers", self.name)
        return self


class TrainingRecipe(_Section):
    """One training run.

    ``init: pca`` starts encoder and decoder at the linear code of the same size, so that training begins where PCA
    ends. Training images that need more than ``memory_gib`` are streamed from the store. The learning rate warms up
    linearly for ``warmup_epochs`` and falls to zero along a cosine.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
    description: str = ""
    seed: Annotated[Integer, Field(ge=0, lt=2**31)] = 1
    dataset: str
    model: ModelSection
    num_delays: Count = 32
    quantizer: QuantizerSection | None = None
    init: Annotated[str, Field(pattern="^(random|pca)$")] = "random"
    epochs: Count = 40
    batch_size: Count = 200
    learning_rate: PositiveFloat = 2e-3
    warmup_epochs: Annotated[Real, Field(ge=0, allow_inf_nan=False)] = 1.0
    weight_decay: Annotated[Real, Field(ge=0, allow_inf_nan=False)] = 1e-4
    clipnorm: PositiveFloat = 1.0
    patience: Count = 8
    max_samples: Count | None = None
    memory_gib: PositiveFloat = 6.0


def parse_training(data: dict[str, Any]) -> TrainingRecipe:
    """Plain data to a validated recipe; the first problem as a ConfigError that names the field."""
    try:
        return TrainingRecipe(**data)
    except ValidationError as error:
        raise config_error(error) from None
