"""Type I feedback, of one panel or of several."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from receivers.codebooks.pmi import PmiCodebook
from receivers.codebooks.restriction import allowed_ranks
from receivers.codebooks.type1 import TypeOneCodebook, most_layers
from receivers.codebooks.type1_large import TypeOneHighRankCodebook
from receivers.codebooks.type1_mode_b import TypeOneModeBCodebook
from receivers.codebooks.type1_multipanel import TypeOneMultiPanelCodebook
from receivers.feedback.pmi import BitString, PmiFeedback, restricted
from simulator.core.errors import ConfigError
from simulator.core.params import SnrDb, validated
from simulator.core.types import CsiConfig


class TypeOneFeedback(PmiFeedback):
    """RI and Type I PMI.

    Payload: RI; i_{1,1}, i_{1,2}, i_{1,3} (several panels: i_{1,4}, too), each with the bits that count its values;
    then i_2 of every subband, the even ones first.

    Args:
        config: public configuration.
        mode: codebookMode, 1 or 2 (one panel: of ranks 1, 2; not with four panels); of 48, 64 and 128 ports (Release
            19) 1 is modeA, 2 is modeB.
        rank: 1..8 (4 ports or several panels: 1..4), or "auto".
        panels: N_g, 1, or 2 or 4 (typeI-MultiPanel): the columns of the array form that many panels next to each other.
        snr_db: SNR that the UE assumes for the RI and the choice of its precoder [dB].
        subset_restriction: n1-n2-codebookSubsetRestriction, bits of the beams, most significant first; no precoder with
            a beam whose bit is 0 is reported, or valid; up to 32 ports. None: all are allowed.
        rank_restriction: typeI-SinglePanel-ri-Restriction, 8 bits, or ri-Restriction of several panels, 4 bits, that of
            rank 1 last; None: all are allowed.
        seed: not used.

    Source: TS 38.214, 5.2.2.2.1; several panels: 5.2.2.2.2; 48, 64 and 128 ports: Rel. 19, 5.2.2.2.1a.
    """

    name = "type1"

    @validated("feedback.type1")
    def __init__(
        self,
        config: CsiConfig,
        *,
        mode: Literal[1, 2] = 1,
        rank: Annotated[int, Field(ge=1, le=8)] | Literal["auto"] = "auto",
        snr_db: SnrDb = 10.0,
        panels: Literal[1, 2, 4] = 1,
        subset_restriction: BitString | None = None,
        rank_restriction: BitString | None = None,
        seed: int = 0,
    ):
        self.mode, self.panels, self._rank, self._subset = mode, panels, rank, subset_restriction
        self._suffix = restricted(subset_restriction, rank_restriction)
        ranks = allowed_ranks(rank_restriction, 8 if panels == 1 else 4, "feedback.type1.rank_restriction")
        self._large = panels == 1 and config.panel.num_ports > 32
        if self._large and subset_restriction is not None:
            allowed = f"null with {config.panel.num_ports} ports"
            raise ConfigError("feedback.type1.subset_restriction", f"{len(subset_restriction)} bits", allowed)
        most = most_layers(config.panel)
        super().__init__(config, rank, snr_db, [each for each in ranks if each <= most])

    @property
    def label(self) -> str:
        """``type1-mode<mode>``, ``-<n>panels``, ``-rank<n>``, ``-cbsr``, ``-ri<bits>`` where those were asked for."""
        panels = "" if self.panels == 1 else f"-{self.panels}panels"
        rank = "" if self._rank == "auto" else f"-rank{self._rank}"
        return f"type1-mode{self.mode}{panels}{rank}{self._suffix}"

    def codebook(self, rank: int, max_rank: int) -> PmiCodebook:
        """Codebook of one rank."""
        config = self.config
        band = config.panel, config.num_subcarriers, config.subband_size, rank
        if self._large and rank > 4:
            return TypeOneHighRankCodebook(*band, self.mode, self.snr_db)
        if self._large and self.mode == 2:
            return TypeOneModeBCodebook(*band, self.snr_db)
        if self.panels == 1 and not self._large:
            return TypeOneCodebook(*band, self.mode, self.snr_db, self._subset)
        return TypeOneMultiPanelCodebook(*band, self.panels, self.mode, self.snr_db, self._subset)
