"""Nonlinear transform codec: window, rounding, prior, loss, reports."""

import numpy as np
import pytest
from keras import ops

from receivers.beamdelay.frame import Frame
from receivers.beamdelay.learned import LearnedCodebook
from receivers.beamdelay.tables import Tables
from receivers.beamdelay.window import Window
from receivers.models.ntc import WIDTH, NonlinearTransformCodec
from receivers.models.report_frame import GAIN
from receivers.training.data.directions import DirectionSet
from receivers.training.ntc import CodecTraining, ContextPrior, bits
from receivers.weights.folder import zoo_folder
from simulator.core.types import Panel

SIZES = {"dim": 8, "num_heads": 2, "hidden": 8, "encoder_layers": 1, "decoder_layers": 1}


@pytest.fixture(scope="module")
def plain():
    """As before training: rounding alone."""
    return NonlinearTransformCodec(**SIZES)


@pytest.fixture(scope="module")
def moved():
    """With heads that say something."""
    network = NonlinearTransformCodec(**SIZES)
    rng = np.random.default_rng(3)
    for stack, size in ((network.encoder, 0.4), (network.decoder, 0.1)):
        stack.head.kernel.assign(size * rng.standard_normal(stack.head.kernel.shape))
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


@pytest.mark.parametrize(("panel", "units"), [(Panel(4, 2, 2), 13), (Panel(4, 1, 1), 5), (Panel(2, 1, 2), 18)])
def test_before_training_it_is_the_plain_code(plain, rng, panel, units):
    """Whole parts are those of a loop over the cells, and cells are steps of them again."""
    frame = Frame(panel, units)
    step = np.float32([0.1, 0.2, 0.05, 0.3, 0.15, 0.08])
    _, c = frame.sparsest(sparse(rng, panel, units)[:, None], step)
    _, cells = frame.to_origin(c[:, 0])
    window = Window(frame)
    q = window.symbols(plain, cells, step)
    found = window.cells(plain, q.astype(np.float32), step)
    shape = frame.shape
    for item in range(len(cells)):
        for cell in range(cells.shape[1]):
            y = complex(cells[item, cell]) / float(step[item])
            _, n2, n1, tap = (int(x) for x in np.unravel_index(cell, shape))
            n2, n1, tap = ((x + n // 2) % n - n // 2 for x, n in zip((n2, n1, tap), shape[1:], strict=True))
            turn = 1
            if abs(tap) <= 6:
                for offset, n in ((n2, shape[1]), (n1, shape[2]), (tap, shape[3])):
                    turn *= np.exp(1j * np.pi * (n - 1) * offset / n)
                parts = [np.round((y * turn).real), np.round((y * turn).imag)]
            else:
                parts = [np.sign(p) * np.floor(abs(p) + 0.36) for p in (y.real, y.imag)]
            if cell == 0:
                parts = [max(parts[0], 1), 0]
            near = min(abs(abs(p % 1) - 0.5) for p in ((y * turn).real, (y * turn).imag)) < 1e-3
            near |= min(abs((abs(p) + 0.36) % 1) for p in (y.real, y.imag)) < 1e-3
            assert near or tuple(q[:, item, cell]) == tuple(parts), (item, cell, y)
            back = (q[0, item, cell] + 1j * q[1, item, cell]) * step[item] * np.conj(turn)
            assert abs(found[item, cell] - back) < 1e-5


def test_the_origin_is_always_sent(moved, rng):
    frame = Frame(Panel(4, 2, 2), 13)
    _, c = frame.sparsest(sparse(rng, frame.panel, 13)[:, None], np.full(6, 0.3, np.float32))
    q = Window(frame).symbols(moved, frame.to_origin(c[:, 0])[1], np.full(6, 0.9, np.float32))
    assert (q[0, :, 0] >= 1).all() and (q[1, :, 0] == 0).all()
    assert (q != 0).any(axis=(0, 1))[1:].any()


def test_scales_are_those_of_a_loop(rng):
    """Each from the latents before it in the order of coding alone."""
    beams, size = (1, 2), 2 * WIDTH
    order = rng.permutation(size)
    prior = ContextPrior(order, beams)
    for w, most in ((prior.offset, 0.3), (prior.across, 0.05), (prior.around, 0.1)):
        w.assign(rng.uniform(-most, most, w.shape))
    q = rng.integers(-5, 6, (2, size)) * (rng.random((2, size)) < 0.2)
    step = np.float32([0.02, 0.1])
    found = ops.convert_to_numpy(prior(ops.convert_to_tensor(q.astype(np.float32)), ops.convert_to_tensor(step)))
    offset, across, around = (ops.convert_to_numpy(w).astype(float) for w in (prior.offset, prior.across, prior.around))

    def place(i):
        beam, rest = divmod(int(i), WIDTH)
        return beam, rest // 26, rest % 26 // 2

    for item in range(2):
        t = np.log2(step[item] / 0.125)
        for later in range(0, size, 7):
            here = place(order[later])
            log = offset[0, later] + offset[1, later] * t + offset[2, later] * t**2
            energy = np.zeros(6)
            for earlier in range(later):
                x, there = abs(int(q[item, order[earlier]])), place(order[earlier])
                log += across[0, earlier, later] * min(x, 1) + across[1, earlier, later] * np.clip(x - 1, 0, 3)
                beam, pol, tap = (a == b for a, b in zip(here, there, strict=True))
                close = (here[2] - there[2]) % 13 in (0, 1, 12)  # both beams are neighbours, or the same
                energy += x**2 * np.array(
                    [1, 0, beam and pol, beam and not pol, tap, close and not (beam and pol and tap)]
                )
            energy[1] = max(step[item] ** -2.0 - energy[0], 0)
            log += around[:, later] @ np.log2(1 + energy)
            assert found[item, order[later]] == pytest.approx(np.exp(np.clip(log, np.log(0.02), np.log(50))), rel=2e-4)


def test_bits_are_those_of_a_density():
    """Probabilities of all whole numbers have the sum 1, and are differences of the logistic distribution."""
    q = np.arange(-400, 401, dtype=np.float32)
    for scale in (0.1, 0.7, 5.0):
        found = 2.0 ** -ops.convert_to_numpy(bits(ops.convert_to_tensor(q), scale)).astype(float)
        assert found.sum() == pytest.approx(1, abs=1.5e-3)
        expected = [1 / (1 + np.exp(-(x + 0.5) / scale)) - 1 / (1 + np.exp(-(x - 0.5) / scale)) for x in (0.0, 2.0)]
        np.testing.assert_allclose(found[[400, 402]], expected, rtol=1e-3, atol=2e-6)


@pytest.fixture(scope="module")
def directions():
    rng, panel = np.random.default_rng(5), Panel(4, 2, 2)
    return DirectionSet(Frame(panel, 13), sparse(rng, panel, 13, 20)[:, None], np.full(20, 0.15, np.float32))


def training_of(network, directions):
    order = np.random.default_rng(0).permutation(8 * WIDTH)
    return CodecTraining(network, ContextPrior(order, (2, 4)), directions.kernel(), 0.06)


def test_conjugate_channels_have_conjugate_reports(moved, directions):
    """Networks that are not symmetric by themselves give symbols and directions that are."""
    frame = Frame(Panel(4, 2, 2), 13)
    window, step = Window(frame), directions.step
    _, cells = frame.to_origin(directions.c)
    turn = np.zeros(cells.shape[1], np.complex64)
    turn[window._cells.ravel()] = window._turn.ravel()
    mirrored = np.where(turn != 0, (cells * turn).conj() * turn.conj(), cells)
    q, other = window.symbols(moved, cells, step), window.symbols(moved, mirrored.astype(np.complex64), step)
    inside = window._cells.ravel()
    same = (q[0][:, inside] == other[0][:, inside]) & (q[1][:, inside] == -other[1][:, inside])
    assert same.mean() > 0.999  # but for what lies on an edge
    x = window.cells(moved, q.astype(np.float32), step)[:, inside] * turn[inside]
    q[1] *= -1
    y = window.cells(moved, q.astype(np.float32), step)[:, inside] * turn[inside]
    np.testing.assert_allclose(y, x.conj(), atol=1e-5)
    alone = ops.convert_to_numpy(moved.encode(ops.convert_to_tensor(window.tokens(cells, step))))
    turned = ops.convert_to_numpy(
        moved.encode(ops.convert_to_tensor(window.tokens(mirrored.astype(np.complex64), step)))
    )
    assert np.abs(turned[:, 1::2] + alone[:, 1::2]).max() > 0.05


def test_loss_is_distortion_and_rate(plain, directions):
    """SGCS of the precoders that the coefficients give, and the rate times squared steps."""
    x, y = directions.batch(np.arange(20), directions.step)
    model = training_of(plain, directions)
    coefficients, length = model(ops.convert_to_tensor(x), training=False)
    loss = ops.convert_to_numpy(
        model.compute_loss(ops.convert_to_tensor(x), ops.convert_to_tensor(y), (coefficients, length))
    )
    frame = Frame(Panel(4, 2, 2), 13)
    window = Window(frame)
    row, cells = frame.to_origin(directions.c)
    q = window.symbols(plain, cells, directions.step)
    w = frame.directions(
        np.zeros(20, int), row[:, None], window.cells(plain, q.astype(np.float32), directions.step)[:, None]
    )
    v = frame.directions(np.zeros(20, int), row[:, None], frame.off_grid(row, frame.taps(directions.c))[:, None])
    sgcs = np.mean(np.abs(np.sum(w.conj() * v, axis=1)) ** 2, axis=(1, 2))
    expected = np.mean((1 - sgcs + 0.06 * 0.15**2 * ops.convert_to_numpy(length)) * 0.15**-0.75)
    assert loss == pytest.approx(expected, abs=2e-4)


def test_gradients_are_finite_where_all_symbols_are_zero(moved, directions):
    """Their norm, and the strongest of them, have no derivative there."""
    import tensorflow as tf

    x, _ = directions.batch(np.arange(4), directions.step[:4])
    symbols = tf.Variable(np.zeros((4, 8 * WIDTH), np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(moved.decode(symbols, tf.constant(x)) ** 2)
    assert np.isfinite(tape.gradient(loss, symbols)).all()


class TestReports:
    tables = Tables.load(zoo_folder() / "beamdelay-urban" / "tables.npz")

    @pytest.mark.parametrize("budget", [24, 60, 150])
    def test_fit_and_every_prefix_is_one(self, moved, rng, budget):
        panel = Panel(4, 2, 2)
        book = LearnedCodebook(moved, panel, 13, 1, 2, self.tables, None, budget)
        h = np.concatenate([channels(rng, panel, 13), channels(rng, panel, 13)], axis=1)
        pmi = book.select(h)
        _, part2, length = book.pack(pmi)
        assert part2.shape == (5, budget) and (length == budget).all()
        again, valid = book.unpack(np.zeros((5, 0), np.uint8), part2, length)
        assert valid.all() and np.linalg.norm(book.precoder(again), axis=1) == pytest.approx(1, abs=1e-5)
        content = book.coder.ideal_bits(book.content(*self.aligned(book, h), pmi["step"]))
        fits = content.sum(axis=(0, 2)) + book.coder.head_bits() <= budget - 1
        for key in ("real", "imag"):
            np.testing.assert_array_equal(again[key][fits], pmi[key][fits])
        for cut in (budget // 2, 1):
            known, _ = book.unpack(np.zeros((5, 0), np.uint8), part2[:, :cut], np.full(5, cut))
            assert np.linalg.norm(book.precoder(known), axis=1) == pytest.approx(1, abs=1e-5)

    @staticmethod
    def aligned(book, h):
        from simulator.maths.transforms import subband_eigenvectors

        v = subband_eigenvectors(h, 1, 2)
        return book.frame.sparsest(v, np.full(len(v), book.steps[(len(book.steps) - 1) // 2], np.float32))

    def test_a_finer_step_is_taken_where_it_fits(self, plain, rng):
        panel = Panel(4, 2, 2)
        steps = [
            LearnedCodebook(plain, panel, 13, 1, 1, self.tables, None, b).select(channels(rng, panel, 13))["step"]
            for b in (30, 300)
        ]
        assert all((s >= 0).all() for s in steps) and steps[1].max() > 0


def test_coefficients_have_the_energy_of_their_frame(plain, directions):
    x, _ = directions.batch(np.arange(3), directions.step[:3])
    y = ops.convert_to_numpy(plain(ops.convert_to_tensor(x)))
    np.testing.assert_allclose(np.sum(y**2, axis=(1, 2)), GAIN**2, rtol=1e-5)
