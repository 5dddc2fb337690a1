"""Codebook of a site by the generalised Lloyd algorithm, the classical reference for learned codebooks."""

from __future__ import annotations

import numpy as np

from receivers.codebooks.search import best_codeword

_POWER_STEPS = 3  # per iteration; each raises the objective, none lowers it


def lbg_codebook(
    h: np.ndarray, bits: int, seed: int, *, start: np.ndarray | None = None, iterations: int = 60, gain: float = 1e-5
) -> np.ndarray:
    r"""Unit-norm codewords complex64 ``[2**bits, port]`` that maximise the mean of :math:`\max_i |h c_i|^2 / \|h\|^2`.

    Alternately every channel goes to its best codeword, and every codeword becomes the dominant eigenvector of its
    cell, :math:`\sum h^H h / \|h\|^2`, by steps of the power method from the old one. A codeword without channels
    takes the channel that is served worst.

    Args:
        h: channel rows complex64 ``[sample, port]`` of the site.
        bits: B; at most one codeword for every sample is useful.
        seed: of the start, random channels.
        start: codewords to start at.
        iterations: largest number of iterations.
        gain: stop when the mean rises by less.

    Source: Linde, Buzo, Gray, IEEE Trans. Commun. 28(1), 1980; for beamforming: Roh, Rao, IEEE Trans. Inf. Theory
    52(3), 2006.
    """
    v = _unit(np.conj(h))
    rng = np.random.default_rng(seed)
    if start is None:
        size = 2**bits
        order = np.concatenate([rng.permutation(len(v)) for _ in range(-(-size // len(v)))])[:size]
        start = v[order]
    codebook, before = np.array(start, np.complex64), -1.0
    for _ in range(iterations):
        index = best_codeword(v.conj()[:, None], codebook)
        fit = np.abs(np.sum(codebook[index].conj() * v, axis=1)) ** 2
        if fit.mean() - before < gain:
            break
        before = float(fit.mean())
        codebook = _centroids(v, index, codebook)
        empty = np.flatnonzero(np.bincount(index, minlength=len(codebook)) == 0)
        worst = np.argsort(fit, kind="stable")[: len(empty)]
        codebook[empty[: len(worst)]] = v[worst]
    return codebook


def _centroids(v: np.ndarray, index: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Codewords after steps of the power method on the channels of their cells."""
    order = np.argsort(index, kind="stable")
    cells, starts = np.unique(index[order], return_index=True)
    sorted_v, own = v[order], index[order]
    codebook = codebook.copy()
    for _ in range(_POWER_STEPS):
        inner = np.sum(sorted_v.conj() * codebook[own], axis=1)
        codebook[cells] = _unit(np.add.reduceat(sorted_v * inner[:, None], starts, axis=0))
    return codebook


def _unit(x: np.ndarray) -> np.ndarray:
    return (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-20)).astype(np.complex64)
