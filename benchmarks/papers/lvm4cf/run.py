"""Make, score and draw LVM4CF's codebooks; every step resumes where it was interrupted.

python -m benchmarks.papers.lvm4cf.run --size small [--out results/papers/lvm4cf-small] [--backend torch]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from benchmarks.codebook import make_codebook
from benchmarks.dataset import make_dataset
from benchmarks.papers.lvm4cf.report import report
from receivers.training.codebook_recipe import parse_codebook
from scenarios.dataset import parse_recipe
from scenarios.load import load_mapping
from simulator.data.rearrange import split_store
from simulator.data.store import ChannelStore

HERE = Path(__file__).parent


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"), default=None)
    parser.add_argument("--train-only", action="store_true")
    arguments = parser.parse_args()
    if arguments.backend:
        os.environ["KERAS_BACKEND"] = arguments.backend
    plan = load_mapping(HERE / f"{arguments.size}.yaml")
    out = arguments.out or Path("results/papers") / f"lvm4cf-{arguments.size}"
    stores = {environment: store(section, environment, out) for environment, section in plan["datasets"].items()}
    made = {}
    for environment, bits, code in codebooks(plan):
        folder, data = out / environment / f"b{bits}" / code, {environment: stores[environment]}
        recipe = parse_codebook(recipe_of(plan, environment, bits, code))
        made[environment, bits, code] = make_codebook(recipe, data, folder, lambda line: print(line, flush=True))
    if not arguments.train_only:
        report(plan, stores, made, out)


def store(section: dict[str, Any], environment: str, out: Path) -> ChannelStore:
    """The channels of an environment, made on first use."""
    section, folder = dict(section), out / "stores" / environment
    by, shares = section.pop("split_by", None), section.pop("shares", None)
    if by is None:
        return make_dataset(parse_recipe(section), folder)
    if not (folder / "manifest.json").exists():
        whole = make_dataset(parse_recipe(section), folder.with_name(f"{environment}_whole"))
        split_store(whole, folder, shares=shares, by=by, seed=section["seed"])
    return ChannelStore(folder)


def codebooks(plan: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Environment, bits and code of everything that is made: short words first, plain codes first."""
    found = []
    for bits in plan["bits"]:
        for environment in plan["datasets"]:
            codes = [*plan["plain"], *(f"{network}-ds" for network in plan["networks"])]
            if environment in plan["ss_environments"]:
                codes += [f"{network}-ss" for network in plan["networks"]]
            found += [(environment, bits, code) for code in codes]
    return found + [(e["environment"], e["bits"], code) for e in plan["extra"] for code in e["codes"]]


def recipe_of(plan: dict[str, Any], environment: str, bits: int, code: str) -> dict[str, Any]:
    """Recipe of ``rvq``, ``coloured``, ``lbg`` or ``<network>-ds``, ``<network>-ss``."""
    common = {"name": code, "seed": plan["seed"], "environments": {environment: environment}, "bits": bits}
    network, _, side = code.partition("-")
    if not side:
        return {**common, "method": code}
    refined = {"side": side, "network": plan["networks"][network], "schedule": plan["schedule"]}
    return {**common, "method": "refine", **refined}


if __name__ == "__main__":
    main()
