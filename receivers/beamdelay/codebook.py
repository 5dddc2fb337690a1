"""Beam-delay codebook of one rank: directions to reports of a given step or a given number of bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from receivers.beamdelay.coder import BeamDelayCoder
from receivers.beamdelay.content import Content
from receivers.beamdelay.frame import Frame
from receivers.beamdelay.gradient_synthesis import GradientSynthesis
from receivers.beamdelay.grid import Grid
from receivers.beamdelay.layers import LayeredCoder
from receivers.beamdelay.quantizer import Quantizer
from receivers.beamdelay.search import BudgetSearch, energies_for
from receivers.beamdelay.synthesis import Synthesis
from receivers.beamdelay.tables import Tables
from receivers.codebooks.beam_delay import BeamDelayReport
from receivers.codebooks.pmi import Pmi, PmiCodebook
from simulator.core.types import Panel
from simulator.maths.transforms import subband_eigenvectors

MOST_BITS = 1706  # of a report: what UCI holds (TS 38.212, 6.3.1.2.1: two code blocks)


class BeamDelayCodebook(PmiCodebook):
    """Reports of ``step`` (variable length), or of ``bits`` (every report fills them).

    A PMI has ``group``, ``step``, ``row``, ``real`` and ``imag`` of :class:`~receivers.beamdelay.coder.Content`, the
    report as the first axis.

    Args:
        panel: gNB panel.
        num_samples: frequency samples of the channel.
        unit: samples of a subband.
        rank: layers.
        tables: shared integers.
        step: size of the step of a layer of energy 1; None: sent in the report.
        bits: length of a report without RI; with a step, the most.
        **options: of the quantiser.
    """

    knows_errors = True
    frame_type: ClassVar[type[Frame]] = Frame
    chunk: ClassVar[int] = 512  # reports at a time
    synthesis: Synthesis | None = None

    def __init__(
        self, panel: Panel, num_samples: int, unit: int, rank: int, tables: Tables, step: float | None, bits: int,
        **options: float,
    ):  # fmt: skip
        self.rank, self.unit, self.part2_bits = rank, unit, bits
        self.frame = self.frame_type(panel, -(-num_samples // unit))
        energies = self.energies_for(bits // rank) if step is None else [max(1, round(1 / step**2))]
        self.steps = [energy**-0.5 for energy in energies] if step is None else [step]
        self.coder = self._coder(tables, rank, energies)
        self._quantizer = Quantizer(self.frame, self.coder, self.steps, **options)
        self._search = None if step is not None else BudgetSearch(self._quantizer, bits)

    @staticmethod
    def energies_for(bits: int) -> list[int]:
        """Energies of a layer in squared steps, of which a report of ``bits`` per layer names one."""
        return energies_for(bits)

    def _coder(self, tables: Tables, rank: int, energies: list[int]) -> BeamDelayCoder:
        """Of one layer, or of several with the tables for them where there are such."""
        frame = self.frame
        if rank == 1 or tables.layers is None:
            return BeamDelayCoder(Grid(frame.shape, tables.importance), tables, frame.num_groups, rank, energies)
        grid = Grid(frame.shape, tables.layers.importance)
        return LayeredCoder(grid, frame.shape, tables.layers, frame.num_groups, rank, energies)

    def select(self, h: np.ndarray, error_var: np.ndarray | None = None) -> Pmi:
        """PMI of channels complex64 ``[report, rx_ant, port, subcarrier]`` with error variances ``[report]``."""
        error_var = np.zeros(len(h)) if error_var is None else error_var
        chunks = [slice(i, i + self.chunk) for i in range(0, len(h), self.chunk)]
        parts = [self._select(h[chunk], error_var[chunk]) for chunk in chunks]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def _select(self, h: np.ndarray, error_var: np.ndarray) -> Pmi:
        v = subband_eigenvectors(h, self.unit, self.rank)
        return self._chosen(v, self._noise(h, v, error_var) if error_var.any() else None)

    def _noise(self, h: np.ndarray, v: np.ndarray, error_var: np.ndarray) -> np.ndarray:
        """Error variance of a cell float32 ``[report, layer]``: that of an entry over the gain of the direction."""
        subband = np.arange(h.shape[3]) // self.unit
        gain = np.einsum("nrps,nlsp->nrls", h, v[:, :, subband], optimize=True)
        gain = np.sum(np.square(np.abs(gain)), axis=1)
        starts = np.flatnonzero(np.diff(subband, prepend=-1))
        gain = np.add.reduceat(gain, starts, axis=2) / np.bincount(subband)
        share = error_var[:, None, None] / np.maximum(gain, 1e-30)
        return (np.minimum(share, 1 / h.shape[2]).mean(axis=2) / v.shape[2]).astype(np.float32)

    def _chosen(self, v: np.ndarray, noise: np.ndarray | None = None) -> Pmi:
        if self._search is not None:
            return pmi_of(self._search(v, noise))
        content, _ = self._quantizer(v, np.zeros(len(v), np.int64), noise)
        return pmi_of(content if self.synthesis is None else self.synthesis(v, content))

    def synthesise(self, network: Any, directions: Callable[[Pmi], np.ndarray], passes: int) -> None:
        """Search, with a public step, for reports that are best with a network and the ``directions`` of the gNB."""

        def known(content: Content, bins: np.ndarray) -> np.ndarray:
            return directions({**pmi_of(content), "bins": np.moveaxis(bins, 0, 1)})

        search = GradientSynthesis(self.frame, self.coder, self._quantizer.steps, network)
        self.synthesis = Synthesis(search, known, passes)

    def pack(self, pmi: Pmi, most_bits: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Part 1 (nothing), part 2 of at most ``bits``, or ``most_bits``, and its length."""
        bits, num_bits = self.coder.encode(content_of(pmi), self.part2_bits if most_bits is None else most_bits)
        if self._search is not None:
            num_bits[:] = bits.shape[1]
        return np.zeros((len(bits), 0), np.uint8), bits, num_bits

    def unpack(self, part1: np.ndarray, part2: np.ndarray, num_bits: np.ndarray) -> tuple[Pmi, np.ndarray]:
        """What the bits determine; all reports are valid."""
        content, bins = self.coder.decode(part2, np.clip(num_bits, 0, part2.shape[1]))
        return {**pmi_of(content), "bins": np.moveaxis(bins, 0, 1)}, np.ones(len(part2), bool)

    def precoder(self, pmi: Pmi) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, unit]``."""
        content = content_of(pmi)
        return self.frame.directions(content.group, content.row, self._values(pmi))

    def _values(self, pmi: Pmi) -> np.ndarray:
        content = content_of(pmi)
        bins = np.moveaxis(pmi["bins"], 1, 0) if "bins" in pmi else self.coder.bins(content)
        return self.coder.values(content, bins, self.steps)

    @property
    def size(self) -> tuple[int, int, int]:
        """(polarisations, N2, N1): rows of a report in the beam-delay domain."""
        return self.frame.shape[:3]

    @property
    def num_units(self) -> int:
        """Subbands."""
        return self.frame.num_taps

    def beam_delay(self, pmi: Pmi) -> BeamDelayReport:
        """Coefficients of a PMI on all beams of its group and all taps."""
        content = content_of(pmi)
        return self.frame.report(content.group, content.row, self._values(pmi), np.asarray(self.steps)[content.step])

    def combine(self, group: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, unit]`` of coefficients as of :meth:`beam_delay`."""
        reports, layers = x.shape[:2]
        flat = x.reshape(reports * layers, *x.shape[2:])
        row = np.abs(flat).max(axis=2).argmax(axis=1)
        cells = self.frame.off_grid(row, flat).reshape(reports, layers, -1)
        return self.frame.directions(group, row.reshape(reports, layers), cells)

    def project(self, group: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Beam coefficients complex64 ``[report, layer, row, unit]`` of directions ``[report, layer, unit, port]``."""
        return self.frame.project(group, v)


def pmi_of(content: Content) -> Pmi:
    """PMI of what reports say."""
    parts = {key: np.moveaxis(getattr(content, key), 0, 1) for key in ("real", "imag")}
    return {"group": content.group, "step": content.step, "row": content.row, **parts}


def content_of(pmi: Pmi) -> Content:
    """What reports of a PMI say."""
    parts = [np.moveaxis(pmi[key], 1, 0) for key in ("real", "imag")]
    return Content(pmi["group"], pmi["step"], pmi["row"], *parts)
