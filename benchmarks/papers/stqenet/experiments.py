"""STQENet's trainings and tables: accuracy and link of every code, in every environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.intervals import half_width_of
from benchmarks.papers.kit.run import Run
from benchmarks.papers.kit.training import Training
from receivers.feedback.latents import LatentCodec
from receivers.models.klt import Klt
from receivers.training.codecs import klt_code, sparse_code
from receivers.training.data.images import ImageView, load_images
from receivers.weights.folder import TrainedModel
from simulator.core.units import db_to_amplitude
from simulator.data.store import ChannelStore

SNRS_DB = tuple(range(0, 21, 2))


def trainings(run: Run) -> Iterator[Training]:
    """The KLT and all networks of every environment; a network that starts at another one follows it."""
    for environment in run.stores:
        name = run.stores.data_set(environment)
        for recipe in [klt_recipe(run.plan, name), *recipes(run.plan, name)]:
            if recipe.get("init", "random") not in ("random", "pca"):
                recipe = {**recipe, "init": str(run.out / environment / recipe["init"])}
            yield Training(f"{environment}/{recipe['name']}", recipe, {name: environment})


def klt_recipe(plan: dict[str, Any], dataset: str) -> dict[str, Any]:
    """Recipe of the KLT."""
    params = {"num_components": min(512, plan["antennas"] * plan["num_delays"])}
    common = {"task": "klt", "name": "klt", "dataset": dataset, "num_delays": plan["num_delays"]}
    return {**common, "model": {"name": "klt", "params": params}}


def recipes(plan: dict[str, Any], dataset: str) -> list[dict[str, Any]]:
    """Training recipes of the networks of one environment, as plain data, in order; ``init`` names another of them."""
    found: list[dict[str, Any]] = []
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
                "name": rate_name(name, weight),
                "model": {"name": run["model"], "params": params},
                "rate": {"weight": [weight]},
                "init": run["init"] if number == 0 else rate_name(name, plan["rate_weights"][number - 1]),
                "epochs": run["epochs"] if number == 0 else run["more_epochs"],
            }
            if number:
                recipe["learning_rate"] = common["learning_rate"] / 2
            found.append(recipe)
    return found


def rate_name(name: str, weight: float) -> str:
    """Name of a network that is trained with a weight of the rate."""
    return f"{name}-l{weight:g}"


def accuracy(run: Run) -> pd.DataFrame:
    """NMSE and counted bits of every code on the test split, noise-free and with noise on the CSI.

    One row per (environment, code, SNR): NMSE against the true image, mean of per-sample ratios, with the 95 %
    half-width.
    """
    frames = [_accuracy(run, environment, store) for environment, store in run.stores.items()]
    return pd.concat(frames, ignore_index=True)


def _accuracy(run: Run, environment: str, store: ChannelStore) -> pd.DataFrame:
    plan, folder = run.plan, run.out / environment
    test, _ = load_images(store, "test", ImageView(store.layout, plan["num_delays"]))
    size = test[0].size
    rng = np.random.default_rng(8400)
    noise = rng.standard_normal(test.shape).astype(np.float32) * np.float32(0.5**0.5)
    rows: list[dict[str, Any]] = []

    def add(code: str, family: str, snr_db: float, x_hat: Any, num_bits: Any) -> None:
        error, power = (np.sum(x**2, axis=(1, 2, 3), dtype=np.float64) for x in (x_hat - test, test))
        ratio = error / power
        rows.append(
            {
                "environment": environment, "code": code, "family": family, "snr_db": snr_db,
                "nmse_db": 10 * np.log10(ratio.mean()),
                "ci95_db": 10 / np.log(10) * half_width_of(ratio) / ratio.mean(), "bits_mean": np.mean(num_bits),
                "bits_max": np.max(num_bits), "bpp": np.mean(num_bits) / size, "num_samples": len(test),
            }
        )  # fmt: skip

    for data in recipes(plan, store.name):
        trained = TrainedModel.shared(str(folder / data["name"]))
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
    klt = Klt.load(folder / "klt" / "klt.npz")
    for bits in plan["klt_bits"]:
        x_hat, num_bits = klt_code(klt, test, bits)
        add(f"klt-{bits}", "KLT", np.inf, x_hat, num_bits)
    for bits in plan["sparse_bits"]:
        x_hat, num_bits = sparse_code(store, test, bits)
        add(f"sparse-{bits}", "sparse", np.inf, x_hat, num_bits)
    return pd.DataFrame(rows)


def link(run: Run) -> pd.DataFrame:
    """Sum rate and outage of the codes in one link, from the test split; columns of results.csv."""
    frames = [_link(run, environment).assign(environment=environment) for environment in run.stores]
    return pd.concat(frames, ignore_index=True)


def _link(run: Run, environment: str) -> pd.DataFrame:
    plan, folder, store = run.plan, run.out / environment, run.stores[environment]
    layout, section = store.layout, plan["link"]
    schemes: list[dict[str, Any]] = [{"scheme": "perfect"}]
    for data in recipes(plan, store.name):
        entry = {"scheme": "autoencoder", "weights": str(folder / data["name"])}
        schemes.append(entry if "rate" in data else {**entry, "bits": data["quantizer"]["bits"][:2]})
    schemes.append({"scheme": "klt", "weights": str(folder / "klt"), "bits": plan["klt_bits"][1:4]})
    schemes.append({"scheme": "sparse", "bits": plan["sparse_bits"][1:4], "num_delays": plan["num_delays"]})
    scenario = {
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
        "feedback": schemes,
        "precoding": {"precoders": ["zf"]},
        "snr_db": section["snr_db"],
        "outage": {"gammas": [0.8], "rates_bpshz": [1.0]},
        "run": {"drops": section["drops"], "chunk_drops": 100},
    }
    return run.link(environment, scenario)


TABLES = {"accuracy": accuracy, "link": link}
