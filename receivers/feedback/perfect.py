"""The estimate itself, sent as raw float32: the upper reference of every comparison."""

from __future__ import annotations

import numpy as np

from simulator.core.errors import PayloadError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport


class PerfectFeedback(FeedbackScheme):
    """What the UE knows, unquantised.

    Payload: every entry of ``h_hat`` as two IEEE 754 single-precision numbers, little endian: 64 bits per entry.
    """

    several_trps = True

    def __init__(self, config: CsiConfig, *, seed: int = 0):
        self.config = config
        self._shape = (config.num_rx_ant, config.panel.num_ports, config.num_subcarriers)

    @property
    def label(self) -> str:
        """``perfect``."""
        return "perfect"

    @property
    def max_bits(self) -> int:
        """64 bits per complex entry."""
        return 64 * int(np.prod(self._shape))

    def report(self, csi: CsiEstimate) -> CsiReport:
        """All entries of the estimate."""
        raw = np.ascontiguousarray(csi.h_hat, "<c8").reshape(*csi.h_hat.shape[:2], -1).view(np.uint8)
        bits = np.unpackbits(raw, axis=-1)
        return CsiReport(bits, np.full(bits.shape[:2], self.max_bits))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """The channel; reports that decode to a number that is not finite are marked invalid."""
        bits = report.expect_length(self.max_bits)
        if not bits.size:
            raise PayloadError("report.bits: got no report; allowed: at least one")
        h = np.packbits(bits, axis=-1).view("<c8").reshape(*bits.shape[:2], *self._shape)
        # Squares must not overflow either: bit errors in an exponent make astronomic but finite numbers.
        usable = (np.abs(h.real) < 1e15) & (np.abs(h.imag) < 1e15)
        valid = usable.all(axis=(2, 3, 4))
        return CsiReconstruction(h=np.where(valid[:, :, None, None, None], h, 0), valid=valid)
