"""Refined Type I codebook of Release 19 at ranks 5 to 8: three or four beams that are orthogonal, in mode A or B."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np

from receivers.codebooks.beams import BeamGroups
from receivers.codebooks.combination import combination_bits, combination_members, combination_rank
from receivers.codebooks.dft import dft_beams_2d
from receivers.codebooks.pmi import Pmi, PmiCodebook, oversampling, subband_order
from receivers.codebooks.type1 import COLUMNS
from simulator.core import bitfield
from simulator.core.errors import ConfigError
from simulator.core.types import Panel
from simulator.core.units import db_to_lin
from simulator.maths.transforms import subband_eigenvectors, unit_power

_FIELD = "feedback.type1"
# Mode B: values of the phase of every beam; of two a second layer has the opposite phase.
_PHASES = {5: (2, 2, 4), 6: (2, 2, 2), 7: (2, 4, 2, 2), 8: (2, 2, 2, 2)}
_SETS = 4  # sets of beams, of either measure, whose phases are all tried
_CHUNK = 8  # reports selected at a time


class TypeOneHighRankCodebook(PmiCodebook):
    r"""Ranks 5 to 8 on 48, 64 and 128 ports.

    A layer is :math:`[v; a v]` with one of three (ranks 5, 6) or four orthogonal beams and a factor a of the second
    polarisation. Mode A: beams and factors of Type I at these ranks; the first beam :math:`v_{l,m}` is any of the grid,
    and every other has its own place:

    .. math:: (l, m) = (O_1 i_{1,1,j} + i_{1,1} \bmod O_1, \; i_{1,2,j}) \text{ for } i_{1,3} = 0, \quad
        (i_{1,1,j}, \; O_2 i_{1,2,j} + i_{1,2} \bmod O_2) \text{ for } i_{1,3} = 1.

    Mode B: the beams are a set of one group of orthogonal beams (i_{1,1}; i_{1,2} as of Type II). In every subband each
    beam has a phase: one bit c for two layers with factors :math:`\pm j^c`, or two bits for one (the third beam at rank
    5, the second at rank 7).

    The standard leaves the selection to the UE. Here: sets of beams, each the strongest that is orthogonal to those
    before, by the energy of the channel and by that of the layers' eigenvectors; of the four best of either, with all
    phases, that with the largest log-determinant, as in Type I.

    A PMI has ``family`` ``[report]`` (mode A: :math:`4 i_{1,3}` and the remainder; B: the group), ``beams``
    ``[report, beam]`` of it and ``i2`` ``[report, subband]``, all phases of a subband in one number.

    Args:
        panel: gNB panel.
        num_samples: frequency samples of the channel.
        unit: samples of one subband.
        rank: layers, 5..8.
        mode: 1 (modeA) or 2 (modeB).
        snr_db: SNR of the selection [dB].
    Raises:
        ConfigError: for parameters that are not in the tables.
    Source: TS 38.214 (Rel. 19), 5.2.2.2.1a.
    """

    def __init__(self, panel: Panel, num_samples: int, unit: int, rank: int, mode: int, snr_db: float = 10.0):
        if rank not in _PHASES:
            raise ConfigError(f"{_FIELD}.rank", rank, "5..8")
        groups = BeamGroups(panel, *oversampling(panel, _FIELD, large=True))
        self.rank, self.unit, self.snr_db = rank, unit, snr_db
        self.num_units = -(-num_samples // unit)
        self._order = subband_order(self.num_units)
        self._mode_a, self._count = mode == 1, len(_PHASES[rank])
        n1, n2 = self._size = panel.n1, panel.n2
        if self._mode_a:
            beams, self._place = (
                dft_beams_2d(n1, n2, 4, 4),
                _families(n1, n2),
            )  # of the grid, l and m [family, member, 2]
            self._vectors = beams[4 * n2 * self._place[..., 0] + self._place[..., 1]]
        else:
            self._vectors = groups.vectors
        self._orthogonal = np.abs(self._vectors @ np.swapaxes(self._vectors.conj(), 1, 2)) < 1e-3
        self._layers, self._factors = self._columns()
        if self._mode_a:
            own = 2 + (n1 - 1).bit_length() + (n2 - 1).bit_length()  # i_{1,1,j} and i_{1,2,j}
            self._widths = [(4 * n1 - 1).bit_length(), (4 * n2 - 1).bit_length(), 1, *[own] * (self._count - 1)]
        else:
            self._widths = [4, combination_bits(n1 * n2, self._count)]
        self._choice_bits = (len(self._factors) - 1).bit_length()
        self.part2_bits = sum(self._widths) + self.num_units * self._choice_bits

    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Beam of every layer ``[layer]`` and factors of the second polarisation, complex64 ``[i2, layer]``."""
        if self._mode_a:
            beams, signs, phased = zip(*COLUMNS[self.rank], strict=True)
            factors = np.array(signs) * np.where(phased, 1j ** np.arange(2)[:, None], 1)
        else:
            phases = _PHASES[self.rank]
            beams = [i for i, values in enumerate(phases) for _ in range(2 if values == 2 else 1)]
            steps = np.array([c for values in phases for c in ((0, 2) if values == 2 else (0,))])
            factors = 1j ** (np.array(list(product(*map(range, phases))))[:, beams] + steps)
        return np.array(beams), factors.astype(np.complex64)

    def select(self, h: np.ndarray) -> Pmi:
        """PMI of channels complex64 ``[report, rx_ant, port, subcarrier]``."""
        parts = [self._select(h[i : i + _CHUNK]) for i in range(0, len(h), _CHUNK)]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def _select(self, h: np.ndarray) -> Pmi:
        h, reports = unit_power(h, num_lead=1), np.arange(len(h))
        channel = np.moveaxis(h, 2, 3).conj().reshape(len(h), -1, h.shape[2])
        layers = subband_eigenvectors(h, self.unit, self.rank).reshape(len(h), -1, h.shape[2])
        families, sets = (np.concatenate(x) for x in zip(*map(self._candidates, (channel, layers)), strict=True))
        found = [self._phases(h, family, beams) for family, beams in zip(families, sets, strict=True)]
        score, i2 = (np.stack(each) for each in zip(*found, strict=True))
        best = score.argmax(axis=0)
        return {"family": families[best, reports], "beams": sets[best, reports], "i2": i2[best, reports]}

    def _candidates(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Families ``[set, report]`` and beams ``[set, report, beam]`` with most energy in directions ``v``."""
        x = v.reshape(len(v), -1, v.shape[2] // 2) @ self._vectors.reshape(-1, v.shape[2] // 2).conj().T
        energy = np.sum(np.square(x.real) + np.square(x.imag), axis=1).reshape(len(v), *self._vectors.shape[:2])
        chosen, total, left = [], np.zeros(energy.shape[:2]), energy
        for _ in range(self._count):
            member = left.argmax(axis=2)[..., None]
            chosen.append(member[..., 0])
            total += np.take_along_axis(left, member, axis=2)[..., 0]
            left = np.where(self._orthogonal[np.arange(len(self._vectors)), member[..., 0]], left, -np.inf)
        families = np.argsort(-total, axis=1, kind="stable")[:, :_SETS]
        beams = np.take_along_axis(np.stack(chosen, axis=2), families[..., None], axis=1)
        if not self._mode_a:
            beams = np.sort(beams, axis=2)
        elif self.rank == 7:  # the second beam has one layer
            beams = beams[..., [0, 3, 1, 2]]
        return families.T, np.swapaxes(beams, 0, 1)

    def _phases(self, h: np.ndarray, family: np.ndarray, beams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score ``[report]`` of beams ``[report, beam]`` of a family and, in every subband, the best i_2."""
        vectors = self._vectors[family[:, None], beams]
        received = np.einsum("nrpes,nbe->psnrb", h.reshape(*h.shape[:2], 2, -1, h.shape[3]), vectors, optimize=True)
        first, second = received[..., self._layers]  # [subcarrier, report, rx_ant, layer]
        scores = np.empty((self.num_units, len(h), len(self._factors)))
        for t in range(self.num_units):
            band = slice(t * self.unit, (t + 1) * self.unit)
            rows = (np.moveaxis(part[band], 0, 1).reshape(len(h), 1, -1, self.rank) for part in (first, second))
            one, two = rows
            e = one + self._factors[:, None] * two  # [report, i2, row, layer]
            gram = np.swapaxes(e.conj(), 2, 3) @ e * (float(db_to_lin(self.snr_db)) / self.rank / 2 / len(first[band]))
            scores[t] = np.linalg.slogdet(gram + np.eye(self.rank, dtype=np.complex64))[1]
        return scores.max(axis=2).sum(axis=0), scores.argmax(axis=2).T

    def precoder(self, pmi: Pmi) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, unit]``."""
        v = self._vectors[pmi["family"][:, None], pmi["beams"]][:, self._layers]  # [report, layer, element]
        v = np.moveaxis(v, 1, 2)[..., None] / np.float32(np.sqrt(2))
        factors = np.swapaxes(self._factors[pmi["i2"]], 1, 2)[:, None]  # [report, 1, layer, unit]
        return np.concatenate([v * np.ones_like(factors), v * factors], axis=1).astype(np.complex64)

    def pack(self, pmi: Pmi) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """No part 1; part 2: the beams, then i_2 of the even and of the odd subbands.

        Beams in mode A: i_{1,1}, i_{1,2}, i_{1,3}, then i_{1,1,j} and i_{1,2,j} of one beam after the other; in mode B:
        i_{1,1}, i_{1,2}.
        """
        family, beams = pmi["family"], pmi["beams"]
        if self._mode_a:
            third = family // 4
            rows, bits = self._rows(third)
            high, low = np.divmod(beams, rows[:, None])
            place = self._place[family, beams[:, 0]]
            values = [*place.T, third, *((high << bits[:, None]) + low)[:, 1:].T]
        else:
            values = [family, combination_rank(beams, self._vectors.shape[1])]
        parts = [bitfield.pack(value[:, None], width) for value, width in zip(values, self._widths, strict=True)]
        parts.append(bitfield.pack(pmi["i2"][:, self._order], self._choice_bits))
        part2 = np.concatenate(parts, axis=1)
        return part2[:, :0], part2, np.full(len(part2), self.part2_bits, np.int64)

    def _rows(self, third: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values of i_{1,2,j} in mode A, and their bits."""
        rows = np.where(third == 0, 4 * self._size[1], self._size[1])
        return rows, np.where(third == 0, 2, 0) + (self._size[1] - 1).bit_length()

    def unpack(self, part1: np.ndarray, part2: np.ndarray, num_bits: np.ndarray) -> tuple[Pmi, np.ndarray]:
        """PMI and ``valid``: beams that exist and are orthogonal."""
        valid = np.asarray(num_bits) == self.part2_bits
        *fields, phases = np.split(part2[:, : self.part2_bits], np.cumsum(self._widths), axis=1)
        values = [bitfield.unpack(part, width)[:, 0] for part, width in zip(fields, self._widths, strict=True)]
        if self._mode_a:
            family, beams, exist = self._beams_a(*values)
        else:
            family, exist = values[0], values[1] < comb(self._vectors.shape[1], self._count)
            beams = combination_members(np.where(exist, values[1], 0), self._vectors.shape[1], self._count)
        pairs = self._orthogonal[family[:, None, None], beams[:, :, None], beams[:, None]]
        valid &= exist & (pairs | np.eye(self._count, dtype=bool)).all(axis=(1, 2))
        i2 = np.empty((len(part2), self.num_units), np.int64)
        i2[:, self._order] = bitfield.unpack(phases, self._choice_bits)
        return {"family": family, "beams": beams, "i2": i2}, valid

    def _beams_a(
        self, column: np.ndarray, row: np.ndarray, third: np.ndarray, *own: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Family, beams and whether they exist, from the fields of mode A."""
        rows, bits = self._rows(third)
        exist = (column < 4 * self._size[0]) & (row < 4 * self._size[1])
        first = np.where(third == 0, column // 4 * rows + row, column * rows + row // 4)
        high, low = np.stack(own, axis=1) >> bits[:, None], np.stack(own, axis=1) & ((1 << bits) - 1)[:, None]
        exist &= (low < rows[:, None]).all(axis=1) & (high * rows[:, None] < self._vectors.shape[1]).all(axis=1)
        beams = np.concatenate([first[:, None], high * rows[:, None] + low], axis=1)
        return 4 * third + np.where(third == 0, column, row) % 4, np.where(exist[:, None], beams, 0), exist


def _families(n1: int, n2: int) -> np.ndarray:
    """(l, m) of the beams that go together in mode A, ``[family, member, 2]``.

    Families 0 to 3, of i_{1,3} = 0, have columns with the same remainder and any row; 4 to 7 rows with the same
    remainder and any column. Members go by column, then row.
    """
    found = []
    for third, remainder in product(range(2), range(4)):
        columns, rows = (
            np.arange(n) * 4 + remainder if third == axis else np.arange(4 * n) for axis, n in enumerate((n1, n2))
        )
        found.append(np.stack(np.meshgrid(columns, rows, indexing="ij"), axis=-1).reshape(-1, 2))
    return np.stack(found)
