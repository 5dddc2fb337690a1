"""Repetition of the last value, as in a link without prediction."""

from __future__ import annotations

import numpy as np

from simulator.core.interfaces import Predictor
from simulator.core.types import RadioGeometry


class RepeatPredictor(Predictor):
    """The channel stays as it is."""

    num_history = 1

    def __init__(self, geometry: RadioGeometry):
        pass

    def predict(self, history: np.ndarray, num_slots: int) -> np.ndarray:
        """The last slot of the history."""
        self.check(history.shape[4], num_slots)
        return history[..., -1, :].copy()
