"""NMSE and cosine similarity of the students for many report lengths, on the images of the test split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from receivers.models.concrete import MASKED
from receivers.training.data.images import ImageView, load_images
from receivers.weights.folder import TrainedModel
from simulator.core.units import lin_to_db
from simulator.data.store import ChannelStore


def test_images(trained: TrainedModel, store: ChannelStore, most: int) -> np.ndarray:
    """Images of the test split as the weights see them, float32 ``[image, row, rx_ant * port, 2]``."""
    known = trained.input
    view = ImageView(store.layout, known.num_delays, known.subband_size, known.target, known.domain, known.scaling)
    return load_images(store, "test", view, most)[0]


def decode_prefix(trained: TrainedModel, bits: np.ndarray, num_bits: int) -> np.ndarray:
    """Images from the first ``num_bits`` of ``bits [image, bit]`` in 0, 1."""
    return trained.decode(np.where(np.arange(bits.shape[1]) < num_bits, bits, np.float32(MASKED)))


def students(plan: dict[str, Any], data: str) -> list[tuple[str, int, str]]:
    """Method, seed and name of every student; the teacher (seed of its own) first."""
    found = [("teacher", plan["teacher"]["seed"], "teacher")]
    return found + [(m, s, f"{m}-s{s}") for s in plan["seeds"][data] for m in plan["methods_of"][data]]


def curves(plan: dict[str, Any], data: str, store: ChannelStore, out: Path) -> pd.DataFrame:
    """One row for each student and length: ``nmse_db`` (mean of ratios) and ``rho`` (NF-KD, Eq. 9, with modulus)."""
    rows = []
    for method, seed, name in students(plan, data):
        trained = TrainedModel(str(out / data / name))
        x = test_images(trained, store, plan["curve_images"])
        bits = (trained.encode(x) > 0).astype(np.float32)
        for num_bits in plan["curve_bits"] if method != "teacher" else [bits.shape[1]]:
            nmse, rho = scores(x, decode_prefix(trained, bits, num_bits))
            row = {"method": method, "seed": seed, "bits": num_bits, "nmse_db": lin_to_db(nmse), "rho": rho}
            rows.append(row)
    return pd.DataFrame(rows)


def scores(x: np.ndarray, x_hat: np.ndarray) -> tuple[float, float]:
    """Mean of the per-image NMSE (linear), and mean over images and rows of the cosine over antennas."""
    h, h_hat = (
        np.ascontiguousarray(v, np.float32).view(np.complex64)[..., 0].astype(np.complex128) for v in (x, x_hat)
    )
    error = np.sum(np.abs(h - h_hat) ** 2, axis=(1, 2)) / np.sum(np.abs(h) ** 2, axis=(1, 2))
    inner = np.abs(np.sum(h.conj() * h_hat, axis=2))
    norm = np.linalg.norm(h, axis=2) * np.linalg.norm(h_hat, axis=2)
    return float(error.mean()), float(np.mean(inner / np.maximum(norm, 1e-30)))
