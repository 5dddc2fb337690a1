"""(d) Huffman coder compared with a plain Python one."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.timing import in_turn, row
from receivers.coding.huffman import HuffmanCoder


def measure(num_reports: int = 4096, num_symbols: int = 128, rounds: int = 7) -> list[dict[str, Any]]:
    """Symbols per second encoded and decoded, 16-symbol alphabet; the ratio is against the target of 5 M/s.

    ``equal_to`` counts reports that do not survive, and bits that differ from the plain Python coder.
    """
    rng = np.random.default_rng(4)
    probability = np.exp(-np.abs(np.arange(16) - 7.5))
    symbols = rng.choice(16, (num_reports, num_symbols), p=probability / probability.sum())
    coder = HuffmanCoder(16, **HuffmanCoder.fit(np.bincount(symbols.reshape(-1), minlength=16)))

    def ours() -> Any:
        return coder.decode(*coder.encode(symbols), num_symbols)

    few = symbols[:16]
    decoded, valid = ours()
    bits, num_bits = coder.encode(few)
    words = _codewords(coder.lengths)
    differing = sum(
        "".join(words[s] for s in report) != "".join(map(str, stream[:count]))
        for report, stream, count in zip(few.tolist(), bits.tolist(), num_bits, strict=True)
    )
    deviation = float(np.sum(~valid) + np.sum((decoded != symbols).any(axis=1)) + differing)
    seconds = in_turn({"ours": ours, "python": lambda: [_python_round_trip(r, words) for r in few.tolist()]}, rounds)
    rate = symbols.size / float(np.median(seconds["ours"])) / 1e6
    peer = few.size / float(np.median(seconds["python"])) / 1e6
    return [
        row(
            "d: Huffman encode + decode, against 5 M symbols/s (peer: plain Python)",
            rate,
            peer,
            "M symbols/s",
            rate / 5.0,
            1.0,
            deviation,
            f"{rate / peer:.0f} x plain Python; {num_reports} reports x {num_symbols} symbols",
        )
    ]


def _codewords(lengths: np.ndarray) -> list[str]:
    """Canonical codewords as text (RFC 1951, 3.2.2)."""
    words, code, previous = [""] * len(lengths), 0, 0
    for symbol in sorted(range(len(lengths)), key=lambda s: (lengths[s], s)):
        code <<= int(lengths[symbol]) - previous
        previous = int(lengths[symbol])
        words[symbol] = format(code, f"0{previous}b")
        code += 1
    return words


def _python_round_trip(report: list[int], words: list[str]) -> list[int]:
    stream = "".join(words[s] for s in report)
    symbol_of = {word: s for s, word in enumerate(words)}
    out, word = [], ""
    for bit in stream:
        word += bit
        if word in symbol_of:
            out.append(symbol_of[word])
            word = ""
    return out
