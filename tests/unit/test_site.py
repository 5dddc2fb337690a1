"""A traced site against Sionna RT's own arrays, and its behaviour as a channel source. Needs libLLVM."""

import os
import subprocess
import sys

import numpy as np
import pytest
from tolerances import OFDM, assert_close, assert_independent

from scenarios.channels import parse_channel
from simulator.core.errors import ConfigError, StoreError
from simulator.core.seeding import by_drop
from simulator.core.types import Panel, RadioGeometry, TrpPanels
from simulator.phy import llvm, site, site_trace
from simulator.phy.site import TracedSite

SITE = {
    "scene": "simple_street_canyon",
    "bs_position_m": (-35.0, 0.0, 25.0),
    "look_at_m": (20.0, 5.0, 1.5),
    "area_center_m": (10.0, 0.0),
    "area_size_m": (60.0, 16.0),
    "num_points": 12,
    "num_rays": 20_000,
    "max_depth": 3,
}

SEVERAL = {
    **SITE,
    "bs_position_m": ((-35.0, 0.0, 25.0), (45.0, 3.0, 18.0)),
    "look_at_m": ((20.0, 5.0, 1.5), (0.0, 0.0, 1.5)),
}

# Sionna RT with the whole arrays, station by station alone: h [trp, ue, ue_ant, bs_ant, subcarrier] at given positions.
PEER = """
import sys, numpy as np, sionna.rt as rt
data = np.load(sys.argv[1])
scene = rt.load_scene(rt.scene.simple_street_canyon, merge_shapes=True)
scene.frequency = 3.5e9
scene.tx_array = rt.PlanarArray(num_rows=2, num_cols=4, pattern="tr38901", polarization="cross")
num_rows, num_cols = (int(x) for x in data["ue"])
scene.rx_array = rt.PlanarArray(num_rows=num_rows, num_cols=num_cols, pattern="iso", polarization="V")
for i, p in enumerate(data["position_m"]):
    scene.add(rt.Receiver(f"ue{i}", position=[float(x) for x in p], velocity=[float(x) for x in data["velocity"][i]]))
alone = []
for place, target in zip(data["bs"], data["look_at"]):
    bs = rt.Transmitter("bs", position=place.tolist())
    scene.add(bs)
    bs.look_at(target.tolist())
    paths = rt.PathSolver()(scene, max_depth=3, samples_per_src=20_000, refraction=False, synthetic_array=True, seed=1)
    f = data["frequencies"]
    h = paths.cfr(frequencies=f, sampling_frequency=1e3, num_time_steps=2, normalize_delays=False, out_type="numpy")
    alone.append(h[:, :, 0])
    scene.remove("bs")
np.save(sys.argv[2], alone)
"""


@pytest.fixture(scope="module")
def site_cache(tmp_path_factory):
    try:
        llvm.working_llvm()
    except StoreError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("sites")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CSILINK_CACHE", str(folder))
        yield folder


def geometry(**changes):
    values = {
        "carrier_hz": 3.5e9, "panel": Panel(4, 2, 2), "num_users": 3, "num_rx_ant": 2, "num_subcarriers": 16,
        "spacing_hz": 360e3, "num_slots": 2, "slot_s": 1e-3, "speed_mps": 20.0,
    }  # fmt: skip
    return RadioGeometry(**{**values, **changes})


def downwards(columns, rows, num_pol=1):
    """Elements of Sionna (pol, column, row downwards) in the order of ports."""
    return np.arange(num_pol * columns * rows).reshape(num_pol, columns, rows)[:, :, ::-1].reshape(-1)


@pytest.mark.long
@pytest.mark.parametrize(("rows", "columns", "trps"), [(1, 2, 1), (4, 2, 1), (1, 2, 2)])
def test_equals_sionna_rt_with_whole_arrays(site_cache, tmp_path, rows, columns, trps):
    """Phases on both panels, order of ports and antennas, delays and Doppler, element by element.

    Stations traced together have the channels, and so the gains and delays, that each has alone.
    """
    panel = Panel(4, 2, 2) if trps == 1 else TrpPanels(4, 2, 2, trps)
    g = geometry(num_rx_ant=rows * columns, ue_num_rows=rows, panel=panel)
    where = SITE if trps == 1 else SEVERAL
    source = TracedSite(g, **where)
    seed, drops = 5, 4
    h = source.sample(drops, seed=seed)  # [drop, user, rx_ant, port, slot, subcarrier]
    places = source.labels(drops, seed=seed)["position_m"].reshape(-1, 3)
    heading = 2 * np.pi * np.array(by_drop(seed, 0, drops, lambda rng: rng.random((2, 3)), "motion"))[:, 0].reshape(-1)
    velocity = 20.0 * np.stack([np.cos(heading), np.sin(heading), 0 * heading], axis=-1)
    np.savez(tmp_path / "in.npz", bs=np.reshape(where["bs_position_m"], (trps, 3)), position_m=places,
             look_at=np.reshape(where["look_at_m"], (trps, 3)), velocity=velocity, frequencies=g.frequencies_hz,
             ue=(rows, columns))  # fmt: skip
    environment = {**os.environ, "DRJIT_LIBLLVM_PATH": llvm.working_llvm()}
    command = [sys.executable, "-c", PEER, str(tmp_path / "in.npz"), str(tmp_path / "out.npy")]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    every = np.load(tmp_path / "out.npy")  # [trp, ue, rx_ant, tx_ant, slot, subcarrier], tx_ant: pol, column, row down
    parts = np.split(h, trps, axis=3)
    for peer, part in zip(every, parts, strict=True):
        peer = peer[:, downwards(columns, rows)][:, :, downwards(4, 2, 2)].reshape(part.shape)
        scale = np.sqrt(np.mean(np.abs(peer) ** 2, axis=(2, 3, 4, 5), keepdims=True))
        assert np.max(np.abs(part - peer) / np.where(scale > 0, scale, 1)) < 2e-2
        assert np.mean(scale > 0) > 0.8
        gain = np.sum(np.abs(peer) ** 2, axis=(2, 3, 4, 5))
        np.testing.assert_allclose(np.sum(np.abs(part) ** 2, axis=(2, 3, 4, 5)), gain, rtol=1e-2)


@pytest.mark.long
def test_dual_polarised_panels_against_the_explicit_sum(rng, monkeypatch):
    """Rays at random; ports in the order station, pol, column (y), row (z) of its panel, path by path in float64."""
    points, trps, paths = 3, 2, 4
    shape = 2, points, trps, paths
    angles = rng.uniform(0, np.pi, shape), rng.uniform(0, 2 * np.pi, shape)
    k = np.stack([np.sin(angles[0]) * np.cos(angles[1]), np.sin(angles[0]) * np.sin(angles[1]), np.cos(angles[0])], -1)
    rays = {
        "a": (rng.standard_normal((points, trps, 2, 2, paths, 2)) @ [1, 1j]).astype(np.complex64),
        "tau": rng.uniform(0, 1e-6, shape[1:]).astype(np.float32),
        "k_t": k[0].astype(np.float32),
        "k_r": k[1].astype(np.float32),
        "rotation": np.array(
            [np.eye(3), [[0, -1, 0], [1, 0, 0], [0, 0, 1]]]
        ),  # the second faces y, its columns go to -x
    }
    monkeypatch.setattr(site, "site_paths", lambda request: rays)
    g = geometry(
        panel=TrpPanels(2, 3, 2, trps),
        num_users=1,
        num_rx_ant=12,
        ue_num_pol=2,
        ue_num_rows=2,
        num_slots=1,
        speed_mps=0.0,
    )
    source = TracedSite(g, **{**SEVERAL, "num_points": points})
    h, point = source.sample(2, seed=1), source._picks(2, 1)[:, 0]
    sums = np.zeros(h.shape, np.complex128)
    for b, r, p, n, m in np.ndindex(2, 12, 24, 16, paths):
        ue, ue_column, ue_row = np.unravel_index(r, (2, 3, 2))
        trp, bs, bs_column, bs_row = np.unravel_index(p, (2, 2, 2, 3))
        at = point[b], trp, m
        x, y, z = rays["k_t"][at].astype(float)
        turns = np.array([ue_column - 1, ue_row - 0.5]) / 2 @ rays["k_r"][at][1:].astype(float)
        turns += ((bs_column - 0.5) * (-x if trp else y) + (bs_row - 1) * z) / 2
        turns -= g.frequencies_hz[n] * rays["tau"][at].astype(float)
        sums[b, 0, r, p, 0, n] += rays["a"][point[b], trp, ue, bs, m] * np.exp(2j * np.pi * turns)
    assert_close(h, sums, OFDM)


def test_a_site_is_traced_once_and_serves_any_panel(site_cache, monkeypatch):
    TracedSite(geometry(), **SITE)
    monkeypatch.setattr(site_trace, "_trace_in_child", lambda *_: pytest.fail("traced again"))
    source = TracedSite(geometry(panel=Panel(8, 4, 2), num_rx_ant=4, ue_num_rows=4, num_users=2), **SITE)
    h = source.sample(5, seed=1)
    assert h.shape == (5, 2, 4, 64, 2, 16) and np.isfinite(h).all() and (np.abs(h).max(axis=(2, 3, 4, 5)) > 0).all()
    np.testing.assert_array_equal(h, source.sample(5, seed=1))
    users = source.labels(5, seed=1)["user"]
    assert all(len(set(row)) == 2 for row in users.tolist()) and users.max() < SITE["num_points"]


@pytest.mark.long
def test_a_damaged_cache_file_is_named_and_traced_again(site_cache, capsys):
    TracedSite(geometry(), **SITE)
    file = site_trace._file(site_trace.site_request(geometry(), **SITE))
    before, content = dict(np.load(file)), file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    TracedSite(geometry(), **SITE)
    assert f"{file.name}: damaged" in capsys.readouterr().err
    after = dict(np.load(file))
    assert before.keys() == after.keys() and all(np.array_equal(before[key], after[key]) for key in before)


@pytest.mark.long
def test_no_coverage_is_a_clear_error(site_cache):
    with pytest.raises(StoreError, match=r"ray tracing failed.*(have a path|coverage)"):
        TracedSite(geometry(), **{**SITE, "num_points": 3, "num_rays": 1000, "max_depth": 1, "ue_height_m": -40.0})


@pytest.mark.long
def test_stations_have_equal_shares_of_the_ues(site_cache):
    """UEs are where a station is the strongest, as many for each; one that is so nowhere is an error."""
    site = TracedSite(geometry(panel=TrpPanels(1, 1, 2, 2)), **{**SEVERAL, "num_points": 200})._site
    power = np.sum(np.abs(site["a"]) ** 2, axis=(2, 3, 4))
    share = (power.argmax(axis=1) == 0).mean()
    assert 0.4 < share < 0.6 and (power > 0).any(axis=1).all()
    far = ((-35.0, 0.0, 25.0), (-3000.0, 900.0, 25.0))
    with pytest.raises(StoreError, match=r"ray tracing failed.*station 2 has no coverage, or another is stronger"):
        TracedSite(geometry(panel=TrpPanels(1, 1, 2, 2)), **{**SEVERAL, "bs_position_m": far})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"bs_position_m": SITE["bs_position_m"]},
            r"bs_position_m.*1 point.*2, one for each station \(bs\.num_trps\)$",
        ),
        ({"look_at_m": 3 * SEVERAL["look_at_m"][:1]}, r"look_at_m.*3 point.*2, one for each .*, or 1 for all"),
        ({"bs_position_m": ((1.0, 2.0), (3.0, 4.0, 5.0))}, r"bs_position_m\.0\.2"),
    ],
)
def test_a_point_for_each_station(changes, words):
    with pytest.raises(ConfigError, match=words):
        TracedSite(geometry(panel=TrpPanels(1, 1, 2, 2)), **{**SEVERAL, **changes})


def test_one_station_keeps_its_hash():
    """A point alone, or in a list of one, is what it was; one target serves all stations."""
    one, listed = (
        parse_channel({"model": "site", **SITE, "bs_position_m": place, "look_at_m": SITE["look_at_m"]})
        for place in (list(SITE["bs_position_m"]), [SITE["bs_position_m"]])
    )
    assert one.model_dump(mode="json") == listed.model_dump(mode="json")
    assert one.model_dump(mode="json")["bs_position_m"] == [-35.0, 0.0, 25.0]
    shared = {**SEVERAL, "look_at_m": (1.0, 2.0, 3.0)}
    request = site_trace.site_request(geometry(panel=TrpPanels(1, 1, 2, 2)), **shared)
    assert request.look_at_m == ((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))


def test_broken_llvm_is_named_and_the_next_one_taken(tmp_path, monkeypatch):
    llvm.working_llvm.cache_clear()
    broken = tmp_path / "libLLVM-99.so"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(llvm, "candidates", lambda: [str(broken)])
    with pytest.raises(StoreError, match=r"libLLVM-99\.so \(.*apt-get install libllvm19"):
        llvm.working_llvm()
    llvm.working_llvm.cache_clear()


@pytest.mark.long
def test_consecutive_seeds_share_nothing(site_cache):
    """Neither the UEs of a site (found in batches of 250), nor those that drops draw."""
    g = geometry(num_users=1, num_slots=1)
    first, second = (TracedSite(g, **{**SITE, "num_points": 251, "site_seed": seed}) for seed in (1, 2))
    places = [{tuple(place) for place in site._site["position_m"].tolist()} for site in (first, second)]
    assert len(places[0]) > 240 and not places[0] & places[1]
    assert_independent([first.labels(128, seed=seed)["position_m"][:, 0, 0] for seed in range(1, 101)])
