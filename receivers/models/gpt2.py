"""Body of GPT-2: position embeddings, layers, norm; tokens are vectors, there is no vocabulary."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from receivers.models.attention import TransformerLayer
from simulator.core.backend import Shape, Tensor
from simulator.core.errors import ConfigError


@keras.saving.register_keras_serializable(package="csilink")
class Gpt2Body(layers.Layer):
    """Learned positions, pre-norm layers with the tanh form of GELU, norm; built at construction.

    Args:
        dim: width, 768 in GPT-2 small.
        num_layers: the first layers of 12.
        num_heads: heads; must divide the width.
        num_positions: rows of the position table, the longest sequence.
        dropout: share dropped in training, after the positions and in every layer.
        bidirectional: tokens see later ones too; GPT-2's do not.

    Call arguments:
        x: float32 ``[batch, token, dim]``.

    Returns:
        float32, shape of ``x``.

    Raises:
        ConfigError: a parameter that does not fit.

    Source: Radford et al., "Language models are unsupervised multitask learners", 2019, Sec. 2.3.
    """

    def __init__(
        self,
        dim: int = 768,
        num_layers: int = 6,
        num_heads: int = 12,
        num_positions: int = 1024,
        dropout: float = 0.1,
        bidirectional: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if num_heads < 1 or dim < 1 or dim % num_heads:
            raise ConfigError("num_heads", num_heads, f"a divisor of the width {dim}")
        if min(num_layers, num_positions) < 1:
            raise ConfigError("num_layers, num_positions", (num_layers, num_positions), "at least 1")
        if not 0 <= dropout < 1:
            raise ConfigError("dropout", dropout, "0 .. 1, without 1")
        self.dim, self.num_layers, self.num_heads, self.num_positions = dim, num_layers, num_heads, num_positions
        self.dropout, self.bidirectional = dropout, bidirectional
        options = {"norm": "pre", "activation": "gelu_tanh", "dropout": dropout, "causal": not bidirectional}
        self.blocks = [TransformerLayer(num_heads, 4 * dim, name=f"layer{i}", **options) for i in range(num_layers)]
        self.norm = layers.LayerNormalization(epsilon=1e-5, name="norm")
        self.drop = layers.Dropout(dropout) if dropout else None
        for layer in (*self.blocks, self.norm):
            layer.build((None, None, dim))
        self.table = self.add_weight(
            shape=(num_positions, dim), initializer=keras.initializers.RandomNormal(0, 0.02), name="table"
        )
        self.built = True

    def compute_output_shape(self, x_shape: Shape) -> Shape:
        """Shape of the input; without this method Keras traces the whole call to learn it."""
        return x_shape

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Positions, layers, norm."""
        x = x + self.table[: x.shape[1]]
        if self.drop is not None:
            x = self.drop(x, training=training)
        for layer in self.blocks:
            x = layer(x, training=training)
        return self.norm(x)

    def freeze(self) -> None:
        """Train norms and positions only."""
        for layer in self.blocks:
            layer.trainable = False
            for norm in layer.norms:
                norm.trainable = True
                for weight in norm.weights:
                    weight.trainable = True

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = ("dim", "num_layers", "num_heads", "num_positions", "dropout", "bidirectional")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
