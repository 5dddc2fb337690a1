"""What the gNB reads of a UE's monitored predictions: their accuracy, and how often they are not worth it."""

from __future__ import annotations

import numpy as np

from simulator.core.interfaces import Metric
from simulator.core.shapes import flat_tail
from simulator.outcomes import CsiOutcome
from simulator.reporting.monitoring import NO_PAI, pai_value


def _mean_of_known(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean per drop of the values that are known; 0 for a drop without any."""
    x, known = flat_tail(np.where(known, x, 0.0)), flat_tail(known)
    return x.sum(axis=1) / np.maximum(known.sum(axis=1), 1)


def _codes(outcome: CsiOutcome) -> np.ndarray | None:
    """Codes ``[batch, user, slot, layer, 2]``, predicted and held; None where nothing is monitored."""
    return None if outcome.pai is None else outcome.pai.reshape(*outcome.pai.shape[:-1], outcome.pai.shape[-1] // 2, 2)


class Pai(Metric):
    """SGCS of a UE's predictions with what it measured in their slot, and of CSI held instead, as the gNB reads them.

    ``pai_predicted`` and ``pai_held``: mean over UEs, slots and layers of the middle of the reported cells; with
    several layers also each on its own (``pai_predicted_layer1``, ...). Slots without a report, and codes that bit
    errors made reserved ones, do not count; a drop without any has 0. For lines with ``predict.monitor``.

    Source: TS 38.214 (Rel. 19), 5.2.1.4.6.
    """

    unit, better, scope, bounds = "1", "higher", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Mean SGCS per drop."""
        codes = _codes(outcome)
        if codes is None:
            return {}
        layers = {"": slice(None)}
        if codes.shape[-2] > 1:
            layers |= {f"_layer{i + 1}": slice(i, i + 1) for i in range(codes.shape[-2])}
        found = {}
        for i, kind in enumerate(("predicted", "held")):
            for name, chosen in layers.items():
                code = codes[..., chosen, i]
                found[f"pai_{kind}{name}"] = _mean_of_known(pai_value(code), code != NO_PAI)
        return found


class PaiFallback(Metric):
    """Share of reports that say that held CSI would have been better: the code of the prediction is the lower one.

    Of several layers the sum of the codes counts. Where it exceeds one half over the last reports, the gNB tells the
    UE to report without prediction. Reports with a reserved code do not count. For lines with ``predict.monitor``.
    """

    unit, better, scope, bounds = "1", "lower", "csi", (0.0, 1.0)

    def evaluate(self, outcome: CsiOutcome) -> dict[str, np.ndarray]:
        """Share per drop."""
        codes = _codes(outcome)
        if codes is None:
            return {}
        predicted, held = np.moveaxis(codes.sum(axis=-2), -1, 0)
        return {"pai_fallback": _mean_of_known(predicted < held, (codes != NO_PAI).all(axis=(-2, -1)))}
