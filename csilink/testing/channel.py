"""What a channel source promises."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.core import registry
from simulator.core.interfaces import ChannelSource
from simulator.core.types import Panel, RadioGeometry

GEOMETRY = RadioGeometry(3.5e9, Panel(3, 2, 2), 2, 2, 5, 360e3, num_slots=2, speed_mps=3.0)


def check_channel(source: str | type[ChannelSource], *, geometry: RadioGeometry = GEOMETRY, **params: Any) -> None:
    """Shapes, seeds and drops of a channel source, as the runner uses it: one object, many seeds.

    Args:
        source: class, name of a plug-in, or dotted path.
        geometry: carrier, antennas, users, time; by default 12 ports (3, 2, 2), two users with two antennas, two slots,
            five frequency samples.
        **params: of the constructor.

    Raises:
        AssertionError: what the source does and must not.
        ConfigError: it cannot be constructed.

    Example:
        >>> from csilink.testing import check_channel
        >>> check_channel("rayleigh")
    """
    if isinstance(source, str):
        made = registry.build("channels", source, geometry, **params)
    else:
        made = registry.checked("channels", source)(geometry, **params)
    g = geometry
    drop = (g.num_users, g.num_rx_ant, g.panel.num_ports, g.num_slots, g.num_subcarriers)
    h = made.sample(3, seed=1)
    assert isinstance(h, np.ndarray) and h.dtype == np.complex64, f"sample() returns {getattr(h, 'dtype', type(h))}"
    assert h.shape == (3, *drop), f"channels of shape {h.shape}, not {(3, *drop)}"
    assert np.isfinite(h).all(), "NaN or infinity"
    power = np.sum(np.abs(h) ** 2, axis=(2, 3, 4, 5))
    assert (power > 0).all(), "a channel of zeros"
    none = made.sample(0, seed=1)
    assert none.shape == (0, *drop), f"no drops have the shape {none.shape}"
    assert all(len(value) == 0 for value in made.labels(0, seed=1).values()), "labels of no drops"
    other = made.sample(3, seed=2)
    assert (np.abs(other - h) ** 2).sum(axis=(2, 3, 4, 5)).min() > 1e-3 * power.min(), "another seed, the same channel"
    again = made.sample(3, seed=1)
    assert np.array_equal(again, h), "another channel for the same seed"
    assert not np.shares_memory(again, h), "two samples share their memory"
    assert (h[0] != h[1]).any(), "all drops are alike"
    later = made.sample(3, seed=1, first=2)
    # Rounding of a product depends on the place in the batch; random numbers do not.
    assert np.abs(later[0] - h[2]).max() < 1e-5 * np.abs(h[2]).max(), "a drop depends on those before it"
    assert (later[1] != h[0]).any() and (later[1] != h[1]).any(), "drops repeat"
    if type(made).uplink is not ChannelSource.uplink:
        _check_uplink(made, h)


def _check_uplink(made: ChannelSource, h: np.ndarray) -> None:
    """The uplink of the drops of ``h``: the same axes, drop by drop, with power of the same order and other phases."""
    up = made.uplink(3.3e9)
    found = up.sample(3, seed=1)
    assert found.shape == h.shape and found.dtype == np.complex64, f"uplink {found.dtype} {found.shape}, not {h.shape}"
    assert np.isfinite(found).all(), "NaN or infinity in the uplink"
    gains = [np.sum(np.abs(x) ** 2, axis=(2, 3, 4, 5)) for x in (h, found)]
    ratio = np.median(gains[1] / gains[0])
    assert 0.1 < ratio < 10, f"an uplink with {ratio:.3g} times the power of the downlink"
    assert np.abs(found - h).max() > 1e-3 * np.abs(h).max(), "the uplink has the phases of the downlink"
    later = up.sample(1, seed=1, first=2)
    assert np.abs(later[0] - found[2]).max() < 1e-5 * np.abs(found[2]).max(), "an uplink depends on the drops before it"
