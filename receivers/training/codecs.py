"""Tables and scores of networks whose latents pass a quantiser and a coder, with two yardsticks: KLT, sparse code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from receivers.training.image_model import MOST_TABLED, head
from receivers.training.images import ImageTask
from receivers.training.task import Samples
from receivers.weights.card import file_entry
from simulator.core import registry
from simulator.core.durable import renamed
from simulator.data.store import ChannelStore

# Scalar quantisers and widths for which tables are fitted when the training had no rate term.
_TABLE_BITS = range(1, 9)
# Cells of the KLT reference lie within +- this many steps.
KLT_LIMIT = 127


def codec_sections(task: ImageTask, model: Any, folder: Path) -> dict[str, Any]:
    """Write the tables; card sections of quantiser and tables."""
    write_tables(folder, fit_tables(model, head(task.train, MOST_TABLED), task.recipe))
    section = task.recipe.quantizer
    return {
        "codec": {
            "quantizer": section.name if section else "uniform",
            "bits": section.bits[0] if section else 8,
            "params": section.params if section else {},
            "scale_bits": section.scale_bits if section else 0,
        },
        "tables": file_entry(folder / "tables.npz"),
    }


def write_tables(folder: Path, tables: dict[str, dict[str, np.ndarray]]) -> None:
    """``tables.npz``."""
    with renamed(folder / "tables.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{f"{k}/{part}": v for k, table in tables.items() for part, v in table.items()})


def fit_tables(model: Any, images: np.ndarray, recipe: Any) -> dict[str, dict[str, np.ndarray]]:
    """Entries of ``tables.npz`` for every quantiser: ``levels``, ``counts``, ``learned``, ``params_*``.

    With a rate term these are the widths of the training, of one width its neighbours of one bit less and more, too;
    otherwise the quantiser of the training, mu-law, uniform and Lloyd-Max from 1 to 8 bits.
    """
    from keras import ops

    from receivers.quantization.centroids import centroid_levels

    latent = model.latents(images)
    section = recipe.quantizer
    if section is not None and section.scale_bits:
        latent = ops.convert_to_numpy(latent / model.bottleneck.scale(ops.convert_to_tensor(latent)))
    if recipe.rate is not None:
        widths = section.bits if len(section.bits) > 1 else [section.bits[0] + change for change in (-1, 0, 1)]
        wanted = [(section.name, b) for b in sorted(widths)]
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
        if recipe.rate is not None and bits_ in section.bits:
            table["learned"] = np.round(model.bottleneck.probabilities(bits_) * 2**24).astype(np.uint32)
        tables[f"{name}-b{bits_}"] = table
    return tables


def codec_scores(
    folder: Path,
    store: ChannelStore,
    train: np.ndarray,
    test: np.ndarray,
    part: np.ndarray,
    names: list[str],
    recipe: Any,
) -> dict[str, Any]:
    """Distortion and counted bits of the finished folder on the test split.

    NMSE is that of the truncated angular-delay image (``nmse_trunc_db``), mean of per-sample ratios, with the 95 %
    half-width; eigenvectors are scored by ``sgcs_subband``. Each comes with the KLT of the same training images with
    the same range coder, and with the sparse angular-delay code, at the same bits.
    """
    from receivers.feedback.latents import LatentCodec
    from receivers.models.klt import Klt
    from receivers.weights.folder import TrainedModel

    trained = TrainedModel.shared(str(folder), alone=True)
    channel = recipe.target != "eigenvector"
    error = similarity_samples if not channel else error_samples
    scores: dict[str, Any] = {
        "metric": "nmse_trunc_db" if channel else "sgcs_subband",
        "num_samples": len(test),
        "unquantized": error(test, trained.decode(trained.encode(test))),
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
                "score": error(test, x_hat),
            }
            if coder == "range" and channel and klt is not None:
                entry["by_channel"] = {n: error(test[part == i], x_hat[part == i]) for i, n in enumerate(names)}
                entry["klt_at_these_bits"] = klt_score(klt, test, float(num_bits.mean()))
                if recipe.target == "channel":
                    entry["sparse_at_these_bits"] = sparse_score(store, test, float(num_bits.mean()))
            scores["codecs"]["-".join((key, coder, prior))] = entry
    return scores


def codec_samples(folder: Path, test: np.ndarray, recipe: Any, loss: Any) -> Samples:
    """Distortion of images after the range-coded default report: NMSE, SGCS by subband, or the rate of the link's loss.

    With a rate term ``weight * bits`` is added: then longer reports with a smaller error are not taken as better.
    """
    from keras import ops

    from receivers.feedback.latents import LatentCodec
    from receivers.weights.folder import TrainedModel

    trained = TrainedModel.shared(str(folder), alone=True)
    codec = LatentCodec(trained, trained.codec.quantizer, trained.codec.bits, "range", "latent", "shipped", 1)
    if recipe.loss == "sum_rate":
        test = test[: len(test) // recipe.link.num_users * recipe.link.num_users]
    coded, num_bits = codec.encode(trained.encode(test))
    x_hat = trained.decode(codec.decode(coded, num_bits)[0])
    rate = recipe.rate.weight[0] * num_bits if recipe.rate else 0.0
    if recipe.loss == "sum_rate":
        return Samples(-np.float64(ops.convert_to_numpy(loss(test, x_hat))) - rate, "sum_rate_bpshz", digits=4)
    if recipe.target == "eigenvector":
        found = similarity_samples(test, x_hat)
        return Samples(found.values - rate, found.metric, digits=4)
    return Samples(image_error(test, x_hat) + rate, "objective_db" if recipe.rate else "nmse_db", digits=4)


def klt_score(klt: Any, test: np.ndarray, bits: float) -> dict[str, Any]:
    """Score of :func:`klt_code`."""
    x_hat, num_bits = klt_code(klt, test, bits)
    return {"bits_mean": round(float(num_bits.mean()), 1), "score": error_samples(test, x_hat)}


def klt_code(klt: Any, test: np.ndarray, bits: float) -> tuple[np.ndarray, np.ndarray]:
    """Images after the range-coded KLT whose mean report on the training samples has ``bits``, and bits of each."""
    from receivers.coding.range_coder import RangeCoder

    step = klt.step_for(bits, KLT_LIMIT)
    cells = klt.cells(klt.coefficients(test), step, KLT_LIMIT)
    coder = RangeCoder(2 * KLT_LIMIT + 1, **RangeCoder.fit(klt.counts(step, KLT_LIMIT)))
    _, num_bits = coder.encode(cells)
    return klt.images(klt.values(cells, step, KLT_LIMIT), *test.shape[1:3]), num_bits


def sparse_score(store: ChannelStore, test: np.ndarray, bits: float) -> dict[str, Any]:
    """Score of :func:`sparse_code`, of the fewest bits that it takes at least."""
    x_hat, num_bits = sparse_code(store, test, max(round(bits), (test[0].size // 2).bit_length() + 16))
    return {"bits_mean": int(num_bits[0]), "score": error_samples(test, x_hat)}


def sparse_code(store: ChannelStore, test: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Images float32 ``[sample, delay, port, 2]`` after the sparse angular-delay code, and bits of each."""
    from receivers.feedback.sparse import SparseFeedback
    from simulator.core.types import CsiConfig, CsiEstimate
    from simulator.maths.transforms import from_angular_delay, to_angular_delay, to_complex, to_real

    layout, delays = store.layout, test.shape[1]
    samples = max(layout.num_subcarriers, delays)
    config = CsiConfig(layout.panel, 1, samples, layout.spacing_hz, 1)
    scheme = SparseFeedback(config, bits=bits, num_delays=delays)
    gain = np.float32((samples / delays) ** 0.5)
    x_hat, num_bits = [], []
    for start in range(0, len(test), 1000):
        h = gain * from_angular_delay(to_complex(test[start : start + 1000]), layout.panel, samples)
        report = scheme.report(CsiEstimate(h[:, None, None], np.zeros((len(h), 1), np.float32)))
        back = scheme.reconstruct(report).h[:, 0, 0] / gain
        x_hat.append(to_real(to_angular_delay(back, layout.panel, delays)))
        num_bits.append(np.asarray(report.num_bits)[:, 0])
    return np.concatenate(x_hat), np.concatenate(num_bits)


def image_error(x: np.ndarray, x_hat: np.ndarray) -> np.ndarray:
    """Squared error over power of every image float32 ``[sample, height, width, 2]``, float64 ``[sample]``."""
    axes = (1, 2, 3)
    return np.sum((x - x_hat) ** 2, axis=axes, dtype=np.float64) / np.sum(x**2, axis=axes, dtype=np.float64)


def error_samples(x: np.ndarray, x_hat: np.ndarray) -> Samples:
    """NMSE of images."""
    return Samples(image_error(x, x_hat))


def similarity_samples(x: np.ndarray, x_hat: np.ndarray) -> Samples:
    """SGCS by subband of images of eigenvectors, float32 ``[sample, subband, port, 2]``."""
    a, b = (np.ascontiguousarray(v, np.float32).view(np.complex64)[..., 0] for v in (x, x_hat))
    power = np.sum(np.abs(a) ** 2, axis=-1) * np.sum(np.abs(b) ** 2, axis=-1)
    sgcs = np.mean(np.abs(np.sum(a.conj() * b, axis=-1)) ** 2 / np.maximum(power, 1e-30), axis=-1)
    return Samples(sgcs, "sgcs_subband", (0.0, 1.0), 4)
