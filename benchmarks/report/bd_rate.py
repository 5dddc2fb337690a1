"""Differences between rate-quality curves after Bjontegaard: pure functions of bits and quality."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

MIN_POINTS = 3


class BdDifference(NamedTuple):
    """A curve compared with a reference.

    Args:
        rate_percent: mean difference in bits at equal quality [%], negative when fewer; NaN for the reason in ``note``.
        quality: mean difference in quality at equal bits, in its unit; NaN likewise.
        low: lower end of the common range of quality.
        high: upper end of it.
        note: why there is no difference, or empty.
    """

    rate_percent: float
    quality: float
    low: float
    high: float
    note: str


def envelope(bits: np.ndarray, quality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Non-dominated points by increasing bits.

    A point is dominated by one with no more bits and no less quality; the remaining curve is strictly monotone.
    Points that are no numbers, or without bits, which have no logarithm, are left out.

    Args:
        bits: float ``[point]``, any order.
        quality: float ``[point]``, higher is better.
    """
    bits, quality = np.asarray(bits, np.float64), np.asarray(quality, np.float64)
    real = np.isfinite(bits) & np.isfinite(quality) & (bits > 0)
    bits, quality = bits[real], quality[real]
    order = np.lexsort((-quality, bits))
    before = np.concatenate([[-np.inf], np.maximum.accumulate(quality[order])[:-1]])
    kept = order[quality[order] > before]
    return bits[kept], quality[kept]


def bd_difference(bits_ref: np.ndarray, quality_ref: np.ndarray, bits: np.ndarray, quality: np.ndarray) -> BdDifference:
    r"""Bjontegaard differences of a curve from a reference.

    .. math::
        \mathrm{BD\text{-}rate} = \exp\Big( \frac{1}{q_1 - q_0} \int_{q_0}^{q_1} \ln B(q) - \ln B_\mathrm{ref}(q)
        \, dq \Big) - 1

    over the common range of quality :math:`[q_0, q_1]`, and the mean difference in quality over the common range of
    :math:`\ln B`. Between points the curves are monotone piecewise cubic Hermite polynomials (PCHIP). Nothing is
    extrapolated: curves with fewer than three points on their :func:`envelope`, and curves without a common range,
    have no difference.

    Args:
        bits_ref: bits of a report of the reference, float ``[point]``, positive, any order.
        quality_ref: its quality, higher is better.
        bits: bits of the curve.
        quality: its quality.

    Source: Bjontegaard, ITU-T VCEG-M33, 2001; PCHIP and the envelope as in the common test conditions of JCT-VC.
    """
    curves = [envelope(*curve) for curve in ((bits_ref, quality_ref), (bits, quality))]
    few = [
        f"{len(b)} point{'s' * (len(b) != 1)} on the envelope of {name}, {MIN_POINTS} needed"
        for name, (b, _) in zip(("the reference", "this curve"), curves, strict=True)
        if len(b) < MIN_POINTS
    ]
    if few:
        return BdDifference(np.nan, np.nan, np.nan, np.nan, few[0])
    log_bits = [np.log(b) for b, _ in curves]
    low, high = max(q[0] for _, q in curves), min(q[-1] for _, q in curves)
    if not low < high:
        rate, note = np.nan, "no common quality"
    else:
        means = [_mean(q, x, low, high) for x, (_, q) in zip(log_bits, curves, strict=True)]
        rate, note = 100.0 * np.expm1(means[1] - means[0]), ""
    start, stop = max(x[0] for x in log_bits), min(x[-1] for x in log_bits)
    if not start < stop:
        gain, note = np.nan, f"{note}, " * bool(note) + "no common bits"
    else:
        means = [_mean(x, q, start, stop) for x, (_, q) in zip(log_bits, curves, strict=True)]
        gain = means[1] - means[0]
    return BdDifference(float(rate), float(gain), *((float(low), float(high)) if low < high else (np.nan,) * 2), note)


def _mean(x: np.ndarray, y: np.ndarray, low: float, high: float) -> float:
    """Mean of the interpolated y over ``low..high``."""
    return float(PchipInterpolator(x, y, extrapolate=False).integrate(low, high)) / (high - low)
