"""Mixture of KLTs: one class is the KLT, the water level against its closed form, classes that are there are found."""

import numpy as np
import pytest

from receivers.feedback.klt_codec import LIMIT, KltCodec
from receivers.models.klt import Klt
from receivers.models.klt_mixture import KltMixture, water_level
from simulator.core.errors import ConfigError, StoreError


def directions(rng, n=200, subbands=3, ports=4, bases=1):
    """Images near the span of two directions for each class, with the class of each."""
    size = subbands * ports
    q = np.linalg.qr(rng.standard_normal((bases, size, 2)) + 1j * rng.standard_normal((bases, size, 2)))[0]
    index = rng.integers(bases, size=n)
    z = rng.standard_normal((n, 2)) + 1j * rng.standard_normal((n, 2))
    x = np.einsum("ncd,nd->nc", q[index], z * [3, 1])
    x += 0.05 * (rng.standard_normal(x.shape) + 1j * rng.standard_normal(x.shape))
    x = x.reshape(n, subbands, ports).astype(np.complex64)
    return x[..., None].view(np.float32), index


class TestWaterLevel:
    def test_equal_variances(self):
        """Six coefficients of variance s: B = 6 log2(s / D)."""
        assert water_level(np.full((1, 6), 5.0), np.ones(1), 12) == pytest.approx(5 / 2**2)

    def test_below_a_variance_it_is_left_out(self):
        """8 and 2 active, 0.1 not: B = log2(8 / D) + log2(2 / D)."""
        assert water_level(np.array([[8.0, 2.0, 0.1]]), np.ones(1), 4) == pytest.approx(1)

    def test_across_classes_by_bisection(self, rng):
        variances, shares = rng.exponential(size=(5, 9)) ** 3, rng.dirichlet(np.ones(5))
        level = water_level(variances, shares, 7.5)
        rate = sum(p * sum(max(np.log2(s / level), 0) for s in row) for p, row in zip(shares, variances, strict=True))
        assert rate == pytest.approx(7.5)


class TestMixture:
    def test_one_class_is_the_klt_of_turned_images(self, rng):
        images, _ = directions(rng)
        mixture = KltMixture.fit(images, num_classes=1, num_components=12, num_samples=50, bits=10)
        first = Klt.fit(images, 12, 50)
        _, turned = KltMixture((first,), np.ones(1)).classify(
            images, water_level(first.variances[None], np.ones(1), 10)
        )
        expected = Klt.fit(turned, 12, 50)
        np.testing.assert_allclose(mixture.klts[0].variances, expected.variances, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(mixture.klts[0].basis, expected.basis, atol=1e-4)
        assert mixture.step_for(10, LIMIT) == pytest.approx(expected.step_for(10, LIMIT), rel=1e-4)

    def test_turns_change_phases_of_subbands_alone(self, rng):
        images, _ = directions(rng)
        mixture = KltMixture.fit(images, num_classes=2, num_components=4, bits=10)
        turned = mixture.classify(images, 0.1)[1]
        x, y = (v.view(np.complex64)[..., 0] for v in (images, turned))
        inner = np.abs(np.sum(x.conj() * y, axis=2))
        np.testing.assert_allclose(inner, np.linalg.norm(x, axis=2) * np.linalg.norm(y, axis=2), rtol=1e-4)
        kept = [np.sum(np.abs(mixture.klts[0].coefficients(v)) ** 2) for v in (images, turned)]
        assert np.isfinite(kept).all()

    def test_turns_bring_energy_into_the_transform(self, rng):
        images, _ = directions(rng)
        klt = Klt.fit(images, 2, 10)
        mixture = KltMixture((klt,), np.ones(1))
        before, after = (np.sum(np.abs(klt.coefficients(v)) ** 2) for v in (images, mixture.classify(images, 1e-6)[1]))
        assert after > before

    def test_cost_as_in_a_loop(self, rng):
        """Negative log-likelihood [bit] of full coefficients with variances of at least D, up to a constant."""
        images, _ = directions(rng, n=5)
        klt, level = Klt.fit(directions(rng)[0], 12, 10), 0.3
        mixture = KltMixture((klt,), np.array([0.25]))
        cost = mixture._cost(0, images, klt.coefficients(images), level)
        for n in range(5):
            x = images[n].view(np.complex64).ravel().astype(complex)
            expected = 2.0
            for basis, variance in zip(klt.basis, klt.variances, strict=True):
                power = abs(np.vdot(basis, x)) ** 2
                floored = max(variance, level)
                expected += np.log2(floored / level) + power / floored / np.log(2)
            assert cost[n] == pytest.approx(expected, rel=1e-4)

    def test_finds_the_classes_that_are_there(self, rng):
        images, index = directions(rng, n=600, bases=3)
        mixture = KltMixture.fit(images, num_classes=3, num_components=4, bits=12, seed=3)
        found = mixture.classify(images, mixture.water_level(12))[0]
        table = np.zeros((3, 3))
        np.add.at(table, (index, found), 1)
        assert table.max(axis=1).sum() / 600 > 0.95
        one = KltMixture.fit(images, num_classes=1, num_components=4, bits=12)
        assert mixture.water_level(12) < 0.5 * one.water_level(12)

    def test_layers_share_their_class(self, rng):
        images, _ = directions(rng, n=40, bases=2)
        mixture = KltMixture.fit(images, num_classes=2, num_components=4, bits=10)
        one, two = (mixture.classify(images, 0.1, layers)[0] for layers in (1, 2))
        assert len(two) == 20
        same = one[::2] == one[1::2]
        np.testing.assert_array_equal(two[same], one[::2][same])

    def test_file(self, rng, tmp_path):
        mixture = KltMixture.fit(directions(rng)[0], num_classes=2, num_components=4, bits=10)
        mixture.save(tmp_path / "m.npz")
        again = KltMixture.load(tmp_path / "m.npz")
        for one, two in zip(mixture.klts, again.klts, strict=True):
            np.testing.assert_array_equal(one.basis, two.basis)
            np.testing.assert_array_equal(one.samples, two.samples)
        np.savez(tmp_path / "bad.npz", basis=np.zeros(3))
        with pytest.raises(StoreError):
            KltMixture.load(tmp_path / "bad.npz")

    def test_number_of_classes(self, rng):
        with pytest.raises(ConfigError, match="num_classes"):
            KltMixture.fit(directions(rng)[0], num_classes=11)


@pytest.mark.parametrize("step", [None, 0.5])
def test_codec_returns_what_quantisation_left(rng, step):
    """Error of the decoded coefficients: at most half a step, or what the Lloyd-Max levels leave."""
    images, _ = directions(rng)
    klt = Klt.fit(images, 12, 100)
    codec, z = KltCodec(klt, 2, 30, step), klt.coefficients(images)
    bits, num_bits = codec.encode(z)
    assert len(bits) == 100 and (num_bits <= codec.max_bits).all()
    back, valid = codec.decode(bits, num_bits)
    assert valid.all()
    if step is None:
        assert (num_bits == 60).all()
        assert np.mean(np.abs(back - z) ** 2) < 0.05 * np.mean(np.abs(z) ** 2)
    else:
        assert max(np.abs((back - z).real).max(), np.abs((back - z).imag).max()) <= step  # levels are means of cells
    assert not codec.decode(bits, num_bits - 1)[1].any()
