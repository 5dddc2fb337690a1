"""Beam-delay reports of channels, with their gains, phases and delays."""

from __future__ import annotations

from typing import Any

import numpy as np

from receivers.beamdelay.channel_frame import PHASES, ChannelFrame
from receivers.beamdelay.codebook import BeamDelayCodebook, content_of
from receivers.beamdelay.coder import BeamDelayCoder
from receivers.beamdelay.content import Content
from receivers.beamdelay.grid import Grid
from receivers.codebooks.pmi import Pmi

_LEAST = 1e-15  # of an amplitude
_CHUNK = 128  # reports at a time: they have a tap for every sample


class ChannelCoder(BeamDelayCoder):
    """As :class:`~receivers.beamdelay.coder.BeamDelayCoder`, with tap and phase of every origin after its row."""

    @property
    def _taps(self) -> int:
        return self.grid.num_taps

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._heads += [self._taps] * self.rank + [PHASES] * self.rank

    def _head_values(self, content: Content) -> list[np.ndarray]:
        place, phase = np.divmod(content.row, PHASES)
        row, tap = np.divmod(place, self._taps)
        return [content.group, content.step, *row.T, *tap.T, *phase.T]

    def _content(self, heads: list[np.ndarray], real: np.ndarray, imag: np.ndarray, **given: Any) -> Content:
        row, tap, phase = np.stack(heads[2:], axis=1).reshape(len(real[0]), 3, self.rank).swapaxes(0, 1)
        return Content(heads[0], heads[1], (row * self._taps + tap) * PHASES + phase, real, imag)


class ChannelCodebook(BeamDelayCodebook):
    """Reports of channels: a layer is a receive antenna, of energy 1; its amplitude is a field of part 1.

    A PMI has ``amplitude [report, layer]`` as well: root mean squares of the antennas.

    Args:
        panel: gNB panel.
        num_samples: frequency samples of the channel, each of which is a subband here.
        num_rx_ant: receive antennas.
        tables: shared integers.
        step: size of the step of a layer of energy 1; None: sent in the report.
        bits: length of a report; with a step, the most.
        amplitude: field of the amplitudes.
        **options: of the quantiser.
    """

    knows_errors = False
    frame_type, chunk = ChannelFrame, _CHUNK

    def __init__(self, panel: Any, num_samples: int, num_rx_ant: int, tables: Any, step: float | None, bits: int,
                 amplitude: Any, **options: Any):  # fmt: skip
        self._amplitude, self.part1_bits = amplitude, num_rx_ant * amplitude.bits
        super().__init__(panel, num_samples, 1, num_rx_ant, tables, step, bits - self.part1_bits, **options)

    def _coder(self, tables: Any, rank: int, energies: list[int]) -> ChannelCoder:
        grid = Grid(self.frame.shape, tables.importance)
        return ChannelCoder(grid, tables, self.frame.num_groups, rank, energies)

    def _select(self, h: np.ndarray, error_var: np.ndarray) -> Pmi:
        amplitude = np.sqrt(np.mean(np.abs(h) ** 2, axis=(2, 3), dtype=np.float64))
        v = h / np.maximum(amplitude, _LEAST)[..., None, None] / np.sqrt(h.shape[2])
        return {**self._chosen(np.moveaxis(v, 3, 2).astype(np.complex64)), "amplitude": amplitude}

    def pack(self, pmi: Pmi, most_bits: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Amplitudes, part 2 of at most ``bits``, or ``most_bits``, and its length."""
        _, part2, num_bits = super().pack(pmi, most_bits)
        return self._amplitude.pack(pmi["amplitude"]), part2, num_bits

    def unpack(self, part1: np.ndarray, part2: np.ndarray, num_bits: np.ndarray) -> tuple[Pmi, np.ndarray]:
        """What the bits determine; all reports are valid."""
        pmi, valid = super().unpack(part1, part2, num_bits)
        amplitude = self._amplitude.unpack(part1)
        return {**pmi, "amplitude": np.ones((len(part2), self.rank)) if amplitude is None else amplitude}, valid

    def channels(self, pmi: Pmi) -> np.ndarray:
        """Channels complex64 ``[report, rx_ant, port, sample]``."""
        content = content_of(pmi)
        h = self.frame.channels(content.group, content.row, self._values(pmi))
        return h * pmi["amplitude"].astype(np.float32)[..., None, None]
