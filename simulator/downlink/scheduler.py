"""What the gNB decides from the rows that it knows: the users of a slot, and their numbers of layers.

``rows`` are by sample, complex64 ``[drop * slot, subcarrier, user, layer, port]``, strongest layer first. Decisions
hold for the whole band.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import ConfigError
from simulator.core.views import by_drop, by_slot
from simulator.downlink import user_selection

NAMES = ("semi_orthogonal", "greedy", "proportional_fair")
_SAMPLES = 16  # of the band, on which decisions are taken


def band_samples(num_subcarriers: int) -> NDArray[np.int64]:
    """Frequency samples on which decisions are taken: at most 16, evenly spread, int64 ``[sample]``."""
    count = min(num_subcarriers, _SAMPLES)
    return (np.arange(count) * num_subcarriers + num_subcarriers // 2) // count


@dataclass(frozen=True)
class Scheduler:
    """Selection of the users of every slot by the strongest layer of each (:mod:`simulator.downlink.user_selection`).

    Args:
        name: ``semi_orthogonal``, ``greedy`` (sum rate after zero forcing, equal powers), or ``proportional_fair``:
            greedy with the rates over their averages so far. Averages pass from slot to slot of a drop; all start at
            the mean over users of the rate of one user alone in an even share of the time, so that the first slot is
            ``greedy``.
        num_selected: users of a slot, at most.
        threshold: of ``semi_orthogonal``.
        window_slots: memory of the averages [slot].

    Raises:
        ConfigError: unknown name.
    """

    name: str
    num_selected: int
    threshold: float = 0.5
    window_slots: float = 20.0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ConfigError("scheduling.name", self.name, ", ".join(NAMES))

    @property
    def noise_dependent(self) -> bool:
        """Whether the selection depends on the SNR."""
        return self.name != "semi_orthogonal"

    def select(self, rows: NDArray[np.complex64], noise_var: float, num_slots: int) -> NDArray[np.int64]:
        """Users of every slot in ascending order, then -1, int64 ``[drop * slot, num_selected]``.

        Raises:
            ConfigError: more users to select than there are.
        """
        g = rows[:, :, :, 0][:, band_samples(rows.shape[1])]
        if self.name == "semi_orthogonal":
            chosen = user_selection.semi_orthogonal(g, self.num_selected, self.threshold, wideband=True)
        elif self.name == "greedy":
            chosen = user_selection.greedy_sum_rate(g, noise_var, self.num_selected, water_filling=False, wideband=True)
        else:
            chosen = self._fair(by_drop(g, len(g) // num_slots, 1), noise_var)
        nobody = rows.shape[2]
        ordered = np.sort(np.where(chosen < 0, nobody, chosen), axis=1)
        return np.where(ordered == nobody, -1, ordered)

    def _fair(self, g: NDArray[np.complex64], noise_var: float) -> NDArray[np.int64]:
        """Slot by slot; ``g [drop, slot, sample, user, port]``."""
        alone = np.mean(user_selection.zero_forcing_rates(g[:, 0, :, :, None], noise_var)[..., 0], axis=1)
        share = self.num_selected / g.shape[3]
        average = np.maximum(np.repeat(share * alone.mean(axis=1, keepdims=True), g.shape[3], axis=1), 1e-9)
        chosen = []
        for slot in range(g.shape[1]):
            now = g[:, slot]
            users = user_selection.greedy_sum_rate(now, noise_var, self.num_selected, False, 1 / average, wideband=True)
            chosen.append(users)
            rate = expected_rates(now, users, noise_var)
            average = np.maximum(average + (rate - average) / self.window_slots, 1e-9)
        return by_slot(np.stack(chosen, axis=1), 1)


def expected_rates(g: NDArray[np.complex64], users: NDArray[np.int64], noise_var: float) -> NDArray[np.float64]:
    """Zero-forcing rates [bit/s/Hz] that the gNB expects, mean over the band, 0 for users that are not served.

    Args:
        g: ``[drop, sample, user, port]``.
        users: int ``[drop, selected]``, -1 for nobody.
        noise_var: noise power for total transmit power 1.

    Returns:
        float64 ``[drop, user]``.
    """
    expected = np.zeros((len(g), g.shape[2]))
    for count in np.unique(np.sum(users >= 0, axis=1)):
        drops = np.flatnonzero(np.sum(users >= 0, axis=1) == count)
        group = np.sort(users[drops], axis=1)[:, users.shape[1] - count :]
        if count:
            served = np.take_along_axis(g[drops], group[:, None, :, None], axis=2)
            rates = np.mean(user_selection.zero_forcing_rates(served, noise_var, water_filling=False), axis=1)
            expected[drops[:, None], group] = rates
    return expected


def adaptive_layers(
    known: NDArray[np.bool_], rate: Callable[[NDArray[np.bool_]], NDArray[np.floating]]
) -> NDArray[np.bool_]:
    r"""Layers of every user with a large expected sum rate.

    First the best common number of layers, then user by user the number that is best given the present numbers of the
    others: :math:`L + U (L - 1)` rates. The result is never expected to be worse than any common
    number, all layers included.

    Args:
        known: layers with CSI, bool ``[drop * slot, user, layer]``.
        rate: expected sum rate ``[drop * slot]`` with the layers that a mask leaves.

    Returns:
        bool ``[drop * slot, user, layer]``.
    """
    _, users, most = known.shape
    limit = np.full(known.shape[:2], most)
    best = rate(known)

    def attempt(candidate: NDArray[np.int64]) -> None:
        nonlocal limit, best
        attempted = rate(_within(known, candidate))
        wins = attempted > best
        limit, best = np.where(wins[:, None], candidate, limit), np.where(wins, attempted, best)

    for count in range(most - 1, 0, -1):
        attempt(np.full_like(limit, count))
    for user in range(users if users > 1 else 0):
        now = limit[:, user]
        for step in range(1, most):  # every other number
            candidate = limit.copy()
            candidate[:, user] = (now - 1 + step) % most + 1
            attempt(candidate)
    return _within(known, limit)


def _within(known: NDArray[np.bool_], limit: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The first layers of every user, ``limit [drop * slot, user]`` of them."""
    return known & (np.arange(known.shape[2]) < limit[..., None])
