"""LVM4CF: a codeword refiner around the first layers of a large vision model."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from receivers.models.attention import gelu
from receivers.models.autoencoder import arguments
from receivers.models.codeword_refiner import CodewordRefiner
from receivers.models.llama import LlamaLayer


@keras.saving.register_keras_serializable(package="csilink")
class Lvm4cf(CodewordRefiner):
    """Embedding, L LLaMA layers, head with tanh.

    Defaults are small enough for a CPU; the paper has ``d_model`` 4096, ``hidden`` 11008, 32 heads, 2 layers and 128
    ports: 413,952,128 parameters.

    Args:
        num_ports: ports of the panel, all polarisations.
        num_pol: polarisations, one token each.
        d_model: D.
        hidden: width of the SwiGLU networks.
        num_heads: heads.
        num_layers: L.
        causal: the first polarisation does not see the second, as in the vision model's training.

    Source: Zhuang et al., arXiv:2505.08566, Eqs. (16)-(22).
    """

    def __init__(
        self,
        num_ports: int,
        num_pol: int = 2,
        d_model: int = 128,
        hidden: int = 344,
        num_heads: int = 4,
        num_layers: int = 2,
        causal: bool = False,
        **kwargs: Any,
    ):
        config = arguments(locals())
        width = 2 * num_ports // num_pol
        tokens = keras.Input((num_pol, width))
        x = layers.Dense(d_model // 2, name="embed_1")(tokens)
        x = gelu(layers.LayerNormalization(epsilon=1e-5, name="embed_norm")(x))
        x = layers.Dense(d_model, name="embed_2")(x)
        backbone = [LlamaLayer(num_heads, hidden, causal, name=f"layer_{i}") for i in range(num_layers)]
        for layer in backbone:
            x = layer(x)
        out = layers.Dense(width, activation="tanh", name="head")(x)
        super().__init__(keras.Model(tokens, out), config, backbone, **kwargs)

    @staticmethod
    def num_params(num_ports: int, num_pol: int, d_model: int, hidden: int, num_layers: int) -> int:
        """Parameters by formula, for sizes that are not built."""
        width, half = 2 * num_ports // num_pol, d_model // 2
        embedding = (width + 1) * half + 2 * half + (half + 1) * d_model
        layer = 4 * d_model**2 + 3 * d_model * hidden + 2 * d_model
        return embedding + num_layers * layer + (d_model + 1) * width
