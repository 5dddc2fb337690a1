"""Random numbers of Sionna's channels by drop: a stand-in for its generator while a channel is traced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from sionna.phy import config

from simulator.core.seeding import by_drop


class Draw(NamedTuple):
    """One call of the generator."""

    name: str
    kind: str  # of numpy.random.Generator
    count: int  # numbers of one drop


class DropDraws:
    """Hands out random numbers that are made elsewhere; the draws requested while a graph is traced are its plan.

    Every draw has a name, that of its call or its kind and shape, with a number where it repeats. A drop's numbers
    depend on seed, drop and name (:func:`~simulator.core.seeding.by_drop`), not on draws of other names nor on other
    drops. The leading axis of a draw is the batch, or batch times links.

    Args:
        batch_size: drops.
        feed: numbers of a draw, float32 ``[batch, number]``.
    """

    def __init__(self, batch_size: int, feed: Callable[[Draw], tf.Tensor]):
        self._batch_size, self._feed = batch_size, feed
        self.plan, self._names = list[Draw](), Counter[str]()

    def uniform(
        self, shape: Any, minval: Any = 0, maxval: Any = None, dtype: Any = tf.float32, name: str | None = None
    ) -> tf.Tensor:
        """As the method of :class:`tf.random.Generator`."""
        low, high = minval, 1 if maxval is None else maxval
        share = self._take(shape, "random", name)
        dtype = tf.as_dtype(dtype)
        if dtype.is_integer:
            steps = tf.cast(high, tf.float32) - tf.cast(low, tf.float32)
            return tf.cast(low, dtype) + tf.cast(tf.minimum(tf.floor(share * steps), steps - 1), dtype)
        low, high = (tf.cast(x, dtype) for x in (low, high))
        return low + (high - low) * tf.cast(share, dtype)

    def normal(
        self, shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = tf.float32, name: str | None = None
    ) -> tf.Tensor:
        """As the method of :class:`tf.random.Generator`."""
        mean, stddev = (tf.cast(x, dtype) for x in (mean, stddev))
        return mean + stddev * tf.cast(self._take(shape, "standard_normal", name), dtype)

    def _take(self, shape: Any, kind: str, name: str | None) -> tf.Tensor:
        size = tf.broadcast_to(0.0, shape).shape  # static, also where shape is a tensor
        if not size.is_fully_defined() or size.rank == 0 or size[0] % self._batch_size:
            raise NotImplementedError(f"a draw of {size}, whose first axis is no multiple of {self._batch_size} drops")
        name = name or f"{kind} {size[1:]}"
        self._names[name] += 1
        self.plan.append(Draw(f"{name} {self._names[name]}", kind, size.num_elements() // self._batch_size))
        return tf.reshape(self._feed(self.plan[-1]), size)


@contextmanager
def _in_place(draws: DropDraws) -> Iterator[DropDraws]:
    before, config._tf_rng = config._tf_rng, draws
    try:
        yield draws
    finally:
        config._tf_rng = before


def fed(numbers: tf.Tensor) -> AbstractContextManager[DropDraws]:
    """Sionna draws from a tensor ``[batch, number]`` that :func:`numbers_of` fills by the plan of these draws."""
    used = 0

    def feed(draw: Draw) -> tf.Tensor:
        nonlocal used
        start, used = used, used + draw.count
        return numbers[:, start:used]

    return _in_place(DropDraws(numbers.shape[0], feed))


def drawn(batch_size: int, *, seed: int, first: int = 0) -> AbstractContextManager[DropDraws]:
    """Sionna draws the same numbers outside a graph."""
    return _in_place(DropDraws(batch_size, lambda draw: tf.constant(numbers_of([draw], batch_size, seed, first))))


def numbers_of(plan: list[Draw], batch_size: int, seed: int, first: int) -> np.ndarray:
    """Random numbers of a plan for the drops ``first``, ``first + 1``, ..., float32 ``[batch, number]``."""
    out = np.empty((batch_size, sum(draw.count for draw in plan)), np.float32)
    start = 0
    for name, kind, count in plan:
        rows = iter(out[:, start : start + count])
        by_drop(seed, first, batch_size, lambda rng, rows=rows, kind=kind: _fill(rng, kind, next(rows)), name)
        start += count
    return out


def _fill(rng: np.random.Generator, kind: str, row: np.ndarray) -> None:
    getattr(rng, kind)(out=row, dtype=np.float32)
