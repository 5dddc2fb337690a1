"""Reports of a given number of bits: the step and the decisions that fill them."""

from __future__ import annotations

from collections.abc import Iterable
from math import isqrt

import numpy as np

from receivers.beamdelay.content import Content, in_order, last_nonzero, running
from receivers.beamdelay.exchange import exchanged
from receivers.beamdelay.quantizer import Quantizer, Target

_START = 3  # index of the step with which the search begins
_OFFSETS = (0, 2, 4, 6, 8, 10, 13, 17)  # of energies that a report may name, in quarters of an octave
_PER_COEFFICIENT = 6.8  # bits, for the first guess of the step
_LEAST, _MOST = 0.02, 1.0  # slopes between which the budget is filled [squared steps per bit]
_HALVINGS = 9
_TRIED = 2  # steps, from the predicted one on to finer ones
_PASSES = 2  # with phases and contexts brought up to date
_TRUST = 4.0  # bits by which a report may grow because its contexts came out cheaper than planned
_SPARE = 1.02  # bits, which a report needs beyond the ideal length up to its last coefficient
_SLACK = 1.06  # a step may ask for this share of the budget at the usual slope


def energies_for(bits: int) -> list[int]:
    r"""Energies of a layer in squared steps, of which a report of ``bits`` per layer names one.

    .. math:: E_k = \lfloor 2^{(j + o_k) / 4} \rfloor, \quad o = 0, 2, 4, 6, 8, 10, 13, 17, \quad
        j = \lfloor 51 \lfloor 8 \log_2 B \rfloor / 64 \rfloor - 26

    made increasing from 1 on; integer arithmetic, so that both ends agree. The size of a step is
    :math:`E_k^{-1/2}` for a layer of energy 1.
    """
    return _increasing(isqrt(isqrt(2 ** max(_least(bits) + offset, 0))) for offset in _OFFSETS)


def fine_energies_for(bits: int) -> list[int]:
    r"""The same in 32 steps of an eighth of an octave, :math:`\lfloor 2^{(2j + k) / 8} \rfloor`."""
    return _increasing(isqrt(isqrt(isqrt(2 ** max(2 * _least(bits) + k, 0)))) for k in range(32))


def _least(bits: int) -> int:
    """The least energy that a report of ``bits`` per layer names, in quarters of an octave."""
    return 51 * ((max(bits, 1) ** 8).bit_length() - 1) // 64 - 26


def _increasing(energies: Iterable[int]) -> list[int]:
    found: list[int] = []
    for energy in energies:
        found.append(max(energy, found[-1] + 1 if found else 1))
    return found


class BudgetSearch:
    """Content of reports whose code, up to the last coefficient that is not 0, fits in a number of bits.

    The step: the finest whose length, predicted from the number of coefficients and then corrected by the true length
    at one step, is within the budget, and the next finer one. The decisions: the least slope that fits, by bisection,
    twice, with phases and contexts brought up to date; then changes of one or two coefficients
    (:func:`~receivers.beamdelay.exchange.exchanged`). The better one of the two.

    Args:
        quantizer: of the reports.
        bits: of a report.
    """

    def __init__(self, quantizer: Quantizer, bits: int):
        self._quantizer, self._coder, self.bits = quantizer, quantizer.coder, bits

    def __call__(self, v: np.ndarray, noise: np.ndarray | None = None) -> Content:
        """Content for directions complex64 ``[report, layer, subband, port]``.

        Args:
            v: directions.
            noise: variance of the error of a cell, ``[report, layer]``; None: 0.
        """
        q, reports = self._quantizer, len(v)
        middle = np.full(reports, _START)
        target, content, bins = q.start(
            v, middle, np.zeros(v.shape[:2], np.float32) if noise is None else noise, whole=False
        )
        guess = self._guess(target)
        length = self._length(content, self._bins(target, content))
        step = self._finest(guess * (length / guess[middle[0]]))
        target = q.refit(target, content, bins)
        found, least = self._filled(target, step, bins)
        for finer in range(1, _TRIED):
            content, error = self._filled(target, np.minimum(step + finer, len(q.steps) - 1), bins)
            found, least = found.mixed(error < least, content), np.minimum(error, least)
        # Zeros after the last coefficient that may be other than 0 can ask for bits of their own.
        long = np.flatnonzero(self._coder.needed(found, self._coder.bins(found), self.bits) > self.bits)
        return found.replaced(long, self._coder.first(found.of(long), self.bits)) if long.size else found

    def _filled(self, target: Target, step: np.ndarray, bins: np.ndarray) -> tuple[Content, np.ndarray]:
        """Content with a step, and its squared error."""
        q, most = self._quantizer, self.bits - _SPARE
        bins = self._bins(target, q.decide(target, step, bins, np.full(len(step), q.slope)))
        budget = np.full(len(step), most)
        for number in range(_PASSES):
            content, planned = self._fill(target, step, bins, budget)
            if number < _PASSES - 1:
                target = q.refit(target, content, bins)
            bins = self._bins(target, content)
            budget = most - np.maximum(self._length(content, bins) - planned, -_TRUST)
        content, bins = exchanged(q, target, content, bins, self.bits)
        return content, q.error(target, content, bins)

    def _bins(self, target: Target, content: Content) -> np.ndarray:
        """Tables as far as a coefficient may be other than 0."""
        return self._coder.first_bins(content, self._quantizer.reach(target, content.step, content))

    def _guess(self, target: Target) -> np.ndarray:
        """Predicted lengths ``[step, report]``."""
        size = np.maximum(np.abs(target.cells.real), np.abs(target.cells.imag))
        counts = np.stack([np.sum(size > 0.62 * step, axis=(0, 2)) for step in self._quantizer.steps])
        return self._coder.head_bits() + 3 + _PER_COEFFICIENT * counts

    def _finest(self, lengths: np.ndarray) -> np.ndarray:
        return np.maximum(np.sum(lengths <= _SLACK * self.bits, axis=0) - 1, 0)

    def _length(self, content: Content, bins: np.ndarray) -> np.ndarray:
        """Ideal length up to the last coefficient that is not 0, with the tables ``bins``."""
        length = running(in_order(self._coder.ideal_bits(content, bins)))
        return self._coder.head_bits() + length[last_nonzero(content), np.arange(length.shape[1])]

    def _fill(
        self, target: Target, step: np.ndarray, bins: np.ndarray, budget: np.ndarray
    ) -> tuple[Content, np.ndarray]:
        """Content that fits in ``budget [report]``, the tables given, and its length with them."""
        candidates = self._quantizer.candidates(target, step, bins)
        place, report, layer = candidates.at
        layers, reports = bins.shape[2], np.arange(len(step))
        zero = self._coder.zero_bits(self._quantizer.plain(target, step), bins)
        zero = running(in_order(zero)) + self._coder.head_bits()
        order, rows = place * layers + layer, np.arange(len(place))

        def length(pair: np.ndarray) -> np.ndarray:
            last = np.full(len(step), max(self._coder.always - 1, 0))
            np.maximum.at(last, report, np.where(candidates.nonzero(pair), order, 0))
            more = candidates.length[pair, rows] - candidates.zero
            return zero[last, reports] + np.bincount(report, more, len(step))

        low, high = np.full(len(step), np.log(_LEAST)), np.full(len(step), np.log(_MOST))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            fits = length(candidates.choice(np.exp(middle))) <= budget
            high, low = np.where(fits, middle, high), np.where(fits, low, middle)
        pair = candidates.choice(np.exp(high))
        return self._quantizer.chosen(target, step, candidates, pair), length(pair)
