"""Type I single-panel feedback."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from receivers.codebooks.type1 import TypeOneCodebook
from receivers.feedback.pmi import PmiFeedback
from simulator.core.params import SnrDb, validated
from simulator.core.types import CsiConfig


class TypeOneFeedback(PmiFeedback):
    """RI and Type I PMI.

    Args:
        config: public configuration.
        mode: codebookMode, 1 or 2 (ranks 1, 2).
        rank: 1..4, or "auto".
        snr_db: SNR that the UE assumes for the RI and the choice of its precoder [dB].
        seed: not used.

    Source: TS 38.214, 5.2.2.2.1.
    """

    name = "type1"

    @validated("feedback.type1")
    def __init__(
        self,
        config: CsiConfig,
        *,
        mode: Literal[1, 2] = 1,
        rank: Annotated[int, Field(ge=1, le=4)] | Literal["auto"] = "auto",
        snr_db: SnrDb = 10.0,
        seed: int = 0,
    ):
        self.mode, self._rank = mode, rank
        super().__init__(config, rank, snr_db, range(1, 5))

    @property
    def label(self) -> str:
        """``type1-mode<mode>``, with the suffix ``-rank<n>`` where that was asked for."""
        return f"type1-mode{self.mode}" + ("" if self._rank == "auto" else f"-rank{self._rank}")

    def codebook(self, rank: int, max_rank: int) -> TypeOneCodebook:
        """Codebook of one rank."""
        config = self.config
        return TypeOneCodebook(config.panel, config.num_subcarriers, config.subband_size, rank, self.mode, self.snr_db)
