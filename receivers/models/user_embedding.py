"""Fixed positions of WiFo-CF: place of a token in the channel, and width of its UE's report."""

from __future__ import annotations

import numpy as np
from keras import ops
from numpy.typing import NDArray

from receivers.models.spatiotemporal_position import axis_code
from simulator.core.errors import ConfigError

MAX_BITS = 16


def plane_position(grid: tuple[int, int], dim: int) -> NDArray[np.float32]:
    """Codes of the two indices of every token, one behind the other, see :func:`axis_code`.

    Args:
        grid: tokens per axis; the last index runs fastest.
        dim: features, a multiple of 4.

    Returns:
        float32 ``[token, dim]``.
    """
    indices = np.indices(grid).reshape(2, -1)
    return np.concatenate([axis_code(i, dim // 2) for i in indices], axis=1).astype(np.float32)


def user_embedding(grid: tuple[int, int], bits, dim: int):
    """Position of every token in ``dim / 2`` features, then the code of the UE's width in ``dim / 2``.

    Args:
        grid: tokens per axis.
        bits: int ``[batch, user]``, 0..16.
        dim: features of a token.

    Returns:
        float32 ``[batch, user, token, dim]``.

    Raises:
        ConfigError: ``dim`` is no multiple of 8.

    Source: WiFo-CF (arXiv:2508.04068), user embedding.
    """
    if dim % 8:
        raise ConfigError("dim", dim, "a multiple of 8: sines and cosines of two indices, and of the width")
    place = ops.convert_to_tensor(plane_position(grid, dim // 2))
    table = axis_code(np.arange(MAX_BITS + 1), dim // 2).astype(np.float32)
    width = ops.expand_dims(ops.take(ops.convert_to_tensor(table), bits, axis=0), 2)  # [batch, user, 1, dim / 2]
    shape = (*ops.shape(bits), *place.shape)
    return ops.concatenate([ops.broadcast_to(place, shape), ops.broadcast_to(width, shape)], axis=-1)
