"""Sweep SNR and feedback bits and draw two figures: a template for scenario scripts of your own.

Run: `python scenarios/scripts/sweep_snr_and_bits.py [OUT] [DROPS]`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.report import figures
from csilink import run

SCHEMES = "feedback=[{scheme: perfect}, {scheme: dft}, {scheme: rvq, bits: [2, 4, 6, 8, 10, 12]}]"


def main(out: str = "results/sweep_snr_and_bits", drops: int = 192) -> None:
    """Run the quickstart link with RVQ from 2 to 12 bits, then draw sum rate over SNR and over bits."""
    frame = run("quickstart", out=out, drops=int(drops), overrides=[SCHEMES, "precoding.precoders=[zf]"], resume=True)
    figures.metric_vs_snr(frame).savefig(Path(out) / "sum_rate_vs_snr.png", dpi=150)
    figures.metric_vs_bits(frame, "sum_rate_bpshz", snr_db=20).savefig(Path(out) / "sum_rate_vs_bits.png", dpi=150)
    zf20 = frame[(frame.metric == "sum_rate_bpshz") & (frame.snr_db == 20)]
    print(zf20[["scheme", "bits_mean", "value", "ci95", "unit"]].to_string(index=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
