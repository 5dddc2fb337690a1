"""(b) RVQ search compared with the machine's own sgemm."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.timing import in_turn, row
from receivers.codebooks.rvq import rvq_codebook
from receivers.codebooks.search import best_codeword


def measure(bits: int = 16, num_ports: int = 128, num_reports: int = 256, rounds: int = 7) -> list[dict[str, Any]]:
    """Real operations per second of the search (8 per port, codeword and report) against a float32 matrix product.

    ``equal_to`` is the share of reports whose codeword differs from a plain ``argmax`` over all of them.
    """
    rng = np.random.default_rng(1)
    codebook = rvq_codebook(num_ports, bits, seed=1)
    h = rng.standard_normal((num_reports, 1, num_ports, 2), np.float32).view(np.complex64)[..., 0]
    size = 2048
    left, right = rng.standard_normal((2, size, size), np.float32)
    plain = np.concatenate([np.abs(h[i : i + 32, 0] @ codebook.T).argmax(axis=1) for i in range(0, num_reports, 32)])
    deviation = float(np.mean(plain != best_codeword(h, codebook)))
    seconds = in_turn({"ours": lambda: best_codeword(h, codebook), "sgemm": lambda: left @ right}, rounds)
    ours = 8 * num_ports * 2**bits * num_reports / seconds["ours"] / 1e9
    peer = 2 * size**3 / seconds["sgemm"] / 1e9
    return [
        row(
            f"b: RVQ search B={bits}, {num_ports} ports, against sgemm",
            float(np.median(ours)),
            float(np.median(peer)),
            "GFLOP/s",
            float(np.median(ours / peer)),
            0.6,
            deviation,
            f"median of {rounds} rounds, {num_reports} reports",
        )
    ]
