"""Keyword arguments to the radio part of a scenario, so that each limit is written once."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from scenarios.schema import Scenario, parse_scenario
from simulator.core.errors import ConfigError
from simulator.core.types import Panel


def link_of(
    channel: dict[str, Any],
    *,
    panel: Sequence[int] | Panel = (8, 2, 2),
    num_users: int = 1,
    num_rx_ant: int = 1,
    ue_num_pol: int = 1,
    num_rb: int | None = None,
    num_subcarriers: int | None = None,
    carrier_hz: float = 3.5e9,
    subcarrier_spacing_hz: float = 30e3,
    granularity: str | None = None,
    subband_rb: int = 4,
    num_slots: int | None = None,
    slot_s: float = 5e-4,
    speed_mps: float = 0.0,
    num_layers: int = 1,
    normalization: str = "per_sample",
    seed: int = 1,
) -> Scenario:
    """Scenario with this radio part and one channel section; arguments: :func:`benchmarks.face.channel.channel`."""
    if num_rb is None and num_subcarriers is None:
        num_rb = 52
    size = (panel.n1, panel.n2, panel.num_pol) if isinstance(panel, Panel) else tuple(panel)
    if len(size) != 3:
        raise ConfigError("panel", panel, "(n1, n2, num_pol): columns, rows, polarisations")
    carrier = {
        "carrier_hz": carrier_hz,
        "num_rb": num_rb,
        "num_subcarriers": num_subcarriers,
        "subcarrier_spacing_hz": subcarrier_spacing_hz,
        "granularity": granularity or ("rb" if num_subcarriers is None else "subcarrier"),
        "subband_rb": subband_rb,
    }
    return parse_scenario(
        {
            "name": "link",
            "seed": seed,
            "carrier": carrier,
            "bs": dict(zip(("n1", "n2", "num_pol"), size, strict=True)),
            "ue": {
                "num_users": num_users,
                "num_rx_ant": num_rx_ant,
                "num_pol": ue_num_pol,
                "speed_mps": speed_mps,
            },
            "time": {"num_slots": num_slots or 1, "slot_s": slot_s},
            "channel": channel,
            "normalization": normalization,
            "precoding": {"layers_per_user": num_layers},
            "scheduling": {"name": "greedy", "num_selected": 1},  # nothing here limits the number of users
            "feedback": [{"scheme": "perfect"}],
            "snr_db": [0],
        }
    )


LINK_ARGUMENTS = tuple(inspect.signature(link_of).parameters)[1:]
