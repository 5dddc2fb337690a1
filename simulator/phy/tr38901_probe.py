"""Does the installed Sionna depart from TR 38.901? Each question is put to its behaviour, in small draws.

A probe answers True while the correction of its name is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf
from sionna.phy.channel.tr38901 import (
    CDL,
    LSP,
    PanelArray,
    RaysGenerator,
    RMaScenario,
    UMaScenario,
)

from simulator.phy.tr38901_rays import RAY_OFFSETS, SUB_CLUSTER

_BS_M, _LINKS = 25.0, 2000


def _array(carrier_hz: float) -> PanelArray:
    return PanelArray(
        num_rows_per_panel=1, num_cols_per_panel=1, polarization="single", polarization_type="V",
        antenna_pattern="omni", carrier_frequency=carrier_hz,
    )  # fmt: skip


@cache
def _scenario(
    kind: type, distance_m: float, height_m: float, indoor: bool, los: bool | None, batch: int = _LINKS, users: int = 1
) -> Any:
    """Sionna's own scenario with all UEs at one place, 0.5 GHz: the breakpoint of UMa is within 1 km."""
    array = _array(0.5e9)
    options = {} if kind is RMaScenario else {"o2i_model": "low"}
    found = kind(carrier_frequency=0.5e9, ut_array=array, bs_array=array, direction="downlink", **options)
    found.set_topology(
        ut_loc=tf.tile([[[distance_m, 0.0, height_m]]], [batch, users, 1]),
        bs_loc=tf.tile([[[0.0, 0.0, _BS_M]]], [batch, 1, 1]),
        ut_orientations=tf.zeros([batch, users, 3]),
        bs_orientations=tf.zeros([batch, 1, 3]),
        ut_velocities=tf.zeros([batch, users, 3]),
        in_state=tf.fill([batch, users], indoor),
        los=los,
    )
    return found


def _flat(x: tf.Tensor) -> np.ndarray:
    return x.numpy().astype(float).reshape(-1)


def _ray_offsets() -> bool:
    found = _flat(RaysGenerator(_scenario(UMaScenario, 100.0, 1.5, False, True))._ray_offsets)
    return not np.allclose(found, RAY_OFFSETS, atol=1e-5)


def _indoor_distance() -> bool:
    s = _scenario(UMaScenario, 100.0, 1.5, True, None)
    return bool(_flat(s.distance_2d_in).mean() > 0.42 * float(s.max_2d_in))  # 1/3, or 1/2 of one draw


def _effective_height() -> bool:
    d, h, fc = 1000.0, 22.5, 0.5e9
    s = _scenario(UMaScenario, d, h, False, True)
    far = 28 + 40 * np.log10(_flat(s.distance_3d)) + 20 * np.log10(fc / 1e9) - _flat(s.basic_pathloss)
    product = np.sqrt(np.maximum(10 ** (far / 9) - (_BS_M - h) ** 2, 0)) * 299792458 / (4 * fc)
    # (h_BS - h_E)(h_UT - h_E) = product
    height = (_BS_M + h) / 2 - np.sqrt(((_BS_M - h) / 2) ** 2 + product)
    return bool(np.mean(np.abs(height[:, None] - [1, 12, 15, 18, 21]).min(axis=1) > 0.1) > 0.1)


def _los_zenith() -> bool:
    s = _scenario(UMaScenario, 100.0, 1.5, False, True)
    return not np.allclose(_flat(s.los_zoa), 180 - _flat(s.los_zod), atol=0.01)


def _indoor_los() -> bool:
    inside, outside = (_scenario(UMaScenario, 10.0, 1.5, state, None) for state in (True, False))
    return not np.allclose(_flat(inside.basic_pathloss), _flat(outside.basic_pathloss), atol=0.01)


def _distance_3d() -> bool:
    return not np.allclose(_flat(_scenario(UMaScenario, 100.0, 1.5, False, True).distance_3d), np.hypot(100, 23.5))


def _rma_zod_offset() -> bool:
    expected = np.degrees(np.arctan(31.5 / 100) - np.arctan(33.5 / 100))
    return not np.allclose(_flat(_scenario(RMaScenario, 100.0, 1.5, False, False).zod_offset), expected, rtol=1e-3)


@cache
def _rays() -> tuple[np.ndarray, np.ndarray]:
    """Azimuths of departure [degree] ``[batch, 2, cluster, ray]`` and powers of two NLOS UEs at one place."""
    s = _scenario(UMaScenario, 100.0, 1.5, False, False, 64, 2)
    rays = RaysGenerator(s)
    rays.topology_updated_callback()
    values = {"ds": 3e-7, "asd": 20.0, "asa": 60.0, "sf": 1.0, "k_factor": 1.0, "zsa": 10.0, "zsd": 2.0}
    found = rays(LSP(**{key: tf.fill([64, 1, 2], value) for key, value in values.items()}))
    return np.degrees(found.aod.numpy()[:, 0]), found.powers.numpy()[:, 0]


def _link_rays() -> bool:
    """One sign for both UEs? Of the clusters well off the direction of the gNB the last one has a clear sign."""
    side = np.sign(_rays()[0].mean(axis=-1)[:, :, -1])
    return bool(np.mean(side[:, 0] == side[:, 1]) > 0.75)


def _sub_clusters() -> bool:
    """Do the rays of a sub-cluster of the strongest cluster leave it?"""
    aod, powers = _rays()
    strongest = np.take_along_axis(aod, powers.argmax(-1)[..., None, None], axis=2)[:, :, 0]
    offset = np.abs(strongest - strongest.mean(axis=-1, keepdims=True)) / 2.0  # c_ASD of UMa NLOS
    inner, outer = np.abs(RAY_OFFSETS[SUB_CLUSTER == 2]).min() - 0.1, np.abs(RAY_OFFSETS[SUB_CLUSTER == 2]).max() + 0.1
    third = offset[..., SUB_CLUSTER == 2]
    return bool(np.mean((third > inner) & (third < outer)) < 0.75)


def _los_phase() -> bool:
    array = _array(3.5e9)
    a, _ = CDL("D", 1e-7, 3.5e9, array, array, "downlink")(64, 1, 1.0)
    first = a.numpy()[:, 0, 0, 0, 0, 0, 0]
    return bool(abs(np.mean(first / np.abs(first))) > 0.5)


PROBES: dict[str, Callable[[], bool]] = {
    "ray-offsets": _ray_offsets,
    "indoor-distance": _indoor_distance,
    "effective-height": _effective_height,
    "los-zenith": _los_zenith,
    "indoor-los": _indoor_los,
    "distance-3d": _distance_3d,
    "rma-zod-offset": _rma_zod_offset,
    "link-rays": _link_rays,
    "sub-clusters": _sub_clusters,
    "los-phase": _los_phase,
}
