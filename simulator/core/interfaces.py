"""Interfaces of everything that plugs in by name (entry points ``csilink.<kind>``).

Classes hold configuration; state is passed, never hidden. What makes or reads bits works on NumPy arrays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import count
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from simulator.core.empty import also_empty
from simulator.core.errors import ConfigError
from simulator.core.seeding import derive
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport, PrecodingContext

Array = Any  # a tensor of the Keras backend or a NumPy array


class ChannelSource(ABC):
    """Draws true channels. Built once per process with the radio geometry of the scenario."""

    # E|h|^2 is the same on every element, user, slot and frequency: one element suffices to estimate it.
    power_of_one_element: ClassVar[bool] = False
    power_drops: ClassVar[int] = 32  # of one estimate of E|h|^2

    corrections: tuple[str, ...] = ()  # names of the corrections that the source applies to its library

    @abstractmethod
    def sample(self, batch_size: int, *, seed: int, first: int = 0) -> NDArray[np.complex64]:
        """Channels of the drops ``first``, ``first + 1``, ..., complex64.

        The random numbers of a drop depend on ``seed`` and its number alone, not on the batch
        (:func:`~simulator.core.seeding.by_drop`): drops 8 to 15 are the same whether drawn alone or after 0 to 7, up to
        rounding. Speed, slots and frequency grid leave the random numbers as they are: the first slot of a drop has
        the same paths whatever they are.

        Args:
            batch_size: drops.
            seed: root seed.
            first: number of the first drop.

        Returns:
            ``[batch, user, rx_ant, port, slot, subcarrier]``.
        """

    def uplink(self, carrier_hz: float) -> ChannelSource:
        """The source of the uplink of the same UEs, for a gNB that measures it (partial reciprocity).

        Its drop of a seed and number has the angles, delays, powers and motion of the paths of that drop of this
        source, at the antennas of this source, and independent phases. Channels have the axes of the downlink: the
        uplink channel is their transpose.

        Args:
            carrier_hz: carrier of the uplink [Hz].

        Raises:
            ConfigError: the source does not know its paths. So by default.
        """
        name = type(self).__name__
        raise ConfigError("channel.model", name, "a model that knows the paths of an uplink: cdl, umi, uma, rma")

    def labels(self, batch_size: int, *, seed: int, first: int = 0) -> dict[str, NDArray[Any]]:
        """Labels of the UEs that :meth:`sample` draws with these arguments, ``name -> [batch, user, ...]``.

        Sources with a finite population of UEs name them (``user``, ``site``), so that data sets can be split by them.
        """
        return {}

    @property
    def num_distinct(self) -> int | None:
        """UEs that the users of all drops are drawn from; None: every drop has new ones.

        Intervals of results refer to the population of these UEs: drawing the same UEs again adds little.
        """
        return None

    def mean_power(self) -> float | None:
        """E|h|^2, mean over antenna pairs, slots and frequencies, where it is known exactly; None: to be estimated."""
        return None

    def power_estimates(self) -> Iterator[float]:
        """Independent, unbiased estimates of E|h|^2 without end, the same at every call. By default from drops."""
        for number in count():
            h = self.sample(self.power_drops, seed=derive(0, "mean power", number))
            yield float(np.mean(np.square(np.abs(h)), dtype=np.float64))


class Estimator(ABC):
    """What the UE makes of its CSI-RS observation.

    Constructor: ``(geometry: RadioGeometry, **params)``.
    """

    @abstractmethod
    def estimate(self, h: NDArray[np.complex64], *, seed: int) -> CsiEstimate:
        """Estimates of a whole drop; that of a slot uses no later one.

        Args:
            h: true channel complex64 ``[batch, user, rx_ant, port, slot, subcarrier]``.
            seed: of the noise.

        Returns:
            ``h_hat`` of the same shape, ``error_var`` float32 ``[batch, user, slot]``.
        """


class Payload(Protocol):
    """What the uplink has to know of the reports that it carries."""

    @property
    def max_bits(self) -> int:
        """Largest length of one report [bit]."""

    @property
    def min_bits(self) -> int:
        """Largest length of a report from which :meth:`omit` left out all that it can [bit]."""

    @property
    def part1_bits(self) -> int:
        """Bits of part 1, the same in every report; 0 for reports in one part."""

    def omit(self, report: CsiReport, max_bits: int) -> CsiReport:
        """The report with the least important parts left out where it is longer than ``max_bits``."""


class FeedbackScheme(ABC):
    """CSI report at the UE, reconstruction at the gNB; the two share nothing but ``config`` and the bits.

    Constructor: ``(config: CsiConfig, *, seed: int, **params)``; ``seed`` is public and constant over a run. The link
    constructs two objects with the same arguments (:meth:`twin`) and calls :meth:`report` and :meth:`ue_bops` of the
    one, :meth:`reconstruct` of the other. These three are never called for an empty batch, or one without users: the
    answer to it is cut from that to channels of zeros (:meth:`__init_subclass__`).
    """

    nested: ClassVar[bool] = False  # every prefix of a report, down to one bit, is a report
    several_trps: ClassVar[bool] = False  # reports on the ports of several stations
    explicit: ClassVar[bool] = True  # reconstructs channels ``h``; False: precoder directions ``w``
    state_size: int = 0  # integers that a report may refer to (:meth:`report_after`); 0: every report stands alone
    num_intervals: int = 1  # intervals that a report without state holds CSI of, the first one from its first use on
    interval_slots: int = 1  # slots of one of them
    config: CsiConfig
    _constructed_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __init_subclass__(cls, **options: Any) -> None:
        """Empty batches, once for all schemes."""
        super().__init_subclass__(**options)
        for name in ("report", "ue_bops", "reconstruct"):
            if name in vars(cls):
                setattr(cls, name, also_empty(vars(cls)[name]))

    def __new__(cls, *args: Any, **params: Any) -> Self:
        """Keep the arguments of the constructor for :meth:`twin`."""
        scheme = super().__new__(cls)
        scheme._constructed_with = args, params
        return scheme

    def twin(self) -> Self:
        """A new object from the arguments that constructed this one: the other end of the link."""
        args, params = self._constructed_with
        return type(self)(*args, **params)

    def check_band(self, num_rb: int, subband_rb: int) -> None:  # noqa: B027 - most serve any band
        """Raise ConfigError when this scheme cannot report on ``num_rb`` resource blocks in such subbands."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Stable name of this scheme with these parameters, the ``scheme`` column of results.csv."""

    @property
    @abstractmethod
    def max_bits(self) -> int:
        """Largest length of one report [bit]."""

    @property
    def part1_bits(self) -> int:
        """Bits of every report before its PMI (rank, lengths); 0 for schemes without such a part."""
        return 0

    @property
    def cqi_position(self) -> int:
        """Bits of every report before its CQI, where the scenario has one: those of a rank indicator."""
        return 0

    @property
    def min_bits(self) -> int:
        """Largest length of a report from which :meth:`omit` left out all that it can [bit]."""
        return self.max_bits

    @abstractmethod
    def report(self, csi: CsiEstimate) -> CsiReport:
        """The report of every UE, from its own estimate."""

    def omit(self, report: CsiReport, max_bits: int) -> CsiReport:
        """The report with the least important parts left out where it is longer than ``max_bits``.

        Both ends know the budget and the order of omission, so that no signalling is needed. By default nothing can be
        left out.
        """
        return report

    def report_after(self, csi: CsiEstimate, state: NDArray[np.int16]) -> CsiReport:
        """The report of every UE after ``state`` int16 ``[batch, user, state_size]``.

        The state is public: it is what the gNB made of the newest report that it has acknowledged; zeros before the
        first one, and where the UE sees from the acknowledgement that the gNB holds something else than was sent.
        """
        return self.report(csi)

    def reconstruct_after(
        self, report: CsiReport, state: NDArray[np.int16]
    ) -> tuple[CsiReconstruction, NDArray[np.int16]]:
        """CSI at the gNB from bits and public state, and the state that an acknowledgement of this report makes."""
        return self.reconstruct(report), state

    def ue_bops(self, csi: CsiEstimate) -> NDArray[np.float64] | None:
        """Bit operations that the UE's network spends on every report, float64 ``[batch, user]``.

        Multiply-accumulates times bits of weight and of activation (32 each in floating point). None for schemes
        without a network.
        """
        return None

    @abstractmethod
    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """CSI at the gNB from the bits alone.

        Raises:
            PayloadError: for a malformed report (shape, dtype, impossible length). Bits of legal length that are
                no codeword do not raise; they are marked in ``CsiReconstruction.valid``.
        """


class Quantizer(ABC):
    """Quantiser on [-1, 1] with ``2 ** bits`` cells: a hard path in NumPy, a soft path in ``keras.ops``.

    One index stands for ``dim`` neighbouring latents: values have shape ``[..., latent]``, indices
    ``[..., latent / dim]``; with ``dim`` 1 both have any shape.
    """

    bits: int
    dim: int = 1
    key: ClassVar[str]

    @classmethod
    def fit(cls, samples: NDArray[np.floating[Any]], bits: int) -> dict[str, Any]:
        """Constructor parameters, as plain lists, learned from latents ``[sample, latent]``; none by default."""
        return {}

    @abstractmethod
    def quantize(self, x: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Index of the cell of every value, 0 .. 2**bits - 1."""

    @abstractmethod
    def dequantize(self, index: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Reconstruction level of every index, float32 in [-1, 1]."""

    @abstractmethod
    def soft(self, x: Array) -> Array:
        """Quantised value with the gradient of the identity (straight-through estimator)."""


class ScalarQuantizer(Quantizer):
    """Quantiser whose cells are intervals between ``borders``, float64 ``[2**bits - 1]``, increasing."""

    borders: NDArray[np.float64]

    def cell(self, x: Array) -> tuple[Array, Array]:
        """Ends of the cell of every value, float32, exact, with the gradient of the identity; outer cells: -/+ 1e9."""
        from keras import ops

        ends = np.concatenate([[-1e9], self.borders, [1e9]]).astype(np.float32)
        value = ops.stop_gradient(self.soft(x))
        above = ops.searchsorted(ops.convert_to_tensor(ends), ops.reshape(value, (-1,)))  # ends below a level
        above = ops.minimum(above, len(ends) - 1)  # NaN, when training diverges
        slope = x - ops.stop_gradient(x)
        lower, upper = (ops.reshape(ops.take(ends, i), ops.shape(x)) for i in (above - 1, above))
        return lower + slope, upper + slope


class EntropyCoder(ABC):
    """Symbols to bits and back, many reports at once. All reports carry the same number of symbols.

    Constructor: ``(num_symbols, **tables)`` with an alphabet 0 .. num_symbols - 1. With T tables, symbol i of a
    report is coded with table ``i mod T``.
    """

    num_symbols: int

    @classmethod
    @abstractmethod
    def fit(cls, counts: NDArray[np.integer[Any]]) -> dict[str, Any]:
        """Tables, as plain lists, for symbol counts ``[symbol]`` or ``[table, symbol]``."""

    @abstractmethod
    def max_bits(self, num_symbols: int) -> int:
        """Longest possible report of ``num_symbols`` symbols [bit]."""

    @abstractmethod
    def encode(self, symbols: NDArray[np.integer[Any]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Bits uint8 ``[report, max]``, zero padded, and their number ``[report]``, of ``symbols [report, symbol]``."""

    @abstractmethod
    def decode(
        self, bits: NDArray[np.uint8], num_bits: NDArray[np.integer[Any]], num_symbols: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Symbols int64 ``[report, num_symbols]``; ``valid`` bool ``[report]``: exactly ``num_bits`` were used."""


class Predictor(ABC):
    """Past CSI to future CSI, from the history alone; nothing is remembered from one call to the next.

    Constructor: ``(geometry: RadioGeometry, **params)``, for carrier and slot duration.
    """

    num_history: int  # slots that the history must have at least
    horizon: ClassVar[int | None] = None  # slots that it can look ahead at most; None: any number

    @abstractmethod
    def predict(self, history: NDArray[np.complex64], num_slots: int) -> NDArray[np.complex64]:
        """The channel ``num_slots`` after the last slot of the history; that slot itself for 0.

        Args:
            history: complex64 ``[batch, user, rx_ant, port, slot, subcarrier]``, the oldest slot first. All zeros for a
                UE without CSI.
            num_slots: how far to look ahead, at least 0.

        Returns:
            complex64 ``[batch, user, rx_ant, port, subcarrier]``.

        Raises:
            ConfigError: as :meth:`check`.
        """

    def check(self, history_slots: int, num_slots: int) -> None:
        """ConfigError when the history is too short, or the future too far."""
        if history_slots < self.num_history:
            needed = f"at least {self.num_history}, which {type(self).__name__} needs"
            raise ConfigError("time.history_slots", history_slots, needed)
        if num_slots < 0 or (self.horizon is not None and num_slots > self.horizon):
            limit = "0 or more" if self.horizon is None else f"0..{self.horizon}"
            raise ConfigError("uplink.delay_slots", num_slots, f"{limit}, which {type(self).__name__} looks ahead")


class Precoder(ABC):
    """Linear precoder on effective channel rows."""

    noise_dependent: ClassVar[bool] = False
    single_user: ClassVar[bool] = False  # serves one user of a slot

    @property
    def num_solves(self) -> int:
        """Linear systems of the size of all streams that one call of :meth:`weights` solves for every matrix."""
        return 1

    @abstractmethod
    def weights(self, g: Array, noise_var: float) -> Array:
        """Precoder complex64 ``[..., port, stream]`` of ``g`` complex64 ``[..., stream, port]``; total power 1."""

    def for_link(self, context: PrecodingContext) -> Precoder:
        """This precoder for one scheme of a link: a new object where it needs the context, itself elsewhere."""
        return self

    def check(self, num_users: int, num_streams: int, num_ports: int) -> None:
        """Raise ConfigError when this precoder cannot serve the link."""
        if self.single_user and num_users > 1:
            raise ConfigError("precoding.precoders", type(self).__name__, f"one that serves {num_users} users")


class Metric(ABC):
    """A score: one value per drop, averaged over drops, finished by ``finalize`` (identity unless overridden)."""

    unit: ClassVar[str]
    better: ClassVar[str]  # "higher", "lower", or "one": the nearer to 1
    scope: ClassVar[str]  # "csi": once per scheme; "link": per scheme, precoder and SNR
    reduce: ClassVar[str] = "mean"  # or "max", or a percentile of single reports as "p95"
    needs: ClassVar[frozenset[str]] = frozenset()  # optional sections of a scenario without which it has no value
    bounds: ClassVar[tuple[float, float] | None] = None  # between which the value of a drop lies; None: unbounded
    alike: ClassVar[float] = 1e-6  # drops whose values differ by at most this share of the bounds count as equal

    @abstractmethod
    def evaluate(self, outcome: Any) -> dict[str, NDArray[np.float64]]:
        """Values per drop: metric name to float64 ``[batch]`` (scope csi) or ``[snr, batch]`` (scope link).

        For a percentile with a last axis more, of the reports of a drop.
        """

    def finalize(self, mean: NDArray[np.float64], snr_db: float | None = None) -> NDArray[np.float64]:
        """Map the mean over drops to the reported value (at one SNR); half-widths follow by its local slope."""
        return mean

    def bounds_of(self, outcome: Any) -> tuple[float, float] | None:
        """``bounds`` where they depend on the link: range of a drop to come where all drops so far are equal."""
        return self.bounds
