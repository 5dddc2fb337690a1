"""Task ``ntc``: decoder of beam-delay reports whose coefficients the UE decides on with that decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from receivers.beamdelay.frame import Frame
from receivers.beamdelay.gradient_synthesis import PASSES
from receivers.beamdelay.quantizer import SLOPE
from receivers.beamdelay.tables import Tables
from receivers.feedback.beamdelay import BeamDelayTables
from receivers.training.recipe import IterativeRecipe, NonNegative, OptimizerSection, StageSection, TrainingSection
from receivers.training.task import Samples, Task
from receivers.training.tasks.refinement import ClusterSection
from receivers.weights.card import file_entry
from receivers.weights.folder import TrainedRefiner, TransformWeights, save_weights
from simulator.core.content import sha256
from simulator.core.durable import renamed
from simulator.core.errors import ConfigError
from simulator.core.params import Count, Integer, PositiveFloat
from simulator.core.readers import read_npz
from simulator.maths.transforms import subband_eigenvectors

if TYPE_CHECKING:
    import keras

    from receivers.training.data.searched import SearchedReports

_STEPS = 24  # of the training
_VALIDATED = 5  # steps
_SCORED = (0.28, 0.2, 0.15, 0.11, 0.085, 0.065)  # steps that the card states the quality of
_WEIGHTING, _TYPICAL = -0.5, 3.0  # power of the step, so that all rates count, and its typical value


class TransformSection(TrainingSection):
    """Sizes of the network.

    Args:
        params: arguments of its constructor.
        decoder: weights of a refinement of the same sizes (zoo name or folder) at which it starts; null: none.
    """

    params: dict[str, Any] = {}
    decoder: str | None = None


class TransformRecipe(IterativeRecipe):
    """One training of the decoder of a nonlinear transform codec, by default with Muon and a trapezoid.

    Args:
        task: this one.
        dataset: data set by name or path.
        model: network.
        tables: of the entropy coder, name in the zoo or folder; the weights have a copy.
        subband_size: frequency samples of a subband.
        directions: of the training split, each with a step of its own; null: all.
        clusters: channels in addition to those of the store; null: none.
        sizes: smallest and largest step of the quantiser, of which 24 are drawn.
        searched: share of the reports whose search goes on before every epoch.
        passes: by which it goes on.
        num_steps: batches of an epoch.
        val_samples: samples of the validation split.
        mixed: matrix products of the training in bfloat16.
    """

    task: Literal["ntc"]
    dataset: str
    model: TransformSection = TransformSection()
    tables: str = "beamdelay-urban"
    subband_size: Count = 4
    directions: Count | None = None
    clusters: ClusterSection | None = None
    sizes: tuple[PositiveFloat, PositiveFloat] = (0.045, 0.33)
    searched: PositiveFloat = 0.25
    passes: Count = 3
    epochs: Count = 10
    num_steps: Count = 400
    batch_size: Count = 256
    learning_rate: PositiveFloat = 2e-3
    warmup_samples: Annotated[Integer, Field(ge=0)] | None = 25_600
    weight_decay: NonNegative = 0.0
    optimizer: OptimizerSection = OptimizerSection(
        name="muon", schedule="trapezoid", decay=0.35, adam_ratio=0.5, exclude=("embedding", "head")
    )
    clipnorm: PositiveFloat | None = None
    val_samples: Count = 300
    mixed: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> TransformRecipe:
        if not self.sizes[0] < self.sizes[1] <= 1:
            raise ConfigError("sizes", list(self.sizes), "a smaller and a larger step, at most 1")
        if self.searched > 1:
            raise ConfigError("searched", self.searched, "a share, at most 1")
        return self

    @property
    def data(self) -> dict[str, str]:
        """Its data set."""
        return {self.dataset: self.dataset}


class TransformTask(Task):
    """Decoder and search in turn: before every epoch some reports are searched on with the decoder as it is."""

    schema = TransformRecipe
    _reported: dict[str, Any] = {}
    _searched: int | None = None  # epoch before which the reports in memory were searched on last
    _path: Path

    @cached_property
    def frame(self) -> Frame:
        """Of the reports."""
        layout, unit = self.stores[0].layout, self.recipe.subband_size
        if layout.num_delays is not None or not 1 <= unit <= layout.num_subcarriers:
            allowed = f"1..{layout.num_subcarriers} samples of a store over subcarriers"
            raise ConfigError("subband_size", unit, allowed)
        return Frame(layout.panel, -(-layout.num_subcarriers // unit))

    @cached_property
    def tables(self) -> Tables:
        """Of the entropy coder; several layers are coded one by one."""
        return Tables.load(BeamDelayTables(self.recipe.tables).file)

    def _directions(self, split: str, samples: int | None, seed: int) -> np.ndarray:
        """Strongest directions complex64 ``[sample, 1, subband, port]`` of a split, all or some."""
        (store,) = self.stores
        rows = np.arange(store.num_samples(split))
        if samples is not None and samples < len(rows):
            rows = np.sort(np.random.default_rng([self.recipe.seed, seed]).choice(len(rows), samples, replace=False))
        h = store.take(split, rows).reshape(len(rows), -1, store.layout.panel.num_ports, store.layout.num_subcarriers)
        return subband_eigenvectors(h, self.recipe.subband_size, 1)

    def _reports(self, v: np.ndarray, rng: np.random.Generator) -> SearchedReports:
        """With steps drawn at random."""
        from receivers.training.data.searched import SearchedReports

        sizes = np.geomspace(*self.recipe.sizes, _STEPS)
        return SearchedReports(self.frame, self.tables, v, rng.integers(_STEPS, size=len(v)), sizes)

    @cached_property
    def train(self) -> list[SearchedReports]:
        """Reports on the store, and on random clusters."""
        from receivers.training.data.clusters import random_clusters

        section, layout = self.recipe.clusters, self.stores[0].layout
        v = self._directions("train", self.recipe.directions, 0)
        found = [self._reports(v, np.random.default_rng([self.recipe.seed, 2**20]))]
        if section is not None:
            rng = np.random.default_rng([self.recipe.seed, 2**21])
            h = random_clusters(rng, section.samples, layout.panel, layout.num_subcarriers, layout.spacing_hz)[:, None]
            found.append(self._reports(subband_eigenvectors(h, self.recipe.subband_size, 1), rng))
        return found

    @cached_property
    def val(self) -> list[SearchedReports]:
        """Reports that are searched and scored after an epoch, of one step each."""
        from receivers.training.data.searched import SearchedReports

        v = self._directions("val", self.recipe.val_samples, 1)
        sizes = np.geomspace(*self.recipe.sizes, 2 * _VALIDATED + 1)[1::2]
        return [SearchedReports(self.frame, self.tables, v, np.zeros(len(v), int), np.array([size])) for size in sizes]

    def build(self, folder: Path, progress: Callable[[str], None]) -> keras.Model:
        """Fresh network, or one that starts as a refinement; its inputs, outputs and sum stay in float32."""
        import keras

        from receivers.models.beam_transformer import BeamTransformer
        from receivers.models.checked import build_checked

        keras.utils.set_random_seed(self.recipe.seed)
        self._path = folder / "reports.npz"
        section, before = self.recipe.model, keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16" if self.recipe.mixed else "float32")
        try:
            model = build_checked("model.params", BeamTransformer, section.params, dtype="float32")
        finally:
            keras.config.set_dtype_policy(before)
        if section.decoder is not None:
            try:
                model.set_weights(TrainedRefiner(section.decoder).model.get_weights())
            except ValueError:
                raise ConfigError("model.decoder", section.decoder, "a refinement of the sizes in params") from None
        return model

    def compile(self, model: keras.Model, stage: StageSection) -> None:
        """One minus SGCS."""
        from receivers.models.report_loss import report_loss

        optimizer = self.optimizer(stage)
        model.compile(optimizer, loss=report_loss(self.train[0].synthesis(model).reports.kernel()))
        optimizer.build(model.trainable_variables)

    @property
    def num_steps(self) -> int:
        """Batches of an epoch."""
        return self.recipe.num_steps

    def start_epoch(self, model: keras.Model, epoch: int) -> None:
        """The search of some reports goes on."""
        self._found()
        if self._searched == epoch:
            return
        rng = np.random.default_rng([self.recipe.seed, epoch, 1])
        for reports in self.train:
            count = max(round(self.recipe.searched * len(reports)), 1)
            reports.search(model, rng.choice(len(reports), count, replace=False), self.recipe.passes)
        with renamed(self._path, ".npz") as temporary:
            np.savez_compressed(temporary, epoch=epoch, **{f"parts_{i}": r.parts for i, r in enumerate(self.train)})
        self._searched = epoch

    def _found(self) -> None:
        """Reports of a training that was killed."""
        if self._searched is None and self._path.exists():
            found = read_npz(self._path)
            for number, reports in enumerate(self.train):
                reports.parts = found[f"parts_{number}"]
            self._searched = int(found["epoch"])

    def batches(self, epoch: int) -> Iterator[tuple[Any, ...]]:
        """Tokens, directions, weights of the reports."""
        self._found()
        rng, size = np.random.default_rng([self.recipe.seed, epoch]), self.batch_size(epoch)
        wide = 0 if self.recipe.clusters is None else round(size * self.recipe.clusters.share)
        for _ in range(self.steps(size)):
            parts = []
            for reports, count in zip(self.train, (size - wide, wide), strict=False):
                if count:
                    rows = rng.integers(len(reports), size=count)
                    weight = np.power(reports.steps[reports.step[rows]], _WEIGHTING) / _TYPICAL
                    parts.append((*reports.batch(rows), weight.astype(np.float32)))
            yield tuple(np.concatenate(values) for values in zip(*parts, strict=True))

    def validate(self, model: keras.Model) -> dict[str, float]:
        """SGCS and bits of reports after the search, at every step, and the loss of both."""
        found: dict[str, float] = {}
        losses = []
        for number, reports in enumerate(self.val):
            rows, step = np.arange(len(reports)), float(reports.steps[0])
            synthesis = reports.synthesis(model)
            content = synthesis(reports.content(rows), reports.c, PASSES)
            bins, cost, _ = synthesis.judged(content, reports.c)
            bits = np.sum(reports.coder.ideal_bits(content, bins), axis=(0, 2))
            losses.append(float(cost.mean()) * step**_WEIGHTING / _TYPICAL)
            found[f"val_sgcs_{number}"] = float(np.mean(1 - cost + SLOPE * step**2 * bits))
            found[f"val_{number}_bits"] = float(bits.mean()) + reports.coder.head_bits()
        return {"val_loss": float(np.mean(losses)), **found}

    def decibel(self, key: str) -> bool:
        """Never."""
        return False

    def write(self, model: keras.Model, folder: Path) -> dict[str, Any]:
        """Network and tables."""
        save_weights(model, folder / "model.weights.h5")
        replace(self.tables, layers=None).save(folder / "tables.npz")
        return {
            "task": "ntc",
            "model": {"name": "ntc", "params": model.get_config()},
            "parameters": model.count_params(),
            "weights": file_entry(folder / "model.weights.h5"),
            "tables": file_entry(folder / "tables.npz"),
        }

    def score(self, model: keras.Model, folder: Path) -> dict[str, Any]:
        """SGCS by subband and bits of reports of every step, strongest layer of the test split."""
        by_step = {
            f"s{step:g}": {
                "sgcs": Samples(sgcs, "sgcs_subband", (0.0, 1.0), 4), "bits": Samples(bits, "bits", digits=1),
            }
            for step, (sgcs, bits) in self._tested(folder).items()
        }  # fmt: skip
        return {"metric": "sgcs_subband", "num_samples": self.stores[0].num_samples("test"), "by_step": by_step}

    def test_samples(self, model: keras.Model, folder: Path) -> Samples:
        """SGCS less what its bits are worth, mean over the steps."""
        values = [sgcs - SLOPE * step**2 * bits for step, (sgcs, bits) in self._tested(folder).items()]
        return Samples(np.mean(values, axis=0), "sgcs_less_rate", digits=4)

    def _tested(self, folder: Path) -> dict[float, tuple[np.ndarray, np.ndarray]]:
        """SGCS and bits float64 ``[sample]`` of reports of the test split, by step."""
        from receivers.beamdelay.codebook import MOST_BITS
        from receivers.beamdelay.learned import LearnedCodebook

        trained, store, unit = TransformWeights(str(folder)), self.stores[0], self.recipe.subband_size
        key = sha256(trained.file)
        if self._reported.get("of") != key:
            h = store.take("test", np.arange(store.num_samples("test")))
            h = h.reshape(len(h), -1, store.layout.panel.num_ports, store.layout.num_subcarriers)
            v, found = subband_eigenvectors(h, unit, 1)[:, 0], {}
            for step in _SCORED:
                book = LearnedCodebook(
                    trained.model, store.layout.panel, h.shape[3], unit, 1, trained.tables, step, MOST_BITS
                )
                part1, part2, length = book.pack(book.select(h))
                w = book.precoder(book.unpack(part1, part2, length)[0])[:, :, 0]
                sgcs = np.mean(np.abs(np.einsum("ntp,npt->nt", v.conj(), w)) ** 2, axis=1)
                found[step] = sgcs.astype(np.float64), length.astype(np.float64)
            self._reported = {"of": key, "by_step": found}
        return self._reported["by_step"]
