"""Train, quantise, schedule and score RP-MPQ's experiments; every step resumes where it was interrupted.

python -m benchmarks.papers.rp_mpq.run --size small [--out results/papers/rp_mpq-small] [--backend jax]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.papers.command import parse
from benchmarks.papers.rp_mpq.networks import network_name
from benchmarks.papers.stores import paper_store
from scenarios.load import load_mapping
from simulator.data.store import ChannelStore

HERE = Path(__file__).parent


def main() -> None:
    """Command line."""
    arguments, out = parse(
        __doc__,
        "rp_mpq",
        train={"nargs": "*", "default": None, "help": "train these networks (data/name) and stop"},
    )
    plan = load_mapping(HERE / f"{arguments.size}.yaml")
    stores = {data: paper_store(section, out / "stores" / data) for data, section in plan["data"].items()}
    for data, store in stores.items():
        for recipe in recipes(plan, data, store.name):
            if arguments.train is None or f"{data}/{recipe['name']}" in arguments.train:
                _train(recipe, store, out / data / recipe["name"], data)
    if arguments.train is None:
        from benchmarks.papers.rp_mpq.report import report

        report(plan, stores, out)


def recipes(plan: dict[str, Any], data: str, dataset: str) -> list[dict[str, Any]]:
    """Training recipes on one data set as plain data."""
    found = []
    for model, ratios in plan["runs"][data].items():
        for ratio, changes in ratios.items():
            section = {**plan["models"][model], **changes}
            params = {**section.pop("params"), "num_latents": plan["latents"][ratio]}
            found.append(
                {
                    "name": network_name(model, ratio),
                    "dataset": dataset,
                    "seed": plan["seed"],
                    "num_delays": plan["num_delays"],
                    "model": {"name": model, "params": params},
                    **plan["common"],
                    **section,
                }
            )
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
