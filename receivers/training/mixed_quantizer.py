"""Several bit widths of one quantiser in one training batch."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from receivers.quantization.centroids import centroid_levels
from receivers.training.recipe import QuantizerSection
from simulator.core import registry


class MixedQuantizer:
    """Straight-through quantiser that serves several bit widths in one batch.

    Sample i of a batch is quantised with ``bits[i mod (n + 1)]``; the last share passes unquantised, clipped to
    [-1, 1]. The receiver's levels are the conditional means of the cells (see ``centroid_levels``) and follow the
    latents: call :meth:`calibrate` once per epoch.
    """

    def __init__(self, section: QuantizerSection):
        self.quantizers = [registry.build("quantizers", section.name, bits=b) for b in section.bits]
        nominal = [q.dequantize(np.arange(2**q.bits)) for q in self.quantizers]
        self._nominal = [ops.convert_to_tensor(levels) for levels in nominal]
        self._levels = [keras.Variable(levels, trainable=False, name=f"levels_{len(levels)}") for levels in nominal]

    def calibrate(self, latent: np.ndarray) -> None:
        """Set every level to the mean of the latents in its cell."""
        for quantizer, levels in zip(self.quantizers, self._levels, strict=True):
            levels.assign(centroid_levels(quantizer, latent))

    def __call__(self, latent: Any) -> Any:
        """Latents float32 ``[batch, latent]`` as the decoder will see them; gradient of the identity."""
        lanes = ops.mod(ops.arange(ops.shape(latent)[0]), len(self.quantizers) + 1)[:, None]
        out = ops.clip(latent, -1.0, 1.0)
        fixed = ops.stop_gradient(latent)
        for lane, (quantizer, nominal, levels) in enumerate(
            zip(self.quantizers, self._nominal, self._levels, strict=True)
        ):
            cell = ops.searchsorted(nominal, ops.reshape(quantizer.soft(fixed), (-1,)))
            cell = ops.minimum(cell, len(nominal) - 1)  # NaN, when training diverges
            value = ops.reshape(ops.take(levels, cell), ops.shape(latent))
            out = ops.where(lanes == lane, latent + ops.stop_gradient(value - latent), out)
        return out
