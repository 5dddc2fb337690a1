"""Tokens visible to an encoder: masks as lists of visible tokens, the same number for every sample."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from simulator.core.backend import Tensor
from simulator.core.errors import ConfigError

TASKS = ("random", "time", "frequency")
Grid = tuple[int, int, int]


def random_tokens(batch: Any, grid: Grid, seed: Any, ratio: float = 0.85) -> Tensor:
    """Random visible tokens, drawn for every sample.

    Args:
        batch: samples, a number or a tensor of no axes.
        grid: tokens per axis.
        seed: ``keras.random.SeedGenerator``.
        ratio: share that is hidden; ``int((1 - ratio) * tokens)`` stay visible.

    Returns:
        int ``[batch, visible]``, in random order.

    Raises:
        ConfigError: all tokens or none would be visible.
    """
    total = int(np.prod(grid))
    visible = int(total * (1 - ratio) + 1e-9)
    if not 0 < visible < total:
        raise ConfigError("mask.ratio", ratio, f"a share that leaves 1 .. {total - 1} of {total} tokens visible")
    return ops.argsort(keras.random.uniform((batch, total), seed=seed), axis=-1)[:, :visible]


def leading_tokens(grid: Grid, axis: int, hidden: int | None = None) -> NDArray[np.int32]:
    """Visible tokens when the last ones along an axis are hidden.

    Args:
        grid: tokens per axis.
        axis: of the grid.
        hidden: positions hidden at the end of that axis; None: half of them, the larger half if odd.

    Returns:
        int32 ``[visible]``, ascending.

    Raises:
        ConfigError: all positions or none would be visible.
    """
    size = grid[axis]
    count = size - size // 2 if hidden is None else hidden
    if not 0 < count < size:
        raise ConfigError("mask.hidden", count, f"1 .. {size - 1} of {size} tokens along axis {axis} of {tuple(grid)}")
    return np.flatnonzero(np.indices(grid)[axis].ravel() < size - count).astype(np.int32)


def time_tokens(grid: Grid, hidden: int | None = None) -> NDArray[np.int32]:
    """:func:`leading_tokens` over time: later tokens are to be predicted."""
    return leading_tokens(grid, 0, hidden)


def frequency_tokens(grid: Grid, hidden: int | None = None, axis: int = 1) -> NDArray[np.int32]:
    """:func:`leading_tokens` over frequency, axis 1 of [slot, subcarrier, antenna].

    The released code hides along the last axis, where its data have the subcarriers: axis 2 with such data.
    """
    return leading_tokens(grid, axis, hidden)


def task_tokens(task: str, batch: Any, grid: Grid, seed: Any, ratio: float = 0.85, axis: int = 1) -> Tensor:
    """Visible tokens of a task "random", "time" or "frequency", int ``[batch, visible]`` or ``[visible]``."""
    if task == "random":
        return random_tokens(batch, grid, seed, ratio)
    if task == "time":
        return time_tokens(grid)
    if task == "frequency":
        return frequency_tokens(grid, axis=axis)
    raise ConfigError("task", task, ", ".join(TASKS))


def from_mask(hidden: NDArray) -> NDArray[np.int32]:
    """Visible tokens int32 ``[batch, visible]``, ascending, of a mask ``[batch, token]`` that is 1 where hidden.

    Raises:
        ConfigError: samples with different numbers of visible tokens, or with none.
    """
    seen = np.asarray(hidden) == 0
    counts = sorted({int(n) for n in seen.sum(axis=1)})
    if len(counts) != 1 or counts[0] == 0:
        raise ConfigError("mask", f"{counts} visible tokens", "equally many for every sample, at least 1")
    return np.nonzero(seen)[1].reshape(len(seen), -1).astype(np.int32)


def hidden_tokens(visible: Tensor, num_tokens: int) -> Tensor:
    """Float32 ``[..., num_tokens]``: 1 for hidden tokens, of visible ones int ``[..., visible]``."""
    return 1.0 - ops.sum(ops.one_hot(ops.convert_to_tensor(visible), num_tokens, dtype="float32"), axis=-2)


def gather_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Tokens ``index`` int ``[batch, count]`` of ``x [batch, token, feature]``: ``[batch, count, feature]``."""
    batch, tokens = ops.shape(x)[0], x.shape[1]
    index = ops.cast(index, "int32") + tokens * ops.expand_dims(ops.arange(batch, dtype="int32"), 1)
    return ops.take(ops.reshape(x, (-1, x.shape[2])), index, axis=0)


def scatter_tokens(x: Tensor, visible: Tensor, num_tokens: int, fill: Tensor) -> Tensor:
    """Inverse of :func:`gather_tokens`: ``fill [feature]`` where no token is.

    Args:
        x: float ``[batch, visible, feature]``.
        visible: int ``[batch, visible]``, all different.
        num_tokens: tokens of a sample.
        fill: ``[feature]``.

    Returns:
        float ``[batch, num_tokens, feature]``.
    """
    at = ops.one_hot(visible, num_tokens, dtype="float32")  # [batch, visible, token]
    present = ops.expand_dims(ops.sum(at, axis=1), -1)
    return ops.matmul(ops.swapaxes(at, 1, 2), x) + (1.0 - present) * fill
