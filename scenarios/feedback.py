"""Sections of a scenario for CSI: estimation at the UE, feedback schemes, prediction."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, model_validator

from scenarios.sections import PluginSection, Section
from simulator.core.errors import ConfigError
from simulator.core.params import Count, Integer, Label, Real, SnrDb

_MAX_VARIANTS = 1000


class Estimation(PluginSection):
    """Channel estimator at the UE and its parameters.

    Args:
        name: estimator; its parameters stand next to it.
    """

    name: str = "perfect"


class Sounding(Section):
    """What the gNB measures of the uplink, once per drop.

    Args:
        reciprocity: partial: the paths of the downlink at another carrier, with phases of their own (FDD); full: the
            channel of the downlink itself (TDD), the bound of partial reciprocity.
        duplex_distance_hz: carrier of the downlink minus that of the uplink [Hz]; null: 200 MHz, 0 if full.
        uplink_snr_db: power of the uplink over the noise of the measurement, on an antenna of the gNB and a frequency
            sample, after power control of the UE [dB]; null: no noise.
    """

    reciprocity: Literal["partial", "full"] = "partial"
    duplex_distance_hz: Real | None = None
    uplink_snr_db: SnrDb | None = None

    @model_validator(mode="after")
    def _one_carrier(self) -> Sounding:
        if self.reciprocity == "full" and self.duplex_distance_hz:
            allowed = "null with sounding.reciprocity: full"
            raise ConfigError("sounding.duplex_distance_hz", self.duplex_distance_hz, allowed)
        return self

    @property
    def distance_hz(self) -> float:
        """Carrier of the downlink minus that of the uplink [Hz]."""
        if self.duplex_distance_hz is None:
            return 2e8 if self.reciprocity == "partial" else 0.0
        return float(self.duplex_distance_hz)


class Predict(PluginSection):
    """Prediction over ``uplink.delay_slots``: at the UE before it reports, or at the gNB from past reconstructions.

    Args:
        name: predictor; its parameters stand next to it.
        at: end of the uplink that predicts.
        monitor: every report says for each layer, in 4 bits each, how well the prediction for its slot, and the CSI
            held instead, agree with what the UE measures there; with ``at: ue``.
    """

    younger_fields = frozenset({"monitor"})

    name: str
    at: Literal["ue", "gnb"]
    monitor: bool = False


class Beamformed(Section):
    """CSI-RS ports that the gNB beamforms for every user from the uplink of section ``sounding``.

    The scheme then reports these ports, not the antennas. A set of ports is sent for each user.

    Args:
        ports: CSI-RS ports, half of them in either polarisation.
        delays: a port has a direction and a delay of its own, taken off over the band; otherwise a direction.
        taps: delays in a row for which the UE may report coefficients of one port, M of ``fetype2-ps-r17``.
    """

    ports: Literal[4, 8, 12, 16, 24, 32]
    delays: StrictBool = True
    taps: Annotated[Integer, Field(ge=1, le=4)] = 1


class Feedback(PluginSection):
    """One line of schemes; a parameter given as a list stands for one scheme per value.

    With ``ideal_uplink`` their reports arrive as they are, of any length, after ``uplink.delay_slots``.

    Args:
        scheme: feedback scheme; its parameters stand next to it.
        label: name in results, of one scheme; null: made of the parameters.
        predict: prediction over the delay of the uplink; null: none.
        ideal_uplink: reports of this line arrive as they are.
        beamformed: ports of CSI-RS beamformed from the uplink; null: the ports are the antennas.
        period_slots: slots from the beginning of a report to that of the next one; a report serves until then. Reports
            that take more slots follow each other without a pause.
    """

    younger_fields = frozenset({"predict", "ideal_uplink", "beamformed", "period_slots"})

    scheme: str
    label: Label | None = None
    predict: Predict | None = None
    ideal_uplink: bool = False
    beamformed: Beamformed | None = None
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
