"""Channel source that draws from a store of recorded channels."""

from __future__ import annotations

from typing import Literal

import numpy as np

from simulator.core.errors import ConfigError
from simulator.core.interfaces import ChannelSource
from simulator.core.params import validated
from simulator.core.seeding import by_drop
from simulator.core.types import RadioGeometry
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.maths.transforms import from_angular_delay

_BLOCK = 32  # samples read at once


class RecordedChannels(ChannelSource):
    r"""Users of a drop are different samples of a store, drawn at random for every drop.

    Truncated angular-delay images are expanded to the scenario's subcarriers and antennas,
    :math:`h_{p,n} = \frac{1}{\sqrt{N M}} \sum_{d,a} x_{d,a} e^{-j 2\pi n d / N} e^{+j 2\pi p a / M}` (for a panel the
    angular sum is 2-D and for each polarisation), so that they pass the link like any other channel. With the
    bandwidth kept, N may differ from the recorded grid.

    Args:
        geometry: carrier, antennas, users, time; must fit the store.
        store: folder of the store.
        split: its split.
        group_by: "site": the users of a drop come from one site; None: from anywhere.
        verify: compare the SHA-256 of all shards once at the start.

    Raises:
        StoreError: no store, or a damaged one.
        ConfigError: the geometry does not fit; the message names the field of the scenario.
    """

    @validated("channel")
    def __init__(
        self,
        geometry: RadioGeometry,
        *,
        store: str,
        split: str = "test",
        group_by: Literal["site"] | None = None,
        verify: bool = True,
    ):
        self._store = ChannelStore(store, verify=verify)
        if split not in self._store.shards:
            raise ConfigError("channel.split", split, ", ".join(self._store.shards))
        self._geometry, self._split = geometry, split
        self._step, self._first = _fit(self._store.layout, geometry)
        count = self._store.num_samples(split)
        self._groups = [np.arange(count)]
        if group_by is not None:
            labels = self._store.labels(split)
            if group_by not in labels:
                raise ConfigError("channel.group_by", group_by, f"null; labels are {', '.join(labels) or '-'}")
            order = np.argsort(labels[group_by], kind="stable")
            self._groups = np.split(order, np.flatnonzero(np.diff(labels[group_by][order])) + 1)
        self._groups = [group for group in self._groups if len(group) >= geometry.num_users]
        if not self._groups:
            where = "any site" if group_by else f"split {split}"
            raise ConfigError("ue.num_users", geometry.num_users, f"at most the samples of {where} ({count} in all)")

    def sample(self, batch_size: int, *, seed: int, first: int = 0) -> np.ndarray:
        """Channels (see the base class); windows of another length have other first slots."""
        g = self._geometry
        starts = self._store.layout.num_slots - g.num_slots + 1
        size = np.array([len(group) for group in self._groups], float)
        upper = np.cumsum(size / size.sum())

        def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            group = self._groups[min(np.searchsorted(upper, rng.random(), side="right"), len(upper) - 1)]
            users = rng.choice(group, g.num_users, replace=False, shuffle=False)
            return users, rng.integers(0, starts, g.num_users)

        index, start = (
            np.array(by_drop(seed, first, batch_size, draw), np.int64).reshape(-1, 2, g.num_users).swapaxes(0, 1)
        )
        h = self._store.take(self._split, index)[:, :, : g.num_rx_ant]
        if starts > 1:  # a window of its own for every UE
            slots = (start[..., None] + np.arange(g.num_slots))[:, :, None, None, :, None]
            h = np.take_along_axis(h, slots, axis=4)
        return self._expanded(h)

    @property
    def num_distinct(self) -> int:
        """Samples of the groups that are large enough."""
        return sum(len(group) for group in self._groups)

    def mean_power(self) -> float:
        """Mean power of the store: samples of large enough groups, and windows of slots, are equally likely."""
        g, slots = self._geometry, self._store.layout.num_slots
        starts = slots - g.num_slots + 1
        # windows that hold each slot
        windows = np.convolve(np.ones(starts), np.ones(g.num_slots))
        total, index = 0.0, np.sort(np.concatenate(self._groups))
        for part in np.split(index, range(_BLOCK, len(index), _BLOCK)):
            h = self._expanded(self._store.take(self._split, part[:, None])[:, :, : g.num_rx_ant])
            by_slot = np.mean(np.square(np.abs(h)), axis=(1, 2, 3, 5), dtype=np.float64)  # [sample, slot]
            total += np.sum(by_slot @ windows) / windows.sum()
        return float(total / len(index))

    def _expanded(self, h: np.ndarray) -> np.ndarray:
        """Samples ``[batch, user, rx_ant, *, slot, *]`` of the store on the scenario's ports and subcarriers."""
        g = self._geometry
        if self._store.layout.num_delays is not None:
            images = np.moveaxis(h, 3, -1)  # [batch, user, rx_ant, slot, delay, angle]
            return np.moveaxis(from_angular_delay(images, g.panel, g.num_subcarriers), 3, 4)
        last = self._first + self._step * (g.num_subcarriers - 1)
        return np.ascontiguousarray(h[..., self._first : last + 1 : self._step])


def _fit(layout: ChannelLayout, g: RadioGeometry) -> tuple[int, int]:
    """Step and first index on the recorded frequency grid; ConfigError for a grid outside that of the store."""
    if g.panel != layout.panel:
        p = layout.panel
        raise ConfigError("bs", f"{g.panel}", f"n1 {p.n1}, n2 {p.n2}, num_pol {p.num_pol} as recorded")
    if g.num_rx_ant > layout.num_rx_ant:
        raise ConfigError("ue.num_rx_ant", g.num_rx_ant, f"1..{layout.num_rx_ant} as recorded")
    if layout.carrier_hz is not None and abs(g.carrier_hz / layout.carrier_hz - 1) > 0.01:
        raise ConfigError("carrier.carrier_hz", g.carrier_hz, f"{layout.carrier_hz:g} as recorded")
    if g.num_slots > layout.num_slots:
        raise ConfigError("time.num_slots", g.num_slots, f"1..{layout.num_slots} as recorded")
    if g.num_slots > 1 and layout.slot_s is not None and abs(g.slot_s / layout.slot_s - 1) > 1e-3:
        raise ConfigError("time.slot_s", g.slot_s, f"{layout.slot_s:g} as recorded")
    if layout.num_delays is not None:
        bandwidth = g.num_subcarriers * g.spacing_hz
        if abs(bandwidth / layout.bandwidth_hz - 1) > 0.01 or g.num_subcarriers < layout.num_delays:
            raise ConfigError(
                "carrier",
                f"{g.num_subcarriers} samples of {g.spacing_hz:g} Hz",
                f"at least {layout.num_delays} samples over {layout.bandwidth_hz:g} Hz, the recorded delay taps",
            )
        return 1, 0
    step = round(g.spacing_hz / layout.spacing_hz)
    span = step * (g.num_subcarriers - 1) + 1
    same = step >= 1 and abs(g.spacing_hz / (step * layout.spacing_hz) - 1) < 1e-3
    if (g.num_subcarriers > 1 and not same) or span > layout.num_subcarriers:
        raise ConfigError(
            "carrier",
            f"{g.num_subcarriers} samples of {g.spacing_hz:g} Hz",
            f"a part of the recorded grid, {layout.num_subcarriers} samples of {layout.spacing_hz:g} Hz",
        )
    return max(step, 1), (layout.num_subcarriers - span) // 2
