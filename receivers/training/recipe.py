"""Recipes of trainings: what all have, sections, and the one parser. No Keras here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

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
        """This recipe with twice the samples seen: of every stage, and with twice the epochs of patience.

        Raises:
            ConfigError: a task without epochs.
        """
        if "epochs" not in type(self).model_fields:
            raise ConfigError("--double", self.task, "a task that trains in epochs")
        return _doubled(self)

    def variants(self) -> list[Recipe]:
        """The trainings of this recipe; each starts at the weights of the one before."""
        return [self]


def _doubled(section: Any) -> Any:
    """A recipe or stage with twice the samples seen."""
    values = {key: getattr(section, key, None) for key in ("epochs", "samples", "patience")}
    update: dict[str, Any] = {key: 2 * value for key, value in values.items() if value is not None}
    if stages := getattr(section, "stages", ()):
        update["stages"] = tuple(map(_doubled, stages))
    return section.model_copy(update=update)


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

    Several weights give several models, one after the other, each started at the one before. With several widths of
    the quantiser a weight is that of the first; each bit more has a quarter of it.

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
    """Optimiser and schedule of the learning rate.

    "adamw" has the recipe's weight decay, "adam" none; biases and norms never decay. "muon" moves matrices by the
    orthogonal factor of their momentum and trains all else with AdamW. ``torch: true`` has epsilon where PyTorch has
    it, for reproductions of published trainings (see ``training/torch_adam.py``).

    After the warm-up the rate falls along half a cosine ("cosine"), stays ("constant"), or stays and falls linearly to
    zero in the last ``decay`` of all steps ("trapezoid").

    Args:
        name: AdamW with ``weight_decay``, Adam without any, or Muon.
        torch: epsilon where PyTorch has it; not with Muon.
        epsilon: of Adam.
        schedule: learning rate after the warm-up.
        decay: share of all steps in which the rate of a trapezoid falls.
        adam_ratio: learning rate of what AdamW trains over that of Muon.
        adam_weight_decay: decay of what AdamW trains next to Muon, biases and norms, too; null: as ``weight_decay``.
        exclude: regular expressions of paths of matrices that AdamW trains, next to embeddings.
    """

    name: Literal["adamw", "adam", "muon"] = "adamw"
    torch: bool = False
    epsilon: PositiveFloat = 1e-8
    schedule: Literal["cosine", "constant", "trapezoid"] = "cosine"
    decay: Probability = 0.3
    adam_ratio: PositiveFloat = 1.0
    adam_weight_decay: NonNegative | None = None
    exclude: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fit_together(self) -> OptimizerSection:
        if self.torch and self.name == "muon":
            raise ConfigError("torch", True, "false with muon")
        for pattern in self.exclude:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError("exclude", pattern, f"regular expressions ({error})") from None
        return self


class StageSection(TrainingSection):
    """One stage of a training in stages; each has a schedule of its own and starts at the best weights before.

    Args:
        epochs: of the stage; null: samples.
        samples: samples seen in the stage; null: epochs.
        learning_rate: its peak.
        train: all weights, or those of the offset network.
        quantize: with the quantiser in the loop.
    """

    epochs: Count | None = None
    samples: Count | None = None
    learning_rate: PositiveFloat
    train: Literal["all", "offset"] = "all"
    quantize: bool = True

    @model_validator(mode="after")
    def _one_length(self) -> StageSection:
        if (self.epochs is None) == (self.samples is None):
            raise ConfigError("epochs, samples", [self.epochs, self.samples], "one of the two")
        return self


class IterativeRecipe(Recipe):
    """What recipes of trainings in steps have.

    The length is stated in epochs, or in samples seen, whose last epoch may not be whole. The learning rate rises
    linearly for ``warmup_epochs``, or ``warmup_samples``, at most half the steps, and follows ``optimizer.schedule``;
    it is that of the samples seen, also where the batch grows.

    Args:
        epochs: passes over the training samples.
        samples: samples seen, in place of epochs; null: epochs.
        batch_size: samples of a step.
        learning_rate: its peak.
        warmup_epochs: epochs of linear rise.
        warmup_samples: samples of linear rise, in place of epochs; null: epochs.
        weight_decay: of AdamW and Muon.
        optimizer: optimiser.
        clipnorm: largest norm of the gradient; null: any.
        ema: momentum of the moving average of weights, which is scored and kept; null: the weights as they are.
        batch_growth: shares of the epochs after which the batch has twice the samples.
    """

    epochs: Count = 40
    samples: Count | None = None
    batch_size: Count
    learning_rate: PositiveFloat
    warmup_epochs: NonNegative = 1.0
    warmup_samples: Annotated[Integer, Field(ge=0)] | None = None
    weight_decay: NonNegative
    optimizer: OptimizerSection = OptimizerSection()
    clipnorm: PositiveFloat | None = 1.0
    ema: Annotated[Real, Field(gt=0, lt=1)] | None = None
    batch_growth: Annotated[tuple[Annotated[Real, Field(gt=0, lt=1)], ...], Field(max_length=8)] = ()

    @field_validator("batch_growth")
    @classmethod
    def _rising(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if list(shares) != sorted(shares):
            raise ConfigError("batch_growth", list(shares), "shares in order")
        return shares


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
