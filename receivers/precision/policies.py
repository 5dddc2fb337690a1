"""Mixed-precision policies: widths per block that cost little and harm little (offline stage of RP-MPQ)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import ConfigError

Policy = tuple[int, ...]

# Sums of costs are compared with the budget up to rounding.
_ROUNDING = 1e-12

# HiGHS compares objectives up to an absolute 1e-6 that SciPy cannot change. The objective is scaled so that the
# dearest policy of interest costs this much: policies that differ by 1e-12 of it are distinguished.
_OBJECTIVE = 1e6

# Added to the variances, in units of the reference's: outputs that a policy makes constant get a finite divergence.
_RIDGE = 1e-6

# Principal axes with a smaller share of the first one's variance are rounding.
_DEAD = 1e-10


def best_policies(
    omega: NDArray[np.floating[Any]], cost: NDArray[np.floating[Any]], budget: float, count: int
) -> list[Policy]:
    r"""The ``count`` policies with the smallest summed sensitivity within a budget, best first.

    .. math:: \min_x \sum_{m,b} x_{m,b}\, \Omega_m(b) \quad \text{s.t.} \quad \sum_b x_{m,b} = 1\ \forall m, \quad
              \sum_{m,b} x_{m,b}\, \kappa_m(b) \le c, \quad x_{m,b} \in \{0, 1\}

    Each further solution comes from the same program with a no-good cut :math:`\sum_m x_{m,b_m} \le M - 1` per policy
    found. Budget and order are checked in float64. Sensitivities may span many decades: entries above the worst
    objective found cannot be part of a better policy; they are taken out and the rest is solved again at its own scale.

    Args:
        omega: sensitivity float ``[block, width]``, not negative.
        cost: float ``[block, width]``, not negative, in the unit of ``budget``.
        budget: largest summed cost; a sum equal to it fits.
        count: policies wanted, 1 or more.
    Returns:
        width indices of the blocks per policy; fewer policies where fewer fit.
    Raises:
        ConfigError: for other shapes or values, and for a budget that no policy meets.
    Source: RP-MPQ, Sec. IV-C, Eqs. (19)-(22).
    """
    omega, cost = _table("omega", omega), _table("cost", cost)
    if omega.shape != cost.shape:
        raise ConfigError("cost", f"shape {cost.shape}", f"that of omega, {omega.shape}")
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise ConfigError("count", count, "an integer of 1 or more")
    smallest = math.fsum(cost.min(axis=1))
    if not smallest <= budget * (1 + _ROUNDING):
        raise ConfigError("budget", budget, f"at least {smallest:g}, the smallest cost of any policy")
    bound = float(omega.max())
    allowed = np.ones(omega.shape, bool)
    while True:
        candidates = _solve(omega, cost, budget, count, allowed, bound)
        worst = math.fsum(omega[range(len(omega)), candidates[-1]])
        if len(candidates) < count or worst >= bound / 1e3:
            return candidates
        low = omega.min(axis=1)
        allowed = omega - low[:, None] <= (worst - math.fsum(low)) * (1 + 1e-9) + worst * 1e-9
        bound = worst


def _solve(
    omega: np.ndarray, cost: np.ndarray, budget: float, count: int, allowed: np.ndarray, bound: float
) -> list[Policy]:
    """Best policies of allowed entries, sorted by their objective in float64; ``bound`` is the objective's scale."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    blocks, widths = omega.shape
    rows = range(blocks)
    weight = np.where(allowed, omega, 0.0).ravel() * (_OBJECTIVE / (bound or 1.0))
    unit = cost.max() or 1.0
    constraints = [
        LinearConstraint(np.kron(np.eye(blocks), np.ones(widths)), 1, 1),
        LinearConstraint(cost.reshape(1, -1) / unit, -np.inf, budget / unit),
    ]
    candidates: dict[Policy, float] = {}
    cuts: list[NDArray[np.float64]] = []
    while len(candidates) < count:
        cut = [LinearConstraint(np.stack(cuts), -np.inf, blocks - 1)] if cuts else []
        result = milp(
            weight,
            integrality=np.ones(omega.size),
            bounds=Bounds(0, allowed.ravel().astype(float)),
            constraints=constraints + cut,
            options={"mip_rel_gap": 0},
        )
        if result.status == 2:  # no further policy
            break
        if result.x is None:
            raise RuntimeError(f"HiGHS found no policy: {result.message}")
        policy = tuple(int(b) for b in result.x.reshape(omega.shape).argmax(axis=1))
        cuts.append(np.eye(widths)[list(policy)].ravel())
        if math.fsum(cost[rows, policy]) <= budget * (1 + _ROUNDING):  # HiGHS lets 1e-6 pass
            candidates[policy] = math.fsum(omega[rows, policy])
    return sorted(candidates, key=lambda policy: (candidates[policy], policy))


def _table(name: str, value: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    value = np.asarray(value, np.float64)
    if value.ndim != 2 or not value.size:
        raise ConfigError(name, f"shape {value.shape}", "[block, width], not empty")
    if not (np.isfinite(value) & (value >= 0)).all():
        raise ConfigError(name, f"{value.min()}..{value.max()}", "finite values, none negative")
    return value


def latent_kl(
    z: NDArray[np.floating[Any]], z_ref: NDArray[np.floating[Any]], density: str = "gaussian", rank: int = 32
) -> float:
    r"""Shift of the encoder's output under a policy, as a divergence [nat] from the full-precision output.

    - ``gaussian``: :math:`D_\mathrm{KL}(p^{(\pi)} \| p^{(0)})`, the direction of Eq. (23), between Gaussians with the
      means and full covariances (maximum likelihood) of both outputs on the first ``rank`` principal axes of the
      reference, :math:`\tfrac12 \sum_i (\lambda_i - 1 - \ln \lambda_i) + \tfrac12 \|d\|^2`. The axes are those of the
      latents as they are, not scaled one by one: all pass the same quantiser. Along each axis the reference's
      deviation is the unit, which does not change the divergence but gives the ridge of 1e-6, added to the variances of
      both, its meaning; :math:`\lambda_i` and d are the policy's eigenvalues and mean in units of the reference.
    - ``softmax``: mean over the samples of :math:`D_\mathrm{KL}(\sigma(z^{(0)}) \| \sigma(z^{(\pi)}))`, the softmax
      being over the latents. The released code computes this form: the other direction, and no density of z.

    Args:
        z: outputs under the policy, float ``[sample, latent]``.
        z_ref: outputs of the same samples at full precision, same shape.
        density: ``gaussian`` or ``softmax``.
        rank: principal axes; those without variance and those beyond the latents do not count.
    Returns:
        divergence, 0 or more; 0 for equal outputs.
    Raises:
        ConfigError: for other arguments, for values that are not finite, without samples, and for ``gaussian`` with no
            more samples than axes or with a constant reference.
    Source: RP-MPQ, Sec. IV-D, Eq. (23); the paper leaves the density open.
    """
    z, z_ref = np.asarray(z, np.float64), np.asarray(z_ref, np.float64)
    if density not in ("gaussian", "softmax"):
        raise ConfigError("density", density, "gaussian or softmax")
    if isinstance(rank, bool) or not isinstance(rank, int | np.integer) or rank < 1:
        raise ConfigError("rank", rank, "an integer of 1 or more")
    if z_ref.ndim != 2 or z.shape != z_ref.shape or not z.size:
        raise ConfigError("calibration", f"latents {z.shape} and {z_ref.shape}", "equal shapes [sample, latent]")
    if not (np.isfinite(z).all() and np.isfinite(z_ref).all()):
        raise ConfigError("calibration", "NaN or infinity", "finite latents")
    if density == "softmax":
        from scipy.special import log_softmax

        log_p, log_ref = log_softmax(z, axis=1), log_softmax(z_ref, axis=1)
        return max(float(np.mean(np.sum(np.exp(log_ref) * (log_ref - log_p), axis=1))), 0.0)
    samples, latents = z.shape
    rank = min(int(rank), latents)
    if samples <= rank:
        raise ConfigError("calibration", f"{samples} samples", f"more samples than the {rank} principal axes")
    mean = z_ref.mean(axis=0)
    variance, axes = np.linalg.eigh((z_ref - mean).T @ (z_ref - mean) / samples)
    variance, axes = variance[::-1][:rank], axes[:, ::-1][:, :rank]
    if variance[0] <= (1e-12 * np.abs(mean).max()) ** 2:  # all that is left is the rounding of the mean
        raise ConfigError("calibration", "a constant reference", "latents that vary over the samples")
    alive = variance > _DEAD * variance[0]
    shifted = (z - mean) @ axes[:, alive] / np.sqrt(variance[alive])
    offset = shifted.mean(axis=0)
    covariance = (shifted - offset).T @ (shifted - offset) / samples
    ratio = (np.maximum(np.linalg.eigvalsh(covariance), 0.0) + _RIDGE) / (1 + _RIDGE)
    return float(0.5 * np.sum(ratio - 1 - np.log(ratio)) + 0.5 * np.sum(offset**2) / (1 + _RIDGE))


def representatives(
    candidates_by_budget: Sequence[Sequence[Policy]], divergence: Callable[[Policy], float]
) -> list[Policy]:
    r"""The candidate with the smallest divergence per budget, :math:`\pi^{(c)} = \arg\min_\pi J(\pi)`.

    Every distinct policy is evaluated once. Among equals the earlier candidate wins, that of smaller sensitivity.

    Args:
        candidates_by_budget: results of :func:`best_policies`, one list per budget.
        divergence: J of a policy; NaN counts as infinite.
    Returns:
        one policy per budget; budgets may share a policy.
    Raises:
        ConfigError: for a budget without candidates.
    Source: RP-MPQ, Sec. IV-E, Eqs. (24)-(25).
    """
    scores: dict[Policy, float] = {}
    for index, candidates in enumerate(candidates_by_budget):
        if not candidates:
            raise ConfigError(f"candidates[{index}]", "no policy", "at least one policy per budget")
        for policy in candidates:
            if policy not in scores:
                value = float(divergence(policy))
                scores[policy] = math.inf if math.isnan(value) else value
    return [min(candidates, key=scores.__getitem__) for candidates in candidates_by_budget]
