"""Mean power of system-level drops: what `normalization: per_dataset` divides by, without drawing a channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import tensorflow as tf
from sionna.phy.channel.tr38901 import PanelArray, SystemLevelChannel

from simulator.core.seeding import derive
from simulator.core.units import db_to_lin
from simulator.phy.sionna_env import set_seed

_POSITIONS, _DROPS = 200_000, 2_000
_SHADOW = 3  # of Sionna's large-scale parameters


def sector_power(
    topology: Callable[[int], tuple[tf.Tensor, ...]], model: SystemLevelChannel, los: bool | None, reach_m: float
) -> Iterator[float]:
    r"""Independent, unbiased estimates of E|h|^2 of one antenna pair, without end and always the same.

    Power is heavy-tailed: few UEs near the mast carry most of it. Each estimate draws many positions, keeps few of
    them, with probability proportional to a guess :math:`q` of their power (Hansen, Hurwitz 1943), and takes their mean
    of :math:`\bar q\, y / q`. The power :math:`y` of a UE is the mean over the random phases of its rays,

    .. math:: y = 10^{-PL / 10} \left( s\, \rho - c\, \rho_0 (s - E s) \right)

    with shadow fading :math:`s`, whose mean is known (log-normal), element gain :math:`\rho` over all rays and
    :math:`\rho_0` in the direction of the UE: the second term has mean 0 and takes most of the spread of the
    shadowing away. The gain of a ray is that of (7.5-28) with its four phases averaged out, of the line of sight that
    of (7.5-29).

    Args:
        topology: draws UEs: arguments of Sionna's ``set_topology``; the first UE of each drop counts.
        model: Sionna's model with path loss, shadow fading, and arrays of one (dual-polarised) element.
        los: see Sionna's ``set_topology``.
        reach_m: distance over which the probability of a line of sight falls to 1/e, about; for the guess alone [m].

    Source: TR 38.901, 7.3, 7.5; Cochran, Sampling Techniques, 3rd ed., Sec. 9A.
    """
    for number in count():
        set_seed(derive(0, "mean power", number))
        drawn = [x.numpy()[:, :1] for x in topology(_POSITIONS)]
        ue, bs, _, turn, _, indoor = drawn
        guess = _guess(model, reach_m, ue, bs, turn, indoor)
        rng = np.random.default_rng(derive(0, "positions of the mean power", number))
        picks = rng.choice(len(guess), _DROPS, p=guess / guess.sum())
        model.set_topology(*(tf.constant(x[picks]) for x in drawn), los=los)
        yield float(guess.mean() * np.mean(_power(model) / guess[picks]))


def _guess(
    model: SystemLevelChannel, reach_m: float, ue: np.ndarray, bs: np.ndarray, turn: np.ndarray, indoor: np.ndarray
) -> np.ndarray:
    """Rough root mean square of the power of UEs, float64 ``[drop]``, in any unit."""
    x = (ue - bs)[:, 0].astype(np.float64)
    flat, distance = np.hypot(x[:, 0], x[:, 1]), np.linalg.norm(x, axis=1)
    angles = (tf.constant(a, tf.float32) for a in (np.arccos(x[:, 2] / distance), np.arctan2(x[:, 1], x[:, 0])))
    gain = np.maximum(_gain(model, *_local(turn[:, 0], *angles)[:2]), 0.1)
    direct = np.minimum(18 / flat + np.exp(-flat / reach_m), 1.0)  # probability of a line of sight, about
    return gain * np.where(indoor[:, 0], 0.25, 1.0) * np.sqrt(direct + 0.01) / distance**2


def _power(model: SystemLevelChannel) -> np.ndarray:
    """Power of the UEs of the topology, mean over fading, float64 ``[drop]``; shadowing as in :func:`sector_power`."""
    scenario, lsp = model._scenario, model._lsp
    rays = model._ray_sampler(lsp)
    sides = scenario.bs_orientations[:, 0], scenario.ut_orientations[:, 0]
    departure, arrival = (
        _local(turn, zenith[:, 0, 0], azimuth[:, 0, 0])
        for turn, zenith, azimuth in zip(sides, (rays.zod, rays.zoa), (rays.aod, rays.aoa), strict=True)
    )
    leak = 1 / rays.xpr[:, 0, 0]
    (v, h), (w, g) = (
        _polarisation(model._cir_sampler._tx_array, departure[2]),
        _polarisation(model._cir_sampler._rx_array, arrival[2]),
    )
    each = _gain(model, *departure[:2]) * (v * w + h * g + leak * (v * g + h * w)).numpy()
    rho = np.sum(each.mean(axis=-1) * rays.powers[:, 0, 0].numpy(), axis=-1)
    to_ue, to_bs = (
        _local(turn, *(x[:, 0, 0] * np.float32(np.pi / 180) for x in angles))
        for turn, angles in zip(
            sides, ((scenario.los_zod, scenario.los_aod), (scenario.los_zoa, scenario.los_aoa)), strict=True
        )
    )
    gain = _gain(model, *to_ue[:2])
    total = to_ue[2] + to_bs[2]
    both = [s + t for s in _slants(model._cir_sampler._tx_array) for t in _slants(model._cir_sampler._rx_array)]
    direct = gain * np.mean([np.cos(total.numpy() + angle) ** 2 for angle in both], axis=0)
    k = lsp.k_factor[:, 0, 0].numpy().astype(np.float64)
    rho = np.where(scenario.los[:, 0, 0].numpy(), (rho + k * direct) / (k + 1), rho)
    loss = np.ones(len(rho))
    if scenario.pathloss_enabled:
        loss = db_to_lin(-model._lsp_sampler.sample_pathloss()[:, 0, 0].numpy().astype(np.float64))
    if not scenario.shadow_fading_enabled:
        return loss * rho
    sigma = scenario.lsp_log_std[:, 0, 0, _SHADOW].numpy().astype(np.float64) * np.log(10)
    shadow = lsp.sf[:, 0, 0].numpy().astype(np.float64)
    centred = 0.5 * np.maximum(gain, 0.1) * (shadow - np.exp(sigma**2 / 2))  # of mean 0
    return loss * (shadow * rho - centred)


def _local(turn: tf.Tensor, zenith: tf.Tensor, azimuth: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Zenith, azimuth in the coordinates of a panel, and turn of its polarisation [rad] (7.1-7, 7.1-8, 7.1-15).

    ``turn [drop, 3]`` are bearing, downtilt and slant, directions ``[drop, ...]``.
    """
    a, b, c = (
        tf.reshape(tf.cast(x, tf.float32), [-1] + [1] * (zenith.shape.rank - 1)) for x in tf.unstack(turn, axis=1)
    )
    sin, cos = tf.sin, tf.cos
    delta, s, z = azimuth - a, sin(zenith), cos(zenith)
    u, v = s * cos(delta), s * sin(delta)
    x = cos(b) * u - sin(b) * z
    y = sin(c) * (sin(b) * u + cos(b) * z) + cos(c) * v
    up = cos(c) * (sin(b) * u + cos(b) * z) - sin(c) * v
    real = sin(c) * z * sin(delta) + cos(c) * (cos(b) * s - sin(b) * z * cos(delta))
    imag = sin(c) * cos(delta) + sin(b) * cos(c) * sin(delta)
    return tf.acos(tf.clip_by_value(up, -1.0, 1.0)), tf.atan2(y, x), tf.atan2(imag, real)


def _gain(model: SystemLevelChannel, zenith: tf.Tensor, azimuth: tf.Tensor) -> np.ndarray:
    """Gain of the gNB's element in directions of its panel, linear."""
    return model._cir_sampler._tx_array.ant_pol1._radiation_pattern(zenith, azimuth).numpy().astype(np.float64)


def _slants(array: PanelArray) -> list[float]:
    """Slant angles of the polarisations of an array [rad]."""
    elements = [array.ant_pol1] + ([array.ant_pol2] if array.polarization == "dual" else [])
    return [float(element._slant_angle) for element in elements]


def _polarisation(array: PanelArray, turn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Share of the power in the vertical and the horizontal field component, mean over the polarisations."""
    vertical = tf.add_n([tf.cos(turn + slant) ** 2 for slant in _slants(array)]) / len(_slants(array))
    return vertical, 1 - vertical
