"""Learned factorised prior: one density per latent, as a monotone network of its own."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from simulator.core.backend import Tensor


@keras.saving.register_keras_serializable(package="csilink")
class FactorizedPrior(layers.Layer):
    r"""Cumulative distribution of every latent, :math:`F_i(x) = \sigma(f_i(x))`, with f a monotone network 1-3-3-3-1.

    Args:
        num_latents: densities.
        init_scale: width of the distributions at the start, in units of the latents.

    Call arguments:
        lower: float32 ``[..., num_latents]``, lower ends of the quantiser's cells.
        upper: upper ends.

    Returns:
        probability of each cell, float32 ``[..., num_latents]`` in [1e-9, 1], differentiable in both ends.

    Source: Balle, Minnen, Singh, Hwang, Johnston, ICLR 2018, appendix 6.1.
    """

    def __init__(self, num_latents: int, init_scale: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_latents, self.init_scale = num_latents, init_scale
        widths = (1, 3, 3, 3, 1)
        scale = init_scale ** (1 / (len(widths) - 1))
        rng = np.random.default_rng(0)
        self._layers_of = []
        for index, (fan_in, fan_out) in enumerate(pairwise(widths)):
            start = math.log(math.expm1(1 / scale / fan_out))
            shape = (num_latents, fan_out, fan_in)
            matrix = self.add_weight(shape=shape, initializer=keras.initializers.Constant(start), name=f"matrix{index}")
            bias = self.add_weight(shape=(num_latents, fan_out, 1), initializer="zeros", name=f"bias{index}")
            bias.assign(rng.uniform(-0.5, 0.5, bias.shape))
            factor = None
            if index < len(widths) - 2:
                factor = self.add_weight(shape=(num_latents, fan_out, 1), initializer="zeros", name=f"factor{index}")
            self._layers_of.append((matrix, bias, factor))
        self.built = True

    def logits(self, x: Tensor) -> Tensor:
        """Logit of the cumulative distribution at ``x [..., num_latents]``, same shape."""
        lead = ops.shape(x)[:-1]
        y = ops.transpose(ops.reshape(x, (-1, 1, self.num_latents)), (2, 1, 0))  # [latent, 1, sample]
        for matrix, bias, factor in self._layers_of:
            y = ops.matmul(ops.softplus(matrix), y) + bias
            if factor is not None:
                y = y + ops.tanh(factor) * ops.tanh(y)
        return ops.reshape(ops.transpose(y, (2, 1, 0)), (*lead, self.num_latents))

    def call(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Probability of the cells."""
        low, high = self.logits(lower), self.logits(upper)
        sign = ops.stop_gradient(-ops.sign(low + high))  # the side where the sigmoid keeps its digits
        p = ops.abs(ops.sigmoid(sign * high) - ops.sigmoid(sign * low))
        return ops.clip(p, 1e-9, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "num_latents": self.num_latents, "init_scale": self.init_scale}
