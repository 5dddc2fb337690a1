"""Cells around the origin of a beam-delay report: classes, order of coding, neighbours."""

from __future__ import annotations

import copy
from itertools import product
from typing import Self

import numpy as np

BEAM_1, BEAM_2, TAP = 4, 2, 8  # distances from which on cells are of one class
NUM_CLASSES = 2 * (BEAM_2 + 1) * (BEAM_1 + 1) * (2 * TAP + 1)
_NEAR = [(0, 0, t) for t in (-1, 1, -2, 2, -3, 3)]
_NEAR += [(0, b, t) for b, t in product((-1, 1), (0, -1, 1))] + [(0, -2, 0), (0, 2, 0)]
_NEAR += [(b, 0, t) for b, t in product((-1, 1), (0, -1, 1))]
_ACROSS = [(0, 0, t) for t in (0, -1, 1, -2, 2)] + [(0, b, t) for b, t in product((-1, 1), (0, -1, 1))]
_ACROSS += [(-1, 0, 0), (1, 0, 0)]
OFFSETS = [(0, *offset) for offset in _NEAR] + [(1, *offset) for offset in _ACROSS]  # pol, beam 2, beam 1, tap

NEAR = [(1, 0, 0, 0), (0, 0, 0, -1), (0, 0, 0, 1), (0, 0, -1, 0), (0, 0, 1, 0), (1, 0, 0, -1), (1, 0, 0, 1)]
"""Around the same place in another layer."""


class Grid:
    """Cells (polarisation, beam 2, beam 1, tap) counted from the origin, all axes cyclic, coded by importance.

    Args:
        shape: sizes of the axes.
        importance: integers ``[class]``; cells of a class are coded before those of one with less.

    Attributes:
        order: cells in the order of coding ``[place]``, the origin first.
        kind: class of the cell at every place.
        row: row and tap of the cell at every place.
        neighbours: places ``[place, offset]`` of the neighbours that are coded before; those that are not, the number
            of places.
    """

    def __init__(self, shape: tuple[int, int, int, int], importance: np.ndarray):
        size = int(np.prod(shape))
        coordinates = np.unravel_index(np.arange(size), shape)
        pol = coordinates[0]
        beam_2, beam_1, tap = ((x + n // 2) % n - n // 2 for x, n in zip(coordinates[1:], shape[1:], strict=True))
        kind = pol
        for value, limit in ((np.abs(beam_2), BEAM_2), (np.abs(beam_1), BEAM_1)):
            kind = kind * (limit + 1) + np.minimum(value, limit)
        kind = kind * (2 * TAP + 1) + np.clip(tap, -TAP, TAP) + TAP
        far = np.abs(beam_2) + np.abs(beam_1) + np.abs(tap)
        origin = np.arange(size) == 0
        self.order = np.lexsort((np.arange(size), far, -importance[kind].astype(np.int64), ~origin))
        self.kind = kind[self.order]
        place = np.empty(size, np.int64)
        place[self.order] = np.arange(size)
        self.size, self.num_rows, self.num_taps = size, size // shape[3], shape[3]
        self.row, self.tap = np.divmod(self.order, shape[3])
        self.across = np.full(self.num_rows, self.num_rows)  # row of the other polarisation
        if shape[0] == 2:
            self.across = (np.arange(self.num_rows) + self.num_rows // 2) % self.num_rows
        self.neighbours = np.full((size, len(OFFSETS)), size)
        here = np.array(coordinates)[:, self.order]
        for number, offset in enumerate(OFFSETS):
            if offset[0] >= shape[0]:
                continue
            moved = [(x + o) % n for x, o, n in zip(here, offset, shape, strict=True)]
            found = place[np.ravel_multi_index(moved, shape)]
            known = (found < np.arange(size)) & (found[:, None] != self.neighbours[:, :number]).all(axis=1)
            self.neighbours[known, number] = found[known]

    def first(self, places: int) -> Self:
        """The grid without the later places."""
        part = copy.copy(self)
        part.order, part.kind, part.row, part.tap = (x[:places] for x in (self.order, self.kind, self.row, self.tap))
        part.size, near = places, self.neighbours[:places]
        part.neighbours = np.where(near < self.size, near, places)
        return part
