"""Refiners to compare with LVM4CF: dense network, small transformer, GPT-2, dense network of any size (the control)."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from receivers.models.attention import TransformerLayer, gelu
from receivers.models.autoencoder import arguments
from receivers.models.codeword_refiner import CodewordRefiner
from simulator.core.backend import Shape, Tensor


@keras.saving.register_keras_serializable(package="csilink")
class FcRefiner(CodewordRefiner):
    """Three dense layers of 1024 with ReLU (the paper does not describe its FC network).

    Args:
        num_ports: ports of the panel.
        num_pol: polarisations.
        width: of the hidden layers.
        depth: number of hidden layers.
    """

    def __init__(self, num_ports: int, num_pol: int = 2, width: int = 1024, depth: int = 3, **kwargs: Any):
        config = arguments(locals())
        tokens = keras.Input((num_pol, 2 * num_ports // num_pol))
        x = layers.Flatten()(tokens)
        for _ in range(depth):
            x = layers.Dense(width, activation="relu")(x)
        out = layers.Reshape(tokens.shape[1:])(layers.Dense(2 * num_ports)(x))
        super().__init__(keras.Model(tokens, out), config, **kwargs)


@keras.saving.register_keras_serializable(package="csilink")
class TransformerRefiner(CodewordRefiner):
    """Two pre-norm transformer layers of width 256.

    Args:
        num_ports: ports of the panel.
        num_pol: polarisations, one token each.
        d_model: width.
        num_heads: heads.
        num_layers: layers.
    """

    def __init__(
        self,
        num_ports: int,
        num_pol: int = 2,
        d_model: int = 256,
        num_heads: int = 8,
        num_layers: int = 2,
        **kwargs: Any,
    ):
        config = arguments(locals())
        tokens = keras.Input((num_pol, 2 * num_ports // num_pol))
        x = layers.Dense(d_model)(tokens)
        x = _Positions(name="positions")(x)
        for i in range(num_layers):
            x = TransformerLayer(num_heads, 4 * d_model, norm="pre", activation="gelu", name=f"layer_{i}")(x)
        out = layers.Dense(tokens.shape[-1])(layers.LayerNormalization(epsilon=1e-5)(x))
        super().__init__(keras.Model(tokens, out), config, **kwargs)


@keras.saving.register_keras_serializable(package="csilink")
class Gpt2Refiner(CodewordRefiner):
    """GPT-2 blocks between dense layers: pre-norm, learned positions, tanh form of GELU, bidirectional.

    The paper's "12-layer GPT2-XL" does not exist (GPT-2 XL has 48 layers of 1600); the default is GPT-2 small.

    Args:
        num_ports: ports of the panel.
        num_pol: polarisations, one token each.
        d_model: width.
        num_heads: heads.
        num_layers: layers.

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, Sec. 2.3.
    """

    def __init__(
        self,
        num_ports: int,
        num_pol: int = 2,
        d_model: int = 768,
        num_heads: int = 12,
        num_layers: int = 12,
        **kwargs: Any,
    ):
        config = arguments(locals())
        tokens = keras.Input((num_pol, 2 * num_ports // num_pol))
        x = _Positions(name="positions")(layers.Dense(d_model, name="embed")(tokens))
        backbone = [
            TransformerLayer(num_heads, 4 * d_model, norm="pre", activation="gelu_tanh", name=f"layer_{i}")
            for i in range(num_layers)
        ]
        for layer in backbone:
            x = layer(x)
        x = layers.LayerNormalization(epsilon=1e-5, name="final_norm")(x)
        super().__init__(
            keras.Model(tokens, layers.Dense(tokens.shape[-1], name="head")(x)), config, backbone, **kwargs
        )


@keras.saving.register_keras_serializable(package="csilink")
class MlpRefiner(CodewordRefiner):
    """Residual dense network with a given number of parameters: the control for a two-token transformer.

    Args:
        num_ports: ports of the panel.
        num_pol: polarisations.
        budget: parameters to come close to (from below).
        depth: residual blocks of width w: ``x + W_2 gelu(W_1 LN(x))``.
    """

    def __init__(self, num_ports: int, num_pol: int = 2, budget: int = 500_000, depth: int = 2, **kwargs: Any):
        config = arguments(locals())
        size = 2 * num_ports
        # Parameters of width w: (size + 1) w + depth (2 w^2 + 4 w) + (w + 1) size.
        width = 1
        while (size + 1) * (width + 1) + depth * (2 * (width + 1) ** 2 + 4 * (width + 1)) + (
            width + 2
        ) * size <= budget:
            width += 1
        tokens = keras.Input((num_pol, size // num_pol))
        x = layers.Dense(width)(layers.Flatten()(tokens))
        for _ in range(depth):
            y = gelu(layers.Dense(width)(layers.LayerNormalization(epsilon=1e-5)(x)))
            x = x + layers.Dense(width)(y)
        out = layers.Reshape(tokens.shape[1:])(layers.Dense(size)(x))
        super().__init__(keras.Model(tokens, out), config, **kwargs)


@keras.saving.register_keras_serializable(package="csilink")
class _Positions(layers.Layer):
    """Adds a learned vector to every token."""

    def build(self, x_shape: Shape) -> None:
        self.table = self.add_weight(
            shape=x_shape[1:], initializer=keras.initializers.RandomNormal(0, 0.02), name="table"
        )

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        return x_shape

    def call(self, x: Tensor) -> Tensor:
        return x + self.table
