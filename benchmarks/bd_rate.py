"""Bjøntegaard delta rate: how many bits one scheme saves against another at equal quality, in the mean."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from simulator.core.errors import ConfigError


def bd_rate(bits: np.ndarray, quality: np.ndarray, other_bits: np.ndarray, other_quality: np.ndarray) -> float:
    r"""Mean difference of log rates over the common range of quality, as a share of the other scheme's bits.

    .. math:: \exp\Bigl(\frac{1}{q_1 - q_0} \int_{q_0}^{q_1} \ln R(q) - \ln R'(q) \, dq\Bigr) - 1

    with monotone cubic interpolation of :math:`\ln R` over the quality.

    Args:
        bits: R, positive.
        quality: q of the same points, any order, no value twice; of points with fewer quality at more bits the best
            stays.
        other_bits: R' of the scheme compared with.
        other_quality: its qualities.

    Returns:
        -0.3: 30 % fewer bits.

    Raises:
        ConfigError: fewer than two points of a scheme, or no common range.
    Source: Bjøntegaard, "Calculation of average PSNR differences between RD-curves", ITU-T VCEG-M33, 2001.
    """
    curves = [_front(b, q) for b, q in ((bits, quality), (other_bits, other_quality))]
    low, high = max(q[0] for _, q in curves), min(q[-1] for _, q in curves)
    if min(len(q) for _, q in curves) < 2 or low >= high:
        raise ConfigError("bd_rate", f"{low:.4g}..{high:.4g}", "two points or more, and a common range of quality")
    mean = [PchipInterpolator(q, np.log(b)).integrate(low, high) / (high - low) for b, q in curves]
    return float(np.expm1(mean[0] - mean[1]))


def _front(bits: np.ndarray, quality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points by increasing bits, without those that are no better than one of fewer bits."""
    order = np.argsort(bits, kind="stable")
    bits, quality = np.asarray(bits, float)[order], np.asarray(quality, float)[order]
    better = quality > np.concatenate([[-np.inf], np.maximum.accumulate(quality)[:-1]])
    return bits[better], quality[better]
