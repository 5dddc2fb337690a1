"""Tables of beam-delay reports with a reference, learned from chains of reports of moving users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from receivers.beamdelay.content import symbols_of
from receivers.beamdelay.contexts import CAP, NUM_BINS, NUM_SYMBOLS, energy_table
from receivers.beamdelay.predicted import NUM_PREDICTED, PredictedTables
from receivers.beamdelay.quantizer import SLOPE
from receivers.beamdelay.tables import Tables
from receivers.beamdelay.temporal import TemporalCodebook
from receivers.training.beamdelay import ENERGIES, counted, fit, idle
from simulator.data.store import ChannelStore
from simulator.maths.transforms import subband_eigenvectors

_STEPS = np.geomspace(0.05, 0.3, 6)  # of a layer of energy 1
_CHUNK = 256


def tracks(store: ChannelStore, split: str, samples: int, unit: int) -> np.ndarray:
    """Strongest directions complex64 ``[sample, slot, subband, port]`` of the first samples of a split."""
    parts, total = [], 0
    for h, _ in store.read(split):
        x = np.moveaxis(h, 3, 1)
        v = subband_eigenvectors(x.reshape(-1, *x.shape[2:]), unit, 1)[:, 0]
        parts.append(v.reshape(*x.shape[:2], *v.shape[1:]))
        total += len(x)
        if total >= samples:
            break
    return np.concatenate(parts)[:samples]


def train_referred(
    store: ChannelStore, samples: int, base: Tables, *, subband_size: int = 4, lags: tuple[int, ...] = (1, 2, 4),
    hidden: int = 32, epochs: float = 3, seed: int = 1, log: Callable[[str], Any] = print,
) -> PredictedTables:  # fmt: skip
    """Tables of reports after a report that stands alone, then of those in chains of three with the first tables.

    Args:
        store: moving users over time samples.
        samples: taken from the split "train".
        base: tables of reports that stand alone; their order of coding is kept.
        subband_size: frequency samples of a subband.
        lags: time samples between two reports, one drawn for every chain.
        hidden: units of the network.
        epochs: passes over all coefficients, of each of the two fits.
        seed: of steps, lags, order and weights.
        log: takes lines of progress.
    """
    v = tracks(store, "train", samples, subband_size)
    tables = idle(PredictedTables)
    for stage in range(2):
        rng = np.random.default_rng([seed, stage])
        used = v[: len(v) // 2] if stage == 0 else v
        chains = []
        for start in range(0, len(used), _CHUNK):
            part = used[start : start + _CHUNK]
            lag = rng.choice(lags, len(part))
            step = float(rng.choice(_STEPS))
            book = TemporalCodebook(
                store.layout.panel, used.shape[2], 1, 1, base, tables, step, 1706, slope=0.0 if stage == 0 else SLOPE
            )
            chains += _chain(book, part, lag, 1 if stage == 0 else 3)
        tables = _learn(chains, base, hidden, epochs, seed, log)
    return tables


def _chain(book: TemporalCodebook, v: np.ndarray, lag: np.ndarray, reports: int) -> list[tuple]:
    """Codebook, content and cells in steps of the reports after the first."""
    rows, found = np.arange(len(v)), []
    zero = np.zeros(len(v), np.int64)
    slot = np.minimum(np.arange(reports + 1)[:, None] * lag, v.shape[1] - 1)
    content = book.alone._quantizer(v[rows, slot[0]][:, None], zero)[0]
    reference = book.decoded(content)
    for now in slot[1:]:
        quantizer = book.referring(reference)
        content, target = quantizer(v[rows, now][:, None], zero)
        found.append((book, content, target.cells[..., 0] / quantizer.steps[0]))
        reference = book.decoded(content, reference)
    return found


def _learn(
    chains: list[tuple], base: Tables, hidden: int, epochs: float, seed: int, log: Callable[[str], Any]
) -> PredictedTables:
    rows = []
    for book, content, _ in chains:
        features = book.coder._features(content)
        level = np.searchsorted(ENERGIES, energy_table()[symbols_of(content)[..., 0]], side="right")
        kind = np.broadcast_to(book.coder.grid.kind[:, None], level.shape)
        rows.append(
            (np.moveaxis(features, 0, 2).reshape(-1, NUM_PREDICTED).astype(np.uint8), kind.ravel(), level.ravel())
        )
    x, kind, level = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    log(f"{len(x)} coefficients, {np.mean(level > 0):.4f} of them not 0")
    seen = np.ones(NUM_PREDICTED, bool)
    network = fit(x, kind, level, hidden, epochs, 0.01, np.random.default_rng(seed), seen, log)
    template = idle(PredictedTables)
    tables = replace(template, importance=base.importance, **network)
    counts = np.zeros((NUM_BINS, NUM_SYMBOLS))
    sums, numbers = np.zeros((2, NUM_BINS, CAP + 1))
    for book, content, cells in chains:
        bins = book.with_referred(tables).coder.bins(content)[..., 0]
        counts += np.bincount(
            (bins * NUM_SYMBOLS + symbols_of(content)[..., 0]).ravel(), minlength=counts.size
        ).reshape(counts.shape)
        for part, size in ((content.real[..., 0], cells.real), (content.imag[..., 0], cells.imag)):
            cell = (bins * (CAP + 1) + np.minimum(np.abs(part), CAP)).ravel()
            sums += np.bincount(cell, (np.sign(part) * size).ravel(), minlength=sums.size).reshape(sums.shape)
            numbers += np.bincount(cell, minlength=sums.size).reshape(sums.shape)
    return replace(tables, **counted(counts, sums, numbers))
