"""Beam-delay reports from noisy estimates: python docs/beamdelay_noise.py STORE [SAMPLES].

LMMSE estimates from CSI-RS; SGCS is with the eigenvectors of the true channel, differences are paired.
"""

import sys

import numpy as np

# isort: split
from beamdelay_figures import UNIT, beamdelay, channels

from receivers.beamdelay.tables import Tables
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.estimation.lmmse import LmmseEstimator
from receivers.weights.folder import zoo_folder
from simulator.core.types import RadioGeometry
from simulator.data.store import ChannelStore
from simulator.maths.transforms import subband_eigenvectors

PAIRS = ((1, 64), (3, 114), (4, 172), (6, 284))
STEPS = (0.15, 0.085)


def scores(book, h: np.ndarray, v: np.ndarray, *error_var: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean bits, and the SGCS of every sample with true directions."""
    part1, part2, length = book.pack(book.select(h, *error_var))
    w = book.precoder(book.unpack(part1, part2, length)[0])
    return float(np.mean(length)), np.mean(np.abs(np.einsum("nltp,nplt->nlt", v.conj(), w)) ** 2, axis=(1, 2))


def main() -> None:
    """The table of the page."""
    store, samples = ChannelStore(sys.argv[1], verify=False), int(sys.argv[2]) if len(sys.argv) > 2 else 500
    panel, sc = store.layout.panel, store.layout.num_subcarriers
    tables = Tables.load(zoo_folder() / "beamdelay-urban" / "tables.npz")
    h = channels(store, "test", samples)
    v = subband_eigenvectors(h, UNIT, 1)
    geometry = RadioGeometry(3.5e9, panel, 1, h.shape[1], sc, 360e3, slot_s=5e-4, subcarriers_per_sample=12)
    for snr_db in (0, 10, 20):
        csi = LmmseEstimator(geometry, snr_db=snr_db).estimate(h[:, None, :, :, None], seed=3)
        seen, error_var = csi.h_hat[:, 0, :, :, 0], csi.error_var[:, 0, 0]
        itself = np.mean(np.abs(np.sum(v.conj() * subband_eigenvectors(seen, UNIT, 1), axis=-1)) ** 2)
        print(f"{snr_db} dB: estimate itself {itself:.4f}")
        for combination, bits in PAIRS:
            type_2 = scores(EnhancedTypeTwoCodebook(panel, sc, UNIT, 1, combination), seen, v)[1]
            compare(beamdelay(panel, sc, tables, None, bits), seen, v, error_var, type_2)
        for step in STEPS:
            compare(beamdelay(panel, sc, tables, step), seen, v, error_var)


def compare(book, seen: np.ndarray, v: np.ndarray, error_var: np.ndarray, type_2: np.ndarray | None = None) -> None:
    """One line: without and with knowledge of the error variance."""
    (before, without), (after, known) = scores(book, seen, v), scores(book, seen, v, error_var)
    gain = known - without
    half = 1.96 * gain.std() / len(gain) ** 0.5
    other = "" if type_2 is None else f", Type II {type_2.mean():.4f}"
    print(
        f"  {before:.1f} bits {without.mean():.4f}, known: {after:.1f} bits {known.mean():.4f}"
        f" ({gain.mean():+.4f} +- {half:.4f}){other}",
        flush=True,
    )


if __name__ == "__main__":
    main()
