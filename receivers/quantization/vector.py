"""Vector quantiser: groups of latents are replaced by the nearest codeword."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from receivers.quantization.lloyd_max import DEFAULT_STD
from receivers.quantization.uniform import bounded, bounded_soft, check_index, straight_through
from simulator.core.errors import ConfigError
from simulator.core.interfaces import Array, Quantizer


class VectorQuantizer(Quantizer):
    r"""Nearest of :math:`2^b` codewords for every group of ``dim`` neighbouring latents: b / dim bits per latent.

    Args:
        bits: bits of one index, 1..12.
        dim: latents of one group, 1..16.
        codebook: codewords in [-1, 1], float32 ``[2**bits, dim]``; None: k-means of a Gaussian of standard deviation
            0.25.
    Raises:
        ConfigError: for anything else.
    Source: Linde, Buzo, Gray, IEEE Trans. Commun. 28(1), 1980; start: Arthur, Vassilvitskii, SODA 2007.
    """

    key: ClassVar[str] = "vector"

    def __init__(self, bits: int, dim: int = 2, codebook: Sequence[Sequence[float]] | None = None) -> None:
        for name, value, most in (("bits", bits, 12), ("dim", dim, 16)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= most:
                raise ConfigError(f"quantizer.{name}", value, f"an integer 1..{most}")
        self.bits, self.dim = int(bits), int(dim)
        if codebook is None:
            gauss = DEFAULT_STD * np.random.default_rng(0).standard_normal((max(8 * 2**bits, 8192), dim))
            codebook = self.fit(gauss, bits, dim=dim)["codebook"]
        self.codebook = np.asarray(codebook, np.float32)
        shape = (2**self.bits, self.dim)
        if self.codebook.shape != shape or not (np.abs(self.codebook) <= 1).all():
            raise ConfigError("quantizer.codebook", f"{self.codebook.shape}", f"{shape} values in [-1, 1]")

    @classmethod
    def fit(
        cls, samples: NDArray[np.floating[Any]], bits: int, dim: int = 2, iterations: int = 30, seed: int = 0
    ) -> dict[str, Any]:
        """Parameters ``{"codebook": ..., "dim": dim}`` for data ``[..., latent]``, clipped to [-1, 1], by k-means.

        At most 65,536 groups are used. A codeword without data moves next to the one with the largest error.
        """
        groups = np.clip(np.asarray(samples, np.float64), -1, 1).reshape(-1, dim)
        rng, size = np.random.default_rng(seed), 2**bits
        groups = groups[rng.permutation(len(groups))[:65536]]
        codebook = _spread(groups, size, rng)
        for _ in range(iterations):
            index, error = _nearest(groups, codebook, exact=False)
            count = np.bincount(index, minlength=size)
            total = np.stack([np.bincount(index, column, size) for column in groups.T], axis=1)
            codebook = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], codebook)
            worst = np.argsort(-np.bincount(index, error, size), kind="stable")
            empty = np.flatnonzero(count == 0)
            codebook[empty] = codebook[worst[: len(empty)]] + 1e-3 * rng.standard_normal((len(empty), dim))
        return {"codebook": np.clip(codebook, -1, 1).astype(np.float32).tolist(), "dim": dim}

    def quantize(self, x: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Index int64 ``[..., latent / dim]`` of values ``[..., latent]``; ties go to the smaller index."""
        x = bounded(x)
        self._check(x.shape)
        index, _ = _nearest(x.reshape(-1, self.dim), self.codebook.astype(np.float64))
        return index.reshape(*x.shape[:-1], x.shape[-1] // self.dim)

    def dequantize(self, index: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Values float32 ``[..., latent]`` of indices; PayloadError for anything but integers 0 .. 2**bits - 1."""
        index = check_index(index, self.bits)
        return self.codebook[index].reshape(*index.shape[:-1], index.shape[-1] * self.dim)

    def soft(self, x: Array) -> Array:
        """Codewords float32 ``[..., latent]`` with the gradient of the identity (float32 distances decide)."""
        from keras import ops

        self._check(x.shape)
        groups = ops.reshape(bounded_soft(x), (-1, 1, self.dim))
        codebook = ops.convert_to_tensor(self.codebook)
        index = ops.argmin(ops.sum(ops.square(groups - codebook), axis=-1), axis=-1)
        return straight_through(x, ops.reshape(ops.take(codebook, index, axis=0), ops.shape(x)))

    def _check(self, shape: Sequence[int]) -> None:
        if not shape or shape[-1] % self.dim:
            raise ConfigError("quantizer.dim", self.dim, f"a divisor of the number of latents ({tuple(shape)[-1:]})")


def _nearest(
    groups: NDArray[np.float64], codebook: NDArray[np.float64], exact: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Index of the nearest codeword and its squared distance, in blocks of bounded memory; ties are exact on demand."""
    if not exact and codebook.shape[1] <= 4:
        distance, index = cKDTree(codebook).query(groups)
        return index, distance**2
    index, error = np.empty(len(groups), np.int64), np.empty(len(groups))
    step = max(1, 2**22 // codebook.size)
    for start in range(0, len(groups), step):
        x = groups[start : start + step]
        if exact:
            distance = np.square(x[:, None] - codebook).sum(axis=-1)
        else:
            distance = np.square(x).sum(axis=1)[:, None] - 2 * x @ codebook.T + np.square(codebook).sum(axis=1)
        index[start : start + step] = distance.argmin(axis=1)
        error[start : start + step] = np.maximum(distance.min(axis=1), 0)
    return index, error


def _spread(groups: NDArray[np.float64], size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """k-means++: each next codeword is drawn with a probability in proportion to its squared distance."""
    chosen = [groups[rng.integers(len(groups))]]
    distance = np.full(len(groups), np.inf)
    for _ in range(size - 1):
        distance = np.minimum(distance, np.square(groups - chosen[-1]).sum(axis=1))
        total = distance.sum()
        pick = rng.choice(len(groups), p=distance / total) if total > 0 else rng.integers(len(groups))
        chosen.append(groups[pick])
    return np.array(chosen)
