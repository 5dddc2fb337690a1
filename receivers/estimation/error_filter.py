r"""Power of an estimation error that depends on the delays of a channel, from its pilots alone.

A linear estimator errs by :math:`B(\tau)` for a channel :math:`e^{-j 2 \pi f \tau}` of one delay, apart from noise. The
output of a filter across the pilots with :math:`|A(\tau)|^2 = B(\tau)` has the power of that error, whatever the delay
profile.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Unambiguous delays, in units of one over the spacing of the pilots; delays beyond alias.
_EARLIEST, _LATEST = -1 / 8, 3 / 4
_TAPS, _GRID = 12, 2048


class ErrorFilter:
    r"""Filter across equidistant pilots with the spectrum of an error, by its minimum-phase factor.

    Args:
        error: :math:`B(\tau)` for delays in cycles per frequency sample, float64 ``[delay]``; falls to zero at 0 as
            :math:`\tau^{2 \cdot \mathrm{order}}`.
        order: half the order of that zero, which the filter has exactly.
        spacing: of the pilots, in frequency samples.
        num_pilots: pilots; with no more than ``order`` of them the error cannot be measured.
    """

    def __init__(self, error: Callable[[np.ndarray], np.ndarray], order: int, spacing: float, num_pilots: int):
        self.taps = np.zeros(0, np.complex64)
        if num_pilots > order:
            self.taps = _factor(error, order, spacing, min(_TAPS, num_pilots)).astype(np.complex64)
        outputs = num_pilots - len(self.taps) + 1
        self._matrix = np.zeros((num_pilots, outputs), np.complex64)
        for i, tap in enumerate(self.taps):
            self._matrix[np.arange(outputs) + i, np.arange(outputs)] = tap

    def power(self, z: np.ndarray, noise_var: np.ndarray) -> np.ndarray:
        """Mean power of the error, less that of the noise; it may come out negative.

        Args:
            z: pilots complex64 ``[batch, user, rx_ant, port, slot, pilot]``.
            noise_var: variance of their noise, float32 ``[batch, user, slot]``.

        Returns:
            float32 ``[batch, user, slot]``.
        """
        y = z @ self._matrix
        gain = np.sum(np.abs(self.taps) ** 2, dtype=np.float32)
        return np.mean(y.real**2 + y.imag**2, axis=(2, 3, 5)) - gain * noise_var


def _factor(error: Callable[[np.ndarray], np.ndarray], order: int, spacing: float, count: int) -> np.ndarray:
    """Taps complex128 ``[count]``; spectral factorisation by the cepstrum, between the delays along a line in dB."""
    turns = np.arange(_GRID) / _GRID
    turns = np.where(turns >= 1 + _EARLIEST, turns - 1, turns)
    inside = (turns <= _LATEST) & (turns != 0)
    rest = error(turns[inside] / spacing) / (2 - 2 * np.cos(2 * np.pi * turns[inside])) ** order
    known = np.log(np.maximum(rest, 1e-12 * rest.max() + 1e-30))
    index = np.arange(_GRID)
    cepstrum = np.fft.ifft(np.interp(index, index[inside], known, period=_GRID) / 2)
    causal = np.where(index == 0, 1, 2) * (index < _GRID // 2)
    taps = np.fft.ifft(np.exp(np.fft.fft(cepstrum * causal)))[: count - order]
    for _ in range(order):
        taps = np.convolve(taps, [1, -1])
    return taps
