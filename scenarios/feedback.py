"""Sections of a scenario for CSI: estimation at the UE, feedback schemes, prediction."""

from __future__ import annotations

from typing import Any, Literal

from scenarios.sections import PluginSection
from simulator.core.errors import ConfigError
from simulator.core.params import Count, Label

_MAX_VARIANTS = 1000


class Estimation(PluginSection):
    """Channel estimator at the UE and its parameters.

    Args:
        name: estimator; its parameters stand next to it.
    """

    name: str = "perfect"


class Predict(PluginSection):
    """Prediction over ``uplink.delay_slots``: at the UE before it reports, or at the gNB from past reconstructions.

    Args:
        name: predictor; its parameters stand next to it.
        at: end of the uplink that predicts.
    """

    name: str
    at: Literal["ue", "gnb"]


class Feedback(PluginSection):
    """One line of schemes; a parameter given as a list stands for one scheme per value.

    With ``ideal_uplink`` their reports arrive as they are, of any length, after ``uplink.delay_slots``.

    Args:
        scheme: feedback scheme; its parameters stand next to it.
        label: name in results, of one scheme; null: made of the parameters.
        predict: prediction over the delay of the uplink; null: none.
        ideal_uplink: reports of this line arrive as they are.
        period_slots: slots from the beginning of a report to that of the next one; a report serves until then. Reports
            that take more slots follow each other without a pause.
    """

    younger_fields = frozenset({"predict", "ideal_uplink", "period_slots"})

    scheme: str
    label: Label | None = None
    predict: Predict | None = None
    ideal_uplink: bool = False
    period_slots: Count = 1

    def variants(self) -> list[dict[str, Any]]:
        """Parameter sets, the product over all list-valued parameters in the order written."""
        sets: list[dict[str, Any]] = [{}]
        for key, value in (self.model_extra or {}).items():
            values = value if isinstance(value, list) else [value]
            if not values:
                raise ConfigError(f"feedback.{self.scheme}.{key}", value, "a value or a non-empty list of values")
            if len(sets) * len(values) > _MAX_VARIANTS:
                raise ConfigError(
                    f"feedback.{self.scheme}.{key}", f"{len(sets) * len(values)} schemes", f"at most {_MAX_VARIANTS}"
                )
            sets = [{**chosen, key: item} for chosen in sets for item in values]
        if self.label is not None and len(sets) > 1:
            raise ConfigError(
                f"feedback.{self.scheme}.label", self.label, "no label where a parameter has several values"
            )
        return sets
