"""Multi-head attention and transformer layers with the weights and conventions of the published networks."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from simulator.core.backend import Shape, Tensor
from simulator.core.errors import ConfigError

AXES = ("token", "batch", "alone")


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, drop: Any = None, causal: bool = False) -> Tensor:
    r"""Scaled dot-product attention :math:`\operatorname{softmax}(s\, q k^T) v`.

    Args:
        q: float ``[..., query, depth]``.
        k: float ``[..., key, depth]``.
        v: float ``[..., key, value]``.
        scale: factor s on the products.
        drop: function applied to the weights (dropout), or None.
        causal: query n sees keys 0 .. n only; as many queries as keys, known when the graph is built.

    Returns:
        float ``[..., query, value]``.

    Source: Vaswani et al., NeurIPS 2017, Eq. (1).
    """
    lead = None
    if len(q.shape) > 5:  # more than TensorFlow's softmax takes
        lead = q.shape[1:-2]
        q, k, v = (ops.reshape(x, (-1, *x.shape[-2:])) for x in (q, k, v))
    products = ops.matmul(q * scale, ops.swapaxes(k, -1, -2))
    if causal:
        products = products + ops.convert_to_tensor(np.triu(np.full(products.shape[-2:], -1e9, np.float32), 1))
    weights = ops.softmax(products, axis=-1)
    y = ops.matmul(weights if drop is None else drop(weights), v)
    return y if lead is None else ops.reshape(y, (-1, *lead, *y.shape[-2:]))


def gelu(x: Tensor) -> Tensor:
    r"""Exact GELU :math:`x\, \Phi(x)` by ``erf``, which every export format has.

    Source: Hendrycks, Gimpel, arXiv:1606.08415, Sec. 2.
    """
    return 0.5 * x * (1.0 + ops.erf(x * 0.7071067811865476))


@keras.saving.register_keras_serializable(package="csilink")
class MultiHeadAttention(layers.Layer):
    """Attention with one fused kernel ``[dim, 3 * dim]`` for query, key and value, and an output projection.

    Args:
        num_heads: heads; must divide the width of the input.
        axis: "token" attends over tokens. "batch" attends over the samples of a batch, the released TransNet's quirk
            (sequence-first attention fed batch-first tensors): a sample then depends on the others of its batch.
            "alone" is "batch" in a batch of one: every token sees only itself, or the token in its place in the memory.
        dropout: share of the attention weights dropped in training.
        causal: a token sees itself and those before it; self-attention only.

    Call arguments:
        x: queries float32 ``[batch, token, dim]``.
        memory: keys and values, same width; None: ``x`` (self-attention).
        keep: also return the attention weights, float32 ``[batch, head, query, key]`` before dropout; with
            ``axis`` "batch" ``[token, head, query, key]``, over the samples.

    Returns:
        float32, shape of ``x``.
    """

    def __init__(self, num_heads: int, axis: str = "token", dropout: float = 0.0, causal: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        if axis not in AXES:
            raise ConfigError("attention_axis", axis, ", ".join(AXES))
        self.num_heads, self.axis, self.dropout, self.causal = num_heads, axis, dropout, causal
        self.drop = layers.Dropout(dropout) if dropout else None

    def build(self, x_shape: Shape, memory_shape: Shape | None = None) -> None:
        """Kernels of width ``dim``."""
        dim = x_shape[-1]
        if dim % self.num_heads:
            raise ValueError(f"{dim} features cannot be shared by {self.num_heads} heads")
        self.in_kernel = self.add_weight(shape=(dim, 3 * dim), initializer="glorot_uniform", name="in_kernel")
        self.in_bias = self.add_weight(shape=(3 * dim,), initializer="zeros", name="in_bias")
        self.out_kernel = self.add_weight(shape=(dim, dim), initializer="glorot_uniform", name="out_kernel")
        self.out_bias = self.add_weight(shape=(dim,), initializer="zeros", name="out_bias")

    def call(self, x: Tensor, memory: Tensor = None, training: bool = False, keep: bool = False) -> Tensor:
        """Attend."""
        if self.axis == "alone":
            return self._alone(x if memory is None else memory, keep)
        if self.axis == "batch":
            x = ops.swapaxes(x, 0, 1)
            memory = None if memory is None else ops.swapaxes(memory, 0, 1)
        dim = x.shape[-1]
        if memory is None:
            q, k, v = ops.split(ops.matmul(x, self.in_kernel) + self.in_bias, 3, axis=-1)
        else:
            q = ops.matmul(x, self.in_kernel[:, :dim]) + self.in_bias[:dim]
            k, v = ops.split(ops.matmul(memory, self.in_kernel[:, dim:]) + self.in_bias[dim:], 2, axis=-1)
        q, k, v = (self._heads(t, dim) for t in (q, k, v))
        drop = None if self.drop is None else lambda weights: self.drop(weights, training=training)
        scale, weights = (dim // self.num_heads) ** -0.5, None
        if keep:
            weights = ops.softmax(ops.matmul(q * scale, ops.swapaxes(k, -1, -2)), axis=-1)
            y = ops.matmul(weights if drop is None else drop(weights), v)
        else:
            y = attend(q, k, v, scale, drop, self.causal)
        y = ops.matmul(ops.reshape(ops.swapaxes(y, 1, 2), ops.shape(x)), self.out_kernel) + self.out_bias
        y = ops.swapaxes(y, 0, 1) if self.axis == "batch" else y
        return (y, weights) if keep else y

    def _alone(self, x: Tensor, keep: bool) -> Tensor:
        """Attention of one query to one key, whose weight is 1."""
        dim = x.shape[-1]
        v = ops.matmul(x, self.in_kernel[:, 2 * dim :]) + self.in_bias[2 * dim :]
        y = ops.matmul(v, self.out_kernel) + self.out_bias
        if not keep:
            return y
        eye = ops.cast(ops.eye(x.shape[1]), y.dtype)
        return y, ops.broadcast_to(eye, (ops.shape(x)[0], self.num_heads, *eye.shape))

    def _heads(self, x: Tensor, dim: int) -> Tensor:
        shape = ops.shape(x)
        return ops.swapaxes(ops.reshape(x, (shape[0], shape[1], self.num_heads, dim // self.num_heads)), 1, 2)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = ("num_heads", "axis", "dropout", "causal")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


@keras.saving.register_keras_serializable(package="csilink")
class TransformerLayer(layers.Layer):
    """Transformer layer: self-attention, with ``cross`` attention to a memory, feed-forward network; each with a skip.

    Args:
        num_heads: heads of the attention.
        hidden: width of the feed-forward network.
        cross: a decoder layer, which also attends to ``memory``.
        norm: "post" normalises after each skip (original), "pre" before each branch: the skip path then keeps the
            scale of its tokens.
        activation: of the feed-forward network, "relu", "gelu" or "gelu_tanh" (GELU by tanh, as in GPT-2).
        axis: see :class:`MultiHeadAttention`.
        dropout: share dropped in training of attention weights, hidden features and outputs of the branches.
        causal: self-attention sees no later tokens.

    Call arguments:
        x: float32 ``[batch, token, dim]``.
        memory: float32 ``[batch, key, dim]`` for ``cross``.

    Returns:
        float32, shape of ``x``.

    Source: Vaswani et al., NeurIPS 2017, Sec. 3; pre-norm: Xiong et al., ICML 2020.
    """

    def __init__(
        self,
        num_heads: int,
        hidden: int,
        cross: bool = False,
        norm: str = "post",
        activation: str = "relu",
        axis: str = "token",
        dropout: float = 0.0,
        causal: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_heads, self.hidden, self.cross = num_heads, hidden, cross
        self.norm, self.activation, self.axis, self.dropout, self.causal = norm, activation, axis, dropout, causal
        self.self_attn = MultiHeadAttention(num_heads, axis, dropout, causal)
        self.cross_attn = MultiHeadAttention(num_heads, axis, dropout) if cross else None
        self.drop = layers.Dropout(dropout) if dropout else None
        self.norms = [layers.LayerNormalization(epsilon=1e-5) for _ in range(3 if cross else 2)]

    def build(self, x_shape: Shape, memory_shape: Shape | None = None) -> None:
        """Sublayers of the width of ``x``."""
        dim = x_shape[-1]
        self.up = layers.Dense(self.hidden, kernel_initializer="glorot_uniform")
        self.down = layers.Dense(dim, kernel_initializer="glorot_uniform")
        self.self_attn.build(x_shape)
        if self.cross_attn is not None:
            self.cross_attn.build(x_shape)
        self.up.build(x_shape)
        self.down.build((*x_shape[:-1], self.hidden))
        for norm in self.norms:
            norm.build(x_shape)

    def compute_output_shape(self, x_shape: Shape, memory_shape: Shape | None = None) -> Shape:
        """Shape of the input; without this method Keras traces the whole call to learn it."""
        return x_shape

    def call(self, x: Tensor, memory: Tensor = None, training: bool = False) -> Tensor:
        """Branches one after the other."""
        activation = {"relu": ops.relu, "gelu": gelu, "gelu_tanh": ops.gelu}[self.activation]

        def drop(y: Tensor) -> Tensor:
            return y if self.drop is None else self.drop(y, training=training)

        branches = [lambda y: self.self_attn(y, training=training)]
        if self.cross_attn is not None:
            branches.append(lambda y: self.cross_attn(y, memory, training=training))
        branches.append(lambda y: self.down(drop(activation(self.up(y)))))
        for norm, branch in zip(self.norms, branches, strict=True):
            x = norm(x + drop(branch(x))) if self.norm == "post" else x + drop(branch(norm(x)))
        return x

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = ("num_heads", "hidden", "cross", "norm", "activation", "axis", "dropout", "causal")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def silence_layer(layer: TransformerLayer) -> None:
    """Zero the outputs of all branches of a layer with ``norm`` "pre", which is then the identity."""
    for attention in filter(None, (layer.self_attn, layer.cross_attn)):
        attention.out_kernel.assign(np.zeros(attention.out_kernel.shape))
    layer.down.kernel.assign(np.zeros(layer.down.kernel.shape))
