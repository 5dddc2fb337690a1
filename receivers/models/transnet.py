"""TransNet: transformer encoder and decoder on slices of the image."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from receivers.models.attention import TransformerLayer, silence_layer
from receivers.models.autoencoder import Autoencoder, arguments
from receivers.models.blocks import flatten, unflatten
from simulator.core.backend import Tensor


@keras.saving.register_keras_serializable(package="csilink")
class TransNet(Autoencoder):
    """TransNet autoencoder, any image whose ``2 * height * width`` numbers fill whole tokens.

    The flattened image (components first) is cut into tokens of ``dim`` numbers without embedding or position. Encoder:
    ``num_layers`` transformer layers, Dense. Decoder: Dense, whose tokens are target and memory of ``num_layers``
    transformer decoder layers and a final normalisation; no output activation.

    Args:
        height: rows of the image.
        width: columns of the image.
        num_latents: M, real entries of the codeword.
        dim: numbers of one token.
        num_heads: attention heads.
        hidden: width of the feed-forward networks.
        num_layers: layers of encoder and decoder each.
        shared_layers: one layer applied ``num_layers`` times (released code) or layers of their own (text).
        norm: "post" (published), or "pre", which keeps the relative power of the tokens of zero-mean images.
        attention_axis: "token" (text), or "batch", the released code's quirk: the output for a sample then depends on
            the other samples of its batch; "alone", the quirk in batches of one (as the link runs it).
        latent_activation: "linear" (published) or "tanh".

    Source: Cui, Guo, Song, "TransNet: full attention network for CSI feedback in FDD massive MIMO system", IEEE
    Wireless Commun. Lett. 11(5), 2022.
    """

    def __init__(
        self,
        height: int = 32,
        width: int = 32,
        num_latents: int = 128,
        dim: int = 64,
        num_heads: int = 2,
        hidden: int = 2048,
        num_layers: int = 2,
        shared_layers: bool = True,
        norm: str = "post",
        attention_axis: str = "token",
        latent_activation: str = "linear",
        **kwargs: Any,
    ):
        config = arguments(locals())
        size = 2 * height * width
        if size % dim:
            raise ValueError(f"{size} numbers of the image do not fill tokens of dim {dim}")

        def stack(x: Tensor, memory: Tensor, cross: bool, name: str) -> Tensor:
            options = {"cross": cross, "norm": norm, "axis": attention_axis}
            layer = None
            for index in range(num_layers):
                if layer is None or not shared_layers:
                    layer = TransformerLayer(num_heads, hidden, name=f"{name}-layer{index}", **options)
                x = layer(x, memory) if cross else layer(x)
            return x

        image = keras.Input((height, width, 2), name="image")
        x = stack(layers.Reshape((size // dim, dim))(flatten(image)), None, False, "encoder")
        codeword = layers.Dense(num_latents, activation=latent_activation, name="codeword")(layers.Flatten()(x))

        latent = keras.Input((num_latents,), name="latent")
        tokens = layers.Reshape((size // dim, dim))(layers.Dense(size, name="expand")(latent))
        y = stack(tokens, tokens, True, "decoder")
        if norm == "post":
            y = layers.LayerNormalization(epsilon=1e-5, name="decoder-norm")(y)
        y = unflatten(layers.Flatten()(y), height, width)
        super().__init__(
            keras.Model(image, codeword, name="encoder"), keras.Model(latent, y, name="decoder"), config, **kwargs
        )

    def pass_images(self) -> tuple[tuple[int, ...], float]:
        """Make identities of all but the two dense layers, so that training can start at a linear code.

        Returns:
            order of the image axes ``(height, width, component)`` = (1, 2, 3) in the dense layers, and the gain of the
            image before the encoder's.
        """
        if self.get_config()["norm"] != "pre":
            raise ValueError("norm: pre")
        names = [f"{side}-layer{i}" for side in ("encoder", "decoder") for i in range(self.get_config()["num_layers"])]
        for name in names:
            try:
                layer = self.find(name)
            except KeyError:  # shared
                continue
            silence_layer(layer)
        return (3, 1, 2), 1.0
