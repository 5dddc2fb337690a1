"""Enhanced Type II PMI as bits: the fields of TS 38.212 in the groups of TS 38.214, 5.2.3."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from receivers.codebooks.combination import combination_bits, combination_members, combination_rank
from receivers.codebooks.pmi import Pmi
from simulator.core import bitfield


@dataclass(frozen=True)
class EnhancedTypeTwoPayload:
    """Parts 1 and 2 of a PMI of :class:`receivers.codebooks.etype2.EnhancedTypeTwoCodebook`.

    Args:
        rank: layers.
        max_rank: largest rank that may be reported.
        num_groups: groups of beams.
        group_size: beams of a group.
        num_beams: L.
        num_units: N_3.
        num_taps: M_v.
        windowed: taps are counted in a window of 2 M_v taps (more than 19 subbands).
        budget: K_0.

    Source: TS 38.212, Table 6.3.2.1.2-1A; TS 38.214, 5.2.2.2.5 and 5.2.3.
    """

    rank: int
    max_rank: int
    num_groups: int
    group_size: int
    num_beams: int
    num_units: int
    num_taps: int
    windowed: bool
    budget: int

    @property
    def pool(self) -> int:
        """Number of taps from which a layer takes its own."""
        return min(2 * self.num_taps, self.num_units) if self.windowed else self.num_units

    @property
    def most(self) -> int:
        """Largest number of coefficients that are not zero."""
        return min(self.budget * min(self.rank, 2), math.prod(self.shape))

    @property
    def part1_bits(self) -> int:
        """Bits of the number of coefficients that are not zero."""
        return (self.budget * (1 if self.max_rank == 1 else 2) - 1).bit_length()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers, rows (beams of both polarisations, for each Doppler-domain vector), taps."""
        return self.rank, 2 * self.num_beams * self.num_dopplers, self.num_taps

    @property
    def num_dopplers(self) -> int:
        """Q."""
        return 1

    def part2_length(self, nonzero: int) -> int:
        """Bits of part 2 with ``nonzero`` coefficients."""
        return self._cuts(nonzero)[0]

    @property
    def longest(self) -> int:
        """Bits of the longest part 2."""
        return max(self.part2_length(nonzero) for nonzero in range(self.rank, self.most + 1))

    def lengths(self, part1: np.ndarray) -> np.ndarray:
        """Bits of part 2 ``[report, cut]``: whole, without group 2, without groups 1 and 2 (TS 38.214, 5.2.3)."""
        table = np.array([self._cuts(count) for count in range(1, 2**self.part1_bits + 1)])
        return table[self._nonzero(part1) - 1]

    def _cuts(self, nonzero: int) -> tuple[int, int, int]:
        """Bits of groups 0 to 2, 0 to 1, and of group 0."""
        high = max(-(-nonzero // 2) - self.rank, 0)
        first, last = self._bitmap_bits(nonzero)
        group0, head1 = (sum(number * width for _, number, width in head) for head in self._heads(nonzero))
        group1 = head1 + first + 4 * self.rank + 7 * high + self.tail_bits
        group2 = last + 7 * (nonzero - self.rank - high)
        return group0 + group1 + group2, group0 + group1, group0

    def _heads(self, nonzero: int) -> tuple[list[tuple[str, int, int]], list[tuple[str, int, int]]]:
        """Fields before the bitmap in groups 0 and 1: index of the PMI, how many numbers, bits of each."""
        strongest = "strongest", self.rank, self._strongest_bits(nonzero)
        return (
            [("group", 1, self._group_bits), ("beams", 1, self._beam_bits), strongest],
            [("window", 1, self._window_bits), ("taps", self.rank, self._tap_bits)],
        )

    def _bitmap_bits(self, nonzero: int) -> tuple[int, int]:
        """Bits of the bitmap in group 1 and in group 2."""
        return math.prod(self.shape) - nonzero // 2, nonzero // 2

    def _nonzero(self, part1: np.ndarray) -> np.ndarray:
        """Number of coefficients that are not zero, ``[report]``."""
        number = np.pad(part1, ((0, 0), (1, 0)))  # a leading zero: with one subband part 1 may have no bits at all
        return bitfield.unpack(number, self.part1_bits + 1)[:, 0] + 1

    def _strongest_bits(self, nonzero: int) -> int:
        return ((nonzero if self.rank == 1 else self.shape[1]) - 1).bit_length()

    @property
    def tail_bits(self) -> int:
        """Bits of the fields that end group 1."""
        return 0

    def _tail(self, pmi: Pmi) -> np.ndarray:
        """Bits of these fields ``[report, bit]``."""
        return np.zeros((len(pmi["bitmap"]), 0), np.uint8)

    def _tail_values(self, bits: np.ndarray) -> tuple[Pmi, np.ndarray]:
        """Indices of these fields, and whether they exist ``[report]``."""
        return {}, np.ones(len(bits), bool)

    @property
    def _group_bits(self) -> int:
        return (self.num_groups - 1).bit_length()

    @property
    def _window_bits(self) -> int:
        return (2 * self.num_taps - 1).bit_length() if self.windowed else 0

    def pack(self, pmi: Pmi) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Part 1: number of non-zero coefficients minus 1. Part 2: groups 0, 1, 2 of TS 38.214, 5.2.3."""
        nonzero = pmi["bitmap"].sum(axis=(1, 2, 3))
        part1 = bitfield.pack(nonzero[:, None] - 1, self.part1_bits)
        part2 = np.zeros((len(nonzero), self.longest), np.uint8)
        for count in set(nonzero.tolist()):
            rows = np.flatnonzero(nonzero == count)
            part2[rows, : self.part2_length(count)] = self._pack({k: x[rows] for k, x in pmi.items()}, count)
        return part1, part2, np.array([self.part2_length(count) for count in nonzero.tolist()], np.int64)

    def _pack(self, pmi: Pmi, count: int) -> np.ndarray:
        num_reports = len(pmi["bitmap"])
        order = self._priority(pmi["taps"])
        bitmap = np.take_along_axis(self._flat(pmi["bitmap"]), order, axis=1)
        sent = self._sent(bitmap, pmi["strongest"], order)
        amplitude, phase = (
            np.take_along_axis(self._flat(pmi[key]), order, axis=1)[sent].reshape(num_reports, -1)
            for key in ("amplitude", "phase")
        )
        first, last = self._bitmap_bits(count)
        high = max(-(-count // 2) - self.rank, 0)
        numbers = {
            **self._basis_numbers(pmi),
            "strongest": self._strongest_numbers(pmi),
            "window": pmi["window"][:, None],
            "taps": self._tap_rank(pmi),
        }
        return np.concatenate(
            [
                *(bitfield.pack(numbers[name], width) for head in self._heads(count) for name, _, width in head),
                bitmap[:, :first].astype(np.uint8),
                bitfield.pack(pmi["reference"], 4),
                bitfield.pack(amplitude[:, :high], 3),
                bitfield.pack(phase[:, :high], 4),
                self._tail(pmi),
                bitmap[:, first : first + last].astype(np.uint8),
                bitfield.pack(amplitude[:, high:], 3),
                bitfield.pack(phase[:, high:], 4),
            ],
            axis=1,
        )

    def unpack(self, part1: np.ndarray, part2: np.ndarray, num_bits: np.ndarray) -> tuple[Pmi, np.ndarray]:
        """PMI and ``valid``: a known number of coefficients, a length that it implies, indices that exist.

        The length identifies the omitted groups. Coefficients without amplitude and phase are zero then; without
        group 1 the strongest of each layer alone is left (with one layer its beam is read as if all of tap 0 were in
        use, for the bitmap that counts it is missing).
        """
        nonzero = self._nonzero(part1)
        layers, rows, taps = self.shape
        n = len(nonzero)
        pmi: Pmi = {
            **self._basis_of(_zeros(n, [("group", 1, 0), *self._heads(layers)[0]]))[0],
            "window": np.zeros(n, np.int64),
            "taps": np.tile(np.arange(taps), (n, layers, 1)),
            "bitmap": np.zeros((n, layers, rows, taps), np.int64),
            "strongest": np.zeros((n, layers), np.int64),
            "reference": np.ones((n, layers), np.int64),
            "amplitude": np.full((n, layers, rows, taps), 7),
            "phase": np.zeros((n, layers, rows, taps), np.int64),
        }
        pmi |= self._tail_values(np.zeros((n, self.tail_bits), np.uint8))[0]
        pmi["bitmap"][:, :, 0, 0] = 1
        valid = np.zeros(n, bool)
        for count in set(nonzero.tolist()) & set(range(layers, self.most + 1)):
            whole = self.part2_length(count)
            cuts = dict(zip(reversed(self._cuts(count)), (1, 2, 3), strict=True))  # equal lengths: the whole report
            for length, groups in cuts.items():
                chosen = np.flatnonzero((nonzero == count) & (num_bits == length))
                if not chosen.size:
                    continue
                bits = np.pad(part2[chosen, :length], ((0, 0), (0, whole - length)))
                found, good = self._unpack(bits, count, groups)
                valid[chosen] = good
                for key, value in found.items():
                    pmi[key][chosen[good]] = value[good]
        return pmi, valid

    def _unpack(self, bits: np.ndarray, count: int, groups: int) -> tuple[Pmi, np.ndarray]:
        """PMI and ``valid`` of the first groups, zeros standing for the bits of the others."""
        layers, rows, taps = self.shape
        size = layers * rows * taps
        high = max(-(-count // 2) - layers, 0)
        numbers, parts = self._fields(bits, count, high)
        window, tap_rank = numbers["window"][:, 0], numbers["taps"]
        basis, good = self._basis_of(numbers)
        good &= (tap_rank < math.comb(self.pool - 1, taps - 1)).all(axis=1) & (window < 2 * taps)
        pmi: Pmi = {
            **basis,
            "window": np.where(good, window, 0),
            "reference": bitfield.unpack(parts[1], 4),
        }
        if groups == 1:
            pmi["reference"] = np.ones_like(pmi["reference"])
        tail, exist = self._tail_values(parts[4])
        pmi |= tail
        good &= (pmi["reference"] > 0).all(axis=1) & exist
        pmi["taps"] = self._taps_of(np.where(good[:, None], tap_rank, 0), pmi["window"])
        order = self._priority(pmi["taps"])
        first, last = self._bitmap_bits(count)
        known = (0, size - count // 2, size)[groups - 1]
        sorted_bitmap = np.concatenate([parts[0], parts[5]], axis=1).astype(np.int64)
        if not first + last:  # all coefficients
            known, sorted_bitmap = size, np.ones((len(bits), size), np.int64)
        total = sorted_bitmap.sum(axis=1)
        good &= (count - (size - known) <= total) & (total <= count)
        pmi["bitmap"] = self._unflat(sorted_bitmap, order)
        good &= (pmi["bitmap"].sum(axis=(2, 3)) <= self.budget).all(axis=1)
        possible = self._unflat(np.where(np.arange(size) < known, sorted_bitmap, 1), order)
        strongest, fits = self._strongest_places(numbers["strongest"], possible)
        good &= fits
        pmi["strongest"] = strongest
        pmi["bitmap"] = pmi["bitmap"] | self.first(strongest)
        sorted_bitmap = np.take_along_axis(self._flat(pmi["bitmap"]), order, axis=1)
        sent = self._sent(sorted_bitmap, strongest, order)
        is_first = (sorted_bitmap == 1) & ~sent
        described = (0, high, count - layers)[groups - 1]
        sent &= np.cumsum(sent, axis=1) <= described
        good &= sent.sum(axis=1) == described
        pmi["bitmap"] = self._unflat((sent | is_first).astype(np.int64), order)
        for key, width, at, empty in (("amplitude", 3, 2, 7), ("phase", 4, 3, 0)):
            values = np.concatenate([bitfield.unpack(parts[i], width) for i in (at, at + 4)], axis=1)[:, :described]
            full = np.zeros(sorted_bitmap.shape, np.int64)
            full[sent & good[:, None]] = values[good].reshape(-1)
            full[is_first] = empty
            pmi[key] = self._unflat(full, order)
        return pmi, good

    def _fields(self, bits: np.ndarray, count: int, high: int) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
        """Numbers ``[report, number]`` of the fields before the bitmap (0 without bits), and bits of those after it."""
        heads, low = [field for head in self._heads(count) for field in head], count - self.rank - high
        first, last = self._bitmap_bits(count)
        widths = [number * width for _, number, width in heads]
        widths += [first, 4 * self.rank, 3 * high, 4 * high, self.tail_bits, last, 3 * low, 4 * low]
        parts = np.split(bits, np.cumsum(widths)[:-1], axis=1)
        numbers = _zeros(len(bits), [("group", 1, 0), ("window", 1, 0)])
        for (name, number, width), part in zip(heads, parts, strict=False):
            numbers[name] = bitfield.unpack(part, width) if width else np.zeros((len(bits), number), np.int64)
        return numbers, parts[len(heads) :]

    def _basis_numbers(self, pmi: Pmi) -> dict[str, np.ndarray]:
        """Numbers of the fields i_{1,1} and i_{1,2} ``[report, number]``."""
        return {"group": pmi["group"][:, None], "beams": combination_rank(pmi["beams"], self.group_size)[:, None]}

    def _basis_of(self, numbers: dict[str, np.ndarray]) -> tuple[Pmi, np.ndarray]:
        """Group and beams of these numbers (0 where they do not exist), and whether they exist ``[report]``."""
        group, beams = numbers["group"][:, 0], numbers["beams"][:, 0]
        good = (beams < math.comb(self.group_size, self.num_beams)) & (group < self.num_groups)
        beams = combination_members(np.where(good, beams, 0), self.group_size, self.num_beams)
        return {"group": np.where(good, group, 0), "beams": beams}, good

    def _strongest_numbers(self, pmi: Pmi) -> np.ndarray:
        """i_{1,8} ``[report, layer]``: the beam; of rank 1 its number among the non-zero coefficients of tap 0."""
        strongest = pmi["strongest"]
        if self.rank > 1:
            return strongest
        before = np.arange(self.shape[1]) < strongest[..., None]
        return np.sum(pmi["bitmap"][..., 0] * before, axis=2)

    def _strongest_places(self, numbers: np.ndarray, possible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Place of the strongest coefficient of every layer, and whether the bitmap may have a coefficient there."""
        first_tap = possible[..., 0]
        if self.rank == 1:
            good = numbers[:, 0] < first_tap.sum(axis=(1, 2))
            return np.argmax(np.cumsum(first_tap, axis=2) == numbers[..., None] + 1, axis=2), good
        rows = self.shape[1]
        good = (numbers < rows).all(axis=1)
        places = np.minimum(numbers, rows - 1)
        return places, good & np.take_along_axis(first_tap, places[..., None], axis=2).all(axis=(1, 2))

    def first(self, strongest: np.ndarray) -> np.ndarray:
        """Strongest coefficients, bool ``[report, layer, row, tap]``, of their places: row + number of rows * tap."""
        _, rows, taps = self.shape
        place = np.arange(rows)[:, None] + rows * np.arange(taps)
        found: np.ndarray = place == strongest[..., None, None]
        return found

    @property
    def _beam_bits(self) -> int:
        return combination_bits(self.group_size, self.num_beams)

    @property
    def _tap_bits(self) -> int:
        return combination_bits(self.pool - 1, self.num_taps - 1)

    def _tap_rank(self, pmi: Pmi) -> np.ndarray:
        """i_{1,6} ``[report, layer]``: the set of the taps but tap 0, counted from 1 in the window."""
        taps = pmi["taps"][..., 1:]
        if self.windowed:  # taps beyond the window's end are those before tap 0
            end = (2 * self.num_taps - pmi["window"]) % (2 * self.num_taps)
            last = 2 * self.num_taps - 1 - end  # of the taps from 0 on
            taps = np.where(taps > last[:, None, None], taps - (self.num_units - self.pool), taps)
        return combination_rank(taps - 1, self.pool - 1)

    def _taps_of(self, rank: np.ndarray, window: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`_tap_rank`, ``[report, layer, tap]``."""
        taps = combination_members(rank, self.pool - 1, self.num_taps - 1) + 1
        if self.windowed:
            end = (2 * self.num_taps - window) % (2 * self.num_taps)
            last = 2 * self.num_taps - 1 - end
            taps = np.where(taps > last[:, None, None], taps + (self.num_units - self.pool), taps)
        return np.concatenate([np.zeros((*taps.shape[:2], 1), np.int64), taps], axis=2)

    def _priority(self, taps: np.ndarray) -> np.ndarray:
        """Order ``[report, element]`` of the elements (tap, row, layer), first the one of highest priority.

        Pri(l, i, f) = 2 L v pi(f) + v i + l with pi(f) = min(2 n_3, 2 (N_3 - n_3) - 1).
        """
        layers, rows, _ = self.shape
        near = np.minimum(2 * taps, 2 * (self.num_units - taps) - 1)  # [report, layer, tap]
        value = rows * layers * near[:, :, None] + layers * np.arange(rows)[:, None]
        value = value + np.arange(layers)[:, None, None]
        return np.argsort(value.reshape(len(taps), -1), axis=1, kind="stable")

    def _sent(self, sorted_bitmap: np.ndarray, strongest: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Which elements, by priority, have amplitude and phase: non-zero ones but the strongest of each layer."""
        return (sorted_bitmap == 1) & ~np.take_along_axis(self._flat(self.first(strongest)), order, axis=1)

    def _flat(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1)

    def _unflat(self, x: np.ndarray, order: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        np.put_along_axis(out, order, x, axis=1)
        return out.reshape(len(x), *self.shape)


def _zeros(reports: int, fields: list[tuple[str, int, int]]) -> dict[str, np.ndarray]:
    """Numbers of fields that have no bits, int ``[report, number]``."""
    return {name: np.zeros((reports, number), np.int64) for name, number, _ in fields}
