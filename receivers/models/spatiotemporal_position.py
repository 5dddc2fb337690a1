"""Fixed positions of tokens on a grid over space, time and frequency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import ConfigError


def split_dim(dim: int) -> tuple[int, int, int]:
    """Features for the three axes: twice the even number nearest to ``dim / 3``, and the rest for the last axis.

    The released splits follow this rule: 64 is 22, 22, 20; 128 is 42, 42, 44; 256 is 86, 86, 84; 512 is 170, 170, 172.

    Raises:
        ConfigError: ``dim`` is odd or below 6.
    """
    if dim % 2 or dim < 6:
        raise ConfigError("dim", dim, "an even number of at least 6, whose parts are sines and cosines of three axes")
    part = 2 * round(dim / 6)
    return part, part, dim - 2 * part


def axis_code(index: NDArray, dim: int) -> NDArray:
    r"""Sines, then cosines, of :math:`n\, 10000^{-i / (d/2)}`, i = 0 .. d/2 - 1.

    Args:
        index: n, ``[position]``.
        dim: d, even.

    Returns:
        float64 ``[position, dim]``.

    Source: Vaswani et al., NeurIPS 2017, Sec. 3.5, in the order of the masked autoencoders.
    """
    angle = np.outer(index, 10000.0 ** (-np.arange(dim // 2) / (dim / 2)))
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def stf_position(grid: tuple[int, int, int], dim: int) -> NDArray[np.float32]:
    """Codes of the three indices of every token, concatenated.

    Args:
        grid: tokens per axis; the last index runs fastest.
        dim: features of a token.

    Returns:
        float32 ``[token, dim]``.

    Source: Liu et al., "WiFo: wireless foundation model for channel prediction", Sci. China Inf. Sci. 68(6), 2025,
        STF-PE.
    """
    indices = np.indices(grid).reshape(3, -1)
    return np.concatenate([axis_code(i, d) for i, d in zip(indices, split_dim(dim), strict=True)], 1).astype(np.float32)
