"""Prediction over the feedback delay: at the UE before it reports, or at the gNB from past reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from simulator.core.errors import ConfigError
from simulator.core.interfaces import FeedbackScheme, Predictor
from simulator.core.types import CsiEstimate
from simulator.core.views import by_drop, by_slot


@dataclass(frozen=True)
class Prediction:
    """Predictor, and the end of the link that runs it.

    Args:
        predictor: past channels to a future one.
        at: "ue", which predicts from its own estimates and reports the result, or "gnb", which predicts from the
            channels that it reconstructed from past reports.
        monitor: the UE reports how good its last predictions were (:mod:`simulator.reporting.monitoring`).
    """

    predictor: Predictor
    at: Literal["ue", "gnb"]
    monitor: bool = False

    def check(self, scheme: FeedbackScheme, label: str, period: int = 1) -> None:
        """ConfigError when the gNB would have to predict from precoder directions, or from reports with gaps.

        And where a UE would have to monitor the gNB, or what it predicts for several intervals.
        """
        if self.monitor and (self.at == "gnb" or scheme.num_intervals > 1):
            got = f"true with at: {self.at}, {scheme.num_intervals} intervals in a report"
            raise ConfigError(f"feedback.{label}.predict.monitor", got, "false, or predict.at: ue with one interval")
        if self.at == "gnb" and period > 1:
            allowed = f"ue; the gNB predicts from a report in every slot, these take {period}"
            raise ConfigError(f"feedback.{label}.predict.at", self.at, allowed)
        if self.at == "gnb" and not scheme.explicit:
            allowed = "ue; the gNB predicts channels, which takes an explicit scheme (one that reconstructs h)"
            raise ConfigError(f"feedback.{label}.predict.at", self.at, allowed)

    def at_ue(self, csi: CsiEstimate, num_slots: Sequence[int]) -> CsiEstimate:
        """Predictions these numbers of slots ahead in place of the UE's estimate; ``error_var`` stays that of it.

        The history, which ends with the present, is left out; with several predictions they are the ``future``.
        """
        history = csi.h_hat[..., None, :] if csi.history is None else csi.history
        ahead = [self.predictor.predict(history, number) for number in num_slots]
        return CsiEstimate(ahead[0], csi.error_var, future=np.stack(ahead, axis=4) if len(ahead) > 1 else None)

    def at_gnb(self, held: np.ndarray, history_slots: int, num_slots: int) -> np.ndarray:
        """Prediction of the gNB ``num_slots`` ahead.

        Args:
            held: complex64 ``[batch, slot, user, rx_ant, port, subcarrier]``, channel that it knows in every slot.
            history_slots: slots of its history.
            num_slots: how far to look ahead.

        Returns:
            complex64 ``[batch, slot, user, rx_ant, port, subcarrier]``, from the first slot with a full history on.
        """
        history = by_slot(np.ascontiguousarray(windows(held, history_slots, 1)), 1)
        return by_drop(self.predictor.predict(history, num_slots), len(held), 1)


def windows(x: np.ndarray, length: int, slot: int) -> np.ndarray:
    """History of every slot that has one: ``[.., slot, .., n]`` to ``[.., last slot, .., slot, n]``, a view.

    Args:
        x: channels of all slots.
        length: slots of a history.
        slot: position of the slots in ``x``.
    """
    return np.swapaxes(np.lib.stride_tricks.sliding_window_view(x, length, axis=slot), -1, -2)
