"""Axes of a scenario to ordered points with content hashes."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from scenarios.load import parse_yaml, set_field
from scenarios.schema import Scenario, parse_scenario
from simulator.core import registry
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
        """Hash of all that determines the channels: points of equal keys see the same ones, drop by drop."""
        return content_hash(self.channel_law)

    @property
    def channel_law(self) -> dict[str, Any]:
        """All that determines the channels, as plain data."""
        return _law(self.scenario) | {"normalization": self.scenario.normalization}

    @property
    def path_key(self) -> str:
        """Hash of all that determines the paths: points of equal keys differ in slots, speed or grid alone."""
        law = _law(self.scenario)
        if _kept(self.scenario.channel.model):
            law = {key: value for key, value in law.items() if key not in (*_MOTION, *_GRID)}
        return content_hash(law)

    @property
    def effect_key(self) -> str:
        """Hash of all that results may depend on: an axis along which it stays the same has no effect."""
        scenario, law = self.scenario, _law(self.scenario)
        data = scenario.model_dump(mode="json", exclude={"run", "description", "name", "sweep"})
        estimation = scenario.estimation
        ours = registry.target("estimators", estimation.name).startswith("receivers.")
        if ours and (scenario.time.num_slots == 1 or not _sees_motion(scenario)):
            for section, field in (("ue", "speed_mps"), ("ue", "max_speed_mps"), ("time", "slot_s")):
                if field not in law:
                    data[section].pop(field, None)
        if "antenna_pattern" not in law:
            data["bs"].pop("antenna_pattern")
        return content_hash(data)


_MOTION = ("speed_mps", "max_speed_mps", "slot_s")
_GRID = ("num_subcarriers", "spacing_hz", "num_slots")
_MOVING = ("tdl", "cdl", "umi", "uma", "rma", "site")


def _kept(model: str) -> bool:
    """Whether a source draws the same paths for any slots, speed and grid."""
    return model in (*_MOVING, "rayleigh")


def _law(scenario: Scenario) -> dict[str, Any]:
    """Law of the channels, by the fields of the geometry, without those that the source does not need."""
    law = asdict(scenario.geometry) | {"channel": scenario.channel.model_dump(mode="json")}
    model, idle = scenario.channel.model, {"subcarriers_per_sample"}
    if model in (*_MOVING, "rayleigh", "recorded"):
        if scenario.time.num_slots == 1 or model not in _MOVING:
            idle.update(_MOTION)
        elif not any(scenario.geometry.speed_range_mps):
            idle.add("slot_s")
        if model in ("rayleigh", "recorded", "tdl"):
            idle.update(("antenna_pattern", "ue_num_pol", "ue_num_rows"))
        if model == "rayleigh":
            idle.update(("carrier_hz", "spacing_hz"))
    return {key: value for key, value in law.items() if key not in idle}


def _sees_motion(scenario: Scenario) -> bool:
    """Whether an estimator between pilots or a predictor depends on speed or time."""
    held = (scenario.estimation.model_extra or {}).get("period_slots", 1) != 1
    return held or any(entry.predict is not None for entry in scenario.feedback)


def content_hash(data: Any) -> str:
    """First 16 hex digits of SHA-256 over canonical JSON."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def expand(data: dict[str, Any]) -> list[Point]:
    """All points of a scenario in axis order (the last axis runs fastest)."""
    base = parse_scenario(data)
    plain = {key: value for key, value in data.items() if key != "sweep"}
    axes = list(base.sweep)
    for axis, values in base.sweep.items():
        roots = {each.strip().split(".")[0] for each in axis.split(",")}
        if roots & {"name", "description", "seed", "run", "sweep", "snr_db", "metrics"}:
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
            for one, part in _fields(axis, value):
                set_field(data, one, part)
        point = Point(parse_scenario(data), dict(zip(axes, values, strict=True)))
        if point.key in points:
            raise ConfigError("sweep", point.axes, "values that make a difference, each once")
        points[point.key] = point
    return list(points.values())


def _fields(axis: str, value: Any) -> list[tuple[str, Any]]:
    """Fields of an axis with their values: one, or several that change together (``bs.n1, bs.n2`` with ``8, 2``)."""
    names = [each.strip() for each in axis.split(",")]
    if len(names) == 1:
        return [(axis, value)]
    parts = parse_yaml(f"[{value}]", f"sweep.{axis}")
    if len(parts) != len(names):
        raise ConfigError(f"sweep.{axis}", value, f"texts of {len(names)} values with commas between them")
    return list(zip(names, parts, strict=True))
