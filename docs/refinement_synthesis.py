"""What a UE gains that knows the refinement: python docs/refinement_synthesis.py STORE [SAMPLES].

Reports of beamdelay as they are, and searched in a number of passes (`synthesis`). Writes refinement_synthesis.json:
bits, SGCS as decoded and as refined.
"""

import json
import sys
from pathlib import Path

import numpy as np

from receivers.feedback.beamdelay import BeamDelayFeedback
from receivers.training.beamdelay import channels
from simulator.core.types import CsiConfig
from simulator.data.store import ChannelStore
from simulator.maths.transforms import subband_eigenvectors

UNIT, STEPS, PASSES = 4, (0.24, 0.2, 0.15, 0.11), (0, 5, 12)


def main() -> None:
    """Three rows for every step."""
    store, samples = ChannelStore(sys.argv[1], verify=False), int(sys.argv[2]) if len(sys.argv) > 2 else 300
    c = CsiConfig(store.layout.panel, 1, store.layout.num_subcarriers, store.layout.spacing_hz, subband_size=UNIT)
    h, found = channels(store, "test", samples), {}
    v = subband_eigenvectors(h, UNIT, 1)
    for step in STEPS:
        found[step] = {}
        for passes in PASSES:
            scheme = BeamDelayFeedback(c, step=step, rank=1, refine="refine-urban", synthesis=passes)
            book = scheme.codebooks[1]
            _, bits, length = book.pack(book.select(h))
            pmi, _ = book.unpack(bits[:, :0], bits, length)
            sgcs = [
                float(np.mean(np.abs(np.einsum("nltp,nplt->nlt", v.conj(), w)) ** 2))
                for w in (book.precoder(pmi), scheme.directions(book, pmi))
            ]
            found[step][passes] = (float(length.mean()), *sgcs)
        print(step, {name: [round(x, 4) for x in values] for name, values in found[step].items()}, flush=True)
        Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
