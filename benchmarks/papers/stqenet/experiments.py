"""STQENet's trainings and tables: accuracy and link of every code, in every environment."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.intervals import half_width_of
from benchmarks.papers.kit.run import Run
from benchmarks.papers.kit.training import Training
from receivers.feedback.latents import LatentCodec
from receivers.models.cost import count_cost, count_work
from receivers.models.klt import Klt
from receivers.training.codecs import klt_code, sparse_code
from receivers.training.data.images import ImageView, load_images
from receivers.weights.folder import TrainedModel
from simulator.core import registry
from simulator.core.units import db_to_amplitude, db_to_lin
from simulator.data.store import ChannelStore

SNRS_DB = tuple(range(0, 21, 2))
# Where Fig. 3 has its noise: on the CSI, before the encoder; on the latents, before the quantiser (released code).
NOISES = ("csi", "latent")
# Families whose gain is stated against the mean of the baselines (the paper's Sec. IV).
OURS, BASELINES = "stqenet-eb", ("baseline1-eb", "baseline2 (fixed)", "crnet-eb")


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
    """NMSE and counted bits of every code on the test split, without noise and with it on the CSI or on the latents.

    One row per (environment, code, noise, SNR): NMSE against the true image, mean of per-sample ratios, with the 95 %
    half-width.
    """
    frames = [_accuracy(run, environment, store) for environment, store in run.stores.items()]
    return pd.concat(frames, ignore_index=True)


def _accuracy(run: Run, environment: str, store: ChannelStore) -> pd.DataFrame:
    plan, folder = run.plan, run.out / environment
    test, _ = load_images(store, "test", ImageView(store.layout, plan["num_delays"]))
    size = test[0].size
    rows: list[dict[str, Any]] = []

    def add(code: str, family: str, x_hat: Any, num_bits: Any, snr_db: float = np.inf, noise: str = "none") -> None:
        error, power = (np.sum(x**2, axis=(1, 2, 3), dtype=np.float64) for x in (x_hat - test, test))
        ratio = error / power
        rows.append(
            {
                "environment": environment, "code": code, "family": family, "noise": noise, "snr_db": snr_db,
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
            codecs = {coder: LatentCodec(trained, None, bits, coder, "latent", "shipped", 1) for coder in coders}
            for noise, snr_db in [("none", np.inf), *(itertools.product(NOISES, SNRS_DB) if fixed else ())]:
                latent = noisy_latents(trained.encode, test, noise, snr_db)
                for coder, codec in codecs.items():
                    if noise != "none" and coder != "fixed":
                        continue
                    coded, num_bits = codec.encode(latent)
                    received, _ = codec.decode(coded, num_bits)
                    code = f"{data['name']}-b{bits}-{coder}" if fixed else data["name"]
                    family = f"{data['name']} ({coder})" if fixed else data["name"].rpartition("-l")[0]
                    add(code, family, trained.decode(received), num_bits, snr_db, noise)
    klt = Klt.load(folder / "klt" / "klt.npz")
    for bits in plan["klt_bits"]:
        x_hat, num_bits = klt_code(klt, test, bits)
        add(f"klt-{bits}", "KLT", x_hat, num_bits)
    for bits in plan["sparse_bits"]:
        x_hat, num_bits = sparse_code(store, test, bits)
        add(f"sparse-{bits}", "sparse", x_hat, num_bits)
    return pd.DataFrame(rows)


def noisy_latents(
    encode: Callable[[np.ndarray], np.ndarray], images: np.ndarray, noise: str, snr_db: float, seed: int = 8400
) -> np.ndarray:
    """Latents of images with white noise; the noise of one seed is the same at every SNR.

    Args:
        encode: images to latents float32 ``[sample, latent]``.
        images: float32 ``[sample, ...]``, of unit power per complex entry.
        noise: "csi": on the images. "latent": on the latents, relative to the mean square of each sample's, so that it
            is the same before and after the scaling of the quantiser. "none".
        snr_db: signal-to-noise ratio [dB].
        seed: of the noise.
    """
    rng, amplitude = np.random.default_rng(seed), np.float32(db_to_amplitude(-snr_db))
    if noise == "csi":
        images = images + rng.standard_normal(images.shape).astype(np.float32) * np.float32(0.5**0.5) * amplitude
    latent = encode(images)
    if noise == "latent":
        power = np.mean(latent**2, axis=1, keepdims=True)
        latent = latent + rng.standard_normal(latent.shape).astype(np.float32) * np.sqrt(power) * amplitude
    return latent


def gains(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Gain of the rate-trained STQENet over each baseline, averaged over the bits per entry that both reach.

    NMSE [dB] is interpolated linearly between the points of a code, at 101 rates. ``error``: mean over the rates of the
    share of the squared error that STQENet saves; ``decibel``: mean of the share by which its NMSE in dB is larger. The
    paper states one percentage for an environment and not which; "all" is the mean over the baselines of its Sec. IV.

    Args:
        accuracy: columns ``environment, family, snr_db, bpp, nmse_db``.

    Returns:
        ``environment, baseline, from_bpp, to_bpp, error_percent, decibel_percent``; baselines without a common rate are
        left out.
    """
    clean, rows = accuracy[np.isinf(accuracy.snr_db)].sort_values("bpp"), []
    for environment, part in clean.groupby("environment", sort=False):
        codes = {family: code for family, code in part.groupby("family")}
        own = codes[OURS]
        for baseline in [baseline for baseline in BASELINES if baseline in codes]:
            other = codes[baseline]
            low, high = max(own.bpp.min(), other.bpp.min()), min(own.bpp.max(), other.bpp.max())
            if low >= high:
                continue
            rates = np.linspace(low, high, 101)
            ours, theirs = (np.interp(rates, code.bpp, code.nmse_db) for code in (own, other))
            row = {"environment": environment, "baseline": baseline, "from_bpp": low, "to_bpp": high}
            error = 100 * float(np.mean(1 - db_to_lin(ours - theirs)))
            rows.append({**row, "error_percent": error, "decibel_percent": 100 * float(np.mean(ours / theirs - 1))})
    frame = pd.DataFrame(rows)
    mean = frame.groupby("environment", as_index=False, sort=False)[["error_percent", "decibel_percent"]].mean()
    return pd.concat([frame, mean.assign(baseline="all")], ignore_index=True)


def cost(plan: dict[str, Any]) -> pd.DataFrame:
    """Parameters and multiply-accumulates of every network of the plan for one image, counted.

    ``published`` counts convolution and dense layers, ``macs`` everything (:class:`~receivers.models.cost.Cost`);
    ``attention`` the products of queries, keys and values in it. ``eq3``: :math:`(w^2 + N / w^2) N d` for N positions
    of d = 2 numbers in windows of w x w = 8 x 8, order of the attention of one block (the paper's Eq. 3 as in STNet).
    """
    rows, window = [], 64
    height, width = plan["num_delays"], plan["antennas"]
    for name, run in plan["runs"].items():
        latents = {} if run["model"] == "learned_transform" else {"num_latents": plan["num_latents"]}
        model = registry.build("models", run["model"], height=height, width=width, **run["params"], **latents)
        row: dict[str, Any] = {"network": name, "model": run["model"], "latents": model.num_latents}
        for side, network in {"encoder": model.encoder, "decoder": model.decoder}.items():
            counted = count_cost(network)
            row |= {f"{side}_params": counted.params, f"{side}_published": counted.macs_published}
            row |= {f"{side}_macs": counted.macs}
            row[f"{side}_attention"] = sum(work.macs for work in count_work(network) if work.kind == "product")
        positions = height * width
        eq3 = (window + positions // window) * positions * 2
        rows.append({**row, "eq3": eq3 if run["model"] == "stqenet" else np.nan})
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


TABLES = {
    "accuracy": accuracy,
    "gains": lambda run: gains(run.table("accuracy")),
    "cost": lambda run: cost(run.plan),
    "link": link,
}
