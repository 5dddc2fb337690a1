"""Mamba: selective state-space block on a sequence (one direction) or on an image (four directions)."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import initializers, layers, ops

from receivers.models.selective_scan import selective_scan
from simulator.core.backend import Shape, Tensor

# Range of the steps at the start, and their least value (released code).
_DT_MIN, _DT_MAX, _DT_FLOOR = 1e-3, 0.1, 1e-4


@keras.saving.register_keras_serializable(package="csilink")
class SelectiveScan(layers.Layer):
    r"""Selective state-space model over the channels of one or several sequences, with its projections.

    .. math:: (\delta, B, C) = x W_x, \qquad \Delta = \operatorname{softplus}(\delta W_\Delta + b_\Delta),
        \qquad A = -e^{A_{\log}}

    Every direction has weights of its own.

    Args:
        state: N, states of one channel.
        dt_rank: width of :math:`\delta`.

    Call arguments:
        x: float32 ``[batch, direction, token, channel]``.

    Returns:
        float32, same shape, see :func:`selective_scan`.
    """

    def __init__(self, state: int, dt_rank: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.state, self.dt_rank = state, dt_rank

    def build(self, shape: Shape) -> None:
        """Weights; steps start log-uniform in [0.001, 0.1], A at -1 .. -N."""
        directions, channels = shape[1], shape[3]
        uniform = initializers.RandomUniform(-(self.dt_rank**-0.5), self.dt_rank**-0.5)
        kernel = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        self.x_proj = self.add_weight(
            shape=(directions, channels, self.dt_rank + 2 * self.state), initializer=kernel, name="x_proj"
        )
        self.dt_proj = self.add_weight(shape=(directions, self.dt_rank, channels), initializer=uniform, name="dt_proj")
        self.dt_bias = self.add_weight(shape=(directions, channels), initializer=_StepBias(), name="dt_bias")
        self.a_log = self.add_weight(
            shape=(directions, channels, self.state),
            initializer=lambda shape, dtype: ops.cast(
                np.broadcast_to(np.log(np.arange(1, shape[-1] + 1)), shape), dtype
            ),
            name="a_log_factor",
        )
        self.skip = self.add_weight(shape=(directions, channels), initializer="ones", name="d_factor")

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Shape of the input; without this method Keras traces the whole call to learn it."""
        return shape

    def call(self, x: Tensor) -> Tensor:
        """Project and scan."""
        dt, b, c = ops.split(_project(x, self.x_proj), (self.dt_rank, self.dt_rank + self.state), axis=-1)
        dt = ops.softplus(_project(dt, self.dt_proj) + self.dt_bias[:, None])
        return selective_scan(x, dt, -ops.exp(self.a_log), b, c, self.skip)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "state": self.state, "dt_rank": self.dt_rank}


@keras.saving.register_keras_serializable(package="csilink")
class Mamba(layers.Layer):
    """Mamba block: projection, depthwise causal convolution, selective scan, gate, projection.

    Args:
        state: N, states of one channel.
        width: taps of the convolution.
        expand: inner channels over those of the input.
        dt_rank: width of the projection of the steps; None: one sixteenth of the channels, rounded up.
        bias: projections have a bias.
        conv_bias: the convolution has one.

    Call arguments:
        x: float32 ``[batch, token, channel]``.

    Returns:
        float32, same shape.

    Source: Gu, Dao, arXiv:2312.00752, Fig. 3 and Sec. 3.4; released code (Apache-2.0), ``Mamba`` version 1.
    """

    def __init__(
        self,
        state: int = 16,
        width: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
        bias: bool = False,
        conv_bias: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.state, self.width, self.expand, self.dt_rank = state, width, expand, dt_rank
        self.bias, self.conv_bias = bias, conv_bias

    def build(self, shape: Shape) -> None:
        """Sublayers."""
        channels = shape[-1]
        inner = self.expand * channels
        self.in_proj = layers.Dense(2 * inner, use_bias=self.bias, name="in_proj")
        self.conv = layers.DepthwiseConv1D(self.width, padding="valid", use_bias=self.conv_bias, name="conv")
        self.scan = SelectiveScan(self.state, self.dt_rank or math.ceil(channels / 16), name="scan")
        self.out_proj = layers.Dense(channels, use_bias=self.bias, name="out_proj")
        self.in_proj.build(shape)
        self.conv.build((shape[0], None, inner))
        self.scan.build((shape[0], 1, shape[1], inner))
        self.out_proj.build((*shape[:-1], inner))

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Shape of the input; without this method Keras traces the whole call to learn it."""
        return shape

    def call(self, x: Tensor) -> Tensor:
        """Output of every token from this and earlier tokens."""
        u, gate = ops.split(self.in_proj(x), 2, axis=-1)
        u = ops.silu(self.conv(ops.pad(u, ((0, 0), (self.width - 1, 0), (0, 0)))))
        y = self.scan(u[:, None])[:, 0]
        return self.out_proj(y * ops.silu(gate))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = ("state", "width", "expand", "dt_rank", "bias", "conv_bias")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


@keras.saving.register_keras_serializable(package="csilink")
class Mamba2D(layers.Layer):
    """Mamba block on an image (SS2D): four scans, along rows and columns, forward and backward; their sum.

    Args:
        state: N, states of one channel.
        expand: inner channels over those of the input.
        dt_rank: width of the projection of the steps; None: one sixteenth of the channels, rounded up.

    Call arguments:
        x: float32 ``[batch, height, width, channel]``.

    Returns:
        float32, same shape.

    Source: Liu et al., "VMamba: visual state space model", NeurIPS 2024, Sec. 4.2.
    """

    def __init__(self, state: int = 16, expand: int = 2, dt_rank: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.state, self.expand, self.dt_rank = state, expand, dt_rank

    def build(self, shape: Shape) -> None:
        """Sublayers."""
        channels = shape[-1]
        inner = self.expand * channels
        self.in_proj = layers.Dense(2 * inner, use_bias=False, name="in_proj")
        self.conv = layers.DepthwiseConv2D(3, padding="same", name="conv")
        self.scan = SelectiveScan(self.state, self.dt_rank or math.ceil(channels / 16), name="scan")
        self.norm = layers.LayerNormalization(epsilon=1e-5, name="norm")
        self.out_proj = layers.Dense(channels, use_bias=False, name="out_proj")
        self.in_proj.build(shape)
        inside = (*shape[:-1], inner)
        self.conv.build(inside)
        self.scan.build((shape[0], 4, shape[1] * shape[2], inner))
        self.norm.build(inside)
        self.out_proj.build(inside)

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Shape of the input; without this method Keras traces the whole call to learn it."""
        return shape

    def call(self, x: Tensor) -> Tensor:
        """Output of every pixel from all pixels."""
        height, width = x.shape[1:3]
        u, gate = ops.split(self.in_proj(x), 2, axis=-1)
        u = ops.silu(self.conv(u))
        inner = u.shape[-1]
        rows = ops.reshape(u, (-1, height * width, inner))
        columns = ops.reshape(ops.swapaxes(u, 1, 2), (-1, height * width, inner))
        y = self.scan(ops.stack([rows, columns, ops.flip(rows, 1), ops.flip(columns, 1)], axis=1))
        rows = y[:, 0] + ops.flip(y[:, 2], 1)
        columns = y[:, 1] + ops.flip(y[:, 3], 1)
        y = ops.reshape(rows, (-1, height, width, inner))
        y = y + ops.swapaxes(ops.reshape(columns, (-1, width, height, inner)), 1, 2)
        return self.out_proj(self.norm(y) * ops.silu(gate))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "state": self.state, "expand": self.expand, "dt_rank": self.dt_rank}


def _project(x: Tensor, kernel: Tensor) -> Tensor:
    """``[batch, direction, token, channel]`` times a kernel for each direction; see :mod:`simulator.core.onednn`."""
    if kernel.shape[0] == 1:
        return ops.matmul(x[:, 0], kernel[0])[:, None]
    return ops.matmul(x, kernel)


class _StepBias(initializers.Initializer):
    """Inverse softplus of steps drawn log-uniform."""

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        low, high = math.log(_DT_MIN), math.log(_DT_MAX)
        dt = ops.maximum(ops.exp(keras.random.uniform(shape, low, high, dtype=dtype)), _DT_FLOOR)
        return dt + ops.log(-ops.expm1(-dt))
