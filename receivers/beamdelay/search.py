"""Reports of a given number of bits: the step and the decisions that fill them."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

import numpy as np

from receivers.beamdelay.coder import Content
from receivers.beamdelay.quantizer import Quantizer, Target

NUM_STEPS = 8
_SPACING = 2  # of energies that a report may name, in quarters of an octave
_PER_COEFFICIENT = 6.8  # bits, for the first guess of the step
_LEAST, _MOST = 0.02, 1.0  # slopes between which the budget is filled [squared steps per bit]
_HALVINGS = 7
_SPARE = 1.0  # bit, which the range coder may need on top of the ideal length
_SLACK = 1.06  # a step may ask for this share of the budget at the usual slope


def energies_for(bits: int) -> list[int]:
    r"""Energies of a layer in squared steps, of which a report of ``bits`` per layer names one.

    .. math:: E_k = \lfloor 2^{(j + 2 k) / 4} \rfloor, \quad
        j = \lfloor 51 \lfloor 8 \log_2 B \rfloor / 64 \rfloor - 28, \quad k = 0..7

    made increasing from 1 on; integer arithmetic, so that both ends agree. The size of a step is
    :math:`E_k^{-1/2}` for a layer of energy 1.
    """
    first = 51 * ((max(bits, 1) ** 8).bit_length() - 1) // 64 - 21 - 7 * _SPACING // 2
    energies: list[int] = []
    for k in range(NUM_STEPS):
        energy = isqrt(isqrt(2 ** max(first + _SPACING * k, 0)))
        energies.append(max(energy, energies[-1] + 1 if energies else 1))
    return energies


class BudgetSearch:
    """Content of reports whose code, up to the last coefficient that is not 0, fits in a number of bits.

    The step: the finest whose length, predicted from the number of coefficients and then corrected by the true length
    at one step, is within the budget. The decisions: the least slope that fits, by bisection, twice, with phases and
    contexts brought up to date in between.

    Args:
        quantizer: of the reports.
        bits: of a report.
    """

    def __init__(self, quantizer: Quantizer, bits: int):
        self._quantizer, self._coder, self.bits = quantizer, quantizer.coder, bits

    def __call__(self, v: np.ndarray) -> Content:
        """Content for directions complex64 ``[report, layer, subband, port]``."""
        q = self._quantizer
        middle = len(q.steps) // 2
        target = q.target(v, np.full(len(v), q.steps[middle]))
        guess = self._guess(target)
        step = self._finest(guess)
        content = q.plain(target, step)
        bins = self._coder.bins(content)
        slope = np.full(len(v), q.slope)
        content = q.decide(target, step, bins, slope)
        length = self._length(content, bins)
        better = self._finest(guess * (length / np.take_along_axis(guess, step[None], axis=0)[0]))
        moved = better != step
        step = better
        target = q.refit(target, content, bins)
        if moved.any():
            content = _mixed(moved, q.plain(target, step), replace(content, step=step))
            bins = self._coder.bins(content)
        budget = np.full(len(v), self.bits - _SPARE)
        for last in (False, True):
            content = q.decide(target, step, bins, self._slope(target, step, bins, budget))
            planned = self._length(content, bins)
            if not last:
                bins = self._coder.bins(content)
                target = q.refit(target, content, bins)
                budget = budget - np.clip(self._length(content, bins) - planned, -4, 4) / 2
        return content

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

    def _slope(self, target: Target, step: np.ndarray, bins: np.ndarray, budget: np.ndarray) -> np.ndarray:
        """Least slope ``[report]`` whose decisions fit in ``budget``, their tables given."""
        candidates = self._quantizer.candidates(target, step, bins)
        place, report, layer = candidates.at
        layers = bins.shape[2]
        zero = np.moveaxis(self._coder.tables.lengths[bins, 0], 1, 2).reshape(-1, bins.shape[1])
        zero[:layers] = self._coder.origin_bits(self._quantizer.plain(target, step)).T
        zero = np.cumsum(zero, axis=0) + self._coder.head_bits()
        order = place * layers + layer
        low, high = np.full(len(step), np.log(_LEAST)), np.full(len(step), np.log(_MOST))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            pair = candidates.choice(np.exp(middle))
            more = candidates.length[pair, np.arange(len(pair))] - candidates.zero
            last = np.full(len(step), layers - 1)
            np.maximum.at(last, report, np.where(candidates.nonzero(pair), order, 0))
            length = zero[last, np.arange(len(step))] + np.bincount(report, more, len(step))
            fits = length <= budget
            high, low = np.where(fits, middle, high), np.where(fits, low, middle)
        return np.exp(high)


def _mixed(rows: np.ndarray, one: Content, other: Content) -> Content:
    """``one`` in these reports, ``other`` elsewhere."""
    real, imag = (
        np.where(rows[:, None], a, b) for a, b in ((one.real, other.real), (one.imag, other.imag))
    )  # fmt: skip
    return replace(one, real=real, imag=imag)
