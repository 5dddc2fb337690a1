"""Channels as tokens: blocks of slots, subcarriers and antennas, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from keras import ops
from numpy.typing import NDArray

from simulator.core.backend import Tensor
from simulator.core.errors import ConfigError

Triple = tuple[int, int, int]


def token_grid(shape: Sequence[int | None], patch: Triple, pad: bool = False) -> Triple:
    """Tokens per axis.

    Args:
        shape: of channels, ``[batch, slot, subcarrier, antenna, 2]``.
        patch: slots, subcarriers and antennas of a token.
        pad: a last token that is not full counts too.

    Raises:
        ConfigError: other axes, an axis of unknown length, or without ``pad`` one that the patch does not divide.
    """
    if len(shape) != 5 or shape[-1] != 2 or not all(shape[1:4]):
        raise ConfigError("channels", tuple(shape), "[batch, slot, subcarrier, antenna, 2], known but for batch")
    sizes = [int(n) for n in shape[1:4]]
    if not pad and any(n % p for n, p in zip(sizes, patch, strict=True)):
        raise ConfigError("channels", tuple(sizes), f"multiples of the patch {tuple(patch)}, or pad=True (adds zeros)")
    return tuple(-(-n // p) for n, p in zip(sizes, patch, strict=True))


def to_patches(x: Tensor, patch: Triple) -> Tensor:
    """Cut channels into tokens; sizes that the patch does not divide are padded with zeros at the end.

    Args:
        x: float ``[batch, slot, subcarrier, antenna, 2]``.
        patch: slots, subcarriers and antennas of a token.

    Returns:
        float ``[batch, token, entry]``: tokens with antennas running fastest; entries slot, subcarrier, antenna, (real,
        imaginary), the last fastest.
    """
    grid = token_grid(x.shape, patch, pad=True)
    missing = [g * p - n for g, p, n in zip(grid, patch, x.shape[1:4], strict=True)]
    if any(missing):
        x = ops.pad(x, [(0, 0), *((0, m) for m in missing), (0, 0)])
    (a, b, c), (i, j, k) = grid, patch
    x = ops.transpose(ops.reshape(x, (-1, a, i, b, j, c, 2 * k)), (0, 1, 3, 5, 2, 4, 6))
    return ops.reshape(x, (-1, a * b * c, 2 * i * j * k))


def from_patches(tokens: Tensor, sizes: Triple, patch: Triple) -> Tensor:
    """Channels ``[batch, *sizes, 2]`` from tokens ``[batch, token, entry]``; padding of :func:`to_patches` dropped."""
    a, b, c = (-(-n // p) for n, p in zip(sizes, patch, strict=True))
    i, j, k = patch
    x = ops.transpose(ops.reshape(tokens, (-1, a, b, c, i, j, 2 * k)), (0, 1, 4, 2, 5, 3, 6))
    x = ops.reshape(x, (-1, a * i, b * j, c * k, 2))
    return x[:, : sizes[0], : sizes[1], : sizes[2]]


def valid_entries(sizes: Triple, patch: Triple) -> NDArray[np.float32]:
    """Float32 ``[token, entry]``: 1 for entries of the channel, 0 for those that :func:`to_patches` adds."""
    inside = [
        (np.arange(-(-n // p) * p) < n).reshape(-1, p).astype(np.float32) for n, p in zip(sizes, patch, strict=True)
    ]
    entries = np.einsum("ai,bj,ck->abcijk", *inside).reshape(-1, patch[0] * patch[1] * patch[2])
    return np.repeat(entries, 2, axis=1)
