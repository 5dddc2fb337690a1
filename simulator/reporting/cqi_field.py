"""Position of the CQI in a report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.core import bitfield
from simulator.core.interfaces import FeedbackScheme
from simulator.core.types import CsiReport

CQI_BITS = 4  # of a wideband CQI (TS 38.214, Tables 5.2.2.1-2 to 5.2.2.1-4)


@dataclass(frozen=True)
class CqiField:
    """Reports of a scheme with a wideband CQI, as the uplink carries them where the gNB adapts its MCS.

    The CQI follows ``scheme.cqi_position`` bits of the report, most significant bit first; it belongs to part 1 of
    schemes that have two parts, so that it is never left out.

    Args:
        scheme: feedback scheme.

    Source: TS 38.212, Tables 6.3.1.1.2-7 and 6.3.1.1.2-8 (RI, then CQI).
    """

    scheme: FeedbackScheme

    @property
    def max_bits(self) -> int:
        """Largest length of a report with its CQI [bit]."""
        return self.scheme.max_bits + CQI_BITS

    @property
    def min_bits(self) -> int:
        """The same after the largest possible omission [bit]."""
        return self.scheme.min_bits + CQI_BITS

    @property
    def part1_bits(self) -> int:
        """Bits of part 1 with the CQI; 0 for schemes without two parts."""
        part1 = self.scheme.part1_bits
        return part1 + CQI_BITS if part1 else 0

    def insert(self, report: CsiReport, cqi: NDArray[np.int64]) -> CsiReport:
        """The report of the scheme with a CQI ``[batch, user]``, 0..15."""
        at = self.scheme.cqi_position
        field = bitfield.pack(cqi[..., None], CQI_BITS)
        bits = np.concatenate([report.bits[..., :at], field, report.bits[..., at:]], axis=-1)
        return CsiReport(bits, np.asarray(report.num_bits) + CQI_BITS)

    def extract(self, report: CsiReport) -> tuple[CsiReport, NDArray[np.int64]]:
        """The report of the scheme, and the CQI ``[batch, user]``, from the received report."""
        at = self.scheme.cqi_position
        cqi = bitfield.unpack(report.bits[..., at : at + CQI_BITS], CQI_BITS)[..., 0]
        bits = np.concatenate([report.bits[..., :at], report.bits[..., at + CQI_BITS :]], axis=-1)
        return CsiReport(bits, np.asarray(report.num_bits) - CQI_BITS), cqi

    def omit(self, report: CsiReport, max_bits: int) -> CsiReport:
        """As :meth:`FeedbackScheme.omit`; the CQI stays."""
        own, cqi = self.extract(report)
        return self.insert(self.scheme.omit(own, max_bits - CQI_BITS), cqi)
