"""Transformer layer whose feed-forward network is a mixture of experts."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from receivers.models.attention import MultiHeadAttention
from receivers.models.mixture_of_experts import MixtureOfExperts
from simulator.core.backend import Shape, Tensor


@keras.saving.register_keras_serializable(package="csilink")
class ExpertLayer(layers.Layer):
    """Post-norm layer: self-attention, with ``cross`` attention to a memory, mixture of experts; RMS norms.

    Args:
        num_heads: heads of the attention; must divide the width.
        num_experts: routed experts.
        top_k: routed experts of one token.
        num_shared: experts of all tokens.
        hidden: width of an expert.
        cross: also attend to ``memory``.
        axis: "token", "batch" or "alone", see :class:`~receivers.models.attention.MultiHeadAttention`.
        expert_input: "residual", experts see the sum after the last attention; "branch", the output of the last
            attention alone, as in the released code's decoder. The skip is the same.
        dropout: share dropped in training of attention weights and of the outputs of the branches.

    Call arguments:
        x: float32 ``[batch, token, dim]``.
        memory: float32 ``[batch, token, dim]`` for ``cross``.
        keep: also return attention weights.

    Returns:
        output float32, shape of ``x``; balance loss, a number; the state after the last attention, shape of ``x``;
        attention weights float32 ``[batch, head, query, key]`` of each attention (none without ``keep``).

    Source: WiFo-CF (arXiv:2508.04068) and its released code.
    """

    def __init__(
        self,
        num_heads: int,
        num_experts: int,
        top_k: int,
        num_shared: int,
        hidden: int,
        cross: bool = False,
        axis: str = "token",
        expert_input: str = "residual",
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self._config = {
            "num_heads": num_heads,
            "num_experts": num_experts,
            "top_k": top_k,
            "num_shared": num_shared,
            "hidden": hidden,
            "cross": cross,
            "axis": axis,
            "expert_input": expert_input,
            "dropout": dropout,
        }
        self.expert_input = expert_input
        self.attentions = [MultiHeadAttention(num_heads, axis, dropout) for _ in range(2 if cross else 1)]
        self.experts = MixtureOfExperts(num_experts, top_k, num_shared, hidden)
        self.norms = [layers.RMSNormalization(epsilon=1e-5) for _ in range(3 if cross else 2)]
        self.drop = layers.Dropout(dropout) if dropout else None

    def build(self, x_shape: Shape, memory_shape: Shape | None = None) -> None:
        """Sublayers of the width of ``x``."""
        for layer in (*self.attentions, self.experts, *self.norms):
            layer.build(x_shape)
            layer.built = True

    def call(
        self, x: Tensor, memory: Tensor = None, training: bool = False, keep: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Branches one after the other."""

        def drop(y: Tensor) -> Tensor:
            return y if self.drop is None else self.drop(y, training=training)

        maps, branch = [], x
        for attention, norm, source in zip(self.attentions, self.norms, (None, memory), strict=False):
            branch = attention(x, source, training=training, keep=keep)
            if keep:
                branch, weights = branch
                maps.append(weights)
            x = norm(x + drop(branch))
        y, balance = self.experts(x if self.expert_input == "residual" else branch)
        return self.norms[-1](x + drop(y)), balance, x, maps

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), **self._config}
