"""Linear (KLT/PCA) code: reference for every learned compressor, and a good initialisation."""

from __future__ import annotations

import keras
import numpy as np

from simulator.core.errors import ConfigError

# Standard deviation of the latents before tanh at the start: the linear part of tanh, and with 2 bits a mu-law
# threshold near the best one for a Gaussian.
LATENT_STD = 0.2


def fit_pca(images: np.ndarray, num_latents: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal directions of (zero-mean) channel images.

    Args:
        images: float32 ``[sample, ...]``.
        num_latents: number of directions.

    Returns:
        components float64 ``[num_latents, feature]`` (orthonormal rows) and their variances ``[num_latents]``.
    """
    x = images.reshape(len(images), -1)
    covariance = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), 10000):
        block = x[start : start + 10000]
        covariance += block.T @ block
    power, vectors = np.linalg.eigh(covariance / len(x))
    return vectors.T[::-1][:num_latents].copy(), power[::-1][:num_latents].copy()


def pca_nmse(images: np.ndarray, components: np.ndarray, quantize: bool | None = None) -> np.ndarray:
    """NMSE per sample, float64 ``[sample]``, of the linear code; ``quantize`` maps latents to their received value."""
    x = images.reshape(len(images), -1)
    latent = x @ components.T
    if quantize is not None:
        latent = quantize(latent)
    error = np.sum((x - latent @ components) ** 2, axis=1, dtype=np.float64)
    return error / np.sum(x**2, axis=1, dtype=np.float64)


def initialize_linear(model: keras.Model, components: np.ndarray, variances: np.ndarray) -> None:
    """Set a fresh autoencoder to the linear code ``components``.

    The model's ``pass_images`` makes identities of everything but its two dense layers. With tanh latents, every latent
    has the same standard deviation, and tanh is inverted by its least-squares gain for Gaussian latents. Linear latents
    all have the same gain, as a code with one quantiser and an entropy coder wants it (reverse water-filling).

    Raises:
        ConfigError: the model cannot pass images on.
    """
    passes = getattr(model, "pass_images", None)
    if passes is None:
        raise ConfigError("init", "pca", f"random: {type(model).__name__} has no linear start")
    try:
        order, input_gain = passes()
    except ValueError as error:
        raise ConfigError("init", "pca", f"random, or with {error}") from None
    gain, inverse = np.ones(len(variances)), 1.0
    if model.get_config().get("latent_activation") == "tanh":
        gain = LATENT_STD / np.sqrt(variances)
        z, weight = np.polynomial.hermite_e.hermegauss(64)
        z = LATENT_STD * z
        inverse = np.sum(weight * z * np.tanh(z)) / np.sum(weight * np.tanh(z) ** 2)
    rows = components.reshape(len(components), *model.decoder.output_shape[1:])
    rows = np.transpose(rows, (0, *order)).reshape(len(components), -1)
    model.find("codeword").set_weights([(rows * gain[:, None]).T / input_gain, np.zeros(len(rows))])
    model.find("expand").set_weights([rows * (inverse / gain)[:, None], np.zeros(rows.shape[1])])
