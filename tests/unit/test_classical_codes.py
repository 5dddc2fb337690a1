"""KLT and sparse codes against closed forms, loops and hand-made channels; payload fields bit by bit."""

import math

import numpy as np
import pytest

from receivers.feedback.klt import KltFeedback
from receivers.feedback.klt_codec import allocate, gaussian_distortion
from receivers.feedback.sparse import SparseFeedback
from simulator.core.errors import ConfigError, PayloadError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel
from simulator.maths.transforms import from_angular_delay, subband_eigenvectors, to_angular_delay, to_eigenvector_image

PANEL = Panel(4, 2, 2)
CONFIG = CsiConfig(PANEL, 2, 12, 360e3, 3)


def estimate(h):
    return CsiEstimate(h.astype(np.complex64), np.zeros(h.shape[:2], np.float32))


def gaussian(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


# Sparse --------------------------------------------------------------------------------------------------------------


GRIDS = [(3, 3.0, 4), (4, 1.75, 5), (5, 1.0, 6), (6, 0.6, 7)]  # bits and step [dB] of amplitudes, bits of phases


def number(bits):
    return int("".join(map(str, bits)), 2)


def most_that_fit(entries, bits, each):
    """Largest S with 6 + ceil(log2(C(entries, S))) + S * each <= bits, and the bits of its rank."""
    fits = [
        (kept, math.ceil(math.log2(math.comb(entries, kept))))
        for kept in range(1, entries + 1)
        if 6 + math.ceil(math.log2(math.comb(entries, kept))) + kept * each <= bits
    ]
    return fits[-1]


def sparse_image(bits, entries, budget, max_top_db):
    """Payload of one image, read field by field; positions from the rank by search, greatest first."""
    amplitude_bits, step_db, phase_bits = GRIDS[number(bits[:2])]
    kept, rank_bits = most_that_fit(entries, budget, amplitude_bits + phase_bits)
    top_db = number(bits[2:6]) * max_top_db / 15
    rank, at = number(bits[6 : 6 + rank_bits]), 6 + rank_bits
    positions = []
    for k in range(kept, 0, -1):
        n = max(n for n in range(entries) if math.comb(n, k) <= rank)
        positions.insert(0, n)
        rank -= math.comb(n, k)
    image = np.zeros(entries, complex)
    for k, n in enumerate(positions):
        level = number(bits[at + k * amplitude_bits : at + (k + 1) * amplitude_bits])
        start = at + kept * amplitude_bits + k * phase_bits
        phase = 2 * np.pi * number(bits[start : start + phase_bits]) / 2**phase_bits
        if level < 2**amplitude_bits - 1:
            image[n] = 10 ** ((top_db - step_db * level) / 20) * np.exp(1j * phase)
    return image


@pytest.mark.parametrize("budget", [40, 150, 700])
def test_sparse_payload_read_field_by_field(budget, rng):
    h = gaussian(rng, 6, 1, 2, 16, 12) * (10 ** rng.uniform(-2, 2, (6, 1, 1, 1, 1)))
    h[:3] = from_angular_delay(gaussian(rng, 3, 1, 2, 12, 16) * np.exp(-np.arange(192) / 9).reshape(12, 16), PANEL, 12)
    scheme = SparseFeedback(CONFIG, bits=budget, num_delays=12)
    report = scheme.report(estimate(h))
    assert scheme.max_bits <= 2 * budget and (report.num_bits == scheme.max_bits).all()
    rows = report.bits.reshape(12, -1)
    found = to_angular_delay(scheme.reconstruct(report).h, PANEL, 12).reshape(12, -1)
    expected = [sparse_image(row, 192, budget, 10 * np.log10(16 * 12)) for row in rows]
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
    true = to_angular_delay(h, PANEL, 12).reshape(12, -1)
    true /= np.sqrt(np.mean(np.abs(true) ** 2, axis=1, keepdims=True))
    for row, image, wanted in zip(rows, expected, true, strict=True):
        amplitude_bits, _, phase_bits = GRIDS[number(row[:2])]
        kept, _ = most_that_fit(192, budget, amplitude_bits + phase_bits)
        assert set(np.flatnonzero(image)) <= set(np.argsort(-np.abs(wanted))[:kept])
        at_best = np.sort(np.abs(wanted) ** 2)[::-1]
        error = np.sum(np.abs(image - wanted) ** 2)
        assert at_best[kept:].sum() <= error < at_best[kept:].sum() + 0.05 * at_best[:kept].sum()


def test_error_falls_with_the_budget_to_the_finest_grid(rng):
    """No floor but the finest grid's: steps of 0.6 dB and 1/128 turn leave about -33 dB."""
    decay = np.exp(-np.arange(192) / 6).reshape(12, 16)
    h = from_angular_delay(gaussian(rng, 50, 1, 2, 12, 16) * decay, PANEL, 12)
    h /= np.sqrt(np.mean(np.abs(h) ** 2, axis=(3, 4), keepdims=True))  # reports hold the shape alone
    error, grids = [], []
    for budget in (30, 60, 120, 240, 480, 960):
        scheme = SparseFeedback(CONFIG, bits=budget, num_delays=12)
        report = scheme.report(estimate(h))
        error.append(10 * np.log10(np.mean(np.abs(scheme.reconstruct(report).h - h) ** 2)))
        grids.append(report.bits.reshape(100, -1)[:, :2].astype(int) @ [2, 1])
    assert (np.diff(error) < 0).all() and -36 < error[-1] < -31
    assert set(grids[-1]) == {3} and set(np.concatenate(grids)) == {0, 1, 2, 3}


def test_ranks_are_the_combinatorial_numbers():
    scheme = SparseFeedback(CONFIG, bits=40, num_delays=2)
    n, k = 32, scheme._grids[0].num_kept
    rank_bits = scheme._grids[0].rank_bits
    first, last = np.arange(k), np.arange(n - k, n)
    bits = scheme._rank(np.array([first, last, [0, *range(2, k + 1)]]), rank_bits)
    assert [number(row) for row in bits] == [0, math.comb(n, k) - 1, k - 1]
    positions, valid = scheme._positions(bits, k)
    np.testing.assert_array_equal(positions, [first, last, [0, *range(2, k + 1)]])
    assert valid.all()
    beyond = np.unpackbits(np.frombuffer(math.comb(n, k).to_bytes(8), np.uint8))[None, -rank_bits:]
    assert math.comb(n, k).bit_length() == rank_bits and not scheme._positions(beyond, k)[1].any()


def test_wrong_budgets():
    with pytest.raises(ConfigError, match=r"bits"):
        SparseFeedback(CONFIG, bits=15)
    with pytest.raises(ConfigError, match=r"one coefficient does not fit"):
        SparseFeedback(CONFIG, bits=20, num_delays=12)
    with pytest.raises(ConfigError, match=r"num_delays"):
        SparseFeedback(CONFIG, bits=100, num_delays=13)


# KLT -----------------------------------------------------------------------------------------------------------------


def test_bits_go_where_they_reduce_the_error_most():
    """Max 1960, Table I; for equal variances the allocation is even, and a search over all of them finds no better."""
    for bits, printed in (
        (1, 0.3634),
        (2, 0.1175),
        (3, 0.03454),
        (4, 0.009497),
        (5, 0.002499),
    ):  # later tables: 26.01 dB for 5 bits
        assert gaussian_distortion(bits) == pytest.approx(printed, rel=3e-3)
    np.testing.assert_array_equal(allocate(np.ones(5), 10), 2)
    variances = np.array([9.0, 4.0, 1.0, 0.05])
    d = np.array([1.0] + [gaussian_distortion(b) for b in range(1, 9)])
    best = min(
        (variances @ d[[a, b, c, 7 - a - b - c]], (a, b, c, 7 - a - b - c))
        for a in range(8)
        for b in range(8 - a)
        for c in range(8 - a - b)
    )
    assert tuple(allocate(variances, 7)) == best[1]
    with pytest.raises(ConfigError, match=r"bits"):
        allocate(np.ones(2), 17)


def link_config():
    return CsiConfig(Panel(8, 2, 2), 1, 52, 360e3, 4)


@pytest.mark.long
def test_more_bits_less_error_and_budgets_hold(rng):
    h = np.zeros((20, 1, 1, 32, 52), complex)
    frequency, port = np.arange(52), np.arange(32)
    for _ in range(5):
        delay, angle = rng.uniform(0, 0.2, (20, 1, 1)), rng.uniform(0, 1, (20, 1, 1))
        wave = np.exp(2j * np.pi * (angle * port[:, None] - delay * frequency))
        h[:, 0, 0] += gaussian(rng, 20, 1, 1) * wave
    h /= np.sqrt(np.mean(np.abs(h) ** 2, axis=(3, 4), keepdims=True))
    for coding in ("entropy", "fixed"):
        errors = []
        for bits in (50, 200, 800):
            scheme = KltFeedback(link_config(), weights="klt-mixed", bits=bits, coding=coding)
            report = scheme.report(estimate(h))
            assert coding == "entropy" or (report.num_bits == bits).all()
            known = scheme.reconstruct(report)
            assert known.valid.all()
            errors.append(np.mean(np.abs(known.h - h) ** 2))
        assert errors[0] > errors[1] > errors[2] and errors[2] < 0.8
    with pytest.raises(PayloadError):
        scheme.reconstruct(CsiReport(report.bits[..., :-1], report.num_bits - 1))


# Eigenvectors --------------------------------------------------------------------------------------------------------


def test_subband_eigenvectors_maximise_the_gain(rng):
    h = gaussian(rng, 5, 3, 8, 10)
    w = subband_eigenvectors(h, 4, 2)
    assert w.shape == (5, 2, 3, 8)
    for b in range(5):
        for s, part in enumerate((slice(0, 4), slice(4, 8), slice(8, 10))):
            r = sum(h[b, :, :, n].conj().T @ h[b, :, :, n] for n in range(*part.indices(10))).astype(complex)
            value, vector = np.linalg.eigh(r)
            for layer in range(2):
                assert abs(np.vdot(vector[:, -1 - layer], w[b, layer, s])) == pytest.approx(1, abs=1e-4)
                assert (w[b, layer, s].conj() @ r @ w[b, layer, s]).real == pytest.approx(value[-1 - layer], rel=1e-4)
    wide = subband_eigenvectors(gaussian(rng, 2, 4, 3, 5), 5, 2)  # more rows than ports
    assert wide.shape == (2, 2, 1, 3)
    np.testing.assert_allclose(np.linalg.norm(wide, axis=-1), 1, atol=1e-5)


def test_eigenvector_images_do_not_depend_on_phases(rng):
    w = subband_eigenvectors(gaussian(rng, 6, 1, 16, 12), 3, 1)[:, 0]
    turned = w * np.exp(2j * np.pi * rng.random((6, 4, 1)))
    image = to_eigenvector_image(w, PANEL)
    np.testing.assert_allclose(to_eigenvector_image(turned.astype(np.complex64), PANEL), image, atol=1e-4)
    np.testing.assert_allclose(2 * np.mean(image**2, axis=(1, 2, 3)), 1, rtol=1e-4)
    x = image[..., 0] + 1j * image[..., 1]
    steps = np.sum(x[:, 1:] * x[:, :-1].conj(), axis=-1)
    assert np.abs(np.angle(steps)).max() < 1e-3
