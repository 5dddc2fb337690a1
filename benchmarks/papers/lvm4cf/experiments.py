"""LVM4CF's codebooks, and their tables: accuracy and rate, transfer between environments, cost."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.papers.kit.run import Run
from benchmarks.papers.kit.seeds import paired, seeded
from benchmarks.papers.kit.training import Training
from receivers.codebooks.lbg import lbg_codebook
from receivers.codebooks.search import best_codeword
from receivers.codebooks.stored import StoredCodebook
from receivers.training.refine import directions, mean_cosine
from receivers.training.tasks.codebook import center_rows
from simulator.core.seeding import derive
from simulator.data.store import ChannelStore

OTHERWISE = ("full_batch", "double")  # sections of a plan with networks that have a schedule of their own


def codebooks(plan: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Environment, bits and code of everything that is made: short words first, plain codes first.

    From ``long.bits`` on ``long.networks`` alone are trained, for ``long.environments``; single-side codebooks have
    ``ss_networks``. ``full_batch`` adds networks that are trained with all words once per step, ``double`` networks
    that are trained twice as long. With ``seeds`` everything is made with each.
    """
    found = []
    for bits in plan["bits"]:
        for environment in plan["data"]:
            networks = list(plan["networks"])
            if bits >= plan["long"]["bits"]:
                networks = plan["long"]["networks"] if environment in plan["long"]["environments"] else []
            codes = [*plan["plain"], *(f"{network}-ds" for network in networks)]
            if environment in plan["ss_environments"]:
                codes += [f"{network}-ss" for network in networks if network in plan["ss_networks"]]
            found += [(environment, bits, code) for code in codes]
    for kind in filter(plan.get, OTHERWISE):
        cases = itertools.product(plan[kind]["environments"], plan[kind]["bits"], plan[kind]["networks"])
        found += [(environment, bits, f"{network}-ds-{kind}") for environment, bits, network in cases]
    found += [(e["environment"], e["bits"], code) for e in plan.get("extra", ()) for code in e["codes"]]
    if "seeds" not in plan:
        return found
    return [(*book, seeded(code, seed)) for seed in plan["seeds"] for *book, code in found]


def recipe_of(plan: dict[str, Any], environment: str, bits: int, code: str) -> dict[str, Any]:
    """Recipe of ``rvq``, ``coloured``, ``lbg``, ``<network>-ds``, ``<network>-ss``, or one of these ``-s<seed>``.

    ``<network>-ds-full_batch`` and ``<network>-ds-double`` have the schedule of these sections of the plan.
    """
    method, seed = without_seed(code)
    common = {"task": "codebook", "name": code, "seed": seed or plan["seed"], "bits": bits}
    common["environments"] = {environment: environment}
    network, *side = method.split("-")
    if not side:
        return {**common, "method": method}
    own = plan[side[1]]["schedule"] if len(side) > 1 else {}
    refined = {"side": side[0], "network": plan["networks"][network], "schedule": {**plan["schedule"], **own}}
    return {**common, "method": "refine", **refined}


def without_seed(code: str) -> tuple[str, int | None]:
    """Method and seed of a code, None without one."""
    method, _, seed = code.rpartition("-s")
    return (method, int(seed)) if seed.isdigit() else (code, None)


def folder_of(environment: str, bits: int, code: str) -> str:
    """Folder of a codebook, relative to the results folder."""
    return f"{environment}/b{bits}/{code}"


def trainings(run: Run) -> Iterator[Training]:
    """All codebooks."""
    for environment, bits, code in codebooks(run.plan):
        recipe = recipe_of(run.plan, environment, bits, code)
        yield Training(folder_of(environment, bits, code), recipe, {environment: environment})


def book_label(code: str, bits: int) -> str:
    """Scheme label of a codebook."""
    return f"{code}-b{bits}"


def rates(run: Run) -> pd.DataFrame:
    """Cosine and sum rate of all codebooks, and of 3GPP's where they exist; rows of results.csv by environment."""
    frames = [_link(run, environment).assign(environment=environment) for environment in run.stores]
    table = pd.concat(frames, ignore_index=True)
    columns = ["environment", "scheme", "bits_mean", "snr_db", "metric", "value", "ci95"]
    return table[table.metric.isin(["cosine", "sum_rate_bpshz"])][columns]


def _link(run: Run, environment: str) -> pd.DataFrame:
    plan, section = run.plan, run.plan["data"][environment]
    paths = [str(run.out / folder_of(*book)) for book in codebooks(plan) if book[0] == environment]
    schemes: list[dict[str, Any]] = [{"scheme": "perfect"}, {"scheme": "codebook", "path": paths}]
    if environment == plan.get("standard"):
        schemes += [{"scheme": "type1", "mode": [1, 2]}, {"scheme": "etype2-r16", "combination": [1, 2, 4, 6, 8]}]
    scenario = {
        "seed": plan["seed"],
        "carrier": section["carrier"],
        "bs": section["bs"],
        "ue": {"num_users": plan["link"]["num_users"], "num_rx_ant": 1},
        "feedback": schemes,
        "precoding": {"precoders": ["zf"]},
        "snr_db": plan["link"]["snr_db"],
        "metrics": ["cosine", "sgcs", "pmi_bits", "bits_mean", "bits_max", "sum_rate_bpshz"],
        "run": {"drops": plan["link"]["drops"], "chunk_drops": 250},
    }
    return run.link(environment, scenario)


def table(run: Run) -> pd.DataFrame:
    """One row for each codebook: accuracy, rate at 20 dB, parameters, time to make, time to search."""
    links, rows = run.table("rates"), []
    for environment, bits, code in codebooks(run.plan):
        book = StoredCodebook(run.out / folder_of(environment, bits, code))
        entry = book.card.made_by["environments"][environment]
        frame = links[(links.environment == environment) & (links.scheme == book_label(code, bits))]
        cosine = frame[frame.metric == "cosine"].iloc[0]
        rate = frame[(frame.metric == "sum_rate_bpshz") & (frame.snr_db == 20)].iloc[0]
        rows.append(
            {
                "environment": environment,
                "code": code,
                "bits": bits,
                "cosine": cosine.value,
                "cosine_ci95": cosine.ci95,
                "sum_rate_20db": rate.value,
                "sum_rate_ci95": rate.ci95,
                "parameters": entry.get("parameters", 0),
                "make_s": entry["seconds"],
                "report_us": _search_us(book, environment, run.stores[environment]),
                "weights": entry.get("pretrained", "-"),
            }
        )
    return pd.DataFrame(rows)


def _search_us(book: StoredCodebook, environment: str, store: ChannelStore) -> float:
    """Time of one report (search at the UE, words read at the gNB), median of five batches of 256."""
    h, words, used = center_rows(store, "test", 256)[:, None], book.searched(environment), book.codebook(environment)
    words = np.array(words)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        np.take(used, best_codeword(h, words), axis=0)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) / len(h) * 1e6


def transfer(run: Run) -> pd.DataFrame:
    """Test cosine of codebooks in other environments, and of one for all, at the most bits that all have."""
    plan, stores, made = run.plan, run.stores, set(codebooks(run.plan))
    ports = [store.layout.panel.num_ports for store in stores.values()]
    same = [environment for environment, n in zip(stores, ports, strict=True) if n == max(ports)]
    seed = plan.get("seeds", [None])[0]
    codes = {code: code if seed is None else seeded(code, seed) for code in ("lbg", "lvm4cf-ds")}
    bits = max(b for b in plan["bits"] if all((e, b, codes["lvm4cf-ds"]) in made for e in same))
    tests = {environment: directions(center_rows(stores[environment], "test")) for environment in same}
    books = {
        (code, home): np.array(StoredCodebook(run.out / folder_of(home, bits, name)).codebook(home))
        for code, name in codes.items()
        for home in same
    }
    train = np.concatenate([center_rows(stores[environment], "train") for environment in same])
    books["lbg", "all of these"] = lbg_codebook(train, bits, derive(plan["seed"], "pooled"))
    rows = [
        {"code": code, "bits": bits, "made_for": home, **{e: mean_cosine(v, book, book) for e, v in tests.items()}}
        for (code, home), book in books.items()
    ]
    return pd.DataFrame(rows)


def standard(run: Run) -> pd.DataFrame:
    """All schemes where 3GPP's codebooks exist: bits, cosine, sum rate at 20 dB."""
    frame = run.table("rates")
    frame = frame[frame.environment == run.plan.get("standard")]
    rate = frame[(frame.metric == "sum_rate_bpshz") & (frame.snr_db == 20)].set_index("scheme")
    cosine = frame[frame.metric == "cosine"].set_index("scheme")
    columns = {
        "bits_mean": cosine.bits_mean,
        "cosine": cosine.value,
        "cosine_ci95": cosine.ci95,
        "sum_rate_20db": rate.value,
        "sum_rate_ci95": rate.ci95,
    }
    return pd.DataFrame(columns).reset_index()


def seeds(run: Run) -> pd.DataFrame:
    """Over the seeds, by environment, bits and method: cosine, its spread, its paired distance to LBG and to double."""
    frame, case = run.table("codebooks"), ["environment", "bits"]
    pairs = [without_seed(code) for code in frame.code]
    frame = frame.assign(method=[method for method, _ in pairs], seed=[seed for _, seed in pairs])
    methods = list(dict.fromkeys(frame.method))
    rows = frame.groupby([*case, "method"], sort=False).cosine.agg(["mean", "std", "count"]).reset_index()
    rows = rows.rename(columns={"mean": "cosine", "std": "cosine_std", "count": "seeds"})
    first = ["lbg", *(m for m in methods if m != "lbg")]
    ahead = paired(frame.assign(seed=frame.seed.fillna(0)), first, case, "cosine")
    gains = [
        paired(frame.assign(seed=frame.seed.fillna(0)), [m, f"{m}-double"], case, "cosine").assign(method=m)
        for m in methods
        if f"{m}-double" in methods
    ]
    names = {"difference": "less_lbg", "ci95": "less_lbg_ci95"}
    rows = rows.merge(ahead.drop(columns="seeds").rename(columns=names), how="left", on=[*case, "method"])
    doubled = pd.concat(gains) if gains else ahead.iloc[:0]
    names = {"difference": "double_gain", "ci95": "double_gain_ci95"}
    return rows.merge(doubled.drop(columns="seeds").rename(columns=names), how="left", on=[*case, "method"])


def curves(run: Run) -> pd.DataFrame:
    """Validation cosine of every network after each epoch (one side) or update (both)."""
    rows = []
    for environment, bits, code in codebooks(run.plan):
        if "-" in without_seed(code)[0]:
            book = StoredCodebook(run.out / folder_of(environment, bits, code))
            for entry in book.card.made_by["environments"][environment]["history"]:
                rows.append({"environment": environment, "bits": bits, "code": code, **entry})
    return pd.DataFrame(rows)


TABLES = {"rates": rates, "codebooks": table, "transfer": transfer, "link": standard, "seeds": seeds, "curves": curves}
