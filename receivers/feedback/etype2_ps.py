"""Enhanced Type II port selection (Release 16) feedback."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from receivers.codebooks.port_selection import EnhancedTypeTwoPortSelectionCodebook
from receivers.feedback.pmi import PmiFeedback, pmi_unit
from simulator.core.params import SnrDb, validated
from simulator.core.types import CsiConfig


class EnhancedTypeTwoPortSelectionFeedback(PmiFeedback):
    """RI and enhanced Type II port selection PMI, on the ports of beamformed CSI-RS (or on antennas without them).

    Payload: as of ``etype2-r16``, with the port selection in i_{1,1} and no i_{1,2}.

    Args:
        config: public configuration; its ports are those of the CSI-RS: 4, 8, 12, 16, 24 or 32.
        combination: paramCombination-r16, 1..6.
        sampling: d (portSelectionSamplingSize-r16), 1..4, at most P/2 and L.
        r: R, PMI subbands in a subband, 1 or 2 (with 2 the subband must have an even number of samples).
        rank: 1..4, or "auto".
        snr_db: SNR that the UE assumes for the RI [dB].
        seed: not used.

    Source: TS 38.214 (Rel. 16), 5.2.2.2.6.
    """

    name = "etype2-ps-r16"

    @validated("feedback.etype2-ps-r16")
    def __init__(
        self,
        config: CsiConfig,
        *,
        combination: Annotated[int, Field(ge=1, le=6)] = 6,
        sampling: Annotated[int, Field(ge=1, le=4)] = 1,
        r: Literal[1, 2] = 1,
        rank: Annotated[int, Field(ge=1, le=4)] | Literal["auto"] = "auto",
        snr_db: SnrDb = 10.0,
        seed: int = 0,
    ):
        self._unit = pmi_unit(config, r, self.name)
        self._combination, self._sampling, self._r, self._rank = combination, sampling, r, rank
        super().__init__(config, rank, snr_db, range(1, 5))

    @property
    def label(self) -> str:
        """``etype2ps-P<ports>-d<sampling>-pc<combination>``, suffixes ``-R2`` and ``-rank<n>``."""
        return (
            f"etype2ps-P{self.config.panel.num_ports}-d{self._sampling}-pc{self._combination}"
            + ("-R2" if self._r == 2 else "")
            + ("" if self._rank == "auto" else f"-rank{self._rank}")
        )

    def codebook(self, rank: int, max_rank: int) -> EnhancedTypeTwoPortSelectionCodebook:
        """Codebook of one rank."""
        return EnhancedTypeTwoPortSelectionCodebook(
            self.config.panel, self.config.num_subcarriers, self._unit, rank, self._combination, max_rank,
            self._r == 2, sampling=self._sampling,
        )  # fmt: skip
