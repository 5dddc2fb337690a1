"""Nonlinear transform codec: gradients, search with the decoder, reports, training reports."""

import numpy as np
import pytest
from keras import ops

from receivers.beamdelay.frame import Frame
from receivers.beamdelay.learned import LearnedCodebook
from receivers.beamdelay.quantizer import SLOPE, Quantizer
from receivers.beamdelay.tables import Tables
from receivers.codebooks.beam_delay import BeamDelayReport
from receivers.models.beam_transformer import BeamTransformer
from receivers.models.pullback import linearised
from receivers.models.report_frame import FEATURES, TAPS, ReportFrame
from receivers.models.report_loss import report_gradient, report_loss
from receivers.training.data.searched import SearchedReports
from receivers.weights.folder import zoo_folder
from simulator.core.types import Panel

PANEL, UNITS, STEPS = Panel(4, 2, 2), 13, [0.3, 0.2, 0.12]
TABLES = Tables.load(zoo_folder() / "beamdelay-urban" / "tables.npz")


@pytest.fixture(scope="module")
def plain():
    """As before training: coefficients as decoded."""
    return BeamTransformer(dim=8, num_layers=1, num_heads=2, hidden=8)


@pytest.fixture(scope="module")
def moved():
    """With weights that say something."""
    network = BeamTransformer(dim=8, num_layers=2, num_heads=2, hidden=8)
    rng = np.random.default_rng(3)
    for w in network.weights:
        w.assign(ops.convert_to_numpy(w) + 0.15 * rng.standard_normal(w.shape))
    return network


def sparse(rng, panel, units, items=6):
    """Directions complex64 ``[item, subband, port]`` of three paths."""
    shape = (items, 3, 1, 1)
    delay, gain = rng.uniform(0, 3, shape), rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    first, second, pol = (rng.uniform(-np.pi, np.pi, shape) for _ in range(3))
    port = np.arange(panel.num_ports)
    p, rest = np.divmod(port, panel.n1 * panel.n2)
    n1, n2 = np.divmod(rest, panel.n2)
    phase = first * n1 + second * n2 + pol * p - 2 * np.pi * delay * np.arange(units)[:, None] / units
    v = np.sum(gain * np.exp(1j * phase), axis=1)
    return (v / np.linalg.norm(v, axis=2, keepdims=True)).astype(np.complex64)


def channels(rng, panel, units):
    return np.moveaxis(sparse(rng, panel, units, 5).conj(), 1, 2)[:, None]


def test_pullback_is_the_gradient_of_the_backend(moved, rng):
    import tensorflow as tf

    tokens = tf.constant(rng.standard_normal((3, 5, FEATURES)).astype(np.float32))
    weights = rng.standard_normal((3, 5, 4 * TAPS)).astype(np.float32)
    with tf.GradientTape() as tape:
        tape.watch(tokens)
        y = moved(tokens)
        total = tf.reduce_sum(y * weights)
    expected = tape.gradient(total, tokens).numpy()[..., : 6 * TAPS].reshape(3, 5, 2 * TAPS, 3)[..., :2]
    found, back = linearised(moved, tokens)
    np.testing.assert_allclose(found, y, atol=1e-5)
    np.testing.assert_allclose(back(tf.constant(weights)), expected.reshape(3, 5, -1), atol=2e-5)


def test_gradient_of_the_loss_is_that_of_differences(rng):
    """Central differences of the loss in float64."""
    kernel = ReportFrame((2, 2, 2), UNITS).kernel()
    true = rng.standard_normal((2, 4, 2, UNITS, 2)).astype(np.float32)
    y = rng.standard_normal((2, 4, 4 * TAPS)).astype(np.float32)
    loss, gradient = report_gradient(kernel)(true, y)
    np.testing.assert_allclose(loss, report_loss(kernel)(true, y), atol=1e-6)

    def exact(x):
        a = (true[..., 0] + 1j * true[..., 1]).astype(complex).reshape(2, 8, UNITS)
        spectra = (x.reshape(2, 8, -1) @ kernel.astype(float)).reshape(2, 8, UNITS, 2)
        b = spectra[..., 0] + 1j * spectra[..., 1]
        match = np.abs(np.sum(a.conj() * b, axis=1)) ** 2
        return 1 - np.mean(match / np.sum(np.abs(a) ** 2, axis=1) / np.sum(np.abs(b) ** 2, axis=1), axis=1)

    for beam, place in ((0, 0), (1, 17), (3, 51)):
        d = np.zeros(y.shape)
        d[:, beam, place] = 1e-4
        slope = (exact(y + d) - exact(y - d)) / 2e-4
        np.testing.assert_allclose(gradient[:, beam, place], slope, atol=1e-5)


def test_gradient_returns_to_the_coefficients_of_the_report(rng):
    """A small change of a coefficient changes its place in the tokens by what the frame multiplies it with."""
    frame = ReportFrame((2, 2, 2), UNITS)
    x = (rng.standard_normal((2, 1, 8, UNITS)) + 1j * rng.standard_normal((2, 1, 8, UNITS))).astype(np.complex64)

    def report(x):
        return BeamDelayReport(np.zeros(2, int), x, np.ones(x.shape, bool), np.full((2, 1), 0.1), False)

    g = rng.standard_normal((2, 4, 4 * TAPS)).astype(np.float32)
    found = frame.gradient(g, report(x))
    norm = np.linalg.norm(x.reshape(2, -1), axis=1)
    top = np.abs(x).reshape(2, -1).argmax(axis=1)
    for row, tap in ((1, 3), (6, 12)):
        if (top == row * UNITS + tap).any():
            continue
        for unit in (1, 1j):
            pushed = x.copy()
            pushed[:, 0, row, tap] += 1e-2 * unit
            body = [
                frame.tokens(report(v))[..., : 6 * TAPS].reshape(2, 4, 2 * TAPS, 3)[..., :2].reshape(2, -1)
                * np.linalg.norm(v.reshape(2, -1), axis=1)[:, None] / norm[:, None]  # the norm counts as constant
                for v in (pushed, x)
            ]  # fmt: skip
            slope = np.sum((body[0] - body[1]) * g.reshape(2, -1), axis=1) / 1e-2
            value = found[:, 0, row, tap]
            np.testing.assert_allclose(value.real if unit == 1 else value.imag, slope, rtol=2e-3, atol=2e-3)


@pytest.fixture(scope="module")
def reports():
    rng = np.random.default_rng(5)
    v = sparse(rng, PANEL, UNITS, 24)[:, None]
    return SearchedReports(Frame(PANEL, UNITS), TABLES, v, rng.integers(3, size=24), np.array(STEPS)), v


def cost(synthesis, content, v):
    """1 - SGCS plus what the bits are worth, of directions that the gNB would precode with plain answers."""
    coder, frame = synthesis.coder, synthesis.frame
    bins = coder.bins(content)
    report = synthesis.report(content, bins)
    y = ops.convert_to_numpy(synthesis.network(ops.convert_to_tensor(synthesis.reports.tokens(report))))
    x = synthesis.reports.coefficients(y, report)[:, 0]
    cells = frame.off_grid(content.row[:, 0], x)[:, None]
    w = frame.directions(content.group, content.row, cells)[:, :, 0]
    sgcs = np.mean(np.abs(np.einsum("ntp,npt->nt", v[:, 0].conj(), w)) ** 2, axis=1)
    bits = coder.ideal_bits(content, bins).sum(axis=(0, 2))
    return 1 - sgcs + SLOPE * synthesis.steps[content.step] ** 2 * bits


@pytest.mark.long
def test_search_lowers_the_cost_of_every_report(moved, reports):
    searched, v = reports
    synthesis = searched.synthesis(moved)
    before = searched.content(np.arange(24))
    found = synthesis(before, searched.c)
    costs = [cost(synthesis, content, v) for content in (before, found)]
    np.testing.assert_allclose(synthesis.judged(before, searched.c)[1], costs[0], atol=2e-5)
    assert (costs[1] <= costs[0] + 2e-5).all() and (costs[0] - costs[1]).mean() > 1e-3
    assert (found.real[0] >= 1).all() and (found.imag[0] == 0).all()


@pytest.mark.long
def test_search_without_a_network_finds_what_a_loop_finds(plain, reports):
    """After the search with the plain decoder few single changes of a part by one would still lower the cost."""
    searched, v = reports
    synthesis = searched.synthesis(plain)
    rows = np.arange(24)
    before = searched.content(rows)
    found = synthesis(before, searched.c, 32)
    improved = []
    for content in (before, found):
        least = cost(synthesis, content, v)
        best = least.copy()
        for place in range(1, 60, 3):
            for part in ("real", "imag"):
                for move in (-1, 1):
                    other = {key: getattr(content, key).copy() for key in ("real", "imag")}
                    other[part][place] += move
                    trial = type(content)(content.group, content.step, content.row, other["real"], other["imag"])
                    best = np.minimum(best, cost(synthesis, trial, v))
        improved.append((least - best).mean())
    assert improved[1] < 0.5 * improved[0]


@pytest.mark.long
def test_search_keeps_to_a_budget(moved, reports):
    searched, _ = reports
    synthesis = searched.synthesis(moved)
    before = searched.content(np.arange(24))
    needed = synthesis.coder.needed(before, synthesis.coder.bins(before), 60)
    found = synthesis(before, searched.c, 8, 60)
    after = synthesis.coder.needed(found, synthesis.coder.bins(found), 60)
    changed = (found.real != before.real).any(axis=(0, 2)) | (found.imag != before.imag).any(axis=(0, 2))
    assert changed.any() and (after[changed] <= 60).all()
    np.testing.assert_array_equal(after[~changed], needed[~changed])


def test_search_goes_on_where_it_stopped(moved, reports):
    searched, v = reports
    own = SearchedReports(searched.frame, TABLES, v, searched.step, np.array(STEPS))
    rows = np.arange(0, 24, 2)
    before = own.parts.copy()
    own.search(moved, rows, 3)
    assert (own.parts[rows] != before[rows]).any() and (own.parts[1::2] == before[1::2]).all()
    tokens, target = own.batch(rows)
    assert tokens.shape == (12, 8, FEATURES) and target.shape == (12, 8, 2, UNITS, 2)


def test_without_passes_and_training_reports_are_those_of_beamdelay(plain, rng):
    """And the coefficients those of its tables."""
    book = LearnedCodebook(plain, PANEL, UNITS, 1, 1, TABLES, 0.15, 400, passes=0)
    h = channels(rng, PANEL, UNITS)
    pmi = book.select(h)
    quantizer = Quantizer(book.frame, book.coder, book.steps)
    from simulator.maths.transforms import subband_eigenvectors

    content, _ = quantizer(subband_eigenvectors(h, 1, 1), np.zeros(5, int))
    np.testing.assert_array_equal(pmi["real"], np.moveaxis(content.real, 0, 1))
    values = book.coder.values(content, book.coder.bins(content), book.coder.energies[:1] ** -0.5)
    w = book.frame.directions(content.group, content.row, values)
    overlap = np.abs(np.sum(w.conj() * book.precoder(pmi), axis=1))
    np.testing.assert_allclose(overlap, 1, atol=2e-3)


def test_a_report_and_its_conjugate_have_conjugate_answers(moved, reports):
    searched, _ = reports
    synthesis = searched.synthesis(moved)
    content = searched.content(np.arange(24))
    report = synthesis.report(content, synthesis.coder.bins(content))
    network, frame = synthesis.network, synthesis.reports
    from receivers.models.report_frame import conjugated

    tokens = frame.tokens(report)
    turn = np.tile(np.float32([1, -1]), 2 * TAPS)
    both = [ops.convert_to_numpy(network(ops.convert_to_tensor(x))) for x in (tokens, conjugated(tokens))]
    mean = frame.coefficients(0.5 * (both[0] + both[1] * turn), report)
    np.testing.assert_allclose(synthesis.refined(content, synthesis.coder.bins(content)), mean, atol=1e-5)
    assert np.abs(both[0] - both[1] * turn).max() > 1e-3


class TestReports:
    @pytest.mark.parametrize("rank", [1, 2])
    @pytest.mark.parametrize("budget", [40, 150])
    @pytest.mark.long
    def test_fit_and_every_prefix_is_one(self, moved, rng, budget, rank):
        book = LearnedCodebook(moved, PANEL, UNITS, 1, rank, TABLES, None, budget)
        h = np.concatenate([channels(rng, PANEL, UNITS), channels(rng, PANEL, UNITS)], axis=1)
        pmi = book.select(h)
        _, part2, length = book.pack(pmi)
        assert part2.shape == (5, budget) and (length == budget).all()
        again, valid = book.unpack(np.zeros((5, 0), np.uint8), part2, length)
        assert valid.all() and np.linalg.norm(book.precoder(again), axis=1) == pytest.approx(1, abs=1e-5)
        for key in ("real", "imag"):
            np.testing.assert_array_equal(again[key], pmi[key])
        for cut in (budget // 2, 1):
            known, _ = book.unpack(np.zeros((5, 0), np.uint8), part2[:, :cut], np.full(5, cut))
            assert np.linalg.norm(book.precoder(known), axis=1) == pytest.approx(1, abs=1e-5)
