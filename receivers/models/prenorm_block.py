"""Transformer layer that shows its attention."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from receivers.models.attention import gelu
from simulator.core.backend import Shape, Tensor


@keras.saving.register_keras_serializable(package="csilink")
class PreNormBlock(layers.Layer):
    """Pre-norm self-attention and feed-forward network with exact GELU, each with a skip.

    Query, key and value have dense layers of their own, so that Glorot's limit is that of a square matrix.

    Args:
        num_heads: heads; must divide the width of the input.
        hidden: width of the feed-forward network.

    Call arguments:
        x: float32 ``[batch, token, dim]``.
        maps: whether attention weights are wanted; without them the backend's fused attention serves.

    Returns:
        output, float32 ``[batch, token, dim]``; the state between attention and feed-forward network, same shape; the
        attention weights, float32 ``[batch, head, query, key]``, or None.

    Source: Dosovitskiy et al., ICLR 2021, Eqs. (2), (3).
    """

    def __init__(self, num_heads: int, hidden: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_heads, self.hidden = num_heads, hidden
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]

    def build(self, shape: Shape) -> None:
        """Sublayers of the width of ``x``."""
        dim = shape[-1]
        if dim % self.num_heads:
            raise ValueError(f"{dim} features cannot be shared by {self.num_heads} heads")
        self.query, self.key, self.value, self.out, self.down = (layers.Dense(dim) for _ in range(5))
        self.up = layers.Dense(self.hidden)
        for layer in (self.query, self.key, self.value, self.out, self.up, *self.norms):
            layer.build(shape)
        self.down.build((*shape[:-1], self.hidden))

    def call(self, x: Tensor, maps: Tensor = True) -> tuple[Tensor, Tensor, Tensor]:
        """Attend, then transform every token."""
        y = self.norms[0](x)
        q, k, v = (self._heads(layer(y)) for layer in (self.query, self.key, self.value))
        if maps:
            q, k, v = (ops.swapaxes(y, 1, 2) for y in (q, k, v))
            weights = ops.softmax(ops.matmul(q * q.shape[-1] ** -0.5, ops.swapaxes(k, -1, -2)), axis=-1)
            attended = ops.swapaxes(ops.matmul(weights, v), 1, 2)
        else:
            weights, attended = None, ops.dot_product_attention(q, k, v)
        state = x + self.out(ops.reshape(attended, ops.shape(x)))
        return state + self.down(gelu(self.up(self.norms[1](state)))), state, weights

    def _heads(self, x: Tensor) -> Tensor:
        return ops.reshape(x, (-1, x.shape[1], self.num_heads, x.shape[2] // self.num_heads))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "num_heads": self.num_heads, "hidden": self.hidden}
