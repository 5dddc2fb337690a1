"""Training recipe and channel store to weights with a model card, ready for the link."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cards import channel_facts, training_facts
from benchmarks.claim import claimed, training_inputs
from benchmarks.data_sets import is_data_set
from benchmarks.intervals import half_width_of
from benchmarks.saved import save_figure
from receivers.training.recipe import TrainingRecipe
from receivers.weights.folder import named_weights, save_weights
from simulator.core import registry
from simulator.core.content import own_version
from simulator.core.durable import renamed
from simulator.core.errors import ConfigError
from simulator.core.units import lin_to_db
from simulator.data.store import ChannelStore, sha256, write_json

# Scalar quantisers and widths for which tables are fitted when the training had no rate term.
_TABLE_BITS = range(1, 9)
# Cells of the KLT reference lie within +- this many steps.
KLT_LIMIT = 127


def train(recipe: TrainingRecipe, store: ChannelStore, folder: Path, progress: Any = print) -> dict[str, Any]:
    """Train (or finish training) and write weights, tables, learning curve and model card into ``folder``.

    The Keras backend is the one that is active. Tables come from training samples, the best epoch from validation
    samples; test samples are used once, for the numbers of the card.

    Raises:
        ConfigError: the store is not the data set that the recipe names.
        StoreError: ``folder`` holds a training with another recipe, store or start, or another process writes
            there.
    """
    if not is_data_set(store, recipe.dataset):
        raise ConfigError("--store", store.name, f"a store of the data set {recipe.dataset}")
    if recipe.init not in ("random", "pca"):
        named_weights("init", recipe.init, "random, pca, ")
    if recipe.distill is not None:
        named_weights("distill.teacher", recipe.distill.teacher)
    most = store.layout.entry_shape[-1]
    if recipe.domain == "angular_delay" and recipe.num_delays > most:
        raise ConfigError("num_delays", recipe.num_delays, f"1..{most} (delay taps that the store can give)")
    for split in ("train", "val", "test"):
        store.num_samples(split)

    from receivers.training.data.images import ImageView, load_images
    from receivers.training.data.stream import StreamedImages

    view = ImageView(store.layout, recipe.num_delays, recipe.subband_size, recipe.target, recipe.domain, recipe.scaling)
    val, _ = load_images(store, "val", view, recipe.max_samples)
    test, part = load_images(store, "test", view, recipe.max_samples)
    images: np.ndarray | StreamedImages = StreamedImages(store, "train", view)
    need = 4 * math.prod(images.shape) * min(1, (recipe.max_samples or len(images)) / len(images))
    if need <= recipe.memory_gib * 2**30 or recipe.max_samples is not None:
        images, _ = load_images(store, "train", view, recipe.max_samples)
    if recipe.batch_size > len(images):
        raise ConfigError("batch_size", recipe.batch_size, f"1..{len(images)} (training samples)")
    samples = {"train": len(images), "val": len(val), "test": len(test)}
    data = {"name": store.name, "origin": store.origin, "store_sha256": store.hash, "samples": samples}
    names = store.origin.get("parts", [store.name])
    with claimed(folder, training_inputs(recipe, {recipe.dataset: store})):
        if recipe.model.name == "klt":
            return _train_klt(recipe, store, images, folder, data)
        return _train_network(recipe, store, images, val, (test, part, names), folder, data, progress)


def _train_network(
    recipe: TrainingRecipe,
    store: ChannelStore,
    images: Any,
    val: np.ndarray,
    tests: tuple[np.ndarray, np.ndarray, list[str]],
    folder: Path,
    data: dict[str, Any],
    progress: Any,
) -> dict[str, Any]:
    from receivers.models.cost import count_cost
    from receivers.training.fit import fit, head

    model, history = fit(recipe, store.layout, images, val, folder, progress)
    train_images = head(images, 50000)
    # A fresh model: the trained one would save its optimiser along.
    network = registry.build("models", recipe.model.name, **model.autoencoder.get_config())
    network.set_weights(model.autoencoder.get_weights())
    save_weights(network, folder / "model.weights.h5")
    if not network.binary:
        write_tables(folder, fit_tables(model, train_images[:30000], recipe))
    save_figure(_learning_curve(history["epochs"], recipe), folder / "learning_curve.png", dpi=120)
    card = {
        "name": recipe.name,
        "description": " ".join((recipe.description or "CSI autoencoder, see recipe").split()),
        "model": {"name": recipe.model.name, "params": network.get_config()},
        "cost": {"encoder": asdict(count_cost(network.encoder)), "decoder": asdict(count_cost(network.decoder))},
        "input": _input(store, recipe, network.num_latents),
        "weights": {"file": "model.weights.h5", "sha256": sha256(folder / "model.weights.h5")},
        **({} if network.binary else _codec(recipe, folder)),
        "recipe": recipe.model_dump(mode="json"),
        "channels": channel_facts([store]),
        "dataset": data,
        "training": training_facts(history),
    }
    write_json(folder / "card.json", card)
    if network.binary:
        card["test"] = bit_scores(folder, tests[0], recipe.concrete.variable)
    else:
        card["test"] = test_scores(folder, store, train_images, *tests, recipe)
    write_json(folder / "card.json", card)
    return card


def _codec(recipe: TrainingRecipe, folder: Path) -> dict[str, Any]:
    """Card section of quantiser and tables."""
    section = recipe.quantizer
    return {
        "codec": {
            "quantizer": section.name if section else "uniform",
            "bits": section.bits[0] if section else 8,
            "params": section.params if section else {},
            "scale_bits": section.scale_bits if section else 0,
        },
        "tables": {"file": "tables.npz", "sha256": sha256(folder / "tables.npz")},
    }


def write_tables(folder: Path, tables: dict[str, dict[str, np.ndarray]]) -> None:
    """``tables.npz``."""
    with renamed(folder / "tables.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{f"{k}/{part}": v for k, table in tables.items() for part, v in table.items()})


def fit_tables(model: Any, images: np.ndarray, recipe: TrainingRecipe) -> dict[str, dict[str, np.ndarray]]:
    """Entries of ``tables.npz`` for every quantiser: ``levels``, ``counts``, ``learned``, ``params_*``.

    With a rate term these are the quantiser of the training and its neighbours of one bit less and more; otherwise that
    of the training, mu-law, uniform and Lloyd-Max from 1 to 8 bits.
    """
    from keras import ops

    from receivers.quantization.centroids import centroid_levels

    latent = model.latents(images)
    section = recipe.quantizer
    if section is not None and section.scale_bits:
        latent = ops.convert_to_numpy(latent / model.bottleneck.scale(ops.convert_to_tensor(latent)))
    if recipe.rate is not None:
        wanted = [(section.name, b) for b in (section.bits[0] - 1, section.bits[0], section.bits[0] + 1)]
    else:
        own = section.name if section else "uniform"
        bits = {"vector": section.bits if section else ()}
        names = dict.fromkeys((own, "mu_law", "uniform", "lloyd_max"))
        wanted = [(name, b) for name in names for b in bits.get(name, _TABLE_BITS)]
    tables: dict[str, dict[str, np.ndarray]] = {}
    for name, bits_ in wanted:
        params = dict(section.params) if section is not None and name == section.name else {}
        cls = registry.load("quantizers", name)
        learned = {} if params.keys() & {"levels", "codebook"} else cls.fit(latent, bits_, **params)
        quantizer = registry.build("quantizers", name, bits=bits_, **{**params, **learned})
        cells = quantizer.quantize(latent)
        size = 2**bits_
        flat = (cells + size * np.arange(cells.shape[1])).ravel()
        table = {"counts": np.bincount(flat, minlength=size * cells.shape[1]).reshape(-1, size).astype(np.uint32)}
        if quantizer.dim > 1:
            table["levels"] = quantizer.codebook
        elif recipe.rate is not None and not section.calibrate:
            table["levels"] = quantizer.dequantize(np.arange(size))
        else:
            table["levels"] = centroid_levels(quantizer, latent)
        table |= {f"params_{key}": np.asarray(value) for key, value in learned.items()}
        if recipe.rate is not None and bits_ == section.bits[0]:
            table["learned"] = np.round(model.bottleneck.probabilities() * 2**24).astype(np.uint32)
        tables[f"{name}-b{bits_}"] = table
    return tables


def bit_scores(folder: Path, test: np.ndarray, variable: bool) -> dict[str, Any]:
    """NMSE of the images of the test split after 1, 2, 4, ... bits of a network; if not ``variable``, after all."""
    from receivers.models.concrete import MASKED
    from receivers.weights.folder import TrainedModel

    trained = TrainedModel(str(folder))
    bits = (trained.encode(test) > 0).astype(np.float32)
    most = bits.shape[1]
    scores = {}
    for num_bits in [2**i for i in range(most.bit_length()) if variable and 2**i < most] + [most]:
        received = np.where(np.arange(most) < num_bits, bits, np.float32(MASKED))
        scores[str(num_bits)] = _score(test, trained.decode(received), True)
    return {"metric": "nmse of the image", "num_samples": len(test), "by_bits": scores}


def test_scores(
    folder: Path,
    store: ChannelStore,
    train: np.ndarray,
    test: np.ndarray,
    part: np.ndarray,
    names: list[str],
    recipe: TrainingRecipe,
) -> dict[str, Any]:
    """Distortion and counted bits of the finished folder on the test split.

    NMSE is that of the truncated angular-delay image (``nmse_trunc_db``), mean of per-sample ratios, with the 95 %
    half-width; eigenvectors are scored by ``sgcs_subband``. Each comes with the KLT of the same training images with
    the same range coder, and with the sparse angular-delay code, at the same bits.
    """
    from receivers.feedback.latents import LatentCodec
    from receivers.models.klt import Klt
    from receivers.weights.folder import TrainedModel

    trained = TrainedModel(str(folder), alone=True)
    channel = recipe.target != "eigenvector"
    scores: dict[str, Any] = {
        "metric": "nmse_trunc_db" if channel else "sgcs_subband",
        "num_samples": len(test),
        "unquantized": _score(test, trained.decode(trained.encode(test)), channel),
        "codecs": {},
    }
    latent = trained.encode(test)
    keys = [f"{trained.codec.quantizer}-b{b}" for b in (recipe.quantizer.bits if recipe.quantizer else (8,))]
    if recipe.rate is not None:
        keys = [key for key in trained.tables if key.startswith(trained.codec.quantizer)]
    klt = Klt.fit(train) if channel else None
    for key in keys:
        name, _, bits = key.rpartition("-b")
        for coder, prior in (("range", "latent"), ("huffman", "latent"), ("huffman", "pooled"), ("fixed", "latent")):
            codec = LatentCodec(trained, name, int(bits), coder, prior, "shipped", 1)
            coded, num_bits = codec.encode(latent)
            received, valid = codec.decode(coded, num_bits)
            if not valid.all():
                raise RuntimeError(f"{key}: {np.sum(~valid)} reports did not survive their coder")
            x_hat = trained.decode(received)
            entry = {
                "bits_mean": round(float(num_bits.mean()), 1),
                "bits_max": int(num_bits.max()),
                **_score(test, x_hat, channel),
            }
            if coder == "range" and channel and klt is not None:
                entry["by_channel"] = {n: _score(test[part == i], x_hat[part == i], True) for i, n in enumerate(names)}
                entry["klt_at_these_bits"] = klt_score(klt, test, float(num_bits.mean()))
                if recipe.target == "channel":
                    entry["sparse_at_these_bits"] = sparse_score(store, test, float(num_bits.mean()))
            scores["codecs"]["-".join((key, coder, prior))] = entry
    return scores


def klt_score(klt: Any, test: np.ndarray, bits: float) -> dict[str, float]:
    """Score of the range-coded KLT whose mean report on the training samples has ``bits``."""
    from receivers.coding.range_coder import RangeCoder

    step = klt.step_for(bits, KLT_LIMIT)
    cells = klt.cells(klt.coefficients(test), step, KLT_LIMIT)
    coder = RangeCoder(2 * KLT_LIMIT + 1, **RangeCoder.fit(klt.counts(step, KLT_LIMIT)))
    _, num_bits = coder.encode(cells)
    x_hat = klt.images(klt.values(cells, step, KLT_LIMIT), *test.shape[1:3])
    return {"bits_mean": round(float(num_bits.mean()), 1), **_score(test, x_hat, True)}


def sparse_score(store: ChannelStore, test: np.ndarray, bits: float) -> dict[str, float]:
    """Score of the sparse angular-delay code of ``bits`` bits, on images float32 ``[sample, delay, port, 2]``."""
    from receivers.feedback.sparse import SparseFeedback
    from simulator.core.types import CsiConfig, CsiEstimate
    from simulator.maths.transforms import from_angular_delay, to_angular_delay, to_complex, to_real

    layout, delays = store.layout, test.shape[1]
    samples = max(layout.num_subcarriers, delays)
    config = CsiConfig(layout.panel, 1, samples, layout.spacing_hz, 1)
    scheme = SparseFeedback(config, bits=max(round(bits), (test[0].size // 2).bit_length() + 16), num_delays=delays)
    gain = np.float32((samples / delays) ** 0.5)
    x_hat, num_bits = [], 0
    for start in range(0, len(test), 1000):
        h = gain * from_angular_delay(to_complex(test[start : start + 1000]), layout.panel, samples)
        report = scheme.report(CsiEstimate(h[:, None, None], np.zeros((len(h), 1), np.float32)))
        back = scheme.reconstruct(report).h[:, 0, 0] / gain
        x_hat.append(to_real(to_angular_delay(back, layout.panel, delays)))
        num_bits = int(report.num_bits[0, 0])
    return {"bits_mean": num_bits, **_score(test, np.concatenate(x_hat), True)}


def _train_klt(
    recipe: TrainingRecipe, store: ChannelStore, images: Any, folder: Path, data: dict[str, Any]
) -> dict[str, Any]:
    """Fit the KLT and write its folder."""
    from receivers.models.checked import build_checked
    from receivers.models.klt import Klt
    from receivers.training.fit import head

    klt = build_checked("model.params", Klt.fit, recipe.model.params, head(images, 50000))
    folder.mkdir(parents=True, exist_ok=True)
    klt.save(folder / "klt.npz")
    card = {
        "name": recipe.name,
        "description": " ".join(recipe.description.split()),
        "model": {"name": "klt", "params": recipe.model.params},
        "input": _input(store, recipe, 2 * len(klt.basis)),
        "weights": {"file": "klt.npz", "sha256": sha256(folder / "klt.npz")},
        "tables": {"file": "klt.npz", "sha256": sha256(folder / "klt.npz")},
        "codec": {"quantizer": "uniform", "bits": 8},
        "recipe": recipe.model_dump(mode="json"),
        "channels": channel_facts([store]),
        "dataset": data,
        "training": {"csilink": own_version()},
    }
    write_json(folder / "card.json", card)
    return card


def _score(x: np.ndarray, x_hat: np.ndarray, channel: bool) -> dict[str, float]:
    """Mean and 95 % half-width of the NMSE [dB] or SGCS by subband."""
    if channel:
        axes = (1, 2, 3)
        ratio = np.sum((x - x_hat) ** 2, axis=axes, dtype=np.float64) / np.sum(x**2, axis=axes, dtype=np.float64)
        mean, half = float(np.mean(ratio)), half_width_of(ratio)
        return {"nmse_db": round(lin_to_db(mean), 3), "ci95": round(10 / np.log(10) * half / mean, 3)}
    a, b = (np.ascontiguousarray(v, np.float32).view(np.complex64)[..., 0] for v in (x, x_hat))
    power = np.sum(np.abs(a) ** 2, axis=-1) * np.sum(np.abs(b) ** 2, axis=-1)
    sgcs = np.mean(np.abs(np.sum(a.conj() * b, axis=-1)) ** 2 / np.maximum(power, 1e-30), axis=-1)
    return {"sgcs_subband": round(float(sgcs.mean()), 4), "ci95": round(half_width_of(sgcs, (0.0, 1.0)), 4)}


def _input(store: ChannelStore, recipe: TrainingRecipe, num_latents: int) -> dict[str, Any]:
    layout = store.layout
    return {
        **asdict(layout.panel),
        "num_subcarriers": layout.num_subcarriers,
        "spacing_hz": layout.spacing_hz,
        "num_delays": recipe.num_delays,
        "num_latents": num_latents,
        "num_rx_ant": layout.num_rx_ant if recipe.target == "mimo" else 1,
        "target": recipe.target,
        "domain": recipe.domain,
        "scaling": recipe.scaling,
        "subband_size": recipe.subband_size,
    }


def _learning_curve(epochs: list[dict[str, float]], recipe: TrainingRecipe) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axis = figure.add_subplot()
    count = np.arange(1, len(epochs) + 1)
    decibel = recipe.loss in ("nmse", "mse")
    for key, label in (("loss", "training"), ("val_loss", "validation")):
        values = np.array([e[key] for e in epochs])
        axis.plot(count, lin_to_db(values) if decibel else values, marker="o", ms=3, label=label)
    axis.set(
        xlabel="epoch",
        ylabel=f"{recipe.loss.upper()} [dB]" if decibel else recipe.loss,
        title=f"Learning curve of {recipe.name}",
    )
    axis.grid(alpha=0.3)
    handles = axis.get_lines()
    if recipe.rate is not None:
        right = axis.twinx()
        handles += right.plot(count, [e["val_bits"] for e in epochs], color="0.5", ls="--", label="validation [bit]")
        right.set_ylabel("bits per sample")
    axis.legend(handles=handles)
    return figure
