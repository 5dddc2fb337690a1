"""STNet: spatially separable attention in encoder and decoder, in parallel to a CRNet branch in the decoder."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import initializers, layers

from receivers.models.autoencoder import Autoencoder, arguments
from receivers.models.blocks import (
    conv_bn,
    cr_block,
    flatten,
    identity_conv,
    pass_image,
    silence,
    torch_dense,
    unflatten,
)
from receivers.models.separable_attention import WINDOW, RowNormalization, SeparableBlock
from simulator.core.backend import Tensor


@keras.saving.register_keras_serializable(package="csilink")
class StNet(Autoencoder):
    """STNet autoencoder; sizes are multiples of 8 (released attention: of 32).

    Encoder: Conv 1x1 (16), Conv 5x5 (2), separable block, up- and down-sampling convolutions, skip, Dense. Decoder:
    Dense, a convolutional branch (Conv 5x5, CRBlock) and the separable block, applied twice with the same weights.

    Args:
        height: rows of the image.
        width: columns of the image.
        num_latents: M, real entries of the codeword.
        attention: "released" (published code: one global key, local windows read across heads) or "windowed" (as the
            text has it), see :class:`~receivers.models.separable_attention.SeparableBlock`.
        row_norm: normalise rows before Dense and output, as published; False keeps the relative power of the rows
            of zero-mean images.
        latent_activation: "linear" (published) or "tanh".
        image_activation: "leaky_relu" (published, images in [0, 1]) or "linear" (zero-mean images).
        output_activation: "sigmoid" (published) or "linear" (unit-power images).

    Source: Mourya, Amuru, Kuchi, "A spatially separable attention mechanism for massive MIMO CSI feedback", IEEE
    Wireless
    Commun. Lett. 12(1), 2023. The published decoder also holds a dense layer that it never uses; it is left out.
    """

    def __init__(
        self,
        height: int = 32,
        width: int = 32,
        num_latents: int = 128,
        attention: str = "released",
        row_norm: bool = True,
        latent_activation: str = "linear",
        image_activation: str = "leaky_relu",
        output_activation: str = "sigmoid",
        **kwargs: Any,
    ):
        config = arguments(locals())
        multiple = 4 * WINDOW if attention == "released" else WINDOW
        if height % multiple or width % multiple:
            raise ValueError(f"image of {height} x {width}; {attention} attention needs multiples of {multiple}")

        def resample(x: Tensor, name: str) -> Tensor:
            uniform = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
            options = {"strides": 2, "padding": "same", "kernel_initializer": uniform}
            x = layers.Conv2DTranspose(2, 4, name=f"{name}-convT", **options)(x)
            return layers.Conv2D(2, 4, name=f"{name}-conv4", **options)(x)

        def normed(x: Tensor, name: str) -> Tensor:
            return RowNormalization(name=name)(x) if row_norm else x

        uniform = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        size = 2 * height * width
        image = keras.Input((height, width, 2), name="image")
        x = layers.Conv2D(16, 1, kernel_initializer=uniform, name="encoder-conv1")(image)
        skip = layers.Conv2D(2, 5, padding="same", kernel_initializer=uniform, name="encoder-conv5")(x)
        x = normed(SeparableBlock(attention, name="encoder-block")(skip), "encoder-norm3")
        x = normed(layers.Add()([skip, resample(x, "encoder")]), "encoder-norm2")
        codeword = torch_dense(num_latents, size, "codeword", activation=latent_activation)(flatten(x))

        latent = keras.Input((num_latents,), name="latent")
        y = unflatten(torch_dense(size, num_latents, "expand")(latent), height, width)
        branch = pass_image(conv_bn(y, 2, 5, "decoder_feature-conv5x5_bn"), image_activation)
        branch = cr_block(branch, 9, "decoder_feature-CRBlock1", image_activation)
        block = SeparableBlock(attention, name="decoder-block")
        y = layers.Conv2D(2, 5, padding="same", kernel_initializer=uniform, name="decoder-conv5")(y)
        y = resample(normed(block(layers.Add()([y, branch])), "decoder-norm2"), "decoder")
        y = normed(block(layers.Add()([y, branch])), "decoder-norm3")
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
        config = self.get_config()
        if config["image_activation"] != "linear" or config["row_norm"] or config["output_activation"] != "linear":
            raise ValueError("image_activation: linear, output_activation: linear, row_norm: false")
        first, second = self.find("encoder-conv1"), self.find("encoder-conv5")
        kernel = 0.1 * np.asarray(keras.ops.convert_to_numpy(second.kernel))
        kernel[2, 2] = np.linalg.pinv(keras.ops.convert_to_numpy(first.kernel)[0, 0])
        kernel[np.arange(5) != 2] = 0
        kernel[:, np.arange(5) != 2] = 0
        second.kernel.assign(kernel)
        first.bias.assign(np.zeros(16))
        second.bias.assign(np.zeros(2))
        self.find("encoder-conv4").kernel.assign(np.zeros((4, 4, 2, 2)))
        for side in ("encoder", "decoder"):
            self.find(f"{side}-block").silence()
            self.find(f"{side}-conv4").bias.assign(np.zeros(2))
        identity_conv(self.find("decoder-conv5"))
        self.find("decoder-conv5").bias.assign(np.zeros(2))
        silence(self.find("decoder_feature-conv5x5_bn-bn"))
        silence(self.find("decoder_feature-CRBlock1-conv1x1-bn"))
        pick = np.zeros((4, 4, 2, 2), np.float32)
        pick[1, 1] = np.eye(2)  # up: to the even positions; down: back from there
        self.find("decoder-convT").kernel.assign(pick)
        self.find("decoder-convT").bias.assign(np.zeros(2))
        self.find("decoder-conv4").kernel.assign(pick)
        return (3, 1, 2), 1.0
