"""RP-MPQ's policies and controllers: offline stage, outage, cost, rank of candidates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from benchmarks.intervals import half_width_of
from benchmarks.papers.kit.run import Run
from benchmarks.papers.rp_mpq.accuracy import test_data
from benchmarks.papers.rp_mpq.networks import first
from benchmarks.papers.rp_mpq.structure import outage_split
from benchmarks.precision import Outcome, calibration, make_policies, measure
from benchmarks.saved import save_table
from receivers.models.mixed_precision import MixedPrecisionEncoder
from receivers.precision.control import calibrate, mixture_for, select, static_policy
from receivers.precision.offline import parse_precision
from receivers.precision.policy_set import FILE, PolicySet
from receivers.precision.violation import hoyer_sparsity, importance, violation_cost
from receivers.quantization.weight_bits import WIDTHS
from receivers.weights.folder import TrainedModel
from simulator.core.durable import renamed
from simulator.core.units import lin_to_db
from simulator.data.store import ChannelStore


def policies(run: Run) -> PolicySet:
    """Offline stage of the scheduled network; also writes the tables of Fig. 1 and of the sensitivities."""
    data, store, folder = first(run)

    def make(path: Path) -> None:
        recipe = parse_precision(run.plan["precision"])
        found, offline = make_policies(str(folder), store, recipe, print)
        ranking = _ranking(store, folder, recipe, offline)
        save_table(ranking, run.out / "fig1.csv", index=False, float_format="%.6g")
        blocks = pd.DataFrame(
            {
                "block": found.meta["names"],
                "trace": offline.traces,
                "standard_error": offline.trace_errors,
                "probes": recipe.probes,
                "samples": recipe.hessian_samples,
                "macs_share": offline.kappa[:, 0],
                **{f"omega_{bits}": offline.omega[:, index] for index, bits in enumerate(WIDTHS)},
            }
        )
        save_table(blocks, run.out / "sensitivity.csv", index=False, float_format="%.6g")
        found.save(path)

    return run.kept(f"{data}/{run.plan['scheduled']}/{FILE}", make, PolicySet.load)


def ranking(run: Run) -> pd.DataFrame:
    """Every candidate of Fig. 1 with what ranks it and its measured distortion."""
    policies(run)
    return pd.read_csv(run.out / "fig1.csv")


def _ranking(store: ChannelStore, folder: Path, recipe: Any, offline: Any) -> pd.DataFrame:
    """Sensitivity, divergence (two densities) and measured NMSE of every candidate, on calibration samples."""
    from receivers.precision.policies import latent_kl

    trained = TrainedModel.shared(str(folder))
    known = calibration(store, "val", trained, recipe.kl_samples, recipe.frequencies)
    distinct, latents, reference = list(offline.latents), list(offline.latents.values()), offline.reference
    outcome = measure(trained, latents, known, [10.0], store.layout.num_subcarriers, "candidates")
    rows = range(len(offline.kappa))
    found = {
        policy: {
            "omega": offline.omega[rows, policy].sum(),
            "kl": offline.divergence[policy],
            "kl_softmax": latent_kl(latent, reference, "softmax"),
            "latent_mse": float(np.mean((latent - reference) ** 2)),
            "nmse": float(nmse.mean()),
        }
        for policy, latent, nmse in zip(distinct, latents, outcome.nmse, strict=True)
    }
    return pd.DataFrame(
        [
            {"budget": budget, "kappa": offline.kappa[rows, policy].sum(), **found[policy]}
            for budget, candidates in zip(recipe.budgets, offline.candidates, strict=True)
            for policy in candidates
        ]
    )


def outcome_of(run: Run, known: PolicySet) -> tuple[Outcome, np.ndarray]:
    """Rates of all policies, of uniform widths and of exact weights (last) on test samples; the samples' sparsity."""
    _, store, folder = first(run)

    def make(path: Path) -> None:
        trained = TrainedModel(str(folder))
        test = test_data(run.plan, store, trained)
        encoder = MixedPrecisionEncoder(trained.model.encoder, **known.meta["options"])
        inputs = trained.network_images(test.images)
        every = [*known.policies, *((bits,) * len(encoder.blocks) for bits in WIDTHS)]
        latents = itertools.chain((encoder.encode(inputs, policy) for policy in every), [trained.encode(test.images)])
        snr = known.surrogates[0].snr_db
        found = measure(trained, latents, test, snr, store.layout.num_subcarriers, "test rates")
        sparsity = hoyer_sparsity(test.images)
        with renamed(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, rate=found.rate, rate_ref=found.rate_ref, nmse=found.nmse, sparsity=sparsity)

    def read(path: Path) -> tuple[Outcome, np.ndarray]:
        with np.load(path) as stored:
            return Outcome(stored["rate"], stored["rate_ref"], stored["nmse"]), stored["sparsity"]

    return run.kept("outcome.npz", make, read)


def controllers(run: Run) -> pd.DataFrame:
    """Fig. 2 and Table V: outage, NMSE, violation and average cost of every controller on test samples.

    Multipliers come from calibration samples; the oracle's comes from the true violations of the test samples.
    """
    known = policies(run)
    outcome, sparsity = outcome_of(run, known)
    return pd.DataFrame(_compared(run, known, outcome, sparsity))


def _compared(run: Run, known: PolicySet, outcome: Outcome, sparsity: np.ndarray) -> Iterator[dict[str, Any]]:
    """Rows of :func:`controllers`."""
    plan = run.plan
    uniform_kappa = np.array(WIDTHS) / WIDTHS[0]
    budgets = sorted({*plan["compared"], *plan["budgets"]}, reverse=True)
    count = len(known.policies)
    refined, ilp = np.flatnonzero(known.refined), np.flatnonzero(known.ilp)
    weight = importance(sparsity, plan["alpha"])
    seen = importance(known.sparsity, plan["alpha"])
    for g, gamma in enumerate(known.gammas):
        for s, snr_db in enumerate(known.surrogates[g].snr_db):
            violation = violation_cost(outcome.rate[:, s], outcome.rate_ref[s], gamma)
            table = known.surrogates[g]
            for budget in budgets:
                chosen: dict[str, Any] = {}
                for key, bits in enumerate(WIDTHS):
                    if abs(uniform_kappa[key] - budget) < 1e-9:
                        chosen[f"uniform {bits} bit"] = [np.full(len(sparsity), count + key)]
                if budget >= known.kappa[refined].min():
                    kappa = known.kappa[refined]
                    pick = static_policy(kappa, known.divergence[refined], budget)
                    chosen["static (offline only)"] = [np.full(len(sparsity), refined[pick])]
                    pick = static_policy(known.kappa[ilp], known.omega[ilp], budget)
                    chosen["static, ILP only (HAWQ)"] = [np.full(len(sparsity), ilp[pick])]
                    share = mixture_for(kappa, min(budget, kappa.max()))
                    rng = np.random.default_rng([plan["seed"], g, s, round(1000 * budget)])
                    draws = [rng.choice(len(kappa), len(sparsity), p=share) for _ in range(plan["random_draws"])]
                    chosen["random"] = [refined[draw] for draw in draws]
                    at = calibrate(table.lookup(snr_db, known.sparsity)[:, refined], seen, kappa, budget)
                    cost = table.lookup(snr_db, sparsity)[:, refined]
                    chosen["online"] = [refined[select(cost, weight, kappa, at, rng.random(len(cost)))]]
                    true = violation[refined].T
                    at = calibrate(true, weight, kappa, budget)
                    chosen["oracle (upper bound)"] = [refined[select(true, weight, kappa, at, rng.random(len(true)))]]
                for name, picks in chosen.items():
                    case = {"gamma": gamma, "snr_db": snr_db, "budget": budget, "controller": name}
                    yield case | _score(picks, known, outcome, violation, weight, uniform_kappa, s, gamma)


def _score(
    picks: list[np.ndarray],
    known: PolicySet,
    outcome: Outcome,
    violation: np.ndarray,
    weight: np.ndarray,
    uniform_kappa: np.ndarray,
    s: int,
    gamma: float,
) -> dict[str, float]:
    """Means over samples (and draws) of one controller's choices."""
    kappa = np.concatenate([known.kappa, uniform_kappa])
    sample = np.arange(len(weight))
    wanted = gamma * outcome.rate_ref[s]
    missed = np.array([outcome.rate[pick, s, sample] < wanted for pick in picks])
    return {
        "kappa": float(np.mean([kappa[pick].mean() for pick in picks])),
        **outage_split(outcome.rate[-1, s] < wanted, missed),
        "ci95": half_width_of(missed.mean(axis=0), (0.0, 1.0)),
        "violation": float(np.mean([(weight * violation[pick, sample]).mean() for pick in picks])),
        "rate": float(np.mean([outcome.rate[pick, s, sample].mean() for pick in picks])),
        "nmse_db": float(lin_to_db(np.mean([outcome.nmse[pick, sample].mean() for pick in picks]))),
    }


def splits(run: Run) -> pd.DataFrame:
    """Outage by its cause, see :func:`outage_split`, at the compared costs."""
    online = run.table("fig2_table5")
    columns = ["gamma", "snr_db", "budget", "controller", "outage", "floor", "operational", "rescued"]
    return online[online.budget.isin(run.plan["compared"])][columns]


def outages(run: Run) -> pd.DataFrame:
    """Fig. 2: outage by reliability target, SNR and average cost, a column for each controller."""
    online = run.table("fig2_table5")
    compared = online[online.budget.isin(run.plan["compared"])]
    return compared.pivot_table(
        index=["gamma", "snr_db", "budget"], columns="controller", values="outage"
    ).reset_index()


def spearman(run: Run) -> pd.DataFrame:
    """Rank correlation with measured distortion: of all candidates, and the mean over those of one budget."""
    rows, candidates = [], ranking(run)
    distinct = candidates.drop_duplicates(["omega", "kappa"])
    for key in ("omega", "kl", "kl_softmax"):
        for target in ("nmse", "latent_mse"):
            within = [
                spearmanr(part[key], part[target]).statistic
                for _, part in candidates.groupby("budget")
                if part[key].nunique() > 2 and part[target].nunique() > 1
            ]
            within = np.array([value for value in within if np.isfinite(value)])
            rows.append(
                {
                    "rank by": key,
                    "against": target,
                    "all candidates": spearmanr(distinct[key], distinct[target]).statistic,
                    "within a budget": within.mean() if len(within) else np.nan,
                    "ci95": half_width_of(within) if len(within) else np.nan,
                    "budgets": len(within),
                }
            )
    return pd.DataFrame(rows)


def budgets_met(run: Run) -> pd.DataFrame:
    """Table V: target and achieved average cost of the online controller on test samples, over gammas and SNRs."""
    online = run.table("fig2_table5")
    rows = []
    for budget, part in online[online.controller == "online"].groupby("budget", sort=False):
        change = 100 * (part.kappa / budget - 1)
        row = {"target": budget, "achieved": part.kappa.mean(), "deviation_%": change.mean()}
        worst = change.iloc[change.abs().argmax()]
        rows.append({**row, "worst_%": worst, "largest_possible": part.kappa.max()})
    return pd.DataFrame(rows)
