"""Common part of recipes over several data sets. No Keras here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from receivers.training.recipe import NonNegative, OptimizerSection, TrainingSection
from simulator.core.errors import ConfigError
from simulator.core.params import Count, FileName, Integer, PositiveFloat

Term = Literal["attention", "embedding", "hidden"]


class TeacherSection(TrainingSection):
    """Frozen teacher (zoo name or folder of weights) and what is learned from it.

    See ``training/distillation/mcakd.py``.

    Args:
        teacher: zoo name or folder of weights.
        kind: distillation of the components in ``terms``, or of predictions alone.
        weight: of the distillation.
        terms: components that are compared.
        selection: match of the tokens of teacher and student: by cross attention, or by a linear map.
        scope: statistics of a sample, or of the batch.
        autonomous: epochs of learning alone in a cycle.
        passive: epochs of learning from the teacher in a cycle.
    """

    teacher: str
    kind: Literal["mcakd", "lmkd"] = "mcakd"
    weight: PositiveFloat = 1.0
    terms: Annotated[tuple[Term, ...], Field(min_length=1)] = ("attention", "embedding", "hidden")
    selection: Literal["ca_ks", "linear"] = "ca_ks"
    scope: Literal["sample", "batch"] = "sample"
    autonomous: Annotated[Integer, Field(ge=0)] = 4
    passive: Count = 1


class StoresRecipe(TrainingSection):
    """One training run over several data sets; a batch has the samples of one of them.

    Channels are read from the stores as they are needed. The learning rate warms up linearly for ``warmup_epochs`` and
    falls to zero along a cosine. Every ``validate_every`` epochs, and after the last, validation samples are scored.

    Args:
        name: of the weights.
        description: free text.
        seed: of weights, order of samples, masks.
        datasets: data sets by name or path.
        distill: teacher; null: none.
        epochs: passes over the training samples.
        batch_size: samples of a step.
        learning_rate: its peak.
        warmup_epochs: epochs of linear rise.
        weight_decay: of AdamW.
        optimizer: optimiser.
        clipnorm: largest norm of the gradient.
        max_samples: training samples of a data set at most; null: all.
        validate_every: epochs between two scores.
    """

    name: FileName
    description: str = ""
    seed: Annotated[Integer, Field(ge=0, lt=2**31)] = 1
    datasets: Annotated[tuple[str, ...], Field(min_length=1)]
    distill: TeacherSection | None = None
    epochs: Count = 40
    batch_size: Count = 128
    learning_rate: PositiveFloat = 5e-4
    warmup_epochs: NonNegative = 1.0
    weight_decay: NonNegative = 0.05
    optimizer: OptimizerSection = OptimizerSection()
    clipnorm: PositiveFloat = 1.0
    max_samples: Count | None = None
    validate_every: Count = 1

    @field_validator("datasets")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ConfigError("datasets", list(names), "each data set once")
        return names
