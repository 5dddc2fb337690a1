"""Selective scan: the linear recurrence of a state-space model whose step, input and output depend on the input."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def selective_scan(u: Any, dt: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    r"""Diagonal state-space recurrence along a sequence, in float32.

    .. math::
        h_t = e^{\Delta_t A} h_{t-1} + \Delta_t B_t u_t, \qquad y_t = C_t^T h_t + D u_t, \qquad h_0 = 0

    A is discretised exactly, B by Euler's rule. One step per token, each over all samples, directions and channels. JAX
    compiles the loop; the other backends run it step by step, which is faster there than a compiled loop and than
    scans in pieces or by pairs (they move every state through memory several times).

    Args:
        u: float32 ``[batch, direction, token, channel]``; ``direction`` counts independent scans.
        dt: steps > 0, same shape.
        a: negative float32 ``[direction, channel, state]``.
        b: float32 ``[batch, direction, token, state]``.
        c: same shape as ``b``.
        d: float32 ``[direction, channel]``.

    Returns:
        float32, shape of ``u``.

    Source: Gu, Dao, "Mamba: linear-time sequence modeling with selective state spaces", arXiv:2312.00752, Eq. (2) and
    Alg. 2; Euler's rule for B: released code, ``selective_scan_ref``.
    """
    a = ops.swapaxes(a, 1, 2)  # [direction, state, channel]: neighbouring channels are neighbours in memory

    def step(h: Any, token: tuple[Any, ...]) -> tuple[Any, Any]:
        value, dt, b, c = token
        h = ops.exp(dt[..., None, :] * a) * h + value[..., None, :] * b[..., None]
        return h, ops.sum(h * c[..., None], axis=-2)

    tokens = (dt * u, dt, b, c)
    h = ops.zeros_like(u[:, :, :1]) * ops.zeros_like(a)  # [batch, direction, state, channel]
    if keras.backend.backend() == "jax":
        y = ops.moveaxis(ops.scan(step, h, [ops.moveaxis(x, 2, 0) for x in tokens])[1], 0, 2)
    else:
        outputs = []
        for token in zip(*(ops.unstack(x, u.shape[2], axis=2) for x in tokens), strict=True):
            h, out = step(h, token)
            outputs.append(out)
        y = ops.stack(outputs, axis=2)
    return y + u * d[:, None]
