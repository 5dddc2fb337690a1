"""Random vector quantisation: the index of the best of 2^B random beams."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from receivers.codebooks.rvq import rvq_codebook
from receivers.codebooks.search import best_codeword
from simulator.core import bitfield
from simulator.core.errors import ConfigError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.params import Count, validated
from simulator.core.seeding import derive
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport

# Codewords of all codebooks together when their number is left open.
_POOL = 1 << 14


class RvqFeedback(FeedbackScheme):
    r"""The UE sends :math:`\arg\max_i \sum_{n, r} |h_{r,n} c_i|^2` over a codebook of ``2**bits`` random unit vectors.

    One codebook serves every report number j with ``j mod codebooks`` equal to its own, j counting users, then drops
    (a public counter): users have codebooks of their own, so that two of them rarely choose the same beam, and
    averages over drops are averages over codebooks, as in the theory.

    Args:
        config: public configuration; one layer per UE.
        bits: B, 1..20, per report (wideband) or per subband.
        frequency: "wideband" or "subband".
        codebooks: number of independent codebooks; None takes ``2**14 / 2**bits``, at least 1.
        seed: public seed of the codebooks.

    Payload: ``bits`` per subband, most significant bit first.

    Source: Jindal, IEEE Trans. Inf. Theory 52(11), 2006; Au-Yeung, Love, IEEE Trans. Wireless Commun. 6(2), 2007.
    """

    explicit = False

    @validated("feedback.rvq")
    def __init__(
        self,
        config: CsiConfig,
        *,
        bits: Annotated[int, Field(ge=1, le=20)],
        frequency: Literal["wideband", "subband"] = "wideband",
        codebooks: Count | None = None,
        seed: int = 0,
    ):
        if config.num_layers != 1:
            raise ConfigError("precoding.layers_per_user", config.num_layers, "1 with the scheme rvq (one beam per UE)")
        self.config, self.bits, self.frequency, self.seed = config, bits, frequency, seed
        self.codebooks = max(1, _POOL >> bits) if codebooks is None else codebooks
        self._cache: dict[int, np.ndarray] = {}

    @property
    def label(self) -> str:
        """``rvq-b6``, with the suffix ``-subband`` where beams are per subband."""
        return f"rvq-b{self.bits}" + ("-subband" if self.frequency == "subband" else "")

    @property
    def max_bits(self) -> int:
        """``bits`` times the number of beams in a report."""
        return self.bits * self._num_fields

    @property
    def _num_fields(self) -> int:
        return 1 if self.frequency == "wideband" else self.config.num_subbands

    def _codebook(self, number: int) -> np.ndarray:
        if number not in self._cache:
            seed = derive(self.seed, "rvq", self.config.panel.num_ports, self.bits, number)
            self._cache[number] = rvq_codebook(self.config.panel.num_ports, self.bits, seed)
        return self._cache[number]

    def _groups(self, count: int) -> list[tuple[int, slice]]:
        """Codebook number and the reports that use it."""
        return [(j, slice(j, count, self.codebooks)) for j in range(min(self.codebooks, count))]

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Best codeword of every UE and band."""
        batch, users, _, ports, _ = csi.h_hat.shape
        starts = [0] if self.frequency == "wideband" else list(self.config.subband_starts)
        index = np.empty((batch * users, len(starts)), np.int64)
        for field, band in enumerate(np.split(csi.h_hat, starts[1:], axis=-1)):
            rows = np.moveaxis(band, 3, 4).reshape(batch * users, -1, ports)
            for number, group in self._groups(batch * users):
                index[group, field] = best_codeword(rows[group], self._codebook(number))
        bits = bitfield.pack(index, self.bits).reshape(batch, users, -1)
        return CsiReport(bits, np.full((batch, users), self.max_bits))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Unit-norm beams; every bit pattern of the right length is a codeword."""
        bits = report.expect_length(self.max_bits)
        batch, users = bits.shape[:2]
        index = bitfield.unpack(bits, self.bits).reshape(batch * users, -1)
        words = np.empty((*index.shape, self.config.panel.num_ports), np.complex64)
        for number, group in self._groups(batch * users):
            words[group] = self._codebook(number)[index[group]]
        words = np.repeat(words, self.config.num_subbands // self._num_fields, axis=1)
        w = words.reshape(batch, users, self.config.num_subbands, -1)
        return CsiReconstruction(w=np.swapaxes(w, 2, 3)[:, :, :, None, :])
