"""RP-MPQ's networks: their names, recipes and trainings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.papers.kit.run import Run
from benchmarks.papers.kit.training import Training
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


def first(run: Run) -> tuple[str, ChannelStore, Path]:
    """Name and store of the data set whose network is scheduled, and the folder of that."""
    data = next(iter(run.stores))
    return data, run.stores[data], run.out / data / run.plan["scheduled"]
