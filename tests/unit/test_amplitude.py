"""Amplitudes in explicit reports: nothing under unit power, a counted field where channels differ in power."""

from dataclasses import replace

import numpy as np
import pytest

from receivers.feedback.amplitude import AmplitudeField
from scenarios.schema import parse_scenario
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, Panel

UNIT = CsiConfig(Panel(8, 2, 2), 1, 52, 360e3, 4)
ANY = replace(UNIT, amplitude_range_db=(-200.0, 40.0))
SCHEMES = [
    ("sparse", {"bits": 250}),
    ("autoencoder", {"weights": "transnet-250"}),
    pytest.param("klt", {"weights": "klt-mixed", "bits": 250}, marks=pytest.mark.long),
    ("klt", {"weights": "klt-mixed", "bits": 250, "coding": "fixed"}),
]


def waves(rng, batch, users):
    """A few plane waves with short delays, unit power per entry."""
    h = np.zeros((batch, users, 1, 32, 52), complex)
    for _ in range(3):
        u, delay, gain = rng.uniform(-0.5, 0.5, (batch, users)), rng.uniform(0, 0.05, (batch, users)), None
        gain = rng.standard_normal((batch, users, 2, 2)) @ [1, 1j]
        columns = np.exp(2j * np.pi * u[..., None] * np.arange(8))
        ports = (gain[..., None, None] * np.repeat(columns[..., None], 2, axis=-1)[:, :, None]).reshape(
            batch, users, 32
        )
        h += (ports[..., None] * np.exp(-2j * np.pi * delay[..., None, None] * np.arange(52)))[:, :, None]
    return h / np.sqrt(np.mean(np.abs(h) ** 2, axis=(2, 3, 4), keepdims=True))


def through(scheme, h):
    report = scheme.report(CsiEstimate(h.astype(np.complex64), np.zeros(h.shape[:2], np.float32)))
    return report, scheme.reconstruct(report).h.astype(complex)


def nmse(h_hat, h):
    return np.mean(np.sum(np.abs(h_hat - h) ** 2, axis=(2, 3, 4)) / np.sum(np.abs(h) ** 2, axis=(2, 3, 4)))


@pytest.mark.parametrize(("name", "params"), SCHEMES)
def test_any_scale_is_as_good_as_unit_power(name, params, rng):
    """From -120 dB with 60 dB between users: the error of unit power, up to 8 bits of amplitude (steps of 0.94 dB)."""
    h = waves(rng, 8, 3)
    unit = registry.build("feedback", name, UNIT, **params)
    scaled = registry.build("feedback", name, ANY, **params)
    plain, h_hat = through(unit, h)
    reference = nmse(h_hat, h)
    for gain_db in ([-120.0, -60.0, -90.0], [-150.0, 0.0, 30.0]):
        gains = 10 ** (np.array(gain_db) / 20).reshape(1, 3, 1, 1, 1)
        report, h_hat = through(scaled, h * gains)
        assert nmse(h_hat, h * gains) < 1.1 * reference + 0.01
        each = np.sum(np.abs(h_hat) ** 2, axis=(2, 3, 4)) / np.sum(np.abs(h * gains) ** 2, axis=(2, 3, 4))
        assert (each < 2).all()
    if name in ("sparse", "klt"):
        assert report.num_bits.mean() < 1.3 * params["bits"]  # the budget has the amplitude in it
    else:
        assert (report.num_bits == plain.num_bits + 8).all()
    assert scaled.label == f"{unit.label}-s8"


@pytest.mark.parametrize(("name", "params"), SCHEMES)
def test_under_unit_power_nothing_is_sent(name, params, rng):
    h = waves(rng, 2, 2)
    plain, explicit = (registry.build("feedback", name, UNIT, **params, **more) for more in ({}, {"scale_bits": 0}))
    assert plain.label == explicit.label and "-s" not in plain.label
    np.testing.assert_array_equal(through(plain, h)[0].bits, through(explicit, h)[0].bits)


@pytest.mark.parametrize(("name", "params"), SCHEMES)
def test_a_lost_scale_is_refused(name, params):
    with pytest.raises(ConfigError, match=rf"feedback\.{name}\.scale_bits: got 0; allowed: 1\.\.16"):
        registry.build("feedback", name, ANY, **params, scale_bits=0)


def test_nested_reports_have_no_room():
    layout = {"panel": Panel(8, 2, 2), "num_rx_ant": 1, "num_subcarriers": 52, "spacing_hz": 360e3, "subband_size": 4}
    from receivers.weights.folder import TrainedModel

    known = TrainedModel("vb-munich").input
    layout |= {"panel": Panel(known.n1, known.n2, known.num_pol), "num_rx_ant": known.num_rx_ant}
    layout |= {"num_subcarriers": known.num_subcarriers, "spacing_hz": known.spacing_hz}
    registry.build("feedback", "variable-bit", CsiConfig(**layout), weights="vb-munich")
    if known.scaling == "per_sample":
        with pytest.raises(ConfigError, match=r"feedback\.variable-bit\.weights: .*normalization: per_sample"):
            registry.build(
                "feedback", "variable-bit", CsiConfig(**layout, amplitude_range_db=(-120.0, 60.0)), weights="vb-munich"
            )


def test_field():
    field = AmplitudeField(ANY, "x", 8)
    amplitude = 10 ** (np.array([[-200.0, -123.0, 0.0, 40.0]]) / 20)
    bits = field.pack(amplitude)
    assert bits.shape == (1, 32) and bits.dtype == np.uint8
    error_db = 20 * np.log10(field.unpack(bits) / amplitude)
    assert np.abs(error_db).max() <= 240 / 255 / 2 + 1e-4
    assert field.unpack(field.pack(np.zeros((1, 2)))).max() < 1.1e-10  # no channel at all is no error
    for wrong in (1e-12, 1e3):
        with pytest.raises(ConfigError, match=r"feedback\.x: got '.* dB'; allowed: rms amplitudes of -200\.\.40 dB"):
            field.pack(np.array([[1.0, wrong]]))


def test_the_range_is_that_of_the_normalization():
    data = {
        "name": "a", "carrier": {"num_rb": 4}, "channel": {"model": "rayleigh"}, "snr_db": [0],
        "feedback": [{"scheme": "perfect"}],
    }  # fmt: skip
    ranges = {
        kind: parse_scenario({**data, "normalization": kind}).csi_config.amplitude_range_db
        for kind in ("per_sample", "per_dataset", "none")
    }
    assert ranges == {"per_sample": None, "per_dataset": (-120.0, 60.0), "none": (-200.0, 40.0)}
