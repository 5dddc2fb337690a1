"""Base of every CSI autoencoder: an encoder for the UE and a decoder for the gNB."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from receivers.models.concrete import hard_bits
from simulator.core.backend import Tensor


class Autoencoder(keras.Model):
    r"""Image -> encoder -> latent -> decoder -> image.

    Encoder and decoder are models of their own, so that each side of the link holds its half only.

    Args:
        encoder: image float32 ``[batch, height, width, 2]`` to latent float32 ``[batch, num_latents]``.
        decoder: latent to image.
        config: constructor arguments of the subclass.
        latent_gain: factor between the network's latents and those that are quantised, undone before the decoder.
        offset_layers: dense layers of an offset network before the decoder, which corrects received latents,
            :math:`\hat s + f(\hat s)`; 0: no such network. It starts as identity.

    Call arguments:
        x: float32 ``[batch, height, width, 2]`` (real, imaginary).

    Returns:
        float32 ``[batch, height, width, 2]``.

    With the class attribute ``binary`` latents are log-odds of bits, and the decoder reads 0, 1, or -1 for a bit that
    was not sent.

    Source: offset network: Chen, Guo, Jin, Wen, Li, GlobalSIP 2019 (layer sizes are not published).
    """

    binary = False

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        config: dict[str, Any],
        *,
        latent_gain: float = 1.0,
        offset_layers: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_latents = int(encoder.output_shape[-1])
        self._config = {**config}
        self.offset = _offset_network(self.num_latents, offset_layers) if offset_layers else None
        if latent_gain != 1.0 or offset_layers:
            self._config |= {"latent_gain": latent_gain, "offset_layers": offset_layers}
            encoder = keras.Model(encoder.input, encoder.output * latent_gain, name="encoder")
            latent = keras.Input((self.num_latents,), name="latent")
            z = latent / latent_gain
            decoder = keras.Model(latent, decoder(z if self.offset is None else self.offset(z)), name="decoder")
        self.encoder, self.decoder = encoder, decoder
        self.built = True

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Encode and decode; binary latents are all sent."""
        latent = self.encoder(x, training=training)
        return self.decoder(hard_bits(latent) if self.binary else latent, training=training)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return dict(self._config)

    def find(self, name: str) -> layers.Layer:
        """Layer of encoder or decoder by name, also after an offset network."""
        waiting = [self.encoder, self.decoder]
        while waiting:
            for layer in waiting.pop().layers:
                if layer.name == name:
                    return layer
                waiting += [layer] if isinstance(layer, keras.Model) else []
        raise KeyError(name)


def arguments(local: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a constructor, from its ``locals()`` in the first line."""
    return {name: value for name, value in local.items() if name not in ("self", "kwargs", "__class__")}


def _offset_network(num_latents: int, num_layers: int) -> keras.Model:
    latent = keras.Input((num_latents,), name="received")
    x = latent
    for index in range(num_layers - 1):
        x = layers.LeakyReLU(0.3)(layers.Dense(num_latents, name=f"offset{index}")(x))
    x = layers.Dense(num_latents, kernel_initializer="zeros", name=f"offset{num_layers - 1}")(x)
    return keras.Model(latent, layers.Add()([latent, x]), name="offset")
