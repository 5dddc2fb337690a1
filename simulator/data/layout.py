"""What recorded channels look like: antennas, frequency or delay grid, time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from simulator.core.errors import ConfigError
from simulator.core.types import Panel, RadioGeometry


@dataclass(frozen=True)
class ChannelLayout:
    """Axes of recorded channels, all that a link must know about them.

    Args:
        panel: gNB panel; ports polarisation-major (``pol, n1, n2``).
        num_subcarriers: frequency samples of the full grid.
        spacing_hz: distance of two of them [Hz].
        num_rx_ant: antennas of one UE.
        num_slots: time samples of one recording.
        slot_s: time between them [s]; None when there is one, or it is unknown.
        carrier_hz: carrier frequency [Hz]; None when unknown.
        num_delays: None for antenna-frequency channels. Otherwise the data are truncated angular-delay images: the
            first ``num_delays`` taps of the unitary inverse DFT over the full grid, in the unitary DFT domain of the
            panel (:func:`simulator.maths.transforms.to_angular_delay`).
    """

    panel: Panel
    num_subcarriers: int
    spacing_hz: float
    num_rx_ant: int = 1
    num_slots: int = 1
    slot_s: float | None = None
    carrier_hz: float | None = None
    num_delays: int | None = None

    @classmethod
    def of(cls, geometry: RadioGeometry) -> ChannelLayout:
        """Layout of the channels that a source of this geometry draws."""
        return cls(
            panel=geometry.panel,
            num_subcarriers=geometry.num_subcarriers,
            spacing_hz=geometry.spacing_hz,
            num_rx_ant=geometry.num_rx_ant,
            num_slots=geometry.num_slots,
            slot_s=geometry.slot_s,
            carrier_hz=geometry.carrier_hz,
        )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ChannelLayout:
        """Layout of a manifest; ValueError, KeyError or TypeError when it is none."""
        layout = cls(**{**data, "panel": Panel(**data["panel"])})
        if min(layout.entry_shape) < 1 or not layout.spacing_hz > 0:
            raise ValueError(f"impossible layout {data}")
        return layout

    def to_json(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return asdict(self)

    @property
    def entry_shape(self) -> tuple[int, int, int, int]:
        """Shape of one sample: ``[rx_ant, port, slot, subcarrier]``, or ``[rx_ant, angle, slot, delay]``."""
        last = self.num_subcarriers if self.num_delays is None else self.num_delays
        return (self.num_rx_ant, self.panel.num_ports, self.num_slots, last)

    @property
    def bandwidth_hz(self) -> float:
        """Width of the full grid, ``num_subcarriers * spacing_hz`` [Hz]."""
        return self.num_subcarriers * self.spacing_hz

    def require_equal(self, other: ChannelLayout, field: str) -> None:
        """ConfigError naming ``field`` and the first difference, unless both layouts are the same."""
        for name, mine in asdict(self).items():
            theirs = asdict(other)[name]
            if mine != theirs:
                raise ConfigError(field, f"{name} {theirs}", f"{name} {mine}, as in the first store")
