"""Channel prediction by a transformer, all future steps at once."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from receivers.models.attention import TransformerLayer
from receivers.models.autoencoder import arguments
from receivers.models.sequence_predictor import SequencePredictor
from receivers.models.spatiotemporal_position import axis_code
from simulator.core.backend import Tensor
from simulator.core.errors import ConfigError


@keras.saving.register_keras_serializable(package="csilink")
class TransformerPredictor(SequencePredictor):
    """Pre-norm encoder over the history and one query per future step, which all see each other.

    A step is a token (dense), a query is one learned vector; both get fixed positions that count from the latest known
    step, so that a query means the same after any history. After the encoder: norm, dense on the queries. No error of
    one step enters the next.

    Args:
        group: entries of a sequence; a step has ``2 * group`` features.
        d_model: width, even.
        num_heads: heads; must divide the width.
        num_layers: layers.
        hidden: width of the feed-forward networks.

    Call arguments, Returns, Raises: see :class:`~receivers.models.sequence_predictor.SequencePredictor`; any history
    and any number of future steps, though not beyond what training has seen.

    Source: parallel prediction: Jiang, Cui, Ng, Dai, "Accurate channel prediction based on transformer: making mobility
        negligible", IEEE JSAC 40(9), 2022, which has encoder and decoder; queries in the encoder are ours.
    """

    def __init__(
        self,
        group: int = 48,
        d_model: int = 128,
        num_heads: int = 8,
        num_layers: int = 3,
        hidden: int = 256,
        **kwargs: Any,
    ):
        config = arguments(locals())
        super().__init__(group, config, **kwargs)
        if num_heads < 1 or d_model < 1 or d_model % num_heads or d_model % 2:
            raise ConfigError("d_model, num_heads", (d_model, num_heads), "an even width and a divisor of it")
        if min(num_layers, hidden) < 1:
            raise ConfigError("num_layers, hidden", (num_layers, hidden), "at least 1")
        self.d_model = d_model
        self.embed = layers.Dense(d_model, name="embed")
        self.encoder = [
            TransformerLayer(num_heads, hidden, norm="pre", activation="gelu", name=f"layer{i}")
            for i in range(num_layers)
        ]
        self.norm = layers.LayerNormalization(epsilon=1e-5, name="norm")
        self.head = layers.Dense(2 * group, name="head")
        self.embed.build((None, None, 2 * group))
        for layer in (*self.encoder, self.norm, self.head):
            layer.build((None, None, d_model))
        self.query = self.add_weight(
            shape=(d_model,), initializer=keras.initializers.RandomNormal(0, 0.02), name="query"
        )
        self.built = True

    def call(self, history: Tensor, num_future: int, training: bool = False) -> Tensor:
        """Encode history and queries, read the queries."""
        known = history.shape[1]
        place = axis_code(np.arange(1 - known, num_future + 1), self.d_model).astype(np.float32)
        tokens = self.embed(history)
        queries = ops.zeros_like(tokens[:, :1]) + self.query
        x = ops.concatenate([tokens, ops.repeat(queries, num_future, axis=1)], axis=1) + ops.convert_to_tensor(place)
        for layer in self.encoder:
            x = layer(x, training=training)
        return self.head(self.norm(x[:, known:]))
