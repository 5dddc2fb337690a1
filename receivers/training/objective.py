"""The network as it is trained: autoencoder, bottleneck, teacher."""

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


class TrainingModel(keras.Model):
    """Autoencoder with bottleneck and teacher.

    Args:
        autoencoder: the network.
        bottleneck: between encoder and decoder, or None.
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
        distillation: Distillation | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.autoencoder, self.bottleneck = autoencoder, bottleneck
        self.distillation = distillation
        self.quantize = True
        self.built = True

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Encode, quantise, decode."""
        x, num_bits = x if isinstance(x, tuple | list) else (x, None)
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
        num_bits = x[1] if isinstance(x, tuple | list) else None
        share = 1.0 if num_bits is None else ops.cast(num_bits, "float32") / self.autoencoder.num_latents
        target = self.distillation.teacher_images(y)
        return ops.mean(self.distillation(self.loss(y, y_pred), target, y_pred, share))

    def scores(self, images: np.ndarray, loss: Callable[[Any, Any], Any]) -> tuple[float, float, float]:
        """Mean loss, mean bits and mean rate term (0 without prior) of images, quantised as the link does."""
        total = bits = rate = 0.0
        rated = self.quantize and self.bottleneck is not None and self.bottleneck.prior is not None
        for start in range(0, len(images), 1000):
            x = images[start : start + 1000]
            latent = self.autoencoder.encoder(x, training=False)
            if rated:
                each = self.bottleneck.bits(latent)
                bits, rate = bits + float(ops.sum(each)), rate + float(ops.sum(self.bottleneck.rate_term(each)))
            if isinstance(self.bottleneck, ConcreteBottleneck):
                latent = self.bottleneck(latent, self.bottleneck.lengths(len(x)))
            elif self.bottleneck is not None and self.quantize:
                latent = self.bottleneck(latent, training=False)
            total += float(ops.sum(loss(x, self.autoencoder.decoder(latent, training=False))))
        return total / len(images), bits / len(images), rate / len(images)

    def latents(self, images: np.ndarray) -> np.ndarray:
        """Codewords float32 ``[sample, latent]`` of images, unquantised."""
        return np.concatenate(
            [
                ops.convert_to_numpy(self.autoencoder.encoder(images[i : i + 1000], training=False))
                for i in range(0, len(images), 1000)
            ]
        )
