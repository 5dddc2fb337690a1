"""Beam-delay reports as bits: many reports in lockstep, place by place, with the tables that the contexts choose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from receivers.beamdelay.content import Content, in_order, last_nonzero, running, symbols_of
from receivers.beamdelay.contexts import CAP, NUM_FEATURES, NUM_SYMBOLS, Contexts, energy_table
from receivers.beamdelay.escapes import put_escape, take_escape
from receivers.beamdelay.grid import Grid
from receivers.beamdelay.state import State
from receivers.beamdelay.tables import LEVEL_UNIT, ORIGIN_CELLS, PRECISION, WHOLE, Tables
from receivers.coding.range_coder import TOTAL, RangeDecoder, RangeEncoder

_REPORTS = 512  # in lockstep
_FEATURES = 2**20  # that are held at a time
_ROUNDING = 0.01  # bit, of ideal lengths


class BeamDelayCoder:
    r"""Range code of group, step, origins and coefficients, these in the order of their importance.

    A report is ``group`` and, with several steps, ``step`` and the ``row`` of every origin, each uniform; then place by
    place, layer by layer, the coefficient. That of the origin is real, 1..A with :math:`A = \lfloor\sqrt E\rfloor + 1`,
    from 32 learned cells of its share of A. Another is a symbol ``16 min(|a|, 15) + min(|b|, 15)`` of its parts in the
    table that the contexts choose; then the sign of a and of b where they are not 0 (one bit each), and an Exp-Golomb
    code of \|a\| - 15 and \|b\| - 15 where these are not negative.

    The code is a prefix code. Of a report that was cut, all coefficients that the bits determine are known; the others
    are 0.

    Args:
        grid: cells.
        tables: shared integers.
        num_groups: rotation groups.
        rank: layers.
        energies: of a layer in squared steps, whole, for every step that a report may name.
    """

    prefixes: ClassVar[bool] = True  # tables of the first places are known without the others
    origins: ClassVar[bool] = True  # the first coefficient of a layer is real, positive, and always sent

    def __init__(self, grid: Grid, tables: Tables, num_groups: int, rank: int, energies: list[int]):
        self.grid, self.tables, self.rank = grid, tables, rank
        self.contexts = Contexts(grid, tables.network)
        self.always = rank if self.origins else 0  # coefficients that are sent whatever fits
        self.energies = np.array(energies, np.float32)
        self._heads = [num_groups, len(energies), *[grid.num_rows] * rank]
        self._starts, self._frequency = tables.starts.ravel(), tables.frequency.ravel()
        self._lengths = tables.lengths
        cells = np.concatenate([[0], np.cumsum(tables.origin)])
        self._origins = []  # ends of the sizes 0, 1, ... of the origin, for every step
        for energy in energies:
            most = int(energy**0.5) + 1
            cell, rest = np.divmod(np.arange(most + 1) * ORIGIN_CELLS, most)
            after = cells[np.minimum(cell + 1, ORIGIN_CELLS)]
            self._origins.append(cells[cell] + (after - cells[cell]) * rest // most)

    def limit_origin(self, size: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Sizes of origins ``[report, layer]`` within those that exist."""
        most = np.array([len(ends) - 1 for ends in self._origins])
        return np.clip(size, 1, most[step][:, None])

    def bins(self, content: Content) -> np.ndarray:
        """Tables of all coefficients, int32 ``[place, report, layer]``; a content may end before the last place."""
        contexts, step = self.contexts.first(len(content.real)), self._at_once(len(content.real))
        found = [
            contexts.bins(self._features(content.of(slice(i, i + step)))) for i in range(0, len(content.step), step)
        ]
        return np.concatenate(found, axis=1).reshape(content.real.shape)

    def _at_once(self, places: int) -> int:
        """Reports whose features are held at a time."""
        return max(1, _FEATURES // (NUM_FEATURES * places * self.rank))

    def _features(self, content: Content) -> np.ndarray:
        """Features float32 ``[feature, place, report * layer]``."""
        symbols = symbols_of(content)
        energy = np.repeat(self.energies[content.step], self.rank)
        return self.contexts.first(len(symbols)).features(symbols.reshape(len(symbols), -1), energy)

    def zero_bits(self, content: Content, bins: np.ndarray) -> np.ndarray:
        """Ideal length of zeros at all places ``[place, report, layer]``, with the origins of the content."""
        lengths = self._lengths[bins, 0]
        if self.origins:
            lengths[0] = self.origin_bits(content)
        return lengths

    def _head_values(self, content: Content) -> list[np.ndarray]:
        """What comes before the coefficients."""
        return [content.group, content.step, *content.row.T]

    def head_bits(self) -> float:
        """Ideal length of group, step and rows."""
        return float(np.sum(np.log2(self._heads)))

    def origin_bits(self, content: Content) -> np.ndarray:
        """Ideal length of the sizes of the origins, ``[report, layer]``."""
        found = np.empty(content.row.shape)
        for step in np.unique(content.step):
            rows = content.step == step
            size = content.real[0][rows]
            found[rows] = np.log2(TOTAL) - np.log2(self._origins[step][size] - self._origins[step][size - 1])
        return found

    def ideal_bits(self, content: Content, bins: np.ndarray | None = None) -> np.ndarray:
        """Ideal length of the coefficients, float ``[place, report, layer]``, in their own contexts or these tables."""
        symbols = symbols_of(content)
        lengths = self._lengths[self.bins(content) if bins is None else bins, symbols]
        if symbols.max(initial=0) >= CAP:
            for part in (np.abs(content.real), np.abs(content.imag)):
                beyond = part >= CAP
                lengths[beyond] += 2 * np.floor(np.log2(part[beyond] - CAP + 1)) + 1
        if self.origins:
            lengths[0] = self.origin_bits(content)
        return lengths

    def needed(self, content: Content, bins: np.ndarray, most_bits: int) -> np.ndarray:
        """Bits that reports need, float ``[report]``; those of at most ``most_bits`` are sent whole in that many.

        The ideal length up to the last coefficient that is not 0, and one bit; or up to a later zero that the decoder
        might take for another coefficient (see :meth:`encode`), if that is beyond ``most_bits``.
        """
        length = in_order(self.ideal_bits(content, bins))
        ends = running(length) + self.head_bits()
        last = last_nonzero(content)
        found = ends[last, np.arange(len(last))] + 1 + _ROUNDING
        place, report = np.nonzero(length[: self.grid.size * self.rank - 1] > 0.9)
        after = place > last[report]
        place, report = place[after], report[after]
        width = np.exp2(np.minimum(most_bits - ends[place, report], 60))
        before = np.exp2(np.clip(most_bits - ends[place, report] + length[place, report], -60, 60))
        missed = width <= 1.01 * np.minimum(before / 0.99 - 1, 1)  # by a decoder for some raised lower end
        np.maximum.at(found, report[missed], np.maximum(ends[place, report][missed], most_bits + 1))
        return found

    def first(self, content: Content, most_bits: int) -> Content:
        """As many of the first coefficients as are sent whole in ``most_bits``, and the origins."""
        content, bins = self.cut(content, most_bits)[:2]
        last = last_nonzero(content)
        long = np.flatnonzero((self.needed(content, bins, most_bits) > most_bits) & (last >= self.always))
        if not long.size:
            return content
        part = content.of(long)
        before = np.arange(len(content.real) * self.rank)[:, None] < last[long]
        kept = np.moveaxis(before.reshape(-1, self.rank, len(long)), 1, 2)
        part = replace(part, real=part.real * kept, imag=part.imag * kept)
        return content.replaced(long, self.first(part, most_bits))

    def encode(self, content: Content, most_bits: int) -> tuple[np.ndarray, np.ndarray]:
        """Bits uint8 ``[report, most_bits]``, zero padded, and their number ``[report]``.

        Of a report whose code is longer the first coefficients are sent, those whose code ends within
        ``most_bits - 1`` bits; zeros after the last of them need none.
        """
        parts = [
            self._encode(content.of(slice(i, i + _REPORTS)), most_bits)
            for i in range(0, len(content.group), _REPORTS)
        ]  # fmt: skip
        bits, num_bits = zip(*parts, strict=True)
        return np.concatenate(bits), np.concatenate(num_bits)

    def _encode(self, content: Content, most_bits: int) -> tuple[np.ndarray, np.ndarray]:
        content, bins, begins, fits = self.cut(content, most_bits)
        cut, raised, octets, num_bits = self._coded(content, bins, most_bits, fits)
        whole = np.unpackbits(octets, axis=1)[:, :most_bits]
        bits = np.zeros_like(cut)
        bits[:, : whole.shape[1]] = whole
        bits = np.where((num_bits <= most_bits)[:, None], bits, cut)
        # After the last coefficient the decoder must not meet a zero whose range ends before the rounded lower end.
        width = np.exp2(np.clip(most_bits - begins, -60, 60))  # of the range before every coefficient
        after = np.append(begins[1:], begins[-1:], axis=0)
        missed = (width >= 0.99 * (raised + 1)) & (np.exp2(np.clip(most_bits - after, -60, 60)) <= 1.01 * raised)
        last, order = last_nonzero(content), np.arange(len(begins))
        missed[-1] = False
        missed &= order[:, None] > last
        rows = np.flatnonzero(missed.any(axis=0) & (num_bits > most_bits) & (last >= self.always))
        if rows.size:
            kept = np.moveaxis((order[:, None] < last[rows]).reshape(-1, self.rank, len(rows)), 1, 2)
            part = content.of(rows)
            bits[rows], num_bits[rows] = self._encode(
                replace(part, real=part.real * kept, imag=part.imag * kept), most_bits
            )
        return bits, np.minimum(num_bits, most_bits)

    def _coded(
        self, content: Content, bins: np.ndarray, most_bits: int, fits: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Lower ends of so many bits and by how much they were raised; octets and length of the whole code."""
        encoder = RangeEncoder(len(content.group))
        for size, value in zip(self._heads, self._head_values(content), strict=True):
            if size > 1:
                ends = np.arange(size + 1) * TOTAL // size
                encoder.put(ends[value].astype(np.uint64), np.diff(ends)[value].astype(np.uint64))
        symbols = symbols_of(content)
        index = bins * NUM_SYMBOLS + symbols
        start = (self._starts[index] % WHOLE).astype(np.uint64)
        frequency = self._frequency[index].astype(np.uint64)
        for step in np.unique(content.step) if self.origins else ():
            rows, ends = content.step == step, self._origins[step]
            size = content.real[0][rows]
            start[0, rows], frequency[0, rows] = ends[size - 1], ends[size] - ends[size - 1]
        signs = (content.real != 0) * 1 + (content.imag != 0)
        negative = np.where(content.real != 0, np.int64(content.real < 0) << (content.imag != 0), 0)
        negative = negative + (content.imag < 0)
        share = (4 >> signs).astype(np.uint64)
        low = negative.astype(np.uint64) * share
        beyond = (symbols // (CAP + 1) == CAP) | (symbols % (CAP + 1) == CAP)
        for place in range(self.grid.size):
            for layer in range(self.rank):
                at = (place, slice(None), layer)
                if place == 0 and self.origins:
                    encoder.put(start[at], frequency[at])
                    continue
                encoder.put(start[at], frequency[at], PRECISION)
                if signs[at].any():
                    encoder.put(low[at], share[at], 2)
                    if beyond[at].any():
                        for part in (content.real, content.imag):
                            put_escape(encoder, np.abs(part[at]) - CAP)
        return *encoder.lower_ends(most_bits, fits), *encoder.finish()

    def cut(self, content: Content, most_bits: int) -> tuple[Content, np.ndarray, np.ndarray, np.ndarray]:
        """Content with 0 for coefficients whose code ends beyond ``most_bits - 1``.

        Returns:
            content; its tables; ideal length before every coefficient in the order of coding
            ``[place * layer, report]``; whether the origins fit ``[report]``.
        """
        while True:
            bins = self.bins(content)
            length = in_order(self.ideal_bits(content, bins))
            begins = running(length) + self.head_bits() - length
            drop = (begins + length > most_bits - 1 - _ROUNDING) & in_order((content.real != 0) | (content.imag != 0))
            fits = ~drop[: self.always].any(axis=0)
            drop[: self.always] = False
            if not drop.any():
                return content, bins, begins, fits
            kept = np.moveaxis(~drop.reshape(len(content.real), self.rank, -1), 1, 2)
            content = replace(content, real=content.real * kept, imag=content.imag * kept)

    def decode(self, bits: np.ndarray, num_bits: np.ndarray) -> tuple[Content, np.ndarray]:
        """Content of reports uint8 ``[report, bit]``, and the tables of their coefficients."""
        found = [
            self._decode(bits[i : i + _REPORTS], num_bits[i : i + _REPORTS]) for i in range(0, len(bits), _REPORTS)
        ]
        contents, bins = zip(*found, strict=True)
        joined = [np.concatenate([getattr(c, key) for c in contents]) for key in ("group", "step", "row")]
        parts = [np.concatenate([getattr(c, key) for c in contents], axis=1) for key in ("real", "imag")]
        return Content(*joined, *parts), np.concatenate(bins, axis=1)

    def _decode(self, bits: np.ndarray, num_bits: np.ndarray, **given: Any) -> tuple[Content, np.ndarray]:
        reports, places, rank = len(bits), self.grid.size, self.rank
        decoder = RangeDecoder(np.packbits(bits, axis=1), num_bits)
        heads = []
        for size in self._heads:
            ends = np.arange(size + 1) * TOTAL // size
            value = np.zeros(reports, np.int64)
            if size > 1:
                value = np.searchsorted(ends, decoder.target(), side="right") - 1
                decoder.take(ends[value].astype(np.uint64), np.diff(ends)[value].astype(np.uint64))
            heads.append(value * decoder.determined)
        step = heads[1]
        real, imag = np.zeros((2, places, reports, rank), np.int32)
        bins = np.zeros((places, reports, rank), np.int32)
        states = self._states(heads, **given)
        squares = energy_table()
        for place in range(places):
            for layer, state in enumerate(states):
                if place == 0 and self.origins:
                    a, b = self._take_origin(decoder, step), np.zeros(reports, np.int64)
                    a = np.where(decoder.determined, a, 1)
                    symbol = np.minimum(a, CAP) * (CAP + 1)
                else:
                    table = self.contexts.bins(state.features(place), slice(place, place + 1))[0].astype(np.int64)
                    target, index = decoder.target(PRECISION), NUM_SYMBOLS * table
                    some = np.flatnonzero(target >= self._frequency[index])  # of a 0, the first symbol
                    index[some] = np.searchsorted(self._starts, target[some] + WHOLE * table[some], side="right") - 1
                    start, frequency = self._starts[index] % WHOLE, self._frequency[index]
                    decoder.take(start.astype(np.uint64), frequency.astype(np.uint64), PRECISION)
                    symbol = np.where(decoder.determined, index - NUM_SYMBOLS * table, 0)
                    bins[place, :, layer] = table
                    if not symbol.any():
                        continue
                    a, b = np.divmod(symbol, CAP + 1)
                    signs = (a > 0) * 1 + (b > 0)
                    share = 4 >> signs
                    negative = decoder.target(2) // share
                    decoder.take((negative * share).astype(np.uint64), share.astype(np.uint64), 2)
                    beyond = [a == CAP, b == CAP]
                    for part, escaped in zip((a, b), beyond, strict=True):
                        if any(x.any() for x in beyond):
                            part += take_escape(decoder, escaped)
                    a = np.where(negative >> (b > 0) & 1, -a, a) * decoder.determined
                    b = np.where(negative & 1, -b, b) * (b > 0) * decoder.determined
                    symbol = np.where(decoder.determined, symbol, 0)
                real[place, :, layer], imag[place, :, layer] = a, b
                state.add(place, squares[symbol])
        return self._content(heads, real, imag, **given), bins

    def _states(self, heads: list[np.ndarray], **given: Any) -> list[State]:
        """Features to come of every layer."""
        return [State(self.grid, self.energies[heads[1]]) for _ in range(self.rank)]

    def _content(self, heads: list[np.ndarray], real: np.ndarray, imag: np.ndarray, **given: Any) -> Content:
        return Content(heads[0], heads[1], np.stack(heads[2:], axis=1), real, imag)

    def _take_origin(self, decoder: RangeDecoder, step: np.ndarray) -> np.ndarray:
        target = decoder.target()
        start, share = np.zeros((2, len(step)), np.uint64)
        size = np.ones(len(step), np.int64)
        for number in np.unique(step):
            rows, ends = np.flatnonzero(step == number), self._origins[number]
            size[rows] = np.searchsorted(ends, target[rows], side="right")
            start[rows], share[rows] = ends[size[rows] - 1], ends[size[rows]] - ends[size[rows] - 1]
        decoder.take(start, share)
        return size

    def values(self, content: Content, bins: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Coefficients complex64 ``[report, layer, cell]``, in the mean size of those that have their parts and table.

        Args:
            content: of the reports.
            bins: :meth:`bins`.
            steps: sizes of the steps, by their index.
        """
        cells = np.zeros((self.grid.size, *content.row.shape), np.complex64)
        cells[self.grid.order[: len(content.real)]] = self.values_by_place(content, bins, steps)
        return np.moveaxis(cells, 0, 2)

    def values_by_place(self, content: Content, bins: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """:meth:`values`, complex64 ``[place, report, layer]``."""
        step = np.asarray(steps, np.float32)[content.step][:, None]
        at = np.nonzero((content.real != 0) | (content.imag != 0))
        parts = []
        for part in (content.real[at], content.imag[at]):
            size = np.abs(part)
            level = self.tables.levels[bins[at], np.minimum(size, CAP)] / np.float32(LEVEL_UNIT)
            parts.append(np.sign(part) * np.where(size >= CAP, size, level))
        x = np.zeros(content.real.shape, np.complex64)
        x[at] = parts[0] + 1j * parts[1]
        if self.origins:
            x[0] = content.real[0]
        return x * step
