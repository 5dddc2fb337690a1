"""SGCS by subband against float64 loops and closed forms, from arrays and through a link."""

import numpy as np
import pytest
from tolerances import FLOAT32

from receivers.estimation.perfect import PerfectEstimator
from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.feedback.perfect import PerfectFeedback
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, Panel
from simulator.link import Link
from simulator.maths.directions import layer_correlation2, subband_directions
from simulator.precoding.linear import Svd
from simulator.reporting.uplink import UplinkModel
from simulator.scores.csi import Sgcs
from simulator.scores.subband import SgcsSubband, SgcsSubspace, subspace_correlation2
from tests.links import over


def channel(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def config(rx=2, layers=2, subcarriers=10, size=4):
    return CsiConfig(Panel(2, 2, 2), rx, subcarriers, 360e3, size, layers)


def run(h, scheme, config, uplink=None, **changes):
    link = Link(config, PerfectEstimator(None), over({"x": scheme}, uplink), {"svd": Svd()}, (10.0,), **changes)
    return next(outcome for _, precoder, outcome in link.run(h, seed=1) if precoder is None)


def eigenvectors(h, start, size):
    """Directions [layer, port] of samples [rx, port, n], float64, one outer product at a time."""
    covariance = np.zeros((h.shape[1],) * 2, np.complex128)
    for n in range(start, min(start + size, h.shape[2])):
        x = h[:, :, n].astype(np.complex128)
        covariance += x.conj().T @ x
    return np.linalg.eigh(covariance)[1][:, ::-1].T


class TestDirections:
    @pytest.mark.parametrize(("rx", "layers", "size"), [(1, 1, 4), (2, 2, 4), (4, 3, 3), (2, 1, 1), (2, 2, 10)])
    @pytest.mark.parametrize("scale", [1e-30, 1e-8, 1.0, 1e5, 1e30])
    def test_eigenvectors_of_the_subband_covariance(self, rng, rx, layers, size, scale):
        h = (channel(rng, 3, 2, rx, 8, 10) * scale).astype(np.complex64)
        found = subband_directions(CsiReconstruction(h=h), config(rx, layers, size=size))
        assert found.shape == (3, 2, layers, -(-10 // size), 8)
        for b, u, s in np.ndindex(3, 2, found.shape[3]):
            v = eigenvectors(h[b, u].astype(np.complex128) / scale, s * size, size)[:layers]
            for layer in range(layers):
                assert abs(np.vdot(v[layer], found[b, u, layer, s])) == pytest.approx(1, abs=1e-4)

    def test_precoders_of_subbands_are_themselves(self, rng):
        w = channel(rng, 3, 2, 8, 2, 3)
        found = subband_directions(CsiReconstruction(w=w), config())
        for b, u, layer, s in np.ndindex(3, 2, 2, 3):
            np.testing.assert_array_equal(found[b, u, layer, s], w[b, u, :, layer, s])

    def test_precoders_of_samples_have_a_principal_direction(self, rng):
        w = channel(rng, 3, 2, 8, 2, 10)
        found = subband_directions(CsiReconstruction(w=w), config())
        assert found.shape == (3, 2, 2, 3, 8)
        for b, u, layer, s in np.ndindex(3, 2, 2, 3):
            v = eigenvectors(w[b, u, :, layer].conj()[None], 4 * s, 4)[0]
            assert abs(np.vdot(v, found[b, u, layer, s])) == pytest.approx(1, abs=1e-4)
        constant = np.repeat(channel(rng, 3, 2, 8, 2, 3), 4, axis=-1)[..., :10]  # each with a phase of its own
        turned = constant * np.exp(2j * np.pi * rng.random((3, 2, 1, 2, 10)))
        found = subband_directions(CsiReconstruction(w=turned.astype(np.complex64)), config())
        expected = np.moveaxis(constant[..., ::4], 2, -1)
        np.testing.assert_allclose(layer_correlation2(expected, found), 1, atol=1e-5)

    def test_nothing_known_is_zero(self, rng):
        for csi in (
            CsiReconstruction(h=np.zeros((1, 1, 2, 8, 10), np.complex64)),
            CsiReconstruction(w=np.zeros((1, 1, 8, 2, 10), np.complex64)),
            CsiReconstruction(w=np.zeros((1, 1, 8, 2, 3), np.complex64)),
        ):
            assert (subband_directions(csi, config()) == 0).all()

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_one_report_that_is_not_finite_leaves_the_others_alone(self, rng, bad):
        h, w = channel(rng, 3, 2, 4, 8, 10), channel(rng, 3, 2, 8, 4, 10)
        for good, csi in ((h, "h"), (w, "w")):
            x = good.copy()
            x[1, 0, 3, 2, 7] = bad
            found, clean = (subband_directions(CsiReconstruction(**{csi: y}), config(4, 4)) for y in (x, good))
            assert np.isnan(found[1, 0]).any()
            found[1, 0] = clean[1, 0] = 0
            np.testing.assert_array_equal(found, clean)


class TestSubspace:
    def test_one_layer_is_the_squared_cosine(self, rng):
        v, w = channel(rng, 50, 8, 1), channel(rng, 50, 8, 1)
        expected = [
            abs(np.vdot(a, b)) ** 2 / np.vdot(a, a).real / np.vdot(b, b).real for a, b in zip(v, w, strict=True)
        ]
        np.testing.assert_allclose(subspace_correlation2(v, w), expected, rtol=1e-5)
        np.testing.assert_allclose(layer_correlation2(v[..., 0], w[..., 0]), expected, rtol=1e-5)

    @pytest.mark.parametrize("layers", [2, 3])
    def test_any_basis_of_the_same_space_has_1(self, rng, layers):
        v = np.linalg.qr(channel(rng, 20, 8, layers))[0]
        turned = v @ np.linalg.qr(channel(rng, 20, layers, layers))[0]
        oblique = v @ channel(rng, 20, layers, layers)
        for w in (turned, 1e-3 * oblique):
            np.testing.assert_allclose(subspace_correlation2(v, w), 1, atol=FLOAT32)
        swapped = v[..., ::-1]
        assert (layer_correlation2(v.swapaxes(1, 2), swapped.swapaxes(1, 2))[:, 0] < 1e-6).all()

    @pytest.mark.parametrize(("layers", "ports"), [(1, 4), (2, 8), (4, 8)])
    def test_random_spaces_share_layers_over_ports(self, rng, layers, ports):
        found = subspace_correlation2(channel(rng, 4000, ports, layers), channel(rng, 4000, ports, layers))
        assert abs(found.mean() - layers / ports) < 5 * found.std() / np.sqrt(4000)

    def test_principal_angles(self, rng):
        """Two planes with angles a and b between them: the mean of their squared cosines."""
        a, b = 0.3, 1.1
        v, w = np.eye(4)[:, :2], np.zeros((4, 2))
        w[[0, 2], 0], w[[1, 3], 1] = (np.cos(a), np.sin(a)), (np.cos(b), np.sin(b))
        turn = np.linalg.qr(channel(rng, 4, 4))[0]
        mix = channel(rng, 2, 2)
        expected = (np.cos(a) ** 2 + np.cos(b) ** 2) / 2
        assert subspace_correlation2((turn @ v)[None], (turn @ w @ mix)[None])[0] == pytest.approx(expected, rel=1e-5)

    def test_missing_and_equal_layers_span_less(self, rng):
        v = np.linalg.qr(channel(rng, 5, 8, 2))[0]
        missing, twice = v * [1, 0], np.repeat(v[..., :1], 2, axis=-1)
        for w, expected in ((missing, 0.5), (twice, 0.5), (0 * v, 0.0)):
            np.testing.assert_allclose(subspace_correlation2(v, w.astype(np.complex64)), expected, atol=1e-6)

    def test_what_is_no_number_stays_none(self, rng):
        v = channel(rng, 3, 8, 4)
        w = v.copy()
        w[1, 0, 0] = np.nan
        found = subspace_correlation2(v, w)
        assert np.isnan(found[1]) and np.isfinite(found[[0, 2]]).all()


class TestThroughTheLink:
    """Four drops of two users with two antennas, three slots, subbands of 4, 4 and 2 samples."""

    @pytest.fixture
    def h(self, rng):
        return channel(rng, 4, 2, 2, 8, 3, 10)

    def expected(self, h, w, layers=2, size=4):
        """Loop: mean per drop of each layer, and of the subspace, for precoders [drop, user, slot, port, layer, sb]."""
        by_layer, space = np.zeros((len(h), layers)), np.zeros(len(h))
        subbands = -(-h.shape[5] // size)
        count = h.shape[1] * h.shape[4] * subbands
        for b, u, t, s in np.ndindex(len(h), h.shape[1], h.shape[4], subbands):
            v = eigenvectors(h[b, u, :, :, t], s * size, size)[:layers]
            known = [w[b, u, t, :, i, s].astype(np.complex128) for i in range(layers)]
            for i, x in enumerate(known):
                by_layer[b, i] += abs(np.vdot(v[i], x)) ** 2 / max(np.vdot(x, x).real, 1e-30) / count
            basis, sigma, _ = np.linalg.svd(np.stack(known, axis=1), full_matrices=False)
            space[b] += np.linalg.norm(v.conj() @ basis[:, sigma > 1e-3]) ** 2 / layers / count
        return by_layer, space

    @pytest.mark.parametrize("rank", ["auto", 1, 2])
    def test_implicit(self, h, rank):
        """Rank 1, and a rank that every UE chooses: layers that are not reported count 0."""
        settings = config(subcarriers=24)
        h = np.concatenate([h, 0.3 * h, h[..., :4]], axis=-1)
        scheme = EnhancedTypeTwoFeedback(settings, combination=2, rank=rank, snr_db=-6.0)
        outcome = run(h, scheme, settings)
        estimate = CsiEstimate(np.moveaxis(h, 4, 1).reshape(12, 2, 2, 8, 24), np.zeros((12, 2), np.float32))
        w = scheme.reconstruct(scheme.report(estimate)).w.reshape(4, 3, 2, 8, 2, 6).swapaxes(1, 2)
        zero = (w == 0).all(axis=3).mean()
        assert {"auto": 0 < zero < 0.5, 1: zero == 0.5, 2: zero == 0}[rank]
        by_layer, space = self.expected(h, w)
        found = SgcsSubband().evaluate(outcome)
        assert set(found) == {"sgcs_subband", "sgcs_subband_layer1", "sgcs_subband_layer2"}
        for i in range(2):
            np.testing.assert_allclose(found[f"sgcs_subband_layer{i + 1}"], by_layer[:, i], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found["sgcs_subband"], by_layer.mean(axis=1), rtol=1e-3)
        np.testing.assert_allclose(SgcsSubspace().evaluate(outcome)["sgcs_subspace"], space, rtol=1e-3)

    def test_explicit(self, rng, h):
        """A channel with errors: its own eigenvectors stand for the precoder."""

        class Noisy(PerfectFeedback):
            def reconstruct(self, report):
                known = super().reconstruct(report).h
                error = channel(np.random.default_rng(5), *known.shape)
                return CsiReconstruction(h=known + np.float32(0.5) * error)

        outcome = run(h, Noisy(config()), config())
        w = np.zeros((4, 2, 3, 8, 2, 3), np.complex64)
        for b, u, t, s in np.ndindex(4, 2, 3, 3):
            w[b, u, t, :, :, s] = eigenvectors(outcome.h_hat[b, u, :, :, t], 4 * s, 4)[:2].T
        by_layer, space = self.expected(h, w)
        found = SgcsSubband().evaluate(outcome)
        np.testing.assert_allclose(found["sgcs_subband_layer2"], by_layer[:, 1], rtol=1e-3)
        np.testing.assert_allclose(found["sgcs_subband"], by_layer.mean(axis=1), rtol=1e-3)
        np.testing.assert_allclose(SgcsSubspace().evaluate(outcome)["sgcs_subspace"], space, rtol=1e-3)
        assert 0.3 < by_layer.mean() < 0.95

    def test_exact_channels_have_1_and_lost_reports_0(self, h):
        exact = run(h, PerfectFeedback(config()), config())
        for metric in (SgcsSubband(), SgcsSubspace()):
            for values in metric.evaluate(exact).values():
                np.testing.assert_allclose(values, 1, atol=1e-6)
        lost = run(h, PerfectFeedback(config()), config(), uplink=UplinkModel(loss_probability=1.0))
        for metric in (SgcsSubband(), SgcsSubspace()):
            assert all((values == 0).all() for values in metric.evaluate(lost).values())

    def test_one_layer_has_one_column_and_subbands_of_one_sample_are_sgcs(self, h):
        settings = config(layers=1, size=1, subcarriers=10)
        outcome = run(h, PerfectFeedback(settings), settings, uplink=UplinkModel(loss_probability=0.5, on_loss="none"))
        found = SgcsSubband().evaluate(outcome)
        assert set(found) == {"sgcs_subband"} and SgcsSubspace().evaluate(outcome) == {}
        np.testing.assert_allclose(found["sgcs_subband"], Sgcs().evaluate(outcome)["sgcs"], atol=1e-4)
        assert 0 < found["sgcs_subband"].mean() < 1

    def test_directions_of_the_channel_are_found_once_and_only_when_asked_for(self, h, monkeypatch):
        from simulator.maths import directions

        calls = []
        monkeypatch.setattr(
            directions, "subband_eigenvectors", lambda *args: calls.append(1) or np.ones((12, 2, 2, 3, 8))
        )
        schemes = {name: PerfectFeedback(config()) for name in "ab"}
        link = Link(config(), PerfectEstimator(None), over(schemes), {"svd": Svd()}, (10.0,))
        for _, precoder, outcome in link.run(h, seed=1):
            if precoder is None:
                before = len(calls)
                for metric in (SgcsSubband(), SgcsSubspace()):
                    metric.evaluate(outcome)
                assert len(calls) - before == (2 if before == 0 else 1)
        assert len(calls) == 3
