"""Learning rates over the steps of a training."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

_MOST_STEPS, _MOST_CYCLES = 2**31, 4096


@keras.saving.register_keras_serializable(package="csilink")
class WarmRestarts(keras.optimizers.schedules.LearningRateSchedule):
    r"""Cosine annealing with warm restarts: cycles of lengths :math:`T_0, m T_0, m^2 T_0, \dots`.

    In a cycle the rate rises linearly from ``base`` to its peak within ``warmup`` steps and falls back to ``base``
    along half a cosine; every peak is ``gamma`` times the one before (both counted from ``base``).

    Args:
        base: lowest rate.
        peak: largest rate of the first cycle.
        first: steps of the first cycle.
        multiplier: m, growth of the cycles, at least 1.
        gamma: of the peaks.
        warmup: steps of the rise.

    Source: Loshchilov, Hutter, ICLR 2017 (SGDR), Eq. (5), with warm-up and decay of the peak as in NF-KD's code.
    """

    def __init__(
        self, base: float, peak: float, first: int, multiplier: float = 2, gamma: float = 0.8, warmup: int = 0
    ):
        self._config = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.base, self.peak, self.first = base, peak, first
        self.multiplier, self.gamma, self.warmup = multiplier, gamma, warmup
        # Starts of growing cycles as a table: a logarithm in float32 would miss some of them by a step.
        starts, length = [0.0], float(first)
        while multiplier > 1 and starts[-1] < _MOST_STEPS and len(starts) < _MOST_CYCLES:
            starts.append(starts[-1] + length)
            length *= multiplier
        self._starts = np.float32(starts)

    def __call__(self, step: Any) -> Any:
        """Rate of a step."""
        step = ops.cast(step, "float32")
        if self.multiplier == 1:
            cycle = ops.floor(step / self.first)
            start, length = cycle * self.first, ops.ones_like(step) * self.first
        else:
            starts = ops.convert_to_tensor(self._starts)
            index = ops.sum(ops.cast(ops.expand_dims(step, -1) >= starts[1:], "int32"), axis=-1)
            cycle = ops.cast(index, "float32")
            start, length = ops.take(starts, index), self.first * self.multiplier**cycle
        done = step - start
        peak = self.base + (self.peak - self.base) * self.gamma**cycle
        fall = 0.5 * (1.0 + ops.cos(math.pi * (done - self.warmup) / ops.maximum(length - self.warmup, 1.0)))
        share = ops.where(done < self.warmup, done / max(self.warmup, 1), fall)
        return self.base + (peak - self.base) * share

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return dict(self._config)


@keras.saving.register_keras_serializable(package="csilink")
class Trapezoid(keras.optimizers.schedules.LearningRateSchedule):
    """Linear rise, plateau, linear fall to zero.

    The plateau can be left at any time: runs of several lengths share their beginning.

    Args:
        peak: of the plateau.
        steps: all.
        warmup: steps of the rise.
        decay: steps of the fall.

    Source: Hu et al., arXiv:2404.06395 (MiniCPM), Sec. 4 (warmup-stable-decay).
    """

    def __init__(self, peak: float, steps: int, warmup: int = 0, decay: int = 0):
        self.peak, self.steps, self.warmup, self.decay = peak, steps, warmup, decay

    def __call__(self, step: Any) -> Any:
        """Rate of a step."""
        step = ops.cast(step, "float32")
        rise = (step + 1) / max(self.warmup, 1)
        fall = (self.steps - step) / max(self.decay, 1)
        return self.peak * ops.maximum(ops.minimum(ops.minimum(rise, fall), 1.0), 0.0)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup, "decay": self.decay}


@keras.saving.register_keras_serializable(package="csilink")
class GrownBatches(keras.optimizers.schedules.LearningRateSchedule):
    """Rates of a schedule of equal batches, at the samples seen where batches grow from epoch to epoch.

    Args:
        rates: by batches of one size.
        steps: of each epoch.
        sizes: of the batches of each epoch, in batches of that size.
    """

    def __init__(self, rates: keras.optimizers.schedules.LearningRateSchedule, steps: list[int], sizes: list[int]):
        self.rates, self.steps, self.sizes = rates, steps, sizes
        self._first = np.cumsum([0, *steps])[:-1].astype(np.int32)  # step and batch at which each epoch begins
        self._seen = np.cumsum([0, *np.multiply(steps, sizes)])[:-1].astype(np.int32)

    def __call__(self, step: Any) -> Any:
        """Rate of a step."""
        step = ops.cast(step, "int32")
        epoch = ops.sum(ops.cast(ops.expand_dims(step, -1) >= self._first[1:], "int32"), axis=-1)
        first, seen, size = (ops.take(np.int32(x), epoch) for x in (self._first, self._seen, self.sizes))
        return self.rates(seen + (step - first) * size)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        rates = keras.saving.serialize_keras_object(self.rates)
        return {"rates": rates, "steps": self.steps, "sizes": self.sizes}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> GrownBatches:
        """A schedule of :meth:`get_config`."""
        return cls(keras.saving.deserialize_keras_object(config["rates"]), config["steps"], config["sizes"])
