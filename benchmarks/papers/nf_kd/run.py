"""Train, score and draw NF-KD's experiments; every step resumes where it was interrupted.

python -m benchmarks.papers.nf_kd.run --size small [--out results/papers/nf_kd-small] [--backend torch]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.papers.command import parse
from benchmarks.papers.stores import paper_store
from scenarios.load import load_mapping
from simulator.data.store import ChannelStore

HERE = Path(__file__).parent


def main() -> None:
    """Command line."""
    arguments, out = parse(
        __doc__,
        "nf_kd",
        seeds={"type": int, "nargs": "*", "default": None, "help": "train the students of these seeds and stop"},
        only={"default": None, "help": "train on this data alone and stop"},
    )
    plan = load_plan(arguments.size)
    stores = {data: paper_store(section, out / "stores" / data) for data, section in plan["data"].items()}
    for data, store in stores.items():
        if arguments.only not in (None, data):
            continue
        for recipe in recipes(plan, data, store.name, out):
            if recipe["name"] == "teacher" or arguments.seeds is None or recipe["seed"] in arguments.seeds:
                _train(recipe, store, out / data / recipe["name"], data)
    if arguments.seeds is None and arguments.only is None:
        from benchmarks.papers.nf_kd.report import report

        report(plan, stores, out)


def load_plan(size: str) -> dict[str, Any]:
    """The plan of a size; data ``like`` other data inherit the fields that they leave out."""
    plan = load_mapping(HERE / f"{size}.yaml")
    for name, section in plan["data"].items():
        if "like" in section:
            plan["data"][name] = {**plan["data"][section.pop("like")], **section}
    return plan


def recipes(plan: dict[str, Any], data: str, dataset: str, out: Path) -> list[dict[str, Any]]:
    """Training recipes on one data set as plain data, the teacher's first, then all methods seed by seed."""
    scaling = "per_sample" if plan["data"][data].get("normalization", "per_sample") == "per_sample" else "none"
    common = {"dataset": dataset, "model": plan["model"], "scaling": scaling, **plan["common"]}
    found = [{**common, "name": "teacher", "concrete": {"variable": False}, **plan["teacher"]}]
    for seed in plan["seeds"][data]:
        for method in plan["methods_of"][data]:
            student = {
                **common,
                "name": f"{method}-s{seed}",
                "seed": seed,
                "concrete": {"variable": True},
                **plan["student"],
            }
            if plan["methods"][method]:
                student["distill"] = {"teacher": str(out / data / "teacher"), **plan["methods"][method]}
            found.append(student)
    return found


def _train(recipe: dict[str, Any], store: ChannelStore, folder: Path, data: str) -> None:
    from benchmarks.train import train
    from receivers.training.recipe import parse_training
    from receivers.weights.folder import TrainedModel

    if (folder / "card.json").exists() and "test" in TrainedModel(str(folder)).card:
        return
    train(parse_training(recipe), store, folder, lambda line: print(f"{data} {recipe['name']}: {line}", flush=True))


if __name__ == "__main__":
    main()
