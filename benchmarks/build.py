"""The one place that turns a validated scenario into objects."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.csi_rs import beamformed_ports, build_csi_rs, build_estimator
from benchmarks.data_sets import with_recipe
from benchmarks.normalization import mean_power
from scenarios.channels import has_section
from scenarios.feedback import Feedback
from scenarios.schema import Scenario
from scenarios.sweep import Point
from scenarios.transmission import PrecoderEntry
from simulator.core import registry
from simulator.core.errors import ConfigError, Faults, StoreError
from simulator.core.finite import check_channels
from simulator.core.interfaces import ChannelSource, FeedbackScheme, Metric, Payload, Precoder
from simulator.core.seeding import derive, derive_wide
from simulator.core.types import Panel
from simulator.downlink.scheduler import Scheduler
from simulator.maths.transforms import unit_power
from simulator.nr.cqi import cqi_widths
from simulator.reporting.prediction import Prediction
from simulator.reporting.reporting import Reporting, check_slots
from simulator.reporting.uplink import Uplink, UplinkModel

if TYPE_CHECKING:
    from simulator.downlink.detection import Detection
    from simulator.link import Link
    from simulator.throughput.blocks import Throughput


def build_source(channel: Any, geometry: Any) -> ChannelSource:
    """Channel source of a scenario's channel section."""
    try:
        source = registry.build("channels", channel.model, geometry, **channel.model_dump(exclude={"model"}))
    except StoreError as error:
        if channel.model == "recorded":
            raise with_recipe(error, channel.store) from None
        raise
    if "first" not in inspect.signature(source.sample).parameters:
        raise ConfigError(
            "channel.model", channel.model, "a source that draws by drop: sample(batch_size, *, seed, first)"
        )
    return source


def check_source(channel: Any, geometry: Any) -> None:
    """Check a channel source without TensorFlow.

    Shipped sources of ``simulator.phy`` take what their sections in ``scenarios.channels`` allow, and a site needs its
    rays or the means to trace them. Others are built.

    Raises:
        CsilinkError: as :func:`build_source`.
    """
    if not has_section(channel) or channel.model == "recorded":
        build_source(channel, geometry)
    elif channel.model == "site":
        from simulator.phy.site_trace import check_traceable, site_request

        check_traceable(site_request(geometry, **channel.model_dump(exclude={"model"})))


def build_metrics(scenario: Scenario, always: Iterable[str] = ()) -> dict[str, Metric]:
    """Metrics of a scenario by name, all where it names none, after those that are computed ``always``."""
    names = scenario.metrics or tuple(registry.names("metrics"))
    metrics: dict[str, Metric] = {name: registry.build("metrics", name) for name in dict.fromkeys((*always, *names))}
    for name in scenario.metrics or ():
        for section in metrics[name].needs:
            if getattr(scenario, section) is None:
                raise ConfigError("metrics", name, f"{name} only with a {section} section")
    return metrics


def check_parts(scenario: Scenario) -> Link:
    """Build all that a run of this point needs; Keras, TensorFlow and Sionna only where parts of guests import them.

    Raises:
        CsilinkError: for all parts that cannot be built.
    """
    faults = Faults()
    with faults:
        check_source(scenario.channel, scenario.geometry)
    partial = scenario.sounding is not None and scenario.sounding.reciprocity == "partial"
    if partial and not has_section(scenario.channel):  # the others are known to the scenario
        with faults:
            build_source(scenario.channel, scenario.geometry).uplink(scenario.uplink_hz)
    with faults:
        build_metrics(scenario)
    with faults:
        link = build_link(scenario)
    faults.throw()
    return link


def build_payloads(scenario: Scenario) -> dict[str, Payload]:
    """Reports of every scheme by label, in the order of the scenario, as the uplink carries them; imports no Keras."""
    return payloads_of(scenario, _build_reporting(scenario))


def payloads_of(scenario: Scenario, reporting: Mapping[str, Reporting]) -> dict[str, Payload]:
    """Reports of schemes that were built for a scenario, with a CQI in them where it has link adaptation."""
    return {label: each.payload(_cqi_widths(scenario)) for label, each in reporting.items()}


def _cqi_widths(scenario: Scenario) -> tuple[int, ...]:
    """Bits of every field of the CQI in reports; none where they have none."""
    if not scenario.reports_cqi:
        return ()
    return cqi_widths(scenario.csi_config.num_subbands if scenario.throughput.cqi == "subband" else 0)


def build_uplink(scenario: Scenario) -> Uplink:
    """The uplink of all schemes; imports no Keras."""
    section = scenario.uplink
    common = {name: getattr(section, name) for name in ("on_loss", "delay_slots", "max_bits", "over_budget")}
    if section.code == "none":
        return UplinkModel(section.loss_probability, section.bit_flip_probability, **common)
    from simulator.reporting.coded_uplink import CodedUplink

    return CodedUplink(**common, **section.coded)


def build_scheme(
    scenario: Scenario, name: str | type[FeedbackScheme], params: Mapping[str, Any], ports: Panel | None = None
) -> FeedbackScheme:
    """A feedback scheme by name, or of a class, for the public configuration of a scenario.

    Args:
        scenario: of the link.
        name: scheme.
        params: of its constructor.
        ports: of beamformed CSI-RS; None: the antennas.
    """
    config, seed = scenario.csi_config, derive(scenario.seed, "feedback")
    if ports is not None:
        config = replace(config, panel=ports)
    kind = registry.load("feedback", name) if isinstance(name, str) else registry.checked("feedback", name)
    if config.panel.num_trps > 1 and not kind.several_trps:
        allowed = f"1 with {name}; trp-selection reports with it on one of several"
        raise ConfigError("bs.num_trps", config.panel.num_trps, allowed)
    if isinstance(name, str):
        scheme = registry.build("feedback", name, config, seed=seed, **params)
    else:
        scheme = kind(config, seed=seed, **params)
    if scenario.carrier.num_rb is not None:
        scheme.check_band(scenario.carrier.num_rb, scenario.carrier.subband_rb)
    return scheme


def _build_reporting(scenario: Scenario) -> dict[str, Reporting]:
    """Schemes with their uplink and prediction by label."""
    built: dict[str, Reporting] = {}
    common, faults = build_uplink(scenario), Faults()
    for entry in scenario.feedback:
        with faults:
            for label, reporting in _build_line(scenario, entry, common):
                if label in built:
                    raise ConfigError("feedback", label, "every scheme once; set a label to tell two apart")
                built[label] = reporting
    if built:
        with faults:
            check_slots(built, scenario.time.num_slots, scenario.time.history_slots)
    faults.throw()
    return built


def _build_line(scenario: Scenario, entry: Feedback, common: Uplink) -> Iterator[tuple[str, Reporting]]:
    """Schemes of one line by label."""
    ideal = UplinkModel(on_loss=common.on_loss, delay_slots=common.delay_slots)
    prediction = _build_prediction(scenario, entry)
    suffix = "" if prediction is None else f"+{entry.predict.name}@{prediction.at}"
    suffix += "+ideal" if entry.ideal_uplink else ""
    csi_rs = build_csi_rs(scenario, entry)
    if csi_rs is not None:
        suffix += "+delays" if csi_rs.beamforming.delays else "+beams"
    suffix += f"+every{entry.period_slots}" if entry.period_slots > 1 else ""
    ports = None if entry.beamformed is None else beamformed_ports(entry.beamformed, scenario.panel.num_trps)
    for params in entry.variants():
        scheme = build_scheme(scenario, entry.scheme, params, ports)
        label = entry.label or scheme.label + suffix
        reporting = Reporting(scheme, ideal, prediction, entry.period_slots, csi_rs)
        if not entry.ideal_uplink:
            payload = reporting.payload(_cqi_widths(scenario))
            reporting = replace(reporting, uplink=common.for_scheme(payload, label))
        yield label, reporting


def _build_prediction(scenario: Scenario, entry: Feedback) -> Prediction | None:
    """Prediction of a line of schemes."""
    section = entry.predict
    if section is None:
        return None
    predictor = registry.build("predictors", section.name, scenario.geometry, **(section.model_extra or {}))
    return Prediction(predictor, section.at, section.monitor)


def build_link(scenario: Scenario) -> Link:
    """The link of one point."""
    from simulator.link import Link

    faults = Faults()
    precoders: dict[str, Precoder] = {}
    for entry in scenario.precoding.precoders:
        with faults:
            precoders[entry.key] = _build_precoder(scenario, entry)
    with faults:
        reporting = _build_reporting(scenario)
    with faults:
        estimator = build_estimator(scenario)
    faults.throw()
    return Link(
        config=scenario.csi_config,
        estimator=estimator,
        reporting=reporting,
        precoders=precoders,
        snr_db=scenario.snr_db,
        gammas=scenario.outage.gammas,
        rates_bpshz=scenario.outage.rates_bpshz,
        history_slots=scenario.time.history_slots,
        detection=_build_detection(scenario),
        scheduler=_build_scheduler(scenario),
        adaptive_rank=scenario.precoding.rank == "adaptive",
        throughput=build_throughput(scenario),
    )


def _build_precoder(scenario: Scenario, entry: PrecoderEntry) -> Precoder:
    """Precoder that can serve the link."""
    precoder: Precoder = registry.build("precoders", entry.name, **entry.params)
    users = scenario.served_users
    if precoder.single_user and users > 1:
        allowed = f"{entry.name} serves one user; {scenario.users_field} is {users}"
        raise ConfigError("precoding.precoders", entry.name, allowed)
    precoder.check(users, users * scenario.precoding.layers_per_user, scenario.panel.num_ports)
    return precoder


def _build_detection(scenario: Scenario) -> Detection:
    """Receivers of the UEs."""
    from simulator.downlink.detection import Detection

    section = scenario.detection
    fields = section.model_dump(exclude={"dmrs"}, exclude_none=True)
    if section.dmrs is not None:
        fields["dmrs"] = section.dmrs.dmrs
    return Detection(**fields, samples_per_rb=scenario.carrier.samples_per_rb)


def _build_scheduler(scenario: Scenario) -> Scheduler | None:
    """Scheduler of the gNB."""
    section = scenario.scheduling
    return None if section.num_selected is None else Scheduler(**section.model_dump())


def build_throughput(scenario: Scenario) -> Throughput | None:
    """Coded throughput of a scenario that asks for it."""
    section = scenario.throughput
    if section is None:
        return None
    from simulator.phy.bler import EesmBler
    from simulator.throughput.blocks import Throughput, sample_of_re
    from simulator.throughput.link_adaptation import OuterLoop

    samples = scenario.carrier.num_samples
    width = 12 if scenario.carrier.granularity == "rb" else 1
    decoder = None
    if section.mode == "exact":
        from simulator.phy.block_decoder import BlockDecoder

        decoder = BlockDecoder(sample_of_re(samples, width, section.overhead), section.num_iter)
    return Throughput(
        EesmBler(),
        samples * width,
        decoder,
        mcs=section.mcs_table,
        cqi=section.mcs_table if scenario.reports_cqi else None,
        target_bler=section.target_bler,
        olla=OuterLoop(section.target_bler, section.olla_step_db, warm_up_slots=section.olla_warm_up_slots)
        if section.olla
        else None,
        overhead=section.overhead,
        subband_cqi=section.cqi == "subband",
    )


class ChannelDraw:
    """Normalised channels of a point, by drop."""

    def __init__(self, point: Point):
        self._point, scenario = point, point.scenario
        self._source = build_source(scenario.channel, scenario.geometry)
        self._scale: float | None = None

    @property
    def distinct_drops(self) -> float:
        """Samples of the source over users of a drop; infinite where every drop is new."""
        distinct = self._source.num_distinct
        return np.inf if distinct is None else distinct / self._point.scenario.ue.num_users

    def block(self, first: int, drops: int, seed: int | None = None) -> np.ndarray:
        """Channels of the drops ``first``, ..., complex64 ``[drop, user, rx_ant, port, slot, subcarrier]``.

        The seed leaves out all but the root (that of the scenario unless given): points that differ elsewhere share the
        random numbers of their drops.
        """
        root = self._point.scenario.seed if seed is None else seed
        h = self._source.sample(drops, seed=derive_wide(root, "channel"), first=first)
        check_channels(h, first=first)
        kind = self._point.scenario.normalization
        if kind == "per_sample":
            return unit_power(h, num_lead=2)
        return h if kind == "none" else h * np.float32(self._dataset_scale())

    def uplink(self, first: int, h: np.ndarray) -> np.ndarray | None:
        """Uplink of the drops ``first``, ... in the axes of ``h``, their downlink; unit mean power for every user.

        None in a scenario without ``sounding``.
        """
        scenario = self._point.scenario
        if scenario.sounding is None:
            return None
        if scenario.sounding.reciprocity == "partial":
            h = self._uplink_source.sample(len(h), seed=derive_wide(scenario.seed, "channel"), first=first)
            check_channels(h, first=first)
        return unit_power(h, num_lead=2)

    @cached_property
    def _uplink_source(self) -> ChannelSource:
        return self._source.uplink(self._point.scenario.uplink_hz)

    def _dataset_scale(self) -> float:
        """One factor for all runs with this channel: 1 / sqrt(E|h|^2)."""
        if self._scale is None:
            scenario = self._point.scenario
            self._scale = mean_power(scenario.channel, scenario.geometry).value ** -0.5
        return self._scale


def channel_name(channel: Any) -> str:
    """Short name of a channel section for results, e.g. ``umi``, ``cdl-C``, ``site-munich``."""
    for field in ("profile", "scene", "store"):
        if value := getattr(channel, field, None):
            return f"{channel.model}-{Path(str(value)).name}"
    return str(channel.model)
