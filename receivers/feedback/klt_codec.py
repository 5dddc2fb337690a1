"""Coefficients of a KLT as bits: one step and an entropy code, or whole bits for each coefficient."""

from __future__ import annotations

import numpy as np

from receivers.coding.range_coder import RangeCoder
from receivers.models.klt import Klt
from receivers.quantization.lloyd_max import gaussian_levels
from simulator.core import bitfield
from simulator.core.errors import ConfigError

LIMIT = 127
_MOST_BITS = 8


class KltCodec:
    r"""Reverse water-filling of the coefficients of ``images`` images in a report.

    Args:
        klt: transform.
        images: images of a report.
        bits: of the coefficients of one image: exactly ("fixed"), or as a mean, which ``step`` gives ("entropy").
        step: of the common uniform quantiser before the entropy code; None: whole bits for each coefficient, and
            Lloyd-Max quantisers for Gaussian coefficients.

    Source: Cover, Thomas, Elements of Information Theory, 2nd ed., Theorem 10.3.3; Goyal, IEEE Signal Process. Mag.
    18(5), 2001; levels: Max, 1960.
    """

    def __init__(self, klt: Klt, images: int, bits: int, step: float | None):
        self._klt, self._images, self._bits, self._step = klt, images, bits, step
        if step is not None:
            self._coder = RangeCoder(2 * LIMIT + 1, **RangeCoder.fit(klt.counts(step, LIMIT)))
        else:
            self._allocation = allocate(np.repeat(klt.variances / 2, 2), bits)
            self._std = np.repeat(np.sqrt(klt.variances / 2), 2)

    @property
    def max_bits(self) -> int:
        """Longest possible report."""
        if self._step is None:
            return self._images * self._bits
        return self._coder.max_bits(self._images * 2 * len(self._klt.basis))

    def encode(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bits uint8 ``[report, max]``, their number ``[report]`` of ``z`` complex ``[report * image, component]``."""
        if self._step is not None:
            cells = self._klt.cells(z, self._step, LIMIT)
            return self._coder.encode(cells.reshape(-1, self._images * cells.shape[1]))
        pairs = np.ascontiguousarray(z)[..., None].view(np.float32).reshape(len(z), -1) / self._std
        fields = []
        for bits in range(1, _MOST_BITS + 1):
            chosen = pairs[:, self._allocation == bits]
            levels = gaussian_levels(bits)
            fields.append(bitfield.pack(np.searchsorted((levels[1:] + levels[:-1]) / 2, chosen), bits))
        found = np.concatenate(fields, axis=1).reshape(len(z) // self._images, -1)
        return found, np.full(len(found), found.shape[1], np.int64)

    def decode(self, bits: np.ndarray, num_bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``z`` complex64 ``[report * image, component]`` and ``valid`` bool ``[report]``; see :meth:`encode`."""
        width = 2 * len(self._klt.basis)
        if self._step is not None:
            cells, valid = self._coder.decode(bits, np.maximum(num_bits, 0), self._images * width)
            return self._klt.values(cells.reshape(-1, width), self._step, LIMIT), valid & (num_bits >= 0)
        valid = num_bits == self.max_bits
        bits = np.pad(bits, ((0, 0), (0, max(self.max_bits - bits.shape[1], 0))))[:, : self.max_bits]
        bits = bits.reshape(-1, self._bits)
        pairs, start = np.zeros((len(bits), width)), 0
        for size in range(1, _MOST_BITS + 1):
            columns = np.flatnonzero(self._allocation == size)
            field = bits[:, start : start + size * len(columns)]
            pairs[:, columns] = gaussian_levels(size)[bitfield.unpack(field, size)]
            start += size * len(columns)
        return np.ascontiguousarray((pairs * self._std).astype(np.float32)).view(np.complex64), valid


def allocate(variances: np.ndarray, bits: int) -> np.ndarray:
    """Whole bits int64 ``[coefficient]`` with the sum ``bits``, each where it reduces the squared error most.

    Args:
        variances: float ``[coefficient]`` of Gaussian coefficients.
        bits: sum; at most 8 go to one coefficient.

    Source: Gersho, Gray, Vector Quantization and Signal Compression, 1992, Sec. 8.3 (greedy allocation).
    """
    if bits > _MOST_BITS * len(variances):
        raise ConfigError("feedback.klt.bits", bits, f"1..{_MOST_BITS * len(variances)} (8 per coefficient)")
    distortion = np.array([1.0] + [gaussian_distortion(b) for b in range(1, _MOST_BITS + 1)])
    gains = np.outer(distortion[:-1] - distortion[1:], variances)  # [bit, coefficient], falling along bits
    best = np.argsort(-gains.ravel(), kind="stable")[:bits]
    return np.bincount(best % len(variances), minlength=len(variances))


def gaussian_distortion(bits: int) -> float:
    """Mean squared error of the Lloyd-Max quantiser for a unit Gaussian: 1 minus the power of its levels."""
    from scipy.special import ndtr

    levels = gaussian_levels(bits)
    ends = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
    return float(1 - np.sum(np.diff(ndtr(ends)) * levels**2))
