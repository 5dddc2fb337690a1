"""Recurrent channel prediction: LSTM layers that are fed their own output."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from receivers.models.autoencoder import arguments
from receivers.models.sequence_predictor import SequencePredictor
from simulator.core.backend import Tensor
from simulator.core.errors import ConfigError


@keras.saving.register_keras_serializable(package="csilink")
class LstmPredictor(SequencePredictor):
    r"""Dense, LSTM layers, dense; the state after the history is rolled out.

    :math:`\hat h_{t+1} = h_t + W s_t + b` with the state :math:`s_t` of the last layer, and so on from
    :math:`\hat h_{t+1}` in place of a history; the state before the history is zero.

    Args:
        group: entries of a sequence; a step has ``2 * group`` features.
        width: of the first dense layer and of the LSTM layers.
        num_layers: LSTM layers.
        residual: predict the increment over the last value, :math:`h_t` above; without it the value itself.

    Call arguments, Returns, Raises: see :class:`~receivers.models.sequence_predictor.SequencePredictor`; any history
    and any number of future steps.

    Source: Hochreiter, Schmidhuber, Neural Computation 9(8), 1997; baseline of LLM4CP, arXiv:2406.14440, which does not
        publish its widths and has no residual.
    """

    def __init__(self, group: int = 48, width: int = 256, num_layers: int = 2, residual: bool = True, **kwargs: Any):
        config = arguments(locals())
        super().__init__(group, config, **kwargs)
        if min(width, num_layers) < 1:
            raise ConfigError("width, num_layers", (width, num_layers), "at least 1")
        self.residual = residual
        self.embed = layers.Dense(width, name="embed")
        self.recurrent = [
            layers.LSTM(width, return_sequences=True, return_state=True, name=f"lstm{i}") for i in range(num_layers)
        ]
        self.head = layers.Dense(2 * group, name="head")
        self.embed.build((None, None, 2 * group))
        for layer in (*self.recurrent, self.head):
            layer.build((None, None, width))
        self.built = True

    def call(self, history: Tensor, num_future: int, training: bool = False) -> Tensor:
        """Read the history at once, then the predictions step by step."""
        y, states = self.embed(history), []
        for layer in self.recurrent:
            y, *state = layer(y)
            states.append(state)
        last, y, future = history[:, -1], y[:, -1], []
        for step in range(num_future):
            if step:
                y = self.embed(last)
                for i, layer in enumerate(self.recurrent):
                    y, states[i] = layer.cell(y, states[i])
            last = self.head(y) + last if self.residual else self.head(y)
            future.append(last)
        return ops.stack(future, axis=1)
