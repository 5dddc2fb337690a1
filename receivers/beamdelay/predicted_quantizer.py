"""Decisions of beam-delay reports that refer to an earlier one."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from receivers.beamdelay.content import Content
from receivers.beamdelay.predicted import GAINS, PredictedContent, predicted
from receivers.beamdelay.quantizer import SLOPE, Quantizer, Target
from receivers.beamdelay.reference import UNIT, Reference


@dataclass(frozen=True)
class PredictedTarget(Target):
    """Directions in the frame of a reference; ``cells`` are what the prediction leaves.

    Args:
        prediction: complex64 ``[report, layer, cell]``.
        gain: index ``[report]``.
        energy: of the reference, int64 ``[place, report, layer]``.
    """

    prediction: np.ndarray
    gain: np.ndarray
    energy: np.ndarray

    def of(self, reports: np.ndarray) -> PredictedTarget:
        """Some of the reports."""
        part = super().of(reports)
        return replace(
            part, prediction=self.prediction[reports], gain=self.gain[reports], energy=self.energy[:, reports]
        )  # fmt: skip


class PredictedQuantizer(Quantizer):
    r"""Quantiser of :math:`x - g \hat{x}`, group, origins and delay being those of the reference :math:`\hat{x}`.

    The phases of the subbands are first those that fit the reference, then those that fit prediction and decisions. The
    gain is the one next to :math:`\Re \langle \hat{x}, x \rangle / |\hat{x}|^2`.
    """

    reference: Reference

    def after(self, reference: Reference) -> Self:
        """This quantiser for reports with these references."""
        own = copy.copy(self)
        own.reference = reference
        return own

    def start(
        self, v: np.ndarray, step: np.ndarray, noise: np.ndarray, whole: bool = True
    ) -> tuple[PredictedTarget, Content, np.ndarray]:
        """Target, first decisions, and the tables that they were made with; errors of the estimate are not known."""
        target = self.target(v)
        bins = self.coder.bins(self.plain(target, step))
        return target, self.decide(target, step, bins, np.full(len(v), self.slope or SLOPE)), bins

    def target(self, v: np.ndarray) -> PredictedTarget:
        """What the predictions leave of directions complex64 ``[report, layer, subband, port]``."""
        reference = self.reference
        c = self.frame.project(reference.group, v) * np.float32(v.shape[2] ** -0.5)
        earlier = reference.values
        x = self._aligned(c, reference.row, earlier)
        fit = np.sum((earlier.conj() * x).real, axis=(1, 2)) / np.maximum(
            np.sum(np.square(np.abs(earlier)), axis=(1, 2)), 1e-9
        )
        gain = np.abs(fit[:, None] - np.array(GAINS) / 4).argmin(axis=1)
        expected = predicted(reference.cells, gain).astype(np.float32) / np.float32(UNIT)
        prediction = (expected[0] + 1j * expected[1]).astype(np.complex64)
        energy = np.ascontiguousarray(np.moveaxis(reference.energy[..., self.coder.grid.order], 2, 0))
        cells = self._places(x - prediction, reference.row.shape)
        none = np.zeros(reference.row.shape, np.float32)
        return PredictedTarget(reference.group, reference.row, c, cells, none, prediction, gain, energy)

    def _aligned(self, c: np.ndarray, row: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Cells complex64 ``[report, layer, cell]`` of ``c`` with the phases that fit ``cells``."""
        shape = cells.shape
        flat = c.reshape(-1, *c.shape[2:])
        return self.frame.refit(flat, row.ravel(), cells.reshape(len(flat), -1)).reshape(shape)

    def _content(self, target: Target, step: np.ndarray, real: np.ndarray, imag: np.ndarray) -> PredictedContent:
        return PredictedContent(target.group, step, target.row, real, imag, target.gain, target.energy)

    def refit(self, target: Target, content: Content, bins: np.ndarray) -> Target:
        """The target with the phases that fit prediction and content best."""
        values = target.prediction + self.coder.values(content, bins, self.steps)
        x = self._aligned(target.c, target.row, values)
        return replace(target, cells=self._places(x - target.prediction, target.row.shape))
