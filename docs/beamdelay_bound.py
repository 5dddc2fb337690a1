"""How far the contexts of the beam-delay code are from a causal network.

Run: python docs/beamdelay_bound.py STORE [MINUTES].

Offline control in bits, no part of the codec; needs PyTorch. A masked network (MADE: Germain et al., ICML 2015) sees
the signed values of all coefficients before a place; a head that all places share takes what it says, the 39 features
of the contexts and the table that they choose, and corrects the logarithms of the probabilities in that table. Without
the masked network it is what other tables, or mixtures of tables, could make of the same features and the place.
Trained on the training split of urban_3g5_32ports, at steps drawn at random; bits of the symbols on the test split,
signs and escapes as they are coded, at four steps. Writes beamdelay_bound.json.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from receivers.beamdelay.coder import BeamDelayCoder
from receivers.beamdelay.content import Content
from receivers.beamdelay.contexts import CAP, NUM_FEATURES
from receivers.beamdelay.frame import Frame
from receivers.beamdelay.grid import NUM_CLASSES, Grid
from receivers.beamdelay.quantizer import Quantizer
from receivers.beamdelay.tables import Tables
from receivers.training.beamdelay import channels, quantized
from receivers.weights.folder import zoo_folder
from simulator.data.store import ChannelStore
from simulator.maths.transforms import subband_eigenvectors

UNIT = 4
STEPS = (0.24, 0.165, 0.115, 0.085)
RANGE = (0.08, 0.26)  # of the training
BATCH = 256
RATE = 2e-3
HIDDEN, SUMMARY, WIDTH = 1024, 12, 64


class Symbols:
    """Quantised coefficients by place, ``[item, place]``, and the tables that code them."""

    def __init__(self, coder: BeamDelayCoder, content: Content, energy: np.ndarray):
        self.real, self.imag = (np.clip(x[..., 0].T, -127, 127).astype(np.int8) for x in (content.real, content.imag))
        self.energy = energy.astype(np.float32)
        self.coder, self.content = coder, content

    def __len__(self) -> int:
        return len(self.real)

    def features(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the contexts, float32 ``[item, place, feature]``, and the tables that they choose ``[item, place]``."""
        a, b = (np.minimum(np.abs(x[rows].astype(np.int64)), CAP) for x in (self.real, self.imag))
        found = self.coder.contexts.features((a * (CAP + 1) + b).T, self.energy[rows])
        return np.ascontiguousarray(found.transpose(2, 1, 0)), self.coder.contexts.bins(found).T.astype(np.int64)


class Causal(nn.Module):
    """Probabilities of the parts at every place, from their table and what comes before.

    Args:
        nonzero: share of coefficients that are not 0, by place: units see more of where these are.
        kind: class of every place.
        frequency: of the tables ``[table, symbol]``.
        masked: see all coefficients before, by masks; else the features of the contexts alone.
    """

    def __init__(self, nonzero: np.ndarray, kind: np.ndarray, frequency: np.ndarray, masked: bool):
        super().__init__()
        self.masked = masked
        size = len(kind)
        joint = torch.tensor(frequency, dtype=torch.float32).reshape(-1, CAP + 1, CAP + 1)
        self.register_buffer("log_first", joint.sum(2).log())
        self.register_buffer("log_second", joint.log())
        self.register_buffer("kind", torch.tensor(kind))
        if masked:
            share = np.cumsum(nonzero + 0.01)
            units = np.searchsorted(
                share / share[-1], (np.arange(HIDDEN) + 0.5) / HIDDEN
            )  # last place that a unit sees
            degree, order = torch.tensor(units), torch.arange(size)
            self.one, self.two = nn.Linear(4 * size, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
            self.out = nn.Linear(HIDDEN, SUMMARY * size)
            self.register_buffer("mask1", (degree[:, None] >= order).repeat_interleave(4, 1).float())
            self.register_buffer("mask2", (degree[:, None] >= degree).float())
            self.register_buffer("mask3", (order[:, None] > degree).repeat_interleave(SUMMARY, 0).float())
            self.level = nn.Linear(1, HIDDEN)
        self.embed, self.place = nn.Embedding(NUM_CLASSES, WIDTH), nn.Embedding(size, WIDTH)
        self.mix, self.deep = nn.Linear(SUMMARY * masked + NUM_FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.first, self.second = nn.Linear(WIDTH, CAP + 1), nn.Linear(2 * WIDTH, CAP + 1)
        self.known = nn.Embedding(CAP + 1, 2 * WIDTH)
        self.wide = nn.Linear(WIDTH, 2 * WIDTH)
        for layer in (self.first, self.second):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, a: torch.Tensor, b: torch.Tensor, energy: torch.Tensor, x: torch.Tensor, table: torch.Tensor):
        """Bits of the sizes of the parts ``[item, place - 1]``; a, b signed ``[item, place]``, x the features."""
        n, size = a.shape
        parts = [x / 16]
        if self.masked:
            power = torch.log2(1 + a**2 + b**2)
            seen = [a.sign() * torch.log1p(a.abs()), b.sign() * torch.log1p(b.abs()), power / 2, (power > 0).float()]
            h = nn.functional.linear(torch.stack(seen, -1).reshape(n, -1), self.one.weight * self.mask1, self.one.bias)
            h = torch.relu(h + self.level(torch.log2(energy)[:, None] / 4 - 1.2))
            h = h + torch.relu(nn.functional.linear(h, self.two.weight * self.mask2, self.two.bias))
            parts.append(nn.functional.linear(h, self.out.weight * self.mask3, self.out.bias).reshape(n, size, -1))
        h = torch.relu(self.mix(torch.cat(parts, -1)) + self.embed(self.kind) + self.place.weight)
        h = (h + torch.relu(self.deep(h)))[:, 1:]
        a, b = (part[:, 1:].abs().clamp(max=CAP).long().reshape(-1) for part in (a, b))
        table, h = table[:, 1:].reshape(-1), h.reshape(-1, WIDTH)
        one = nn.functional.cross_entropy(self.first(h) + self.log_first[table], a, reduction="none")
        h = torch.relu(self.wide(h) + self.known(a))
        two = nn.functional.cross_entropy(self.second(h) + self.log_second[table, a], b, reduction="none")
        return (one + two).reshape(n, -1) / np.log(2)


def batch(data: Symbols, rows: np.ndarray) -> list[torch.Tensor]:
    """Arguments of the model for some items."""
    parts = [x[rows].astype(np.float32) for x in (data.real, data.imag)]
    return [torch.tensor(x) for x in (*parts, data.energy[rows], *data.features(rows))]


def trained(model: Causal, data: Symbols, minutes: float) -> tuple[Causal, float]:
    """The model after so long, and passes over the data."""
    torch.manual_seed(1)
    rng, start, seen = np.random.default_rng(1), time.time(), 0
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.02)
    order, at, mean = rng.permutation(len(data)), 0, 0.0
    while (share := (time.time() - start) / (60 * minutes)) < 1:
        if at + BATCH > len(order):
            order, at = rng.permutation(len(data)), 0
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, seen / 20000 + 0.01) * (min(1, 2 * (1 - share)))
        loss = model(*batch(data, np.sort(order[at : at + BATCH]))).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        at, seen, mean = at + BATCH, seen + BATCH, mean + loss.item() / 50
        if seen % (50 * BATCH) == 0:
            print(f"{seen} reports, {time.time() - start:.0f} s: {mean:.2f} bit", flush=True)
            mean = 0.0
    return model.eval(), seen / len(data)


def coded(frame: Frame, tables: Tables, v: np.ndarray, step: float) -> Symbols:
    """Decisions of the scheme at one step."""
    energy = max(1, round(1 / step**2))
    coder = BeamDelayCoder(Grid(frame.shape, tables.importance), tables, frame.num_groups, 1, [energy])
    quantizer = Quantizer(frame, coder, [energy**-0.5])
    found = [quantizer(part[:, None], np.zeros(len(part), int))[0] for part in np.array_split(v, -(-len(v) // 512))]
    joined = [np.concatenate([getattr(c, key) for c in found]) for key in ("group", "step", "row")]
    parts = [np.concatenate([getattr(c, key) for c in found], axis=1) for key in ("real", "imag")]
    return Symbols(coder, Content(*joined, *parts), np.full(len(v), energy))


def main() -> None:
    """Train, compare, write."""
    store, minutes = ChannelStore(sys.argv[1], verify=False), float(sys.argv[2]) if len(sys.argv) > 2 else 18
    torch.set_num_threads(1)
    frame = Frame(store.layout.panel, -(-store.layout.num_subcarriers // UNIT))
    tables = Tables.load(zoo_folder() / "beamdelay-urban" / "tables.npz")
    v = subband_eigenvectors(channels(store, "train", 90000), UNIT, 1)[:, 0]
    cells = quantized(frame, v, np.random.default_rng(1), RANGE, tables)
    grid = Grid(frame.shape, tables.importance)
    q = cells.q[:, :, grid.order]
    content = Content(*[np.zeros(len(v), int)] * 2, np.zeros((len(v), 1), int), *np.moveaxis(q, 1, 2)[..., None])
    idle = BeamDelayCoder(grid, tables, frame.num_groups, 1, [1])
    data = Symbols(idle, content, cells.energy)
    nonzero = np.any(q != 0, axis=0).mean(axis=0)
    v = subband_eigenvectors(channels(store, "test", 3000), UNIT, 1)[:, 0]
    test = [coded(frame, tables, v, step) for step in STEPS]
    path = Path(__file__).with_suffix(".json")
    found: dict = json.loads(path.read_text()) if path.exists() else {}
    found |= {"steps": STEPS, "tables": [], "origin": [], "signs": []}
    for symbols in test:
        length = symbols.coder.ideal_bits(symbols.content)
        signs = np.sum(symbols.real[:, 1:] != 0) + np.sum(symbols.imag[:, 1:] != 0)
        found["tables"].append(length[1:].sum() / len(v))
        found["signs"].append(signs / len(v))
        found["origin"].append(length[0].mean() + symbols.coder.head_bits())
    for name, masked in (("features", False), ("masked", True)):
        if len(sys.argv) > 3 and name not in sys.argv[3:]:
            continue
        model, passes = trained(Causal(nonzero, grid.kind, tables.frequency, masked), data, minutes)
        bits = []
        with torch.no_grad():
            for symbols, signs in zip(test, found["signs"], strict=True):
                parts = np.array_split(np.arange(len(symbols)), 12)
                total = sum(float(model(*batch(symbols, rows)).sum()) for rows in parts) / len(symbols)
                escapes = sum(np.sum(2 * np.floor(np.log2(np.maximum(np.abs(x[:, 1:].astype(int)) - CAP, 0) + 1))
                                     + (np.abs(x[:, 1:]) >= CAP)) for x in (symbols.real, symbols.imag))  # fmt: skip
                bits.append(total + signs + escapes / len(symbols))
        found[name] = {"bits": bits, "passes": passes}
        print(
            name,
            f"{passes:.1f} passes",
            [round(x, 2) for x in bits],
            "tables",
            np.round(found["tables"], 2),
            flush=True,
        )
        path.write_text(json.dumps(found, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
