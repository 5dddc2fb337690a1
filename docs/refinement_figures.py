"""Measure docs/refinement.md: python docs/refinement_figures.py STORE [NAME ...].

Writes refinement.json: SGCS of the subbands as decoded, after the network alone and after its gate, over the test split
of urban_3g5_32ports and over channels of other kinds, which are drawn here. Munich needs libLLVM (see the preset
site_munich).
"""

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.build import build_source
from receivers.feedback.beamdelay import BeamDelayFeedback
from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.models.report_gate import ReportGate
from receivers.training.data.reports import ReportSet
from receivers.training.report_gate import tried
from receivers.weights.folder import TrainedRefiner
from scenarios.dataset import parse_recipe
from simulator.core.types import CsiConfig
from simulator.data.store import ChannelStore
from simulator.maths.transforms import subband_eigenvectors, unit_power

UNIT, SAMPLES = 4, 3000
STEPS = (0.28, 0.2, 0.15, 0.11, 0.085, 0.065)
COMBINATIONS = (1, 2, 3, 4, 5, 7, 6, 8)
CARRIER = {"carrier_hz": 3.5e9, "num_rb": 52, "subcarrier_spacing_hz": 30e3, "granularity": "rb"}
PANEL = {"n1": 8, "n2": 2, "num_pol": 2}
SPREADS = (30e-9, 100e-9, 300e-9)
MUNICH = {
    "model": "site", "scene": "munich", "bs_position_m": [8.5, 21, 27], "look_at_m": [45, 90, 1.5],
    "area_center_m": [60, 110], "area_size_m": [260, 260], "num_points": 1000,
}  # fmt: skip


def cdl(profile: str, rotate: bool) -> list[dict]:
    """Channel sections over the delay spreads."""
    return [{"model": "cdl", "profile": profile, "delay_spread_s": s, "rotate": rotate} for s in SPREADS]


OTHERS: dict[str, tuple[list[dict], dict, dict, int]] = {
    **{f"CDL-{p}, fixed": (cdl(p, False), {}, {}, 100) for p in "ABCDE"},
    **{f"CDL-{p}": (cdl(p, True), {}, {}, 100) for p in "ABCDE"},
    "RMa": ([{"model": "rma"}], {"carrier_hz": 0.7e9}, {}, 400),
    "UMa NLOS": ([{"model": "uma", "los": False}], {}, {}, 400),
    "UMi 28 GHz": ([{"model": "umi"}], {"carrier_hz": 28e9, "subcarrier_spacing_hz": 120e3}, {}, 400),
    "Munich": ([MUNICH], {}, {}, 400),
    "UMi, 16x2": ([{"model": "umi"}], {}, {"n1": 16}, 300),
    "UMa, 8x4": ([{"model": "uma"}], {}, {"n2": 4}, 300),
}


def drawn(channels: list[dict], carrier: dict, panel: dict, samples: int) -> tuple[CsiConfig, np.ndarray]:
    """Public configuration, and channels ``[sample, rx, port, subcarrier]``, ``samples`` of every section."""
    recipe = parse_recipe(
        {"name": "other", "carrier": CARRIER | carrier, "bs": PANEL | panel, "splits": {"test": samples},
         "parts": [{"channel": channel} for channel in channels]}
    )  # fmt: skip
    g = recipe.geometry
    h = [
        build_source(part.channel, g).sample(100, seed=9100 + number, first=first)[:, 0, :, :, 0]
        for number, part in enumerate(recipe.parts)
        for first in range(0, samples, 100)
    ]
    h = np.concatenate(h)
    config = CsiConfig(g.panel, 1, h.shape[-1], CARRIER["subcarrier_spacing_hz"], subband_size=UNIT)
    return config, unit_power(h, num_lead=1)


def scored(config: CsiConfig, h: np.ndarray) -> dict[str, dict[str, float]]:
    """By report: SGCS as decoded, gain of the network and of the gated one with 95 % half-widths, mean share."""
    trained, v, found = TrainedRefiner("refine-urban"), subband_eigenvectors(h, UNIT, 1), {}
    gate, position = ReportGate(trained.gate), np.arange(len(h))
    books = {f"s{step}": BeamDelayFeedback(config, step=step, rank=1).codebooks[1] for step in STEPS}
    if config.panel.num_ports <= 32:
        books |= {f"pc{c}": EnhancedTypeTwoFeedback(config, combination=c, rank=1).codebooks[1] for c in COMBINATIONS}
    for label, book in books.items():
        reports = ReportSet(book, v, h)
        x, gains, _ = tried(trained.model, reports, len(h))
        share = gate.share(x, label.startswith("pc"))
        at = share * (gains.shape[1] - 1)
        low = np.minimum(at.astype(int), gains.shape[1] - 2)
        gated = gains[position, low] + (at - low) * (gains[position, low + 1] - gains[position, low])
        w = book.precoder({key: value.astype(np.int64) for key, value in reports.pmi.items()})
        decoded = np.mean(np.abs(np.einsum("nltp,nplt->nlt", v.conj(), w)) ** 2, axis=(1, 2))
        found[label] = {"decoded": decoded.mean(), "share": share.mean()}
        for name, gain in (("network", gains[:, -1]), ("gated", gated)):
            found[label] |= {name: gain.mean(), f"{name} half": 1.96 * gain.std() / len(gain) ** 0.5}
        if label.startswith("s"):
            pmi = {key: value.astype(np.int64) for key, value in reports.pmi.items()}
            found[label]["bits"] = book.pack(pmi)[2].mean()
    return found


def main() -> None:
    """All figures, or those of some channels."""
    path = Path(__file__).with_name("refinement.json")
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in sys.argv[2:] or ["UMi, UMa", *OTHERS]:
        if name == "UMi, UMa":
            store = ChannelStore(sys.argv[1], verify=False)
            h = np.concatenate([h[:, :, :, 0] for h, _ in store.read("test")])[:SAMPLES]
            c = CsiConfig(store.layout.panel, 1, h.shape[-1], store.layout.spacing_hz, subband_size=UNIT)
        else:
            c, h = drawn(*OTHERS[name])
        found[name] = scored(c, h)
        path.write_text(json.dumps(found, indent=1, default=float) + "\n")
        print(name, *[f"{k} {x['decoded']:.3f} {x['network']:+.4f} {x['gated']:+.4f}" for k, x in found[name].items()],
              sep="\n  ", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
