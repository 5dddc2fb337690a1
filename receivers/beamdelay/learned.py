"""Beam-delay reports that a network at the gNB reads, and a UE that knows it and searches with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from receivers.beamdelay.codebook import BeamDelayCodebook, content_of, pmi_of
from receivers.beamdelay.gradient_synthesis import PASSES, GradientSynthesis
from receivers.beamdelay.search import BudgetSearch
from receivers.codebooks.pmi import Pmi

_BEGUN = 0.95  # of a budget that the report has before the search, which adds coefficients


class LearnedCodebook(BeamDelayCodebook):
    """Codebook of reports that a network decodes, and a UE that knows it decides on (:class:`GradientSynthesis`).

    PMI and code are those of the beam-delay codec, so that every prefix of a report is one.

    Args:
        network: of the gNB.
        *args: of :class:`BeamDelayCodebook`.
        passes: of the search at the UE, at most; 0: reports of ``beamdelay``.
    """

    knows_errors = False

    def __init__(self, network: Any, *args: Any, passes: int = PASSES):
        super().__init__(*args)
        self._decoder, self._passes = GradientSynthesis(self.frame, self.coder, self._quantizer.steps, network), passes
        if self._search is not None:
            self._search = BudgetSearch(self._quantizer, max(int(_BEGUN * self.part2_bits), 1))

    def _chosen(self, v: np.ndarray, noise: np.ndarray | None = None) -> Pmi:
        content = content_of(super()._chosen(v, noise))
        most = np.inf if self._search is None else self.part2_bits
        return pmi_of(self._decoder(content, self.frame.project(content.group, v), self._passes, most))

    def _values(self, pmi: Pmi) -> np.ndarray:
        content = content_of(pmi)
        bins = np.moveaxis(pmi["bins"], 1, 0) if "bins" in pmi else self.coder.bins(content)
        x = self._decoder.refined(content, bins)
        cells = self.frame.off_grid(content.row.ravel(), x.reshape(-1, *x.shape[2:]))
        return cells.reshape(*x.shape[:2], -1)
