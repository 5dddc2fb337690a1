"""Radio section of scenarios and data set recipes: carrier, antennas, users, time."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from scenarios.channels import MULTI_SITE, RayleighChannel, has_section
from scenarios.sections import Section
from simulator.core.errors import ConfigError
from simulator.core.params import Count, Integer, PositiveFloat, Real, Speed
from simulator.core.types import Panel, RadioGeometry

_Polarisations = Annotated[Integer, Field(ge=1, le=2)]


class Carrier(Section):
    """Carrier and the frequency grid on which the channel is computed.

    ``granularity: rb`` computes one frequency sample per resource block (12 subcarriers), ``subcarrier`` all of them.

    Args:
        carrier_hz: carrier frequency [Hz].
        num_rb: resource blocks of the band; this or ``num_subcarriers``.
        num_subcarriers: subcarriers of the band, with ``granularity: subcarrier``.
        subcarrier_spacing_hz: distance of two subcarriers [Hz].
        granularity: frequency samples of the channel: one per resource block, or every subcarrier.
        subband_rb: resource blocks of a subband; the last subband may be smaller.
    """

    carrier_hz: Annotated[Real, Field(ge=1e8, le=1e11)] = 3.5e9
    num_rb: Annotated[Integer, Field(ge=1, le=275)] | None = None
    num_subcarriers: Annotated[Integer, Field(ge=1, le=4096)] | None = None
    subcarrier_spacing_hz: Annotated[Real, Field(ge=1e3, le=1e8, allow_inf_nan=False)] = 30e3
    granularity: Literal["rb", "subcarrier"] = "rb"
    subband_rb: Count = 4

    @model_validator(mode="after")
    def _one_width(self) -> Carrier:
        if (self.num_rb is None) == (self.num_subcarriers is None):
            raise ValueError("exactly one of num_rb and num_subcarriers")
        if self.num_subcarriers is not None and self.granularity == "rb":
            raise ValueError("granularity 'subcarrier' when num_subcarriers is given")
        if (bandwidth := self.num_samples * self.spacing_hz) >= 2 * self.carrier_hz:
            allowed = f"a bandwidth below 2 * carrier.carrier_hz, not {bandwidth:g} Hz"
            raise ConfigError("carrier.subcarrier_spacing_hz", self.subcarrier_spacing_hz, allowed)
        return self

    @property
    def num_samples(self) -> int:
        """Frequency samples of ``h``."""
        if self.num_subcarriers is not None:
            return self.num_subcarriers
        return int(self.num_rb or 0) * (1 if self.granularity == "rb" else 12)

    @property
    def samples_per_rb(self) -> int:
        """Frequency samples of one resource block."""
        return 1 if self.granularity == "rb" else 12

    @property
    def spacing_hz(self) -> float:
        """Distance of two frequency samples [Hz]."""
        return self.subcarrier_spacing_hz * (12 if self.granularity == "rb" else 1)

    @property
    def subband_size(self) -> int:
        """Frequency samples of one subband."""
        return min(self.subband_rb * (1 if self.granularity == "rb" else 12), self.num_samples)


class BaseStation(Section):
    """gNB panel: ``n1`` columns, ``n2`` rows, one CSI-RS port per element and polarisation.

    Args:
        n1: columns of the panel (horizontal).
        n2: rows of the panel (vertical).
        num_pol: polarisations.
        antenna_pattern: pattern of an element: that of TR 38.901, Table 7.3-1, or "omni".
        num_trps: stations with such a panel that serve the UEs together; their ports follow each other.
    """

    younger_fields = frozenset({"num_trps"})

    n1: Annotated[Integer, Field(ge=1, le=64)] = 8
    n2: Annotated[Integer, Field(ge=1, le=64)] = 2
    num_pol: _Polarisations = 2
    antenna_pattern: Literal["38.901", "omni"] = "38.901"
    num_trps: Annotated[Integer, Field(ge=1, le=4)] = 1


class UserEquipment(Section):
    """The UEs of a drop; antennas of a UE stand in ``num_rows`` rows (``pol, column, row``, rows upwards).

    With ``max_speed_mps`` every UE has a speed of its own, uniform from ``speed_mps`` up to it.

    Args:
        num_users: UEs of a drop.
        num_rx_ant: antennas of a UE, a multiple of ``num_pol * num_rows``.
        num_pol: polarisations of the UE array.
        num_rows: rows of the UE array.
        speed_mps: speed of every UE, or the least one [m/s].
        max_speed_mps: the greatest speed [m/s]; null: all UEs have ``speed_mps``.
    """

    younger_fields = frozenset({"num_rows", "max_speed_mps"})

    num_users: Annotated[Integer, Field(ge=1, le=64)] = 1
    num_rx_ant: Annotated[Integer, Field(ge=1, le=16)] = 1
    num_pol: _Polarisations = 1
    num_rows: Annotated[Integer, Field(ge=1, le=16)] = 1
    speed_mps: Speed = 0.0
    max_speed_mps: Speed | None = None

    @model_validator(mode="after")
    def _speeds(self) -> UserEquipment:
        if self.max_speed_mps is not None and self.max_speed_mps < self.speed_mps:
            raise ConfigError("ue.max_speed_mps", self.max_speed_mps, f"at least ue.speed_mps = {self.speed_mps}")
        return self


class Time(Section):
    """Slots of a drop; the channel is sampled once per slot. A UE knows its last ``history_slots`` estimates.

    Args:
        num_slots: slots of a drop, at least ``history_slots + uplink.delay_slots``.
        history_slots: estimates that a UE keeps, the present one included.
        slot_s: time between two slots [s].
    """

    num_slots: Annotated[Integer, Field(ge=1, le=1000)] = 1
    history_slots: Annotated[Integer, Field(ge=1, le=1000)] = 1
    slot_s: PositiveFloat = 5e-4


class Radio(Section):
    """Carrier, antennas, users and time: the part that scenarios and data set recipes share.

    Args:
        carrier: carrier and frequency grid.
        bs: panel of the gNB.
        ue: the UEs.
        time: slots of a drop.
    """

    carrier: Carrier
    bs: BaseStation = BaseStation()
    ue: UserEquipment = UserEquipment()
    time: Time = Time()

    @model_validator(mode="after")
    def _whole_pairs(self) -> Radio:
        column = self.ue.num_pol * self.ue.num_rows
        if self.ue.num_rx_ant % column:
            allowed = f"a multiple of ue.num_pol * ue.num_rows = {column}"
            raise ConfigError("ue.num_rx_ant", self.ue.num_rx_ant, allowed)
        return self

    def check_channel(self, channel: Any, field: str = "channel") -> None:
        """ConfigError when a channel section does not fit the frequency grid or the number of stations."""
        if isinstance(channel, RayleighChannel) and channel.taps > self.carrier.num_samples:
            raise ConfigError(f"{field}.taps", channel.taps, f"1..{self.carrier.num_samples} (frequency samples)")
        if self.bs.num_trps > 1 and has_section(channel) and channel.model not in MULTI_SITE:
            raise ConfigError(
                "bs.num_trps", self.bs.num_trps, f"1 with {field}.model other than {', '.join(MULTI_SITE)}"
            )

    @property
    def panel(self) -> Panel:
        """gNB panel, or those of all stations."""
        bs = self.bs
        return Panel(bs.n1, bs.n2, bs.num_pol).at(bs.num_trps)

    @property
    def geometry(self) -> RadioGeometry:
        """Radio geometry for the channel source."""
        return RadioGeometry(
            carrier_hz=self.carrier.carrier_hz,
            panel=self.panel,
            num_users=self.ue.num_users,
            num_rx_ant=self.ue.num_rx_ant,
            num_subcarriers=self.carrier.num_samples,
            spacing_hz=self.carrier.spacing_hz,
            num_slots=self.time.num_slots,
            slot_s=self.time.slot_s,
            speed_mps=self.ue.speed_mps,
            max_speed_mps=self.ue.max_speed_mps,
            ue_num_pol=self.ue.num_pol,
            ue_num_rows=self.ue.num_rows,
            antenna_pattern=self.bs.antenna_pattern,
            subcarriers_per_sample=12 if self.carrier.granularity == "rb" else 1,
        )
