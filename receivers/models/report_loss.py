"""Loss of refined reports, and its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops


def report_loss(kernel: np.ndarray) -> Callable[[Any, Any], Any]:
    """One minus SGCS of refined reports, as a function of directions and coefficients.

    Args:
        kernel: float32 ``[26, 2 * unit]`` of :meth:`receivers.models.report_frame.ReportFrame.kernel`.

    Returns:
        ``loss(y_true, y_pred) -> [layer]`` of directions ``[layer, beam, 2, unit, 2]`` and coefficients
        ``[layer, beam, 52]``.
    """
    turns = np.asarray(kernel)
    units = turns.shape[1] // 2

    def loss(y_true: Any, y_pred: Any) -> Any:
        count = ops.shape(y_pred)[0]
        rows = ops.shape(y_pred)[1] * 2
        spectra = ops.matmul(ops.reshape(y_pred, (count * rows, turns.shape[0])), ops.convert_to_tensor(turns))
        a = ops.reshape(ops.convert_to_tensor(y_true), (count, rows, units, 2))
        b = ops.reshape(spectra, (count, rows, units, 2))
        real = ops.sum(a * b, axis=(1, 3))
        imag = ops.sum(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0], axis=1)
        power = ops.sum(ops.square(a), axis=(1, 3)) * ops.sum(ops.square(b), axis=(1, 3))
        return 1.0 - ops.mean((ops.square(real) + ops.square(imag)) / ops.maximum(power, 1e-12), axis=-1)

    return loss


def report_gradient(kernel: np.ndarray) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    r"""The same loss with its gradient, in NumPy.

    With spectra a, b of directions and coefficients and :math:`s = a^H b`, the gradient of :math:`-|s|^2 / (|a|^2
    |b|^2)` with respect to real and imaginary part of b is :math:`-2 (s a - |s|^2 b / |b|^2) / (|a|^2 |b|^2)`.

    Args:
        kernel: as above.

    Returns:
        ``gradient(y_true, y_pred) -> (loss float32 [layer], gradient float32 [layer, beam, 52])``.
    """

    def gradient(y_true: np.ndarray, y_pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count, beams = y_pred.shape[:2]
        b = (y_pred.reshape(-1, len(kernel)) @ kernel).reshape(count, 2 * beams, -1, 2)
        a = y_true.reshape(b.shape)
        b, a = (x[..., 0] + 1j * x[..., 1] for x in (b, a))  # [layer, row, unit]
        s = np.sum(a.conj() * b, axis=1, keepdims=True)
        energy = np.sum(np.square(np.abs(b)), axis=1, keepdims=True)
        power = np.maximum(np.sum(np.square(np.abs(a)), axis=1, keepdims=True) * energy, 1e-12)
        match = np.square(np.abs(s)) / power
        slope = -2 / b.shape[2] * (s * a / power - match * b / np.maximum(energy, 1e-12))
        parts = np.stack([slope.real, slope.imag], -1).astype(np.float32).reshape(2 * count * beams, -1)
        return 1 - match[:, 0].mean(axis=1), (parts @ kernel.T).reshape(y_pred.shape)

    return gradient
