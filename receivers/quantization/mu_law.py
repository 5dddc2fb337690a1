"""Mu-law scalar quantiser: fine cells near zero, coarse cells near one."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from receivers.quantization.uniform import bounded, bounded_soft, check_bits, check_index, straight_through
from simulator.core.errors import ConfigError
from simulator.core.interfaces import Array, ScalarQuantizer


class MuLawQuantizer(ScalarQuantizer):
    r"""Compress with the mu-law, round to :math:`2^b` equidistant levels, expand.

    .. math::
        y = \operatorname{sgn}(x) \frac{\ln(1 + \mu |x|)}{\ln(1 + \mu)}, \qquad
        i = \operatorname{round}\!\left(\frac{y + 1}{2} (2^b - 1)\right)

        \hat y = \frac{2 i}{2^b - 1} - 1, \qquad
        \hat x = \operatorname{sgn}(\hat y) \frac{(1 + \mu)^{|\hat y|} - 1}{\mu}

    Halves round up. The outer levels are -1 and 1 and there is no level at 0; values outside [-1, 1] belong
    to the outer cells. Both paths decide by the same float64 cell borders, so they agree exactly for float32
    input under every backend; the soft path needs no search, as a float32 guess is at most one cell away.

    Args:
        bits: bits of one index, 1..16.
        mu: strength of the compression, 1e-3..1e6 (smaller: use the uniform quantiser).
    Raises:
        ConfigError: for any other ``bits`` or ``mu``.
    Source: ITU-T G.711 (mu-law); continuous form: Jayant, Noll, Digital Coding of Waveforms, 1984, Sec. 4.5.
    """

    key: ClassVar[str] = "mu_law"

    def __init__(self, bits: int, mu: float = 255.0) -> None:
        self.bits = check_bits(bits)
        if isinstance(mu, bool) or not isinstance(mu, int | float | np.number) or not 1e-3 <= mu <= 1e6:
            raise ConfigError("feedback.autoencoder.mu", mu, "a number in 1e-3..1e6")
        self.mu = float(mu)
        self._top = 2**self.bits - 1
        # y in half cells, integers before the division so that it is symmetric: level, border, level, ...
        grid = np.arange(-self._top, self._top + 1) / self._top
        self._levels = _expand(grid[::2], self.mu).astype(np.float32)
        self.borders = _expand(grid[1::2], self.mu)  # [k]: between cells k and k + 1
        # The same for float32 input, [k]: lower end of cell k, beyond the range at both ends.
        self._borders32 = np.pad(_round_up(self.borders), 1, constant_values=(-2.0, 2.0))

    def quantize(self, x: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Cell int64 of every value (any shape); NaN goes to the cell of 0, infinities to the outer cells."""
        return np.searchsorted(self.borders, bounded(x), side="right").astype(np.int64, copy=False)

    def dequantize(self, index: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Level float32 of every index; PayloadError for anything but integers 0 .. 2**bits - 1."""
        return self._levels[check_index(index, self.bits)]

    def soft(self, x: Array) -> Array:
        """Level float32 of every value with the gradient of the identity; NaN for non-finite ones."""
        from keras import ops

        value = bounded_soft(x)
        y = ops.sign(value) * ops.log1p(self.mu * ops.abs(value)) / math.log1p(self.mu)
        guess = ops.cast(ops.floor((y + 1.0) * (self._top / 2) + 0.5), "int32")
        borders = ops.convert_to_tensor(self._borders32)
        above = ops.cast(value >= ops.take(borders, guess + 1), "int32")
        below = ops.cast(value < ops.take(borders, guess), "int32")
        return straight_through(x, ops.take(ops.convert_to_tensor(self._levels), guess + above - below))


def _expand(y: NDArray[np.float64], mu: float) -> NDArray[np.float64]:
    """Inverse of the mu-law, float64 in [-1, 1]."""
    return np.sign(y) * np.expm1(np.abs(y) * np.log1p(mu)) / mu


def _round_up(x: NDArray[np.float64]) -> NDArray[np.float32]:
    """Smallest float32 that is not below ``x``: a float32 value reaches it exactly when it reaches ``x``."""
    near = x.astype(np.float32)
    return np.where(near < x, np.nextafter(near, np.float32(np.inf)), near)
