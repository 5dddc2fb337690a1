"""Beam-delay reports of several layers: contexts against a loop, round trip, prefixes, rank 1 as before."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from receivers.beamdelay.codebook import BeamDelayCodebook
from receivers.beamdelay.coder import BeamDelayCoder
from receivers.beamdelay.content import Content
from receivers.beamdelay.contexts import NUM_FEATURES
from receivers.beamdelay.frame import Frame
from receivers.beamdelay.grid import NEAR, Grid
from receivers.beamdelay.layers import LayeredCoder
from receivers.beamdelay.tables import NUM_OTHERS, LayeredTables, Tables
from receivers.training.beamdelay_layers import learn_layers, train_layers
from receivers.weights.folder import zoo_folder
from simulator.core.errors import StoreError
from simulator.core.types import Panel
from simulator.data.layout import ChannelLayout

GOLDEN = Path(__file__).parents[1] / "golden" / "beamdelay_layers.json"
SHAPE = (2, 2, 4, 5)


def shipped():
    return Tables.load(zoo_folder() / "beamdelay-urban" / "tables.npz")


def coder_of(shape=SHAPE, rank=2, energies=(100,), tables=None):
    tables = tables or shipped().layers
    return LayeredCoder(Grid(shape, tables.importance), shape, tables, 4, rank, list(energies))


def content_of(coder, reports, seed=5):
    """Parts that fall off with the place, from integers alone."""
    rng = np.random.default_rng(seed)
    size = (coder.grid.size, reports, coder.rank)
    limit = 60000 // (1 + np.arange(size[0]) // 4)[:, None, None]
    real, imag = ((rng.integers(0, 1 << 16, size) < limit) * rng.integers(-3, 4, size) for _ in range(2))
    step = rng.integers(0, len(coder.energies), reports)
    real[0], imag[0] = coder.limit_origin(rng.integers(1, 9, size[1:]), step), 0
    real[1] = 17
    row = rng.integers(0, coder.grid.num_rows, (reports, coder.rank))
    return Content(rng.integers(0, 4, reports), step, row, real.astype(np.int32), imag.astype(np.int32))


def same(one, other):
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(Content))


def looped(coder, shape, content, report):
    """Features of the other layers in Python integers: a dictionary of what is coded, by beam and tap."""
    log = [((n + 1) ** 8).bit_length() - 1 for n in range(4097)]
    known = [{} for _ in range(coder.rank)]
    found = {}

    def near(place, offset, exclude):
        moved = tuple((x + o) % n for x, o, n in zip(place, offset, shape, strict=True))
        return None if offset[0] >= shape[0] or moved in exclude else moved

    for place in range(coder.grid.size):
        for layer in range(coder.rank):
            cell = np.unravel_index(coder.grid.order[place], shape)
            origin = np.unravel_index(content.row[report, layer], shape[:3])
            here = (*(int((x + o) % n) for x, o, n in zip(cell, origin, shape, strict=False)), int(cell[3]))
            others = {}
            for k in range(coder.rank):
                for at, energy in known[k].items() if k != layer else ():
                    others[at] = others.get(at, 0) + energy
            values, seen = [others.get(here, 0)], {here}
            for offset in NEAR:
                at = near(here, offset, seen)
                seen |= {at}
                values.append(others.get(at, 0))
            across = near((*here[:3], 0), (1, 0, 0, 0), ())
            values.append(sum(e for at, e in others.items() if at[:3] == here[:3]))
            values.append(sum(e for at, e in others.items() if across and at[:3] == across[:3]))
            values.append(sum(e for at, e in others.items() if at[3] == here[3]))
            values.append(sum(others.values()))
            found[place, layer] = [*(log[min(x, 4096)] for x in values), 16 * layer, 16 * (coder.rank - 1)]
            a, b = (min(abs(int(x[place, report, layer])), 15) for x in (content.real, content.imag))
            known[layer][here] = a * a + b * b
    return found


@pytest.mark.parametrize(
    ("shape", "rank"), [(SHAPE, 3), ((1, 1, 3, 4), 2), ((2, 2, 2, 3), 4), ((2, 1, 5, 1), 2)], ids=str
)
def test_features_of_the_other_layers_as_in_a_loop(shape, rank):
    coder = coder_of(shape, rank)
    content = content_of(coder, 3)
    found = coder._features(content)
    assert found.shape == (NUM_FEATURES + NUM_OTHERS, coder.grid.size, 3 * rank) and found.max() <= 96
    found = found[NUM_FEATURES:].reshape(NUM_OTHERS, -1, 3, rank)
    for report in range(3):
        for (place, layer), values in looped(coder, shape, content, report).items():
            assert found[:, place, report, layer].tolist() == values, (place, layer)


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_tables_of_the_first_places_are_those_of_all(rank):
    coder = coder_of(rank=rank)
    content = content_of(coder, 9)
    for places in (1, 30):
        part = dataclasses.replace(content, real=content.real[:places], imag=content.imag[:places])
        np.testing.assert_array_equal(coder.bins(part), coder.bins(content)[:places])


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_bits_return(rank):
    """From the bits alone, with the tables of the encoder, in blocks of any size."""
    coder = coder_of(rank=rank, energies=(30, 90))
    content = content_of(coder, 6)
    bits, num_bits = coder.encode(content, 3000)
    decoded, bins = coder.decode(bits, num_bits)
    assert same(decoded, content)
    np.testing.assert_array_equal(bins[1:], coder.bins(content)[1:])
    one, length = coder.encode(content.of(slice(4, 5)), 3000)
    assert length[0] == num_bits[4] and np.array_equal(one[0], bits[4])


def test_cut_reports_hold_the_first_coefficients():
    coder = coder_of()
    content = content_of(coder, 8)
    whole = coder.encode(content, 3000)[1]
    bits, num_bits = coder.encode(content, int(whole.min()) // 2)
    assert num_bits.max() <= whole.min() // 2
    decoded, _ = coder.decode(bits, num_bits)
    order = [np.moveaxis(x.real + 1j * x.imag, 1, 2).reshape(-1, 8) for x in (decoded, content)]
    for one, other in zip(*(x.T for x in order), strict=True):
        last = np.flatnonzero(one)[-1]
        np.testing.assert_array_equal(one[: last + 1], other[: last + 1])


def test_golden_bitstreams():
    """Pinned reports of ranks 2 to 4: a change of any of them is a breaking release."""
    for case in json.loads(GOLDEN.read_text())["cases"]:
        coder = coder_of(tuple(case["shape"]), case["rank"], case["energies"])
        content = content_of(coder, 2, seed=case["seed"])
        bits, num_bits = coder.encode(content, 4000)
        found = ["".join(map(str, row[:n])) for row, n in zip(bits, num_bits, strict=True)]
        assert [f"{int(x, 2):x}/{len(x)}" for x in found] == case["bits"]


def test_tables_for_several_layers_serve_these_alone():
    tables = shipped()
    one, several = (BeamDelayCodebook(Panel(4, 2, 2), 28, 4, rank, tables, 0.2, 1706).coder for rank in (1, 2))
    assert type(one) is BeamDelayCoder and one.tables is tables
    assert isinstance(several, LayeredCoder) and several.tables is tables.layers
    alone = BeamDelayCodebook(Panel(4, 2, 2), 28, 4, 2, dataclasses.replace(tables, layers=None), 0.2, 1706).coder
    assert type(alone) is BeamDelayCoder


@pytest.mark.long
def test_layers_of_like_energy_are_coded_shorter():
    """A second layer with the energies of the first one, whose origin it shares: learned contexts see it."""
    base = dataclasses.replace(shipped(), layers=None)
    rng, frame, sets = np.random.default_rng(1), Frame(Panel(4, 1, 2), 6), []
    for copied in (True, False):
        power = (rng.random((48, 300)) < 0.15) * 2
        other = power if copied else rng.permutation(power.T).T
        real = np.stack([power, other], axis=2).astype(np.int32)
        real[0] = 5
        row = np.full((300, 2), 3)
        sets.append(Content(np.zeros(300, int), np.zeros(300, int), row, real, np.zeros_like(real)))
    spent = []
    for content in sets:
        parts = [(frame, content, content.real + 0j)]
        tables = learn_layers(parts, base, 4, 60, 1, None, lambda line: None)
        coder = coder_of((2, 1, 4, 6), 2, (900,), tables)
        spent.append(coder.ideal_bits(content)[1:].sum(axis=(0, 1)))
    assert spent[0][1] < 0.75 * spent[0][0] and spent[1][1] > 0.9 * spent[1][0]


class Channels:
    """A store of a few channels in memory."""

    name, origin, hash = "few", {"format": "generic"}, "0" * 64

    def __init__(self, antennas):
        self.layout = ChannelLayout(Panel(4, 2, 2), 8, 360e3, num_rx_ant=antennas)
        h = np.random.default_rng(0).standard_normal((40, antennas, 16, 1, 8, 2)).astype(np.float32)
        self._h = h.view(np.complex64)[..., 0]

    def read(self, split):
        yield self._h, {}


def test_trained_where_users_have_several_antennas():
    base = dataclasses.replace(shipped(), layers=None)
    options = {"subband_size": 2, "hidden": 2, "epochs": 0.2, "log": lambda line: None}
    assert train_layers([(Channels(1), 40)], base, **options) is None
    found = train_layers([(Channels(1), 40), (Channels(2), 40)], base, **options)
    assert isinstance(found, LayeredTables)
    np.testing.assert_array_equal(found.importance, base.importance)


def test_tables_in_one_file(tmp_path):
    tables = shipped()
    tables.save(tmp_path / "t.npz")
    again = Tables.load(tmp_path / "t.npz")
    for one, other in ((tables, again), (tables.layers, again.layers)):
        assert type(one) is type(other)
        for field in one._arrays():
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
    with pytest.raises(StoreError, match="w1"):
        dataclasses.replace(tables.layers, w1=tables.w1)


def test_sums_of_a_network_that_float32_cannot_hold():
    """Largest feature 96, largest hidden value 8191: beyond 2**24 two machines may choose two tables."""
    tables, w2 = shipped(), np.full((64, 2), 33)
    with pytest.raises(StoreError, match="sums of the network"):
        dataclasses.replace(tables, w2=w2, w1=np.zeros((39, 64), int), b1=np.zeros((len(tables.b1), 64), int))
