"""Transformer over beams that refines decoded reports at the gNB."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from receivers.models.attention import TransformerLayer
from receivers.models.report_frame import FEATURES, TAPS


@keras.saving.register_keras_serializable(package="csilink")
class BeamTransformer(keras.Model):
    r"""Better beam-delay coefficients from decoded ones: :math:`x + f(x)`, with :math:`f = 0` before training.

    A token is a beam of both polarisations: 2 x 13 complex coefficients around the origin, whether each could be sent,
    the offset of the beam from the strongest one, and descriptors of the quantiser. No token has a fixed place, so that
    any panel will do.

    Args:
        dim: features of a token.
        num_layers: pre-norm transformer layers.
        num_heads: attention heads.
        hidden: width of the feed-forward networks.

    Call arguments:
        tokens: float32 ``[layer, beam, FEATURES]`` of :class:`receivers.models.report_frame.ReportFrame`.

    Returns:
        float32 ``[layer, beam, 2 * 13 * 2]``: polarisation, tap, real and imaginary part.
    """

    num_features = FEATURES

    def __init__(self, dim: int = 128, num_layers: int = 3, num_heads: int = 4, hidden: int = 256, **kwargs: Any):
        super().__init__(**kwargs)
        self.sizes = {"dim": dim, "num_layers": num_layers, "num_heads": num_heads, "hidden": hidden}
        self.embedding = layers.Dense(dim, name="embedding")
        self.stack = [
            TransformerLayer(num_heads, hidden, norm="pre", activation="gelu_tanh", name=f"layer{i}")
            for i in range(num_layers)
        ]
        self.norm = layers.LayerNormalization(epsilon=1e-5, name="norm")
        self.head = layers.Dense(4 * TAPS, kernel_initializer="zeros", name="head")
        self.embedding.build((None, None, self.num_features))
        for layer in (*self.stack, self.norm, self.head):
            layer.build((None, None, dim))
        self.built = True

    def call(self, tokens: Any, training: bool = False) -> Any:
        """Decoded coefficients and their correction."""
        x = self.embedding(tokens)
        for layer in self.stack:
            x = layer(x, training=training)
        body = ops.reshape(tokens[..., : 6 * TAPS], (*ops.shape(tokens)[:2], 2 * TAPS, 3))[..., :2]
        return ops.reshape(body, (*ops.shape(tokens)[:2], 4 * TAPS)) + ops.cast(self.head(self.norm(x)), "float32")

    def get_config(self) -> dict[str, int]:
        """Constructor arguments."""
        return dict(self.sizes)
