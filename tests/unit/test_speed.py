"""What the speed table claims to be equal is equal, at small sizes; times are not tested."""

import pandas as pd
import pytest

from benchmarks.speed import huffman, ofdm, precoding, rvq, snr_sweep


@pytest.mark.parametrize(
    ("measure", "bound"),
    [
        (lambda: ofdm.measure(batch=2, rounds=1, num_subcarriers=64), 1e-5),
        (lambda: rvq.measure(bits=8, num_ports=16, num_reports=40, rounds=1), 0),
        (lambda: precoding.measure(batch=2, rounds=1)[1:], 1e-4),
        (lambda: snr_sweep.measure(batch=2, rounds=1), 1e-5),
        (lambda: huffman.measure(num_reports=64, num_symbols=32, rounds=1), 0),
    ],
    ids=["ofdm", "rvq", "precoding", "snr_sweep", "huffman"],
)
def test_ours_equals_the_peer(measure, bound):
    frame = pd.DataFrame(measure())
    assert (frame.equal_to <= bound).all(), frame
    assert (frame.ours > 0).all() and (frame.peer > 0).all()
