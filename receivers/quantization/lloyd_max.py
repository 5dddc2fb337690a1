"""Learned non-uniform scalar quantiser: levels that minimise the squared error of given data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from receivers.quantization.uniform import bounded, bounded_soft, check_bits, check_index, straight_through
from simulator.core.errors import ConfigError
from simulator.core.interfaces import Array, ScalarQuantizer

# Width of the Gaussian for which the levels are made when no data are given.
DEFAULT_STD = 0.25


class LloydMaxQuantizer(ScalarQuantizer):
    r"""Nearest of :math:`2^b` levels; borders lie half way between neighbours.

    Levels are stationary for the squared error when each is the mean of its cell, :math:`\hat x_i = E[x \mid i]`.

    Args:
        bits: bits of one index, 1..16.
        levels: increasing levels in [-1, 1], float32 ``[2**bits]``; None: those for a Gaussian of standard deviation
            0.25, or less where the outer levels would not fit.
    Raises:
        ConfigError: for anything else.
    Source: Max, IRE Trans. Inf. Theory 6(1), 1960; Lloyd, IEEE Trans. Inf. Theory 28(2), 1982.
    """

    key: ClassVar[str] = "lloyd_max"

    def __init__(self, bits: int, levels: Sequence[float] | NDArray[np.floating[Any]] | None = None) -> None:
        self.bits = check_bits(bits)
        if levels is None:
            levels = gaussian_levels(bits)
            levels = levels * min(DEFAULT_STD, 1 / levels[-1])
        self.levels = np.asarray(levels).astype(np.float32)
        shape = (2**self.bits,)
        inside = self.levels.shape == shape and np.isfinite(self.levels).all() and np.abs(self.levels).max() <= 1
        if not inside or (np.diff(self.levels) <= 0).any():
            raise ConfigError("quantizer.levels", f"{self.levels.shape}", f"{shape} increasing values in [-1, 1]")
        self.borders = (np.float64(self.levels[1:]) + self.levels[:-1]) / 2
        near = self.borders.astype(np.float32)  # float32 values reach it exactly when they reach the border
        self._borders32 = np.where(near < self.borders, np.nextafter(near, np.float32(np.inf)), near)

    @classmethod
    def fit(cls, samples: NDArray[np.floating[Any]], bits: int, iterations: int = 300) -> dict[str, list[float]]:
        """Parameters ``{"levels": ...}`` for data of any shape, clipped to [-1, 1], by Lloyd's algorithm.

        It starts at the quantiles of the cube root of the density, the best levels for many bits (Panter, Dite,
        Proc. IRE 39(1), 1951); a level without data moves next to the one with the largest error; levels that coincide
        (data with atoms) are moved apart by float32 steps.
        """
        x = np.sort(np.clip(np.asarray(samples, np.float64).ravel(), -1, 1))
        size = 2 ** check_bits(bits)
        total, power = (np.concatenate([[0.0], np.cumsum(value)]) for value in (x, x**2))
        density, edges = np.histogram(x, 1024)
        mass = np.concatenate([[0.0], np.cumsum(np.cbrt(density))])
        levels = np.interp((np.arange(size) + 0.5) / size * mass[-1], mass, edges)
        for _ in range(iterations):
            ends = np.concatenate([[0], np.searchsorted(x, (levels[1:] + levels[:-1]) / 2), [len(x)]])
            count = np.diff(ends)
            means = np.where(count, np.diff(total[ends]) / np.maximum(count, 1), levels)
            error = np.maximum(np.diff(power[ends]) - count * means**2, 0)
            empty = np.flatnonzero(count == 0)
            worst = np.argsort(-error, kind="stable")[: len(empty)]
            means[empty] = means[worst] + np.sqrt(error[worst] / np.maximum(count[worst], 1))
            means.sort()
            if np.abs(means - levels).max() < 1e-7:
                break
            levels = means
        return {"levels": _apart(levels).tolist()}

    def quantize(self, x: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Cell int64 of every value (any shape); NaN goes to the cell of 0, infinities to the outer cells."""
        return np.searchsorted(self.borders, bounded(x), side="right").astype(np.int64, copy=False)

    def dequantize(self, index: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Level float32 of every index; PayloadError for anything but integers 0 .. 2**bits - 1."""
        return self.levels[check_index(index, self.bits)]

    def soft(self, x: Array) -> Array:
        """Level float32 of every value with the gradient of the identity; NaN for non-finite ones."""
        from keras import ops

        value = ops.reshape(bounded_soft(x), (-1,))
        index = ops.searchsorted(ops.convert_to_tensor(self._borders32), value, side="right")
        level = ops.take(ops.convert_to_tensor(self.levels), ops.minimum(index, len(self.levels) - 1))
        return straight_through(x, ops.reshape(level, ops.shape(x)))


def gaussian_levels(bits: int) -> NDArray[np.float64]:
    r"""Optimal levels ``[2**bits]`` for a unit Gaussian: Newton's method on :math:`\hat x_i = E[x \mid i]`.

    The Gaussian is log-concave, so there is one solution (Fleischer, 1964). Cell i ends at a and b:
    :math:`c = (\varphi(a) - \varphi(b)) / p`, :math:`\partial c / \partial a = \varphi(a) (c - a) / p`,
    :math:`\partial c / \partial b = \varphi(b) (b - c) / p`; a and b are means of neighbours, hence three diagonals.

    Source: Max, IRE Trans. Inf. Theory 6(1), 1960, Table I.
    """
    from scipy.linalg import solve_banded
    from scipy.special import ndtr, ndtri

    size = 2 ** check_bits(bits)
    half = size // 2  # the levels are symmetric: those above 0 with a first border at 0
    levels = ndtri((np.arange(half, size) + 0.5) / size) * 3**0.5  # best for many bits: cube root of the density
    for _ in range(100):
        a = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2])
        b = np.append(a[1:], np.inf)
        density_a, density_b = (np.exp(-0.5 * end**2) / np.sqrt(2 * np.pi) for end in (a, b))
        mass = ndtr(-a) - ndtr(-b)
        mean = (density_a - density_b) / mass
        by_a, by_b = density_a * (mean - a) / mass, np.append(density_b[:-1] * (b[:-1] - mean[:-1]) / mass[:-1], 0)
        by_a[0] = 0  # the border at 0 does not move
        bands = np.zeros((3, half))
        bands[0, 1:], bands[1], bands[2, :-1] = -by_b[:-1] / 2, 1 - (by_a + by_b) / 2, -by_a[1:] / 2
        step = solve_banded((1, 1), bands, mean - levels)
        levels, previous = levels + step, levels
        if (np.diff(levels, prepend=0) <= 0).any():  # too far: the plain iteration keeps the order
            levels = mean
        elif np.abs(levels - previous).max() < 1e-9:
            break
    return np.concatenate([-levels[::-1], levels])


def _apart(levels: NDArray[np.float64]) -> NDArray[np.float32]:
    """Strictly increasing float32 levels in [-1, 1] next to non-decreasing ones."""
    out = np.clip(levels, -1, 1).astype(np.float32)
    for i in range(1, len(out)):
        out[i] = max(out[i], np.nextafter(out[i - 1], np.float32(2)))
    excess = out > 1
    out[excess] = 1
    for i in range(len(out) - 2, -1, -1):
        out[i] = min(out[i], np.nextafter(out[i + 1], np.float32(-2)))
    return out
