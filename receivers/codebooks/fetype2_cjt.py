"""Port selection codebook for coherent joint transmission (Release 18): one precoder over ports of several stations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from receivers.codebooks.alignment import delay_turns
from receivers.codebooks.etype2_cjt_payload import CjtPayload
from receivers.codebooks.fetype2 import FurtherEnhancedTypeTwoCodebook
from receivers.codebooks.fetype2_payload import FurtherEnhancedPayload
from receivers.codebooks.pmi import Pmi
from receivers.codebooks.ports import PortGroups
from receivers.codebooks.trp_beams import TrpBeamGroups
from receivers.codebooks.trp_offsets import check_offsets, station_delays, station_turns
from simulator.core.errors import ConfigError
from simulator.core.types import Panel
from simulator.maths.transforms import subband_eigenvectors

_HALF, _MOST = 1 / 2, 3 / 4
# paramCombination-CJT-PS-alpha-r18: alpha of every station.
ALPHAS = {
    1: (_HALF,), 2: (_MOST,), 3: (1,),
    4: (_HALF, _HALF), 5: (_HALF, 1), 6: (1, _HALF), 7: (_MOST, _MOST), 8: (1, 1),
    9: (_HALF, _HALF, _HALF), 10: (_HALF, _HALF, _MOST), 11: (_HALF, _MOST, _HALF), 12: (_MOST, _HALF, _HALF),
    13: (_HALF, _HALF, 1), 14: (_HALF, 1, _HALF), 15: (1, _HALF, _HALF), 16: (1, 1, 1),
    17: (_HALF, _HALF, _HALF, _HALF), 18: (_HALF, _HALF, _HALF, 1), 19: (_HALF, _HALF, 1, 1), 20: (1, 1, 1, 1),
}  # fmt: skip
# paramCombination-CJT-PS-r18: M, beta.
SHARES = {1: (1, 1 / 2), 2: (1, 3 / 4), 3: (1, 1.0), 4: (2, 1 / 2), 5: (2, 3 / 4)}
# Values of paramCombination-CJT-PS-r18 that go with each of paramCombination-CJT-PS-alpha-r18.
PAIRS = {
    1: (4,), 2: (1, 4), 3: (1, 2, 3, 4, 5),
    4: (1, 4), 5: (1,), 6: (1,), 7: (2,), 8: (2, 4),
    9: (1, 4), 10: (1,), 11: (1,), 12: (1,), 13: (2, 4), 14: (2, 4), 15: (2, 4), 16: (2, 5),
    17: (1,), 18: (1,), 19: (2, 3, 4), 20: (3,),
}  # fmt: skip


@dataclass(frozen=True)
class CjtPortSelectionPayload(CjtPayload, FurtherEnhancedPayload):
    """Parts 1 and 2 of a PMI of :class:`CjtPortSelectionCodebook`.

    As in Release 17, with i_{1,2} of every station and i_{1,9} at the end of group 1; K_1 is the sum of all.

    Source: TS 38.214 (Rel. 18), 5.2.2.2.9 and 5.2.3.
    """


class CjtPortSelectionCodebook(FurtherEnhancedTypeTwoCodebook):
    r"""Precoder of layer l in subband t on the beamformed ports of station j, with a delay of the station.

    :class:`~receivers.codebooks.fetype2.FurtherEnhancedTypeTwoCodebook` on the ports of every station, times
    :math:`e^{j 2 \pi t \psi_j / N_3}`, :math:`\psi_1 = 0`, :math:`\psi_j = d_j / O_3`: K_1 of station j is
    :math:`\alpha_j P`, and taps, :math:`\gamma_t`, strongest coefficient, references and budget are common to all. Mode
    2: :math:`\psi_j = 0`. With one station it is the codebook of Release 17.

    The selection is that of Release 17, on ports of all stations; coefficients below half the least amplitude, as those
    of a weak station, are not sent. In mode 1 the offsets turn the strongest delays of all stations to the same tap.

    A PMI has ``group`` (0) and ``beams`` (i_{1,2}) of all stations and, in mode 1, ``offset`` (i_{1,9}).

    Args:
        panel: ports of 1 to 4 stations, each P of 4, 8, 12, 16, 24 or 32.
        num_samples: frequency samples of the channel.
        unit: samples of one PMI subband (subband size divided by R).
        rank: layers, 1..4.
        combination: paramCombination-CJT-PS-r18, 1..5: M and beta.
        alpha: paramCombination-CJT-PS-alpha-r18, 1..20: share of the ports of every station.
        mode: codebookMode, 1 or 2.
        oversampling_delay: O_3 of 1, 4: steps of an offset in a tap.
        max_rank: largest rank that may be reported (width of the field in part 1).
        window: N, 2 or 4 (of combinations 4, 5).
        two_units: R = 2 (of combinations 4, 5).
    Raises:
        ConfigError: for parameters that are not in the tables.
    Source: TS 38.214 (Rel. 18), 5.2.2.2.9; groups of part 2: TS 38.214, 5.2.3.
    """

    field = "feedback.fetype2-cjt-ps-r18"
    table = "TS 38.214, Tables 5.2.2.2.9-1 to -3"
    _groups: TrpBeamGroups  # type: ignore[assignment]

    def __init__(
        self,
        panel: Panel,
        num_samples: int,
        unit: int,
        rank: int,
        combination: int,
        alpha: int,
        mode: int = 1,
        oversampling_delay: int = 4,
        max_rank: int = 1,
        window: int = 2,
        two_units: bool = False,
    ):
        check_offsets(self.field, mode, oversampling_delay)
        self._alpha, self._offsets = alpha, mode == 1 and panel.num_trps > 1
        self._steps = -(-num_samples // unit) * oversampling_delay
        super().__init__(panel, num_samples, unit, rank, combination, max_rank, window, two_units)
        self._trp = np.repeat(np.arange(panel.num_trps), panel.of_trp.num_ports)  # of every port

    def _parameters(self, panel: Panel, combination: int, most: int) -> tuple[int, tuple[float, ...], float]:
        field, ports = f"{self.field}.alpha", panel.of_trp.num_ports
        sets = [number for number, alphas in ALPHAS.items() if len(alphas) == panel.num_trps]
        if self._alpha not in sets:
            allowed = f"{sets[0]}..{sets[-1]} with {panel.num_trps} station(s) ({self.table})"
            raise ConfigError(field, self._alpha, allowed)
        if combination not in PAIRS[self._alpha]:
            allowed = f"{', '.join(map(str, PAIRS[self._alpha]))} with alpha {self._alpha} ({self.table})"
            raise ConfigError(f"{self.field}.combination", combination, allowed)
        alphas, (taps, beta) = ALPHAS[self._alpha], SHARES[combination]
        for refused, where in (
            (_MOST in alphas and ports in (4, 12), "none of 3/4 with 4 or 12 ports"),
            (set(alphas) == {1} and taps == 2 and ports == 32, "not all 1 with 32 ports and combinations 4, 5"),
            (_HALF in alphas and ports == 4 and most > 2, "none of 1/2 with 4 ports beyond rank 2"),
        ):
            if refused:
                got = f"{self._alpha} with {ports} ports, combination {combination}, rank {most}"
                raise ConfigError(field, got, f"shares of {self.table}: {where}")
        return taps, alphas, beta

    def _basis(self, ports: PortGroups, lengths: tuple[int, ...]) -> TrpBeamGroups:
        return TrpBeamGroups(ports, lengths)

    def _payload(self, sizes: tuple[Any, ...], lengths: tuple[int, ...]) -> CjtPortSelectionPayload:
        offsets = self._steps if self._offsets else 1
        return CjtPortSelectionPayload(*sizes, trp_beams=lengths, num_offsets=offsets)

    @property
    def polarisation(self) -> np.ndarray:
        """0 or 1, of every row."""
        return self._groups.polarisation

    def _select(self, h: np.ndarray) -> Pmi:
        directions = np.swapaxes(subband_eigenvectors(h, self.unit, self.rank), 2, 3)
        pmi: Pmi = {"group": np.zeros((len(h), len(self._groups.lengths)), np.int64)}
        if self._offsets:
            pmi["offset"] = station_delays(directions, self._trp, self._steps)
            directions = directions * station_turns(pmi["offset"], self._trp, self._steps, self.num_units).conj()
        return {**self._fit(directions), **pmi}

    def _rows(self, beams: np.ndarray) -> np.ndarray:
        stations, half = np.split(beams, np.cumsum(self._groups.lengths)[:-1], axis=1), self.payload.group_size
        return np.concatenate([2 * half * j + pol + own for j, own in enumerate(stations) for pol in (0, half)], axis=1)

    def _largest(self, x: np.ndarray) -> np.ndarray:
        """Without those that are too small: stations may be weak."""
        x = super()._largest(x)
        return x if len(self._groups.lengths) == 1 else self._representable(x)

    def precoder(self, pmi: Pmi) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, unit]``."""
        weights = self._coefficients(pmi) @ delay_turns(self.num_units)[pmi["taps"]]
        if self._offsets:
            weights = weights * station_turns(pmi["offset"], self._groups.trp, self._steps, self.num_units)
        return self._groups.combine(pmi["group"], pmi["beams"], weights)
