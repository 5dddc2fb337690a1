"""Codebooks refined by a network: Algorithm 1 (gNB only) and Algorithm 2 (both sides) of LVM4CF."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from receivers.codebooks.search import best_codeword
from receivers.training.recipe import Recipe, StageSection
from receivers.training.task import Task
from simulator.core.seeding import derive

Progress = Callable[[str], None]
Array = np.ndarray


@dataclass(frozen=True)
class RefineSchedule:
    """How a refiner is trained.

    Args:
        epochs: passes over the training channels.
        batch_size: pairs of a step.
        learning_rate: of Adam, falling to a hundredth along a cosine (the paper: 1e-3, decay not given).
        update_interval: epochs after which Algorithm 2 replaces the codebook (the paper: 40 of 400).
        seed: of the order of the samples and of new initial weights.
        full_batch: an epoch is one step over all training channels, in which the network refines every word once, as
            the algorithms are written; ``batch_size`` is not used, and up to 100 epochs pass between two checkpoints.
    """

    epochs: int
    batch_size: int = 512
    learning_rate: float = 1e-3
    update_interval: int | None = None
    seed: int = 0
    full_batch: bool = False


@dataclass
class Refined:
    """Codebook of the gNB, complex64 ``[codeword, port]``, unit norm, and the course of the training.

    Args:
        codebook: refined codewords; with Algorithm 2 the UE searches these too.
        history: ``cosine_val`` and ``kept`` of each epoch (Algorithm 1) or update (Algorithm 2).
    """

    codebook: Array
    history: list[dict[str, Any]] = field(default_factory=list)


def directions(h: Array) -> Array:
    """Unit-norm transmit directions :math:`h^* / |h|` of channel rows complex ``[..., port]``."""
    norm = np.linalg.norm(h, axis=-1, keepdims=True)
    return (np.conj(h) / np.maximum(norm, 1e-20)).astype(np.complex64)


def mean_cosine(v: Array, searched: Array, used: Array) -> float:
    """Mean of |g^H v| over directions ``v [sample, port]``: the UE searches one codebook, the gNB reads the other."""
    index = best_codeword(v.conj()[:, None], searched)
    return _cosine(v, used[index])


def _cosine(v: Array, g: Array) -> float:
    """Mean of |g^H v| over unit-norm rows."""
    return float(np.mean(np.abs(np.sum(g.conj() * v, axis=1))))


def cosine_loss(y_true: Any, y_pred: Any) -> Any:
    r"""Minus the cosine :math:`|g^H v| / (\|g\| \|v\|)` of tokens ``[batch, pol, (Re, Im)]`` (LVM4CF, Eq. 25)."""
    from keras import ops

    half = y_true.shape[-1] // 2
    vr, vi, gr, gi = y_true[..., :half], y_true[..., half:], y_pred[..., :half], y_pred[..., half:]
    real = ops.sum(gr * vr + gi * vi, axis=(1, 2))
    imag = ops.sum(gr * vi - gi * vr, axis=(1, 2))
    norm2 = ops.sum(ops.square(y_pred), axis=(1, 2)) * ops.sum(ops.square(y_true), axis=(1, 2))
    return -ops.sqrt((ops.square(real) + ops.square(imag)) / ops.maximum(norm2, 1e-20) + 1e-12)


def block_loss(y_true: Any, y_pred: Any) -> Any:
    """:func:`cosine_loss` of :func:`blocks` as a product of matrices.

    Args:
        y_true: tokens of unit norm, or zeros, ``[block, size, pol, (Re, Im)]``.
        y_pred: tokens of the word of each block ``[block, 1, pol, (Re, Im)]``.

    Returns:
        loss ``[block, size]``.
    """
    from keras import ops

    real, imag = ops.split(y_pred, 2, axis=-1)
    columns = [ops.reshape(g, (ops.shape(g)[0], -1)) for g in (y_pred, ops.concatenate([-imag, real], axis=-1))]
    g = ops.stack(columns, axis=-1) / ops.sqrt(ops.maximum(ops.sum(ops.square(y_pred), axis=(2, 3)), 1e-20))[..., None]
    z = ops.matmul(ops.reshape(y_true, (*ops.shape(y_true)[:2], -1)), g)
    return -ops.sqrt(ops.sum(ops.square(z), axis=-1) + 1e-12)


def refine_codebook(
    make: Callable[[int], Any],
    base: Array,
    train: Array,
    val: Array,
    schedule: RefineSchedule,
    folder: Path,
    num_pol: int = 2,
    progress: Progress = print,
) -> Refined:
    """Refine ``base`` with the network that ``make(seed)`` builds.

    Without ``update_interval`` Algorithm 1: the UE keeps searching ``base``, the epoch with the best validation cosine
    wins. With it Algorithm 2: after every interval the network's codewords replace the codebook of both sides if the
    validation cosine rises, and the network starts anew (``make`` with another seed).

    Args:
        make: builds an uncompiled refiner (tokens to tokens).
        base: complex64 ``[codeword, port]``, unit norm.
        train: channel rows complex64 ``[sample, port]``.
        val: channel rows complex64 ``[sample, port]`` that decide.
        schedule: epochs, steps, seeds.
        folder: checkpoints, one folder for each training.
        num_pol: polarisations of the panel, one token each.
        progress: receives lines.

    Source: Zhuang et al., arXiv:2505.08566, Algorithms 1 and 2.
    """
    from receivers.training.loop import run

    train, val = directions(train), directions(val)
    best = Refined(base)
    cosine = mean_cosine(val, base, base)
    best.history.append({"epoch": 0, "cosine_val": cosine, "kept": True})
    interval = schedule.update_interval
    for turn in range(-(-schedule.epochs // (interval or schedule.epochs))):
        seed = derive(schedule.seed, "turn", turn) if turn else schedule.seed
        task = Refinement(partial(make, seed), best.codebook, train, val, schedule, num_pol, seed)
        _, history = run(task, folder / f"turn-{turn}", progress)
        before = cosine
        for number, entry in enumerate(history["epochs"], 1):
            if "val_loss" in entry:
                found, epoch = -entry["val_loss"], turn * (interval or 0) + number * task.repeats
                best.history.append({"epoch": epoch, "cosine_val": found, "kept": found > cosine})
                cosine = max(cosine, found)
        if cosine > before:
            best.codebook = refine(task.refiner, best.codebook, num_pol)
    return best


class Refinement(Task):
    """One network that refines the words of one codebook; the UE's choice of the words is fixed.

    Args:
        make: builds the refiner.
        codebook: complex64 ``[codeword, port]``, unit norm.
        train: directions complex64 ``[sample, port]``.
        val: directions that decide.
        schedule: epochs, steps.
        num_pol: polarisations of the panel, one token each.
        seed: of the order of the samples.
    """

    schema = Recipe
    curve = ()

    def __init__(
        self,
        make: Callable[[], Any],
        codebook: Array,
        train: Array,
        val: Array,
        schedule: RefineSchedule,
        num_pol: int,
        seed: int,
    ):
        super().__init__(None)
        self.make, self.codebook, self.train, self.val = make, codebook, train, val
        self.schedule, self.num_pol, self.seed = schedule, num_pol, seed
        self.pairs = len(train) if schedule.full_batch else schedule.batch_size
        length = schedule.update_interval or schedule.epochs
        self.repeats = max(n for n in range(1, 101) if length % n == 0) if schedule.full_batch else 1

    @property
    def described(self) -> dict[str, Any]:
        """Schedule, seed and codebook."""
        return {**asdict(self.schedule), "seed": self.seed, "codebook": sha256(self.codebook.tobytes()).hexdigest()}

    @property
    def stages(self) -> tuple[StageSection, ...]:
        """Algorithm 1: all epochs; 2: those up to the next update."""
        epochs = self.schedule.update_interval or self.schedule.epochs
        return (StageSection(epochs=epochs // self.repeats, learning_rate=self.schedule.learning_rate),)

    @property
    def validate_every(self) -> int:  # type: ignore[override]
        """Algorithm 1: every epoch; 2: the last."""
        return (self.schedule.update_interval or 1) // self.repeats or 1

    @property
    def num_steps(self) -> int:
        """Batches of an epoch, the last one perhaps smaller; those of a full batch are counted together."""
        return self.repeats * -(-len(self.train) // self.pairs)

    @property
    def epoch_samples(self) -> int:
        """All training channels."""
        return self.repeats * len(self.train)

    def build(self, folder: Path, progress: Progress) -> Any:
        """The refiner, or all of a small codebook at once: then each word once a step is less work."""
        from keras import ops

        from receivers.models.codeword_refiner import WholeCodebook, to_tokens

        self.refiner = self.make()
        words, self.target = to_tokens(self.codebook, self.num_pol), to_tokens(self.train, self.num_pol)
        index = best_codeword(self.train.conj()[:, None], self.codebook)
        small = self.schedule.full_batch or len(self.codebook) < self.pairs
        self.x = index.astype(np.int32) if small else words[index]
        if self.schedule.full_batch:
            self.whole = tuple(map(ops.convert_to_tensor, blocks(self.x, self.target)))
        return WholeCodebook(self.refiner, words) if small else self.refiner

    def compile(self, model: Any, stage: StageSection) -> None:
        """Adam with a cosine to a hundredth."""
        import keras

        from receivers.training.steps import jit_compiled

        steps = self.num_steps * stage.epochs
        rate = keras.optimizers.schedules.CosineDecay(stage.learning_rate, steps, alpha=0.01)
        optimizer = keras.optimizers.Adam(rate, epsilon=1e-8)
        loss = block_loss if self.schedule.full_batch else cosine_loss
        model.compile(optimizer, loss=loss, jit_compile=jit_compiled())
        optimizer.build(model.trainable_variables)

    def batches(self, epoch: int) -> Iterator[tuple[Any, ...]]:
        """Pairs of chosen codeword and true direction."""
        if self.schedule.full_batch:
            yield from repeat(self.whole, self.repeats)
            return
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.train))
        for start in range(0, len(order), self.pairs):
            pick = order[start : start + self.pairs]
            yield self.x[pick], self.target[pick]

    def validate(self, model: Any) -> dict[str, float]:
        """Minus the cosine: the gNB alone has the refined words (Algorithm 1), or both sides (2)."""
        words = refine(self.refiner, self.codebook, self.num_pol)
        searched = words if self.schedule.update_interval else self.codebook
        return {"val_loss": -mean_cosine(self.val, searched, words)}

    def decibel(self, key: str) -> bool:
        """A cosine is not."""
        return False

    def write(self, model: Any, folder: Path) -> dict[str, Any]:
        """Nothing: the codebook is written by its task."""
        return {}


def blocks(index: Array, target: Array, size: int = 32) -> tuple[Array, Array, Array]:
    """Pairs of a full batch, those of one word together: then a step takes each word once a block, not once a pair.

    Args:
        index: word of every pair, int32 ``[pair]``.
        target: float32 ``[pair, pol, (Re, Im)]``.
        size: pairs of a block.

    Returns:
        words int32 ``[block, 1, 1]``, targets ``[block, size, pol, (Re, Im)]``, zeros where a block is not full, and
        weights float32 ``[block, size]`` with which the mean over all places is that over the pairs.
    """
    order = np.argsort(index, kind="stable")
    words, first, counts = np.unique(index[order], return_index=True, return_counts=True)
    num = -(-counts // size)
    rank = np.arange(len(order)) - np.repeat(first, counts)
    block, place = np.repeat(np.cumsum(num) - num, counts) + rank // size, rank % size
    y = np.zeros((num.sum(), size, *target.shape[1:]), np.float32)
    y[block, place] = target[order]
    weight = np.zeros(y.shape[:2], np.float32)
    weight[block, place] = weight.size / len(order)
    return np.repeat(words, num).astype(np.int32)[:, None, None], y, weight


def refine(model: Any, codebook: Array, num_pol: int) -> Array:
    """Codewords complex64 ``[codeword, port]`` through a refiner, unit norm."""
    from keras import ops

    from receivers.models.codeword_refiner import from_tokens, to_tokens

    blocks = (codebook[i : i + 4096] for i in range(0, len(codebook), 4096))
    out = [from_tokens(ops.convert_to_numpy(model(to_tokens(words, num_pol), training=False))) for words in blocks]
    return np.concatenate(out)
