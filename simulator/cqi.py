"""Channel quality as the CQI reports it: SINR of a user by itself, and what the gNB makes of it for several users."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from simulator import metrics

CQI_BITS = 4


def alone(channel: Any, rows: Any, noise_vars: np.ndarray) -> np.ndarray:
    r"""SINR of every layer if its user were alone: equal powers on the layers of its report, LMMSE receiver.

    Args:
        channel: of every user complex64 ``[drop * slot, subcarrier, user, rx_ant, port]``: an estimate at the UE; at
            the gNB the rows themselves.
        rows: effective rows of the report ``[drop * slot, subcarrier, user, layer, port]``, 0 for layers without.
        noise_vars: noise powers for total transmit power 1, float32 ``[snr]``.

    Returns:
        float32 ``[snr, drop * slot, subcarrier, user, layer]``, linear.

    Source: TS 38.214, 5.2.2.1 (CQI is conditioned on the rank and the precoder of its report).
    """
    norm = ops.sqrt(ops.sum(ops.square(ops.real(rows)) + ops.square(ops.imag(rows)), axis=-1, keepdims=True))
    count = ops.sum(ops.cast(norm > 0, "float32"), axis=-2, keepdims=True)
    scale = ops.where(norm > 0, 1 / (ops.maximum(norm, 1e-20) * ops.sqrt(ops.maximum(count, 1.0))), 0.0)
    w = ops.conj(rows) * ops.cast(scale, "complex64")
    e = ops.expand_dims(ops.matmul(channel, ops.swapaxes(w, -1, -2)), -3)  # [bt, n, user, 1, rx_ant, layer]
    found = [metrics.sinr(e, float(noise_var)) for noise_var in noise_vars]
    return np.stack([ops.convert_to_numpy(x)[..., 0, :] for x in found])
