"""KLT and sparse codes against closed forms, loops and hand-made channels; payload fields bit by bit."""

import math

import numpy as np
import pytest

from receivers.feedback.klt import KltFeedback, allocate, gaussian_distortion
from receivers.feedback.sparse import SparseFeedback
from simulator.core.errors import ConfigError, PayloadError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel
from simulator.transforms import from_angular_delay, subband_eigenvectors, to_angular_delay, to_eigenvector_image

PANEL = Panel(4, 2, 2)
CONFIG = CsiConfig(PANEL, 2, 12, 360e3, 3)


def estimate(h):
    return CsiEstimate(h.astype(np.complex64), np.zeros(h.shape[:2], np.float32))


def gaussian(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


# Sparse --------------------------------------------------------------------------------------------------------------


def test_a_sparse_channel_is_coded_up_to_its_grids(rng):
    """Three taps on the grids of amplitude and phase come back exactly, up to the 2 dB grid of the largest."""
    scheme = SparseFeedback(CONFIG, bits=80, num_delays=6, top_bits=8)
    image = np.zeros((4, 2, 2, 6, 16), complex)
    where = np.stack([rng.choice(96, scheme.num_kept, replace=False) for _ in range(16)]).reshape(4, 2, 2, -1)
    value = 10 ** (-3 * rng.integers(0, 7, where.shape) / 20) * np.exp(
        2j * np.pi / 16 * rng.integers(0, 16, where.shape)
    )
    value[..., 0] = 1
    np.put_along_axis(image.reshape(4, 2, 2, 96), where, value, axis=3)
    h = from_angular_delay(image, PANEL, 12)
    h /= np.sqrt(np.mean(np.abs(h) ** 2, axis=(3, 4), keepdims=True))
    report = scheme.report(estimate(h))
    assert (report.num_bits == scheme.max_bits).all() and scheme.max_bits <= 2 * 80
    back = scheme.reconstruct(report).h
    ratio = np.sum(np.abs(back - h) ** 2, axis=(3, 4)) / np.sum(np.abs(h) ** 2, axis=(3, 4))
    assert ratio.max() < (10 ** (30 / 255 / 2 / 20) - 1) ** 2 * 1.2  # half a step of the largest amplitude


def test_the_largest_entries_are_kept_and_counted(rng):
    h = gaussian(rng, 3, 1, 2, 16, 12)
    for bits in (30, 100, 400):
        scheme = SparseFeedback(CONFIG, bits=bits, num_delays=12)
        kept = scheme.num_kept
        entries = 12 * 16
        length = math.ceil(math.log2(math.comb(entries, kept))) + 4 + 7 * kept
        more = math.ceil(math.log2(math.comb(entries, kept + 1))) + 4 + 7 * (kept + 1)
        assert length <= bits < more and scheme.max_bits == 2 * length
        x = to_angular_delay(scheme.reconstruct(scheme.report(estimate(h))).h, PANEL, 12).reshape(6, -1)
        true = to_angular_delay(h, PANEL, 12).reshape(6, -1)
        for found, wanted in zip(x, true, strict=True):
            largest = np.argsort(-np.abs(wanted))[:kept]
            assert set(np.flatnonzero(np.abs(found) > 1e-6)) == set(largest)


def test_ranks_are_the_combinatorial_numbers():
    scheme = SparseFeedback(CONFIG, bits=40, num_delays=2)
    n, k = 32, scheme.num_kept
    first, last = np.arange(k), np.arange(n - k, n)
    bits = scheme._rank(np.array([first, last, [0, *range(2, k + 1)]]))
    values = [int("".join(map(str, row)), 2) for row in bits]
    assert values == [0, math.comb(n, k) - 1, k - 1]
    positions, valid = scheme._positions(bits)
    np.testing.assert_array_equal(positions, [first, last, [0, *range(2, k + 1)]])
    assert valid.all()
    beyond = np.unpackbits(np.frombuffer(math.comb(n, k).to_bytes(8), np.uint8))[None, -bits.shape[1] :]
    assert math.comb(n, k).bit_length() == bits.shape[1] and not scheme._positions(beyond)[1].any()


def test_wrong_budgets():
    with pytest.raises(ConfigError, match=r"bits"):
        SparseFeedback(CONFIG, bits=15)
    with pytest.raises(ConfigError, match=r"one coefficient does not fit"):
        SparseFeedback(CONFIG, bits=16, num_delays=12, phase_bits=8, amplitude_bits=8)
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


def test_more_bits_less_error_and_budgets_hold(rng):
    h = np.zeros((40, 1, 1, 32, 52), complex)
    frequency, port = np.arange(52), np.arange(32)
    for _ in range(5):
        delay, angle = rng.uniform(0, 0.2, (40, 1, 1)), rng.uniform(0, 1, (40, 1, 1))
        wave = np.exp(2j * np.pi * (angle * port[:, None] - delay * frequency))
        h[:, 0, 0] += gaussian(rng, 40, 1, 1) * wave
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
