"""Refinement of decoded reports: the frame against closed forms and loops, and what holds for any weights."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from receivers.codebooks.beam_delay import BeamDelayReport
from receivers.codebooks.dft import dft_beams_2d
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.feedback.beamdelay import BeamDelayFeedback
from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.feedback.refinement import ReportRefinement, answers
from receivers.models.beam_transformer import BeamTransformer
from receivers.models.report_frame import TAPS, ReportFrame, decoded
from receivers.models.report_gate import ReportGate
from receivers.training.data.reports import ReportSet
from receivers.training.report_gate import fit_gate, tried
from receivers.weights.folder import TrainedRefiner
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, Panel
from simulator.maths.transforms import subband_eigenvectors

PANEL = Panel(4, 2, 2)


def report(rng, size=(2, 2, 4), units=13, layers=1, reports=3, share=0.2):
    shape = (reports, layers, int(np.prod(size)), units)
    x = rng.standard_normal((*shape, 2)).astype(np.float32).view(np.complex64)[..., 0]
    x *= rng.random(shape) < share
    x[:, :, shape[2] // 2, units // 2] = 4j
    return BeamDelayReport(np.arange(reports) % 4, x, x != 0, np.full(shape[:2], 0.3), True)


def body(tokens):
    """Coefficients ``[layer, beam, 2, 13, 2]`` within tokens."""
    return tokens[..., : 6 * TAPS].reshape(*tokens.shape[:2], 2, TAPS, 3)[..., :2]


def folder(path, network, **facts):
    path.mkdir()
    network.save_weights(path / "model.weights.h5")
    digest = hashlib.sha256((path / "model.weights.h5").read_bytes()).hexdigest()
    card = {
        "name": path.name,
        "task": "refinement",
        "model": {"name": "beam_transformer", "params": network.get_config()},
        "weights": {"file": "model.weights.h5", "sha256": digest},
        **facts,
    }
    (path / "card.json").write_text(json.dumps(card))
    return str(path)


def unit(w):
    """Unit norm over the rows ``[report, row, unit]`` or ``[report, layer, row, unit]``."""
    return w / np.linalg.norm(w, axis=-2, keepdims=True)


@pytest.fixture
def network():
    return BeamTransformer(dim=16, num_layers=1, num_heads=2, hidden=16)


@pytest.fixture
def trained(network, tmp_path, rng):
    """Weights of any value."""
    network.head.kernel.assign(0.1 * rng.standard_normal(network.head.kernel.shape))
    return folder(tmp_path / "some", network)


class TestFrame:
    def test_one_path_between_beams_and_taps_is_real(self):
        """Coefficients of a plane wave at one delay: sines over sines (Dirichlet kernels), closed form."""
        n, units, beam, tap = 4, 13, 1.3, 4.4
        across = np.exp(2j * np.pi * beam * np.arange(n) / n)
        along = np.exp(2j * np.pi * tap * np.arange(units) / units)
        c = dft_beams_2d(n, 1, 1, 1).conj() @ across
        x = np.outer(c, np.fft.fft(along) / units)
        x = np.concatenate([x, 0.5j * x]).astype(np.complex64)[None, None]
        frame = ReportFrame((2, 1, n), units)
        got = body(frame.tokens(BeamDelayReport(np.zeros(1, int), x, x != 0, np.ones((1, 1)), True)))[0]

        def kernel(distance, size):
            return np.sin(np.pi * distance) / np.sin(np.pi * distance / size)

        expected = np.outer(kernel(beam - 1 - (np.arange(n) - 2), n), kernel(tap - 4 - (np.arange(13) - 6), units))
        expected /= np.linalg.norm(expected)
        scale = got[2, 0, 6, 0] / expected[2, 6]
        np.testing.assert_allclose(got[:, 0, :, 0], scale * expected, atol=1e-5)
        np.testing.assert_allclose(got[:, 1, :, 1], 0.5 * scale * expected, atol=1e-5)
        np.testing.assert_allclose(got[:, 0, :, 1], 0, atol=1e-5)

    @pytest.mark.parametrize(("size", "units"), [((2, 2, 4), 13), ((1, 1, 3), 4), ((2, 1, 5), 26), ((2, 4, 4), 1)])
    def test_back_without_a_change(self, rng, size, units):
        sent, frame = report(rng, size, units, layers=2), ReportFrame(size, units)
        np.testing.assert_allclose(frame.coefficients(body(frame.tokens(sent)), sent), sent.x, atol=1e-5)

    def test_taps_beyond_the_window_stay(self, rng):
        sent = report(rng, units=26)
        frame = ReportFrame((2, 2, 4), 26)
        got = frame.coefficients(np.zeros((3, 8, 2, TAPS, 2), np.float32), sent)
        inside = (np.arange(26) - 13 + 6) % 26 < 13
        assert (got[..., inside] == 0).all()
        np.testing.assert_array_equal(got[..., ~inside], sent.x[..., ~inside])

    @pytest.mark.parametrize("units", [13, 8, 26])
    def test_spectrum_and_target_as_in_a_loop(self, rng, units):
        """|<v, w>| of every unit is that of beam sums in the antenna domain."""
        frame, sent = ReportFrame((2, 2, 4), units), report(rng, units=units, reports=2)
        if units > TAPS:
            sent.x[..., (np.arange(units) - 13 + 6) % 26 >= 13] = 0
        c = rng.standard_normal((2, 16, units, 2)).view(np.complex128)[..., 0]
        y = body(frame.tokens(sent))
        w = (y.reshape(-1, 2 * TAPS) @ frame.kernel()).reshape(2, 8, 2, units, 2)
        v = frame.target(c, frame.origin(sent.x[:, 0]))
        w, v = (a[..., 0] + 1j * a[..., 1] for a in (w, v))
        beams = dft_beams_2d(4, 2, 1, 1).reshape(4, 2, -1)
        for n in range(2):
            for t in range(units):
                exact, decoded = np.zeros(16, complex), np.zeros(16, complex)
                for row in range(16):
                    pol, n2, n1 = row // 8, row % 8 // 4, row % 4
                    beam = np.concatenate([beams[n1, n2] * (pol == 0), beams[n1, n2] * (pol == 1)])
                    exact += c[n, row, t] * beam
                    for tap in range(units):
                        decoded += sent.x[n, 0, row, tap] * beam * np.exp(2j * np.pi * t * tap / units)
                expected = abs(np.vdot(exact, decoded)) / np.linalg.norm(decoded)
                got = abs(np.vdot(v[n, ..., t], w[n, ..., t])) / np.linalg.norm(w[n, ..., t])
                assert got == pytest.approx(expected, rel=1e-4)

    def test_phase_scale_and_place_of_a_report_do_not_matter(self, rng):
        sent, frame = report(rng), ReportFrame((2, 2, 4), 13)
        x = sent.x.reshape(3, 1, 2, 2, 4, 13)
        moved = np.roll(x, (1, 1, 3, 5), axis=(2, 3, 4, 5)).reshape(sent.x.shape) * (2 * np.exp(0.7j))
        other = BeamDelayReport(sent.group, moved.astype(np.complex64), moved != 0, 2 * sent.threshold, True)
        np.testing.assert_allclose(frame.tokens(other), frame.tokens(sent), atol=2e-5)


class TestNetwork:
    def test_identity_before_training(self, network, tmp_path, rng):
        sent = report(rng)
        refine = ReportRefinement("refine", folder(tmp_path / "w", network), (2, 2, 4), 13)
        one, two = (unit(np.fft.ifft(x, axis=3)) for x in (refine(sent), sent.x))
        np.testing.assert_allclose(one, two, atol=1e-5)

    def test_answers_to_a_report_and_to_its_conjugate(self, rng):
        """A bias of the imaginary part, on a report and on its conjugate: the mean of the answers has none."""
        sent, frame = report(rng), ReportFrame((2, 2, 4), 13)

        def biased(tokens, training):
            return decoded(np.asarray(tokens)) + np.tile(np.array([0, 0.5], np.float32), 2 * TAPS)

        one, two = answers(biased, frame, sent)
        assert np.abs(one - sent.x).max() > 0.05
        np.testing.assert_allclose((one + two) / 2, sent.x, atol=1e-5)

    def test_phase_and_place_pass_through(self, trained, rng):
        """A turned and shifted report has the turned and shifted refinement."""
        sent = report(rng)
        refine = ReportRefinement("refine", trained, (2, 2, 4), 13)
        found = refine(sent)
        assert np.abs(found - sent.x).max() > 0.01
        turn = np.complex64(np.exp(1.9j))
        moved = np.roll(sent.x, 3, axis=3) * turn
        again = refine(BeamDelayReport(sent.group, moved, moved != 0, sent.threshold, True))
        np.testing.assert_allclose(again, np.roll(found, 3, axis=3) * turn, atol=1e-4)

    def test_blocks_of_reports_make_no_difference(self, trained, rng, monkeypatch):
        sent = report(rng, reports=5)
        refine = ReportRefinement("refine", trained, (2, 2, 4), 13)
        whole = refine(sent)
        monkeypatch.setattr("receivers.feedback.refinement._CHUNK", 2)
        np.testing.assert_allclose(refine(sent), whole, atol=1e-5)

    def test_order_of_beams_is_no_matter_of_the_network(self, network, rng):
        tokens = ReportFrame((2, 2, 4), 13).tokens(report(rng))
        network.head.kernel.assign(rng.standard_normal(network.head.kernel.shape))
        order = rng.permutation(8)
        np.testing.assert_allclose(
            np.asarray(network(tokens[:, order])), np.asarray(network(tokens))[:, order], atol=1e-4
        )

    def test_layers_that_it_does_not_know_stay(self, trained, rng):
        sent = report(rng, layers=3)
        found = ReportRefinement("refine", trained, (2, 2, 4), 13)(sent)
        np.testing.assert_array_equal(found[:, 1:], sent.x[:, 1:])
        assert np.abs(found[:, 0] - sent.x[:, 0]).max() > 0.01


class TestGate:
    WEIGHTS = (2.0, 0.5, 0.7, 1.1)

    @pytest.mark.parametrize("logarithmic", [True, False])
    def test_share_and_directions_as_in_a_loop(self, rng, logarithmic):
        sent = replace(report(rng, layers=2), logarithmic=logarithmic)
        size = np.sqrt(np.sum(np.abs(sent.x) ** 2, axis=(2, 3)))
        sent = replace(sent, threshold=size * np.array([[0.05, 0.19], [0.17, 0.185], [0.2, 0.3]]))
        refined = [sent.x + 0.1 * rng.standard_normal((*sent.x.shape, 2)) @ [1, 1j] for _ in range(2)]
        refined[1] = refined[1] * np.exp(2j)
        got = unit(np.fft.ifft(ReportGate(self.WEIGHTS)(sent, refined), axis=3))
        for n, layer in np.ndindex(3, 2):
            w0 = unit(np.fft.ifft(sent.x[n, layer], axis=1)[None])[0]
            both = []
            for y in refined:
                w = unit(np.fft.ifft(y[n, layer], axis=1)[None])[0]
                both.append([w[:, t] * np.exp(-1j * np.angle(np.vdot(w0[:, t], w[:, t]))) for t in range(13)])
            w1 = np.mean(both, axis=0)
            w1 = (w1 / np.linalg.norm(w1, axis=1, keepdims=True)).T
            change = np.mean([np.linalg.norm(w1[:, t] - w0[:, t]) ** 2 for t in range(13)])
            t = sent.threshold[n, layer] / size[n, layer]
            x = 2 + 0.5 * np.log2(t) + 0.7 * np.log2(np.sum(sent.x[n, layer] != 0)) + 1.1 * np.log2(change + 1e-5)
            share = 1 / (1 + np.exp(-x)) * (1 if logarithmic else min(max((0.2 - t) / 0.03, 0), 1))
            expected = (1 - share) * w0 + share * w1
            expected /= np.linalg.norm(expected, axis=0)
            np.testing.assert_allclose(got[n, layer], expected, atol=1e-5)

    def test_coarsest_reports_stay_as_decoded(self, trained, rng):
        """With a gate in the card: a uniform threshold of a fifth of the amplitude closes it, a logarithmic one not."""
        card = json.loads((Path(trained) / "card.json").read_text())
        (Path(trained) / "card.json").write_text(json.dumps({**card, "gate": [5, 0, 0, 0]}))
        refine = ReportRefinement("refine", trained, (2, 2, 4), 13)
        sent = report(rng)
        size = np.sqrt(np.sum(np.abs(sent.x) ** 2, axis=(2, 3)))
        for logarithmic in (True, False):
            coarse = replace(sent, threshold=0.201 * size, logarithmic=logarithmic)
            one, two = (unit(np.fft.ifft(x, axis=3)) for x in (refine(coarse), sent.x))
            assert (np.abs(one - two).max() > 0.01) == logarithmic

    def test_fit_trusts_where_it_gains(self, monkeypatch):
        """Features that tell gain from loss: shares near 1 and 0; a coin, whose losses count four times: near 0."""
        share = np.linspace(0, 1, 11)

        def made(network, reports, samples):
            rng = np.random.default_rng(0)
            good = np.arange(400) % 2 == 0
            x = np.stack([rng.standard_normal(400), rng.standard_normal(400), np.where(good, -3.0, -6.0)], axis=1)
            sign = np.where(good if reports == "told" else rng.random(400) < 0.5, 1, -1)
            return x, 0.02 * sign[:, None] * share, np.ones(400)

        monkeypatch.setattr("receivers.training.report_gate.tried", made)
        told, coin = (ReportGate(fit_gate(None, [[kind]], 400)) for kind in ("told", "coin"))
        good, bad = np.array([[0, 0, -3.0]]), np.array([[0, 0, -6.0]])
        assert told.share(good, True) > 0.9 > 0.1 > told.share(bad, True)
        assert max(coin.share(good, True), coin.share(bad, True)) < 0.1

    @pytest.mark.long
    def test_gains_of_shares_are_those_of_the_scheme(self, trained, rng):
        """0 at share 0; at share 1 the SGCS of what the gNB precodes, less that of the report."""
        config = CsiConfig(PANEL, 1, 26, 360e3, subband_size=2)
        plain, refined = (
            EnhancedTypeTwoFeedback(config, combination=4, rank=1, **m) for m in ({}, {"refine": trained})
        )
        h = rng.standard_normal((5, 1, 1, 16, 26, 2)).view(np.complex128)[..., 0].astype(np.complex64)
        v = subband_eigenvectors(h[:, 0], 2, 1)
        sent = plain.report(CsiEstimate(h, np.zeros((5, 1), np.float32)))
        before, after = (
            np.mean(np.abs(np.einsum("ntp,npt->nt", v[:, 0].conj(), s.reconstruct(sent).w[:, 0, :, 0])) ** 2, axis=1)
            for s in (plain, refined)
        )
        _, gains, _ = tried(TrainedRefiner(trained).model, ReportSet(plain.codebooks[1], v, h[:, 0]), 5)
        np.testing.assert_allclose(gains[:, 0], 0, atol=1e-6)
        np.testing.assert_allclose(gains[:, -1], after - before, atol=1e-4)
        assert np.abs(gains[:, -1]).max() > 0.01

    @pytest.mark.long
    def test_shipped_gate_on_channels_without_structure(self, rng):
        """Coefficients at random places, of which the network knows nothing: it loses .0022, without its gate .0057."""
        config = CsiConfig(Panel(8, 2, 2), 1, 52, 360e3, subband_size=4)
        plain = EnhancedTypeTwoFeedback(config, combination=1, rank=1)
        refined = EnhancedTypeTwoFeedback(config, combination=1, rank=1, refine="refine-urban")
        book = plain.codebooks[1]
        x = np.zeros((200, 1, 32, 13), np.complex64)
        for n in range(200):
            coefficients = rng.uniform(0.5, 1, 6) * np.exp(2j * np.pi * rng.random(6))  # no two alike: no ties
            x[n, 0, rng.integers(32, size=6), rng.integers(13, size=6)] = coefficients
        v = np.moveaxis(book.combine(rng.integers(0, 16, 200), x)[:, :, 0], 1, 2)
        h = np.repeat(np.moveaxis(v, 1, 2).conj(), 4, axis=2)[:, None, None]
        sent = plain.report(CsiEstimate(h, np.zeros((200, 1), np.float32)))
        score = [
            np.mean(np.abs(np.einsum("ntp,npt->nt", v.conj(), s.reconstruct(sent).w[:, 0, :, 0])) ** 2)
            for s in (plain, refined)
        ]
        assert score[1] > score[0] - 0.0035


class TestEnhancedTypeTwo:
    CONFIG = CsiConfig(PANEL, 2, 26, 360e3, subband_size=2, num_layers=2)

    def estimate(self, rng):
        h = rng.standard_normal((3, 2, 2, 16, 26, 2)).view(np.complex128)[..., 0].astype(np.complex64)
        return CsiEstimate(h, np.zeros((3, 2), np.float32))

    @pytest.mark.parametrize("combination", [1, 6])
    def test_coefficients_on_the_grid_are_the_precoder(self, rng, combination):
        book = EnhancedTypeTwoCodebook(PANEL, 26, 2, 2, combination, 2)
        pmi = book.select(self.estimate(rng).h_hat[:, 0])
        sent = book.beam_delay(pmi)
        np.testing.assert_allclose(book.combine(sent.group, sent.x), book.precoder(pmi), atol=1e-5)
        assert (sent.sent.sum(axis=(2, 3)) == 2 * book.num_beams * book.num_taps).all()
        assert (np.count_nonzero(sent.x, axis=(1, 2, 3)) == pmi["bitmap"].sum(axis=(1, 2, 3))).all()

    def test_same_bits_other_directions_of_unit_norm(self, trained, rng):
        csi = self.estimate(rng)
        plain, refined = (
            EnhancedTypeTwoFeedback(self.CONFIG, combination=4, rank=1, **more) for more in ({}, {"refine": trained})
        )
        sent = refined.report(csi)
        np.testing.assert_array_equal(sent.bits, plain.report(csi).bits)
        one, two = plain.reconstruct(sent).w, refined.reconstruct(sent).w
        assert np.abs(one - two).max() > 0.01
        np.testing.assert_allclose(np.linalg.norm(two[..., 0, :], axis=2), 1, rtol=1e-5)
        assert refined.label == plain.label + "-some"

    def test_unknown_weights(self):
        with pytest.raises(ConfigError, match=r"feedback\.etype2-r16\.refine"):
            EnhancedTypeTwoFeedback(self.CONFIG, refine="nobody")
        with pytest.raises(ConfigError, match=r"feedback\.etype2-r16\.refine"):
            EnhancedTypeTwoFeedback(self.CONFIG, refine="evt-80")


class TestBeamDelay:
    CONFIG = CsiConfig(PANEL, 1, 26, 360e3, subband_size=2)

    def test_coefficients_on_the_grid_are_the_precoder(self, rng):
        book = BeamDelayFeedback(self.CONFIG, step=0.2, rank=1).codebooks[1]
        h = rng.standard_normal((4, 1, 16, 26, 2)).view(np.complex128)[..., 0].astype(np.complex64)
        pmi, good = book.unpack(*book.pack(book.select(h)))
        sent = book.beam_delay(pmi)
        assert good.all()
        np.testing.assert_allclose(book.combine(sent.group, sent.x), book.precoder(pmi), atol=1e-5)
        np.testing.assert_allclose(sent.threshold, 0.65 * 0.2, rtol=1e-2)

    def test_projection_is_the_inverse_of_beams(self, rng):
        """Coefficients in all beams of a group, summed again, are the direction."""
        book = BeamDelayFeedback(self.CONFIG, step=0.2, rank=1).codebooks[1]
        v = rng.standard_normal((2, 1, 13, 16, 2)).view(np.complex128)[..., 0]
        v = (v / np.linalg.norm(v, axis=3, keepdims=True)).astype(np.complex64)
        x = np.fft.fft(book.project(np.array([0, 3]), v), axis=3).astype(np.complex64) / 13
        w = book.combine(np.array([0, 3]), x)
        inner = np.abs(np.einsum("nltp,nplt->nlt", v.conj(), w))
        np.testing.assert_allclose(inner, 1, atol=1e-4)

    @pytest.mark.long
    def test_same_bits_other_directions(self, trained, rng):
        h = rng.standard_normal((3, 2, 1, 16, 26, 2)).view(np.complex128)[..., 0].astype(np.complex64)
        csi = CsiEstimate(h, np.zeros((3, 2), np.float32))
        plain, refined = (BeamDelayFeedback(self.CONFIG, bits=80, rank=1, **m) for m in ({}, {"refine": trained}))
        sent = refined.report(csi)
        np.testing.assert_array_equal(sent.bits, plain.report(csi).bits)
        one, two = plain.reconstruct(sent).w, refined.reconstruct(sent).w
        assert np.abs(one - two).max() > 0.01
        np.testing.assert_allclose(np.linalg.norm(two, axis=2), 1, rtol=1e-5)
        assert refined.label == plain.label + "-some"

    @pytest.mark.long
    def test_reports_of_64_ports_in_one_block(self, rng):
        """More than 2**18 cells of a block: NumPy then reuses temporary arrays, whose type must hold the result."""
        config = CsiConfig(Panel(8, 4, 2), 1, 13, 360e3, subband_size=1)
        book = BeamDelayFeedback(config, step=0.5, rank=1).codebooks[1]
        h = rng.standard_normal((320, 1, 64, 1, 2)).view(np.complex128)[..., 0].repeat(13, axis=3)
        pmi = book.select(h.astype(np.complex64))
        decoded, good = book.unpack(*book.pack(pmi))
        assert good.all()
        np.testing.assert_array_equal(decoded["real"], pmi["real"])
