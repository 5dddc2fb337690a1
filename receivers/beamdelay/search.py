"""Reports of a given number of bits: the step and the decisions that fill them."""

from __future__ import annotations

from math import isqrt

import numpy as np

from receivers.beamdelay.coder import Content
from receivers.beamdelay.quantizer import Quantizer, Target

_START = 3  # index of the step with which the search begins
_OFFSETS = (0, 2, 4, 6, 8, 10, 13, 17)  # of energies that a report may name, in quarters of an octave
_PER_COEFFICIENT = 6.8  # bits, for the first guess of the step
_LEAST, _MOST = 0.02, 1.0  # slopes between which the budget is filled [squared steps per bit]
_HALVINGS = 9
_CHANGES = 4  # single changes that use up what the slope leaves
_TRIED = 2  # steps, from the predicted one on to finer ones
_PASSES = 3  # with contexts brought up to date, the first with all steps
_TRUST = 4.0  # bits by which a report may grow because its contexts came out cheaper than planned
_SPARE = 1.0  # bit, which the range coder may need on top of the ideal length
_SLACK = 1.06  # a step may ask for this share of the budget at the usual slope


def energies_for(bits: int) -> list[int]:
    r"""Energies of a layer in squared steps, of which a report of ``bits`` per layer names one.

    .. math:: E_k = \lfloor 2^{(j + o_k) / 4} \rfloor, \quad o = 0, 2, 4, 6, 8, 10, 13, 17, \quad
        j = \lfloor 51 \lfloor 8 \log_2 B \rfloor / 64 \rfloor - 26

    made increasing from 1 on; integer arithmetic, so that both ends agree. The size of a step is
    :math:`E_k^{-1/2}` for a layer of energy 1.
    """
    first = 51 * ((max(bits, 1) ** 8).bit_length() - 1) // 64 - 26
    energies: list[int] = []
    for offset in _OFFSETS:
        energy = isqrt(isqrt(2 ** max(first + offset, 0)))
        energies.append(max(energy, energies[-1] + 1 if energies else 1))
    return energies


class BudgetSearch:
    """Content of reports whose code, up to the last coefficient that is not 0, fits in a number of bits.

    The step: the finest whose length, predicted from the number of coefficients and then corrected by the true length
    at one step, is within the budget. The decisions: the least slope that fits, by bisection, then single changes of
    most gain that still fit; again with phases and contexts brought up to date.

    Args:
        quantizer: of the reports.
        bits: of a report.
    """

    def __init__(self, quantizer: Quantizer, bits: int):
        self._quantizer, self._coder, self.bits = quantizer, quantizer.coder, bits

    def __call__(self, v: np.ndarray) -> Content:
        """Content for directions complex64 ``[report, layer, subband, port]``."""
        q, reports = self._quantizer, len(v)
        middle = np.full(reports, _START)
        target, content, bins = q.start(v, middle)
        guess = self._guess(target)
        length = self._length(content, self._coder.bins(content))
        step = self._finest(guess * (length / guess[middle[0]]))
        target = q.refit(target, content, bins)
        usual = np.full(reports, q.slope)
        tried = [np.minimum(step + finer, len(q.steps) - 1) for finer in range(_TRIED)]
        best = [self._pass(target, t, self._coder.bins(q.decide(target, t, bins, usual))) for t in tried]
        for number in range(_PASSES):
            best = [self._pass(target, t, *b[1:]) for t, b in zip(tried, best, strict=True)]
            if number == 0:
                chosen = np.argmin([b[0] for b in best], axis=0)
                tried = [np.choose(chosen, tried)]
                best = [_chosen(chosen, best)]
        _, bins, budget, content = best[0]
        rows = np.flatnonzero(self._length(content, bins) > self.bits - _SPARE)
        if rows.size:
            shorter = self._fill(target.of(rows), tried[0][rows], bins[:, rows], budget[rows] - 1)[0]
            content = content.replaced(rows, shorter)
        return content

    def _pass(
        self, target: Target, step: np.ndarray, bins: np.ndarray, budget: np.ndarray | None = None, *_: Content
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Content]:
        """Squared error, tables, budget of the next pass, and content that fits in the budget with tables ``bins``."""
        most = self.bits - _SPARE
        content, planned = self._fill(target, step, bins, np.full(len(step), most) if budget is None else budget)
        bins = self._coder.bins(content)
        excess = self._length(content, bins) - planned
        return self._quantizer.error(target, content, bins), bins, most - np.maximum(excess, -_TRUST), content

    def _guess(self, target: Target) -> np.ndarray:
        """Predicted lengths ``[step, report]``."""
        size = np.maximum(np.abs(target.cells.real), np.abs(target.cells.imag))
        counts = np.stack([np.sum(size > 0.62 * step, axis=(0, 2)) for step in self._quantizer.steps])
        return self._coder.head_bits() + 3 + _PER_COEFFICIENT * counts

    def _finest(self, lengths: np.ndarray) -> np.ndarray:
        return np.maximum(np.sum(lengths <= _SLACK * self.bits, axis=0) - 1, 0)

    def _length(self, content: Content, bins: np.ndarray) -> np.ndarray:
        """Ideal length up to the last coefficient that is not 0, with the tables ``bins``."""
        length = self._coder.ideal_bits(content, bins)
        flat = np.moveaxis(length, 1, 2).reshape(-1, length.shape[1])
        found = np.moveaxis((content.real != 0) | (content.imag != 0), 1, 2).reshape(flat.shape)
        last = len(flat) - 1 - found[::-1].argmax(axis=0)
        return self._coder.head_bits() + np.cumsum(flat, axis=0)[last, np.arange(flat.shape[1])]

    def _fill(
        self, target: Target, step: np.ndarray, bins: np.ndarray, budget: np.ndarray
    ) -> tuple[Content, np.ndarray]:
        """Content that fits in ``budget [report]``, the tables given, and its length with them."""
        candidates = self._quantizer.candidates(target, step, bins)
        place, report, layer = candidates.at
        layers, reports = bins.shape[2], np.arange(len(step))
        zero = self._coder.zero_bits(self._quantizer.plain(target, step), bins)
        zero = np.moveaxis(zero, 1, 2).reshape(-1, len(step))
        zero = np.cumsum(zero, axis=0) + self._coder.head_bits()
        order, rows = place * layers + layer, np.arange(len(place))

        def length(pair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            last = np.full(len(step), max(self._coder.always - 1, 0))
            np.maximum.at(last, report, np.where(candidates.nonzero(pair), order, 0))
            more = candidates.length[pair, rows] - candidates.zero
            return zero[last, reports] + np.bincount(report, more, len(step)), last

        low, high = np.full(len(step), np.log(_LEAST)), np.full(len(step), np.log(_MOST))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            fits = length(candidates.choice(np.exp(middle)))[0] <= budget
            high, low = np.where(fits, middle, high), np.where(fits, low, middle)
        pair = candidates.choice(np.exp(high))
        for _ in range(_CHANGES):
            used, last = length(pair)
            gain = candidates.distortion[pair, rows] - candidates.distortion
            cost = candidates.length - candidates.length[pair, rows]
            cost = cost + np.where(order > last[report], zero[order, report] - zero[last[report], report], 0)
            gain = np.where(cost <= (budget - used)[report], gain, 0)
            most = np.zeros(len(step), np.float32)
            np.maximum.at(most, report, gain.max(axis=0))
            now = (gain.max(axis=0) == most[report]) & (most[report] > 1e-4)
            if not now.any():
                break
            first = np.full(len(step), len(place))
            np.minimum.at(first, report[now], rows[now])
            now = first[first < len(place)]
            pair[now] = gain[:, now].argmax(axis=0)
        return self._quantizer.chosen(target, step, candidates, pair), length(pair)[0]


def _chosen(which: np.ndarray, found: list[tuple[np.ndarray, np.ndarray, np.ndarray, Content]]) -> tuple:
    """For every report one of several results of a pass."""
    error, bins, budget, content = found[0]
    for number, other in enumerate(found[1:], 1):
        rows = which == number
        error, budget = np.where(rows, other[0], error), np.where(rows, other[2], budget)
        bins, content = np.where(rows[:, None], other[1], bins), content.mixed(rows, other[3])
    return error, bins, budget, content
