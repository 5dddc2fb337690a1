"""Beams, or ports, of several stations: every station has its own."""

from __future__ import annotations

import numpy as np

from receivers.codebooks.beams import BeamGroups, unit_columns
from receivers.codebooks.ports import PortGroups


class TrpBeamGroups:
    r"""Groups of beams, or of ports of beamformed CSI-RS, on each of N stations with equal panels.

    Rows of coefficients are station after station, of each the first polarisation first: those of station j, of
    2 L_j, begin at :math:`2 \sum_{k<j} L_k`.

    Args:
        groups: beams, or ports, of one panel.
        lengths: L_1, ..., L_N.

    Source: TS 38.214 (Rel. 18), 5.2.2.2.8, 5.2.2.2.9.
    """

    def __init__(self, groups: BeamGroups | PortGroups, lengths: tuple[int, ...]):
        self._one, self.lengths = groups, lengths
        self.num_beams, self.num_groups = groups.num_beams, groups.num_groups
        self.trp = np.repeat(np.arange(len(lengths)), 2 * np.array(lengths))  # of every row
        self.polarisation = np.concatenate([np.repeat([0, 1], length) for length in lengths])  # of every row

    def select(
        self, v: np.ndarray, num_beams: int, limits: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Groups and beams with the largest energy, station by station.

        Args:
            v: directions complex64 ``[report, layer, subband, port]``.
            num_beams: sum of all L_j.
            limits: as of one station.

        Returns:
            groups ``[report, trp]``, beams ``[report, num_beams]``, increasing for every station, coefficients
            complex64 ``[report, layer, 2 num_beams, subband]`` of v in these beams.
        """
        stations = np.split(v, len(self.lengths), axis=3)
        found = [self._one.select(part, count, limits) for part, count in zip(stations, self.lengths, strict=True)]
        group, beams, c = zip(*found, strict=True)
        return np.stack(group, axis=1), np.concatenate(beams, axis=1), np.concatenate(c, axis=2)

    def combine(self, group: np.ndarray, beams: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Unit-norm sums of beams over all stations, complex64 ``[report, port, layer, subband]``.

        Args:
            group: ``[report, trp]``.
            beams: ``[report, num_beams]``.
            weights: complex ``[report, layer, 2 num_beams, subband]``.
        """
        ends = np.cumsum(self.lengths)[:-1]
        parts = np.split(unit_columns(weights), 2 * ends, axis=2)
        each = zip(group.T, np.split(beams, ends, axis=1), parts, strict=True)
        return np.concatenate([self._one.sums(*one) for one in each], axis=1)
