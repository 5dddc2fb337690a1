"""(g) Entropy coders compared with `constriction` and plain Python, with a table for every latent."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.huffman import _codewords, _python_round_trip
from benchmarks.speed.timing import in_turn, row
from receivers.coding.huffman import HuffmanCoder
from receivers.coding.range_coder import RangeCoder
from simulator.core.extras import installed, need


def measure(num_reports: int = 2048, num_symbols: int = 128, rounds: int = 5) -> list[dict[str, Any]]:
    """Symbols per second encoded and decoded, 32-symbol alphabet; ``equal_to`` counts reports that do not survive.

    Peers: `constriction`'s Huffman code, called symbol by symbol as its interface has it; its range coder, one call per
    report with a categorical model; a Huffman coder in plain Python. Without `constriction` only the last.
    """
    rng = np.random.default_rng(6)
    p = np.exp(-np.abs(np.arange(32) - 15.5) / rng.uniform(0.5, 3, (num_symbols, 1)))
    p /= p.sum(axis=1, keepdims=True)
    symbols = np.stack([rng.choice(32, num_reports, p=row_) for row_ in p], axis=1)
    counts = np.stack([np.bincount(column, minlength=32) for column in symbols.T])
    coders = {
        "Huffman": HuffmanCoder(32, **HuffmanCoder.fit(counts.sum(axis=0))),
        "range": RangeCoder(32, **RangeCoder.fit(counts)),
    }
    few = symbols[:32]
    rows = []
    words = _codewords(coders["Huffman"].lengths)
    for name, coder in coders.items():
        decoded, valid = coder.decode(*coder.encode(symbols), num_symbols)
        wrong = float(np.sum(~valid) + np.sum((decoded != symbols).any(axis=1)))
        calls: dict[str, Any] = {"ours": lambda coder=coder: coder.decode(*coder.encode(symbols), num_symbols)}
        if name == "Huffman":
            calls["python"] = lambda: [_python_round_trip(r, words) for r in few.tolist()]
        if installed("constriction"):
            calls["constriction"] = _constriction_huffman(few, p) if name == "Huffman" else _constriction_range(few, p)
        seconds = {key: float(np.median(value)) for key, value in in_turn(calls, rounds).items()}
        ours = symbols.size / seconds["ours"] / 1e6
        targets = {"python": 50.0, "constriction": 1.0 if name == "Huffman" else 0.1}
        for key in list(calls)[1:]:
            peer = few.size / seconds[key] / 1e6
            label = {"python": "plain Python", "constriction": "constriction 1 symbol per call"}[key]
            label = "constriction 1 report per call" if name == "range" else label
            note = f"{num_reports} reports x {num_symbols} symbols at once"
            item = f"g: {name} encode + decode against {label}"
            rows.append(row(item, ours, peer, "M symbols/s", ours / peer, targets[key], wrong, note))
    return rows


def _constriction_huffman(symbols: np.ndarray, p: np.ndarray) -> Any:
    need("bench speed", "constriction")
    import constriction

    pooled = p.mean(axis=0).astype(np.float32)
    encoder = constriction.symbol.huffman.EncoderHuffmanTree(pooled)
    decoder = constriction.symbol.huffman.DecoderHuffmanTree(pooled)
    reports = symbols.tolist()

    def call() -> None:
        for report in reports:
            coder = constriction.symbol.QueueEncoder()
            for symbol in report:
                coder.encode_symbol(symbol, encoder)
            compressed, _ = coder.get_compressed()
            back = constriction.symbol.QueueDecoder(compressed)
            for _ in report:
                back.decode_symbol(decoder)

    return call


def _constriction_range(symbols: np.ndarray, p: np.ndarray) -> Any:
    need("bench speed", "constriction")
    import constriction

    family = constriction.stream.model.Categorical(perfect=False)
    table, reports = p.astype(np.float32), symbols.astype(np.int32)

    def call() -> None:
        for report in reports:
            encoder = constriction.stream.queue.RangeEncoder()
            encoder.encode(report, family, table)
            constriction.stream.queue.RangeDecoder(encoder.get_compressed()).decode(family, table)

    return call
