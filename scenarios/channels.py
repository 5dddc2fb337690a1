"""Channel sections of scenarios and data sets, one per source."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictBool, model_serializer, model_validator

from scenarios.sections import PluginSection, Section, known
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.params import (
    AngleSpread,
    AzimuthRange,
    CdlCorrection,
    Count,
    DelaySpread,
    Integer,
    PositiveFloat,
    Probability,
    Profile,
    Real,
    SystemCorrection,
    ZenithRange,
    parsed,
)


class RayleighChannel(Section):
    """i.i.d. Rayleigh, flat for ``taps`` 1."""

    model: Literal["rayleigh"]
    taps: Count = 1


class TdlChannel(Section):
    """TR 38.901 TDL."""

    model: Literal["tdl"]
    profile: Profile
    delay_spread_s: DelaySpread = 100e-9
    angle_spread_deg: AngleSpread | None = None
    azimuth_range_deg: AzimuthRange = 60.0

    @model_validator(mode="after")
    def _no_line_of_sight(self) -> TdlChannel:
        if self.angle_spread_deg is not None and self.profile in "DE":
            raise ConfigError("channel.angle_spread_deg", self.angle_spread_deg, "null for profiles D and E")
        return self


class _CorrectedChannel(Section):
    @model_serializer(mode="wrap")
    def _as_before(self, handler: Any) -> dict[str, Any]:
        """Without what nobody asked for: a section that needs nothing new has the hash, and so the seeds, it had."""
        data: dict[str, Any] = handler(self)
        defaults = {"corrections": None, "ue_floors": False}
        return {key: value for key, value in data.items() if key not in defaults or value != defaults[key]}


class CdlChannel(_CorrectedChannel):
    """TR 38.901 CDL."""

    model: Literal["cdl"]
    profile: Profile
    delay_spread_s: DelaySpread = 100e-9
    rotate: StrictBool | None = None
    azimuth_range_deg: AzimuthRange = 60.0
    zenith_range_deg: ZenithRange = 15.0
    corrections: tuple[CdlCorrection, ...] | None = None


class SectorChannel(_CorrectedChannel):
    """TR 38.901 UMi, UMa or RMa in one sector."""

    model: Literal["umi", "uma", "rma"]
    los: StrictBool | None = None
    indoor_probability: Probability | None = None
    isd_m: PositiveFloat | None = None
    pathloss: StrictBool = True
    ue_floors: StrictBool = False
    corrections: tuple[SystemCorrection, ...] | None = None

    @model_validator(mode="after")
    def _floors_in_towns(self) -> SectorChannel:
        if self.ue_floors and self.model == "rma":
            raise ConfigError("channel.ue_floors", True, "false for rma: all UEs are at 1.5 m")
        return self


class SiteChannel(Section):
    """Ray-traced site."""

    model: Literal["site"]
    scene: Literal["munich", "etoile", "florence", "san_francisco", "simple_street_canyon"]
    bs_position_m: tuple[Real, Real, Real]
    look_at_m: tuple[Real, Real, Real]
    area_center_m: tuple[Real, Real]
    area_size_m: tuple[PositiveFloat, PositiveFloat]
    ue_height_m: Real = 1.5
    num_points: Count = 1000
    max_depth: Annotated[Integer, Field(ge=0, le=20)] = 4
    max_paths: Annotated[Integer, Field(ge=1, le=1000)] = 64
    diffuse: StrictBool = False
    diffraction: StrictBool = False
    num_rays: Annotated[Integer, Field(ge=1000, le=10_000_000)] = 200_000
    site_seed: Annotated[Integer, Field(ge=0, lt=2**31)] = 1


class RecordedChannel(Section):
    """Samples of a channel store."""

    model: Literal["recorded"]
    store: str
    split: str = "test"
    group_by: Literal["site"] | None = None
    verify: StrictBool = True


class GuestChannel(PluginSection):
    """A channel source of another package; its parameters are checked by its constructor."""

    model: str


_CHANNELS: dict[str, type[BaseModel]] = {
    "rayleigh": RayleighChannel,
    "tdl": TdlChannel,
    "cdl": CdlChannel,
    "site": SiteChannel,
    "recorded": RecordedChannel,
    **dict.fromkeys(("umi", "uma", "rma"), SectorChannel),
}


def has_section(channel: Any) -> bool:
    """Whether a parsed channel has a section of its own here, which checks every parameter."""
    return not isinstance(channel, GuestChannel)


def parse_channel(value: Any) -> Any:
    """Channel section (mapping with ``model``) to its own schema."""
    if isinstance(value, BaseModel):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("model"), str):
        raise ConfigError("channel", value, f"a mapping with model: {', '.join(registry.names('channels'))}")
    known("channel.model", "channels", value["model"])
    return parsed(_CHANNELS.get(value["model"], GuestChannel), value, "channel")
