"""Beam-delay reports of given directions, with a search that goes on while the decoder learns."""

from __future__ import annotations

from typing import Any

import numpy as np

from receivers.beamdelay.coder import BeamDelayCoder
from receivers.beamdelay.content import Content
from receivers.beamdelay.frame import Frame
from receivers.beamdelay.gradient_synthesis import GradientSynthesis
from receivers.beamdelay.grid import Grid
from receivers.beamdelay.quantizer import Quantizer
from receivers.beamdelay.tables import Tables

_CHUNK = 512  # reports at a time


class SearchedReports:
    """Reports of one layer, each with a step of its own, as batches for a decoder.

    Args:
        frame: of the reports.
        tables: of the entropy coder.
        v: directions complex64 ``[sample, 1, subband, port]``, unit norm.
        step: index ``[sample]`` of its step.
        sizes: of the steps.
    """

    def __init__(self, frame: Frame, tables: Tables, v: np.ndarray, step: np.ndarray, sizes: np.ndarray):
        self.frame, self.steps, self.step = frame, np.asarray(sizes, np.float32), step
        energies = [round(1 / size**2) for size in sizes]
        self.coder = BeamDelayCoder(Grid(frame.shape, tables.importance), tables, frame.num_groups, 1, energies)
        quantizer, parts = Quantizer(frame, self.coder, list(sizes)), []
        for i in range(0, len(v), _CHUNK):
            content, target = quantizer(v[i : i + _CHUNK], step[i : i + _CHUNK])
            parts.append((content.group, content.row, _rows(content), target.c))
        self.group, self.row, self.parts, self.c = (np.concatenate(x) for x in zip(*parts, strict=True))

    def __len__(self) -> int:
        return len(self.step)

    def synthesis(self, network: Any) -> GradientSynthesis:
        """Decoder and search."""
        return GradientSynthesis(self.frame, self.coder, self.steps, network)

    def content(self, rows: np.ndarray) -> Content:
        """Of some reports."""
        real, imag = np.moveaxis(self.parts[rows].astype(np.int32), 0, 2)[..., None]
        return Content(self.group[rows], self.step[rows], self.row[rows], real, imag)

    def search(self, network: Any, rows: np.ndarray, passes: int) -> None:
        """Go on with the search of some reports."""
        synthesis = self.synthesis(network)
        for i in range(0, len(rows), _CHUNK):
            some = rows[i : i + _CHUNK]
            self.parts[some] = _rows(synthesis(self.content(some), self.c[some], passes))

    def batch(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens ``[report, beam, feature]`` and directions ``[report, beam, 2, unit, 2]``."""
        content = self.content(rows)
        return self.synthesis(None).tokens(content, self.coder.bins(content), self.c[rows])


def _rows(content: Content) -> np.ndarray:
    """Parts int16 ``[report, 2, place]``."""
    return np.moveaxis(np.stack([content.real[..., 0], content.imag[..., 0]]), 2, 0).astype(np.int16)
