"""Directions in the beam-delay frame, unquantised, as batches for a transform codec."""

from __future__ import annotations

import numpy as np

from receivers.beamdelay.frame import Frame
from receivers.beamdelay.window import Window

_CHUNK = 512  # directions at a time


class DirectionSet:
    """Directions of layers, aligned once for a step of their own.

    Args:
        frame: of the reports.
        v: directions complex64 ``[sample, layer, subband, port]``, unit norm.
        step: for which the phases are aligned, ``[sample]``.
    """

    def __init__(self, frame: Frame, v: np.ndarray, step: np.ndarray):
        self._frame, self._window = frame, Window(frame)
        parts = [frame.sparsest(v[i : i + _CHUNK], step[i : i + _CHUNK])[1] for i in range(0, len(v), _CHUNK)]
        c = np.concatenate(parts)
        self.c, self.step = c.reshape(-1, *c.shape[2:]), np.repeat(step, v.shape[1])

    def __len__(self) -> int:
        return len(self.c)

    def kernel(self) -> np.ndarray:
        """Map of the loss, :meth:`receivers.models.report_frame.ReportFrame.kernel`."""
        return self._window.reports.kernel()

    def batch(self, rows: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens ``[layer, beam, feature]`` and directions ``[layer, beam, 2, unit, 2]`` for steps ``[layer]``."""
        c = self.c[rows]
        row, cells = self._frame.to_origin(c)
        return self._window.tokens(cells, step), self._window.reports.target(c, row * self._frame.num_taps)
