"""Port selection (Release 18) for coherent joint transmission: feedback on beamformed ports of all stations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from receivers.codebooks.fetype2_cjt import CjtPortSelectionCodebook
from receivers.feedback.pmi import PmiFeedback, pmi_unit
from simulator.core.params import SnrDb, validated
from simulator.core.types import CsiConfig


class CjtPortSelectionFeedback(PmiFeedback):
    """RI and one port selection PMI for the ports of all stations, which send every layer together.

    Args:
        config: public configuration; 1 to 4 stations (``bs.num_trps``), each with 4, 8, 12, 16, 24 or 32 CSI-RS ports.
        alpha: paramCombination-CJT-PS-alpha-r18, 1..20: share of the ports of every station that are reported.
        combination: paramCombination-CJT-PS-r18, 1..5: taps and coefficients; the table pairs it with ``alpha``.
        mode: codebookMode; 1: a delay of every station, 2: the same taps for all stations as they are.
        oversampling: O_3 of mode 1, steps of a delay in a tap.
        window: N (valueOfN-CJT-r18), 2 or 4 taps from which combinations 4, 5 take two.
        r: R, PMI subbands in a subband, 1, or 2 with combinations 4, 5 (subbands of an even number of samples).
        rank: 1..4, or "auto".
        snr_db: SNR that the UE assumes for the RI [dB].
        seed: not used.

    Source: TS 38.214 (Rel. 18), 5.2.2.2.9.
    """

    name, several_trps = "fetype2-cjt-ps-r18", True

    @validated("feedback.fetype2-cjt-ps-r18")
    def __init__(
        self,
        config: CsiConfig,
        *,
        alpha: Annotated[int, Field(ge=1, le=20)],
        combination: Annotated[int, Field(ge=1, le=5)],
        mode: Literal[1, 2] = 1,
        oversampling: Literal[1, 4] = 4,
        window: Literal[2, 4] = 2,
        r: Literal[1, 2] = 1,
        rank: Annotated[int, Field(ge=1, le=4)] | Literal["auto"] = "auto",
        snr_db: SnrDb = 10.0,
        seed: int = 0,
    ):
        self._unit = pmi_unit(config, r, self.name)
        self._alpha, self._combination, self._mode, self._oversampling = alpha, combination, mode, oversampling
        self._window, self._r, self._rank = window, r, rank
        super().__init__(config, rank, snr_db, range(1, 5))

    @property
    def label(self) -> str:
        """``fetype2cjt-P<ports>-a<alpha>-pc<combination>-mode<mode>`` and ``-O1``, ``-N4``, ``-R2``, ``-rank<n>``."""
        return (
            f"fetype2cjt-P{self.config.panel.of_trp.num_ports}-a{self._alpha}-pc{self._combination}-mode{self._mode}"
            + ("-O1" if self._oversampling == 1 else "")
            + ("-N4" if self._window == 4 and self._combination >= 4 else "")
            + ("-R2" if self._r == 2 else "")
            + ("" if self._rank == "auto" else f"-rank{self._rank}")
        )

    def codebook(self, rank: int, max_rank: int) -> CjtPortSelectionCodebook:
        """Codebook of one rank."""
        c = self.config
        return CjtPortSelectionCodebook(
            c.panel, c.num_subcarriers, self._unit, rank, self._combination, self._alpha, self._mode,
            self._oversampling, max_rank, self._window, self._r == 2,
        )  # fmt: skip
