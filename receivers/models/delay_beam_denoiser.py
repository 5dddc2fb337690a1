"""Correction of linear channel estimates by convolutions over the power in bins of delay and beam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from receivers.models.autoencoder import arguments
from simulator.core.backend import Tensor
from simulator.core.errors import ConfigError

_FLOOR = 1e-2  # of a power, in units of the noise
_SPREAD = 4.0  # of the logarithm of a power


@keras.saving.register_keras_serializable(package="csilink")
class DelayBeamDenoiser(keras.Model):
    r"""Gains in every bin of delay and beam, which tell what to add to an LMMSE estimate.

    A channel has few paths, thus power in few bins, the same ones for all antennas and polarisations of a UE (streams);
    a filter over delays and one over beams cannot see which delay has which beam. With bins :math:`l` of the estimate
    and :math:`r` of what it has removed from the pilots,

    .. math:: \Delta = g_1 l + g_2 r,

    where the real gains come from :math:`\log |l|^2` and :math:`\log |r|^2` of the bin and from residual convolutions
    over the means of :math:`|l|^2` and :math:`|r|^2` over streams: in bins, over all delays, over all beams, over both.
    Bins are cyclic. Convolutions run over delays and columns of beams; rows see each other by their mean, so that
    panel, streams and pilots may have any number. The last layer starts at zero, the estimate thus at LMMSE. Common
    phase, and phases of bins, pass through.

    Args:
        width: channels.
        num_blocks: residual convolutions.
        kernel: their reach, (columns of beams, delays), odd.

    Call arguments:
        estimate: float32 ``[user, stream, row, column, delay, 2]`` (real, imaginary), in units of the deviation of the
            noise in a bin.
        removed: pilots less the estimate, same shape and unit.

    Returns:
        float32, the same shape: the change of the estimate.

    Raises:
        ConfigError: a parameter that does not fit.

    Source: ours; gains from powers in bins: Neumann, Wiese, Utschick, "Learning the MMSE channel estimator", IEEE
        Trans. Signal Process. 66(11), 2018.
    """

    def __init__(self, width: int = 24, num_blocks: int = 3, kernel: Sequence[int] = (3, 5), **kwargs: Any):
        config = arguments(locals())
        super().__init__(**kwargs)
        if width < 1 or num_blocks < 0:
            raise ConfigError("width, num_blocks", (width, num_blocks), "at least 1, at least 0")
        if len(kernel) != 2 or not all(k > 0 and k % 2 for k in kernel):
            raise ConfigError("kernel", list(kernel), "two odd numbers")
        self._config = {**config, "kernel": list(kernel)}
        self._reach = tuple(k // 2 for k in kernel)
        depths = [5, *[width] * num_blocks]
        self.convolutions = [layers.Conv2D(width, tuple(kernel), name=f"conv{i}") for i in range(len(depths))]
        self.rows = [layers.Dense(width, use_bias=False, name=f"rows{i}") for i in range(len(depths))]
        for convolution, row, depth in zip(self.convolutions, self.rows, depths, strict=True):
            convolution.build((None, None, None, depth))
            row.build((None, depth))
        self.context = layers.Dense(width, name="context")
        self.context.build((None, width))
        self.own = layers.Dense(width, use_bias=False, name="own")
        self.own.build((None, 2))
        self.head = layers.Dense(2, kernel_initializer="zeros", name="head")
        self.head.build((None, width))
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return dict(self._config)

    def call(self, estimate: Tensor, removed: Tensor, training: bool = False) -> Tensor:
        """Powers to gains, and gains to the change."""
        if estimate.shape[0] == 0:  # convolutions of some backends take no empty batch
            return estimate
        powers = [ops.sum(part**2, axis=-1) for part in (estimate, removed)]  # [user, stream, row, column, delay]
        own = ops.stack([_log(p) for p in powers], axis=-1)
        means = [ops.mean(p, axis=1) for p in powers]
        for axes in (3, (1, 2), (1, 2, 3)):
            means.append(ops.broadcast_to(ops.mean(means[0], axes, keepdims=True), ops.shape(means[0])))
        x = self._convolved(0, ops.stack([_log(p) for p in means], axis=-1))
        for i in range(1, len(self.convolutions)):
            x = x + self._convolved(i, ops.silu(x))
        y = self.own(own) + ops.expand_dims(self.context(ops.silu(x)), 1)
        gains = self.head(ops.silu(y))
        return estimate * gains[..., :1] + removed * gains[..., 1:]

    def _convolved(self, index: int, x: Tensor) -> Tensor:
        """Cyclic convolution over columns and delays of ``[user, row, column, delay, channel]``, and mean of rows."""
        users, rows, columns, delays, depth = ops.shape(x)
        y = ops.reshape(x, (users * rows, columns, delays, depth))
        for axis, (reach, count) in enumerate(zip(self._reach, (columns, delays), strict=True), start=1):
            y = ops.take(y, ops.arange(-reach, count + reach) % count, axis=axis)
        y = ops.reshape(self.convolutions[index](y), (users, rows, columns, delays, -1))
        return y + self.rows[index](ops.mean(x, axis=1, keepdims=True))


def _log(power: Tensor) -> Tensor:
    return ops.log(power + _FLOOR) / _SPREAD
