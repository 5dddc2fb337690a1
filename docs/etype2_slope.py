"""Measure the control of docs/beamdelay.md on enhanced Type II: python docs/etype2_slope.py STORE [SAMPLES].

Reports whose number of coefficients is chosen by rate and distortion, in the bits of the standard and recoded.
"""

import sys

from beamdelay_figures import UNIT, channels, curve, rate

from receivers.beamdelay.recoding import RecodedCodebook, load_tables
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.weights.folder import zoo_folder
from simulator.data.store import ChannelStore

CHOSEN = [(1, 0.001), (2, 0.001), (3, 0.001), (4, 0.001), (4, 0.0005), (5, 0.0005), (6, 0.0003), (8, 0.0002)]


def main() -> None:
    """Curves with all coefficients and with those that are worth their bits."""
    store, samples = ChannelStore(sys.argv[1], verify=False), int(sys.argv[2]) if len(sys.argv) > 2 else 3000
    tables = load_tables(zoo_folder() / "etype2-recoding-urban" / "tables.npz")
    h = channels(store, "test", samples)

    def plain(parameters: tuple[int, float]) -> EnhancedTypeTwoCodebook:
        combination, slope = parameters
        return EnhancedTypeTwoCodebook(
            store.layout.panel, store.layout.num_subcarriers, UNIT, 1, combination, slope=slope
        )

    def recoded(parameters: tuple[int, float]) -> RecodedCodebook:
        return RecodedCodebook(plain(parameters), parameters[0], tables)

    every = [(combination, 0.0) for combination in range(1, 9)]
    base = curve(plain, every, h)
    for name, make, values in (
        ("all", plain, every),
        ("all, recoded", recoded, every),
        ("slope", plain, CHOSEN),
        ("slope, recoded", recoded, CHOSEN),
    ):
        points = curve(make, values, h)
        for (combination, slope), p in zip(values, points, strict=True):
            print(
                f"{name}: pc {combination}, slope {slope:g}: {p['bits']:.1f} bits, at most {p['most']}, {p['sgcs']:.4f}"
            )
        print(f"{name}: BD-rate {rate(sorted(points, key=lambda p: p['bits']), base):+.1f} %")


if __name__ == "__main__":
    main()
