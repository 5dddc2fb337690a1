"""Make, score and draw LVM4CF's codebooks; every step resumes where it was interrupted.

python -m benchmarks.papers.lvm4cf.run --size small [--out results/papers/lvm4cf-small] [--backend torch]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

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
    from scenarios.load import load_mapping

    plan = load_mapping(HERE / f"{arguments.size}.yaml")
    out = arguments.out or Path("results/papers") / f"lvm4cf-{arguments.size}"
    for bits in plan["bits"]:
        for environment in plan["datasets"]:
            make_all(plan, environment, bits, out)
    if not arguments.train_only:
        report(plan, out)


def stores(plan: dict[str, Any], environment: str, out: Path) -> dict[str, Any]:
    """The store of an environment, made on first use."""
    from benchmarks.dataset import make_dataset
    from scenarios.dataset import parse_recipe
    from simulator.data.rearrange import split_store
    from simulator.data.store import ChannelStore

    section, folder = dict(plan["datasets"][environment]), out / "stores" / environment
    by, shares = section.pop("split_by", None), section.pop("shares", None)
    if by is None:
        return {environment: make_dataset(parse_recipe(section), folder)}
    if not (folder / "manifest.json").exists():
        whole = make_dataset(parse_recipe(section), folder.with_name(f"{environment}_whole"))
        split_store(whole, folder, shares=shares, by=by, seed=section["seed"])
    return {environment: ChannelStore(folder)}


def recipes(plan: dict[str, Any], environment: str, bits: int) -> list[dict[str, Any]]:
    """Recipes of one environment and size, plain codebooks first."""
    common = {"seed": plan["seed"], "environments": {environment: environment}, "bits": bits}
    found = [{**common, "name": method, "method": method} for method in plan["plain"]]
    sides = ["ds", "ss"] if environment in plan["ss_environments"] else ["ds"]
    for side in sides:
        for name, network in plan["networks"].items():
            found.append(
                {**common, "name": f"{name}-{side}", "method": "refine", "side": side, "network": network,
                 "schedule": plan["schedule"]}
            )  # fmt: skip
    return found


def make_all(plan: dict[str, Any], environment: str, bits: int, out: Path) -> None:
    """All codebooks of one environment and size."""
    from benchmarks.codebook import make_codebook
    from receivers.training.codebook_recipe import parse_codebook

    channels = stores(plan, environment, out)
    for data in recipes(plan, environment, bits):
        folder = out / environment / f"b{bits}" / data["name"]
        make_codebook(parse_codebook(data), channels, folder, lambda line: print(f"b{bits} {line}", flush=True))


def link(plan: dict[str, Any], environment: str, out: Path) -> Any:
    """Results of the link on the test split: all codebooks, and 3GPP's where they exist."""
    import yaml

    from benchmarks import run

    folder = out / environment
    paths = [
        str(folder / f"b{bits}" / data["name"]) for bits in plan["bits"] for data in recipes(plan, environment, bits)
    ]
    schemes: list[dict[str, Any]] = [{"scheme": "perfect"}, {"scheme": "codebook", "path": paths}]
    if environment == plan["standard"]:
        schemes += [{"scheme": "type1", "mode": [1, 2]}, {"scheme": "etype2-r16", "combination": [1, 2, 4, 6, 8]}]
    dataset, section = plan["datasets"][environment], plan["link"]
    scenario = {
        "name": f"lvm4cf_{environment}",
        "seed": plan["seed"],
        "carrier": dataset["carrier"],
        "bs": dataset["bs"],
        "ue": {"num_users": section["num_users"], "num_rx_ant": 1},
        "channel": {"model": "recorded", "store": str(out / "stores" / environment), "split": "test"},
        "normalization": "per_sample",
        "feedback": schemes,
        "precoding": {"precoders": ["zf"]},
        "snr_db": section["snr_db"],
        "metrics": ["cosine", "sgcs", "bits_mean", "bits_max", "sum_rate_bpshz"],
        "run": {"drops": section["drops"], "chunk_drops": 250},
    }
    path = folder / "link.yaml"
    path.write_text(yaml.safe_dump(scenario, sort_keys=False))
    return run(path, out=folder / "link", workers=1, resume=True)


def report(plan: dict[str, Any], out: Path) -> None:
    """Tables and figures."""
    import json

    import pandas as pd
    from matplotlib.figure import Figure

    from benchmarks.figures import PALETTE

    tables = {environment: link(plan, environment, out) for environment in plan["datasets"]}
    rows = []
    for environment in plan["datasets"]:
        for bits in plan["bits"]:
            for data in recipes(plan, environment, bits):
                card = json.loads((out / environment / f"b{bits}" / data["name"] / "card.json").read_text())
                entry = card["made_by"]["environments"][environment]
                label = f"{data['name']}-b{bits}"
                frame = tables[environment]
                cosine = frame[(frame.scheme == label) & (frame.metric == "cosine")].iloc[0]
                rates = frame[(frame.scheme == label) & (frame.metric == "sum_rate_bpshz")].set_index("snr_db").value
                rows.append(
                    {
                        "environment": environment,
                        "code": data["name"],
                        "bits": bits,
                        "cosine": cosine.value,
                        "ci95": cosine.ci95,
                        "sum_rate_20db": rates.get(20.0),
                        "parameters": entry.get("parameters", 0),
                        "seconds": entry["seconds"],
                        "pretrained": str(entry.get("pretrained", "-")),
                    }
                )
    table = pd.DataFrame(rows)
    table.to_csv(out / "codebooks.csv", index=False, float_format="%.5g")
    codes = list(dict.fromkeys(table.code))
    color = {code: PALETTE[i % len(PALETTE)] for i, code in enumerate(c for c in codes if not c.endswith("-ss"))}
    figure = Figure(figsize=(5 * len(tables), 4.6), layout="constrained")
    axes = figure.subplots(1, len(tables), squeeze=False)[0]
    for axis, environment in zip(axes, tables, strict=True):
        for code in codes:
            part = table[(table.environment == environment) & (table.code == code)]
            style = "--" if code.endswith("-ss") else "-"
            if len(part):
                axis.errorbar(
                    part.bits, part.cosine, part.ci95, ls=style, marker="o", ms=3.5, label=code,
                    color=color[code.replace("-ss", "-ds")],
                )  # fmt: skip
        if environment == plan["standard"]:
            frame = tables[environment]
            standard = frame[frame.scheme.str.startswith(("type1", "etype2")) & (frame.metric == "cosine")]
            axis.plot(standard.bits_mean, standard.value, "k^", ms=6, label="3GPP Type I, eType II")
            axis.set_xscale("log", base=2)
        axis.set(title=environment, xlabel="bits per report", ylabel="cosine")
        axis.grid(alpha=0.3)
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncol=6, fontsize=8)
    figure.savefig(out / "cosine_vs_bits.png", dpi=150)

    figure = Figure(figsize=(5 * len(tables), 4.4), layout="constrained")
    most = max(plan["bits"])
    for axis, environment in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables, strict=True):
        frame = tables[environment]
        rates = frame[frame.metric == "sum_rate_bpshz"]
        for code in codes:
            curve = rates[rates.scheme == f"{code}-b{most}"].sort_values("snr_db")
            if len(curve):
                style = "--" if code.endswith("-ss") else "-"
                axis.plot(curve.snr_db, curve.value, style, color=color[code.replace("-ss", "-ds")], label=code)
        for scheme, style in (("type1-mode1", ":"), ("etype2-pc8", "-.")):
            curve = rates[rates.scheme == scheme].sort_values("snr_db")
            if len(curve):
                bits = curve.bits_mean.iloc[0]
                axis.plot(curve.snr_db, curve.value, style, color="k", label=f"{scheme} ({bits:.0f} bits)")
        axis.set(title=f"{environment}, B = {most}", xlabel="SNR (dB)", ylabel="sum rate of 4 users, ZF (bit/s/Hz)")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=6)
    figure.savefig(out / "sum_rate_vs_snr.png", dpi=150)
    print(table.to_string(index=False))
    print(f"figures and tables: {out}")


if __name__ == "__main__":
    main()
