"""Karhunen-Loeve transform of channel images: the best linear code, and the reference for every learned one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.core.durable import renamed
from simulator.core.errors import ConfigError, StoreError
from simulator.core.readers import read_npz


@dataclass(frozen=True)
class Klt:
    r"""Complex principal directions of unit-power images, with training coefficients for tables at any step.

    The phase of a channel is uniform, so that images are circular: their complex covariance holds all second moments.

    Args:
        basis: complex64 ``[component, pixel]``, orthonormal rows, strongest first.
        variances: float64 ``[component]``, power of each coefficient.
        samples: float16 ``[sample, component, 2]``, coefficients of training images.

    Source: Goyal, IEEE Signal Process. Mag. 18(5), 2001 (transform coding).
    """

    basis: NDArray[np.complex64]
    variances: NDArray[np.float64]
    samples: NDArray[np.float16]

    @classmethod
    def fit(cls, images: NDArray[np.float32], num_components: int = 512, num_samples: int = 2000) -> Klt:
        """Directions of images float32 ``[sample, height, width, 2]``.

        Raises:
            ConfigError: no component, or no sample.
        """
        for name, value in (("num_components", num_components), ("num_samples", num_samples)):
            if value < 1:
                raise ConfigError(name, value, "at least 1")
        x = _flat(images)
        covariance = np.zeros((x.shape[1], x.shape[1]), np.complex128)
        for start in range(0, len(x), 10000):
            block = x[start : start + 10000]
            covariance += block.T @ block.conj()
        power, vectors = np.linalg.eigh(covariance / len(x))
        basis = np.ascontiguousarray(vectors.T[::-1][:num_components]).astype(np.complex64)
        klt = cls(basis, np.maximum(power[::-1][:num_components], 1e-12), np.zeros((0, len(basis), 2), np.float16))
        return cls(
            klt.basis,
            klt.variances,
            _pairs(klt.coefficients(images[:: max(1, len(images) // num_samples)][:num_samples])).astype(np.float16),
        )

    @classmethod
    def load(cls, path: Path) -> Klt:
        """From the file that :meth:`save` wrote."""
        try:
            data = read_npz(path)
            return cls(data["basis"], data["variances"], data["samples"])
        except (ValueError, KeyError) as error:
            raise StoreError(f"{path}: no KLT ({error})") from None

    def save(self, path: Path) -> None:
        """Write ``.npz``."""
        with renamed(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, basis=self.basis, variances=self.variances, samples=self.samples)

    def coefficients(self, images: NDArray[np.float32]) -> NDArray[np.complex64]:
        """Complex64 ``[sample, component]`` of images ``[sample, height, width, 2]``."""
        return _flat(images) @ self.basis.conj().T

    def images(self, coefficients: NDArray[np.complex64], height: int, width: int) -> NDArray[np.float32]:
        """Images float32 ``[sample, height, width, 2]`` of coefficients ``[sample, component]``."""
        x = (coefficients.astype(np.complex64) @ self.basis).reshape(len(coefficients), height, width)
        return x[..., None].view(np.float32)

    def cells(self, coefficients: NDArray[np.complex64], step: float, limit: int) -> NDArray[np.int64]:
        """Rounded real and imaginary parts, int64 ``[sample, 2 * component]`` in 0 .. 2 * limit (zero is ``limit``)."""
        rounded = np.round(_pairs(coefficients).reshape(len(coefficients), -1) / step)
        return np.clip(rounded, -limit, limit).astype(np.int64) + limit

    def values(self, cells: NDArray[np.int64], step: float, limit: int) -> NDArray[np.complex64]:
        """Coefficients complex64 ``[sample, component]`` of cells, read as the mean of the training values in them."""
        x, found = self._training(step, limit)
        total, count = (
            np.bincount(found.ravel(), x.ravel(), 2 * limit + 1),
            np.bincount(found.ravel(), minlength=2 * limit + 1),
        )
        nominal = (np.arange(2 * limit + 1) - limit) * step
        levels = ((total + nominal) / (count + 1)).astype(np.float32)
        levels = (levels - levels[::-1]) / 2  # the phase is uniform, so the distribution is even
        return np.ascontiguousarray(levels[cells].reshape(len(cells), -1, 2)).view(np.complex64)[..., 0]

    def counts(self, step: float, limit: int) -> NDArray[np.int64]:
        """Frequency of each cell in training, times 1000, int64 ``[2 * component, 2 * limit + 1]``.

        Real and imaginary part have the same distribution and share their counts. As samples are few, the shape that
        all components have in common (values over their standard deviation) counts like 100 of them.
        """
        return np.round(1000 * np.repeat(self._frequencies(step, limit)[1], 2, axis=0)).astype(np.int64)

    def step_for(self, bits: float, limit: int) -> float:
        """Step of the common quantiser at which reports of the training samples have this mean length [bit]."""
        low, high = 1e-2 * self.variances[0] ** 0.5, 20 * self.variances[0] ** 0.5
        for _ in range(25):
            step = (low * high) ** 0.5
            low, high = (step, high) if self.mean_bits(step, limit) > bits else (low, step)
        return float((low * high) ** 0.5)

    def mean_bits(self, step: float, limit: int) -> float:
        """Mean length [bit] of the training samples with the tables of a step."""
        seen, smooth = self._frequencies(step, limit)
        p = smooth / smooth.sum(axis=1, keepdims=True) + 2.0**-16
        return float(-np.sum(seen * np.log2(p)) / len(self.samples))

    def _training(self, step: float, limit: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Training values and their cells ``[component, value]``."""
        x = self._values
        cells = np.round(x / step)
        return x, np.clip(cells, -limit, limit, out=cells).astype(np.int64) + limit

    @cached_property
    def _values(self) -> NDArray[np.float32]:
        """Training values ``[component, value]``."""
        return np.swapaxes(self.samples, 0, 1).reshape(len(self.basis), -1).astype(np.float32)

    @cached_property
    def _common(self) -> NDArray[np.float64]:
        """Some values over the standard deviation of their component, sorted."""
        return np.sort((self._values[:, ::7] / np.sqrt(self.variances / 2)[:, None]).ravel())

    def _frequencies(self, step: float, limit: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Counts of the cells ``[component, cell]``, and the same smoothed by the common shape."""
        size = 2 * limit + 1
        cells = self._training(step, limit)[1]
        flat = np.bincount((cells + size * np.arange(len(cells))[:, None]).ravel(), minlength=size * len(cells))
        std = np.sqrt(self.variances / 2)[:, None]
        below = np.searchsorted(self._common, (np.arange(-limit, limit) + 0.5) * step / std) / len(self._common)
        shape = np.diff(np.concatenate([0 * std, below, 0 * std + 1], axis=1), axis=1)
        return flat.reshape(-1, size), flat.reshape(-1, size) + 200 * shape


def _flat(images: NDArray[np.float32]) -> NDArray[np.complex64]:
    return np.ascontiguousarray(images, np.float32).view(np.complex64).reshape(len(images), -1)


def _pairs(coefficients: NDArray[np.complex64]) -> NDArray[np.float32]:
    return np.ascontiguousarray(coefficients, np.complex64)[..., None].view(np.float32)
