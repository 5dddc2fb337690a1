"""Training of the nonlinear transform codec: distortion, and rate under a prior in contexts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from receivers.models.ntc import WIDTH, NonlinearTransformCodec, log2, step_of
from receivers.models.report_frame import TAPS
from receivers.models.report_loss import report_loss

_SCALES = math.log(0.02), math.log(50.0)
_GROUPS = 4  # of latents whose energy tells something
_TYPICAL = 0.125  # step, for which the offsets of the prior are constant
_WEIGHTING = -0.75  # power of the step: all rates count


class ContextPrior(layers.Layer):
    r"""Logistic densities of mean 0 of all latents, in the contexts of those that come before.

    .. math:: \ln s_i = b_i(\Delta) + \sum_{j < i} A_{ij} \min(|q_j|, 1) + A'_{ij} \min((|q_j| - 1)^+, 3)
        + \sum_g c_{ig} \log_2(1 + E_{ig})

    with the energies :math:`E` of all latents before, of what is left of :math:`\Delta^{-2}`, and of those before in
    the same row, in the same beam of the other polarisation, at the same tap, and next to the latent. Only the training
    uses this prior: reports are coded in the contexts of the beam-delay code.

    Args:
        order: of the latents ``[latent]``, the first to be coded first.
        beams: (N2, N1).
    """

    def __init__(self, order: Sequence[int], beams: tuple[int, int], **kwargs: Any):
        super().__init__(**kwargs)
        self.ranks, size = np.asarray(order), len(order)
        self._groups = _before(self.ranks, beams).reshape(-1, size).T.copy()
        self._later = np.triu(np.ones((size, size), np.float32), 1)
        self.offset = self.add_weight(shape=(3, size), initializer="zeros", name="offset")
        self.across = self.add_weight(shape=(2, size, size), initializer="zeros", name="across")
        self.around = self.add_weight(shape=(_GROUPS + 2, size), initializer="zeros", name="around")
        self.built = True

    def start(self, symbols: np.ndarray, step: np.ndarray) -> None:
        """Offsets that fit the mean magnitudes of symbols ``[layer, latent]`` at small and at large steps."""
        t = np.log2(step / _TYPICAL)
        halves = [t < np.median(t), t >= np.median(t)]
        (a, b), (low, high) = zip(
            *((np.log(np.maximum(np.abs(symbols[m]).mean(axis=0), 2e-3) / 1.386 + 0.05), t[m].mean()) for m in halves),
            strict=True,
        )
        slope = (b - a) / (high - low)
        self.offset.assign(np.stack([a - slope * low, slope, 0 * a])[:, self.ranks])

    def call(self, symbols: Any, step: Any) -> Any:
        """Scales float32 ``[layer, latent]`` of rounded latents."""
        size = ops.abs(ops.take(symbols, self.ranks, axis=1))
        levels = ops.concatenate([ops.minimum(size, 1.0), ops.clip(size - 1.0, 0.0, 3.0)], axis=1)
        across = ops.reshape(self.across * self._later, (-1, len(self.ranks)))
        t = log2(step / _TYPICAL)[:, None]
        basis = ops.concatenate([ops.ones_like(t), t, ops.square(t)], axis=1)
        found = ops.matmul(levels, across) + ops.matmul(basis, self.offset)
        energy = ops.square(size)
        total = ops.cumsum(energy, axis=1) - energy
        left = ops.maximum(1.0 / ops.square(step)[:, None] - total, 0.0)
        near = ops.reshape(ops.matmul(energy, self._groups), (-1, _GROUPS, len(self.ranks)))
        features = log2(1.0 + ops.concatenate([total[:, None], left[:, None], near], axis=1))
        found = found + ops.sum(features * self.around, axis=1)
        return ops.exp(ops.clip(ops.take(found, np.argsort(self.ranks), axis=1), *_SCALES))


class CodecTraining(keras.Model):
    r"""Codec and prior; the loss is the mean of :math:`(1 - \mathrm{SGCS} + \mu \Delta^2 \ell) \Delta^{-3/4}`.

    In training the rate is that of latents with uniform noise and the distortion that of rounded ones, whose gradient
    passes.

    Args:
        codec: to be trained.
        prior: of its latents.
        kernel: of the loss, see :func:`receivers.models.report_loss.report_loss`.
        slope: mu, squared steps that a bit is worth.

    Source: noise and rounding: Minnen, Singh, "Channel-wise autoregressive entropy models", ICIP 2020.
    """

    def __init__(self, codec: NonlinearTransformCodec, prior: ContextPrior, kernel: np.ndarray, slope: float):
        super().__init__(dtype="float32")
        self.codec, self.prior, self.slope = codec, prior, slope
        self.distortion = report_loss(kernel)
        self.seeds = keras.random.SeedGenerator(0)
        self.built = True

    def call(self, tokens: Any, training: bool = False) -> tuple[Any, Any]:
        """Coefficients float32 ``[layer, beam, 52]`` and bits float32 ``[layer]``."""
        y = self.codec.encode(tokens, training)
        q = y + ops.stop_gradient(self.codec.rounded(y, tokens) - y)
        scale = self.prior(ops.stop_gradient(q), step_of(tokens))
        noise = keras.random.uniform(ops.shape(y), -0.5, 0.5, seed=self.seeds) if training else 0.0
        return self.codec.decode(q, tokens, training), ops.sum(bits(y + noise if training else q, scale), axis=1)

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *_: Any, **__: Any) -> Any:
        """The mean over layers."""
        step = step_of(x)
        found = self.distortion(y, y_pred[0]) + self.slope * ops.square(step) * y_pred[1]
        return ops.mean(found * ops.power(step, _WEIGHTING))


def bits(latents: Any, scale: Any) -> Any:
    """Ideal lengths of latents under logistic densities of mean 0, each over a cell of width 1."""
    size = ops.abs(latents)
    share = ops.sigmoid((0.5 - size) / scale) - ops.sigmoid((-0.5 - size) / scale)
    return -log2(share + 1e-6)


def _before(order: np.ndarray, beams: tuple[int, int]) -> np.ndarray:
    """Which latents come before which, and belong to it: float32 ``[group, later, earlier]`` in coding order."""
    beam, rest = np.divmod(order, WIDTH)
    pol, rest = np.divmod(rest, 2 * TAPS)
    second, first = np.divmod(beam, beams[1])
    tap = rest // 2

    def same(x: np.ndarray) -> np.ndarray:
        return x[:, None] == x

    def near(x: np.ndarray, size: int) -> np.ndarray:
        return np.isin((x[:, None] - x) % size, (0, 1, size - 1))

    own = same(beam) & same(pol)
    close = near(first, beams[1]) & near(second, beams[0]) & near(tap, TAPS) & ~(own & same(tap))
    found = np.stack([own, same(beam) & ~same(pol), same(tap), close])
    return (found & (np.arange(len(order))[:, None] > np.arange(len(order)))).astype(np.float32)
