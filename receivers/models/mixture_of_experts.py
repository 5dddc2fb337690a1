"""Mixture of experts: every token passes a few of many small networks, and some that all tokens pass."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from simulator.core.backend import Shape, Tensor
from simulator.core.errors import ConfigError

# Tokens of one expert that are multiplied at once.
BLOCK = 32


@keras.saving.register_keras_serializable(package="csilink")
class MixtureOfExperts(layers.Layer):
    r"""SwiGLU experts, of which a gate chooses ``top_k`` for every token, and ``num_shared`` that all tokens pass.

    .. math::
        p = \operatorname{softmax}(W x), \qquad
        y = \sum_{e \in \text{top-}k(p)} p_e f_e(x) + \sum_s f_s(x), \qquad
        f(x) = D (\operatorname{SiLU}(A x + a) \odot (B x + b)) + d

    The chosen p are not scaled to a sum of 1. No token is dropped, so that tokens do not depend on each other. Tokens
    are sorted by expert and cut into blocks of one expert each: about ``top_k`` experts are computed for every token
    and not all of them, in tensors whose shapes follow from that of ``x`` alone.

    Args:
        num_experts: E, routed experts.
        top_k: routed experts of one token.
        num_shared: experts of all tokens.
        hidden: width of an expert.

    Call arguments:
        x: float32 ``[..., dim]``.

    Returns:
        output float32, shape of ``x``; balance loss float32, a number: :math:`E \sum_e f_e \bar p_e` with the share
        :math:`f_e` of all choices that fell on expert e (a constant) and the mean :math:`\bar p_e` of its p, both over
        all tokens of the call. 1 when all experts are used equally, E when one takes all (with ``top_k`` 1).

    Raises:
        ConfigError: no expert, or more chosen than there are.

    Source: Fedus, Zoph, Shazeer, "Switch transformers", JMLR 23, 2022, Eqs. (4)-(6) (balance); Shazeer,
        arXiv:2002.05202 (SwiGLU); Dai et al., "DeepSeekMoE", ACL 2024 (shared experts).
    """

    def __init__(self, num_experts: int = 31, top_k: int = 3, num_shared: int = 0, hidden: int = 128, **kwargs: Any):
        super().__init__(**kwargs)
        if num_experts < 1 or hidden < 1 or num_shared < 0:
            sizes = (num_experts, num_shared, hidden)
            raise ConfigError("num_experts, num_shared, hidden", sizes, "at least 1, 0 and 1")
        if not 1 <= top_k <= num_experts:
            raise ConfigError("top_k", top_k, f"1 .. {num_experts}, the routed experts")
        self.num_experts, self.top_k, self.num_shared, self.hidden = num_experts, top_k, num_shared, hidden

    def build(self, shape: Shape) -> None:
        """Gate without bias, experts with biases."""
        dim = shape[-1]
        self.gate = self.add_weight(shape=(dim, self.num_experts), initializer="glorot_uniform", name="gate")
        self.routed = self._experts(self.num_experts, dim, "routed")
        self.shared = self._experts(self.num_shared, dim, "shared") if self.num_shared else ()

    def _experts(self, count: int, dim: int, name: str) -> tuple:
        """Kernels ``[expert, in, out]`` with Glorot's limit of one expert, biases ``[expert, 1, out]``."""
        limit = (6.0 / (dim + self.hidden)) ** 0.5
        weights = []
        for part, sizes in {"a": (dim, self.hidden), "b": (dim, self.hidden), "d": (self.hidden, dim)}.items():
            draw = keras.initializers.RandomUniform(-limit, limit)
            kernel = self.add_weight(shape=(count, *sizes), initializer=draw, name=f"{name}_{part}_kernel")
            bias = self.add_weight(shape=(count, 1, sizes[1]), initializer="zeros", name=f"{name}_{part}_bias")
            weights += [kernel, bias]
        return tuple(weights)

    def call(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Choose, compute, add."""
        tokens = ops.reshape(x, (-1, x.shape[-1]))
        p = ops.softmax(ops.matmul(tokens, self.gate), axis=-1)
        weight, expert = ops.top_k(p, self.top_k)  # [token, top_k]
        expert = ops.reshape(ops.cast(expert, "int32"), (-1,))
        counts = ops.sum(ops.one_hot(expert, self.num_experts, dtype="int32"), axis=0)
        y = self._routed(tokens, expert, weight, ops.cast(counts, "int32"))
        if self.shared:
            y = y + ops.sum(_swiglu(ops.expand_dims(tokens, 0), *self.shared), axis=0)
        share = ops.cast(counts, "float32") / ops.cast(ops.shape(expert)[0], "float32")
        balance = self.num_experts * ops.sum(share * ops.mean(p, axis=0))
        return ops.reshape(y, ops.shape(x)), balance

    def _routed(self, tokens: Tensor, expert: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
        """Weighted sum of the chosen experts, float32 ``[token, dim]``.

        Args:
            tokens: float32 ``[token, dim]``.
            expert: int32 ``[token * top_k]``, chosen experts.
            weight: float32 ``[token, top_k]``.
            counts: int32 ``[expert]``, how often each was chosen.
        """
        choices = ops.shape(expert)[0]
        order = ops.cast(ops.argsort(expert), "int32")  # choices, expert by expert
        first = ops.cumsum(counts) - counts  # first choice of each expert in it
        blocks = (counts + BLOCK - 1) // BLOCK
        end = ops.cumsum(blocks)
        start = end - blocks
        # As many blocks as can be needed, whatever the choices; surplus blocks belong to the last expert.
        block = ops.arange(choices // BLOCK + self.num_experts, dtype="int32")
        owner = ops.sum(ops.cast(ops.expand_dims(block, 1) >= end, "int32"), axis=1)
        owner = ops.minimum(ops.cast(owner, "int32"), self.num_experts - 1)
        place = ops.take(first, owner) + (block - ops.take(start, owner)) * BLOCK
        place = ops.expand_dims(place, 1) + ops.arange(BLOCK, dtype="int32")  # rows after a count are not read
        row = ops.take(order, ops.clip(place, 0, choices - 1)) // self.top_k
        y = _swiglu(ops.take(tokens, row, axis=0), *(ops.take(w, owner, axis=0) for w in self.routed))
        rank = ops.cast(ops.argsort(order), "int32") - ops.take(first, expert)
        found = ops.reshape(ops.take(start, expert) * BLOCK + rank, (-1, self.top_k))
        y = ops.take(ops.reshape(y, (-1, y.shape[-1])), found, axis=0)  # [token, top_k, dim]
        return ops.sum(y * ops.expand_dims(weight, -1), axis=1)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = ("num_experts", "top_k", "num_shared", "hidden")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def _swiglu(
    x: Tensor, a_kernel: Tensor, a_bias: Tensor, b_kernel: Tensor, b_bias: Tensor, d_kernel: Tensor, d_bias: Tensor
) -> Tensor:
    """Experts on tokens ``[expert, token, dim]`` (or ``[1, token, dim]``): ``[expert, token, dim]``."""
    hidden = ops.silu(ops.matmul(x, a_kernel) + a_bias) * (ops.matmul(x, b_kernel) + b_bias)
    return ops.matmul(hidden, d_kernel) + d_bias
