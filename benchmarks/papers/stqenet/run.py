"""Train, score and draw STQENet's experiments; every step resumes where it was interrupted.

python -m benchmarks.papers.stqenet.run --size small --out results/papers/stqenet-small [--only indoor] [--backend
torch]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.intervals import half_width_of
from benchmarks.papers.command import parse
from benchmarks.saved import save_figure, save_table
from simulator.core.durable import write_bytes
from simulator.core.units import db_to_amplitude

HERE = Path(__file__).parent
SNRS_DB = tuple(range(0, 21, 2))


def main() -> None:
    """Command line."""
    arguments, out = parse(
        __doc__,
        "stqenet",
        only={"choices": ("indoor", "outdoor"), "default": None, "help": "train this environment and stop"},
        train_only={"action": "store_true"},
    )
    from scenarios.load import load_mapping

    plan = load_mapping(HERE / f"{arguments.size}.yaml")
    for environment in plan["datasets"]:
        if arguments.only in (None, environment):
            train_all(plan, environment, out)
    if arguments.only is None and not arguments.train_only:
        tables = {environment: scores(plan, environment, out) for environment in plan["datasets"]}
        report(plan, tables, out)


def recipes(plan: dict[str, Any], dataset: str) -> list[dict[str, Any]]:
    """Training recipes of one environment, as plain data, in order."""
    found = []
    for index, (name, run) in enumerate(plan["runs"].items()):
        params = {**run["params"]}
        if run["model"] != "learned_transform":
            params["num_latents"] = plan["num_latents"]
        common = {
            "dataset": dataset,
            "seed": 8300 + index,
            "num_delays": plan["num_delays"],
            **plan["common"],
            **plan[run["kind"]],
        }
        if run["kind"] == "fixed":
            recipe = {**common, "name": name, "model": {"name": run["model"], "params": params}, "init": run["init"]}
            if "stages" in run:  # Chen et al.: autoencoder without quantiser, offset network alone, all together
                first, offset, last = run["stages"]
                rate = common["learning_rate"]
                recipe["stages"] = [
                    {"epochs": first, "learning_rate": rate, "quantize": False},
                    {"epochs": offset, "learning_rate": rate, "train": "offset"},
                    {"epochs": last, "learning_rate": rate / 2},
                ]
            else:
                recipe["epochs"] = run["epochs"]
            found.append(recipe)
            continue
        if run["model"] == "learned_transform":
            params["gain"] = plan["gain"] * 4  # its random start has latents of about a quarter of unit power
        else:
            params["latent_gain"] = plan["gain"]
        for number, weight in enumerate(plan["rate_weights"]):
            recipe = {
                **common,
                "name": f"{name}-l{weight:g}",
                "model": {"name": run["model"], "params": params},
                "rate": {"weight": [weight]},
                "init": run["init"] if number == 0 else f"{name}-l{plan['rate_weights'][number - 1]:g}",
                "epochs": run["epochs"] if number == 0 else run["more_epochs"],
            }
            if number:
                recipe["learning_rate"] = common["learning_rate"] / 2
            found.append(recipe)
    return found


def store_of(plan: dict[str, Any], environment: str, out: Path) -> Any:
    """Channel store of an environment, made on first use."""
    from benchmarks.dataset import make_dataset
    from scenarios.dataset import parse_recipe
    from simulator.data.store import ChannelStore

    section = plan["datasets"][environment]
    if "store" in section:
        return ChannelStore(section["store"])
    return make_dataset(parse_recipe(section), out / "stores" / environment)


def train_all(plan: dict[str, Any], environment: str, out: Path) -> None:
    """All networks and the KLT of one environment."""
    from benchmarks.train import train
    from receivers.training.recipe import parse_training

    store = store_of(plan, environment, out)
    folder = out / environment
    klt = {"task": "klt", "name": "klt", "dataset": store.name, "num_delays": plan["num_delays"]}
    pixels = plan["antennas"] * plan["num_delays"]
    klt["model"] = {"name": "klt", "params": {"num_components": min(512, pixels)}}
    for data in [klt, *recipes(plan, store.name)]:
        target = folder / data["name"]
        if (target / "card.json").exists():
            continue
        if data.get("init", "random") not in ("random", "pca"):
            data = {**data, "init": str(folder / data["init"])}
        train(
            parse_training(data),
            store,
            target,
            lambda line, name=data["name"]: print(f"{environment} {name}: {line}", flush=True),
        )


def scores(plan: dict[str, Any], environment: str, out: Path) -> dict[str, Any]:
    """Accuracy without and with noise, and the link, of every code of one environment."""
    import pandas as pd

    table = out / environment / "accuracy.csv"
    if not table.exists():
        rows = accuracy(plan, environment, out)
        save_table(pd.DataFrame(rows), table, index=False, float_format="%.6g")
    return {"accuracy": pd.read_csv(table), "link": link(plan, environment, out)}


def accuracy(plan: dict[str, Any], environment: str, out: Path) -> list[dict[str, Any]]:
    """NMSE and counted bits of every code on the test split, noise-free and with noise on the CSI.

    One row per (code, SNR): NMSE against the true image, mean of per-sample ratios, with the 95 % half-width.
    """
    import numpy as np

    from receivers.feedback.latents import LatentCodec
    from receivers.models.klt import Klt
    from receivers.training.data.images import ImageView, load_images
    from receivers.weights.folder import TrainedModel

    store = store_of(plan, environment, out)
    test, _ = load_images(store, "test", ImageView(store.layout, plan["num_delays"]))
    size = test[0].size
    rng = np.random.default_rng(8400)
    noise = rng.standard_normal(test.shape).astype(np.float32) * np.float32(0.5**0.5)
    rows: list[dict[str, Any]] = []

    def add(code: str, family: str, snr_db: float, x_hat: Any, num_bits: Any) -> None:
        ratio = np.sum((x_hat - test) ** 2, axis=(1, 2, 3), dtype=np.float64) / np.sum(
            test**2, axis=(1, 2, 3), dtype=np.float64
        )
        half = half_width_of(ratio)
        rows.append(
            {
                "code": code, "family": family, "snr_db": snr_db, "nmse_db": 10 * np.log10(ratio.mean()),
                "ci95_db": 10 / np.log(10) * half / ratio.mean(), "bits_mean": np.mean(num_bits),
                "bits_max": np.max(num_bits), "bpp": np.mean(num_bits) / size, "num_samples": len(test),
            }
        )  # fmt: skip

    for data in recipes(plan, store.name):
        trained = TrainedModel(str(out / environment / data["name"]))
        fixed = "rate" not in data
        for bits in data["quantizer"]["bits"]:
            coders = ("fixed", "huffman", "range") if fixed else ("range",)
            snrs = (np.inf, *SNRS_DB) if fixed else (np.inf,)
            codecs = {coder: LatentCodec(trained, None, bits, coder, "latent", "shipped", 1) for coder in coders}
            for snr_db in snrs:
                latent = trained.encode(test + noise * np.float32(db_to_amplitude(-snr_db)))
                for coder, codec in codecs.items():
                    if np.isfinite(snr_db) and coder != "fixed":
                        continue
                    coded, num_bits = codec.encode(latent)
                    received, _ = codec.decode(coded, num_bits)
                    code = f"{data['name']}-b{bits}-{coder}" if fixed else data["name"]
                    family = f"{data['name']} ({coder})" if fixed else data["name"].rpartition("-l")[0]
                    add(code, family, snr_db, trained.decode(received), num_bits)
    from receivers.coding.range_coder import RangeCoder
    from receivers.training.codecs import KLT_LIMIT

    klt = Klt.load(out / environment / "klt" / "klt.npz")
    for bits in plan["klt_bits"]:
        step = klt.step_for(bits, KLT_LIMIT)
        cells = klt.cells(klt.coefficients(test), step, KLT_LIMIT)
        coder = RangeCoder(2 * KLT_LIMIT + 1, **RangeCoder.fit(klt.counts(step, KLT_LIMIT)))
        _, num_bits = coder.encode(cells)
        add(f"klt-{bits}", "KLT", np.inf, klt.images(klt.values(cells, step, KLT_LIMIT), *test.shape[1:3]), num_bits)
    for bits in plan["sparse_bits"]:
        x_hat, num_bits = _sparse(test, store, bits, plan["num_delays"])
        add(f"sparse-{bits}", "sparse", np.inf, x_hat, num_bits)
    return rows


def _sparse(test: Any, store: Any, bits: int, num_delays: int) -> tuple[Any, Any]:
    """Images after the sparse code, and its bits."""
    import numpy as np

    from receivers.feedback.sparse import SparseFeedback
    from simulator.core.types import CsiConfig, CsiEstimate
    from simulator.maths.transforms import from_angular_delay, to_angular_delay, to_complex, to_real

    layout = store.layout
    config = CsiConfig(layout.panel, 1, layout.num_subcarriers, layout.spacing_hz, 4)
    scheme = SparseFeedback(config, bits=bits, num_delays=num_delays)
    gain = np.float32((layout.num_subcarriers / num_delays) ** 0.5)
    h = gain * from_angular_delay(to_complex(test), layout.panel, layout.num_subcarriers)
    report = scheme.report(CsiEstimate(h[:, None, None], np.zeros((len(h), 1), np.float32)))
    back = scheme.reconstruct(report).h[:, 0, 0] / gain
    return to_real(to_angular_delay(back, layout.panel, num_delays)), report.num_bits


def link(plan: dict[str, Any], environment: str, out: Path) -> Any:
    """Sum rate and outage of the codes in one link, from the test split."""
    import yaml

    from benchmarks.runner import run

    store = store_of(plan, environment, out)
    layout, folder, section = store.layout, out / environment, plan["link"]
    schemes: list[dict[str, Any]] = [{"scheme": "perfect"}]
    for data in recipes(plan, store.name):
        entry = {"scheme": "autoencoder", "weights": str(folder / data["name"])}
        if "rate" in data:
            schemes.append(entry)
        else:
            schemes.append({**entry, "bits": data["quantizer"]["bits"][:2]})
    schemes.append({"scheme": "klt", "weights": str(folder / "klt"), "bits": plan["klt_bits"][1:4]})
    schemes.append({"scheme": "sparse", "bits": plan["sparse_bits"][1:4], "num_delays": plan["num_delays"]})
    scenario = {
        "name": f"stqenet-{environment}",
        "description": f"STQENet's codes in one link, {environment}-like channels of the test split.",
        "seed": 8500,
        "carrier": {
            "carrier_hz": layout.carrier_hz or 3.5e9,
            "num_subcarriers": layout.num_subcarriers,
            "subcarrier_spacing_hz": layout.spacing_hz,
            "granularity": "subcarrier",
            "subband_rb": 4,
        },
        "bs": {"n1": layout.panel.n1, "n2": layout.panel.n2, "num_pol": layout.panel.num_pol},
        "ue": {"num_users": section["num_users"], "num_rx_ant": 1},
        "channel": {"model": "recorded", "store": str(store.folder), "split": "test"},
        "normalization": "per_sample",
        "feedback": schemes,
        "precoding": {"precoders": ["zf"]},
        "snr_db": section["snr_db"],
        "outage": {"gammas": [0.8], "rates_bpshz": [1.0]},
        "run": {"drops": section["drops"], "chunk_drops": 100},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "link.yaml"
    write_bytes(path, yaml.safe_dump(scenario, sort_keys=False).encode())
    return run(path, out=folder / "link", workers=1, resume=True)


def report(plan: dict[str, Any], tables: dict[str, Any], out: Path) -> None:
    """Figures next to the tables."""
    for name, figure in {
        "fig3_nmse_vs_snr": noise_figure(tables),
        "fig4_nmse_vs_bits": rate_figure(tables),
        "sum_rate_vs_bits": link_figure(plan, tables),
        "convergence": convergence(plan, list(tables), out),
    }.items():
        save_figure(figure, out / f"{name}.png", dpi=150)
    print(f"figures and tables: {out}")


def noise_figure(tables: dict[str, Any]) -> Any:
    """NMSE against the SNR of the CSI, for all widths (the paper's Fig. 3)."""
    from matplotlib.figure import Figure

    from benchmarks.report.figures import PALETTE

    names = list(tables)
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names)), names, strict=True):
        rows = tables[name]["accuracy"]
        for color, bits in zip(PALETTE, (2, 4, 6, 8), strict=False):
            curve = rows[(rows.code == f"stqenet-b{bits}-fixed") & (rows.snr_db < 1e3)].sort_values("snr_db")
            axis.errorbar(
                curve.snr_db,
                curve.nmse_db,
                curve.ci95_db,
                color=color,
                marker="o",
                ms=3,
                label=f"{bits} bits per latent",
            )
        axis.set(title=f"{name}-like", xlabel="SNR of the CSI (dB)", ylabel="NMSE (dB)")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return figure


def rate_figure(tables: dict[str, Any]) -> Any:
    """NMSE against counted bits of all codes (the paper's Fig. 4)."""
    from matplotlib.figure import Figure

    from benchmarks.report.figures import PALETTE

    names = list(tables)
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    axes = figure.subplots(1, len(names))
    families = (
        "stqenet-eb",
        "baseline1-eb",
        "baseline2-eb",
        "crnet-eb",
        "stqenet (range)",
        "baseline2 (fixed)",
        "KLT",
        "sparse",
    )
    labels = {
        "stqenet-eb": "STQENet, rate-trained", "baseline1-eb": "Baseline 1: learned transform, rate-trained",
        "baseline2-eb": "Baseline 2 network, rate-trained", "crnet-eb": "CRNet, rate-trained",
        "stqenet (range)": "STQENet, mu-law, range coded", "baseline2 (fixed)": "Baseline 2: mu-law, offset network",
        "KLT": "KLT, range coded", "sparse": "sparse angular-delay code",
    }  # fmt: skip
    for axis, name in zip(axes, names, strict=True):
        rows = tables[name]["accuracy"]
        for color, family in zip(PALETTE, families, strict=True):
            curve = rows[(rows.family == family) & (rows.snr_db > 1e3)].sort_values("bpp")
            style = "--" if family in ("KLT", "sparse") else "-"
            axis.plot(curve.bpp, curve.nmse_db, style, color=color, marker="o", ms=3.5, label=labels[family])
        axis.set(title=f"{name}-like", xlabel="bits per real entry (counted, mean)", ylabel="NMSE (dB)", xlim=(0, 1.6))
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncol=4, fontsize=8)
    return figure


def link_figure(plan: dict[str, Any], tables: dict[str, Any]) -> Any:
    """Sum rate against bits of a report at the highest SNR."""
    from matplotlib.figure import Figure

    from benchmarks.report.figures import PALETTE

    names = list(tables)
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(1, len(names))
    snr_db = max(plan["link"]["snr_db"])
    for axis, name in zip(axes, names, strict=True):
        frame = tables[name]["link"]
        bits = frame[frame.metric == "bits_mean"].set_index("scheme").value
        rate = frame[(frame.metric == "sum_rate_bpshz") & (frame.snr_db == snr_db)].set_index("scheme")
        axis.axhline(rate.value["perfect"], color="#222222", ls="--", lw=1, label="perfect CSI")
        for color, family in zip(
            PALETTE,
            ("stqenet-eb", "baseline1-eb", "baseline2-eb", "crnet-eb", "stqenet-", "baseline2-", "klt", "sparse"),
            strict=True,
        ):
            others = [f for f in ("stqenet-eb", "baseline2-eb") if f != family]
            chosen = [s for s in rate.index if s.startswith(family) and not any(s.startswith(o) for o in others)]
            chosen = sorted(chosen, key=lambda s: bits[s])
            axis.errorbar(
                bits[chosen],
                rate.value[chosen],
                rate.ci95[chosen],
                color=color,
                marker="o",
                ms=3.5,
                label=family.rstrip("-"),
            )
        axis.set(
            title=f"{name}-like, ZF, {plan['link']['num_users']} users, {snr_db} dB",
            xlabel="bits per report (counted, mean)",
            ylabel="sum rate (bit/s/Hz)",
        )
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    return figure


def convergence(plan: dict[str, Any], names: list[str], out: Path) -> Any:
    """Objective on validation samples by epoch, the steps of lambda one after the other."""
    import json

    from matplotlib.figure import Figure

    from benchmarks.report.figures import PALETTE

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(1, len(names))
    for axis, name in zip(axes, names, strict=True):
        for color, (code, run) in zip(PALETTE, plan["runs"].items(), strict=False):
            start = 0
            for weight in plan["rate_weights"] if run["kind"] == "rate" else (None,):
                folder = out / name / (code if weight is None else f"{code}-l{weight:g}")
                entries = json.loads((folder / "history.json").read_text())["epochs"]
                loss = [e["val_loss"] + (weight or 0) * e.get("val_bits", 0) for e in entries]
                epochs = range(start + 1, start + len(loss) + 1)
                axis.plot(epochs, loss, color=color, lw=1.3, label=None if start else code)
                start += len(loss)
        axis.set(title=f"{name}-like", xlabel="epoch", ylabel="NMSE + lambda bits, validation", yscale="log")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    return figure


if __name__ == "__main__":
    main()
