"""Tables of beam-delay reports of several layers, learned from reports of ranks 2 to 4."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from receivers.beamdelay.coder import BeamDelayCoder
from receivers.beamdelay.content import Content, symbols_of
from receivers.beamdelay.contexts import CAP, NUM_BINS, NUM_SYMBOLS, energy_table
from receivers.beamdelay.frame import Frame
from receivers.beamdelay.grid import Grid
from receivers.beamdelay.layers import LayeredCoder
from receivers.beamdelay.quantizer import Quantizer
from receivers.beamdelay.tables import ORIGIN_CELLS, LayeredTables, Tables, shares
from receivers.coding.range_coder import TOTAL
from receivers.training.beamdelay import ENERGIES, channels, counted, fit, idle_network, layered_views
from simulator.data.store import ChannelStore

RANKS = (2, 3, 4)
_SIZES = np.linspace(0.03, 0.36, 16)  # steps, for a layer of energy 1
_ENERGIES = [round(1 / size**2) for size in _SIZES]
_CHUNK = 256
Part = tuple[Frame, Content, np.ndarray]  # frame, what reports say, cells in steps complex64 [place, report, layer]


def train_layers(
    stores: Sequence[tuple[ChannelStore, int]], base: Tables, *, subband_size: int = 4, hidden: int = 32,
    epochs: float = 3, seed: int = 1, visible: Sequence[int] | None = None, log: Callable[[str], Any] = print,
) -> LayeredTables | None:  # fmt: skip
    """Tables of reports of 2 to 4 layers, one rank drawn for every sample; None where no user has two antennas.

    Learned twice: from the decisions of the quantiser that codes every layer by itself, of half of the samples, then
    from those of the quantiser that uses the first tables.

    Args:
        stores: data sets, with the samples taken from the split "train" of each.
        base: tables of one layer; their order of coding is kept.
        subband_size: frequency samples of a subband.
        hidden: units of the network.
        epochs: passes over all coefficients, of each of the two trainings.
        seed: of ranks, steps, order and initial weights.
        visible: features that the network sees, in addition to the class; None: all.
        log: takes lines of progress.
    """
    stores = [(store, samples) for store, samples in stores if store.layout.num_rx_ant > 1]
    rng, tables = np.random.default_rng(seed), None
    for share in (2, 1):
        parts = [
            part
            for store, samples in stores
            for panel, v in layered_views(
                channels(store, "train", -(-samples // share)), store.layout.panel, subband_size
            )
            for part in quantized_layers(Frame(panel, v.shape[2]), v, rng, tables or base)
        ]
        if not parts:
            return None
        tables = learn_layers(parts, base, hidden, epochs, seed, visible, log)
    return tables


def coder(frame: Frame, tables: Tables, rank: int) -> BeamDelayCoder:
    """Entropy coder of the steps of the training; each layer by itself where the tables are of one layer."""
    grid = Grid(frame.shape, tables.importance)
    if isinstance(tables, LayeredTables):
        return LayeredCoder(grid, frame.shape, tables, frame.num_groups, rank, _ENERGIES)
    return BeamDelayCoder(grid, tables, frame.num_groups, rank, _ENERGIES)


def quantized_layers(frame: Frame, v: np.ndarray, rng: np.random.Generator, tables: Tables) -> list[Part]:
    """Decisions for directions complex64 ``[sample, layer, subband, port]`` with ranks and steps drawn at random."""
    ranks = [rank for rank in RANKS if rank <= v.shape[1]]
    drawn = rng.choice(ranks, len(v)) if ranks else np.zeros(len(v), int)
    found = []
    for rank in ranks:
        quantizer = Quantizer(frame, coder(frame, tables, rank), [energy**-0.5 for energy in _ENERGIES])
        rows = np.flatnonzero(drawn == rank)
        for part in (rows[i : i + _CHUNK] for i in range(0, len(rows), _CHUNK)):
            content, target = quantizer(v[part, :rank], rng.integers(0, len(_ENERGIES), len(part)))
            found.append((frame, content, target.cells / quantizer.steps[content.step][:, None]))
    return found


def learn_layers(
    parts: Sequence[Part], base: Tables, hidden: int, epochs: float, seed: int, visible: Sequence[int] | None,
    log: Callable[[str], Any],
) -> LayeredTables:  # fmt: skip
    """Tables from decisions: network, then probabilities and levels counted with the rounded network."""
    rows = []
    for frame, content, _ in parts:
        made = coder(frame, idle(base), content.row.shape[1])
        features = made._features(content)[:, 1:]
        level = np.searchsorted(ENERGIES, energy_table()[symbols_of(content)[1:]], side="right")
        kind = np.broadcast_to(made.grid.kind[1:, None, None], level.shape)
        features = np.moveaxis(features, 0, 2).reshape(-1, LayeredTables.num_features).astype(np.uint8)
        rows.append((features, kind.ravel(), level.ravel()))
    x, kind, level = (np.concatenate(values) for values in zip(*rows, strict=True))
    log(f"{len(x)} coefficients of several layers")
    seen = np.isin(
        np.arange(LayeredTables.num_features),
        np.arange(LayeredTables.num_features) if visible is None else np.array(visible),
    )
    network = fit(x, kind, level, hidden, epochs, 0.01, np.random.default_rng(seed), seen, log)
    tables = idle(base, network)
    counts, origin = np.zeros((NUM_BINS, NUM_SYMBOLS)), np.zeros(ORIGIN_CELLS)
    sums, numbers = np.zeros((2, NUM_BINS, CAP + 1))
    for frame, content, cells in parts:
        bins = coder(frame, tables, content.row.shape[1]).bins(content)[1:]
        most = np.floor(np.sqrt(np.array(_ENERGIES)[content.step]))[:, None] + 1
        share = (content.real[0] - 0.5) / most * ORIGIN_CELLS
        origin += np.bincount(np.clip(share, 0, ORIGIN_CELLS - 1).astype(int).ravel(), minlength=ORIGIN_CELLS)
        counts += np.bincount((bins * NUM_SYMBOLS + symbols_of(content)[1:]).ravel(), minlength=counts.size).reshape(
            counts.shape
        )
        for part, size in ((content.real[1:], cells[1:].real), (content.imag[1:], cells[1:].imag)):
            cell = (bins * (CAP + 1) + np.minimum(np.abs(part), CAP)).ravel()
            sums += np.bincount(cell, (np.sign(part) * size).ravel(), minlength=sums.size).reshape(sums.shape)
            numbers += np.bincount(cell, minlength=sums.size).reshape(sums.shape)
    return LayeredTables(
        importance=base.importance, **network, **counted(counts, sums, numbers),
        origin=shares(origin + 1, TOTAL, 64)[0],
    )  # fmt: skip


def idle(base: Tables, network: dict[str, np.ndarray] | None = None) -> LayeredTables:
    """The tables of one layer with a network that sees the other layers, or says nothing."""
    kept = {key: getattr(base, key) for key in ("importance", "zero", "nonzero", "origin", "means")}
    return LayeredTables(**kept, **(network or idle_network(LayeredTables.num_features)))
