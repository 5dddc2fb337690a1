"""Eigenvector transformer: autoencoder of subband eigenvectors, the implicit CSI of 3GPP's studies."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from receivers.models.attention import TransformerLayer
from receivers.models.autoencoder import Autoencoder, arguments
from receivers.models.position import Position
from simulator.core.backend import Tensor


@keras.saving.register_keras_serializable(package="csilink")
class EigenvectorTransformer(Autoencoder):
    """Transformer autoencoder whose tokens are subbands.

    Encoder: every subband's direction (real and imaginary parts) to ``dim`` features plus a learned position,
    ``encoder_layers`` pre-normalised transformer layers, Dense(``num_latents``). Decoder: the inverse with
    ``decoder_layers``; its output needs no norm.

    Args:
        height: subbands.
        width: ports.
        num_latents: M, real entries of the codeword.
        dim: features of a token.
        num_heads: attention heads.
        hidden: width of the feed-forward networks.
        encoder_layers: layers at the UE.
        decoder_layers: layers at the gNB.
        latent_activation: "tanh" (bounded, for quantisers on [-1, 1]) or "linear".

    Source: class of networks of 3GPP TR 38.843, 6.2.2; eigenvector target: Liu et al., "EVCsiNet: eigenvector-based CSI
    feedback under 3GPP link-level channels", IEEE Wireless Commun. Lett. 10(12), 2021.
    """

    def __init__(
        self,
        height: int = 13,
        width: int = 32,
        num_latents: int = 40,
        dim: int = 128,
        num_heads: int = 4,
        hidden: int = 256,
        encoder_layers: int = 2,
        decoder_layers: int = 3,
        latent_activation: str = "tanh",
        **kwargs: Any,
    ):
        config = arguments(locals())

        def stack(x: Tensor, count: int, name: str) -> Tensor:
            x = Position(name=f"{name}-position")(x)
            for index in range(count):
                x = TransformerLayer(num_heads, hidden, norm="pre", activation="gelu", name=f"{name}-layer{index}")(x)
            return layers.LayerNormalization(epsilon=1e-5, name=f"{name}-norm")(x)

        image = keras.Input((height, width, 2), name="image")
        x = layers.Dense(dim, name="encoder-embedding")(layers.Reshape((height, 2 * width))(image))
        x = layers.Flatten()(stack(x, encoder_layers, "encoder"))
        codeword = layers.Dense(num_latents, activation=latent_activation, name="codeword")(x)

        latent = keras.Input((num_latents,), name="latent")
        y = layers.Reshape((height, dim))(layers.Dense(height * dim, name="expand")(latent))
        y = layers.Dense(2 * width, name="decoder-head")(stack(y, decoder_layers, "decoder"))
        y = layers.Reshape((height, width, 2))(y)
        super().__init__(
            keras.Model(image, codeword, name="encoder"), keras.Model(latent, y, name="decoder"), config, **kwargs
        )
