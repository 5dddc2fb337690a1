"""Channel sources: OFDM response, port order, power, angles, fading over time.

The sources run without compilation here, which would cost ten seconds each; tests/contracts runs them compiled.
"""

import json
from dataclasses import replace
from functools import cache
from importlib.resources import files

import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial.transform import Rotation
from scipy.special import j0
from sionna.phy.channel import cir_to_ofdm_channel, subcarrier_frequencies
from tolerances import FLOAT32, OFDM, assert_close, assert_mean

from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.types import Panel, RadioGeometry
from simulator.phy.drop_draws import drawn
from simulator.phy.ofdm import cir_to_ofdm, path_phases
from simulator.phy.panels import bs_array, port_order, ue_array

CARRIER_HZ = 3.5e9
LIGHT_MPS = 299_792_458.0


@pytest.fixture(autouse=True)
def eager():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@cache
def _source(name, geometry, params):
    return registry.build("channels", name, geometry, **dict(params))


def sample(name, geometry, batch_size, seed=1, **params):
    return _source(name, geometry, tuple(params.items())).sample(batch_size, seed=seed)


def geometry(**changes):
    fields = dict(
        carrier_hz=CARRIER_HZ, panel=Panel(4, 1, 1), num_users=1, num_rx_ant=1, num_subcarriers=4, spacing_hz=360e3
    )
    return RadioGeometry(**{**fields, **changes})


class TestOfdmResponse:
    def random_cir(self, rng, batch=2, users=3, rx=2, tx=4, paths=7, time=3):
        a = (rng.standard_normal((batch, users, rx, 1, tx, paths, time, 2)) @ [1, 1j]).astype(np.complex64)
        return a, rng.uniform(0, 1e-6, (batch, users, 1, paths)).astype(np.float32)

    @pytest.mark.parametrize(
        ("num_subcarriers", "spacing_hz"), [(1, 30e3), (5, 360e3), (52, 360e3), (624, 30e3), (625, 30e3)]
    )
    def test_equals_sionna(self, rng, num_subcarriers, spacing_hz):
        a, tau = self.random_cir(rng)
        grid = geometry(num_subcarriers=num_subcarriers, spacing_hz=spacing_hz).frequencies_hz
        expected = cir_to_ofdm_channel(tf.constant(grid, tf.float32), a, tau)[:, :, :, 0]
        actual = cir_to_ofdm(tf.constant(a), tf.constant(tau), num_subcarriers, spacing_hz)
        assert actual.dtype == tf.complex64
        assert_close(actual, expected, OFDM)

    def test_the_odd_grid_is_that_of_sionna(self, rng):
        """An odd number of subcarriers has one at the carrier; an even number is centred, Sionna's is not."""
        a, tau = self.random_cir(rng)
        expected = cir_to_ofdm_channel(subcarrier_frequencies(33, 30e3), a, tau)[:, :, :, 0]
        assert_close(cir_to_ofdm(tf.constant(a), tf.constant(tau), 33, 30e3), expected, OFDM)

    @pytest.mark.long
    def test_real_cdl_paths(self):
        g = geometry(
            panel=Panel(2, 2, 2),
            num_users=2,
            num_rx_ant=4,
            ue_num_rows=2,
            num_slots=3,
            speed_mps=10.0,
            num_subcarriers=48,
        )
        source = _source("cdl", g, (("profile", "C"),))
        with drawn(3, seed=3):
            a, tau = source.paths(3)
        assert a.shape[:5] == (3, 2, 4, 1, 8) and a.shape[-1] == 3 and tau.shape == (3, 2, 1, a.shape[5])
        expected = cir_to_ofdm_channel(tf.constant(g.frequencies_hz, tf.float32), a, tau)[:, :, :, 0]
        assert_close(cir_to_ofdm(a, tau, 48, 360e3), expected, OFDM)
        # The source returns the same paths, ports and antennas in order: rows upwards, Sionna's downwards.
        expected = tf.gather(tf.gather(expected, port_order(g.panel), axis=3), [1, 0, 3, 2], axis=2)
        assert_close(source.sample(3, seed=3), expected, OFDM)

    def test_element_by_element(self, rng):
        a, tau = self.random_cir(rng, batch=1, users=2, rx=2, tx=3, paths=4, time=2)
        actual = cir_to_ofdm(tf.constant(a), tf.constant(tau), 6, 360e3).numpy()
        assert actual.shape == (1, 2, 2, 3, 2, 6)
        for b, u, r, p, t, n in np.ndindex(actual.shape):
            frequency = (n - 2.5) * 360e3
            phases = np.exp(-2j * np.pi * frequency * tau[b, u, 0].astype(np.float64))
            expected = sum(a[b, u, r, 0, p, m, t] * phases[m] for m in range(4))
            assert abs(actual[b, u, r, p, t, n] - expected) < OFDM * np.abs(actual).max()

    @pytest.mark.parametrize("num_subcarriers", [1, 2, 3, 16, 17, 1023, 1024])
    def test_path_phases_are_near_float64(self, rng, num_subcarriers):
        tau = rng.uniform(0, 1e-6, (3, 5)).astype(np.float32)
        grid = (np.arange(num_subcarriers) - (num_subcarriers - 1) / 2) * 30e3
        expected = np.exp(-2j * np.pi * grid * tau.astype(np.float64)[..., None])
        phases = path_phases(tf.constant(tau), num_subcarriers, 30e3).numpy()
        assert phases.shape == (3, 5, num_subcarriers)
        assert np.abs(phases - expected).max() < OFDM


class TestPanels:
    @pytest.mark.parametrize("num_pol", [1, 2])
    @pytest.mark.parametrize(("n1", "n2"), [(8, 2), (4, 4), (1, 1), (1, 3), (5, 1)])
    @pytest.mark.parametrize("end", ["gnb", "ue"])
    def test_a_plane_wave_progresses_along_the_ports(self, n1, n2, num_pol, end):
        """Over Sionna's element positions; pol slowest, then n1 along +y, then n2 along +z (upwards)."""
        panel = Panel(n1, n2, num_pol)
        if end == "gnb":
            array = bs_array(geometry(panel=panel))
        else:
            g = geometry(num_rx_ant=panel.num_ports, ue_num_pol=num_pol, ue_num_rows=n2)
            assert g.ue_panel == panel
            array = ue_array(g)
        assert array.num_ant == panel.num_ports
        azimuth, zenith = np.radians(31.0), np.radians(72.0)
        direction = np.array([np.sin(zenith) * np.cos(azimuth), np.sin(zenith) * np.sin(azimuth), np.cos(zenith)])
        wave = np.exp(2j * np.pi * (array.ant_pos.numpy() @ direction) * CARRIER_HZ / LIGHT_MPS)
        order = port_order(panel)
        assert sorted(order) == list(range(panel.num_ports))
        ports = wave[order].reshape(num_pol, n1, n2)
        # Half a wavelength apart: pi sin(zenith) sin(azimuth) per column, pi cos(zenith) per row.
        along1 = np.exp(1j * np.pi * np.sin(zenith) * np.sin(azimuth) * np.arange(n1))
        along2 = np.exp(1j * np.pi * np.cos(zenith) * np.arange(n2))
        assert_close(ports, ports[:, :1, :1] * along1[:, None] * along2, 1e-4)
        assert_close(ports, np.broadcast_to(ports[:1], ports.shape), 1e-4)
        if num_pol == 2:
            first, second = order[: n1 * n2], order[n1 * n2 :]
            assert set(first) == set(array.ant_ind_pol1.numpy()) and set(second) == set(array.ant_ind_pol2.numpy())

    def test_rows_are_counted_upwards_in_the_channel(self):
        """CDL-E is line of sight, 9.6 degrees below the horizon: phase pi cos(99.6 deg) from row to row."""
        g = geometry(panel=Panel(1, 8, 1), antenna_pattern="omni")
        h = sample("cdl", g, 60, profile="E", rotate=False).astype(np.complex128)
        step = np.sum(h[:, :, :, 1:] * h[:, :, :, :-1].conj())
        assert np.angle(step) == pytest.approx(np.pi * np.cos(np.radians(99.6)), abs=0.05)

    def test_rows_of_a_ue_are_counted_upwards_in_the_channel(self):
        """CDL-E reaches the UE 80.4 degrees from the zenith, in front: pi cos(80.4 deg) per row, columns in phase."""
        g = geometry(panel=Panel(1, 1, 1), num_rx_ant=16, ue_num_rows=4, antenna_pattern="omni")
        h = sample("cdl", g, 60, profile="E", rotate=False).astype(np.complex128)
        ue = h.reshape(60, 4, 4, -1)  # [drop, column, row, subcarrier]
        along_rows = np.sum(ue[:, :, 1:] * ue[:, :, :-1].conj())
        along_columns = np.sum(ue[:, 1:] * ue[:, :-1].conj())
        assert np.angle(along_rows) == pytest.approx(np.pi * np.cos(np.radians(80.4)), abs=0.05)
        assert np.angle(along_columns) == pytest.approx(0, abs=0.05)

    @pytest.mark.long
    @pytest.mark.parametrize("name", ["umi", "rma"])
    def test_line_of_sight_on_the_panel_of_a_ue(self, name):
        """Against Sionna's angles and orientations of the UEs; scattered paths blur the phases."""
        g = geometry(panel=Panel(1, 1, 1), num_users=2, num_rx_ant=8, ue_num_pol=2, ue_num_rows=2)
        params = dict(los=True, indoor_probability=0.0, pathloss=False)
        h = sample(name, g, 60, **params).astype(np.complex128)
        drop = _source(name, g, tuple(params.items()))._model._scenario
        zenith, azimuth = (np.radians(x.numpy()[:, 0]) for x in (drop.los_zoa, drop.los_aoa))
        wave = np.stack([np.sin(zenith) * np.cos(azimuth), np.sin(zenith) * np.sin(azimuth), np.cos(zenith)], axis=-1)
        turned = (
            Rotation.from_euler("ZYX", drop.ut_orientations.numpy().reshape(-1, 3)).inv().apply(wave.reshape(-1, 3))
        )
        ue = h.reshape(120, 2, 2, 2, 4)  # [user, pol, column, row, subcarrier]
        along_columns = np.sum(ue[:, :, 1] * ue[:, :, 0].conj(), axis=(1, 2, 3))
        along_rows = np.sum(ue[:, :, :, 1] * ue[:, :, :, 0].conj(), axis=(1, 2, 3))
        for step, position in ((along_columns, turned[:, 1]), (along_rows, turned[:, 2])):
            assert np.median(np.abs(np.angle(step * np.exp(-1j * np.pi * position)))) < 0.5  # unrelated: pi / 2

    @pytest.mark.parametrize(("num_rx_ant", "num_pol", "num_rows"), [(3, 2, 1), (6, 2, 2), (3, 1, 2), (1, 1, 4)])
    def test_the_antennas_of_a_ue_fill_its_rows(self, num_rx_ant, num_pol, num_rows):
        g = geometry(num_rx_ant=num_rx_ant, ue_num_pol=num_pol, ue_num_rows=num_rows)
        for build in (ue_array, lambda g: registry.build("channels", "tdl", g, profile="A")):
            with pytest.raises(ConfigError, match=f"a multiple of .* = {num_pol * num_rows}") as caught:
                build(g)
            assert caught.value.field == "ue.num_rx_ant"


SOURCES = [
    ("rayleigh", {"taps": 3}),
    ("tdl", {"profile": "B", "angle_spread_deg": 8.0}),
    ("tdl", {"profile": "D"}),
    ("cdl", {"profile": "D", "rotate": False}),
    ("umi", {"los": True, "indoor_probability": 0.3, "isd_m": 150.0}),
]


@pytest.mark.parametrize(("name", "params"), SOURCES, ids=[f"{n}-{'-'.join(map(str, p.values()))}" for n, p in SOURCES])
class TestParameters:
    g = geometry(panel=Panel(2, 2, 2), num_users=2, num_rx_ant=2, ue_num_pol=2, num_slots=2, speed_mps=1.0)

    @pytest.mark.long
    def test_shape_and_seeds(self, name, params):
        h = sample(name, self.g, 3, seed=1, **params)
        assert h.shape == (3, 2, 2, 8, 2, 4) and h.dtype == np.complex64 and isinstance(h, np.ndarray)
        assert np.isfinite(h).all()
        assert (np.abs(h) ** 2).sum(axis=(2, 3, 4, 5)).all()
        other = sample(name, self.g, 3, seed=2, **params)
        assert (np.abs(h - other).max(axis=(2, 3, 4, 5)) > 0.01 * np.abs(h).max(axis=(2, 3, 4, 5))).all()
        assert (h[0] != h[1]).any() and (h[:, 0] != h[:, 1]).any()
        sample(name, self.g, 1, seed=5, **params)
        np.testing.assert_array_equal(sample(name, self.g, 3, seed=1, **params), h)
        # A new object, as another worker has it.
        fresh = registry.build("channels", name, self.g, **params)
        np.testing.assert_array_equal(fresh.sample(3, seed=1), h)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("rayleigh", {"taps": 2}),
        ("tdl", {"profile": "B", "angle_spread_deg": 8.0}),
        ("tdl", {"profile": "D"}),
        ("cdl", {"profile": "D"}),
        ("umi", {"ue_floors": True}),
        pytest.param("uma", {}, marks=pytest.mark.long),
        pytest.param("rma", {}, marks=pytest.mark.long),
    ],
)
class TestDrops:
    g = geometry(panel=Panel(2, 1, 2), num_users=2, num_subcarriers=2)

    @pytest.mark.long
    def test_a_drop_depends_on_its_number_alone(self, name, params):
        """Not on the batch, nor on its place in it."""
        h = sample(name, self.g, 6, **params)
        source = _source(name, self.g, tuple(params.items()))
        for first, count in ((2, 4), (5, 1)):
            assert_close(source.sample(count, seed=1, first=first), h[first : first + count], 1e-6)
        assert (np.abs(source.sample(6, seed=1, first=6) - h).max(axis=(1, 2, 3, 4, 5)) > 0.01 * np.abs(h).max()).any()

    @pytest.mark.long
    def test_slots_speed_and_grid_leave_the_paths(self, name, params):
        """The first slot is the same at any speed and number of them; a finer grid is the same at its frequencies."""
        one = sample(name, self.g, 3, **params)
        same = [one]
        for changes in ({"speed_mps": 0.0}, {"speed_mps": 30.0}, {"speed_mps": 1.0, "max_speed_mps": 30.0}):
            h = sample(name, replace(self.g, num_slots=4, **changes), 3, **params)
            assert_close(h[..., :1, :], one, 1e-6)
            same.append(h)
        still, fast = same[1:3]
        assert name == "rayleigh" or np.abs(still[..., 3, :] - still[..., 0, :]).max() < 1e-5 * np.abs(one).max()
        assert np.abs(fast[..., 3, :] - fast[..., 0, :]).max() > 0.05 * np.abs(one).max()
        if name != "rayleigh":  # whose taps stand at shares of the band
            # The outer two of four frequencies at a third of the spacing.
            wide = sample(name, replace(self.g, num_subcarriers=4, spacing_hz=self.g.spacing_hz / 3), 3, **params)
            assert_close(wide[..., [0, 3]], one, 1e-4)


class TestPower:
    @pytest.mark.parametrize("profile", "ABCDE")
    def test_tdl(self, profile):
        h = sample("tdl", geometry(num_subcarriers=8), 600, profile=profile, delay_spread_s=300e-9)
        assert_mean(np.mean(np.abs(h) ** 2, axis=(1, 2, 3, 4, 5)), 1)

    @pytest.mark.long
    def test_tdl_with_correlated_antennas(self):
        g = geometry(panel=Panel(4, 2, 2), num_users=2)
        h = sample("tdl", g, 600, profile="A", angle_spread_deg=5.0)
        assert_mean(np.mean(np.abs(h) ** 2, axis=(1, 2, 3, 4, 5)), 1)

    @pytest.mark.long
    @pytest.mark.parametrize(("profile", "rotate"), [*((p, False) for p in "ABCDE"), ("A", True), ("E", True)])
    def test_cdl_with_isotropic_antennas(self, profile, rotate):
        """Vertical to vertical polarisation passes unchanged, so without element patterns the mean power is 1."""
        h = sample("cdl", geometry(antenna_pattern="omni"), 300, profile=profile, rotate=rotate)
        assert_mean(np.mean(np.abs(h) ** 2, axis=(1, 2, 3, 4, 5)), 1)

    @pytest.mark.long
    @pytest.mark.parametrize("name", ["umi", "uma", "rma"])
    def test_path_loss_can_be_left_out(self, name):
        g = geometry(num_users=4)
        with_loss = np.mean(np.abs(sample(name, g, 20)) ** 2, axis=(2, 3, 4, 5))
        without = np.mean(np.abs(sample(name, g, 20, pathloss=False)) ** 2, axis=(2, 3, 4, 5))
        # 35 m to some hundred metres at 3.5 GHz lose 70 dB and more; element gains are within 8 dBi and -22 dB.
        assert with_loss.max() < 1e-6
        assert 0.1 < np.median(without) < 10


class TestDelays:
    @pytest.mark.parametrize("profile", "ABC")
    def test_delay_spread_sets_the_correlation_over_frequency(self, profile):
        """E h(f) h*(f + d) is the Fourier transform of the profile of TR 38.901, Table 7.7.2, read from its tables."""
        spread_s, spacing_hz = 200e-9, 1e6
        h = sample(
            "tdl", geometry(num_subcarriers=5, spacing_hz=spacing_hz), 800, profile=profile, delay_spread_s=spread_s
        )
        table = json.loads((files("sionna.phy.channel.tr38901.models") / f"TDL-{profile}.json").read_text())
        power = 10 ** (np.array(table["powers"]) / 10)
        for distance in (1, 3):
            product = (h[..., distance:] * h[..., :-distance].conj()).mean(axis=(1, 2, 3, 4, 5))
            turns = distance * spacing_hz * np.array(table["delays"]) * spread_s
            expected = np.sum(power / power.sum() * np.exp(-2j * np.pi * turns))
            assert_mean(product.real, expected.real)
            assert_mean(product.imag, expected.imag)


class TestAngles:
    @pytest.mark.long
    def test_columns_of_a_tdl_follow_the_one_ring_model(self):
        """Broadside, spread s: columns exp(-(pi d s)^2 / 2), rows coherent, polarisations independent."""
        panel, spread = Panel(4, 2, 2), np.radians(10.0)
        g = geometry(panel=panel, num_rx_ant=2)
        h = sample("tdl", g, 1000, profile="A", angle_spread_deg=10.0, azimuth_range_deg=0.0)[..., 0, 0]
        h = h.reshape(1000, 2, 2, 4, 2).astype(np.complex128)  # [drop, rx, pol, n1, n2]
        assert_close(h[..., 1], h[..., 0], FLOAT32)
        for distance in (1, 2, 3):
            product = np.mean(h[:, :, :, distance:, 0] * h[:, :, :, :-distance, 0].conj(), axis=(1, 2, 3))
            assert_mean(product.real, np.exp(-((np.pi * distance * spread) ** 2) / 2))
            assert_mean(product.imag, 0)
        assert_mean(np.mean(h[:, :, 0] * h[:, :, 1].conj(), axis=(1, 2, 3)).real, 0)
        assert_mean(np.mean(h[:, 0] * h[:, 1].conj(), axis=(1, 2, 3)).real, 0)

    def test_tdl_users_have_azimuths_of_their_own(self):
        g = geometry(panel=Panel(8, 1, 1), num_users=2)
        beams = self.dominant_beams(sample("tdl", g, 60, profile="A", angle_spread_deg=2.0))
        assert np.mean(beams[:, 0] != beams[:, 1]) > 0.6

    def test_line_of_sight_tdl_has_no_angles(self):
        for profile in "DE":
            with pytest.raises(ConfigError, match="angle_spread_deg"):
                registry.build("channels", "tdl", geometry(), profile=profile, angle_spread_deg=5.0)

    def dominant_beams(self, h):
        """Strongest of the orthogonal DFT beams ``[batch, user]``."""
        power = np.abs(np.fft.fft(h, axis=3)) ** 2
        return power.sum(axis=(2, 4, 5)).argmax(axis=2)

    @pytest.mark.long
    @pytest.mark.parametrize("profile", "CD")
    def test_cdl_users_share_their_angles_unless_rotated(self, profile):
        g = geometry(panel=Panel(8, 1, 1), num_users=2, num_subcarriers=8, antenna_pattern="omni")

        fixed = sample("cdl", g, 300, profile=profile, rotate=False).astype(np.complex128)
        columns = np.moveaxis(fixed, 3, -1)[:, :, 0, 0]  # [drop, user, subcarrier, port]
        covariance = np.einsum("dunp,dunq->upq", columns, columns.conj())
        norms = np.linalg.norm(covariance, axis=(1, 2))
        assert np.abs(np.vdot(covariance[0], covariance[1])) / norms.prod() > 0.97
        rotated = sample("cdl", g, 300, profile=profile, rotate=True)
        beams, fixed_beams = self.dominant_beams(rotated), self.dominant_beams(fixed)
        assert np.mean(beams[:, 0] != beams[:, 1]) > 0.6
        if profile == "D":  # one strong direction
            assert np.mean(fixed_beams[:, 0] == fixed_beams[:, 1]) > 0.95

    @pytest.mark.long
    def test_rotation_is_the_default_for_several_users(self):
        for users, rotate in ((1, False), (2, True)):
            g = geometry(panel=Panel(8, 1, 1), num_users=users)
            np.testing.assert_array_equal(
                sample("cdl", g, 4, profile="C"), sample("cdl", g, 4, profile="C", rotate=rotate)
            )

    @pytest.mark.long
    @pytest.mark.parametrize(("profile", "n1", "n2"), [("B", 2, 1), ("C", 1, 2)])
    def test_cluster_angles_moved_to_broadside(self, profile, n1, n2):
        """Correlation of neighbours from the tables of TR 38.901 (7.7.1, 7.5-3), angles translated by 7.7.5.1.

        The mean angles are power-weighted circular means (Annex A.2); ranges of 0 move them to azimuth 0, zenith 90.
        """
        g = geometry(panel=Panel(n1, n2, 1), antenna_pattern="omni")
        h = sample("cdl", g, 800, profile=profile, rotate=True, azimuth_range_deg=0.0, zenith_range_deg=0.0)
        product = np.mean(h[:, :, :, 1] * h[:, :, :, 0].conj(), axis=(1, 2, 3, 4), dtype=np.complex128)
        table = json.loads((files("sionna.phy.channel.tr38901.models") / f"CDL-{profile}.json").read_text())
        power = 10 ** (np.array(table["powers"]) / 10)
        power /= power.sum()
        half = np.array([0.0447, 0.1413, 0.2492, 0.3715, 0.5129, 0.6797, 0.8844, 1.1481, 1.5195, 2.1551])
        offsets = np.concatenate([half, -half])

        def rays(angles, spread, wanted_deg):
            angle = np.radians(np.array(angles)[:, None] + spread * offsets)
            return angle - np.angle(np.sum(power[:, None] * np.exp(1j * angle))) + np.radians(wanted_deg)

        aod, zod = rays(table["aod"], table["cASD"], 0.0), rays(table["zod"], table["cZSD"], 90.0)
        if n1 == 2:  # azimuth and zenith rays of a cluster are paired at random
            phase = np.pi * np.sin(zod)[:, None, :] * np.sin(aod)[:, :, None]
        else:
            phase = np.pi * np.cos(zod)[:, None, :]
        expected = np.sum(power * np.exp(1j * phase).mean(axis=(1, 2)))
        assert_mean(product.real, expected.real)
        assert_mean(product.imag, expected.imag)


class TestSectors:
    @pytest.mark.long
    @pytest.mark.parametrize("name", ["umi", "rma"])
    def test_line_of_sight_is_flat(self, name):
        """Line of sight: a strong first path, little variation over 20 MHz. Without: Rayleigh-like fading."""
        g = geometry(num_subcarriers=40, spacing_hz=500e3)

        def variation(los):
            power = np.abs(sample(name, g, 200, los=los, indoor_probability=0.0)) ** 2
            return np.median(power.var(axis=5) / power.mean(axis=5) ** 2)

        assert variation(True) < {"umi": 0.3, "rma": 0.6}[name] * variation(False)

    @pytest.mark.long
    @pytest.mark.parametrize("name", ["umi", "uma", "rma"])
    def test_all_users_have_the_speed_of_the_scenario(self, name):
        g = geometry(num_users=3, speed_mps=7.0)
        sample(name, g, 5)
        velocities = _source(name, g, ())._model._scenario.ut_velocities
        np.testing.assert_allclose(np.linalg.norm(velocities, axis=-1), np.full((5, 3), 7.0), rtol=FLOAT32)


class TestFadingOverTime:
    SLOT_S = 1e-3

    def geometry(self, speed_mps, **changes):
        return geometry(num_slots=4, slot_s=self.SLOT_S, speed_mps=speed_mps, **changes)

    def correlation(self, h, lag):
        """Per drop: sum of h(t) h*(t + lag) over sum of powers, complex."""
        h = h.astype(np.complex128)
        product = np.sum(h[..., lag:, :] * h[..., :-lag, :].conj(), axis=(1, 2, 3, 4, 5))
        return product / np.mean(np.sum(np.abs(h[..., lag:, :]) ** 2, axis=(1, 2, 3, 4, 5)))

    @pytest.mark.parametrize("speed_mps", [5.0, 15.0, 30.0])
    def test_tdl_follows_jakes(self, speed_mps):
        h = sample("tdl", self.geometry(speed_mps), 1500, profile="A")
        doppler_hz = speed_mps * CARRIER_HZ / LIGHT_MPS
        for lag in (1, 3):
            product = np.mean(h[..., lag:, :] * h[..., :-lag, :].conj(), axis=(1, 2, 3, 4, 5), dtype=np.complex128)
            assert_mean(product.real, j0(2 * np.pi * doppler_hz * lag * self.SLOT_S))
            assert_mean(product.imag, 0)

    @pytest.mark.parametrize(
        ("name", "params"),
        [("tdl", {"profile": "C"}), ("cdl", {"profile": "C"}), ("umi", {}), ("uma", {}), ("rma", {})],
    )
    def test_nothing_moves_at_rest(self, name, params):
        h = sample(name, self.geometry(0.0), 4, **params)
        assert_close(h, np.repeat(h[..., :1, :], 4, axis=4), FLOAT32)

    @pytest.mark.long
    @pytest.mark.parametrize(("name", "params"), [("cdl", {"profile": "C"}), ("umi", {"pathloss": False})])
    def test_correlation_falls_with_speed(self, name, params):
        drops = [sample(name, self.geometry(speed), 50, **params) for speed in (0.5, 3.0, 10.0)]
        mean = [abs(np.mean(self.correlation(h, 3))) for h in drops]
        assert 1 > mean[0] > mean[1] > mean[2]
        assert mean[0] > 0.95 and mean[2] < 0.8
