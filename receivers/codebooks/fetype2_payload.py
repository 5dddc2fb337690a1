"""Further enhanced Type II port selection PMI as bits: the fields of TS 38.212 in the groups of TS 38.214, 5.2.3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from receivers.codebooks.etype2_payload import EnhancedTypeTwoPayload
from receivers.codebooks.pmi import Pmi


@dataclass(frozen=True)
class FurtherEnhancedPayload(EnhancedTypeTwoPayload):
    """Parts 1 and 2 of a PMI of :class:`receivers.codebooks.fetype2.FurtherEnhancedTypeTwoCodebook`.

    Other than in Release 16: all layers have the same second tap, 1 + i_{1,6}; the strongest coefficient is on any tap,
    i_{1,8} = K_1 f + i; of one or two layers with all coefficients there is no bitmap; priorities go by f.

    Args:
        span: N, taps from which the second is taken; 1 with one tap.

    Source: TS 38.214 (Rel. 17), 5.2.2.2.7 and 5.2.3.
    """

    span: int = 1

    @property
    def pool(self) -> int:
        """Number of taps from which all layers take theirs."""
        return self.span

    def _heads(self, nonzero: int) -> tuple[list[tuple[str, int, int]], list[tuple[str, int, int]]]:
        strongest = "strongest", self.rank, self._strongest_bits(nonzero)
        return [("beams", 1, self._beam_bits), strongest, ("taps", 1, self._tap_bits)], []

    def _bitmap_bits(self, nonzero: int) -> tuple[int, int]:
        full = self.rank <= 2 and nonzero == self.rank * self._places
        return (0, 0) if full else super()._bitmap_bits(nonzero)

    @property
    def _places(self) -> int:
        """K_1 M."""
        return 2 * self.num_beams * self.num_taps

    def _strongest_bits(self, nonzero: int) -> int:
        return (self._places - 1).bit_length()

    def _strongest_numbers(self, pmi: Pmi) -> np.ndarray:
        strongest: np.ndarray = pmi["strongest"]
        return strongest

    def _strongest_places(self, numbers: np.ndarray, possible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        good = (numbers < self._places).all(axis=1)
        places = np.minimum(numbers, self._places - 1)
        return places, good & ~np.any(self.first(places) & (possible == 0), axis=(1, 2, 3))

    def _tap_rank(self, pmi: Pmi) -> np.ndarray:
        """i_{1,6} ``[report, 1]``; without a second tap 0."""
        taps = pmi["taps"][:, 0]
        return taps[:, 1:] - 1 if self.num_taps > 1 else 0 * taps

    def _taps_of(self, rank: np.ndarray, window: np.ndarray) -> np.ndarray:
        taps = np.concatenate([0 * rank, rank + 1][: self.num_taps], axis=1)
        return np.repeat(taps[:, None], self.rank, axis=1)

    def _priority(self, taps: np.ndarray) -> np.ndarray:
        """Order ``[report, element]``: Pri(l, i, f) = K_1 v f + v i + l, the lowest first."""
        layers, rows, number = self.shape
        elements = np.arange(layers * rows * number).reshape(number, rows, layers).transpose(2, 1, 0).ravel()
        return np.broadcast_to(np.argsort(elements), (len(taps), len(elements)))
