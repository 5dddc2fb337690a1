"""Decoded reports and the directions that they describe, as batches for a refiner."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from receivers.codebooks.beam_delay import BeamDelayReport
from receivers.codebooks.pmi import Pmi, PmiCodebook
from receivers.models.report_frame import ReportFrame


class ReportSet:
    """Reports of one codebook on given directions, kept as PMIs that the gNB decodes.

    Args:
        book: codebook with ``beam_delay``, ``project``, ``size`` and ``num_units``.
        v: directions complex64 ``[sample, layer, unit, port]``, unit norm.
        h: channels complex64 ``[sample, rx_ant, port, subcarrier]`` that have them.
    """

    def __init__(self, book: PmiCodebook, v: np.ndarray, h: np.ndarray):
        self.book, self.v = book, v
        decoded, _ = book.unpack(*book.pack(book.select(h)))
        self.pmi: Pmi = {key: _small(value) for key, value in decoded.items()}
        self.frame = ReportFrame(book.size, book.num_units)

    def __len__(self) -> int:
        return len(self.v)

    def reports(self, rows: np.ndarray) -> tuple[BeamDelayReport, np.ndarray]:
        """Decoded reports, and beams of the directions complex64 ``[report, layer, row, unit]``."""
        report = self.book.beam_delay({key: value[rows].astype(np.int64) for key, value in self.pmi.items()})
        return report, self.book.project(report.group, self.v[rows])

    def batch(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens ``[layer, beam, feature]`` and directions ``[layer, beam, 2, unit, 2]`` of reports."""
        report, v = self.reports(rows)
        x = report.x.reshape(-1, *report.x.shape[2:])
        return self.frame.tokens(report), self.frame.target(v.reshape(x.shape), self.frame.origin(x))


def report_batch(sets: Sequence[ReportSet], rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch of ``size`` reports, each of any set with equal probability."""
    counts = np.bincount(rng.integers(len(sets), size=size), minlength=len(sets))
    parts = [s.batch(rng.integers(len(s), size=n)) for s, n in zip(sets, counts, strict=True) if n]
    tokens, targets = zip(*parts, strict=True)
    return np.concatenate(tokens), np.concatenate(targets)


def _small(x: np.ndarray) -> np.ndarray:
    """Integers in the smallest type that holds them."""
    kind = np.result_type(np.min_scalar_type(int(x.min())), np.min_scalar_type(int(x.max()))) if x.size else x.dtype
    return x.astype(kind)
