"""Fields that the link puts into the reports of every scheme alike, and their position: CQI, monitored predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.core import bitfield
from simulator.core.interfaces import FeedbackScheme
from simulator.core.types import CsiEstimate, CsiReconstruction, CsiReport


@dataclass(frozen=True)
class ReportFields:
    """Reports of a scheme with more fields, as the uplink carries them.

    The fields follow ``scheme.cqi_position`` bits of the report, most significant bit first; they belong to part 1 of
    schemes that have two parts, so that they are never left out.

    Args:
        scheme: feedback scheme.
        widths: bits of every field.

    Source: TS 38.212, Tables 6.3.1.1.2-7 and 6.3.1.1.2-8 (RI, then CQI).
    """

    scheme: FeedbackScheme
    widths: tuple[int, ...]

    @property
    def num_bits(self) -> int:
        """Bits of all fields."""
        return sum(self.widths)

    @property
    def max_bits(self) -> int:
        """Largest length of a report with its fields [bit]."""
        return self.scheme.max_bits + self.num_bits

    @property
    def min_bits(self) -> int:
        """The same after the largest possible omission [bit]."""
        return self.scheme.min_bits + self.num_bits

    @property
    def part1_bits(self) -> int:
        """Bits of part 1 with the fields; 0 for schemes without two parts."""
        part1 = self.scheme.part1_bits
        return part1 + self.num_bits if part1 else 0

    def insert(self, report: CsiReport, values: NDArray[np.int64]) -> CsiReport:
        """The report of the scheme with ``values [batch, user, field]``."""
        at = self.scheme.cqi_position
        fields = [bitfield.pack(values[..., i, None], width) for i, width in enumerate(self.widths)]
        bits = np.concatenate([report.bits[..., :at], *fields, report.bits[..., at:]], axis=-1)
        return CsiReport(bits, np.asarray(report.num_bits) + self.num_bits)

    def extract(self, report: CsiReport) -> tuple[CsiReport, NDArray[np.int64]]:
        """The report of the scheme, and the values ``[batch, user, field]``, from the received report."""
        at, end = self.scheme.cqi_position, self.scheme.cqi_position + self.num_bits
        parts = np.split(report.bits[..., at:end], np.cumsum(self.widths)[:-1], axis=-1)
        values = [bitfield.unpack(part, width) for part, width in zip(parts, self.widths, strict=True)]
        bits = np.concatenate([report.bits[..., :at], report.bits[..., end:]], axis=-1)
        return CsiReport(bits, np.asarray(report.num_bits) - self.num_bits), np.concatenate(values, axis=-1)

    def omit(self, report: CsiReport, max_bits: int) -> CsiReport:
        """As :meth:`FeedbackScheme.omit`; the fields stay."""
        own, values = self.extract(report)
        return self.insert(self.scheme.omit(own, max_bits - self.num_bits), values)


class CqiOfUe(Protocol):
    """CQI that UEs put into their reports."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits of every field."""

    def at_ue(self, csi: CsiEstimate, own: CsiReconstruction) -> NDArray[np.int64]:
        """CQI ``[snr, batch * slot, user, field]`` of a UE, from its estimate and what its report says of it."""


@dataclass(frozen=True)
class Extras:
    """Values of the fields in the reports of some slots, at the UE as sent, at the gNB as received.

    Args:
        cqi: int64 ``[snr, batch * slot, user, field]``, see :mod:`simulator.nr.cqi`; that of the first SNR is sent.
        pai: int64 ``[batch * slot, user, value]``, see :mod:`simulator.reporting.monitoring`.
    """

    cqi: NDArray[np.int64] | None = None
    pai: NDArray[np.int64] | None = None

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self.cqi is not None or self.pai is not None

    @property
    def values(self) -> NDArray[np.int64]:
        """All values of a report, int64 ``[batch * slot, user, field]``."""
        return np.concatenate(list(self._fields()), axis=-1)

    def received(self, values: NDArray[np.int64]) -> Extras:
        """The same as received: an uplink error inverts the same bits at every SNR of the downlink."""
        if self.cqi is None:
            return replace(self, pai=values)
        count = self.cqi.shape[-1]
        pai = None if self.pai is None else values[..., count:]
        return Extras(self.cqi ^ (values ^ self.values)[..., :count], pai)

    def _fields(self) -> Iterator[NDArray[np.int64]]:
        if self.cqi is not None:
            yield self.cqi[0]
        if self.pai is not None:
            yield self.pai
