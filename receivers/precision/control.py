"""Choice of a precision policy for every sample under an average budget, and its two baselines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from receivers.precision.violation import finite
from simulator.core.errors import ConfigError

# A budget may miss the cheapest policy by this part of it: rounding of the sums that made both.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Multiplier:
    """Two neighbouring multipliers that share the samples.

    The average cost jumps at some multipliers, as policies and bins are discrete. A budget inside a jump is met by
    using ``low`` (costs more than the budget) for some samples and ``high`` (costs no more) for the others.

    Args:
        low, high: multipliers, 0 <= low <= high.
        share: probability of ``low`` for a sample, in [0, 1].
    Raises:
        ConfigError: for values outside these ranges.
    """

    low: float
    high: float
    share: float

    def __post_init__(self) -> None:
        if not (0 <= self.low <= self.high < np.inf and 0 <= self.share <= 1):
            received = f"{self.low}, {self.high}, {self.share}"
            raise ConfigError("multiplier", received, "0 <= low <= high, finite, and share in [0, 1]")


def choose(cost: ArrayLike, weight: ArrayLike, kappa: ArrayLike, multiplier: float) -> NDArray[np.int64]:
    r"""Policy of every sample for one multiplier.

    .. math:: \pi_t = \arg\min_\pi \; w_t V_{t,\pi} + \lambda \kappa_\pi

    Of equally good policies the cheapest counts, then the first.

    Args:
        cost: violation cost V ``[sample, policy]``, from the surrogate or exact.
        weight: importance w ``[sample]``, >= 0.
        kappa: cost of every policy ``[policy]``, >= 0.
        multiplier: :math:`\lambda`, >= 0.
    Returns:
        int64 ``[sample]``.
    Raises:
        ConfigError: for other shapes, negative or non-finite values.
    Source: RP-MPQ, Eq. (36).
    """
    weighted, kappa = _checked(cost, weight, kappa)
    return _choose(weighted, kappa, float(finite("multiplier", multiplier, (), least=0)))


def calibrate(cost: ArrayLike, weight: ArrayLike, kappa: ArrayLike, budget: float) -> Multiplier:
    r"""Multiplier for which the average cost of the samples is the budget.

    Bisection on :math:`\lambda` down to neighbouring floats around the jump that holds the budget; then

    .. math:: share = (\bar c - \bar\kappa_{high}) / (\bar\kappa_{low} - \bar\kappa_{high})

    so the expected average is the budget. Both selections minimise the same Lagrangian there, so no other random
    selection of this average cost has a smaller weighted violation.

    Args:
        cost: as in :func:`choose`; at least one sample.
        weight: as in :func:`choose`.
        kappa: as in :func:`choose`.
        budget: largest average of ``kappa``. From the average cost without a constraint on, the constraint is off:
            multiplier 0, share 1.
    Raises:
        ConfigError: for a budget below the cheapest policy, or bad input.
    Source: RP-MPQ, Eqs. (34), (35) and Sec. V-E; the sharing is ours.
    """
    weighted, kappa = _checked(cost, weight, kappa)
    if not len(weighted):
        raise ConfigError("cost", "no sample", "at least one calibration sample")
    budget = _feasible(kappa, budget)
    cheapest = kappa.min()

    def average(multiplier: float) -> float:
        return cheapest + (kappa[_choose(weighted, kappa, multiplier)] - cheapest).mean()  # exact for the cheapest

    low, costly = 0.0, average(0.0)
    if costly <= budget:
        return Multiplier(0.0, 0.0, 1.0)
    spread = (weighted.max(axis=1) - weighted.min(axis=1)).max()
    high = 2 * spread / np.diff(np.unique(kappa)).min()  # the saving in cost outweighs every violation
    cheap = average(high)
    while low < (middle := low + (high - low) / 2) < high:
        value = average(middle)
        if value > budget:
            low, costly = middle, value
        else:
            high, cheap = middle, value
    share = (budget - cheap) / (costly - cheap) if costly > cheap else 0.0
    return Multiplier(float(low), float(high), float(np.clip(share, 0, 1)))


def select(
    cost: ArrayLike, weight: ArrayLike, kappa: ArrayLike, multiplier: Multiplier, draw: ArrayLike
) -> NDArray[np.int64]:
    """Policy int64 ``[sample]``: with ``multiplier.low`` where ``draw`` is below its share, with ``high`` elsewhere.

    Args and raises as :func:`choose`; ``draw [sample]`` is uniform in [0, 1).
    Source: RP-MPQ, Eq. (36); the sharing is ours.
    """
    low, high = (choose(cost, weight, kappa, value) for value in (multiplier.low, multiplier.high))
    return np.where(np.asarray(draw) < multiplier.share, low, high)


def mixture_for(kappa: ArrayLike, budget: float) -> NDArray[np.float64]:
    r"""Probabilities ``[policy]`` of the random baseline: blind to the channel, with the budget as mean cost.

    Many distributions have this mean; we take the one of largest entropy, which prefers no policy beyond its cost:

    .. math:: p_\pi \propto e^{-\theta \kappa_\pi}, \qquad \sum_\pi p_\pi \kappa_\pi = \bar c

    All probabilities are positive inside the range of ``kappa`` (down to float64 underflow); at an end the policies
    of that cost share evenly.

    Args:
        kappa: cost of every policy ``[policy]``, >= 0.
        budget: mean cost, from the smallest to the largest ``kappa``.
    Returns:
        float64 ``[policy]``, sum 1.
    Raises:
        ConfigError: for a budget outside the range, or bad input.
    Source: the exponential family of Jaynes, Phys. Rev. 106(4), 1957.
    """
    from scipy.optimize import brentq

    kappa = _costs(kappa)
    low, high = kappa.min(), kappa.max()
    budget = _feasible(kappa, budget)
    if budget > high * (1 + ROUNDING):
        raise ConfigError("budget", budget, f"at most {high:.6g}")
    if budget <= low or budget >= high:
        end = kappa == (low if budget <= low else high)
        return end / end.sum()
    position, target = (kappa - low) / (high - low), (budget - low) / (high - low)

    def tilted(theta: float) -> NDArray[np.float64]:
        exponent = -theta * position
        mass = np.exp(exponent - exponent.max())
        return mass / mass.sum()

    def excess(theta: float) -> float:
        return float(tilted(theta) @ position - target)

    reach = 1.0
    while excess(-reach) < 0 or excess(reach) > 0:
        reach *= 2
    return tilted(brentq(excess, -reach, reach, xtol=1e-14))


def static_policy(kappa: ArrayLike, merit: ArrayLike, budget: float) -> int:
    """The best single policy: smallest merit of those within the budget, then the cheapest, then the first.

    Args:
        kappa: cost of every policy ``[policy]``, >= 0.
        merit: ``[policy]``, smaller is better, e.g. the mean violation cost or the divergence.
        budget: largest ``kappa``.
    Raises:
        ConfigError: for a budget below the cheapest policy, or bad input.
    Source: RP-MPQ, Sec. VI-E (static mixed precision).
    """
    kappa = _costs(kappa)
    merit = finite("merit", merit, kappa.shape)
    within = kappa <= _feasible(kappa, budget) * (1 + ROUNDING)
    return int(np.lexsort((kappa, merit, ~within))[0])


def _choose(weighted: NDArray[np.float64], kappa: NDArray[np.float64], multiplier: float) -> NDArray[np.int64]:
    """Smallest ``weighted + multiplier * kappa`` of every row; ties go to the cheapest, then the first."""
    order = np.argsort(kappa, kind="stable")
    return order[(weighted[:, order] + multiplier * kappa[order]).argmin(axis=1)]


def _checked(cost: ArrayLike, weight: ArrayLike, kappa: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted cost ``[sample, policy]`` and cost ``[policy]`` of the policies, float64."""
    kappa = _costs(kappa)
    cost = finite("cost", cost, (None, len(kappa)))
    return finite("weight", weight, (len(cost),), least=0)[:, None] * cost, kappa


def _costs(kappa: ArrayLike) -> NDArray[np.float64]:
    """``kappa`` as float64 ``[policy]``; ConfigError unless there is a policy and all are >= 0."""
    kappa = finite("kappa", kappa, (None,), least=0)
    if not kappa.size:
        raise ConfigError("kappa", "no policy", "at least one policy")
    return kappa


def _feasible(kappa: NDArray[np.float64], budget: float) -> float:
    """``budget``, at least the cheapest policy; ConfigError if it is lower by more than rounding."""
    cheapest, budget = float(kappa.min()), float(finite("budget", budget, ()))
    if budget < cheapest * (1 - ROUNDING):
        raise ConfigError("budget", budget, f"at least {cheapest:.6g}")
    return max(budget, cheapest)
