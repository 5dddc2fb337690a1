"""Bjøntegaard delta rate against closed forms."""

import numpy as np
import pytest

from benchmarks.bd_rate import bd_rate
from simulator.core.errors import ConfigError

QUALITY = np.array([0.5, 0.6, 0.75, 0.9])


def test_a_constant_share_of_the_bits():
    bits = np.array([60, 90, 170, 330])
    assert bd_rate(0.7 * bits, QUALITY, bits, QUALITY) == pytest.approx(-0.3)
    assert bd_rate(bits, QUALITY, bits, QUALITY) == pytest.approx(0)


def test_exponential_curves_that_cross():
    """ln R = a q + c: the mean difference over [0.6, 0.9] is that at the middle of the range."""
    one = np.array([0.4, 0.6, 0.8, 0.9])
    two = np.array([0.6, 0.7, 0.95])
    found = bd_rate(np.exp(3 * one + 2), one, np.exp(4 * two + 1), two)
    assert found == pytest.approx(np.expm1((3 * 0.75 + 2) - (4 * 0.75 + 1)))


def test_points_that_are_no_better_for_more_bits_do_not_count():
    bits, quality = np.array([60, 90, 170, 330, 250]), np.array([0.5, 0.6, 0.75, 0.9, 0.74])
    assert bd_rate(bits, quality, bits[:4], QUALITY) == pytest.approx(0)


def test_no_common_range():
    with pytest.raises(ConfigError, match="common range"):
        bd_rate(np.array([1, 2]), np.array([0.1, 0.2]), np.array([1, 2]), np.array([0.3, 0.4]))
