"""Base of every network that predicts a channel as sequences: one antenna, a few entries, step after step."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from simulator.core.backend import Tensor
from simulator.core.errors import ConfigError


class SequencePredictor(keras.Model):
    """History of a group of neighbouring entries -> its future.

    A subclass gives ``call(history, num_future, training=False)`` and makes its layers at construction.

    Args:
        group: neighbouring entries of one antenna that are predicted together.
        config: constructor arguments of the subclass.

    Call arguments:
        history: float32 ``[batch, step, 2 * group]``, (real, imaginary) of the entries in turn, the latest step last.
            Mean power of an entry about 1: networks have no scale of their own.
        num_future: steps to predict.

    Returns:
        float32 ``[batch, num_future, 2 * group]``.

    Raises:
        ConfigError: a parameter or shape that does not fit.
    """

    num_history = 1  # steps that a history must have

    def __init__(self, group: int, config: dict[str, Any], **kwargs: Any):
        super().__init__(**kwargs)
        if group < 1:
            raise ConfigError("group", group, "at least 1")
        self.group, self._config = group, {**config}

    def __call__(self, history: Tensor, num_future: int, **kwargs: Any) -> Tensor:
        """Validate here: Keras would wrap a ConfigError raised in ``call``."""
        self.check(history.shape, num_future)
        return super().__call__(history, num_future=num_future, **kwargs)

    def check(self, shape: tuple[int | None, ...], num_future: int) -> None:
        """Raise the error that a call with a history of this shape would raise."""
        if len(shape) != 3 or not shape[1] or shape[2] != 2 * self.group:
            raise ConfigError("history", tuple(shape), f"[batch, step, {2 * self.group}] with 1 step or more")
        if num_future < 1:
            raise ConfigError("num_future", num_future, "at least 1")

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return dict(self._config)

    def check_forecast(self, shape: tuple[int | None, ...], count: int, axis: int = 0) -> None:
        """Raise the error that a forecast of a history of this shape would raise."""
        if axis not in (0, 1):
            raise ConfigError("axis", axis, "0 (slots), 1 (subcarriers)")
        if count < 1:
            raise ConfigError("count", count, "at least 1")
        if len(shape) != 5 or shape[-1] != 2 or not all(shape[1:4]):
            raise ConfigError("history", tuple(shape), "[batch, slot, subcarrier, antenna, 2], known but for batch")
        self.check((None, shape[1 + axis], 2 * self.group), count)

    def forecast(self, history: Tensor, count: int, axis: int = 0) -> Tensor:
        """Future of a channel, every antenna and group on its own.

        The axis that is not predicted is cut into groups of ``group`` entries; an incomplete last group is padded with
        zeros, which the network sees; their predictions are dropped.

        Args:
            history: float32 ``[batch, slot, subcarrier, antenna, 2]`` (real, imaginary), the latest slot or the highest
                subcarrier last.
            count: entries to predict along ``axis``, at least 1.
            axis: 0 predicts slots from slots, in groups of subcarriers; 1 subcarriers from those below, in
                groups of slots.

        Returns:
            float32 ``[batch, count, subcarrier, antenna, 2]`` or ``[batch, slot, count, antenna, 2]``.

        Raises:
            ConfigError: a parameter or shape that does not fit.
        """
        x = ops.convert_to_tensor(history)
        self.check_forecast(x.shape, count, axis)
        if axis:
            return ops.swapaxes(self.forecast(ops.swapaxes(x, 1, 2), count), 1, 2)
        steps, entries, antennas = x.shape[1:4]
        size = self.group
        groups = -(-entries // size)
        if groups * size > entries:
            x = ops.pad(x, [(0, 0), (0, 0), (0, groups * size - entries), (0, 0), (0, 0)])
        x = ops.transpose(ops.reshape(x, (-1, steps, groups, size, antennas, 2)), (0, 2, 4, 1, 3, 5))
        y = self(ops.reshape(x, (-1, steps, 2 * size)), count)
        y = ops.transpose(ops.reshape(y, (-1, groups, antennas, count, size, 2)), (0, 3, 1, 4, 2, 5))
        return ops.reshape(y, (-1, count, groups * size, antennas, 2))[:, :, :entries]
