"""Beams, codebook search and the schemes rvq, dft and perfect against exhaustive search in float64."""

import numpy as np
import pytest
from tolerances import FLOAT32, TABLE_5, assert_close

from receivers.codebooks.dft import dft_beams, dft_beams_2d
from receivers.codebooks.rvq import rvq_codebook, rvq_mean_cos2
from receivers.codebooks.search import best_codeword
from receivers.feedback.dft import DftFeedback
from receivers.feedback.perfect import PerfectFeedback
from receivers.feedback.rvq import RvqFeedback
from simulator.core.errors import ConfigError, PayloadError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel


def channel(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


PANEL = Panel(4, 2, 2)


def config(panel=PANEL, num_rx_ant=1, num_subcarriers=10, subband_size=4, num_layers=1):
    return CsiConfig(panel, num_rx_ant, num_subcarriers, 360e3, subband_size, num_layers)


def estimate(rng, cfg, batch=6, users=3):
    h = channel(rng, batch, users, cfg.num_rx_ant, cfg.panel.num_ports, cfg.num_subcarriers)
    return CsiEstimate(h, np.zeros((batch, users), np.float32))


def gain(h, w):
    """Energy that arrives through beam ``w`` ``[port]``, for ``h`` ``[rx, port, subcarrier]``."""
    return np.sum(np.abs(np.einsum("rpn,p->rn", h.astype(np.complex128), w)) ** 2)


class TestDftBeams:
    @pytest.mark.parametrize(("n", "oversampling"), [(1, 1), (4, 1), (8, 4)])
    def test_definition(self, n, oversampling):
        beams = dft_beams(n, oversampling)
        assert beams.shape == (n * oversampling, n) and beams.dtype == np.complex64
        for m, k in np.ndindex(beams.shape):
            expected = np.exp(2j * np.pi * m * k / (n * oversampling)) / np.sqrt(n)
            assert abs(beams[m, k] - expected) < FLOAT32

    def test_beams_one_oversampling_apart_are_orthogonal(self):
        beams = dft_beams(8, 4)[::4]
        assert_close(beams @ beams.conj().T, np.eye(8), FLOAT32)

    def test_panel_beams_number_and_axes(self):
        """Beam ``l * o2 * n2 + m``; n2 is the fast axis of the ports (TS 38.214, ``v_lm``)."""
        n1, n2, o1, o2 = 4, 2, 4, 2
        beams = dft_beams_2d(n1, n2, o1, o2)
        assert beams.shape == (n1 * o1 * n2 * o2, n1 * n2)
        for beam1, beam2, i, j in [(0, 0, 3, 1), (3, 1, 2, 1), (15, 3, 1, 0), (6, 2, 3, 1)]:
            phase = 2 * np.pi * (beam1 * i / (n1 * o1) + beam2 * j / (n2 * o2))
            assert abs(beams[beam1 * o2 * n2 + beam2, i * n2 + j] - np.exp(1j * phase) / np.sqrt(8)) < FLOAT32


class TestRvqCodebook:
    def test_unit_norm_and_isotropic(self):
        words = rvq_codebook(8, 14, seed=3)
        assert words.shape == (2**14, 8) and words.dtype == np.complex64
        np.testing.assert_allclose(np.linalg.norm(words, axis=1), 1, rtol=FLOAT32)
        # E[c c^H] = I / M; entries have standard error below 1 / M / sqrt(2^14).
        assert np.abs(words.T @ words.conj() / 2**14 - np.eye(8) / 8).max() < 5 / 8 / 2**7
        assert np.abs(words.mean(axis=0)).max() < 5 / np.sqrt(8 * 2**14)

    def test_seeds(self):
        np.testing.assert_array_equal(rvq_codebook(4, 3, seed=1), rvq_codebook(4, 3, seed=1))
        assert (rvq_codebook(4, 3, seed=1) != rvq_codebook(4, 3, seed=2)).any()

    @pytest.mark.parametrize(("num_ports", "bits", "value"), [(128, 8, 0.04703), (128, 12, 0.06760), (64, 8, 0.09245)])
    def test_printed_values_of_the_closed_form(self, num_ports, bits, value):
        assert rvq_mean_cos2(num_ports, bits) == pytest.approx(value, abs=TABLE_5)

    def test_closed_form_by_hand(self):
        # One codeword: E = 1 / M. Two ports: 1 - N Beta(N, 2) = 1 - 1 / (N + 1).
        assert rvq_mean_cos2(8, 0) == pytest.approx(1 / 8)
        for bits in (1, 4, 10):
            assert rvq_mean_cos2(2, bits) == pytest.approx(1 - 1 / (2**bits + 1))


class TestSearch:
    @pytest.mark.parametrize(
        ("reports", "vectors", "ports", "bits"),
        [(1, 1, 1, 1), (300, 1, 8, 5), (70, 3, 4, 7), (9, 13, 4, 3), (3, 600, 2, 2), (2, 5, 32, 12)],
    )
    def test_against_exhaustive_search(self, rng, reports, vectors, ports, bits):
        h, words = channel(rng, reports, vectors, ports), rvq_codebook(ports, bits, seed=4)
        index = best_codeword(h, words)
        assert index.shape == (reports,) and index.dtype == np.int64
        for j in range(reports):
            energy = np.sum(np.abs(h[j].astype(np.complex128) @ words.T.astype(np.complex128)) ** 2, axis=0)
            # Codewords within float32 of the best one may win.
            assert energy[index[j]] >= energy.max() * (1 - 1e-5)

    def test_blocks_do_not_matter(self, rng, monkeypatch):
        h, words = channel(rng, 40, 2, 8), rvq_codebook(8, 11, seed=4)
        whole = best_codeword(h, words)
        monkeypatch.setattr("receivers.codebooks.search._BLOCK", 1)
        np.testing.assert_array_equal(best_codeword(h, words), whole)

    def test_a_codeword_finds_itself(self):
        words = rvq_codebook(16, 9, seed=5)
        np.testing.assert_array_equal(best_codeword(np.conj(words)[:, None] * np.complex64(3j), words), np.arange(512))


class TestRvqScheme:
    @pytest.mark.parametrize("frequency", ["wideband", "subband"])
    @pytest.mark.parametrize("num_rx_ant", [1, 2])
    def test_reports_the_best_beam(self, rng, frequency, num_rx_ant):
        cfg = config(num_rx_ant=num_rx_ant)
        scheme = RvqFeedback(cfg, bits=6, frequency=frequency, codebooks=5, seed=11)
        csi = estimate(rng, cfg)
        w = scheme.reconstruct(scheme.report(csi)).w
        assert w.shape == (6, 3, 16, 1, 3) and w.dtype == np.complex64
        bands = [slice(0, 10)] * 3 if frequency == "wideband" else [slice(0, 4), slice(4, 8), slice(8, 10)]
        for b, u in np.ndindex(6, 3):
            words = scheme._codebook((b * 3 + u) % 5)
            for s, band in enumerate(bands):
                h = csi.h_hat[b, u, :, :, band]
                assert gain(h, w[b, u, :, 0, s]) >= max(gain(h, c) for c in words) * (1 - 1e-5)

    def test_lengths_and_labels(self):
        assert RvqFeedback(config(), bits=6).max_bits == 6
        assert RvqFeedback(config(), bits=6, frequency="subband").max_bits == 18
        assert RvqFeedback(config(), bits=6).label == "rvq-b6"
        assert RvqFeedback(config(), bits=12, frequency="subband").label == "rvq-b12-subband"

    def test_the_seed_is_public_and_matters(self, rng):
        csi = estimate(rng, config())
        reports = [RvqFeedback(config(), bits=8, seed=s).report(csi).bits for s in (1, 1, 2)]
        np.testing.assert_array_equal(reports[0], reports[1])
        assert (reports[0] != reports[2]).any()

    def test_phase_and_scale_do_not_matter(self, rng):
        csi, scheme = estimate(rng, config()), RvqFeedback(config(), bits=8)
        other = CsiEstimate((csi.h_hat * (1e-6 * np.exp(2.2j))).astype(np.complex64), csi.error_var)
        np.testing.assert_array_equal(scheme.report(csi).bits, scheme.report(other).bits)

    def test_users_with_equal_channels_rarely_share_a_beam(self, rng):
        csi, scheme = estimate(rng, config(), users=2), RvqFeedback(config(), bits=8)
        same = CsiEstimate(np.repeat(csi.h_hat[:, :1], 2, axis=1), csi.error_var)
        w = scheme.reconstruct(scheme.report(same)).w
        assert (np.abs(w[:, 0] - w[:, 1]).max(axis=(1, 2, 3)) > 0.01).all()


class TestDftScheme:
    @pytest.mark.parametrize(
        "panel", [Panel(4, 2, 2), Panel(8, 1, 2), Panel(3, 2, 1), Panel(1, 1, 2), Panel(1, 1, 1)], ids=str
    )
    @pytest.mark.parametrize("cophasing", ["wideband", "subband"])
    def test_against_exhaustive_search(self, rng, panel, cophasing):
        """The scheme finds the best beam, jointly with the best phases, among all of them."""
        cfg = config(panel, num_rx_ant=2)
        scheme = DftFeedback(cfg, cophasing=cophasing)
        csi = estimate(rng, cfg, batch=3, users=2)
        report = scheme.report(csi)
        w = scheme.reconstruct(report).w
        o1, o2 = (4 if n > 1 else 1 for n in (panel.n1, panel.n2))
        beams = dft_beams_2d(panel.n1, panel.n2, o1, o2).astype(np.complex128)
        phases = [1, 1j, -1, -1j] if panel.num_pol == 2 else [None]
        bands = [slice(0, 10)] if cophasing == "wideband" else [slice(0, 4), slice(4, 8), slice(8, 10)]
        beam_bits = int(np.ceil(np.log2(len(beams))))
        assert (report.num_bits == beam_bits + (2 * len(bands) if panel.num_pol == 2 else 0)).all()
        np.testing.assert_allclose(np.linalg.norm(w, axis=2), 1, rtol=FLOAT32)
        for b, u in np.ndindex(3, 2):
            h = csi.h_hat[b, u]
            best = 0
            for v in beams:
                columns = [v if p is None else np.concatenate([v, p * v]) / np.sqrt(2) for p in phases]
                best = max(best, sum(max(gain(h[:, :, band], c) for c in columns) for band in bands))
            reached = sum(gain(h[:, :, n : n + 1], w[b, u, :, 0, n // 4]) for n in range(10))
            assert reached == pytest.approx(best, rel=1e-5)

    def test_a_plane_wave_is_fed_back_without_loss(self):
        """A channel matched to beam (5, 3) with co-phase -j: the payload in bits, and no loss."""
        cfg = config(Panel(4, 2, 2))
        v = np.kron(dft_beams(4, 4)[5], dft_beams(2, 4)[3])
        w = np.concatenate([v, -1j * v]) / np.sqrt(2)
        h = np.conj(w)[None, None, None, :, None] * np.exp(0.7j * np.arange(10))
        scheme = DftFeedback(cfg)
        report = scheme.report(CsiEstimate(h.astype(np.complex64), np.zeros((1, 1), np.float32)))
        number = 5 * (2 * 4) + 3
        assert "".join(map(str, report.bits[0, 0])) == f"{number:07b}" + f"{3:02b}"
        assert_close(scheme.reconstruct(report).w[0, 0, :, 0, 0], w, FLOAT32)

    def test_beams_that_do_not_exist_are_invalid(self):
        scheme = DftFeedback(config(Panel(3, 1, 1)))  # 12 beams in 4 bits
        bits = np.array([[[1, 0, 1, 1]], [[1, 1, 0, 0]], [[1, 1, 1, 1]]], np.uint8)
        known = scheme.reconstruct(CsiReport(bits, np.full((3, 1), 4)))
        assert known.valid.tolist() == [[True], [False], [False]]
        assert (known.w[1:] == 0).all() and np.linalg.norm(known.w[0, 0, :, 0, 0]) == pytest.approx(1, rel=FLOAT32)

    def test_labels(self):
        assert DftFeedback(config()).label == "dft"
        assert DftFeedback(config(), cophasing="subband").label == "dft-subband"


class TestPerfectScheme:
    def test_bit_exact(self, rng):
        cfg = config(num_rx_ant=2)
        csi, scheme = estimate(rng, cfg), PerfectFeedback(cfg)
        report = scheme.report(csi)
        assert (report.num_bits == 64 * 2 * 16 * 10).all() and scheme.label == "perfect"
        np.testing.assert_array_equal(scheme.reconstruct(report).h, csi.h_hat)

    def test_layout_of_the_payload(self):
        cfg = config(Panel(1), num_subcarriers=1, subband_size=1)
        csi = CsiEstimate(np.full((1, 1, 1, 1, 1), 1.5 - 2j, np.complex64), np.zeros((1, 1), np.float32))
        expected = np.array([1.5, -2], "<f4").tobytes()
        assert PerfectFeedback(cfg).report(csi).to_bytes(0, 0) == expected

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
    def test_numbers_that_are_no_channel_are_invalid(self, value):
        cfg = config(Panel(1), num_subcarriers=1, subband_size=1)
        bits = np.unpackbits(np.array([value, 0], "<f4").view(np.uint8))[None, None]
        known = PerfectFeedback(cfg).reconstruct(CsiReport(bits, np.array([[64]])))
        assert not known.valid.any() and (known.h == 0).all()


@pytest.mark.parametrize("build", [lambda c: RvqFeedback(c, bits=4), DftFeedback, PerfectFeedback])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_wrong_length_is_refused(rng, build, change):
    scheme = build(config())
    sent = scheme.report(estimate(rng, config()))
    wider = np.pad(sent.bits, ((0, 0), (0, 0), (0, 1)))
    with pytest.raises(PayloadError, match=f"exactly {scheme.max_bits}"):
        scheme.reconstruct(CsiReport(wider, sent.num_bits + change))


@pytest.mark.parametrize("build", [lambda c: RvqFeedback(c, bits=4), DftFeedback])
def test_one_beam_per_user(build):
    with pytest.raises(ConfigError) as caught:
        build(config(num_rx_ant=2, num_layers=2))
    assert caught.value.field == "precoding.layers_per_user"
