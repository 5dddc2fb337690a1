"""Orders of the axes between source and scores, against loops; nobody else moves them."""

import re
from pathlib import Path

import numpy as np
import pytest

import simulator
from simulator.core.views import band_last, by_drop, by_interval, by_sample, by_slot, by_user, layer_rows

B, U, R, P, T, N = 2, 3, 4, 5, 6, 7


def test_channel_by_drop_slot_and_sample(rng):
    h = rng.standard_normal((B, U, R, P, T, N))
    slots = by_slot(h, 4)
    samples = by_sample(slots)
    assert slots.flags.c_contiguous and samples.flags.c_contiguous
    for b, t in np.ndindex(B, T):
        np.testing.assert_array_equal(slots[b * T + t], h[b, ..., t, :])
        for n in range(N):
            np.testing.assert_array_equal(samples[b * T + t, n], h[b, ..., t, n])
    np.testing.assert_array_equal(by_drop(slots, B, 4), h)
    assert np.shares_memory(by_drop(slots, B, 1), slots) and np.shares_memory(by_slot(by_drop(slots, B, 1), 1), slots)


@pytest.mark.parametrize("lead", [0, 1, 2])
def test_axes_before_the_batch_stay(rng, lead):
    x = rng.standard_normal((*(2, 3)[:lead], B, U, T))
    slots = by_slot(x, lead + 2, lead=lead)
    for b, t in np.ndindex(B, T):
        np.testing.assert_array_equal(slots[..., b * T + t, :], x[..., b, :, t])
    np.testing.assert_array_equal(by_drop(slots, B, lead + 2, lead=lead), x)


def test_intervals(rng):
    x = rng.standard_normal((B, U, P, R, T, N))
    for b, u, t in np.ndindex(B, U, T):
        np.testing.assert_array_equal(by_interval(x)[b, u, t], x[b, u, :, :, t])


def test_layers(rng):
    x = rng.standard_normal((B, N, U, R))
    w = rng.standard_normal((B, U, P, R, N))
    for b, n, u, r in np.ndindex(B, N, U, R):
        assert band_last(x)[b, u, r, n] == by_user(x)[b, u, n, r] == x[b, n, u, r]
        np.testing.assert_array_equal(layer_rows(w)[b, u, r, :, n], w[b, u, :, r, n])


def test_only_the_views_change_the_order():
    """Stages of the link ask for a view; a private order of axes came from moves in every one of them."""
    root = Path(simulator.__file__).parent
    moves = re.compile(r"np\.(moveaxis|transpose|swapaxes|ascontiguousarray)|\w\.(transpose|swapaxes)\(")
    files = [root / "link.py", root / "maths/rates.py", root / "reporting/reporting.py", root / "downlink/scheduler.py"]
    found = [
        f"{path.name}: {line.strip()}"
        for path in (*files, *sorted((root / "throughput").glob("*.py")))
        for line in path.read_text().splitlines()
        if moves.search(line) and "ops." not in line
    ]
    assert not found
