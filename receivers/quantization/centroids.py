"""Reconstruction levels that fit the data: the conditional mean of every cell."""

from __future__ import annotations

import numpy as np

from simulator.core.interfaces import Quantizer


def centroid_levels(quantizer: Quantizer, latent: np.ndarray, prior_weight: float = 4.0) -> np.ndarray:
    r"""Level :math:`\hat x_i = E[x \mid x \in \text{cell } i]`, the best reconstruction of a given partition.

    The quantiser's own level counts like ``prior_weight`` samples, so that empty cells keep it. As a cell is an
    interval, the mean lies in it and quantising a level returns its index.

    Args:
        quantizer: partition of [-1, 1].
        latent: real values of any shape, clipped to [-1, 1].
        prior_weight: weight of the quantiser's own level, in samples.

    Returns:
        float32 ``[2**bits]``, increasing.

    Source: Lloyd, IEEE Trans. Inf. Theory 28(2), 1982, Eq. (9).
    """
    size = 2**quantizer.bits
    x = np.clip(latent, -1.0, 1.0).reshape(-1)
    index = quantizer.quantize(x)
    total = np.bincount(index, x, size) + prior_weight * quantizer.dequantize(np.arange(size))
    return (total / (np.bincount(index, minlength=size) + prior_weight)).astype(np.float32)
