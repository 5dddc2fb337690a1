"""Measure docs/beamdelay.md: python docs/beamdelay_figures.py STORE [SAMPLES] [--ablations].

Writes beamdelay.json and beamdelay_figures.png. The store is the shipped data set urban_3g5_32ports; its test split is
used, and its training split for the ablation of the contexts.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.report.bd_rate import bd_difference
from receivers.beamdelay import frame as frames
from receivers.beamdelay.codebook import BeamDelayCodebook
from receivers.beamdelay.tables import LEVEL_UNIT, Tables
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.training.beamdelay import learn, quantized, views
from receivers.weights.folder import zoo_folder
from simulator.data.store import ChannelStore
from simulator.maths.transforms import subband_eigenvectors

UNIT = 4
STEPS = (0.36, 0.3, 0.24, 0.2, 0.165, 0.135, 0.115, 0.1, 0.085, 0.072, 0.062)
ABLATED = (0.24, 0.165, 0.115, 0.085)


def channels(store: ChannelStore, split: str, samples: int) -> np.ndarray:
    """``[sample, rx, port, subcarrier]`` of the first slots."""
    return np.concatenate([h[:, :, :, 0] for h, _ in store.read(split)])[:samples]


def score(book, h: np.ndarray, chunk: int = 512) -> dict[str, float]:
    """Mean and largest bits of whole reports without RI, and the SGCS with its half-width, from the bits alone."""
    bits, found = [], []
    for part in (h[i : i + chunk] for i in range(0, len(h), chunk)):
        v = subband_eigenvectors(part, UNIT, book.rank)
        part1, part2, length = book.pack(book.select(part))
        pmi, valid = book.unpack(part1, part2, length)
        w = book.precoder(pmi)
        found.append(np.mean(np.abs(np.einsum("nltp,nplt->nlt", v.conj(), w)) ** 2, axis=(1, 2)) * valid)
        bits.append(part1.shape[1] + length)
    found, bits = np.concatenate(found), np.concatenate(bits)
    half = 1.96 * found.std() / len(found) ** 0.5
    return {"bits": float(bits.mean()), "most": int(bits.max()), "sgcs": float(found.mean()), "half": float(half)}


def beamdelay(panel, samples: int, tables: Tables, step=None, bits=1706, rank=1, **options):
    """Codebook with these tables."""
    return BeamDelayCodebook(panel, samples, UNIT, rank, tables, step, bits, **options)


def curve(make: Callable, values, h) -> list[dict[str, float]]:
    """Scores over one axis."""
    return [score(make(value), h) for value in values]


def rate(one: list[dict], two: list[dict]) -> float:
    """BD-rate of ``one`` against ``two`` [%]."""
    curves = [np.array([p[key] for p in points]) for points in (two, one) for key in ("bits", "sgcs")]
    return bd_difference(*curves).rate_percent


def ablations(store: ChannelStore, h: np.ndarray, tables: Tables) -> dict[str, list[dict[str, float]]]:
    """Curves with one part switched off each."""
    panel, sc = store.layout.panel, store.layout.num_subcarriers

    def with_tables(t: Tables, **options) -> list[dict[str, float]]:
        return curve(lambda step: beamdelay(panel, sc, t, step, **options), ABLATED, h)

    nominal = np.tile(np.arange(tables.means.shape[1]) * LEVEL_UNIT, (len(tables.means), 1))
    found = {"all": with_tables(tables), "no optimised decisions": with_tables(tables, slope=0.0)}
    found["phases not fitted to decisions"] = with_tables(tables, refit=False)
    found["nominal levels"] = with_tables(dataclasses.replace(tables, means=nominal))
    v = views(channels(store, "train", 6000), panel, UNIT)[0][1]
    cells = [quantized(frames.Frame(panel, v.shape[1]), v, np.random.default_rng(1), (0.03, 0.36), tables)]
    for name, visible in (("contexts of the same training", None), ("no contexts (place and step only)", [-2])):
        seen = None if visible is None else [tables.w1.shape[0] + i for i in visible]
        found[name] = with_tables(learn(cells, visible=seen))
    rounds = frames._ROUNDS, frames._FIRST_ROUNDS
    frames._ROUNDS = frames._FIRST_ROUNDS = 0
    found["no alignment of phases"] = with_tables(tables, refit=False)
    frames._ROUNDS, frames._FIRST_ROUNDS = rounds
    return found


NAMES = {
    "etype2": "enhanced Type II, pc 1..8",
    "step": "beamdelay, step: x (mean bits)",
    "bits": "beamdelay, bits: B",
}


def draw(found: dict, names: dict[str, str], path: Path) -> None:
    """SGCS against bits of the curves that have names, BD-rates against enhanced Type II in the legend."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    base = found["etype2"]
    for key, name in names.items():
        points = sorted(found[key], key=lambda p: p["bits"])
        saved = "" if key == "etype2" else f": BD-rate {rate(points, base):+.0f} %"
        x, y, half = (np.array([p[k] for p in points]) for k in ("bits", "sgcs", "half"))
        axes.errorbar(x, y, half, fmt=".-" if key != "etype2" else "s--", capsize=2, label=name + saved)
    axes.set(xlabel="bits of a report (without RI and CQI)", ylabel="SGCS by subband", xlim=(0, 350))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """All figures of the page."""
    store, samples = ChannelStore(sys.argv[1], verify=False), int(sys.argv[2]) if len(sys.argv) > 2 else 3000
    panel, sc = store.layout.panel, store.layout.num_subcarriers
    tables = Tables.load(zoo_folder() / "beamdelay-urban" / "tables.npz")
    h = channels(store, "test", samples)
    found = {"etype2": curve(lambda pc: EnhancedTypeTwoCodebook(panel, sc, UNIT, 1, pc), range(1, 9), h)}
    budgets = sorted(p["most"] for p in found["etype2"])
    found["bits"] = curve(lambda bits: beamdelay(panel, sc, tables, None, bits), budgets, h)
    found["step"] = curve(lambda step: beamdelay(panel, sc, tables, step), STEPS, h)
    path = Path(__file__).with_name("beamdelay.json")
    before = json.loads(path.read_text())["ablations"] if path.exists() else {}
    found["ablations"] = ablations(store, h[: samples // 2], tables) if "--ablations" in sys.argv else before
    path.write_text(json.dumps(found, indent=1) + "\n")
    for key in ("etype2", "bits", "step"):
        print(key, [(round(p["bits"], 1), p["most"], round(p["sgcs"], 4), round(p["half"], 4)) for p in found[key]])
    for key in ("bits", "step"):
        print(f"BD-rate of {key}: {rate(found[key], found['etype2']):+.1f} %")
    for name, points in found["ablations"].items():
        print(name, [(round(p["bits"], 1), round(p["sgcs"], 4)) for p in points],
              f"{rate(points, found['ablations']['all']):+.1f} %")  # fmt: skip
    draw(found, NAMES, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
