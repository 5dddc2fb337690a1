"""Fixed positions of WiFo-CF: place of a token in the channel, and width of its UE's report."""

from __future__ import annotations

import numpy as np
from keras import ops
from numpy.typing import NDArray

from receivers.models.spatiotemporal_position import axis_code
from simulator.core.backend import Tensor
from simulator.core.errors import ConfigError

MAX_BITS = 16
POSITIONS = ("row_first", "column_first")
WIDTH_CODES = ("user", "interleaved")


def plane_position(grid: tuple[int, int], dim: int, position: str = "row_first") -> NDArray[np.float32]:
    """Codes of the two indices of every token, concatenated, see :func:`axis_code`.

    Args:
        grid: tokens per axis; the last index runs fastest.
        dim: features, a multiple of 4.
        position: which index has the first half of the features, "row_first" or "column_first".

    Returns:
        float32 ``[token, dim]``.
    """
    indices = np.indices(grid).reshape(2, -1)[:: 1 if position == "row_first" else -1]
    return np.concatenate([axis_code(i, dim // 2) for i in indices], axis=1).astype(np.float32)


def user_embedding(
    grid: tuple[int, int], bits: Tensor, dim: int, position: str = "row_first", width_code: str = "user"
) -> Tensor:
    """Position of every token in ``dim / 2`` features, then the code of the UE's width in ``dim / 2``.

    Args:
        grid: tokens per axis.
        bits: int ``[batch, user]``, 0..16.
        dim: features of a token.
        position: see :func:`plane_position`; the released network is "column_first": its columns are subcarriers.
        width_code: "user" gives every token the width of its own UE. "interleaved" gives the n-th of all tokens, UE by
            UE, that of UE n modulo the number of UEs, as the released code does with a vector of widths; with equal
            widths there is no difference.

    Returns:
        float32 ``[batch, user, token, dim]``.

    Raises:
        ConfigError: ``dim`` is no multiple of 8.

    Source: WiFo-CF (arXiv:2508.04068), user embedding.
    """
    if dim % 8:
        raise ConfigError("dim", dim, "a multiple of 8: sines and cosines of two indices, and of the width")
    place = ops.convert_to_tensor(plane_position(grid, dim // 2, position))
    table = axis_code(np.arange(MAX_BITS + 1), dim // 2).astype(np.float32)
    shape = (*ops.shape(bits), *place.shape)
    bits = ops.expand_dims(bits, 2)  # [batch, user, 1]
    if width_code == "interleaved":
        bits = ops.reshape(ops.tile(bits[:, None, :, 0], (1, shape[2], 1)), shape[:3])
    width = ops.take(ops.convert_to_tensor(table), bits, axis=0)  # [batch, user, 1 or token, dim / 2]
    return ops.concatenate([ops.broadcast_to(place, shape), ops.broadcast_to(width, shape)], axis=-1)
