"""CLNet: CRNet with forged complex input, spatial and channel attention in the encoder."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from receivers.models.autoencoder import Autoencoder, arguments
from receivers.models.blocks import conv_bn, cr_block, flatten, hard_sigmoid, leaky, pass_image, torch_dense, unflatten


@keras.saving.register_keras_serializable(package="csilink")
class ClNet(Autoencoder):
    """CLNet autoencoder, any image size.

    Encoder: CRNet's first path with a spatial gate, in parallel to Conv 1x1 (2 -> 32) with squeeze-and-excitation;
    merged by Conv 1x1 (34 -> 2); Dense. Decoder: Dense, Conv 5x5, two CRBlocks with 1x3 and 3x1 kernels, hard sigmoid.

    Args:
        height: rows of the image.
        width: columns of the image.
        num_latents: M, real entries of the codeword.
        latent_activation: "linear" (published) or "tanh".
        image_activation: "leaky_relu" (published, images in [0, 1]) or "linear" (zero-mean images).
        output_activation: "hard_sigmoid" (published) or "linear" (unit-power images).

    Source: Ji, Li, "CLNet: complex input lightweight neural network designed for massive MIMO CSI feedback", IEEE
    Wireless Commun. Lett. 10(10), 2021.
    """

    def __init__(
        self,
        height: int = 32,
        width: int = 32,
        num_latents: int = 128,
        latent_activation: str = "linear",
        image_activation: str = "leaky_relu",
        output_activation: str = "hard_sigmoid",
        **kwargs: Any,
    ):
        config = arguments(locals())
        image = keras.Input((height, width, 2), name="image")
        x1 = leaky(conv_bn(image, 2, 3, "encoder-encoder1-conv3x3_bn"))
        x1 = leaky(conv_bn(x1, 2, (1, 9), "encoder-encoder1-conv1x9_bn"))
        x1 = conv_bn(x1, 2, (9, 1), "encoder-encoder1-conv9x1_bn")
        pooled = ops.stack([ops.max(x1, axis=-1), ops.mean(x1, axis=-1)], axis=-1)
        x1 = x1 * ops.sigmoid(conv_bn(pooled, 1, 3, "encoder-sa-spatial", momentum=0.01))
        x2 = conv_bn(image, 32, 1, "encoder-encoder2")
        excited = layers.Dense(2, "relu", use_bias=False, name="encoder-se-fc-0")(layers.GlobalAveragePooling2D()(x2))
        excited = layers.Dense(32, "sigmoid", use_bias=False, name="encoder-se-fc-2")(excited)
        x2 = x2 * ops.reshape(excited, (-1, 1, 1, 32))
        x = pass_image(layers.Concatenate()([x1, x2]), image_activation)
        x = pass_image(conv_bn(x, 2, 1, "encoder-encoder_conv-conv1x1_bn"), image_activation)
        size = 2 * height * width
        codeword = torch_dense(num_latents, size, "codeword", activation=latent_activation)(flatten(x))

        latent = keras.Input((num_latents,), name="latent")
        y = unflatten(torch_dense(size, num_latents, "expand")(latent), height, width)
        y = pass_image(conv_bn(y, 2, 5, "decoder-decoder_feature-conv5x5_bn"), image_activation)
        for block in (1, 2):
            y = cr_block(y, 3, f"decoder-decoder_feature-CRBlock{block}", image_activation)
        y = hard_sigmoid(y) if output_activation == "hard_sigmoid" else layers.Activation(output_activation)(y)
        super().__init__(
            keras.Model(image, codeword, name="encoder"), keras.Model(latent, y, name="decoder"), config, **kwargs
        )
