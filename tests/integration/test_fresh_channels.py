"""Channels drawn anew in every epoch: seeds, process, resume, memory, wrong input."""

import itertools
import time

import numpy as np
import pytest

from benchmarks import fresh
from benchmarks.dataset import make_dataset
from benchmarks.fresh import FreshChannels, blocks
from benchmarks.train import train
from receivers.training.data.images import ImageView
from receivers.training.data.stream import StreamedImages
from receivers.training.loop import PausedError
from receivers.training.recipe import parse_training
from receivers.weights.folder import TrainedModel
from scenarios.dataset import parse_recipe
from simulator.core.errors import ConfigError, StoreError
from simulator.core.types import Panel
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter

DATA = {
    "name": "small",
    "seed": 3,
    "carrier": {"num_rb": 8},
    "bs": {"n1": 4, "n2": 1, "num_pol": 1},
    "parts": [{"channel": {"model": "rayleigh"}}, {"channel": {"model": "rayleigh", "taps": 2}}],
    "splits": {"train": 60, "val": 40, "test": 40},
}
RECIPE = {
    "task": "autoencoder",
    "name": "net",
    "dataset": "small",
    "model": {"name": "csinet", "params": {"num_latents": 8, "image_activation": "linear"}},
    "num_delays": 4,
    "quantizer": {"name": "mu_law", "bits": [2]},
    "samples": 300,
    "fresh_samples": 120,
    "batch_size": 20,
    "noise_snr_db": [0, 20],
}


def quiet(line):
    pass


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_dataset(parse_recipe(DATA), tmp_path_factory.mktemp("data") / "small")


def epoch_of(store, seed=1, epoch=0, samples=40):
    return np.concatenate(list(blocks(store.origin, seed, samples, epoch)))


def test_epochs_share_no_channel_with_each_other_or_with_a_split(store, monkeypatch):
    monkeypatch.setattr(fresh, "BLOCK", 20)
    first = epoch_of(store)
    np.testing.assert_array_equal(first, epoch_of(store))
    assert first.shape == (40, *store.layout.entry_shape)
    np.testing.assert_allclose(np.mean(np.abs(first) ** 2, axis=(1, 2, 3, 4)), 1, rtol=1e-5)
    drawn = [first, epoch_of(store, epoch=1), epoch_of(store, seed=2)]
    drawn += [np.concatenate([h for h, _ in store.read(split)]) for split in DATA["splits"]]
    rows = [h.tobytes() for part in drawn for h in np.ascontiguousarray(part)]
    assert len(set(rows)) == len(rows) == 120 + 140
    # both parts of the mixture: two taps are flat over eight RBs, more are not
    ripple = np.std(np.abs(first[:, 0, 0, 0]), axis=-1)
    assert ripple.min() < 0.5 * ripple.max()


@pytest.mark.long
def test_the_process_draws_epoch_after_epoch(store):
    with FreshChannels(store, 1, 40) as channels:
        found = [np.concatenate(list(channels(epoch))) for epoch in (0, 1)]
        process = channels._process
        for epoch, h in enumerate(found):
            np.testing.assert_array_equal(h, epoch_of(store, epoch=epoch))
        again = next(channels(0))  # another process: this one is at epoch 2
        np.testing.assert_array_equal(again, epoch_of(store))
        assert channels._process is not process and process.poll() is not None
        last = channels._process
        next(iter(channels(1)))  # left in the middle
        np.testing.assert_array_equal(np.concatenate(list(channels(2))), epoch_of(store, epoch=2))
    assert last.poll() is not None and channels._process is None


@pytest.mark.long
def test_a_process_that_fails_is_an_error_with_its_last_line(store):
    with FreshChannels(store, 1, 40) as channels:
        channels._order = {**channels._order, "origin": {**store.origin, "corrections": {"rayleigh": ["other"]}}}
        with pytest.raises(StoreError, match="other corrections; draw it again"):
            next(channels(0))
        channels.close()
        channels._order = {**channels._order, "origin": store.origin}
        next(channels(0))
        channels._process.kill()
        with pytest.raises(StoreError, match="ended"):
            for _ in range(10_000):  # what it had drawn ahead is still in the pipe
                channels._read(40)


def test_no_more_than_buffer_and_a_few_blocks_are_ahead(store):
    pulled = []

    def endless(epoch):
        for index in itertools.count():
            pulled.append(index)
            yield np.ones((10, *store.layout.entry_shape), np.complex64)

    stream = StreamedImages(store, "train", ImageView(store.layout, 4), 100, fresh=endless, fresh_samples=10**6)
    next(stream.batches(20, 1, 0))
    time.sleep(0.5)
    assert len(stream) == 10**6 and 10 <= len(pulled) < 10 + 10


@pytest.mark.long
def test_a_paused_training_ends_with_the_same_weights(store, tmp_path, eager):
    """Three epochs of six, six and three steps; noise of the estimates goes on, too."""
    recipe = parse_training(RECIPE)
    card = train(recipe, store, tmp_path / "a", quiet)
    assert card["training"]["samples"] == 300 and card["training"]["epochs"] == 3
    pauses = 0
    while True:
        try:
            train(recipe, store, tmp_path / "b", quiet, seconds=0.0 if pauses < 2 else 1e9)
            break
        except PausedError:
            pauses += 1
    assert pauses == 2
    a, b = (TrainedModel(str(tmp_path / name)).model.get_weights() for name in "ab")
    for one, two in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, two)


def test_wrong_data_sets(store, tmp_path):
    with StoreWriter(tmp_path / "own", ChannelLayout(Panel(4), 8, 360e3), name="own") as writer:
        writer.add("train", np.ones((4, 1, 4, 1, 8), np.complex64))
        writer.finish({})
    recorded = {"channel": {"model": "recorded", "store": str(store.folder)}}
    make_dataset(
        parse_recipe({**DATA, "name": "again", "splits": {"train": 9}, "parts": [recorded]}), tmp_path / "again"
    )
    for name, said in (("own", "no recipe"), ("again", "recorded channels")):
        with pytest.raises(ConfigError, match=f"fresh_samples.*{said}"):
            FreshChannels(ChannelStore(tmp_path / name), 1, 10)
    with pytest.raises(ConfigError, match="max_samples"):
        parse_training({**RECIPE, "max_samples": 5})
