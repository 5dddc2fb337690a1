"""Measure docs/ntc.md: python docs/ntc_figures.py STORE WEIGHTS [NAME ...].

Writes ntc.json: bits of whole reports without RI and SGCS of the subbands, of the transform codec, of beamdelay as
decoded and refined, and of enhanced Type II, over the test split of urban_3g5_32ports ("test split") and over channels
of other kinds; and ntc_figures.png. `Munich` needs libLLVM (see the preset site_munich).
"""

import json
import sys
from pathlib import Path

import numpy as np
from beamdelay_figures import draw
from refinement_figures import OTHERS, drawn

from receivers.feedback.beamdelay import BeamDelayFeedback
from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.feedback.ntc import NtcFeedback
from simulator.core.types import CsiConfig, CsiEstimate
from simulator.data.store import ChannelStore
from simulator.maths.transforms import subband_eigenvectors

UNIT, SAMPLES, CHUNK = 4, 3000, 500
STEPS = (0.28, 0.2, 0.15, 0.11, 0.085, 0.065)
COMBINATIONS = (1, 2, 3, 4, 5, 7, 6, 8)
BUDGETS = (62, 111, 168, 225, 279)
NAMES = {
    "etype2": "enhanced Type II, pc 1..8", "beamdelay": "beamdelay", "refined": "beamdelay, refined", "ntc": "ntc",
}  # fmt: skip


def schemes(config: CsiConfig, weights: str) -> dict[str, list]:
    """Schemes by name, those of mean bits and those that fill a budget."""
    made = {
        "beamdelay": [BeamDelayFeedback(config, step=s, rank=1) for s in STEPS],
        "refined": [BeamDelayFeedback(config, step=s, rank=1, refine="refine-urban") for s in STEPS],
        "ntc": [NtcFeedback(config, step=s, rank=1, weights=weights) for s in STEPS],
    }
    if config.panel.num_ports <= 32:
        made["etype2"] = [EnhancedTypeTwoFeedback(config, combination=c, rank=1) for c in COMBINATIONS]
    return made


def filled(config: CsiConfig, weights: str) -> dict[str, list]:
    """Those with a budget."""
    return {
        "refined, filled": [BeamDelayFeedback(config, bits=b, rank=1, refine="refine-urban") for b in BUDGETS],
        "ntc, filled": [NtcFeedback(config, bits=b, rank=1, weights=weights) for b in BUDGETS],
    }


def score(scheme, h: np.ndarray) -> dict[str, float]:
    """Mean and largest bits, and SGCS with its 95 % half-width, of channels ``[sample, rx, port, subcarrier]``."""
    bits, found = [], []
    for part in (h[i : i + CHUNK] for i in range(0, len(h), CHUNK)):
        v = subband_eigenvectors(part, UNIT, 1)[:, 0]
        report = scheme.report(CsiEstimate(part[:, None], np.zeros((len(part), 1), np.float32)))
        w = scheme.reconstruct(report).w[:, 0, :, 0]
        found.append(np.mean(np.abs(np.einsum("ntp,npt->nt", v.conj(), w)) ** 2, axis=1))
        bits.append(report.num_bits.ravel())
    found, bits = np.concatenate(found), np.concatenate(bits)
    half = 1.96 * found.std() / len(found) ** 0.5
    return {"bits": float(bits.mean()), "most": int(bits.max()), "sgcs": float(found.mean()), "half": float(half)}


def main() -> None:
    """All figures of the page."""
    store, weights, *names = sys.argv[1:]
    path = Path(__file__).with_name("ntc.json")
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in names or ["test split", *OTHERS]:
        if name == "test split":
            data = ChannelStore(store, verify=False)
            layout = data.layout
            config = CsiConfig(layout.panel, 1, layout.num_subcarriers, layout.spacing_hz, subband_size=UNIT)
            h = data.take("test", np.arange(SAMPLES)).reshape(SAMPLES, 1, layout.panel.num_ports, -1)
            made = schemes(config, weights) | filled(config, weights)
        else:
            config, h = drawn(*OTHERS[name])
            made = schemes(config, weights)
        found[name] = {key: [score(scheme, h) for scheme in group] for key, group in made.items()}
        for key, points in found[name].items():
            print(
                name, key, [(round(p["bits"], 1), p["most"], round(p["sgcs"], 4), round(p["half"], 4)) for p in points]
            )
        path.write_text(json.dumps(found, indent=1) + "\n")
    if "test split" in found:
        draw(found["test split"], NAMES, Path(__file__).with_name("ntc_figures.png"))


if __name__ == "__main__":
    main()
