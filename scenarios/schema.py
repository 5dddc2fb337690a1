"""Scenario schema: frozen pydantic models. Data only, no computation, no TensorFlow."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, field_validator, model_validator

from scenarios.channels import RECIPROCAL, has_section, parse_channel
from scenarios.feedback import Estimation, Feedback, Sounding
from scenarios.radio import Radio
from scenarios.sections import Section, known
from scenarios.transmission import Demodulation, Outage, Pilots, Precoding, Scheduling, Throughput, Uplink
from simulator.core import registry
from simulator.core.errors import ConfigError, Faults, required
from simulator.core.params import FileName, Integer, PositiveFloat, Real, SnrDb, parsed
from simulator.core.types import CsiConfig
from simulator.nr.mcs import MAX_LAYERS

_MAX_SNRS = 1000
# Channel amplitudes, range known at both ends [dB]: unit power, or any path gain, or that of UEs of one cell.
_AMPLITUDE_RANGES_DB = {"per_sample": None, "per_dataset": (-120.0, 60.0), "none": (-200.0, 40.0)}


class Run(Section):
    """How much to simulate. ``ci_rel`` goes on past ``drops`` until the half-width is small, up to ``max_drops``.

    Args:
        drops: independent drops.
        chunk_drops: drops that are computed and stored together, at most.
        memory_gib: memory of one process [GiB].
        ci_rel: go on until the half-width of ``ci_metric`` is this share of its value; null: ``drops`` are all.
        ci_metric: metric that ``ci_rel`` looks at.
        max_drops: drops at most, required with ``ci_rel``.
        keep_drops: chunks also keep the time of a report of every scheme (docs/results.md).
    """

    younger_fields = frozenset({"keep_drops"})

    drops: Annotated[Integer, Field(ge=2, le=10_000_000)] = 256
    chunk_drops: Annotated[Integer, Field(ge=1, le=65536)] = 64
    memory_gib: PositiveFloat = 3.0
    ci_rel: Annotated[Real, Field(gt=0, lt=1)] | None = None
    ci_metric: str = "sum_rate_bpshz"
    max_drops: Annotated[Integer, Field(ge=2, le=10_000_000)] | None = None
    keep_drops: StrictBool = False

    @model_validator(mode="after")
    def _bounds(self) -> Run:
        if self.ci_rel is not None and self.max_drops is None:
            raise ValueError("max_drops together with ci_rel")
        if self.max_drops is not None and self.max_drops < self.drops:
            raise ValueError(f"max_drops >= drops = {self.drops}")
        return self


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
        sounding: uplink that the gNB measures, for beamformed CSI-RS; null: none.
        uplink: way of the reports.
        precoding: precoders to compare, layers, rank.
        scheduling: users of a slot.
        detection: receivers of the UEs.
        snr_db: SNRs [dB]: a number, a list, or ``{start, stop, step}`` with both ends.
        outage: outage targets.
        throughput: transport blocks and link adaptation; null: Shannon rates alone.
        metrics: metrics to compute; null: all that apply.
        run: how much to simulate.
        sweep: dotted field to its values; every combination is a point. Fields that change together stand in one axis
            with commas between them: ``bs.n1, bs.n2: ["4, 2", "8, 2"]``.
    """

    younger_fields = frozenset({"sounding", "scheduling", "detection", "throughput"})

    name: FileName
    description: str = ""
    seed: Annotated[Integer, Field(ge=0, lt=2**31)] = 1
    channel: Any
    normalization: Literal["per_sample", "per_dataset", "none"] = "per_sample"
    estimation: Estimation = Estimation()
    feedback: Annotated[tuple[Feedback, ...], Field(min_length=1)]
    sounding: Sounding | None = None
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
            self._check_sounding,
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

    def _check_sounding(self) -> None:
        """Beamformed CSI-RS need the uplink, and the uplink a channel that knows its paths."""
        beamformed = next((entry.scheme for entry in self.feedback if entry.beamformed is not None), None)
        if self.sounding is None:
            if beamformed is not None:
                raise required("sounding", f"with feedback.{beamformed}.beamformed")
            return
        partial = self.sounding.reciprocity == "partial"
        if partial and has_section(self.channel) and self.channel.model not in RECIPROCAL:
            allowed = f"{', '.join(RECIPROCAL)} with a section sounding: others do not know the paths of an uplink"
            raise ConfigError("channel.model", self.channel.model, allowed)
        if not 1e8 <= self.uplink_hz <= 1e11:
            allowed = "an uplink from 100 MHz to 100 GHz"
            raise ConfigError("sounding.duplex_distance_hz", self.sounding.distance_hz, allowed)

    @property
    def uplink_hz(self) -> float:
        """Carrier of the uplink [Hz]; that of the downlink without ``sounding``."""
        return float(self.carrier.carrier_hz - (0.0 if self.sounding is None else self.sounding.distance_hz))

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
        """Whether every report carries a CQI: the gNB adapts its MCS to the reports."""
        return self.throughput is not None and self.throughput.cqi != "ideal"

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
