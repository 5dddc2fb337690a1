"""Supervised training of sequence predictors: error of the second half of a channel, given the first."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from receivers.models.masking import leading_tokens
from receivers.models.sequence_predictor import SequencePredictor
from receivers.training.masked import add_noise
from receivers.training.steps import SteppedModel
from simulator.core.backend import Shape, Tensor
from simulator.core.errors import ConfigError
from simulator.core.seeding import derive


class SequenceTraining(SteppedModel):
    r"""Predictor in training; called, it gives the loss of every sample, mean :math:`|h - \hat h|^2` of hidden entries.

    Known and hidden are as with the masks of time and frequency, see
    :func:`~receivers.models.masking.leading_tokens`: of the tokens along the axis the last half is hidden, the larger
    half if odd; a last token may not be full.

    Args:
        network: predictor that learns.
        axis: 0 predicts slots, 1 subcarriers.
        token: entries of a token along the axis.
        history_snr_db: white noise on the histories of a training step, its SNR uniform in dB between these for every
            sample; None: exact histories. The target is always exact.
        seed: of the noise.

    Call arguments:
        x: channels float32 ``[batch, slot, subcarrier, antenna, 2]``.

    Returns:
        float32 ``[batch]``, as :func:`~receivers.training.masked.masked_mse`.

    Raises:
        ConfigError: a parameter or shape that does not fit, or channels of one token.

    Source: Liu et al., WiFo, Sci. China Inf. Sci. 68(6), 2025 (task); Tiny-WiFo, Eq. (8) (error).
    """

    def __init__(
        self,
        network: SequencePredictor,
        axis: int = 0,
        token: int = 4,
        history_snr_db: tuple[float, float] | None = None,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if axis not in (0, 1):
            raise ConfigError("axis", axis, "0 (slots), 1 (subcarriers)")
        if token < 1:
            raise ConfigError("token", token, "at least 1")
        self.network, self.axis, self.token, self.history_snr_db = network, axis, token, history_snr_db
        self._seed = keras.random.SeedGenerator(derive(seed, "noise"))
        self.built = True

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Validate here: Keras would wrap a ConfigError raised in ``call``."""
        known = self.num_known(x.shape)
        past = [*x.shape]
        past[1 + self.axis] = known
        self.network.check_forecast(tuple(past), x.shape[1 + self.axis] - known, self.axis)
        return super().__call__(x, *args, **kwargs)

    def num_known(self, shape: Shape) -> int:
        """Entries along the axis that are history, in channels of this shape."""
        if len(shape) != 5 or shape[-1] != 2 or not all(shape[1:4]):
            raise ConfigError("x", tuple(shape), "[batch, slot, subcarrier, antenna, 2], known but for batch")
        size = shape[1 + self.axis]
        if size <= self.token:
            raise ConfigError("x", tuple(shape), f"more than {self.token} entries (a token) along axis {self.axis}")
        return self.token * len(leading_tokens((-(-size // self.token), 1, 1), 0))

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Loss of every sample."""
        known, total = self.num_known(x.shape), x.shape[1 + self.axis]
        past, future = (x[:, :known], x[:, known:]) if self.axis == 0 else (x[:, :, :known], x[:, :, known:])
        if training and self.history_snr_db is not None:
            snr_db = keras.random.uniform((ops.shape(x)[0], 1, 1, 1, 1), *self.history_snr_db, seed=self._seed)
            past = add_noise(past, snr_db, self._seed)
        error = future - self.network.forecast(past, total - known, self.axis)
        return 2.0 * ops.mean(ops.square(error), axis=(1, 2, 3, 4))
