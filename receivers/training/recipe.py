"""Recipes of trainings: what all have, sections, and the one parser. No Keras here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.params import Count, FileName, Integer, PositiveFloat, Probability, Real, parsed

if TYPE_CHECKING:
    from receivers.training.task import Task

NonNegative = Annotated[Real, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[Real, Field(allow_inf_nan=False)]


class TrainingSection(BaseModel):
    """Frozen section of a recipe; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Recipe(TrainingSection):
    """What the recipes of all tasks have.

    Args:
        task: kind of training.
        name: of the weights.
        description: free text.
        seed: of all that is random.
    """

    task: str
    name: FileName
    description: str = ""
    seed: Annotated[Integer, Field(ge=0, lt=2**31)] = 1

    @property
    def data(self) -> dict[str, str]:
        """Data sets, each a name or a path, by what the inputs of a folder call them."""
        return {}

    def doubled(self) -> Recipe:
        """This recipe with twice the samples seen: twice the epochs, of every stage, and of patience.

        Raises:
            ConfigError: a task without epochs.
        """
        numbers = [key for key in ("epochs", "patience") if key in type(self).model_fields]
        if "epochs" not in numbers:
            raise ConfigError("--double", self.task, "a task that trains in epochs")
        update: dict[str, Any] = {key: 2 * getattr(self, key) for key in numbers}
        if stages := getattr(self, "stages", ()):
            update["stages"] = tuple(stage.model_copy(update={"epochs": 2 * stage.epochs}) for stage in stages)
        return self.model_copy(update=update)

    def variants(self) -> list[Recipe]:
        """The trainings of this recipe; each starts at the weights of the one before."""
        return [self]


def known_plugin(field: str, kind: str, name: str) -> None:
    """ConfigError unless ``name`` is a registered plug-in of the kind."""
    if name not in registry.names(kind):
        raise ConfigError(field, name, ", ".join(registry.names(kind)))


class ModelSection(TrainingSection):
    """Architecture by name, with its constructor arguments.

    Args:
        name: network.
        params: arguments of its constructor.
    """

    name: str
    params: dict[str, Any] = {}

    @model_validator(mode="after")
    def _known(self) -> ModelSection:
        known_plugin("model.name", "models", self.name)
        return self


class QuantizerSection(TrainingSection):
    """Quantiser in the training loop.

    Every batch is divided evenly over ``bits`` and, with ``unquantized_share``, one share that passes unquantised.
    With ``calibrate`` the receiver's levels are the conditional means of the cells, renewed every epoch. With
    ``scale_bits`` > 0 the latents of a sample are divided by their largest magnitude, which is sent with so many bits.

    Args:
        name: quantiser.
        bits: widths in training; every batch is divided evenly.
        params: its parameters.
        unquantized_share: one share of a batch passes unquantised.
        calibrate: the receiver's levels are the conditional means of the cells.
        scale_bits: bits of a scale of every sample; 0: none.
    """

    name: str = "mu_law"
    bits: Annotated[tuple[Annotated[Integer, Field(ge=1, le=16)], ...], Field(min_length=1)] = (2, 4, 6)
    params: dict[str, Any] = {}
    unquantized_share: bool = True
    calibrate: bool = True
    scale_bits: Annotated[Integer, Field(ge=0, le=16)] = 0

    @model_validator(mode="after")
    def _known(self) -> QuantizerSection:
        known_plugin("quantizer.name", "quantizers", self.name)
        return self


class ConcreteSection(TrainingSection):
    """Bits in the training loop of a network whose latents are log-odds of bits.

    Bits are relaxed (binary concrete) at a temperature that falls exponentially from epoch to epoch. ``variable``:
    every sample has a random length, uniform from 1 to all bits; otherwise all are sent.

    Args:
        variable: every sample is cut at a random length.
        start_temperature: of the relaxation in the first epoch.
        end_temperature: in the last epoch.
    """

    variable: bool = True
    start_temperature: PositiveFloat = 10.0
    end_temperature: PositiveFloat = 0.01


class DistillSection(TrainingSection):
    """Frozen teacher (zoo name or folder of weights) and what is learned from it.

    See ``training/distillation/outputs.py``.

    Args:
        teacher: zoo name or folder of weights.
        loss: what is learned from the teacher.
        alpha: weight of that loss, the task has the rest; ``bit_adaptive`` has weights of its own.
        temperature: of the soft targets.
    """

    teacher: str
    loss: Literal["nf_kd", "normalized_kd", "bit_adaptive", "mse"] = "nf_kd"
    alpha: Probability = 0.3
    temperature: PositiveFloat = 5.0


class RestartSection(TrainingSection):
    """Cosine annealing with warm restarts in place of one cosine, see ``training/schedules.py``.

    Args:
        first_epochs: length of the first cycle [epoch].
        multiplier: of the length, from cycle to cycle.
        gamma: of the peak rate, from cycle to cycle.
        base_rate: lowest learning rate.
    """

    first_epochs: PositiveFloat
    multiplier: Annotated[Real, Field(ge=1, allow_inf_nan=False)] = 2.0
    gamma: PositiveFloat = 0.8
    base_rate: PositiveFloat = 1e-5


class RateSection(TrainingSection):
    """Rate term ``weight * bits`` under a learned factorised prior, integrated over the cells of the quantiser.

    Several weights give several models, one after the other, each started at the one before.

    Args:
        weight: weights of the rate term; several give one model each.
    """

    weight: Annotated[tuple[NonNegative, ...], Field(min_length=1)]


class LinkSection(TrainingSection):
    """Link of the loss ``sum_rate``: neighbouring samples of a batch are the users of a drop, precoder ZF.

    Rates are taken at ``num_frequencies`` samples spread over the band.

    Args:
        num_users: users of a drop.
        snr_db: SNR [dB].
        num_frequencies: frequency samples at which rates are taken.
    """

    num_users: Annotated[Integer, Field(ge=2, le=64)] = 4
    snr_db: Finite = 10.0
    num_frequencies: Count = 13


class OptimizerSection(TrainingSection):
    """Optimiser: "adamw" with the recipe's weight decay, or "adam" without any.

    ``torch: true`` has epsilon where PyTorch has it, for reproductions of published trainings (see
    ``training/torch_adam.py``). ``schedule: constant`` keeps the peak of the learning rate after the warm-up.

    Args:
        name: AdamW with ``weight_decay``, or Adam without any.
        torch: epsilon where PyTorch has it.
        epsilon: of the optimiser.
        schedule: learning rate after the warm-up.
    """

    name: Literal["adamw", "adam"] = "adamw"
    torch: bool = False
    epsilon: PositiveFloat = 1e-8
    schedule: Literal["cosine", "constant"] = "cosine"


class StageSection(TrainingSection):
    """One stage of a training in stages; each has a schedule of its own and starts at the best weights before.

    Args:
        epochs: of the stage.
        learning_rate: its peak.
        train: all weights, or those of the offset network.
        quantize: with the quantiser in the loop.
    """

    epochs: Count
    learning_rate: PositiveFloat
    train: Literal["all", "offset"] = "all"
    quantize: bool = True


def task_of(name: object) -> type[Task]:
    """Class of a task by name or dotted path.

    Raises:
        ConfigError: no such task.
    """
    from receivers.training.task import Task

    if not isinstance(name, str) or not registry.is_known("tasks", name):
        raise ConfigError("task", "nothing" if name is None else name, ", ".join(registry.names("tasks")))
    cls = registry.load("tasks", name)
    if not issubclass(cls, Task):
        raise ConfigError("task", name, "a class derived from receivers.training.task.Task")
    return cls


def parse_training(data: Any) -> Any:
    """Plain data to the validated recipe of its task; all problems as one ConfigError that names the fields."""
    return parsed(task_of(data.get("task") if isinstance(data, Mapping) else None).schema, data)
