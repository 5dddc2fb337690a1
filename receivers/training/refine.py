"""Codebooks refined by a network: Algorithm 1 (gNB only) and Algorithm 2 (both sides) of LVM4CF."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from receivers.codebooks.search import best_codeword
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
    """

    epochs: int
    batch_size: int = 512
    learning_rate: float = 1e-3
    update_interval: int | None = None
    seed: int = 0


@dataclass
class Refined:
    """Codebook of the gNB, complex64 ``[codeword, port]``, unit norm, and the course of the training.

    Args:
        codebook: refined codewords; with Algorithm 2 the UE searches these too.
        history: one entry for each epoch (``cosine_train``) or update (``cosine_val``, ``kept``).
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


def refine_codebook(
    make: Callable[[int], Any],
    base: Array,
    train: Array,
    val: Array,
    schedule: RefineSchedule,
    num_pol: int = 2,
    progress: Progress | None = None,
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
        num_pol: polarisations of the panel, one token each.
        progress: receives a line from time to time.

    Source: Zhuang et al., arXiv:2505.08566, Algorithms 1 and 2.
    """
    train, val = directions(train), directions(val)
    best = Refined(base)
    if schedule.update_interval is None:
        _static(best, make(schedule.seed), train, val, schedule, num_pol, progress)
    else:
        _dynamic(best, make, train, val, schedule, num_pol, progress)
    return best


def _static(
    best: Refined, model: Any, train: Array, val: Array, schedule: RefineSchedule, num_pol: int, say: Progress | None
) -> None:
    """Algorithm 1: the UE's choices are fixed, so one search serves all epochs."""
    base = best.codebook
    index = best_codeword(val.conj()[:, None], base)
    best_cosine, weights = _cosine(val, base[index]), None
    best.history.append({"epoch": 0, "cosine_val": best_cosine, "kept": True})
    for epoch in _train(model, base, train, schedule, schedule.epochs, num_pol):
        cosine = _cosine(val, refine(model, base[index], num_pol))
        kept = cosine > best_cosine
        best.history.append({"epoch": epoch, "cosine_val": cosine, "kept": kept})
        if kept:
            best_cosine, weights = cosine, model.get_weights()
        if say is not None and (epoch % 10 == 0 or epoch == schedule.epochs):
            say(f"epoch {epoch}: cosine {cosine:.4f} (best {best_cosine:.4f})")
    if weights is not None:
        model.set_weights(weights)
        best.codebook = refine(model, base, num_pol)


def _dynamic(
    best: Refined,
    make: Callable[[int], Any],
    train: Array,
    val: Array,
    schedule: RefineSchedule,
    num_pol: int,
    say: Progress | None,
) -> None:
    """Algorithm 2: both sides take the refined codewords, and refinement starts anew from them."""
    best_cosine = mean_cosine(val, best.codebook, best.codebook)
    best.history.append({"epoch": 0, "cosine_val": best_cosine, "kept": True})
    interval = schedule.update_interval or schedule.epochs
    for turn in range(-(-schedule.epochs // interval)):
        model = make(derive(schedule.seed, "turn", turn) if turn else schedule.seed)
        for _ in _train(model, best.codebook, train, schedule, interval, num_pol):
            pass
        candidate = refine(model, best.codebook, num_pol)
        cosine = mean_cosine(val, candidate, candidate)
        kept = cosine > best_cosine
        best.history.append({"epoch": (turn + 1) * interval, "cosine_val": cosine, "kept": kept})
        if kept:
            best.codebook, best_cosine = candidate, cosine
        if say is not None:
            say(f"epoch {(turn + 1) * interval}: cosine {cosine:.4f} (best {best_cosine:.4f})")


def refine(model: Any, codebook: Array, num_pol: int) -> Array:
    """Codewords complex64 ``[codeword, port]`` through a refiner, unit norm."""
    from keras import ops

    from receivers.models.codeword_refiner import from_tokens, to_tokens

    blocks = (codebook[i : i + 4096] for i in range(0, len(codebook), 4096))
    out = [from_tokens(ops.convert_to_numpy(model(to_tokens(words, num_pol), training=False))) for words in blocks]
    return np.concatenate(out)


def _train(
    model: Any, codebook: Array, train: Array, schedule: RefineSchedule, epochs: int, num_pol: int
) -> Iterator[int]:
    """Train on pairs of chosen codeword and true direction; yields the number of epochs done."""
    import keras

    from receivers.models.codeword_refiner import WholeCodebook, to_tokens

    index = best_codeword(train.conj()[:, None], codebook)
    words, target = to_tokens(codebook, num_pol), to_tokens(train, num_pol)
    small = len(codebook) < schedule.batch_size  # each word once a step is then less work than one for each sample
    network, x = (WholeCodebook(model, words), index.astype(np.int32)) if small else (model, words[index])
    steps = -(-len(train) // schedule.batch_size) * epochs
    rate = keras.optimizers.schedules.CosineDecay(schedule.learning_rate, steps, alpha=0.01)
    network.compile(
        keras.optimizers.Adam(rate, epsilon=1e-8), loss=cosine_loss, jit_compile=keras.backend.backend() == "jax"
    )
    for epoch in range(epochs):
        network.fit(
            x, target, batch_size=schedule.batch_size, initial_epoch=epoch, epochs=epoch + 1, verbose=0
        )  # shuffles with Keras' seed, which `make` sets
        yield epoch + 1
