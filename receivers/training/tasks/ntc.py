"""Task ``ntc``: nonlinear transform codec of beam-delay coefficients, with the tables of its entropy coder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from receivers.beamdelay.frame import Frame
from receivers.beamdelay.tables import Tables
from receivers.training.recipe import IterativeRecipe, NonNegative, OptimizerSection, StageSection, TrainingSection
from receivers.training.task import Samples, Task
from receivers.training.tasks.refinement import ClusterSection
from receivers.weights.card import file_entry
from receivers.weights.folder import TrainedRefiner, TransformWeights, save_weights
from simulator.core.content import sha256
from simulator.core.errors import ConfigError
from simulator.core.params import Count, Integer, PositiveFloat
from simulator.maths.transforms import subband_eigenvectors

if TYPE_CHECKING:
    import keras

    from receivers.training.data.directions import DirectionSet

_VALIDATED = 5  # steps
_JITTER = 0.3  # octaves between the step of an alignment and that of a batch
_STARTED = 6000  # samples of which the prior starts
_SCORED = (0.28, 0.2, 0.15, 0.11, 0.085, 0.065)  # steps that the card states the quality of
_BLOCK = 500  # layers at a time


class TransformSection(TrainingSection):
    """Sizes of the network.

    Args:
        params: arguments of its constructor.
        decoder: weights of a refinement (zoo name or folder) at which a decoder of the same sizes starts; null: none.
    """

    params: dict[str, Any] = {}
    decoder: str | None = None


class TransformRecipe(IterativeRecipe):
    """One training of a nonlinear transform codec, by default with Muon and a trapezoid.

    Args:
        task: this one.
        dataset: data set by name or path.
        model: network.
        subband_size: frequency samples of a subband.
        directions: of the training split, each aligned for one step; null: all.
        clusters: channels in addition to those of the store; null: none.
        sizes: smallest and largest step of the quantiser, drawn log-uniformly.
        slope: squared steps that a bit is worth.
        num_steps: batches of an epoch.
        val_samples: samples of the validation split.
        counted: samples whose symbols the tables are counted on.
        mixed: matrix products of the training in bfloat16.
    """

    task: Literal["ntc"]
    dataset: str
    model: TransformSection = TransformSection()
    subband_size: Count = 4
    directions: Count | None = None
    clusters: ClusterSection | None = None
    sizes: tuple[PositiveFloat, PositiveFloat] = (0.045, 0.33)
    slope: PositiveFloat = 0.06
    epochs: Count = 10
    num_steps: Count = 400
    batch_size: Count = 256
    learning_rate: PositiveFloat = 2e-3
    warmup_samples: Annotated[Integer, Field(ge=0)] | None = 51_200
    weight_decay: NonNegative = 0.0
    optimizer: OptimizerSection = OptimizerSection(
        name="muon", schedule="trapezoid", decay=0.35, adam_ratio=0.5, exclude=("embedding", "head", "prior")
    )
    clipnorm: PositiveFloat | None = None
    val_samples: Count = 1000
    counted: Count = 20000
    mixed: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> TransformRecipe:
        if not self.sizes[0] < self.sizes[1] <= 1:
            raise ConfigError("sizes", list(self.sizes), "a smaller and a larger step, at most 1")
        return self

    @property
    def data(self) -> dict[str, str]:
        """Its data set."""
        return {self.dataset: self.dataset}


class TransformTask(Task):
    """Encoder, decoder and prior; then the tables of the entropy coder on the symbols of the finished encoder."""

    schema = TransformRecipe
    _reported: dict[str, Any] = {}

    @cached_property
    def frame(self) -> Frame:
        """Of the reports."""
        layout, unit = self.stores[0].layout, self.recipe.subband_size
        if layout.num_delays is not None or not 1 <= unit <= layout.num_subcarriers:
            allowed = f"1..{layout.num_subcarriers} samples of a store over subcarriers"
            raise ConfigError("subband_size", unit, allowed)
        return Frame(layout.panel, -(-layout.num_subcarriers // unit))

    def _directions(self, split: str, samples: int | None, seed: int) -> np.ndarray:
        """Strongest directions complex64 ``[sample, 1, subband, port]`` of a split, all or some."""
        (store,) = self.stores
        rows = np.arange(store.num_samples(split))
        if samples is not None and samples < len(rows):
            rows = np.sort(np.random.default_rng([self.recipe.seed, seed]).choice(len(rows), samples, replace=False))
        h = store.take(split, rows).reshape(len(rows), -1, store.layout.panel.num_ports, store.layout.num_subcarriers)
        return subband_eigenvectors(h, self.recipe.subband_size, 1)

    def _aligned(self, v: np.ndarray, step: np.ndarray) -> DirectionSet:
        from receivers.training.data.directions import DirectionSet

        return DirectionSet(self.frame, v, step.astype(np.float32))

    def _drawn(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return np.exp2(rng.uniform(*np.log2(self.recipe.sizes), count))

    @cached_property
    def train(self) -> DirectionSet:
        """Directions of the store."""
        v = self._directions("train", self.recipe.directions, 0)
        return self._aligned(v, self._drawn(np.random.default_rng([self.recipe.seed, 2**20]), len(v)))

    @cached_property
    def clusters(self) -> DirectionSet | None:
        """Directions of random clusters."""
        from receivers.training.data.clusters import random_clusters

        section, layout = self.recipe.clusters, self.stores[0].layout
        if section is None:
            return None
        rng = np.random.default_rng([self.recipe.seed, 2**21])
        h = random_clusters(rng, section.samples, layout.panel, layout.num_subcarriers, layout.spacing_hz)[:, None]
        return self._aligned(subband_eigenvectors(h, self.recipe.subband_size, 1), self._drawn(rng, len(h)))

    @cached_property
    def val(self) -> list[DirectionSet]:
        """Directions that are scored after an epoch, at steps over the range."""
        v = self._directions("val", self.recipe.val_samples, 1)
        low, high = np.log2(self.recipe.sizes)
        steps = np.exp2(low + (np.arange(_VALIDATED) + 0.5) / _VALIDATED * (high - low))
        return [self._aligned(v, np.full(len(v), step)) for step in steps[::-1]]

    def build(self, folder: Path, progress: Callable[[str], None]) -> keras.Model:
        """Fresh codec, whose decoder may start as a refinement, and a prior that fits its symbols."""
        import keras
        from keras import ops

        from receivers.models.checked import build_checked
        from receivers.models.ntc import NonlinearTransformCodec
        from receivers.training.ntc import CodecTraining, ContextPrior

        keras.utils.set_random_seed(self.recipe.seed)
        section, before = self.recipe.model, keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16" if self.recipe.mixed else "float32")
        try:
            codec = build_checked("model.params", NonlinearTransformCodec, section.params, dtype="float32")
        finally:
            keras.config.set_dtype_policy(before)
        rows = np.arange(min(_STARTED, len(self.train)))
        symbols = []
        for i in range(0, len(rows), _BLOCK):
            tokens, _ = self.train.batch(rows[i : i + _BLOCK], self.train.step[rows[i : i + _BLOCK]])
            x = ops.convert_to_tensor(tokens)
            symbols.append(ops.convert_to_numpy(codec.rounded(codec.encode(x), x)))
        found = np.concatenate(symbols)
        order = np.argsort(-np.abs(found).mean(axis=0), kind="stable")
        prior = ContextPrior(order, self.frame.shape[1:3], dtype="float32", name="prior")
        prior.start(found, self.train.step[rows])
        if section.decoder is not None:
            _begin(codec.decoder, section.decoder)
        return CodecTraining(codec, prior, self.train.kernel(), self.recipe.slope)

    def compile(self, model: keras.Model, stage: StageSection) -> None:
        """The loss is the model's own."""
        optimizer = self.optimizer(stage)
        model.compile(optimizer)
        optimizer.build(model.trainable_variables)

    @property
    def num_steps(self) -> int:
        """Batches of an epoch."""
        return self.recipe.num_steps

    def batches(self, epoch: int) -> Iterator[tuple[Any, ...]]:
        """Tokens and directions."""
        recipe, rng, size = self.recipe, np.random.default_rng([self.recipe.seed, epoch]), self.batch_size(epoch)
        wide = 0 if recipe.clusters is None else round(size * recipe.clusters.share)
        for _ in range(self.steps(size)):
            parts = []
            for found, count in ((self.train, size - wide), (self.clusters, wide)):
                if found is not None and count:
                    rows = rng.integers(len(found), size=count)
                    step = found.step[rows] * np.exp2(rng.uniform(-_JITTER, _JITTER, count))
                    parts.append(found.batch(rows, np.clip(step, *recipe.sizes).astype(np.float32)))
            yield tuple(np.concatenate(values) for values in zip(*parts, strict=True))

    def validate(self, model: keras.Model) -> dict[str, float]:
        """The loss of rounded latents, and SGCS and ideal bits of the coefficients at every step."""
        found: dict[str, float] = {}
        losses = []
        for number, part in enumerate(self.val):
            sgcs, bits = _scored(model, part)
            step = float(part.step[0])
            losses.append((1 - sgcs + self.recipe.slope * step**2 * bits) * step**-0.75)
            found |= {f"val_sgcs_{number}": sgcs, f"val_{number}_bits": bits}
        return {"val_loss": float(np.mean(losses)), **found}

    def decibel(self, key: str) -> bool:
        """Never."""
        return False

    def tables(self, codec: keras.Model) -> Tables:
        """Tables of the entropy coder, counted on the symbols of the encoder over panels and subbands."""
        from receivers.beamdelay.window import Window
        from receivers.training.beamdelay import Cells, learn, views

        (store,), rng, cells = self.stores, np.random.default_rng([self.recipe.seed, 2**22]), []
        h = store.take("train", np.arange(min(self.recipe.counted, store.num_samples("train"))))
        h = h.reshape(len(h), -1, store.layout.panel.num_ports, store.layout.num_subcarriers)
        for panel, v in views(h, store.layout.panel, self.recipe.subband_size):
            frame = Frame(panel, v.shape[1])
            window = Window(frame)
            step = self._drawn(rng, len(v)).astype(np.float32)
            for i in range(0, len(v), _BLOCK):
                rows = slice(i, i + _BLOCK)
                _, c = frame.sparsest(v[rows, None], step[rows])
                x = frame.to_origin(c[:, 0])[1]
                q = window.symbols(codec, x, step[rows]).astype(np.int16)
                q[0, :, 0] = np.minimum(q[0, :, 0], np.floor(1 / step[rows]) + 1)
                cells.append(Cells(frame.shape, step[rows], x / step[rows, None], q))
        return learn(_joined(cells), seed=self.recipe.seed, log=lambda line: None)

    def write(self, model: keras.Model, folder: Path) -> dict[str, Any]:
        """Network and tables."""
        codec = getattr(model, "codec", model)
        save_weights(codec, folder / "model.weights.h5")
        self.tables(codec).save(folder / "tables.npz")
        return {
            "task": "ntc",
            "model": {"name": "ntc", "params": codec.get_config()},
            "parameters": {part: getattr(codec, part).count_params() for part in ("encoder", "decoder")},
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
        slope = self.recipe.slope
        values = [sgcs - slope * step**2 * bits for step, (sgcs, bits) in self._tested(folder).items()]
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


def _scored(model: keras.Model, part: DirectionSet) -> tuple[float, float]:
    """Mean SGCS and bits."""
    from keras import ops

    sgcs, bits = [], []
    for i in range(0, len(part), _BLOCK):
        rows = np.arange(i, min(i + _BLOCK, len(part)))
        tokens, target = part.batch(rows, part.step[rows])
        coefficients, length = model(ops.convert_to_tensor(tokens), training=False)
        sgcs.append(1 - ops.convert_to_numpy(model.distortion(target, coefficients)))
        bits.append(ops.convert_to_numpy(length))
    return float(np.concatenate(sgcs).mean()), float(np.concatenate(bits).mean())


def _begin(decoder: Any, name: str) -> None:
    """Weights of a refinement of the same sizes."""
    network = TrainedRefiner(name).model
    pairs = [(decoder.embedding, network.embedding), (decoder.norm, network.norm), (decoder.head, network.head)]
    try:
        for own, other in (*pairs, *zip(decoder.stack, network.stack, strict=True)):
            own.set_weights(other.get_weights())
    except ValueError:
        raise ConfigError(
            "model.decoder", name, "a refinement with the dim, heads, hidden and layers of the decoder"
        ) from None


def _joined(cells: list[Any]) -> list[Any]:
    """Cells of one shape together."""
    from receivers.training.beamdelay import Cells

    found = []
    for shape in dict.fromkeys(c.shape for c in cells):
        parts = [c for c in cells if c.shape == shape]
        joined = [np.concatenate([getattr(c, key) for c in parts]) for key in ("step", "x")]
        found.append(Cells(shape, *joined, np.concatenate([c.q for c in parts], axis=1)))
    return found
