"""Receive filters against a float64 loop, DM-RS against Sionna's tables and closed forms of their errors."""

import numpy as np
import pytest
from keras import ops
from tolerances import FLOAT32, RATE, assert_close, assert_mean

from benchmarks.build import build_link
from receivers.estimation.perfect import PerfectEstimator
from receivers.feedback.perfect import PerfectFeedback
from scenarios.sweep import expand
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, Panel
from simulator.downlink.detection import (
    Detection,
    filtered_sinr,
    filters,
    interference_covariance,
    own_columns,
)
from simulator.link import Link
from simulator.maths import rates
from simulator.nr.dmrs import Dmrs
from tests.links import over

NOISE = np.float32(0.1)


def gaussian(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def numpy(x):
    return ops.convert_to_numpy(x)


def reference_sinr(e, receiver, noise_var):
    """Filters and their SINR, one stream at a time; ``e [user, rx, stream]``."""
    users, rx, streams = e.shape
    layers = streams // users
    found = np.zeros((users, layers))
    for u in range(users):
        x = e[u].astype(np.complex128)
        own = range(u * layers, (u + 1) * layers)
        others = [j for j in range(streams) if j not in own]
        covariance = noise_var * np.eye(rx, dtype=complex)
        for j in others:
            covariance += np.outer(x[:, j], x[:, j].conj())
        if receiver == "lmmse":
            covariance = np.trace(covariance).real / rx * np.eye(rx, dtype=complex)
        for layer, s in enumerate(own):
            f = x[:, s]
            if receiver != "mrc":
                f = np.linalg.inv(covariance + sum(np.outer(x[:, j], x[:, j].conj()) for j in own if j != s)) @ f
            leak = sum(abs(f.conj() @ x[:, j]) ** 2 for j in range(streams) if j != s)
            found[u, layer] = abs(f.conj() @ x[:, s]) ** 2 / (leak + noise_var * np.linalg.norm(f) ** 2)
    return found


class TestFilters:
    @pytest.mark.parametrize("receiver", ["irc", "lmmse", "mrc"])
    @pytest.mark.parametrize(("users", "rx", "layers"), [(1, 1, 1), (3, 1, 1), (3, 2, 1), (2, 4, 2), (2, 4, 3)])
    def test_equal_the_loop(self, rng, receiver, users, rx, layers):
        e = gaussian(rng, 2, 5, users, rx, users * layers)
        noise_vars = np.array([1.0, 0.01], np.float32)
        found = numpy(Detection(receiver=receiver).sinr(e[None], noise_vars))
        assert found.shape == (2, 2, 5, users, layers) and found.dtype == np.float32
        for s, b, n in np.ndindex(2, 2, 5):
            np.testing.assert_allclose(found[s, b, n], reference_sinr(e[b, n], receiver, noise_vars[s]), rtol=RATE)

    def test_the_default_is_the_sinr_of_metrics(self, rng):
        e = gaussian(rng, 2, 4, 3, 2, 4, 6)
        noise_vars = np.array([1.0, 0.01], np.float32)
        expected = numpy(rates.sinr(ops.convert_to_tensor(e), noise_vars[:, None, None, None, None]))
        np.testing.assert_array_equal(numpy(Detection().sinr(ops.convert_to_tensor(e), noise_vars)), expected)
        for index, noise_var in enumerate(noise_vars):
            known = Detection().knowledge(e[index], noise_var, 0)
            through_filters = numpy(filtered_sinr(e[index], filters(known, "irc"), noise_var))
            np.testing.assert_allclose(through_filters, expected[index], rtol=RATE)

    def test_irc_is_best_and_all_agree_where_they_must(self, rng):
        e = gaussian(rng, 1, 50, 4, 2, 3, 4)
        noise_vars = np.array([0.1], np.float32)
        irc, lmmse, mrc = (numpy(Detection(receiver=name).sinr(e, noise_vars)) for name in ("irc", "lmmse", "mrc"))
        assert (irc >= lmmse * (1 - RATE)).all() and (irc >= mrc * (1 - RATE)).all()
        assert lmmse.mean() > 1.05 * mrc.mean(), "with two layers per user, MRC leaves the other one"
        one_layer = gaussian(rng, 1, 50, 4, 3, 2, 3)
        lmmse, mrc = (numpy(Detection(receiver=name).sinr(one_layer, noise_vars)) for name in ("lmmse", "mrc"))
        np.testing.assert_allclose(lmmse, mrc, rtol=RATE)

    def test_streams_without_power_have_none(self, rng):
        e = gaussian(rng, 1, 3, 4, 2, 2, 4)
        e[..., 2:] = 0
        for channel in ("genie", "dmrs"):
            for receiver in ("irc", "lmmse", "mrc"):
                found = numpy(Detection(channel, receiver).sinr(e, np.array([0.1], np.float32)))
                assert (found[..., 1, :] == 0).all() and (found[..., 0, :] > 0).all()


def pilot_energy(dmrs):
    """Energy of a port in a resource block: its resource elements, each with the power of all groups without data."""
    return {1: 6, 2: 4}[dmrs.config_type] * dmrs.num_symbols * dmrs.groups


class TestDmrs:
    @pytest.mark.parametrize("config_type", [1, 2])
    @pytest.mark.parametrize("length", [1, 2])
    @pytest.mark.parametrize("groups", [1, 2, 3])
    def test_ports_are_those_of_sionna(self, config_type, length, groups):
        from sionna.phy.nr import PUSCHDMRSConfig

        if groups > config_type + 1:
            with pytest.raises(ConfigError, match="cdm_groups"):
                Dmrs(config_type, length, cdm_groups=groups)
            return
        mine = Dmrs(config_type, length, 1, groups)
        # The table of ports is the same in both directions (TS 38.211, 6.4.1.1.3 and 7.4.1.1.2).
        ports = [int(p) for p in mine.ports]
        sionna = PUSCHDMRSConfig(
            config_type=config_type, length=length, num_cdm_groups_without_data=groups, dmrs_port_set=ports
        )
        assert sorted(sionna.allowed_dmrs_ports) == ports
        codes = mine.codes()
        for row, delta, w_f, w_t in zip(codes, sionna.deltas, sionna.w_f.T, sionna.w_t.T, strict=True):
            expected = np.zeros((12, mine.num_symbols))
            for n in range(3 if config_type == 1 else 2):
                for k in range(2):
                    at = 4 * n + 2 * k + delta if config_type == 1 else 6 * n + k + delta
                    for symbol in range(mine.num_symbols):
                        expected[at, symbol] = sionna.beta * w_f[k] * w_t[symbol % length]
            np.testing.assert_allclose(row, expected, rtol=1e-6)

    @pytest.mark.parametrize(("config_type", "ports"), [(1, (4, 8)), (2, (6, 12))])
    def test_ports_are_orthogonal_with_the_energy_said(self, config_type, ports):
        for length in (1, 2):
            dmrs = Dmrs(config_type, length)
            codes = dmrs.codes().reshape(ports[length - 1], -1)
            # 12 resource elements per block and symbol, on which a port has the mean power of its data.
            np.testing.assert_allclose(codes @ codes.T, 12 * dmrs.num_symbols * np.eye(len(codes)), atol=1e-4)

    @pytest.mark.parametrize(
        ("fields", "name"),
        [
            ({"config_type": 3}, "config_type"),
            ({"length": 0}, "length"),
            ({"additional": 4}, "additional"),
            ({"length": 2, "additional": 2}, "additional"),
            ({"cdm_groups": 3}, "cdm_groups"),
        ],
        ids=str,
    )
    def test_impossible_patterns(self, fields, name):
        with pytest.raises(ConfigError, match=f"dmrs.{name}"):
            Dmrs(**fields)


def flat(rng, batch, samples, users, rx, layers):
    """A channel that does not change over the band."""
    return np.repeat(gaussian(rng, batch, 1, users, rx, users * layers), samples, axis=1)


class TestPilots:
    @pytest.mark.parametrize(
        ("dmrs", "prg_rb", "samples_per_rb"),
        [
            (Dmrs(), 1, 1),
            (Dmrs(), 4, 1),
            (Dmrs(2, 1, 0), 2, 1),
            (Dmrs(1, 2, 1, 1), 1, 1),
            (Dmrs(1, 1, 0), 2, 12),
            (Dmrs(2, 2, 0, 2), 1, 12),
        ],
        ids=str,
    )
    def test_error_of_least_squares(self, rng, dmrs, prg_rb, samples_per_rb):
        """Users on orthogonal ports: noise over the energy of the pilots, whatever the others send."""
        detection = Detection("dmrs", dmrs=dmrs, prg_rb=prg_rb, samples_per_rb=samples_per_rb)
        e = flat(rng, 40, 2 * prg_rb * samples_per_rb, 2, 3, 2)
        error = numpy(detection.knowledge(e, NOISE, 7).own) - numpy(own_columns(e))
        prgs = error[:, :: prg_rb * samples_per_rb]
        np.testing.assert_allclose(np.repeat(prgs, prg_rb * samples_per_rb, axis=1), error, atol=FLOAT32)
        expected = NOISE / (pilot_energy(dmrs) * prg_rb)
        assert_mean(np.abs(prgs) ** 2, expected)
        assert np.mean(np.abs(prgs) ** 2) == pytest.approx(expected, rel=0.1)

    def test_users_on_shared_ports_disturb_each_other(self, rng):
        """Five users on four ports: the first and the last reach each other as QPSK on the same resource elements."""
        dmrs = Dmrs()
        e = flat(rng, 200, 2, 5, 2, 1)
        error = numpy(Detection("dmrs", dmrs=dmrs).knowledge(e, NOISE, 7).own) - numpy(own_columns(e))
        power = np.abs(error[:, 0, :, :, 0]) ** 2  # [batch, user, rx]
        energy = 2 * pilot_energy(dmrs)
        elements = energy / dmrs.groups
        # The fifth stream has port 1000 again; users 1 and 2 of other ports meet it on the elements of their group.
        disturbed = NOISE / energy + np.abs(e[:, 0, 0, :, 4]) ** 2 / elements
        assert_mean(power[:, 0] / disturbed, 1.0)
        assert_mean(power[:, 2:4], NOISE / energy)  # the other CDM group
        fifth = NOISE / energy + np.sum(np.abs(e[:, 0, 4, :, :2]) ** 2, axis=-1) / elements
        assert_mean(power[:, 4] / fifth, 1.0)

    @pytest.mark.parametrize("layers", [1, 2])
    def test_residual_covariance(self, rng, layers):
        """Noise without bias; orthogonal pilots of others in full, over the dimensions that are left."""
        detection = Detection("dmrs", loading=0.0, prg_rb=1)
        e = flat(rng, 1, 3000, 2, 2, layers)
        covariance = numpy(detection.knowledge(e, NOISE, 7).covariance)[0]
        count = pilot_energy(detection.dmrs)
        others = numpy(interference_covariance(e, np.float32(0)))[0, 0] * count / (count - layers)
        assert_close(covariance.mean(axis=0), others + NOISE * np.eye(2), 0.02)
        alone = e * np.repeat(np.eye(2), layers, axis=1)[:, None, :].astype(np.float32)
        covariance = numpy(detection.knowledge(alone, NOISE, 7).covariance)[0]
        for u in range(2):
            for rx in range(2):
                assert_mean(covariance[:, u, rx, rx].real, NOISE)
            assert_mean(covariance[:, u, 0, 1].real, 0.0)

    def test_loading(self, rng):
        e = flat(rng, 2, 4, 2, 2, 1)
        plain, loaded = (numpy(Detection("dmrs", loading=x).knowledge(e, NOISE, 7).covariance) for x in (0.0, 0.5))
        mean = np.trace(plain, axis1=-2, axis2=-1).real / 2
        np.testing.assert_allclose(loaded, plain + 0.5 * mean[..., None, None] * np.eye(2), rtol=1e-4, atol=1e-6)

    def test_a_short_last_group(self, rng):
        """Five blocks in groups of two: the fifth has half the energy."""
        e = flat(rng, 300, 5, 1, 2, 1)
        error = numpy(Detection("dmrs", prg_rb=2).knowledge(e, NOISE, 7).own) - numpy(own_columns(e))
        power = np.mean(np.abs(error) ** 2, axis=(0, 2, 3, 4))
        np.testing.assert_allclose(power, NOISE / pilot_energy(Dmrs()) * np.array([0.5, 0.5, 0.5, 0.5, 1]), rtol=0.2)

    def test_many_pilots_are_the_genie(self, rng):
        e = flat(rng, 10, 16, 2, 3, 2)[None]
        noise_vars = np.array([0.1], np.float32)
        genie = np.log2(1 + numpy(Detection().sinr(e, noise_vars)))
        rates = {}
        for prg_rb in (1, 16):
            pilots = Detection("dmrs", dmrs=Dmrs(1, 1, 3), prg_rb=prg_rb, loading=0.0)
            rates[prg_rb] = np.log2(1 + numpy(pilots.sinr(e, noise_vars, seed=3)))
            assert (rates[prg_rb] <= genie + 1e-3).all(), "no filter is better than that of the genie"
        assert rates[1].mean() < rates[16].mean() < genie.mean()
        assert rates[16].mean() > 0.98 * genie.mean()

    def test_seeds_and_snrs(self, rng):
        e = flat(rng, 2, 4, 2, 2, 1)[None]
        noise_vars = np.array([1.0, 0.1], np.float32)
        detection = Detection("dmrs")
        one, same, other = (numpy(detection.sinr(e, noise_vars, seed=s)) for s in (1, 1, 2))
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()
        alone = numpy(detection.sinr(e, noise_vars[1:], seed=1))
        np.testing.assert_allclose(alone[0], one[1], rtol=FLOAT32)
        assert (one[1] > one[0]).mean() > 0.9


def linked(cfg, precoders=("zf",), **fields):
    named = {name: registry.build("precoders", name) for name in precoders}
    return Link(cfg, PerfectEstimator(), over({"perfect": PerfectFeedback(cfg)}), named, (0.0, 20.0), **fields)


def only(link, h):
    return next(outcome for _, precoder, outcome in link.run(h, seed=1) if precoder)


class TestInTheLink:
    def test_outcome_keeps_the_sinr_when_asked(self, rng):
        cfg = CsiConfig(Panel(4, 1, 2), 2, 6, 360e3, 2, 2)
        h = gaussian(rng, 3, 2, 2, 8, 2, 6)
        outcome = only(linked(cfg, keep_sinr=True), h)
        assert outcome.sinr.shape == (2, 6, 6, 2, 2) and only(linked(cfg), h).sinr is None
        rate = np.log2(1 + outcome.sinr.astype(np.float64)).sum(axis=-1).mean(axis=2)
        np.testing.assert_allclose(rate.reshape(2, 3, 2, 2).swapaxes(2, 3), outcome.rate, rtol=FLOAT32)

    @pytest.mark.long
    def test_receivers_in_order(self, rng):
        cfg = CsiConfig(Panel(4, 1, 2), 3, 4, 360e3, 2, 1)
        h = np.repeat(gaussian(rng, 60, 4, 3, 8, 1, 1), 4, axis=-1)
        rates = {
            detection: only(linked(cfg, ("mrt",), detection=detection), h).rate.mean()
            for detection in (
                Detection(prg_rb=2),
                Detection("dmrs"),
                Detection("dmrs", interference="genie"),
                Detection("dmrs", "mrc"),
                Detection(receiver="mrc", prg_rb=2),
            )
        }
        genie, pilots, half, mrc_pilots, mrc = rates.values()
        assert genie > half > pilots > mrc > mrc_pilots

    def test_the_precoder_of_a_group_is_that_of_its_middle(self, rng):
        """Three samples in a group and a last group of two: NumPy with the rows of samples 1 and 4."""
        cfg = CsiConfig(Panel(2), 1, 5, 360e3, 2, 1)
        h = gaussian(rng, 4, 2, 1, 2, 1, 5)
        outcome = only(linked(cfg, detection=Detection(prg_rb=3)), h)
        expected = np.zeros((2, 4, 2, 1))
        for b, n in np.ndindex(4, 5):
            g = h[b, :, 0, :, 0].astype(np.complex128)
            w = np.linalg.inv(g[..., 1 if n < 3 else 4])
            power = np.abs(g[..., n] @ (w / np.linalg.norm(w, axis=0) / np.sqrt(2))) ** 2
            for s, noise_var in enumerate((1.0, 0.01)):
                leak = power.sum(axis=1) - np.diag(power)
                expected[s, b, :, 0] += np.log2(1 + np.diag(power) / (leak + noise_var)) / 5
        np.testing.assert_allclose(outcome.rate, expected, rtol=5 * RATE)


SCENARIO = {
    "name": "unit",
    "carrier": {"num_rb": 4},
    "bs": {"n1": 4, "n2": 1, "num_pol": 2},
    "ue": {"num_users": 2, "num_rx_ant": 4},
    "channel": {"model": "rayleigh"},
    "feedback": [{"scheme": "perfect"}],
    "snr_db": [10],
}


class TestScenario:
    def test_hash_stays_at_the_default(self):
        plain = expand(SCENARIO)[0]
        assert expand({**SCENARIO, "detection": {"channel": "genie", "receiver": "irc"}})[0].key == plain.key
        assert "detection" not in plain.scenario.model_dump()
        assert expand({**SCENARIO, "detection": {"receiver": "mrc"}})[0].key != plain.key

    def test_build(self):
        section = {"channel": "dmrs", "receiver": "lmmse", "dmrs": {"config_type": 2}, "prg_rb": 4}
        point = expand({**SCENARIO, "detection": section})[0]
        assert build_link(point.scenario).detection == Detection("dmrs", "lmmse", dmrs=Dmrs(2), prg_rb=4)
        fine = {**SCENARIO, "carrier": {"num_rb": 4, "granularity": "subcarrier"}, "detection": {"channel": "dmrs"}}
        assert build_link(expand(fine)[0].scenario).detection.prg == 24
        assert expand({**SCENARIO, "sweep": {"detection.receiver": ["irc", "mrc"]}})[1].axes

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"detection": {"receiver": "zf"}}, r"^detection\.receiver: got 'zf'.*irc"),
            ({"detection": {"channel": "csi"}}, r"^detection\.channel: got 'csi'"),
            ({"detection": {"interference": "residual"}}, r"^detection\.interference: got 'residual'.*DM-RS"),
            ({"detection": {"dmrs": {}}}, r"^detection\.dmrs"),
            ({"detection": {"channel": "dmrs", "dmrs": {"length": 2, "additional": 2}}}, r"dmrs\.additional: got 2"),
            ({"detection": {"channel": "dmrs", "dmrs": {"cdm_groups": 3}}}, r"dmrs\.cdm_groups: got 3"),
            (
                {
                    "detection": {"channel": "dmrs", "dmrs": {"cdm_groups": 1}},
                    "precoding": {"layers_per_user": 3},
                },
                r"^precoding\.layers_per_user: got 3; allowed: 1\.\.2 \(DM-RS ports\)",
            ),
            (
                {
                    "carrier": {"num_subcarriers": 50, "granularity": "subcarrier"},
                    "detection": {"channel": "dmrs"},
                },
                r"^detection\.channel: got 'dmrs'.*resource blocks, not 50",
            ),
            ({"precoding": {"layers_per_user": 5}}, r"^precoding\.layers_per_user|streams"),
        ],
        ids=str,
    )
    def test_bad_input(self, changes, message):
        with pytest.raises(ConfigError, match=message):
            expand({**SCENARIO, **changes})

    def test_objects_refuse_nonsense_too(self, rng):
        e = gaussian(rng, 1, 2, 1, 4, 4)
        for call in (
            lambda: Detection("csi"),
            lambda: Detection(receiver="zf"),
            lambda: Detection(interference="residual"),
            lambda: filters(Detection().knowledge(e, NOISE, 0), "zf"),
            lambda: Detection("dmrs", dmrs=Dmrs(cdm_groups=1)).knowledge(e, NOISE, 0),
        ):
            with pytest.raises(ConfigError, match=r"detection|layers_per_user"):
                call()
