"""What a UE gains that knows the refinement: python docs/refinement_synthesis.py STORE [SAMPLES].

Analysis by synthesis of beamdelay reports: the UE tries the changes of single coefficients that cost least, keeps what
lessens the loss of SGCS plus mu bits, and goes on. Judged by the SGCS as decoded (a UE without the network) or refined.
Writes refinement_synthesis.json: bits and refined SGCS of both and of the report of the scheme.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

from receivers.beamdelay.codebook import pmi_of
from receivers.beamdelay.content import Content
from receivers.beamdelay.quantizer import SLOPE, Candidates
from receivers.feedback.beamdelay import BeamDelayFeedback
from receivers.feedback.refinement import ReportRefinement
from receivers.training.beamdelay import channels
from simulator.core.types import CsiConfig
from simulator.data.store import ChannelStore
from simulator.maths.transforms import subband_eigenvectors

UNIT, STEPS = 4, (0.2, 0.15, 0.11)
TRIED, ROUNDS = 8, 5


class Judge:
    """Cost of contents: loss of SGCS, as decoded or refined, plus what the bits are worth."""

    def __init__(self, book, refinement: ReportRefinement, v: np.ndarray):
        self.book, self.refinement, self.v = book, refinement, v

    def __call__(self, content: Content, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """SGCS as decoded and refined, and ideal bits, of contents of the directions ``rows``."""
        pmi, coder = pmi_of(content), self.book.coder
        report = self.book.beam_delay(pmi)
        found = []
        for x in (report.x, self.refinement(report)):
            w = self.book.combine(report.group, x)
            found.append(np.mean(np.abs(np.einsum("nltp,nplt->nlt", self.v[rows].conj(), w)) ** 2, axis=(1, 2)))
        return *found, coder.ideal_bits(content).sum(axis=(0, 2)) + coder.head_bits()


def cheapest(candidates: Candidates, content: Content, count: int) -> list[Content]:
    """Contents with one coefficient changed: of every report the changes of least cost as decoded."""
    parts = np.stack([content.real[candidates.at], content.imag[candidates.at]])
    pairs = np.array([candidates.parts(np.full(len(parts[0]), pair)) for pair in range(9)])  # [pair, part, coefficient]
    cost = candidates.distortion + SLOPE * candidates.length
    same = (pairs == parts).all(axis=1)
    rows = np.arange(cost.shape[1])
    other = np.where(same, np.inf, cost - cost[same.argmax(axis=0), rows])
    best = other.argmin(axis=0)
    order = np.lexsort((other[best, rows], candidates.at[1]))
    first = np.searchsorted(candidates.at[1][order], np.arange(len(content.step)))
    ends = np.append(first[1:], len(order))
    found = []
    for number in range(count):
        at = order[np.minimum(first + number, ends - 1)]
        real, imag = content.real.copy(), content.imag.copy()
        place = tuple(x[at] for x in candidates.at)
        real[place], imag[place] = pairs[best[at], 0, at], pairs[best[at], 1, at]
        found.append(dataclasses.replace(content, real=real, imag=imag))
    return found


def searched(book, judge: Judge, v: np.ndarray, refined: bool) -> tuple[float, float, float]:
    """Mean bits, SGCS as decoded and as refined after the search."""
    quantizer, zero = book._quantizer, np.zeros(len(v), np.int64)
    content, target = quantizer(v, zero)
    rows, price = np.arange(len(v)), SLOPE * float(book.steps[0]) ** 2
    now = judge(content, rows)
    for _ in range(ROUNDS):
        bins = book.coder.bins(content)
        for other in cheapest(quantizer.candidates(target, zero, bins), content, TRIED):
            then = judge(other, rows)
            better = then[refined] - price * then[2] > now[refined] - price * now[2]
            content = content.mixed(better, other)
            now = tuple(np.where(better, x, y) for x, y in zip(then, now, strict=True))
    return tuple(float(x.mean()) for x in (now[2], now[0], now[1]))


def main() -> None:
    """Three rows for every step."""
    store, samples = ChannelStore(sys.argv[1], verify=False), int(sys.argv[2]) if len(sys.argv) > 2 else 300
    c = CsiConfig(store.layout.panel, 1, store.layout.num_subcarriers, store.layout.spacing_hz, subband_size=UNIT)
    v, found = subband_eigenvectors(channels(store, "test", samples), UNIT, 1), {}
    for step in STEPS:
        book = BeamDelayFeedback(c, step=step, rank=1).codebooks[1]
        judge = Judge(book, ReportRefinement("refine", "refine-urban", book.size, book.num_units), v)
        content = book._quantizer(v, np.zeros(len(v), np.int64))[0]
        decoded, refined, bits = (float(x.mean()) for x in judge(content, np.arange(len(v))))
        found[step] = {"scheme": (bits, decoded, refined)}
        for name, known in (("searched as decoded", False), ("searched as refined", True)):
            found[step][name] = searched(book, judge, v, known)
        print(step, {name: [round(x, 4) for x in values] for name, values in found[step].items()}, flush=True)
        Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
