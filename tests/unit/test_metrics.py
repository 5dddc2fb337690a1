"""Rates and accuracy scores against NumPy float64, printed values and invariances."""

import numpy as np
import pytest
from keras import ops
from tolerances import FLOAT32, SINR_PER_SNR, TABLE_3

from simulator.maths import rates
from simulator.outcomes import CsiOutcome, LinkOutcome
from simulator.scores.csi import (
    BeamformingGainLoss,
    BitsMax,
    BitsMean,
    Cosine,
    EnergyRatio,
    Nmse,
    NmseScaled,
    Rho,
    RhoBeamformingGainLoss,
    RhoSe,
    RhoSquaredSe,
    Sgcs,
)
from simulator.scores.link import OutageGamma, OutageRate, SumRate, UserRate


def channel(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x))


def csi_outcome(rng, batch=5, users=3, slots=2, subcarriers=4, **changes):
    h = channel(rng, batch, users, 2, 4, slots, subcarriers)
    fields = dict(
        h=h,
        h_hat=h,
        correlation2=rng.random((batch, users, 2, slots, subcarriers)),
        num_bits=rng.integers(1, 99, (batch, users, slots)),
        snr_db=(0.0, 20.0),
    )
    return CsiOutcome(**{**fields, **changes})


class TestEffectiveRows:
    def test_one_antenna_is_the_channel(self, rng):
        h = channel(rng, 5, 3, 1, 8)
        np.testing.assert_array_equal(numpy(rates.effective_rows(h, 1)), h)

    @pytest.mark.parametrize(("rx", "layers"), [(2, 1), (2, 2), (4, 1), (4, 3)])
    def test_singular_values_and_vectors(self, rng, rx, layers):
        h = channel(rng, 5, 3, rx, 8)
        rows = numpy(rates.effective_rows(h, layers))
        assert rows.shape == (5, 3, layers, 8) and rows.dtype == np.complex64
        for index in np.ndindex(5, 3):
            _, sigma, vh = np.linalg.svd(h[index].astype(np.complex128))
            np.testing.assert_allclose(np.linalg.norm(rows[index], axis=1), sigma[:layers], rtol=1e-4)
            for row, v in zip(rows[index], vh, strict=False):
                assert abs(abs(row @ v.conj()) / np.linalg.norm(row) - 1) < FLOAT32

    def test_poor_channels_stay_finite(self, rng):
        h = channel(rng, 3, 1, 4, 8)
        h[0] = 0
        h[1] = h[1, :, :1]  # rank one
        rows = numpy(rates.effective_rows(h, 4))
        assert np.isfinite(rows).all() and (rows[0] == 0).all()
        np.testing.assert_allclose(np.linalg.norm(rows[1, 0, 0]), np.linalg.norm(h[1]), rtol=1e-4)


class TestSinr:
    @pytest.mark.parametrize(
        ("users", "rx", "layers"), [(1, 1, 1), (3, 1, 1), (2, 2, 1), (2, 2, 2), (1, 4, 2), (3, 4, 3)]
    )
    @pytest.mark.parametrize("snr_db", [-20, 0, 20, 40])
    def test_against_the_explicit_inverse(self, rng, users, rx, layers, snr_db):
        streams, noise_var = users * layers, 10 ** (-snr_db / 10)
        h, w = channel(rng, 6, users, rx, 8), channel(rng, 6, 8, streams) / np.sqrt(8 * streams)
        e = rates.received(h, w)
        actual = numpy(rates.sinr(e, noise_var))
        assert actual.shape == (6, users, layers)
        for b, u, layer in np.ndindex(6, users, layers):
            field = h[b, u].astype(np.complex128) @ w[b]
            own = u * layers + layer
            interference = sum(np.outer(field[:, j], field[:, j].conj()) for j in range(streams) if j != own)
            inverse = np.linalg.inv(interference + noise_var * np.eye(rx))
            expected = np.real(field[:, own].conj() @ inverse @ field[:, own])
            assert actual[b, u, layer] == pytest.approx(expected, rel=max(FLOAT32, SINR_PER_SNR / noise_var))

    def test_no_signal_is_no_rate(self):
        for rx in (1, 2):
            assert (numpy(rates.sinr(np.zeros((2, 3, rx, 3), np.complex64), 0.1)) == 0).all()

    def test_shannon(self):
        rate = numpy(rates.rate_bpshz(np.float32([0, 1, 3, 1e-6])))
        np.testing.assert_allclose(rate, [0, 1, 2, 1.442694e-6], rtol=1e-6)


class TestAccuracy:
    @pytest.mark.parametrize("scale", [1e-8, 1.0, 1e5])
    def test_cosine_ignores_phase_and_scale(self, rng, scale):
        """Channels with path loss reach amplitudes of 1e-8."""
        a, b = channel(rng, 50, 8), channel(rng, 50, 8)
        expected = np.abs(np.sum(a.conj() * b, axis=1)) ** 2 / np.sum(abs(a) ** 2, axis=1) / np.sum(abs(b) ** 2, axis=1)
        for x, y in ((a, b * np.exp(1.7j)), (a * scale, b), (b * scale, a * scale)):
            actual = numpy(rates.correlation2(x.astype(np.complex64), y.astype(np.complex64)))
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-7)

    def test_cosine_known_values(self):
        a = np.complex64([[1, 0], [1, 1], [1, 1j], [0, 0], [1, 0]])
        b = np.complex64([[2j, 0], [1, 0], [1, -1j], [1, 0], [0, 0]])
        np.testing.assert_allclose(numpy(rates.correlation2(a, b)), [1, 0.5, 0, 0, 0], atol=1e-7)

    def test_sgcs_and_cosine_are_means_over_everything(self, rng):
        outcome = csi_outcome(rng)
        sgcs, cosine = Sgcs().evaluate(outcome)["sgcs"], Cosine().evaluate(outcome)["cosine"]
        for b in range(5):
            values = list(outcome.correlation2[b].flat)
            assert sgcs[b] == pytest.approx(sum(values) / len(values))
            assert cosine[b] == pytest.approx(sum(v**0.5 for v in values) / len(values))

    def test_nmse_of_a_zero_predictor_is_0_db(self, rng):
        outcome = csi_outcome(rng)
        zero = CsiOutcome(outcome.h, np.zeros_like(outcome.h), outcome.correlation2, outcome.num_bits, outcome.snr_db)
        mean = Nmse().evaluate(zero)["nmse_db"].mean()
        assert Nmse().finalize(mean) == pytest.approx(0, abs=1e-5)

    def test_nmse_is_the_mean_of_ratios_per_report(self, rng):
        """Users of very different power weigh the same: a ratio of means would be another number."""
        outcome = csi_outcome(rng)
        h = outcome.h * np.float32([1, 10, 1e-3])[:, None, None, None, None]
        noise = channel(rng, *h.shape) * np.float32([0.1, 2, 1e-4])[:, None, None, None, None]
        actual = Nmse().evaluate(CsiOutcome(h, h + noise, outcome.correlation2, outcome.num_bits, (0.0,)))["nmse_db"]
        assert actual.shape == (5,)
        for b in range(5):
            ratios = [
                np.sum(np.abs((h + noise - h)[b, u, :, :, t].astype(np.complex128)) ** 2)
                / np.sum(np.abs(h[b, u, :, :, t].astype(np.complex128)) ** 2)
                for u in range(3)
                for t in range(2)
            ]
            assert actual[b] == pytest.approx(np.mean(ratios), rel=1e-4)
        assert Nmse().finalize(np.float64(0.02)) == pytest.approx(10 * np.log10(0.02))

    def test_nmse_needs_an_explicit_channel(self, rng):
        assert Nmse().evaluate(csi_outcome(rng, h_hat=None)) == {}

    @pytest.mark.parametrize("scale", [1e-8, 1e4])
    def test_nmse_ignores_the_unit(self, rng, scale):
        h, error = channel(rng, 4, 6), channel(rng, 4, 6)
        h, error = (h * scale).astype(np.complex64), (error * scale).astype(np.complex64)
        error64, h64 = error.astype(np.complex128), h.astype(np.complex128)
        expected = np.sum(np.abs(error64) ** 2, axis=1) / np.sum(np.abs(h64) ** 2, axis=1)
        np.testing.assert_allclose(numpy(rates.nmse(h, h + error, (1,))), expected, rtol=1e-4)


class TestScale:
    """Metrics of one report (all antennas, ports, subcarriers of a slot) that tell scale and shape apart."""

    def reports(self, outcome):
        """Drop, true and known channel of every report, complex128."""
        for b, u, t in np.ndindex(5, 3, 2):
            yield b, *(x[b, u, :, :, t].astype(np.complex128).ravel() for x in (outcome.h, outcome.h_hat))

    def outcome(self, rng, noise=0.3):
        """Reports of other powers, other errors, other scales and phases."""
        h = channel(rng, 5, 3, 2, 4, 2, 4) * np.float32([1, 30, 1e-3])[:, None, None, None, None]
        factor = channel(rng, 5, 3, 1, 1, 2, 1)
        return csi_outcome(rng, h=h, h_hat=factor * (h + np.float32(noise) * np.abs(h) * channel(rng, *h.shape)))

    def test_nmse_scaled_against_least_squares(self, rng):
        outcome = self.outcome(rng)
        actual = NmseScaled().evaluate(outcome)["nmse_scaled_db"]
        ratios = [[] for _ in range(5)]
        for b, h, h_hat in self.reports(outcome):
            _, residual, *_ = np.linalg.lstsq(h_hat[:, None], h, rcond=None)
            ratios[b].append(residual[0] / np.linalg.norm(h) ** 2)
            cosine2 = abs(np.vdot(h_hat, h)) ** 2 / np.linalg.norm(h) ** 2 / np.linalg.norm(h_hat) ** 2
            assert ratios[b][-1] == pytest.approx(1 - cosine2)
        np.testing.assert_allclose(actual, np.mean(ratios, axis=1), rtol=1e-4)
        assert NmseScaled().finalize(np.float64(0.02)) == pytest.approx(10 * np.log10(0.02))

    def test_nmse_scaled_knows_small_errors(self, rng):
        """-80 dB: one minus a squared cosine has no digit left in float32."""
        outcome = self.outcome(rng, noise=1e-4)
        expected = np.zeros(5)
        for b, h, h_hat in self.reports(outcome):
            cosine2 = abs(np.vdot(h_hat, h)) ** 2 / np.linalg.norm(h) ** 2 / np.linalg.norm(h_hat) ** 2
            expected[b] += (1 - cosine2) / 6
        np.testing.assert_allclose(NmseScaled().evaluate(outcome)["nmse_scaled_db"], expected, rtol=0.01)

    def test_energy_ratio_against_a_loop(self, rng):
        outcome = self.outcome(rng)
        expected = np.zeros(5)
        for b, h, h_hat in self.reports(outcome):
            expected[b] += np.sum(np.abs(h_hat) ** 2) / np.sum(np.abs(h) ** 2) / 6
        np.testing.assert_allclose(EnergyRatio().evaluate(outcome)["energy_ratio"], expected, rtol=1e-4)

    @pytest.mark.parametrize("scale", [1e-6, 0.1, 3.0])
    def test_a_wrong_scale_alone(self, rng, scale):
        h = csi_outcome(rng).h
        outcome = csi_outcome(rng, h=h, h_hat=(scale * np.exp(0.7j) * h).astype(np.complex64))
        assert (NmseScaled().evaluate(outcome)["nmse_scaled_db"] < 1e-12).all()
        np.testing.assert_allclose(EnergyRatio().evaluate(outcome)["energy_ratio"], scale**2, rtol=1e-4)
        np.testing.assert_allclose(Rho().evaluate(outcome)["rho"], 1, rtol=1e-5)

    @pytest.mark.parametrize(
        ("metric", "value"),
        [(NmseScaled, 0.0), (EnergyRatio, 0.0), (Rho, 0.0), (RhoBeamformingGainLoss, 300.0), (RhoSe, 0.0)],
    )
    def test_zero_and_no_channel(self, rng, metric, value):
        outcome = csi_outcome(rng)
        zero = csi_outcome(rng, h=outcome.h, h_hat=np.zeros_like(outcome.h))
        (drops,) = metric().evaluate(zero).values()
        np.testing.assert_allclose(metric().finalize(drops.mean(axis=-1), 20.0), value, atol=1e-5)
        assert metric().evaluate(csi_outcome(rng, h_hat=None)) == {}


class TestRho:
    """NF-KD, Eq. (9) with the modulus, and Table 4: rho .9594 is a loss of .360 dB and 6.540 bit/s/Hz at 20 dB."""

    def test_against_a_loop(self, rng):
        h = csi_outcome(rng).h
        outcome = csi_outcome(rng, h=h, h_hat=h + channel(rng, *h.shape))
        actual = Rho().evaluate(outcome)["rho"]
        for b in range(5):
            found = []
            for u, t, n in np.ndindex(3, 2, 4):
                true, known = (x[b, u, :, :, t, n].astype(np.complex128) for x in (outcome.h, outcome.h_hat))
                found.append(abs(np.trace(known.conj().T @ true)) / np.linalg.norm(true) / np.linalg.norm(known))
            assert actual[b] == pytest.approx(np.mean(found), rel=1e-4)

    def test_printed_values(self, rng):
        """A matrix known up to an orthogonal part: rho is the cosine of the angle, whatever its scale."""
        h = np.zeros((1, 1, 2, 2, 1, 1), np.complex64)
        h[0, 0, 0, 0] = 1
        h_hat = 7j * 0.9594 * h
        h_hat[0, 0, 1, 0] = 7 * np.sqrt(1 - 0.9594**2)
        outcome = CsiOutcome(h, h_hat, np.ones((1, 1, 1, 1, 1)), np.ones((1, 1, 1), int), (0.0, 20.0))
        assert Rho().evaluate(outcome)["rho"] == pytest.approx(0.9594, rel=1e-5)
        loss, se = RhoBeamformingGainLoss(), RhoSe()
        loss_db = loss.finalize(loss.evaluate(outcome)["rho_bf_gain_loss_db"].mean())
        assert loss_db == pytest.approx(0.360, abs=TABLE_3)
        values = se.evaluate(outcome)["rho_se_bpshz"]
        assert values.shape == (2, 1)
        assert se.finalize(values[1].mean(), 20.0) == pytest.approx(6.540, abs=TABLE_3)
        assert se.finalize(values[0].mean(), 0.0) == pytest.approx(np.log2(1 + 0.9594**2))


class TestPrintedValues:
    """NF-KD, Table 4: a mean cosine of .9817 is a loss of 0.160 dB, and 6.606 bit/s/Hz at 20 dB."""

    RHO = 0.9817

    def test_through_the_metrics(self, rng):
        outcome = csi_outcome(rng, correlation2=np.full((5, 3, 1, 2, 4), self.RHO**2))
        loss, se = BeamformingGainLoss(), RhoSquaredSe()
        loss_db = loss.finalize(loss.evaluate(outcome)["bf_gain_loss_db"].mean())
        assert loss_db == pytest.approx(0.160, abs=TABLE_3)
        values = se.evaluate(outcome)["rho2_se_bpshz"]
        assert values.shape == (2, 5)
        assert se.finalize(values[1].mean(), 20.0) == pytest.approx(6.606, abs=TABLE_3)
        assert se.finalize(values[0].mean(), 0.0) == pytest.approx(np.log2(1 + self.RHO**2))

    def test_the_mean_is_taken_before_the_logarithm(self, rng):
        c2 = np.array([[1.0, 0.25], [0.25, 0.0]]).reshape(2, 1, 1, 1, 2)  # cosines 1, 0.5, 0.5, 0: mean 0.5
        outcome = csi_outcome(rng, batch=2, correlation2=c2)
        loss, se = BeamformingGainLoss(), RhoSquaredSe()
        assert loss.finalize(loss.evaluate(outcome)["bf_gain_loss_db"].mean()) == pytest.approx(-20 * np.log10(0.5))
        assert se.finalize(se.evaluate(outcome)["rho2_se_bpshz"][1].mean(), 20.0) == pytest.approx(np.log2(1 + 25))


class TestRatesAndBits:
    @pytest.fixture
    def outcome(self, rng):
        rate = rng.random((2, 5, 3, 4)).astype(np.float32) * 5
        return LinkOutcome(rate, rng.random((2, 5, 3, 4)).astype(np.float32) * 5, (0.5, 0.95), (1.0, 2.5))

    def test_sum_and_user_rate(self, outcome):
        total, user = SumRate().evaluate(outcome)["sum_rate_bpshz"], UserRate().evaluate(outcome)["user_rate_bpshz"]
        assert total.shape == user.shape == (2, 5)
        for s, b in np.ndindex(2, 5):
            slots = [sum(float(outcome.rate[s, b, u, t]) for u in range(3)) for t in range(4)]
            assert total[s, b] == pytest.approx(np.mean(slots), rel=1e-6)
            assert user[s, b] == pytest.approx(np.mean(slots) / 3, rel=1e-6)

    def test_outage_against_a_loop(self, outcome):
        relative, absolute = OutageGamma().evaluate(outcome), OutageRate().evaluate(outcome)
        assert set(relative) == {"outage_gamma_0.5", "outage_gamma_0.95"}
        assert set(absolute) == {"outage_rate_1", "outage_rate_2.5"}
        for s, b in np.ndindex(2, 5):
            pairs = [(outcome.rate[s, b, u, t], outcome.rate_ref[s, b, u, t]) for u in range(3) for t in range(4)]
            for gamma in outcome.gammas:
                share = sum(r < gamma * ref for r, ref in pairs) / 12
                assert relative[f"outage_gamma_{gamma:g}"][s, b] == pytest.approx(share)
            for target in outcome.rates_bpshz:
                share = sum(r < target for r, _ in pairs) / 12
                assert absolute[f"outage_rate_{target:g}"][s, b] == pytest.approx(share)

    def test_outage_is_strict(self):
        same = np.full((1, 1, 1, 1), 2.0, np.float32)
        outcome = LinkOutcome(same, same, (1.0,), (2.0,))
        assert OutageGamma().evaluate(outcome)["outage_gamma_1"] == 0
        assert OutageRate().evaluate(outcome)["outage_rate_2"] == 0

    def test_bits(self, rng):
        outcome = csi_outcome(rng)
        mean, longest = BitsMean().evaluate(outcome)["bits_mean"], BitsMax().evaluate(outcome)["bits_max"]
        for b in range(5):
            assert mean[b] == pytest.approx(np.mean(outcome.num_bits[b]))
            assert longest[b] == max(outcome.num_bits[b].flat)
        assert BitsMax.reduce == "max" and BitsMean.reduce == "mean"
