"""Type II port selection (Release 15) feedback."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from receivers.codebooks.port_selection import TypeTwoPortSelectionCodebook
from receivers.feedback.pmi import PmiFeedback
from simulator.core.params import SnrDb, validated
from simulator.core.types import CsiConfig


class TypeTwoPortSelectionFeedback(PmiFeedback):
    """RI and Type II port selection PMI, on the ports of beamformed CSI-RS (or on antennas, where there are none).

    Payload: as of ``type2-r15``, with the port selection in i_{1,1} and no i_{1,2}.

    Args:
        config: public configuration; its ports are those of the CSI-RS: 4, 8, 12, 16, 24 or 32.
        sampling: d (portSelectionSamplingSize), 1..4, at most P/2 and L.
        beams: L, 2..4.
        psk: N_PSK, 4 or 8.
        subband_amplitude: with amplitudes of one bit in every subband.
        rank: 1, 2, or "auto".
        snr_db: SNR that the UE assumes for the RI [dB].
        seed: not used.

    Source: TS 38.214, 5.2.2.2.4.
    """

    name = "type2-ps-r15"

    @validated("feedback.type2-ps-r15")
    def __init__(
        self,
        config: CsiConfig,
        *,
        sampling: Annotated[int, Field(ge=1, le=4)] = 1,
        beams: Annotated[int, Field(ge=2, le=4)] = 4,
        psk: Literal[4, 8] = 8,
        subband_amplitude: bool = False,
        rank: Annotated[int, Field(ge=1, le=2)] | Literal["auto"] = "auto",
        snr_db: SnrDb = 10.0,
        seed: int = 0,
    ):
        self._sampling, self._beams, self._psk = sampling, beams, psk
        self._subband_amplitude, self._rank = subband_amplitude, rank
        super().__init__(config, rank, snr_db, range(1, 3))

    @property
    def label(self) -> str:
        """``type2ps-P<ports>-d<sampling>-L<beams>-psk<psk>``, suffixes ``-sba`` and ``-rank<n>``."""
        return (
            f"type2ps-P{self.config.panel.num_ports}-d{self._sampling}-L{self._beams}-psk{self._psk}"
            + ("-sba" if self._subband_amplitude else "")
            + ("" if self._rank == "auto" else f"-rank{self._rank}")
        )

    def codebook(self, rank: int, max_rank: int) -> TypeTwoPortSelectionCodebook:
        """Codebook of one rank."""
        config = self.config
        return TypeTwoPortSelectionCodebook(
            config.panel, config.num_subcarriers, config.subband_size, rank, self._beams, self._psk,
            self._subband_amplitude, max_rank, sampling=self._sampling,
        )  # fmt: skip
