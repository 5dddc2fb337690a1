"""Bits that contexts of the other layers save: python docs/beamdelay_layers.py STORE [SAMPLES].

Writes beamdelay_layers.json: bits and SGCS (mean over the layers) of ranks 1 to 4 with every layer coded by itself, and
with tables for several layers, and the BD-rate between both. The store is the shipped data set urban_multi, cut to 8x2
dual-polarised ports; its test split is used.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.report.bd_rate import bd_difference
from receivers.beamdelay.codebook import BeamDelayCodebook
from receivers.beamdelay.tables import Tables
from receivers.training.beamdelay import channels
from receivers.weights.folder import zoo_folder
from simulator.core.types import Panel
from simulator.data.store import ChannelStore
from simulator.maths.transforms import subband_eigenvectors

UNIT = 4
STEPS = (0.24, 0.165, 0.115, 0.085)
PANEL = Panel(8, 2, 2)


def score(book: BeamDelayCodebook, h: np.ndarray) -> tuple[float, float]:
    """Mean bits of whole reports without RI, and mean SGCS of the layers, from the bits alone."""
    part1, part2, length = book.pack(book.select(h))
    w = book.precoder(book.unpack(part1, part2, length)[0])
    v = subband_eigenvectors(h, UNIT, book.rank)
    return float(length.mean()), float(np.mean(np.abs(np.einsum("nltp,nplt->nlt", v.conj(), w)) ** 2))


def main() -> None:
    """Both curves of every rank."""
    store, samples = ChannelStore(sys.argv[1], verify=False), int(sys.argv[2]) if len(sys.argv) > 2 else 200
    tables = Tables.load(Path(sys.argv[3]) if len(sys.argv) > 3 else zoo_folder() / "beamdelay-urban" / "tables.npz")
    p = store.layout.panel
    h = channels(store, "test", samples)
    h = h.reshape(len(h), -1, p.num_pol, p.n1, p.n2, h.shape[-1])[:, :, :, :, : PANEL.n2]
    h = h.reshape(len(h), -1, PANEL.num_ports, h.shape[-1])
    found = {}
    for rank in range(1, 5):
        curves = {
            name: np.array(
                [score(BeamDelayCodebook(PANEL, h.shape[-1], UNIT, rank, t, step, 1706), h) for step in STEPS]
            )
            for name, t in (("alone", dataclasses.replace(tables, layers=None)), ("layers", tables))
        }
        saved = bd_difference(*curves["alone"].T, *curves["layers"].T).rate_percent
        found[rank] = {**{name: curve.tolist() for name, curve in curves.items()}, "bd_rate": saved}
        print(rank, f"{saved:+.1f} %", *[np.round(c, 3).tolist() for c in curves.values()], flush=True)
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
