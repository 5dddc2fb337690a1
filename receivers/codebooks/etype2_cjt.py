"""Enhanced Type II codebook for coherent joint transmission (Release 18): one precoder over several stations."""

from __future__ import annotations

from typing import Any

import numpy as np

from receivers.codebooks.alignment import starts
from receivers.codebooks.beams import BeamGroups
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.codebooks.etype2_cjt_payload import CjtPayload
from receivers.codebooks.pmi import Pmi, oversampling
from receivers.codebooks.trp_beams import TrpBeamGroups
from receivers.codebooks.trp_offsets import check_offsets, station_delays, station_turns
from simulator.core.errors import ConfigError
from simulator.core.types import Panel
from simulator.maths.transforms import subband_eigenvectors

# paramCombination-CJT-L-r18: L of every station.
BEAMS = {
    1: (2,), 2: (4,), 3: (6,),
    4: (2, 2), 5: (2, 4), 6: (4, 2), 7: (4, 4),
    8: (2, 2, 2), 9: (2, 2, 4), 10: (2, 4, 2), 11: (4, 2, 2), 12: (4, 4, 4),
    13: (2, 2, 2, 2), 14: (2, 2, 2, 4), 15: (2, 2, 4, 4), 16: (4, 4, 4, 4),
}  # fmt: skip
# paramCombination-CJT-r18: p_v of ranks 1-2 and of ranks 3-4, beta.
_SHARES = {
    1: (1 / 8, 1 / 16, 1 / 4),
    2: (1 / 8, 1 / 16, 1 / 2),
    3: (1 / 4, 1 / 8, 1 / 4),
    4: (1 / 4, 1 / 8, 1 / 2),
    5: (1 / 4, 1 / 4, 3 / 4),
    6: (1 / 2, 1 / 4, 1 / 2),
    7: (1 / 2, 1 / 2, 1 / 2),
}
# Values of paramCombination-CJT-r18 that go with each of paramCombination-CJT-L-r18.
PAIRS = {
    1: (3, 4), 2: (3, 4, 5, 6), 3: (4, 5),
    4: (1,), 5: (1,), 6: (1,), 7: (2, 4, 7),
    8: (1, 2), 9: (1, 2), 10: (1, 2), 11: (1, 2), 12: (1, 2, 3, 4, 5, 7),
    13: (1,), 14: (1,), 15: (4, 5), 16: (2, 4, 5),
}  # fmt: skip
_TABLES = "TS 38.214, Tables 5.2.2.2.8-1 to -3"


class CjtCodebook(EnhancedTypeTwoCodebook):
    r"""Precoder of layer l in subband t on the ports of station j: beams, taps, and a delay of the station.

    .. math:: w_{t,j} = \frac{e^{j 2 \pi t \psi_j / N_3}}{\sqrt{\gamma_t}} \begin{bmatrix} \sum_{i<L_j} v_{j,i} \,
        p^{(1)}_0 \sum_f y_t^{(f)} p^{(2)}_{i,f,j} \varphi_{i,f,j} \\
        \sum_{i<L_j} v_{j,i} \, p^{(1)}_1 \sum_f y_t^{(f)} p^{(2)}_{i+L_j,f,j} \varphi_{i+L_j,f,j} \end{bmatrix},
        \quad \psi_1 = 0, \; \psi_j = d_j / O_3

    with one :math:`\gamma_t`, one strongest coefficient and one pair of references :math:`p^{(1)}` for all stations, so
    that the coefficients also hold amplitudes and phases between the stations. Mode 2: :math:`\psi_j = 0`. With one
    station it is :class:`EnhancedTypeTwoCodebook`.

    The selection is that of enhanced Type II, with beams by the energy on each station; coefficients below half the
    least amplitude, as those of a weak station, are not sent. In mode 1 the offsets turn the strongest delays of all
    stations to the same tap.

    A PMI has ``group`` and ``beams`` of all stations and, in mode 1, ``offset`` (i_{1,9}: d_2, ..., d_N). Its rows are
    those of :class:`~receivers.codebooks.trp_beams.TrpBeamGroups`.

    Args:
        panel: panels of 1 to 4 stations, each of 4 to 32 ports.
        num_samples: frequency samples of the channel.
        unit: samples of one PMI subband (subband size divided by R).
        rank: layers, 1..4.
        combination: paramCombination-CJT-r18, 1..7: p_v and beta.
        beams: paramCombination-CJT-L-r18, 1..16: L of every station.
        mode: codebookMode, 1 or 2.
        oversampling_delay: O_3 of 1, 4: steps of an offset in a tap.
        max_rank: largest rank that may be reported (width of the field in part 1).
        two_units: R = 2.
    Raises:
        ConfigError: for parameters that are not in the tables.
    Source: TS 38.214 (Rel. 18), 5.2.2.2.8; groups of part 2: TS 38.214, 5.2.3.
    """

    field = "feedback.etype2-cjt-r18"
    table = _TABLES
    _groups: TrpBeamGroups  # type: ignore[assignment]

    def __init__(
        self,
        panel: Panel,
        num_samples: int,
        unit: int,
        rank: int,
        combination: int,
        beams: int,
        mode: int = 1,
        oversampling_delay: int = 4,
        max_rank: int = 1,
        two_units: bool = False,
    ):
        check_offsets(self.field, mode, oversampling_delay)
        self._beams, self._steps = beams, oversampling_delay
        self._offsets = mode == 1 and panel.num_trps > 1
        super().__init__(panel, num_samples, unit, rank, combination, max_rank, two_units)

    def _check(self, panel: Panel, max_rank: int, combination: int, two_units: bool) -> None:
        field, beams, ports = f"{self.field}.beams", self._beams, panel.of_trp.num_ports
        sets = [number for number, lengths in BEAMS.items() if len(lengths) == panel.num_trps]
        if beams not in sets:
            raise ConfigError(field, beams, f"{sets[0]}..{sets[-1]} with {panel.num_trps} station(s) ({_TABLES})")
        if combination not in PAIRS[beams]:
            allowed = f"{', '.join(map(str, PAIRS[beams]))} with beams {beams} ({_TABLES})"
            raise ConfigError(f"{self.field}.combination", combination, allowed)
        if ports == 4 and max(BEAMS[beams]) > 2:
            raise ConfigError(field, beams, f"L of 2 alone with 4 ports a station ({_TABLES})")
        if beams == 3 and (ports < 32 or max_rank > 2 or two_units):  # L = 6
            got = f"{beams} with {ports} ports, rank {max_rank}, R = {1 + two_units}"
            raise ConfigError(field, got, f"3 only with 32 ports, rank <= 2, R = 1 ({_TABLES})")

    def _parameters(self, combination: int) -> tuple[int, float, float, float]:
        return sum(BEAMS[self._beams]), *_SHARES[combination]

    def _basis(self, panel: Panel) -> TrpBeamGroups:  # type: ignore[override]
        one = panel.of_trp
        return TrpBeamGroups(BeamGroups(one, *oversampling(one, self.field)), BEAMS[self._beams])

    def _payload(self, *sizes: Any) -> CjtPayload:
        values = self.num_units * self._steps if self._offsets else 1
        return CjtPayload(*sizes, BEAMS[self._beams], values)

    @property
    def polarisation(self) -> np.ndarray:
        """0 or 1, of every row."""
        return self._groups.polarisation

    def _select(self, h: np.ndarray) -> Pmi:
        v = subband_eigenvectors(h, self.unit, self.rank)
        group, beams, c = self._groups.select(v, self.num_beams)
        pmi: Pmi = {"group": group, "beams": beams}
        if self._offsets:
            pmi["offset"] = station_delays(c, self._groups.trp, self.num_units * self._steps)
            c = c * self._turns(pmi["offset"]).conj()
        return {**pmi, **self._best(starts(c))}

    def _largest(self, x: np.ndarray) -> np.ndarray:
        """Without those that are too small: stations may be weak."""
        x = super()._largest(x)
        return x if len(self._groups.lengths) == 1 else self._representable(x)

    def _turns(self, offset: np.ndarray) -> np.ndarray:
        """Factors of the delays of the stations, complex64 ``[report, 1, row, unit]``."""
        return station_turns(offset, self._groups.trp, self.num_units * self._steps, self.num_units)

    def precoder(self, pmi: Pmi) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, unit]``."""
        weights = self._synthesis(self._coefficients(pmi), pmi)
        if self._offsets:
            weights = weights * self._turns(pmi["offset"])
        return self._groups.combine(pmi["group"], pmi["beams"], weights)
