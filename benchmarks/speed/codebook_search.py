"""(j) Search of large codebooks compared with FAISS and the machine's own sgemm."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.timing import in_turn, row
from receivers.codebooks.rvq import rvq_codebook
from receivers.codebooks.search import best_codeword
from simulator.core.extras import installed


def measure(num_ports: int = 128, rounds: int = 3) -> list[dict[str, Any]]:
    """Reports per second at B = 12, 16, 20; ``equal_to`` is the share of other codewords than a plain ``argmax`` finds.

    Peers: FAISS' ``IndexFlatIP`` on the real vectors, queried with h* and j h*, which are the products of a search by
    magnitude (it finds the largest real and the largest imaginary part, not yet the largest magnitude); the bare matrix
    product of the search.
    """
    rng, rows = np.random.default_rng(8), []
    for bits, num_reports in ((12, 4096), (16, 512), (20, 64)):
        codebook = rvq_codebook(num_ports, bits, seed=1)
        h = rng.standard_normal((num_reports, 1, num_ports, 2), np.float32).view(np.complex64)[..., 0]
        few = h[:8, 0]
        plain = np.abs(few @ codebook.T).argmax(axis=1)
        deviation = float(np.mean(plain != best_codeword(h[:8], codebook)))
        words, queries = codebook.view(np.float32), np.ascontiguousarray(h[:, 0].conj()).view(np.float32)
        both = np.concatenate([queries, np.ascontiguousarray(1j * h[:, 0].conj()).view(np.float32)])
        block = words[: 1 << 14]
        calls: dict[str, Any] = {
            "ours": lambda h=h, codebook=codebook: best_codeword(h, codebook),
            "sgemm": lambda both=both, block=block: both @ block.T,
        }
        if installed("faiss"):
            import faiss

            index = faiss.IndexFlatIP(2 * num_ports)
            index.add(words)
            calls["FAISS"] = lambda index=index, both=both: index.search(both, 1)
        seconds = {name: float(np.median(value)) for name, value in in_turn(calls, rounds).items()}
        seconds["sgemm"] *= len(words) / len(block)
        ours = num_reports / seconds["ours"]
        for peer, target in (("FAISS", 1.0), ("sgemm", 0.6)):
            if peer in seconds:
                other = num_reports / seconds[peer]
                item = f"j: codebook search B={bits}, {num_ports} ports, against {peer}"
                note = f"{num_reports} reports; codebook {codebook.nbytes / 2**20:.0f} MiB"
                rows.append(row(item, ours, other, "reports/s", ours / other, target, deviation, note))
    return rows
