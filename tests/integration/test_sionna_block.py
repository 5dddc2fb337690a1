"""A feedback scheme inside a link that is Sionna's from end to end."""

import numpy as np
import pytest
import tensorflow as tf
from sionna.phy.channel import OFDMChannel
from sionna.phy.channel.tr38901 import CDL, Antenna, AntennaArray
from sionna.phy.mimo import StreamManagement
from sionna.phy.ofdm import ResourceGrid, RZFPrecodedChannel

import csilink
from simulator.core.errors import ConfigError

N1, N2, RB = 4, 2, 4


@pytest.fixture(scope="module")
def h():
    """Channels of Sionna [batch, rx, rx_ant, tx, tx_ant, symbol, subcarrier] of two UEs, drawn by hand from a CDL."""
    ue = Antenna(polarization="single", polarization_type="V", antenna_pattern="omni", carrier_frequency=3.5e9)
    gnb = AntennaArray(N2, N1, "dual", "cross", "38.901", 3.5e9)
    cdl = CDL("C", 300e-9, 3.5e9, ue, gnb, "downlink")
    grid = ResourceGrid(14, 12 * RB, 30e3, num_streams_per_tx=2)
    made = OFDMChannel(cdl, grid, add_awgn=False, normalize_channel=True, return_channel=True)
    x = tf.zeros((6, 1, 2 * N1 * N2, 14, 12 * RB), tf.complex64)
    users = [made(x)[1] for _ in range(2)]
    return tf.concat(users, axis=1)


def scheme(name, **params):
    """A scheme for these antennas, one sample per subcarrier."""
    return csilink.feedback(name, panel=(N1, N2, 2), num_rb=RB, granularity="subcarrier", **params)


def test_perfect_feedback_returns_the_channel(h):
    h_hat, num_bits = scheme("perfect").block(symbol=3)(h)
    power = np.mean(np.abs(h[..., 3:4, :]) ** 2, axis=(2, 3, 4, 5, 6), keepdims=True)
    np.testing.assert_allclose(h_hat, np.broadcast_to(h[..., 3:4, :] / np.sqrt(power), h.shape), atol=1e-5)
    assert num_bits.shape == (6, 2)


def test_antennas_of_sionna_arrive_in_the_order_of_ports(monkeypatch):
    """Ports are numbered by polarisation, then column from left to right, then row from bottom to top."""
    own, seen = scheme("perfect"), []
    report = own.report
    monkeypatch.setattr(own, "report", lambda h, **kwargs: seen.append(h) or report(h, **kwargs))
    place = np.asarray(AntennaArray(N2, N1, "dual", "cross", "38.901", 3.5e9).ant_pos)  # [antenna, xyz] in metres
    h = (place[:, 1] + 1j * place[:, 2])[None, None, None, None, :, None, None] * np.ones(12 * RB)
    own.block()(h.astype(np.complex64))
    order = np.lexsort((place[:, 2].round(6), place[:, 1].round(6), np.arange(16) // 8))
    expected = h[0, 0, 0, 0, order, 0, 0] / np.sqrt(np.mean(np.abs(h) ** 2))
    np.testing.assert_allclose(seen[0][0, 0, 0, :, 0], expected, atol=1e-5)


@pytest.mark.parametrize("name, params", [("etype2-r16", {"combination": 4}), ("sparse", {"bits": 200})])
def test_bits_and_csi_are_those_of_the_scheme_in_a_graph_too(h, name, params):
    own = scheme(name, **params)
    block = own.block()
    ports = np.arange(16).reshape(2, N1, N2)[:, :, ::-1].reshape(-1)
    report = own.report(csilink.unit_power(h.numpy()[:, :, :, 0, :, 0][:, :, :, ports]))
    known = own.reconstruct(report)
    h_hat, num_bits = tf.function(block)(h)
    np.testing.assert_array_equal(num_bits, report.num_bits)
    if known.h is not None:
        np.testing.assert_array_equal(h_hat.numpy()[:, :, :, 0, :, 5][:, :, :, ports], known.h)
    else:
        rows = h_hat.numpy()[:, :, 0, 0, :, 5][:, :, ports]
        w = known.w[..., 0, :][..., own.config.subband_of] if known.w.shape[-1] != 12 * RB else known.w[..., 0, :]
        np.testing.assert_allclose(rows, 4 * np.conj(w), atol=1e-5)


def test_feedback_in_place_of_perfect_csi_in_sionnas_precoded_channel(h):
    """More bits, less interference between the two UEs after Sionna's own regularised zero forcing."""
    precoded = RZFPrecodedChannel(
        ResourceGrid(14, 12 * RB, 30e3, num_streams_per_tx=2), StreamManagement(np.ones((2, 1)), 2)
    )

    def leakage(h_hat):
        e = (
            np.abs(precoded(h, tf.ones((len(h), 1, 2)), h_hat=h_hat).numpy()) ** 2
        )  # [batch, rx, rx_ant, tx, stream, symbol, subcarrier]
        return np.mean(e[:, 0, :, :, 1] + e[:, 1, :, :, 0]) / np.mean(e[:, 0, :, :, 0] + e[:, 1, :, :, 1])

    perfect, fine, coarse = (
        leakage(scheme(name, **params).block()(h)[0])
        for name, params in (("perfect", {}), ("sparse", {"bits": 300}), ("sparse", {"bits": 40}))
    )
    assert perfect < 1e-3 < fine < coarse / 2


@pytest.mark.parametrize(
    "shape", [(2, 2, 1, 1, 16, 14), (2, 2, 1, 1, 8, 14, 48), (2, 2, 1, 2, 16, 14, 48), (2, 2, 1, 1, 16, 14, 47)]
)
def test_other_axes_are_refused_before_anything_runs(shape):
    with pytest.raises(ConfigError, match="1 rx_ant, 1 tx, 16 tx_ant"):
        scheme("perfect").block()(np.ones(shape, np.complex64))


def test_one_sample_per_resource_block_is_the_centre_of_the_block():
    own = csilink.feedback("perfect", panel=(2, 1, 1), num_rb=24)
    frequency = np.arange(12 * 24)
    h = np.exp(2j * np.pi * 0.001 * frequency) * np.ones((1, 1, 1, 1, 2, 1, 1))
    h_hat, _ = own.block()(h.astype(np.complex64))
    centre = np.exp(2j * np.pi * 0.001 * (12 * np.arange(24) + 5.5))
    np.testing.assert_allclose(np.asarray(h_hat)[0, 0, 0, 0, 0, 0, ::12], centre, atol=1e-5)
