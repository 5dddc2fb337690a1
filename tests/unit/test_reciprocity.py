"""Uplink of partial reciprocity: the same paths at another carrier with independent phases; who refuses."""

import numpy as np
import pytest
import tensorflow as tf
from eager import eagerly
from sionna.phy.channel.tr38901 import ChannelCoefficientsGenerator

from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.interfaces import ChannelSource
from simulator.core.types import Panel, RadioGeometry
from simulator.phy.drop_draws import drawn
from simulator.phy.panels import bs_array, ue_array
from simulator.phy.reciprocity import UplinkCoefficients

DOWN_HZ, UP_HZ, LIGHT = 3.5e9, 3.1e9, 299_792_458.0
GEOMETRY = RadioGeometry(DOWN_HZ, Panel(2, 1, 2), 2, 1, 8, 360e3, num_slots=2, speed_mps=10.0)
RAYS = ("aoa", "aod", "zoa", "zod", "delays", "powers", "xpr")
TOPOLOGY = ("velocities", "los_aoa", "los_aod", "los_zoa", "los_zod", "los", "tx_orientations", "rx_orientations")


@pytest.fixture(scope="module")
def both_directions():
    """Of a channel model: what goes into the coefficients, and the paths, of the same 60 drops in both directions."""
    found = {}

    def draw(model, **params):
        key = model, *params.items()
        if key not in found:
            inner, seen = ChannelCoefficientsGenerator._step_11, []

            def watched(self, phi, topology, k_factor, rays, t, c_ds):
                seen.append((phi, topology, k_factor, rays))
                return inner(self, phi, topology, k_factor, rays, t, c_ds)

            down = registry.build("channels", model, GEOMETRY, **params)
            paths = []
            with pytest.MonkeyPatch.context() as patch, eagerly():
                patch.setattr(ChannelCoefficientsGenerator, "_step_11", watched)
                for source in (down, down.uplink(UP_HZ)):
                    with drawn(60, seed=5):
                        paths.append([x.numpy() for x in source.paths(60)])
            found[key] = seen, paths
        return found[key]

    return draw


CHANNELS = [
    ("cdl", {"profile": "C"}),
    pytest.param("umi", {"los": False}, marks=pytest.mark.long),
    ("cdl", {"profile": "D"}),
    pytest.param("uma", {}, marks=pytest.mark.long),
    pytest.param("rma", {"los": True}, marks=pytest.mark.long),
]


@pytest.mark.long
@pytest.mark.parametrize(("model", "params"), CHANNELS)
def test_the_paths_are_those_of_the_downlink(model, params, both_directions):
    (down, up), (down_paths, up_paths) = both_directions(model, **params)
    for name in RAYS:
        np.testing.assert_array_equal(getattr(down[3], name), getattr(up[3], name), err_msg=name)
    for name in TOPOLOGY:
        np.testing.assert_array_equal(getattr(down[1], name), getattr(up[1], name), err_msg=name)
    np.testing.assert_array_equal(down[2], up[2])
    np.testing.assert_array_equal(down_paths[1], up_paths[1])


@pytest.mark.parametrize(("model", "params"), CHANNELS)
def test_the_phases_of_the_rays_are_independent(model, params, both_directions):
    """Mean of exp(j (phi_up - phi_down)): of n independent differences its magnitude is below 5 / sqrt(2 n)."""
    (down, up), _ = both_directions(model, **params)
    one, two = down[0].numpy().astype(float), up[0].numpy().astype(float)
    for turn in (one - two, two, *(one[..., [0]] - two[..., [k]] for k in range(4))):
        mean = np.mean(np.exp(1j * turn))
        assert max(abs(mean.real), abs(mean.imag)) < 5 / np.sqrt(2 * turn.size)
    assert two.min() < -3.1 and two.max() > 3.1


@pytest.mark.parametrize(("model", "params"), CHANNELS[:2])
def test_path_powers_are_equal_and_coefficients_uncorrelated(model, params, both_directions):
    """Over drops, within five standard errors; drops are independent, the paths of one are not."""
    _, ((a, _), (b, _)) = both_directions(model, **params)
    a, b = (x[:, :, :, 0, :, :, 0] for x in (a, b))  # [drop, user, rx_ant, tx_ant, path]
    scale = np.sqrt(np.mean(np.abs(a) ** 2 + np.abs(b) ** 2, axis=(1, 2, 3, 4), keepdims=True))
    a, b = a / scale, b / scale
    share = np.sum(np.abs(a) ** 2 - np.abs(b) ** 2, axis=(1, 2, 3, 4))
    cross = np.sum(np.conj(a) * b, axis=(1, 2, 3, 4))
    for x in (share, cross.real, cross.imag):
        assert abs(x.mean()) < 5 * x.std() / np.sqrt(len(x))
    # Path by path the powers fade by themselves about the same mean: they are strongly correlated.
    powers = [np.mean(np.abs(x) ** 2, axis=(2, 3)).ravel() for x in (a, b)]
    assert np.corrcoef(np.log(np.maximum(powers, 1e-12)))[0, 1] > 0.6


def test_wave_length_of_antennas_and_motion():
    """Phases of antennas, half a downlink wave length apart, and of motion in wave lengths of the uplink, by a loop."""
    arrays = bs_array(GEOMETRY), ue_array(GEOMETRY)
    up = UplinkCoefficients(ChannelCoefficientsGenerator(DOWN_HZ, *arrays, subclustering=False), UP_HZ)
    aod, zod, aoa, zoa = np.random.default_rng(1).uniform(0.3, 1.2, (4, 1, 1, 1, 3, 1)).astype(np.float32)

    class Topology:
        velocities = tf.constant([[[3.0, -4.0, 1.0]]])
        moving_end = "rx"
        tx_orientations = rx_orientations = tf.zeros([1, 1, 3])

    found = up._step_11_array_offsets(Topology, aoa, aod, zoa, zod).numpy()[0, 0, 0, :, 0, 0]  # [cluster, tx_ant]
    doppler = up._step_11_doppler_matrix(Topology, aoa, zoa, tf.constant([0.0, 2e-3])).numpy()[0, 0, 0, :, 0]
    wave, spacing = LIGHT / UP_HZ, LIGHT / DOWN_HZ / 2
    for cluster in range(3):
        azimuth, zenith = float(aod[0, 0, 0, cluster, 0]), float(zod[0, 0, 0, cluster, 0])
        between = spacing * np.sin(zenith) * np.sin(azimuth)
        assert np.angle(found[cluster, 1] / found[cluster, 0]) == pytest.approx(2 * np.pi * between / wave, abs=1e-4)
        azimuth, zenith = float(aoa[0, 0, 0, cluster, 0]), float(zoa[0, 0, 0, cluster, 0])
        direction = np.array([np.sin(zenith) * np.cos(azimuth), np.sin(zenith) * np.sin(azimuth), np.cos(zenith)])
        turn = 2 * np.pi * direction @ [3, -4, 1] * 2e-3 / wave
        assert np.exp(1j * turn) == pytest.approx(doppler[cluster, 1] / doppler[cluster, 0], abs=1e-4)


@pytest.mark.long
def test_one_direction_has_its_spatial_frequency_at_either_carrier():
    """CDL-E is nearly one path: the phase from column to column goes with the carrier."""
    source = registry.build("channels", "cdl", GEOMETRY, profile="E")
    with eagerly():
        h, up = (x.sample(40, seed=3)[:, :, 0] for x in (source, source.uplink(UP_HZ)))  # [drop, user, port, ...]
    down_turn, up_turn = (np.angle(np.sum(x[:, :, 1::2] * np.conj(x[:, :, ::2]), axis=(2, 3, 4))) for x in (h, up))
    clear = (np.abs(down_turn) > 0.5) & (np.abs(down_turn) < 2.5)
    assert clear.sum() > 20
    assert np.median(up_turn[clear] / down_turn[clear]) == pytest.approx(UP_HZ / DOWN_HZ, abs=0.01)


def test_the_uplink_is_drawn_by_drop():
    source = registry.build("channels", "cdl", GEOMETRY, profile="C").uplink(UP_HZ)
    with eagerly():
        many, one = source.sample(3, seed=2), source.sample(1, seed=2, first=2)
    np.testing.assert_allclose(one[0], many[2], atol=1e-5 * np.abs(many).max())


@pytest.mark.parametrize("model", [("rayleigh", {}), ("tdl", {"profile": "A"})])
def test_sources_without_paths_refuse(model):
    name, params = model
    with pytest.raises(ConfigError, match=r"channel\.model.*cdl, umi, uma, rma"):
        registry.build("channels", name, GEOMETRY, **params).uplink(UP_HZ)


def test_guests_refuse_unless_they_know_better():
    class Guest(ChannelSource):
        def sample(self, batch_size, *, seed, first=0):
            return np.zeros((batch_size, 1, 1, 1, 1, 1), np.complex64)

    with pytest.raises(ConfigError, match=r"channel\.model: got 'Guest'"):
        Guest().uplink(UP_HZ)
