"""Uniform scalar quantiser; argument checks and the straight-through step of all scalar quantisers."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import ConfigError, PayloadError
from simulator.core.interfaces import Array, ScalarQuantizer

# TensorFlow and JAX read subnormal floats as zero, NumPy and torch do not: both paths count them as zero.
TINY = float(np.finfo(np.float32).tiny)


class UniformQuantizer(ScalarQuantizer):
    r"""Mid-rise quantiser with :math:`2^b` equal cells on [-1, 1]; values outside belong to the outer cells.

    .. math:: i = \lfloor x\, 2^{b-1} \rfloor + 2^{b-1}, \qquad \hat x = (2i + 1)\, 2^{-b} - 1

    A value between two cells belongs to the upper one. The error is at most half a cell, :math:`2^{-b}`.
    Hard and soft path agree exactly for float32 input under every backend (powers of two are exact).

    Args:
        bits: bits of one index, 1..16.
    Raises:
        ConfigError: for any other ``bits``.
    Source: Gersho, Gray, Vector Quantization and Signal Compression, 1992, Sec. 5.2.
    """

    key: ClassVar[str] = "uniform"

    def __init__(self, bits: int) -> None:
        self.bits = check_bits(bits)
        self._half = 2 ** (self.bits - 1)
        self.borders = np.arange(1 - self._half, self._half) / self._half

    def quantize(self, x: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Cell int64 of every value (any shape); NaN goes to the cell of 0, infinities to the outer cells."""
        cell = np.floor(bounded(x) * self._half).astype(np.int64) + self._half
        return np.minimum(cell, 2 * self._half - 1)  # x = 1

    def dequantize(self, index: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Cell centre float32 of every index; PayloadError for anything but integers 0 .. 2**bits - 1."""
        return ((check_index(index, self.bits) + 0.5) / self._half - 1.0).astype(np.float32)

    def soft(self, x: Array) -> Array:
        """Cell centre float32 of every value with the gradient of the identity; NaN for non-finite ones."""
        from keras import ops

        cell = ops.floor(bounded_soft(x) * float(self._half))
        cell = ops.minimum(cell, float(self._half - 1))  # x = 1
        return straight_through(x, (cell + 0.5) / float(self._half))


def check_bits(bits: int) -> int:
    """``bits`` if it is an integer 1..16; ConfigError otherwise."""
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or not 1 <= bits <= 16:
        raise ConfigError("feedback.autoencoder.bits", bits, "an integer 1..16")
    return int(bits)


def check_index(index: NDArray[np.integer[Any]], bits: int) -> NDArray[np.int64]:
    """Indices as int64; PayloadError for anything but integers 0 .. 2**bits - 1."""
    index = np.asarray(index)
    if not np.issubdtype(index.dtype, np.integer):
        raise PayloadError(f"index: got {index.dtype}; allowed: integers")
    if index.size and not 0 <= index.min() <= index.max() < 2**bits:
        raise PayloadError(f"index: got {index.min()}..{index.max()}; allowed: 0..{2**bits - 1}")
    return index.astype(np.int64)


def bounded(x: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Values as float64 in [-1, 1]; NaN and magnitudes below ``TINY`` become 0."""
    x = np.clip(np.asarray(x, np.float64), -1.0, 1.0)
    return np.where(np.abs(x) >= TINY, x, 0.0)


def bounded_soft(x: Array) -> Array:
    """The same as :func:`bounded` in ``keras.ops``: float32, without gradient."""
    from keras import ops

    x = ops.clip(ops.stop_gradient(ops.cast(x, "float32")), -1.0, 1.0)
    return ops.where(ops.abs(x) >= TINY, x, 0.0)


def straight_through(x: Array, value: Array) -> Array:
    """Exactly ``value`` (float32), with derivative 1 in ``x``, also outside [-1, 1].

    Source: Bengio, Leonard, Courville, arXiv:1308.3432, Sec. 2.3.
    """
    from keras import ops

    x = ops.cast(x, "float32")
    return value + (x - ops.stop_gradient(x))  # the bracket is 0; x + (value - x) would round
