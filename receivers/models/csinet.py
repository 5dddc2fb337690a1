"""CsiNet: convolutional encoder, dense codeword, two RefineNet blocks."""

from __future__ import annotations

import keras
from keras import layers


@keras.saving.register_keras_serializable(package="csilink")
class CsiNet(keras.Model):
    r"""CsiNet autoencoder on angular-delay images, any image size.

    Encoder: Conv 3x3 (2) + BN + LeakyReLU(0.3), flatten, Dense(``num_latents``). Decoder: Dense, reshape, two
    RefineNet blocks (Conv 3x3: 2 -> 8 -> 16 -> 2 with BN and LeakyReLU, identity skip), Conv 3x3 (2).

    Args:
        height: delay taps of the image.
        width: antennas of the image.
        num_latents: M, real entries of the codeword; compression is ``M / (2 * height * width)``.
        latent_activation: "linear" (original) or "tanh" (bounded, for quantisers on [-1, 1]).
        image_activation: activation where the image itself passes (behind the encoder's convolution and each skip):
            "leaky_relu" (original) or "linear". Images in [0, 1] are positive there, so that LeakyReLU leaves them
            alone; zero-mean images would lose their negative half to it.
        output_activation: "sigmoid" (original, images in [0, 1] around 0.5) or "linear" (unit-power samples).
        soft_quantizer: optional callable put between encoder and decoder in training (straight-through).

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
        soft_quantizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.height, self.width, self.num_latents = height, width, num_latents
        self.latent_activation, self.output_activation = latent_activation, output_activation
        self.image_activation = image_activation
        self.soft_quantizer = soft_quantizer
        self.encoder = self._encoder()
        self.decoder = self._decoder()
        self.built = True

    def _conv(self, filters: int, x):
        x = layers.Conv2D(filters, 3, padding="same")(x)
        return layers.BatchNormalization(momentum=0.95, epsilon=1e-5)(x)

    def _pass_image(self, x):
        return layers.LeakyReLU(0.3)(x) if self.image_activation == "leaky_relu" else x

    def _encoder(self) -> keras.Model:
        image = keras.Input((self.height, self.width, 2), name="image")
        x = self._pass_image(self._conv(2, image))
        x = layers.Flatten()(x)
        latent = layers.Dense(self.num_latents, activation=self.latent_activation, name="codeword")(x)
        return keras.Model(image, latent, name="encoder")

    def _decoder(self) -> keras.Model:
        latent = keras.Input((self.num_latents,), name="latent")
        x = layers.Dense(2 * self.height * self.width, name="expand")(latent)
        x = layers.Reshape((self.height, self.width, 2))(x)
        for _ in range(2):
            y = layers.LeakyReLU(0.3)(self._conv(8, x))
            y = layers.LeakyReLU(0.3)(self._conv(16, y))
            x = self._pass_image(layers.Add()([x, self._conv(2, y)]))
        image = layers.Conv2D(2, 3, padding="same", activation=self.output_activation, name="image_hat")(x)
        return keras.Model(latent, image, name="decoder")

    def call(self, x, training=False):
        """Encode, quantise softly in training, decode."""
        latent = self.encoder(x, training=training)
        if training and self.soft_quantizer is not None:
            latent = self.soft_quantizer(latent)
        return self.decoder(latent, training=training)

    def get_config(self):
        """Constructor arguments but the training-only quantiser."""
        return {
            "height": self.height,
            "width": self.width,
            "num_latents": self.num_latents,
            "latent_activation": self.latent_activation,
            "image_activation": self.image_activation,
            "output_activation": self.output_activation,
        }
