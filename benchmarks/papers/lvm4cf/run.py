"""Make, score and draw LVM4CF's codebooks; every step resumes where it was interrupted.

python -m benchmarks.papers.lvm4cf.run --size small [--out results/papers/lvm4cf-small] [--backend torch]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.papers.command import parse
from benchmarks.papers.lvm4cf.report import report
from benchmarks.papers.stores import paper_store
from benchmarks.train import train
from receivers.codebooks.stored import StoredCodebook
from receivers.training.recipe import parse_training
from scenarios.load import load_mapping

HERE = Path(__file__).parent


def main() -> None:
    """Command line."""
    arguments, out = parse(
        __doc__,
        "lvm4cf",
        train_only={"action": "store_true"},
    )
    plan = load_mapping(HERE / f"{arguments.size}.yaml")
    stores = {name: paper_store(section, out / "stores" / name) for name, section in plan["datasets"].items()}
    made = {}
    for environment, bits, code in codebooks(plan):
        folder = out / environment / f"b{bits}" / code
        recipe = parse_training(recipe_of(plan, environment, bits, code))
        train(recipe, stores[environment], folder, lambda line: print(line, flush=True))
        made[environment, bits, code] = StoredCodebook(folder)
    if not arguments.train_only:
        report(plan, stores, made, out)


def codebooks(plan: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Environment, bits and code of everything that is made: short words first, plain codes first.

    From ``long.bits`` on ``long.networks`` alone are trained, for ``long.environments``; single-side codebooks have
    ``ss_networks``.
    """
    found = []
    for bits in plan["bits"]:
        for environment in plan["datasets"]:
            networks = list(plan["networks"])
            if bits >= plan["long"]["bits"]:
                networks = plan["long"]["networks"] if environment in plan["long"]["environments"] else []
            codes = [*plan["plain"], *(f"{network}-ds" for network in networks)]
            if environment in plan["ss_environments"]:
                codes += [f"{network}-ss" for network in networks if network in plan["ss_networks"]]
            found += [(environment, bits, code) for code in codes]
    return found + [(e["environment"], e["bits"], code) for e in plan["extra"] for code in e["codes"]]


def recipe_of(plan: dict[str, Any], environment: str, bits: int, code: str) -> dict[str, Any]:
    """Recipe of ``rvq``, ``coloured``, ``lbg`` or ``<network>-ds``, ``<network>-ss``."""
    common = {
        "task": "codebook",
        "name": code,
        "seed": plan["seed"],
        "environments": {environment: environment},
        "bits": bits,
    }
    network, _, side = code.partition("-")
    if not side:
        return {**common, "method": code}
    refined = {"side": side, "network": plan["networks"][network], "schedule": plan["schedule"]}
    return {**common, "method": "refine", **refined}


if __name__ == "__main__":
    main()
