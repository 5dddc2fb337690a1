"""Scalar quantiser of values in [0, 1] whose width may differ from value to value: one for each UE."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from receivers.quantization.uniform import straight_through
from simulator.core.errors import ConfigError, PayloadError
from simulator.core.interfaces import Array

LAWS = ("mu_law", "uniform")
LEVELS = {"middle": 0.5, "upper": 1.0}  # place of the level within its cell
MAX_BITS = 16


class UnitQuantizer:
    r"""Compress by the mu-law, cut [0, 1] into :math:`2^b` equal cells, expand a point of the cell, its middle.

    .. math::
        y = \frac{\ln(1 + \mu x)}{\ln(1 + \mu)}, \qquad
        i = \lceil 2^b y \rceil - 1, \qquad
        \hat x = \frac{(1 + \mu)^{(i + a) / 2^b} - 1}{\mu}

    with a = 1/2, or 1 for ``level`` "upper", and 0 in cell 0; "uniform" has y = x. Cells are fine near 0. A value on a
    border belongs to the lower cell. It is no :class:`~simulator.core.interfaces.Quantizer`: that one has a single
    width, and [-1, 1] with fine cells in the middle, which is another quantiser than the released one on the output of
    a sigmoid.

    The hard path is exact: cells of b bits are cells of 16 bits without their last 16 - b, so one table of borders in
    float64 serves all widths. The soft path may choose the other cell within float32's rounding of a border.

    Args:
        law: "mu_law" or "uniform".
        mu: strength of the compression.
        level: reconstruction level of a cell, its "middle", or its "upper" edge as in the released code, twice as far
            from the values of the cell (which also reads an exact 0 as 0, a level more than b bits can represent).

    Raises:
        ConfigError: another law or level, or ``mu`` outside 1e-3..1e6.

    Source: WiFo-CF (arXiv:2508.04068) and its released code: mu-law with ceil.
    """

    def __init__(self, law: str = "mu_law", mu: float = 255.0, level: str = "middle") -> None:
        if law not in LAWS:
            raise ConfigError("law", law, ", ".join(LAWS))
        if level not in LEVELS:
            raise ConfigError("level", level, ", ".join(LEVELS))
        if isinstance(mu, bool) or not isinstance(mu, int | float) or not 1e-3 <= mu <= 1e6:
            raise ConfigError("mu", mu, "a number in 1e-3..1e6")
        self.law, self.mu, self.level = law, float(mu), level
        self._borders = self._expand(np.arange(1, 2**MAX_BITS) / 2**MAX_BITS)

    def quantize(self, x: NDArray[np.floating[Any]], bits: Any) -> NDArray[np.int64]:
        """Cell int64 of every value (values outside belong to the outer cells).

        Args:
            x: float, any shape.
            bits: int or integers that broadcast to ``x``, 1..16.

        Raises:
            ConfigError: another width.
        """
        fine = np.searchsorted(self._borders, np.nan_to_num(np.asarray(x, np.float64)), side="left")
        return fine.astype(np.int64) >> (MAX_BITS - check_widths(bits))

    def dequantize(self, index: NDArray[np.integer[Any]], bits: Any) -> NDArray[np.float32]:
        """Level float32 in (0, 1] of every index; PayloadError for one outside ``bits`` bits."""
        index, bits = np.asarray(index), check_widths(bits)
        if not np.issubdtype(index.dtype, np.integer) or (index < 0).any() or (index >> bits).any():
            raise PayloadError("index: got a value beyond its width; allowed: integers 0..2**bits - 1")
        return self._expand((index + LEVELS[self.level]) / 2.0**bits).astype(np.float32)

    def soft(self, x: Array, bits: Array) -> Array:
        """Level float32 of every value with the gradient of the identity.

        Args:
            x: float32 tensor, any shape.
            bits: int tensor that broadcasts to ``x``, 1..16 (not checked).
        """
        from keras import ops

        cells = ops.power(2.0, ops.cast(bits, "float32"))
        value = ops.clip(ops.stop_gradient(x), 0.0, 1.0)
        if self.law == "mu_law":
            value = ops.log1p(self.mu * value) / math.log1p(self.mu)
        y = (ops.clip(ops.ceil(value * cells) - 1.0, 0.0, cells - 1.0) + LEVELS[self.level]) / cells
        return straight_through(x, ops.expm1(y * math.log1p(self.mu)) / self.mu if self.law == "mu_law" else y)

    def _expand(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.expm1(y * np.log1p(self.mu)) / self.mu if self.law == "mu_law" else y


def check_widths(bits: Any, field: str = "bits") -> NDArray[np.int64]:
    """Widths as int64; ConfigError for anything but integers 1..16."""
    widths = np.asarray(bits)
    whole = np.issubdtype(widths.dtype, np.integer)
    if not whole or widths.size == 0 or widths.min() < 1 or widths.max() > MAX_BITS:
        raise ConfigError(field, widths.tolist(), f"integers 1..{MAX_BITS}")
    return widths.astype(np.int64)
