"""Stores: written atomically, read in part, split and mixed without leaks; recorded channels in the link."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks import cli
from benchmarks.dataset_info import describe, draw_example
from receivers.training.data.images import ImageView, load_images
from receivers.training.data.stream import StreamedImages, in_noise
from simulator.core.errors import ConfigError, StoreError
from simulator.core.types import Panel, RadioGeometry
from simulator.data.importer import Importer, import_store
from simulator.data.layout import ChannelLayout
from simulator.data.rearrange import mix_stores, split_store
from simulator.data.recorded import RecordedChannels
from simulator.data.statistics import angular_spread_deg, beam_power, rms_delay_spread_s
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter
from simulator.maths.transforms import to_angular_delay

LAYOUT = ChannelLayout(Panel(4, 2, 2), 24, 30e3, num_rx_ant=2, num_slots=3, slot_s=1e-3, carrier_hz=3.5e9)


def gaussian(seed, count, layout=LAYOUT):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, *layout.entry_shape, 2)) @ [1, 1j]).astype(np.complex64)


def written(folder, *, layout=LAYOUT, seed=0, splits=(("train", 50), ("test", 23)), shard_samples=8, **labels):
    with StoreWriter(folder, layout, name=folder.name, shard_samples=shard_samples) as writer:
        for number, (split, count) in enumerate(splits):
            h = gaussian([seed, number], count, layout)
            known = {key: make(count) for key, make in labels.items()}
            for start in range(0, count, 11):  # blocks do not match shards
                piece = slice(start, start + 11)
                writer.add(split, h[piece], {key: value[piece] for key, value in known.items()})
        writer.finish({"made": "by a test"})
    return ChannelStore(folder)


def everything(store, split):
    return np.concatenate([h for h, _ in store.read(split)])


def geometry(layout=LAYOUT, **changes):
    values = {
        "carrier_hz": 3.5e9, "panel": layout.panel, "num_users": 3, "num_rx_ant": layout.num_rx_ant,
        "num_subcarriers": layout.num_subcarriers, "spacing_hz": layout.spacing_hz, "num_slots": layout.num_slots,
        "slot_s": 1e-3,
    }  # fmt: skip
    return RadioGeometry(**{**values, **changes})


def test_what_is_written_is_read(tmp_path):
    store = written(tmp_path / "s", user=np.arange)
    assert store.layout == LAYOUT and store.name == "s" and store.origin == {"made": "by a test"}
    assert [s["num_samples"] for s in store.shards["train"]] == [8] * 6 + [2]
    for number, (split, count) in enumerate((("train", 50), ("test", 23))):
        truth = gaussian([0, number], count)
        np.testing.assert_array_equal(everything(store, split), truth)
        np.testing.assert_array_equal(store.labels(split)["user"], np.arange(count))
        index = np.random.default_rng(1).integers(0, count, (7, 4))
        np.testing.assert_array_equal(store.take(split, index), truth[index])
    assert not list(tmp_path.glob(".s*"))


@pytest.mark.parametrize("moment", ["before any block", "after a block", "in finish"])
def test_an_interrupted_import_leaves_nothing(tmp_path, moment):
    class Broken(Importer):
        layout, files, splits = LAYOUT, (), ("all",)

        def blocks(self, split):
            if moment == "before any block":
                raise StoreError("bad file")
            yield gaussian(1, 20), {}
            if moment == "after a block":
                raise KeyboardInterrupt

        def facts(self):
            raise StoreError("late")

    with pytest.raises((StoreError, KeyboardInterrupt)):
        import_store(Broken(), tmp_path / "s", name="s", origin={})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match="no finished store here"):
        ChannelStore(tmp_path / "s")


def test_a_killed_import_leaves_no_store(tmp_path):
    """Kill -9 in the middle: whatever is left cannot be opened, and the import can be run again."""
    code = f"""
import sys, time, numpy as np
sys.path.insert(0, {str(tmp_path)!r})
from pathlib import Path
from simulator.core.types import Panel
from simulator.data.layout import ChannelLayout
from simulator.data.writer import StoreWriter
layout = ChannelLayout(Panel(2), 4, 1e4)
with StoreWriter(Path({str(tmp_path / "s")!r}), layout, name="s", shard_samples=2) as writer:
    writer.add("all", np.ones((9, 1, 2, 1, 4), np.complex64))
    print("added", flush=True)
    time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "added\n"
    time.sleep(0.3)
    child.kill()
    child.wait()
    with pytest.raises(StoreError, match="no finished store here"):
        ChannelStore(tmp_path / "s")
    assert written(tmp_path / "s").num_samples("train") == 50


def test_a_store_is_not_overwritten(tmp_path):
    written(tmp_path / "s")
    with pytest.raises(StoreError, match="exists already"):
        written(tmp_path / "s")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "manifest.json").write_text("{"), "not a store manifest"),
        (lambda f: (f / "manifest.json").write_text("[]"), "not a store manifest"),
        (lambda f: (f / "manifest.json").write_text(json.dumps({"format": 1})), "store format 1"),
        (lambda f: (f / "manifest.json").unlink(), "no finished store here"),
        (lambda f: (f / "test-00000.h5").unlink(), r"test-00000\.h5: shard named in the manifest is missing"),
        (lambda f: (f / "test-00000.h5").write_bytes(b"x"), r"test-00000\.h5: damaged, SHA-256"),
    ],
)
def test_damaged_stores_are_named(tmp_path, damage, message):
    written(tmp_path / "s")
    damage(tmp_path / "s")
    with pytest.raises(StoreError, match=message):
        ChannelStore(tmp_path / "s")


# Split and mix.


@pytest.mark.long
def test_split_by_user_keeps_users_together(tmp_path):
    store = written(tmp_path / "s", user=lambda n: np.arange(n) % 13, splits=(("all", 300),))
    new = split_store(store, tmp_path / "n", shares={"train": 8, "val": 1, "test": 1}, by="user", seed=3)
    users = {name: set(new.labels(name)["user"].tolist()) for name in new.shards}
    assert sum(map(len, users.values())) == 13 == len(set.union(*users.values()))
    assert sum(new.num_samples(name) for name in new.shards) == 300 and new.num_samples("train") > 200
    truth = gaussian([0, 0], 300)
    keyed = {x.tobytes(): i for i, x in enumerate(truth)}
    for name in new.shards:
        for x, user in zip(everything(new, name), new.labels(name)["user"], strict=True):
            assert keyed[x.tobytes()] % 13 == user
    again = split_store(store, tmp_path / "m", shares={"train": 8, "val": 1, "test": 1}, by="user", seed=3)
    assert again.hash == new.hash
    other = split_store(store, tmp_path / "o", shares={"train": 8, "val": 1, "test": 1}, by="user", seed=4)
    assert other.hash != new.hash


def test_split_shares_are_met(tmp_path):
    store = written(tmp_path / "s", splits=(("a", 150), ("b", 150)))
    new = split_store(store, tmp_path / "n", shares={"train": 0.8, "test": 0.2})
    assert {name: new.num_samples(name) for name in new.shards} == {"train": 240, "test": 60}


def test_impossible_splits_are_named(tmp_path):
    store = written(tmp_path / "s", user=lambda n: np.arange(n) % 2)
    with pytest.raises(ConfigError, match="--by: got 'site'; allowed: sample, user"):
        split_store(store, tmp_path / "n", shares={"a": 1, "b": 1}, by="site")
    with pytest.raises(ConfigError, match="at most 2, the number of different users"):
        split_store(store, tmp_path / "n", shares={"a": 1, "b": 1, "c": 1}, by="user")
    assert not (tmp_path / "n").exists()


def test_mix_by_weight(tmp_path):
    stores = [written(tmp_path / name, seed=number) for number, name in enumerate("ab")]
    mixed = mix_stores([(stores[0], 1.0), (stores[1], 2.0)], tmp_path / "m", seed=5)
    for split, count in (("train", 50), ("test", 23)):
        part, h = mixed.labels(split)["part"], everything(mixed, split)
        assert np.bincount(part).tolist() == [count // 2, count]
        known = [{x.tobytes() for x in everything(store, split)} for store in stores]
        assert all(x.tobytes() in known[p] for x, p in zip(h, part, strict=True))
        assert len({x.tobytes() for x in h}) == len(h)
    assert mixed.origin["parts"] == ["a", "b"]


def test_stores_of_other_layouts_do_not_mix(tmp_path):
    other = ChannelLayout(**{**vars(LAYOUT), "num_subcarriers": 12})
    stores = [written(tmp_path / "a"), written(tmp_path / "b", layout=other)]
    with pytest.raises(ConfigError, match="num_subcarriers 12'; allowed: num_subcarriers 24"):
        mix_stores([(store, 1.0) for store in stores], tmp_path / "m")


# In the link.


def test_recorded_drops_are_stored_samples(tmp_path):
    store = written(tmp_path / "s")
    source = RecordedChannels(geometry(), store=str(store.folder))
    h = source.sample(40, seed=9)
    assert h.shape == (40, 3, 2, 16, 3, 24) and h.dtype == np.complex64
    known = {x.tobytes() for x in everything(store, "test")}
    for drop in h:
        users = {np.ascontiguousarray(user).tobytes() for user in drop}
        assert len(users) == 3 and users <= known
    np.testing.assert_array_equal(h, source.sample(40, seed=9))
    assert not np.array_equal(h, source.sample(40, seed=10))


def test_recorded_part_of_the_grid_and_of_time(tmp_path):
    """Every second of the middle 22 of 24 subcarriers, one antenna, windows of two slots."""
    store = written(tmp_path / "s")
    g = geometry(num_subcarriers=11, spacing_hz=60e3, num_rx_ant=1, num_slots=2, num_users=1)
    h = RecordedChannels(g, store=str(store.folder)).sample(30, seed=2)
    truth = everything(store, "test")[:, :1, :, :, 1:22:2]
    windows = [truth[:, :, :, start : start + 2] for start in (0, 1)]
    for x in h[:, 0]:
        assert any((window == x).all(axis=(1, 2, 3, 4)).any() for window in windows)


@pytest.mark.parametrize("num_subcarriers", [24, 48, 12])
def test_angular_delay_images_become_channels(tmp_path, num_subcarriers):
    """Against the explicit double sum over delays and angles, for the recorded and for other grids."""
    layout = ChannelLayout(Panel(4, 1, 1), 24, 30e3, num_delays=6)
    store = written(tmp_path / "s", layout=layout)
    g = geometry(layout, num_subcarriers=num_subcarriers, spacing_hz=24 * 30e3 / num_subcarriers, num_users=1)
    h = RecordedChannels(g, store=str(store.folder)).sample(5, seed=1)[:, 0, 0, :, 0]  # [batch, port, n]
    x = everything(store, "test")[:, 0, :, 0].astype(np.complex128)  # [sample, angle, delay]
    n, port, angle, delay = np.ogrid[:num_subcarriers, :4, :4, :6]
    kernel = np.exp(2j * np.pi * (port * angle / 4 - n * delay / num_subcarriers)) / np.sqrt(4 * num_subcarriers)
    full = np.einsum("sad,npad->spn", x, kernel)
    for channel in h:
        assert np.abs(full - channel).max(axis=(1, 2)).min() < 1e-5


def test_truncation_of_a_full_channel_is_undone_up_to_its_loss(tmp_path):
    full = gaussian(3, 8, ChannelLayout(Panel(4, 2, 2), 24, 30e3))[:, 0, :, 0]
    images = to_angular_delay(full, Panel(4, 2, 2), 24)
    with StoreWriter(tmp_path / "s", ChannelLayout(Panel(4, 2, 2), 24, 30e3, num_delays=24), name="s") as writer:
        writer.add("test", np.ascontiguousarray(np.swapaxes(images, 1, 2)[:, None, :, None]))
        writer.finish({})
    g = geometry(num_rx_ant=1, num_slots=1, num_users=1)
    h = RecordedChannels(g, store=str(tmp_path / "s")).sample(4, seed=1)[:, 0, 0, :, 0]
    for channel in h:
        assert np.abs(full - channel).max(axis=(1, 2)).min() < 1e-5


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"panel": Panel(4, 2, 1)}, "bs"),
        ({"num_rx_ant": 3}, "ue.num_rx_ant"),
        ({"carrier_hz": 2e9}, "carrier.carrier_hz"),
        ({"num_slots": 4}, "time.num_slots"),
        ({"slot_s": 2e-3}, "time.slot_s"),
        ({"num_subcarriers": 25}, "carrier"),
        ({"spacing_hz": 45e3, "num_subcarriers": 8}, "carrier"),
        ({"spacing_hz": 10e3, "num_subcarriers": 8}, "carrier"),
        ({"num_users": 24}, "ue.num_users"),
    ],
)
def test_a_store_that_does_not_fit_names_the_field(tmp_path, changes, field):
    written(tmp_path / "s")
    with pytest.raises(ConfigError) as caught:
        RecordedChannels(geometry(**changes), store=str(tmp_path / "s"))
    assert caught.value.field == field


def test_users_of_one_site(tmp_path):
    store = written(tmp_path / "s", site=lambda n: np.arange(n) % 5)
    site = {x.tobytes(): i % 5 for i, x in enumerate(everything(store, "test"))}
    h = RecordedChannels(geometry(), store=str(store.folder), group_by="site").sample(30, seed=1)
    drawn = [{site[np.ascontiguousarray(x).tobytes()] for x in drop} for drop in h]
    assert all(len(s) == 1 for s in drawn) and len(set.union(*drawn)) == 5


# Commands.


def run_cli(capsys, *argv):
    sys_argv, sys.argv = sys.argv, ["csilink", *map(str, argv)]
    try:
        with pytest.raises(SystemExit) as stop:
            cli.main()
    finally:
        sys.argv = sys_argv
    out = capsys.readouterr()
    return stop.value.code, out.out + out.err


@pytest.mark.long
def test_commands_split_mix_info(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "a", user=lambda n: np.arange(n) % 9)
    written(tmp_path / "b", seed=1, user=lambda n: np.arange(n) % 9)
    code, text = run_cli(
        capsys, "dataset", "split", "a", "--out", "n", "--share", "x=2", "--share", "y=1", "--by", "user"
    )
    assert code == 0 and "store SHA-256" in text and set(ChannelStore("n").shards) == {"x", "y"}
    code, text = run_cli(capsys, "dataset", "mix", "a=1", "b=1", "--out", "m")
    assert code == 0 and ChannelStore("m").num_samples("train") == 100
    code, text = run_cli(capsys, "dataset", "info", "m", "--out", "m.png")
    assert code == 0 and "rms delay spread" in text and (tmp_path / "m.png").stat().st_size > 20_000
    for argv, message in (
        (("split", "a", "--out", "n", "--share", "x=2"), "exists already"),
        (("split", "a", "--out", "k", "--share", "x"), "NAME=WEIGHT"),
        (("split", "a", "--out", "k", "--share", "x=-1"), "NAME=WEIGHT"),
        (("info", "nowhere"), "no finished store here"),
        (("info", "a", "--split", "none"), "test, train"),
        (("info", "a", "--sample", "5000"), "0..22"),
        (("mix", "a", "nowhere", "--out", "k"), "no finished store here"),
        (("import", "a", "--format", "nothing", "--out", "k"), "cost2100"),
    ):
        code, text = run_cli(capsys, "dataset", *argv)
        assert code == 2 and message in text and "Traceback" not in text, text


def test_command_import_with_joined_axes(tmp_path, capsys, monkeypatch):
    """The words of --set as docs/recorded.md has them."""
    monkeypatch.chdir(tmp_path)
    h = gaussian(4, 12, ChannelLayout(Panel(12), 5, 1e4)).reshape(3, 4, 12, 5)  # [speed, sample, n2*n1, subcarrier]
    np.save("h.npy", h)
    words = ["axes=speed sample n2-*n1 subcarrier sample=speed*sample", "n1=4", "n2=3", "spacing_hz=15e3", "scale=8"]
    sets = [part for word in words for part in ("--set", word)]
    code, text = run_cli(capsys, "dataset", "import", "h.npy", "--format", "generic", "--out", "s", *sets)
    assert code == 0, text
    store = ChannelStore("s")
    assert store.layout == ChannelLayout(Panel(4, 3), 5, 15e3) and store.origin["params"]["axes"] == words[0][5:]
    truth = 8 * h.reshape(12, 3, 4, 5)[:, ::-1].swapaxes(1, 2).reshape(12, 12, 5)
    np.testing.assert_allclose(everything(store, "all")[:, 0, :, 0], truth, rtol=1e-6)
    assert store.labels("all")["speed"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    code, text = run_cli(capsys, "dataset", "import", "--help")
    assert code == 0 and "sample=speed*sample" in text and "key_imag" in text and "rotation=[0,0,90]" in text


# Statistics against what was put in.


def two_path_store(folder, count=40):
    """Two equal paths 800 ns apart, directions -30 and +30 degrees, 100 Hz Doppler difference."""
    layout = ChannelLayout(Panel(16), 64, 240e3, num_slots=8, slot_s=1e-3, carrier_hz=3.5e9)
    rng = np.random.default_rng(1)
    phase = np.exp(2j * np.pi * rng.uniform(size=(count, 2)))
    f = (np.arange(64) - 31.5) * 240e3
    steer = np.exp(1j * np.pi * np.arange(16)[:, None] * np.sin(np.radians([-30.0, 30.0])))
    time_ = np.exp(2j * np.pi * np.arange(8)[:, None] * 1e-3 * np.array([-50.0, 50.0]))
    delay = np.exp(-2j * np.pi * f[:, None] * np.array([0.2e-6, 1.0e-6]))
    h = np.einsum("sp,mp,tp,np->smtn", phase, steer, time_, delay)[:, None] / np.sqrt(2)
    with StoreWriter(folder, layout, name="two") as writer:
        writer.add("all", h.astype(np.complex64))
        writer.finish({})
    return ChannelStore(folder)


@pytest.mark.long
def test_statistics_of_a_known_channel(tmp_path):
    """Rms delay spread 400 ns, power 0 dB, correlation cos(pi 100 Hz t): 0.951 at 1 ms, 0.5 at 3.33 ms."""
    store = two_path_store(tmp_path / "s")
    table = describe(store, "all").set_index("quantity")
    value = table.value.map(lambda text: float(text) if str(text).replace(".", "").replace("-", "").isdigit() else text)
    assert abs(value["mean power per entry"]) < 0.15
    assert abs(value["rms delay spread"] - 400) < 12
    assert abs(value["correlation over one slot"] - np.cos(np.pi * 0.1)) < 0.01
    assert abs(value["coherence time (|rho| < 0.5)"] - 1e3 / 300) < 0.12
    assert abs(value["azimuth spread seen by the panel"] - 31.4) < 3  # sqrt(-2 ln cos 30 deg) = 30.7 deg
    assert value["directions with 90% of the energy (of 16)"] == 2
    draw_example(store, "all", 0, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes()[:4] == b"\x89PNG"


def exponential_store(folder, rms_s, spacing_hz, count=400):
    """Independent antennas of one exponential profile, its standard deviation the same as its mean; truth as label."""
    delays = np.arange(0, 10, 0.025) * rms_s
    power = np.exp(-delays / rms_s)
    power /= power.sum()
    rng = np.random.default_rng(2)
    layout = ChannelLayout(Panel(16), 64, spacing_hz)
    gains = rng.standard_normal((count, 16, len(delays), 2)) @ [1, 1j] * np.sqrt(power / 2)
    h = gains @ np.exp(-2j * np.pi * delays[:, None] * np.arange(64) * spacing_hz)
    truth = np.sqrt(power @ delays**2 - (power @ delays) ** 2)
    with StoreWriter(folder, layout, name="exp") as writer:
        los = np.arange(count) % 4 == 0
        writer.add("all", h.astype(np.complex64)[:, None, :, None],
                   {"rms_delay_spread_s": np.full(count, truth), "los": los, "site": np.arange(count)})  # fmt: skip
        writer.finish({})
    return ChannelStore(folder), truth


@pytest.mark.parametrize(("rms_s", "spacing_hz"), [(30e-9, 60e3), (300e-9, 60e3), (300e-9, 240e3)])
def test_delay_spread_has_no_bias_of_windows_or_taps(tmp_path, rms_s, spacing_hz):
    """Taps last 260 or 65 ns here; the old estimate was 20 % low for the short profile."""
    store, truth = exponential_store(tmp_path / "s", rms_s, spacing_hz)
    table = describe(store, "all").set_index("quantity")
    estimate, label = (float(table.value[f"rms delay spread{end}"]) for end in ("", ", label in the store"))
    assert abs(label - 1e9 * truth) < 0.006 * label
    assert abs(estimate / label - 1) < 0.06
    assert table.value["line of sight, label in the store (mean)"] == "25"
    assert "site, label in the store" not in table.index


def test_delay_spread_by_a_loop():
    """The frequency correlation of one sample, term by term."""
    h = gaussian(3, 1, ChannelLayout(Panel(2), 5, 1e4)) * 0.1 + np.exp(-0.3j * np.arange(5)).astype(np.complex64)
    g = []
    for lag in (1, 2):
        inner, early, late = 0.0, 0.0, 0.0
        for port in range(2):
            for k in range(5 - lag):
                inner += complex(h[0, 0, port, 0, k]).conjugate() * complex(h[0, 0, port, 0, k + lag])
                early += abs(h[0, 0, port, 0, k]) ** 2
                late += abs(h[0, 0, port, 0, k + lag]) ** 2
        g.append(-2 * np.log(abs(inner) / np.sqrt(early * late)))
    truth = np.sqrt((16 * g[0] - g[1]) / 12) / (2 * np.pi * 1e4)
    assert abs(rms_delay_spread_s(h, 1e4)[0] / truth - 1) < 1e-5


def test_truncated_images_say_so(tmp_path):
    """Two equal paths at 0.2 and 1.0 us (rms 400 ns) of which 1.6 us, or only 0.8 us, are kept."""
    full = ChannelLayout(Panel(4), 256, 80e3)
    f = np.arange(256) * 80e3
    phase = np.exp(2j * np.pi * np.random.default_rng(1).uniform(size=(60, 1, 4, 1, 2)))
    h = (phase @ np.exp(-2j * np.pi * f * np.array([[0.2e-6], [1e-6]]))).astype(np.complex64)
    for taps, spread_ns in ((33, 400), (16, 0)):
        images = np.swapaxes(to_angular_delay(h[:, 0, :, 0], full.panel, taps), 1, 2)[:, None, :, None]
        with StoreWriter(tmp_path / str(taps), replace(full, num_delays=taps), name="t") as writer:
            writer.add("test", images)
            writer.finish({"truncation": {"nmse_db": -14.1, "rho": 0.98, "rms_delay_spread_ns": [200, 325, 540]}})
        table = describe(ChannelStore(tmp_path / str(taps)), "test").set_index("quantity")
        assert abs(float(table.value["rms delay spread of the kept taps (too low)"]) - spread_ns) < 25
        assert table.value["truncated"].startswith(f"{taps} of 256 taps kept, no path after {taps / 20.48:.3g} us")
        assert table.value["lost by truncation (test split)"] == "NMSE -14.1 dB, rho 0.98"
        assert table.value["rms delay spread before truncation (test split)"] == "325"


def test_azimuth_spread_adds_rows_and_polarisations_in_power():
    h = gaussian(5, 6, ChannelLayout(Panel(4, 3, 2), 2, 1e4))
    power = beam_power(h, Panel(4, 3, 2), oversampling=8).sum(axis=2)
    power[power < 10**-2.5 * power.max(axis=1, keepdims=True)] = 0
    u = np.arcsin(np.linspace(-1, 1, 32, endpoint=False))
    length = np.abs(power @ np.exp(1j * u)) / power.sum(axis=1)
    np.testing.assert_allclose(
        angular_spread_deg(h, Panel(4, 3, 2)), np.degrees(np.sqrt(-2 * np.log(length))), rtol=1e-5
    )


@pytest.mark.long
def test_memory_of_info_is_that_of_a_chunk(tmp_path, monkeypatch):
    """Images grow 32 times on the full grid; 160 samples instead of 40 must not take more, nor change a figure."""
    import tracemalloc

    layout = ChannelLayout(Panel(8), 512, 30e3, num_delays=16)
    monkeypatch.setattr("benchmarks.dataset_info._CHUNK_BYTES", 1 << 20)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
    peaks = []
    for count in (40, 160):
        store = written(tmp_path / str(count), layout=layout, splits=(("test", count),))
        tracemalloc.start()
        table = describe(store, "test")
        draw_example(store, "test", 0, tmp_path / "x.png")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 0.1 * 120 * 8 * 8 * 512
    monkeypatch.setattr("benchmarks.dataset_info._CHUNK_BYTES", 1 << 30)
    pd.testing.assert_frame_equal(table, describe(store, "test"))


# Streaming to a training.


def images_of(stream, seed=1, epoch=0, batch=10):
    return np.concatenate([x for x, _ in stream.batches(batch, seed, epoch, random_phase=False)])


@pytest.mark.long
def test_streamed_images_are_those_in_memory_in_another_order(tmp_path):
    store = written(tmp_path / "s", splits=(("train", 700),), shard_samples=300)
    truth, _ = load_images(store, "train", ImageView(store.layout, 8))
    stream = StreamedImages(store, "train", ImageView(store.layout, 8), buffer_images=900)
    assert stream.shape == truth.shape == (700 * 6, 8, 16, 2)
    np.testing.assert_array_equal(stream.head(1600), truth[:1600])
    seen = images_of(stream)
    place = {x.tobytes(): i for i, x in enumerate(truth)}
    order = np.array([place[x.tobytes()] for x in seen])
    assert sorted(order) == list(range(4200))
    assert abs(np.corrcoef(order, np.arange(4200))[0, 1]) < 0.9 and np.mean(np.abs(np.diff(order)) < 7) < 0.05
    np.testing.assert_array_equal(seen, images_of(stream))
    assert not np.array_equal(seen, images_of(stream, epoch=1)) and not np.array_equal(seen, images_of(stream, seed=2))
    x, _ = next(stream.batches(10, 1, 0))
    np.testing.assert_allclose(np.sum(x**2, axis=(1, 2, 3)), np.sum(seen[:10] ** 2, axis=(1, 2, 3)), rtol=1e-5)


def test_noise_of_estimates_has_the_snr_that_is_drawn(rng):
    gains = 10.0 ** rng.uniform(-3, 3, (40, 1, 1, 1, 1))
    h = ((rng.standard_normal((40, 2, 16, 1, 64, 2)) @ [1, 1j]) * gains).astype(np.complex64)

    def snr_db(noisy):
        axes = (1, 2, 3, 4)
        return 10 * np.log10(np.mean(np.abs(h) ** 2, axis=axes) / np.mean(np.abs(noisy - h) ** 2, axis=axes))

    assert np.abs(snr_db(in_noise(h, (7.0, 7.0), rng)) - 7).max() < 5 * 10 / np.log(10) / np.sqrt(2048)
    drawn = snr_db(in_noise(h, (-10.0, 30.0), rng))
    assert -11 < drawn.min() < -5 and 25 < drawn.max() < 31 and 5 < np.mean(drawn) < 15  # uniform: 10 +- 11.5 / 40^.5
    error = (in_noise(h, (0.0, 0.0), rng) - h) / gains
    assert abs(np.mean(error**2)) < 0.02 * np.mean(np.abs(error) ** 2)  # circular


@pytest.mark.long
@pytest.mark.parametrize("target", ["channel", "eigenvector"])
def test_images_of_estimates_are_inputs_and_those_of_channels_targets(tmp_path, target):
    store = written(tmp_path / "s", splits=(("train", 300),), shard_samples=300)
    view = ImageView(store.layout, 8, target=target)
    truth, _ = load_images(store, "train", view)
    noisy = StreamedImages(store, "train", view, buffer_images=150, noise_snr_db=(0.0, 0.0))
    x, y = (np.concatenate(part) for part in zip(*noisy.batches(10, 1, 0, random_phase=False), strict=True))
    np.testing.assert_allclose(np.sort(y[:, 0, 1, 0]), np.sort(truth[:, 0, 1, 0]), atol=1e-5)  # every one, once

    def alignment(x, y):
        a, b = (np.ascontiguousarray(v).view(np.complex64)[..., 0] for v in (x, y))
        return np.abs(np.sum(a.conj() * b, axis=-1)) ** 2 / np.sum(np.abs(a) ** 2, -1) / np.sum(np.abs(b) ** 2, -1)

    assert 0.2 < np.mean(alignment(x, y)) < 0.8 < 0.99 < np.mean(alignment(y, y))
    power = lambda images: np.mean(np.square(images), axis=(1, 2, 3))  # noqa: E731
    np.testing.assert_allclose(power(x), power(y), rtol=1e-4)  # of an estimate, as in the link
    again = np.concatenate([a for a, _ in noisy.batches(10, 1, 0, random_phase=False)])
    np.testing.assert_array_equal(x, again)
    assert not np.array_equal(x, np.concatenate([a for a, _ in noisy.batches(10, 1, 1, random_phase=False)]))
    fine = StreamedImages(store, "train", view, noise_snr_db=(90.0, 90.0))
    x, y = next(fine.batches(10, 1, 0))  # turned together
    np.testing.assert_allclose(x, y, atol=3e-3)
    np.testing.assert_array_equal(fine.head(20), truth[:20])


def test_a_fault_while_streaming_is_raised(tmp_path):
    store = written(tmp_path / "s")
    (tmp_path / "s" / "train-00003.h5").write_bytes(b"x")
    with pytest.raises(StoreError, match=r"train-00003\.h5"):
        images_of(StreamedImages(store, "train", ImageView(store.layout, 8)))


@pytest.mark.long
def test_memory_of_streaming_does_not_grow_with_the_store(tmp_path):
    import tracemalloc

    peaks = []
    for count in (1500, 12000):
        store = written(
            tmp_path / str(count),
            layout=ChannelLayout(Panel(8), 32, 1e4),
            splits=(("train", count),),
            shard_samples=500,
        )
        stream = StreamedImages(store, "train", ImageView(store.layout, 16), buffer_images=512)
        tracemalloc.start()
        for _ in stream.batches(64, 1, 0):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    more = (12000 - 1500) * 16 * 8 * 8  # bytes of the images by which the stores differ
    assert peaks[1] - peaks[0] < 0.2 * more
