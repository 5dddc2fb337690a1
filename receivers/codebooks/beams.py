"""Groups of orthogonal DFT beams, from which the Type II codebooks pick L (both polarisations the same)."""

from __future__ import annotations

import numpy as np

from receivers.codebooks.dft import dft_beams_2d
from simulator.core.types import Panel


class BeamGroups:
    r"""The O1 O2 groups of N1 N2 orthogonal beams :math:`v_{m_1,m_2}`, :math:`m_i = O_i n_i + q_i`.

    Beams of a group are numbered :math:`n = N_1 n_2 + n_1`, groups :math:`q = O_2 q_1 + q_2`.

    Source: TS 38.214, 5.2.2.2.3.
    """

    def __init__(self, panel: Panel, o1: int, o2: int):
        self.num_beams, self.num_groups = panel.n1 * panel.n2, o1 * o2
        beams = dft_beams_2d(panel.n1, panel.n2, o1, o2).reshape(panel.n1, o1, panel.n2, o2, -1)
        # [group, beam, element]
        self.vectors = np.ascontiguousarray(beams.transpose(1, 3, 2, 0, 4)).reshape(self.num_groups, self.num_beams, -1)

    def select(
        self, v: np.ndarray, num_beams: int, limits: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Group and beams with the largest energy.

        Args:
            v: directions complex64 ``[report, layer, subband, port]``.
            num_beams: L.
            limits: largest amplitudes ``[group, beam]`` relative to the strongest beam whose limit is 1: what a beam
                has above counts nothing, nor does a group without such a beam; None: all are 1.

        Returns:
            group ``[report]``, beams ``[report, L]`` in increasing order, coefficients complex64
            ``[report, layer, 2 L, subband]`` of v in these beams, first polarisation first.
        """
        num_reports, layers, subbands, ports = v.shape
        x = v.reshape(num_reports, layers * subbands * 2, ports // 2)
        c = x @ self.vectors.reshape(-1, ports // 2).conj().T  # [report, layer * subband * pol, group * beam]
        power = np.sum(np.square(c.real) + np.square(c.imag), axis=1).reshape(num_reports, self.num_groups, -1)
        if limits is not None:
            power = self._usable(power, limits)
        group, beams = strongest_group(power, num_beams)
        chosen = (group[:, None] * self.num_beams + beams)[:, None]
        c = np.take_along_axis(c, chosen, axis=2).reshape(num_reports, layers, subbands, 2 * num_beams)
        return group, beams, np.swapaxes(c, 2, 3)

    def _usable(self, power: np.ndarray, limits: np.ndarray) -> np.ndarray:
        """Energy ``[report, group, beam]`` within the limits; -1 for beams, and groups, that cannot be used."""
        most = np.where(limits == 1, power, 0).max(axis=2, keepdims=True)
        power = np.minimum(power, most * np.square(limits).astype(power.dtype))
        power = np.where(limits == 1, power + power.dtype.type(1e-20), power)  # a full one first where all are 0
        usable = (limits > 0) & (limits == 1).any(axis=1, keepdims=True)
        return np.where(usable, power, power.dtype.type(-1))

    def project(self, group: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Coefficients complex64 ``[report, layer, row, subband]`` of directions in all beams of a group.

        Args:
            group: ``[report]``.
            v: complex64 ``[report, layer, subband, port]``.

        Returns:
            rows are (polarisation, beam).
        """
        num_reports, layers, subbands, ports = v.shape
        c = v.reshape(num_reports, -1, self.vectors.shape[2]) @ np.swapaxes(self.vectors[group].conj(), 1, 2)
        return np.swapaxes(c.reshape(num_reports, layers, subbands, ports), 2, 3)

    def combine(self, group: np.ndarray, beams: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Unit-norm sums of beams, complex64 ``[report, port, layer, subband]``.

        Args:
            group: ``[report]``.
            beams: ``[report, L]``.
            weights: complex ``[report, layer, 2 L, subband]``, see :func:`unit_columns`.
        """
        return self.sums(group, beams, unit_columns(weights))

    def sums(self, group: np.ndarray, beams: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The same of weights as they are."""
        num_reports, layers, both, subbands = weights.shape
        weights = weights.reshape(num_reports, layers, 2, both // 2, subbands)
        vectors = self.vectors[group[:, None], beams]  # [report, L, element]
        w = np.einsum("nbe,nlpbt->npelt", vectors, weights, optimize=True)
        return w.reshape(num_reports, -1, layers, subbands).astype(np.complex64)


def strongest_group(power: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Group ``[report]`` whose ``count`` strongest members have most power, and those members in increasing order.

    Args:
        power: ``[report, group, member]``; less than 0: only where there are not enough others.
        count: members.
    """
    group = np.sort(np.maximum(power, 0), axis=2)[:, :, -count:].sum(axis=2).argmax(axis=1)
    power = np.take_along_axis(power, group[:, None, None], axis=1)[:, 0]
    return group, np.sort(np.argsort(-power, axis=1, kind="stable")[:, :count], axis=1)


def unit_columns(weights: np.ndarray) -> np.ndarray:
    """Weights ``[report, layer, row, subband]`` of unit norm over the rows.

    Where all are zero, the largest weight of the layer's first subband that has one stands alone.
    """
    norm = np.sqrt(np.sum(np.abs(weights) ** 2, axis=2, keepdims=True))
    alone = norm < 1e-6
    if alone.any():
        strongest = np.abs(weights).max(axis=3).argmax(axis=2)[:, :, None, None]
        unit = np.arange(weights.shape[2])[:, None] == strongest
        weights, norm = np.where(alone, unit, weights), np.where(alone, 1, norm)
    unit_norm: np.ndarray = weights / norm
    return unit_norm
