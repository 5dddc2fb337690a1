"""How far a refined report is trusted: a share between decoded and refined directions, from what the gNB sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from receivers.codebooks.beam_delay import BeamDelayReport

_LEAST = 1e-5  # change of a direction, so that its logarithm is finite
_COARSE, _CLOSED = 0.17, 0.20  # thresholds of uniform levels between which the gate closes, for a layer of energy 1


class ReportGate:
    r"""Directions :math:`w \propto (1 - a) w_0 + a w_1` between decoded :math:`w_0` and refined :math:`w_1`.

    .. math:: a = \sigma\bigl(b_0 + b_1 \log_2 t + b_2 \log_2 n + b_3 \log_2(\delta + 10^{-5})\bigr)
        \operatorname{clip}\Bigl(\frac{.20 - t}{.03}, 0, 1\Bigr)

    of every layer, with the threshold t of its coefficients for energy 1, their number n, and the mean change
    :math:`\delta` of :math:`\|w_1 - w_0\|^2` over the units; the last factor for uniform levels only. Phases of the
    units are free and follow the decoded ones.

    Args:
        weights: :math:`b_0` to :math:`b_3`; None: a = 1.
    """

    def __init__(self, weights: Sequence[float] | None):
        self._weights = None if weights is None else np.asarray(weights, np.float64)

    def __call__(self, report: BeamDelayReport, refined: Sequence[np.ndarray]) -> np.ndarray:
        """Coefficients complex64 ``[report, layer, row, tap]`` between those of the report and the mean of several."""
        w0, w1 = directions(report.x, refined)
        share = self.share(features(report, w0, w1), report.logarithmic)[..., None, None].astype(np.float32)
        w = (1 - share) * w0 + share * w1
        return (w @ _turns(w.shape[-1]).conj().T / np.float32(w.shape[-1])).astype(np.complex64)

    def share(self, values: np.ndarray, logarithmic: bool) -> np.ndarray:
        """Shares a float64 of features float64 ``[..., 3]`` of :func:`features`."""
        if self._weights is None:
            return np.ones(values.shape[:-1])
        share = 1 / (1 + np.exp(-np.clip(self._weights[0] + values @ self._weights[1:], -30, 30)))
        return share * opening(values, logarithmic)


def opening(values: np.ndarray, logarithmic: bool) -> np.ndarray:
    """The last factor of a share: 0 for the coarsest uniform levels."""
    return (
        np.ones(values.shape[:-1])
        if logarithmic
        else np.clip((_CLOSED - np.exp2(values[..., 0])) / (_CLOSED - _COARSE), 0, 1)
    )


def features(report: BeamDelayReport, w0: np.ndarray, w1: np.ndarray) -> np.ndarray:
    """Logarithms to base 2 of t, n and change + 1e-5, float64 ``[report, layer, 3]``."""
    energy = np.sum(np.square(np.abs(report.x), dtype=np.float64), axis=(2, 3))
    count = np.count_nonzero(report.x, axis=(2, 3))
    change = np.mean(np.sum(np.square(np.abs(w1 - w0)), axis=2), axis=2)
    threshold = report.threshold / np.sqrt(np.maximum(energy, 1e-30))
    parts = np.maximum(threshold, 1e-6), np.maximum(count, 1), change + _LEAST
    return np.log2(np.stack(parts, axis=-1), dtype=np.float64)


def directions(x: np.ndarray, refined: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Beams of the units as decoded, and the mean of refined ones with the phases of these, unit norm.

    Args:
        x: decoded coefficients ``[report, layer, row, tap]``.
        refined: coefficients, of that shape.

    Returns:
        two arrays complex64 ``[report, layer, row, unit]``.
    """
    w0 = _unit(x @ _turns(x.shape[-1]))
    total = np.zeros_like(w0)
    for y in refined:
        w = _unit(y @ _turns(x.shape[-1]))
        inner = np.sum(w.conj() * w0, axis=2, keepdims=True)
        total += w * np.where(inner == 0, 1, inner / np.maximum(np.abs(inner), 1e-30))
    return w0, _unit(total)


def _turns(taps: int) -> np.ndarray:
    """Complex64 ``[tap, unit]``."""
    return np.exp(2j * np.pi / taps * np.outer(np.arange(taps), np.arange(taps))).astype(np.complex64)


def _unit(w: np.ndarray) -> np.ndarray:
    return w / np.maximum(np.linalg.norm(w, axis=2, keepdims=True), 1e-12)
