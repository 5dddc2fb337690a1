"""Sionna's global seed: the only place that writes it."""

from __future__ import annotations

from sionna.phy import config


def set_seed(seed: int) -> None:
    """Seed Sionna's TensorFlow, NumPy and Python generators.

    Sionna replaces its NumPy generator on this call, so no reference to ``config.np_rng`` may be kept.
    """
    config.seed = int(seed)
