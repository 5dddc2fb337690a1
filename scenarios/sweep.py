"""Axes of a scenario to ordered points with content hashes."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from scenarios.load import set_field
from scenarios.schema import Scenario, parse_scenario
from simulator.core.content import own_version
from simulator.core.errors import ConfigError

MAX_POINTS = 10_000


@dataclass(frozen=True)
class Point:
    """One combination of the swept axes: a scenario without axes, and where it lies.

    SNRs, precoders and schemes are not points: they share the channels and reports of one.

    Args:
        scenario: without axes.
        axes: value of every axis.
        content: what its parts read, path or plug-in to hash or version, see :mod:`simulator.core.content`.
        version: of csilink.
    """

    scenario: Scenario
    axes: dict[str, Any]
    content: Mapping[str, str] = field(default_factory=dict)
    version: str = field(default_factory=own_version)

    @cached_property
    def key(self) -> str:
        """Hash of scenario, content and csilink's version: equal keys compute equal results, of any length of run."""
        scenario = self.scenario.model_dump(mode="json", exclude={"run", "description", "name"})
        return content_hash({"csilink": self.version, "scenario": scenario, "content": dict(self.content)})

    @property
    def channel_key(self) -> str:
        """Hash of what determines the channel alone, so that points which differ elsewhere see the same channels."""
        return content_hash(
            self.scenario.model_dump(mode="json", include={"carrier", "bs", "ue", "time", "channel", "normalization"})
        )


def content_hash(data: Any) -> str:
    """First 16 hex digits of SHA-256 over canonical JSON."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def expand(data: dict[str, Any]) -> list[Point]:
    """All points of a scenario in axis order (the last axis runs fastest)."""
    base = parse_scenario(data)
    plain = {key: value for key, value in data.items() if key != "sweep"}
    axes = list(base.sweep)
    for axis, values in base.sweep.items():
        if axis.split(".")[0] in ("name", "description", "seed", "run", "sweep", "snr_db", "metrics"):
            raise ConfigError(
                f"sweep.{axis}", axis, "a field of carrier, bs, ue, time, channel, estimation, feedback, uplink"
            )
        for value in values:
            if isinstance(value, dict | list):
                raise ConfigError(f"sweep.{axis}", value, "numbers, texts, true, false or null")
    if math.prod(map(len, base.sweep.values())) > MAX_POINTS:
        raise ConfigError("sweep", f"{math.prod(map(len, base.sweep.values()))} points", f"at most {MAX_POINTS}")
    points: dict[str, Point] = {}
    for values in itertools.product(*(base.sweep[axis] for axis in axes)):
        data = copy.deepcopy(plain)
        for axis, value in zip(axes, values, strict=True):
            set_field(data, axis, value)
        point = Point(parse_scenario(data), dict(zip(axes, values, strict=True)))
        if point.key in points:
            raise ConfigError("sweep", point.axes, "values that make a difference, each once")
        points[point.key] = point
    return list(points.values())
