"""Autoregressive prediction with coefficients from the history itself."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from receivers.prediction.covariance import combine, slot_covariance
from simulator.core.interfaces import Predictor
from simulator.core.params import Integer, Real, validated
from simulator.core.types import RadioGeometry


class ArPredictor(Predictor):
    r"""Linear predictor :math:`\hat x(t + 1) = \sum_{i=1}^{p} a_i x(t + 1 - i)`, repeated up to the slot asked for.

    All entries (antennas, ports, subcarriers) of a UE share the coefficients. These minimise the squared error of
    one-step prediction within the history, forwards and, conjugated, backwards (modified covariance method), and follow
    from normal equations with ``loading`` times the mean of their diagonal added to it. The history is the only input.
    Sums of up to p complex exponentials are predicted exactly, as the loading vanishes.

    Args:
        geometry: not used.
        order: p, slots that the next one depends on; the history has at least one more.
        loading: relative diagonal loading. Noise of the estimates is in the normal equations by itself.

    Source: S. L. Marple, "Digital Spectral Analysis", 1987, Ch. 8; A. Duel-Hallen,
        "Fading channel prediction for mobile radio adaptive transmission systems", Proc. IEEE 95(12), 2007.
    """

    @validated("predict")
    def __init__(
        self,
        geometry: RadioGeometry,
        *,
        order: Annotated[Integer, Field(ge=1, le=100)] = 2,
        loading: Annotated[Real, Field(gt=0, le=1)] = 1e-6,
    ):
        self.order, self.loading = order, loading

    @property
    def num_history(self) -> int:
        """``order + 1``."""
        return self.order + 1

    def predict(self, history: np.ndarray, num_slots: int) -> np.ndarray:
        """The channel ``num_slots`` after the history."""
        self.check(history.shape[4], num_slots)
        # One step moves [x(t), x(t-1), ..] by the companion matrix; its power gives the weights of the last p slots.
        companion = np.zeros((*history.shape[:2], self.order, self.order), np.complex128)
        companion[..., 0, :] = self.coefficients(history)
        companion[..., 1:, :-1] = np.eye(self.order - 1)
        weights = np.linalg.matrix_power(companion, num_slots)[..., 0, :]
        return combine(weights[..., ::-1], history)

    def coefficients(self, history: np.ndarray) -> np.ndarray:
        """Coefficients ``a_1 .. a_p`` of every UE, complex128 ``[batch, user, order]``."""
        p = self.order
        covariance = slot_covariance(history)
        windows = range(history.shape[4] - p)
        forward = sum(covariance[..., s : s + p + 1, s : s + p + 1] for s in windows)
        backward = np.conj(forward[..., ::-1, ::-1])
        total = forward + backward  # entry [i, j]: products of the slots i and j before the newest of a window
        gram, right = total[..., 1:, 1:], total[..., 1:, 0]
        diagonal = np.trace(gram, axis1=-2, axis2=-1).real / p
        loading = np.maximum(self.loading * diagonal, 1e-30)  # a history of zeros is predicted as zeros
        return np.linalg.solve(gram + loading[..., None, None] * np.eye(p), right[..., None])[..., 0]
