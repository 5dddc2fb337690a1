"""Names to objects through Python entry points ``csilink.<kind>``; built-ins use the same door as guests."""

from __future__ import annotations

import inspect
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from simulator.core.content import note_plugin
from simulator.core.errors import ConfigError

KINDS = (
    "channels",
    "estimators",
    "estimation_models",
    "feedback",
    "quantizers",
    "refiners",
    "coders",
    "models",
    "prediction_models",
    "precoders",
    "metrics",
    "predictors",
    "importers",
)


@cache
def _points(kind: str) -> dict[str, EntryPoint]:
    if kind not in KINDS:
        raise ConfigError("kind", kind, ", ".join(KINDS))
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"csilink.{kind}"):
        known = found.get(point.name)
        if known is not None and known.value != point.value:
            raise ConfigError(
                f"entry point csilink.{kind}",
                point.name,
                f"one plug-in per name; both {known.value} and {point.value}",
            )
        found[point.name] = point
    return dict(sorted(found.items()))


def names(kind: str) -> list[str]:
    """Known names of a kind, sorted; nothing is imported."""
    return list(_points(kind))


def target(kind: str, name: str) -> str:
    """Where a plug-in lives, ``package.module:Class``; nothing is imported."""
    return _point(kind, name).value


def load(kind: str, name: str) -> Any:
    """The class behind a name; ConfigError lists the known names."""
    return _point(kind, name).load()


def build(kind: str, name: str, *args: Any, **params: Any) -> Any:
    """Object of a plug-in; an unknown or missing parameter is a ConfigError with the legal list."""
    cls = load(kind, name)
    signature = inspect.signature(cls)
    try:
        signature.bind(*args, **params)
    except TypeError as error:
        legal = [p for p in list(signature.parameters)[len(args) :] if p not in ("config", "seed", "geometry")]
        raise ConfigError(
            f"{kind}.{name}", sorted(params), f"parameters {', '.join(legal) or 'none'} ({error})"
        ) from None
    return cls(*args, **params)


def _point(kind: str, name: str) -> EntryPoint:
    points = _points(kind)
    if name not in points:
        raise ConfigError(kind, name, ", ".join(points) or "none installed")
    note_plugin(kind, points[name])
    return points[name]
