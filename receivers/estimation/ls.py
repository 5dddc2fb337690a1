"""Least squares at the pilots of the CSI-RS, and interpolation."""

from __future__ import annotations

from typing import Any, Literal

from receivers.estimation.csi_rs import CsiRsEstimator
from simulator.core.params import validated
from simulator.core.types import RadioGeometry


class LeastSquaresEstimator(CsiRsEstimator):
    r"""Least squares: :math:`\hat h_p = \sum_{k, l} s_p^* y / \sum_{k, l} |s_p|^2` per CDM group, then interpolation.

    Args:
        geometry: of the scenario.
        interpolation: over frequency "nearest" or "linear"; "2d" is linear over frequency and, between two CSI-RS,
            continues the line through the last two of them over slots.
        csi_rs: ``snr_db``, ``inr_db``, ``period_slots``, ``density``, ``row`` of
            :class:`~receivers.estimation.csi_rs.CsiRsEstimator`.
    """

    @validated("estimation")
    def __init__(
        self, geometry: RadioGeometry, *, interpolation: Literal["nearest", "linear", "2d"] = "linear", **csi_rs: Any
    ):
        self._between_pilots = "nearest" if interpolation == "nearest" else "linear"
        super().__init__(geometry, **csi_rs)
        self._extrapolates = interpolation == "2d"
