"""Cells around the origin as tokens of a transform codec, and its latents as whole parts of the cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from receivers.beamdelay.frame import Frame
from receivers.beamdelay.quantizer import PLAIN_OFFSET
from receivers.codebooks.beam_delay import BeamDelayReport
from receivers.models.report_frame import GAIN, TAPS, ReportFrame, conjugated, name_step

_LAYERS = 512  # at a time


class Window:
    """The 13 taps around the origin in all beams of a frame, which a network codes; cells beyond it are coded plainly.

    A direction and its complex conjugate are equally likely in this frame: both networks answer to both, and the mean
    counts.

    Args:
        frame: of the reports.
    """

    def __init__(self, frame: Frame):
        self._size, self.reports = frame.num_rows * frame.num_taps, ReportFrame(frame.shape[:3], frame.num_taps)
        self._grid = frame.num_rows, frame.num_taps
        self._cells, self._turn, self._taps = self.reports.window()  # [polarisation, beam, tap]
        one = np.eye(1, self._size, dtype=np.complex64)
        self._template = self.tokens(one, np.ones(1, np.float32))

    def tokens(self, cells: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Tokens float32 ``[layer, beam, feature]`` of cells complex64 ``[layer, cell]`` of energy 1."""
        x = cells.reshape(len(cells), 1, *self._grid)
        report = BeamDelayReport(
            np.zeros(len(x), np.int64), x, np.ones(x.shape, bool), step[:, None], logarithmic=False
        )
        return name_step(self.reports.tokens(report), step)

    def symbols(self, network: Any, cells: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Whole parts int32 ``[2, layer, cell]`` of cells complex64 ``[layer, cell]``, within the window turned."""
        found = np.empty((2, *cells.shape), np.int32)
        for rows in _blocks(len(cells)):
            y = cells[rows] / step[rows, None]
            parts = np.stack([y.real, y.imag])
            parts = np.sign(parts) * np.floor(np.abs(parts) + np.float32(PLAIN_OFFSET))
            tokens = self.tokens(cells[rows], step[rows])
            latents = 0.5 * (_run(network.encode, tokens) + _conjugate(_run(network.encode, conjugated(tokens))))
            symbols = _run(network.rounded, latents, tokens)
            parts[..., self._cells.ravel()] = self._of_window(symbols)
            found[:, rows] = parts
        return found

    def cells(self, network: Any, parts: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Cells complex64 ``[layer, cell]`` of whole parts ``[2, layer, cell]``."""
        x = (parts[0] + 1j * parts[1]).astype(np.complex64) * step[:, None]
        for rows in _blocks(len(x)):
            inside = parts[:, rows][..., self._cells]  # [part, layer, polarisation, beam, tap]
            energy = np.sum(np.square(inside, dtype=np.float32), axis=(0, 2, 3, 4)) * np.square(step[rows])
            symbols = np.zeros((inside.shape[1], self.reports.num_beams, 2, TAPS, 2), np.float32)
            symbols[:, :, : inside.shape[2], self._taps] = inside.transpose(1, 3, 2, 4, 0)
            template = name_step(np.repeat(self._template, len(symbols), axis=0), step[rows])
            q = symbols.reshape(len(symbols), -1)
            y = _run(network.decode, q, template) + _conjugate(_run(network.decode, _conjugate(q), template))
            y = self._of_window(0.5 * y)
            value = (y[0] + 1j * y[1]).reshape(-1, *self._turn.shape) * self._turn.conj()
            scale = np.sqrt(np.maximum(energy, 1e-6)) / GAIN
            x[rows, self._cells.ravel()] = (value * scale[:, None, None, None]).reshape(len(value), -1)
        return x

    def _of_window(self, y: np.ndarray) -> np.ndarray:
        """Real and imaginary parts ``[2, layer, place]`` of what a network says ``[layer, ...]``."""
        y = y.reshape(len(y), self.reports.num_beams, 2, TAPS, 2)[:, :, : len(self._cells), self._taps]
        return y.transpose(4, 0, 2, 1, 3).reshape(2, len(y), -1)


def _blocks(count: int) -> list[slice]:
    return [slice(i, i + _LAYERS) for i in range(0, count, _LAYERS)]


def _conjugate(x: np.ndarray) -> np.ndarray:
    """Real and imaginary parts in turn, of the complex conjugate."""
    return x * np.tile(np.float32([1, -1]), x.shape[-1] // 2)


def _run(call: Callable[..., Any], *args: np.ndarray) -> np.ndarray:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(call(*(ops.convert_to_tensor(x) for x in args))))
