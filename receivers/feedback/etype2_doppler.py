"""Enhanced Type II feedback for predicted PMI (Release 18): one report holds the precoders of several intervals."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from receivers.codebooks.etype2_doppler import DopplerCodebook
from receivers.feedback.pmi import PmiFeedback, pmi_unit
from simulator.core.params import Count, SnrDb, validated
from simulator.core.types import CsiConfig, CsiEstimate


class DopplerFeedback(PmiFeedback):
    """RI and enhanced Type II PMI of N_4 intervals of d slots each, the first one from the first use of the report on.

    The UE predicts the channel of every interval (``predict: {at: ue, ...}`` of the scenario) and reports all of them
    in one PMI; without a prediction they all are its present estimate. The gNB takes the precoder of the interval that
    a slot is in, after the last interval that of the last one.

    Payload: as of ``etype2-r16``, with coefficients of two Doppler-domain vectors, and i_{1,10} (the second vector of
    each layer) at the end of group 1.

    Args:
        config: public configuration, panels of 4 to 32 ports.
        combination: paramCombination-Doppler-r18, 1..9.
        intervals: N_4 (vectorLengthDD) of 1, 2, 4, 8.
        unit_slots: d (unitDurationDD), slots of an interval. The standard has one slot and the spacing of the CSI-RS
            occasions; here there is an occasion in every slot.
        r: R, PMI subbands in a subband, 1 or 2 (with 2 the subband must have an even number of samples).
        rank: 1..4, or "auto".
        snr_db: SNR that the UE assumes for the RI [dB].
        seed: not used.

    Source: TS 38.214 (Rel. 18), 5.2.2.2.10.
    """

    name = "etype2-doppler-r18"

    @validated("feedback.etype2-doppler-r18")
    def __init__(
        self,
        config: CsiConfig,
        *,
        combination: Annotated[int, Field(ge=1, le=9)] = 5,
        intervals: Literal[1, 2, 4, 8] = 4,
        unit_slots: Count = 1,
        r: Literal[1, 2] = 1,
        rank: Annotated[int, Field(ge=1, le=4)] | Literal["auto"] = "auto",
        snr_db: SnrDb = 10.0,
        seed: int = 0,
    ):
        self._unit = pmi_unit(config, r, self.name)
        self.combination, self._r, self._rank = combination, r, rank
        self.num_intervals, self.interval_slots = intervals, unit_slots
        super().__init__(config, rank, snr_db, range(1, 3 if combination >= 8 else 5))

    @property
    def label(self) -> str:
        """``etype2-doppler-pc<combination>-N<intervals>``, ``-d<slots>``, ``-R2``, ``-rank<n>`` if given."""
        return (
            f"etype2-doppler-pc{self.combination}-N{self.num_intervals}"
            + (f"-d{self.interval_slots}" if self.interval_slots > 1 else "")
            + ("-R2" if self._r == 2 else "")
            + ("" if self._rank == "auto" else f"-rank{self._rank}")
        )

    def codebook(self, rank: int, max_rank: int) -> DopplerCodebook:
        """Codebook of one rank."""
        c = self.config
        return DopplerCodebook(
            c.panel, c.num_subcarriers, self._unit, rank, self.combination, self.num_intervals, max_rank, self._r == 2
        )  # fmt: skip

    def _channels(self, csi: CsiEstimate) -> np.ndarray:
        """``[report, rx_ant, port, subcarrier]``, or ``[.., port, interval, subcarrier]`` of several."""
        if self.num_intervals == 1:
            return super()._channels(csi)
        h = csi.future
        if h is None:
            h = np.repeat(csi.h_hat[..., None, :], self.num_intervals, axis=4)
        return h.reshape(-1, *h.shape[2:])

    def _rate(self, h: np.ndarray, w: np.ndarray, unit: int, noise: np.ndarray) -> np.ndarray:
        """Mean over the intervals."""
        if self.num_intervals == 1:
            return super()._rate(h, w, unit, noise)
        rates = [super(DopplerFeedback, self)._rate(h[..., i, :], w[..., i, :], unit, noise) for i in range(h.shape[3])]
        return np.mean(rates, axis=0)
