"""Type II (Release 15) feedback."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from receivers.codebooks.restriction import allowed_ranks
from receivers.codebooks.type2 import TypeTwoCodebook
from receivers.feedback.pmi import BitString, PmiFeedback, restricted
from simulator.core.params import SnrDb, validated
from simulator.core.types import CsiConfig


class TypeTwoFeedback(PmiFeedback):
    """RI and Type II PMI.

    Payload: RI; in part 1 the number of wideband amplitudes of every layer that are not zero. Part 2: i_{1,1}, i_{1,2};
    for every layer i_{1,3} (the strongest coefficient) and i_{1,4} (the other wideband amplitudes, 3 bits each); then
    for every subband, the even ones first, i_{2,1} (phases, 2 or 3 bits) and i_{2,2} (amplitudes, 1 bit) of
    coefficients that are not zero.

    Args:
        config: public configuration.
        beams: L, 2..4.
        psk: N_PSK, 4 or 8.
        subband_amplitude: with amplitudes of one bit in every subband.
        rank: 1, 2, or "auto".
        snr_db: SNR that the UE assumes for the RI [dB].
        subset_restriction: n1-n2-codebookSubsetRestriction, bits B1 B2, most significant first: largest wideband
            amplitudes of the beams of four groups; None: all are 1.
        rank_restriction: typeII-RI-Restriction, 2 bits, that of rank 1 last; None: both are allowed.
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
        subset_restriction: BitString | None = None,
        rank_restriction: BitString | None = None,
        seed: int = 0,
    ):
        self._subset, self._suffix = subset_restriction, restricted(subset_restriction, rank_restriction)
        self.beams, self.psk, self.subband_amplitude, self._rank = beams, psk, subband_amplitude, rank
        super().__init__(
            config, rank, snr_db, allowed_ranks(rank_restriction, 2, "feedback.type2-r15.rank_restriction")
        )

    @property
    def label(self) -> str:
        """``type2-L<beams>-psk<psk>``, ``-sba`` (amplitudes by subband), ``-rank<n>``, ``-cbsr``, ``-ri<bits>``."""
        return (
            f"type2-L{self.beams}-psk{self.psk}"
            + ("-sba" if self.subband_amplitude else "")
            + ("" if self._rank == "auto" else f"-rank{self._rank}")
            + self._suffix
        )

    def codebook(self, rank: int, max_rank: int) -> TypeTwoCodebook:
        """Codebook of one rank."""
        config = self.config
        return TypeTwoCodebook(
            config.panel, config.num_subcarriers, config.subband_size, rank, self.beams, self.psk,
            self.subband_amplitude, max_rank, self._subset,
        )  # fmt: skip
