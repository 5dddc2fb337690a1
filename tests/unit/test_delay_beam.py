"""The predictor over delay and beam: where it starts, what passes through, noise on histories, learning."""

import keras
import numpy as np
import pytest
from keras import ops

from csilink.testing import GEOMETRY
from receivers.models.delay_beam_predictor import DelayBeamPredictor
from receivers.models.history import from_history, to_history
from receivers.prediction.ar import ArPredictor
from receivers.training.steps import jit_compiled
from receivers.training.supervised import SequenceTraining
from simulator.core.errors import ConfigError

SIZES = {"num_history": 8, "num_future": 4, "num_subcarriers": 4, "panel": (2, 2, 2), "orders": (3, 2)}
NARROW = {**SIZES, "num_tokens": 6, "dim": 8, "num_heads": 2, "num_layers": 1, "hidden": 8}


def paths(rng, batch, slots=12, count=5):
    """Paths, each with its Doppler, at the ports of a 2x2 panel: ``[batch, port, slot, subcarrier]``."""
    shape = (batch, count)
    gain = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    delay, u, v, doppler = (rng.uniform(-np.pi, np.pi, shape) for _ in range(4))
    pol = np.exp(1j * rng.uniform(-np.pi, np.pi, (*shape, 2)))
    ports = np.einsum("bcp,bcx,bcy->bcpxy", pol, *(np.exp(1j * a[..., None] * np.arange(2)) for a in (u, v))).reshape(
        *shape, 8
    )
    time, frequency = np.exp(0.3j * doppler[..., None] * np.arange(slots)), np.exp(1j * delay[..., None] * np.arange(4))
    return np.einsum("bc,bcp,bct,bck->bptk", gain, ports, time, frequency).astype(np.complex64)


def forecast(network, h, count):
    """As :meth:`DelayBeamPredictor.forecast`, of complex channels ``[batch, port, slot, subcarrier]``."""
    return from_history(ops.convert_to_numpy(network.forecast(to_history(h), count)), (len(h),))


@pytest.fixture
def shaken(rng):
    """A network whose correction is not zero."""
    network = DelayBeamPredictor(**NARROW)
    for weight in network.trainable_weights:
        weight.assign(weight + 0.3 * rng.standard_normal(weight.shape))
    return network


SOLVED = 1e-3 if keras.backend.backend() == "jax" else 1e-4  # JAX has no float64 unless asked


@pytest.mark.backend
def test_it_starts_at_linear_prediction(rng):
    h = paths(rng, 3)
    h += (0.02 * rng.standard_normal((*h.shape, 2)) @ [1, 1j]).astype("c8")
    ours = forecast(
        DelayBeamPredictor(**SIZES, num_tokens=3, dim=8, num_heads=1, num_layers=1, hidden=8), h[:, :, :8], 4
    )
    power = np.mean(np.abs(h[:, :, :8]) ** 2, axis=(1, 2, 3))
    limits = 0
    for slots in (1, 3, 4):
        theirs = ArPredictor(GEOMETRY, order=3).predict(h[:, None, None, :, :8], slots)[:, 0, 0]
        ratio = np.mean(np.abs(theirs) ** 2, axis=(1, 2)) / power
        limits += np.sum(ratio > 1)
        theirs = theirs / np.sqrt(np.maximum(ratio, 1))[:, None, None]
        assert np.abs(ours[:, :, slots - 1] - theirs).max() < SOLVED * np.abs(theirs).max()
    assert 0 < limits < 9  # some forecasts are scaled down, others are not


@pytest.mark.long
@pytest.mark.backend
def test_phase_and_scale_pass_through(shaken, rng):
    h = paths(rng, 2)[:, :, :8]
    once, start = forecast(shaken, h, 4), forecast(DelayBeamPredictor(**NARROW), h, 4)
    assert np.abs(once - start).max() > 0.1 * np.abs(start).max()  # it does correct
    factor = 30 * np.exp(1j * rng.uniform(0, 6.28, (2, 1, 1, 1))).astype("c8")
    np.testing.assert_allclose(forecast(shaken, factor * h, 4), factor * once, rtol=1e-3, atol=1e-2)


@pytest.mark.backend
def test_only_the_strongest_bins_are_corrected(shaken, rng):
    for weight in shaken.mix.trainable_weights:  # it mixes the forecasts of all bins
        weight.assign(0.0 * weight)
    h = paths(rng, 1)[:, :, :8]
    change = forecast(shaken, h, 4) - forecast(DelayBeamPredictor(**NARROW), h, 4)

    def bins(x):  # [delay, pol, n1, n2, slot], a loop-free DFT of its own
        return np.fft.fftn(x[0].reshape(2, 2, 2, -1, 4).transpose(4, 0, 1, 2, 3), axes=(0, 2, 3))

    power = np.sum(np.abs(bins(h)) ** 2, axis=-1).ravel()
    changed = np.abs(bins(change)).max(axis=-1).ravel() > 1e-4 * np.abs(bins(change)).max()
    assert set(np.flatnonzero(changed)) == set(np.argsort(power)[-6:])


def test_earlier_slots_are_ignored_and_horizons_are_prefixes(shaken, rng):
    h = paths(rng, 2)
    np.testing.assert_allclose(
        forecast(shaken, h, 2), forecast(shaken, h[:, :, -8:], 4)[:, :, :2], rtol=1e-5, atol=1e-5
    )


class Holds(keras.Model):
    """Predicts the last slot."""

    def check_forecast(self, shape, count, axis=0):
        """Anything."""

    def forecast(self, history, count, axis=0):
        """The last slot."""
        return ops.repeat(history[:, -1:], count, axis=1)


@pytest.mark.backend
def test_noise_is_on_histories_in_training_alone(rng):
    x = np.ones((4000, 8, 2, 2, 2), np.float32)
    low, high = -10.0, 0.0
    training = SequenceTraining(Holds(), history_snr_db=(low, high), seed=3)
    assert np.abs(ops.convert_to_numpy(training(x))).max() == 0
    error = ops.convert_to_numpy(training(x, training=True))
    # The power of an entry is 2, that of the noise 2 / SNR; its mean over SNRs uniform in dB.
    levels = np.linspace(low, high, 10001)
    wanted = 2 * np.mean(10 ** (-levels / 10))
    assert abs(error.mean() / wanted - 1) < 0.1
    again = SequenceTraining(Holds(), history_snr_db=(low, high), seed=3)
    np.testing.assert_array_equal(ops.convert_to_numpy(again(x, training=True)), error)


@pytest.mark.long
def test_it_learns_more_than_linear_prediction(rng):
    """Five paths are more than three coefficients can predict; few share a bin."""
    network = DelayBeamPredictor(**{**NARROW, "num_future": 8, "num_tokens": 12, "dim": 24, "hidden": 48})
    training = SequenceTraining(network)
    training.compile(optimizer=keras.optimizers.Adam(3e-3), jit_compile=jit_compiled())
    training.optimizer.build(training.trainable_variables)
    x, unseen = (to_history(paths(rng, n, slots=16)) for n in (2000, 500))

    def error():
        return float(np.mean(ops.convert_to_numpy(training(unseen))))

    start = error()
    for step in range(150):
        part = np.arange(100) + 100 * (step % 20)
        training.train_on_batch(x[part])
    assert error() < 0.8 * start, (error(), start)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("orders", (8, 4)),
        ("orders", (4,)),
        ("num_tokens", 33),
        ("panel", (2, 2)),
        ("dim", 9),
        ("loading", 0.0),
        ("num_layers", 0),
    ],
)
def test_parameters_that_do_not_fit(field, value):
    with pytest.raises(ConfigError, match=field):
        DelayBeamPredictor(**{**NARROW, field: value})


@pytest.mark.parametrize(
    ("shape", "count", "axis", "field"),
    [
        ((1, 7, 4, 8, 2), 1, 0, "history"),
        ((1, 8, 5, 8, 2), 1, 0, "history"),
        ((1, 8, 4, 8, 2), 5, 0, "count"),
        ((1, 8, 4, 8, 2), 1, 1, "axis"),
    ],
)
def test_histories_that_do_not_fit(shape, count, axis, field):
    with pytest.raises(ConfigError, match=field):
        DelayBeamPredictor(**NARROW).forecast(np.zeros(shape, np.float32), count, axis)
