"""Trainings over several data sets, a batch from each in turn: what prediction and wifo_cf have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from receivers.training.distillation.phases import Phases
from receivers.training.recipe import IterativeRecipe, NonNegative, StageSection, TrainingSection
from receivers.training.task import Task
from simulator.core.errors import ConfigError
from simulator.core.params import Count, Integer, PositiveFloat, Real
from simulator.data.store import ChannelStore

_PHASES = ("switch", "autonomous", "passive", "least_progress")
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
        scope: features are selected by a sample, or by the mean over the batch.
        order: of the selected features: falling importance, or rising index.
        switch: the teacher takes part after a fixed number of epochs, or once the student alone makes little progress.
        autonomous: epochs of learning alone in a cycle, 0: none; of ``progress`` the fewest, over which it is seen.
        passive: epochs of learning from the teacher that follow.
        least_progress: of ``progress``: fraction of its loss that the student alone must gain per epoch to go on alone.
    """

    teacher: str
    kind: Literal["mcakd", "lmkd"] = "mcakd"
    weight: PositiveFloat = 1.0
    terms: Annotated[tuple[Term, ...], Field(min_length=1)] = ("attention", "embedding", "hidden")
    selection: Literal["ca_ks", "linear"] = "ca_ks"
    scope: Literal["sample", "batch"] = "sample"
    order: Literal["importance", "index"] = "importance"
    switch: Literal["cycle", "progress"] = "cycle"
    autonomous: Annotated[Integer, Field(ge=0)] = 4
    passive: Count = 1
    least_progress: Annotated[Real, Field(gt=0, lt=1)] = 0.02

    @model_validator(mode="after")
    def _two_epochs_of_progress(self) -> TeacherSection:
        if self.switch == "progress" and self.autonomous < 2:
            raise ConfigError("distill.autonomous", self.autonomous, "2 or more epochs with switch: progress")
        return self

    @property
    def phases(self) -> Phases:
        """Which epochs the teacher takes part in."""
        return Phases(self.autonomous, self.passive, self.least_progress if self.switch == "progress" else None)


class StoresRecipe(IterativeRecipe):
    """One training run over several data sets; a batch has the samples of one of them.

    Channels are read from the stores as they are needed. Every ``validate_every`` epochs, and after the last,
    validation samples are scored; a score that would follow an epoch with the teacher follows the last one before it
    without, unless all epochs have the teacher.

    Args:
        seed: of weights, order of samples, masks.
        datasets: data sets by name or path.
        distill: teacher; null: none.
        max_samples: training samples of a data set at most; null: all.
        validate_every: epochs between two scores.
    """

    datasets: Annotated[tuple[str, ...], Field(min_length=1)]
    distill: TeacherSection | None = None
    batch_size: Count = 128
    learning_rate: PositiveFloat = 5e-4
    weight_decay: NonNegative = 0.05
    max_samples: Count | None = None
    validate_every: Count = 1

    @field_validator("datasets")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ConfigError("datasets", list(names), "each data set once")
        return names

    @property
    def data(self) -> dict[str, str]:
        """Its data sets."""
        return {name: name for name in self.datasets}


class StoresTask(Task):
    """Base of the tasks over several data sets; a final class names its recipe, its model and its scores.

    The training model gives the loss of every sample (:class:`~receivers.training.steps.SteppedModel`).
    """

    schema: ClassVar[type[StoresRecipe]]
    by_batch = True

    @property
    def validate_every(self) -> int:  # type: ignore[override]
        """Of the recipe."""
        return self.recipe.validate_every

    def set_phase(self, model: Any, losses: Sequence[float]) -> None:
        """Whether the teacher takes part."""
        if self.recipe.distill is not None:
            model.passive = self.recipe.distill.phases.passive_after(losses) > 0

    def due(self, losses: Sequence[float], length: int) -> bool:
        """As in the base class, but after an epoch without the teacher, if there is one."""
        section, number = self.recipe.distill, len(losses)
        if section is None or not section.autonomous:
            return super().due(losses, length)
        if section.phases.passive_after(losses[:-1]):
            return False
        last = min(number + section.phases.passive_after(losses), length)
        return any(self._falls_due(n, length) for n in range(number, last + 1))

    @cache  # noqa: B019 - a task lives as long as its training
    def samples(self, batch_size: int) -> Any:
        """Batches of the training samples."""
        from receivers.training.data.sequences import PredictionBatches

        return PredictionBatches(self.stores, "train", batch_size, self.recipe.max_samples)

    @property
    def num_steps(self) -> int:
        """Batches of all data sets."""
        return self.steps(self.recipe.batch_size)

    def steps(self, batch_size: int) -> int:
        """Batches of all data sets; every store fills its own."""
        return len(self.samples(batch_size))

    def compile(self, model: Any, stage: StageSection) -> None:
        """Fresh optimiser."""
        from receivers.training.steps import jit_compiled

        model.compile(optimizer=self.optimizer(stage), jit_compile=jit_compiled())
        model.optimizer.build(model.trainable_variables)

    def batches(self, epoch: int) -> Iterator[tuple[Any, ...]]:
        """One data set at a time, as the model takes it."""
        rng = np.random.default_rng([self.recipe.seed, epoch, 1])
        return ((self.prepare(x, rng),) for x in self.samples(self.batch_size(epoch)).epoch(self.recipe.seed, epoch))

    def prepare(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Channels float32 ``[sample, slot, subcarrier, antenna, 2]`` of a batch to the input of the model."""
        return x

    def distillation(self, load: Any) -> Mapping[str, Any]:
        """Arguments of the training model: teacher, by ``load(weights)``, and what is learned from it."""
        section = self.recipe.distill
        if section is None:
            return {"kind": "none"}
        return {**section.model_dump(exclude={"teacher", *_PHASES}), "teacher": load(section.teacher)}


def split_samples(store: ChannelStore, split: str) -> np.ndarray:
    """All samples of a split, float32 ``[sample, slot, subcarrier, antenna, 2]``."""
    from receivers.models.history import to_history

    return np.concatenate([to_history(h) for h, _ in store.read(split)])
