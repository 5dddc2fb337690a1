"""Beam-delay codebook of one rank with a flag: reports that refer to an earlier one, or stand alone."""

from __future__ import annotations

from math import isqrt
from typing import Any, cast

import numpy as np

from receivers.beamdelay.codebook import BeamDelayCodebook
from receivers.beamdelay.coder import BeamDelayCoder
from receivers.beamdelay.content import Content
from receivers.beamdelay.predicted import PredictedCoder, PredictedContent, PredictedTables, decoded, predicted
from receivers.beamdelay.predicted_quantizer import PredictedQuantizer
from receivers.beamdelay.quantizer import SLOPE
from receivers.beamdelay.reference import MOST, Reference
from receivers.beamdelay.search import BudgetSearch
from receivers.beamdelay.tables import Tables
from simulator.core.types import Panel

_CHUNK = 256  # reports at a time
_STEP_BITS = 22


class TemporalCodebook:
    """Reports as of :class:`~receivers.beamdelay.codebook.BeamDelayCodebook` after a flag of one bit.

    Flag 0: the report stands alone. Flag 1: it refers to the reference that both ends have
    (:class:`~receivers.beamdelay.predicted.PredictedCoder`). The UE codes both ways and refers where that costs less
    and takes no more bits; no report is longer than one that stands alone by more than the flag.

    Args:
        panel: gNB panel.
        num_samples: frequency samples of the channel.
        unit: samples of a subband.
        rank: layers.
        tables: of reports that stand alone.
        referred: of reports with a reference.
        step: size of the step of a layer of energy 1; None: sent in the report.
        bits: length of a report without RI; with a step, the most.
        **options: of the quantiser.
    """

    def __init__(
        self, panel: Panel, num_samples: int, unit: int, rank: int, tables: Tables, referred: PredictedTables,
        step: float | None, bits: int, **options: float,
    ):  # fmt: skip
        self._made = panel, num_samples, unit, rank, tables, referred, step, bits
        self._options = options
        self.alone = BeamDelayCodebook(panel, num_samples, unit, rank, tables, step, bits - 1, **options)
        self.rank, self.frame = rank, self.alone.frame
        energies = [int(e) for e in self.alone.coder.energies]
        self.coder = PredictedCoder(self.alone.coder.grid, self.frame.shape, referred, rank, energies)
        self._quantizer = PredictedQuantizer(self.frame, self.coder, self.alone.steps, **options)
        self._filled, self._bits, self._slope = step is None, bits, options.get("slope", SLOPE)
        self._sizes = np.array([isqrt((1 << 2 * _STEP_BITS) // energy) for energy in energies])

    def referring(self, reference: Reference) -> PredictedQuantizer:
        """Quantiser of reports with these references."""
        return self._quantizer.after(reference)

    def decoded(self, content: Content, reference: Reference | None = None) -> Reference:
        """What the gNB decodes from a content, with the reference of a :class:`PredictedContent`."""
        if reference is None:
            return Reference(content.group, content.row, self._cells(content, self.alone.coder))
        gain = cast(PredictedContent, content).gain
        cells = predicted(reference.cells, gain) + self._cells(content, self.coder)
        return Reference(content.group, content.row, np.clip(cells, -MOST, MOST))

    def with_referred(self, referred: PredictedTables) -> TemporalCodebook:
        """The same with other tables of reports with a reference."""
        return TemporalCodebook(*self._made[:5], referred, *self._made[6:], **self._options)

    def encode(
        self, v: np.ndarray, reference: Reference, known: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Reference, np.ndarray]:
        """Bits ``[report, bit]``, lengths, what the gNB decodes from them, and bool ``[report]``: it refers.

        Args:
            v: directions complex64 ``[report, layer, subband, port]``.
            reference: of every report.
            known: bool ``[report]``, there is a reference.
        """
        parts = [
            self._encode(v[i : i + _CHUNK], reference.of(slice(i, i + _CHUNK)), known[i : i + _CHUNK])
            for i in range(0, len(v), _CHUNK)
        ]
        width = max(part[0].shape[1] for part in parts)
        bits = np.concatenate([np.pad(part[0], ((0, 0), (0, width - part[0].shape[1]))) for part in parts])
        num_bits, flag = (np.concatenate([part[n] for part in parts]) for n in (1, 2))
        found, _ = self.decode(bits, num_bits, reference, known)
        return bits, num_bits, found, flag

    def _encode(
        self, v: np.ndarray, reference: Reference, known: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        bits = np.zeros((len(v), self._bits), np.uint8)
        payload, num_bits, cost = self._coded(self.alone._quantizer, self.alone.coder, v)
        bits[:, 1 : 1 + payload.shape[1]] = payload
        flag = np.zeros(len(v), bool)
        rows = np.flatnonzero(known)
        if rows.size:
            quantizer = self.referring(reference.of(rows))
            payload, length, less = self._coded(quantizer, self.coder, v[rows])
            better = (less < cost[rows]) & (length <= num_bits[rows])
            rows = rows[better]
            bits[rows, 1:] = 0
            bits[rows, 1 : 1 + payload.shape[1]] = payload[better]
            num_bits[rows], flag[rows] = length[better], True
        bits[:, 0] = flag
        return bits, num_bits + 1, flag

    def _coded(self, quantizer: Any, coder: BeamDelayCoder, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Payload, its length, and its cost: loss of SGCS, summed over layers, plus what the bits are worth."""
        if self._filled:
            content = BudgetSearch(quantizer, self._bits - 1)(v)
        else:
            content = quantizer(v, np.zeros(len(v), np.int64))[0]
        content = coder.cut(content, self._bits - 1)[0]  # what the gNB will see of it
        payload, num_bits = coder.encode(content, self._bits - 1)
        w = self.precoder(self.decoded(content, getattr(quantizer, "reference", None)))
        loss = np.sum(1 - np.mean(np.abs(np.einsum("nltp,nplt->nlt", v.conj(), w)) ** 2, axis=2), axis=1)
        if self._filled:  # all have one length: the loss alone decides
            return payload, np.full(len(v), self._bits - 1), loss
        return payload, num_bits, loss + (self._slope or SLOPE) * np.square(quantizer.steps[content.step]) * num_bits

    def decode(
        self, bits: np.ndarray, num_bits: np.ndarray, reference: Reference, known: np.ndarray
    ) -> tuple[Reference, np.ndarray]:
        """Decoded reports, and bool ``[report]``: valid, that is not referring to a reference that is not there."""
        flag = (bits[:, 0] > 0) & (num_bits > 0)
        rest, length = bits[:, 1:], np.maximum(num_bits - 1, 0)
        group, row, cells = reference.group.copy(), reference.row.copy(), np.zeros_like(reference.cells)
        rows = np.flatnonzero(~flag)
        if rows.size:
            content, bins = self.alone.coder.decode(rest[rows], length[rows])
            group[rows], row[rows] = content.group, content.row
            cells[:, rows] = self._cells(content, self.alone.coder, bins)
        rows = np.flatnonzero(flag)
        if rows.size:
            earlier = reference.of(rows)
            energy = np.ascontiguousarray(np.moveaxis(earlier.energy[..., self.coder.grid.order], 2, 0))
            content, bins = self.coder.decode(rest[rows], length[rows], energy)
            cells[:, rows] = predicted(earlier.cells, content.gain) + self._cells(content, self.coder, bins)
        return Reference(group, row, np.clip(cells, -MOST, MOST)), ~flag | known

    def _cells(self, content: Content, coder: BeamDelayCoder, bins: np.ndarray | None = None) -> np.ndarray:
        """Cells int64 ``[2, report, layer, cell]`` of the coefficients that were sent."""
        levels, bins = coder.tables.levels, coder.bins(content) if bins is None else bins
        by_place = decoded(content, bins, levels, self._sizes, coder.origins)
        cells = np.zeros((2, *by_place.shape[2:], by_place.shape[1]), np.int64)
        cells[..., coder.grid.order] = np.moveaxis(by_place, 1, 3)
        return cells

    def precoder(self, report: Reference) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, unit]``."""
        return self.frame.directions(report.group, report.row, report.values)
