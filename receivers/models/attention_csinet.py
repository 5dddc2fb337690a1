"""Attention-CsiNet: CsiNet with channel attention after its convolutions."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from receivers.models.autoencoder import Autoencoder, arguments
from receivers.models.blocks import conv_bn, flatten, leaky, pass_image, unflatten
from simulator.core.backend import Tensor


@keras.saving.register_keras_serializable(package="csilink")
class AttentionCsiNet(Autoencoder):
    """CsiNet with squeeze-and-excitation attention over the feature maps, any image size.

    Args:
        height: rows of the image.
        width: columns of the image.
        num_latents: M, real entries of the codeword.
        latent_activation: "linear" (published) or "tanh".
        image_activation: "leaky_relu" (published, images in [0, 1]) or "linear" (zero-mean images).
        output_activation: "sigmoid" (published) or "linear" (unit-power images).

    Source: Cai, Dong, Niu, "Attention model for massive MIMO CSI compression feedback and recovery", WCNC 2019. No code
    is published; the reduction of the attention is 1 for two maps and 4 for more.
    """

    def __init__(
        self,
        height: int = 32,
        width: int = 32,
        num_latents: int = 128,
        latent_activation: str = "linear",
        image_activation: str = "leaky_relu",
        output_activation: str = "sigmoid",
        **kwargs: Any,
    ):
        config = arguments(locals())
        image = keras.Input((height, width, 2), name="image")
        x = channel_attention(conv_bn(image, 2, 3, "encoder1"), "encoder1")
        x = pass_image(x, image_activation)
        codeword = layers.Dense(num_latents, activation=latent_activation, name="codeword")(flatten(x))

        latent = keras.Input((num_latents,), name="latent")
        y = unflatten(layers.Dense(2 * height * width, name="expand")(latent), height, width)
        for block in (1, 2):
            z = y
            for index, filters in enumerate((8, 16, 2)):
                name = f"refine{block}-{index}"
                z = channel_attention(conv_bn(z, filters, 3, name), name)
                z = leaky(z) if index < 2 else z
            y = pass_image(layers.Add()([y, z]), image_activation)
        y = layers.Conv2D(2, 3, padding="same", activation=output_activation, name="image_hat")(y)
        super().__init__(
            keras.Model(image, codeword, name="encoder"), keras.Model(latent, y, name="decoder"), config, **kwargs
        )


def channel_attention(x: Tensor, name: str) -> Tensor:
    """Weight of every map from the means of all (Hu, Shen, Sun, CVPR 2018, Eq. 2-4)."""
    maps = x.shape[-1]
    weight = layers.Dense(maps // (1 if maps == 2 else 4), "relu", name=f"{name}-squeeze")(
        layers.GlobalAveragePooling2D()(x)
    )
    weight = layers.Dense(maps, "sigmoid", name=f"{name}-excite")(weight)
    return x * ops.reshape(weight, (-1, 1, 1, maps))
