"""Gradients of a transformer over beams with respect to its tokens, by the chain rule alone: no backend is asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keras import ops

from receivers.models.attention import MultiHeadAttention, TransformerLayer
from receivers.models.beam_transformer import BeamTransformer
from receivers.models.report_frame import TAPS

Pullback = Callable[[Any], Any]  # gradient with respect to the output -> gradient with respect to the input
_GELU = math.sqrt(2 / math.pi), 0.044715  # of its approximation by tanh


def linearised(network: BeamTransformer, tokens: Any) -> tuple[Any, Pullback]:
    r"""Coefficients float32 ``[layer, beam, 52]`` of tokens, and the map of gradients.

    The map takes the gradient of a loss with respect to these coefficients to that with respect to the decoded ones in
    the tokens, of the same shape: :math:`\nabla_x = (I + \partial f / \partial x)^T \nabla_y`. The descriptors of the
    tokens count as constant.
    """
    parts = [dense(network.embedding), *[branch for layer in network.stack for branch in branches(layer)]]
    x, backs = tokens, []
    for part in (*parts, normed(network.norm), dense(network.head)):
        x, back = part(x)
        backs.append(back)
    shape = (*ops.shape(tokens)[:2], 2 * TAPS, 3)

    def body(values: Any) -> Any:
        return ops.reshape(ops.reshape(values[..., : 6 * TAPS], shape)[..., :2], (*shape[:2], 4 * TAPS))

    def back_to_tokens(gradient: Any) -> Any:
        found = gradient
        for back in reversed(backs):
            found = back(found)
        return gradient + body(found)

    return body(tokens) + x, back_to_tokens


def branches(layer: TransformerLayer) -> list[Callable[[Any], tuple[Any, Pullback]]]:
    """The two residual branches of a pre-norm layer with a GELU by tanh."""
    first, second = (normed(norm) for norm in layer.norms)
    return [
        residual(chained(first, attended(layer.self_attn))),
        residual(chained(second, dense(layer.up), gelu, dense(layer.down))),
    ]


def chained(*parts: Callable[[Any], tuple[Any, Pullback]]) -> Callable[[Any], tuple[Any, Pullback]]:
    """One after the other."""

    def call(x: Any) -> tuple[Any, Pullback]:
        backs = []
        for part in parts:
            x, back = part(x)
            backs.append(back)

        def pull(g: Any) -> Any:
            for back in reversed(backs):
                g = back(g)
            return g

        return x, pull

    return call


def residual(branch: Callable[[Any], tuple[Any, Pullback]]) -> Callable[[Any], tuple[Any, Pullback]]:
    """x + branch(x)."""

    def call(x: Any) -> tuple[Any, Pullback]:
        y, back = branch(x)
        return x + y, lambda g: g + back(g)

    return call


def dense(layer: Any) -> Callable[[Any], tuple[Any, Pullback]]:
    """Affine map of a dense layer."""
    return lambda x: (ops.matmul(x, layer.kernel) + layer.bias, lambda g: ops.matmul(g, ops.transpose(layer.kernel)))


def normed(layer: Any) -> Callable[[Any], tuple[Any, Pullback]]:
    """Layer normalisation."""

    def call(x: Any) -> tuple[Any, Pullback]:
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        scale = ops.rsqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + layer.epsilon)
        unit = centred * scale

        def pull(g: Any) -> Any:
            g = g * layer.gamma
            g = g - ops.mean(g, axis=-1, keepdims=True) - unit * ops.mean(g * unit, axis=-1, keepdims=True)
            return g * scale

        return unit * layer.gamma + layer.beta, pull

    return call


def gelu(x: Any) -> tuple[Any, Pullback]:
    """GELU by tanh."""
    a, b = _GELU
    t = ops.tanh(a * (x + b * x * x * x))
    slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * a * (1 + 3 * b * x * x)
    return 0.5 * x * (1 + t), lambda g: g * slope


def attended(layer: MultiHeadAttention) -> Callable[[Any], tuple[Any, Pullback]]:
    """Self-attention over tokens."""

    def call(x: Any) -> tuple[Any, Pullback]:
        count, tokens, dim = ops.shape(x)
        heads = layer.num_heads
        scale = (dim // heads) ** -0.5

        def split(t: Any) -> Any:
            return ops.swapaxes(ops.reshape(t, (count, tokens, heads, dim // heads)), 1, 2)

        def joined(t: Any) -> Any:
            return ops.reshape(ops.swapaxes(t, 1, 2), (count, tokens, dim))

        mixed = ops.matmul(x, layer.in_kernel) + layer.in_bias
        q, k, v = (split(t) for t in ops.split(mixed, 3, axis=-1))
        weights = ops.softmax(ops.matmul(q * scale, ops.swapaxes(k, -1, -2)), axis=-1)
        y = ops.matmul(joined(ops.matmul(weights, v)), layer.out_kernel) + layer.out_bias

        def pull(g: Any) -> Any:
            g = split(ops.matmul(g, ops.transpose(layer.out_kernel)))
            dw = ops.matmul(g, ops.swapaxes(v, -1, -2))
            ds = weights * (dw - ops.sum(dw * weights, axis=-1, keepdims=True)) * scale
            dv = ops.matmul(ops.swapaxes(weights, -1, -2), g)
            parts = ops.matmul(ds, k), ops.matmul(ops.swapaxes(ds, -1, -2), q), dv
            return ops.matmul(ops.concatenate([joined(p) for p in parts], axis=-1), ops.transpose(layer.in_kernel))

        return y, pull

    return call
