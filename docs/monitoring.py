"""A predictor outside of the speeds that it was made for, as the gNB sees it in the reports (docs/prediction.md).

    python docs/monitoring.py FOLDER

FOLDER holds the results of ``csilink run monitoring --out FOLDER`` (left). Right, the same link with all slots kept:
100 UEs at 16.7 m/s, then 100 at 83.3 m/s. The gNB adds up the codes of the last ten reports of a UE and falls back to
CSI without prediction while those of the prediction have the smaller sum. Writes monitoring.png, prints what it gains.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.build import ChannelDraw, build_link
from benchmarks.face.results import load
from benchmarks.runner import load_points
from simulator.reporting.monitoring import pai_value

SPEEDS = 16.7, 83.3
SLOTS, DROPS, WINDOW = 40, 50, 10
SCHEMES = {"WiFo": "C0", "AR": "C2", "Wiener, 8.3 m/s": "C1"}


def codes(speed: float) -> dict[str, np.ndarray]:
    """Codes of every scheme ``[UE, slot, 2]``, predicted and held, at one speed."""
    slots = SLOTS + 12 - 1 + 2 * 4  # history, delay of the report, delay of the prediction that it judges
    _, (point,) = load_points("monitoring", ["sweep={}", f"ue.speed_mps={speed}", f"time.num_slots={slots}"])
    link, h = build_link(point.scenario), ChannelDraw(point).block(0, DROPS)
    outcomes = {label: outcome for label, precoder, outcome in link.run(h, seed=1) if precoder is None}
    return {label: outcomes[label].pai.reshape(-1, SLOTS, 2) for label in SCHEMES}


def fallback(x: np.ndarray) -> np.ndarray:
    """Where the gNB falls back, bool ``[UE, slot]``: by the reports before that slot, ``WINDOW`` at most."""
    total = np.cumsum(x, axis=1)
    total[:, WINDOW:] -= total[:, :-WINDOW].copy()
    worse = total[..., 0] < total[..., 1]
    return np.pad(worse[:, :-1], ((0, 0), (1, 0)))


def main(folder: Path) -> None:
    """Print and draw."""
    frame = load(folder)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.8), layout="constrained")
    for label, color in SCHEMES.items():
        rows = frame[frame.scheme == label]
        for metric, style in (("pai_held", "k--"), ("pai_predicted", f"{color}o-")):
            if metric == "pai_held" and label != "WiFo":
                continue
            chosen = rows[rows.metric == metric].sort_values("ue.speed_mps")
            name = label if metric == "pai_predicted" else "held"
            left.errorbar(chosen["ue.speed_mps"], chosen.value, chosen.ci95, fmt=style, ms=3, label=name, capsize=2)
    left.axvspan(40, 90, color="0.9", zorder=0)
    left.text(41, 0.02, "WiFo: not trained", fontsize=8, transform=left.get_xaxis_transform())
    left.set(xlabel="speed of the UE (m/s)", ylabel="SGCS as reported, mean", xlim=(0, 86))
    parts = [codes(speed) for speed in SPEEDS]
    slot = np.arange(2 * SLOTS) - SLOTS
    share = right.twinx()
    for label in SCHEMES:
        # A new speed comes with new UEs, in the same row; the gNB's sums go on over the change.
        x = np.concatenate([part[label] for part in parts], axis=1)
        value, used = pai_value(x), fallback(x)
        rule = np.where(used, value[..., 1], value[..., 0])
        for name, slots in (("before", slot < 0), ("after", slot >= WINDOW)):
            means = [y[:, slots].mean() for y in (value[..., 0], value[..., 1], rule)]
            print(f"| {label} | {name} | {' | '.join(f'{y:.3f}' for y in means)} | {used[:, slots].mean():.2f} |")
        if label == "WiFo":
            right.plot(slot, value[..., 0].mean(axis=0), "C0", label="WiFo")
            right.plot(slot, value[..., 1].mean(axis=0), "k--", label="held")
            right.plot(slot, rule.mean(axis=0), "C3", lw=1, label="with fallback")
            share.plot(slot, used.mean(axis=0), "C7:", label="share of UEs in fallback")
    share.set(ylim=(0, 1), ylabel="share of UEs in fallback (dotted)")
    right.axvline(0, color="0.8", lw=0.8)
    right.set(
        xlabel=f"slot; before 0 at {SPEEDS[0]}, then at {SPEEDS[1]} m/s", ylabel="SGCS as reported, mean of 100 UEs"
    )
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="lower left")
    figure.savefig(Path(__file__).with_name("monitoring.png"), dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
