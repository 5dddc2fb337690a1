"""Beam-delay coefficients that a network reads and the UE chooses for it: nonlinear transform coding of directions."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from receivers.beamdelay.codebook import MOST_BITS
from receivers.beamdelay.gradient_synthesis import PASSES
from receivers.beamdelay.learned import LearnedCodebook
from receivers.feedback.beamdelay import BeamDelayFeedback
from receivers.feedback.pmi import PmiFeedback
from receivers.feedback.refinement import macs_of
from receivers.weights.folder import TransformWeights
from simulator.core.errors import ConfigError
from simulator.core.params import Integer, SnrDb, validated
from simulator.core.types import CsiConfig, CsiEstimate


class NtcFeedback(BeamDelayFeedback):
    r"""RI and beam-delay coefficients in the code of ``beamdelay``, decided on and decoded with a network.

    The UE begins with the report of ``beamdelay`` and changes coefficients where that improves what the network at the
    gNB makes of the report (:mod:`receivers.beamdelay.gradient_synthesis`). One network serves all steps, panels and
    bands.

    Args:
        config: public configuration.
        bits: length of a report, RI included; with ``step`` the longest, 1706 unless given.
        step: size of the quantiser's step for a layer of energy 1: reports of variable length; None: the UE chooses one
            of eight steps for every report, which has ``bits``.
        passes: of the search at the UE, at most; 0: reports as of ``beamdelay``.
        weights: network and tables, name in the zoo or folder.
        rank: 1..4, or "auto".
        snr_db: SNR that the UE assumes for the RI [dB].
        seed: not used.

    Payload: as of ``beamdelay``.

    Source: Ballé et al., "Nonlinear transform coding", IEEE J. Sel. Topics Signal Process. 15(2), 2021; the class of
        networks of 3GPP TR 38.843, 6.2.2.
    """

    name = "ntc"

    @validated("feedback.ntc")
    def __init__(
        self,
        config: CsiConfig,
        *,
        bits: Annotated[Integer, Field(ge=16, le=MOST_BITS)] | None = None,
        step: Annotated[float, Field(ge=0.005, le=1)] | None = None,
        passes: Annotated[Integer, Field(ge=0, le=32)] = PASSES,
        weights: str = "ntc-urban",
        rank: Annotated[int, Field(ge=1, le=4)] | Literal["auto"] = "auto",
        snr_db: SnrDb = 10.0,
        seed: int = 0,
    ):
        if bits is None and step is None:
            raise ConfigError("feedback.ntc.bits", None, "a number of bits, or step")
        self._bits, self._step, self._filled = bits or MOST_BITS, step, step is None
        self._trained = TransformWeights.shared(weights)
        self._rank, self._weights, self._passes = rank, self._trained.name, passes
        PmiFeedback.__init__(self, config, rank, snr_db, range(1, 5))

    def codebook(self, rank: int, max_rank: int) -> LearnedCodebook:
        """Codebook of one rank."""
        c, ri_bits = self.config, (len(self.ranks) - 1).bit_length()
        return LearnedCodebook(
            self._trained.model, c.panel, c.num_subcarriers, c.subband_size, rank, self._trained.tables, self._step,
            self._bits - ri_bits, passes=self._passes,
        )  # fmt: skip

    @property
    def label(self) -> str:
        """``ntc-b<bits>`` or ``ntc-s<step>``, with what was not left at its default."""
        size = f"b{self._bits}" if self._filled else f"s{self._step:g}"
        size += f"-b{self._bits}" if not self._filled and self._bits != MOST_BITS else ""
        size += f"-passes{self._passes}" if self._passes != PASSES else ""
        own = "" if self._weights == "ntc-urban" else f"-{self._weights}"
        rank = f"-rank{self._rank}" if self._rank != "auto" else ""
        return f"ntc-{size}{own}{rank}"

    def ue_bops(self, csi: CsiEstimate) -> np.ndarray:
        """Bit operations of ``beamdelay``, and of the decoder before and in every pass, there and back, 32 x 32."""
        once = macs_of(self._trained.model, self.config.panel.num_ports // self.config.panel.num_pol)
        return super().ue_bops(csi) + (self._passes + 1) * 2 * 1024.0 * sum(self.codebooks) * once
