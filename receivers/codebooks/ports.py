"""Ports of beamformed CSI-RS, from which the port selection codebooks pick L (both polarisations the same)."""

from __future__ import annotations

import numpy as np

from receivers.codebooks.beams import strongest_group, unit_columns


class PortGroups:
    """Groups of neighbouring ports of one polarisation; group g begins at port ``g * step``, the last ones wrap around.

    With ``size`` L the group is the choice (Releases 15 and 16: i_{1,1} and d); with one group of all P/2 ports any L
    of them are (Release 17: i_{1,2}).

    Args:
        num_ports: P, two polarisations of P/2.
        step: ports from one group to the next.
        size: ports of a group.

    Source: TS 38.214, 5.2.2.2.4, 5.2.2.2.6, 5.2.2.2.7.
    """

    def __init__(self, num_ports: int, step: int, size: int):
        self._half, self.num_beams = num_ports // 2, size
        self.num_groups = -(-self._half // step)
        # [group, port of the group]
        self.members = (step * np.arange(self.num_groups)[:, None] + np.arange(size)) % self._half

    def select(self, v: np.ndarray, num_beams: int, limits: None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Group and ports of it with the largest energy.

        Args:
            v: directions complex64 ``[report, layer, subband, port]``.
            num_beams: L.
            limits: none, ports have no restriction.

        Returns:
            group ``[report]``, places in the group ``[report, L]`` in increasing order, coefficients complex64
            ``[report, layer, 2 L, subband]`` of v on these ports, first polarisation first.
        """
        energy = np.sum(np.square(v.real) + np.square(v.imag), axis=(1, 2)).reshape(len(v), 2, -1).sum(axis=1)
        group, places = strongest_group(energy[:, self.members], num_beams)
        chosen = self._ports(group, places)[:, None, None]
        return group, places, np.swapaxes(np.take_along_axis(v, chosen, axis=3), 2, 3)

    def combine(self, group: np.ndarray, beams: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Unit-norm weights of all ports, complex64 ``[report, port, layer, subband]``.

        Args:
            group: ``[report]``.
            beams: places in the group ``[report, L]``.
            weights: complex ``[report, layer, 2 L, subband]``, see :func:`receivers.codebooks.beams.unit_columns`.
        """
        return self.sums(group, beams, unit_columns(weights))

    def sums(self, group: np.ndarray, beams: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The same of weights as they are."""
        num_reports, layers, _, subbands = weights.shape
        w = np.zeros((num_reports, 2 * self._half, layers, subbands), np.complex64)
        rows = np.arange(num_reports)[:, None]
        w[rows, self._ports(group, beams)] = np.swapaxes(weights, 1, 2)
        return w

    def _ports(self, group: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Ports of both polarisations, ``[report, 2 L]``."""
        ports = self.members[group[:, None], places]
        return np.concatenate([ports, ports + self._half], axis=1)
