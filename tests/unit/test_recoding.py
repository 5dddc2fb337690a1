"""Recoded enhanced Type II reports: lossless at every paramCombination and rank; any payload, length, tables."""

import hashlib
import itertools

import numpy as np
import pytest

from receivers.beamdelay.recoding import SHAPES, Counter, RecodedCodebook, load_tables, save_tables, walk
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.training.tasks.etype2_recoding import RecodingRecipe, RecodingTask
from receivers.weights.folder import zoo_folder
from simulator.core.errors import ConfigError, StoreError
from simulator.core.types import CsiConfig, CsiEstimate, Panel
from simulator.data.layout import ChannelLayout

RNG = np.random.default_rng
TABLES = load_tables(zoo_folder() / "etype2-recoding-urban" / "tables.npz")
CASES = [
    *[(Panel(8, 2, 2), 13, rank, pc) for rank, pc in itertools.product((1, 2, 3, 4), range(1, 7))],
    *[(Panel(8, 2, 2), 13, rank, pc) for rank, pc in itertools.product((1, 2), (7, 8))],
    (Panel(2, 1, 2), 1, 1, 1), (Panel(4, 1, 2), 3, 4, 4), (Panel(4, 2, 2), 24, 3, 6), (Panel(4, 4, 2), 37, 2, 5),
]  # fmt: skip


def sparse_channels(panel, units, reports, seed=1, rx=4):
    """Few plane waves with delays, so that reports look like those of cells, and one channel of zeros."""
    rng = RNG(seed)
    angle, delay = rng.uniform(-1, 1, (2, reports, rx, 6, 2))
    gain = rng.standard_normal((reports, rx, 6, panel.num_pol, 2)).view(np.complex128)[..., 0]
    x = np.exp(1j * np.pi * angle[..., :1] * np.arange(panel.n1))
    y = np.exp(1j * np.pi * angle[..., 1:] * np.arange(panel.n2))
    z = np.exp(1j * np.pi * delay[..., :1] * np.arange(units) / 3)
    h = np.einsum("nrkp,nrky,nrkx,nrkt->nrpyxt", gain, y, x, z).reshape(reports, rx, panel.num_ports, units)
    h[-1] = 0
    return h.astype(np.complex64)


@pytest.mark.parametrize("panel, units, rank, combination", CASES)
@pytest.mark.long
def test_the_same_precoders_from_other_bits(panel, units, rank, combination):
    plain = EnhancedTypeTwoCodebook(panel, units, 1, rank, combination, rank)
    book = RecodedCodebook(plain, combination, TABLES)
    pmi = plain.select(sparse_channels(panel, units, 12))
    part1, part2, length = book.pack(pmi)
    head, tail, plain_length = plain.pack(pmi)
    assert part1.shape[1] == 0 and (length <= 1 + head.shape[1] + plain_length).all()
    part2[np.arange(part2.shape[1]) >= length[:, None]] = 1  # bits after the report do not count
    found, valid = book.unpack(part1, part2, length)
    wanted, _ = plain.unpack(head, tail, plain_length)
    assert valid.all() and found.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
    assert book.precoder(found).tobytes() == plain.precoder(wanted).tobytes()


@pytest.mark.parametrize("panel, units, rank, combination", CASES)
def test_random_payloads_are_reports_that_the_standard_can_send(panel, units, rank, combination):
    """Decoded PMIs differ widely, in number of coefficients too; the standard's own bits hold each of them."""
    plain = EnhancedTypeTwoCodebook(panel, units, 1, rank, combination, rank)
    book = RecodedCodebook(plain, combination, TABLES)
    bits = RNG(3).integers(0, 2, (100, book.part2_bits), np.uint8)
    bits[:, 0] = 1
    length = RNG(4).integers(1, book.part2_bits + 1, 100)
    pmi, valid = book.unpack(bits[:, :0], bits, length)
    assert valid.mean() < 0.2  # the right length by chance
    again, legal = plain.unpack(*plain.pack(pmi))
    assert legal.all()
    for key, value in again.items():
        np.testing.assert_array_equal(pmi[key], value, err_msg=key)
    found, valid = book.unpack(*book.pack(pmi))
    assert valid.all() and all((found[key] == pmi[key]).all() for key in pmi)
    w = book.precoder(found)
    np.testing.assert_allclose(np.sum(np.abs(w) ** 2, axis=1), 1, atol=1e-5)


def test_a_report_unlike_those_of_the_tables_is_a_flag_longer():
    """With tables that expect the opposite the plain payload is sent, one bit longer, and decodes."""
    plain = EnhancedTypeTwoCodebook(Panel(8, 2, 2), 13, 1, 1, 4)
    pmi = plain.select(sparse_channels(Panel(8, 2, 2), 13, 20))
    wrong = {}
    counter = Counter()
    counter.combination = 4
    walk(plain.payload, counter, pmi)
    for key, counts in counter.counts.items():
        rows = np.full(counts.shape, 16)
        np.put_along_axis(rows, counts.argmin(axis=2)[..., None], 65536 - 16 * (counts.shape[2] - 1), axis=2)
        wrong[key] = rows.reshape(-1, counts.shape[2])
    book = RecodedCodebook(plain, 4, wrong)
    part1, part2, length = book.pack(pmi)
    assert (part2[:, 0] == 0).all() and (length == 1 + plain.part1_bits + plain.pack(pmi)[2]).all()
    found, valid = book.unpack(part1, part2, length)
    assert valid.all() and all((found[key] == pmi[key]).all() for key in pmi)
    for wrong in (length - 1, np.minimum(length, 40), length * 0 + 1):
        assert not book.unpack(part1, part2, wrong)[1].any()
    part2[:, 1:] = 1
    assert not book.unpack(part1, part2, np.full(20, 2))[1].any()


def test_the_length_is_that_of_the_ideal_code():
    """Sum of -log2 of the probabilities of all symbols, in float64, from a walk of its own."""

    class Ideal(Counter):
        bits = 0.0

        def put(self, table, context, value, active):
            active, context = np.broadcast_to(active, value.shape), np.broadcast_to(context, value.shape)
            p = TABLES[table][(self.combination - 1) * SHAPES[table][0] + context, np.where(active, value, 0)] / 65536
            self.bits = self.bits - np.where(active, np.log2(p), 0)
            return super().put(table, context, value, active)

        def uniform(self, size, value, active=True):
            self.bits = self.bits + np.broadcast_to(active, value.shape) * np.log2(size)
            return super().uniform(size, value, active)

    plain = EnhancedTypeTwoCodebook(Panel(8, 2, 2), 13, 1, 1, 6)
    pmi = plain.select(sparse_channels(Panel(8, 2, 2), 13, 50))
    ideal = Ideal()
    ideal.combination = 6
    walk(plain.payload, ideal, pmi)
    _, part2, length = RecodedCodebook(plain, 6, TABLES).pack(pmi)
    coded = part2[:, 0] == 1
    extra = length[coded] - 1 - ideal.bits[coded]
    assert coded.sum() > 10 and extra.min() > -0.05 and extra.max() <= 2.05


def config():
    return CsiConfig(Panel(4, 2, 2), 2, 26, 360e3, 2, 2)


def test_in_the_scheme():
    c = config()
    h = sparse_channels(c.panel, 26, 12, rx=2)[:, None]
    csi = CsiEstimate(h, np.full((12, 1), 0.01, np.float32))
    plain, recoded = (EnhancedTypeTwoFeedback(c, combination=4, recode=r) for r in (False, True))
    assert recoded.label == "etype2-pc4-recoded" and recoded.max_bits == plain.max_bits + 1
    report, other = plain.report(csi), recoded.report(csi)
    assert other.num_bits.mean() < report.num_bits.mean() and len(set(other.num_bits.ravel().tolist())) > 3
    one, two = plain.reconstruct(report), recoded.reconstruct(other)
    assert one.w.tobytes() == two.w.tobytes() and two.valid.all()
    one, two = plain.codebooks[1], recoded.codebooks[1]
    pmi, _ = two.unpack(*two.pack(two.select(h[:, 0])))
    np.testing.assert_array_equal(two.beam_delay(pmi).x, one.beam_delay(one.select(h[:, 0])).x)  # what `refine` takes
    assert two.size == one.size and two.num_units == one.num_units


def test_golden_streams():
    """A changed stream is a breaking release."""
    plain = EnhancedTypeTwoCodebook(Panel(8, 2, 2), 13, 1, 2, 4, 2)
    bits = RNG(5).integers(0, 2, (200, 600), np.uint8)
    bits = bits[:, : RecodedCodebook(plain, 4, TABLES).part2_bits]
    bits[:, 0] = 1
    book = RecodedCodebook(plain, 4, TABLES)
    pmi, _ = book.unpack(bits[:, :0], bits, np.full(200, bits.shape[1]))
    _, part2, length = book.pack(pmi)
    found = hashlib.sha256(np.packbits(part2, axis=1).tobytes() + length.astype("<i8").tobytes()).hexdigest()
    assert part2[:, 0].mean() > 0.9 and found[:16] == "1f7ada41046d29e1"


@pytest.mark.parametrize("damage", ["missing", "shape", "sum", "float", "bytes"])
def test_damaged_tables(tmp_path, damage):
    path = tmp_path / "tables.npz"
    save_tables(TABLES, path)
    assert all((load_tables(path)[key] == TABLES[key]).all() for key in SHAPES)
    tables = dict(np.load(path))
    if damage == "missing":
        del tables["tap"]
    elif damage == "shape":
        tables["tap"] = tables["tap"][1:]
    elif damage == "sum":
        tables["tap"][0, 0] -= 1
    elif damage == "float":
        tables["tap"] = tables["tap"] / 1.0
    np.savez(path, **tables)
    if damage == "bytes":
        path.write_bytes(b"no tables")
    with pytest.raises(StoreError, match="no tables of recoded reports"):
        load_tables(path)


def test_tables_of_another_task():
    with pytest.raises(ConfigError, match="etype2-recoding-urban"):
        EnhancedTypeTwoFeedback(config(), recode="beamdelay-urban")


class Channels:
    """Stands for a store."""

    name, origin, hash = "few", {}, "0"

    def __init__(self):
        self.layout = ChannelLayout(Panel(4, 2, 2), 26, 360e3)
        self._h = sparse_channels(self.layout.panel, 26, 300, seed=6, rx=1)[:, :, :, None]

    def read(self, split):
        h = self._h[:200] if split == "train" else self._h[200:]
        yield h, {}


@pytest.mark.long
def test_the_recipe_counts_tables_that_the_scheme_takes(tmp_path):
    recipe = RecodingRecipe(task="etype2_recoding", name="few", dataset="few", samples=200, subband_size=2)
    task = RecodingTask(recipe, [Channels()])
    found = task.build(tmp_path, lambda line: None)
    card = task.card(found, {}, tmp_path / "few")
    assert card["task"] == "etype2_recoding"
    scores = task.score(found, tmp_path / "few")
    assert sorted(scores) == [f"pc{n}" for n in range(1, 7)] and scores["pc4"].values.mean() < 0.97
    scheme = EnhancedTypeTwoFeedback(config(), combination=4, recode=str(tmp_path / "few"))
    assert scheme.label == "etype2-pc4-recoded-few"
    csi = CsiEstimate(sparse_channels(config().panel, 26, 4, rx=2)[:, None], np.zeros((4, 1), np.float32))
    assert scheme.reconstruct(scheme.report(csi)).valid.all()
