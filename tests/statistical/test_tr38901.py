"""Our TR 38.901 drops against the standard's values at 5 sigma; every corrected fault, put back, is noticed."""

import numpy as np
import pytest

from benchmarks.channels import reference as ref
from benchmarks.channels.drops import KINDS, check_drops, check_heights
from benchmarks.channels.line_of_sight import check_line_of_sight
from benchmarks.channels.profiles import check_profile, profile
from benchmarks.channels.rays import STATES, check_delay_spread, check_rays, delay_spread
from simulator.core.errors import ConfigError
from simulator.core.types import Panel, RadioGeometry

pytestmark = pytest.mark.statistical

SYSTEM = (
    "ray-offsets", "indoor-distance", "effective-height", "los-zenith", "indoor-los", "distance-3d", "rma-zod-offset",
    "weak-clusters", "link-rays", "sub-clusters",
)  # fmt: skip
# Typed from TR 38.901, Table 7.7.2-1 (TDL-A): normalised delay, power [dB].
TDL_A = """0 -13.4 0.3819 0 0.4025 -2.2 0.5868 -4 0.4610 -6 0.5375 -8.2 0.6708 -9.9 0.5750 -10.5 0.7618 -7.5
1.5375 -15.9 1.8978 -6.6 2.2242 -16.7 2.1718 -12.4 2.4942 -15.2 2.5119 -10.8 3.0582 -11.3 4.0810 -12.7 4.4579 -16.2
4.5695 -18.3 4.7966 -18.9 5.0066 -16.6 5.3043 -19.9 9.6586 -29.7"""


def test_tables_are_those_of_the_standard():
    delay, power_db = np.array(TDL_A.split(), float).reshape(-1, 2).T
    for kind in ("TDL", "CDL"):
        table = profile(kind, "A")
        np.testing.assert_array_equal(table["delays"], delay)
        np.testing.assert_allclose(10 * np.log10(table["powers"] / table["powers"].max()), power_db, atol=1e-9)
        for name in "ABCDE":
            table = profile(kind, name)
            assert abs(delay_spread(table["delays"], table["powers"]) - 1) < 0.01
    # Table 7.7.1-1 and -4: first and strongest cluster of CDL-A, specular path of CDL-D.
    a, d = profile("CDL", "A"), profile("CDL", "D")
    assert [a[key][0] for key in ("aod", "aoa", "zod", "zoa")] == [-178.1, 51.3, 50.2, 125.4]
    assert [a[key][1] for key in ("aod", "aoa", "zod", "zoa")] == [-4.2, -152.7, 93.2, 91.3]
    assert [d[key][0] for key in ("aod", "aoa", "zod", "zoa")] == [0, -180, 98.5, 81.5]
    assert (a["cASD"], a["cASA"], a["cZSD"], a["cZSA"], a["xpr"]) == (5, 11, 3, 3, 10)
    # Table 7.5-3 has rms 1 and sum 0 ("given for rms angle spread normalized to 1").
    assert abs(np.sqrt(np.mean(ref.RAY_OFFSETS**2)) - 1) < 1e-4 and abs(ref.RAY_OFFSETS.sum()) < 1e-12


def test_reference_values_by_hand():
    """Path losses, penetration and heights worked out on paper from Tables 7.4.1-1, 7.4.3-1 and 7.4.3-2."""
    near, far = np.array(10.0), np.array(100.0)  # before and beyond the breakpoint, 60 m at 1 GHz in UMi
    assert abs(ref.path_loss("umi", True, near, near, np.array(1.5), 10.0, 1.0) - (32.4 + 21)) < 1e-12
    beyond = 32.4 + 80 - 9.5 * np.log10((4 * 9 * 0.5 * 1e9 / 299792458) ** 2 + 8.5**2)
    assert abs(ref.path_loss("umi", True, far, far, np.array(1.5), 10.0, 1.0) - beyond) < 1e-9
    assert abs(ref.path_loss("uma", False, far, far, np.array(1.5), 25.0, 1.0) - (13.54 + 78.16)) < 1e-12
    assert abs(ref.wall_loss(3.5) - 12.697) < 0.001  # 5 - 10 lg(.3 10^-.27 + .7 10^-1.9)
    assert set(ref.height_shares(500.0, 22.5)) == {1, 12, 15, 18, 21}
    assert abs(ref.los_probability("umi", np.array(36.0), 1.5) - (0.5 + np.exp(-1) / 2)) < 1e-12


def in_order(rows):
    assert rows and all(abs(row["z"]) < 5 for row in rows), [row for row in rows if abs(row["z"]) >= 5]


@pytest.mark.long
@pytest.mark.parametrize("name", "ABCDE")
@pytest.mark.parametrize("kind", ["tdl", "cdl"])
def test_profiles(kind, name):
    in_order(check_profile(kind, name, 4000 if kind == "tdl" else 600))


@pytest.mark.parametrize(("kind", "carrier_hz"), [("umi", 3.5e9), ("umi", 28e9), ("uma", 3.5e9), ("rma", 3.5e9)])
def test_drops(kind, carrier_hz):
    in_order(check_drops(kind, 8000, carrier_hz))


@pytest.mark.long
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", KINDS)
def test_rays(kind, state):
    in_order(check_rays(kind, state, 150))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_line_of_sight(kind):
    in_order(check_line_of_sight(kind, 200))


def test_heights():
    in_order(check_heights(8000))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.long
def test_delay_spread(kind):
    in_order(check_delay_spread(kind, 500, 3.5e9))


def _drops(kind):
    return lambda c: check_drops(kind, 2000, corrections=c)


def _rays(kind, state, drops=50):
    return lambda c: check_rays(kind, state, drops, corrections=c)


# Correction, the check that must notice when it is off, and its row.
FAULTS = [
    ("ray-offsets", _rays("umi", "nlos"), "ray offsets of AOD"),
    ("indoor-distance", _drops("uma"), "indoor distance"),
    ("effective-height", lambda c: check_heights(2000, c), "share of effective height 12 m"),
    ("los-zenith", _drops("umi"), "angles of arrival"),
    ("los-zenith", lambda c: check_line_of_sight("umi", 50, corrections=c), "LOS path: phase of a slot"),
    ("indoor-los", _drops("umi"), "LOS probability, indoor"),
    ("indoor-los", _drops("uma"), "path gain, indoor"),
    ("distance-3d", _drops("umi"), "basic path loss"),
    ("rma-zod-offset", _drops("rma"), "offset of ZOD"),
    ("weak-clusters", _rays("uma", "nlos"), "share of clusters below -25 dB"),
    ("link-rays", _rays("uma", "nlos", 100), "sides of the clusters"),
    ("sub-clusters", _rays("umi", "o2i"), "offsets of the third sub-cluster"),
    ("los-phase", lambda c: check_profile("cdl", "D", 200, corrections=c), "phase of the specular path"),
]


@pytest.mark.parametrize(("name", "check", "quantity"), FAULTS, ids=[f"{f[0]}: {f[2]}" for f in FAULTS])
@pytest.mark.long
def test_a_fault_put_back_is_noticed(name, check, quantity):
    every = SYSTEM if name in SYSTEM else ("los-phase",)
    assert not any(abs(r["z"]) > 5 for r in check(every))
    noticed = {r["quantity"] for r in check(tuple(c for c in every if c != name)) if abs(r["z"]) > 5}
    assert any(text.startswith(quantity) for text in noticed), noticed


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        ({"aod": 10.0}, "departure: correlation of columns"),
        ({"zod": 10.0}, "departure: correlation of rows"),
        ({"aoa": 20.0}, "arrival: correlation of columns"),
        ({"zoa": 20.0}, "arrival: correlation of rows"),
        ({"powers": 1.6}, "power of cluster"),
        ({"delays": 0.05}, "cluster delays"),
    ],
)
@pytest.mark.long
def test_a_wrong_entry_is_noticed(change, noticed):
    """The third cluster of CDL-B, moved: 10 or 20 degrees, 2 dB, 5 ns."""
    table = profile("CDL", "B")
    ((key, by),) = change.items()
    values = np.array(table[key], float)
    values[2] = values[2] * by if key == "powers" else values[2] + by
    rows = check_profile("cdl", "B", 500, {**table, key: values})
    assert any(abs(row["z"]) > 5 and row["quantity"].startswith(noticed) for row in rows), rows


@pytest.mark.parametrize("key", ["ds", "asd", "asa", "zsa", "sf", "xpr"])
@pytest.mark.long
def test_a_wrong_large_scale_parameter_is_noticed(monkeypatch, key):
    entry = ref.TABLE["uma", "nlos"][key]
    if key == "sf":
        wrong = entry * 1.2
    elif key == "xpr":
        wrong = (entry[0] + 1.0, entry[1])
    else:
        wrong = ((*entry[0][:2], entry[0][2] + 0.1), entry[1])
    monkeypatch.setitem(ref.TABLE["uma", "nlos"], key, wrong)
    rows = check_rays("uma", "nlos", 50) if key == "xpr" else check_drops("uma", 8000)
    assert any(abs(row["z"]) > 5 and row["quantity"].endswith(key.upper()) for row in rows)


class TestCorrections:
    def test_every_one_has_a_fault_and_a_probe(self):
        from simulator.phy import tr38901_corrections as known
        from simulator.phy.tr38901_probe import PROBES

        assert known.SYSTEM == SYSTEM and {name for name, *_ in FAULTS} == {*known.SYSTEM, *known.CDL} == set(PROBES)

    @pytest.mark.long
    def test_sionna_1_2_needs_all_and_a_corrected_one_none(self, monkeypatch):
        """A version that has a correction switches ours off: here our own classes stand for it."""
        from simulator.phy import tr38901_probe as probe
        from simulator.phy.tr38901_rays import CorrectedRays
        from simulator.phy.tr38901_scenario import CorrectedRMa, CorrectedUMa

        assert all(ask() for ask in probe.PROBES.values())
        monkeypatch.setattr(probe, "UMaScenario", CorrectedUMa)
        monkeypatch.setattr(probe, "RMaScenario", CorrectedRMa)
        monkeypatch.setattr(probe, "RaysGenerator", CorrectedRays)
        probe._rays.cache_clear()
        assert {name for name, ask in probe.PROBES.items() if ask()} == {"los-phase"}
        probe._rays.cache_clear()

    def test_names_reach_the_source(self):
        from simulator.core import registry

        geometry = RadioGeometry(
            carrier_hz=3.5e9, panel=Panel(1), num_users=1, num_rx_ant=1, num_subcarriers=2, spacing_hz=30e3
        )
        assert registry.build("channels", "umi", geometry).corrections == SYSTEM
        assert registry.build("channels", "umi", geometry, corrections=("link-rays",)).corrections == ("link-rays",)
        assert registry.build("channels", "cdl", geometry, profile="D").corrections == ("los-phase",)
        assert registry.build("channels", "cdl", geometry, profile="C").corrections == ()
        with pytest.raises(ConfigError, match="corrections"):
            registry.build("channels", "umi", geometry, corrections=("typo",))
        with pytest.raises(ConfigError, match="ue_floors"):
            registry.build("channels", "rma", geometry, ue_floors=True)

    def test_floors_of_indoor_ues(self):
        """TR 36.873, Table 6-1: N uniform in 4..8, floor uniform in 1..N: mean 3 (E[N] - 1) / 2 + 1.5 m."""
        from simulator.core import registry
        from simulator.phy.sionna_env import set_seed

        geometry = RadioGeometry(
            carrier_hz=3.5e9, panel=Panel(1), num_users=1, num_rx_ant=1, num_subcarriers=2, spacing_hz=30e3
        )
        source = registry.build("channels", "uma", geometry, ue_floors=True)
        set_seed(1)
        source.drop(5000)
        scenario = source._model._scenario
        height, indoor = scenario.h_ut.numpy().ravel(), scenario.indoor.numpy().ravel()
        assert set(np.round(height[~indoor], 3)) == {1.5}
        assert set(np.round(height[indoor], 3)) == {1.5 + 3 * k for k in range(8)}
        inside = height[indoor].astype(float)
        assert abs(inside.mean() - 9.0) < 5 * inside.std() / np.sqrt(len(inside))
