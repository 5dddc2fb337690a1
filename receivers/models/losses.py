"""Training losses in ``keras.ops``, one value per sample."""

from __future__ import annotations

from keras import ops

from simulator.core.backend import Tensor


def mse_loss(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Mean squared error over all entries of a sample, float ``[batch]``; arguments float ``[batch, ...]``."""
    axes = tuple(range(1, len(y_true.shape)))
    return ops.mean(ops.square(ops.convert_to_tensor(y_true) - y_pred), axis=axes)


def nmse_loss(y_true: Tensor, y_pred: Tensor) -> Tensor:
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


def sgcs_loss(y_true: Tensor, y_pred: Tensor) -> Tensor:
    r"""One minus the squared generalised cosine similarity, :math:`1 - |w^H \hat w|^2 / (\|w\|^2 \|\hat w\|^2)`.

    Args:
        y_true: directions, float ``[batch, subband, port, 2]`` (real, imaginary).
        y_pred: float, same shape; any norm and phase.

    Returns:
        float ``[batch]`` in [0, 1], mean over the subbands.

    Source: 3GPP TR 38.843, 6.2.2 (SGCS).
    """
    a, b = ops.convert_to_tensor(y_true), y_pred
    real = ops.sum(a * b, axis=(-2, -1))
    imag = ops.sum(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0], axis=-1)
    power = ops.sum(ops.square(a), axis=(-2, -1)) * ops.sum(ops.square(b), axis=(-2, -1))
    return 1.0 - ops.mean((ops.square(real) + ops.square(imag)) / ops.maximum(power, 1e-12), axis=-1)
