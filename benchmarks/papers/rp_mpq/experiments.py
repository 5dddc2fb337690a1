"""RP-MPQ's trainings and tables: networks, uniform widths, policies, controllers, latency."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from benchmarks.intervals import half_width_of
from benchmarks.papers.kit.latency import apart
from benchmarks.papers.kit.run import Run
from benchmarks.papers.kit.training import Training
from benchmarks.papers.rp_mpq.structure import decay, information_floor, outage_split, tail_energy, tail_influence
from benchmarks.precision import Calibration, Outcome, calibration, make_policies, measure
from benchmarks.saved import save_table
from receivers.models.cost import count_cost
from receivers.models.mixed_precision import MixedPrecisionEncoder
from receivers.precision.control import calibrate, mixture_for, select, static_policy
from receivers.precision.offline import parse_precision
from receivers.precision.policy_set import FILE, PolicySet
from receivers.precision.violation import hoyer_sparsity, importance, violation_cost
from receivers.quantization.weight_bits import WIDTHS
from receivers.training.pca import fit_pca, pca_nmse
from receivers.weights.folder import TrainedModel
from simulator.core.durable import renamed
from simulator.core.units import lin_to_db
from simulator.data.store import ChannelStore


def network_name(model: str, ratio: str) -> str:
    """Folder of a network, e.g. ``csinet-4`` for compression 1/4."""
    return f"{model}-{ratio.removeprefix('1/')}"


def networks(plan: dict[str, Any], data: str) -> list[tuple[str, str, str]]:
    """Model, compression and folder name of every network of a data set."""
    return [(m, ratio, network_name(m, ratio)) for m, ratios in plan["runs"][data].items() for ratio in ratios]


def trainings(run: Run) -> Iterator[Training]:
    """All networks of all data sets."""
    for data in run.stores:
        for recipe in recipes(run.plan, data, run.stores.data_set(data)):
            yield Training(f"{data}/{recipe['name']}", recipe, {recipe["dataset"]: data})


def recipes(plan: dict[str, Any], data: str, dataset: str) -> list[dict[str, Any]]:
    """Training recipes on one data set as plain data."""
    found = []
    for model, ratio, name in networks(plan, data):
        section = {**plan["models"][model], **plan["runs"][data][model][ratio]}
        params = {**section.pop("params"), "num_latents": plan["latents"][ratio]}
        common = {"dataset": dataset, "seed": plan["seed"], "num_delays": plan["num_delays"], **plan["common"]}
        found.append({**common, "name": name, "model": {"name": model, "params": params}, **section})
    return found


def _first(run: Run) -> tuple[str, ChannelStore, Path]:
    """Name and store of the data set whose network is scheduled, and the folder of that."""
    data = next(iter(run.stores))
    return data, run.stores[data], run.out / data / run.plan["scheduled"]


def structure(run: Run, data: str) -> pd.DataFrame:
    """Tables II, III and VI: NMSE on the test split, cost counted in three ways, with the linear code."""
    plan, store, out = run.plan, run.stores[data], run.out
    rows = []
    for model, ratio, name in networks(plan, data):
        trained = TrainedModel.shared(str(out / data / name))
        encoder, decoder = count_cost(trained.model.encoder), count_cost(trained.model.decoder)
        test, coded = trained.card["test"], trained.card["test"]["codecs"]["uniform-b8-fixed-latent"]
        ranged = trained.card["test"]["codecs"]["uniform-b8-range-latent"]
        row = {
            "network": model,
            "compression": ratio,
            "nmse_db": test["unquantized"]["nmse_db"],
            "ci95": test["unquantized"]["ci95"],
            "nmse_8bit_db": coded["nmse_db"],
            "bits_fixed": coded["bits_mean"],
            "bits_range": ranged["bits_mean"],
            "encoder_published_M": encoder.macs_published / 1e6,
            "encoder_thop_M": encoder.macs_thop / 1e6,
            "encoder_all_M": encoder.macs / 1e6,
            "total_thop_M": (encoder + decoder).macs_thop / 1e6,
            "total_all_M": (encoder + decoder).macs / 1e6,
            "encoder_MB": 4 * encoder.params / 1e6,
        }
        row |= {f"nmse_{part}_db": entry["nmse_db"] for part, entry in ranged["by_channel"].items()}
        rows.append(row)
    train, test = (_images(store, split, plan) for split in ("train", "test"))
    for ratio in dict.fromkeys(ratio for _, ratio, _ in networks(plan, data)):
        error = pca_nmse(test, fit_pca(train, plan["latents"][ratio])[0])
        half = 10 / np.log(10) * half_width_of(error) / error.mean()
        macs = plan["latents"][ratio] * test[0].size / 1e6
        costs = dict.fromkeys(("encoder_published_M", "encoder_thop_M", "encoder_all_M"), macs)
        rows.append(
            {
                "network": "linear code (PCA)",
                "compression": ratio,
                "nmse_db": 10 * np.log10(error.mean()),
                "ci95": half,
                **costs,
                "total_thop_M": 2 * macs,
                "total_all_M": 2 * macs,
                "encoder_MB": 4 * macs,
            }
        )
    return pd.DataFrame(rows)


def _images(store: ChannelStore, split: str, plan: dict[str, Any]) -> np.ndarray:
    from receivers.training.data.images import ImageView, load_images

    return load_images(store, split, ImageView(store.layout, plan["num_delays"]))[0]


def test_data(plan: dict[str, Any], store: ChannelStore, trained: TrainedModel) -> Calibration:
    """Test samples with their channels."""
    return calibration(store, "test", trained, plan["test"]["samples"], plan["test"]["frequencies"])


def uniform(run: Run) -> pd.DataFrame:
    """Table IV: NMSE and BOPs of all networks at 1/4 with equal widths everywhere, and with float weights."""
    plan, rows = run.plan, []
    data, store, _ = _first(run)
    for model, ratio, name in networks(plan, data):
        if ratio != "1/4":
            continue
        trained = TrainedModel(str(run.out / data / name))
        known = test_data(plan, store, trained)
        inputs = trained.network_images(known.images)
        thop = count_cost(trained.model.encoder).macs_thop
        for clip, options in plan["clips"].items():
            encoder = MixedPrecisionEncoder(trained.model.encoder, **options)
            policies = [(bits,) * len(encoder.blocks) for bits in WIDTHS]
            latents = [encoder.encode(inputs, policy) for policy in policies]
            if clip == next(iter(plan["clips"])):
                latents, policies = [trained.encode(known.images), *latents], [None, *policies]
            outcome = measure(trained, latents, known, [10.0], store.layout.num_subcarriers, f"widths, {name}")
            for policy, nmse in zip(policies, outcome.nmse, strict=True):
                bits = 32 if policy is None else policy[0]
                rows.append(
                    {
                        "network": model,
                        "rounding": "float" if policy is None else clip,
                        "weight_bits": bits,
                        **_decibel(nmse),
                        "thop_a16_MBOPs": thop * bits * 16 / 1e6,
                        "thop_a8_MBOPs": thop * bits * 8 / 1e6,
                        "all_MBOPs": trained.encoder_macs * 1024 / 1e6
                        if policy is None
                        else encoder.bops(policy) / 1e6,
                    }
                )
    return pd.DataFrame(rows)


def _decibel(ratio: np.ndarray) -> dict[str, float]:
    mean, half = ratio.mean(), half_width_of(ratio)
    return {"nmse_db": lin_to_db(mean), "ci95": 10 / np.log(10) * half / mean}


def policies(run: Run) -> PolicySet:
    """Offline stage of the scheduled network; also writes the tables of Fig. 1 and of the sensitivities."""
    data, store, folder = _first(run)

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
    _, store, folder = _first(run)

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


def floors(run: Run) -> pd.DataFrame:
    """Eq. 10 of every network at 1/4: error, bound of the information floor, what a better decoder can win at least."""
    plan, rows = run.plan, []
    data, store, _ = _first(run)
    images = {split: _images(store, split, plan) for split in ("train", "test")}
    for model, ratio, name in networks(plan, data):
        if ratio == "1/4":
            trained = TrainedModel(str(run.out / data / name))
            sets = []
            for x in images.values():
                latent = trained.encode(x)
                sets.append((x, latent, trained.decode(latent)))
            rows.append({"network": model, **information_floor(sets[0], sets[1], plan["structure"]["ridge"])})
    return pd.DataFrame(rows)


def tails(run: Run) -> pd.DataFrame:
    """Eqs. 11 to 15: energy of test channels beyond a distance in angle, influence in every encoder at 1/4 beyond it.

    Columns ``of, distance, share`` and the fits of :func:`decay`, the same in every row of one tail.
    """
    plan = run.plan
    data, store, _ = _first(run)
    x = _images(store, "test", plan)[: plan["structure"]["samples"]]
    found = {"channel": tail_energy(x[..., 0] + 1j * x[..., 1])}
    for model, ratio, name in networks(plan, data):
        if ratio == "1/4":
            trained = TrainedModel(str(run.out / data / name))
            found[model] = tail_influence(encoder_maps(trained.model), trained.network_images(x))
    parts = [pd.DataFrame({"of": of, "distance": range(len(tail)), "share": tail}) for of, tail in found.items()]
    return pd.concat([part.assign(**decay(part.share.to_numpy())) for part in parts], ignore_index=True)


def encoder_maps(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Images to what the dense codeword layer of an autoencoder sees, in the places of the image, float32 like it."""
    import keras

    # Axes of the image in the order in which the layer has them, of a copy: the method overwrites weights.
    order = np.array(type(model)(**model.get_config()).pass_images()[0])
    network = keras.Model(model.encoder.input, model.find("codeword").input)

    def maps(x: np.ndarray) -> np.ndarray:
        blocks = [keras.ops.convert_to_numpy(network(x[i : i + 250], training=False)) for i in range(0, len(x), 250)]
        seen = np.concatenate(blocks).reshape(len(x), *np.take(x.shape, order))
        return np.transpose(seen, (0, *(1 + np.argsort(order))))

    return maps


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


def latency(run: Run) -> pd.DataFrame:
    """Table VII, in a process of its own."""
    _, _, folder = _first(run)
    policies(run)
    return apart("benchmarks.papers.rp_mpq.latency:encoder_times", folder / "latency.csv", folder)


TABLES = {
    "table_2_3": lambda run: structure(run, next(iter(run.stores))),
    "table_6": lambda run: structure(run, "tdl"),
    "table_4": uniform,
    "fig2_table5": controllers,
    "fig1_spearman": spearman,
    "fig2": outages,
    "table_5": budgets_met,
    "outage_split": splits,
    "eq_10": floors,
    "eq_11_15": tails,
    "table_7": latency,
}
