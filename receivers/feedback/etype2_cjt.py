"""Enhanced Type II feedback for coherent joint transmission (Release 18)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from receivers.codebooks.etype2_cjt import BEAMS, CjtCodebook
from receivers.feedback.pmi import PmiFeedback, pmi_unit
from simulator.core.params import SnrDb, validated
from simulator.core.types import CsiConfig


class CjtFeedback(PmiFeedback):
    """RI and one enhanced Type II PMI for the ports of all stations, which send every layer together.

    Payload: as of ``etype2-r16``, with i_{1,1} and i_{1,2} of every station, and in mode 1 i_{1,9} (their delays) at
    the end of group 1.

    Args:
        config: public configuration; 1 to 4 stations (``bs.num_trps``), each with a panel of 4 to 32 ports.
        beams: paramCombination-CJT-L-r18, 1..16: L of every station.
        combination: paramCombination-CJT-r18, 1..7: taps and coefficients; which go with which beams is in the table.
        mode: codebookMode; 1: a delay of every station, 2: the same taps for all stations as they are.
        oversampling: O_3 of mode 1, steps of a delay in a tap.
        r: R, PMI subbands in a subband, 1 or 2 (with 2 the subband must have an even number of samples).
        rank: 1..4, or "auto".
        snr_db: SNR that the UE assumes for the RI [dB].
        seed: not used.

    Source: TS 38.214 (Rel. 18), 5.2.2.2.8.
    """

    name, several_trps = "etype2-cjt-r18", True

    @validated("feedback.etype2-cjt-r18")
    def __init__(
        self,
        config: CsiConfig,
        *,
        beams: Annotated[int, Field(ge=1, le=16)],
        combination: Annotated[int, Field(ge=1, le=7)],
        mode: Literal[1, 2] = 1,
        oversampling: Literal[1, 4] = 4,
        r: Literal[1, 2] = 1,
        rank: Annotated[int, Field(ge=1, le=4)] | Literal["auto"] = "auto",
        snr_db: SnrDb = 10.0,
        seed: int = 0,
    ):
        self._unit = pmi_unit(config, r, self.name)
        self._beams, self._combination, self._mode, self._oversampling = beams, combination, mode, oversampling
        self._r, self._rank = r, rank
        super().__init__(config, rank, snr_db, range(1, 3 if beams == 3 else 5))

    @property
    def label(self) -> str:
        """``etype2-cjt-L<beams>-pc<combination>-mode<mode>``, e.g. L44; ``-O1``, ``-R2``, ``-rank<n>`` if given."""
        return (
            f"etype2-cjt-L{''.join(map(str, BEAMS[self._beams]))}-pc{self._combination}-mode{self._mode}"
            + ("-O1" if self._oversampling == 1 else "")
            + ("-R2" if self._r == 2 else "")
            + ("" if self._rank == "auto" else f"-rank{self._rank}")
        )

    def codebook(self, rank: int, max_rank: int) -> CjtCodebook:
        """Codebook of one rank."""
        c = self.config
        return CjtCodebook(
            c.panel, c.num_subcarriers, self._unit, rank, self._combination, self._beams, self._mode,
            self._oversampling, max_rank, self._r == 2,
        )  # fmt: skip
