"""Networks of the plan and the folders of their weights."""

from __future__ import annotations

from typing import Any


def network_name(model: str, ratio: str) -> str:
    """Folder of a network, e.g. ``csinet-4`` for compression 1/4."""
    return f"{model}-{ratio.removeprefix('1/')}"


def networks(plan: dict[str, Any], data: str) -> list[tuple[str, str, str]]:
    """Model, compression and folder name of every network of a data set."""
    return [(m, ratio, network_name(m, ratio)) for m, ratios in plan["runs"][data].items() for ratio in ratios]
