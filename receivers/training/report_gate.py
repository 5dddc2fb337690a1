"""Weights of the gate of a refinement, fitted so that it loses little where the network errs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from receivers.feedback.refinement import answers
from receivers.models.report_gate import ReportGate, directions, features, opening
from receivers.training.data.reports import ReportSet

LOSS = 4.0  # what a lost SGCS counts, that of a gained one being 1
_SHARES = np.linspace(0, 1, 11)
_CHUNK = 512


def fit_gate(network: Any, families: Sequence[Sequence[ReportSet]], samples: int) -> list[float]:
    r"""Weights b of the shares a that maximise the mean of :math:`\min(g, 4 g)` of the gains g in SGCS.

    Args:
        network: trained refiner.
        families: reports of kinds of channels that count alike, all of them with the same codebooks.
        samples: of each set, the last ones.
    """
    from scipy.optimize import minimize

    values, gains, open_, weights = [], [], [], []
    for sets in families:
        found = [tried(network, reports, samples) for reports in sets]
        total = sum(len(x) for x, *_ in found)
        for x, gain, factor in found:
            values.append(x)
            gains.append(gain)
            open_.append(factor)
            weights.append(np.full(len(x), 1 / total))
    x, gain, factor, weight = (np.concatenate(parts) for parts in (values, gains, open_, weights))
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    x, rows = (x - mean) / spread, np.arange(len(x))

    def cost(b: np.ndarray) -> float:
        at = ReportGate(b).share(x, True) * factor * (len(_SHARES) - 1)
        low = np.minimum(at.astype(int), len(_SHARES) - 2)
        found = gain[rows, low] + (at - low) * (gain[rows, low + 1] - gain[rows, low])
        return -float(weight @ np.minimum(found, LOSS * found))

    b = minimize(cost, np.array([1.0, 0, 0, 0]), method="BFGS", options={"gtol": 1e-7}).x
    slope = b[1:] / spread
    return [round(float(value), 3) for value in (b[0] - mean @ slope, *slope)]


def tried(network: Any, reports: ReportSet, samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features ``[layer, 3]``, gains in SGCS of eleven shares ``[layer, share]``, and the opening ``[layer]``."""
    found = []
    first = max(0, len(reports) - samples)
    for start in range(first, len(reports), _CHUNK):
        report, v = reports.reports(np.arange(start, min(start + _CHUNK, len(reports))))
        w0, w1 = directions(report.x, answers(network, reports.frame, report))
        x = features(report, w0, w1)
        score = np.stack([_sgcs((1 - a) * w0 + a * w1, v) for a in _SHARES.astype(np.float32)], axis=-1)
        found.append((x, score - score[..., :1], opening(x, report.logarithmic)))
    return tuple(np.concatenate([f[n].reshape(-1, *f[n].shape[2:]) for f in found]) for n in range(3))


def _sgcs(w: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Mean over the units, ``[report, layer]``, of beams complex ``[report, layer, row, unit]``."""
    power = np.sum(np.square(np.abs(w)), axis=2) * np.sum(np.square(np.abs(v)), axis=2)
    return np.mean(np.square(np.abs(np.sum(w.conj() * v, axis=2))) / np.maximum(power, 1e-12), axis=-1)
