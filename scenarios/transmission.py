"""Sections of a scenario for transmission: reports on the uplink, data on the downlink."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from scenarios.sections import PluginSection, Section
from simulator.core.errors import ConfigError, required
from simulator.core.params import (
    Count,
    Integer,
    Label,
    Overhead,
    PositiveFloat,
    Probability,
    Real,
    SnrDb,
    TargetBler,
)
from simulator.nr.dmrs import Dmrs


class Uplink(Section):
    """Transmission of the reports to the gNB.

    ``code: none`` loses reports and flips bits at given probabilities; ``code: uci`` sends them over the coded control
    channel of TS 38.212 at an SNR. ``max_bits`` is the payload budget of a slot.

    Args:
        loss_probability: share of lost reports.
        bit_flip_probability: share of wrong bits.
        on_loss: what the gNB uses after a loss: the last good report, or nothing.
        delay_slots: slots between estimate and use of a report.
        max_bits: payload budget of a slot [bit]; null: what the code takes.
        over_budget: what happens to a longer report: an error, parts left out, or several slots.
        code: channel code of the reports.
        snr_db: Es/N0 of a resource element at one antenna [dB]; required with ``uci``.
        num_re: resource elements for UCI in a slot, two coded bits each; required with ``uci``.
        fading: of the uplink channel.
        num_rx: antennas of the gNB, combined by MRC.
        list_size: paths of the polar decoder, a power of two.
        part1_code_rate: code rate of part 1 of reports in two parts.
        dtx_threshold: least correlation of a codeword without CRC; 0 takes all.
    """

    younger_fields = frozenset(
        {
            "code", "snr_db", "fading", "num_rx", "num_re", "list_size", "part1_code_rate", "dtx_threshold",
            "max_bits", "over_budget",
        }
    )  # fmt: skip

    loss_probability: Probability = 0.0
    bit_flip_probability: Probability = 0.0
    on_loss: Literal["last", "none"] = "last"
    delay_slots: Annotated[Integer, Field(ge=0, le=1000)] = 0
    max_bits: Count | None = None
    over_budget: Literal["error", "omit", "segment"] = "error"
    code: Literal["none", "uci"] = "none"
    snr_db: SnrDb | None = None
    num_re: Count | None = None
    fading: Literal["awgn", "rayleigh"] = "awgn"
    num_rx: Count = 1
    list_size: Count = 8
    part1_code_rate: Annotated[Real, Field(gt=0, le=1)] = 0.15
    dtx_threshold: Probability = 0.0

    @model_validator(mode="after")
    def _one_kind(self) -> Uplink:
        theirs = ("loss_probability", "bit_flip_probability")
        ours = tuple(self.coded)
        for name in ours if self.code == "none" else theirs:
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                raise ConfigError(f"uplink.{name}", value, f"no value with uplink.code: {self.code}")
        for name in ("snr_db", "num_re") if self.code == "uci" else ():
            if getattr(self, name) is None:
                raise required(f"uplink.{name}", "with uplink.code: uci")
        return self

    @property
    def coded(self) -> dict[str, Any]:
        """Fields of the coded uplink alone."""
        names = ("snr_db", "num_re", "fading", "num_rx", "list_size", "part1_code_rate", "dtx_threshold")
        return {name: getattr(self, name) for name in names}


class PrecoderEntry(PluginSection):
    """A precoder by name, alone or with parameters: ``zf``, ``{name: wmmse, num_iterations: 100}``.

    Its rows in results are called ``label``, by default the name and the parameters: ``wmmse-num_iterations100``.

    Args:
        name: precoder; its parameters stand next to it.
        label: name in results; null: name and parameters.
    """

    name: str
    label: Label | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        if not isinstance(value, str | dict | PrecoderEntry):
            raise ValueError("a name or a mapping of fields")
        return {"name": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> Any:
        data = {key: value for key, value in handler(self).items() if (key, value) != ("label", None)}
        return self.name if set(data) == {"name"} else data

    @property
    def params(self) -> dict[str, Any]:
        """Parameters of the constructor."""
        return self.model_extra or {}

    @property
    def key(self) -> str:
        """Its name in results."""
        return self.label or "-".join([self.name, *(f"{key}{value}" for key, value in self.params.items())])


class Precoding(Section):
    """Precoders to score, and spatial layers per UE; with ``rank: adaptive`` the gNB chooses up to that many.

    Args:
        precoders: precoders to score, by name or with parameters.
        layers_per_user: spatial layers of a UE, at most.
        rank: the gNB sends that many layers, or chooses up to that many per slot.
    """

    younger_fields = frozenset({"rank"})

    precoders: Annotated[tuple[PrecoderEntry, ...], Field(min_length=1)] = (PrecoderEntry(name="zf"),)
    layers_per_user: Count = 1
    rank: Literal["fixed", "adaptive"] = "fixed"


class Scheduling(Section):
    """Users of every slot, chosen by the gNB from what it knows; ``none`` serves all.

    Args:
        name: rule by which the gNB chooses users.
        num_selected: users of a slot, at most; required unless ``name`` is none.
        threshold: largest cosine between users, of ``semi_orthogonal``.
        window_slots: length of the rate average [slot], of ``proportional_fair``.
    """

    name: Literal["none", "semi_orthogonal", "greedy", "proportional_fair"] = "none"
    num_selected: Count | None = None
    threshold: Annotated[Real, Field(gt=0, le=1)] = 0.5
    window_slots: Annotated[Real, Field(ge=1, le=1e6)] = 20.0

    @model_validator(mode="after")
    def _number(self) -> Scheduling:
        if (self.name == "none") != (self.num_selected is None):
            allowed = "null when scheduling.name is none" if self.name == "none" else "a number of users"
            raise ConfigError("scheduling.num_selected", self.num_selected, allowed)
        return self


class Pilots(Section):
    """DM-RS of the PDSCH, see :class:`simulator.nr.dmrs.Dmrs`.

    Args:
        config_type: DM-RS configuration type.
        length: symbols of a DM-RS.
        additional: additional DM-RS positions.
        cdm_groups: CDM groups without data; null: all of the type.
    """

    config_type: Annotated[Integer, Field(ge=1, le=2)] = 1
    length: Annotated[Integer, Field(ge=1, le=2)] = 1
    additional: Annotated[Integer, Field(ge=0, le=3)] = 1
    cdm_groups: Annotated[Integer, Field(ge=1, le=3)] | None = None

    @property
    def dmrs(self) -> Dmrs:
        """The pattern."""
        return Dmrs(**self.model_dump())


class Demodulation(Section):
    """Demodulation at the UEs, see :class:`simulator.downlink.detection.Detection`.

    Args:
        channel: the UE knows its effective channel, or estimates it from DM-RS.
        receiver: filter.
        interference: covariance of the interference: known, or from what the own pilots leave; null: as ``channel``.
        loading: added to the diagonal of that covariance, relative to it; null: 0.01.
        dmrs: pattern of the DM-RS; null: the default pattern.
        prg_rb: resource blocks with one precoder; null: 2 with DM-RS, else one frequency sample.
    """

    channel: Literal["genie", "dmrs"] = "genie"
    receiver: Literal["irc", "lmmse", "mrc"] = "irc"
    interference: Literal["genie", "residual"] | None = None
    loading: Annotated[Real, Field(ge=0, le=10)] | None = None
    dmrs: Pilots | None = None
    prg_rb: Annotated[Integer, Field(ge=1, le=275)] | None = None

    @model_validator(mode="after")
    def _pilots(self) -> Demodulation:
        if self.channel == "genie":
            if self.interference == "residual":
                raise ConfigError("detection.interference", "residual", "genie: without DM-RS there is no residual")
            for field in ("dmrs", "loading"):
                if getattr(self, field) is not None:
                    raise ConfigError(
                        f"detection.{field}", getattr(self, field), "null unless detection.channel is dmrs"
                    )
        elif self.dmrs is not None:
            self.dmrs.dmrs  # noqa: B018 - raises for impossible patterns
        return self


class Outage(Section):
    """Outage targets: relative to the perfect-CSI rate of the same precoder, and absolute.

    Args:
        gammas: targets relative to the rate with perfect CSI.
        rates_bpshz: absolute targets [bit/s/Hz].
    """

    gammas: tuple[Annotated[Real, Field(gt=0, le=1)], ...] = (0.9, 0.95)
    rates_bpshz: tuple[PositiveFloat, ...] = (1.0,)


class Throughput(Section):
    """Coded throughput: one transport block per UE and slot, link adaptation from a CQI.

    ``eesm`` draws errors from tables at the effective SINR, ``exact`` encodes and decodes. ``cqi: ideal`` lets the gNB
    know the SINRs of the slot. The outer loop has seen ``olla_warm_up_slots`` blocks before. ``overhead`` is the share
    of resource elements without data.

    Args:
        mode: errors from tables at the effective SINR, or coding and decoding.
        mcs_table: MCS and CQI table of TS 38.214.
        cqi: wideband CQI in the reports (4 bits), also differential ones of the subbands (2 bits each), or SINRs known
            to the gNB.
        target_bler: block error rate of CQI and MCS.
        olla: outer loop of link adaptation.
        olla_step_db: step after a NACK [dB].
        olla_warm_up_slots: blocks that the outer loop has seen before the first scored one.
        overhead: share of resource elements without data.
        num_iter: iterations of the decoder, mode ``exact``.
    """

    mode: Literal["eesm", "exact"] = "eesm"
    mcs_table: Annotated[Integer, Field(ge=1, le=3)] = 1
    cqi: Literal["wideband", "subband", "ideal"] = "wideband"
    target_bler: TargetBler = 0.1
    olla: bool = True
    olla_step_db: PositiveFloat = 1.0
    olla_warm_up_slots: Annotated[Integer, Field(ge=0, le=10_000)] = 100
    overhead: Overhead = 1 / 7
    num_iter: Annotated[Integer, Field(ge=1, le=100)] = 20
