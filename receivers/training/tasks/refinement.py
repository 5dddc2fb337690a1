"""Task ``refinement``: decoded reports of several schemes to the directions that the UEs saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from receivers.training.recipe import (
    IterativeRecipe,
    NonNegative,
    OptimizerSection,
    StageSection,
    TrainingSection,
    known_plugin,
)
from receivers.training.report_gate import fit_gate
from receivers.training.task import Samples, Task
from receivers.weights.card import file_entry
from receivers.weights.folder import TrainedRefiner, save_weights
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.params import Count, Integer, PositiveFloat, Probability
from simulator.core.types import CsiConfig

if TYPE_CHECKING:
    import keras

    from receivers.training.data.reports import ReportSet

_SCORED = 512  # reports at a time
_GATE_SAMPLES = 1500  # of every kind of report and channel


class RefinerSection(TrainingSection):
    """Network by name, with its constructor arguments.

    Args:
        name: network for reports.
        params: arguments of its constructor.
    """

    name: str = "beam_transformer"
    params: dict[str, Any] = {}

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        known_plugin("model.name", "report_refiners", name)
        return name


class ReportSection(TrainingSection):
    """Reports to learn from.

    Args:
        scheme: a scheme with coefficients of beams and delays, rank 1.
        params: its parameters.
        samples: training samples that it reports on, drawn from the store; null: all.
    """

    scheme: str
    params: dict[str, Any] = {}
    samples: Count | None = None


class ClusterSection(TrainingSection):
    """Channels of random clusters in training, so that no profile is learned by heart.

    Args:
        samples: channels.
        share: of a batch.
    """

    samples: Count = 20000
    share: Probability = 0.2


class RefinementRecipe(IterativeRecipe):
    """One training of a network that refines decoded reports at the gNB, by default with Muon and a trapezoid.

    Args:
        task: this one.
        dataset: data set by name or path.
        model: network.
        subband_size: frequency samples of a subband.
        reports: what the gNB decodes; a batch has all of them in equal parts.
        clusters: channels in addition to those of the store; null: none.
        num_steps: batches of an epoch.
        val_samples: samples of the validation split.
        mixed: matrix products of the training in bfloat16.
        num_layers: strongest layers of a report that the link refines; all learn from the strongest.
    """

    task: Literal["refinement"]
    dataset: str
    model: RefinerSection = RefinerSection()
    subband_size: Count = 4
    reports: Annotated[tuple[ReportSection, ...], Field(min_length=1)]
    clusters: ClusterSection | None = None
    epochs: Count = 10
    num_steps: Count = 400
    batch_size: Count = 256
    learning_rate: PositiveFloat = 3e-3
    warmup_samples: Annotated[Integer, Field(ge=0)] | None = 25_600
    weight_decay: NonNegative = 0.0
    optimizer: OptimizerSection = OptimizerSection(
        name="muon", schedule="trapezoid", adam_ratio=0.5, exclude=("embedding", "head", "change")
    )
    clipnorm: PositiveFloat | None = None
    val_samples: Count = 500
    mixed: bool = False
    num_layers: Count = 1

    @property
    def data(self) -> dict[str, str]:
        """Its data set."""
        return {self.dataset: self.dataset}


class RefinementTask(Task):
    """Networks on decoded reports; the loss is one minus SGCS, mean over all kinds of reports."""

    schema = RefinementRecipe

    @property
    def config(self) -> CsiConfig:
        """Public configuration of the reports."""
        layout = self.stores[0].layout
        size = self.recipe.subband_size
        if not 1 <= size <= layout.num_subcarriers:
            raise ConfigError("subband_size", size, f"1..{layout.num_subcarriers} (samples of the store)")
        return CsiConfig(layout.panel, layout.num_rx_ant, layout.num_subcarriers, layout.spacing_hz, subband_size=size)

    @cached_property
    def books(self) -> dict[str, Any]:
        """Codebooks of rank 1 by label of their scheme."""
        found = {}
        for number, section in enumerate(self.recipe.reports):
            scheme = registry.build("feedback", section.scheme, self.config, **section.params, rank=1)
            book = getattr(scheme, "codebooks", {}).get(1)
            if not hasattr(book, "beam_delay"):
                raise ConfigError(
                    f"reports.{number}.scheme", section.scheme, "a scheme of beams and delays (etype2-r16, beamdelay)"
                )
            found[scheme.label] = book
        return found

    def channels(self, split: str, samples: int | None, seed: int) -> np.ndarray:
        """Channels complex64 ``[sample, rx_ant, port, subcarrier]`` of a split, all or some."""
        (store,) = self.stores
        count = store.num_samples(split)
        rows = np.arange(count)
        if samples is not None and samples < count:
            rows = np.sort(np.random.default_rng([self.recipe.seed, seed]).choice(count, samples, replace=False))
        h, c = store.take(split, rows), self.config
        return h.reshape(len(h), -1, c.panel.num_ports, c.num_subcarriers)[:, : c.num_rx_ant]

    def sets(self, split: str, samples: list[int | None]) -> dict[str, ReportSet]:
        """Reports of a split by label."""
        parts = zip(self.books.items(), samples, strict=True)
        return {
            label: self._reported(book, self.channels(split, count, seed))
            for seed, ((label, book), count) in enumerate(parts)
        }

    def _reported(self, book: Any, h: np.ndarray) -> ReportSet:
        from receivers.training.data.reports import ReportSet
        from simulator.maths.transforms import subband_eigenvectors

        return ReportSet(book, subband_eigenvectors(h, self.recipe.subband_size, 1), h)

    @cached_property
    def train(self) -> list[ReportSet]:
        """Reports on the store."""
        return list(self.sets("train", [section.samples for section in self.recipe.reports]).values())

    @cached_property
    def clusters(self) -> list[ReportSet]:
        """Reports on random clusters."""
        from receivers.training.data.clusters import random_clusters

        section, c = self.recipe.clusters, self.config
        if section is None:
            return []
        rng = np.random.default_rng([self.recipe.seed, 2**20])
        h = random_clusters(rng, section.samples, c.panel, c.num_subcarriers, c.spacing_hz)[:, None]
        return [self._reported(book, h[i :: len(self.books)]) for i, book in enumerate(self.books.values())]

    @cached_property
    def val(self) -> list[ReportSet]:
        """Reports that are scored after an epoch."""
        return list(self.sets("val", [self.recipe.val_samples] * len(self.books)).values())

    @cached_property
    def test(self) -> dict[str, ReportSet]:
        """Reports on the test split by label."""
        return self.sets("test", [None] * len(self.books))

    def build(self, folder: Path, progress: Callable[[str], None]) -> keras.Model:
        """Fresh network; its inputs, outputs and sum stay in float32."""
        import keras

        from receivers.models.checked import build_checked

        keras.utils.set_random_seed(self.recipe.seed)
        section, before = self.recipe.model, keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16" if self.recipe.mixed else "float32")
        try:
            cls = registry.load("report_refiners", section.name)
            return build_checked("model.params", cls, section.params, dtype="float32")
        finally:
            keras.config.set_dtype_policy(before)

    def compile(self, model: keras.Model, stage: StageSection) -> None:
        """One minus SGCS."""
        from receivers.models.report_loss import report_loss

        optimizer = self.optimizer(stage)
        model.compile(optimizer, loss=report_loss(self.val[0].frame.kernel()))
        optimizer.build(model.trainable_variables)

    @property
    def num_steps(self) -> int:
        """Batches of an epoch."""
        return self.recipe.num_steps

    def batches(self, epoch: int) -> Iterator[tuple[Any, ...]]:
        """Tokens and directions."""
        from receivers.training.data.reports import report_batch

        size = self.batch_size(epoch)
        wide = round(size * self.recipe.clusters.share) if self.recipe.clusters is not None else 0
        rng = np.random.default_rng([self.recipe.seed, epoch])
        for _ in range(self.steps(size)):
            parts = [(self.train, size - wide), (self.clusters, wide)]
            parts = [report_batch(sets, rng, size) for sets, size in parts if size]
            yield tuple(np.concatenate(values) for values in zip(*parts, strict=True))

    def validate(self, model: keras.Model) -> dict[str, float]:
        """One minus SGCS after the refinement."""
        return {"val_loss": float(1 - np.mean([refined_sgcs(model, reports)[1].mean() for reports in self.val]))}

    def decibel(self, key: str) -> bool:
        """Never."""
        return False

    def write(self, model: keras.Model, folder: Path) -> dict[str, Any]:
        """The network."""
        save_weights(model, folder / "model.weights.h5")
        return {
            "task": "refinement",
            "model": {"name": self.recipe.model.name, "params": model.get_config()},
            "parameters": model.count_params(),
            "weights": file_entry(folder / "model.weights.h5"),
            "num_layers": self.recipe.num_layers,
            "gate": fit_gate(model, [sets for sets in (self.train, self.clusters) if sets], _GATE_SAMPLES),
        }

    def score(self, model: keras.Model, folder: Path) -> dict[str, Any]:
        """SGCS by subband of the test split, as decoded and refined, after every scheme."""
        network, found = TrainedRefiner(str(folder)).model, {}
        for label, reports in self.test.items():
            values = zip(("decoded", "refined"), refined_sgcs(network, reports), strict=True)
            found[label] = {name: Samples(x, "sgcs_subband", (0.0, 1.0), 4) for name, x in values}
        return {"metric": "sgcs_subband", "num_samples": self.stores[0].num_samples("test"), "by_report": found}

    def test_samples(self, model: keras.Model, folder: Path) -> Samples:
        """SGCS as refined, mean over the kinds of reports."""
        network = TrainedRefiner(str(folder)).model
        values = np.mean([refined_sgcs(network, reports)[1] for reports in self.test.values()], axis=0)
        return Samples(values, "sgcs_subband", digits=4)


def refined_sgcs(network: Any, reports: ReportSet) -> tuple[np.ndarray, np.ndarray]:
    """SGCS float64 ``[sample]`` of reports as decoded, and after a network."""
    from keras import ops

    from receivers.models.report_frame import decoded
    from receivers.models.report_loss import report_loss

    loss, found = report_loss(reports.frame.kernel()), []
    for start in range(0, len(reports), _SCORED):
        tokens, target = reports.batch(np.arange(start, min(start + _SCORED, len(reports))))
        outputs = decoded(tokens), network(ops.convert_to_tensor(tokens), training=False)
        found.append([1 - np.float64(ops.convert_to_numpy(loss(target, y))) for y in outputs])
    before, after = np.concatenate(found, axis=1)
    return before, after
