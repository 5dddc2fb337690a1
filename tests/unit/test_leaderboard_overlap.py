"""Training data do not share channels with the tracks of the leaderboard."""

import leaderboards
import numpy as np
import pytest

from benchmarks.build import ChannelDraw
from benchmarks.dataset import make_dataset
from benchmarks.leaderboard import overlap
from benchmarks.leaderboard.freeze import drawn
from benchmarks.leaderboard.track import track as shipped
from benchmarks.train import train
from receivers.training.recipe import parse_training
from scenarios.dataset import parse_recipe
from simulator.core.errors import ConfigError, StoreError
from simulator.data.layout import ChannelLayout
from simulator.data.store import MANIFEST, ChannelStore, manifest, sha256, write_json, write_shard

TRACK = leaderboards.track()
POINT = TRACK.point([{"scheme": "dft"}])


@pytest.fixture
def guarded(monkeypatch):
    """The small track is one of the leaderboard."""
    prints = drawn(TRACK).astype(np.complex64)
    monkeypatch.setattr(overlap, "tracks", lambda: [TRACK])
    monkeypatch.setattr(overlap, "track", lambda name: TRACK)
    monkeypatch.setattr(overlap, "test_channels", lambda: {"small": prints})
    overlap._grid_of.cache_clear()
    yield
    overlap._grid_of.cache_clear()


def channels(first=0, drops=32, seed=None, user=0):
    """Channels of users of the track, ``[sample, rx_ant, port, slot, subcarrier]``."""
    return ChannelDraw(POINT).block(first, drops, seed=seed)[:, user]


@pytest.fixture
def store(tmp_path):
    """Function that makes a store with these splits."""

    def make(layout=None, origin=None, **splits):
        shards = {}
        for split, h in splits.items():
            write_shard(tmp_path / f"{split}.h5", h.astype(np.complex64), {})
            entry = {"file": f"{split}.h5", "num_samples": len(h), "sha256": sha256(tmp_path / f"{split}.h5")}
            shards[split] = [entry]
        layout = layout or ChannelLayout.of(POINT.scenario.geometry)
        write_json(tmp_path / MANIFEST, manifest("mine", layout, origin or {"format": "generic"}, shards))
        return ChannelStore(tmp_path)

    return make


@pytest.fixture
def strange(rng):
    """Channels that no track has."""
    return channels(seed=5)


def test_test_channels_in_training_are_found(guarded, store, strange, rng):
    """Two of them, as a training set would hold them: turned, scaled, rounded."""
    copied = channels(64)[[2, 5]] * (0.3 * np.exp(2j)) * (1 + 1e-4 * rng.standard_normal((2, 1, 4, 1, 8)))
    data = np.concatenate([strange, copied])
    with pytest.raises(StoreError, match=r"2 samples of split train .* track small \(the first is number 32\)"):
        overlap.check_training(store(train=data, val=strange))
    with pytest.raises(StoreError, match="2 samples of split val"):
        overlap.check_training(store(train=strange, val=data))


def test_other_channels_and_the_test_split_pass(guarded, store, strange):
    overlap.check_training(store(train=strange, val=channels(seed=6), test=channels()))


def test_another_grid_cannot_be_compared(guarded, store):
    layout = ChannelLayout.of(POINT.scenario.geometry)
    overlap.check_training(store(ChannelLayout(layout.panel, layout.num_subcarriers, 15e3), train=channels()))


def test_the_seed_of_a_track_is_refused(guarded, store, strange, tmp_path):
    with pytest.raises(StoreError, match=r"seed: got 99.*track small"):
        overlap.check_training(store(origin={"recipe": {"seed": 99}}, train=strange))
    recipe = {"name": "mine", "seed": 99, "parts": [{"channel": {"model": "rayleigh"}}], "splits": {"train": 4}}
    recipe |= {"carrier": {"num_rb": 8}, "bs": {"n1": 4, "n2": 1, "num_pol": 1}}
    with pytest.raises(ConfigError, match=r"seed: got 99.*track small"):
        make_dataset(parse_recipe(recipe), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_training_refuses(guarded, store, strange, tmp_path):
    recipe = parse_training({"task": "klt", "name": "k", "dataset": "mine", "num_delays": 8, "model": {"name": "klt"}})
    data = store(train=np.concatenate([strange, channels()]), val=strange, test=strange)
    with pytest.raises(StoreError, match="32 samples of split train are test channels"):
        train(recipe, data, tmp_path / "out", progress=lambda text: None)
    assert not (tmp_path / "out").exists()


def test_independent_channels_of_one_path_stay_apart(rng):
    """Plane waves of one path, the hardest case: a million pairs of them, none taken as the same."""
    samples = np.linspace(0, 51, 8)

    def waves(count):
        delay, angle = rng.uniform(0, 1e-6, (count, 1, 1)), rng.uniform(-1, 1, (count, 1, 1))
        tone = np.exp(-2j * np.pi * delay * samples * 360e3)
        port = np.exp(1j * np.pi * angle * np.array([[0], [7]])) * np.array([[1], [0.5]])
        scatter = 0.05 * (rng.standard_normal((count, 2, 8)) + 1j * rng.standard_normal((count, 2, 8)))
        return overlap._unit((tone * port + scatter).reshape(count, -1))

    near = np.abs(waves(1000) @ waves(1000).conj().T) ** 2
    assert near.max() < 1 - 10 * overlap._SAME


@pytest.mark.long
@pytest.mark.parametrize("name", ["umi-3g5-rank1", "uma-3g5-rank2"])
def test_shipped_fingerprints_are_those_of_the_track(name):
    again = drawn(shipped(name), first=32, drops=4)
    there = overlap.test_channels()[name][32:36]
    assert (np.abs(np.sum(again * there.conj(), axis=1)) ** 2 > 1 - overlap._SAME / 10).all()
