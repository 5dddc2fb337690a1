"""What an autoencoder promises."""

from __future__ import annotations

from typing import Any

import numpy as np

from csilink.testing.common import array


def check_model(model: str | type, *, shape: tuple[int, int] = (8, 12), **params: Any) -> None:
    """Encoder, decoder and configuration of a network of ``csilink.models``.

    Args:
        model: class derived from ``receivers.models.autoencoder.Autoencoder``, or name of a plug-in.
        shape: height (delay taps) and width (ports) of an image.
        **params: of the constructor.

    Raises:
        AssertionError: what the network does and must not.
        ConfigError: it cannot be constructed, or is of another base class.

    Example:
        >>> from csilink.testing import check_model
        >>> check_model("csinet", num_latents=16)
    """
    from receivers.models.checked import autoencoder_class

    cls = autoencoder_class(model) if isinstance(model, str) else model
    network = cls(height=shape[0], width=shape[1], **params)
    images = np.random.default_rng(1).standard_normal((5, *shape, 2)).astype(np.float32)
    latents = array(network.encoder(images, training=False))
    assert latents.shape == (5, network.num_latents), f"latents of shape {latents.shape}, not (5, num_latents)"
    assert np.isfinite(latents).all(), "NaN or infinity in the latents"
    assert np.ptp(latents, axis=0).max() > 0, "latents do not depend on the image"
    decoded = array(network.decoder(latents, training=False))
    assert decoded.shape == images.shape, f"images of shape {decoded.shape}, not {images.shape}"
    assert np.isfinite(decoded).all(), "NaN or infinity in the images"
    again = cls(**network.get_config())
    assert len(again.weights) == len(network.weights), "get_config() builds another network"
    for one, two in zip(again.weights, network.weights, strict=True):
        assert one.shape == two.shape, f"get_config() builds another network: {one.path} {one.shape}, {two.shape}"
        one.assign(two)
    rebuilt = array(again.encoder(images, training=False))
    assert np.allclose(rebuilt, latents, rtol=1e-5, atol=1e-6), "the network of get_config() computes something else"
