"""Noise on the pilots of a band, estimated by convolutions over frequency."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from receivers.models.autoencoder import arguments
from simulator.core.backend import Tensor
from simulator.core.errors import ConfigError

FACTS = 4  # inputs that describe a UE: logarithm of the noise, three correlations


@keras.saving.register_keras_serializable(package="csilink")
class ConvDenoiser(keras.Model):
    r"""Pilots to the noise on them: residual convolutions of growing reach, for a band of any width.

    Args:
        width: channels.
        kernel: taps of a convolution, over neighbouring pilots.
        dilations: of the residual blocks, in pilots.

    Call arguments:
        pilots: float32 ``[sequence, pilot, 2]`` (real, imaginary), mean power 1.
        facts: float32 ``[sequence, 4]`` (see :func:`receivers.estimation.learned.facts`).

    Returns:
        float32 ``[sequence, pilot, 2]``, the noise in units of its standard deviation per complex entry.
    """

    def __init__(self, width: int = 24, kernel: int = 5, dilations: tuple[int, ...] = (1, 2, 4, 8), **kwargs: Any):
        config = arguments(locals())
        super().__init__(**kwargs)
        if min(width, kernel, *dilations) < 1:
            raise ConfigError("width, kernel, dilations", (width, kernel, dilations), "at least 1")
        self._config = {**config, "dilations": list(dilations)}
        self.embed = layers.Conv1D(width, kernel, padding="same", name="embed")
        self.scale = [layers.Dense(width, name=f"scale{i}") for i in range(len(dilations))]
        self.blocks = [
            layers.Conv1D(width, kernel, padding="same", dilation_rate=d, name=f"block{i}")
            for i, d in enumerate(dilations)
        ]
        self.head = layers.Conv1D(2, kernel, padding="same", name="head")
        self.embed.build((None, None, 2 + FACTS))
        for layer in (*self.blocks, self.head):
            layer.build((None, None, width))
        for layer in self.scale:
            layer.build((None, FACTS))
        self.built = True

    def call(self, pilots: Tensor, facts: Tensor, training: bool = False) -> Tensor:
        """Blocks are gated by the facts of the UE."""
        repeated = ops.repeat(facts[:, None], ops.shape(pilots)[1], axis=1)
        x = self.embed(ops.concatenate([pilots, repeated], axis=-1))
        for scale, block in zip(self.scale, self.blocks, strict=True):
            x = x + block(ops.silu(x)) * ops.sigmoid(scale(facts))[:, None]
        return self.head(ops.silu(x))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return dict(self._config)
