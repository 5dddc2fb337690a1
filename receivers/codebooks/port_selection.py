"""Port selection codebooks of Releases 15 and 16: Type II and enhanced Type II on neighbouring beamformed ports."""

from __future__ import annotations

from typing import Any

from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.codebooks.pmi import check_ports
from receivers.codebooks.ports import PortGroups
from receivers.codebooks.type2 import TypeTwoCodebook
from simulator.core.errors import ConfigError
from simulator.core.types import Panel


class TypeTwoPortSelectionCodebook(TypeTwoCodebook):
    r"""Type II with L neighbouring ports of either polarisation in place of beams.

    ``group`` is i_{1,1}: the ports are :math:`(i_{1,1} d + i) \bmod P/2`; there is no i_{1,2}.

    Args:
        panel: its number of ports is P.
        *shape: as of :class:`~receivers.codebooks.type2.TypeTwoCodebook`.
        sampling: d (portSelectionSamplingSize), 1..4, at most P/2 and L.
        **more: as of :class:`~receivers.codebooks.type2.TypeTwoCodebook`.
    Raises:
        ConfigError: for parameters that are not in the tables.
    Source: TS 38.214, 5.2.2.2.4.
    """

    field = "feedback.type2-ps-r15"

    def __init__(self, panel: Panel, *shape: Any, sampling: int, **more: Any):
        self._sampling = sampling
        super().__init__(panel, *shape, **more)

    def _basis(self, panel: Panel, num_beams: int) -> PortGroups:
        return _neighbours(panel, self._sampling, num_beams, self.field)


class EnhancedTypeTwoPortSelectionCodebook(EnhancedTypeTwoCodebook):
    r"""Enhanced Type II with L neighbouring ports of either polarisation in place of beams.

    ``group`` is i_{1,1}: the ports are :math:`(i_{1,1} d + i) \bmod P/2`; there is no i_{1,2}.

    Args:
        panel: its number of ports is P.
        *shape: as of :class:`~receivers.codebooks.etype2.EnhancedTypeTwoCodebook`; combinations 1..6.
        sampling: d (portSelectionSamplingSize-r16), 1..4, at most P/2 and L.
        **more: as of :class:`~receivers.codebooks.etype2.EnhancedTypeTwoCodebook`.
    Raises:
        ConfigError: for parameters that are not in the tables.
    Source: TS 38.214 (Rel. 16), 5.2.2.2.6.
    """

    field = "feedback.etype2-ps-r16"
    table = "TS 38.214, Table 5.2.2.2.6-1"

    def __init__(self, panel: Panel, *shape: Any, sampling: int, **more: Any):
        self._sampling = sampling
        super().__init__(panel, *shape, **more)

    def _check(self, panel: Panel, max_rank: int, combination: int, two_units: bool) -> None:
        if not 1 <= combination <= 6:
            raise ConfigError(f"{self.field}.combination", combination, f"1..6 ({self.table})")
        if panel.num_ports == 4 and combination > 2:
            raise ConfigError(f"{self.field}.combination", combination, f"1, 2 with 4 ports ({self.table})")

    def _basis(self, panel: Panel) -> PortGroups:
        return _neighbours(panel, self._sampling, self.num_beams, self.field)


def _neighbours(panel: Panel, sampling: int, num_beams: int, field: str) -> PortGroups:
    check_ports(panel, field)
    most = min(panel.num_ports // 2, num_beams, 4)
    if not 1 <= sampling <= most:
        raise ConfigError(f"{field}.sampling", sampling, f"1..{most} (d <= min(P/2, L), TS 38.214, 5.2.2.2.4)")
    return PortGroups(panel.num_ports, sampling, num_beams)
