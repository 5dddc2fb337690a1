"""Weights of few bits: the value a kernel has after quantisation (post-training, simulated)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import ConfigError

# Bits per weight that a mixed-precision policy chooses from.
WIDTHS = (16, 8, 4, 2)
SCHEMES = ("symmetric", "tensor_minmax")
CLIPS = ("max", "mse")

# Shares of the largest magnitude that ``clip="mse"`` tries: 1, .98, ..., .22.
_SHRINK = 1.0 - 0.02 * np.arange(40)


def channel_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Axes over which the entries of a kernel share one scale.

    All but the last, the output channel, of ``[in, out]`` and ``[height, width, in, out]``; the first two of
    ``[height, width, channel, 1]``, a depthwise convolution; the middle one of a stack ``[direction, in, out]``.

    Args:
        shape: of the kernel, rank 2 or more.
    Raises:
        ConfigError: for a smaller rank.
    Source: Yao et al., HAWQ-V3, ICML 2021, arXiv:2011.10680, Sec. 3.1 (one scale per output channel).
    """
    if len(shape) < 2:
        raise ConfigError("weight", f"shape {tuple(shape)}", "a kernel with at least two axes")
    if len(shape) == 3:
        return (1,)
    if len(shape) == 4 and shape[-1] == 1:
        return (0, 1)
    return tuple(range(len(shape) - 1))


def quantize_weight(
    w: NDArray[np.floating[Any]], bits: int, *, scheme: str = "symmetric", clip: str = "max"
) -> NDArray[np.float32]:
    r"""Kernel after quantisation and dequantisation; the error is at most half a step inside the range.

    .. math:: \hat w = s\, q, \quad q = \operatorname{clip}(\operatorname{round}(w / s), -n, n), \quad n = 2^{b-1} - 1

    - ``symmetric``: one scale :math:`s = \alpha \max|w| / n` per channel (:func:`channel_axes`), :math:`\alpha = 1` or
      with ``clip="mse"`` the value of a grid on (0.2, 1] with the smallest squared error of the channel. Channels of
      zeros stay zero.
    - ``tensor_minmax``: one scale :math:`s = (\max w - \min w) / (2^b - 1)` and zero point
      :math:`z = \operatorname{round}(-2^{b-1} - \min w / s)` per tensor, :math:`\hat w = s (q - z)` with
      :math:`q = \operatorname{clip}(\operatorname{round}(w / s) + z, -2^{b-1}, 2^{b-1} - 1)`; the range includes zero,
      which is exact; ``clip`` has no effect.

    Halves are rounded to even.

    Args:
        w: kernel, real, any shape; for ``symmetric`` rank 2 or more.
        bits: per weight, 2..16.
        scheme: ``symmetric`` or ``tensor_minmax``.
        clip: ``max`` or ``mse``.
    Returns:
        float32, shape of ``w``.
    Raises:
        ConfigError: for other arguments or values that are not finite.
    Source: symmetric: Yao et al., HAWQ-V3, ICML 2021, arXiv:2011.10680, Sec. 3.1; tensor_minmax: the code released
        with RP-MPQ.
    """
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or not 2 <= bits <= 16:
        raise ConfigError("weight_bits", bits, "an integer 2..16")
    if scheme not in SCHEMES:
        raise ConfigError("weight_scheme", scheme, " or ".join(SCHEMES))
    if clip not in CLIPS:
        raise ConfigError("weight_clip", clip, " or ".join(CLIPS))
    w = np.asarray(w, np.float64)
    if not np.isfinite(w).all():
        raise ConfigError("weight", "NaN or infinity", "finite values")
    if scheme == "tensor_minmax":
        return _tensor_minmax(w, int(bits))
    axes = channel_axes(w.shape)
    largest = np.abs(w).max(axis=axes, keepdims=True, initial=0.0)
    top = 2 ** (int(bits) - 1) - 1
    best, error = _symmetric(w, largest, top), None
    if clip == "mse":
        error = np.square(best - w).sum(axis=axes, keepdims=True)
        for share in _SHRINK[1:]:
            value = _symmetric(w, share * largest, top)
            cost = np.square(value - w).sum(axis=axes, keepdims=True)
            best, error = np.where(cost < error, value, best), np.minimum(cost, error)
    return best


def _symmetric(w: NDArray[np.float64], limit: NDArray[np.float64], top: int) -> NDArray[np.float32]:
    """Nearest of ``2 top + 1`` multiples of ``limit / top``."""
    scale = limit / top
    index = np.clip(np.rint(w / np.where(scale > 0, scale, 1.0)), -top, top)
    return (index * scale).astype(np.float32)


def _tensor_minmax(w: NDArray[np.float64], bits: int) -> NDArray[np.float32]:
    """Nearest of ``2**bits`` values between the extremes, zero among them."""
    low, high = w.min(initial=0.0), w.max(initial=0.0)
    if low == high:
        return np.zeros(w.shape, np.float32)
    bottom = -(2 ** (bits - 1))
    scale = (high - low) / (2**bits - 1)
    zero = np.rint(bottom - low / scale)
    index = np.clip(np.rint(w / scale) + zero, bottom, -bottom - 1)
    return ((index - zero) * scale).astype(np.float32)
