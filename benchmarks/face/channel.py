"""Channels of a source by name, drop by drop."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.build import ChannelDraw, check_source
from benchmarks.face.link import LINK_ARGUMENTS, link_of
from scenarios.schema import Scenario
from scenarios.sweep import Point
from simulator.core.errors import ConfigError
from simulator.core.params import Count, validated
from simulator.core.types import CsiConfig, RadioGeometry


class Channel:
    """A channel source with its carrier, antennas and users; made by :func:`channel`.

    Args:
        scenario: its radio part and channel section.
        has_slots: samples have a slot axis.
    """

    def __init__(self, scenario: Scenario, has_slots: bool):
        check_source(scenario.channel, scenario.geometry)
        self._scenario, self._has_slots = scenario, has_slots

    @property
    def scenario(self) -> Scenario:
        """Radio part and channel section as validated fields."""
        return self._scenario

    @property
    def config(self) -> CsiConfig:
        """What UE and gNB both know: panel, UE antennas, frequency samples, subbands, layers."""
        return self._scenario.csi_config

    @property
    def geometry(self) -> RadioGeometry:
        """Carrier, antennas, users and time."""
        return self._scenario.geometry

    @cached_property
    def _draw(self) -> ChannelDraw:
        return ChannelDraw(Point(self._scenario, {}))

    @validated("sample")
    def sample(self, batch: Count, *, seed: int = 1, first: int = 0) -> NDArray[np.complex64]:
        """Channels of the drops ``first``, ..., ``first + batch - 1``: those of a run of a scenario with this seed.

        Args:
            batch: number of drops.
            seed: root seed; equal seeds give equal drops, whatever the batch.
            first: number of the first drop.

        Returns:
            complex64 ``[batch, user, rx_ant, port, subcarrier]``, linear amplitude, with ``num_slots`` given
            ``[batch, user, rx_ant, port, slot, subcarrier]``. E|h|^2 = 1 as ``normalization`` says.

        Raises:
            ConfigError: a channel with entries that are not finite.
        """
        h = self._draw.block(first, batch, seed)
        return h if self._has_slots else h[..., 0, :]

    def __repr__(self) -> str:
        g = self.geometry
        return f"<channel {self._scenario.channel.model}: {g.num_users} users, {self.config}>"


def channel(name: str, **params: Any) -> Channel:
    """A channel source by name.

    Args:
        name: plug-in of `csilink list channels`, e.g. "umi", "uma", "rma", "cdl", "tdl", "rayleigh", "recorded", or a
            dotted path ``package.module:Class``.
        panel: ``(n1, n2, num_pol)`` of the gNB, columns, rows, polarisations; one CSI-RS port per element and
            polarisation, in the order ``pol, n1, n2`` of TS 38.214. By default (8, 2, 2).
        num_users: UEs of a drop, by default 1.
        num_rx_ant: antennas of a UE, by default 1; ``ue_num_pol`` 2 makes them cross-polarised pairs.
        num_rb: resource blocks, one frequency sample for each, by default 52; with ``granularity="subcarrier"`` twelve.
        num_subcarriers: frequency samples in place of ``num_rb``.
        carrier_hz: carrier frequency [Hz], by default 3.5e9.
        subcarrier_spacing_hz: by default 30e3.
        subband_rb: resource blocks (or frequency samples) of a subband, by default 4.
        num_slots: slots of a drop, by default one without a slot axis; ``slot_s`` is their distance [s].
        speed_mps: of the UEs [m/s], by default 0.
        num_layers: spatial layers per UE, for schemes and precoders, by default 1.
        normalization: "per_sample" (every UE and drop has E|h|^2 = 1 per antenna pair), "per_dataset" (one factor) or
            "none" (the path gain stays).
        **params: of the source, e.g. ``profile="C"`` of a CDL.

    Returns:
        :class:`Channel` with ``sample(batch, seed=...)`` and ``config``.

    Raises:
        ConfigError: an unknown name or parameter, or a value out of range; it names the field of a scenario.

    Source: sources and their clauses of TR 38.901: docs/channels.md.

    Example:
        >>> import csilink
        >>> tdl = csilink.channel("tdl", profile="A", panel=(4, 2, 2), num_users=2, num_rb=13)
        >>> h = tdl.sample(3, seed=7)
        >>> h.shape  # [batch, user, rx_ant, port, subcarrier]
        (3, 2, 1, 16, 13)
        >>> bool(abs((abs(h) ** 2).mean() - 1) < 1e-5)
        True
    """
    if not isinstance(name, str):
        raise ConfigError("name", name, "the name of a channel source, or a dotted path package.module:Class")
    link = {key: params.pop(key) for key in LINK_ARGUMENTS if key in params}
    return Channel(link_of({"model": name, **params}, **link), has_slots=link.get("num_slots") is not None)
