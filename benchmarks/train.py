"""Training recipe and channel store to weights with a model card, ready for the link."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from receivers.training.recipe import TrainingRecipe
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.data.store import ChannelStore, sha256, write_json

# Bits per latent for which tables are fitted and shipped.
_TABLE_BITS = range(1, 9)


def train(recipe: TrainingRecipe, store: ChannelStore, folder: Path, progress: Any = print) -> dict[str, Any]:
    """Train (or finish training) and write weights, tables, learning curve and model card into ``folder``.

    The Keras backend is the one that is active. Tables come from training samples, the best epoch from validation
    samples; test samples are used once, for the numbers of the card.

    Raises:
        ConfigError: the store is not the data set that the recipe names.
        StoreError: ``folder`` holds another run.
    """
    if store.name != recipe.dataset:
        raise ConfigError("--store", store.name, f"a store of the data set {recipe.dataset}")
    most = store.layout.entry_shape[-1]
    if recipe.num_delays > most:
        raise ConfigError("num_delays", recipe.num_delays, f"1..{most} (delay taps that the store can give)")
    for split in ("train", "val", "test"):
        store.num_samples(split)

    import keras

    from receivers.training.data import load_images
    from receivers.training.fit import fit, head, latents
    from receivers.training.stream import StreamedImages

    val, _ = load_images(store, "val", recipe.num_delays, recipe.max_samples)
    test, part = load_images(store, "test", recipe.num_delays, recipe.max_samples)
    images: np.ndarray | StreamedImages = StreamedImages(store, "train", recipe.num_delays)
    need = 4 * math.prod(images.shape) * min(1, (recipe.max_samples or len(images)) / len(images))
    if need <= recipe.memory_gib * 2**30 or recipe.max_samples is not None:
        images, _ = load_images(store, "train", recipe.num_delays, recipe.max_samples)
    if recipe.batch_size > len(images):
        raise ConfigError("batch_size", recipe.batch_size, f"1..{len(images)} (training samples)")
    model, history = fit(recipe, images, val, folder, progress)
    train_images = head(images, 50000)
    latent = latents(model, train_images[:20000])
    tables = fit_tables(latent, recipe.quantizer.name if recipe.quantizer else "uniform")
    # A fresh model: the trained one would save its optimiser along.
    bare = registry.build("models", recipe.model.name, **model.get_config())
    bare.set_weights(model.get_weights())
    bare.save_weights(folder / "model.weights.h5")
    curve = _learning_curve(history["epochs"], recipe.name)
    curve.savefig(folder / "learning_curve.png", dpi=120)
    card = {
        "name": recipe.name,
        "description": recipe.description or "CSI autoencoder, see recipe",
        "model": {"name": recipe.model.name, "params": model.get_config()},
        "num_params": int(model.count_params()),
        "input": _input(store, recipe, latent.shape[1]),
        "weights": {"file": "model.weights.h5", "sha256": sha256(folder / "model.weights.h5")},
        "recipe": recipe.model_dump(mode="json"),
        "dataset": {
            "name": store.name,
            "origin": store.origin,
            "store_sha256": store.hash,
            "samples": {"train": len(images), "val": len(val), "test": len(test)},
        },
        "training": {
            "backend": keras.backend.backend(),
            "epochs": len(history["epochs"]),
            "seconds": round(sum(e["seconds"] for e in history["epochs"])),
        },
        "test": test_scores(model, train_images, test, part, tables, store),
        "tables": tables,
    }
    write_json(folder / "card.json", card)
    return card


def fit_tables(latent: np.ndarray, extra: str) -> dict[str, Any]:
    """Cell levels and coder tables of every quantiser width, from training latents ``[sample, latent]``."""
    from receivers.quantization.centroids import centroid_levels

    tables = {}
    for name in dict.fromkeys((extra, "mu_law", "uniform")):
        for bits in _TABLE_BITS:
            quantizer = registry.build("quantizers", name, bits=bits)
            counts = np.bincount(quantizer.quantize(latent).reshape(-1), minlength=2**bits)
            tables[f"{name}-b{bits}"] = {
                "levels": [float(x) for x in centroid_levels(quantizer, latent)],
                "coders": {coder: registry.load("coders", coder).fit(counts) for coder in registry.names("coders")},
            }
    return tables


def test_scores(
    model: Any,
    train: np.ndarray,
    test: np.ndarray,
    part: np.ndarray,
    tables: dict[str, Any],
    store: ChannelStore,
) -> dict[str, Any]:
    """NMSE on the test split beside the zero predictor and PCA of the same size, with and without quantiser.

    NMSE is that of the truncated angular-delay image (``nmse_trunc_db``), mean of per-sample ratios, with the 95 %
    half-width. PCA latents are scaled to one common variance and pass the same quantiser, levels and Huffman coder,
    each fitted to them.
    """
    from keras import ops

    from receivers.training.fit import latents
    from receivers.training.pca import LATENT_STD, fit_pca, pca_nmse

    def decode(latent: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                ops.convert_to_numpy(model.decoder(latent[i : i + 1000], training=False))
                for i in range(0, len(latent), 1000)
            ]
        )

    def ratio(x_hat: np.ndarray) -> np.ndarray:
        axes = (1, 2, 3)
        return np.sum((test - x_hat) ** 2, axis=axes, dtype=np.float64) / np.sum(test**2, axis=axes, dtype=np.float64)

    components, variances = fit_pca(train, model.num_latents)
    gain = LATENT_STD / np.sqrt(variances)
    flat = train[:20000].reshape(min(len(train), 20000), -1)
    pca_tables = fit_tables(np.tanh(flat @ components.T * gain), "mu_law")
    latent = latents(model, test)
    names = store.origin.get("parts", [store.name])
    plain, linear = ratio(decode(latent)), pca_nmse(test, components)
    scores: dict[str, Any] = {
        "metric": "nmse_trunc_db",
        "num_samples": len(test),
        "zero_predictor": 0.0,
        "unquantized": {"model": _db(plain), "pca": _db(linear)},
        "unquantized_by_channel": {
            name: {"model": _db(plain[part == i]), "pca": _db(linear[part == i])} for i, name in enumerate(names)
        },
        "quantized": {},
    }
    behind = [] if np.mean(plain) < np.mean(linear) else ["unquantized"]
    for key in [f"mu_law-b{b}" for b in (1, 2, 3, 4, 6, 8)]:
        quantizer = registry.build("quantizers", "mu_law", bits=int(key.rpartition("b")[2]))

        def through(values: np.ndarray, table: dict[str, Any], quantizer: Any = quantizer) -> tuple[np.ndarray, float]:
            cells = quantizer.quantize(values)
            lengths = np.asarray(table["coders"]["huffman"]["lengths"])[cells].sum(axis=1)
            return np.asarray(table["levels"], np.float32)[cells], float(lengths.mean())

        received, bits = through(latent, tables[key])
        pca_bits: list[float] = []

        def pca_channel(z: np.ndarray, key: str = key, bits_out: list[float] = pca_bits) -> np.ndarray:
            value, mean_bits = through(np.tanh(z * gain), pca_tables[key])
            bits_out.append(mean_bits)
            return np.arctanh(np.clip(value, -0.999, 0.999)) / gain

        linear = pca_nmse(test, components, pca_channel)
        behind += [] if np.mean(ratio(decode(received))) < np.mean(linear) else [key]
        scores["quantized"][key] = {
            "model": {**_db(ratio(decode(received))), "huffman_bits_mean": round(bits, 1)},
            "pca": {**_db(linear), "huffman_bits_mean": round(pca_bits[0], 1)},
        }
    scores["not_better_than_pca"] = behind
    return scores


def _db(ratio: np.ndarray) -> dict[str, float]:
    mean = float(np.mean(ratio))
    half = 1.96 * float(np.std(ratio)) / np.sqrt(len(ratio))
    return {"nmse_db": round(10 * np.log10(mean), 3), "ci95": round(10 / np.log(10) * half / mean, 3)}


def _input(store: ChannelStore, recipe: TrainingRecipe, num_latents: int) -> dict[str, Any]:
    layout = store.layout
    return {
        **asdict(layout.panel),
        "num_subcarriers": layout.num_subcarriers,
        "spacing_hz": layout.spacing_hz,
        "num_delays": recipe.num_delays,
        "num_latents": num_latents,
    }


def _learning_curve(epochs: list[dict[str, float]], name: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axis = figure.add_subplot()
    count = np.arange(1, len(epochs) + 1)
    for key, label in (("loss", "training (quantised mix)"), ("val_nmse", "validation (quantised mix)")):
        axis.plot(count, 10 * np.log10([e[key] for e in epochs]), marker="o", ms=3, label=label)
    axis.set(xlabel="epoch", ylabel="NMSE [dB]", title=f"Learning curve of {name}")
    axis.grid(alpha=0.3)
    axis.legend()
    return figure
