"""Analysis by synthesis: the UE tries what the gNB would make of other reports."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from receivers.beamdelay.content import Content
from receivers.beamdelay.exchange import largest, with_pairs
from receivers.beamdelay.quantizer import Quantizer, Target

TRIED = 8
"""Changes of a report in a round."""


class Synthesis:
    r"""Changes of single coefficients after which a report serves the gNB better.

    Of every report the eight changes that cost least as decoded, :math:`|x - q|^2 + \mu \ell`, are judged by

    .. math:: \sum_l \frac{1}{N_3} \sum_t |v_{l,t}^H \hat{w}_{l,t}|^2 - \mu \Delta^2 b

    with the directions :math:`\hat{w}` that the gNB finds and the bits b of the report. The best one is made if it is
    better than none; then the next round.

    Args:
        quantizer: of reports with a public step.
        known: directions complex64 ``[report, port, layer, subband]`` at the gNB, of contents and their tables.
        rounds: at most.
    """

    def __init__(self, quantizer: Quantizer, known: Callable[[Content, np.ndarray], np.ndarray], rounds: int):
        self._quantizer, self._known, self._rounds = quantizer, known, rounds

    def __call__(self, v: np.ndarray, content: Content, target: Target) -> Content:
        """Content for directions complex64 ``[report, layer, subband, port]``, from a first one and its target."""
        rows, (value, bins) = np.arange(len(v)), self._judged(v, content)
        for _ in range(self._rounds):
            others = self._others(target.of(rows), content.of(rows), bins)
            judged = [self._judged(v[rows], other) for other in others]
            values = np.stack([value for value, _ in judged])
            best, reports = values.argmax(axis=0), np.arange(len(rows))
            better = values[best, reports] > value[rows]
            rows, best = rows[better], best[better]
            value[rows] = values.max(axis=0)[better]
            bins = bins[:, better].copy()
            for number, (other, (_, tables)) in enumerate(zip(others, judged, strict=True)):
                chosen = best == number
                content = content.replaced(rows[chosen], other.of(better).of(chosen))
                bins[:, chosen] = tables[:, better][:, chosen]
            if not rows.size:
                break
        return content

    def _judged(self, v: np.ndarray, content: Content) -> tuple[np.ndarray, np.ndarray]:
        """What contents are worth, and their tables."""
        quantizer, coder = self._quantizer, self._quantizer.coder
        bins = coder.bins(content)
        gain = np.square(np.abs(np.einsum("nltp,nplt->nlt", v.conj(), self._known(content, bins))))
        bits = np.sum(coder.ideal_bits(content, bins), axis=(0, 2))
        price = quantizer.slope * np.square(quantizer.steps[content.step])
        return np.sum(gain.mean(axis=2), axis=1, dtype=np.float64) - price * bits, bins

    def _others(self, target: Target, content: Content, bins: np.ndarray) -> list[Content]:
        """Contents with one coefficient changed."""
        candidates = self._quantizer.candidates(target, content.step)
        costs = self._quantizer.costs(candidates, bins)
        cost = costs.distortion + np.float32(self._quantizer.slope) * costs.length
        real, imag = (np.abs(part[candidates.at]) for part in (content.real, content.imag))
        same = ((candidates.sizes[0] == real)[:, None] & (candidates.sizes[1] == imag)).reshape(cost.shape)
        gain = np.where(same, -np.inf, cost[same.argmax(axis=0), np.arange(cost.shape[1])] - cost)
        at, pair = largest(gain, candidates.at[1], len(content.step), TRIED)
        return [with_pairs(content, candidates, *x) for x in zip(at.T[1:, None], pair.T[1:, None], strict=True)]
