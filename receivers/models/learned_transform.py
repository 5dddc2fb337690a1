"""Learned transform coding of CSI: strided convolutions with GDN, made for an entropy bottleneck."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from receivers.models.autoencoder import Autoencoder, arguments
from receivers.models.gdn import Gdn


@keras.saving.register_keras_serializable(package="csilink")
class LearnedTransform(Autoencoder):
    """Analysis and synthesis transform of ``num_stages`` strided 5x5 convolutions with GDN and IGDN.

    The latents are the ``latent_maps`` maps of the last convolution, ``2 ** num_stages`` times smaller than the image.
    They are meant to be rounded and entropy coded under a factorised prior (recipe section ``rate``).

    Args:
        height: rows of the image, a multiple of ``2 ** num_stages``.
        width: columns of the image, likewise.
        maps: N, maps between the convolutions.
        latent_maps: maps of the latent.
        num_stages: strided convolutions.
        gain: factor on the latents, which sets their width against the cells of the quantiser at the start.

    Source: Ravula, Jain, "Deep autoencoder-based massive MIMO CSI feedback with quantization and entropy coding",
    GLOBECOM 2021; layers are not published; these are the layers of Balle et al., ICLR 2018, in common use since.
    """

    def __init__(
        self,
        height: int = 32,
        width: int = 32,
        maps: int = 128,
        latent_maps: int = 64,
        num_stages: int = 4,
        gain: float = 1.0,
        **kwargs: Any,
    ):
        config = arguments(locals())
        step = 2**num_stages
        if height % step or width % step:
            raise ValueError(f"image of {height} x {width}; {num_stages} stages need multiples of {step}")
        options = {"strides": 2, "padding": "valid"}
        image = x = keras.Input((height, width, 2), name="image")
        for stage in range(num_stages):
            last = stage == num_stages - 1
            x = layers.ZeroPadding2D(2)(x)
            x = layers.Conv2D(latent_maps if last else maps, 5, name=f"analysis{stage}", **options)(x)
            x = x if last else Gdn(name=f"gdn{stage}")(x)
        codeword = layers.Flatten()(x) * gain

        rows, columns = height // step, width // step
        latent = keras.Input((rows * columns * latent_maps,), name="latent")
        y = layers.Reshape((rows, columns, latent_maps))(latent / gain)
        for stage in range(num_stages):
            last = stage == num_stages - 1
            y = layers.Conv2DTranspose(2 if last else maps, 5, name=f"synthesis{stage}", **options)(y)
            y = layers.Cropping2D(((2, 1), (2, 1)))(y)
            y = y if last else Gdn(inverse=True, name=f"igdn{stage}")(y)
        super().__init__(
            keras.Model(image, codeword, name="encoder"), keras.Model(latent, y, name="decoder"), config, **kwargs
        )
