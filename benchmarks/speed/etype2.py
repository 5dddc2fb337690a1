"""(k) Selection of enhanced Type II reports, in one batch compared with one by one."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.timing import in_turn, row
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from simulator.core.types import Panel


def measure(num_reports: int = 1024, rounds: int = 5) -> list[dict[str, Any]]:
    """Reports per second at 32 ports, 13 subbands, paramCombination 6; the ratio is against the target of 2,000/s.

    ``equal_to`` is the share of reports whose payload differs between the two.
    """
    rng = np.random.default_rng(10)
    h = rng.standard_normal((num_reports, 1, 32, 52, 2), np.float32).view(np.complex64)[..., 0]
    book = EnhancedTypeTwoCodebook(Panel(8, 2, 2), 52, 4, 1, 6)
    few = h[:16]
    together = book.pack(book.select(few))[1]
    single = np.concatenate([book.pack(book.select(few[i : i + 1]))[1] for i in range(len(few))])
    deviation = float(np.mean((together != single).any(axis=1)))
    calls = {
        "ours": lambda: book.pack(book.select(h)),
        "single": lambda: [book.pack(book.select(few[i : i + 1])) for i in range(len(few))],
    }
    seconds = {name: float(np.median(value)) for name, value in in_turn(calls, rounds).items()}
    ours, single_rate = num_reports / seconds["ours"], len(few) / seconds["single"]
    note = f"{num_reports} reports; {ours / single_rate:.1f} x one by one"
    item = "k: eType II pc 6, 32 ports, 13 subbands, against 2,000 reports/s (peer: one by one)"
    return [row(item, ours, single_rate, "reports/s", ours / 2000, 1.0, deviation, note)]
