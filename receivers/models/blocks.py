"""Layers shared by several of the published convolutional autoencoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import initializers, layers, ops

from simulator.core.backend import Tensor


def conv_bn(x: Tensor, filters: int, kernel: int | Sequence[int], name: str, momentum: float = 0.1) -> Tensor:
    """Conv without bias and batch normalisation with torch's constants (Xavier uniform, eps 1e-5, momentum 0.1).

    ``momentum`` is torch's, the weight of the new batch in the running statistics.
    """
    x = layers.Conv2D(
        filters, kernel, padding="same", use_bias=False, kernel_initializer="glorot_uniform", name=f"{name}-conv"
    )(x)
    return layers.BatchNormalization(momentum=1.0 - momentum, epsilon=1e-5, name=f"{name}-bn")(x)


def leaky(x: Tensor) -> Tensor:
    """LeakyReLU with the slope 0.3 of the whole CsiNet lineage."""
    return layers.LeakyReLU(negative_slope=0.3)(x)


def flatten(x: Tensor) -> Tensor:
    """Image ``[batch, height, width, 2]`` to ``[batch, 2 * height * width]``, components first as published."""
    return layers.Flatten()(layers.Permute((3, 1, 2))(x))


def unflatten(x: Tensor, height: int, width: int) -> Tensor:
    """Inverse of :func:`flatten`."""
    return layers.Permute((2, 3, 1))(layers.Reshape((2, height, width))(x))


def torch_dense(units: int, fan_in: int, name: str, **kwargs: Any) -> layers.Dense:
    """Dense layer with torch's default start: kernel and bias uniform within 1 / sqrt(fan_in)."""
    uniform = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    bound = fan_in**-0.5
    return layers.Dense(
        units,
        kernel_initializer=uniform,
        bias_initializer=initializers.RandomUniform(-bound, bound),
        name=name,
        **kwargs,
    )


def cr_block(x: Tensor, long: int, name: str, image_activation: str = "leaky_relu") -> Tensor:
    """Multi-resolution block of CRNet with skip; ``long`` is 9 in CRNet, 3 in CLNet.

    Source: Lu, Wang, Song, ICC 2020, Fig. 3.
    """
    y1 = leaky(conv_bn(x, 7, 3, f"{name}-path1-conv3x3"))
    y1 = leaky(conv_bn(y1, 7, (1, long), f"{name}-path1-conv1x{long}"))
    y1 = conv_bn(y1, 7, (long, 1), f"{name}-path1-conv{long}x1")
    y2 = leaky(conv_bn(x, 7, (1, 5), f"{name}-path2-conv1x5"))
    y2 = conv_bn(y2, 7, (5, 1), f"{name}-path2-conv5x1")
    y = conv_bn(leaky(layers.Concatenate()([y1, y2])), 2, 1, f"{name}-conv1x1")
    return pass_image(layers.Add()([x, y]), image_activation)


def pass_image(x: Tensor, image_activation: str) -> Tensor:
    """Activation where the image itself passes: "leaky_relu" (published) or "linear".

    Published images lie in [0, 1], where LeakyReLU changes nothing; zero-mean images would lose their negative half.
    """
    return leaky(x) if image_activation == "leaky_relu" else x


def hard_sigmoid(x: Tensor) -> Tensor:
    """``relu6(x + 3) / 6``."""
    return ops.relu6(x + 3.0) / 6.0


def identity_conv(layer: keras.layers.Layer, gain: float = 1.0) -> None:
    """Make a stride-1 convolution of two maps to two maps the identity times ``gain``."""
    kernel = np.zeros(layer.kernel.shape, np.float32)
    kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = gain * np.eye(2)
    layer.kernel.assign(kernel)


def identity_norm(layer: keras.layers.Layer, variance: float = 0.5) -> None:
    """Make a batch normalisation of maps of this variance the identity (unit-power images: 1/2 per component)."""
    layer.gamma.assign(np.full(layer.gamma.shape, variance**0.5))
    layer.moving_variance.assign(np.full(layer.gamma.shape, variance))


def silence(layer: keras.layers.Layer) -> None:
    """Zero the gain of the normalisation that ends a residual branch."""
    layer.gamma.assign(np.zeros(layer.gamma.shape))
