"""Scenario schema: frozen pydantic models. Data only, no computation, no TensorFlow."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from scenarios.channels import RayleighChannel, parse_channel
from scenarios.sections import PluginSection, Section, known
from scenarios.transmission import Demodulation, Outage, Pilots, Precoding, Scheduling, Throughput, Uplink
from simulator.core import registry
from simulator.core.errors import ConfigError, Faults
from simulator.core.params import Count, FileName, Integer, Label, PositiveFloat, Real, SnrDb, Speed, parsed
from simulator.core.types import CsiConfig, Panel, RadioGeometry
from simulator.nr.mcs import MAX_LAYERS

_Polarisations = Annotated[Integer, Field(ge=1, le=2)]
_MAX_SNRS = 1000
# Channel amplitudes, range known at both ends [dB]: unit power, or any path gain, or that of UEs of one cell.
_AMPLITUDE_RANGES_DB = {"per_sample": None, "per_dataset": (-120.0, 60.0), "none": (-200.0, 40.0)}
_MAX_VARIANTS = 1000


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
    """

    n1: Annotated[Integer, Field(ge=1, le=64)] = 8
    n2: Annotated[Integer, Field(ge=1, le=64)] = 2
    num_pol: _Polarisations = 2
    antenna_pattern: Literal["38.901", "omni"] = "38.901"


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
    """

    younger_fields = frozenset({"predict", "ideal_uplink"})

    scheme: str
    label: Label | None = None
    predict: Predict | None = None
    ideal_uplink: bool = False

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


class Run(Section):
    """How much to simulate. ``ci_rel`` goes on past ``drops`` until the half-width is small, up to ``max_drops``.

    Args:
        drops: independent drops.
        chunk_drops: drops that are computed and stored together, at most.
        memory_gib: memory of one process [GiB].
        ci_rel: go on until the half-width of ``ci_metric`` is this share of its value; null: ``drops`` are all.
        ci_metric: metric that ``ci_rel`` looks at.
        max_drops: drops at most, required with ``ci_rel``.
    """

    drops: Annotated[Integer, Field(ge=2, le=10_000_000)] = 256
    chunk_drops: Annotated[Integer, Field(ge=1, le=65536)] = 64
    memory_gib: PositiveFloat = 3.0
    ci_rel: Annotated[Real, Field(gt=0, lt=1)] | None = None
    ci_metric: str = "sum_rate_bpshz"
    max_drops: Annotated[Integer, Field(ge=2, le=10_000_000)] | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Run:
        if self.ci_rel is not None and self.max_drops is None:
            raise ValueError("max_drops together with ci_rel")
        if self.max_drops is not None and self.max_drops < self.drops:
            raise ValueError(f"max_drops >= drops = {self.drops}")
        return self


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
        """ConfigError when a channel section does not fit the frequency grid."""
        if isinstance(channel, RayleighChannel) and channel.taps > self.carrier.num_samples:
            raise ConfigError(f"{field}.taps", channel.taps, f"1..{self.carrier.num_samples} (frequency samples)")

    @property
    def panel(self) -> Panel:
        """gNB panel."""
        return Panel(self.bs.n1, self.bs.n2, self.bs.num_pol)

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


class Scenario(Radio):
    """One simulation: radio, feedback schemes and what to score.

    Args:
        name: of the scenario, and of the results folder by default.
        description: free text for the report.
        seed: root of all random numbers.
        channel: channel source: ``model`` and its parameters, see below.
        normalization: power of the channel: 1 for every UE and drop, 1 in the mean over the law, or as it is.
        estimation: how a UE estimates its channel.
        feedback: schemes to compare.
        uplink: way of the reports.
        precoding: precoders to compare, layers, rank.
        scheduling: users of a slot.
        detection: receivers of the UEs.
        snr_db: SNRs [dB]: a number, a list, or ``{start, stop, step}`` with both ends.
        outage: outage targets.
        throughput: transport blocks and link adaptation; null: Shannon rates alone.
        metrics: metrics to compute; null: all that apply.
        run: how much to simulate.
        sweep: dotted field to its values; every combination is a point.
    """

    younger_fields = frozenset({"scheduling", "detection", "throughput"})

    name: FileName
    description: str = ""
    seed: Annotated[Integer, Field(ge=0, lt=2**31)] = 1
    channel: Any
    normalization: Literal["per_sample", "per_dataset", "none"] = "per_sample"
    estimation: Estimation = Estimation()
    feedback: Annotated[tuple[Feedback, ...], Field(min_length=1)]
    uplink: Uplink = Uplink()
    precoding: Precoding = Precoding()
    scheduling: Scheduling = Scheduling()
    detection: Demodulation = Demodulation()
    snr_db: Annotated[tuple[SnrDb, ...], Field(min_length=1, max_length=_MAX_SNRS)]
    outage: Outage = Outage()
    throughput: Throughput | None = None
    metrics: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    run: Run = Run()
    sweep: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = {}

    _channel = field_validator("channel", mode="before")(parse_channel)

    @field_validator("snr_db", mode="before")
    @classmethod
    def _snr_range(cls, value: Any) -> Any:
        """Accept one number, a list, or ``{start, stop, step}`` with both ends included."""
        if isinstance(value, dict):
            numbers = [v for v in value.values() if isinstance(v, int | float) and not isinstance(v, bool)]
            if set(value) != {"start", "stop", "step"} or not len(numbers) == sum(map(math.isfinite, numbers)) == 3:
                raise ValueError("a list of numbers or {start, stop, step}")
            if value["step"] <= 0 or value["stop"] < value["start"]:
                raise ValueError("step > 0 and stop >= start")
            count = int((value["stop"] - value["start"]) / value["step"] + 1e-9) + 1
            if count > _MAX_SNRS:
                raise ValueError(f"at most {_MAX_SNRS} values")
            return [value["start"] + i * value["step"] for i in range(count)]
        return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _consistent(self) -> Scenario:
        faults = Faults()
        for check in (
            self._check_names,
            self._check_users,
            self._check_throughput,
            self._check_stopping,
            lambda: self.check_channel(self.channel),
            lambda: self.csi_config,  # raises for impossible layers
            self._check_detection,
        ):
            with faults:
                check()
        faults.throw()
        return self

    def _check_names(self) -> None:
        """Known plug-ins, and no value twice in a list."""
        faults = Faults()
        named = [("estimation.name", "estimators", self.estimation.name)]
        for entry in self.feedback:
            named.append(("feedback.scheme", "feedback", entry.scheme))
            if entry.predict is not None:
                named.append((f"feedback.{entry.scheme}.predict.name", "predictors", entry.predict.name))
            with faults:
                entry.variants()
        named += [("precoding.precoders", "precoders", entry.name) for entry in self.precoding.precoders]
        named += [("metrics", "metrics", name) for name in self.metrics or ()]
        for field, kind, name in named:
            with faults:
                known(field, kind, name)
        for field, values in (
            ("precoding.precoders", tuple(entry.key for entry in self.precoding.precoders)),
            ("metrics", self.metrics or ()),
            ("snr_db", self.snr_db),
            ("outage.gammas", self.outage.gammas),
            ("outage.rates_bpshz", self.outage.rates_bpshz),
        ):
            with faults:
                _once(field, values)
        faults.throw()

    def _check_users(self) -> None:
        """Users and streams that the ports can serve."""
        users = self.served_users
        field = self.users_field
        if users > self.ue.num_users:
            raise ConfigError(field, users, f"at most ue.num_users = {self.ue.num_users}")
        streams, ports = users * self.precoding.layers_per_user, self.panel.num_ports
        if streams > ports:
            name = field.split(".")[1]
            raise ConfigError(field, streams, f"at most {ports} streams ({name} * layers_per_user) on {ports} ports")

    def _check_stopping(self) -> None:
        """The watched metric is computed."""
        computed = self.metrics or registry.names("metrics")
        if self.run.ci_rel is not None and not self.run.ci_metric.startswith(tuple(computed)):
            raise ConfigError("run.ci_metric", self.run.ci_metric, ", ".join(computed))

    def _check_detection(self) -> None:
        """DM-RS need whole resource blocks and a port for every layer of a UE."""
        if self.carrier.samples_per_rb > 1 and self.carrier.num_samples % 12:
            for field, used in (("channel", self.detection.channel == "dmrs"), ("prg_rb", self.detection.prg_rb)):
                if used:
                    allowed = f"carrier.num_subcarriers in whole resource blocks, not {self.carrier.num_samples}"
                    raise ConfigError(f"detection.{field}", getattr(self.detection, field), allowed)
        if self.detection.channel == "dmrs":
            ports = len((self.detection.dmrs or Pilots()).dmrs.ports)
            if self.precoding.layers_per_user > ports:
                raise ConfigError(
                    "precoding.layers_per_user", self.precoding.layers_per_user, f"1..{ports} (DM-RS ports)"
                )

    @property
    def served_users(self) -> int:
        """Users that share a slot, at most."""
        return self.scheduling.num_selected or self.ue.num_users

    @property
    def users_field(self) -> str:
        """The field that says how many."""
        return "ue.num_users" if self.scheduling.num_selected is None else "scheduling.num_selected"

    @property
    def reports_cqi(self) -> bool:
        """Whether every report carries a wideband CQI: the gNB adapts its MCS to the reports."""
        return self.throughput is not None and self.throughput.cqi == "wideband"

    def _check_throughput(self) -> None:
        """ConfigError for blocks that the standard does not have."""
        if self.throughput is not None and self.precoding.layers_per_user > MAX_LAYERS:
            allowed = f"1..{MAX_LAYERS} with a throughput section (one codeword)"
            raise ConfigError("precoding.layers_per_user", self.precoding.layers_per_user, allowed)

    @property
    def csi_config(self) -> CsiConfig:
        """Public configuration that UE and gNB share."""
        return CsiConfig(
            panel=self.panel,
            num_rx_ant=self.ue.num_rx_ant,
            num_subcarriers=self.carrier.num_samples,
            spacing_hz=self.carrier.spacing_hz,
            subband_size=self.carrier.subband_size,
            num_layers=self.precoding.layers_per_user,
            amplitude_range_db=_AMPLITUDE_RANGES_DB[self.normalization],
        )


def parse_scenario(data: dict[str, Any]) -> Scenario:
    """Plain data to a validated scenario; all problems as one ConfigError that names the fields."""
    return parsed(Scenario, data)


def _once(field: str, values: tuple[Any, ...]) -> None:
    if len(set(values)) < len(values):
        raise ConfigError(field, list(values), "each value once")
