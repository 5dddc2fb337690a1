"""The data that flows through the link. Shapes are those of the design: batch, user, then physics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import ConfigError, PayloadError


@dataclass(frozen=True)
class Panel:
    """Antenna panel; every element of the gNB's is a CSI-RS port, ordered ``pol, n1, n2`` (TS 38.214, 5.2.2.2.1).

    Args:
        n1: columns (horizontal), n1 >= 1.
        n2: rows (vertical), n2 >= 1.
        num_pol: 1 or 2 polarisations.
    """

    n1: int
    n2: int = 1
    num_pol: int = 1

    @property
    def num_ports(self) -> int:
        """Number of CSI-RS ports, ``num_pol * n1 * n2``."""
        return self.num_pol * self.n1 * self.n2

    @property
    def num_trps(self) -> int:
        """Stations with such a panel, N_TRP."""
        return 1

    @property
    def of_trp(self) -> Panel:
        """Panel of one station."""
        return self

    def at(self, num_trps: int) -> Panel:
        """Such a panel at as many stations."""
        return self if num_trps == 1 else TrpPanels(self.n1, self.n2, self.num_pol, num_trps)


@dataclass(frozen=True)
class TrpPanels(Panel):
    """Equal panels of several stations (transmission and reception points); ports are ordered ``trp, pol, n1, n2``.

    Args:
        num_trps: N_TRP, 2 or more.
    """

    num_trps: int = 2

    @property
    def num_ports(self) -> int:
        """Number of CSI-RS ports of all stations."""
        return self.num_trps * super().num_ports

    @property
    def of_trp(self) -> Panel:
        """Panel of one station."""
        return Panel(self.n1, self.n2, self.num_pol)


@dataclass(frozen=True)
class RadioGeometry:
    """Everything a channel source needs to know about carrier, antennas, users and time.

    Args:
        carrier_hz: carrier frequency [Hz].
        panel: gNB panel; one port per element.
        num_users: UEs of a drop.
        num_rx_ant: antennas of one UE, ``ue_num_rows`` rows of them (cross-polarised pairs when ``ue_num_pol`` is 2).
        num_subcarriers: frequency samples of the channel.
        spacing_hz: distance of two frequency samples [Hz].
        num_slots: time samples of a drop.
        slot_s: time between two of them [s].
        speed_mps: UE speed, or the least one [m/s].
        max_speed_mps: upper end of speeds uniform per UE and drop [m/s]; None: all have ``speed_mps``.
        ue_num_pol: polarisations of the UE array, 1 or 2.
        antenna_pattern: element pattern of the gNB, "38.901" (TR 38.901, Table 7.3-1) or "omni".
        ue_num_rows: rows of the UE array; 1 is a horizontal row.
        subcarriers_per_sample: subcarriers that one frequency sample stands for, 12 (a resource block) or 1.
    """

    carrier_hz: float
    panel: Panel
    num_users: int
    num_rx_ant: int
    num_subcarriers: int
    spacing_hz: float
    num_slots: int = 1
    slot_s: float = 1e-3
    speed_mps: float = 0.0
    ue_num_pol: int = 1
    antenna_pattern: str = "38.901"
    ue_num_rows: int = 1
    max_speed_mps: float | None = None
    subcarriers_per_sample: int = 1

    @property
    def speed_range_mps(self) -> tuple[float, float]:
        """Least and greatest speed [m/s]; equal where all UEs have the same."""
        return self.speed_mps, self.speed_mps if self.max_speed_mps is None else self.max_speed_mps

    @property
    def ue_panel(self) -> Panel:
        """UE array, antennas in the order of CSI-RS ports: ``pol``, column, row (upwards).

        Raises:
            ConfigError: ``num_rx_ant`` does not fill the rows.
        """
        column = self.ue_num_pol * self.ue_num_rows
        columns, rest = divmod(self.num_rx_ant, column)
        if rest or not columns:
            allowed = f"a multiple of ue.num_pol * ue.num_rows = {column}"
            raise ConfigError("ue.num_rx_ant", self.num_rx_ant, allowed)
        return Panel(columns, self.ue_num_rows, self.ue_num_pol)

    @property
    def frequencies_hz(self) -> NDArray[np.float64]:
        """Offsets of the frequency samples from the carrier [Hz], float64 ``[subcarrier]``, centred on 0."""
        return (
            np.asarray(np.arange(self.num_subcarriers) - (self.num_subcarriers - 1) / 2, np.float64) * self.spacing_hz
        )


@dataclass(frozen=True)
class CsiConfig:
    """What UE and gNB both know before any report is sent: the public configuration of the feedback.

    Args:
        panel: gNB panel.
        num_rx_ant: antennas of one UE.
        num_subcarriers: frequency samples of ``h`` (subcarriers, or one per resource block).
        spacing_hz: distance of two frequency samples [Hz].
        subband_size: frequency samples of one subband; the last subband may be smaller.
        num_layers: spatial layers that the gNB wants per UE.
        amplitude_range_db: range of the root mean square amplitude of a channel [dB]; None: all have unit power.
    """

    panel: Panel
    num_rx_ant: int
    num_subcarriers: int
    spacing_hz: float
    subband_size: int
    num_layers: int = 1
    amplitude_range_db: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        limit = min(self.num_rx_ant, self.panel.num_ports)
        if not 1 <= self.num_layers <= limit:
            raise ConfigError(
                "precoding.layers_per_user", self.num_layers, f"1..{limit} (min of UE antennas and ports)"
            )

    @property
    def num_subbands(self) -> int:
        """Subbands in the band, ``ceil(num_subcarriers / subband_size)``."""
        return -(-self.num_subcarriers // self.subband_size)

    @property
    def subband_starts(self) -> NDArray[np.int64]:
        """First frequency sample of every subband, int64 ``[subband]``."""
        return np.arange(0, self.num_subcarriers, self.subband_size)

    @property
    def subband_of(self) -> NDArray[np.int64]:
        """Subband index of every frequency sample, int64 ``[subcarrier]``."""
        return np.arange(self.num_subcarriers) // self.subband_size


@dataclass(frozen=True)
class CsiEstimate:
    """What the UE knows about its channel in one slot, as schemes take it.

    Estimators return all slots of a drop at once: ``h_hat`` ``[batch, user, rx_ant, port, slot, subcarrier]``,
    ``error_var`` ``[batch, user, slot]``.

    Args:
        h_hat: complex64 ``[batch, user, rx_ant, port, subcarrier]``, linear amplitude.
        error_var: float32 ``[batch, user]``, variance of ``h_hat - h`` per entry; 0 when perfect.
        history: complex64 ``[batch, user, rx_ant, port, slot, subcarrier]``, estimates of the last slots, oldest first,
            the last one is ``h_hat``; None where the scenario asks for no history.
        future: complex64 ``[batch, user, rx_ant, port, interval, subcarrier]``, what the UE expects in the intervals of
            a report of several, the first one is ``h_hat``; None where it does not predict them.
    """

    h_hat: NDArray[np.complex64]
    error_var: NDArray[np.float32]
    history: NDArray[np.complex64] | None = None
    future: NDArray[np.complex64] | None = None


@dataclass(frozen=True)
class CsiReport:
    """Everything that crosses the uplink.

    Args:
        bits: uint8 0/1 ``[batch, user, max_bits]``, left aligned, zero padded.
        num_bits: int ``[batch, user]``, length of each report.
    """

    bits: NDArray[np.uint8]
    num_bits: NDArray[np.int64]

    def __post_init__(self) -> None:
        bits, num_bits = np.asarray(self.bits), np.asarray(self.num_bits)
        if bits.dtype != np.uint8 or bits.ndim != 3:
            raise PayloadError(f"report.bits: got {bits.dtype} {bits.shape}; allowed: uint8 [batch, user, max_bits]")
        if not np.issubdtype(num_bits.dtype, np.integer) or num_bits.shape != bits.shape[:2]:
            raise PayloadError(
                f"report.num_bits: got {num_bits.dtype} {num_bits.shape}; allowed: integers of shape {bits.shape[:2]}"
            )
        if bits.size and bits.max() > 1:
            raise PayloadError(f"report.bits: got value {bits.max()}; allowed: 0 or 1")
        if num_bits.size and not 0 <= num_bits.min() <= num_bits.max() <= bits.shape[2]:
            raise PayloadError(f"report.num_bits: got {num_bits.min()}..{num_bits.max()}; allowed: 0..{bits.shape[2]}")

    def expect_length(self, num_bits: int) -> NDArray[np.uint8]:
        """Bits of a fixed-length report, uint8 ``[batch, user, num_bits]``; PayloadError for any other length."""
        wrong = np.asarray(self.num_bits) != num_bits
        if wrong.any():
            raise PayloadError(f"report.num_bits: got {self.num_bits[wrong][0]}; allowed: exactly {num_bits} bits")
        return self.bits[..., :num_bits]

    def to_bytes(self, batch_idx: int, user_idx: int) -> bytes:
        """One report as bytes, most significant bit first, zero padded to a whole byte."""
        return np.packbits(self.bits[batch_idx, user_idx, : self.num_bits[batch_idx, user_idx]]).tobytes()


@dataclass(frozen=True)
class CsiReconstruction:
    """What the gNB knows, from the bits alone: the channel (explicit) or precoder directions (implicit).

    Args:
        h: complex64 ``[batch, user, rx_ant, port, subcarrier]``, or None.
        w: complex64 ``[batch, user, port, layer, subband]``, or ``subcarrier`` where directions are finer than
            subbands; unit norm over ports, 0 for layers that are not used. Or None.
        valid: bool ``[batch, user]``; False where the bits were no codeword and the gNB knows nothing. None: all valid.
        intervals: of a report of several intervals (:attr:`FeedbackScheme.num_intervals`), ``h`` or ``w`` of each:
            ``[.., interval, subcarrier]`` or ``[.., interval, subband]``; the first one is ``h`` or ``w``. Or None.
    """

    h: NDArray[np.complex64] | None = None
    w: NDArray[np.complex64] | None = None
    valid: NDArray[np.bool_] | None = None
    intervals: NDArray[np.complex64] | None = None

    def __post_init__(self) -> None:
        if (self.h is None) == (self.w is None):
            raise ConfigError(
                "CsiReconstruction", "h and w" if self.h is not None else "neither", "exactly one of h, w"
            )

    @property
    def value(self) -> NDArray[np.complex64]:
        """``h`` or ``w``, whichever there is."""
        return cast("NDArray[np.complex64]", self.w if self.h is None else self.h)


@dataclass(frozen=True)
class PrecodingContext:
    r"""What the gNB knows in addition to the effective rows and the noise.

    Args:
        num_users: users that share the streams; ``stream = user * layers + layer``.
        relative_error: variance of the error of the rows over the power of the known rows, linear: float, or float32
            ``[layer]``. A long-term property of the scheme, 0 when perfect.
    """

    num_users: int
    relative_error: float | NDArray[np.float32] = 0.0
