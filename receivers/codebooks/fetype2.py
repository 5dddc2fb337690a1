"""Further enhanced Type II port selection codebook of Release 17: freely chosen ports, one or two taps."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from receivers.codebooks.alignment import delay_turns, starts, with_phases_of
from receivers.codebooks.coefficients import CoefficientCodebook
from receivers.codebooks.fetype2_payload import FurtherEnhancedPayload
from receivers.codebooks.pmi import Pmi, check_ports
from receivers.codebooks.ports import PortGroups
from simulator.core.errors import ConfigError
from simulator.core.types import Panel
from simulator.maths.transforms import subband_eigenvectors

# paramCombination-r17: M, alpha, beta (Table 5.2.2.2.7-1).
COMBINATIONS = {
    1: (1, 3 / 4, 1 / 2),
    2: (1, 1, 1 / 2),
    3: (1, 1, 3 / 4),
    4: (1, 1, 1),
    5: (2, 1 / 2, 1 / 2),
    6: (2, 3 / 4, 1 / 2),
    7: (2, 1, 1 / 2),
    8: (2, 1, 3 / 4),
}
_FREE_STEPS, _POWER_STEPS, _STEPS, _QUANTIZED_STEPS = 8, 4, 8, 3


class FurtherEnhancedTypeTwoCodebook(CoefficientCodebook):
    r"""Precoder of layer l in subband t on P beamformed ports: chosen ports, taps and coefficients.

    .. math:: w_t = \frac{1}{\sqrt{\gamma_t}} \begin{bmatrix} \sum_{i<L} v_{m_i} \, p^{(1)}_0 \sum_f y_t^{(f)}
        p^{(2)}_{i,f} \varphi_{i,f} \\ \sum_{i<L} v_{m_i} \, p^{(1)}_1 \sum_f y_t^{(f)} p^{(2)}_{i+L,f}
        \varphi_{i+L,f} \end{bmatrix}, \quad y_t^{(f)} = e^{j 2 \pi t n_3^{(f)} / N_3}

    :math:`v_m` is 1 on port m of a polarisation, :math:`L = K_1 / 2 = \alpha P / 2`, :math:`n_3^{(0)} = 0`, and
    :math:`n_3^{(1)}` (M = 2) one of 1 .. N - 1. The gNB has sent every port into one direction with one delay taken
    off, so that few taps are left.

    The standard leaves the selection to the UE. Here: from four starting delays, alternately the second tap of most
    energy for given phases of the subbands, and the phases that fit the coefficients best (first with the gains of the
    fit as weights, a power iteration); the ports of most energy, of the start with most of it; then the coefficients of
    the budget and the phases, the last steps with quantised ones.

    A PMI has ``beams`` (i_{1,2}: the ports), ``taps`` (i_{1,6}), ``bitmap`` (i_{1,7}), ``strongest`` (i_{1,8}),
    ``reference`` (i_{2,3}), ``amplitude`` (i_{2,4}), ``phase`` (i_{2,5}); ``group`` and ``window`` are 0.

    Args:
        panel: its number of ports is P: 4, 8, 12, 16, 24 or 32, half of them in either polarisation.
        num_samples: frequency samples of the channel.
        unit: samples of one PMI subband (subband size divided by R).
        rank: layers, 1..4.
        combination: paramCombination-r17, 1..8.
        max_rank: largest rank that may be reported (width of the field in part 1).
        window: N, 2 or 4 (of combinations 5..8).
        two_units: R = 2 (of combinations 5..8).
    Raises:
        ConfigError: for parameters that are not in the tables.
    Source: TS 38.214 (Rel. 17), 5.2.2.2.7; groups of part 2: TS 38.214, 5.2.3.
    """

    field: ClassVar[str] = "feedback.fetype2-ps-r17"
    table: ClassVar[str] = "TS 38.214, Table 5.2.2.2.7-1"
    payload: FurtherEnhancedPayload

    def __init__(
        self,
        panel: Panel,
        num_samples: int,
        unit: int,
        rank: int,
        combination: int,
        max_rank: int = 1,
        window: int = 2,
        two_units: bool = False,
    ):
        check_ports(panel.of_trp, self.field)
        if not 1 <= rank <= 4:
            raise ConfigError(f"{self.field}.rank", rank, "1..4")
        ports = panel.of_trp.num_ports
        self.num_taps, alphas, beta = self._parameters(panel, combination, max(rank, max_rank))
        self.num_units = -(-num_samples // unit)
        if window not in (2, 4):
            raise ConfigError(f"{self.field}.window", window, "2, 4 (valueOfN)")
        span = window if self.num_taps > 1 else 1
        if span > self.num_units:
            raise ConfigError(f"{self.field}.window", window, f"at most the {self.num_units} PMI subbands")
        if two_units and self.num_taps == 1:
            raise ConfigError(f"{self.field}.r", 2, f"1 with combinations of one tap ({self.table})")
        self.rank, self.unit, self.fine = rank, unit, two_units
        lengths = tuple(int(alpha * ports) // 2 for alpha in alphas)
        self.num_beams = sum(lengths)
        self.budget = math.ceil(beta * 2 * self.num_beams * self.num_taps)
        self.strongest_taps = self.num_taps
        self._groups = self._basis(PortGroups(ports, ports // 2, ports // 2), lengths)
        sizes = rank, max_rank, 1, ports // 2, self.num_beams, self.num_units, self.num_taps, False, self.budget, span
        self.payload = self._payload(sizes, lengths)
        self.part1_bits, self.part2_bits = self.payload.part1_bits, self.payload.longest

    def _parameters(self, panel: Panel, combination: int, most: int) -> tuple[int, tuple[float, ...], float]:
        """M, alpha of every station, beta; ConfigError where the tables do not have them with P ports and this rank."""
        field, ports, table = f"{self.field}.combination", panel.num_ports, f"of {self.table}"
        if combination not in COMBINATIONS:
            raise ConfigError(field, combination, "1..8")
        for refused, where in (
            (combination in (1, 6) and ports in (4, 12), "1 and 6 not with 4 or 12 ports"),
            (combination in (7, 8) and ports == 32, "7 and 8 not with 32 ports"),
            (combination == 5 and ports == 4 and most > 2, "5 with 4 ports only up to rank 2"),
        ):
            if refused:
                got = f"{combination} with {ports} ports, rank {most}"
                raise ConfigError(field, got, f"a paramCombination-r17 {table}: {where}")
        taps, alpha, beta = COMBINATIONS[combination]
        return taps, (alpha,), beta

    def _basis(self, ports: PortGroups, lengths: tuple[int, ...]) -> Any:
        """Ports from which some are chosen."""
        return ports

    def _payload(self, sizes: tuple[Any, ...], lengths: tuple[int, ...]) -> FurtherEnhancedPayload:
        """Fields of a PMI."""
        return FurtherEnhancedPayload(*sizes)

    def _select(self, h: np.ndarray) -> Pmi:
        return self._fit(np.swapaxes(subband_eigenvectors(h, self.unit, self.rank), 2, 3))

    def _fit(self, directions: np.ndarray) -> Pmi:
        """Indices for directions complex64 ``[report, layer, port, unit]``."""
        tried = [self._aligned(start) for start in starts(directions)]
        best = np.argmax([energy for *_, energy in tried], axis=0)
        c, beams, taps = (
            np.choose(best.reshape(-1, *[1] * (parts[0].ndim - 1)), parts)
            for parts in list(zip(*tried, strict=True))[:3]
        )
        c = np.take_along_axis(c, self._rows(beams)[:, None, :, None], axis=2)
        taps = np.repeat(taps[:, None], self.rank, axis=1)
        turns = delay_turns(self.num_units)[taps]  # [report, layer, tap, unit]
        pmi: Pmi = {}
        for step in range(_STEPS):
            x = self._largest(c @ (np.conj(np.swapaxes(turns, 2, 3)) / self.num_units))
            if step >= _STEPS - _QUANTIZED_STEPS:
                pmi = self._quantize(x)
                x = self._coefficients(pmi)
            c = with_phases_of(c, x @ turns)
        none = np.zeros(len(c), np.int64)
        return {"group": none, "beams": beams, "window": none, "taps": taps, **pmi}

    def _rows(self, beams: np.ndarray) -> np.ndarray:
        """Ports of the rows of coefficients, ``[report, row]``."""
        return np.concatenate([beams, beams + self.payload.group_size], axis=1)

    def _aligned(self, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Directions ``[report, layer, port, unit]`` with the phases under which few taps hold most energy.

        Also ports ``[report, L]``, taps ``[report, M]`` and the energy in both ``[report]``.
        """
        turns = delay_turns(self.num_units)[: self.payload.span]
        taps = np.zeros((len(c), self.num_taps), np.int64)
        weight = np.ones((*c.shape[:2], 1, self.num_units), np.complex64)
        for step in range(_FREE_STEPS):
            x = (c * weight) @ (turns.conj().T / self.num_units)  # [report, layer, port, tap of the window]
            if self.num_taps > 1:
                power = np.square(x.real) + np.square(x.imag)
                taps[:, 1] = 1 + power[..., 1:].sum(axis=(1, 2)).argmax(axis=1)
                x = np.take_along_axis(x, taps[:, None, None], axis=3)
            if step < _FREE_STEPS - 1:
                weight = np.sum(np.conj(c) * (x @ turns[taps][:, None]), axis=2, keepdims=True)
                if step >= _POWER_STEPS:
                    weight = np.exp(1j * np.angle(weight))
        c = c * weight
        _, beams, chosen = self._groups.select(np.moveaxis(x, 2, 3), self.num_beams)
        return c, beams, taps, np.sum(np.square(chosen.real) + np.square(chosen.imag), axis=(1, 2, 3))
