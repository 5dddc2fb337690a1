"""Rate-distortion optimised quantisation of beam-delay cells with the true code lengths of the entropy coder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from receivers.beamdelay.coder import BeamDelayCoder
from receivers.beamdelay.content import Content, in_order, last_nonzero, running
from receivers.beamdelay.contexts import CAP
from receivers.beamdelay.denoise import Denoiser
from receivers.beamdelay.frame import Frame
from receivers.beamdelay.tables import LEVEL_UNIT

SLOPE = 0.06  # squared steps that a bit is worth
_MORE_ROUNDS = 4  # of the phases, where a number of bits is to be filled
_BLOCK = 128  # reports at a time
_PLACES = 32  # come together
PLAIN_OFFSET = 0.36  # of the first, plain decision: a part is rounded up from 1 - 0.36 on


@dataclass(frozen=True)
class Target:
    """Directions in the frame, before quantisation.

    Args:
        group: ``[report]``.
        row: of the origins, ``[report, layer]``.
        c: aligned coefficients complex64 ``[report, layer, row, subband]``.
        cells: the same around the origins, complex64 ``[place, report, layer]``.
        noise: variance of the error of a cell, ``[report, layer]``.
        reach: first places alone that may be other than 0, ``[report]``; None: all.
    """

    group: np.ndarray
    row: np.ndarray
    c: np.ndarray
    cells: np.ndarray
    noise: np.ndarray
    reach: np.ndarray | None = field(default=None, kw_only=True)

    def of(self, reports: slice | np.ndarray) -> Self:
        """Some of the reports."""
        return replace(
            self, group=self.group[reports], row=self.row[reports], c=self.c[reports], cells=self.cells[:, reports],
            noise=self.noise[reports], reach=None if self.reach is None else self.reach[reports],
        )  # fmt: skip

    @property
    def reached(self) -> np.ndarray:
        """Whether places belong to the reach, bool ``[place, report, layer]``, the last axis 1."""
        return (np.arange(len(self.cells))[:, None] < (len(self.cells) if self.reach is None else self.reach))[
            ..., None
        ]

    def within(self, reach: np.ndarray) -> Self:
        """The same with a reach, and no places that are beyond all."""
        return replace(self, cells=self.cells[: reach.max()], reach=reach)

    def mixed(self, reports: np.ndarray, other: Target) -> Target:
        """``other`` in some reports, bool ``[report]``, this elsewhere."""
        one = reports[:, None]
        return Target(
            np.where(reports, other.group, self.group),
            np.where(one, other.row, self.row),
            np.where(one[:, :, None, None], other.c, self.c),
            np.where(one, other.cells, self.cells),
            np.where(one, other.noise, self.noise),
        )


class Quantizer:
    r"""Decides on the parts of every coefficient.

    A coefficient takes the pair of whole parts, each rounded, one less, or 0, of least :math:`|x - q|^2 + \mu \ell`,
    :math:`\ell` being its code length in the contexts of the decisions so far. Contexts and phases of the subbands are
    then brought up to date, and everything is decided anew.

    Args:
        frame: of the directions.
        coder: entropy coder.
        steps: sizes of the steps, by their index.
        slope: mu, squared steps for a bit; 0 switches the optimisation off.
        rounds: decisions with contexts.
        refit: fit the phases of the subbands to the decisions.
    """

    def __init__(
        self,
        frame: Frame,
        coder: BeamDelayCoder,
        steps: list[float],
        *,
        slope: float = SLOPE,
        rounds: int = 2,
        refit: bool = True,
    ):
        self.frame, self.coder, self.steps = frame, coder, np.array(steps, np.float32)
        self.slope, self.rounds, self._refit = slope, rounds, refit
        self._denoiser = Denoiser(coder.grid)
        self._lengths = coder.tables.lengths
        self._levels = (coder.tables.levels / LEVEL_UNIT).astype(np.float32)

    def start(
        self, v: np.ndarray, step: np.ndarray, noise: np.ndarray, whole: bool = True
    ) -> tuple[Target, Content, np.ndarray]:
        """The best of three groups: target, first decisions, and the tables that they were made with.

        Args:
            v: directions complex64 ``[report, layer, subband, port]``.
            step: index ``[report]``.
            noise: variance of the error of a cell, ``[report, layer]``.
            whole: zeros after the last coefficient count.
        """
        best: list[tuple[Target, Content, np.ndarray]] = []
        least, slope = np.full(len(v), np.inf), self.slope or SLOPE
        for group, c in self.frame.beams(v, self.steps[step]):
            target = self._in_group(group, c, self.steps[step], noise, 0 if whole else _MORE_ROUNDS)
            content, cost = self.origins(target, step), np.empty(len(v))
            bins = np.full(target.cells.shape, self._lengths[:, 0].argmin(), np.int32)
            for rows, part in [(np.arange(len(v)), target)] if whole else self.blocks(target, step):
                tables = self.coder.bins(self.plain(part, step[rows]))
                decided, places = self.decide(part, step[rows], tables, np.full(len(v), slope)), len(tables)
                if whole:
                    length = np.sum(self.coder.ideal_bits(decided, tables), axis=(0, 2))
                else:
                    length = self.length(decided, tables)
                cost[rows] = self.error(part, decided, tables) + slope * np.square(self.steps[step[rows]]) * length
                content.real[:places, rows], content.imag[:places, rows] = decided.real, decided.imag
                bins[:places, rows] = np.where(part.reached, tables, bins[:places, rows])
            found = target, content, bins
            best = [_mixed(cost < least, found, *best) if best else found]
            least = np.minimum(cost, least)
        return best[0]

    def blocks(self, target: Target, step: np.ndarray) -> Iterator[tuple[np.ndarray, Target]]:
        """Some reports at a time, each within the places that may be other than 0 with steps by index ``[report]``.

        Reports of like reach come together.
        """
        size = np.maximum(np.abs(target.cells.real), np.abs(target.cells.imag)).max(axis=2)
        reach = len(size) - (size > 0.5 * self.steps[step])[::-1].argmax(axis=0)
        reach = np.minimum(-(-reach // _PLACES) * _PLACES if self.coder.prefixes else len(size), len(size))
        reach = np.broadcast_to(reach, len(step))
        order = np.argsort(reach, kind="stable")
        for rows in (order[i : i + _BLOCK] for i in range(0, len(order), _BLOCK)):
            yield rows, target.of(rows).within(reach[rows])

    def _in_group(self, group: np.ndarray, c: np.ndarray, step: np.ndarray, noise: np.ndarray, more: int) -> Target:
        """Coefficients of beams complex64 ``[report, layer, row, subband]`` with the phases for a step ``[report]``."""
        flat = self.frame.align(c.reshape(-1, *c.shape[2:]), np.repeat(step, c.shape[1]), more)
        row, cells = self.frame.to_origin(flat)
        row, flat = row.reshape(c.shape[:2]), flat.reshape(c.shape)
        return Target(group, row, flat, self._denoised(self._places(cells, row.shape), noise), noise)

    def _places(self, cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return np.ascontiguousarray(cells.reshape(*shape, -1)[..., self.coder.grid.order].transpose(2, 0, 1))

    def _denoised(self, cells: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return self._denoiser(cells, noise) if noise.any() else cells

    def plain(self, target: Target, step: np.ndarray) -> Content:
        """Parts with a dead zone, for steps by index ``[report]``."""
        y = target.cells / self.steps[step][:, None]
        real, imag = (np.sign(x) * np.floor(np.abs(x) + np.float32(PLAIN_OFFSET)) for x in (y.real, y.imag))
        return self._content(target, step, real.astype(np.int32), imag.astype(np.int32))

    def _content(self, target: Target, step: np.ndarray, real: np.ndarray, imag: np.ndarray) -> Content:
        size = np.round(target.cells[0].real / self.steps[step][:, None]).astype(np.int32)
        real[0], imag[0] = self.coder.limit_origin(size, step), 0
        return Content(target.group, step, target.row, real, imag)

    def __call__(self, v: np.ndarray, step: np.ndarray, noise: np.ndarray | None = None) -> tuple[Content, Target]:
        """Content of reports with these steps, by index ``[report]``, and the target with the phases fitted to it."""
        target, content, bins = self.start(v, step, np.zeros(v.shape[:2], np.float32) if noise is None else noise)
        if not self.slope:
            return self.plain(target, step), target
        for _ in range(self.rounds - 1):
            if self._refit:
                target = self.refit(target, content, bins)
            bins = self.coder.bins(content)
            content = self.decide(target, step, bins, np.full(len(step), self.slope))
        return content, target

    def origins(self, target: Target, step: np.ndarray) -> Content:
        """Content of origins alone, for steps by index ``[report]``."""
        return self._content(target, step, *np.zeros((2, *target.cells.shape), np.int32))

    def error(self, target: Target, content: Content, bins: np.ndarray) -> np.ndarray:
        """Squared error of every report less the energy of its target, which places beyond the content may hold."""
        y, x = self.coder.values_by_place(content, bins, self.steps), target.cells
        return np.sum(y.real * (y.real - 2 * x.real) + y.imag * (y.imag - 2 * x.imag), axis=(0, 2))

    def length(self, content: Content, bins: np.ndarray) -> np.ndarray:
        """Ideal length up to the last coefficient that is not 0, ``[report]``, with the tables ``bins`` [bit]."""
        length = running(in_order(self.coder.ideal_bits(content, bins)))
        return self.coder.head_bits() + length[last_nonzero(content), np.arange(length.shape[1])]

    def refit(self, target: Target, content: Content, bins: np.ndarray) -> Target:
        """The target with the phases that fit the content best."""
        values = self.coder.values(content, bins, self.steps)
        flat = target.c.reshape(-1, *target.c.shape[2:])
        cells = self.frame.refit(flat, target.row.ravel(), values.reshape(len(flat), -1))
        cells = self._denoised(self._places(cells, target.row.shape), target.noise)
        return replace(target, cells=cells[: len(target.cells)])

    def decide(self, target: Target, step: np.ndarray, bins: np.ndarray, slope: np.ndarray) -> Content:
        """Best parts of all coefficients, their tables given.

        Args:
            target: directions.
            step: index ``[report]``.
            bins: tables ``[place, report, layer]``.
            slope: squared steps for a bit, ``[report]``.
        """
        candidates = self.candidates(target, step)
        return self.chosen(target, step, candidates, self.costs(candidates, bins).choice(slope[candidates.at[1]]))

    def chosen(self, target: Target, step: np.ndarray, candidates: Candidates, pair: np.ndarray) -> Content:
        """Content with one pair of parts for every candidate."""
        real, imag = np.zeros((2, *target.cells.shape), np.int32)
        real[candidates.at], imag[candidates.at] = candidates.parts(pair)
        return self._content(target, step, real, imag)

    def candidates(self, target: Target, step: np.ndarray) -> Candidates:
        """What the coefficients that are not 0 anyway may become."""
        first = int(self.coder.origins)
        cells = target.cells[first:]
        large = np.maximum(np.abs(cells.real), np.abs(cells.imag)) > 0.5 * self.steps[step][:, None]
        large &= target.reached[first:]
        at = np.unravel_index(np.flatnonzero(large), cells.shape)
        y = cells[at] / self.steps[step][at[1]]
        parts = np.stack([y.real, y.imag])
        size = np.abs(parts)
        high = np.round(size)
        sizes = np.stack([high, np.maximum(high - 1, 0), np.zeros_like(high)], axis=1).astype(np.int32)
        return Candidates((at[0] + first, *at[1:]), size, np.sign(parts).astype(np.int32), sizes)

    def costs(self, candidates: Candidates, bins: np.ndarray) -> Costs:
        """Squared errors and code lengths of the pairs with the tables ``bins [place, report, layer]``."""
        table, sizes = bins[candidates.at], candidates.sizes
        level = self._levels[table, np.minimum(sizes, CAP)]
        beyond = np.flatnonzero((sizes[:, 0] >= CAP).any(axis=0))
        level[..., beyond] = np.where(sizes[..., beyond] >= CAP, sizes[..., beyond], level[..., beyond])
        error = np.square(candidates.size[:, None] - level)
        symbol = np.minimum(sizes, CAP)
        symbol = (symbol[0] * (CAP + 1))[:, None] + symbol[1]
        length = self._lengths[table, symbol]
        for part in (sizes[0][:, None], sizes[1]):
            more = np.maximum(part[..., beyond] - CAP, 0) + 1
            length[..., beyond] += np.where(part[..., beyond] >= CAP, 2 * np.floor(np.log2(more)) + 1, 0)
        distortion = error[0][:, None] + error[1]  # [real, imag, coefficient]
        return Costs(distortion.reshape(9, -1), length.reshape(9, -1), self._lengths[table, 0])


def _mixed(
    rows: np.ndarray, one: tuple[Target, Content, np.ndarray], other: tuple[Target, Content, np.ndarray]
) -> tuple[Target, Content, np.ndarray]:
    """``one`` in some reports, bool ``[report]``, ``other`` elsewhere."""
    return one[0].mixed(~rows, other[0]), one[1].mixed(~rows, other[1]), np.where(rows[:, None], one[2], other[2])


@dataclass(frozen=True)
class Candidates:
    """Nine pairs of parts for every coefficient.

    Args:
        at: place, report and layer of the coefficients.
        size: real and imaginary parts without sign [step], ``[2, coefficient]``.
        signs: of the parts, ``[2, coefficient]``.
        sizes: that they may take, ``[2, 3, coefficient]``.
    """

    at: tuple[np.ndarray, ...]
    size: np.ndarray
    signs: np.ndarray
    sizes: np.ndarray

    def of(self, reports: np.ndarray) -> tuple[Self, np.ndarray]:
        """Those of some reports, bool ``[report]``, and their numbers."""
        kept = np.flatnonzero(reports[self.at[1]])
        place, report, layer = (x[kept] for x in self.at)
        at = place, (np.cumsum(reports) - 1)[report], layer
        return replace(
            self, at=at, size=self.size[:, kept], signs=self.signs[:, kept], sizes=self.sizes[..., kept]
        ), kept

    def nonzero(self, pair: np.ndarray) -> np.ndarray:
        """Whether these pairs have a part that is not 0."""
        rows = np.arange(len(pair))
        return (self.sizes[0, pair // 3, rows] > 0) | (self.sizes[1, pair % 3, rows] > 0)

    def pair(self, content: Content) -> np.ndarray:
        """Numbers of the pairs that a content has."""
        real, imag = (np.abs(part[self.at]) for part in (content.real, content.imag))
        return 3 * (self.sizes[0] == real).argmax(axis=0) + (self.sizes[1] == imag).argmax(axis=0)

    def parts(self, pair: np.ndarray, at: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Parts of these pairs, of all candidates or of those ``at``."""
        rows = np.arange(len(pair)) if at is None else at
        real, imag = self.signs[:, rows]
        return real * self.sizes[0, pair // 3, rows], imag * self.sizes[1, pair % 3, rows]


@dataclass(frozen=True)
class Costs:
    """Of the pairs of candidates, with some tables.

    Args:
        distortion: squared errors [steps^2], ``[9, coefficient]``.
        length: of the code [bit], ``[9, coefficient]``.
        zero: length of a 0.
    """

    distortion: np.ndarray
    length: np.ndarray
    zero: np.ndarray

    def choice(self, slope: np.ndarray) -> np.ndarray:
        """Number of the best pair for slopes ``[coefficient]``."""
        return (self.distortion + slope.astype(np.float32) * self.length).argmin(axis=0)
