"""NMSE of reports of the channel itself: python docs/beamdelay_explicit.py STORE [SAMPLES [EVERY]].

Prints the tables of docs/beamdelay.md and docs/models.md: `beamdelay` with `explicit: true`, `sparse`, `klt-mixed` and
`transnet-250` on the first samples of the test split, or one in EVERY; mean bits of whole reports, the NMSE of all
blocks with its 95 % half-width, and that of every part of a mixed store.
"""

import sys

import numpy as np

# isort: split
from beamdelay_figures import channels

from receivers.feedback.autoencoder import AutoencoderFeedback
from receivers.feedback.beamdelay import BeamDelayFeedback
from receivers.feedback.klt import KltFeedback
from receivers.feedback.sparse import SparseFeedback
from simulator.core.types import CsiConfig, CsiEstimate
from simulator.data.store import ChannelStore

BITS, STEPS = (114, 218, 230, 334, 600), (0.24, 0.15, 0.1)


def main() -> None:
    """The table."""
    store = ChannelStore(sys.argv[1], verify=False)
    samples, every = (int(n) for n in (*sys.argv[2:], *("128", "1")[len(sys.argv) - 2 :]))
    h = channels(store, "test", samples * every)[::every]
    part = store.labels("test").get("part", np.zeros(samples * every, int))[: samples * every : every]
    config = CsiConfig(store.layout.panel, h.shape[1], h.shape[3], store.layout.spacing_hz, 4)
    for scheme in (
        AutoencoderFeedback(config, weights="transnet-250"),
        *(BeamDelayFeedback(config, bits=bits, explicit=True) for bits in BITS),
        *(BeamDelayFeedback(config, step=step, explicit=True) for step in STEPS),
        *(SparseFeedback(config, bits=bits) for bits in BITS),
        *(KltFeedback(config, weights="klt-mixed", bits=bits) for bits in BITS),
    ):
        report = scheme.report(CsiEstimate(h[:, None], np.zeros((len(h), 1), np.float32)))
        known = scheme.twin().reconstruct(report).h[:, 0]
        error, power = (np.sum(np.abs(x) ** 2, axis=(1, 2, 3)) for x in (known - h, h))
        ratio = error / power
        half = 10 / np.log(10) * 1.96 * ratio.std() / len(ratio) ** 0.5 / ratio.mean()
        parts = [f"{10 * np.log10(ratio[part == number].mean()):.1f}" for number in np.unique(part)]
        print(
            f"{scheme.label}: {report.num_bits.mean():.0f} bits, {10 * np.log10(ratio.mean()):.2f} +- {half:.2f} dB;",
            *parts,
            flush=True,
        )


if __name__ == "__main__":
    main()
