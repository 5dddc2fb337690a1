"""Beam-delay reports whose coefficients a network chooses at the UE and another one reads at the gNB."""

from __future__ import annotations

from typing import Any

import numpy as np

from receivers.beamdelay.codebook import BeamDelayCodebook, content_of, pmi_of
from receivers.beamdelay.content import Content
from receivers.beamdelay.search import fine_energies_for
from receivers.beamdelay.window import Window
from receivers.codebooks.pmi import Pmi
from simulator.maths.transforms import subband_eigenvectors


class LearnedCodebook(BeamDelayCodebook):
    """Codebook of a :class:`receivers.models.ntc.NonlinearTransformCodec` and of tables counted on its symbols.

    PMI and code are those of the beam-delay codec, so that every prefix of a report is one. Without a public step a
    report has the finest step with which it fits.

    Args:
        network: the transform codec.
        *args: of :class:`BeamDelayCodebook`.
    """

    knows_errors = False

    def __init__(self, network: Any, *args: Any):
        super().__init__(*args)
        self._window, self._network = Window(self.frame), network
        self._sizes = np.asarray(self.steps, np.float32)

    @staticmethod
    def energies_for(bits: int) -> list[int]:
        """Finer than those of a search that decides on single coefficients: the step alone fills the report."""
        return fine_energies_for(bits)

    def _select(self, h: np.ndarray, error_var: np.ndarray) -> Pmi:
        v = subband_eigenvectors(h, self.unit, self.rank)
        low, high = np.zeros(len(v), np.int64), np.full(len(v), len(self.steps) - 1)
        group, c = self.frame.sparsest(v, self._sizes[high // 2])
        while (low < high).any():
            middle = (low + high + 1) // 2
            content = self.content(group, c, middle)
            length = np.sum(self.coder.ideal_bits(content), axis=(0, 2)) + self.coder.head_bits()
            fits = length <= self.part2_bits - 1
            low, high = np.where(fits, middle, low), np.where(fits, high, np.maximum(middle - 1, low))
        return pmi_of(self.content(group, c, low))

    def content(self, group: np.ndarray, c: np.ndarray, step: np.ndarray) -> Content:
        """What reports say of aligned beams complex64 ``[report, layer, row, subband]`` with steps by index."""
        reports, layers = c.shape[:2]
        row, cells = self.frame.to_origin(c.reshape(-1, *c.shape[2:]))
        parts = self._window.symbols(self._network, cells, np.repeat(self._sizes[step], layers))
        parts = parts.reshape(2, reports, layers, -1)[..., self.coder.grid.order]
        real, imag = np.ascontiguousarray(parts.transpose(0, 3, 1, 2))
        real[0], imag[0] = self.coder.limit_origin(real[0], step), 0
        return Content(group, step, row.reshape(reports, layers), real, imag)

    def _values(self, pmi: Pmi) -> np.ndarray:
        """Cells complex64 ``[report, layer, cell]`` that the network at the gNB expects."""
        content = content_of(pmi)
        found = np.moveaxis(np.stack([content.real, content.imag]), 1, 3)  # [part, report, layer, place]
        _, reports, layers, size = found.shape
        parts = np.empty((2, reports * layers, size), np.float32)
        parts[..., self.coder.grid.order] = found.reshape(2, reports * layers, size)
        cells = self._window.cells(self._network, parts, np.repeat(self._sizes[content.step], layers))
        return cells.reshape(reports, layers, size)
