"""CsiNet+: CsiNet with large kernels and five refinement blocks."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from receivers.models.autoencoder import Autoencoder, arguments
from receivers.models.blocks import (
    conv_bn,
    flatten,
    identity_conv,
    identity_norm,
    leaky,
    pass_image,
    silence,
    unflatten,
)


@keras.saving.register_keras_serializable(package="csilink")
class CsiNetPlus(Autoencoder):
    """CsiNet+ autoencoder, any image size.

    Encoder: two Conv 7x7, Dense. Decoder: Dense, Conv 7x7, five RefineNet+ blocks (7x7: 8, 5x5: 16, 3x3: 2, skip);
    every convolution is followed by batch normalisation. The last block is the estimate.

    Args:
        height: rows of the image.
        width: columns of the image.
        num_latents: M, real entries of the codeword.
        num_blocks: RefineNet+ blocks.
        latent_activation: "linear" (published) or "tanh".
        image_activation: "leaky_relu" (published, images in [0, 1]) or "linear" (zero-mean images).
        head_activation: after the decoder's first convolution: "sigmoid" (published) or "linear".

    Source: Guo, Wen, Jin, Li, IEEE Trans. Wireless Commun. 19(4), 2020, Sec. III. No code is published; it does not
    state what follows the skip; here nothing does.
    """

    def __init__(
        self,
        height: int = 32,
        width: int = 32,
        num_latents: int = 128,
        num_blocks: int = 5,
        latent_activation: str = "linear",
        image_activation: str = "leaky_relu",
        head_activation: str = "sigmoid",
        **kwargs: Any,
    ):
        config = arguments(locals())
        image = keras.Input((height, width, 2), name="image")
        x = image
        for index in (1, 2):
            x = pass_image(conv_bn(x, 2, 7, f"encoder{index}"), image_activation)
        codeword = layers.Dense(num_latents, activation=latent_activation, name="codeword")(flatten(x))

        latent = keras.Input((num_latents,), name="latent")
        y = unflatten(layers.Dense(2 * height * width, name="expand")(latent), height, width)
        y = layers.Activation(head_activation)(conv_bn(y, 2, 7, "head"))
        for block in range(num_blocks):
            z = leaky(conv_bn(y, 8, 7, f"refine{block}-1"))
            z = leaky(conv_bn(z, 16, 5, f"refine{block}-2"))
            z = layers.Activation("tanh")(conv_bn(z, 2, 3, f"refine{block}-3"))
            y = layers.Add()([y, z])
        super().__init__(
            keras.Model(image, codeword, name="encoder"), keras.Model(latent, y, name="decoder"), config, **kwargs
        )

    def pass_images(self) -> tuple[tuple[int, ...], float]:
        """Make identities of all but the two dense layers, so that training can start at a linear code.

        Returns:
            order of the image axes ``(height, width, component)`` = (1, 2, 3) in the dense layers, and the gain of the
            image before the encoder's.
        """
        config = self.get_config()
        if (config["image_activation"], config["head_activation"]) != ("linear", "linear"):
            raise ValueError("image_activation and head_activation: linear")
        for name in ("encoder1", "encoder2", "head"):
            identity_conv(self.find(f"{name}-conv"))
            identity_norm(self.find(f"{name}-bn"))
        for block in range(config["num_blocks"]):
            silence(self.find(f"refine{block}-3-bn"))
        return (3, 1, 2), 1.0
