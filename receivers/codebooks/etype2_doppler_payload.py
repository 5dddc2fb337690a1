"""Enhanced Type II PMI of several intervals as bits: the fields of TS 38.212 in the groups of TS 38.214, 5.2.3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from receivers.codebooks.etype2_payload import EnhancedTypeTwoPayload
from receivers.codebooks.pmi import Pmi
from simulator.core import bitfield


@dataclass(frozen=True)
class DopplerPayload(EnhancedTypeTwoPayload):
    """Parts 1 and 2 of a PMI of :class:`receivers.codebooks.etype2_doppler.DopplerCodebook` of several intervals.

    Other than in Release 16: Q = 2 Doppler-domain vectors multiply the rows (row 2 L tau + i), the priority goes by
    vector before tap, and i_{1,10} ends group 1.

    Args:
        num_intervals: N_4, 2 or more.

    Source: TS 38.212, Table 6.3.2.1.2-1C; TS 38.214 (Rel. 18), 5.2.2.2.10 and 5.2.3.
    """

    num_intervals: int = 2

    @property
    def num_dopplers(self) -> int:
        """Q."""
        return 2

    @property
    def _doppler_bits(self) -> int:
        return (self.num_intervals - 2).bit_length()

    @property
    def tail_bits(self) -> int:
        """Bits of i_{1,10} of all layers."""
        return self.rank * self._doppler_bits

    def _tail(self, pmi: Pmi) -> np.ndarray:
        return bitfield.pack(pmi["doppler"], self._doppler_bits)

    def _tail_values(self, bits: np.ndarray) -> tuple[Pmi, np.ndarray]:
        doppler = np.zeros((len(bits), self.rank), np.int64)
        if self._doppler_bits:
            doppler = bitfield.unpack(bits, self._doppler_bits)
        return {"doppler": doppler}, (doppler < self.num_intervals - 1).all(axis=1)

    def _priority(self, taps: np.ndarray) -> np.ndarray:
        """Order ``[report, element]``: Pri(l, i, f, tau) = 2 L v M_v tau + 2 L v f + v i + l, the lowest first."""
        layers, rows, number = self.shape
        tau, i = np.divmod(np.arange(rows)[:, None], 2 * self.num_beams)
        value = layers * (2 * self.num_beams * (number * tau + np.arange(number)) + i)
        value = (value + np.arange(layers)[:, None, None]).ravel()
        return np.broadcast_to(np.argsort(value, kind="stable"), (len(taps), len(value)))
