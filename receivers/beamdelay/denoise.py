"""Beam-delay cells less the error of the UE's estimate."""

from __future__ import annotations

import numpy as np

from receivers.beamdelay.grid import Grid

_SHARE = 0.5  # of the variance that is taken off: an estimate may be shrunk already
_OWN = 0.6  # weight of a cell's own energy in what is expected of it


class Denoiser:
    r"""Wiener weights of cells, from the error variance of the channel estimate.

    .. math:: y = x \max(1 - \tfrac{1}{2} s_f / P, 0), \quad P = 0.6 |x|^2 + 0.4\, P_r P_f / P_0, \quad
        s_f = \min(s, m_f / \ln 2)

    :math:`P_r, P_f, P_0` are the mean energies of the row of a cell, of its tap, and of all cells; s is the error
    variance of a cell, and :math:`m_f` the median energy of a tap, as errors that are alike in all rows make it: an
    estimator leaves few at the delays that it rejects. The energy of a layer stays as it is.

    Args:
        grid: cells.
    """

    def __init__(self, grid: Grid):
        self._row, self._tap = grid.row, grid.tap
        self._by_tap = np.argsort(grid.tap, kind="stable")
        rows, taps = np.arange(grid.num_rows)[:, None], np.arange(grid.num_taps)[:, None]
        self._rows = (rows == grid.row).astype(np.float32) / np.float32(grid.num_taps)
        self._taps = (taps == grid.tap).astype(np.float32) / np.float32(grid.num_rows)

    def __call__(self, x: np.ndarray, error_var: np.ndarray) -> np.ndarray:
        """Cells complex64 ``[place, report, layer]`` with error variances ``[report, layer]`` of a cell."""
        power = np.square(x.real) + np.square(x.imag)
        flat = power.reshape(len(x), -1)
        row, tap = (of @ flat for of in (self._rows, self._taps))
        mean = np.maximum(flat.mean(axis=0), np.float32(1e-12))
        expected = _OWN * flat + (1 - _OWN) * row[self._row] * (tap / mean)[self._tap]
        floor = np.median(flat[self._by_tap].reshape(len(tap), -1, flat.shape[1]), axis=1) / np.log(2)
        error = _SHARE * np.minimum(floor, error_var.reshape(-1))[self._tap]
        weight = np.maximum(1 - error / np.maximum(expected, 1e-20), 0)
        kept = np.sum(flat * np.square(weight), axis=0)
        weight *= np.sqrt(flat.sum(axis=0) / np.maximum(kept, 1e-20))
        return np.where(kept > 0, weight, 1).astype(np.float32).reshape(x.shape) * x
