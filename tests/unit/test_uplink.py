"""Losses and bit flips at their rates, and the last good report."""

import numpy as np
import pytest
from tolerances import assert_mean

from simulator.core.types import CsiReport
from simulator.reporting.uplink import filled, last_good, take_slots, transmit


def report(rng, batch=40, users=3, width=50):
    num_bits = rng.integers(0, width + 1, (batch, users))
    bits = rng.integers(0, 2, (batch, users, width), dtype=np.uint8)
    return CsiReport(bits * (np.arange(width) < num_bits[..., None]).astype(np.uint8), num_bits)


def test_error_free_uplink_changes_nothing(rng):
    sent = report(rng)
    arrived, lost = transmit(sent, loss_probability=0, bit_flip_probability=0, seed=1)
    np.testing.assert_array_equal(arrived.bits, sent.bits)
    np.testing.assert_array_equal(arrived.num_bits, sent.num_bits)
    assert lost.shape == (40, 3) and lost.dtype == bool and not lost.any()


@pytest.mark.statistical
@pytest.mark.parametrize("probability", [0.01, 0.3, 0.9])
def test_loss_rate(rng, probability):
    lost = [
        transmit(report(rng), loss_probability=probability, bit_flip_probability=0, seed=seed)[1] for seed in range(100)
    ]
    assert_mean(lost, probability)


@pytest.mark.statistical
@pytest.mark.parametrize("probability", [0.002, 0.1, 0.5])
def test_flip_rate_and_no_flip_beyond_the_report(rng, probability):
    flips = []
    for seed in range(20):
        sent = report(rng)
        arrived, lost = transmit(sent, loss_probability=0, bit_flip_probability=probability, seed=seed)
        inside = np.arange(50) < sent.num_bits[..., None]
        flipped = arrived.bits != sent.bits
        assert not flipped[~inside].any() and not arrived.bits[~inside].any()
        np.testing.assert_array_equal(arrived.num_bits, sent.num_bits)
        assert not lost.any()
        flips.append(flipped[inside])
    assert_mean(np.concatenate(flips), probability)


def test_certain_loss_and_certain_flip(rng):
    sent = report(rng)
    arrived, lost = transmit(sent, loss_probability=1, bit_flip_probability=1, seed=3)
    inside = np.arange(50) < sent.num_bits[..., None]
    assert lost.all()
    np.testing.assert_array_equal(arrived.bits, np.where(inside, 1 - sent.bits, 0))


def test_losses_do_not_depend_on_the_scheme(rng):
    """Reports of different schemes meet the same losses, with and without bit flips."""
    short = CsiReport(np.zeros((40, 3, 2), np.uint8), np.full((40, 3), 2))
    lost = [
        transmit(sent, loss_probability=0.4, bit_flip_probability=flips, seed=9)[1]
        for sent in (report(rng), short)
        for flips in (0.0, 0.2)
    ]
    for other in lost[1:]:
        np.testing.assert_array_equal(other, lost[0])
    assert (transmit(short, loss_probability=0.4, bit_flip_probability=0, seed=10)[1] != lost[0]).any()


@pytest.mark.parametrize("on_loss", ["last", "none"])
def test_last_good_against_a_loop(rng, on_loss):
    good = rng.random((20, 3, 7)) < 0.5
    used = last_good(good, on_loss)
    for b, u in np.ndindex(20, 3):
        newest = -1
        for slot in range(7):
            newest = slot if good[b, u, slot] else newest
            assert used[b, u, slot] == (newest if good[b, u, slot] or on_loss == "last" else -1)


def test_gaps_of_a_history_against_the_loop(rng):
    good = rng.random((50, 3, 6)) < 0.3
    found = filled(good)
    for b, u, t in np.ndindex(good.shape):
        there = np.flatnonzero(good[b, u])
        before = there[there <= t]
        expected = -1 if not len(there) else before[-1] if len(before) else there[0]
        assert found[b, u, t] == expected
    assert (found[~good.any(axis=-1)] == -1).all() and (found[..., 0] > 0).any()


def test_take_slots_against_the_loop(rng):
    value = (rng.standard_normal((5, 4, 3, 2, 6, 2)) @ [1, 1j]).astype(np.complex64)
    source = rng.integers(-1, 4, (5, 3, 2))
    taken = take_slots(value, source)
    assert taken.shape == (5, 2, 3, 2, 6) and taken.dtype == np.complex64
    for b, u, t in np.ndindex(source.shape):
        expected = 0 * value[b, 0, u] if source[b, u, t] < 0 else value[b, source[b, u, t], u]
        np.testing.assert_array_equal(taken[b, t, u], expected)
