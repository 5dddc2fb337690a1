"""Type II (Release 15) feedback."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from receivers.codebooks.type2 import TypeTwoCodebook
from receivers.feedback.pmi import PmiFeedback
from simulator.core.params import SnrDb, validated
from simulator.core.types import CsiConfig


class TypeTwoFeedback(PmiFeedback):
    """RI and Type II PMI.

    Args:
        config: public configuration.
        beams: L, 2..4.
        psk: N_PSK, 4 or 8.
        subband_amplitude: with amplitudes of one bit in every subband.
        rank: 1, 2, or "auto".
        snr_db: SNR that the UE assumes for the RI [dB].
        seed: not used.

    Source: TS 38.214, 5.2.2.2.3.
    """

    name = "type2-r15"

    @validated("feedback.type2-r15")
    def __init__(
        self,
        config: CsiConfig,
        *,
        beams: Annotated[int, Field(ge=2, le=4)] = 4,
        psk: Literal[4, 8] = 8,
        subband_amplitude: bool = False,
        rank: Annotated[int, Field(ge=1, le=2)] | Literal["auto"] = "auto",
        snr_db: SnrDb = 10.0,
        seed: int = 0,
    ):
        self.beams, self.psk, self.subband_amplitude, self._rank = beams, psk, subband_amplitude, rank
        super().__init__(config, rank, snr_db, range(1, 3))

    @property
    def label(self) -> str:
        """``type2-L<beams>-psk<psk>``, suffixes ``-sba`` (subband amplitude) and ``-rank<n>``."""
        return (
            f"type2-L{self.beams}-psk{self.psk}"
            + ("-sba" if self.subband_amplitude else "")
            + ("" if self._rank == "auto" else f"-rank{self._rank}")
        )

    def codebook(self, rank: int, max_rank: int) -> TypeTwoCodebook:
        """Codebook of one rank."""
        config = self.config
        return TypeTwoCodebook(
            config.panel, config.num_subcarriers, config.subband_size, rank, self.beams, self.psk,
            self.subband_amplitude, max_rank,
        )  # fmt: skip
