"""Names of our corrections of Sionna's TR 38.901 channels, and which of them the installed version needs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Literal, get_args

SystemCorrection = Literal[
    "ray-offsets",  # Table 7.5-3: -1.1481, not -0.1481
    "indoor-distance",  # 7.4.3.1: d_2D-in is the smaller of two draws, one value per UE; d_2D-out >= 0
    "effective-height",  # Table 7.4.1-1, note 1 (UMa): h_E from {12, 15, ..., h_UT - 1.5} m, not continuous
    "los-zenith",  # 7.5 step 1: ZOA = 180 degrees - ZOD, not ZOD - 180 degrees, which mirrors the path
    "indoor-los",  # 7.4.2, 7.4.3.1: an indoor UE has the LOS state of its outdoor part (d_2D-out) in PL_b
    "distance-3d",  # Table 7.4.1-1: path loss over d_3D, not d_2D
    "rma-zod-offset",  # Table 7.5-9: offset in degrees, not radians
    "link-rays",  # 7.5 steps 7 and 8: signs and couplings of every link its own, not one for all UEs of a drop
    "sub-clusters",  # 7.5 step 8: rays of the two strongest clusters are coupled within their sub-cluster
]
CdlCorrection = Literal["los-phase"]  # 7.7.1 with (7.5-29): the specular path of D and E has a phase of its own
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
