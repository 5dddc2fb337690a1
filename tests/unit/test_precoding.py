"""Precoders against NumPy float64 linear algebra, limits, and groups of users that cannot be separated."""

import numpy as np
import pytest
from keras import ops
from tolerances import FLOAT32, INVERSE, SINGULAR, WATER_FILLING, assert_close

from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.precoding import linear


def channel(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def numpy(x):
    return np.asarray(ops.convert_to_numpy(x))


def reference(g, inverse):
    """Columns of G^H times ``inverse``, equal power, total 1, in float64."""
    columns = g.conj().T.astype(np.complex128) @ inverse
    return columns / np.linalg.norm(columns, axis=0) / np.sqrt(len(g))


class TestAgainstNumpy:
    @pytest.fixture
    def g(self, rng):
        return channel(rng, 20, 3, 4, 8) * rng.uniform(0.1, 10, (20, 3, 4, 1)).astype(np.float32)

    def each(self, g, w, inverse):
        for index in np.ndindex(g.shape[:2]):
            assert_close(w[index], reference(g[index], inverse(g[index].astype(np.complex128))), INVERSE)

    def test_mrt(self, g):
        self.each(g, numpy(linear.mrt(g)), lambda g: np.eye(4))

    def test_zf(self, g):
        w = numpy(linear.zf(g))
        self.each(g, w, lambda g: np.linalg.inv(g @ g.conj().T))
        leak = np.abs(g @ w) ** 2
        own = np.einsum("...kk->...k", leak)
        assert ((leak.sum(axis=-1) - own) < 1e-6 * own).all(), "users interfere"

    @pytest.mark.parametrize("loading", [1e-3, 0.4, 30.0])
    def test_rzf(self, g, loading):
        self.each(g, numpy(linear.rzf(g, loading)), lambda g: np.linalg.inv(g @ g.conj().T + loading * np.eye(4)))

    def test_rzf_class_loads_by_streams_times_noise(self, g):
        w = numpy(registry.build("precoders", "rzf").weights(g, 0.05))
        self.each(g, w, lambda g: np.linalg.inv(g @ g.conj().T + 4 * 0.05 * np.eye(4)))
        w = numpy(registry.build("precoders", "rzf", loading=0.7).weights(g, 0.05))
        self.each(g, w, lambda g: np.linalg.inv(g @ g.conj().T + 0.7 * np.eye(4)))


class TestLimits:
    def test_rzf_becomes_zf_without_noise(self, rng):
        g = channel(rng, 50, 3, 8)
        assert_close(numpy(linear.Rzf().weights(g, 1e-9)), numpy(linear.zf(g)), INVERSE)

    def test_rzf_becomes_mrt_in_noise(self, rng):
        g = channel(rng, 50, 3, 8)
        assert_close(numpy(linear.Rzf().weights(g, 1e7)), numpy(linear.mrt(g)), FLOAT32)

    def test_rzf_has_a_better_sum_rate_than_both(self, rng):
        g = channel(rng, 400, 4, 4)

        def sum_rate(w, noise_var):
            power = np.abs(g @ numpy(w)) ** 2
            own = np.einsum("bkk->bk", power)
            return np.log2(1 + own / (power.sum(axis=-1) - own + noise_var)).sum(axis=-1).mean()

        for noise_var in (1.0, 0.1, 0.01):
            best = sum_rate(linear.Rzf().weights(g, noise_var), noise_var)
            assert best > sum_rate(linear.mrt(g), noise_var)
            assert best > sum_rate(linear.zf(g), noise_var)

    def test_single_user_precoders_agree(self, rng):
        g = channel(rng, 30, 1, 8)
        expected = g.conj().swapaxes(1, 2) / np.linalg.norm(g, axis=-1)[:, :, None]
        for w in (linear.mrt(g), linear.zf(g), linear.rzf(g, 0.3), linear.svd(g)):
            assert_close(numpy(w), expected, FLOAT32)

    @pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e4])
    def test_precoders_ignore_the_unit_of_the_channel(self, rng, scale):
        """Channels with path loss reach amplitudes of 1e-8."""
        g = channel(rng, 30, 3, 8)
        scaled = (g * scale).astype(np.complex64)
        assert_close(numpy(linear.mrt(scaled)), numpy(linear.mrt(g)), FLOAT32)
        assert_close(numpy(linear.zf(scaled)), numpy(linear.zf(g)), INVERSE)
        assert_close(numpy(linear.rzf(scaled, 0.3 * scale**2)), numpy(linear.rzf(g, 0.3)), INVERSE)


class TestPower:
    @pytest.mark.parametrize("name", ["mrt", "zf", "rzf", "svd"])
    @pytest.mark.parametrize("streams", [1, 2, 5, 8])
    def test_every_stream_has_the_same_power(self, rng, name, streams):
        g = channel(rng, 10, streams, 8)
        power = np.sum(np.abs(numpy(registry.build("precoders", name).weights(g, 0.1))) ** 2, axis=1)
        np.testing.assert_allclose(power, 1 / streams, rtol=FLOAT32)

    @pytest.mark.parametrize("name", ["mrt", "zf", "rzf"])
    def test_a_user_without_csi_gets_nothing_and_the_others_share(self, rng, name):
        g = channel(rng, 10, 4, 8)
        g[:, 2] = 0
        g[3, 0] = 0
        g[4] = 0
        w = numpy(registry.build("precoders", name).weights(g, 0.1))
        power = np.sum(np.abs(w) ** 2, axis=1)
        assert np.isfinite(w).all()
        np.testing.assert_allclose(power[0], [1 / 3, 1 / 3, 0, 1 / 3], rtol=FLOAT32)
        np.testing.assert_allclose(power[3], [0, 1 / 2, 0, 1 / 2], rtol=FLOAT32)
        assert (power[4] == 0).all()
        kept = numpy(registry.build("precoders", name, **({"loading": 0.4} if name == "rzf" else {})).weights(g, 0.1))
        without = registry.build("precoders", name, **({"loading": 0.4} if name == "rzf" else {}))
        alone = numpy(without.weights(np.delete(g[:3], 2, axis=1), 0.1))
        assert_close(np.delete(kept[:3], 2, axis=2), alone, INVERSE)


class TestDependentUsers:
    """Users whose channels are parallel cannot be separated; the result must stay usable."""

    @pytest.mark.parametrize("name", ["zf", "rzf"])
    @pytest.mark.parametrize("noise_var", [1.0, 1e-3, 1e-9])
    @pytest.mark.parametrize("factor", [1, 1j, 1e-3, 1 + 1e-6])
    def test_two_identical_users(self, rng, name, noise_var, factor):
        g = channel(rng, 40, 4, 8)
        g[:, 1] = g[:, 0] * np.complex64(factor)
        w = numpy(registry.build("precoders", name).weights(g, noise_var))
        assert np.isfinite(w).all()
        np.testing.assert_allclose(np.sum(np.abs(w) ** 2, axis=1), 1 / 4, rtol=1e-4)

    def test_zf_is_the_pseudo_inverse(self, rng):
        """Of two identical users and one in the span of others: the limit of vanishing regularisation."""
        g = channel(rng, 40, 4, 8)
        g[:20, 1] = g[:20, 0]
        g[20:, 3] = (g[20:, 0] + g[20:, 1]) / np.float32(np.sqrt(2))
        w = numpy(linear.zf(g))
        for b in range(40):
            rows = g[b] / np.linalg.norm(g[b], axis=1, keepdims=True)
            columns = np.linalg.pinv(rows.astype(np.complex128), rcond=1e-4)
            assert_close(w[b], columns / np.linalg.norm(columns, axis=0) / 2, SINGULAR)

    def test_zf_still_protects_the_other_users(self, rng):
        g = channel(rng, 40, 4, 8)
        g[:, 1] = g[:, 0]
        w = numpy(linear.zf(g))
        power = np.abs(g @ w) ** 2  # [drop, user, stream]
        others = power[:, 2:].sum(axis=-1) - power[:, [2, 3], [2, 3]]
        assert (others < 1e-4 * power[:, [2, 3], [2, 3]]).all()

    def test_more_users_than_directions(self, rng):
        g = channel(rng, 5, 6, 2)
        for name in ("zf", "rzf", "mrt"):
            w = numpy(registry.build("precoders", name).weights(g, 1e-9))
            assert np.isfinite(w).all()
            np.testing.assert_allclose(np.sum(np.abs(w) ** 2, axis=(1, 2)), 1, rtol=1e-4)


class TestWaterFilling:
    @pytest.fixture
    def gains(self, rng):
        return np.sort(rng.exponential(size=(200, 4)).astype(np.float32) ** 2, axis=1)[:, ::-1]

    @pytest.mark.parametrize("noise_var", [1e-3, 0.1, 1.0, 30.0])
    def test_karush_kuhn_tucker(self, gains, noise_var):
        power = numpy(linear.water_filling(gains, noise_var)).astype(np.float64)
        floor = noise_var / gains.astype(np.float64)
        np.testing.assert_allclose(power.sum(axis=1), 1, rtol=1e-4)
        assert (power >= 0).all()
        level = np.where(power > 0, power + floor, 0).max(axis=1, keepdims=True)
        # Power reaches one level wherever there is any; elsewhere the floor is not below it.
        slack = 1e-4 * level
        assert (np.abs(np.where(power > 0, power + floor - level, 0)) <= slack).all()
        assert (np.where(power == 0, floor, np.inf) >= level - slack).all()
        assert (power[:, 0] > 0).all()

    @pytest.mark.parametrize("noise_var", [1e-3, 0.1, 1.0, 30.0])
    def test_better_than_equal_power_and_than_neighbours(self, gains, noise_var, rng):
        power = numpy(linear.water_filling(gains, noise_var)).astype(np.float64)

        def rate(p):
            return np.log2(1 + p * gains / noise_var).sum(axis=1)

        best = rate(power)
        assert (best >= rate(np.full_like(power, 0.25)) * (1 - 1e-5)).all()
        for _ in range(20):
            other = np.abs(power + 0.05 * rng.standard_normal(power.shape))
            assert (best >= rate(other / other.sum(axis=1, keepdims=True)) * (1 - 1e-5)).all()

    def test_hand_computed(self):
        # Floors 1 and 2: with one unit of power the level is 2, all of it on the first layer.
        np.testing.assert_allclose(numpy(linear.water_filling(np.float32([1, 0.5]), 1.0)), [1, 0], atol=1e-6)
        # Floors .5 and 1: level (1 + 1.5) / 2 = 1.25.
        np.testing.assert_allclose(numpy(linear.water_filling(np.float32([1, 0.5]), 0.5)), [0.75, 0.25], atol=1e-6)

    def test_layers_without_gain_get_nothing(self):
        power = numpy(linear.water_filling(np.float32([[2, 0, 0], [0.5, 0.5, 0]]), 0.1))
        np.testing.assert_allclose(power, [[1, 0, 0], [0.5, 0.5, 0]], atol=1e-6)

    def test_columns_carry_the_powers(self, rng):
        u = np.linalg.svd(channel(rng, 8, 8))[0][:3].astype(np.complex64)
        g = np.float32([3, 1, 0.2])[:, None] * u
        w = numpy(registry.build("precoders", "svd_water_filling").weights(g, 0.5))
        floor = 0.5 / np.array([9.0, 1.0])  # the third floor, 12.5, stays dry
        level = (1 + floor.sum()) / 2
        np.testing.assert_allclose(np.sum(np.abs(w) ** 2, axis=0), [*(level - floor), 0], atol=1e-6)
        assert_close(w[:, :2] / np.linalg.norm(w[:, :2], axis=0), u[:2].conj().T, FLOAT32)


class TestZfWaterFilling:
    @pytest.fixture
    def g(self, rng):
        """Four users whose path gains differ by up to 30 dB."""
        return channel(rng, 40, 4, 8) * (10 ** rng.uniform(-1.5, 0, (40, 4, 1))).astype(np.float32)

    @staticmethod
    def sum_rate(g, w, noise_var):
        power = np.abs(g.astype(np.complex128) @ w) ** 2
        own = np.einsum("bkk->bk", power)
        return np.log2(1 + own / (power.sum(axis=-1) - own + noise_var)).sum(axis=-1)

    @pytest.mark.parametrize("noise_var", [1e-4, 0.1, 1.0, 100.0])
    def test_against_the_pseudo_inverse_and_bisection(self, g, noise_var):
        w = numpy(registry.build("precoders", "zf_water_filling").weights(g, noise_var))
        for rows, columns in zip(g.astype(np.complex128), w, strict=True):
            inverse = np.linalg.inv(rows @ rows.conj().T)
            floor = noise_var * np.diag(inverse).real
            low, high = 0.0, 1.0 + floor.max()
            for _ in range(200):
                level = (low + high) / 2
                low, high = (level, high) if np.maximum(level - floor, 0).sum() < 1 else (low, level)
            power = np.maximum(level - floor, 0)
            directions = rows.conj().T @ inverse
            assert_close(columns, directions / np.linalg.norm(directions, axis=0) * np.sqrt(power), WATER_FILLING)
            np.testing.assert_allclose(np.sum(np.abs(columns) ** 2), 1, rtol=FLOAT32)

    def test_becomes_zf_without_noise(self, g):
        assert_close(numpy(linear.zf_water_filling(g, 1e-7)), numpy(linear.zf(g)), WATER_FILLING)

    @pytest.mark.parametrize("noise_var", [10.0, 1.0, 0.1, 1e-2, 1e-3])
    def test_never_below_the_sum_rate_of_zf(self, g, noise_var):
        best = self.sum_rate(g, numpy(linear.zf_water_filling(g, noise_var)), noise_var)
        even = self.sum_rate(g, numpy(linear.zf(g)), noise_var)
        assert (best >= even * (1 - 1e-4)).all()
        assert noise_var < 1 or best.mean() > 1.3 * even.mean()

    def test_users_that_look_weak_are_shut_off(self, rng):
        """One user 20 dB below the others: nothing at 0 dB, a share at 60 dB. The order of users does not matter."""
        g = np.linalg.qr(channel(rng, 8, 8))[0][:3].astype(np.complex64) * np.float32([1, 0.1, 1])[:, None]
        power = [np.sum(np.abs(numpy(linear.zf_water_filling(g, v))) ** 2, axis=0) for v in (1.0, 1e-6)]
        np.testing.assert_allclose(power, [[0.5, 0, 0.5], [1 / 3] * 3], atol=1e-4)

    def test_linearly_dependent_users_look_weak(self, rng):
        g = channel(rng, 20, 3, 8)
        g[:, 1] = g[:, 0]
        power = np.sum(np.abs(numpy(linear.zf_water_filling(g, 0.1))) ** 2, axis=1)
        np.testing.assert_allclose(power, np.tile([0, 0, 1], (20, 1)), atol=1e-4)

    @pytest.mark.parametrize("scale", [1e-8, 1e4])
    def test_depends_on_the_ratio_of_gain_and_noise(self, g, scale):
        scaled = numpy(linear.zf_water_filling((g * scale).astype(np.complex64), 0.3 * scale**2))
        assert_close(scaled, numpy(linear.zf_water_filling(g, 0.3)), WATER_FILLING)
        # Noise far above every gain: all power to the strongest stream, and no rounding takes it away.
        lone = numpy(linear.zf_water_filling((g * 1e-6).astype(np.complex64), 10.0))
        np.testing.assert_allclose(
            np.sort(np.sum(np.abs(lone) ** 2, axis=1)), np.tile([0, 0, 0, 1], (40, 1)), atol=1e-6
        )

    def test_users_without_csi_get_nothing(self, g):
        g[:, 2] = 0
        g[4] = 0
        power = np.sum(np.abs(numpy(linear.zf_water_filling(g, 0.1))) ** 2, axis=1)
        assert (power[:, 2] == 0).all() and (power[4] == 0).all()
        np.testing.assert_allclose(np.delete(power.sum(axis=1), 4), 1, rtol=FLOAT32)
        others = linear.zf_water_filling(np.delete(g, 2, axis=1), 0.1)
        np.testing.assert_allclose(np.delete(power, 2, axis=1), np.sum(np.abs(numpy(others)) ** 2, axis=1), atol=1e-4)


@pytest.mark.parametrize("name", ["svd", "svd_water_filling"])
def test_svd_serves_one_user(name):
    precoder = registry.build("precoders", name)
    precoder.check(1, 2, 8)
    with pytest.raises(ConfigError, match="serves 2 users"):
        precoder.check(2, 2, 8)


def inverse_of(a):
    return numpy(linear.hermitian_solve(a, np.broadcast_to(np.eye(a.shape[-1], dtype=np.complex64), a.shape)))


class TestHermitianSolve:
    @pytest.mark.parametrize("size", [1, 2, 3, 8, 16])
    def test_equals_numpy(self, rng, size):
        a = channel(rng, 50, size, 2 * size + 2)
        a = a @ a.conj().swapaxes(1, 2)
        scale = 1 / np.sqrt(np.einsum("bii->bi", a).real)
        a = a * scale[:, :, None] * scale[:, None, :]
        for actual, matrix in zip(inverse_of(a), a, strict=True):
            assert_close(actual, np.linalg.inv(matrix.astype(np.complex128)), INVERSE)

    def test_identity_and_diagonal(self):
        np.testing.assert_array_equal(inverse_of(np.eye(5, dtype=np.complex64)), np.eye(5))
        a = np.diag([1, 2, 4]).astype(np.complex64)
        np.testing.assert_array_equal(inverse_of(a), np.diag([1, 0.5, 0.25]))

    def test_singular_matrices_stay_finite(self):
        for a in (np.zeros((4, 4)), np.ones((4, 4))):
            inverse = inverse_of(a.astype(np.complex64))
            assert np.isfinite(inverse).all()
            assert np.abs(inverse).max() <= 4 / linear.PIVOT_FLOOR
