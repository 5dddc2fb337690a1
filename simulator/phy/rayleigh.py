"""Independent Rayleigh fading on every antenna pair: the channel of the closed forms."""

from __future__ import annotations

import numpy as np

from simulator.core.errors import ConfigError
from simulator.core.interfaces import ChannelSource
from simulator.core.params import Count, validated
from simulator.core.seeding import by_drop
from simulator.core.types import RadioGeometry


class Rayleigh(ChannelSource):
    r"""i.i.d. :math:`\mathcal{CN}(0, 1)` per antenna pair; flat over the band unless ``taps`` says otherwise.

    Args:
        geometry: antennas, users, time and frequency samples.
        taps: number of independent equal-power taps spaced by one sample of the band; 1 is frequency-flat.

    Slots are independent (block fading).
    """

    @validated("channel")
    def __init__(self, geometry: RadioGeometry, *, taps: Count = 1):
        if taps > geometry.num_subcarriers:
            raise ConfigError("channel.taps", taps, f"1..{geometry.num_subcarriers} (frequency samples)")
        self.geometry, self.taps = geometry, taps

    def mean_power(self) -> float:
        """1 by definition."""
        return 1.0

    def sample(self, batch_size: int, *, seed: int, first: int = 0) -> np.ndarray:
        """Channels (see the base class)."""
        g = self.geometry
        shape = (g.num_slots, g.num_users, g.num_rx_ant, g.panel.num_ports, self.taps, 2)  # slots in order of time
        drawn = by_drop(seed, first, batch_size, lambda rng: rng.standard_normal(shape, np.float32))
        gains = np.array(drawn, np.float32).reshape(batch_size, *shape).view(np.complex64)[..., 0]
        gains = np.moveaxis(gains, 1, 4) / np.float32(np.sqrt(2 * self.taps))
        if self.taps == 1:
            return np.repeat(gains, g.num_subcarriers, axis=-1)
        phases = np.outer(np.arange(self.taps), np.arange(g.num_subcarriers)) / g.num_subcarriers
        return gains @ np.exp(-2j * np.pi * phases).astype(np.complex64)
