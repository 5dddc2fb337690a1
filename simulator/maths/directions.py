"""Directions of the layers by subband, and their squared cosines, as 3GPP compares CSI. CSI is by slot."""

from __future__ import annotations

import numpy as np

from simulator.core.types import CsiConfig, CsiReconstruction
from simulator.core.views import layer_rows
from simulator.maths.transforms import subband_eigenvectors


def subband_directions(csi: CsiReconstruction, config: CsiConfig) -> np.ndarray:
    r"""One direction for every layer and subband.

    Of channels the leading eigenvectors of :math:`R_s = \sum_{n \in s} H_n^H H_n`; of precoders finer than subbands,
    layer by layer, the leading eigenvector of :math:`\sum_{n \in s} w_n w_n^H`.

    Args:
        csi: channel, or precoder directions.
        config: public configuration.

    Returns:
        complex64 ``[batch, user, layer, subband, port]``, unit norm, any phase; 0 where nothing is known, NaN where a
        channel or precoder of the report is not finite.
    """
    if csi.h is not None:
        return _eigenvectors(csi.h, config.subband_size, config.num_layers)
    w = layer_rows(csi.w)  # [batch, user, layer, port, subband]
    if w.shape[-1] == config.num_subbands:
        return np.swapaxes(w, -1, -2)
    return _eigenvectors(np.conj(w)[..., None, :, :], config.subband_size, 1)[..., 0, :, :]


def _eigenvectors(h: np.ndarray, subband_size: int, num_layers: int) -> np.ndarray:
    """:func:`subband_eigenvectors` of channels of any power; NaN for those that are not finite."""
    peak = np.max(np.abs(h), axis=(-3, -2, -1), keepdims=True)
    good = np.isfinite(peak)
    unit = np.where(good, h, 0) / np.where(good & (peak > 0), peak, 1)
    return np.where(good, subband_eigenvectors(unit, subband_size, num_layers), np.complex64(np.nan))


def layer_correlation2(v: np.ndarray, w: np.ndarray) -> np.ndarray:
    r"""Squared cosine :math:`|v^H w|^2 / (\|v\|^2 \|w\|^2)` over the last axis, float64; 0 where a vector is zero."""
    inner = np.abs(np.sum(np.conj(v) * w, axis=-1, dtype=np.complex128)) ** 2
    energy = [np.sum(np.abs(x) ** 2, axis=-1, dtype=np.float64) for x in (v, w)]
    return np.minimum(inner / np.maximum(energy[0] * energy[1], 1e-60), 1.0)
