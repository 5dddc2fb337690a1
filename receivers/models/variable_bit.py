"""Transformer with a concrete feedback layer: one network for every feedback length."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from receivers.models.attention import TransformerLayer, gelu
from receivers.models.autoencoder import Autoencoder, arguments
from receivers.models.position import Position


@keras.saving.register_keras_serializable(package="csilink")
class VariableBitTransformer(Autoencoder):
    """Encoder to the log-odds of ``num_latents`` bits; decoder from bits 0, 1 and -1 (not sent) to the channel.

    Encoder: two mixing steps, each over the features and then over the rows of the image, Dense(2) for two logits of
    each bit. Decoder: dense layers on the bits, one copy for every token, learned positions, ``num_layers`` post-norm
    transformer layers with GELU, a linear head to the rows of a token. The image holds all antennas of a UE.

    Args:
        height: rows of the image: subcarriers, or delay taps.
        width: columns: pairs of UE antenna and port.
        num_latents: largest number of bits.
        features: width of the encoder.
        tokens: rows that the encoder keeps.
        bit_features: width of the decoder's first layer.
        dim: features of a token of the decoder.
        num_heads: attention heads.
        hidden: width of the feed-forward networks.
        num_layers: transformer layers.
        token_rows: neighbouring rows of the image that are one token of the decoder (published: 1).
        head: "shared" by all tokens, or "token": one for each (published).
        dropout: share of the features dropped in training (published: 0.1).
        logit_gain: factor on the log-odds (published: 1). Informative bits from the first step, with log-odds beyond
            the spread 1.8 of the logistic noise, avoid the long start in which the decoder sees random bits.

    The paper's size is ``height=128, width=1024, num_latents=256, features=256, tokens=32, bit_features=384, dim=512,
    num_heads=8, hidden=2048, head="token", dropout=0.1``: 144,893,666 parameters, 594,530 of them at the UE.

    Source: Ji, Chung, IEEE Trans. Wireless Commun. 23(10), 2024, in the form that NF-KD uses.
    """

    # Latents are log-odds of bits.
    binary = True

    def __init__(
        self,
        height: int = 64,
        width: int = 32,
        num_latents: int = 256,
        features: int = 256,
        tokens: int = 32,
        bit_features: int = 384,
        dim: int = 128,
        num_heads: int = 4,
        hidden: int = 512,
        num_layers: int = 3,
        token_rows: int = 1,
        head: str = "shared",
        dropout: float = 0.0,
        logit_gain: float = 1.0,
        **kwargs: Any,
    ):
        config = arguments(locals())
        if head not in ("shared", "token"):
            raise ValueError(f"head is 'shared' or 'token'; got {head!r}")
        if token_rows < 1 or height % token_rows:
            raise ValueError(f"token_rows divides the {height} rows; got {token_rows}")
        count, size = height // token_rows, token_rows * 2 * width
        columns = layers.Permute((2, 1))
        image = keras.Input((height, width, 2), name="image")
        x = layers.Reshape((height, 2 * width))(image)
        x = gelu(layers.Dense(features, name="mix-features")(x))
        x = columns(layers.Dense(tokens, name="mix-rows")(columns(x)))  # [batch, token, feature]
        x = gelu(layers.Dense(num_latents, name="to-bits")(x))
        pair = layers.Dense(2, name="logits")(columns(x))  # [batch, bit, 2]
        logit = logit_gain * (pair[..., 0] - pair[..., 1])

        latent = keras.Input((num_latents,), name="latent")
        y = layers.Dense(bit_features, name="from-bits")(latent)
        y = gelu(layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="from-bits-norm")(y))
        y = layers.RepeatVector(count)(layers.Dense(dim, name="token")(y))
        y = Position(stddev=1.0, name="position")(y)
        for index in range(num_layers):
            layer = TransformerLayer(num_heads, hidden, activation="gelu", dropout=dropout, name=f"layer{index}")
            y = layer(y)
        if head == "shared":
            y = layers.Dense(size, name="head")(y)
        else:
            y = layers.EinsumDense("btd,tdo->bto", (count, size), bias_axes="to", name="head")(y)
        y = layers.Reshape((height, width, 2))(y)
        super().__init__(
            keras.Model(image, logit, name="encoder"), keras.Model(latent, y, name="decoder"), config, **kwargs
        )
