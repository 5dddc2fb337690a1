"""Shipped weights on the test samples of data sets that they were not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.data_sets import store_folder
from benchmarks.train import summary
from receivers.feedback.autoencoder import check_geometry
from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.training.codecs import KLT_LIMIT, error_samples, similarity_samples, sparse_score
from receivers.weights.card import CARD, write_card
from receivers.weights.folder import TrainedModel, weight_folder
from simulator.core.errors import ConfigError, StoreError
from simulator.core.readers import read_json
from simulator.core.types import CsiConfig, CsiEstimate
from simulator.data.store import ChannelStore
from simulator.maths.transforms import to_eigenvector_image


def scores_on(name: str, stores: Sequence[ChannelStore], root: Path | None = None) -> dict[str, Any]:
    """Distortion and counted bits of the range-coded default report, by data set and channel.

    Args:
        name: of weights of an autoencoder of channels or eigenvectors, or their folder.
        stores: with a split "test", of the panel and band of the weights.
        root: folder of data sets; with that of the training, the KLT of its samples stands beside.

    Returns:
        ``{data set: {channel: {num_samples, bits_mean, nmse_db or sgcs_subband, ci95, yardstick: {..}}}}``. The NMSE is
        that of the truncated angular-delay image. Yardsticks of such images are ``sparse`` (sparse angular-delay code)
        and ``klt`` at the same mean bits; of eigenvectors ``etype2`` (rank 1) in the combination of nearest bits.

    Raises:
        ConfigError: weights of another target, or a store of another panel or band.
        StoreError: no such weights, or no test split.
    """
    from receivers.feedback.latents import LatentCodec
    from receivers.training.data.images import ImageView, load_images

    trained = TrainedModel.shared(name, alone=True)
    about = trained.input
    if about.target not in ("channel", "eigenvector") or not trained.tables:
        raise ConfigError("NAME", name, "weights of an autoencoder of channels or eigenvectors")
    codec = LatentCodec(trained, trained.codec.quantizer, trained.codec.bits, "range", "latent", "shipped", 1)
    measure = error_samples if about.target == "channel" else similarity_samples
    klt = _klt(trained, root) if about.target == "channel" else None
    found: dict[str, Any] = {}
    for store in stores:
        layout = store.layout
        config = CsiConfig(layout.panel, 1, layout.num_subcarriers, layout.spacing_hz, about.subband_size)
        check_geometry(config, trained, about.target)
        images, part = load_images(store, "test", ImageView(layout, about.num_delays, about.subband_size, about.target))
        h = _by_slot(store)
        coded, num_bits = codec.encode(trained.encode(images))
        x_hat = trained.decode(codec.decode(coded, num_bits)[0])
        found[store.name] = {}
        for number, channel in enumerate(store.origin.get("parts", [store.name])):
            here = part == number
            x, bits = images[here], float(num_bits[here].mean())
            entry = {"num_samples": len(x), "bits_mean": round(bits, 1), "score": measure(x, x_hat[here])}
            if about.target == "channel":
                entry["sparse"] = sparse_score(store, x, bits)
            else:
                entry["etype2"] = etype2_score(config, h[here], x, bits)
            if klt is not None:
                entry["klt"] = klt_score_at(klt, x, bits)
            found[store.name][channel] = entry
    return dict(summary(found))


def etype2_score(config: CsiConfig, h: np.ndarray, images: np.ndarray, bits: float) -> dict[str, Any]:
    """Score of enhanced Type II of rank 1, in the parameter combination whose mean report is nearest to ``bits``.

    Args:
        config: of the link.
        h: complex64 ``[sample, rx_ant, port, subcarrier]``.
        images: float32 ``[sample, subband, port, 2]``, eigenvectors of ``h``.
        bits: of the report that it is compared with.
    """
    csi = CsiEstimate(h[:, None], np.zeros((len(h), 1), np.float32))
    schemes = {c: EnhancedTypeTwoFeedback(config, combination=c, rank=1) for c in range(1, 7)}
    reports = {c: scheme.report(csi) for c, scheme in schemes.items()}
    means = {c: float(report.num_bits.mean()) for c, report in reports.items()}
    chosen = min(means, key=lambda c: abs(means[c] - bits))
    w = schemes[chosen].reconstruct(reports[chosen]).w
    if w is None:
        raise TypeError("a codebook reports directions")
    x_hat = to_eigenvector_image(np.swapaxes(w[:, 0, :, 0], 1, 2), config.panel)
    found = {"combination": chosen, "bits_mean": round(means[chosen], 1)}
    return {**found, "score": similarity_samples(images, x_hat)}


def klt_score_at(klt: Any, images: np.ndarray, bits: float) -> dict[str, Any]:
    """Score of the range-coded KLT in the step with which these very images have ``bits`` in the mean."""
    from receivers.coding.range_coder import RangeCoder

    coefficients = klt.coefficients(images)
    low, high = 1e-2 * klt.variances[0] ** 0.5, 20 * klt.variances[0] ** 0.5
    for _ in range(16):
        step = (low * high) ** 0.5
        cells = klt.cells(coefficients, step, KLT_LIMIT)
        num_bits = RangeCoder(2 * KLT_LIMIT + 1, **RangeCoder.fit(klt.counts(step, KLT_LIMIT))).encode(cells)[1]
        low, high = (step, high) if num_bits.mean() > bits else (low, step)
    x_hat = klt.images(klt.values(cells, step, KLT_LIMIT), *images.shape[1:3])
    return {"bits_mean": round(float(num_bits.mean()), 1), "score": error_samples(images, x_hat)}


def table(scores: Mapping[str, Any]) -> pd.DataFrame:
    """A row for every channel: bits and score, then bits and score of each yardstick."""
    rows = [
        {"data set": data, "channel": channel, **entry}
        for data, channels in scores.items()
        for channel, entry in channels.items()
    ]
    return pd.json_normalize(rows, sep=" ")


def write_scores(name: str, scores: Mapping[str, Any]) -> None:
    """Scores into the section ``other_data`` of a card, in place of those of the same data sets."""
    folder = weight_folder(name)
    card = read_json(folder / CARD)
    write_card(folder, {**card, "other_data": {**card.get("other_data", {}), **scores}})


def _by_slot(store: ChannelStore) -> np.ndarray:
    """Test channels in the order of their images, complex64 ``[sample * slot, rx_ant, port, subcarrier]``."""
    h = np.moveaxis(np.concatenate([h for h, _ in store.read("test")]), 3, 1)
    return h.reshape(-1, *h.shape[2:])


def _klt(trained: TrainedModel, root: Path | None) -> Any:
    """KLT of the training samples of the weights; None where their data set is not at hand."""
    from receivers.models.klt import Klt
    from receivers.training.data.images import ImageView, load_images
    from receivers.training.image_model import MOST_FITTED

    data = trained.card["dataset"]
    try:
        store = ChannelStore(store_folder(data["name"], root))
    except StoreError:
        return None
    if store.hash != data["store_sha256"]:
        return None
    return Klt.fit(load_images(store, "train", ImageView(store.layout, trained.input.num_delays), MOST_FITTED)[0])
