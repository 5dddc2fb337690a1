"""The frame of a beam-delay report: subband directions to sparse beam-delay coefficients around an origin, and back."""

from __future__ import annotations

import numpy as np

from receivers.codebooks.alignment import delay_turns, sparse_phases, with_phases_of
from receivers.codebooks.beam_delay import BeamDelayReport
from receivers.codebooks.beams import BeamGroups
from simulator.core.types import Panel

_ZEROED = 0.65  # steps below which a coefficient is hardly ever sent
_GROUPS = 3  # that are tried
_REPORTS = 64  # at a time, whose coefficients in all groups a cache holds
_MANY = 4  # elements along an axis from which its beams may be rotated
_KEPT = 0.85  # coefficients above this many steps decide on the phases
_ROUNDS, _FIRST_ROUNDS = 8, 3  # of the phases: all, and those before the best start is chosen


class Frame:
    r"""Coefficients of unit-norm directions in DFT beams and delay taps, relative to the strongest one.

    .. math:: X = \tfrac{1}{\sqrt{N_3}} B^H_{q} [v_1 e^{j\varphi_1}, \ldots, v_{N_3} e^{j\varphi_{N_3}}] F^*

    :math:`B_q` holds the orthogonal beams of group q in every polarisation, F is the unitary DFT of size :math:`N_3`.
    The phases :math:`\varphi_t` and a cyclic shift of the taps change no precoding gain: they are chosen so that few
    coefficients hold much energy. The origin is the strongest coefficient: it is real and positive, at tap 0, and the
    cells are counted from its polarisation and beam, all axes cyclic. The energy of a layer is 1.

    Args:
        panel: gNB panel of any size, one or two polarisations.
        num_subbands: N_3.
    """

    def __init__(self, panel: Panel, num_subbands: int):
        self.panel, self.num_taps = panel, num_subbands
        o1, o2 = (4 if n >= _MANY else 1 for n in (panel.n1, panel.n2))
        self._groups = BeamGroups(panel, o1, o2)
        self.num_groups, self.num_rows = o1 * o2, panel.num_ports
        self.shape = panel.num_pol, panel.n2, panel.n1, num_subbands
        self._turns = delay_turns(num_subbands) * np.float32(num_subbands**-0.5)  # [tap, subband]
        self._axes = [np.arange(n) for n in self.shape]

    def beams(self, v: np.ndarray, step: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        r"""The most promising groups, and the coefficients of every subband in their beams.

        Groups are ordered by :math:`\sum_i \ln(1 + P_i / \Delta^2)` over the energies of their rows, the least first.

        Args:
            v: unit-norm directions complex64 ``[report, layer, subband, port]``.
            step: of the quantiser, ``[report]``.

        Returns:
            three pairs, or one where there is one group: group ``[report]``, and complex64
            ``[report, layer, row, subband]`` of energy 1, rows by polarisation, n2, n1.
        """
        parts = [self._beams(v[i : i + _REPORTS], step[i : i + _REPORTS]) for i in range(0, max(len(v), 1), _REPORTS)]
        return [tuple(map(np.concatenate, zip(*groups, strict=True))) for groups in zip(*parts, strict=True)]

    def _beams(self, v: np.ndarray, step: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        reports, layers, subbands, ports = v.shape
        pol, beams = self.panel.num_pol, self._groups.num_beams
        x = v.reshape(reports, layers * subbands * pol, ports // pol)
        c = x @ self._groups.vectors.reshape(-1, ports // pol).conj().T  # [report, layer * subband * pol, group * beam]
        c = c.reshape(reports, layers, subbands, pol, self.num_groups, beams) * np.float32(subbands**-0.5)
        power = np.sum(np.square(c.real) + np.square(c.imag), axis=2)  # [report, layer, pol, group, beam]
        order = np.sum(np.log1p(power / np.square(step)[:, None, None, None, None]), axis=(1, 2, 4)).argsort(axis=1)
        found = []
        for group in order.T[:_GROUPS]:
            chosen = np.moveaxis(c[np.arange(reports), :, :, :, group], 2, 4)
            found.append((group, chosen.reshape(reports, layers, ports, subbands)))
        return found

    def sparsest(self, v: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r"""Group ``[report]`` and aligned beams complex64 ``[report, layer, row, subband]`` of least cost.

        The cost is :math:`\sum \ln(1 + |x|^2 / \Delta^2)` over all coefficients of a report.

        Args:
            v: unit-norm directions complex64 ``[report, layer, subband, port]``.
            step: of the quantiser, ``[report]``.
        """
        found = []
        for group, c in self.beams(v, step):
            flat = self.align(c.reshape(-1, *c.shape[2:]), np.repeat(step, c.shape[1]))
            x = self.taps(flat).reshape(len(v), -1)
            cost = np.sum(np.log1p((np.square(x.real) + np.square(x.imag)) / np.square(step)[:, None]), axis=1)
            found.append((cost, group, flat.reshape(c.shape)))
        costs, groups, beams = (np.stack(parts) for parts in zip(*found, strict=True))
        best = costs.argmin(axis=0), np.arange(len(v))
        return groups[best], beams[best]

    def align(self, c: np.ndarray, step: np.ndarray, more: int = 0) -> np.ndarray:
        """``c`` with phases that make it sparse at a step.

        Args:
            c: complex64 ``[item, row, subband]``.
            step: ``[item]``.
            more: rounds than usual.
        """
        return c * sparse_phases(c, np.square(_KEPT * step), _ROUNDS + more, _FIRST_ROUNDS)[:, None]

    def taps(self, c: np.ndarray) -> np.ndarray:
        """Unitary DFT over subbands, complex64 ``[item, row, tap]``."""
        return c @ self._turns.conj()

    def to_origin(self, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row of the strongest coefficient ``[item]`` and the cells complex64 ``[item, cell]`` counted from it.

        Args:
            c: complex64 ``[item, row, subband]``.
        """
        x = self.taps(c)
        power = (np.square(x.real) + np.square(x.imag)).reshape(len(x), -1)
        row, tap = np.divmod(power.argmax(axis=1), self.num_taps)
        x = self._rolled(x, row, tap)
        top = x[:, :1]
        return row, x * (top.conj() / np.maximum(np.abs(top), 1e-30))

    def _rolled(self, x: np.ndarray, row: np.ndarray, tap: np.ndarray, sign: int = 1) -> np.ndarray:
        """``x [item, row, tap]`` with cell (row, tap) moved to the first, or back; ``[item, cell]``."""
        shift = [*np.unravel_index(row, self.shape[:3]), tap]
        index = np.zeros((len(x), 1, 1, 1, 1), np.int64)
        for axis, (size, places) in enumerate(zip(self.shape, self._axes, strict=True)):
            place = (places + sign * shift[axis][:, None]) % size
            index = index * size + place.reshape(len(x), *(size if a == axis else 1 for a in range(4)))
        return np.take_along_axis(x.reshape(len(x), -1), index.reshape(len(x), -1), axis=1)

    def report(self, group: np.ndarray, row: np.ndarray, cells: np.ndarray, step: np.ndarray) -> BeamDelayReport:
        """Coefficients on all beams of the groups and all taps.

        Args:
            group: ``[report]``.
            row: of the origins, ``[report, layer]``.
            cells: complex64 ``[report, layer, cell]``.
            step: size of the steps, ``[report]``.
        """
        reports, layers, _ = cells.shape
        x = self.on_grid(row.ravel(), cells.reshape(reports * layers, -1))
        x = x.reshape(reports, layers, *x.shape[1:])
        threshold = np.repeat(_ZEROED * step[:, None], layers, axis=1)
        return BeamDelayReport(group, x, np.ones(x.shape, bool), threshold, logarithmic=False)

    def from_origin(self, row: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Coefficients complex64 ``[item, row, subband]`` of cells ``[item, cell]``."""
        return self.on_grid(row, cells) @ self._turns

    def on_grid(self, row: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Coefficients complex64 ``[item, row, tap]`` of cells ``[item, cell]``."""
        x = self._rolled(cells, row, np.zeros(len(row), np.int64), -1)
        return x.reshape(len(x), self.num_rows, self.num_taps)

    def off_grid(self, row: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`on_grid`."""
        return self._rolled(x, row, np.zeros(len(row), np.int64))

    def project(self, group: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Beam coefficients complex64 ``[report, layer, row, subband]`` of directions in a group."""
        return self._groups.project(group, v)

    def refit(self, c: np.ndarray, row: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """``c`` with the phases that fit quantised cells, as cells complex64 ``[item, cell]`` counted from ``row``."""
        turned = with_phases_of(c, self.from_origin(row, cells)).astype(np.complex64)
        return self._rolled(self.taps(turned), row, np.zeros(len(row), np.int64))

    def directions(self, group: np.ndarray, row: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, subband]``.

        Args:
            group: ``[report]``.
            row: of the origins, ``[report, layer]``.
            cells: complex64 ``[report, layer, cell]``; a subband in which all cancel has the beam of the origin.
        """
        reports, layers, _ = cells.shape
        c = self.from_origin(row.ravel(), cells.reshape(reports * layers, -1))
        norm = np.linalg.norm(c, axis=1, keepdims=True)
        alone = np.arange(self.num_rows)[:, None] == row.reshape(-1, 1, 1)
        c = np.where(norm < 1e-6, alone, c / np.maximum(norm, 1e-6))
        c = c.reshape(reports, layers, self.panel.num_pol, -1, self.num_taps)
        w = np.einsum("nbe,nlpbt->npelt", self._groups.vectors[group], c, optimize=True)
        return w.reshape(reports, -1, layers, self.num_taps).astype(np.complex64)
