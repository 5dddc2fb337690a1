"""Uniform scalar quantiser with a level at zero, for latents that are entropy coded."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from receivers.quantization.uniform import bounded, bounded_soft, check_bits, check_index, straight_through
from simulator.core.interfaces import Array, ScalarQuantizer


class MidTreadQuantizer(ScalarQuantizer):
    r"""Quantiser with levels at the multiples of :math:`2^{1-b}`, from -1 to :math:`1 - 2^{1-b}`.

    .. math:: i = \lfloor x\, 2^{b-1} + \tfrac12 \rfloor + 2^{b-1}, \qquad \hat x = i\, 2^{1-b} - 1

    Indices are kept in 0 .. 2^b - 1, so that values outside belong to the outer cells. A latent of small variance
    stays in the cell of zero and costs almost nothing after entropy coding, where a mid-rise quantiser pays its sign.

    Args:
        bits: bits of one index, 1..16.
    Raises:
        ConfigError: for any other ``bits``.
    Source: Gersho, Gray, Vector Quantization and Signal Compression, 1992, Sec. 5.2.
    """

    key: ClassVar[str] = "mid_tread"

    def __init__(self, bits: int) -> None:
        self.bits = check_bits(bits)
        self._half = 2 ** (self.bits - 1)
        self.borders = (np.arange(1, 2 * self._half) - 0.5) / self._half - 1.0

    def quantize(self, x: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Cell int64 of every value (any shape); NaN goes to the cell of 0, infinities to the outer cells."""
        cell = np.floor(bounded(x) * self._half + 0.5).astype(np.int64) + self._half
        return np.minimum(cell, 2 * self._half - 1)

    def dequantize(self, index: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Level float32 of every index; PayloadError for anything but integers 0 .. 2**bits - 1."""
        return (check_index(index, self.bits) / self._half - 1.0).astype(np.float32)

    def soft(self, x: Array) -> Array:
        """Level float32 of every value with the gradient of the identity; NaN for non-finite ones."""
        from keras import ops

        cell = ops.floor(bounded_soft(x) * float(self._half) + 0.5)
        return straight_through(x, ops.minimum(cell, float(self._half - 1)) / float(self._half))
