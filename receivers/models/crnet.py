"""CRNet: multi-resolution convolutions in encoder and decoder."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from receivers.models.autoencoder import Autoencoder, arguments
from receivers.models.blocks import (
    conv_bn,
    cr_block,
    flatten,
    identity_conv,
    identity_norm,
    leaky,
    pass_image,
    silence,
    unflatten,
)


@keras.saving.register_keras_serializable(package="csilink")
class CrNet(Autoencoder):
    """CRNet autoencoder, any image size.

    Encoder: two paths (3x3, 1x9, 9x1 and 3x3, two channels), concatenation, Conv 1x1, Dense(``num_latents``). Decoder:
    Dense, Conv 5x5, two CRBlocks. Every convolution is followed by batch normalisation.

    Args:
        height: rows of the image.
        width: columns of the image.
        num_latents: M, real entries of the codeword.
        latent_activation: "linear" (published) or "tanh" (bounded, for quantisers on [-1, 1]).
        image_activation: "leaky_relu" (published, images in [0, 1]) or "linear" (zero-mean images).
        output_activation: "sigmoid" (published, images in [0, 1] around 0.5) or "linear" (unit-power images).

    Source: Lu, Wang, Song, "Multi-resolution CSI feedback with deep learning in massive MIMO system", ICC 2020.
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
        x1 = leaky(conv_bn(image, 2, 3, "encoder1-conv3x3_bn"))
        x1 = leaky(conv_bn(x1, 2, (1, 9), "encoder1-conv1x9_bn"))
        x1 = conv_bn(x1, 2, (9, 1), "encoder1-conv9x1_bn")
        x2 = conv_bn(image, 2, 3, "encoder2")
        x = pass_image(layers.Concatenate()([x1, x2]), image_activation)
        x = pass_image(conv_bn(x, 2, 1, "encoder_conv-conv1x1_bn"), image_activation)
        codeword = layers.Dense(num_latents, activation=latent_activation, name="codeword")(flatten(x))

        latent = keras.Input((num_latents,), name="latent")
        y = unflatten(layers.Dense(2 * height * width, name="expand")(latent), height, width)
        y = pass_image(conv_bn(y, 2, 5, "decoder_feature-conv5x5_bn"), image_activation)
        for block in (1, 2):
            y = cr_block(y, 9, f"decoder_feature-CRBlock{block}", image_activation)
        y = layers.Activation(output_activation, name="image_hat")(y)
        super().__init__(
            keras.Model(image, codeword, name="encoder"), keras.Model(latent, y, name="decoder"), config, **kwargs
        )

    def pass_images(self) -> tuple[tuple[int, ...], float]:
        """Make identities of all but the two dense layers, so that training can start at a linear code.

        Returns:
            order of the image axes ``(height, width, component)`` = (1, 2, 3) in the dense layers, and the gain of the
            image before the encoder's.
        """
        if self.get_config()["image_activation"] != "linear":
            raise ValueError("image_activation: linear")
        identity_conv(self.find("encoder2-conv"))
        identity_norm(self.find("encoder2-bn"))
        merge = self.find("encoder_conv-conv1x1_bn-conv")
        merge.kernel.assign(np.concatenate([np.zeros((2, 2)), np.eye(2)])[None, None])
        identity_norm(self.find("encoder_conv-conv1x1_bn-bn"))
        identity_conv(self.find("decoder_feature-conv5x5_bn-conv"))
        identity_norm(self.find("decoder_feature-conv5x5_bn-bn"))
        for block in (1, 2):
            silence(self.find(f"decoder_feature-CRBlock{block}-conv1x1-bn"))
        return (3, 1, 2), 1.0
