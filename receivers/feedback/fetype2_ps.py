"""Further enhanced Type II port selection (Release 17) feedback."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from receivers.codebooks.fetype2 import FurtherEnhancedTypeTwoCodebook
from receivers.feedback.pmi import PmiFeedback, pmi_unit
from simulator.core.params import SnrDb, validated
from simulator.core.types import CsiConfig


class FurtherEnhancedTypeTwoFeedback(PmiFeedback):
    """RI and further enhanced Type II port selection PMI, on the ports of beamformed CSI-RS (or on antennas).

    Payload: as of ``etype2-r16``, with i_{1,2} (port selection), i_{1,8} (port and tap) and i_{1,6} (second tap of all
    layers) in group 0; no bitmap where one or two layers have all coefficients.

    Args:
        config: public configuration; its ports are those of the CSI-RS: 4, 8, 12, 16, 24 or 32.
        combination: paramCombination-r17, 1..8.
        window: N (valueOfN), 2 or 4 taps from which combinations 5..8 take two.
        r: R, PMI subbands in a subband, 1, or 2 with combinations 5..8 (subbands of an even number of samples).
        rank: 1..4, or "auto".
        snr_db: SNR that the UE assumes for the RI [dB].
        seed: not used.

    Source: TS 38.214 (Rel. 17), 5.2.2.2.7.
    """

    name = "fetype2-ps-r17"

    @validated("feedback.fetype2-ps-r17")
    def __init__(
        self,
        config: CsiConfig,
        *,
        combination: Annotated[int, Field(ge=1, le=8)] = 4,
        window: Literal[2, 4] = 2,
        r: Literal[1, 2] = 1,
        rank: Annotated[int, Field(ge=1, le=4)] | Literal["auto"] = "auto",
        snr_db: SnrDb = 10.0,
        seed: int = 0,
    ):
        self._unit = pmi_unit(config, r, self.name)
        self._combination, self._window, self._r, self._rank = combination, window, r, rank
        super().__init__(config, rank, snr_db, range(1, 5))

    @property
    def label(self) -> str:
        """``fetype2ps-P<ports>-pc<combination>``, suffixes ``-N4``, ``-R2`` and ``-rank<n>``."""
        return (
            f"fetype2ps-P{self.config.panel.num_ports}-pc{self._combination}"
            + ("-N4" if self._window == 4 and self._combination >= 5 else "")
            + ("-R2" if self._r == 2 else "")
            + ("" if self._rank == "auto" else f"-rank{self._rank}")
        )

    def codebook(self, rank: int, max_rank: int) -> FurtherEnhancedTypeTwoCodebook:
        """Codebook of one rank."""
        return FurtherEnhancedTypeTwoCodebook(
            self.config.panel, self.config.num_subcarriers, self._unit, rank, self._combination, max_rank,
            self._window, self._r == 2,
        )  # fmt: skip
