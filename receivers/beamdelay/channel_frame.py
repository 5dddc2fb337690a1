"""The frame of a report of channels: as of directions, with gains, phases and delays kept."""

from __future__ import annotations

import numpy as np

from receivers.beamdelay.frame import Frame

PHASES = 128  # of an origin


class ChannelFrame(Frame):
    r"""Coefficients of channels in DFT beams and delay taps, relative to the strongest one.

    As :class:`~receivers.beamdelay.frame.Frame`, but of channels :math:`h_t` of mean squared norm 1 in place of
    directions of free phase. So the tap of the origin counts, and its phase, which is one of 128; a number names row,
    tap and phase.

    Args:
        panel: gNB panel.
        num_subbands: frequency samples.
    """

    def split(self, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, taps and phases of origins."""
        rest, phase = np.divmod(origin, PHASES)
        return *np.divmod(rest, self.num_taps), phase

    def align(self, c: np.ndarray, step: np.ndarray, more: int = 0) -> np.ndarray:
        """``c``: its phases are part of the channel."""
        return c

    def to_origin(self, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Origins ``[item]`` and the cells complex64 ``[item, cell]`` counted from them, of ``[item, row, sample]``."""
        x = self.taps(c)
        flat = x.reshape(len(x), -1)
        place = (np.square(flat.real) + np.square(flat.imag)).argmax(axis=1)
        turn = np.angle(flat[np.arange(len(x)), place]) / (2 * np.pi)
        origin = place * PHASES + np.round(PHASES * turn).astype(np.int64) % PHASES
        return origin, self.off_grid(origin, x)

    def refit(self, c: np.ndarray, row: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Cells of ``c``: there is nothing to fit."""
        return self.off_grid(row, self.taps(c))

    def on_grid(self, row: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Coefficients complex64 ``[item, row, tap]`` of cells counted from origins."""
        row, tap, phase = self.split(row)
        x = self._rolled(cells, row, tap, -1) * _turn(phase)
        return x.reshape(len(x), self.num_rows, self.num_taps)

    def off_grid(self, row: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`on_grid`."""
        row, tap, phase = self.split(row)
        return self._rolled(x, row, tap) * _turn(phase).conj()

    def channels(self, group: np.ndarray, origin: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Channels complex64 ``[report, layer, port, sample]`` of mean square 1 per entry.

        Args:
            group: ``[report]``.
            origin: ``[report, layer]``.
            cells: complex64 ``[report, layer, cell]``, of energy 1.
        """
        reports, layers, _ = cells.shape
        c = self.from_origin(origin.ravel(), cells.reshape(reports * layers, -1))
        c = c.reshape(reports, layers, self.panel.num_pol, -1, self.num_taps)
        h = np.einsum("nbe,nlpbt->nlpet", self._groups.vectors[group], c, optimize=True)
        size = np.float32((self.num_taps * self.num_rows) ** 0.5)
        return (size * h.reshape(reports, layers, self.num_rows, self.num_taps)).astype(np.complex64)


def _turn(phase: np.ndarray) -> np.ndarray:
    return np.exp(2j * np.pi / PHASES * phase)[:, None].astype(np.complex64)
