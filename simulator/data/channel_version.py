"""Which channels a store holds, in one line that cards of trained weights repeat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

UNCORRECTED = "csilink 0.1.0, before the TR 38.901 corrections"


def channel_version(origin: Mapping[str, Any]) -> str:
    """The corrections of TR 38.901 that were active when a store was drawn.

    Args:
        origin: of its manifest; stores made of other stores hold theirs.

    Returns:
        ``corrected: name, name``, ``nothing to correct``, :data:`UNCORRECTED` (old recipes), or ``recorded``.
    """
    drawn = [node for node in _nodes(origin) if "recipe" in node]
    if any("corrections" not in node for node in drawn):
        return UNCORRECTED
    names = list(dict.fromkeys(name for node in drawn for part in node["corrections"].values() for name in part))
    if names:
        return f"corrected: {', '.join(names)}"
    return "nothing to correct" if drawn else "recorded"


def _nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
    if isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _nodes(each)
