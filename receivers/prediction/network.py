"""Prediction by a trained network."""

from __future__ import annotations

import numpy as np

from receivers.models.history import from_history, to_history
from receivers.weights.folder import TrainedPredictor
from simulator.core.interfaces import Predictor
from simulator.core.params import Count, validated
from simulator.core.types import RadioGeometry

_BLOCK = 512  # samples of a forward pass


class NetworkPredictor(Predictor):
    r"""WiFo, Tiny-WiFo, LSTM, Transformer, LLM4CP: one network for any carrier, panel and speed.

    Every UE antenna is a sample, scaled to a history of unit power and back. The network sees the last
    ``max_history`` slots at most. The phase common to all entries matters a little: networks learn from channels of
    random common phase, but invariance is not built in.

    Args:
        geometry: not used; neither carrier nor speed is an input of the networks.
        weights: name in the zoo, or folder with ``card.json``, of a prediction network.
        max_history: slots of the history that are used at most; None: that of the training.
        pad: pad sizes that the tokens of WiFo do not divide with zeros; without it they are errors.

    Raises:
        ConfigError: no such weights; a history, delay or size that does not fit.
    """

    @validated("predict")
    def __init__(self, geometry: RadioGeometry, *, weights: str, max_history: Count | None = None, pad: bool = False):
        self._trained, self._pad = TrainedPredictor.shared(weights), pad
        self.num_history, self.horizon = self._trained.history_slots, self._trained.horizon_slots
        self._max_history = max(max_history or self._trained.max_history_slots, self.num_history)

    def predict(self, history: np.ndarray, num_slots: int) -> np.ndarray:
        """The channel ``num_slots`` after the history; the present estimate, as it is, for 0."""
        self.check(history.shape[4], num_slots)
        if num_slots == 0 or not history.size:
            return history[..., -1, :].copy()
        lead = history.shape[:3]
        x = to_history(history[..., -self._max_history :, :])
        power = 2 * np.mean(np.square(x, dtype=np.float64), axis=(1, 2, 3, 4), keepdims=True)
        scale = np.sqrt(np.maximum(power, 1e-30)).astype(np.float32)
        return from_history(self._future(x / scale, num_slots) * scale, lead)[..., 0, :]

    def _future(self, x: np.ndarray, num_slots: int) -> np.ndarray:
        """The last of the predicted slots, float32 ``[sample, 1, subcarrier, port, 2]``."""
        from keras import ops

        network = self._trained.model
        if self._pad and hasattr(network, "pad"):
            network.pad = True
        blocks = (x[i : i + _BLOCK] for i in range(0, len(x), _BLOCK))
        future = (network.forecast(block, num_slots) for block in blocks)
        return np.concatenate([ops.convert_to_numpy(block[:, -1:]) for block in future])
