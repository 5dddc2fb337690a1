"""Self-supervised training of a masked autoencoder: error on hidden tokens, over several masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from receivers.models.masking import task_tokens
from simulator.core.backend import Tensor


def masked_error(target: Tensor, prediction: Tensor, hidden: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of squared errors over hidden, valid entries, and their number, both float ``[batch]``."""
    weight = ops.expand_dims(hidden, -1) * ops.convert_to_tensor(valid, "float32")
    error = ops.sum(weight * ops.square(target - prediction), axis=(1, 2))
    return error, ops.sum(weight * ops.ones_like(target), axis=(1, 2))


def masked_mse(target: Tensor, prediction: Tensor, hidden: Tensor, valid: Tensor = 1.0) -> Tensor:
    r"""Mean :math:`|h - \hat h|^2` over the complex entries of hidden tokens.

    Args:
        target: patches float ``[batch, token, entry]``, entries real and imaginary parts.
        prediction: float, same shape.
        hidden: 1 for hidden tokens, 0 for others, float ``[batch, token]`` or ``[token]``.
        valid: 0 for entries that are padding, float ``[token, entry]``.

    Returns:
        float ``[batch]``.

    Source: Liu et al., WiFo, Sci. China Inf. Sci. 68(6), 2025; Tiny-WiFo, Eq. (8).
    """
    error, count = masked_error(target, prediction, hidden, valid)
    return 2.0 * error / ops.maximum(count, 1.0)


def draw_masks(
    tasks: Sequence[str],
    batch: Any,
    grid: tuple[int, int, int],
    seed: Any,
    ratio: float = 0.85,
    frequency_axis: int = 1,
) -> list[tuple[Any, int | None]]:
    """Visible tokens of every task, and the axis along which the others are hidden (None: random).

    Args:
        tasks: of "random", "time" and "frequency".
        batch: samples.
        grid: tokens per axis.
        seed: ``keras.random.SeedGenerator``.
        ratio: share of the tokens that the random mask hides.
        frequency_axis: of the grid.

    Returns:
        for each task (visible int ``[batch, visible]`` or ``[visible]``, axis).
    """
    axes = {"time": 0, "frequency": frequency_axis}
    return [(task_tokens(task, batch, grid, seed, ratio, frequency_axis), axes.get(task)) for task in tasks]


def add_noise(x: Tensor, snr_db: Any, seed: Any) -> Tensor:
    r"""Channels plus white noise of :math:`10^{-\mathrm{SNR}/10}` times the power of each sample.

    The released WiFo does this to input and target alike (20 dB, power of the batch), so that a perfect
    predictor has an NMSE of :math:`\sigma^2 / (1 + \sigma^2)`, -20.04 dB.

    Args:
        x: float ``[batch, ...]``.
        snr_db: signal-to-noise ratio [dB], a number or, sample by sample, float ``[batch, 1, ...]``.
        seed: ``keras.random.SeedGenerator``.

    Returns:
        float, same shape.
    """
    power = ops.mean(ops.square(x), axis=tuple(range(1, len(x.shape))), keepdims=True)
    return x + keras.random.normal(ops.shape(x), seed=seed) * ops.sqrt(power * 10.0 ** (-snr_db / 10.0))
