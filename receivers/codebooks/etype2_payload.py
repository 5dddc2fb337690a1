"""Enhanced Type II PMI as bits: the fields of TS 38.212 in the groups of TS 38.214, 5.2.3."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from receivers.codebooks.combination import combination_bits, combination_members, combination_rank
from receivers.codebooks.pmi import Pmi
from simulator.core import bitfield


@dataclass(frozen=True)
class EnhancedTypeTwoPayload:
    """Parts 1 and 2 of a PMI of :class:`receivers.codebooks.etype2.EnhancedTypeTwoCodebook`.

    With more than one interval Q = 2 Doppler-domain vectors multiply the rows (row 2 L tau + i), the priority goes by
    vector before tap, and i_{1,10} ends group 1.

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
        num_intervals: N_4.

    Source: TS 38.212, Tables 6.3.2.1.2-1A and -1C; TS 38.214, 5.2.2.2.5, 5.2.2.2.10 and 5.2.3.
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
    num_intervals: int = 1

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
        return min(self.num_intervals, 2)

    def part2_length(self, nonzero: int) -> int:
        """Bits of part 2 with ``nonzero`` coefficients."""
        return self._cuts(nonzero)[0]

    def lengths(self, part1: np.ndarray) -> np.ndarray:
        """Bits of part 2 ``[report, cut]``: whole, without group 2, without groups 1 and 2 (TS 38.214, 5.2.3)."""
        table = np.array([self._cuts(count) for count in range(1, 2**self.part1_bits + 1)])
        return table[self._nonzero(part1) - 1]

    def _cuts(self, nonzero: int) -> tuple[int, int, int]:
        """Bits of groups 0 to 2, 0 to 1, and of group 0."""
        layers, rows, taps = self.shape
        high = max(-(-nonzero // 2) - layers, 0)
        group0 = self._group_bits + self._beam_bits + layers * self._strongest_bits(nonzero)
        group1 = self._window_bits + layers * (self._tap_bits + rows * taps + 4 + self._doppler_bits)
        group1 += 7 * high - nonzero // 2
        group2 = nonzero // 2 + 7 * (nonzero - layers - high)
        return group0 + group1 + group2, group0 + group1, group0

    def _nonzero(self, part1: np.ndarray) -> np.ndarray:
        """Number of coefficients that are not zero, ``[report]``."""
        number = np.pad(part1, ((0, 0), (1, 0)))  # a leading zero: with one subband part 1 may have no bits at all
        return bitfield.unpack(number, self.part1_bits + 1)[:, 0] + 1

    def _strongest_bits(self, nonzero: int) -> int:
        return ((nonzero if self.rank == 1 else self.shape[1]) - 1).bit_length()

    @property
    def _group_bits(self) -> int:
        return (self.num_groups - 1).bit_length()

    @property
    def _window_bits(self) -> int:
        return (2 * self.num_taps - 1).bit_length() if self.windowed else 0

    @property
    def _doppler_bits(self) -> int:
        return (self.num_intervals - 2).bit_length() if self.num_intervals > 1 else 0

    def pack(self, pmi: Pmi) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Part 1: number of non-zero coefficients minus 1. Part 2: groups 0, 1, 2 of TS 38.214, 5.2.3."""
        nonzero = pmi["bitmap"].sum(axis=(1, 2, 3))
        part1 = bitfield.pack(nonzero[:, None] - 1, self.part1_bits)
        part2 = np.zeros((len(nonzero), self.part2_length(self.most)), np.uint8)
        for count in set(nonzero.tolist()):
            rows = np.flatnonzero(nonzero == count)
            part2[rows, : self.part2_length(count)] = self._pack({k: x[rows] for k, x in pmi.items()}, count)
        return part1, part2, np.array([self.part2_length(count) for count in nonzero.tolist()], np.int64)

    def _pack(self, pmi: Pmi, count: int) -> np.ndarray:
        layers, rows, taps = self.shape
        num_reports = len(pmi["group"])
        strongest = pmi["strongest"]
        if self.rank == 1:  # its number among the non-zero coefficients of tap 0
            before = np.arange(rows) < strongest[..., None]
            strongest = np.sum(pmi["bitmap"][..., 0] * before, axis=2)
        order = self._priority(pmi["taps"])
        bitmap = np.take_along_axis(self._flat(pmi["bitmap"]), order, axis=1)
        sent = self._sent(bitmap, pmi["strongest"], order)
        amplitude, phase = (
            np.take_along_axis(self._flat(pmi[key]), order, axis=1)[sent].reshape(num_reports, -1)
            for key in ("amplitude", "phase")
        )
        first = layers * rows * taps - count // 2
        high = max(-(-count // 2) - layers, 0)
        doppler = pmi.get("doppler", np.zeros((num_reports, 0), np.int64))
        return np.concatenate(
            [
                bitfield.pack(pmi["group"][:, None], self._group_bits),
                bitfield.pack(combination_rank(pmi["beams"], self.group_size)[:, None], self._beam_bits),
                bitfield.pack(strongest, self._strongest_bits(count)),
                bitfield.pack(pmi["window"][:, None], self._window_bits),
                bitfield.pack(self._tap_rank(pmi), self._tap_bits),
                bitmap[:, :first].astype(np.uint8),
                bitfield.pack(pmi["reference"], 4),
                bitfield.pack(amplitude[:, :high], 3),
                bitfield.pack(phase[:, :high], 4),
                bitfield.pack(doppler, self._doppler_bits),
                bitmap[:, first:].astype(np.uint8),
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
            "group": np.zeros(n, np.int64),
            "beams": np.tile(np.arange(self.num_beams), (n, 1)),
            "window": np.zeros(n, np.int64),
            "taps": np.tile(np.arange(taps), (n, layers, 1)),
            "bitmap": np.zeros((n, layers, rows, taps), np.int64),
            "strongest": np.zeros((n, layers), np.int64),
            "reference": np.ones((n, layers), np.int64),
            "amplitude": np.full((n, layers, rows, taps), 7),
            "phase": np.zeros((n, layers, rows, taps), np.int64),
        }
        pmi["bitmap"][:, :, 0, 0] = 1
        if self.num_dopplers > 1:
            pmi["doppler"] = np.zeros((n, layers), np.int64)
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
        parts, group, beams, strongest, window, tap_rank = self._fields(bits, count, high)
        good = beams < math.comb(self.group_size, self.num_beams)
        good &= (tap_rank < math.comb(self.pool - 1, taps - 1)).all(axis=1) & (window < 2 * taps)
        pmi: Pmi = {
            "group": group,
            "window": np.where(good, window, 0),
            "beams": combination_members(np.where(good, beams, 0), self.group_size, self.num_beams),
            "reference": bitfield.unpack(parts[6], 4),
        }
        if groups == 1:
            pmi["reference"] = np.ones_like(pmi["reference"])
        good &= (pmi["reference"] > 0).all(axis=1)
        if self.num_dopplers > 1:
            doppler = np.zeros((len(bits), layers), np.int64)
            if self._doppler_bits:
                doppler = bitfield.unpack(parts[9], self._doppler_bits)
            good &= (doppler < self.num_intervals - 1).all(axis=1)
            pmi["doppler"] = doppler
        pmi["taps"] = self._taps_of(np.where(good[:, None], tap_rank, 0), pmi["window"])
        order = self._priority(pmi["taps"])
        sorted_bitmap = np.concatenate([parts[5], parts[10]], axis=1).astype(np.int64)
        known = (0, size - count // 2, size)[groups - 1]
        total = sorted_bitmap.sum(axis=1)
        good &= (count - (size - known) <= total) & (total <= count)
        pmi["bitmap"] = self._unflat(sorted_bitmap, order)
        good &= (pmi["bitmap"].sum(axis=(2, 3)) <= self.budget).all(axis=1)
        first_tap = self._unflat(np.where(np.arange(size) < known, sorted_bitmap, 1), order)[..., 0]
        strongest, fits = self._strongest_rows(strongest, first_tap)
        good &= fits
        pmi["strongest"] = strongest
        np.put_along_axis(pmi["bitmap"][..., 0], strongest[..., None], 1, axis=2)
        sorted_bitmap = np.take_along_axis(self._flat(pmi["bitmap"]), order, axis=1)
        sent = self._sent(sorted_bitmap, strongest, order)
        first = (sorted_bitmap == 1) & ~sent
        described = (0, high, count - layers)[groups - 1]
        sent &= np.cumsum(sent, axis=1) <= described
        good &= sent.sum(axis=1) == described
        pmi["bitmap"] = self._unflat((sent | first).astype(np.int64), order)
        for key, width, at, empty in (("amplitude", 3, 7, 7), ("phase", 4, 8, 0)):
            values = np.concatenate([bitfield.unpack(parts[i], width) for i in (at, at + 4)], axis=1)[:, :described]
            full = np.zeros(sorted_bitmap.shape, np.int64)
            full[sent & good[:, None]] = values[good].reshape(-1)
            full[first] = empty
            pmi[key] = self._unflat(full, order)
        return pmi, good

    def _fields(self, bits: np.ndarray, count: int, high: int) -> tuple[Any, ...]:
        """Bits of every field, and the five fields of group 0: group, beams, strongest, window, tap combination."""
        layers, rows, taps = self.shape
        size = layers * rows * taps
        low = count - layers - high
        widths = [
            self._group_bits, self._beam_bits, layers * self._strongest_bits(count), self._window_bits,
            layers * self._tap_bits, size - count // 2, 4 * layers, 3 * high, 4 * high, layers * self._doppler_bits,
            count // 2, 3 * low, 4 * low,
        ]  # fmt: skip
        parts = np.split(bits, np.cumsum(widths)[:-1], axis=1)
        group, beams, strongest, window, tap_rank = (
            bitfield.unpack(part, width)
            for part, width in zip(
                parts[:5],
                (self._group_bits, self._beam_bits, self._strongest_bits(count), self._window_bits, self._tap_bits),
                strict=True,
            )
        )
        group, beams, window = (
            x[:, 0] if x.shape[1] else np.zeros(len(bits), np.int64) for x in (group, beams, window)
        )
        strongest, tap_rank = (
            x if x.shape[1] else np.zeros((len(bits), layers), np.int64) for x in (strongest, tap_rank)
        )
        return parts, group, beams, strongest, window, tap_rank

    def _strongest_rows(self, strongest: np.ndarray, first_tap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row of the strongest coefficient of every layer, and whether the bitmap of its tap has a coefficient there.

        Of rank 1 the indicator counts the coefficients of the first tap, of higher ranks all rows.
        """
        if self.rank == 1:
            good = strongest[:, 0] < first_tap.sum(axis=(1, 2))
            return np.argmax(np.cumsum(first_tap, axis=2) == strongest[..., None] + 1, axis=2), good
        rows = self.shape[1]
        good = (strongest < rows).all(axis=1)
        strongest = np.minimum(strongest, rows - 1)
        return strongest, good & np.take_along_axis(first_tap, strongest[..., None], axis=2).all(axis=(1, 2))

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

        Pri(l, i, f) = 2 L v pi(f) + v i + l with pi(f) = min(2 n_3, 2 (N_3 - n_3) - 1); with Doppler-domain vectors
        Pri(l, i, f, tau) = 2 L v M_v tau + 2 L v f + v i + l.
        """
        layers, rows, count = self.shape
        if self.num_dopplers > 1:
            tau, i = np.divmod(np.arange(rows)[:, None], 2 * self.num_beams)
            value = layers * (2 * self.num_beams * (count * tau + np.arange(count)) + i)
            value = np.broadcast_to(value, (len(taps), layers, rows, count))
        else:
            near = np.minimum(2 * taps, 2 * (self.num_units - taps) - 1)  # [report, layer, tap]
            value = rows * layers * near[:, :, None] + layers * np.arange(rows)[:, None]
        value = value + np.arange(layers)[:, None, None]
        return np.argsort(value.reshape(len(taps), -1), axis=1, kind="stable")

    def _sent(self, sorted_bitmap: np.ndarray, strongest: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Which elements, by priority, have amplitude and phase: non-zero ones but the strongest of each layer."""
        layers, rows, taps = self.shape
        is_first = np.zeros((len(order), layers, rows, taps), bool)
        np.put_along_axis(is_first[..., 0], strongest[..., None], True, axis=2)
        return (sorted_bitmap == 1) & ~np.take_along_axis(self._flat(is_first), order, axis=1)

    def _flat(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1)

    def _unflat(self, x: np.ndarray, order: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        np.put_along_axis(out, order, x, axis=1)
        return out.reshape(len(x), *self.shape)
