"""The UE knows its channel exactly."""

from __future__ import annotations

import numpy as np

from simulator.core.interfaces import Estimator
from simulator.core.types import CsiEstimate, RadioGeometry


class PerfectEstimator(Estimator):
    """``h_hat = h``.

    Args:
        geometry: not used.
    """

    def __init__(self, geometry: RadioGeometry | None = None):
        pass

    def estimate(self, h: np.ndarray, *, seed: int) -> CsiEstimate:
        """The channel itself, error variance 0."""
        return CsiEstimate(h, np.zeros((*h.shape[:2], h.shape[4]), np.float32))
