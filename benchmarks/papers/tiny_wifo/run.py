"""Train, score and draw Tiny-WiFo's experiments; every step resumes where it was interrupted.

python -m benchmarks.papers.tiny_wifo.run --size small|medium|full [--out FOLDER] [--backend torch]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.papers.command import parse
from benchmarks.papers.stores import paper_store
from benchmarks.papers.tiny_wifo.data import UNSEEN, data_sets
from scenarios.load import load_mapping
from simulator.data.store import ChannelStore

HERE = Path(__file__).parent


def main() -> None:
    """Command line."""
    arguments, out = parse(
        __doc__,
        "tiny_wifo",
        ("small", "medium", "full"),
        train={"nargs": "*", "default": None, "help": "train these networks and stop"},
        recorded={"type": Path, "default": None, "help": "folder with D*/X_test.mat to score the networks on, too"},
    )
    plan = load_mapping(HERE / f"{arguments.size}.yaml")
    stores = {key: paper_store(recipe, out / "stores" / key) for key, recipe in data_sets(plan["data"]).items()}
    for recipe in [*recipes(plan, stores, out), *feedback_recipes(plan, stores, out)]:
        if arguments.train is None or recipe["name"] in arguments.train:
            _train(recipe, stores, out / recipe["name"])
    if arguments.train is None:
        from benchmarks.papers.tiny_wifo.report import report

        report(plan, stores, out, arguments.recorded)


def recipes(plan: dict[str, Any], stores: dict[str, ChannelStore], out: Path) -> list[dict[str, Any]]:
    """Training recipes as plain data: the teacher, students seed by seed, ablations, versions, baselines."""
    seen = [store.name for key, store in stores.items() if key not in UNSEEN]

    def recipe(name: str, section: dict[str, Any], method: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        fields = {"name": name, "datasets": seen, **plan["common"], **section, **more}
        fields["model"] = {"name": fields["model"], "params": fields.pop("params")}
        if method:
            fields["distill"] = {"teacher": str(out / "teacher"), **method}
        return fields

    student, first = plan["student"], plan["seeds"][0]
    found = [recipe("teacher", plan["teacher"])]
    for seed in plan["seeds"]:
        found += [recipe(f"{name}-s{seed}", student, method, seed=seed) for name, method in plan["methods"].items()]
    for name, changes in plan["ablations"].items():
        found.append(recipe(name, student, {**plan["methods"]["mcakd"], **changes}, seed=first))
    for name, params in plan["versions"].items():
        found.append(recipe(name, {**student, "params": params}, plan["methods"]["mcakd"], seed=first))
    for name, section in plan["baselines"].items():
        section = {**plan["baseline"], **section}
        by_task = section.pop("by_task", {})
        for task in ("time", "frequency"):
            params = {**section["params"], **by_task.get(task, {})}
            more = {"model": name, "params": params, "tasks": [task], "rotate": False, "seed": first}
            found.append(recipe(f"{name}-{task}", section, **more))
    return found


def feedback_recipes(plan: dict[str, Any], stores: dict[str, ChannelStore], out: Path) -> list[dict[str, Any]]:
    """Training recipes of WiFo-CF as plain data: the teacher, students seed by seed."""
    section = plan["feedback"]
    common = {**section["common"], "datasets": [store.name for key, store in stores.items() if key not in UNSEEN]}

    def recipe(name: str, own: dict[str, Any], **more: Any) -> dict[str, Any]:
        params = {**common["params"], **own["params"]}
        return {**common, **own, "name": name, "model": {"name": "wifo_cf", "params": params}, **more}

    found = [recipe("cf-teacher", section["teacher"])]
    for seed in plan["seeds"]:
        for name, method in section["methods"].items():
            teacher = {"distill": {"teacher": str(out / "cf-teacher"), **method}} if method else {}
            found.append(recipe(f"{name}-s{seed}", section["student"], seed=seed, **teacher))
    for fields in found:
        fields.pop("params")
    return found


def _train(recipe: dict[str, Any], stores: dict[str, ChannelStore], folder: Path) -> None:
    from benchmarks.train import train
    from receivers.training.recipe import parse_training

    if (folder / "card.json").exists():
        return
    seen = [store for key, store in stores.items() if key not in UNSEEN]
    unseen = [store for key, store in stores.items() if key in UNSEEN]

    def progress(line: str) -> None:
        print(f"{recipe['name']}: {line}", flush=True)

    train(parse_training(recipe), seen, folder, progress, unseen)


if __name__ == "__main__":
    main()
