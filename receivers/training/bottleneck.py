"""Layer between encoder and decoder in training: quantiser, learned prior, rate."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from receivers.models.prior import FactorizedPrior
from receivers.quantization.centroids import centroid_levels
from receivers.quantization.scale import scale_values
from receivers.training.recipe import QuantizerSection
from simulator.core import registry
from simulator.core.backend import Tensor
from simulator.core.seeding import derive

# Ends of the outer cells, which reach to infinity.
_FAR = 1e8


class Bottleneck(keras.layers.Layer):
    r"""Quantise latents, straight-through, and estimate their rate.

    Sample i of a batch is quantised with ``bits[i mod n]`` of the section (n counts the unquantised share, which is
    clipped to [-1, 1]). The rate is :math:`R = -\sum_i \log_2 P_i(\text{cell of } y_i)` under a factorised prior
    integrated over the true cells. In training the cell is moved by uniform noise of its own width, so that R is
    differentiable; otherwise it is where the quantiser has it. The mean of :math:`\lambda R` is added to the loss. All
    widths share the latents and their prior; lambda belongs to the first one and is that of high rate for the others,
    :math:`\lambda_b = 4^{b_0 - b} \lambda`, as the distortion of a cell is.

    Args:
        section: quantiser of the recipe.
        num_latents: latents of a sample.
        rate_weight: lambda of the first width, loss per bit; None has no prior.
        seed: of the noise.

    Call arguments:
        latent: float32 ``[batch, num_latents]``.

    Returns:
        latents as the decoder will see them, float32 ``[batch, num_latents]``.

    Source: Balle, Laparra, Simoncelli, ICLR 2017, Eq. (10)-(13); cells: arXiv:2509.08776, Eq. (5)-(6).
    """

    def __init__(
        self,
        section: QuantizerSection,
        num_latents: int,
        rate_weight: float | None = None,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.section = section
        self.quantizers = [registry.build("quantizers", section.name, bits=b, **section.params) for b in section.bits]
        self._noise = keras.random.SeedGenerator(derive(seed, "bottleneck"))
        self._levels = []
        if section.calibrate:
            for quantizer in self.quantizers:
                levels = quantizer.dequantize(np.arange(2**quantizer.bits))
                weight = self.add_weight(shape=levels.shape, trainable=False, name=f"levels_{quantizer.bits}")
                weight.assign(levels)
                self._levels.append(weight)
        self.prior = None
        if rate_weight is not None:
            self.rate_weights = np.float32([rate_weight * 4.0 ** (section.bits[0] - b) for b in section.bits])
            self.step = 2.0 ** (1 - section.bits[0])  # mean width of a cell: unit of the prior
            self.prior = FactorizedPrior(num_latents, init_scale=2.0)
        self.built = True

    def calibrate(self, latent: np.ndarray) -> None:
        """Set every level to the mean of the latents in its cell, where the section asks for it."""
        latent = ops.convert_to_numpy(latent / self.scale(ops.convert_to_tensor(latent)))
        for quantizer, levels in zip(self.quantizers, self._levels, strict=bool(self._levels)):
            levels.assign(centroid_levels(quantizer, latent))

    def scale(self, latent: Any) -> Any:
        """Factor float32 ``[batch, 1]`` of the samples, as its receiver knows it; 1 without ``scale_bits``."""
        if not self.section.scale_bits:
            return np.float32(1)
        peak = ops.stop_gradient(ops.max(ops.abs(latent), axis=-1, keepdims=True))
        return scale_values(peak, self.section.scale_bits)

    def call(self, latent: Tensor, training: bool = False) -> Tensor:
        """Quantise; add the rate to the losses."""
        if self.prior is not None:
            self.add_loss(ops.mean(self.rate_term(self.bits(latent, training))))
        scale = self.scale(latent)
        return self._quantized(latent / scale) * scale

    def _quantized(self, latent: Tensor) -> Tensor:
        out = ops.clip(latent, -1.0, 1.0)
        lanes = len(self.quantizers) + self.section.unquantized_share
        lane_of = _lanes(latent, lanes)[:, None]
        for lane, quantizer in enumerate(self.quantizers):
            value = quantizer.soft(latent)
            if self._levels:
                nominal = quantizer.dequantize(np.arange(2**quantizer.bits))
                cell = ops.searchsorted(ops.convert_to_tensor(nominal), ops.reshape(ops.stop_gradient(value), (-1,)))
                cell = ops.minimum(cell, len(nominal) - 1)  # NaN, when training diverges
                level = ops.reshape(ops.take(self._levels[lane], cell), ops.shape(latent))
                value = latent + ops.stop_gradient(level - latent)
            out = value if lanes == 1 else ops.where(lane_of == lane, value, out)
        return out

    def bits(self, latent: Tensor, training: bool = False) -> Tensor:
        """Rate of every sample [bit], float32 ``[batch]``."""
        y = latent / self.scale(latent)
        rates = [self._bits(quantizer, y, training) for quantizer in self.quantizers]
        lane_of = _lanes(latent, len(rates))
        return sum(ops.where(lane_of == lane, rate, 0.0) for lane, rate in enumerate(rates))

    def rate_term(self, bits: Tensor) -> Tensor:
        """Lambda times the rates of a batch, float32 ``[batch]``."""
        return ops.take(self.rate_weights, _lanes(bits, len(self.quantizers))) * bits

    def _bits(self, quantizer: Any, y: Tensor, training: bool) -> Tensor:
        lower, upper = quantizer.cell(y)
        if training:
            inner = ops.stop_gradient(ops.logical_and(lower > -_FAR, upper < _FAR))
            level = ops.stop_gradient(quantizer.soft(y))
            below, above = ops.stop_gradient(level - lower), ops.stop_gradient(upper - level)
            noise = keras.random.uniform(ops.shape(y), -0.5, 0.5, seed=self._noise)
            moved = y + noise * ops.where(inner, below + above, 0.0)
            lower, upper = ops.where(inner, moved - below, lower), ops.where(inner, moved + above, upper)
        return self._rate(lower, upper)

    def _rate(self, lower: Tensor, upper: Tensor) -> Tensor:
        return -ops.sum(ops.log2(self.prior(lower / self.step, upper / self.step)), axis=-1)

    def probabilities(self, bits: int) -> np.ndarray:
        """Probability of every cell of a width under the learned prior, float64 ``[latent, cell]``; rows sum to 1."""
        quantizer = self.quantizers[self.section.bits.index(bits)]
        borders = np.concatenate([[-1e9], quantizer.borders, [1e9]])
        ends = np.repeat(borders[:, None], self.prior.num_latents, axis=1).astype(np.float32) / self.step
        p = np.float64(ops.convert_to_numpy(self.prior(ends[:-1], ends[1:]))).T
        return p / p.sum(axis=1, keepdims=True)


def _lanes(batch: Tensor, lanes: int) -> Tensor:
    return ops.mod(ops.arange(ops.shape(batch)[0]), lanes)


class RateOf(keras.layers.Layer):
    """Rate of latents as output; only the prior trains."""

    def __init__(self, bottleneck: Bottleneck):
        super().__init__()
        self.bottleneck = bottleneck

    def call(self, latent: Tensor, training: bool = False) -> Tensor:
        """Rate [bit]."""
        return self.bottleneck.bits(latent, training)
