"""Loss of refined reports."""

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
