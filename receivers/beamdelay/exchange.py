"""Last changes of reports of a given number of bits: one or two coefficients at a time, by their true code lengths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from receivers.beamdelay.coder import BeamDelayCoder
from receivers.beamdelay.content import Content, in_order, last_nonzero, running
from receivers.beamdelay.quantizer import Candidates, Costs, Quantizer, Target

_ROUNDS = 8
_PATIENT = 3  # rounds after which a report that is still too long loses its last coefficients
_TRIED = 8  # coefficients of a report that may grow, and that may shrink, in a round
_LEAST = 1e-4  # squared steps that a change gains
_SMALL = 0.2  # bits that one which shrinks saves
_UNFIT = -1e6  # value of changes after which a report is still too long


def exchanged(
    quantizer: Quantizer, target: Target, content: Content, bins: np.ndarray, bits: int
) -> tuple[Content, np.ndarray]:
    """Content of less squared error that is sent whole in ``bits``, and its tables.

    In every round a report changes a coefficient that grows, one that shrinks, or both: the change that lessens the
    error most among those that fit with the tables of the content so far; in a report that is too long, the one that
    fits and costs least. What turns out not to fit, with contexts brought up to date, is undone and not tried again.

    Args:
        quantizer: of the reports.
        target: directions with the phases that the content was decided with.
        content: of the reports.
        bins: its tables ``[place, report, layer]``.
        bits: of a report.
    """
    coder, rows = quantizer.coder, np.arange(len(content.step))
    bins, needed = bins.copy(), coder.needed(content, bins, bits)
    candidates = quantizer.candidates(target, content.step)
    refused = np.zeros((9, len(candidates.at[0])), bool)
    for number in range(_ROUNDS):
        if number == _PATIENT:
            content = _shortened(coder, content, bins, needed, bits)
        if not rows.size or not refused.size:
            break
        part, tables = content.of(rows), bins[:, rows]
        zeros = running(in_order(coder.zero_bits(part, tables)))
        costs = quantizer.costs(candidates, tables)
        at, pair = _changes(candidates, costs, part, zeros, bits - needed[rows], refused)
        found = (at >= 0).any(axis=0)
        first = np.where(at[0] >= 0, 0, 1)[found], np.flatnonzero(found)
        refused[pair[first], at[first]] = True
        changed = with_pairs(part, candidates, at, pair).of(found)
        rows, before = rows[found], needed[rows[found]]
        candidates, kept = candidates.of(found)
        refused = refused[:, kept]
        if not rows.size:
            break
        tables = coder.bins(changed)
        now = coder.needed(changed, tables, bits)
        good = np.where(before > bits, now < before, now <= bits)
        content = content.replaced(rows[good], changed.of(good))
        bins[:, rows[good]], needed[rows[good]] = tables[:, good], now[good]
    return _shortened(coder, content, bins, needed, bits), bins


def _shortened(coder: BeamDelayCoder, content: Content, bins: np.ndarray, needed: np.ndarray, bits: int) -> Content:
    """Content without the last coefficients of reports that need more bits; tables and needs are brought up to date."""
    long = np.flatnonzero(needed > bits)
    if not long.size:
        return content
    part = coder.first(content.of(long), bits)
    bins[:, long] = coder.bins(part)
    needed[long] = coder.needed(part, bins[:, long], bits)
    return content.replaced(long, part)


def with_pairs(content: Content, candidates: Candidates, at: np.ndarray, pair: np.ndarray) -> Content:
    """Content with other pairs in some candidates, both ``[change, report]``; -1: none."""
    real, imag = content.real.copy(), content.imag.copy()
    for candidate, value in zip(at, pair, strict=True):
        report = np.flatnonzero(candidate >= 0)
        chosen = candidate[report]
        place, _, layer = (x[chosen] for x in candidates.at)
        real[place, report, layer], imag[place, report, layer] = candidates.parts(value[report], chosen)
    return replace(content, real=real, imag=imag)


def _changes(
    candidates: Candidates, costs: Costs, content: Content, zeros: np.ndarray, room: np.ndarray, refused: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best change of every report.

    Args:
        candidates: of the reports.
        costs: theirs with the tables of the content.
        content: of the reports.
        zeros: length of zeros up to every coefficient in the order of coding ``[place * layer, report]``.
        room: bits that are left, or, negative, too many ``[report]``.
        refused: pairs not to try, bool ``[pair, candidate]``.

    Returns:
        candidates that grow and shrink, or -1, and their new pairs, both ``[2, report]``.
    """
    place, report, layer = candidates.at
    now, columns = candidates.pair(content), np.arange(len(place))
    gain = costs.distortion[now, columns] - costs.distortion
    cost = costs.length - costs.length[now, columns]
    last = last_nonzero(content)[report]
    order = place * content.row.shape[1] + layer
    cost += np.where(order > last, zeros[order, report] - zeros[last, report], 0)
    free = ~refused
    grows = np.where(free & (cost > 0) & (gain > _LEAST), gain / np.maximum(cost, _SMALL), -np.inf)
    shrinks = np.where(free & (cost < -_SMALL), gain / np.maximum(-cost, _SMALL), -np.inf)
    tried = [largest(score, report, len(room), _TRIED) for score in (grows, shrinks)]
    more, less = (np.where(at >= 0, gain[pair, at], 0) for at, pair in tried)
    longer, shorter = (np.where(at >= 0, cost[pair, at], 0) for at, pair in tried)
    (one, _), (other, _) = tried
    value, bits = more[:, :, None] + less[:, None], longer[:, :, None] + shorter[:, None]
    room = room[:, None, None]
    value = np.where(bits <= room, value, np.where(room < 0, _UNFIT - bits, -np.inf))
    allowed = (one[:, :, None] != other[:, None]) & ((room < 0) | (value > _LEAST))
    value = np.where(allowed, value, -np.inf).reshape(len(room), -1)
    chosen = value.argmax(axis=1)
    reports = np.arange(len(room))
    found = np.isfinite(value[reports, chosen])
    which = np.divmod(chosen, other.shape[1])
    at, pair = (np.stack([t[n][reports, w] for t, w in zip(tried, which, strict=True)]) for n in (0, 1))
    return np.where(found, at, -1), pair


def largest(score: np.ndarray, report: np.ndarray, reports: int, tried: int) -> tuple[np.ndarray, np.ndarray]:
    """Candidates of most score, and the pairs that have it, both ``[report, 1 + tried]``; -1: none, as the first is.

    Args:
        score: ``[pair, candidate]``; those of minus infinity are left out.
        report: of the candidates.
        reports: their number.
        tried: candidates of a report.
    """
    pair = np.append(score.argmax(axis=0), 0)  # the last one is that of -1
    best = score[pair[:-1], np.arange(len(report))]
    order = np.flatnonzero(np.isfinite(best))
    order = order[np.argsort(report[order] - np.arctan(best[order]) / np.pi)]  # the largest of a report first
    rank = np.arange(len(order)) - np.searchsorted(report[order], np.arange(reports))[report[order]]
    order, rank = order[rank < tried], rank[rank < tried]
    at = np.full((reports, 1 + tried), -1)
    at[report[order], 1 + rank] = order
    return at, pair[at]
