"""Common part of the PMI codebooks of TS 38.214: panels, selection, fields, precoder."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from simulator.core.errors import ConfigError
from simulator.core.types import Panel

Pmi = dict[str, np.ndarray]

# (N1, N2) of TS 38.214, Table 5.2.2.2.1-2, with the number of ports.
_PANELS = {
    4: ((2, 1),),
    8: ((2, 2), (4, 1)),
    12: ((3, 2), (6, 1)),
    16: ((4, 2), (8, 1)),
    24: ((4, 3), (6, 2), (12, 1)),
    32: ((4, 4), (8, 2), (16, 1)),
}
# Those of the refined codebooks of Release 19.
_LARGE_PANELS = {48: ((8, 3), (6, 4)), 64: ((16, 2), (8, 4)), 128: ((16, 4), (8, 8))}


def oversampling(panel: Panel, field: str, large: bool = False) -> tuple[int, int]:
    """(O1, O2) of a panel that a codebook knows: 4 along an axis with more than one element, else 1.

    Args:
        panel: gNB panel.
        field: of the scheme, for the message.
        large: whether panels of 48, 64 and 128 ports are among them.

    Raises:
        ConfigError: naming ``field``, for any panel that is not in the table.
    Source: TS 38.214, Table 5.2.2.2.1-2; large ones: TS 38.214 (Rel. 19), refined eType II codebook.
    """
    panels = _PANELS | (_LARGE_PANELS if large else {})
    known = panels.get(panel.num_ports, ())
    if panel.num_pol != 2 or (panel.n1, panel.n2) not in known:
        allowed = ", ".join(f"{n1}x{n2}" for pairs in panels.values() for n1, n2 in pairs)
        got = f"{panel.n1}x{panel.n2} with {panel.num_pol} polarisation(s)"
        raise ConfigError(f"{field}: bs.n1, bs.n2, bs.num_pol", got, f"two polarisations and n1 x n2 of {allowed}")
    return 4, 4 if panel.n2 > 1 else 1


def check_ports(panel: Panel, field: str) -> None:
    """ConfigError unless port selection codebooks know as many CSI-RS ports; the shape of the panel means nothing.

    Source: TS 38.214, 5.2.2.2.4, 5.2.2.2.6, 5.2.2.2.7.
    """
    if panel.num_pol != 2 or panel.num_ports not in _PANELS:
        allowed = f"{', '.join(map(str, _PANELS))} in two polarisations"
        got = f"{panel.num_ports} in {panel.num_pol} polarisation(s)"
        raise ConfigError(f"{field}: CSI-RS ports", got, allowed)


def subband_order(num_units: int) -> np.ndarray:
    """Subbands in the order of their fields in part 2, int ``[subband]``: the even ones, then the odd ones.

    Source: TS 38.212, 6.3.2.1.2 (part 2).
    """
    return np.concatenate([np.arange(0, num_units, 2), np.arange(1, num_units, 2)])


class PmiCodebook(ABC):
    """One codebook at one rank: selects a PMI, maps it to bits and back, and to a precoder.

    A :data:`Pmi` is a dictionary of integer arrays ``[report, ...]``, one for each index of the standard.
    """

    rank: int
    unit: int  # frequency samples of one column of the precoder
    fine: bool = False  # more than one of them in a subband
    part1_bits: int = 0  # bits that part 1 holds of the PMI (non-zero coefficients); its length is fixed
    part2_bits: int  # longest part 2

    knows_errors: bool = False  # ``select`` takes error variances ``[report]`` of the channels, too

    @abstractmethod
    def select(self, h: np.ndarray) -> Pmi:
        """PMI of channels complex64 ``[report, rx_ant, port, subcarrier]``."""

    @abstractmethod
    def pack(self, pmi: Pmi) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Part 1 uint8 ``[report, part1_bits]``, part 2 uint8 ``[report, part2_bits]`` and its length ``[report]``."""

    @abstractmethod
    def unpack(self, part1: np.ndarray, part2: np.ndarray, num_bits: np.ndarray) -> tuple[Pmi, np.ndarray]:
        """PMI and ``valid`` bool ``[report]``; invalid reports hold an arbitrary legal PMI."""

    def lengths(self, part1: np.ndarray) -> np.ndarray | None:
        """Lengths of part 2 int ``[report, cut]`` after this part 1: whole, then with more and more groups omitted.

        None: nothing can be omitted.
        """
        return None

    @abstractmethod
    def precoder(self, pmi: Pmi) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, subband]``."""


def check_subband(num_rb: int, subband_rb: int) -> None:
    """ConfigError unless a band of ``num_rb`` resource blocks may have subbands of ``subband_rb``.

    Below 24 resource blocks there is one band. Source: TS 38.214, Table 5.2.1.4-2.
    """
    sizes: tuple[int, ...] = next(
        (pair for most, pair in ((72, (4, 8)), (144, (8, 16)), (275, (16, 32))) if num_rb <= most), ()
    )
    if num_rb < 24:
        sizes = (num_rb,)
    if min(subband_rb, num_rb) not in sizes:
        allowed = " or ".join(map(str, sizes)) or "at most 275 resource blocks"
        raise ConfigError("carrier.subband_rb", subband_rb, f"{allowed} with a 3GPP codebook on {num_rb} RB")
