"""Coded throughput: effective SINR and tables compared with encoding and decoding of the same transport blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.timing import in_turn, row
from simulator.core.units import db_to_lin


def measure(
    batch: int = 16, rounds: int = 3, num_rb: int = 52, level_db: float = 14.0, loss_db: float = 0.4
) -> list[dict[str, Any]]:
    """4 UEs of 2 layers, a block each over the whole band, link adaptation included in both modes.

    ``equal_to`` is the difference of the mean block error rates. All blocks have one MCS, which is the best case of the
    exact mode: it compiles one decoder, before the clock runs. The channel is ``loss_db`` worse than expected, so that
    some are lost.
    """
    from simulator.phy.bler import EesmBler
    from simulator.phy.block_decoder import BlockDecoder
    from simulator.throughput.blocks import Throughput, sample_of_re

    rng = np.random.default_rng(9)
    shape = (1, batch, 1, num_rb, 4, 2)  # [snr, batch, slot, sample, user, layer]
    sinr = db_to_lin(rng.normal(level_db - loss_db, 1.0, shape)).astype(np.float32)
    expected = np.full(shape, db_to_lin(level_db), np.float32)
    model, width = EesmBler(), 12 * num_rb
    fast = Throughput(model, width, olla=None)
    exact = Throughput(model, width, BlockDecoder(sample_of_re(num_rb, 12, fast.overhead)), olla=None)
    calls = {"fast": lambda: fast.run(sinr, expected, seed=1), "exact": lambda: exact.run(sinr, expected, seed=1)}
    found = {name: call() for name, call in calls.items()}
    seconds = in_turn(calls, rounds)
    blocks = batch * 4
    return [
        row(
            f"throughput: EESM and tables against LDPC decoding, 4 UEs x 2 layers x {num_rb} RB",
            blocks / float(np.median(seconds["fast"])),
            blocks / float(np.median(seconds["exact"])),
            "blocks/s",
            float(np.median(seconds["exact"] / seconds["fast"])),
            50.0,
            abs(float(found["fast"].bler.mean() - found["exact"].bler.mean())),
            f"median of {rounds} rounds, MCS {found['fast'].mcs.max()}; BLER {found['fast'].bler.mean():.3f}",
        )
    ]
