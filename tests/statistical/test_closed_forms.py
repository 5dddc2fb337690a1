"""Monte Carlo against closed forms, with bounds from the standard error."""

import numpy as np
import pytest
from keras import ops
from scipy import stats
from tolerances import KS_PVALUE, SIGMAS, assert_mean

from receivers.codebooks.rvq import rvq_mean_cos2
from receivers.estimation.perfect import PerfectEstimator
from receivers.feedback.perfect import PerfectFeedback
from receivers.feedback.rvq import RvqFeedback
from simulator.core import registry
from simulator.core.types import CsiConfig, Panel, RadioGeometry
from simulator.link import Link
from simulator.maths import rates
from simulator.precoding import linear
from simulator.scores.csi import Sgcs
from tests.links import over

pytestmark = pytest.mark.statistical


def rayleigh(num_ports, num_users, drops, seed):
    geometry = RadioGeometry(3.5e9, Panel(num_ports), num_users, 1, 1, 360e3)
    return registry.build("channels", "rayleigh", geometry).sample(drops, seed=seed)


def config(num_ports):
    return CsiConfig(Panel(num_ports), 1, 1, 360e3, 1)


def link(cfg, schemes, precoders=("mrt",), snr_db=(10.0,)):
    named = {name: registry.build("precoders", name) for name in precoders}
    return Link(cfg, PerfectEstimator(), over(schemes), named, snr_db)


@pytest.mark.parametrize("num_ports", [4, 8, 32])
@pytest.mark.parametrize("bits", [2, 4, 8, 12])
def test_rvq_mean_squared_cosine(num_ports, bits):
    """1 - 2^B Beta(2^B, M / (M - 1)) through report, uplink, reconstruction and the metric.

    Channels that share a codebook are not independent: the standard error comes from the means of codebooks.
    """
    codebooks, per_codebook = (128 if bits < 12 else 48), max(4, 256 >> bits)
    scheme = RvqFeedback(config(num_ports), bits=bits, codebooks=codebooks, seed=2024)
    h = rayleigh(num_ports, 1, codebooks * per_codebook, seed=100 * num_ports + bits)
    outcome = next(o for _, name, o in link(scheme.config, {"rvq": scheme}).run(h, seed=1) if name is None)
    sgcs = Sgcs().evaluate(outcome)["sgcs"].reshape(per_codebook, codebooks)
    expected = rvq_mean_cos2(num_ports, bits)
    assert_mean(sgcs.mean(axis=0), expected)
    assert np.std(sgcs.mean(axis=0)) / np.sqrt(codebooks) < 0.02 * expected, "too few samples to tell"


def test_closed_form_is_not_what_the_scheme_reports():
    """The same test refuses one bit less: it has the power to see an error."""
    scheme = RvqFeedback(config(8), bits=7, codebooks=128, seed=2024)
    h = rayleigh(8, 1, 512, seed=7)
    outcome = next(o for _, name, o in link(scheme.config, {"rvq": scheme}).run(h, seed=1) if name is None)
    with pytest.raises(AssertionError, match="sigma"):
        assert_mean(Sgcs().evaluate(outcome)["sgcs"].reshape(4, 128).mean(axis=0), rvq_mean_cos2(8, 8))


@pytest.mark.long
@pytest.mark.parametrize(("num_ports", "num_users"), [(4, 4), (8, 3), (8, 8), (16, 4)])
def test_zero_forcing_with_perfect_csi(num_ports, num_users):
    """The SNR of a user is (snr / K) times Gamma(M - K + 1, 1): half a chi-square of 2 (M - K + 1) degrees."""
    drops, snr, shape = 20_000, 10.0, num_ports - num_users + 1
    h = rayleigh(num_ports, num_users, drops, seed=num_ports + num_users)[:, :, 0, :, 0, 0]
    e = rates.received(h[:, :, None], linear.Zf().weights(h, 1 / snr))
    sinr = ops.convert_to_numpy(rates.sinr(e, 1 / snr))[..., 0].astype(np.float64)
    assert sinr.shape == (drops, num_users)
    scaled = sinr * num_users / snr
    # Users of one drop are dependent: one value per drop.
    assert_mean(scaled.mean(axis=1), shape)
    assert_mean((scaled[:, 0] - shape) ** 2, shape)  # the variance of Gamma(shape, 1) is its shape
    assert stats.kstest(scaled[:, 0], stats.gamma(shape).cdf).pvalue > KS_PVALUE
    assert stats.kstest(scaled[:, -1], stats.gamma(shape).cdf).pvalue > KS_PVALUE


@pytest.mark.parametrize("num_ports", [1, 4, 32])
def test_single_user_mrt_has_the_array_gain(num_ports):
    """The SNR of single-user MRT is snr |h|^2: Gamma(M, 1), with mean M snr; its rate is log2(1 + snr |h|^2)."""
    cfg = config(num_ports)
    h = rayleigh(num_ports, 1, 10_000, seed=num_ports)
    snr_db = (-10.0, 0.0, 20.0)
    runs = link(cfg, {"perfect": PerfectFeedback(cfg)}, snr_db=snr_db).run(h, seed=1)
    rate = next(o for _, name, o in runs if name == "mrt").rate[..., 0, 0].astype(np.float64)
    gain = np.sum(np.abs(h.astype(np.complex128)) ** 2, axis=(1, 2, 3, 4, 5))
    for s, value in enumerate(snr_db):
        snr = 10 ** (value / 10)
        np.testing.assert_allclose(rate[s], np.log2(1 + snr * gain), rtol=1e-5)
        received_snr = (2 ** rate[s] - 1) / snr
        assert_mean(received_snr, num_ports)
        assert stats.kstest(received_snr, stats.gamma(num_ports).cdf).pvalue > KS_PVALUE


@pytest.mark.long
def test_ergodic_rate_of_one_antenna():
    """E log2(1 + snr g), g exponential: exp(1 / snr) E1(1 / snr) / ln 2."""
    from scipy.special import exp1

    cfg = config(1)
    h = rayleigh(1, 1, 40_000, seed=8)
    runs = link(cfg, {"perfect": PerfectFeedback(cfg)}, snr_db=(0.0, 20.0)).run(h, seed=1)
    rate = next(o for _, name, o in runs if name == "mrt").rate[..., 0, 0]
    for s, snr in enumerate((1.0, 100.0)):
        assert_mean(rate[s], np.exp(1 / snr) * exp1(1 / snr) / np.log(2))


@pytest.mark.parametrize("taps", [1, 3, 12])
def test_rayleigh_is_white_in_space_and_has_equal_taps(taps):
    """Unit power; users, antennas, ports and slots independent; E h(n) h*(n + d) is the mean of the tap phases."""
    geometry = RadioGeometry(3.5e9, Panel(2, 2), 2, 2, 12, 360e3, num_slots=2)
    h = registry.build("channels", "rayleigh", geometry, taps=taps).sample(2000, seed=taps).astype(np.complex128)
    assert h.shape == (2000, 2, 2, 4, 2, 12)
    power = np.abs(h) ** 2
    assert_mean(power.mean(axis=(1, 2, 3, 4, 5)), 1)
    assert_mean((power - 1).reshape(2000, -1)[:, 0] ** 2, 1)  # exponential power has variance 1
    for distance in (1, 4):
        product = (h[..., :-distance] * h[..., distance:].conj()).mean(axis=(1, 2, 3, 4, 5))
        expected = np.mean(np.exp(2j * np.pi * np.arange(taps) * distance / 12))
        if taps == 1:  # flat: the power itself
            np.testing.assert_allclose(product, power[..., 0].mean(axis=(1, 2, 3, 4)), rtol=1e-5)
        else:
            assert_mean(product.real, expected.real)
            assert_mean(product.imag, expected.imag)
    columns = h[..., 0].reshape(2000, -1)
    covariance = columns.T @ columns.conj() / 2000
    assert np.abs(covariance - np.eye(32)).max() < SIGMAS / np.sqrt(2000)


def test_estimation_noise_has_the_variance_it_declares():
    h = rayleigh(8, 3, 400, seed=1) * np.float32([1, 1e-3, 30])[:, None, None, None, None]
    for snr_db in (-5.0, 10.0, 40.0):
        estimate = registry.build("estimators", "noisy", snr_db=snr_db).estimate(h, seed=2)
        ratio = np.mean(np.abs(estimate.h_hat - h) ** 2, axis=(2, 3, 5), dtype=np.float64) / estimate.error_var
        assert_mean(ratio, 1)
        power = np.mean(np.abs(h) ** 2, axis=(2, 3, 5))
        np.testing.assert_allclose(estimate.error_var, power * 10 ** (-snr_db / 10), rtol=1e-5)
