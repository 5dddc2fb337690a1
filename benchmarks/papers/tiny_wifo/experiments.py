"""Tiny-WiFo's data, trainings and tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.papers.kit.figures import history
from benchmarks.papers.kit.run import Run
from benchmarks.papers.kit.seeds import by_seed, paired, seeded
from benchmarks.papers.kit.training import Training
from benchmarks.papers.tiny_wifo import latency, sets
from benchmarks.papers.tiny_wifo.classical import classical, noisy
from benchmarks.papers.tiny_wifo.sets import UNSEEN
from simulator.core.readers import read_json
from simulator.core.units import db_to_lin, lin_to_db

TASKS = ("time", "frequency")
# Groups of data sets in the paper's tables.
GROUPS = ("D1-D16", *UNSEEN)
NOISE_SNR_DB = 20.0
sections = sets.sections
VALIDATED = ("val_loss", "val_time", "val_frequency")


def trainings(run: Run) -> Iterator[Training]:
    """All networks, on the data sets that are seen; tested on all."""
    seen = {run.stores.data_set(key): key for key in run.stores if key not in UNSEEN}
    unseen = [key for key in run.stores if key in UNSEEN]
    for recipe in [*recipes(run.plan, list(seen), run.out), *feedback_recipes(run.plan, list(seen), run.out)]:
        yield Training(recipe["name"], recipe, seen, unseen)


def recipes(plan: dict[str, Any], seen: list[str], out: Path) -> list[dict[str, Any]]:
    """Training recipes as plain data: the teacher, students seed by seed, ablations, versions, baselines."""

    def recipe(name: str, section: dict[str, Any], method: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        fields = {"name": name, "datasets": seen, **plan["common"], **section, **more}
        fields["model"] = {"name": fields["model"], "params": fields.pop("params")}
        if method:
            fields["distill"] = {"teacher": str(out / "teacher"), **method}
        return fields

    student, first = plan["student"], plan["seeds"][0]
    found = [recipe("teacher", plan["teacher"])]
    for seed in plan["seeds"]:
        found += [recipe(seeded(name, seed), student, method, seed=seed) for name, method in plan["methods"].items()]
    for name, changes in plan["ablations"].items():
        found.append(recipe(name, student, {**plan["methods"]["mcakd"], **changes}, seed=first))
    for name, params in plan["versions"].items():
        found.append(recipe(name, {**student, "params": params}, plan["methods"]["mcakd"], seed=first))
    for name, section in plan["baselines"].items():
        section = {**plan["baseline"], **section}
        by_task = section.pop("by_task", {})
        for task in TASKS:
            params = {**section["params"], **by_task.get(task, {})}
            more = {"model": name, "params": params, "tasks": [task], "rotate": False, "seed": first}
            found.append(recipe(f"{name}-{task}", section, **more))
    return found


def feedback_recipes(plan: dict[str, Any], seen: list[str], out: Path) -> list[dict[str, Any]]:
    """Training recipes of WiFo-CF as plain data: the teacher, students seed by seed."""
    section = plan["feedback"]
    common = {**section["common"], "datasets": seen}

    def recipe(name: str, own: dict[str, Any], **more: Any) -> dict[str, Any]:
        params = {**common["params"], **own["params"]}
        return {**common, **own, "name": name, "model": {"name": "wifo_cf", "params": params}, **more}

    found = [recipe("cf-teacher", section["teacher"])]
    for seed in plan["seeds"]:
        for name, method in section["methods"].items():
            teacher = {"distill": {"teacher": str(out / "cf-teacher"), **method}} if method else {}
            found.append(recipe(seeded(name, seed), section["student"], seed=seed, **teacher))
    for fields in found:
        fields.pop("params")
    return found


def cards(out: Path) -> list[tuple[str, dict[str, Any]]]:
    """Names and model cards of the finished trainings."""
    return [(path.parent.name, read_json(path)) for path in sorted(out.glob("*/card.json"))]


def networks(run: Run) -> pd.DataFrame:
    """Every network that is trained, on every data set: ``network, parameters, set, task, nmse_db, ci95``."""
    keys, rows = {store.name: key for key, store in run.stores.items()}, []
    for network, card in cards(run.out):
        for name, tasks in card["test"]["by_data_set"].items():
            for task in [task for task in TASKS if task in tasks]:
                row = {"network": network, "parameters": card["parameters"], "set": keys[name], "task": task}
                rows.append({**row, **_cell(tasks[task])})
    return pd.DataFrame(rows)


def by_set(run: Run) -> pd.DataFrame:
    """NMSE of every predictor, trained or not, on every data set; the tasks of one baseline under one name."""
    test = test_samples(run)
    train = of_split(run, [key for key in run.stores if key not in UNSEEN], "train")
    others = [classical(test, "time"), classical(test, "frequency", train=train)]
    frame = pd.concat([networks(run), *others], ignore_index=True)
    for name in run.plan["baselines"]:
        frame.loc[frame.network.str.startswith(f"{name}-"), "network"] = name
    return frame


def feedback(run: Run) -> pd.DataFrame:
    """WiFo-CF on test samples: ``network, parameters, group, uplink, nmse_db, bits``, mean ratio over D1 .. D16.

    ``uplink``: "bits", a quantised report of ``bits`` on average; "analog", unquantised values in noise of 10 dB.
    """
    keys, rows = {store.name: key for key, store in run.stores.items()}, []
    for network, card in cards(run.out):
        for name, entry in card["test"]["by_data_set"].items():
            for uplink in [uplink for uplink in ("bits", "analog") if uplink in entry]:
                group = keys[name] if keys[name] in UNSEEN else GROUPS[0]
                row = {"network": network, "parameters": card["parameters"], "group": group, "uplink": uplink}
                rows.append({**row, "ratio": db_to_lin(entry[uplink]["nmse_db"]), "bits": entry["report_bits"]})
    frame = pd.DataFrame(rows, columns=["network", "parameters", "group", "uplink", "ratio", "bits"])
    mean = frame.groupby(["network", "parameters", "group", "uplink"], as_index=False)[["ratio", "bits"]].mean()
    return mean.assign(nmse_db=lin_to_db(mean.ratio)).drop(columns="ratio")


def equal_epochs(run: Run) -> pd.DataFrame:
    """Validation NMSE [dB] of every training, finished or not, by epoch and task; for comparisons at equal epochs."""
    rows = []
    for path in sorted(run.out.glob("*/history.json")):
        for epoch, entry in enumerate(history(path.parent), 1):
            losses = {key.removeprefix("val_"): lin_to_db(entry[key]) for key in VALIDATED if key in entry}
            rows += [{"network": path.parent.name, "epoch": epoch, **losses}] if losses else []
    return pd.DataFrame(rows)


def in_time(run: Run, samples: dict[str, np.ndarray], snr_db: float | None = None) -> pd.DataFrame:
    """Networks and predictors without training, prediction in time: columns as :func:`networks`."""
    from benchmarks.train import score
    from receivers.training.task import Samples
    from receivers.training.tasks.prediction import prediction_nmse
    from receivers.weights.folder import TrainedPredictor

    rows = []
    for name in scored_networks(run):
        network = TrainedPredictor(str(run.out / name)).model
        for key, x in samples.items():
            scored = score(Samples(prediction_nmse(network, x, "time", noisy(x, snr_db))))
            row = {"network": name, "parameters": network.count_params(), "set": key, "task": "time"}
            rows.append({**row, **_cell(scored)})
    return pd.concat([pd.DataFrame(rows), classical(samples, "time", snr_db)], ignore_index=True)


def test_samples(run: Run) -> dict[str, np.ndarray]:
    """Samples of the test splits by data set."""
    return of_split(run, list(run.stores), "test")


def of_split(run: Run, keys: list[str], split: str) -> dict[str, np.ndarray]:
    """Samples of a split by data set."""
    from receivers.training.stores import split_samples

    return {key: split_samples(run.stores[key], split) for key in keys}


def recorded(run: Run) -> pd.DataFrame:
    """Results of :func:`in_time` on recorded sets in WiFo's file layout.

    The plan's ``recorded`` is a folder of ``D*/X_test.mat``; without one the table is empty. Every n-th subcarrier is
    taken, so that a slot has at most ``data.max_entries`` entries (at least 8 subcarriers), as in training; samples are
    scaled to unit power.
    """
    from receivers.models.history import to_history
    from simulator.data.arrays import ArrayFile
    from simulator.data.wifo import WiFo
    from simulator.maths.transforms import unit_power

    samples = {}
    for path in sorted(Path(run.plan["recorded"]).glob("D*/X_test.mat")) if "recorded" in run.plan else []:
        antennas = next(iter(ArrayFile(path).shapes.values()))[3]
        importer = WiFo(path, n1=antennas, spacing_hz=1.0, slot_s=1.0)
        h = np.concatenate([block for block, _ in importer.blocks("test")])
        step = 1
        while h.shape[-1] // (2 * step) >= 8 and h.shape[-1] // step * antennas > run.plan["data"]["max_entries"]:
            step *= 2
        samples[path.parent.name] = to_history(unit_power(h[..., ::step], num_lead=1))
    return in_time(run, samples) if samples else pd.DataFrame(columns=["network", "set", "nmse_db"])


def noise(run: Run) -> pd.DataFrame:
    """NMSE in time from histories with noise, by predictor and group of data sets."""
    frame = grouped(in_time(run, test_samples(run), NOISE_SNR_DB))
    return frame.pivot_table(index="network", columns="group", values="nmse_db").reset_index()


def scored_networks(run: Run) -> list[str]:
    """Teacher, the best seed of every method, baselines in time; those that are finished."""
    done, names = dict(cards(run.out)), ["teacher"]
    for method in run.plan["methods"]:
        own = [name for name in (seeded(method, seed) for seed in run.plan["seeds"]) if name in done]
        names += [min(own, key=lambda name: _best_loss(done[name]))] if own else []
    return [name for name in (*names, *(f"{name}-time" for name in run.plan["baselines"])) if name in done]


def _best_loss(card: dict[str, Any]) -> float:
    return min(epoch.get("val_loss", np.inf) for epoch in card["training"]["curve"])


def _cell(scored: dict[str, float]) -> dict[str, float]:
    return {key: scored[key] for key in ("nmse_db", "ci95")}


def grouped(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean ratio over D1 .. D16, and the unseen sets, by network: ``network, parameters, group, task, nmse_db``."""
    group = np.where(frame["set"].isin(UNSEEN), frame["set"], GROUPS[0])
    frame = frame.assign(group=group, ratio=db_to_lin(frame.nmse_db))
    mean = frame.groupby(["network", "parameters", "group", "task"], as_index=False).ratio.mean()
    return mean.assign(nmse_db=lin_to_db(mean.ratio)).drop(columns="ratio")


def over_seeds(frame: pd.DataFrame, methods: list[str], seeds: list[int], by: str = "task") -> pd.DataFrame:
    """Mean and standard deviation of the dB values over the seeds that are trained, by method, group and ``by``."""
    rows = []
    for method in methods:
        for (group, case), cell in by_seed(frame, [method], seeds).groupby(["group", by]):
            spread = cell.nmse_db.std(ddof=1) if len(cell) > 1 else np.nan
            row = {"method": method, "group": group, by: case, "nmse_db": cell.nmse_db.mean(), "std": spread}
            rows.append({**row, "seeds": len(cell), "parameters": cell.parameters.iloc[0]})
    return pd.DataFrame(rows)


def table_1(run: Run) -> pd.DataFrame:
    """NMSE by method, group and task: students over their seeds, others as they are."""
    single = grouped(run.table("nmse_by_set"))
    table = over_seeds(single, list(run.plan["methods"]), run.plan["seeds"])
    others = single.rename(columns={"network": "method"})
    others = others[others.method.isin(["teacher", *run.plan["baselines"], "ar", "wiener", "lmmse", "repeat"])]
    return pd.concat([table, others.assign(std=np.nan, seeds=1)], ignore_index=True)


def pairs(run: Run) -> pd.DataFrame:
    """Methods against the first one with the same seed."""
    methods = list(run.plan["methods"])
    frame = by_seed(grouped(run.table("nmse_by_set")), methods, run.plan["seeds"])
    return paired(frame, methods, ["group", "task"])


def feedback_pairs(run: Run) -> pd.DataFrame:
    """As :func:`pairs`, for WiFo-CF."""
    methods = list(run.plan["feedback"]["methods"])
    return paired(by_seed(run.table("feedback"), methods, run.plan["seeds"]), methods, ["group", "uplink"])


def retention(run: Run) -> pd.DataFrame:
    """Students relative to the teacher: ratio of the dB values, and of the explained power 1 - NMSE, in percent."""
    table = run.table("table_1")
    teacher = table[table.method == "teacher"].set_index(["group", "task"]).nmse_db
    students = table[table.method.isin(list(run.plan["methods"]))]
    base = np.array([teacher.loc[key] for key in zip(students.group, students.task, strict=True)])
    explained = [1 - db_to_lin(x) for x in (students.nmse_db.to_numpy(), base)]
    return students.assign(
        teacher_db=base, percent_of_db=100 * students.nmse_db / base, percent_of_power=100 * explained[0] / explained[1]
    )


def parts(run: Run) -> pd.DataFrame:
    """Table II: MCAKD without one of its parts, first seed."""
    first = run.plan["seeds"][0]
    return _wide(run, [seeded("mcakd", first), seeded("none", first), *run.plan["ablations"]])


def versions(run: Run) -> pd.DataFrame:
    """Table III: smaller students, first seed."""
    return _wide(run, ["teacher", seeded("mcakd", run.plan["seeds"][0]), *run.plan["versions"]])


def _wide(run: Run, names: list[str]) -> pd.DataFrame:
    """NMSE of networks, a column for each group and task."""
    frame = grouped(run.table("nmse_by_set"))
    frame = frame[frame.network.isin(names)].assign(case=lambda x: x.group + " " + x.task)
    return frame.pivot_table(index=["network", "parameters"], columns="case", values="nmse_db").reset_index()


def mobility(run: Run) -> pd.DataFrame:
    """Results of the preset ``mobility``, which has the shipped weights."""
    from benchmarks.runner import run as run_scenario

    return run_scenario("mobility", out=run.out / "mobility", resume=(run.out / "mobility").exists())


def recovered(results: pd.DataFrame) -> pd.DataFrame:
    """Share of the ageing loss that a predictor recovers, by speed and delay.

    :math:`(r_p - r_a) / (r_0 - r_a)` of mean relative rates: with prediction, aged, and without delay.
    """
    rows = results[results.metric == "relative_rate"]
    table = rows.pivot_table(index=["ue.speed_mps", "uplink.delay_slots", "snr_db"], columns="scheme", values="value")
    found = []
    for scheme in table.columns:
        base = "160 bit, aged" if scheme.startswith("160 bit") else "aged"
        for (speed, delay, snr_db), rate in table[scheme].items():
            fresh, aged = table[base].loc[(speed, 0, snr_db)], table[base].loc[(speed, delay, snr_db)]
            share = (rate - aged) / (fresh - aged) if delay and fresh - aged > 0.01 else np.nan
            found.append(
                {"scheme": scheme, "speed_mps": speed, "delay_slots": delay, "relative_rate": rate, "recovered": share}
            )
    return pd.DataFrame(found)


TABLES = {
    "nmse_by_set": by_set,
    "table_1": table_1,
    "paired": pairs,
    "retention": retention,
    "table_2": parts,
    "table_3": versions,
    "table_4": latency.trained,
    "table_4_published": latency.published,
    "feedback": feedback,
    "feedback_paired": feedback_pairs,
    "equal_epochs": equal_epochs,
    "noise": noise,
    "recorded": recorded,
    "mobility": mobility,
    "recovered": lambda run: recovered(run.table("mobility")),
}
