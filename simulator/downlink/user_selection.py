"""User selection as pure functions in NumPy: which of many users share a slot.

``g`` are the channel rows complex ``[..., user, port]`` that the gNB knows, one row per user. Leading axes are free.
``wideband`` takes one decision for several frequency samples, ``g [..., sample, user, port]``: powers and inner
products are summed, rates averaged over them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.core.errors import ConfigError

_DEPENDENT = 1e-9  # a user with less than this share of its power orthogonal to the others has no gain
_TINY = 1e-300


def semi_orthogonal(g: ArrayLike, num_selected: int, threshold: float, wideband: bool = False) -> NDArray[np.int64]:
    r"""Strongest users among those nearly orthogonal to all chosen before (SUS).

    Step i takes the user with the largest :math:`\|q_k\|`, the part of :math:`g_k` orthogonal to
    :math:`q_{(1)} \ldots q_{(i-1)}`, then keeps those with
    :math:`|g_k q_{(i)}^H| < \alpha \|g_k\| \|q_{(i)}\|`.

    Args:
        g: known rows ``[..., user, port]``.
        num_selected: users to choose, at most.
        threshold: :math:`\alpha` in (0, 1].
        wideband: see above; with ``q`` of norm 1 in every sample, :math:`\sum_n |g_k q_{(i)}^H|^2 < \alpha^2 \sum_n
            \|g_k\|^2`.

    Returns:
        Users in the order of choice, int64 ``[..., num_selected]``; -1 once nobody is left. Users without CSI (zero
        rows) are never chosen.

    Raises:
        ConfigError: ``num_selected`` or ``threshold`` out of range.

    Source: Yoo, Goldsmith, IEEE J. Sel. Areas Commun. 24(3), 2006, Sec. IV.
    """
    g = _rows(g, num_selected, wideband)
    if not 0 < threshold <= 1:
        raise ConfigError("threshold", threshold, "above 0, at most 1")
    power = _power(g).sum(axis=-2)
    rest, candidates = g.copy(), power > 0
    chosen = np.full((*power.shape[:-1], num_selected), -1)
    for step in range(num_selected):
        left = np.where(candidates, _power(rest).sum(axis=-2), 0.0)
        best = np.argmax(left, axis=-1)
        alive = _at(left, best) > _DEPENDENT * _at(power, best)
        chosen[..., step] = np.where(alive, best, -1)
        q = np.take_along_axis(rest, best[..., None, None, None], axis=-2)  # [..., sample, 1, port]
        q = q / np.sqrt(np.maximum(_power(q), _TINY))[..., None]
        rest = rest - (rest @ q.conj().swapaxes(-1, -2)) * q
        overlap2 = np.sum(np.abs(np.sum(g * q.conj(), axis=-1)) ** 2, axis=-2)
        candidates = candidates & (overlap2 < threshold**2 * power) & alive[..., None]
        np.put_along_axis(candidates, best[..., None], False, axis=-1)
    return chosen


def greedy_sum_rate(
    g: ArrayLike,
    noise_var: ArrayLike,
    num_selected: int,
    water_filling: bool = True,
    weights: ArrayLike | None = None,
    wideband: bool = False,
) -> NDArray[np.int64]:
    r"""Users that raise the zero-forcing sum rate most, one by one; stops when nobody raises it.

    Args:
        g: known rows ``[..., user, port]``.
        noise_var: noise power for total transmit power 1, broadcast to ``[...]``.
        num_selected: users to choose, at most.
        water_filling: power as in :func:`simulator.precoding.linear.zf_water_filling`; False: equal, as in
            :func:`simulator.precoding.linear.zf`.
        weights: of the rates in the sum, positive, ``[..., user]``; None: all 1.
        wideband: see above.

    Returns:
        Users in the order of choice, int64 ``[..., num_selected]``; -1 after the last. Users without CSI (zero rows)
        are never chosen.

    Raises:
        ConfigError: ``num_selected`` out of range.

    Source: Dimic, Sidiropoulos, IEEE Trans. Signal Process. 53(10), 2005, Sec. III (with water-filling).
    """
    g = _rows(g, num_selected, wideband)
    lead, users = (*g.shape[:-3],), g.shape[-2]
    noise_var = np.broadcast_to(noise_var, lead)[..., None, None]
    weights = np.broadcast_to(1.0 if weights is None else np.asarray(weights, np.float64), (*lead, users))
    free = _power(g).sum(axis=-2) > 0
    alive, best_rate = np.ones(lead, bool), np.zeros(lead)
    chosen = np.full((*lead, num_selected), -1)
    for step in range(num_selected):
        # Every candidate with those already chosen: [..., candidate, step + 1]; arbitrary after the end of a search.
        before = np.broadcast_to(np.maximum(chosen[..., None, :step], 0), (*lead, users, step))
        group = np.concatenate([before, np.broadcast_to(np.arange(users)[:, None], (*lead, users, 1))], axis=-1)
        rows = np.take_along_axis(g[..., None, :, :], group[..., None, :, :, None], axis=-2)
        rates = np.mean(zero_forcing_rates(rows, noise_var, water_filling), axis=-3)  # [..., candidate, step + 1]
        rate = np.sum(rates * np.take_along_axis(weights[..., None, :], group, axis=-1), axis=-1)
        rate = np.where(free, rate, -1.0)
        best = np.argmax(rate, axis=-1)
        alive = alive & (_at(rate, best) > best_rate)
        best_rate = np.where(alive, _at(rate, best), best_rate)
        chosen[..., step] = np.where(alive, best, -1)
        np.put_along_axis(free, best[..., None], False, axis=-1)
    return chosen


def zero_forcing_rates(g: ArrayLike, noise_var: ArrayLike, water_filling: bool = True) -> NDArray[np.float64]:
    r"""Rates [bit/s/Hz] of the rows ``g [..., user, port]`` under zero forcing, float64 ``[..., user]``.

    User k has the gain :math:`1 / [(G G^H)^{-1}]_{kk}`; a user that depends on the others linearly has none.
    """
    g = np.asarray(g, np.complex128)
    size, power = g.shape[-2], _power(g)
    unit = g / np.sqrt(np.maximum(power, _TINY))[..., None]
    gram = unit @ unit.conj().swapaxes(-1, -2)
    # Zero rows leave the diagonal 0: filled up to 1, so that they harm nobody.
    gram = gram * (1 - np.eye(size)) + np.eye(size) * (1 + 1e-12)
    spread = np.real(np.diagonal(np.linalg.inv(gram), axis1=-2, axis2=-1))
    gain = np.where((spread > 0) & (spread < 1 / _DEPENDENT), power / np.maximum(spread, 1), 0.0)
    gain = gain / np.asarray(noise_var)[..., None]
    return np.log2(1 + gain * (_levels(gain) if water_filling else 1 / size))


def _levels(gain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Water-filling in float64: powers of total 1 over ``gain [..., user]`` at unit noise; see ``precoding``."""
    floor = 1 / np.maximum(gain, 1e-30)
    falling = np.sort(floor, axis=-1)
    first = falling[..., :1]
    count = np.arange(1, gain.shape[-1] + 1)
    level = (1 + np.cumsum(falling - first, axis=-1)) / count  # above the first floor
    active = np.sum(level > falling - first, axis=-1, keepdims=True)
    level = np.take_along_axis(level, np.maximum(active, 1) - 1, axis=-1)
    return np.maximum(level - (floor - first), 0)


def _rows(g: ArrayLike, num_selected: int, wideband: bool) -> NDArray[np.complex128]:
    """Rows ``[..., sample, user, port]``."""
    g = np.asarray(g, np.complex128)
    _check(num_selected, g.shape[-2])
    return g if wideband else g[..., None, :, :]


def _check(num_selected: int, num_users: int) -> None:
    if not 1 <= num_selected <= num_users:
        raise ConfigError("num_selected", num_selected, f"1..{num_users} (the users there are)")


def _power(g: NDArray[np.complex128]) -> NDArray[np.float64]:
    return np.sum(np.square(g.real) + np.square(g.imag), axis=-1)


def _at(value: NDArray[np.float64], index: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.take_along_axis(value, index[..., None], axis=-1)[..., 0]
