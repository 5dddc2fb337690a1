"""Precoders that know users, noise or errors, and user selection, against float64 references, limits and orderings."""

from itertools import combinations

import numpy as np
import pytest
from keras import ops
from scipy.linalg import eigh, null_space
from tolerances import EIGENVECTOR, FLOAT32, INVERSE, RATE, WMMSE_LOOP, assert_close

from receivers.estimation.noisy import NoisyEstimator
from receivers.feedback.perfect import PerfectFeedback
from simulator.core.errors import ConfigError
from simulator.core.interfaces import Precoder
from simulator.core.types import CsiConfig, Panel, PrecodingContext
from simulator.downlink import user_selection
from simulator.link import Link, relative_error
from simulator.precoding import linear
from simulator.precoding.bd import Bd, bd
from simulator.precoding.rzf_robust import RzfRobust, rzf_robust
from simulator.precoding.slnr import Slnr, slnr
from simulator.precoding.wmmse import Wmmse, wmmse, wmmse_convergence
from tests.links import over

# Few iterations: eager steps are slow.
PRECODERS = (Bd(), Slnr(), Wmmse(3), RzfRobust())
every = pytest.mark.parametrize("precoder", PRECODERS, ids=lambda p: type(p).__name__)


def channel(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x))


def zf(g):
    return linear.zf(ops.convert_to_tensor(g))


def rzf(g, noise_var):
    return linear.Rzf().weights(ops.convert_to_tensor(g), noise_var)


def aligned(w, expected):
    """``w`` with the phase of every column turned to that of ``expected``."""
    inner = np.sum(w.conj() * expected, axis=0)
    return w * inner / np.abs(inner)


def equal_power(columns):
    return columns / np.linalg.norm(columns, axis=0) / np.sqrt(columns.shape[1])


def stream_sinr(g, w, noise_var, users):
    """LMMSE SINR of every stream at its own user ``[..., stream]``, float64; other streams interfere."""
    g, w = g.astype(np.complex128), w.astype(np.complex128)
    layers = g.shape[-2] // users
    out = []
    for s in range(g.shape[-2]):
        start = s // layers * layers
        e = g[..., start : start + layers, :] @ w
        other = np.delete(e, s, axis=-1)
        covariance = other @ other.conj().swapaxes(-1, -2) + noise_var * np.eye(layers)
        own = e[..., s, None]
        out.append((own.conj().swapaxes(-1, -2) @ np.linalg.solve(covariance, own))[..., 0, 0].real)
    return np.stack(out, axis=-1)


def sum_rate(g, w, noise_var, users=None):
    return np.log2(1 + stream_sinr(g, numpy(w), noise_var, users or g.shape[-2])).sum(axis=-1)


@pytest.fixture
def g(rng):
    """Three users with two layers each, 12 dB apart between users."""
    return channel(rng, 12, 6, 8) * rng.uniform(0.5, 2, (12, 3, 1)).repeat(2, axis=1).astype(np.float32)


class TestBd:
    def test_equals_null_spaces_and_singular_vectors(self, g):
        w = numpy(bd(g, 3))
        for rows, columns in zip(g.astype(np.complex128), w, strict=True):
            expected = []
            for own in (slice(0, 2), slice(2, 4), slice(4, 6)):
                free = null_space(np.delete(rows, own, axis=0))
                expected.append(free @ np.linalg.svd(rows[own] @ free)[2].conj().T[:, :2])
            expected = equal_power(np.concatenate(expected, axis=1))
            assert_close(aligned(columns, expected), expected, EIGENVECTOR)

    def test_users_do_not_interfere_and_layers_are_orthogonal(self, g):
        w = numpy(bd(g, 3))
        leak = np.abs(g @ w).reshape(12, 3, 2, 3, 2)
        own = leak[:, range(3), :, range(3)].max()
        leak[:, range(3), :, range(3)] = 0
        assert leak.max() < INVERSE * own
        gram = (w.conj().swapaxes(1, 2) @ w).reshape(12, 3, 2, 3, 2)[:, range(3), :, range(3)]
        assert_close(gram, np.broadcast_to(np.eye(2) / 6, gram.shape), EIGENVECTOR)

    def test_one_layer_per_user_is_zf(self, g):
        assert_close(numpy(bd(g, 6)), numpy(zf(g)), INVERSE)
        assert_close(numpy(Bd().weights(g, 0.1)), numpy(zf(g)), INVERSE)

    def test_one_user_sends_along_its_singular_vectors(self, g):
        rows = g[:, :3]
        for r, columns in zip(rows, numpy(bd(rows, 1)), strict=True):
            expected = equal_power(np.linalg.svd(r.astype(np.complex128))[2].conj().T[:, :3])
            assert_close(aligned(columns, expected), expected, EIGENVECTOR)

    def test_better_than_zf(self, g):
        assert (sum_rate(g, bd(g, 3), 1e-2, 3) > sum_rate(g, zf(g), 1e-2, 3) * 0.99).all()
        assert sum_rate(g, bd(g, 3), 1e-2, 3).mean() > 1.02 * sum_rate(g, zf(g), 1e-2, 3).mean()

    @pytest.mark.parametrize("scale", [1e-8, 1e4])
    def test_ignores_the_unit_of_the_channel(self, g, scale):
        assert_close(numpy(bd((g * scale).astype(np.complex64), 3)), numpy(bd(g, 3)), EIGENVECTOR)

    def test_layers_of_very_different_strength(self, rng):
        """Orthogonal rows over 50 dB: their own directions, strongest first, whatever their order."""
        u = np.linalg.qr(channel(rng, 8, 8))[0][:4].astype(np.complex64)
        g = u * np.float32([0.003, 1, 0.1, 0.02])[:, None]
        expected = u[[1, 0, 2, 3]].conj().T / 2
        assert_close(aligned(numpy(bd(g, 2)), expected), expected, INVERSE)


class TestSlnr:
    @pytest.mark.parametrize("noise_var", [1e-2, 0.3, 10.0])
    def test_equals_generalised_eigenvectors(self, g, noise_var):
        w = numpy(slnr(g, noise_var, 3))
        for rows, columns in zip(g.astype(np.complex128), w, strict=True):
            expected = []
            for own in (slice(0, 2), slice(2, 4), slice(4, 6)):
                signal = rows[own].conj().T @ rows[own]
                leakage = rows.conj().T @ rows - signal + 6 * noise_var * np.eye(8)
                expected.append(eigh(signal, leakage)[1][:, :-3:-1])
            expected = equal_power(np.concatenate(expected, axis=1))
            assert_close(aligned(columns, expected), expected, EIGENVECTOR)

    def test_one_layer_per_user_is_rzf(self, g):
        for noise_var in (1e-3, 0.1, 10.0):
            expected = numpy(rzf(g, noise_var))
            assert_close(numpy(slnr(g, noise_var, 6)), expected, FLOAT32)
            assert_close(numpy(Slnr().weights(g, noise_var)), expected, FLOAT32)

    def test_becomes_bd_without_noise_and_singular_vectors_in_noise(self, g):
        w, expected = numpy(slnr(g, 1e-9, 3)), numpy(bd(g, 3))
        for one, other in zip(w, expected, strict=True):
            assert_close(aligned(one, other), other, EIGENVECTOR)
        g[:, 1::2] *= 0.3
        for rows, columns in zip(g, numpy(slnr(g, 3e3, 3)), strict=True):
            own = [np.linalg.svd(rows[s : s + 2].astype(np.complex128))[2].conj().T[:, :2] for s in (0, 2, 4)]
            expected = equal_power(np.concatenate(own, axis=1))
            assert_close(aligned(columns, expected), expected, 2e-2)

    def test_better_than_bd_in_noise(self, g):
        assert sum_rate(g, slnr(g, 1.0, 3), 1.0, 3).mean() > 1.02 * sum_rate(g, bd(g, 3), 1.0, 3).mean()


def wmmse_reference(g, noise_var, users, num_iterations, bisection=False):
    """Streams one by one, float64, inverses of the size of the array; yields the precoder after every iteration.

    With ``bisection`` the multiplier meets the power constraint as in the paper; otherwise it is in closed form.
    """
    g = g.astype(np.complex128)
    streams, ports = g.shape
    layers = streams // users
    w = equal_power(g.conj().T @ np.linalg.inv(g @ g.conj().T + streams * noise_var * np.eye(streams)))
    yield w
    for _ in range(num_iterations):
        f, weights, noise = [], [], 0.0
        for s in range(streams):
            own = g[s // layers * layers : (s // layers + 1) * layers]
            covariance = own @ w @ w.conj().T @ own.conj().T + noise_var * np.eye(layers)
            u = np.linalg.inv(covariance) @ own @ w[:, s]
            weights.append(1 / (1 - u.conj() @ own @ w[:, s]).real)
            f.append(own.conj().T @ u)
            noise += weights[-1] * np.sum(np.abs(u) ** 2)
        f = np.stack(f, axis=1)
        a, b = f * np.array(weights) @ f.conj().T, f * np.array(weights)
        if bisection:
            low, high = 1e-12, 1e6
            for _ in range(50):
                mu = np.sqrt(low * high)
                w = np.linalg.inv(a + mu * np.eye(ports)) @ b
                low, high = (mu, high) if np.sum(np.abs(w) ** 2) > 1 else (low, mu)
        else:
            w = np.linalg.inv(a + noise_var * noise * np.eye(ports)) @ b
            w = w / np.linalg.norm(w)
        yield w


class TestWmmse:
    @pytest.mark.long
    @pytest.mark.parametrize("users", [6, 3])
    @pytest.mark.parametrize("noise_var", [1e-2, 0.3, 10.0])
    def test_equals_a_plain_loop(self, g, users, noise_var):
        w = numpy(wmmse(g, noise_var, users, 5))
        rates = numpy(wmmse_convergence(g, noise_var, users, 5))
        for rows, columns, rate in zip(g, w, rates, strict=True):
            steps = list(wmmse_reference(rows, noise_var, users, 5))
            assert_close(columns, steps[-1], WMMSE_LOOP)
            assert_close(rate, [sum_rate(rows, step, noise_var, users) for step in steps], RATE)

    @pytest.mark.long
    def test_meets_the_bisection_of_the_paper(self, g):
        rates = numpy(wmmse_convergence(g[:3], 0.3, None, 25))[:, -1]
        for rows, rate in zip(g[:3], rates, strict=True):
            *_, last = wmmse_reference(rows, 0.3, 6, 60, bisection=True)
            np.testing.assert_allclose(rate, sum_rate(rows, last, 0.3), rtol=1e-2)

    @pytest.mark.long
    @pytest.mark.parametrize("users", [4, 2])
    def test_sum_rate_never_falls(self, rng, users):
        g = channel(rng, 40, 4, 4)
        for snr_db in (-10, 10, 30):
            noise_var = 10 ** (-snr_db / 10)
            rates = numpy(wmmse_convergence(g, noise_var, users, 8))
            assert rates.shape == (40, 9)
            assert (np.diff(rates, axis=1) > -RATE * rates[:, 1:]).all()
            start = rzf(g, noise_var)
            np.testing.assert_allclose(rates[:, 0], sum_rate(g, start, noise_var, users), rtol=RATE)
            assert rates[:, -1].mean() > 1.01 * rates[:, 0].mean()

    def test_high_snr_is_zf(self, rng):
        """Users far fewer than ports: nothing is left to gain over ZF with water-filling."""
        g = channel(rng, 20, 3, 16)
        best = sum_rate(g, wmmse(g, 1e-4, None, 10), 1e-4)
        np.testing.assert_allclose(
            best, sum_rate(g, linear.zf_water_filling(ops.convert_to_tensor(g), 1e-4), 1e-4), rtol=1e-3
        )

    @pytest.mark.long
    def test_low_snr_is_mrt_to_the_strongest(self, rng):
        g = channel(rng, 20, 3, 8)
        g[:, 1] *= 3
        w = numpy(wmmse(g, 1e3))
        expected = g[:, 1].conj() / np.linalg.norm(g[:, 1], axis=-1, keepdims=True)
        for one, other in zip(w, expected, strict=True):
            assert_close(aligned(one[:, 1:2], other[:, None]), other[:, None], 1e-2)

    def test_zero_iterations_are_rzf(self, g):
        assert_close(numpy(wmmse(g, 0.1, 3, 0)), numpy(rzf(g, 0.1)), INVERSE)

    @pytest.mark.long
    @pytest.mark.parametrize("scale", [1e-8, 1e4])
    def test_depends_on_the_ratio_of_gain_and_noise(self, g, scale):
        scaled = numpy(wmmse((g * scale).astype(np.complex64), 0.3 * scale**2, 3, 5))
        assert_close(scaled, numpy(wmmse(g, 0.3, 3, 5)), WMMSE_LOOP)

    @pytest.mark.long
    def test_rzf_is_between_zf_and_wmmse(self, rng):
        g = channel(rng, 100, 4, 5)
        for snr_db in (-10, 0, 10, 20, 30):
            noise_var = 10 ** (-snr_db / 10)
            rates = [sum_rate(g, w, noise_var).mean() for w in (zf(g), rzf(g, noise_var), wmmse(g, noise_var, None, 5))]
            assert rates[0] <= rates[1] <= rates[2], f"{snr_db} dB: {rates}"


class TestRobust:
    def test_equals_a_loaded_inverse(self, g, rng):
        error = rng.uniform(0, 0.5, (12, 6)).astype(np.float32)
        w = numpy(rzf_robust(g, 0.1, error))
        for rows, columns, e in zip(g.astype(np.complex128), w, error, strict=True):
            inverse = np.linalg.inv(rows @ rows.conj().T + (6 * 0.1 + e.sum()) * np.eye(6))
            assert_close(columns, equal_power(rows.conj().T @ inverse), INVERSE)

    def test_without_error_is_rzf(self, g):
        for precoder in (RzfRobust(), RzfRobust(relative_error=0.0), RzfRobust().for_link(PrecodingContext(3))):
            np.testing.assert_array_equal(numpy(precoder.weights(g, 0.05)), numpy(rzf(g, 0.05)))

    def test_the_error_is_relative_to_the_known_rows_of_each_layer(self, g):
        power = np.mean(np.abs(g) ** 2, axis=-1)
        by_layer = np.float32([0.1, 0.4])
        bound = RzfRobust().for_link(PrecodingContext(3, by_layer))
        expected = rzf_robust(g, 0.05, power * np.tile(by_layer, 3))
        assert_close(numpy(bound.weights(g, 0.05)), numpy(expected), FLOAT32)
        named = RzfRobust(relative_error=0.2).for_link(PrecodingContext(3, by_layer))
        assert_close(numpy(named.weights(g, 0.05)), numpy(rzf_robust(g, 0.05, 0.2 * power)), FLOAT32)

    @pytest.mark.long
    @pytest.mark.parametrize("variance", [0.03, 0.3])
    def test_better_than_rzf_with_noisy_csi_at_high_snr(self, rng, variance):
        g = channel(rng, 200, 4, 4)
        known = g + np.float32(np.sqrt(variance)) * channel(rng, *g.shape)
        plain = sum_rate(g, rzf(known, 1e-3), 1e-3).mean()
        robust = RzfRobust(relative_error=variance).weights(known, 1e-3)  # 1 / rho^2 - 1 of these rows
        best = max(sum_rate(g, rzf(known, x), 1e-3).mean() for x in np.geomspace(1e-3, 3, 30).tolist())
        assert sum_rate(g, robust, 1e-3).mean() > 1.03 * plain
        assert sum_rate(g, robust, 1e-3).mean() > 0.95 * best


class TestEveryClass:
    @every
    @pytest.mark.parametrize(("users", "layers"), [(1, 1), (1, 3), (2, 1), (2, 2), (4, 2)])
    def test_total_power(self, rng, precoder, users, layers):
        g = channel(rng, 2, 3, users * layers, 8)
        precoder = precoder.for_link(PrecodingContext(users, np.full(layers, 0.1, np.float32)))
        for noise_var in (1e-4, 100.0):
            w = numpy(precoder.weights(g, noise_var))
            assert w.shape == (2, 3, 8, users * layers) and w.dtype == np.complex64
            np.testing.assert_allclose(np.sum(np.abs(w) ** 2, axis=(2, 3)), 1, rtol=1e-4)

    @every
    @pytest.mark.parametrize("layers", [1, 2])
    def test_unknown_and_identical_users_stay_finite(self, rng, precoder, layers):
        g = channel(rng, 5, 3 * layers, 8)
        g[0] = 0
        g[1, :layers] = 0
        g[2, -layers:] = g[2, :layers]
        g[3, 1::2] = 0  # only the first of two layers
        g[4, 1:] = g[4, :1]
        precoder = precoder.for_link(PrecodingContext(3))
        for noise_var in (1e-9, 0.1):
            w = numpy(precoder.weights(g, noise_var))
            power = np.sum(np.abs(w) ** 2, axis=1)
            assert np.isfinite(w).all()
            np.testing.assert_allclose(power.sum(axis=1), [0, 1, 1, 1, 1], rtol=1e-4)
            assert (power[1, :layers] == 0).all()
            assert layers == 1 or (power[3, 1::2] == 0).all()

    @pytest.mark.parametrize("cls", [Bd, Slnr, Wmmse])
    def test_streams_that_users_cannot_share(self, rng, cls):
        with pytest.raises(ConfigError, match="num_users"):
            cls().for_link(PrecodingContext(2)).weights(channel(rng, 3, 8), 0.1)

    def test_constructors_refuse_nonsense(self):
        for make in (lambda: Bd(0), lambda: Slnr(-1), lambda: Wmmse(0), lambda: RzfRobust(-0.1)):
            with pytest.raises(ConfigError, match="precoding"):
                make()

    @pytest.mark.long
    def test_for_link_leaves_the_precoder_and_plain_ones_alone(self, g):
        context = PrecodingContext(3, 0.2)
        for precoder in PRECODERS:
            before = numpy(precoder.weights(g, 0.1))
            assert precoder.for_link(context) is not precoder
            np.testing.assert_array_equal(numpy(precoder.weights(g, 0.1)), before)
        plain = linear.Zf()
        assert plain.for_link(context) is plain
        assert Wmmse(7).for_link(context).num_iterations == 7


class Spy(Precoder):
    """ZF that notes what the link tells it."""

    def __init__(self):
        self.seen = []

    def for_link(self, context):
        self.seen.append(context)
        return self

    def weights(self, g, noise_var):
        return zf(g)


class TestInTheLink:
    @staticmethod
    def rates(rng, estimator, precoders, layers=1, users=3):
        config = CsiConfig(Panel(4, 1, 2), 2, 3, 360e3, subband_size=2, num_layers=layers)
        link = Link(config, estimator, over({"perfect": PerfectFeedback(config)}), precoders, (0.0, 30.0))
        h = channel(rng, 20, users, 2, 8, 1, 3)
        found = {name: o for _, name, o in link.run(h, seed=1) if name}
        return {name: (o.rate.mean(axis=(1, 2, 3)), o.rate_ref.mean(axis=(1, 2, 3))) for name, o in found.items()}

    def test_says_users_and_error(self, rng):
        spy = Spy()
        self.rates(rng, NoisyEstimator(snr_db=10.0), {"spy": spy}, layers=2)
        check, reference, noisy = spy.seen  # total power, exact CSI, the scheme
        assert check == reference
        assert reference.num_users == noisy.num_users == 3
        assert np.all(reference.relative_error == 0)
        # About that of an entry (0.1); more in the weaker layer.
        assert noisy.relative_error.shape == (2,)
        assert 0.05 < noisy.relative_error[0] < noisy.relative_error[1] < 1

    @pytest.mark.long
    def test_new_precoders_gain_where_they_should(self, rng):
        named = {"bd": Bd(), "slnr": Slnr(), "wmmse": Wmmse(5), "zf": linear.Zf(), "rzf": linear.Rzf()}
        mean = {
            name: reference for name, (_, reference) in self.rates(rng, NoisyEstimator(snr_db=10.0), named, 2).items()
        }
        assert (mean["bd"] > mean["zf"]).all()
        assert mean["slnr"][0] > mean["bd"][0]
        assert (mean["wmmse"] > mean["rzf"]).all()

    @pytest.mark.long
    def test_robust_rzf_is_better_with_noisy_csi(self, rng):
        named = {"rzf": linear.Rzf(), "robust": RzfRobust()}
        found = self.rates(rng, NoisyEstimator(snr_db=5.0), named, users=8)
        (plain, plain_reference), (robust, reference) = found["rzf"], found["robust"]
        np.testing.assert_array_equal(reference, plain_reference)
        assert robust[1] > 1.03 * plain[1] and robust[0] > 0.99 * plain[0]

    def test_relative_error(self):
        c2 = np.zeros((2, 3, 4, 4), np.float32)
        c2[..., 0] = 1 - 1e-7
        c2[:, :, 1:, 1] = 0.8  # nothing known of one user
        c2[..., 2] = 0.5
        np.testing.assert_allclose(relative_error(c2), [0, 0.25, 1, 0], rtol=1e-6)


# User selection ------------------------------------------------------------------------------------------------------


def zero_forcing_rate(g, noise_var, water_filling):
    """Float64, one group of users, level by bisection."""
    gain = 1 / np.diag(np.linalg.inv(g @ g.conj().T)).real / noise_var
    power = np.full(len(g), 1 / len(g))
    if water_filling:
        low, high = 0.0, 1 + (1 / gain).max()
        for _ in range(200):
            level = (low + high) / 2
            low, high = (level, high) if np.maximum(level - 1 / gain, 0).sum() < 1 else (low, level)
        power = np.maximum(level - 1 / gain, 0)
    return np.log2(1 + gain * power).sum()


class TestSemiOrthogonal:
    @pytest.mark.parametrize("threshold", [0.2, 0.5, 1.0])
    def test_equals_a_loop(self, rng, threshold):
        g = channel(rng, 3, 10, 20, 4)
        chosen = user_selection.semi_orthogonal(g, 4, threshold)
        assert chosen.shape == (3, 10, 4) and chosen.dtype == np.int64
        for index in np.ndindex(3, 10):
            rows, left, basis, expected = g[index].astype(np.complex128), list(range(20)), [], []
            while left and len(expected) < 4:
                rest = {k: rows[k] - sum((q.conj() @ rows[k]) * q for q in basis) for k in left}
                best = max(left, key=lambda k: np.linalg.norm(rest[k]))
                expected.append(best)
                basis.append(rest[best] / np.linalg.norm(rest[best]))
                left = [
                    k
                    for k in left
                    if k != best and abs(basis[-1].conj() @ rows[k]) < threshold * np.linalg.norm(rows[k])
                ]
            np.testing.assert_array_equal(chosen[index], expected + [-1] * (4 - len(expected)))

    def test_cosines_stay_below_the_threshold(self, rng):
        g = channel(rng, 50, 30, 6)
        chosen = user_selection.semi_orthogonal(g, 4, 0.4)
        unit = g / np.linalg.norm(g, axis=-1, keepdims=True)
        found = 0
        for rows, users in zip(unit, chosen, strict=True):
            group = rows[users[users >= 0]]
            assert len(set(users[users >= 0])) == len(group) >= 1
            # Every later user lies within the threshold of the first, and of the orthogonal part of the others.
            assert (np.abs(group[1:] @ group[0].conj()) < 0.4).all()
            found += len(group)
        assert found > 100

    def test_first_is_the_strongest_and_unknown_users_are_left_out(self, rng):
        g = channel(rng, 10, 5, 8)
        g[:, 2] *= 5
        g[:, 0] = 0
        g[:, 4] = g[:, 3]
        chosen = user_selection.semi_orthogonal(g, 5, 1.0)
        assert (chosen[:, 0] == 2).all() and (chosen != 0).all()
        assert (np.sum(chosen >= 0, axis=1) == 3).all(), "two identical users cannot both be served"
        assert (user_selection.semi_orthogonal(0 * g, 2, 0.5) == -1).all()


class TestGreedy:
    @pytest.mark.parametrize("water_filling", [True, False])
    @pytest.mark.parametrize("noise_var", [0.01, 1.0])
    def test_every_step_is_the_best_and_it_stops_in_time(self, rng, water_filling, noise_var):
        g = channel(rng, 20, 6, 4)
        chosen = user_selection.greedy_sum_rate(g, noise_var, 4, water_filling)
        for rows, users in zip(g.astype(np.complex128), chosen, strict=True):
            group, rate = [], 0.0
            while len(group) < 4:
                rates = {
                    k: zero_forcing_rate(rows[[*group, k]], noise_var, water_filling)
                    for k in range(6)
                    if k not in group
                }
                best = max(rates, key=rates.get)
                if rates[best] <= rate:
                    break
                group, rate = [*group, best], rates[best]
            np.testing.assert_array_equal(users, group + [-1] * (4 - len(group)))

    @pytest.mark.long
    def test_near_the_best_of_all_groups(self, rng):
        g = channel(rng, 30, 6, 3)
        chosen = user_selection.greedy_sum_rate(g, 0.1, 3)
        greedy, best = [], []
        for rows, users in zip(g.astype(np.complex128), chosen, strict=True):
            groups = [list(c) for n in (1, 2, 3) for c in combinations(range(6), n)]
            best.append(max(zero_forcing_rate(rows[c], 0.1, True) for c in groups))
            greedy.append(zero_forcing_rate(rows[users[users >= 0]], 0.1, True))
        assert (np.array(greedy) <= np.array(best) * (1 + 1e-9)).all()
        assert np.mean(greedy) > 0.95 * np.mean(best)

    def test_rate_equals_a_loop(self, rng):
        g = channel(rng, 5, 3, 4, 6)
        for water_filling in (True, False):
            rate = user_selection.zero_forcing_rates(g, np.full((5, 3), 0.5), water_filling).sum(axis=-1)
            for index in np.ndindex(5, 3):
                expected = zero_forcing_rate(g[index].astype(np.complex128), 0.5, water_filling)
                np.testing.assert_allclose(rate[index], expected, rtol=1e-9)

    def test_unknown_and_identical_users(self, rng):
        g = channel(rng, 10, 4, 8)
        g[:, 0] = 0
        g[:, 2] = g[:, 1]
        chosen = user_selection.greedy_sum_rate(g, 1e-3, 4)
        for users in chosen:
            assert sorted(users)[:2] == [-1, -1] and 3 in users and (1 in users) != (2 in users)
        assert (user_selection.greedy_sum_rate(0 * g, 0.1, 2) == -1).all()

    def test_one_noise_per_drop(self, rng):
        g = channel(rng, 2, 8, 4)
        g[1] = g[0]
        both = user_selection.greedy_sum_rate(g, [100.0, 1e-3], 4)
        assert np.sum(both[0] >= 0) < np.sum(both[1] >= 0)
        np.testing.assert_array_equal(both[1], user_selection.greedy_sum_rate(g[1], 1e-3, 4))


def test_selections_refuse_nonsense(rng):
    g = channel(rng, 3, 4)
    for call in (
        lambda: user_selection.semi_orthogonal(g, 4, 0.5),
        lambda: user_selection.semi_orthogonal(g, 2, 0.0),
        lambda: user_selection.greedy_sum_rate(g, 0.1, 0),
        lambda: user_selection.greedy_sum_rate(g, 0.1, 4),
    ):
        with pytest.raises(ConfigError, match=r"num_selected|threshold"):
            call()
