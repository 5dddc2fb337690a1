"""E|h|^2 of every channel law against draws, NumPy loops and closed forms; the factor that all runs share."""

import json
import os
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
import tensorflow as tf
from tolerances import SIGMAS, assert_mean

from benchmarks import normalization
from benchmarks.build import ChannelDraw
from benchmarks.normalization import MeanPower, mean_power, mixed
from scenarios.channels import parse_channel
from scenarios.schema import parse_scenario
from scenarios.sweep import Point
from simulator.core import registry
from simulator.core.interfaces import ChannelSource
from simulator.core.types import Panel, RadioGeometry
from simulator.data.layout import ChannelLayout
from simulator.data.writer import StoreWriter
from simulator.phy import sector_power

pytestmark = pytest.mark.statistical


def geometry(**changes):
    values = {"panel": Panel(1, 1, 2), "num_users": 1, "num_rx_ant": 1, "num_subcarriers": 1, "spacing_hz": 360e3}
    return RadioGeometry(3.5e9, **{**values, **changes})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CSILINK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "power"


def files(cache):
    return sorted(path for path in cache.iterdir() if path.suffix == ".json")


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "params", "changes"),
    [
        ("rayleigh", {"taps": 3}, {"num_subcarriers": 4}),
        ("tdl", {"profile": "A"}, {}),
        ("tdl", {"profile": "D"}, {}),
        ("tdl", {"profile": "C", "angle_spread_deg": 10.0}, {"panel": Panel(4, 1, 1)}),
        pytest.param("cdl", {"profile": "C"}, {"panel": Panel(1), "antenna_pattern": "omni"}, marks=pytest.mark.long),
        pytest.param("cdl", {"profile": "D"}, {"antenna_pattern": "omni"}, marks=pytest.mark.long),
        pytest.param(
            "cdl",
            {"profile": "E"},
            {"panel": Panel(1), "num_rx_ant": 2, "ue_num_pol": 2, "antenna_pattern": "omni"},
            marks=pytest.mark.long,
        ),
    ],
)
def test_closed_forms(name, params, changes, eager):
    source = registry.build("channels", name, geometry(**changes), **params)
    h = source.sample(2000 if name == "cdl" else 5000, seed=1)
    assert_mean(np.mean(np.abs(h) ** 2, axis=(1, 2, 3, 4, 5)), source.mean_power())


@pytest.mark.long
def test_of_a_store(tmp_path):
    """Slots in the middle are in more windows than those at the ends; unused antennas and subcarriers do not count."""
    layout = ChannelLayout(Panel(2, 1, 1), 6, 30e3, num_rx_ant=2, num_slots=4, slot_s=1e-3)
    rng = np.random.default_rng(0)
    h = (rng.standard_normal((40, *layout.entry_shape, 2)) @ [1, 1j]).astype(np.complex64)
    h *= rng.gamma(0.3, size=h.shape).astype(np.float32)
    with StoreWriter(tmp_path / "s", layout, name="s") as writer:
        writer.add("test", h, {"site": np.repeat([0, 1, 2], [20, 19, 1])})
        writer.finish({"made": "by a test"})
    g = RadioGeometry(3.5e9, layout.panel, 2, 1, 3, 60e3, num_slots=3, slot_s=1e-3)
    source = registry.build("channels", "recorded", g, store=str(tmp_path / "s"), group_by="site")
    total = 0.0
    for sample in range(39):  # the only UE of site 2 is never drawn with another
        for start in range(2):
            for slot in range(start, start + 3):
                for port in range(2):
                    for n in (0, 2, 4):
                        total += abs(complex(h[sample, 0, port, slot, n])) ** 2
    assert source.mean_power() == pytest.approx(total / (39 * 2 * 3 * 2 * 3), rel=1e-6)
    drawn = source.sample(20_000, seed=1)
    assert_mean(np.mean(np.abs(drawn) ** 2, axis=(1, 2, 3, 4, 5)), source.mean_power())


@pytest.fixture
def halved(monkeypatch):
    """Estimates of half as many drops, whose variance is twice that of ours."""
    for name in ("_POSITIONS", "_DROPS"):
        monkeypatch.setattr(sector_power, name, getattr(sector_power, name) // 2)


@pytest.mark.long
def test_of_a_sector_without_path_loss(eager, halved):
    """Element gains, K-factors and polarisations: moderate spread, so that plain draws say something."""
    source = registry.build("channels", "umi", geometry(), pathloss=False)
    h = source.sample(1500, seed=5)
    power = np.mean(np.abs(h) ** 2, axis=(1, 2, 3, 4, 5))
    found = list(islice(source.power_estimates(), 6))
    error = np.hypot(power.std() / np.sqrt(len(power)), np.std(found, ddof=1) / np.sqrt(6))
    assert abs(power.mean() - np.mean(found)) < SIGMAS * error
    assert error / power.mean() < 0.08


def estimates_needed(found):
    """Number for a 95 % half-width of 0.05 dB, by the spread of a few halved ones (known to 30 %)."""
    return 0.5 * (1.96 * np.std(found, ddof=1) / np.mean(found) / (10 ** (normalization.HALF_WIDTH_DB / 10) - 1)) ** 2


@pytest.mark.long
@pytest.mark.parametrize("name", ["uma", "rma"])
def test_of_a_sector(name, halved):
    """Full coefficients of the same importance sample: path loss and shadowing, without control by their known mean."""
    source = registry.build("channels", name, geometry())
    direct = sector_power._power

    def drawn(model):
        a, _ = model(1, 1e3)
        return tf.reduce_sum(tf.reduce_mean(tf.abs(a[:, 0, :, 0]) ** 2, axis=[1, 2]), axis=[1, 2]).numpy().astype(float)

    found = list(islice(source.power_estimates(), 6))
    sector_power._power = drawn
    try:
        full = list(islice(source.power_estimates(), 5))
    finally:
        sector_power._power = direct
    error = np.hypot(np.std(found, ddof=1) / np.sqrt(6), np.std(full, ddof=1) / np.sqrt(5))
    assert abs(np.mean(full) - np.mean(found)) < SIGMAS * error
    assert error / np.mean(found) < 0.1
    assert estimates_needed(found) < 200


@pytest.mark.long
def test_few_estimates_are_needed(halved):
    """For 0.05 dB: some 40 of UMi; the limit is 1000."""
    assert estimates_needed(list(islice(registry.build("channels", "umi", geometry()).power_estimates(), 6))) < 200


class Known(ChannelSource):
    """Gaussian of variance 4 whose law is not told."""

    def __init__(self, geometry):
        self.calls = 0

    def sample(self, batch_size, *, seed, first=0):
        self.calls += 1
        x = np.random.default_rng(seed).standard_normal((batch_size, 1, 1, 8, 1, 16, 2))
        return (x @ [1, 1j] * np.sqrt(2)).astype(np.complex64)


def test_the_interval_covers_the_truth(tmp_path):
    found = normalization._found(Known(None), tmp_path)
    assert 0 < found.half_width_db < 0.05 and found.estimates >= 20
    assert abs(10 * np.log10(found.value / 4)) < 2.5 * found.half_width_db


def test_a_file_is_used_again(cache, monkeypatch):
    channel = parse_channel({"model": "rayleigh"})
    first = mean_power(channel, geometry())
    (path,) = files(cache)
    content = path.read_bytes()
    assert first == MeanPower(1.0, 0.0, 0) == MeanPower(**json.loads(content))
    monkeypatch.setattr(normalization, "_found", lambda *_: pytest.fail("found a second time"))
    assert mean_power(channel, geometry()) == first
    assert files(cache) == [path] and path.read_bytes() == content
    with pytest.raises(pytest.fail.Exception):  # another law, another file
        mean_power(parse_channel({"model": "rayleigh", "taps": 2}), geometry(num_subcarriers=2))


def test_one_file_for_all_sizes_of_a_panel():
    kind, channel = registry.load("channels", "umi"), parse_channel({"model": "umi"})
    keys = {
        str(normalization._identity(kind, channel, normalization._one_element(geometry(panel=panel, num_users=users))))
        for panel, users in ((Panel(8, 2, 2), 4), (Panel(1, 1, 2), 2))
    }
    assert len(keys) == 1
    changed = normalization._identity(kind, parse_channel({"model": "umi", "isd_m": 300.0}), geometry())
    assert str(changed) not in keys


@pytest.mark.long
def test_two_processes_at_once(cache):
    code = (
        "from benchmarks.normalization import mean_power; from scenarios.channels import parse_channel\n"
        "from simulator.core.types import Panel, RadioGeometry\n"
        "print(mean_power(parse_channel({'model': 'rayleigh'}), RadioGeometry(3.5e9, Panel(1), 1, 1, 1, 360e3)))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ) for _ in range(2)]
    assert len({run.communicate()[0] for run in runs}) == 1 and not any(run.returncode for run in runs)
    assert len(files(cache)) == 1 and not [path for path in cache.iterdir() if path.name.startswith(".")]


def test_mixtures():
    found = mixed([MeanPower(1.0, 0.0, 0), MeanPower(3.0, 10 * np.log10(1.01), 30)], [1.0, 3.0])
    assert found.value == pytest.approx(2.5)
    assert found.half_width_db == pytest.approx(10 * np.log10(1 + 0.01 * 2.25 / 2.5))


def scenario(seed, **changes):
    return parse_scenario(
        {
            "name": "a",
            "seed": seed,
            "carrier": {"carrier_hz": 3.5e9, "num_rb": 1},
            "bs": {"n1": 1, "n2": 1, "num_pol": 2},
            "channel": {"model": "umi"},
            "normalization": "per_dataset",
            "feedback": [{"scheme": "perfect"}],
            "snr_db": [20],
            **changes,
        }
    )


@pytest.mark.long
def test_seeds_agree(eager, monkeypatch):
    """One factor for all seeds, here a rough one; rates of three seeds agree within their intervals."""
    monkeypatch.setattr(normalization, "HALF_WIDTH_DB", 0.3)
    monkeypatch.setattr(normalization, "_LEAST", 4)
    draws = [ChannelDraw(Point(scenario(seed), {})) for seed in (1, 2, 3)]
    rates, scales = [], []
    for draw in draws:
        h = draw.block(0, 100)
        scales.append(draw._scale)
        rates.append(np.log2(1 + 100 * np.sum(np.abs(h[:, 0, 0, :, 0, 0]) ** 2, axis=1)))
    assert len(set(scales)) == 1
    assert mean_power(parse_channel({"model": "umi"}), scenario(1).geometry).half_width_db < 0.3
    for a, b in ((0, 1), (0, 2), (1, 2)):
        error = np.hypot(*(np.std(rates[i]) / np.sqrt(len(rates[i])) for i in (a, b)))
        assert abs(np.mean(rates[a]) - np.mean(rates[b])) < 3 * error
