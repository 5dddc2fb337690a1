"""Spatially separable transformer block of STNet: windowed local attention, sub-sampled global attention, MLPs."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from receivers.models.attention import attend, gelu
from simulator.core.backend import Shape, Tensor

WINDOW = 8
HEADS = 4


def _dense(units: int) -> layers.Dense:
    uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    return layers.Dense(units, kernel_initializer=uniform)


@keras.saving.register_keras_serializable(package="csilink")
class LocalAttention(layers.Layer):
    """Attention within windows of eight rows (LSA) of an image float32 ``[batch, 2, height, width]``; rows are tokens.

    Args:
        form: "windowed": a row is a token of ``width`` numbers in four heads, windows are eight neighbouring rows of
        one
            component. "released": the published code, whose reshapes read the projected rows as heads of two numbers
            and put components where columns belong (kept index by index, for its weights).

    Source: Mourya, Amuru, Kuchi, IEEE Wireless Commun. Lett. 12(1), 2023, Sec. III-A; Chu et al., NeurIPS 2021.
    """

    def __init__(self, form: str = "windowed", **kwargs: Any):
        super().__init__(**kwargs)
        self.form = form

    def build(self, shape: Shape) -> None:
        """Projections of the rows."""
        self.qkv, self.proj = _dense(3 * shape[-1]), _dense(shape[-1])
        self.qkv.build(shape)
        self.proj.build(shape)

    def call(self, x: Tensor) -> Tensor:
        """Attend in every window."""
        _, c, height, width = x.shape
        groups = height // WINDOW
        scale = (width // HEADS) ** -0.5
        if self.form == "windowed":
            qkv = ops.reshape(self.qkv(x), (-1, c * groups, WINDOW, 3, HEADS, width // HEADS))
            q, k, v = (ops.swapaxes(qkv[:, :, :, i], 2, 3) for i in range(3))  # [batch, group, head, row, depth]
            y = ops.swapaxes(attend(q, k, v, scale), 2, 3)
            return self.proj(ops.reshape(y, (-1, c, height, width)))
        columns = width // WINDOW
        qkv = ops.reshape(self.qkv(x), (-1, c, groups * columns, WINDOW, 3, HEADS, WINDOW // HEADS))
        q, k, v = (ops.swapaxes(qkv[:, :, :, :, i], 3, 4) for i in range(3))  # [batch, c, group, head, token, depth]
        y = ops.swapaxes(attend(q, k, v, scale), 2, 3)  # head and group, as released
        y = ops.reshape(y, (-1, groups, columns, WINDOW, WINDOW, c))
        return self.proj(ops.reshape(ops.swapaxes(y, 2, 3), (-1, c, height, width)))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "form": self.form}


@keras.saving.register_keras_serializable(package="csilink")
class GlobalAttention(layers.Layer):
    """Attention of all rows to a sub-sampled image (GSA), float32 ``[batch, 2, height, width]``.

    A strided convolution summarises every 8x8 window in one position.

    Args:
        form: "windowed": every position is a key (16 for 32x32). "released": the published code, whose reshape makes
            one key of all positions for 32x32 images: its softmax is 1 whatever the query.

    Source: as :class:`LocalAttention`.
    """

    def __init__(self, form: str = "windowed", **kwargs: Any):
        super().__init__(**kwargs)
        self.form = form

    def build(self, shape: Shape) -> None:
        """Projections of rows and positions."""
        _, c, height, width = shape
        self.q, self.proj = _dense(width), _dense(width)
        self.q.build(shape)
        self.proj.build(shape)
        uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        self.reduce = layers.Conv2D(c, WINDOW, strides=WINDOW, kernel_initializer=uniform)
        self.reduce.build((None, height, width, c))
        keys = (height // WINDOW) * (width // WINDOW)
        self.norm = layers.LayerNormalization(epsilon=1e-5)
        self.norm.build((None, keys * c) if self.form == "windowed" else (None, None, None, width // WINDOW))
        self.kv = _dense(2 * width if self.form == "windowed" else 2 * width // WINDOW)
        self.kv.build((None, keys, c) if self.form == "windowed" else (None, None, None, width // WINDOW))

    def call(self, x: Tensor) -> Tensor:
        """Attend to the positions."""
        _, c, height, width = x.shape
        keys = (height // WINDOW) * (width // WINDOW)
        reduced = self.reduce(ops.transpose(x, (0, 2, 3, 1)))  # [batch, height / 8, width / 8, 2]
        if self.form == "windowed":
            depth = width // HEADS
            q = ops.reshape(self.q(x), (-1, c * height, HEADS, depth))
            reduced = ops.reshape(self.norm(ops.reshape(reduced, (-1, keys * c))), (-1, keys, c))
            kv = ops.reshape(self.kv(reduced), (-1, keys, 2, HEADS, depth))
            q, k, v = (ops.swapaxes(t, 1, 2) for t in (q, kv[:, :, 0], kv[:, :, 1]))
            y = ops.swapaxes(attend(q, k, v, depth**-0.5), 1, 2)
            return self.proj(ops.reshape(y, (-1, c, height, width)))
        depth = width // WINDOW
        q = ops.swapaxes(ops.reshape(self.q(x), (-1, c, height * width // depth**2, depth, depth)), 2, 3)
        reduced = ops.reshape(ops.transpose(reduced, (0, 3, 1, 2)), (-1, c, keys // depth**2, depth, depth))
        kv = ops.reshape(self.kv(self.norm(reduced)), (-1, c, keys // depth**2, 2, depth, depth))
        k, v = (ops.swapaxes(kv[:, :, :, i], 2, 3) for i in range(2))
        y = ops.swapaxes(attend(q, k, v, (width // HEADS) ** -0.5), 1, 2)  # component and head, as released
        return self.proj(ops.reshape(y, (-1, c, height, width)))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "form": self.form}


@keras.saving.register_keras_serializable(package="csilink")
class SeparableBlock(layers.Layer):
    """Local attention, MLP, global attention, MLP, each pre-normalised over a row, with a skip.

    Args:
        form: of both attentions, see :class:`LocalAttention` and :class:`GlobalAttention`.

    Call arguments:
        x: float32 ``[batch, height, width, 2]``, both sizes multiples of 8 (form "released": of 32).

    Returns:
        float32, shape of ``x``.

    Source: as :class:`LocalAttention`, Fig. 2.
    """

    def __init__(self, form: str = "windowed", **kwargs: Any):
        super().__init__(**kwargs)
        self.form = form

    def build(self, shape: Shape) -> None:
        """Sublayers for rows of this width."""
        _, height, width, c = shape
        inner = (None, c, height, width)
        self.local_attn, self.global_attn = LocalAttention(self.form), GlobalAttention(self.form)
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(4)]
        self.mlps = [[_dense(width), _dense(width)] for _ in range(2)]
        for layer in (self.local_attn, self.global_attn, *self.norms, *self.mlps[0], *self.mlps[1]):
            layer.build(inner)

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Shape of the input; without this method Keras traces the whole call to learn it."""
        return shape

    def call(self, x: Tensor) -> Tensor:
        """The four branches."""
        x = ops.transpose(x, (0, 3, 1, 2))
        x = x + self.local_attn(self.norms[0](x))
        x = x + self._mlp(0, self.norms[1](x))
        x = x + self.global_attn(self.norms[2](x))
        x = x + self._mlp(1, self.norms[3](x))
        return ops.transpose(x, (0, 2, 3, 1))

    def silence(self) -> None:
        """Zero the last layer of every branch: the block passes its input on."""
        for last in (self.local_attn.proj, self.global_attn.proj, self.mlps[0][1], self.mlps[1][1]):
            last.kernel.assign(ops.zeros(last.kernel.shape))

    def _mlp(self, index: int, x: Tensor) -> Tensor:
        first, second = self.mlps[index]
        return second(gelu(first(x)))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "form": self.form}


@keras.saving.register_keras_serializable(package="csilink")
class RowNormalization(layers.Layer):
    """Layer normalisation over the rows of each component of ``[batch, height, width, 2]``, eps 1e-6."""

    def build(self, shape: Shape) -> None:
        """Gain and offset of every column."""
        self.norm = layers.LayerNormalization(epsilon=1e-6)
        self.norm.build((None, shape[-1], *shape[1:3]))

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Shape of the input; without this method Keras traces the whole call to learn it."""
        return shape

    def call(self, x: Tensor) -> Tensor:
        """Normalise."""
        return ops.transpose(self.norm(ops.transpose(x, (0, 3, 1, 2))), (0, 2, 3, 1))
