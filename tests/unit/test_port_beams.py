"""Beamformed CSI-RS: ports by plain loops, beams of the uplink, and the link over them."""

from dataclasses import replace

import numpy as np
import pytest
from eager import eagerly
from test_pmi_codebooks import gaussian

from benchmarks.build import ChannelDraw, build_link, check_parts
from receivers.estimation.perfect import PerfectEstimator
from receivers.feedback.etype2_ps import EnhancedTypeTwoPortSelectionFeedback
from receivers.feedback.fetype2_ps import FurtherEnhancedTypeTwoFeedback
from receivers.feedback.perfect import PerfectFeedback
from receivers.feedback.type2_ps import TypeTwoPortSelectionFeedback
from scenarios.schema import parse_scenario
from scenarios.sweep import Point
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.interfaces import ChannelSource
from simulator.core.types import CsiConfig, CsiReconstruction, Panel, RadioGeometry
from simulator.link import Link
from simulator.maths.transforms import unit_power
from simulator.precoding.port_beams import PortBeamforming, PortBeams, _calibration
from simulator.reporting.beamformed import BeamformedCsiRs
from simulator.reporting.reporting import Reporting
from simulator.scores.csi import CsiRsPorts, Sgcs

PANEL, SAMPLES, RATIO = Panel(8, 2, 2), 48, 3.3 / 3.5


def paths(rng, drops, count, ratio=1.0, users=2, spread=0.2):
    """Angles and delays of drops; a function that gives channels of independent gains for a carrier ratio."""
    nu1, nu2 = (rng.uniform(-0.4, 0.4, (drops, users, count, 1, 1)) * x for x in (1, 0.3))
    delay = rng.random((drops, users, count, 1)) * spread
    power = 10 ** (-np.arange(count) / 5)

    def channel(rng, ratio=1.0):
        place = nu1 * np.arange(8)[:, None] + nu2 * np.arange(2)
        steering = np.exp(2j * np.pi * ratio * place).reshape(drops, users, count, 16)
        turns = np.exp(-2j * np.pi * delay * np.arange(SAMPLES))
        gains = gaussian(rng, drops, users, count, 2) * np.sqrt(power)[:, None]
        h = np.einsum("bukp,buke,bukn->bupen", gains, steering, turns).reshape(drops, users, 1, 32, 1, SAMPLES)
        return (h / np.sqrt(np.mean(np.abs(h) ** 2, axis=(2, 3, 4, 5), keepdims=True))).astype(np.complex64)

    return channel


def captured(ports, h):
    """Share of the energy of channels in the mean over the band of their ports."""
    dc = ports.channel(h).mean(axis=-1)
    return np.sum(np.abs(dc) ** 2, axis=(2, 3, 4)) / np.mean(np.sum(np.abs(h) ** 2, axis=(2, 3, 4)), axis=-1)


# Ports ---------------------------------------------------------------------------------------------------------------


def test_ports_and_back_by_loops(rng):
    """Channel of the ports h F, directions of the antennas F w of unit norm; F block diagonal in the polarisations."""
    batch, users, trps, half, elements, slots, samples = 2, 3, 2, 2, 4, 2, 6
    beams = gaussian(rng, batch, users, trps, half, elements)
    turns = np.exp(2j * np.pi * rng.random((batch, users, trps, half, samples))).astype(np.complex64)
    ports = PortBeams(beams, turns)
    h = gaussian(rng, batch, users, 2, 2 * trps * elements, slots, samples)
    w = gaussian(rng, batch * slots, users, 2 * trps * half, 2, 3)
    w[:, :, :, 1, 2] = 0  # a layer that is not used
    found = ports.channel(h)
    back = ports.to_antennas(CsiReconstruction(w=w), np.arange(samples) // 2).w
    assert back.shape == (batch * slots, users, 2 * trps * elements, 2, samples)
    for b, u, n in np.ndindex(batch, users, samples):
        f = np.zeros((2 * trps * elements, 2 * trps * half), complex)
        for trp, pol, i in np.ndindex(trps, 2, half):
            part = 2 * trp + pol
            f[part * elements : (part + 1) * elements, part * half + i] = beams[b, u, trp, i] * turns[b, u, trp, i, n]
        for slot in range(slots):
            np.testing.assert_allclose(found[b, u, :, :, slot, n], h[b, u, :, :, slot, n] @ f, atol=1e-5)
            expected = f @ w[b * slots + slot, u, :, :, n // 2]
            expected = expected / np.maximum(np.linalg.norm(expected, axis=0), 1e-9)
            np.testing.assert_allclose(back[b * slots + slot, u, :, :, n], expected, atol=1e-5)


@pytest.mark.parametrize("delays", [True, False])
def test_ports_are_orthonormal_over_the_band(delays, rng):
    uplink = paths(rng, 3, 4)(rng)[..., 0, :]
    ports = PortBeamforming(PANEL, 16, delays, RATIO).design(uplink, seed=1)
    f = (ports.beams[..., None] * ports.turns[..., None, :])[:, :, 0]  # [batch, user, port/2, element, subcarrier]
    gram = np.einsum("buien,bujen->buij", f.conj(), f) / SAMPLES
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(8), gram.shape), atol=1e-5)
    if not delays:
        np.testing.assert_allclose(ports.turns, 1, atol=1e-6)


def test_a_path_on_the_grid_is_one_port(rng):
    """A beam of the DFT and a delay of the grid: one port of each polarisation has everything."""
    beam = np.exp(-2j * np.pi * (3.25 * np.arange(8)[:, None] / 8 + 0.5 * np.arange(2) / 2)).reshape(-1)
    h = np.kron([1, 0.5j], beam)[:, None] * np.exp(-2j * np.pi * 5.75 * np.arange(SAMPLES) / SAMPLES)
    h = h[None, None, None].astype(np.complex64)
    ports = PortBeamforming(PANEL, 2).design(h, seed=1)
    share = np.abs(ports.channel(h[..., None, :]).mean(axis=-1)[0, 0, 0, :, 0]) ** 2
    np.testing.assert_allclose(share, np.array([1, 0.25]) * 16, rtol=1e-4)


def test_ports_differ_even_without_an_uplink():
    ports = PortBeamforming(PANEL, 32).design(np.zeros((1, 1, 1, 32, SAMPLES), np.complex64), seed=1)
    both = np.concatenate([ports.beams[0, 0, 0], ports.turns[0, 0, 0]], axis=1)
    assert len(np.unique(np.round(both, 4), axis=0)) == 16


@pytest.mark.long
def test_a_single_path_is_rebuilt_from_the_uplink(rng):
    """Whatever its direction and delay, at another carrier and with other gains: by the report of the ports alone."""
    draw = paths(rng, 60, 1)
    h, uplink = draw(rng), draw(rng, RATIO)
    config = CsiConfig(PANEL, 1, SAMPLES, 360e3, 4)
    link = port_link(config, {"r17": (FurtherEnhancedTypeTwoFeedback, {"combination": 4}, 32, True)})
    assert np.mean(scores(link, h, uplink)["r17"]) > 0.97


@pytest.mark.long
def test_calibration_moves_the_uplink_to_the_downlink_carrier(rng):
    """Against no calibration: more of the downlink is in the ports; and an MMSE estimate by loops."""
    draw = paths(rng, 120, 1)
    h, uplink = draw(rng), draw(rng, 0.9)[..., 0, :]
    gain = [captured(PortBeamforming(PANEL, 8, True, ratio).design(uplink, seed=1), h).ravel() for ratio in (0.9, 1.0)]
    change = gain[0] - gain[1]
    assert change.mean() > 3 * change.std() / np.sqrt(len(change)) and gain[0].mean() > 0.95
    grid = (np.arange(4000) + 0.5) / 4000 - 0.5
    up, down = (np.exp(2j * np.pi * r * np.outer(np.arange(3) - 1, grid)) for r in (0.9, 1.0))
    expected = (down @ up.conj().T / 4000) @ np.linalg.inv(up @ up.conj().T / 4000 + 0.1 * np.eye(3))
    np.testing.assert_allclose(1.1 * _calibration(Panel(3, 1, 2), 0.9, 0.1), expected, atol=1e-4)  # 1 / 1.1: one row


@pytest.mark.long
def test_noise_of_the_uplink_costs_energy(rng):
    draw = paths(rng, 40, 6)
    h, uplink = draw(rng), draw(rng, RATIO)[..., 0, :]
    shares = []
    for snr_db in (None, 0.0, -15.0, -30.0):
        beamforming = PortBeamforming(PANEL, 16, True, RATIO, snr_db)
        ports = beamforming.design(uplink, seed=1)
        assert np.array_equal(ports.beams, beamforming.design(uplink, seed=1).beams)
        shares.append(captured(ports, h).mean())
    assert shares[0] > shares[1] - 1e-3 and shares[1] > shares[2] + 0.02 > shares[3] + 0.2


@pytest.mark.long
def test_ports_for_two_taps_leave_the_second_one_to_the_ue(rng):
    """The UE may add one more delay to every port: with those of both taps more energy is in reach."""
    draw = paths(rng, 60, 8)
    h = draw(rng)

    def reach(taps):
        ports = PortBeamforming(PANEL, 16, taps=taps).design(h[..., 0, :], seed=1)
        seen = np.fft.ifft(ports.channel(h), axis=-1)[..., :2]
        kept = np.sum(np.abs(seen) ** 2, axis=(2, 3, 4, 5))
        overlap = [
            len(
                {
                    (b.tobytes(), round(np.angle(t[1]) / 2 / np.pi * SAMPLES * 4))
                    for b, t in zip(*map(np.squeeze, user), strict=True)
                }
            )
            for drop in zip(ports.beams, ports.turns, strict=True)
            for user in zip(*drop, strict=True)
        ]
        assert min(overlap) == 8  # all ports differ
        return kept / np.mean(np.sum(np.abs(h) ** 2, axis=(2, 3, 4)), axis=-1)

    assert reach(2).max() <= 1 + 1e-4  # no energy is counted twice
    assert reach(1).max() > 1.0  # ports of neighbouring delays: the second tap of one is the first of another


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: PortBeamforming(Panel(8, 2, 1), 8), r"bs\.num_pol.*2 with beamformed"),
        (lambda: PortBeamforming(Panel(2, 1, 2), 8, False), r"ports.*8.*at most 4 without delays"),
        (lambda: PortBeamforming(PANEL, 5), r"ports.*5.*even"),
    ],
)
def test_ports_that_do_not_exist(build, words):
    with pytest.raises(ConfigError, match=words):
        build()


# Link ----------------------------------------------------------------------------------------------------------------


def port_link(config, schemes, snr_db=None):
    """A link of schemes ``label: (class, params, ports, delays)`` next to a gNB that knows everything."""
    reporting = {"perfect": Reporting(PerfectFeedback(config))}
    for label, (cls, params, number, delays) in schemes.items():
        scheme = cls(replace(config, panel=Panel(number // 2, 1, 2)), rank=1, **params)
        taps = 2 if params.get("combination", 0) >= 5 and cls is FurtherEnhancedTypeTwoFeedback else 1
        beamforming = PortBeamforming(PANEL, number, delays, RATIO, snr_db, taps)
        reporting[label] = Reporting(scheme, csi_rs=BeamformedCsiRs(beamforming, PerfectEstimator()))
    return Link(config, PerfectEstimator(), reporting, {}, (10.0,))


def scores(link, h, uplink):
    """SGCS of every drop by label."""
    found = {}
    for label, precoder, outcome in link.run(h, seed=1, uplink=uplink):
        if precoder is None:
            csi_rs, (count,) = link.reporting[label].csi_rs, set(CsiRsPorts().evaluate(outcome)["csi_rs_ports"])
            assert count == (32 if csi_rs is None else h.shape[1] * csi_rs.beamforming.num_ports)
            found[label] = Sgcs().evaluate(outcome)["sgcs"]
    return found


SCHEMES = {
    **{f"pc{pc}": (FurtherEnhancedTypeTwoFeedback, {"combination": pc}, 32, True) for pc in (1, 2, 3, 4)},
    **{f"pc{pc}": (FurtherEnhancedTypeTwoFeedback, {"combination": pc}, 16, True) for pc in (5, 7, 8)},
    **{f"r16-{pc}": (EnhancedTypeTwoPortSelectionFeedback, {"combination": pc}, 8, False) for pc in (1, 2, 4, 6)},
    **{f"r15-{beams}": (TypeTwoPortSelectionFeedback, {"beams": beams}, 8, False) for beams in (2, 3, 4)},
}


@pytest.mark.long
def test_reports_of_ports_in_the_link(rng):
    """SGCS grows with the bits, paired over the drops; the perfect gNB stays perfect."""
    draw = paths(rng, 40, 8)
    config = CsiConfig(PANEL, 1, SAMPLES, 360e3, 4)
    found = scores(port_link(config, SCHEMES), draw(rng), draw(rng, RATIO))
    np.testing.assert_allclose(found.pop("perfect"), 1, atol=1e-5)
    for worse, better in (
        ("pc1", "pc2"), ("pc2", "pc3"), ("pc3", "pc4"), ("pc5", "pc7"), ("pc7", "pc8"), ("r16-1", "r16-2"),
        ("r16-2", "r16-4"), ("r16-4", "r16-6"), ("r15-2", "r15-3"), ("r15-3", "r15-4"),
    ):  # fmt: skip
        gain = found[better] - found[worse]
        assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain)), (worse, better)
    assert found["pc4"].mean() > 0.8 and found["r16-6"].mean() > 0.6


@pytest.mark.long
def test_slots_and_noise_in_the_link(rng):
    """Ports of the first slot serve all slots of a drop; a noisier uplink serves worse."""
    draw = paths(rng, 30, 5)
    h, uplink = np.repeat(draw(rng), 2, axis=4), np.repeat(draw(rng, RATIO), 2, axis=4)
    h[:, :, :, :, 1] *= 1j
    uplink[:, :, :, :, 1] = gaussian(rng, *uplink.shape)[:, :, :, :, 1]  # is not measured
    config = CsiConfig(PANEL, 1, SAMPLES, 360e3, 4)
    schemes = {"r17": SCHEMES["pc4"]}
    found = scores(port_link(config, schemes), h, uplink)["r17"]
    one = scores(port_link(config, schemes), h[:, :, :, :, :1], uplink[:, :, :, :, :1])["r17"]
    assert abs(found.mean() - one.mean()) < 0.01
    assert scores(port_link(config, schemes, -20.0), h, uplink)["r17"].mean() < found.mean() - 0.05


def test_the_link_asks_for_the_uplink(rng):
    config = CsiConfig(PANEL, 1, SAMPLES, 360e3, 4)
    h = paths(rng, 2, 1)(rng)
    for uplink in (None, h[..., :-1]):
        with pytest.raises(ConfigError, match=r"uplink.*as CSI-RS are beamformed"):
            scores(port_link(config, {"r17": SCHEMES["pc4"]}), h, uplink)


# Scenarios -----------------------------------------------------------------------------------------------------------

SCENARIO = {
    "name": "ports",
    "carrier": {"num_rb": 52},
    "bs": {"n1": 8, "n2": 2, "num_pol": 2},
    "channel": {"model": "umi"},
    "sounding": {"uplink_snr_db": 5},
    "feedback": [{"scheme": "fetype2-ps-r17", "combination": [1, 4], "beamformed": {"ports": 32}}],
    "snr_db": [10],
}


def test_a_scenario_builds_ports_and_estimators():
    """Ports, carriers and noise of the file; one set of ports for the variants of a line; the estimator has as many."""
    lines = [*SCENARIO["feedback"], {"scheme": "type2-ps-r15", "beamformed": {"ports": 8, "delays": False}}]
    estimation = {"name": "csi_rs_ls", "snr_db": 10}
    link = build_link(parse_scenario({**SCENARIO, "feedback": lines, "estimation": estimation}))
    assert list(link.reporting) == [
        "fetype2ps-P32-pc1+delays", "fetype2ps-P32-pc4+delays", "type2ps-P8-d1-L4-psk8+beams"
    ]  # fmt: skip
    one, two, three = (reporting.csi_rs for reporting in link.reporting.values())
    assert one is two
    assert one.beamforming == PortBeamforming(PANEL, 32, True, 3.3e9 / 3.5e9, 5.0, 1)
    assert three.beamforming == PortBeamforming(PANEL, 8, False, 3.3e9 / 3.5e9, 5.0, 1)
    assert three.estimator.geometry.panel.num_ports == 8 and link.estimator.geometry.panel.num_ports == 32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channel": {"model": "tdl", "profile": "A"}}, r"channel\.model.*tdl.*cdl, umi, uma, rma with a.*sounding"),
        ({"channel": {"model": "rayleigh"}}, r"channel\.model.*rayleigh.*sounding"),
        ({"sounding": None}, r"sounding"),
        ({"sounding": {"reciprocity": "full", "duplex_distance_hz": 1e8}}, r"duplex_distance_hz.*null.*full"),
        ({"sounding": {"duplex_distance_hz": 3.45e9}}, r"sounding\.duplex_distance_hz.*100 MHz"),
        ({"feedback": [{"scheme": "sparse", "bits": 60, "beamformed": {"ports": 8}}]}, r"beamformed.*directions"),
        ({"feedback": [{"scheme": "fetype2-ps-r17", "beamformed": {"ports": 20}}]}, r"beamformed\.ports"),
        (
            {"feedback": [{"scheme": "fetype2-ps-r17", "combination": 8, "beamformed": {"ports": 32}}]},
            r"combination.*8 with 32 ports",
        ),
        (
            {
                "time": {"history_slots": 3, "num_slots": 5},
                "feedback": [
                    {"scheme": "fetype2-ps-r17", "beamformed": {"ports": 8}, "predict": {"name": "repeat", "at": "ue"}}
                ],
            },
            r"feedback\.beamformed.*without predict",
        ),
    ],
)  # fmt: skip
def test_what_a_scenario_must_not_ask_for(changes, words):
    data = {key: value for key, value in {**SCENARIO, **changes}.items() if value is not None}
    with pytest.raises(ConfigError, match=words):
        build_link(parse_scenario(data))


@pytest.mark.parametrize("reciprocity", ["partial", "full"])
def test_the_uplink_of_a_scenario_is_that_of_its_drops(reciprocity):
    """Partial: delays and directions of the same drops, of no others, and unit power; full: the downlink itself."""
    data = {
        **SCENARIO,
        "carrier": {"num_rb": 24, "carrier_hz": 3.5e9},
        "ue": {"num_users": 2},
        "bs": {"n1": 4, "n2": 1, "num_pol": 2},
        "channel": {"model": "cdl", "profile": "C", "delay_spread_s": 3e-7},
        "sounding": {"reciprocity": reciprocity},
        "feedback": [{"scheme": "fetype2-ps-r17", "beamformed": {"ports": 8}}],
    }
    draw = ChannelDraw(Point(parse_scenario(data), {}))
    with eagerly():
        h = draw.block(3, 8)
        uplink = draw.uplink(3, h)
    np.testing.assert_allclose(np.mean(np.abs(uplink) ** 2, axis=(2, 3, 4, 5)), 1, rtol=1e-4)
    if reciprocity == "full":
        np.testing.assert_allclose(uplink, h, rtol=1e-4, atol=1e-5)
        return

    def spectrum(x):
        taps = np.fft.ifft(np.fft.fft(x.reshape(16, 2, 4, 24), axis=2), axis=3)
        power = np.sum(np.abs(taps) ** 2, axis=1).reshape(16, -1)
        return power / np.linalg.norm(power, axis=1, keepdims=True)

    alike = spectrum(h) @ spectrum(uplink).T
    assert np.diag(alike).mean() > np.mean(alike[~np.eye(16, dtype=bool)]) + 0.2
    turn = np.sum(np.conj(h) * uplink, axis=(2, 3, 4, 5)) / h[0, 0].size
    assert np.abs(turn).mean() < 0.5


class Silent(ChannelSource):
    """A source of a guest that knows no paths."""

    def __init__(self, geometry):
        self.geometry = geometry

    def sample(self, batch_size, *, seed, first=0):
        g = self.geometry
        return np.ones((batch_size, g.num_users, g.num_rx_ant, g.panel.num_ports, 1, g.num_subcarriers), np.complex64)


def test_a_guest_without_an_uplink_is_refused_before_the_run():
    data = {**SCENARIO, "channel": {"model": "test_port_beams:Silent"}}
    with pytest.raises(ConfigError, match=r"channel\.model: got 'Silent'.*paths of an uplink"):
        check_parts(parse_scenario(data))
    check_parts(parse_scenario({**data, "sounding": {"reciprocity": "full"}}))


def test_scenarios_without_sounding_have_no_uplink():
    data = {**SCENARIO, "sounding": None, "channel": {"model": "rayleigh"}, "feedback": [{"scheme": "perfect"}]}
    draw = ChannelDraw(Point(parse_scenario({k: v for k, v in data.items() if v is not None}), {}))
    assert draw.uplink(0, np.zeros((1, 1, 1, 32, 1, 52), np.complex64)) is None


@pytest.mark.long
def test_more_bits_on_the_uplink_of_umi():
    """UMi of partial reciprocity: SGCS grows with the bits, paired over the drops; full reciprocity is better still."""
    geometry = RadioGeometry(3.5e9, PANEL, 2, 1, SAMPLES, 360e3)
    source = registry.build("channels", "umi", geometry)
    with eagerly():
        h, uplink = (unit_power(x.sample(50, seed=4), 2) for x in (source, source.uplink(3.3e9)))
    config = CsiConfig(PANEL, 1, SAMPLES, 360e3, 4)
    schemes = {name: SCHEMES[name] for name in ("pc1", "pc2", "pc3", "pc5", "pc7", "pc8", "r16-1", "r16-4", "r16-6")}
    link = port_link(config, schemes)
    found, bound = scores(link, h, uplink), scores(link, h, h)
    for worse, better in (
        ("pc1", "pc2"), ("pc2", "pc3"), ("pc5", "pc7"), ("pc7", "pc8"), ("r16-1", "r16-4"), ("r16-4", "r16-6")
    ):  # fmt: skip
        gain = found[better] - found[worse]
        assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain)), (worse, better)
    for name in schemes:
        gain = bound[name] - found[name]
        assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain)), name
    assert found["pc3"].mean() > 0.7
