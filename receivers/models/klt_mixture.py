"""Mixture of Karhunen-Loeve transforms: classes of directions, each with the best linear code of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from receivers.models.klt import Klt
from simulator.core.durable import renamed
from simulator.core.errors import ConfigError, StoreError
from simulator.core.readers import read_npz

_EM_SAMPLES = 30000
_TURNS = 3  # rounds of phases of subbands and transform


@dataclass(frozen=True)
class KltMixture:
    r"""Classes k of zero-mean Gaussians with share :math:`\pi_k` and covariance :math:`C_k`, and their transforms.

    A sample belongs to the class that codes it with fewest bits at the water level D common to all classes:

    .. math:: -\log_2 \pi_k + \sum_{\sigma_{k,i}^2 > D} \left(\log_2 \frac{\sigma_{k,i}^2}{D} + \frac{|z_i|^2}
        {\sigma_{k,i}^2 \ln 2}\right) + \frac{\|x\|^2 - \sum_{\sigma_{k,i}^2 > D} |z_i|^2}{D \ln 2}

    the negative log-likelihood of its coefficients :math:`z` with variances of at least D. Fitting alternates this
    choice with the KLT of each class (hard EM).

    Args:
        klts: transform of each class.
        shares: float64 ``[class]``, share of the training samples.

    Source: Dony, Haykin, IEEE Trans. Image Process. 4(10), 1995 (classes of transforms); Tipping, Bishop, Neural
        Comput. 11(2), 1999 (mixtures of principal components); water level: Cover, Thomas, Theorem 10.3.3.
    """

    klts: tuple[Klt, ...]
    shares: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        images: NDArray[np.float32],
        num_classes: int = 16,
        num_components: int = 64,
        num_samples: int = 1000,
        bits: float = 120.0,
        iterations: int = 8,
        seed: int = 1,
    ) -> KltMixture:
        """Classes of images float32 ``[sample, subband, port, 2]`` whose phase in each subband is free.

        Args:
            images: derotated directions.
            num_classes: K; 1 is the KLT.
            num_components: directions kept of each class.
            num_samples: training coefficients kept of each class, for tables.
            bits: rate at which classes are told apart, which gives D.
            iterations: of EM, on at most 30,000 samples; the last M step sees all.
            seed: of the first classes.

        Raises:
            ConfigError: no class, or more than a 20th of the samples.
        """
        if not 1 <= num_classes <= max(len(images) // 20, 1):
            raise ConfigError("num_classes", num_classes, f"1..{max(len(images) // 20, 1)} ({len(images)} samples)")
        x = images[:_EM_SAMPLES] if len(images) > _EM_SAMPLES else images
        index = _nearest_line(x, num_classes, np.random.default_rng(seed))
        mixture = cls._of(x, index, num_classes, num_components, num_samples)
        if num_classes > 1:
            for _ in range(iterations):
                index, x = mixture.classify(x, mixture.water_level(bits))
                mixture = cls._of(x, index, num_classes, num_components, num_samples)
        index, x = mixture.classify(images, mixture.water_level(bits))
        return cls._of(x, index, num_classes, num_components, num_samples)

    @classmethod
    def _of(cls, x: np.ndarray, index: np.ndarray, num_classes: int, components: int, samples: int) -> KltMixture:
        """M step; a class without samples takes over every second one of the largest."""
        index = index.copy()
        for k in range(num_classes):
            if np.count_nonzero(index == k) < 2:
                largest = np.flatnonzero(index == np.bincount(index).argmax())
                index[largest[::2]] = k
        klts = tuple(Klt.fit(x[index == k], components, samples) for k in range(num_classes))
        return cls(klts, np.bincount(index, minlength=num_classes) / len(index))

    def water_level(self, bits: float) -> float:
        """Level D at which all classes together need ``bits`` on average."""
        return water_level(np.stack([klt.variances for klt in self.klts]), self.shares, bits)

    def classify(
        self, images: NDArray[np.float32], level: float, layers: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Class ``[report]`` of images ``[report * layer, ...]``, and these with phases of subbands that suit it."""
        costs = np.empty((len(images), len(self.klts)), np.float32)
        for k, klt in enumerate(self.klts):
            costs[:, k] = self._cost(k, images, klt.coefficients(images), level)
        index, turned = costs.reshape(-1, layers, len(self.klts)).sum(axis=1).argmin(axis=1), images.copy()
        for k, klt in enumerate(self.klts):
            rows = np.flatnonzero(np.repeat(index, layers) == k)
            for _ in range(_TURNS if rows.size else 0):
                turned[rows] = _turned(turned[rows], klt, level)
        return index, turned

    def _cost(self, k: int, images: np.ndarray, z: np.ndarray, level: float) -> np.ndarray:
        active = self.klts[k].variances > level
        variances, power = self.klts[k].variances[active], np.abs(z[:, active]) ** 2
        total = np.sum(np.square(images), axis=(1, 2, 3)) - power.sum(axis=1)
        nats = np.log(variances / level).sum() + power @ (1 / variances) + total / level
        return nats / np.log(2) - np.log2(max(self.shares[k], 1e-12))

    @classmethod
    def load(cls, path: Path) -> KltMixture:
        """From the file that :meth:`save` wrote."""
        try:
            data = read_npz(path)
            klts = zip(data["basis"], data["variances"], np.split(data["samples"], data["ends"][:-1]), strict=True)
            return cls(tuple(Klt(*each) for each in klts), data["shares"])
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}: no mixture of KLTs ({error})") from None

    def save(self, path: Path) -> None:
        """Write ``.npz``."""
        with renamed(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                basis=np.stack([klt.basis for klt in self.klts]),
                variances=np.stack([klt.variances for klt in self.klts]),
                samples=np.concatenate([klt.samples for klt in self.klts]),
                ends=np.cumsum([len(klt.samples) for klt in self.klts]),
                shares=self.shares,
            )

    def step_for(self, bits: float, limit: int) -> float:
        """Step of the quantiser common to all classes at which reports have this mean length [bit]."""
        low, high = 1e-2 * self.klts[0].variances[0] ** 0.5, 20 * self.klts[0].variances[0] ** 0.5
        for _ in range(25):
            step = (low * high) ** 0.5
            length = sum(p * klt.mean_bits(step, limit) for p, klt in zip(self.shares, self.klts, strict=True))
            low, high = (step, high) if length > bits else (low, step)
        return float((low * high) ** 0.5)


def water_level(variances: NDArray[np.float64], shares: NDArray[np.float64], bits: float) -> float:
    r"""D with :math:`\sum_k \pi_k \sum_i \max(\log_2 (\sigma_{k,i}^2 / D), 0)` = ``bits`` (complex coefficients).

    Args:
        variances: float64 ``[class, coefficient]``.
        shares: float64 ``[class]``.
        bits: mean over the classes.
    """
    # Between two neighbouring variances the rate is linear in log D.
    order = np.argsort(-variances, axis=None)
    logs = np.log2(variances.ravel()[order])
    weight = np.cumsum(np.repeat(shares, variances.shape[1])[order])
    total = np.cumsum(np.repeat(shares, variances.shape[1])[order] * logs)
    levels = (total - bits) / np.maximum(weight, 1e-300)  # with the first n coefficients active
    beyond = np.append(logs[1:], -np.inf)
    return float(2.0 ** levels[np.flatnonzero(levels >= beyond)[0]])


def _turned(images: np.ndarray, klt: Klt, level: float) -> np.ndarray:
    """Images with every subband turned towards its Wiener estimate in a class."""
    gain = np.maximum(1 - level / klt.variances, 0).astype(np.float32)
    estimate = klt.images(klt.coefficients(images) * gain, *images.shape[1:3])
    x, y = (np.ascontiguousarray(v).view(np.complex64)[..., 0] for v in (images, estimate))
    inner = np.sum(x.conj() * y, axis=2, keepdims=True)
    size = np.abs(inner)
    return (x * np.where(size > 0, inner / np.maximum(size, 1e-30), 1))[..., None].view(np.float32)


def _nearest_line(images: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """First classes: the sample of largest cosine among ``count`` that are drawn."""
    x = np.ascontiguousarray(images).view(np.complex64).reshape(len(images), -1)
    seeds = x[rng.choice(len(x), count, replace=False)]
    seeds = seeds / np.maximum(np.linalg.norm(seeds, axis=1, keepdims=True), 1e-30)
    return np.abs(x @ seeds.conj().T).argmax(axis=1)
