"""Tokens as an image: convolutions that halve both sides three times, and back."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from simulator.core.backend import Shape, Tensor

STAGES = 3
FACTOR = 2**STAGES


def _conv(filters: int, size: int, strides: int = 1, padding: str = "same") -> layers.Conv2D:
    return layers.Conv2D(filters, size, strides, padding, data_format="channels_last")


def _norm() -> layers.BatchNormalization:
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)


class _Convolutions(layers.Layer):
    """Three stages of convolutions 5 x 5 and 3 x 3, then one channel."""

    def __init__(self, channels: int = 64, **kwargs: Any):
        super().__init__(**kwargs)
        self.channels = channels
        halving = isinstance(self, Compressor)
        self.wide = [_conv(channels, 5) for _ in range(STAGES)]
        self.norms = [_norm() for _ in range(STAGES)]
        self.narrow = [_conv(channels, 3, 2, "valid") if halving else _conv(channels, 3) for _ in range(STAGES)]
        self.last, self.last_norm = _conv(1, 5), _norm()

    def build(self, shape: Shape | None = None) -> None:
        """Sublayers of one channel in, ``channels`` inside, one out."""
        inner = (None, None, None, self.channels)
        for index, (wide, norm, narrow) in enumerate(zip(self.wide, self.norms, self.narrow, strict=True)):
            wide.build(inner if index else (None, None, None, 1))
            norm.build(inner)
            narrow.build(inner)
        self.last.build(inner)
        self.last_norm.build((None, None, None, 1))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "channels": self.channels}


@keras.saving.register_keras_serializable(package="csilink")
class Compressor(_Convolutions):
    """Tokens to a codeword in (0, 1) of an 8th of both sides.

    Three times convolution 5 x 5, batch norm, ReLU, a zero at the end of both sides, convolution 3 x 3 of stride 2;
    then convolution 5 x 5 to one channel, batch norm, sigmoid. Tokens are padded with zeros to a multiple of 8.

    Args:
        channels: inside.

    Call arguments:
        x: float32 ``[sample, token, feature]``, features a multiple of 8.

    Returns:
        float32 ``[sample, ceil(token / 8), feature / 8]``.

    Source: WiFo-CF (arXiv:2508.04068) and its released code.
    """

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Halve."""
        x = ops.expand_dims(ops.pad(x, [(0, 0), (0, -x.shape[1] % FACTOR), (0, 0)]), -1)
        for wide, norm, narrow in zip(self.wide, self.norms, self.narrow, strict=True):
            x = ops.relu(norm(wide(x), training=training))
            x = narrow(ops.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)]))
        return ops.squeeze(ops.sigmoid(self.last_norm(self.last(x), training=training)), -1)


@keras.saving.register_keras_serializable(package="csilink")
class Expander(_Convolutions):
    """Codeword to tokens.

    Three times convolution 5 x 5, batch norm, ReLU, each value doubled along both sides, convolution 3 x 3; then
    convolution 5 x 5 to one channel and batch norm.

    Args:
        channels: inside.

    Call arguments:
        z: float32 ``[sample, row, column]``.

    Returns:
        float32 ``[sample, 8 * row, 8 * column]``.

    Source: as :class:`Compressor`.
    """

    def call(self, z: Tensor, training: bool = False) -> Tensor:
        """Double."""
        x = ops.expand_dims(z, -1)
        for wide, norm, narrow in zip(self.wide, self.norms, self.narrow, strict=True):
            x = ops.relu(norm(wide(x), training=training))
            x = narrow(ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2))
        return ops.squeeze(self.last_norm(self.last(x), training=training), -1)
