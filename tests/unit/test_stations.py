"""Several stations that serve UEs together: their channels, the link over them, what refuses them."""

import copy
from itertools import islice

import numpy as np
import pytest
from eager import eagerly

from benchmarks.build import check_parts
from csilink.testing import check_feedback_scheme
from receivers.estimation.perfect import PerfectEstimator
from receivers.feedback.perfect import PerfectFeedback
from receivers.feedback.trp_selection import TrpSelectionFeedback
from scenarios.dataset import parse_recipe
from scenarios.schema import parse_scenario
from scenarios.sweep import content_hash
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, Panel, RadioGeometry, TrpPanels
from simulator.link import Link
from simulator.phy import sector_power
from simulator.phy.drop_draws import drawn
from tests.links import over

LIGHT = 299_792_458.0
SCENARIO = {
    "name": "stations",
    "carrier": {"num_rb": 24},
    "bs": {"n1": 2, "n2": 2, "num_pol": 2, "num_trps": 3},
    "channel": {"model": "umi"},
    "feedback": [{"scheme": "perfect"}],
    "snr_db": [10],
}


def scenario(**changes):
    return {**copy.deepcopy(SCENARIO), **changes}


# Channels ------------------------------------------------------------------------------------------------------------


def test_the_ports_of_all_stations():
    several = TrpPanels(4, 2, 2, 3)
    assert (
        several.num_ports == 48 and several.num_trps == 3 and several.of_trp == Panel(4, 2, 2) == Panel(4, 2, 2).of_trp
    )
    assert several != Panel(12, 2, 2) and Panel(4, 2, 2).num_trps == 1


@pytest.mark.long
@pytest.mark.parametrize(("model", "trps", "isd_m"), [("umi", 3, 200.0), ("uma", 4, 500.0)])
def test_positions_delays_and_powers(model, trps, isd_m):
    """Sites on the hexagonal grid that face one corner; delays count from the first path; each sector has its share."""
    drops, users = 150, 2
    geometry = RadioGeometry(3.5e9, TrpPanels(2, 2, 2, trps), users, 1, 4, 360e3)
    source = registry.build("channels", model, geometry)
    with eagerly(), drawn(drops, seed=5):
        a, tau = (x.numpy() for x in source.paths(drops))  # [drop, user, rx, trp, tx, path, time], [.., trp, path]
        ue, bs = (x.numpy().astype(float) for x in (source._model._scenario.ut_loc, source._model._scenario.bs_loc))
        turn = source._model._scenario.bs_orientations.numpy()
    corner = isd_m / np.sqrt(3) * np.array([0.5, np.sqrt(0.75)])
    from_corner = np.linalg.norm(bs[..., :2] - corner, axis=2)
    sides = [isd_m / np.sqrt(3)] * min(trps, 3) + [2 * isd_m / np.sqrt(3)] * (trps - 3)
    np.testing.assert_allclose(from_corner, np.tile(sides, (drops, 1)), rtol=1e-5)
    for j, k in ((0, 1), (0, 2), (1, 2)):
        np.testing.assert_allclose(np.linalg.norm(bs[:, j] - bs[:, k], axis=1), isd_m, rtol=1e-5)
    facing = (corner - bs[..., :2]) / from_corner[..., None]
    np.testing.assert_allclose(np.stack([np.cos(turn[..., 0]), np.sin(turn[..., 0])], axis=2), facing, atol=1e-5)
    # Delays, from the positions alone.
    distance = np.linalg.norm(ue[:, :, None] - bs[:, None], axis=3)  # [drop, user, trp]
    first = np.where(np.abs(a[:, :, 0, :, 0, :, 0]) > 0, tau, np.inf).min(axis=3)
    np.testing.assert_allclose(first, (distance - distance.min(axis=2, keepdims=True)) / LIGHT, atol=1e-10)
    # Every UE is within 60 degrees of the boresight of its station and nearer than the corner: equal shares.
    away = ue[:, :, None, :2] - bs[:, None, :, :2]
    angle = np.degrees(np.arccos(np.sum(away * facing[:, None], axis=3) / np.linalg.norm(away, axis=3)))
    inside = (angle <= 60.01) & (np.linalg.norm(away, axis=3) <= isd_m / np.sqrt(3) * 1.001)
    assert inside.any(axis=2).all()
    share = (inside / inside.sum(axis=2, keepdims=True)).mean(axis=(0, 1))
    np.testing.assert_allclose(share, 1 / trps, atol=5 * np.sqrt(0.25 / (drops * users)))
    # Nearer stations are stronger, by tens of dB over a factor of two in distance (path loss exponents 2 to 4).
    power = 10 * np.log10(np.sum(np.abs(a) ** 2, axis=(2, 4, 5, 6)))
    near, far = np.take_along_axis(power, np.argsort(distance, axis=2), axis=2)[..., [0, -1]].mean(axis=(0, 1))
    assert near > far + 8


@pytest.mark.long
def test_a_station_is_that_of_one_site():
    """Of UEs in a station's sector the law of the channel is that of a single site: mean and spread of path gains."""
    drops = 400
    several = registry.build("channels", "umi", RadioGeometry(3.5e9, TrpPanels(1, 1, 2, 2), 1, 1, 1, 360e3))
    one = registry.build("channels", "umi", RadioGeometry(3.5e9, Panel(1, 1, 2), 1, 1, 1, 360e3))
    with eagerly(), drawn(drops, seed=8):
        a = several.paths(drops)[0].numpy()[:, 0, 0]  # [drop, trp, tx, path, time]
        ue = several._model._scenario.ut_loc.numpy()[:, 0, :2]
    with eagerly(), drawn(drops, seed=9):
        alone = one.paths(drops)[0].numpy()[:, 0, 0, 0]
    azimuth = np.degrees(np.arctan2(ue[:, 1], ue[:, 0]))
    first = (azimuth >= 0) & (azimuth <= 120) & (np.linalg.norm(ue, axis=1) <= 200 / np.sqrt(3))
    own = np.where(first[:, None, None, None], a[:, 0], a[:, 1])
    x, y = (10 * np.log10(np.sum(np.abs(h) ** 2, axis=(1, 2, 3))) for h in (own, alone))
    assert abs(x.mean() - y.mean()) < 4 * np.hypot(x.std(), y.std()) / np.sqrt(drops)
    assert 0.85 < x.std() / y.std() < 1 / 0.85
    other = 10 * np.log10(np.sum(np.abs(np.where(first[:, None, None, None], a[:, 1], a[:, 0])) ** 2, axis=(1, 2, 3)))
    assert other.mean() < x.mean() - 10


@pytest.mark.long
def test_the_mean_power_is_that_of_all_stations(monkeypatch):
    """E|h|^2 for normalization: per_dataset, one factor for all stations: estimates without rays against draws."""
    geometry = RadioGeometry(3.5e9, TrpPanels(1, 1, 2, 2), 1, 1, 1, 360e3)
    source = registry.build("channels", "umi", geometry, pathloss=False)
    with eagerly():
        power = np.mean(np.abs(source.sample(600, seed=5)) ** 2, axis=(1, 2, 3, 4, 5))
    monkeypatch.setattr(sector_power, "_POSITIONS", 50_000)
    monkeypatch.setattr(sector_power, "_DROPS", 500)
    found = list(islice(source.power_estimates(), 4))
    error = np.hypot(power.std() / np.sqrt(len(power)), np.std(found, ddof=1) / 2)
    assert abs(power.mean() - np.mean(found)) < 4 * error < 0.4 * power.mean()


@pytest.mark.long
def test_the_uplink_of_several_stations_has_their_paths():
    """Delays and mean powers of all stations are those of the downlink; phases are others."""
    source = registry.build("channels", "umi", RadioGeometry(3.5e9, TrpPanels(1, 1, 2, 3), 2, 1, 4, 360e3), los=False)
    found = []
    for each in (source, source.uplink(3.3e9)):
        with eagerly(), drawn(60, seed=5):
            found.append([x.numpy() for x in each.paths(60)])
    (a, tau), (b, delays) = found
    np.testing.assert_array_equal(delays, tau)
    power = [10 * np.log10(np.sum(np.abs(x) ** 2, axis=(2, 4, 5, 6))) for x in (a, b)]
    assert np.corrcoef(power[0].ravel(), power[1].ravel())[0, 1] > 0.98
    there = np.abs(a) > 0
    assert abs(np.mean(np.exp(1j * np.angle(a[there] * b[there].conj())))) < 0.05


# Link ----------------------------------------------------------------------------------------------------------------


def test_perfect_joint_transmission_is_the_sum_of_the_gains(rng):
    r"""One user with one antenna: :math:`\log_2(1 + \rho \sum_b |h_b|^2)`; or that of one station."""
    panel, snr_db = TrpPanels(2, 1, 2, 3), 7.0
    h = (rng.standard_normal((5, 1, 1, 3, 4, 1, 6, 2)) @ [1, 1j]) * 2.0 ** rng.integers(0, 3, (5, 1, 1, 3, 1, 1, 1))
    h = h.astype(np.complex64)
    config = CsiConfig(panel, 1, 6, 360e3, 2)
    schemes = {"joint": PerfectFeedback(config), "one": TrpSelectionFeedback(config, of="perfect")}
    link = Link(
        config=config,
        estimator=PerfectEstimator(),
        reporting=over(schemes),
        precoders={"mrt": registry.build("precoders", "mrt")},
        snr_db=(snr_db,),
    )
    rates = {s: x.rate for s, precoder, x in link.run(h.reshape(5, 1, 1, 12, 1, 6), seed=1) if precoder is not None}
    for n in range(5):
        gain = [np.sum(np.abs(h[n, 0, 0, b, :, 0].astype(complex)) ** 2, axis=0) for b in range(3)]
        best = max(gain, key=np.sum)
        for label, expected in (("joint", sum(gain)), ("one", best)):
            value = np.mean(np.log2(1 + 10 ** (snr_db / 10) * expected))
            np.testing.assert_allclose(rates[label][0, n, 0, 0], value, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("etype2-cjt-r18", {"beams": 8, "combination": 2}),
        ("fetype2-cjt-ps-r18", {"alpha": 9, "combination": 4}),
        ("trp-selection", {"of": "etype2-r16", "combination": 2}),
        ("trp-selection", {"of": "perfect"}),
    ],
)
def test_the_contract_holds_over_several_stations(name, params):
    check_feedback_scheme(name, config=CsiConfig(TrpPanels(4, 1, 2, 3), 2, 7, 360e3, 2, 2), **params)


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channel": {"model": "rayleigh"}}, r"bs\.num_trps.*3.*1 with channel\.model other than umi, uma, rma, site"),
        ({"bs": {"num_trps": 5}}, r"bs\.num_trps.*5"),
        (
            {"feedback": [{"scheme": "type1"}]},
            r"bs\.num_trps.*1 with type1; trp-selection reports with it",
        ),
        ({"estimation": {"name": "csi_rs_ls", "snr_db": 10}}, r"bs\.num_trps.*1 with estimators on CSI-RS"),
        ({"feedback": [{"scheme": "etype2-cjt-r18", "beams": 7, "combination": 2}]}, r"beams.*8\.\.12 with 3 station"),
    ],
)
def test_what_has_one_station(changes, words):
    with pytest.raises(ConfigError, match=words):
        check_parts(parse_scenario(scenario(**changes)))


def test_data_sets_have_one_station():
    recipe = {k: v for k, v in scenario().items() if k in ("name", "carrier", "bs")}
    recipe |= {"parts": [{"channel": {"model": "umi"}}], "splits": {"train": 4}}
    with pytest.raises(ConfigError, match=r"bs\.num_trps.*3.*1: samples of a data set"):
        parse_recipe(recipe)


def test_scenarios_of_one_station_keep_their_hash():
    one = scenario(bs={"n1": 2, "n2": 2, "num_pol": 2})
    same = scenario(bs={"n1": 2, "n2": 2, "num_pol": 2, "num_trps": 1})
    dumps = [parse_scenario(each).model_dump(mode="json") for each in (one, same, scenario())]
    assert "num_trps" not in dumps[0]["bs"] and content_hash(dumps[0]) == content_hash(dumps[1])
    assert content_hash(dumps[2]) != content_hash(dumps[0])
