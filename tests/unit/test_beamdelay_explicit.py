"""Beam-delay reports of channels: frame against loops, golden streams, amplitudes, budgets, against sparse coding."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_beamdelay import channels, config, content_of, same, tables

from receivers.beamdelay.channel_codebook import ChannelCoder
from receivers.beamdelay.channel_frame import PHASES, ChannelFrame
from receivers.beamdelay.grid import Grid
from receivers.feedback.beamdelay import BeamDelayFeedback
from receivers.feedback.sparse import SparseFeedback
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel

GOLDEN = Path(__file__).parents[1] / "golden" / "beamdelay_explicit.json"


def estimate(c, batch, paths=3):
    return CsiEstimate(channels(c, batch, paths=paths), np.zeros((batch, 1), np.float32))


def reported(scheme, csi):
    return scheme.twin().reconstruct(scheme.report(csi)).h


def nmse(h, known):
    error, power = (np.sum(np.abs(x) ** 2, axis=(1, 2, 3, 4)) for x in (known - h, h))
    return float(np.mean(error / power))


def coder_of(shape, rank, energies):
    return ChannelCoder(Grid(shape, tables().importance), tables(), 4, rank, list(energies))


def with_origins(content, coder, seed):
    """The rows as whole origins: tap and phase as well."""
    taps, rng = coder.grid.num_taps, np.random.default_rng(seed)
    tap, phase = (rng.integers(0, n, content.row.shape) for n in (taps, PHASES))
    content.row[:] = (content.row * taps + tap) * PHASES + phase
    return content


def test_a_frame_is_a_dft_over_beams_and_samples_counted_from_the_strongest_coefficient():
    """Against a loop in float64: value of every cell, and the channel from the cells."""
    panel, samples = Panel(4, 2, 2), 5
    rng = np.random.default_rng(1)
    h = rng.standard_normal((2, samples, 16, 2)) @ [1, 1j]
    h /= np.sqrt(np.sum(np.abs(h) ** 2, axis=(1, 2), keepdims=True) / samples)
    frame = ChannelFrame(panel, samples)
    group, c = frame.beams(h[:, None].astype(np.complex64), np.full(2, 0.1))[0]
    origin, cells = frame.to_origin(c[:, 0])
    for i in range(2):
        q1 = group[i]  # two elements along n2: its beams are not rotated
        x = np.zeros((2, 2, 4, samples), complex)
        for p, b2, b1, f in np.ndindex(x.shape):
            for n2, n1, t in np.ndindex(2, 4, samples):
                beam = np.exp(2j * np.pi * ((4 * b1 + q1) * n1 / 16 + b2 * n2 / 2)) / np.sqrt(8)
                tap = np.exp(-2j * np.pi * f * t / samples) / samples
                x[p, b2, b1, f] += np.conj(beam) * h[i, t, p * 8 + n1 * 2 + n2] * tap
        strongest = np.unravel_index(np.abs(x).argmax(), x.shape)
        row, tap, phase = (int(value[i]) for value in frame.split(origin))
        assert (row, tap) == (np.ravel_multi_index(strongest[:3], (2, 2, 4)), strongest[3])
        turn = np.exp(2j * np.pi * phase / PHASES)
        assert abs(np.angle(x[strongest] / turn)) <= np.pi / PHASES + 1e-6
        rolled = np.roll(x, [-s for s in strongest], axis=(0, 1, 2, 3)) / turn
        np.testing.assert_allclose(cells[i], rolled.ravel(), atol=1e-5)
    known = frame.channels(group, origin[:, None], cells[:, None])[:, 0]
    np.testing.assert_allclose(known, np.swapaxes(h, 1, 2) * 4, atol=1e-4)  # mean square 1 of an entry


@pytest.mark.parametrize(
    ("shape", "rank", "energies"), [((2, 2, 4, 20), 1, (60, 90)), ((2, 1, 2, 9), 3, (60,))], ids=str
)
def test_every_content_comes_back(shape, rank, energies):
    coder = coder_of(shape, rank, energies)
    content = with_origins(content_of(coder, 30, scale=0.2), coder, 2)
    bits, num_bits = coder.encode(content, 6000)
    assert same(coder.decode(bits, num_bits)[0], content)
    ideal = coder.ideal_bits(content).sum(axis=(0, 2)) + coder.head_bits()
    assert coder.head_bits() == pytest.approx(2 + np.log2(len(energies)) + rank * np.log2(np.prod(shape) * PHASES))
    assert (num_bits >= ideal - 1e-3).all() and (num_bits <= 1.01 * ideal + 10).all()


def test_golden_bitstreams():
    """Pinned reports of channels: a change of any of them is a breaking release."""
    for case in json.loads(GOLDEN.read_text())["cases"]:
        coder = coder_of(tuple(case["shape"]), case["rank"], case["energies"])
        content = with_origins(content_of(coder, 2, seed=case["seed"], scale=case["scale"]), coder, case["seed"])
        bits, num_bits = coder.encode(content, 4000)
        found = ["".join(map(str, row[:n])) for row, n in zip(bits, num_bits, strict=True)]
        assert [f"{int(x, 2):x}/{len(x)}" for x in found] == case["bits"]
        assert same(coder.decode(bits, num_bits)[0], content)


@pytest.mark.parametrize("rx", [1, 2])
def test_channels_come_back_with_gains_and_phases(rx):
    """Also where gains change over the band; powers of the antennas are sent where they differ."""
    c = CsiConfig(Panel(4, 1, 2), rx, 28, 360e3, 4, amplitude_range_db=(-40.0, 20.0))
    csi = estimate(c, 12)
    h = csi.h_hat * np.array([3.0, 0.1])[:rx, None, None].astype(np.float32)
    h *= 1 + 0.8 * np.cos(2 * np.pi * np.arange(28) / 28).astype(np.float32)
    csi = CsiEstimate(h, csi.error_var)
    scheme = BeamDelayFeedback(c, step=0.03, explicit=True, scale_bits=12)
    assert scheme.explicit and scheme.label == "beamdelay-s0.03-explicit-s12"
    assert scheme.report(csi).num_bits.max() < scheme.max_bits
    assert nmse(h, reported(scheme, csi)) < 0.02
    found = reported(BeamDelayFeedback(c, step=0.1, explicit=True, scale_bits=12), csi)
    power = [np.mean(np.abs(x) ** 2, axis=(0, 1, 3, 4)) for x in (found, h)]
    np.testing.assert_allclose(power[0], power[1], rtol=0.15)


@pytest.mark.long
def test_more_bits_are_better_and_none_is_exceeded():
    c = config(num_subcarriers=28)
    csi = estimate(c, 40, paths=6)
    errors = []
    for bits in (60, 120, 240):
        scheme = BeamDelayFeedback(c, bits=bits, explicit=True)
        report = scheme.report(csi)
        assert scheme.max_bits == bits and (report.num_bits == bits).all()
        errors.append(nmse(csi.h_hat, scheme.twin().reconstruct(report).h))
        assert errors[-1] < 0.9 * nmse(csi.h_hat, reported(SparseFeedback(c, bits=bits, num_delays=28), csi))
    assert errors[0] > 1.3 * errors[1] > 1.3**2 * errors[2]
    report = BeamDelayFeedback(c, step=0.1, explicit=True).report(csi)
    assert report.num_bits.min() < report.num_bits.max()


@pytest.mark.long
def test_what_is_left_out_is_the_end():
    c = CsiConfig(Panel(4, 2, 2), 2, 28, 360e3, 4, amplitude_range_db=(-40.0, 20.0))
    csi = estimate(c, 6)
    scheme = BeamDelayFeedback(c, bits=200, explicit=True)
    assert scheme.part1_bits == 16
    report = scheme.report(csi)
    less = scheme.omit(report, 120)
    assert (less.num_bits == 120).all() and np.array_equal(less.bits[..., :16], report.bits[..., :16])
    whole, part, none = (nmse(csi.h_hat, scheme.reconstruct(r).h) for r in (report, less, scheme.omit(report, 0)))
    assert whole < part < none
    one = CsiReport(report.bits[..., :1] * 0, np.ones_like(report.num_bits))
    assert np.isfinite(scheme.reconstruct(one).h).all()


def test_refused_parameters():
    for field, params, rx in (
        ("explicit", {}, 5), ("rank", {"rank": 1}, 1), ("refine", {"refine": "refine-urban"}, 1),
        ("scale_bits", {"explicit": False, "scale_bits": 4}, 1),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=field):
            BeamDelayFeedback(config(num_rx_ant=rx), **{"bits": 90, "explicit": True, **params})
