"""Channels at the edge: not finite, too large, zero, of low rank, none at all."""

import numpy as np
import pytest
from test_link import channel, config, link, outcomes

from benchmarks.build import ChannelDraw
from receivers.models.codeword_refiner import WholeCodebook
from scenarios.schema import parse_scenario
from scenarios.sweep import Point
from simulator.core import registry
from simulator.core.errors import ConfigError, StoreError
from simulator.core.finite import check_channels, first_unfit
from simulator.core.types import CsiReport, Panel
from simulator.data.importer import check_block
from simulator.data.layout import ChannelLayout
from simulator.data.store import ChannelStore
from simulator.data.writer import StoreWriter
from simulator.reporting.coded_uplink import CodedUplink
from simulator.reporting.uplink import UplinkModel

UNFIT = {
    "nan": np.nan,
    "imaginary nan": complex(0, np.nan),
    "inf": np.inf,
    "imaginary -inf": complex(0, -np.inf),
    "1e30": 1e30,
    "-1e30j": -1e30j,
}


@pytest.mark.parametrize("name", UNFIT)
def test_the_link_names_drop_and_user(rng, name):
    """Once, before any scheme sees the channel, whatever the schemes are."""
    h = channel(rng)
    h[2, 1, 0, 3, 1, 4] = UNFIT[name]
    with pytest.raises(ConfigError, match=r"^channel of drop 2, user 1: got .*; allowed: finite entries of at most"):
        next(link(config(), ("rvq",), precoders=("zf",)).run(h, seed=1))


@pytest.mark.parametrize("normalization", ["none", "per_sample", "per_dataset"])
@pytest.mark.parametrize("name", UNFIT)
def test_a_source_is_asked_before_its_channels_are_normalised(monkeypatch, rng, name, normalization):
    scenario = parse_scenario(
        {
            "name": "s",
            "carrier": {"num_rb": 5},
            "bs": {"n1": 4, "n2": 1, "num_pol": 2},
            "ue": {"num_users": 3},
            "channel": {"model": "rayleigh"},
            "normalization": normalization,
            "feedback": [{"scheme": "perfect"}],
            "snr_db": 0,
        }
    )
    draw = ChannelDraw(Point(scenario, {}))
    h = channel(rng, slots=1)
    h[1, 2, 0, 0, 0, 0] = UNFIT[name]
    monkeypatch.setattr(draw._source, "sample", lambda *args, **params: h)
    with pytest.raises(ConfigError, match=r"^channel of drop 65, user 2: got "):
        draw.block(64, 3)


def test_what_is_large_and_what_is_not():
    assert first_unfit(np.float32([1, -1e15, 1e15])) is None and first_unfit(np.zeros((0, 3))) is None
    assert first_unfit(np.array([[1, 2], [3, 2e15j]])) == ((1, 1), "0+2e+15j")
    check_channels(np.full((2, 1, 1), 1e15, np.complex64))
    with pytest.raises(ConfigError, match=r"drop 4, user 0: got '100\+0j'"):
        check_channels(np.full((2, 1, 1), 100, np.complex64), 10, first=4)


@pytest.mark.long
def test_channels_of_zeros_and_of_low_rank_pass(rng):
    """A user without a channel has rate 0 under every precoder, the others of theirs; all values are finite."""
    h = channel(rng, users=2, rx=2)
    h[0, 1] = 0
    h[1] = h[1, :1, :1]  # both users and all antennas alike: rank 1
    found = outcomes(link(config(2), ("perfect", "rvq", "dft")), h)
    for (scheme, precoder), outcome in found.items():
        if precoder is not None:
            assert np.isfinite(outcome.rate).all() and (outcome.rate >= 0).all()
            assert (outcome.rate[:, 0, 1] == 0).all() and (outcome.rate[:, 0, 0] > 0).all(), (scheme, precoder)


@pytest.mark.parametrize("name", UNFIT)
def test_a_store_names_the_sample(tmp_path, rng, name):
    layout = ChannelLayout(Panel(2), 4, 15e3)
    h = (rng.standard_normal((7, *layout.entry_shape, 2)) @ [1, 1j]).astype(np.complex64)
    with pytest.raises(StoreError, match=r"x\.mat: h: 1 samples .*, first 13; "):
        bad = h.copy()
        bad[3, 0, 1, 0, 2] = UNFIT[name]
        check_block(bad, "x.mat: h", 10)
    with StoreWriter(tmp_path / "s", layout, name="s", shard_samples=4) as writer:
        bad = h.copy()
        bad[5, 0, 1, 0, 2] = UNFIT[name]
        writer.add("test", bad)
        writer.finish({})
    store = ChannelStore(tmp_path / "s")
    assert store.take("test", np.array([0, 4, 6])).shape == (3, *layout.entry_shape)
    for read in (lambda: store.take("test", np.array([[6, 5]])), lambda: list(store.read("test"))):
        with pytest.raises(StoreError, match=r"test-00001\.h5: sample 1 holds "):
            read()


@pytest.mark.parametrize(
    "uplink",
    [
        UplinkModel(),
        UplinkModel(0.5, 0.1),
        UplinkModel(0.5, max_bits=4, over_budget="segment"),
        CodedUplink(snr_db=5.0, num_re=60),
    ],
    ids=["ideal", "impaired", "segments", "coded"],
)
@pytest.mark.parametrize("shape", [(0, 2, 9), (0, 2, 0), (3, 0, 9)])
def test_no_report_over_the_uplink(uplink, shape):
    received, lost = uplink.transmit(CsiReport(np.zeros(shape, np.uint8), np.zeros(shape[:2], int)), seed=1)
    assert received.bits.shape == shape and received.num_bits.shape == lost.shape == shape[:2]


@pytest.mark.parametrize("name", sorted(set(registry.names("refiners")) - {"lvm4cf"}))
def test_no_codeword_through_a_refiner(name):
    small = {"gpt2": {"d_model": 12, "num_heads": 2, "num_layers": 1}, "mlp": {"budget": 3000}}
    refiner = registry.build("refiners", name, 8, 2, **small.get(name, {}))
    assert tuple(refiner(np.zeros((0, 2, 8), np.float32)).shape) == (0, 2, 8)
    words = WholeCodebook(refiner, np.zeros((4, 2, 8)))
    assert tuple(words(np.zeros(0, int)).shape) == (0, 2, 8)
