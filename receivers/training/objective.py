"""The network as it is trained: autoencoder, bottleneck, noise on the input, teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from receivers.models.autoencoder import Autoencoder
from receivers.training.bottleneck import Bottleneck
from receivers.training.concrete import ConcreteBottleneck
from receivers.training.distillation.outputs import Distillation
from simulator.core.backend import Tensor
from simulator.core.seeding import derive


class TrainingModel(keras.Model):
    """Autoencoder with bottleneck, input noise and teacher.

    Args:
        autoencoder: the network.
        bottleneck: between encoder and decoder, or None.
        noise_snr_db: range of the signal-to-noise ratio of the encoder's input [dB], or None.
        seed: of the noise.
        distillation: teacher and its loss, or None. The teacher is no part of this model: neither trained nor saved.

    Call arguments:
        x: images float32 ``[batch, height, width, 2]``, for a concrete bottleneck with the length of every report,
            ``(images, num_bits [batch])``.

    Returns:
        decoded images, same shape.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        bottleneck: Bottleneck | ConcreteBottleneck | None = None,
        noise_snr_db: tuple[float, float] | None = None,
        seed: int = 0,
        distillation: Distillation | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.autoencoder, self.bottleneck, self.noise_snr_db = autoencoder, bottleneck, noise_snr_db
        self.distillation = distillation
        self.quantize = True
        self._noise = keras.random.SeedGenerator(derive(seed, "noise"))
        self.built = True

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Encode, quantise, decode."""
        x, num_bits = x if isinstance(x, tuple | list) else (x, None)
        if training and self.noise_snr_db is not None:
            x = self._noisy(x)
        latent = self.autoencoder.encoder(x, training=training)
        if isinstance(self.bottleneck, ConcreteBottleneck):
            latent = self.bottleneck(latent, num_bits, training=training)
        elif self.bottleneck is not None and self.quantize:
            latent = self.bottleneck(latent, training=training)
        return self.autoencoder.decoder(latent, training=training)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Loss of ``compile``; with a teacher that of the distillation, whose task loss it is."""
        if self.distillation is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        images, num_bits = x if isinstance(x, tuple | list) else (x, None)
        share = 1.0 if num_bits is None else ops.cast(num_bits, "float32") / self.autoencoder.num_latents
        target = self.distillation.teacher_images(images)
        return ops.mean(self.distillation(self.loss(y, y_pred), target, y_pred, share))

    def _noisy(self, x: Tensor) -> Tensor:
        low, high = self.noise_snr_db
        snr_db = keras.random.uniform((ops.shape(x)[0], 1, 1, 1), low, high, seed=self._noise)
        power = ops.mean(ops.square(x), axis=(1, 2, 3), keepdims=True)
        noise = keras.random.normal(ops.shape(x), seed=self._noise)
        return x + noise * ops.sqrt(power * 10.0 ** (-snr_db / 10.0))

    def scores(self, images: np.ndarray, loss: Callable[[Any, Any], Any]) -> tuple[float, float]:
        """Mean loss and mean bits (0 without prior) of images, quantised as the link does."""
        total = bits = 0.0
        rated = self.quantize and self.bottleneck is not None and self.bottleneck.prior is not None
        for start in range(0, len(images), 1000):
            x = images[start : start + 1000]
            latent = self.autoencoder.encoder(x, training=False)
            if rated:
                bits += float(ops.sum(self.bottleneck.bits(latent)))
            if isinstance(self.bottleneck, ConcreteBottleneck):
                latent = self.bottleneck(latent, self.bottleneck.lengths(len(x)))
            elif self.bottleneck is not None and self.quantize:
                latent = self.bottleneck(latent, training=False)
            total += float(ops.sum(loss(x, self.autoencoder.decoder(latent, training=False))))
        return total / len(images), bits / len(images)

    def latents(self, images: np.ndarray) -> np.ndarray:
        """Codewords float32 ``[sample, latent]`` of images, unquantised."""
        return np.concatenate(
            [
                ops.convert_to_numpy(self.autoencoder.encoder(images[i : i + 1000], training=False))
                for i in range(0, len(images), 1000)
            ]
        )
