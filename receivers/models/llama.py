"""Layers of LLaMA: rotary position embedding, attention without bias, SwiGLU."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from receivers.models.attention import attend
from simulator.core.backend import Shape, Tensor


def rotary(x: Tensor, base: float = 10000.0) -> Tensor:
    r"""Rotate pairs :math:`(x_i, x_{i + d/2})` of token t by :math:`t \cdot base^{-2 i / d}` (halves, as published).

    Args:
        x: float32 ``[batch, head, token, d]``, d even.
        base: of the frequencies.

    Source: Su et al., Neurocomputing 568, 2024, Eq. (34); in halves: Touvron et al., arXiv:2302.13971 (public weights).
    """
    tokens, depth = x.shape[2], x.shape[3]
    frequency = base ** (-np.arange(0, depth, 2) / depth)
    angle = np.outer(np.arange(tokens), np.concatenate([frequency, frequency]))
    cos, sin = (ops.convert_to_tensor(f(angle).astype(np.float32)) for f in (np.cos, np.sin))
    first, second = ops.split(x, 2, axis=-1)
    return x * cos + ops.concatenate([-second, first], axis=-1) * sin


@keras.saving.register_keras_serializable(package="csilink")
class LlamaLayer(layers.Layer):
    r"""Pre-norm decoder layer: :math:`x + \mathrm{MA}(\mathrm{RMSNorm}(x))`, then :math:`x + \mathrm{FFN}(\ldots)`.

    Attention is not causal by default: otherwise the first polarisation token of a codeword would never see the second,
    and nothing is generated token by token.

    Args:
        num_heads: heads.
        hidden: width of the SwiGLU network, :math:`W_d (\mathrm{SiLU}(W_g x) \odot W_u x)`.
        causal: tokens see earlier tokens only, as in language models.

    Call arguments:
        x: float32 ``[batch, token, dim]``.

    Source: Touvron et al., arXiv:2302.13971, Sec. 2.2; LVM4CF, arXiv:2505.08566, Eq. (20).
    """

    def __init__(self, num_heads: int, hidden: int, causal: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_heads, self.hidden, self.causal = num_heads, hidden, causal

    def build(self, x_shape: Shape) -> None:
        """Six kernels and two scales; no biases."""
        dim = x_shape[-1]
        if dim % (2 * self.num_heads):
            raise ValueError(f"{dim} features cannot be rotated in {self.num_heads} heads")
        shapes = {"q": (dim, dim), "k": (dim, dim), "v": (dim, dim), "o": (dim, dim)}
        shapes |= {"gate": (dim, self.hidden), "up": (dim, self.hidden), "down": (self.hidden, dim)}
        self.kernels = {
            name: self.add_weight(shape=shape, initializer="glorot_uniform", name=name)
            for name, shape in shapes.items()
        }
        self.norms = [layers.RMSNormalization(epsilon=1e-6, name=name) for name in ("attention_norm", "ffn_norm")]
        for norm in self.norms:
            norm.build(x_shape)

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        """Shape of the input; without this method Keras traces the whole call to learn it."""
        return x_shape

    def call(self, x: Tensor) -> Tensor:
        """Attention and feed-forward network, each with a skip."""
        x = x + self._attention(self.norms[0](x))
        y = self.norms[1](x)
        gate = ops.silu(ops.matmul(y, self.kernels["gate"])) * ops.matmul(y, self.kernels["up"])
        return x + ops.matmul(gate, self.kernels["down"])

    def _attention(self, y: Tensor) -> Tensor:
        shape, dim = ops.shape(y), y.shape[-1]
        depth = dim // self.num_heads
        q, k, v = (
            ops.swapaxes(ops.reshape(ops.matmul(y, self.kernels[n]), (-1, y.shape[1], self.num_heads, depth)), 1, 2)
            for n in ("q", "k", "v")
        )
        q, k = rotary(q), rotary(k)
        if self.causal:
            products = ops.matmul(q, ops.swapaxes(k, -1, -2)) * depth**-0.5
            later = np.triu(np.full((y.shape[1], y.shape[1]), -1e9, np.float32), 1)
            out = ops.matmul(ops.softmax(products + later, axis=-1), v)
        else:
            out = attend(q, k, v, depth**-0.5)
        return ops.matmul(ops.reshape(ops.swapaxes(out, 1, 2), shape), self.kernels["o"])

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = ("num_heads", "hidden", "causal")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
