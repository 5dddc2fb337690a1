"""Consecutive seeds give independent streams: none is a copy of another, shifted by some places."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sionna.phy import config
from sionna.phy.channel import gen_single_sector_topology
from tolerances import assert_independent

from receivers.training.bottleneck import Bottleneck
from receivers.training.concrete import ConcreteBottleneck
from receivers.training.recipe import ConcreteSection, QuantizerSection
from simulator.core import registry
from simulator.core.seeding import by_drop
from simulator.core.types import Panel, RadioGeometry
from simulator.data.layout import ChannelLayout
from simulator.data.writer import StoreWriter
from simulator.phy.sionna_env import set_seed
from simulator.phy.transport_block import TransportBlock

SEEDS, DRAWS = range(1, 101), 128
# Of sources whose draws take long: a stream that another one repeats is seen by its correlation, whatever the number of
# others, as long as chance stays below 1: some 60 draws of 20 streams.
SLOW, FEW, LESS = ("cdl", "umi", "uma", "rma"), SEEDS[:25], 64
GEOMETRY = RadioGeometry(3.5e9, Panel(1), num_users=1, num_rx_ant=1, num_subcarriers=1, spacing_hz=360e3)
WIDE = RadioGeometry(3.5e9, Panel(1), num_users=1, num_rx_ant=1, num_subcarriers=2, spacing_hz=360e3)


def recorded(folder):
    layout = ChannelLayout(Panel(1), 2, 360e3, num_rx_ant=1)
    h = np.random.default_rng(0).standard_normal((2000, *layout.entry_shape, 2), np.float32).view(np.complex64)[..., 0]
    with StoreWriter(folder, layout, name="store") as writer:
        writer.add("test", h, {})
        writer.finish({"made": "by a test"})
    return registry.build("channels", "recorded", WIDE, store=str(folder))


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("rayleigh", {}),
        ("tdl", {"profile": "A"}),
        ("recorded", None),
        pytest.param("cdl", {"profile": "C", "rotate": True}, marks=pytest.mark.long),
        *(pytest.param(name, {}, marks=pytest.mark.long) for name in ("umi", "uma", "rma")),
    ],
)
def test_channels(tmp_path, name, params):
    source = recorded(tmp_path / "store") if params is None else registry.build("channels", name, GEOMETRY, **params)
    if name in ("tdl", "cdl"):  # compiled by test_the_generator_under_xla in a tenth of the time
        source._function = tf.function(source._response)
    seeds, draws = (FEW, LESS) if name in SLOW else (SEEDS, DRAWS)
    h = np.stack([source.sample(draws, seed=seed)[:, 0, 0, 0, 0, 0] for seed in seeds])
    assert_independent(np.abs(h))
    assert_independent(np.angle(h))
    if name in ("uma", "rma"):  # what follows is in the code that they share with umi
        return
    # Drops are streams of their own, too: those of one seed, in a row and at any distance.
    rows = max(draws, len(seeds)) if name in SLOW else len(seeds)
    h = np.stack([source.sample(draws, seed=1, first=draws * k)[:, 0, 0, 0, 0, 0] for k in range(rows)])
    assert_independent(np.abs(h))
    assert_independent(np.angle(h))
    assert_independent(np.abs(h).T)


@pytest.mark.parametrize("kind", ["random", "standard_normal"])
def test_consecutive_drops(kind):
    """Numbers of each drop, which its paths are made of: no stream is another one, shifted."""
    drawn = by_drop(1, 0, len(SEEDS), lambda rng: getattr(rng, kind)(DRAWS, np.float32))
    assert_independent(drawn)
    others = [by_drop(seed, 7, 1, lambda rng: getattr(rng, kind)(DRAWS, np.float32), "role")[0] for seed in SEEDS]
    assert_independent(others)


@pytest.mark.long
@pytest.mark.parametrize("scenario", ["umi", "uma", "rma"])
def test_positions(scenario):
    """Of system-level drops, whose channels are tested with the long tests."""
    places = []
    for seed in FEW:
        set_seed(seed)
        places.append(gen_single_sector_topology(DRAWS, 1, scenario)[0].numpy()[:, 0])
    places = np.stack(places)
    assert_independent(np.hypot(places[..., 0], places[..., 1]))
    assert_independent(np.arctan2(places[..., 1], places[..., 0]))


def test_the_generator_under_xla():
    draw = tf.function(lambda: config.tf_rng.normal([DRAWS]), jit_compile=True)
    drawn = []
    for seed in SEEDS:
        set_seed(seed)
        drawn.append(draw().numpy())
    assert_independent(drawn)


def test_other_generators_of_sionna():
    drawn = []
    for seed in SEEDS:
        set_seed(seed)
        drawn.append([config.np_rng.normal(size=DRAWS), [config.py_rng.random() for _ in range(DRAWS)]])
    for values in np.swapaxes(drawn, 0, 1):
        assert_independent(values)


def test_streams_of_equal_length_never_meet():
    """Not only shifted by one place: the keys differ, so that no two streams are parts of one."""
    keys = set()
    for seed in SEEDS:
        set_seed(seed)
        keys.add(int(config.tf_rng.state.numpy()[2]))
    assert len(keys) == len(SEEDS)
    assert np.abs(np.diff(sorted(float(key) for key in keys))).min() > 2**40


@pytest.mark.long
def test_transport_blocks():
    """At an SINR that loses some of the blocks: bits and noise differ from seed to seed as they should."""
    block = TransportBlock(60, 1, 2, 0.3)
    sinr = np.full((DRAWS, 60, 1), 0.9, np.float32)
    ack = np.stack([block.decode(sinr, seed=seed) for seed in SEEDS[:30]]).astype(float)
    assert 0.2 < ack.mean() < 0.8
    assert_independent(ack)


@pytest.mark.long
def test_noise_of_trainings():
    """Keras under torch seeds draw k of a generator by seed + k: no two generators may be a short way apart."""
    starts = []
    for seed in SEEDS:
        parts = (
            Bottleneck(QuantizerSection(name="uniform", bits=[2]), 4, seed=seed),
            ConcreteBottleneck(ConcreteSection(), 4, seed=seed),
        )
        starts.append([float(np.sum(keras.ops.convert_to_numpy(part._noise.state))) for part in parts])
    assert np.diff(np.sort(starts, axis=0), axis=0).min() > 1000
