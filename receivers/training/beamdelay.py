"""Tables of the beam-delay code, learned from directions: importance, context network, probabilities, levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np

from receivers.beamdelay.coder import BeamDelayCoder
from receivers.beamdelay.contexts import (
    CAP,
    FIRST,
    MOST_HIDDEN,
    NUM_BINS,
    NUM_FEATURES,
    NUM_SIZES,
    NUM_SYMBOLS,
    NUM_ZERO,
    UNITS,
    Contexts,
    energy_table,
)
from receivers.beamdelay.frame import Frame
from receivers.beamdelay.grid import BEAM_1, BEAM_2, NUM_CLASSES, TAP, Grid
from receivers.beamdelay.quantizer import SLOPE, Quantizer
from receivers.beamdelay.tables import LEVEL_UNIT, ORIGIN_CELLS, WHOLE, Tables, shares
from receivers.coding.range_coder import TOTAL
from simulator.core.types import Panel
from simulator.data.store import ChannelStore
from simulator.maths.transforms import subband_eigenvectors

ENERGIES = np.array([1, 2, 4, 8, 16, 32, 64, 128])  # least energies of the ordered classes of the network
_FEATURE, _HIDDEN = 16, 1024  # whole numbers that stand for 1
_SCORES = UNITS / [0.25, 0.75]  # the same, of the two scores: a table for every quarter, and for every 0.75
_MOST_WEIGHT = 127 * _FEATURE / _HIDDEN
_BATCH = 4096
T = TypeVar("T", bound=Tables)
_STEPS = (0.03, 0.36)  # of the training, for a layer of energy 1


@dataclass(frozen=True)
class Cells:
    """Quantised directions of one panel and band.

    Args:
        shape: of the cells.
        step: ``[item]``.
        x: cells complex64 ``[item, cell]`` before quantisation, in steps.
        q: whole parts ``[2, item, cell]``.
    """

    shape: tuple[int, int, int, int]
    step: np.ndarray
    x: np.ndarray
    q: np.ndarray

    @property
    def energy(self) -> np.ndarray:
        """Of a layer in squared steps."""
        return np.round(1 / self.step**2).astype(np.float32)

    def symbols(self, grid: Grid) -> np.ndarray:
        """``[place, item]``."""
        a, b = np.minimum(np.abs(self.q), CAP).astype(np.int64)
        return (a * (CAP + 1) + b)[:, grid.order].T


def quantized(
    frame: Frame, v: np.ndarray, rng: np.random.Generator, steps: tuple[float, float], tables: Tables | None = None
) -> Cells:
    """Directions complex64 ``[item, subband, port]`` with one of 16 steps, drawn at random.

    With a dead zone; with tables by the rate-distortion optimised quantiser that uses them.
    """
    sizes = np.linspace(*steps, 16)
    index = rng.integers(0, len(sizes), len(v))
    used = tables or idle(Tables)
    coder = BeamDelayCoder(Grid(frame.shape, used.importance), used, frame.num_groups, 1, _energies(sizes))
    quantizer = Quantizer(frame, coder, list(sizes), slope=0 if tables is None else SLOPE)
    parts = []
    for start in range(0, len(v), 512):
        step = index[start : start + 512]
        content, target = quantizer(v[start : start + 512, None], step)
        parts.append(np.stack([target.cells, content.real + 1j * content.imag])[..., 0])
    found = np.empty((2, len(v), coder.grid.size), np.complex64)
    found[:, :, coder.grid.order] = np.swapaxes(np.concatenate(parts, axis=2), 1, 2)
    step = quantizer.steps[index]
    q = np.stack([found[1].real, found[1].imag]).astype(np.int16)
    return Cells(frame.shape, step, found[0] / step[:, None], q)


def _energies(sizes: np.ndarray) -> list[int]:
    return [round(1 / size**2) for size in sizes]


def idle(kind: type[T]) -> T:
    """Tables that say nothing."""
    one = np.ones((NUM_SIZES, NUM_SYMBOLS - 1))
    return kind(
        importance=np.zeros(NUM_CLASSES, int), **idle_network(kind.num_features), zero=np.full(NUM_ZERO, WHOLE // 2),
        nonzero=shares(one, WHOLE), origin=shares(one[0, :ORIGIN_CELLS], TOTAL, 64)[0],
        means=np.tile(np.arange(CAP + 1) * LEVEL_UNIT, (NUM_SIZES, 1)),
    )  # fmt: skip


def idle_network(features: int) -> dict[str, np.ndarray]:
    """Context network that says nothing."""
    shapes = {"w1": (features, 1), "b1": (NUM_CLASSES, 1), "w2": (1, 2), "w3": (features, 2), "b2": (NUM_CLASSES, 2)}
    return {key: np.zeros(shape, np.int64) for key, shape in shapes.items()}


def train_tables(
    stores: Sequence[tuple[ChannelStore, int]], *, subband_size: int = 4, hidden: int = 32, epochs: float = 3,
    seed: int = 1, log: Callable[[str], Any] = print,
) -> Tables:  # fmt: skip
    """Tables of channels over the subcarriers.

    Learned twice: from coefficients quantised with a dead zone, of a quarter of the samples, then from those of the
    quantiser that uses the first tables. Most samples are seen as they are stored; the others with other subbands and
    fewer antennas (:func:`views`), so that every class of cells occurs.

    Args:
        stores: data sets, with the samples taken from the split "train" of each.
        subband_size: frequency samples of a subband.
        hidden: units of the network, 1..64.
        epochs: passes over all coefficients, of each of the two trainings.
        seed: of steps, order and initial weights.
        log: takes lines of progress.
    """
    rng, tables = np.random.default_rng(seed), None
    for share in (4, 1):
        cells = [
            quantized(Frame(panel, v.shape[1]), v, rng, _STEPS, tables)
            for store, samples in stores
            for panel, v in views(channels(store, "train", -(-samples // share)), store.layout.panel, subband_size)
        ]
        log(f"{sum(c.q[0].size for c in cells)} coefficients")
        tables = learn(cells, hidden=hidden, epochs=epochs, seed=seed, log=log)
    return cast(Tables, tables)


def channels(store: ChannelStore, split: str, samples: int) -> np.ndarray:
    """The first ``[sample * slot, rx_ant, port, subcarrier]`` of a split."""
    parts, total = [], 0
    for h, _ in store.read(split):
        parts.append(np.moveaxis(h, 3, 1).reshape(-1, h.shape[1], h.shape[2], h.shape[4]))
        total += len(parts[-1])
        if total >= samples:
            break
    return np.concatenate(parts)[:samples]


def views(h: np.ndarray, panel: Panel, subband_size: int) -> list[tuple[Panel, np.ndarray]]:
    """Panels and directions complex64 ``[item, subband, port]``, all layers, of channels ``[sample, rx, port, sc]``."""
    return [(panel, v.reshape(-1, *v.shape[2:])) for panel, v in layered_views(h, panel, subband_size)]


def layered_views(h: np.ndarray, panel: Panel, subband_size: int) -> list[tuple[Panel, np.ndarray]]:
    """Panels and directions complex64 ``[sample, layer, subband, port]`` of channels ``[sample, rx, port, sc]``.

    Six parts of ten as they are; one each with subbands of twice and half the size, with half of the columns, and with
    one row; a part in twenty with subbands of one sample.
    """
    shape = panel.num_pol, panel.n1, panel.n2
    cut = np.cumsum([0, *(int(len(h) * share) for share in (0.6, 0.1, 0.1, 0.1, 0.05))])
    whole = (panel, subband_size)
    half, row = Panel(max(1, panel.n1 // 2), panel.n2, panel.num_pol), Panel(panel.n1, 1, panel.num_pol)
    kinds = [whole, (panel, 2 * subband_size), (half, subband_size), (row, subband_size), (panel, 1)]
    found = []
    for (kept, unit), first, last in zip(kinds, cut[:-1], cut[1:], strict=True):
        part = h[first:last].reshape(last - first, h.shape[1], *shape, h.shape[3])[..., : kept.n1, : kept.n2, :]
        part = part.reshape(last - first, h.shape[1], kept.num_ports, h.shape[3])
        if last > first:
            found.append((kept, subband_eigenvectors(part, unit, min(h.shape[1], kept.num_ports))))
    return found


def learn(
    cells: Sequence[Cells], *, hidden: int = 32, epochs: float = 4, rate: float = 0.01, seed: int = 1,
    visible: Sequence[int] | None = None,
    log: Callable[[str], Any] = print,
) -> Tables:  # fmt: skip
    r"""Tables from quantised directions, of one or several panels and bands.

    Network: logistic regression of what is not 0, :math:`P(n > 0) = \sigma(s_1)`, and ordinal regression of its
    energy, :math:`P(n \ge T_k | n > 0) = \sigma(s_2 - \theta_k)`, by Adam; its weights are rounded, and the
    probabilities are then counted with the rounded network.

    Args:
        cells: what is counted.
        hidden: units of the network.
        epochs: passes over all coefficients.
        rate: highest learning rate.
        seed: of weights and order.
        visible: features that the network sees, in addition to the class; None: all.
        log: takes lines of progress.
    """
    importance = _importance(cells)
    rows = [_rows(c, Grid(c.shape, importance)) for c in cells]
    x, kind, level = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    seen = np.isin(np.arange(NUM_FEATURES), np.arange(NUM_FEATURES) if visible is None else np.array(visible))
    network = fit(x, kind, level, hidden, epochs, rate, np.random.default_rng(seed), seen, log)
    counts = np.zeros((NUM_BINS, NUM_SYMBOLS))
    sums, numbers = np.zeros((2, NUM_BINS, CAP + 1))
    origin = np.zeros(ORIGIN_CELLS)
    for c in cells:
        grid = Grid(c.shape, importance)
        symbols, contexts = c.symbols(grid), Contexts(grid, network)
        most = np.floor(np.sqrt(c.energy)) + 1
        share = (c.q[0, :, 0] - 0.5) / most * ORIGIN_CELLS
        origin += np.bincount(np.clip(share, 0, ORIGIN_CELLS - 1).astype(int), minlength=ORIGIN_CELLS)
        for start in range(0, len(c.step), 256):
            rows_ = slice(start, start + 256)
            bins = contexts.bins(contexts.features(symbols[:, rows_], c.energy[rows_]))[1:]
            index = bins * NUM_SYMBOLS + symbols[1:, rows_]
            counts += np.bincount(index.ravel(), minlength=counts.size).reshape(counts.shape)
            for part, size in zip(c.q[:, rows_], (c.x[rows_].real, c.x[rows_].imag), strict=True):
                cell = bins * (CAP + 1) + np.minimum(np.abs(part), CAP)[:, grid.order[1:]].T
                signed = (np.sign(part) * size)[:, grid.order[1:]].T
                sums += np.bincount(cell.ravel(), signed.ravel(), minlength=sums.size).reshape(sums.shape)
                numbers += np.bincount(cell.ravel(), minlength=sums.size).reshape(sums.shape)
    return Tables(
        importance=importance, **network, **counted(counts, sums, numbers),
        origin=shares(origin + 1, TOTAL, 64)[0],
    )  # fmt: skip


def counted(counts: np.ndarray, sums: np.ndarray, numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Probabilities and means of counts ``[bin, symbol]`` and of sums and numbers of parts ``[bin, part]``."""
    counts = counts.reshape(NUM_ZERO, NUM_SIZES, NUM_SYMBOLS)
    zero, all_ = counts[..., 0].sum(axis=1), counts.sum(axis=(1, 2))
    expected = 1 / (1 + np.exp((np.arange(NUM_ZERO) + 0.5 - FIRST[0]) / 4))
    zero = np.round((zero + 20 * expected) / (all_ + 20) * WHOLE).astype(np.int64)
    some = counts.sum(axis=0)
    some[:, 0] = 0
    some = some.reshape(NUM_SIZES, CAP + 1, CAP + 1)
    some = some + np.swapaxes(some, 1, 2)
    near = some + 0.02 * (np.roll(some, 1, 0) + np.roll(some, -1, 0)) + 4 * some.sum(axis=0) / some.sum() + 1e-3
    part = np.arange(CAP + 1)
    sums, numbers = (x.reshape(NUM_ZERO, NUM_SIZES, CAP + 1).sum(axis=0) for x in (sums, numbers))
    means = (sums + 50 * (part - 0.02 * (part > 0))) / (numbers + 50)
    return {
        "zero": np.clip(zero, 1, WHOLE - NUM_SYMBOLS),
        "nonzero": shares(near.reshape(NUM_SIZES, -1)[:, 1:], WHOLE),
        "means": np.round(means * (part > 0) * LEVEL_UNIT).astype(np.int64),
    }


def _importance(cells: Sequence[Cells]) -> np.ndarray:
    """Share of coefficients that are not 0, in 1/65536, by class; classes that do not occur have that of the next."""
    zero = np.zeros(NUM_CLASSES, np.int64)
    nonzero, all_ = np.zeros((2, NUM_CLASSES))
    for c in cells:
        grid = Grid(c.shape, zero)
        share = np.any(c.q != 0, axis=0).mean(axis=0)[grid.order]
        nonzero += len(c.step) * np.bincount(grid.kind, share, minlength=NUM_CLASSES)
        all_ += len(c.step) * np.bincount(grid.kind, minlength=NUM_CLASSES)
    share = (nonzero / np.maximum(all_, 1)).reshape(2, BEAM_2 + 1, BEAM_1 + 1, 2 * TAP + 1)
    return np.round(_filled(share, (all_ > 0).reshape(share.shape)).ravel() * 65536).astype(np.int64)


def _filled(x: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """``x [2, beam 2, beam 1, tap, ...]`` with classes that were not seen as their neighbour nearer to the origin."""
    x, seen = x.copy(), seen.copy()
    later, earlier = range(TAP + 1, 2 * TAP + 1), range(TAP - 1, -1, -1)
    for axis, places in ((3, later), (3, earlier), (2, range(1, BEAM_1 + 1)), (1, range(1, BEAM_2 + 1)), (0, [1])):
        for place in places:
            before = place - 1 if axis < 3 or place > TAP else place + 1
            at, near = [(slice(None),) * axis + (p,) for p in (place, before)]
            lacks = ~seen[at]
            x[at][lacks] = x[near][lacks]
            seen[at] |= seen[near]
    return x


def _rows(c: Cells, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features uint8 ``[row, feature]``, class and ordered energy of every coefficient but the origins."""
    symbols = c.symbols(grid)
    level = np.searchsorted(ENERGIES, energy_table()[symbols[1:]], side="right")
    contexts = Contexts(grid, idle_network(NUM_FEATURES))
    x = np.empty((grid.size - 1, len(c.step), NUM_FEATURES), np.uint8)
    for start in range(0, len(c.step), 256):
        part = contexts.features(symbols[:, start : start + 256], c.energy[start : start + 256])
        x[:, start : start + 256] = np.moveaxis(part[:, 1:], 0, 2)
    kind = np.broadcast_to(grid.kind[1:, None], level.shape)
    return x.reshape(-1, NUM_FEATURES), kind.ravel(), level.ravel()


def fit(
    x: np.ndarray, kind: np.ndarray, level: np.ndarray, hidden: int, epochs: float, rate: float,
    rng: np.random.Generator, seen: np.ndarray, log: Callable[[str], Any],
) -> dict[str, np.ndarray]:  # fmt: skip
    """Integers of a context network for features ``[row, feature]``, class and ordered energy of every coefficient."""
    share = (np.bincount(kind, level > 0, NUM_CLASSES) + 0.05) / (np.bincount(kind, minlength=NUM_CLASSES) + 1)
    weights = {
        "w1": rng.normal(0, 0.08, (x.shape[1], hidden)), "b1": np.full((NUM_CLASSES, hidden), 0.5),
        "w2": rng.normal(0, 0.1, (hidden, 2)), "w3": np.zeros((x.shape[1], 2)),
        "b2": np.stack([np.log(share / (1 - share)), np.zeros(NUM_CLASSES)], axis=1),
        "theta": np.ones(len(ENERGIES) - 2),
    }  # fmt: skip
    weights = {key: value.astype(np.float32) for key, value in weights.items()}
    first, second = ({key: np.zeros_like(value) for key, value in weights.items()} for _ in range(2))
    weights["w1"][~seen] = 0
    total = max(1, int(epochs * len(x) / _BATCH))
    order = rng.permutation(len(x))
    loss = 0.0
    for number in range(total):
        rows = np.take(order, np.arange(number * _BATCH, (number + 1) * _BATCH), mode="wrap")
        bits, gradient = _gradient(weights, x[rows] * (seen / _FEATURE).astype(np.float32), kind[rows], level[rows])
        loss += bits
        pace = rate * min(1, (number + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * number / total) + 0.01)
        for key, value in weights.items():
            first[key] += 0.1 * (gradient[key] - first[key])
            second[key] += 0.01 * (gradient[key] ** 2 - second[key])
            mean, power = first[key] / (1 - 0.9 ** (number + 1)), second[key] / (1 - 0.99 ** (number + 1))
            value -= (pace * mean / (np.sqrt(power) + 1e-6)).astype(np.float32)
        np.clip(weights["w1"], -_MOST_WEIGHT, _MOST_WEIGHT, out=weights["w1"])
        np.clip(weights["w2"], -8, 8, out=weights["w2"])
        if (number + 1) % 500 == 0:
            log(f"{number + 1}/{total}: {loss / 500:.5f} bit per coefficient")
            loss = 0.0
    occurs = np.bincount(kind, minlength=NUM_CLASSES) > 0
    shape = 2, BEAM_2 + 1, BEAM_1 + 1, 2 * TAP + 1
    for key in ("b1", "b2"):
        value = weights[key].reshape(*shape, *weights[key].shape[1:])
        weights[key] = _filled(value, occurs.reshape(shape)).reshape(weights[key].shape)
    scale = {
        "w1": _HIDDEN / _FEATURE, "b1": _HIDDEN, "w2": _SCORES / _HIDDEN, "w3": _SCORES / _FEATURE, "b2": _SCORES,
    }  # fmt: skip
    return {key: np.round(weights[key] * factor).astype(np.int64) for key, factor in scale.items()}


def _gradient(
    w: dict[str, np.ndarray], x: np.ndarray, kind: np.ndarray, level: np.ndarray
) -> tuple[float, dict[str, np.ndarray]]:
    """Mean code length [bit] and its gradient (in nats)."""
    z = x @ w["w1"] + w["b1"][kind]
    h = np.clip(z, 0, MOST_HIDDEN / _HIDDEN)
    score = h @ w["w2"] + x @ w["w3"] + w["b2"][kind]
    one = 1 / (1 + np.exp(-np.clip(score[:, 0], -30, 30)))
    ds = np.stack([one - (level > 0), np.zeros(len(x))], axis=1).astype(np.float32)
    some = np.flatnonzero(level)
    theta = np.concatenate([[-1e3, 0], np.cumsum(np.maximum(w["theta"], 0.05)), [1e3]]).astype(np.float32)
    size = level[some] - 1
    above, beyond = (1 / (1 + np.exp(-np.clip(score[some, 1] - theta[size + k], -30, 30))) for k in (0, 1))
    p = np.maximum(above - beyond, 1e-7)
    ds[some, 1] = above + beyond - 1
    ds /= len(x)
    dh = ds @ w["w2"].T * ((z > 0) & (z < (MOST_HIDDEN / _HIDDEN)))
    hidden = dh.shape[1]
    index = kind[:, None] * hidden + np.arange(hidden)
    dtheta = np.bincount(size, above * (1 - above) / p, len(theta)) / len(x)
    dtheta -= np.bincount(size + 1, beyond * (1 - beyond) / p, len(theta)) / len(x)
    gradient = {
        "w1": x.T @ dh, "b1": np.bincount(index.ravel(), dh.ravel(), NUM_CLASSES * hidden).reshape(-1, hidden),
        "w2": h.T @ ds, "w3": x.T @ ds,
        "b2": np.stack([np.bincount(kind, part, NUM_CLASSES) for part in ds.T], axis=1),
        "theta": np.cumsum(dtheta[2 : len(theta) - 1][::-1])[::-1],
    }  # fmt: skip
    spent = -np.log2(np.where(level > 0, one, 1 - one) + 1e-9).sum() - np.log2(p).sum()
    return float(spent / len(x)), gradient
