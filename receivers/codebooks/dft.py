"""Oversampled 2-D DFT beams."""

from __future__ import annotations

import numpy as np


def dft_beams(n: int, oversampling: int) -> np.ndarray:
    r"""Unit-norm beams :math:`u_m = [1, e^{j 2\pi m / (O N)}, \ldots]^T / \sqrt N`, complex64 ``[beam, n]``.

    Source: 3GPP TS 38.214, 5.2.2.2.1 (``u_m`` and the first factor of ``v_{l,m}``).
    """
    beams = np.exp(2j * np.pi * np.outer(np.arange(oversampling * n), np.arange(n)) / (oversampling * n))
    return (beams / np.sqrt(n)).astype(np.complex64)


def dft_beams_2d(n1: int, n2: int, o1: int, o2: int) -> np.ndarray:
    """Unit-norm panel beams of one polarisation, complex64 ``[beam, n1 * n2]``, beam ``l * o2 * n2 + m``."""
    return np.kron(dft_beams(n1, o1), dft_beams(n2, o2))
