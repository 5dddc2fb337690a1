"""Measure the tables "Elsewhere" and "Ranks" of docs/beamdelay.md: python docs/beamdelay_elsewhere.py STORE [NAME ...].

Writes beamdelay_elsewhere.json: SGCS of the subbands, enhanced Type II and `bits: B` at its bits, over channels of
other kinds, which are drawn here, and over the ranks 1 to 4. The store is the shipped data set urban_multi, whose test
split is cut to the panels.
"""

import json
import sys
from pathlib import Path

import numpy as np
from beamdelay_figures import beamdelay, score
from refinement_figures import cdl, drawn

from receivers.beamdelay.tables import Tables
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.training.beamdelay import channels
from receivers.weights.folder import zoo_folder
from simulator.core.types import Panel
from simulator.data.store import ChannelStore

UNIT = 4
COMBINATIONS, RANK_COMBINATIONS = (1, 3, 4, 6), (1, 4, 6)
UMI, UMA = {"model": "umi"}, {"model": "uma"}
CHANNELS: dict[str, tuple[list[dict], dict, dict, int]] = {
    "UMa without line of sight": ([UMA | {"los": False}], {}, {}, 300),
    "RMa": ([{"model": "rma"}], {"carrier_hz": 0.7e9}, {}, 300),
    **{f"CDL-{p}, rotated": (cdl(p, True), {}, {}, 100) for p in "ABCDE"},
    "UMi at 28 GHz, 120 kHz": ([UMI], {"carrier_hz": 28e9, "subcarrier_spacing_hz": 120e3}, {}, 300),
    "UMi and UMa, 64 ports (8x4)": ([UMI, UMA], {}, {"n2": 4}, 150),
}
PANELS = {"4x4": Panel(4, 4, 2), "8x2": Panel(8, 2, 2)}
RANKS, RANK_SAMPLES = (1, 2, 3, 4), 100


def compared(h: np.ndarray, panel: Panel, rank: int, combinations: tuple[int, ...]) -> list[dict[str, float]]:
    """Bits, SGCS of both and the half-width of that of `bits: B`, for channels ``[sample, rx, port, subcarrier]``."""
    tables, found = Tables.load(zoo_folder() / "beamdelay-urban" / "tables.npz"), []
    for pc in combinations:
        peer = score(EnhancedTypeTwoCodebook(panel, h.shape[3], UNIT, rank, pc, rank), h)
        own = score(beamdelay(panel, h.shape[3], tables, None, peer["most"], rank), h)
        found.append({"bits": peer["most"], "etype2": peer["sgcs"], "sgcs": own["sgcs"], "half": own["half"]})
    return found


def main() -> None:
    """All rows, or those with these names."""
    path = Path(__file__).with_suffix(".json")
    found = json.loads(path.read_text()) if path.exists() else {}
    store = ChannelStore(sys.argv[1], verify=False)
    whole, p = channels(store, "test", RANK_SAMPLES), store.layout.panel
    whole = whole.reshape(len(whole), -1, p.num_pol, p.n1, p.n2, whole.shape[3])
    ranks = {f"{name}, rank {rank}": (panel, rank) for name, panel in PANELS.items() for rank in RANKS}
    for name in sys.argv[2:] or [*CHANNELS, *ranks]:
        if name in ranks:
            panel, rank = ranks[name]
            h = whole[:, :, :, : panel.n1, : panel.n2].reshape(len(whole), -1, panel.num_ports, whole.shape[-1])
            combinations = RANK_COMBINATIONS
        else:
            config, h = drawn(*CHANNELS[name])
            panel, rank, combinations = config.panel, 1, COMBINATIONS
        found[name] = compared(h, panel, rank, combinations)
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(
            name,
            [" ".join(f"{x:.3f}" if x < 1 else f"{x}" for x in point.values()) for point in found[name]],
            flush=True,
        )


if __name__ == "__main__":
    main()
