"""Estimators on CSI-RS against formulas, float64 matrices and Sionna; their declared errors; the way into the link."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import j0
from tolerances import FLOAT32, assert_close, assert_mean

from benchmarks.build import ChannelDraw, build_link
from receivers.estimation.correlation import pilot_correlation
from receivers.estimation.delay_profile import delay_grid, power_delay_profile
from receivers.estimation.denoise import DenoisingEstimator
from receivers.estimation.error_filter import ErrorFilter
from receivers.estimation.interpolation import Interpolation
from receivers.estimation.learned import LearnedEstimator, from_bins, to_bins
from receivers.estimation.lmmse import LmmseEstimator
from receivers.estimation.ls import LeastSquaresEstimator
from receivers.weights.folder import TrainedEstimator, zoo_names
from scenarios.sweep import expand
from simulator.core.errors import ConfigError
from simulator.core.types import Panel, RadioGeometry
from simulator.nr.csi_rs import ROWS

PANELS = {1: Panel(1), 2: Panel(1, 1, 2), **{n: Panel(n // 2, 1, 2) for n in (4, 8, 12, 16, 24, 32)}}
CASES = [(row, density) for row, entry in ROWS.items() for density in entry.densities]


def geometry(ports=8, samples=52, width=12, slots=1, **fields):
    return RadioGeometry(
        3.5e9, PANELS[ports], 1, 2, samples, 30e3 * width, num_slots=slots, slot_s=5e-4,
        subcarriers_per_sample=width, **fields,
    )  # fmt: skip


def gaussian(rng, *shape):
    return rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)


def exponential(rng, geometry, drops, delay_spread_s, paths=60):
    """Channels of unit power with an exponential delay profile that starts at 0, independent between antennas."""
    g = geometry
    delays = rng.exponential(delay_spread_s, (drops, g.num_users, 1, 1, 1, paths, 1)) * g.spacing_hz
    waves = np.exp(-2j * np.pi * delays * np.arange(g.num_subcarriers))
    gains = gaussian(rng, drops, g.num_users, g.num_rx_ant, g.panel.num_ports, 1, 1, paths) / np.sqrt(paths)
    return np.repeat((gains @ waves)[..., 0, :], g.num_slots, axis=4).astype(np.complex64)


def error(estimator, h, seed=1):
    """Mean squared error of an estimate and the one that it declares."""
    csi = estimator.estimate(h, seed=seed)
    assert csi.h_hat.shape == h.shape and csi.error_var.shape == (*h.shape[:2], h.shape[4])
    return float(np.mean(np.abs(csi.h_hat - h) ** 2, dtype=np.float64)), float(csi.error_var.mean())


class TestLeastSquares:
    @pytest.mark.parametrize(("row", "density"), CASES)
    def test_error_in_white_noise(self, rng, row, density):
        """1 / SNR per port whatever the CDM group, a third with density 3; in between, the weights of the line."""
        ports, samples = ROWS[row].num_ports, 13
        h = np.repeat(gaussian(rng, 2000 // ports + 200, 1, 2, ports, 1, 1), samples, axis=-1).astype(np.complex64)
        found, declared = error(
            LeastSquaresEstimator(geometry(ports, samples), snr_db=7.0, row=row, density=density), h
        )
        gain = {3.0: 1 / 3, 1.0: 1.0, 0.5: (7 * 1 + 6 * 0.5) / 13}[density]
        assert found == pytest.approx(gain * 10**-0.7, rel=0.05)
        assert declared == pytest.approx(found, rel=0.05)

    @pytest.mark.parametrize(("density", "spacing", "first"), [(3, 4, 0), (1, 12, 0), (0.5, 24, 0)])
    @pytest.mark.parametrize("kind", ["nearest", "linear"])
    def test_error_between_subcarriers(self, rng, density, spacing, first, kind):
        """One port, true subcarriers: the interpolation as a float64 matrix."""
        samples = 81
        pilots = [k for k in range(first, samples, spacing)]
        matrix = np.zeros((samples, len(pilots)))
        for k in range(samples):
            if kind == "nearest":
                matrix[k, np.argmin([abs(p - k) for p in pilots])] = 1
            else:
                i = min(max(sum(p <= k for p in pilots) - 1, 0), len(pilots) - 2)
                matrix[k, i + 1] = (k - pilots[i]) / spacing
                matrix[k, i] = 1 - matrix[k, i + 1]
        interpolation = Interpolation(np.array([pilots], float), samples, kind)
        z = gaussian(rng, 3, 1, 2, len(pilots)).astype(np.complex64)
        assert_close(interpolation(z), z @ matrix.T, FLOAT32)
        assert interpolation.noise_gain == pytest.approx(np.sum(matrix**2) / samples)
        h = np.repeat(gaussian(rng, 2000, 1, 2, 1, 1, 1), samples, axis=-1).astype(np.complex64)
        estimator = LeastSquaresEstimator(geometry(1, samples, 1), snr_db=3, density=density, interpolation=kind)
        found, declared = error(estimator, h)
        assert found == pytest.approx(10**-0.3 * np.sum(matrix**2) / samples, rel=0.05)
        assert declared == pytest.approx(found, rel=0.05)

    @pytest.mark.parametrize("density", [1, 0.5])
    @pytest.mark.parametrize("kind", ["nearest", "linear"])
    def test_interpolation_error_is_declared(self, rng, kind, density):
        """At 40 dB the line between pilots is the error, not the noise; the leakage inside CDM groups counts too."""
        g = geometry(8 if density == 1 else 16, 312, 1)
        h = exponential(rng, g, 60, 80e-9)
        found, declared = error(LeastSquaresEstimator(g, snr_db=40, density=density, interpolation=kind), h)
        assert found > 3e-4 and declared == pytest.approx(found, rel=0.1)

    def test_interference_adds_its_power_in_one_direction(self, rng):
        g = geometry(8)
        h = np.zeros((300, 1, 2, 8, 1, 52), np.complex64)
        estimator = LeastSquaresEstimator(g, snr_db=10, inr_db=6)
        csi = estimator.estimate(h, seed=4)
        expected = 0.1 * (1 + 10**0.6)
        assert np.mean(np.abs(csi.h_hat) ** 2) == pytest.approx(expected, rel=0.1)  # 600 draws of the direction
        per_user = np.mean(np.abs(csi.h_hat) ** 2, axis=(2, 3, 5))
        np.testing.assert_allclose(per_user / csi.error_var, 1, atol=0.35)
        assert np.mean(per_user / csi.error_var) == pytest.approx(1, abs=0.02)
        x = np.moveaxis(csi.h_hat[:, 0, :, :, 0], 1, 0).reshape(2, 300, -1)
        values = np.linalg.eigvalsh(np.einsum("ibk,jbk->bij", x, x.conj()) / x.shape[-1])
        assert np.mean(values[:, 0]) == pytest.approx(0.1, rel=0.05)  # across the direction, nothing but noise
        assert np.mean(values[:, 1]) == pytest.approx(0.1 + 2 * 0.1 * 10**0.6, rel=0.1)

    @pytest.mark.parametrize("kind", ["nn", "lin"])
    @pytest.mark.parametrize("density", [3, 1])
    def test_sionnas_blocks_find_the_same(self, rng, kind, density):
        """One port without CDM is what Sionna's pilot patterns express: estimates from the same resource grid."""
        import tensorflow as tf
        from sionna.phy.ofdm import LSChannelEstimator, PilotPattern, ResourceGrid

        g = geometry(1, 48, 1)
        estimator = LeastSquaresEstimator(
            g, snr_db=5, density=density, interpolation="nearest" if kind == "nn" else "linear"
        )
        resource, slots = estimator.signal.resource, np.array([0])
        sent = resource.grid(48)
        mask = sent[None] != 0
        pattern = PilotPattern(mask, sent[mask[0]][None, None])
        grid = ResourceGrid(14, 48, 30e3, pilot_pattern=pattern)
        h = exponential(rng, g, 4, 200e-9)
        y, var = estimator.observe(h, slots, 3)
        full = np.zeros((4, 1, 2, 14, 48), np.complex64)
        blocks = resource.resource_blocks(48)
        for i, (k, l) in enumerate(zip(resource.k_bar, resource.l_bar, strict=True)):  # noqa: E741
            full[..., l, 12 * blocks + k] = y[:, :, :, i, 0, 0]
        np.testing.assert_array_equal(estimator.signal.elements(full[:, :, :, None]), y)
        theirs = LSChannelEstimator(grid, interpolation_type=kind)(tf.constant(full), tf.constant(float(var[0, 0, 0])))[
            0
        ]
        ours = estimator.from_pilots(estimator.signal.despread(y, slots), var)[0]
        assert_close(ours[..., 0, :], theirs.numpy()[:, :, :, 0, :, resource.l_bar[0]], FLOAT32)


class TestOverSlots:
    PERIOD, SLOTS = 5, 23

    def moving(self, rng, drops=200):
        """Jakes' spectrum at 5 m/s: 64 paths around the UE, flat over the band."""
        g = geometry(8, 6, slots=self.SLOTS, speed_mps=5.0)
        doppler = g.speed_mps * g.carrier_hz / 299_792_458.0
        angles = rng.uniform(0, 2 * np.pi, (drops, 1, 1, 1, 64, 1))
        waves = np.exp(2j * np.pi * doppler * np.cos(angles) * g.slot_s * np.arange(self.SLOTS))
        h = (gaussian(rng, drops, 1, 2, 8, 1, 64) @ waves)[..., 0, :] / 8
        return g, np.repeat(h[..., None], 6, axis=-1).astype(np.complex64)

    def test_estimates_are_held(self, rng):
        g, h = self.moving(rng)
        csi = LeastSquaresEstimator(g, snr_db=20, period_slots=self.PERIOD).estimate(h, seed=1)
        for slot in range(self.SLOTS):
            np.testing.assert_array_equal(csi.h_hat[..., slot, :], csi.h_hat[..., slot // self.PERIOD * self.PERIOD, :])
        found = np.mean(np.abs(csi.h_hat - h) ** 2, axis=(0, 1, 2, 3, 5))
        doppler = g.speed_mps * g.carrier_hz / 299_792_458.0
        ages = np.arange(self.SLOTS) % self.PERIOD
        expected = 0.01 + 2 * (1 - j0(2 * np.pi * doppler * ages * g.slot_s))
        np.testing.assert_allclose(found, expected, rtol=0.1)
        np.testing.assert_allclose(csi.error_var.mean(axis=(0, 1)), found, rtol=0.1)

    def test_lines_over_slots(self, rng):
        """``2d`` continues the last two estimates; the first period has but one."""
        g, h = self.moving(rng)
        options = dict(snr_db=30, period_slots=self.PERIOD)
        held = LeastSquaresEstimator(g, **options).estimate(h, seed=1)
        line = LeastSquaresEstimator(g, interpolation="2d", **options).estimate(h, seed=1)
        np.testing.assert_array_equal(line.h_hat[..., :5, :], held.h_hat[..., :5, :])
        for slot in range(5, self.SLOTS):
            last, age = slot // 5 * 5, slot % 5
            known = held.h_hat[..., last, :] + age / 5 * (held.h_hat[..., last, :] - held.h_hat[..., last - 5, :])
            np.testing.assert_allclose(line.h_hat[..., slot, :], known, atol=1e-5)
        errors = [np.mean(np.abs(c.h_hat - h) ** 2, axis=(0, 1, 2, 3, 5)) for c in (line, held)]
        np.testing.assert_allclose(line.error_var.mean(axis=(0, 1)), errors[0], rtol=0.1)
        assert errors[0][-1] < 0.9 * errors[1][-1]  # the slot of age 2

    def test_nothing_comes_from_the_future(self, rng):
        g, h = self.moving(rng, drops=2)
        estimator = LeastSquaresEstimator(g, snr_db=20, period_slots=3, interpolation="2d")
        changed = h.copy()
        changed[..., 12:, :] *= -1
        one, two = (estimator.estimate(x, seed=1).h_hat for x in (h, changed))
        np.testing.assert_array_equal(one[..., :12, :], two[..., :12, :])
        assert (one[..., 12:, :] != two[..., 12:, :]).any()


def lmmse_reference(z, positions, samples, covariance, noise_var):
    """Estimate and mean posterior variance of one UE in float64; ``covariance(lag)`` in frequency samples."""
    among = covariance(positions[:, None] - positions)
    across = covariance(samples[:, None] - positions)
    weights = across @ np.linalg.inv(among + noise_var * np.eye(len(positions)))
    posterior = covariance(np.zeros(1))[0].real - np.mean(np.sum(weights * across.conj(), axis=1).real)
    return z.astype(complex) @ weights.T, posterior


class TestLmmse:
    @pytest.mark.parametrize(("width", "samples"), [(12, 30), (1, 150)])
    def test_given_profile_against_the_matrix_formula(self, rng, width, samples):
        g = geometry(8, samples, width)
        spread, snr_db = 150e-9, 8.0
        h = exponential(rng, g, 20, spread)
        estimator = LmmseEstimator(g, snr_db=snr_db, covariance="profile", delay_spread_s=spread)
        slots = np.array([0])
        y, var = estimator.observe(h, slots, 1)
        z = estimator.signal.despread(y, slots)
        h_hat, _ = estimator._filter(z, var, np.zeros_like(var))
        for drop in range(0, 20, 7):
            power = np.mean(np.abs(z[drop].astype(complex)) ** 2) - var[drop, 0, 0]
            for port in range(8):
                positions = estimator.signal.positions[port * len(estimator.signal.positions) // 8 if width == 1 else 0]
                expected, _ = lmmse_reference(
                    z[drop, 0, :, port, 0], positions, np.arange(samples),
                    lambda lag, power=power: power / (1 + 2j * np.pi * lag * g.spacing_hz * spread), var[drop, 0, 0],
                )  # fmt: skip
                assert_close(h_hat[drop, 0, :, port, 0], expected, 2e-4)

    @pytest.mark.parametrize(("width", "samples", "density"), [(12, 30, 1), (12, 30, 0.5), (1, 150, 1)])
    def test_seen_delays_against_the_matrix_formula(self, rng, width, samples, density):
        g = geometry(16, samples, width)
        h = exponential(rng, g, 12, 100e-9)
        estimator = LmmseEstimator(g, snr_db=8.0, density=density)
        y, var = estimator.observe(h, np.array([0]), 1)
        z = estimator.signal.despread(y, np.array([0]))
        h_hat, error_var = estimator._filter(z, var, np.zeros_like(var))
        count = z.shape[-1]
        window = np.sin(np.pi * np.arange(1, count + 1) / (count + 1)) ** 2
        window /= np.sqrt(np.sum(window**2))
        spacing = (2 if density == 0.5 else 1) * 12 / width
        for drop in (0, 5):
            noise = float(var[drop, 0, 0])
            delays = [m if m < 2 * count * 7 / 8 else m - 2 * count for m in range(2 * count)]
            power = []
            for m in delays:
                tap = z[drop, 0].astype(complex)[:, :, 0] @ (window * np.exp(1j * np.pi * m * np.arange(count) / count))
                seen = (np.mean(np.abs(tap) ** 2) - noise) / (2 * count)
                power.append(seen if seen > 1.75 * noise / (2 * count) / np.sqrt(32) else 0.0)

            def covariance(lag, power=power, delays=delays):
                waves = np.exp(-1j * np.pi * np.multiply.outer(lag, delays) / (count * spacing))
                return waves @ power

            posteriors = []
            for port in range(16):
                groups = estimator.signal.positions
                positions = groups[port * len(groups) // 16]
                expected, posterior = lmmse_reference(
                    z[drop, 0, :, port, 0], positions, np.arange(samples), covariance, noise
                )
                assert_close(h_hat[drop, 0, :, port, 0], expected, 2e-4)
                posteriors.append(posterior)
            assert error_var[drop, 0, 0] == pytest.approx(np.mean(posteriors), rel=0.03)

    @pytest.mark.parametrize("snr_db", [-5, 10, 25])
    @pytest.mark.parametrize(
        "options", [{}, *({"covariance": "profile", "delay_spread_s": 100e-9 * x} for x in (0.1, 0.2, 1, 10))]
    )
    def test_never_worse_than_least_squares(self, rng, options, snr_db):
        """Whatever the profile says: ten or five times too short, right, ten times too long, or seen."""
        g = geometry(8)
        h = exponential(rng, g, 40, 100e-9)
        found, declared = error(LmmseEstimator(g, snr_db=snr_db, **options), h)
        ls, _ = error(LeastSquaresEstimator(g, snr_db=snr_db), h)
        assert found < (0.5 if options.get("delay_spread_s", 100e-9) == 100e-9 else 1.0) * ls
        assert declared == pytest.approx(found, rel=0.1)

    def test_profile_between_subcarriers(self, rng):
        g = geometry(8, 312, 1)
        h = exponential(rng, g, 30, 100e-9)
        estimator = LmmseEstimator(g, snr_db=10, covariance="profile", delay_spread_s=100e-9)
        found, declared = error(estimator, h)
        assert found < 0.6 * error(LeastSquaresEstimator(g, snr_db=10), h)[0]
        assert declared == pytest.approx(found, rel=0.1)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"covariance": "profile"}, "estimation.delay_spread_s: got None"),
            ({"delay_spread_s": 1e-7}, "estimation.delay_spread_s: got 1e-07"),
            ({"covariance": "flat"}, "'profile' or 'estimated'"),
            ({"snr_db": "high"}, "estimation.snr_db: got 'high'"),
            ({"period_slots": 0}, "estimation.period_slots: got 0"),
            ({"row": 18}, "csi_rs.row: got 18; allowed: 6, 7, 8"),
            ({"density": 0.5}, "csi_rs.density: got 0.5"),
            ({"density": 2}, "estimation.density: got 2"),
            ({"foo": 1}, "estimation: unknown: foo; allowed: covariance, delay_spread_s, beams, snr_db"),
            ({"interpolation": "nearest"}, "estimation: unknown: interpolation; allowed: "),  # it has a filter for it
        ],
    )
    def test_bad_parameters(self, options, message):
        with pytest.raises(ConfigError) as caught:
            LmmseEstimator(geometry(8), **{"snr_db": 10, **options})
        assert message in str(caught.value)


class TestDelayDomain:
    def sparse(self, rng, g, drops=60, paths=3):
        """Few paths on the delays of the DFT."""
        delays = rng.integers(0, 12, (drops, 1, 1, 1, 1, paths, 1)) / g.num_subcarriers
        waves = np.exp(-2j * np.pi * delays * np.arange(g.num_subcarriers))
        return ((gaussian(rng, drops, 1, 2, 8, 1, 1, paths) @ waves)[..., 0, :] / np.sqrt(paths)).astype(np.complex64)

    @pytest.mark.parametrize("snr_db", [-5, 10, 25])
    def test_sparse_channels(self, rng, snr_db):
        """At best the noise of 3 taps out of 52 is left, and no more than twice that."""
        g = geometry(8)
        h = self.sparse(rng, g)
        found, declared = error(DenoisingEstimator(g, snr_db=snr_db), h)
        relative = found * 10 ** (snr_db / 10)
        assert 0.7 * 3 / 52 < relative < 2.5 * 3 / 52
        assert declared == pytest.approx(found, rel=0.1)

    @pytest.mark.parametrize("snr_db", [-5, 10, 25])
    def test_dense_channels(self, rng, snr_db):
        g = geometry(8)
        h = exponential(rng, g, 60, 100e-9)
        found, declared = error(DenoisingEstimator(g, snr_db=snr_db), h)
        assert found < error(LeastSquaresEstimator(g, snr_db=snr_db), h)[0]
        assert declared == pytest.approx(found, rel=0.1)

    def test_window(self, rng):
        """Only delays beyond the window are lost; those inside it are estimated all the better."""
        g = geometry(8)
        h = self.sparse(rng, g)
        narrow = error(DenoisingEstimator(g, snr_db=0, max_delay_s=1e-9), h)
        wide = error(DenoisingEstimator(g, snr_db=0, max_delay_s=12 / (52 * 360e3)), h)
        every = error(DenoisingEstimator(g, snr_db=0), h)
        assert narrow[0] > 0.5 and narrow[1] == pytest.approx(narrow[0], rel=0.1)
        assert wide[0] < every[0]
        early = h * np.exp(2j * np.pi * 15 / 52 * np.arange(52)).astype(np.complex64)  # 3 to 15 taps before zero
        assert error(DenoisingEstimator(g, snr_db=0), early)[0] == pytest.approx(every[0], rel=0.05)
        assert error(DenoisingEstimator(g, snr_db=0, max_delay_s=20 / (52 * 360e3)), early)[0] > 0.8

    def test_profile_and_its_delays(self, rng):
        """One path: the profile adds up to its power, and lies within the width of the window around its delay."""
        delays = delay_grid(40, 1.0)
        z = np.exp(-2j * np.pi * 0.123 * np.arange(40)) * np.ones((1, 1, 2, 3, 1, 1))
        profile = power_delay_profile(z.astype(np.complex64), np.zeros((1, 1, 1)))[0, 0, 0]
        assert profile.sum() == pytest.approx(1, rel=1e-5)
        assert profile[np.abs(delays - 0.123) < 2 / 40].sum() > 0.99
        assert delays.min() >= -0.125 and delays.max() < 0.875

    def test_correlation(self, rng):
        z = gaussian(rng, 2, 1, 2, 3, 2, 9).astype(np.complex64)
        r = pilot_correlation(z, np.full((2, 1, 2), 0.25), 4)
        for b, t, m in np.ndindex(2, 2, 4):
            x = z[b, 0, :, :, t].astype(complex)
            expected = np.mean([np.mean(x[..., p + m] * x[..., p].conj()) for p in range(9 - m)]) - 0.25 * (m == 0)
            assert r[b, 0, t, m] == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize(("kind", "order"), [("nearest", 1), ("linear", 2)])
    def test_error_filter(self, kind, order):
        """One delay at a time, and an exponential profile of them, as the interpolation itself."""
        interpolation = Interpolation(np.arange(20)[None] * 12.0, 229, kind)
        spectrum = lambda t: interpolation.spectrum(t)[0]  # noqa: E731
        found = ErrorFilter(spectrum, order, 12.0, 20)
        turns = np.array([0.0, 0.15, 0.3, 0.5, 0.65])
        waves = np.exp(-2j * np.pi * turns[:, None, None, None, None, None] * np.arange(20)).astype(np.complex64)
        quiet = np.zeros((5, 1, 1), np.float32)
        expected = spectrum(turns / 12)
        np.testing.assert_allclose(found.power(waves, quiet)[:, 0, 0], expected, rtol=0.15, atol=1e-6)
        delays = np.linspace(0, 0.6, 400)
        weights = np.exp(-delays / 0.05)
        response = np.abs(np.exp(-2j * np.pi * np.outer(delays, np.arange(len(found.taps)))) @ found.taps) ** 2
        assert weights @ response == pytest.approx(weights @ spectrum(delays / 12), rel=0.03)

    def test_error_filter_takes_off_the_noise(self, rng):
        interpolation = Interpolation(np.arange(20)[None] * 12.0, 229, "linear")
        found = ErrorFilter(lambda t: interpolation.spectrum(t)[0], 2, 12.0, 20)
        z = np.sqrt(0.3) * gaussian(rng, 3000, 1, 1, 1, 1, 20)
        power = found.power(z.astype(np.complex64), np.full((3000, 1, 1), 0.3, np.float32))
        assert_mean(power, 0)
        assert ErrorFilter(lambda t: interpolation.spectrum(t)[0], 2, 12.0, 2).power(z[..., :2], 0.3).max() == 0


def of_few_paths(rng, g, drops, paths=4):
    """Channels of unit power with a few paths, of one delay and one beam each for all polarisations and antennas."""
    shape = (drops, 1, 1, 1, 1, 1, 1, 1, paths)
    delays = rng.exponential(300e-9, shape) * g.spacing_hz
    waves = np.exp(-2j * np.pi * delays * np.arange(g.num_subcarriers)[:, None])
    beams = [np.exp(2j * np.pi * rng.random(shape) * np.arange(n)[:, None]) for n in (g.panel.n1, g.panel.n2)]
    space = beams[0].reshape(drops, 1, 1, 1, -1, 1, 1, 1, paths) * beams[1].reshape(drops, 1, 1, 1, 1, -1, 1, 1, paths)
    gains = gaussian(rng, drops, 1, g.num_rx_ant, g.panel.num_pol, 1, 1, 1, 1, paths) / np.sqrt(paths)
    h = (gains * space * waves).sum(axis=-1)
    return h.reshape(drops, 1, g.num_rx_ant, -1, 1, g.num_subcarriers).astype(np.complex64)


class TestLearned:
    @pytest.mark.long
    @pytest.mark.parametrize("snr_db", [-5, 10, 25])
    @pytest.mark.parametrize("ports", [2, 16])
    def test_honest(self, rng, snr_db, ports):
        g = geometry(ports)
        found, declared = error(LearnedEstimator(g, snr_db=snr_db), exponential(rng, g, 100, 100e-9))
        assert declared == pytest.approx(found, rel=0.1)

    @pytest.mark.parametrize(("ports", "samples"), [(8, 52), (32, 26)])
    def test_few_paths_have_few_bins(self, rng, ports, samples):
        """LMMSE knows the delays, and its filter over beams the beams; neither knows which delay has which beam."""
        g = geometry(ports, samples)
        h = of_few_paths(rng, g, 20)
        learned, linear, beams = (
            error(e, h)[0]
            for e in (
                LearnedEstimator(g, snr_db=5),
                LmmseEstimator(g, snr_db=5),
                LmmseEstimator(g, snr_db=5, beams=True),
            )
        )
        assert learned < 0.75 * linear and learned < 0.9 * beams

    @pytest.mark.parametrize("snr_db", [0, 20])
    def test_beams_that_tell_nothing_cost_little(self, rng, snr_db):
        g = geometry(16)
        h = exponential(rng, g, 16, 100e-9)
        assert error(LearnedEstimator(g, snr_db=snr_db), h)[0] < 1.05 * error(LmmseEstimator(g, snr_db=snr_db), h)[0]

    def test_pilots_at_true_subcarriers(self, rng):
        """Ports of other CDM groups have their pilots elsewhere; LMMSE carries the estimate to all subcarriers."""
        g = geometry(8, 312, width=1)
        h = of_few_paths(rng, g, 20)
        estimators = LearnedEstimator(g, snr_db=5), LmmseEstimator(g, snr_db=5, beams=True)
        (learned, declared), (linear, _) = (error(e, h) for e in estimators)
        assert learned < linear and declared == pytest.approx(learned, rel=0.15)

    def test_without_a_change_it_is_lmmse(self, rng, monkeypatch):
        g = geometry(8, 60, width=1)
        learned = LearnedEstimator(g, snr_db=5)
        monkeypatch.setattr(learned, "_trained", SimpleNamespace(model=lambda kept, removed: np.zeros_like(kept)))
        h = of_few_paths(rng, g, 10)
        one, other = (e.estimate(h, seed=1).h_hat for e in (learned, LmmseEstimator(g, snr_db=5)))
        assert np.array_equal(one, other)

    def test_bins_are_those_of_a_loop(self, rng):
        """Beam (m, n) and delay d of one antenna and polarisation, entry by entry, and the way back."""
        panel, var = Panel(3, 2, 2), np.full((1, 1, 1), 0.25, np.float32)
        z = gaussian(rng, 1, 1, 2, 12, 1, 5).astype(np.complex64)
        bins = to_bins(z, var, panel)
        assert bins.shape == (1, 4, 2, 3, 5, 2)
        ant, pol, m, n, d = 1, 1, 2, 1, 3
        expected = 0
        for i, j, p in np.ndindex(3, 2, 5):
            turn = np.exp(-2j * np.pi * (i * m / 3 + j * n / 2 - p * d / 5))
            expected += z[0, 0, ant, pol * 6 + i * 2 + j, 0, p] * turn / np.sqrt(30) / 0.5
        assert bins[0, 2 * ant + pol, n, m, d] @ [1, 1j] == pytest.approx(expected, rel=1e-5)
        assert_close(from_bins(bins, z.shape, var), z, FLOAT32)

    def test_common_phase_and_scale_do_not_matter(self, rng):
        g = geometry(8)
        estimator = LearnedEstimator(g, snr_db=10)
        z = exponential(rng, g, 5, 100e-9) + np.complex64(0.3) * gaussian(rng, 5, 1, 2, 8, 1, 52).astype(np.complex64)
        var = np.full((5, 1, 1), 0.09, np.float32)
        turn = np.complex64(3 * np.exp(1j))
        plain, moved = estimator.from_pilots(z, var)[0], estimator.from_pilots(z * turn, 9 * var)[0]
        assert_close(moved / turn, plain, 1e-4)

    @pytest.mark.parametrize("name", zoo_names("estimation"))
    def test_card(self, name):
        """Ahead of LMMSE wherever beams tell something, nowhere far behind."""
        trained = TrainedEstimator(name)
        card = trained.card
        assert card["name"] == name and trained.model.count_params() == card["parameters"]
        for place, by_snr in card["test"]["by_channel"].items():
            for snr, value in by_snr.items():
                linear = card["test"]["lmmse"][place][snr]
                ahead = place.startswith("u") and not place.endswith("1x1")
                assert 0 < value < (0.95 if ahead else 1.02) * linear, (place, snr, value, linear)


SCENARIO = {
    "name": "estimated",
    "carrier": {"num_rb": 12},
    "bs": {"n1": 4, "n2": 1},
    "ue": {"num_users": 2},
    "channel": {"model": "rayleigh", "taps": 3},
    "feedback": [{"scheme": "perfect"}],
    "precoding": {"precoders": ["zf"]},
    "snr_db": [20],
    "sweep": {"estimation.snr_db": [-5, 10, 40]},
}


class TestInTheLink:
    @pytest.mark.parametrize(
        "estimation",
        [
            {"name": "csi_rs_ls"},
            {"name": "csi_rs_ls", "inr_db": 10},
            {"name": "csi_rs_lmmse"},
            {"name": "csi_rs_denoise"},
            {"name": "csi_rs_learned"},
        ],
        ids=lambda e: "-".join(map(str, e.values())),
    )
    def test_estimation_snr_is_an_axis(self, estimation):
        """The error of the estimate reaches feedback and rate: better estimates, better rates, up to perfect ones."""
        points = expand({**SCENARIO, "estimation": {**estimation, "snr_db": 0}})
        assert [p.axes["estimation.snr_db"] for p in points] == [-5, 10, 40]
        rates, nmse = [], []
        for point in points:
            h = ChannelDraw(point).block(0, 40)
            for _, precoder, outcome in build_link(point.scenario).run(h, seed=1):
                if precoder is None:
                    nmse.append(np.mean(np.abs(outcome.h_hat - h) ** 2))
                else:
                    rates.append(outcome.rate.sum(axis=2).mean())
                    best = outcome.rate_ref.sum(axis=2).mean()
        assert rates[0] < 0.8 * rates[1] < rates[2] and rates[2] == pytest.approx(best, rel=0.06)
        assert nmse[0] > 2 * nmse[1] > 4 * nmse[2]
        if estimation == {"name": "csi_rs_ls"}:
            np.testing.assert_allclose(nmse, [10**0.5, 0.1, 1e-4], rtol=0.1)

    def test_ports_without_csi_rs_are_named(self):
        data = {**SCENARIO, "bs": {"n1": 5, "n2": 1}, "estimation": {"name": "csi_rs_ls", "snr_db": 0}}
        with pytest.raises(ConfigError, match="got 10; allowed: 1, 2, 4, 8, 12, 16, 24, 32"):
            build_link(expand(data)[0].scenario)

    def test_noise_does_not_depend_on_the_channel_gain(self, rng):
        """``snr_db`` is that of the link: a UE 20 dB down has an estimate 20 dB worse."""
        h = np.repeat(gaussian(rng, 50, 1, 2, 8, 1, 1), 52, axis=-1).astype(np.complex64)
        estimator = LeastSquaresEstimator(geometry(8), snr_db=10)
        assert error(estimator, h)[0] == pytest.approx(error(estimator, 0.1 * h)[0], rel=0.01)
