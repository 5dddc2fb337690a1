"""Measure the paired differences of docs/prediction.md: python docs/doppler_pairs.py [DROPS].

Lines of preset `doppler` against its two lines of predicted intervals, drop by drop.
"""

import sys

import numpy as np

from benchmarks.build import ChannelDraw, build_link
from scenarios.load import find_file, load_mapping
from scenarios.sweep import expand
from simulator.core.registry import build
from simulator.core.seeding import derive

BLOCK = 24


def main() -> None:
    """Mean and 95 % half-width of the differences at every speed."""
    drops = int(sys.argv[1]) if len(sys.argv) > 1 else 96
    metrics = [build("metrics", name) for name in ("sgcs_subband", "sum_rate_bpshz")]
    for point in expand(load_mapping(find_file("doppler"))):
        link, draw, values = build_link(point.scenario), ChannelDraw(point), {}
        for first in range(0, drops, BLOCK):
            h = draw.block(first, min(BLOCK, drops - first))
            for label, precoder, outcome in link.run(h, seed=derive(1, "pairs", first)):
                metric = metrics[precoder is not None]
                for name, found in metric.evaluate(outcome).items():
                    values.setdefault((name, label), []).append(np.ravel(found))
        values = {key: np.concatenate(parts) for key, parts in values.items()}
        for name, label in values:
            for other in (label for key, label in values if key == name and label.startswith("etype2-doppler")):
                gain = values[name, other] - values[name, label]
                half = 1.96 * gain.std(ddof=1) / np.sqrt(len(gain))
                print(f"{point.axes} {name}: {other} - {label} = {gain.mean():+.3f} +- {half:.3f}", flush=True)


if __name__ == "__main__":
    main()
