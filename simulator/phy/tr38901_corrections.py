"""Names of our corrections of Sionna's TR 38.901 channels, and which of them the installed version needs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import get_args

from simulator.core.params import CdlCorrection, SystemCorrection

SYSTEM: tuple[str, ...] = get_args(SystemCorrection)
CDL: tuple[str, ...] = get_args(CdlCorrection)


def active(names: Iterable[str], chosen: Iterable[str] | None) -> tuple[str, ...]:
    """Corrections that a source applies, in the order of ``names``.

    Args:
        names: those that exist for the source, :data:`SYSTEM` or :data:`CDL`.
        chosen: those wanted; None: all that the installed Sionna needs.
    """
    return tuple(name for name in names if (_needed(name) if chosen is None else name in chosen))


@cache
def _needed(name: str) -> bool:
    from simulator.phy.tr38901_probe import PROBES

    return PROBES[name]()
