"""CsiNet: convolutional encoder, dense codeword, two RefineNet blocks."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from receivers.models.autoencoder import Autoencoder, arguments
from receivers.models.blocks import identity_conv, identity_norm, pass_image, silence
from simulator.core.backend import Tensor


@keras.saving.register_keras_serializable(package="csilink")
class CsiNet(Autoencoder):
    r"""CsiNet autoencoder on angular-delay images, any image size.

    Encoder: Conv 3x3 (2) + BN + LeakyReLU(0.3), flatten, Dense(``num_latents``). Decoder: Dense, reshape, two
    RefineNet blocks (Conv 3x3: 2 -> 8 -> 16 -> 2 with BN and LeakyReLU, identity skip), Conv 3x3 (2).

    Args:
        height: delay taps of the image.
        width: antennas of the image.
        num_latents: M, real entries of the codeword; compression is ``M / (2 * height * width)``.
        latent_activation: "linear" (original) or "tanh" (bounded, for quantisers on [-1, 1]).
        image_activation: activation where the image itself passes (after the encoder's convolution and each skip):
            "leaky_relu" (original) or "linear". Images in [0, 1] are positive there, so that LeakyReLU does not change
            them; zero-mean images would lose their negative half.
        output_activation: "sigmoid" (original, images in [0, 1] around 0.5) or "linear" (unit-power samples).

    Call arguments:
        x: float32 ``[batch, height, width, 2]`` (real, imaginary), unit power or original scaling.

    Returns:
        float32 ``[batch, height, width, 2]``.

    Source: Wen, Shih, Jin, IEEE Wireless Commun. Lett. 7(5), 2018, Sec. III. The published Keras code normalises the
    width axis by mistake (``BatchNormalization`` on channels_first data); here BN is per channel, as in the text.
    """

    def __init__(
        self,
        height: int = 32,
        width: int = 32,
        num_latents: int = 128,
        latent_activation: str = "linear",
        image_activation: str = "leaky_relu",
        output_activation: str = "linear",
        **kwargs: Any,
    ):
        config = arguments(locals())
        image = keras.Input((height, width, 2), name="image")
        x = layers.Flatten()(pass_image(_conv(2, image), image_activation))
        codeword = layers.Dense(num_latents, activation=latent_activation, name="codeword")(x)

        latent = keras.Input((num_latents,), name="latent")
        y = layers.Dense(2 * height * width, name="expand")(latent)
        y = layers.Reshape((height, width, 2))(y)
        for _ in range(2):
            z = layers.LeakyReLU(0.3)(_conv(8, y))
            z = layers.LeakyReLU(0.3)(_conv(16, z))
            y = pass_image(layers.Add()([y, _conv(2, z)]), image_activation)
        y = layers.Conv2D(2, 3, padding="same", activation=output_activation, name="image_hat")(y)
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
        gain = 0.05  # keeps the kernel of the codeword large against one optimiser step
        conv = next(w for w in self.encoder.layers if w.name.startswith("conv2d"))
        norm = next(w for w in self.encoder.layers if w.name.startswith("batch_normalization"))
        identity_conv(conv)
        identity_norm(norm)
        norm.gamma.assign(np.full(2, gain))
        gain *= 2**0.5
        identity_conv(self.find("image_hat"))
        decoder = next(
            (m for m in self.decoder.layers if isinstance(m, keras.Model) and m is not self.offset), self.decoder
        )
        for layer in decoder.layers:
            if layer.name.startswith("batch_normalization") and layer.gamma.shape[0] == 2:
                silence(layer)
        return (1, 2, 3), gain


def _conv(filters: int, x: Tensor) -> Tensor:
    x = layers.Conv2D(filters, 3, padding="same")(x)
    return layers.BatchNormalization(momentum=0.95, epsilon=1e-5)(x)
