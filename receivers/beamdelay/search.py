"""Reports of a given number of bits: the step and the decisions that fill them."""

from __future__ import annotations

from collections.abc import Iterable
from math import isqrt

import numpy as np

from receivers.beamdelay.content import Content, in_order, running
from receivers.beamdelay.exchange import exchanged
from receivers.beamdelay.quantizer import Quantizer, Target

_START = 2  # index of the step with which the search begins
_OFFSETS = (0, 2, 4, 6, 9, 12, 16, 22)  # of energies that a report may name, in quarters of an octave
_PER_COEFFICIENT = 6.8  # bits, for the first guess of the step
_LEAST, _MOST = 0.02, 1.0  # slopes between which the budget is filled [squared steps per bit]
_HALVINGS = 6
_TRIED = 2  # steps, from the predicted one on to finer ones
_MARGIN = 0.5  # squared steps by which a step may promise more error than another one, and still be tried to the end
_PASSES = 2  # with phases and contexts brought up to date
_TRUST = 4.0  # bits by which a report may grow because its contexts came out cheaper than planned
_SPARE = 1.02  # bits, which a report needs beyond the ideal length up to its last coefficient
_SLACK = 1.06  # a step may ask for this share of the budget at the usual slope


def energies_for(bits: int) -> list[int]:
    r"""Energies of a layer in squared steps, of which a report of ``bits`` per layer names one.

    .. math:: E_k = \lfloor 2^{(j + o_k) / 4} \rfloor, \quad o = 0, 2, 4, 6, 9, 12, 16, 22, \quad
        j = \lfloor 51 \lfloor 8 \log_2 B \rfloor / 64 \rfloor - 24

    made increasing from 1 on; integer arithmetic, so that both ends agree. The size of a step is
    :math:`E_k^{-1/2}` for a layer of energy 1.
    """
    return _increasing(isqrt(isqrt(2 ** max(_least(bits) + offset, 0))) for offset in _OFFSETS)


def _least(bits: int) -> int:
    """The least energy that a report of ``bits`` per layer names, in quarters of an octave."""
    return 51 * ((max(bits, 1) ** 8).bit_length() - 1) // 64 - 24


def _increasing(energies: Iterable[int]) -> list[int]:
    found: list[int] = []
    for energy in energies:
        found.append(max(energy, found[-1] + 1 if found else 1))
    return found


class BudgetSearch:
    """Content of reports whose code, up to the last coefficient that is not 0, fits in a number of bits.

    The step: the finest whose length, predicted from the number of coefficients and then corrected by the true length
    at one step, is within the budget, and the next finer one (or the two finest). The decisions: the least slope that
    fits, by bisection, twice, with phases and contexts brought up to date; then changes of one or two coefficients
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
        q, middle = self._quantizer, np.full(len(v), _START)
        noise = np.zeros(v.shape[:2], np.float32) if noise is None else noise
        target, content, _ = q.start(v, middle, noise, whole=False)
        bins, guess = q.coder.bins(content), self._guess(target)
        step = self._finest(guess * (q.length(content, bins) / guess[_START]))
        step = np.minimum(step, len(q.steps) - _TRIED)
        target = q.refit(target, content, bins)
        finer = step + _TRIED - 1
        found = q.origins(target, finer)
        for rows, part in q.blocks(target, finer):
            places = len(part.cells)
            content = self._best(part, step[rows], bins[:places, rows])
            found.step[rows] = content.step
            found.real[:places, rows], found.imag[:places, rows] = content.real, content.imag
        # Zeros after the last coefficient that may be other than 0 can ask for bits of their own.
        long = np.flatnonzero(self._coder.needed(found, self._coder.bins(found), self.bits) > self.bits)
        return found.replaced(long, self._coder.first(found.of(long), self.bits)) if long.size else found

    def _best(self, target: Target, step: np.ndarray, bins: np.ndarray) -> Content:
        """Content of a step that is the one by index ``[report]``, or finer."""
        q = self._quantizer
        filled = [self._filled(target, step + finer, bins) for finer in range(_TRIED)]
        most = np.min([cost for *_, cost in filled], axis=0) + _MARGIN * np.square(q.steps[step])
        found, least = filled[0][1], np.full(len(step), np.inf)
        for tried, content, tables, cost in filled:
            rows = np.flatnonzero(cost <= most)
            if not rows.size:
                continue
            part, tables = exchanged(q, tried.of(rows), content.of(rows), tables[:, rows], self.bits)
            error = q.error(tried.of(rows), part, tables)
            better = error < least[rows]
            rows, part = rows[better], part.of(better)
            least[rows] = error[better]
            found.step[rows], found.real[:, rows], found.imag[:, rows] = part.step, part.real, part.imag
        return found

    def _filled(
        self, target: Target, step: np.ndarray, bins: np.ndarray
    ) -> tuple[Target, Content, np.ndarray, np.ndarray]:
        """Target, content and tables for a step; and the squared error that is left when all bits are used."""
        q, most = self._quantizer, self.bits - _SPARE
        budget = np.full(len(step), most)
        for number in range(_PASSES):
            content, planned, slope = self._fill(target, step, bins, budget)
            if number < _PASSES - 1:
                target = q.refit(target, content, bins)
            bins = self._coder.bins(content)
            length = q.length(content, bins)
            budget = most - np.maximum(length - planned, -_TRUST)
        room = slope * np.square(q.steps[step]) * (most - length)
        return target, content, bins, q.error(target, content, bins) - room

    def _guess(self, target: Target) -> np.ndarray:
        """Predicted lengths ``[step, report]``."""
        size = np.maximum(np.abs(target.cells.real), np.abs(target.cells.imag))
        counts = np.stack([np.sum(size > 0.62 * step, axis=(0, 2)) for step in self._quantizer.steps])
        return self._coder.head_bits() + 3 + _PER_COEFFICIENT * counts

    def _finest(self, lengths: np.ndarray) -> np.ndarray:
        return np.maximum(np.sum(lengths <= _SLACK * self.bits, axis=0) - 1, 0)

    def _fill(
        self, target: Target, step: np.ndarray, bins: np.ndarray, budget: np.ndarray
    ) -> tuple[Content, np.ndarray, np.ndarray]:
        """Content that fits in ``budget [report]``, the tables given; its length with them, and its slope."""
        q, reports = self._quantizer, np.arange(len(step))
        candidates = q.candidates(target, step)
        costs = q.costs(candidates, bins)
        place, report, layer = candidates.at
        zero = running(in_order(self._coder.zero_bits(q.origins(target, step), bins))) + self._coder.head_bits()
        order, columns = place * bins.shape[2] + layer, np.arange(len(place))

        def length(pair: np.ndarray) -> np.ndarray:
            last = np.full(len(step), max(self._coder.always - 1, 0))
            np.maximum.at(last, report, np.where(candidates.nonzero(pair), order, 0))
            more = costs.length[pair, columns] - costs.zero
            return zero[last, reports] + np.bincount(report, more, len(step))

        low, high = np.full(len(step), np.log(_LEAST)), np.full(len(step), np.log(_MOST))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            fits = length(costs.choice(np.exp(middle)[report])) <= budget
            high, low = np.where(fits, middle, high), np.where(fits, low, middle)
        pair = costs.choice(np.exp(high)[report])
        return q.chosen(target, step, candidates, pair), length(pair), np.exp(high)
