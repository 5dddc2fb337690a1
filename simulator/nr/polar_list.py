"""Successive cancellation list decoding of polar codes for many codewords at once, in NumPy."""

from __future__ import annotations

import numpy as np

_REGISTER = 5  # length of the shift register of the parity-check bits


def transform(u: np.ndarray) -> np.ndarray:
    """Bits times G_N = [[1, 0], [1, 1]]^(kron n) over GF(2), uint8 ``[..., N]``; its own inverse."""
    x = u.copy()
    half = 1
    while half < x.shape[-1]:
        pairs = x.reshape(*x.shape[:-1], -1, 2, half)
        pairs[..., 0, :] ^= pairs[..., 1, :]
        half *= 2
    return x


class ListDecoder:
    r"""List decoder with path metrics :math:`\sum_i \max(0, -(1 - 2 u_i) \lambda_i)` and min-sum updates.

    Subtrees of frozen bits alone, and those whose last bit alone is free (repetition codes), are decided at once,
    which changes no result. Every step works on all codewords and paths. A step returns where its surviving paths came
    from, so that values are copied only when they are needed.

    Args:
        frozen: bool ``[N]``, bits that are 0.
        parity: bool ``[N]``, bits that are the sum of the free bits before them at distances 5, 10, ...
            (TS 38.212, 5.3.1.2).
        list_size: most paths.

    Source: Tal, Vardy, IEEE Trans. Inf. Theory 61(5), 2015; Balatsoukas-Stimming et al., IEEE Trans. Signal Process.
    63(19), 2015; subtrees: Hashemi, Condo, Gross, IEEE Trans. Circuits Syst. I 63(12), 2016.
    """

    def __init__(self, frozen: np.ndarray, parity: np.ndarray, list_size: int):
        self._frozen, self._parity, self._list_size = frozen, parity, list_size

    def __call__(self, llr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Surviving words of every codeword, the likeliest first.

        Args:
            llr: float32 ``[batch, N]``, log P(0) / P(1).

        Returns:
            ``u`` uint8 ``[batch, path, N]`` and path metrics float32 ``[batch, path]``, increasing.
        """
        self._metric = np.zeros((len(llr), 1), np.float32)
        self._register = np.zeros((len(llr), 1, _REGISTER), np.uint8)
        self._rows = np.arange(len(llr))[:, None]
        word, _ = self._node(llr[:, None], 0)
        order = np.argsort(self._metric, axis=1, kind="stable")
        return transform(self._take(word, order)), np.take_along_axis(self._metric, order, axis=1)

    def _node(self, llr: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Word uint8 ``[batch, path, size]`` of the subtree from bit ``first`` on, and the old path of every path."""
        size = llr.shape[2]
        free = ~self._frozen[first : first + size]
        if not free.any():
            self._metric = self._metric - np.minimum(llr, 0).sum(axis=2)
            return np.zeros(llr.shape, np.uint8), None
        if not free[:-1].any():
            return self._last_bit(llr, first + size - 1)
        a, b = llr[..., : size // 2], llr[..., size // 2 :]
        low = np.minimum(np.abs(a), np.abs(b))
        left, origin = self._node(np.copysign(low, np.sign(a) * b, out=low), first)
        if origin is not None:
            llr = self._take(llr, origin)
            a, b = llr[..., : size // 2], llr[..., size // 2 :]
        right, then = self._node(b + np.where(left, -a, a), first + size // 2)
        if then is not None:
            left = self._take(left, then)
            origin = then if origin is None else np.take_along_axis(origin, then, axis=1)
        return np.concatenate([left ^ right, right], axis=2), origin

    def _last_bit(self, llr: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """A subtree that repeats one bit, number ``index``, which is free or a parity bit."""
        cost = np.stack([-np.minimum(llr, 0).sum(axis=2), np.maximum(llr, 0).sum(axis=2)])  # of 0, of 1
        residue = index % _REGISTER
        if self._parity[index]:
            bit, origin = self._register[..., residue], None
            self._metric = self._metric + np.where(bit, cost[1], cost[0])
        else:
            bit, origin = self._fork(cost)
            self._register = self._take(self._register, origin)
            self._register[..., residue] ^= bit
        return np.repeat(bit[..., None], llr.shape[2], axis=2), origin

    def _fork(self, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both values of a bit on every path, the best of which stay: bit and old path, ``[batch, path]``."""
        paths = self._metric.shape[1]
        metric = np.concatenate(list(self._metric + cost), axis=1)
        if 2 * paths > self._list_size:
            kept = np.argpartition(metric, self._list_size - 1, axis=1)[:, : self._list_size]
            metric = np.take_along_axis(metric, kept, axis=1)
        else:
            kept = np.broadcast_to(np.arange(2 * paths), metric.shape)
        self._metric = metric
        return (kept >= paths).astype(np.uint8), kept % paths

    def _take(self, x: np.ndarray, origin: np.ndarray) -> np.ndarray:
        return x[self._rows, origin]
