"""(k) Selection of enhanced Type II reports, in one batch compared with one by one."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.timing import in_turn, row
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from simulator.core.types import Panel

TARGETS = {Panel(8, 2, 2): 2000, Panel(16, 4, 2): 500}  # reports/s


def measure(num_reports: int = 1024, rounds: int = 5) -> list[dict[str, Any]]:
    """Reports per second at 32 and 128 ports, 13 subbands, paramCombination 6; the ratio is against the target.

    ``equal_to`` is the share of reports whose payload differs between the two.
    """
    found = []
    for panel, target in TARGETS.items():
        rng = np.random.default_rng(10)
        h = rng.standard_normal((num_reports, 1, panel.num_ports, 52, 2), np.float32).view(np.complex64)[..., 0]
        book = EnhancedTypeTwoCodebook(panel, 52, 4, 1, 6)

        def packed(h: np.ndarray, book: EnhancedTypeTwoCodebook = book) -> np.ndarray:
            return book.pack(book.select(h))[1]

        few = h[:16]
        single = np.concatenate([packed(few[i : i + 1]) for i in range(len(few))])
        deviation = float(np.mean((packed(few) != single).any(axis=1)))
        calls = {
            "ours": lambda h=h, packed=packed: packed(h),
            "single": lambda few=few, packed=packed: [packed(few[i : i + 1]) for i in range(len(few))],
        }
        seconds = {name: float(np.median(value)) for name, value in in_turn(calls, rounds).items()}
        ours, single_rate = num_reports / seconds["ours"], len(few) / seconds["single"]
        note = f"{num_reports} reports; {ours / single_rate:.1f} x one by one"
        item = (
            f"k: eType II pc 6, {panel.num_ports} ports, 13 subbands, against {target:,} reports/s (peer: one by one)"
        )
        found.append(row(item, ours, single_rate, "reports/s", ours / target, 1.0, deviation, note))
    return found
