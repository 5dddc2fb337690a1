"""What reports say of every layer, as coefficients of beams and delays: common ground of all schemes of that domain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class BeamDelayReport:
    r"""Decoded coefficients of reports, before anything is guessed that was not sent.

    Unit :math:`t` of a layer has the direction :math:`w_t \propto \sum_r b_r \sum_n x_{r,n} e^{j 2 \pi t n / N_3}` with
    the beams :math:`b_r` of a group of orthogonal DFT beams, one set for each polarisation.

    Args:
        group: int ``[report]``, rotation group of the beams.
        x: complex64 ``[report, layer, row, tap]``, any scale and phase; row is (polarisation, n2, n1) with n1 fastest.
        sent: bool, same shape: places that the report could describe.
        threshold: float ``[report, layer]``, magnitude in the scale of ``x`` below which a coefficient of these places
            is not sent.
        logarithmic: magnitudes are quantised on a logarithmic scale, else on a uniform one.

    Source: TS 38.214 (Rel. 16), 5.2.2.2.5 (domain).
    """

    group: np.ndarray
    x: np.ndarray
    sent: np.ndarray
    threshold: np.ndarray
    logarithmic: bool
