"""Predictors of Tiny-WiFo's tables that are not trained: over slots, and over subcarriers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.train import score
from receivers.models.history import from_history
from receivers.prediction.ar import ArPredictor
from receivers.prediction.covariance import slot_covariance
from receivers.prediction.repeat import RepeatPredictor
from receivers.prediction.wiener_doppler import WienerDopplerPredictor
from receivers.training.task import Samples
from receivers.training.tasks.prediction import AXES, halves
from simulator.core.types import Panel, RadioGeometry
from simulator.core.units import db_to_lin

# From known entries complex64 [sample, 1, 1, antenna, entry, other] to as many unknown ones that follow.
Contender = Callable[[np.ndarray, int], np.ndarray]

# Root-mean-square delay spreads that are tried, times the subcarrier spacing; denser where the band is nearly flat.
_SPREADS = 2.0 * (np.arange(501) / 500) ** 3
# Least share of noise: bounds the weights.
_MIN_NOISE = 1e-5
# Noise that is tried with a covariance from training channels.
_NOISES = 10.0 ** np.arange(-5, 1)


def classical(
    samples: Mapping[str, np.ndarray],
    task: str,
    snr_db: float | None = None,
    train: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """NMSE of all unknown entries: ``network, parameters, set, task, nmse_db, ci95``.

    The contenders are ``repeat`` (last known entry), ``ar`` (fitted to the known entries of a sample, of order 4 or
    half of them), ``wiener`` (time: Jakes' spectrum, frequency: :func:`exponential_profile`) and,
    in frequency, ``lmmse`` (:func:`trained_lmmse` from the training channels of the same set).

    Args:
        samples: test samples by data set, float32 ``[sample, slot, subcarrier, antenna, 2]``.
        task: "time" or "frequency".
        snr_db: SNR of noise on the known half [dB]; None: none.
        train: training samples by data set, for ``lmmse``; sets without do not have it.
    """
    rows = []
    for key, x in samples.items():
        seen, unknown = halves(noisy(x, snr_db), AXES[task])[0], halves(x, AXES[task])[1]
        known, unknown = _along(seen, task), _along(unknown, task)
        for name, contender in _contenders(task, known.shape[4], None if train is None else train.get(key)).items():
            error = contender(known, unknown.shape[4]) - unknown
            ratio = np.sum(np.abs(error) ** 2, axis=(1, 2, 3, 4, 5)) / np.sum(
                np.abs(unknown) ** 2, axis=(1, 2, 3, 4, 5)
            )
            found = score(Samples(ratio))
            row = {"network": name, "parameters": 0, "set": key, "task": task}
            rows.append({**row, "nmse_db": found["nmse_db"], "ci95": found["ci95"]})
    return pd.DataFrame(rows)


def _along(x: np.ndarray, task: str) -> np.ndarray:
    """Complex64 ``[sample, 1, 1, antenna, entry, other]``, entries those of the task's axis."""
    return from_history(x if task == "time" else np.swapaxes(x, 1, 2), (len(x), 1, 1))


def _contenders(task: str, known: int, train: np.ndarray | None) -> dict[str, Contender]:
    geometry = RadioGeometry(1e9, Panel(1), 1, 1, 1, 1.0)  # not used by any of them
    found = {
        "repeat": _steps(RepeatPredictor(geometry)),
        "ar": _steps(ArPredictor(geometry, order=min(4, known // 2))),
        "wiener": _steps(WienerDopplerPredictor(geometry)) if task == "time" else exponential_profile,
    }
    if task == "frequency" and train is not None:
        found["lmmse"] = trained_lmmse(train)
    return found


def _steps(predictor: Any) -> Contender:
    """A predictor of one slot, for all slots."""
    return lambda h, count: np.stack([predictor.predict(h, step) for step in range(1, count + 1)], axis=4)


def subcarrier_covariance(x: np.ndarray) -> np.ndarray:
    r""":math:`E\{h h^H\}` over subcarriers, complex128 ``[subcarrier, subcarrier]``.

    Args:
        x: channels float32 ``[sample, slot, subcarrier, antenna, 2]``; the mean runs over all other axes.
    """
    h = np.moveaxis(x[..., 0] + 1j * x[..., 1].astype(np.float64), 2, 0).reshape(x.shape[2], -1)
    return h @ np.conj(h.T) / h.shape[1]


def trained_lmmse(x: np.ndarray) -> Contender:
    """:func:`lmmse` with the covariance of training channels; noise that is best for half of them, from the others.

    Args:
        x: training channels float32 ``[sample, slot, subcarrier, antenna, 2]``.
    """
    known, unknown = (_along(part, "frequency") for part in halves(x[1::2], AXES["frequency"]))
    covariance, errors = subcarrier_covariance(x[::2]), {}
    for noise in _NOISES:
        error = lmmse(covariance, noise)(known, unknown.shape[4]) - unknown
        ratio = np.sum(np.abs(error) ** 2, axis=(1, 2, 3, 4, 5)) / np.sum(np.abs(unknown) ** 2, axis=(1, 2, 3, 4, 5))
        errors[noise] = ratio.mean()
    return lmmse(subcarrier_covariance(x), min(errors, key=errors.__getitem__))


def lmmse(covariance: np.ndarray, noise: float) -> Contender:
    r"""LMMSE prediction of the higher subcarriers, :math:`R_{uk} (R_{kk} + \sigma^2 I)^{-1} h_k`, for all samples.

    Slots and antennas are predicted one by one.

    Args:
        covariance: complex ``[subcarrier, subcarrier]``, of known and unknown ones.
        noise: :math:`\sigma^2` over the mean power: bounds the weights where the covariance is not exact.

    Source: S. M. Kay, "Fundamentals of Statistical Signal Processing: Estimation Theory", 1993, Ch. 12.
    """

    def predict(h: np.ndarray, count: int) -> np.ndarray:
        known = h.shape[4]
        diagonal = noise * np.trace(covariance).real / len(covariance) * np.eye(known)
        weights = np.linalg.solve(covariance[:known, :known].T + diagonal, covariance[known:, :known].T).T
        return np.einsum("uk,nabpks->nabpus", weights[:count], h).astype(np.complex64)

    return predict


def exponential_profile(h: np.ndarray, count: int) -> np.ndarray:
    r"""LMMSE prediction over subcarriers with an exponential delay profile that is fitted to every sample.

    :math:`R_{kl} = P / (1 + j 2\pi (k - l) \Delta_f \tau)`. Delay spread :math:`\tau` and P are the least-squares fit
    to the sample autocorrelation over the known subcarriers at lags 1 and above, weighted by the number of pairs; noise
    is the rest of the power at lag 0, or the residual of the fit, whichever is more: as in
    :class:`~receivers.prediction.wiener_doppler.WienerDopplerPredictor` over slots.

    Args:
        h: known subcarriers complex64 ``[sample, 1, 1, antenna, subcarrier, slot]``.
        count: subcarriers that follow.

    Returns:
        complex64 ``[sample, 1, 1, antenna, count, slot]``.
    """
    known = h.shape[4]
    covariance, pairs = slot_covariance(h)[:, 0], known - np.arange(known)  # sum over antennas and slots of h_k h_l^*
    lags = np.stack([np.trace(covariance, -lag, -2, -1) / pairs[lag] for lag in range(known)], axis=-1)
    r = (lags / np.maximum(lags[:, :1].real, 1e-30))[:, None, 1:]  # E h_{k + lag} h_k^*, [sample, 1, lag]
    shape, weight = _profile(np.arange(1, known), _SPREADS[:, None]), pairs[1:]
    energy = np.sum(weight * np.abs(shape) ** 2, axis=-1)
    share = np.clip(np.sum(weight * r * np.conj(shape), axis=-1).real / energy, 0, 1)  # [sample, spread]
    error = np.sum(weight * np.abs(r - share[..., None] * shape) ** 2, axis=-1)
    best = np.argmin(error, axis=-1)[:, None]
    share, error = (np.take_along_axis(values, best, axis=-1)[..., None] for values in (share, error))
    entry, spread = np.arange(known + count), _SPREADS[best][..., None]
    model = share * _profile(entry[:, None] - entry[:known], spread)  # [sample, entry, known]
    noise = np.maximum(np.maximum(1 - share, np.sqrt(error / weight.sum())), _MIN_NOISE) * np.eye(known)
    gram = model[:, :known] + noise
    weights = np.swapaxes(np.linalg.solve(np.swapaxes(gram, 1, 2), np.swapaxes(model[:, known:], 1, 2)), 1, 2)
    return np.einsum("nuk,nabpks->nabpus", weights, h).astype(np.complex64)


def _profile(lag: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Correlation of subcarriers of a channel with exponential delay profile."""
    return 1 / (1 + 2j * np.pi * lag * spread)


def noisy(x: np.ndarray, snr_db: float | None, seed: int = 17) -> np.ndarray:
    """Samples of unit power per complex entry with white noise; None: as they are."""
    if snr_db is None:
        return x
    noise = np.random.default_rng(seed).standard_normal(x.shape, np.float32)
    return x + noise * np.float32((float(db_to_lin(-snr_db)) / 2) ** 0.5)
