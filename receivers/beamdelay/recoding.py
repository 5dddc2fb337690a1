"""Enhanced Type II reports recoded without loss: range code of the fields of a PMI, with learned tables in contexts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from receivers.beamdelay.tables import shares
from receivers.codebooks.beam_delay import BeamDelayReport
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.codebooks.etype2_payload import EnhancedTypeTwoPayload
from receivers.codebooks.pmi import Pmi, PmiCodebook
from receivers.coding.range_coder import TOTAL, RangeDecoder, RangeEncoder
from simulator.core.durable import renamed
from simulator.core.errors import StoreError
from simulator.core.readers import read_npz, reason

NUM_COMBINATIONS = 8
_NEAR, _RATIO, _PREDICTED = 4, 8, 12  # classes of a tap's distance, of a share, of a predicted amplitude
# Contexts and symbols of every table, for one paramCombination.
SHAPES = {
    "full": (1, 2), "beam": (2 * _RATIO, 2), "tap": (12 * 2 * _RATIO, 2), "reference": (1, 15),
    "bitmap": (_NEAR * 3 * 3 * 3 * _RATIO, 2), "amplitude": (_NEAR * 2 * 3 * _PREDICTED, 8),
}  # fmt: skip
Tables = dict[str, np.ndarray]


class Symbols(Protocol):
    """Writes, reads or counts one symbol of every report."""

    def put(self, table: str, context: np.ndarray | int, value: np.ndarray, active: np.ndarray | bool) -> np.ndarray:
        """The symbol where ``active``; it is ``value`` for a writer, and unknown to a reader."""

    def uniform(self, size: int, value: np.ndarray, active: np.ndarray | bool = True) -> np.ndarray:
        """The same with equal probabilities of 0..size-1."""


class _Writer:
    def __init__(self, tables: Tables, combination: int, num_reports: int):
        self._tables, self._combination = tables, combination
        self.encoder, self._all = RangeEncoder(num_reports), np.ones(num_reports, bool)

    def put(self, table: str, context: Any, value: np.ndarray, active: Any) -> np.ndarray:
        frequency = _rows(self._tables, table, self._combination, context, len(self._all))
        return self._put(np.cumsum(frequency, axis=1), value, active)

    def uniform(self, size: int, value: np.ndarray, active: Any = True) -> np.ndarray:
        return self._put(_even(size, len(self._all)), value, active)

    def _put(self, ends: np.ndarray, value: np.ndarray, active: Any) -> np.ndarray:
        active = self._all & active
        rows, value = np.arange(len(ends)), np.where(active, value, 0)
        start = np.where(value > 0, ends[rows, value - 1], 0)
        share = np.where(active, ends[rows, value] - start, TOTAL)
        self.encoder.put(np.where(active, start, 0).astype(np.uint64), share.astype(np.uint64))
        return value


class _Reader:
    def __init__(self, tables: Tables, combination: int, octets: np.ndarray):
        self._tables, self._combination = tables, combination
        self._decoder, self._all = RangeDecoder(octets), np.ones(len(octets), bool)

    def put(self, table: str, context: Any, value: np.ndarray, active: Any) -> np.ndarray:
        frequency = _rows(self._tables, table, self._combination, context, len(self._all))
        return self._take(np.cumsum(frequency, axis=1), active)

    def uniform(self, size: int, value: np.ndarray, active: Any = True) -> np.ndarray:
        return self._take(_even(size, len(self._all)), active)

    def _take(self, ends: np.ndarray, active: Any) -> np.ndarray:
        active = self._all & active
        found = np.where(active, np.sum(ends <= self._decoder.target()[:, None], axis=1), 0)
        rows = np.arange(len(ends))
        start = np.where(found > 0, ends[rows, found - 1], 0)
        share = np.where(active, ends[rows, found] - start, TOTAL)
        self._decoder.take(start.astype(np.uint64), share.astype(np.uint64))
        return found


class Counter:
    """Counts of the symbols of every table, ``counts[table] [combination, context, symbol]``."""

    def __init__(self) -> None:
        self.counts = {key: np.zeros((NUM_COMBINATIONS, *shape)) for key, shape in SHAPES.items()}
        self.combination = 1

    def put(self, table: str, context: Any, value: np.ndarray, active: Any) -> np.ndarray:
        """Count."""
        active = np.broadcast_to(active, value.shape)
        context = np.broadcast_to(context, value.shape)
        np.add.at(self.counts[table][self.combination - 1], (context[active], value[active]), 1)
        return np.where(active, value, 0)

    def uniform(self, size: int, value: np.ndarray, active: Any = True) -> np.ndarray:
        """Nothing to count."""
        return np.where(active, value, 0)

    def tables(self) -> Tables:
        """Frequencies, those of few counts drawn to the mean over all paramCombinations."""
        found = {}
        for key, counts in self.counts.items():
            pooled = counts.sum(axis=0) + counts.sum(axis=(0, 1)) / max(counts.sum(), 1) + 1e-2
            pooled = pooled / pooled.sum(axis=1, keepdims=True)
            found[key] = shares((counts + 4 * pooled).reshape(-1, counts.shape[2]), TOTAL, 16)
        return found


def _rows(tables: Tables, table: str, combination: int, context: Any, reports: int) -> np.ndarray:
    first = (combination - 1) * SHAPES[table][0]
    return tables[table][first + np.broadcast_to(context, (reports,))]


def _even(size: int, reports: int) -> np.ndarray:
    return np.broadcast_to(np.arange(1, size + 1) * TOTAL // size, (reports, size))


def load_tables(path: Path) -> Tables:
    """Tables from ``*.npz``; StoreError where the file holds none."""
    try:
        found = read_npz(path)
        if found.keys() != SHAPES.keys():
            raise ValueError(f"has {', '.join(found)}; allowed: {', '.join(SHAPES)}")
        for key, (contexts, symbols) in SHAPES.items():
            value, shape = found[key], (NUM_COMBINATIONS * contexts, symbols)
            if value.shape != shape or not np.issubdtype(value.dtype, np.integer):
                raise ValueError(f"{key} is {value.dtype} {value.shape}; allowed: integers {shape}")
            found[key] = value.astype(np.int64)
            if found[key].min() < 1 or (found[key].sum(axis=1) != TOTAL).any():
                raise ValueError(f"{key} has rows without the sum {TOTAL} or values below 1")
    except (StoreError, OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path}: no tables of recoded reports ({reason(error)})") from None
    return found


def save_tables(tables: Tables, path: Path) -> None:
    """To ``*.npz``."""
    with renamed(path, ".npz") as temporary:
        np.savez_compressed(temporary, **{key: value.astype(np.uint16) for key, value in tables.items()})


def walk(payload: EnhancedTypeTwoPayload, symbols: Symbols, pmi: Pmi) -> Pmi:
    """All symbols of PMIs in the order of coding; the PMIs that they make.

    Group, window, strongest and phase have equal probabilities. What the symbols so far settle is not coded, so that
    every sequence of symbols is a PMI that the standard allows.

    Args:
        payload: numbers of beams, taps and coefficients.
        symbols: what is done with every symbol.
        pmi: for a reader arrays of the right shapes.
    """
    layers, rows, taps = payload.shape
    group = symbols.uniform(payload.num_groups, pmi["group"])
    beams = _beams(payload, symbols, pmi["beams"])
    window = pmi["window"] * 0
    if payload.windowed:
        window = symbols.uniform(2 * taps, pmi["window"])
    found = np.stack([_taps(payload, symbols, window, pmi["taps"][:, layer]) for layer in range(layers)], axis=1)
    strongest = np.stack([symbols.uniform(rows, x) for x in pmi["strongest"].T], axis=1)
    near = np.minimum(2 * found, 2 * (payload.num_units - found) - 1)
    order = np.argsort(near, axis=2)[:, :, None]  # taps from near to far
    near = np.take_along_axis(near, order[:, :, 0], axis=2)
    known = {key: np.take_along_axis(pmi[key], order, axis=3) for key in ("bitmap", "amplitude", "phase")}
    places = _Places(payload, near, strongest)
    bitmap = _bitmap(payload, symbols, known["bitmap"], places)
    reference = np.stack([symbols.put("reference", 0, x - 1, True) + 1 for x in pmi["reference"].T], axis=1)
    amplitude, phase = _coefficients(symbols, known, bitmap, reference, places)
    back = np.argsort(order, axis=3)
    parts = {"bitmap": bitmap, "amplitude": amplitude, "phase": phase}
    return {
        "group": group, "beams": beams, "window": window, "taps": found, "strongest": strongest,
        "reference": reference, **{key: np.take_along_axis(x, back, axis=3) for key, x in parts.items()},
    }  # fmt: skip


def _beams(payload: EnhancedTypeTwoPayload, symbols: Symbols, beams: np.ndarray) -> np.ndarray:
    """Sets of beams ``[report, beam]``, beam by beam: taken or not."""
    size, most = payload.group_size, payload.num_beams
    wanted = (beams[..., None] == np.arange(size)).any(axis=1)
    return _members(symbols, "beam", wanted, most, np.zeros(len(beams), np.int64))


def _taps(payload: EnhancedTypeTwoPayload, symbols: Symbols, window: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Taps of a layer ``[report, tap]``, 0 first, from near to far: taken or not."""
    inside = np.tile(np.arange(1, payload.pool), (len(window), 1))
    if payload.windowed:
        last = (window - 1) % (2 * payload.num_taps)  # of the taps from 0 on
        inside = np.where(inside > last[:, None], inside + payload.num_units - payload.pool, inside)
    near = np.minimum(2 * inside, 2 * (payload.num_units - inside) - 1)
    order = np.argsort(near, axis=1)
    inside, near = (np.take_along_axis(x, order, axis=1) for x in (inside, near))
    wanted = (taps[:, 1:, None] == inside[:, None]).any(axis=1)
    chosen = _members(symbols, "tap", wanted, payload.num_taps - 1, np.minimum(near, 11) * 2 * _RATIO)
    found = np.sort(np.take_along_axis(inside, chosen, axis=1), axis=1)
    return np.pad(found, ((0, 0), (1, 0)))


def _members(symbols: Symbols, table: str, wanted: np.ndarray, most: int, base: np.ndarray) -> np.ndarray:
    """Numbers ``[report, most]`` of the members of sets bool ``[report, element]``."""
    reports, size = wanted.shape
    taken, left = np.zeros((reports, size), bool), np.full(reports, most)
    for number in range(size):
        rest = size - number
        before = taken[:, max(number - 2, 0)] if table == "tap" else taken[:, max(number - 1, 0)]
        context = before * _RATIO + np.minimum(left * _RATIO // rest, _RATIO - 1)
        context = context + (base[:, number] if base.ndim == 2 else 0)
        bit = symbols.put(table, context, wanted[:, number].astype(np.int64), (left > 0) & (left < rest))
        taken[:, number] = (bit == 1) | (left == rest)
        left = left - taken[:, number]
    return np.nonzero(taken)[1].reshape(reports, most)


class _Places:
    """Contexts that follow from the places of the coefficients.

    Args:
        payload: numbers of beams and taps.
        near: order of nearness of the sorted taps, ``[report, layer, tap]``.
        strongest: rows of the strongest coefficients ``[report, layer]``.
    """

    def __init__(self, payload: EnhancedTypeTwoPayload, near: np.ndarray, strongest: np.ndarray):
        self.shape, self.strongest, self._beams = payload.shape, strongest, payload.num_beams
        self._near = np.minimum((near + 1) // 2, _NEAR - 1)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """(layer, row, tap), tap by tap from near to far."""
        layers, rows, taps = self.shape
        return ((layer, row, tap) for tap in range(taps) for row in range(rows) for layer in range(layers))

    def is_strongest(self, layer: int, row: int, tap: int) -> np.ndarray:
        """Whether this is the strongest coefficient of its layer, ``[report]``."""
        return (self.strongest[:, layer] == row) & (tap == 0)

    def kind(self, layer: int, row: int, tap: int) -> np.ndarray:
        """Distance of the tap; row of the strongest coefficient, its beam in the other polarisation, another."""
        own = self.strongest[:, layer]
        same = np.where(own == row, 0, np.where(own % self._beams == row % self._beams, 1, 2))
        return self._near[:, layer, tap] * 3 + same

    def other(self, layer: int, row: int) -> np.ndarray:
        """Whether the row has another polarisation than the strongest coefficient."""
        return (row // self._beams != self.strongest[:, layer] // self._beams) * 1

    def across(self, row: int) -> int:
        """The same beam in the other polarisation."""
        return (row + self._beams) % self.shape[1]


def _bitmap(payload: EnhancedTypeTwoPayload, symbols: Symbols, bitmap: np.ndarray, places: _Places) -> np.ndarray:
    """Which coefficients are not 0, ``[report, layer, row, tap]``, after their number."""
    layers, rows, taps = places.shape
    reports = len(bitmap)
    count = bitmap.sum(axis=(1, 2, 3))
    full = symbols.put("full", 0, (count == payload.most) * 1, payload.most > layers)
    fewer = symbols.uniform(payload.most - layers + 1, count - layers, (full == 0) & (payload.most > layers))
    left = np.where((full == 1), payload.most - layers, fewer)
    found = np.zeros(bitmap.shape, np.int64)
    room = np.full((reports, layers), payload.budget - 1)
    rest = np.full((reports, layers), rows * taps - 1)
    for layer, row, tap in places:
        strongest = places.is_strongest(layer, row, tap)
        possible = (left > 0) & (room[:, layer] > 0) & ~strongest
        must = (left >= np.minimum(room, rest).sum(axis=1)) & (rest[:, layer] <= room[:, layer])
        row_before = sum((found[:, layer, row, t] for t in range(max(tap - 2, 0), tap)), np.zeros(reports, np.int64))
        across = found[:, layer, places.across(row), tap] if row >= rows // 2 else np.full(reports, 2)
        share = np.minimum(left * _RATIO // np.maximum(rest.sum(axis=1), 1), _RATIO - 1)
        context = ((places.kind(layer, row, tap) * 3 + row_before) * 3 + across) * _RATIO + share
        bit = symbols.put("bitmap", context, bitmap[:, layer, row, tap], possible & ~must)
        bit = np.where(possible & must, 1, bit)
        found[:, layer, row, tap] = np.where(strongest, 1, bit)
        left, room[:, layer] = left - bit, room[:, layer] - bit
        rest[:, layer] -= ~strongest
    return found


def _coefficients(
    symbols: Symbols, known: Pmi, bitmap: np.ndarray, reference: np.ndarray, places: _Places
) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes and phases ``[report, layer, row, tap]``."""
    amplitude, phase = np.zeros((2, *bitmap.shape), np.int64)
    level = np.zeros(bitmap.shape, np.int64)  # of size 2^(level / 4), the strongest coefficient being 1
    done = np.zeros(bitmap.shape, bool)
    for layer, row, tap in places:
        strongest = places.is_strongest(layer, row, tap)
        sent = (bitmap[:, layer, row, tap] == 1) & ~strongest
        other = places.other(layer, row)
        lost = other * (15 - reference[:, layer])
        near = [(row, t) for t in range(max(tap - 2, 0), tap)] + [(places.across(row), tap)]
        near += [(row - 1, tap)] if row else []
        number = sum(done[:, layer, r, t] * 1 for r, t in near)
        mean = sum(level[:, layer, r, t] for r, t in near) // np.maximum(number, 1)
        predicted = np.where(number > 0, np.clip((mean + lost + 14) // 2 + 2, 1, _PREDICTED - 1), 0)
        kind = places.kind(layer, row, tap) * 2 + other
        value = symbols.put("amplitude", kind * _PREDICTED + predicted, known["amplitude"][:, layer, row, tap], sent)
        turn = symbols.uniform(16, known["phase"][:, layer, row, tap], sent)
        amplitude[:, layer, row, tap] = np.where(strongest, 7, value)
        phase[:, layer, row, tap] = turn
        done[:, layer, row, tap] = sent | strongest
        level[:, layer, row, tap] = np.where(sent, 2 * (value - 7) - lost, 0)
    return amplitude, phase


class RecodedCodebook(PmiCodebook):
    """PMIs of enhanced Type II in fewer bits, without loss.

    Part 1 is empty. Part 2 is a flag, then (flag 1) the range code of :func:`walk`, or (flag 0, where that is no
    shorter) parts 1 and 2 of the standard. All bits after flag 1 are a legal PMI; the report is valid if its PMI has
    exactly these bits, so that a wrong length is noticed.

    Args:
        book: of one rank.
        combination: paramCombination-r16.
        tables: shared integers.
    """

    def __init__(self, book: EnhancedTypeTwoCodebook, combination: int, tables: Tables):
        self._book, self._combination, self._tables = book, combination, tables
        self.rank, self.unit, self.fine, self.size, self.num_units = (
            book.rank, book.unit, book.fine, book.size, book.num_units
        )  # fmt: skip
        self.part2_bits = 1 + book.part1_bits + book.part2_bits

    def select(self, h: np.ndarray) -> Pmi:
        """That of the standard codebook."""
        return self._book.select(h)

    def pack(self, pmi: Pmi) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Part 1 (nothing), part 2 and its length."""
        part1, part2, length = self._book.pack(pmi)
        plain = np.concatenate([np.zeros((len(part1), 1), np.uint8), part1, part2], axis=1)
        writer = _Writer(self._tables, self._combination, len(part1))
        walk(self._book.payload, writer, pmi)
        octets, num_bits = writer.encoder.finish()
        coded = np.unpackbits(octets, axis=1)[:, : self.part2_bits - 1]
        coded = np.pad(coded, ((0, 0), (1, self.part2_bits - 1 - coded.shape[1])))
        coded[:, 0] = 1
        shorter = num_bits < part1.shape[1] + length
        bits = np.where(shorter[:, None], coded, plain).astype(np.uint8)
        return part1[:, :0], bits, 1 + np.where(shorter, num_bits, part1.shape[1] + length)

    def unpack(self, part1: np.ndarray, part2: np.ndarray, num_bits: np.ndarray) -> tuple[Pmi, np.ndarray]:
        """PMI and ``valid``: whether :meth:`pack` makes these bits of it."""
        bits = part2 * (np.arange(part2.shape[1]) < num_bits[:, None]).astype(np.uint8)
        start = 1 + self._book.part1_bits
        length = np.maximum(num_bits - start, 0)
        pmi, valid = self._book.unpack(bits[:, 1:start], bits[:, start:], length)
        valid &= num_bits >= start
        rows = np.flatnonzero(bits[:, 0] == 1)
        if rows.size:
            reader = _Reader(self._tables, self._combination, np.packbits(bits[rows, 1:], axis=1))
            found = walk(self._book.payload, reader, {key: 0 * x[rows] for key, x in pmi.items()})
            for key, value in found.items():
                pmi[key][rows] = value
            valid[rows] = True
        again, length = self.pack(pmi)[1:]
        return pmi, valid & self._book.permitted(pmi) & (length == num_bits) & (again == bits).all(axis=1)

    def precoder(self, pmi: Pmi) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, unit]``."""
        return self._book.precoder(pmi)

    def beam_delay(self, pmi: Pmi) -> BeamDelayReport:
        """Coefficients of a PMI on all beams of its group and all taps."""
        return self._book.beam_delay(pmi)

    def combine(self, group: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, unit]`` of coefficients as of :meth:`beam_delay`."""
        return self._book.combine(group, x)

    def project(self, group: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Beam coefficients complex64 ``[report, layer, row, unit]`` of directions ``[report, layer, unit, port]``."""
        return self._book.project(group, v)
