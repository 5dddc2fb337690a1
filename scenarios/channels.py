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
    Points,
    PositiveFloat,
    Probability,
    Profile,
    Real,
    SystemCorrection,
    ZenithRange,
    parsed,
)


class RayleighChannel(Section):
    """i.i.d. Rayleigh, flat for ``taps`` 1.

    Args:
        model: i.i.d. Rayleigh.
        taps: independent equal-power taps, one sample of the band apart; 1 is flat.
    """

    model: Literal["rayleigh"]
    taps: Count = 1


class TdlChannel(Section):
    """TR 38.901 TDL.

    Args:
        model: TDL.
        profile: delay profile.
        delay_spread_s: root mean square delay spread [s].
        angle_spread_deg: of every tap at the gNB [degree]; null: antennas fade independently.
        azimuth_range_deg: mean angles of the UEs lie within plus and minus this [degree].
    """

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
        """Without unused new fields: a section that uses none of them keeps its hash, and so its seeds."""
        data: dict[str, Any] = handler(self)
        defaults = {"corrections": None, "ue_floors": False}
        return {key: value for key, value in data.items() if key not in defaults or value != defaults[key]}


class CdlChannel(_CorrectedChannel):
    """TR 38.901 CDL.

    Args:
        model: CDL.
        profile: cluster profile.
        delay_spread_s: root mean square delay spread [s].
        rotate: mean angles of every UE at random (TR 38.901, 7.7.5.1); null: with several UEs.
        azimuth_range_deg: azimuths of rotated UEs lie within plus and minus this [degree].
        zenith_range_deg: their zeniths lie within 90 and 90 plus this, below the panel [degree].
        corrections: corrections of Sionna by name; null: all that the installed version needs.
    """

    model: Literal["cdl"]
    profile: Profile
    delay_spread_s: DelaySpread = 100e-9
    rotate: StrictBool | None = None
    azimuth_range_deg: AzimuthRange = 60.0
    zenith_range_deg: ZenithRange = 15.0
    corrections: tuple[CdlCorrection, ...] | None = None


class SectorChannel(_CorrectedChannel):
    """TR 38.901 UMi, UMa or RMa in one sector.

    Args:
        model: scenario of TR 38.901.
        los: all UEs with or without line of sight; null: by its probability.
        indoor_probability: share of indoor UEs; null: that of the scenario.
        isd_m: distance of sites [m]; null: that of the scenario.
        pathloss: path loss and shadow fading.
        ue_floors: indoor UEs on floors (UMi, UMa); else all at 1.5 m.
        corrections: corrections of Sionna by name; null: all that the installed version needs.
    """

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
    """Ray-traced site.

    Args:
        model: a traced site.
        scene: scene of Sionna RT.
        bs_position_m: position of the gNB, or a list of those of several stations (``bs.num_trps``) [m].
        look_at_m: point that the panels face, or a list of one for each station [m].
        area_center_m: centre of the area of the UEs [m].
        area_size_m: its sides [m].
        ue_height_m: height of the UEs [m].
        num_points: UE positions that are traced.
        max_depth: interactions of a path, at most.
        max_paths: paths of a link that are kept, the strongest.
        diffuse: diffuse reflections.
        diffraction: diffraction.
        num_rays: rays shot from the gNB.
        site_seed: seed of the positions and rays.
    """

    model: Literal["site"]
    scene: Literal["munich", "etoile", "florence", "san_francisco", "simple_street_canyon"]
    bs_position_m: Points
    look_at_m: Points
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
    """Samples of a channel store.

    Args:
        model: a store.
        store: folder of the store.
        split: split that samples are drawn from.
        group_by: users of a drop come from one site; null: from all.
        verify: compare the hashes of the shards first.
    """

    model: Literal["recorded"]
    store: str
    split: str = "test"
    group_by: Literal["site"] | None = None
    verify: StrictBool = True


class GuestChannel(PluginSection):
    """A channel source of another package; its parameters are checked by its constructor.

    Args:
        model: channel source of another package; its parameters stand next to it.
    """

    model: str


_CHANNELS: dict[str, type[BaseModel]] = {
    "rayleigh": RayleighChannel,
    "tdl": TdlChannel,
    "cdl": CdlChannel,
    "site": SiteChannel,
    "recorded": RecordedChannel,
    **dict.fromkeys(("umi", "uma", "rma"), SectorChannel),
}


MULTI_SITE = ("umi", "uma", "rma", "site")  # models of csilink that have several stations
RECIPROCAL = ("cdl", "umi", "uma", "rma")  # models of csilink that know the paths of an uplink


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
