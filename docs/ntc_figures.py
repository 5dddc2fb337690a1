"""Measure docs/ntc.md: python docs/ntc_figures.py STORE WEIGHTS [NAME ...].

Writes ntc.json: bits of whole reports without RI and SGCS of the subbands, of the transform codec, of beamdelay as
decoded, refined, and searched for the refinement, and of enhanced Type II, over the test split of urban_3g5_32ports
("test split") and over channels of other kinds; paired differences at equal mean bits; and ntc_figures.png. `Munich`
needs libLLVM (see the preset site_munich).
"""

import json
import sys
from pathlib import Path

import numpy as np
from beamdelay_figures import draw
from refinement_figures import OTHERS, drawn

from receivers.beamdelay.gradient_synthesis import PASSES
from receivers.feedback.beamdelay import BeamDelayFeedback
from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.feedback.ntc import NtcFeedback
from simulator.core.types import CsiConfig, CsiEstimate
from simulator.data.store import ChannelStore
from simulator.maths.transforms import subband_eigenvectors

UNIT, SAMPLES, CHUNK = 4, 3000, 500
STEPS = (0.28, 0.2, 0.15, 0.11, 0.085, 0.065)
DENSE = (0.28, 0.24, 0.2, 0.17, 0.15, 0.13, 0.11, 0.095, 0.085, 0.075, 0.065)  # of beamdelay, on the test split
FEW = (0.28, 0.2, 0.15, 0.11)  # on channels of other kinds
COMBINATIONS = (1, 2, 3, 4, 5, 7, 6, 8)
BUDGETS = (62, 111, 168, 225, 279)
EQUAL = (43, 62, 111, 168, 225, 279)  # mean bits of the differences
NAMES = {
    "etype2": "enhanced Type II, pc 1..8", "beamdelay": "beamdelay", "refined": "beamdelay, refined",
    "searched": "beamdelay, searched and refined", "ntc": "ntc",
}  # fmt: skip


def schemes(config: CsiConfig, weights: str, steps: tuple[float, ...], dense: tuple[float, ...]) -> dict[str, list]:
    """Schemes by name."""
    made = {
        "beamdelay": [BeamDelayFeedback(config, step=s, rank=1) for s in dense],
        "refined": [BeamDelayFeedback(config, step=s, rank=1, refine="refine-urban") for s in dense],
        "searched": [BeamDelayFeedback(config, step=s, rank=1, refine="refine-urban", synthesis=PASSES) for s in steps],
        "ntc": [NtcFeedback(config, step=s, rank=1, weights=weights) for s in steps],
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


def sampled(scheme, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bits and SGCS ``[sample]`` of channels ``[sample, rx, port, subcarrier]``."""
    bits, found = [], []
    for part in (h[i : i + CHUNK] for i in range(0, len(h), CHUNK)):
        v = subband_eigenvectors(part, UNIT, 1)[:, 0]
        report = scheme.report(CsiEstimate(part[:, None], np.zeros((len(part), 1), np.float32)))
        w = scheme.reconstruct(report).w[:, 0, :, 0]
        found.append(np.mean(np.abs(np.einsum("ntp,npt->nt", v.conj(), w)) ** 2, axis=1))
        bits.append(report.num_bits.ravel())
    return np.concatenate(bits), np.concatenate(found)


def score(bits: np.ndarray, sgcs: np.ndarray) -> dict[str, float]:
    """Mean and largest bits, and SGCS with its 95 % half-width."""
    half = 1.96 * sgcs.std() / len(sgcs) ** 0.5
    return {"bits": float(bits.mean()), "most": int(bits.max()), "sgcs": float(sgcs.mean()), "half": float(half)}


def at(curve: list[tuple[np.ndarray, np.ndarray]], bits: float) -> np.ndarray:
    """SGCS ``[sample]`` at these mean bits, between the two nearest points linear in the logarithm of the bits."""
    curve = sorted(curve, key=lambda point: point[0].mean())
    place = np.log([point[0].mean() for point in curve])
    i = int(np.clip(np.searchsorted(place, np.log(bits)), 1, len(curve) - 1))
    share = (np.log(bits) - place[i - 1]) / (place[i] - place[i - 1])
    return (1 - share) * curve[i - 1][1] + share * curve[i][1]


def differences(points: dict[str, list], bits: list[float]) -> dict[str, list]:
    """Of the transform codec to every other scheme at equal mean bits: mean and 95 % half-width of the pairs."""
    found: dict[str, list] = {}
    for key in (k for k in points if k != "ntc" and "filled" not in k):
        rows = []
        for b in bits:
            d = at(points["ntc"], b) - at(points[key], b)
            rows.append([b, float(d.mean()), float(1.96 * d.std() / len(d) ** 0.5)])
        found[key] = rows
    return found


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
            made = schemes(config, weights, STEPS, DENSE) | filled(config, weights)
        else:
            config, h = drawn(*OTHERS[name])
            made = schemes(config, weights, FEW, FEW)
        points = {key: [sampled(scheme, h) for scheme in group] for key, group in made.items()}
        found[name] = {key: [score(*point) for point in group] for key, group in points.items()}
        equal = list(EQUAL) if name == "test split" else [float(bits.mean()) for bits, _ in points["ntc"]]
        found[name]["difference"] = differences(points, equal)
        for key, group in found[name].items():
            if key != "difference":
                print(name, key, [(round(p["bits"], 1), p["most"], round(p["sgcs"], 4)) for p in group])
        for key, rows in found[name]["difference"].items():
            print(name, "ntc less", key, [tuple(round(x, 4) for x in row) for row in rows], flush=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
    if "test split" in found:
        names = {key: name for key, name in NAMES.items() if key in found["test split"]}
        draw(found["test split"], names, Path(__file__).with_name("ntc_figures.png"))


if __name__ == "__main__":
    main()
