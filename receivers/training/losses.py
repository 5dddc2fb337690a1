"""Training losses in ``keras.ops``."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="csilink")
def nmse_loss(y_true, y_pred):
    r"""Per-sample normalised squared error :math:`\|x - \hat x\|^2 / \|x\|^2`.

    Args:
        y_true: float ``[batch, ...]``.
        y_pred: float, same shape.

    Returns:
        float ``[batch]``; 1 for the zero predictor.
    """
    axes = tuple(range(1, len(y_true.shape)))
    y_true = ops.convert_to_tensor(y_true)
    error = ops.sum(ops.square(y_true - y_pred), axis=axes)
    return error / ops.maximum(ops.sum(ops.square(y_true), axis=axes), 1e-12)
