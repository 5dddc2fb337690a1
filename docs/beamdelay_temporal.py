"""Bits that beam-delay reports save by referring to the last acknowledged one: table and figure of docs/beamdelay.md.

    python docs/beamdelay_temporal.py FOLDER

FOLDER holds the stores speed3, speed10, speed30 and speed60 (``csilink dataset generate moving_3g5_32ports --out
FOLDER/speed3 --set name=speed3 --set ue.speed_mps=0.833 --set ue.max_speed_mps=null``, and so on).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from receivers.beamdelay.predicted import PredictedTables
from receivers.beamdelay.reference import Reference
from receivers.beamdelay.tables import Tables
from receivers.beamdelay.temporal import TemporalCodebook
from receivers.training.beamdelay_temporal import tracks
from receivers.weights.folder import zoo_folder
from simulator.data.store import ChannelStore

SPEEDS, PERIODS = (3, 10, 30, 60), {5: 1, 20: 4}  # km/h; slots of 0.5 ms and time samples of the store
STEPS = (0.3, 0.22, 0.16, 0.115)
SAMPLES, UNIT = 200, 4
HERE = Path(__file__).parent


def book(panel, subbands, step, weights="beamdelay-temporal"):
    """Codebook of a step, rank 1."""
    folder = zoo_folder()
    tables = Tables.load(folder / "beamdelay-urban" / "tables.npz")
    referred = PredictedTables.load(folder / weights / "tables.npz")
    return TemporalCodebook(panel, subbands, 1, 1, tables, referred, step, 1706)


def chain(codebook, v, refers):
    """Bits, SGCS and flags ``[report, sample]`` of reports on ``v [sample, report, subband, port]``."""
    cells = v.shape[2] * v.shape[3]
    reference = Reference.unpack(np.zeros((len(v), Reference.size(1, cells)), np.int16), 1, 1, cells)[0]
    found = []
    for number in range(v.shape[1]):
        known = np.full(len(v), refers and number > 0)
        now = v[:, number][:, None]
        _, num_bits, decoded, flag = codebook.encode(now, reference, known)
        w = codebook.precoder(decoded)[:, :, 0]
        sgcs = np.mean(np.abs(np.einsum("ntp,npt->nt", v[:, number].conj(), w)) ** 2, axis=1)
        found.append((num_bits - (not refers), sgcs, flag))
        reference = Reference.unpack(decoded.pack(1), 1, 1, cells)[0]
    return [np.stack(x) for x in zip(*found, strict=True)]


def saved(alone, temporal):
    """Share of bits saved at equal SGCS ``[draw]``: all samples, then 200 bootstrap draws of samples.

    Args:
        alone: without references: bits and SGCS ``[step, sample]``.
        temporal: the same with references.
    """
    rng, n = np.random.default_rng(1), alone[0].shape[1]
    middle = len(alone[0]) // 2
    draws = [np.arange(n), *(rng.integers(0, n, n) for _ in range(200))]
    found = []
    for rows in draws:
        (b0, s0), (b1, s1) = ([x[:, rows].mean(axis=1) for x in part] for part in (alone, temporal))
        level = s0[middle]
        at = [np.exp(np.interp(level, s, np.log(b))) for s, b in ((s0, b0), (s1, b1))]
        found.append((1 - at[1] / at[0], at[0], at[1], level))
    return np.array(found)


def main(folder: Path) -> None:
    """Measure, write beamdelay_temporal.json, print the table, draw."""
    rows = {}
    for speed in SPEEDS:
        store = ChannelStore(folder / f"speed{speed}")
        v = tracks(store, "test", SAMPLES, UNIT)
        for period, lag in PERIODS.items():
            track = v[:, ::lag]
            parts = {False: [], True: []}
            flags = []
            for step in STEPS:
                codebook = book(store.layout.panel, v.shape[2], step)
                for refers in parts:
                    bits, sgcs, flag = chain(codebook, track, refers)
                    parts[refers].append((bits[1:].mean(axis=0), sgcs[1:].mean(axis=0)))  # without the first report
                    if refers:
                        flags.append(flag[1:].mean())
            curves = [[np.stack(x) for x in zip(*parts[refers], strict=True)] for refers in (False, True)]
            found = saved(*curves)
            half = 1.96 * found[1:, 0].std()
            rows[f"{speed} km/h, {period} slots"] = {
                "sgcs": round(float(found[0, 3]), 4), "alone": round(float(found[0, 1]), 1),
                "temporal": round(float(found[0, 2]), 1), "saved": round(float(found[0, 0]), 4),
                "ci95": round(float(half), 4), "refers": round(float(np.mean(flags)), 3),
                "curves": [[np.round(x.mean(axis=1), 4).tolist() for x in curve] for curve in curves],
            }  # fmt: skip
            r = rows[f"{speed} km/h, {period} slots"]
            print(
                f"| {speed} | {period} | {r['sgcs']:.3f} | {r['alone']:.0f} | {r['temporal']:.0f} | "
                f"{100 * r['saved']:.1f} ± {100 * r['ci95']:.1f} % | {100 * r['refers']:.0f} % |",
                flush=True,
            )
    (HERE / "beamdelay_temporal.json").write_text(json.dumps(rows, indent=1) + "\n")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for axis, period in zip(axes, PERIODS, strict=True):
        for colour, speed in enumerate(SPEEDS):
            (b0, s0), (b1, s1) = rows[f"{speed} km/h, {period} slots"]["curves"]
            axis.plot(b0, s0, f"C{colour}--", lw=0.8)
            axis.plot(b1, s1, f"C{colour}o-", ms=3, label=f"{speed} km/h")
        axis.set(xlabel="mean bits of a report", title=f"a report every {period} slots (dashed: no reference)")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("SGCS")
    axes[1].legend()
    figure.savefig(HERE / "beamdelay_temporal.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
