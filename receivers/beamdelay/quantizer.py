"""Rate-distortion optimised quantisation of beam-delay cells with the true code lengths of the entropy coder."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from receivers.beamdelay.coder import BeamDelayCoder
from receivers.beamdelay.content import Content
from receivers.beamdelay.contexts import CAP
from receivers.beamdelay.denoise import Denoiser
from receivers.beamdelay.frame import Frame
from receivers.beamdelay.tables import LEVEL_UNIT

SLOPE = 0.06  # squared steps that a bit is worth
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
    """

    group: np.ndarray
    row: np.ndarray
    c: np.ndarray
    cells: np.ndarray
    noise: np.ndarray

    def of(self, reports: np.ndarray) -> Target:
        """Some of the reports."""
        return replace(
            self, group=self.group[reports], row=self.row[reports], c=self.c[reports], cells=self.cells[:, reports],
            noise=self.noise[reports],
        )  # fmt: skip

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
        slope = self.slope or SLOPE
        best, least = None, np.full(len(v), np.inf)
        for group, c in self.frame.beams(v, self.steps[step]):
            target = self.aligned(group, c, self.steps[step], noise)
            plain = self.plain(target, step)
            bins = self.coder.bins(plain) if whole else self.coder.first_bins(plain, self.reach(target, step, plain))
            content = self.decide(target, step, bins, np.full(len(v), slope))
            cost = self.error(target, content, bins)
            length = np.sum(self.coder.ideal_bits(content, bins), axis=(0, 2))
            cost = cost + slope * np.square(self.steps[step]) * length
            found = target, content, bins
            best = found if best is None else _mixed(cost < least, found, best)
            least = np.minimum(cost, least)
        assert best is not None
        return best

    def aligned(self, group: np.ndarray, c: np.ndarray, step: np.ndarray, noise: np.ndarray) -> Target:
        """Coefficients of beams complex64 ``[report, layer, row, subband]`` with the phases for a step ``[report]``."""
        flat = c.reshape(-1, *c.shape[2:])
        flat = self.frame.align(flat, np.repeat(step, c.shape[1]))
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

    def error(self, target: Target, content: Content, bins: np.ndarray) -> np.ndarray:
        """Squared error of every report, the energy of a layer being 1."""
        x = target.cells - self.coder.values_by_place(content, bins, self.steps)
        return np.sum(np.square(x.real) + np.square(x.imag), axis=(0, 2))

    def reach(self, target: Target, step: np.ndarray, content: Content) -> np.ndarray:
        """Places ``[report]`` after which all coefficients, and what they may become, are 0."""
        size = np.maximum(np.abs(target.cells.real), np.abs(target.cells.imag)).max(axis=2)
        some = (size > 0.5 * self.steps[step]) | ((content.real != 0) | (content.imag != 0)).any(axis=2)
        return len(some) - some[::-1].argmax(axis=0)

    def refit(self, target: Target, content: Content, bins: np.ndarray) -> Target:
        """The target with the phases that fit the content best."""
        values = self.coder.values(content, bins, self.steps)
        flat = target.c.reshape(-1, *target.c.shape[2:])
        cells = self.frame.refit(flat, target.row.ravel(), values.reshape(len(flat), -1))
        return replace(target, cells=self._denoised(self._places(cells, target.row.shape), target.noise))

    def decide(self, target: Target, step: np.ndarray, bins: np.ndarray, slope: np.ndarray) -> Content:
        """Best parts of all coefficients, their tables given.

        Args:
            target: directions.
            step: index ``[report]``.
            bins: tables ``[place, report, layer]``.
            slope: squared steps for a bit, ``[report]``.
        """
        candidates = self.candidates(target, step, bins)
        return self.chosen(target, step, candidates, candidates.choice(slope))

    def chosen(self, target: Target, step: np.ndarray, candidates: Candidates, pair: np.ndarray) -> Content:
        """Content with one pair of parts for every candidate."""
        real, imag = np.zeros((2, *target.cells.shape), np.int32)
        real[candidates.at], imag[candidates.at] = candidates.parts(pair)
        return self._content(target, step, real, imag)

    def candidates(self, target: Target, step: np.ndarray, bins: np.ndarray) -> Candidates:
        """What the coefficients that are not 0 anyway may become."""
        y = target.cells / self.steps[step][:, None]
        parts = [np.abs(y.real), np.abs(y.imag)]
        at = np.nonzero(np.maximum(*parts) > 0.5)
        at = tuple(x[at[0] >= self.coder.origins] for x in at)
        table = bins[at]
        levels = self._levels[table]
        rows = np.arange(len(table))
        sizes, errors = [], []
        for part in parts:
            x = part[at]
            high = np.round(x).astype(np.int32)
            size = np.stack([high, np.maximum(high - 1, 0), np.zeros_like(high)])
            level = np.where(size >= CAP, size, levels[rows, np.minimum(size, CAP)])
            sizes.append(size)
            errors.append(np.square(x - level))
        distortion = errors[0][:, None] + errors[1]  # [real, imag, coefficient]
        symbol = np.minimum(sizes[0], CAP)[:, None] * (CAP + 1) + np.minimum(sizes[1], CAP)
        length = self._lengths[table, symbol]
        for size in (sizes[0][:, None], sizes[1]):
            beyond = np.maximum(size - CAP, 0) + 1
            length = length + np.where(size >= CAP, 2 * np.floor(np.log2(beyond)) + 1, 0)
        signs = [np.sign(x[at]).astype(np.int32) for x in (y.real, y.imag)]
        return Candidates(at, sizes, signs, distortion.reshape(9, -1), length.reshape(9, -1), self._lengths[table, 0])


def _mixed(
    rows: np.ndarray, one: tuple[Target, Content, np.ndarray], other: tuple[Target, Content, np.ndarray]
) -> tuple[Target, Content, np.ndarray]:
    """``one`` in some reports, bool ``[report]``, ``other`` elsewhere."""
    return one[0].mixed(~rows, other[0]), one[1].mixed(~rows, other[1]), np.where(rows[:, None], one[2], other[2])


@dataclass(frozen=True)
class Candidates:
    """Nine pairs of parts for every coefficient, with squared errors [steps^2] and code lengths [bit].

    Args:
        at: place, report and layer of the coefficients.
        sizes: real and imaginary sizes, each ``[3, coefficient]``.
        signs: of the parts.
        distortion: ``[9, coefficient]``.
        length: ``[9, coefficient]``.
        zero: code length of a 0.
    """

    at: tuple[np.ndarray, ...]
    sizes: list[np.ndarray]
    signs: list[np.ndarray]
    distortion: np.ndarray
    length: np.ndarray
    zero: np.ndarray

    def choice(self, slope: np.ndarray) -> np.ndarray:
        """Number of the best pair for slopes ``[report]``."""
        return (self.distortion + slope[self.at[1]].astype(np.float32) * self.length).argmin(axis=0)

    def nonzero(self, pair: np.ndarray) -> np.ndarray:
        """Whether these pairs have a part that is not 0."""
        rows = np.arange(len(pair))
        return (self.sizes[0][pair // 3, rows] > 0) | (self.sizes[1][pair % 3, rows] > 0)

    def pair(self, content: Content) -> np.ndarray:
        """Numbers of the pairs that a content has."""
        real, imag = (np.abs(part[self.at]) for part in (content.real, content.imag))
        return 3 * (self.sizes[0] == real).argmax(axis=0) + (self.sizes[1] == imag).argmax(axis=0)

    def parts(self, pair: np.ndarray, at: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Parts of these pairs, of all candidates or of those ``at``."""
        rows = np.arange(len(pair)) if at is None else at
        real, imag = (sign[rows] for sign in self.signs)
        return real * self.sizes[0][pair // 3, rows], imag * self.sizes[1][pair % 3, rows]
