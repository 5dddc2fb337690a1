"""Linear (KLT/PCA) code: the yardstick of every learned compressor, and a good place to start one."""

from __future__ import annotations

import numpy as np

from simulator.core.errors import ConfigError

# Standard deviation of the latents before tanh at the start: the linear part of tanh, and with 2 bits a mu-law
# threshold near the best one for a Gaussian.
LATENT_STD = 0.2
# Gain of the encoder's normalisation; keeps the codeword kernel large against one optimiser step.
_INPUT_GAIN = 0.05


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


def pca_nmse(images: np.ndarray, components: np.ndarray, quantize=None) -> np.ndarray:
    """NMSE per sample, float64 ``[sample]``, of the linear code; ``quantize`` maps latents to their received value."""
    x = images.reshape(len(images), -1)
    latent = x @ components.T
    if quantize is not None:
        latent = quantize(latent)
    error = np.sum((x - latent @ components) ** 2, axis=1, dtype=np.float64)
    return error / np.sum(x**2, axis=1, dtype=np.float64)


def initialize_csinet(model, components: np.ndarray, variances: np.ndarray) -> None:
    """Set a fresh CsiNet with linear image path to the linear code ``components`` (latents pass through tanh).

    Convolutions become identities and the last normalisation of each RefineNet block zero, so that the decoder starts
    as the dense layer alone; the decoder's gain is the least-squares inverse of tanh for Gaussian latents.

    Raises:
        ConfigError: the model keeps LeakyReLU on the image path, where no linear code fits.
    """
    if model.image_activation != "linear" or model.latent_activation != "tanh":
        raise ConfigError("init", "pca", "init: pca needs image_activation: linear and latent_activation: tanh")
    identity = np.zeros((3, 3, 2, 2), np.float32)
    identity[1, 1] = np.eye(2)
    gain = LATENT_STD / np.sqrt(variances)
    z, weight = np.polynomial.hermite_e.hermegauss(64)
    z = LATENT_STD * z
    inverse = np.sum(weight * z * np.tanh(z)) / np.sum(weight * np.tanh(z) ** 2)
    conv = next(w for w in model.encoder.layers if w.name.startswith("conv2d"))
    norm = next(w for w in model.encoder.layers if w.name.startswith("batch_normalization"))
    conv.set_weights([identity, np.zeros(2)])
    # Unit-power images have variance 1/2 in each of the two components.
    norm.set_weights([np.full(2, _INPUT_GAIN), np.zeros(2), np.zeros(2), np.full(2, 0.5)])
    kernel = (components * gain[:, None]).T * np.sqrt(0.5) / _INPUT_GAIN
    model.encoder.get_layer("codeword").set_weights([kernel, np.zeros(len(components))])
    expand = components * (inverse / gain)[:, None]
    model.decoder.get_layer("expand").set_weights([expand, np.zeros(components.shape[1])])
    for layer in model.decoder.layers:
        if layer.name.startswith("batch_normalization") and layer.gamma.shape[0] == 2:
            layer.gamma.assign(np.zeros(2))
    model.decoder.get_layer("image_hat").set_weights([identity, np.zeros(2)])
