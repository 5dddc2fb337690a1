"""Generalised divisive normalisation."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from simulator.core.backend import Shape, Tensor


@keras.saving.register_keras_serializable(package="csilink")
class Gdn(layers.Layer):
    r"""Generalised divisive normalisation (GDN) or its approximate inverse, which multiplies.

    .. math:: y_i = x_i / \sqrt{\beta_i + \sum_j \gamma_{ij} x_j^2}

    ``beta`` and ``gamma`` are squares of the weights, bounded from below, so that they stay positive.

    Args:
        inverse: IGDN.

    Call arguments:
        x: float32 ``[..., channel]``.

    Returns:
        float32, shape of ``x``.

    Source: Balle, Laparra, Simoncelli, ICLR 2016, Eq. (2)-(3).
    """

    def __init__(self, inverse: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.inverse = inverse

    def build(self, shape: Shape) -> None:
        """Beta starts at 1, gamma at 0.1 times the identity."""
        maps, pedestal = shape[-1], 2.0**-36
        self.beta = self.add_weight(shape=(maps,), initializer="ones", name="beta")
        self.gamma = self.add_weight(shape=(maps, maps), initializer="zeros", name="gamma")
        self.gamma.assign(np.sqrt(0.1 * np.eye(maps) + pedestal).astype(np.float32))

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Shape of the input; without this method Keras traces the whole call to learn it."""
        return shape

    def call(self, x: Tensor) -> Tensor:
        """Normalise."""
        beta = ops.square(ops.maximum(self.beta, 1e-3))
        pool = ops.matmul(ops.square(x), ops.transpose(ops.square(self.gamma))) + beta
        return x * ops.sqrt(pool) if self.inverse else x * ops.rsqrt(pool)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "inverse": self.inverse}
