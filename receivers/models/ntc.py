"""Nonlinear transform codec of beam-delay coefficients: transformers before and after rounding."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers, ops

from receivers.models.attention import TransformerLayer
from receivers.models.report_frame import DESCRIPTORS, FAR, FEATURES, GAIN, TAPS

WIDTH = 4 * TAPS  # latents of a beam: polarisation, tap, real and imaginary part
_ZEROED = 0.65  # steps below which a coefficient is hardly ever sent


@keras.saving.register_keras_serializable(package="csilink")
class NonlinearTransformCodec(keras.Model):
    r"""Encoder at the UE and decoder at the gNB, for all sizes of the step.

    .. math:: y = x / \Delta + f_e(x, \Delta), \quad q = \mathrm{round}(y), \quad
        \hat{x} \propto \Delta q + f_d(q, \Delta)

    A latent is a coefficient of a beam, polarisation and tap around the origin; a token is a beam. With :math:`f = 0`,
    as before training, this is the plain beam-delay code. No token has a fixed place, so that any panel will do.

    Args:
        dim: features of a token.
        num_heads: attention heads.
        hidden: width of the feed-forward networks.
        encoder_layers: pre-norm transformer layers at the UE.
        decoder_layers: those at the gNB.

    Call arguments:
        tokens: float32 ``[layer, beam, FEATURES]`` of :class:`receivers.models.report_frame.ReportFrame`, of directions
            of energy 1 that nothing has quantised, with the step as threshold.

    Returns:
        coefficients float32 ``[layer, beam, 52]``: polarisation, tap, real and imaginary part.

    Source: Ballé et al., "Nonlinear transform coding", IEEE J. Sel. Topics Signal Process. 15(2), 2021.
    """

    def __init__(
        self,
        dim: int = 128,
        num_heads: int = 4,
        hidden: int = 256,
        encoder_layers: int = 2,
        decoder_layers: int = 4,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.sizes = {
            "dim": dim, "num_heads": num_heads, "hidden": hidden, "encoder_layers": encoder_layers,
            "decoder_layers": decoder_layers,
        }  # fmt: skip
        self.encoder = BeamStack(dim, num_heads, hidden, encoder_layers, name="encoder")
        self.decoder = BeamStack(dim, num_heads, hidden, decoder_layers, name="decoder")
        for stack in (self.encoder, self.decoder):
            stack.build((None, None, FEATURES))
        self.built = True

    def encode(self, tokens: Any, training: bool = False) -> Any:
        """Latents float32 ``[layer, beam * 52]`` before rounding."""
        shape = ops.shape(tokens)
        pairs = ops.reshape(tokens[..., : 6 * TAPS], (shape[0], shape[1], 2 * TAPS, 3))[..., :2]
        plain = ops.reshape(pairs, (shape[0], shape[1], WIDTH)) / (GAIN * step_of(tokens))[:, None, None]
        return ops.reshape(plain + self.encoder(tokens, training=training), (shape[0], shape[1] * WIDTH))

    def rounded(self, latents: Any, tokens: Any) -> Any:
        """Symbols float32 ``[layer, beam * 52]``; that of the origin is real and at least 1."""
        shape = ops.shape(tokens)
        at = 6 * TAPS
        own = tokens[..., at + FAR[0]] * tokens[..., at + 2 * FAR[0] + 1 + FAR[1]]  # 1 for the beam of the origin
        real, imag = (ops.one_hot(2 * (TAPS // 2) + part, WIDTH, dtype="float32") for part in (0, 1))
        q = ops.reshape(ops.round(latents), (shape[0], shape[1], WIDTH))
        q = ops.where(own[..., None] * real > 0, ops.maximum(q, 1.0), q)
        return ops.reshape(ops.where(own[..., None] * imag > 0, 0.0, q), ops.shape(latents))

    def decode(self, symbols: Any, tokens: Any, training: bool = False) -> Any:
        """Coefficients float32 ``[layer, beam, 52]``, those of the symbols with energy 36.

        Args:
            symbols: rounded latents float32 ``[layer, beam * 52]``.
            tokens: of which the offsets of the beams and the step are read.
            training: as of any layer.
        """
        count, beams = ops.shape(tokens)[:2]
        step = step_of(tokens)
        x = ops.reshape(symbols, (count, beams, WIDTH)) * step[:, None, None]
        norm = ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=(1, 2)), 1e-6))
        body = x * (GAIN / norm)[:, None, None]
        pairs = ops.reshape(body, (count, beams, 2 * TAPS, 2))
        flat = ops.concatenate([pairs, ops.ones_like(pairs[..., :1])], axis=-1)
        power = ops.sum(ops.square(ops.reshape(x, (count, -1, 2))), axis=-1)
        sent = ops.sum(ops.cast(power > 0, "float32"), axis=1)
        one = ops.ones_like(step)
        descriptors = [
            0.0 * one, log2(_ZEROED * step / norm) / 4 + 0.75, log2(ops.maximum(sent, 1.0)) / 4 - 1, 2.0 * one, one,
            ops.sqrt(ops.maximum(ops.max(power, axis=1), 1e-6)) / norm,
        ]  # fmt: skip
        tail = ops.broadcast_to(ops.stack(descriptors, axis=-1)[:, None], (count, beams, DESCRIPTORS))
        places = tokens[..., 6 * TAPS : FEATURES - DESCRIPTORS]
        features = ops.concatenate([ops.reshape(flat, (count, beams, 6 * TAPS)), places, tail], axis=-1)
        return body + self.decoder(features, training=training)

    def call(self, tokens: Any, training: bool = False) -> Any:
        """There and back."""
        return self.decode(self.rounded(self.encode(tokens, training), tokens), tokens, training)

    def get_config(self) -> dict[str, int]:
        """Constructor arguments."""
        return dict(self.sizes)


@keras.saving.register_keras_serializable(package="csilink")
class BeamStack(layers.Layer):
    """Embedding, pre-norm transformer layers, norm, and a head in float32 that starts at 0.

    Args:
        dim: features of a token.
        num_heads: attention heads.
        hidden: width of the feed-forward networks.
        count: transformer layers.
    """

    def __init__(self, dim: int, num_heads: int, hidden: int, count: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.dim = dim
        self.embedding = layers.Dense(dim, name="embedding")
        self.stack = [
            TransformerLayer(num_heads, hidden, norm="pre", activation="gelu_tanh", name=f"layer{i}")
            for i in range(count)
        ]
        self.norm = layers.LayerNormalization(epsilon=1e-5, name="norm")
        self.head = layers.Dense(WIDTH, kernel_initializer="zeros", name="head", dtype="float32")

    def build(self, shape: Any) -> None:
        """Sublayers of ``dim`` features."""
        self.embedding.build(shape)
        for layer in (*self.stack, self.norm, self.head):
            layer.build((*shape[:-1], self.dim))

    def call(self, tokens: Any, training: bool = False) -> Any:
        """``[layer, beam, 52]`` of tokens."""
        x = self.embedding(tokens)
        for layer in self.stack:
            x = layer(x, training=training)
        return self.head(self.norm(x))


def step_of(tokens: Any) -> Any:
    """Size of the step float32 ``[layer]`` that tokens name."""
    return ops.exp(math.log(16.0) * (tokens[:, 0, FEATURES - DESCRIPTORS + 1] - 0.75))


def log2(x: Any) -> Any:
    """Logarithm to the base 2."""
    return ops.log(x) * (1 / math.log(2.0))
