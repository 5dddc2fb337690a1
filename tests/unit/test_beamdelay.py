"""Beam-delay code: transform, contexts and coder against loops, budgets, prefixes, golden streams, damaged tables."""

import dataclasses
import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from receivers.beamdelay.coder import BeamDelayCoder
from receivers.beamdelay.content import Content
from receivers.beamdelay.contexts import NUM_SYMBOLS, Contexts
from receivers.beamdelay.frame import Frame
from receivers.beamdelay.grid import OFFSETS, Grid
from receivers.beamdelay.search import energies_for
from receivers.beamdelay.tables import Tables
from receivers.codebooks.alignment import sparse_phases
from receivers.feedback.beamdelay import BeamDelayFeedback
from receivers.training.beamdelay import _gradient, learn, quantized
from receivers.training.recipe import parse_training
from receivers.training.tasks.beamdelay import BeamDelayRecipe, BeamDelayTask
from receivers.weights.card import file_entry
from receivers.weights.folder import zoo_folder
from simulator.core.errors import ConfigError, StoreError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel
from simulator.data.layout import ChannelLayout
from simulator.maths.transforms import subband_eigenvectors

GOLDEN = Path(__file__).parents[1] / "golden" / "beamdelay.json"


@cache
def tables():
    return Tables.load(zoo_folder() / "beamdelay-urban" / "tables.npz")


def config(panel=None, num_rx_ant=1, num_subcarriers=28, subband_size=4, num_layers=1):
    return CsiConfig(panel or Panel(4, 2, 2), num_rx_ant, num_subcarriers, 360e3, subband_size, num_layers)


def channels(c, batch, seed=1, paths=3):
    """A few plane waves with short delays, complex64 [batch, 1, rx, port, subcarrier]."""
    rng = np.random.default_rng(seed)
    lead, p = (batch, 1, c.num_rx_ant), c.panel
    h = 0
    for path in range(paths):
        u, v, delay = rng.random((3, batch, 1, 1, 1))
        beam = (
            np.exp(2j * np.pi * u * np.arange(p.n1))[..., None] * np.exp(2j * np.pi * v * np.arange(p.n2))[..., None, :]
        )
        gain = (rng.standard_normal((*lead, p.num_pol, 2)) @ [1, 1j]) * 0.6**path
        port = (gain[..., None, None] * beam[:, :, :, None]).reshape(*lead, -1, 1)
        h = h + port * np.exp(-0.3j * np.pi * delay[..., None] / max(1, c.subband_size) * np.arange(c.num_subcarriers))
    return h.astype(np.complex64)


def estimate(c, batch, seed=1):
    h = channels(c, batch, seed)
    return CsiEstimate(h, np.zeros((batch, 1), np.float32))


def coder_of(shape, rank=1, energies=(100,), groups=4):
    return BeamDelayCoder(Grid(shape, tables().importance), tables(), groups, rank, list(energies))


def content_of(coder, reports, seed=3, scale=0.6):
    """Whole parts that fall off with the place, made from integers alone: the same on every machine."""
    rng = np.random.default_rng(seed)
    size, steps = coder.grid.size, len(coder.energies)
    parts = []
    for _ in range(2):
        coins = rng.integers(0, 1 << 16, (size, reports, coder.rank))
        limit = (1 << 16) * int(100 * scale) // (100 + 900 * np.arange(size) // size)[:, None, None]
        parts.append(((coins < limit) * (1 + (coins % 3 == 0) + (coins % 61 == 0) * 20)).astype(np.int64))
    sign = 1 - 2 * rng.integers(0, 2, (2, size, reports, coder.rank))
    real, imag = parts[0] * sign[0], parts[1] * sign[1]
    if scale > 0.5:
        real[1], imag[2], real[3], imag[3] = 15, -16, -40, 300
    step = rng.integers(0, steps, reports)
    row = rng.integers(0, coder.grid.num_rows, (reports, coder.rank))
    imag[0] = 0
    real[0] = coder.limit_origin(rng.integers(1, 12, (reports, coder.rank)), step)
    return Content(rng.integers(0, 4, reports), step, row, real, imag)


def same(one, other):
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(Content))


# Frame ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("panel", [Panel(4, 2, 2), Panel(3, 1, 1), Panel(2, 4, 2), Panel(8, 4, 2)], ids=str)
def test_directions_are_sums_of_beams_and_delays(panel):
    """NumPy float64 loop over cells: beam (TS 38.214, 5.2.2.2.1) times delay, counted cyclically from the origin."""
    rng, taps = np.random.default_rng(2), 5
    frame = Frame(panel, taps)
    o1, o2 = (4 if n >= 4 else 1 for n in (panel.n1, panel.n2))
    group, row = 1 if frame.num_groups > 1 else 0, panel.num_ports - 1
    cells = np.zeros((1, 1, panel.num_ports * taps), np.complex64)
    chosen = rng.choice(cells.size, 6, replace=False)
    cells[0, 0, chosen] = rng.standard_normal(6) + 1j * rng.standard_normal(6)
    q1, q2 = divmod(group, o2)
    shape = panel.num_pol, panel.n2, panel.n1, taps
    origin = [*np.unravel_index(row, shape[:3]), 0]
    w = np.zeros((panel.num_pol, panel.n1, panel.n2, taps), complex)
    for index in chosen:
        p, b2, b1, tap = ((x + o) % n for x, o, n in zip(np.unravel_index(index, shape), origin, shape, strict=True))
        for m1 in range(panel.n1):
            for m2 in range(panel.n2):
                turn = (o1 * b1 + q1) * m1 / (o1 * panel.n1) + (o2 * b2 + q2) * m2 / (o2 * panel.n2)
                for t in range(taps):
                    w[p, m1, m2, t] += cells[0, 0, index] * np.exp(2j * np.pi * (turn + tap * t / taps))
    w = w.reshape(-1, taps)
    w /= np.linalg.norm(w, axis=0)
    found = frame.directions(np.array([group]), np.array([[row]]), cells)[0, :, 0]
    np.testing.assert_allclose(found, w, atol=2e-6)


@pytest.mark.parametrize(("panel", "bands"), [(Panel(8, 2, 2), 13), (Panel(3, 1, 1), 1), (Panel(4, 4, 2), 52)], ids=str)
def test_the_frame_loses_nothing_and_puts_the_strongest_first(panel, bands):
    c = config(panel, num_subcarriers=bands, subband_size=1)
    v = np.moveaxis(channels(c, 6)[:, 0], 2, 3)
    v /= np.linalg.norm(v, axis=3, keepdims=True)
    frame = Frame(panel, bands)
    group, beams = frame.beams(v, np.full(6, 0.2))[-1]
    row, cells = frame.to_origin(frame.align(beams[:, 0], np.full(6, 0.2)))
    assert np.allclose(np.sum(np.abs(cells) ** 2, axis=1), 1, atol=1e-5)
    assert np.allclose(np.abs(cells).max(axis=1), cells[:, 0].real, atol=1e-6) and np.abs(cells[:, 0].imag).max() < 1e-6
    w = frame.directions(group, row[:, None], cells[:, None])[:, :, 0]
    np.testing.assert_allclose(np.abs(np.einsum("ntp,npt->nt", v[:, 0].conj(), w)), 1, atol=1e-5)


def test_alignment_makes_few_coefficients_hold_the_energy():
    """Phases of the subbands drawn at random: the eight largest coefficients hold what they held before."""
    c = config(Panel(8, 2, 2), num_subcarriers=13, subband_size=1)
    rng = np.random.default_rng(3)
    v = np.moveaxis(channels(c, 40, paths=1)[:, 0], 2, 3)
    v /= np.linalg.norm(v, axis=3, keepdims=True)
    frame = Frame(c.panel, 13)
    kept = []
    for turned in (v, v * np.exp(2j * np.pi * rng.random((40, 1, 13, 1))).astype(np.complex64)):
        c = frame.beams(turned, np.full(40, 0.15))[0][1][:, 0]
        for found in (frame.align(c, np.full(40, 0.15)), c):
            power = np.sort(np.abs(frame.taps(found)).reshape(40, -1) ** 2, axis=1)
            kept.append(power[:, -8:].sum(axis=1).mean())
    assert kept[2] > kept[0] - 0.03 and kept[2] > kept[3] + 0.2


def test_phases_are_those_of_a_loop_over_one_direction():
    """In float64, with all rows: large coefficients in turn with the phases that fit them, from the best of four."""
    rng, units = np.random.default_rng(4), 13
    floor = np.array([0.005, 0.01, 0.02, 0.1, 0.3, 9, 9, 9])  # of the last ones half the largest power is less
    decay, items = np.where(floor < 1, 0.6, 0.88)[:, None, None], len(floor)
    delays, shape = 3 * rng.random((items, 8, 1)), (items, 8, units)
    c = np.exp(2j * np.pi * (rng.random((items, 8, 1)) - delays / units * np.arange(units)))
    c = decay ** np.arange(8)[:, None] * c
    c = (c + 0.03 * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))) / 5
    c = c * np.exp(2j * np.pi * rng.random((items, 1, units)))
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(units), np.arange(units)) / units) / units**0.5
    found = sparse_phases(c.astype(np.complex64), floor, 5, 2)
    assert np.allclose(np.abs(found), 1, atol=1e-5)
    for item in range(items):
        top = c[item, np.sum(np.abs(c[item]) ** 2, axis=1).argmax()]
        tried, kept = [], []
        for delay in (0, 0.25, 0.5, 0.75):
            phases, energies = np.exp(-1j * np.angle(top) - 2j * np.pi * delay / units * np.arange(units)), []
            for _ in range(5):
                x = (c[item] * phases) @ fourier
                x[np.abs(x) ** 2 <= min(floor[item], 0.5 * np.max(np.abs(x) ** 2))] = 0
                energies.append(np.sum(np.abs(x) ** 2))
                inner = np.sum(np.conj(c[item] * phases) * (x @ fourier.conj()), axis=0)
                phases = phases * np.exp(1j * np.angle(inner))
            tried.append(phases)
            kept.append(energies[1])
        best = [phases for phases, energy in zip(tried, kept, strict=True) if energy > max(kept) * (1 - 1e-5)]
        assert min(np.abs(found[item] - phases).max() for phases in best) < 1e-3


# Contexts ------------------------------------------------------------------------------------------------------------


def looped_bins(grid, symbols, energy):
    """Tables of one report in Python integers, place by place, from the definition."""
    t = tables()
    log = [((n + 1) ** 8).bit_length() - 1 for n in range(4097)]
    squares = [(s // 16) ** 2 + (s % 16) ** 2 for s in range(NUM_SYMBOLS)]
    found = []
    for place in range(grid.size):
        before = range(place)
        features = []
        for number in range(len(OFFSETS)):
            near = grid.neighbours[place, number]
            assert near == grid.size or near < place
            features.append(log[squares[symbols[near]]] if near < grid.size else 0)
        row, tap, total = grid.row[place], grid.tap[place], sum(squares[symbols[p]] for p in before)
        features.append(sum(squares[symbols[p]] for p in before if grid.row[p] == row))
        features.append(sum(squares[symbols[p]] for p in before if grid.row[p] == grid.across[row]))
        features.append(sum(squares[symbols[p]] for p in before if grid.tap[p] == tap))
        features += [energy - total, energy, total]
        features[-6:] = [log[min(max(x, 0), 4096)] for x in features[-6:]]
        kind = grid.kind[place]
        scores = [
            int(t.b2[kind, k]) + sum(int(w) * f for w, f in zip(t.w3[:, k], features, strict=True)) for k in (0, 1)
        ]
        for unit in range(t.w1.shape[1]):
            z = int(t.b1[kind, unit]) + sum(int(w) * f for w, f in zip(t.w1[:, unit], features, strict=True))
            scores = [x + int(w) * min(max(z, 0), 8191) for x, w in zip(scores, t.w2[unit], strict=True)]
        zero, size = min(max(scores[0] // 2**13 + 40, 0), 63), min(max(scores[1] // 2**15 + 5, 0), 15)
        found.append(16 * zero + size)
    return np.array(found)


@pytest.mark.parametrize("shape", [(2, 2, 4, 7), (1, 1, 3, 5), (2, 1, 2, 1), (2, 4, 1, 3)], ids=str)
def test_contexts_are_the_integer_network_of_what_came_before(shape):
    coder = coder_of(shape, energies=(150,))
    content = content_of(coder, 3)
    bins = coder.bins(content)
    symbols = np.minimum(np.abs(content.real), 15) * 16 + np.minimum(np.abs(content.imag), 15)
    for report in range(3):
        np.testing.assert_array_equal(bins[:, report, 0], looped_bins(coder.grid, symbols[:, report, 0], 150))


@pytest.mark.parametrize("shape", [(2, 2, 8, 13), (2, 4, 4, 30), (1, 1, 5, 1)], ids=str)
def test_places_are_a_permutation_with_the_origin_first(shape):
    grid = Grid(shape, tables().importance)
    assert sorted(grid.order) == list(range(grid.size)) and grid.order[0] == 0
    known = grid.neighbours < grid.size
    assert (grid.neighbours[known] < np.nonzero(known)[0]).all()
    for row in grid.neighbours[:: max(1, grid.size // 50)]:
        near = row[row < grid.size]
        assert len(set(near)) == len(near)  # no neighbour twice on small axes


def test_sums_stay_exact_in_float32():
    """The largest sum that weights and features of the shipped tables can make is below 2**24."""
    t = tables()
    hidden = np.abs(t.w1).sum(axis=0) * 96 + np.abs(t.b1).max(axis=0)
    score = np.abs(t.w3).sum(axis=0) * 96 + 8191 * np.abs(t.w2).sum(axis=0) + np.abs(t.b2).max() + 40 * 2**13
    assert hidden.max() < 2**24 and score.max() < 2**24


def test_whole_features_are_at_most_96():
    coder = coder_of((2, 2, 4, 7), energies=(10**6,))
    content = content_of(coder, 2, scale=3)
    contexts = Contexts(coder.grid, tables().network)
    symbols = np.minimum(np.abs(content.real), 15) * 16 + np.minimum(np.abs(content.imag), 15)
    features = contexts.features(symbols[..., 0], np.full(2, 1e6, np.float32))
    assert features.min() >= 0 and features.max() == 96 and (features == np.floor(features)).all()


# Coder ---------------------------------------------------------------------------------------------------------------


def looped_table(t, zero, size):
    """Probabilities of the 256 symbols, of 2**22, in Python integers."""
    z, shares = int(t.zero[zero]), t.nonzero[size].tolist()
    rest = [1 + share * (2**22 - z - 255) // 2**22 for share in shares]
    rest[shares.index(max(shares))] += 2**22 - z - sum(rest)
    return [z, *rest]


def test_probabilities_are_whole_and_complete():
    """A zero has its own; what is not 0 shares the rest as its size says."""
    t = tables()
    assert t.frequency.shape == (1024, NUM_SYMBOLS) and t.frequency.min() >= 1
    assert (t.frequency.sum(axis=1) == 2**22).all()
    for zero, size in ((0, 0), (63, 15), (30, 7), (45, 3)):
        assert t.frequency[16 * zero + size].tolist() == looped_table(t, zero, size)
        np.testing.assert_array_equal(t.levels[16 * zero + size], t.means[size])


def looped_code(coder, content, report):
    """Range code of one report in Python integers without registers: low and span of any length."""
    low, span, octets = 0, 1 << 48, 0

    def put(start, share, precision=16):
        nonlocal low, span, octets
        if share < 1 << precision:
            low += (span >> precision) * start
            span = (span >> precision) * share
        while span <= 1 << 40:
            low, span, octets = low << 8, span << 8, octets + 1

    def put_share(value, size):
        if size > 1:
            put(value * 65536 // size, (value + 1) * 65536 // size - value * 65536 // size)

    t = coder.tables
    put_share(int(content.group[report]), 4)
    put_share(int(content.step[report]), len(coder.energies))
    for row in content.row[report]:
        put_share(int(row), coder.grid.num_rows)
    bins = coder.bins(content)
    ideal = 0.0
    for place in range(coder.grid.size):
        for layer in range(coder.rank):
            a, b = (int(x[place, report, layer]) for x in (content.real, content.imag))
            if place == 0:
                most = math.isqrt(int(coder.energies[content.step[report]])) + 1
                ends = []
                for size in (a - 1, a):
                    cell, rest = divmod(size * 32, most)
                    full = int(t.origin[:cell].sum())
                    ends.append(full + (int(t.origin[cell]) * rest // most if cell < 32 else 0))
                put(ends[0], ends[1] - ends[0])
                continue
            table = looped_table(t, *divmod(int(bins[place, report, layer]), 16))
            symbol = min(abs(a), 15) * 16 + min(abs(b), 15)
            put(sum(table[:symbol]), table[symbol], 22)
            signs = [x < 0 for x in (a, b) if x]
            if signs:
                share = 4 >> len(signs)
                put(int("".join(str(int(s)) for s in signs), 2) * share, share, 2)
            ideal += 22 - math.log2(table[symbol]) + len(signs)
            for part in (abs(a), abs(b)):
                if part >= 15:
                    digits = bin(part - 14)[2:]
                    for digit in "1" * (len(digits) - 1) + "0" + digits[1:]:
                        put(int(digit), 1, 1)
                        ideal += 1
    total = 48 + 8 * octets
    for bits in range(total + 1):  # the fewest bits all of whose continuations lie in the range
        unit = 1 << (total - bits)
        up = -(-low // unit) * unit
        if up + unit <= low + span:
            return format(up // unit, f"0{bits}b") if bits else "", ideal
    raise AssertionError


@pytest.mark.parametrize(
    ("shape", "rank", "energies"),
    [((2, 2, 4, 7), 1, (150,)), ((2, 1, 4, 3), 3, (9, 40, 160, 700)), ((1, 1, 3, 5), 2, (7,))],
    ids=str,
)
def test_bits_equal_those_of_a_loop_over_one_report(shape, rank, energies):
    coder = coder_of(shape, rank, energies)
    content = content_of(coder, 4)
    assert max(np.abs(content.real).max(), np.abs(content.imag).max()) > 15  # escapes occur
    bits, num_bits = coder.encode(content, 4000)
    for report in range(4):
        found = "".join(map(str, bits[report, : num_bits[report]]))
        assert found == looped_code(coder, content, report)[0]
    decoded, bins = coder.decode(bits, num_bits)
    assert same(decoded, content)
    np.testing.assert_array_equal(bins[1:], coder.bins(content)[1:])


def test_length_is_within_one_percent_and_ten_bits_of_the_ideal_one():
    coder = coder_of((2, 2, 8, 13), energies=(60,))
    content = content_of(coder, 200, scale=0.25)
    num_bits = coder.encode(content, 8000)[1]
    ideal = coder.ideal_bits(content).sum(axis=(0, 2)) + coder.head_bits()
    assert (num_bits >= ideal - 1e-3).all() and (num_bits <= 1.01 * ideal + 10).all()
    assert (num_bits - ideal).max() < 2.01
    signs = looped_code(coder, content, 0)[1]
    assert abs(signs + coder.head_bits() + coder.origin_bits(content)[0, 0] - ideal[0]) < 1e-2


def test_a_batch_is_coded_as_its_reports_alone():
    coder = coder_of((2, 2, 4, 7), 2, (30, 90))
    content = content_of(coder, 5)
    bits, num_bits = coder.encode(content, 3000)
    for report in range(5):
        one, length = coder.encode(content.of(slice(report, report + 1)), 3000)
        assert length[0] == num_bits[report] and np.array_equal(one[0], bits[report])
        assert same(coder.decode(one, length)[0], content.of(slice(report, report + 1)))


def test_every_prefix_decodes_to_the_first_coefficients():
    """Unknown are at most the coefficients that the cut bits describe; none is wrong."""
    coder = coder_of((2, 2, 4, 7), energies=(60,))
    content = content_of(coder, 1, scale=0.3)
    bits, num_bits = coder.encode(content, 3000)
    length = int(num_bits[0])
    cuts = np.arange(length + 1)
    sent = bits[0, :length] * (np.arange(length) < cuts[:, None]).astype(np.uint8)
    decoded, _ = coder.decode(sent, cuts)
    true = content.real[:, 0, 0] + 1j * content.imag[:, 0, 0]
    known = decoded.real[..., 0] + 1j * decoded.imag[..., 0]
    counts = []
    for cut in cuts:
        equal = known[:, cut] == true
        first = len(true) if equal.all() else int(np.argmin(equal))
        assert first == len(true) or (known[first:, cut] == 0).all() or first == 0
        counts.append(first)
    assert counts[-1] == len(true) and (np.diff(counts) >= 0).all()


@pytest.mark.long
def test_a_cut_report_holds_what_fits_up_to_one_bit():
    """Trailing zeros need no bits: with one bit more than its ideal length the last coefficient arrives.

    If a zero after it is less likely than 1/2, the last one may be left out instead, and nothing else.
    """
    coder = coder_of((2, 2, 4, 7), energies=(60,))
    content = content_of(coder, 40, scale=0.05)
    content.real[40:], content.imag[40:] = 0, 0
    ends = np.cumsum(coder.ideal_bits(content)[..., 0], axis=0) + coder.head_bits()
    last = 40 - 1 - ((content.real != 0) | (content.imag != 0))[39::-1, :, 0].argmax(axis=0)
    whole = 0
    for report in range(40):
        budget = math.ceil(ends[last[report], report] + 1.02)
        one = content.of(slice(report, report + 1))
        found = coder.decode(*coder.encode(one, budget))[0]
        differs = np.flatnonzero((found.real != one.real) | (found.imag != one.imag))
        assert set(differs) <= {last[report]}
        whole += not differs.size
    assert whole >= 36


@pytest.mark.long
def test_golden_bitstreams():
    """Ten pinned reports: a change of any of them is a breaking release."""
    for case in json.loads(GOLDEN.read_text())["cases"]:
        coder = coder_of(tuple(case["shape"]), case["rank"], case["energies"])
        content = content_of(coder, 2, seed=case["seed"], scale=case["scale"])
        bits, num_bits = coder.encode(content, 4000)
        found = ["".join(map(str, row[:n])) for row, n in zip(bits, num_bits, strict=True)]
        assert [f"{int(x, 2):x}/{len(x)}" for x in found] == case["bits"]
        assert same(coder.decode(bits, num_bits)[0], content)


# Budgets -------------------------------------------------------------------------------------------------------------


def test_steps_of_a_budget_are_whole_and_increase():
    for bits in (1, 16, 62, 111, 279, 1706):
        energies = energies_for(bits)
        assert len(energies) == 8 and (np.diff(energies) > 0).all()
    assert energies_for(112) == ENERGIES_112


ENERGIES_112 = [26, 38, 53, 76, 128, 215, 430, 1217]  # floor(2 ** ((19 + o) / 4)), o = 0, 2, 4, 6, 9, 12, 16, 22


def sgcs(scheme, csi):
    known = scheme.twin().reconstruct(scheme.report(csi))
    true = subband_eigenvectors(csi.h_hat[:, 0], scheme.config.subband_size, 1)[:, 0]
    return np.mean(np.abs(np.einsum("ntp,npt->nt", true.conj(), known.w[:, 0, :, 0])) ** 2)


@pytest.mark.long
def test_more_bits_and_finer_steps_are_better():
    c = config(Panel(8, 2, 2), num_subcarriers=52)
    csi = estimate(c, 24)
    found = [sgcs(BeamDelayFeedback(c, bits=bits), csi) for bits in (16, 50, 160)]
    assert (np.diff(found) > 0.01).all() and found[-1] > 0.9
    found = [sgcs(BeamDelayFeedback(c, step=step), csi) for step in (0.5, 0.2, 0.03)]
    assert (np.diff(found) > 0.005).all() and found[-1] > 0.98


@pytest.mark.parametrize("bits", [16, 17, 47, 90, 300, 1706])
def test_reports_of_a_budget_fill_it_and_are_never_longer(bits):
    c = config(num_subcarriers=20)
    report = BeamDelayFeedback(c, bits=bits).report(estimate(c, 20))
    assert (report.num_bits == bits).all() and report.bits.shape[2] == bits


@pytest.mark.long
@pytest.mark.parametrize(("rank", "bits"), [(1, 30), (1, 62), (1, 150), (2, 150)])
def test_the_search_ends_within_the_budget(rank, bits):
    """The gNB decodes all that the UE chose; what is left does not fit, or gains nothing."""
    c = config(num_rx_ant=rank, num_subcarriers=20, num_layers=rank)
    book = BeamDelayFeedback(c, bits=bits, rank=rank).codebooks[rank]
    chosen = book.select(channels(c, 300, paths=6)[:, 0])
    _, sent, num_bits = book.pack(chosen)
    decoded = book.unpack(None, sent, num_bits)[0]
    for key in ("group", "step", "row", "real", "imag"):
        assert np.array_equal(decoded[key], chosen[key])
    content = Content(
        *(chosen[key] for key in ("group", "step", "row")), *(np.moveaxis(chosen[k], 1, 0) for k in ("real", "imag"))
    )
    needed = book.coder.needed(content, book.coder.bins(content), bits)
    more = (content.real[1:] != 0) | (content.imag[1:] != 0)
    several = more.any(axis=(0, 2))  # origins alone are never left out
    assert several.mean() > 0.9 and needed[several].max() <= bits
    assert (bits - needed).mean() < 3


@pytest.mark.long
@pytest.mark.parametrize("bits", [40, 64])
def test_one_strong_path_has_the_step_that_serves_it(bits):
    """Where few coefficients are large the search is no worse than one of its steps for all, cut to as many bits."""
    c = config(Panel(8, 2, 2), num_subcarriers=52)
    h = 4 * channels(c, 60, seed=5, paths=1) + channels(c, 60, seed=6, paths=12)
    csi = CsiEstimate(h.astype(np.complex64), np.zeros((60, 1), np.float32))
    whole = [sgcs(BeamDelayFeedback(c, step=e**-0.5, bits=bits), csi) for e in energies_for(bits)]
    assert sgcs(BeamDelayFeedback(c, bits=bits), csi) > max(whole) - 0.002


def test_what_a_report_needs_is_when_it_is_sent_whole():
    coder = coder_of((2, 2, 4, 7), energies=(60,))
    content = content_of(coder, 60, scale=0.05)
    for bits in (50, 64, 91):
        part = coder.first(content, bits)
        whole = coder.decode(*coder.encode(content, bits))[0]
        needed = coder.needed(part, coder.bins(part), bits)
        assert needed.max() <= bits and same(coder.decode(*coder.encode(part, bits))[0], part)
        more = (whole.real != 0) | (whole.imag != 0)
        assert (more.sum(axis=0) - ((part.real != 0) | (part.imag != 0)).sum(axis=0)).max() <= 1


def test_reports_beyond_the_longest_are_cut():
    c = config()
    csi = estimate(c, 30)
    whole = BeamDelayFeedback(c, step=0.05).report(csi)
    scheme = BeamDelayFeedback(c, step=0.05, bits=64)
    report = scheme.report(csi)
    assert whole.num_bits.min() > 64 and report.num_bits.max() == 64 and report.num_bits.min() > 48
    assert scheme.reconstruct(report).valid.all()


@pytest.mark.parametrize(("rank", "rx"), [(2, 2), (3, 4), (4, 4)])
def test_ranks(rank, rx):
    c = config(num_rx_ant=rx, num_layers=rank)
    csi = estimate(c, 8)
    scheme = BeamDelayFeedback(c, bits=120 * rank, rank=rank)
    known = scheme.twin().reconstruct(scheme.report(csi))
    assert known.w.shape == (8, 1, 16, rank, 7) and np.allclose(np.linalg.norm(known.w, axis=2), 1, atol=1e-5)
    v = subband_eigenvectors(csi.h_hat[:, 0], 4, rank)
    score = np.abs(np.einsum("nltp,nplt->nlt", v.conj(), known.w[:, 0])) ** 2
    assert score[:, 0].mean() > 0.8 and score.mean() > 0.6


@pytest.mark.parametrize(
    ("panel", "subbands"),
    [(Panel(8, 4, 2), 3), (Panel(1, 1, 2), 9), (Panel(1, 1, 1), 1), (Panel(2, 1, 1), 275)],
    ids=str,
)
def test_other_panels_and_bands(panel, subbands):
    c = config(panel, num_subcarriers=subbands, subband_size=1)
    for params in ({"bits": 60}, {"step": 0.2}):
        scheme = BeamDelayFeedback(c, **params)
        known = scheme.twin().reconstruct(scheme.report(estimate(c, 3)))
        assert known.valid.all() and np.allclose(np.linalg.norm(known.w, axis=2), 1, atol=1e-5)


def test_a_dead_channel_has_a_report():
    c = config()
    csi = CsiEstimate(np.zeros((2, 1, 1, 16, 28), np.complex64), np.zeros((2, 1), np.float32))
    for params in ({"bits": 40}, {"step": 0.2}):
        scheme = BeamDelayFeedback(c, **params)
        assert np.isfinite(scheme.reconstruct(scheme.report(csi)).w).all()


def test_ten_thousand_random_payloads():
    c = config(Panel(2, 2, 2), num_subcarriers=12)
    scheme = BeamDelayFeedback(c, bits=40)
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 2, (10_000, 1, 40), dtype=np.uint8)
    lengths = rng.integers(1, 41, (10_000, 1))
    known = scheme.reconstruct(CsiReport(bits * (np.arange(40) < lengths[..., None]).astype(np.uint8), lengths))
    assert np.isfinite(known.w).all() and np.allclose(np.linalg.norm(known.w, axis=2), 1, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_left_out_bits_are_the_last_ones(layers):
    c = config(num_rx_ant=2, num_layers=layers)
    scheme = BeamDelayFeedback(c, bits=100)
    report = scheme.report(estimate(c, 5))
    less = scheme.omit(report, 60)
    assert (less.num_bits == 60).all() and not less.bits[..., 60:].any()
    assert (scheme.omit(report, 0).num_bits == scheme.min_bits).all()
    assert np.array_equal(scheme.omit(report, 100).bits, report.bits)
    book = scheme.codebooks[layers if layers in scheme.codebooks else 1]
    if layers == 1:
        whole, left = (book.unpack(None, r.bits[:, 0], r.num_bits[:, 0])[0] for r in (report, less))
        kept = (left["real"] != 0) | (left["imag"] != 0)
        for key in ("real", "imag"):
            assert np.array_equal(left[key][kept], whole[key][kept]) and np.array_equal(left["row"], whole["row"])
        assert kept.sum() < np.sum((whole["real"] != 0) | (whole["imag"] != 0)) and kept[:, 1:].any(axis=(1, 2)).all()
    assert scheme.reconstruct(less).valid.all()


def test_refused_parameters():
    c = config()
    for params in ({}, {"bits": 15}, {"bits": 1707}, {"step": 2.0}, {"bits": 60, "slope": 0}, {"bits": 60, "rank": 2}):
        with pytest.raises(ConfigError):
            BeamDelayFeedback(c, **params)
    with pytest.raises(ConfigError, match="beamdelay-urban"):
        BeamDelayFeedback(c, bits=60, weights="beamdelay-rural")


def test_cost_of_the_context_network(monkeypatch):
    """As many passes over all coefficients as the scheme counts."""
    c = config()
    seen = []
    plain = Contexts.bins
    monkeypatch.setattr(Contexts, "bins", lambda self, x, *at: seen.append(x[0].size) or plain(self, x, *at))
    for params in ({"bits": 60}, {"step": 0.2}):
        scheme, csi = BeamDelayFeedback(c, **params), estimate(c, 8)
        seen.clear()
        scheme.report(csi)
        t = tables()
        once = 64 * t.w1.size + 256 * (t.w1.shape[0] + t.w1.shape[1])
        assert scheme.ue_bops(csi)[0, 0] == pytest.approx(sum(seen) / 8 * once, rel=0.15)


# Tables --------------------------------------------------------------------------------------------------------------


def test_damaged_tables(tmp_path):
    good = {field.name: getattr(tables(), field.name) for field in dataclasses.fields(Tables)}
    for key, change in {
        "zero": lambda x: x + 2**22, "nonzero": lambda x: x + 1, "origin": lambda x: x * 2, "w1": lambda x: x[:-1],
        "importance": lambda x: x[:5], "means": lambda x: x * 0.5, "b1": lambda x: x + 2**21,
    }.items():  # fmt: skip
        with pytest.raises(StoreError, match=key):
            Tables(**{**good, key: change(good[key])})
    (tmp_path / "mine").mkdir()
    tables().save(tmp_path / "mine" / "tables.npz")
    card = {"name": "mine", "task": "beamdelay", "model": {"name": "beamdelay", "params": {}}}
    card["weights"] = file_entry(tmp_path / "mine" / "tables.npz")
    (tmp_path / "mine" / "card.json").write_text(json.dumps(card))
    BeamDelayFeedback(config(), bits=40, weights=str(tmp_path / "mine"))
    file = tmp_path / "mine" / "tables.npz"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(StoreError, match="damaged"):
        BeamDelayFeedback(config(), bits=40, weights=str(tmp_path / "mine"))
    earlier = {**{key: good[key] for key in ("importance", "w1", "origin")}, "frequency": good["nonzero"]}
    np.savez(tmp_path / "earlier.npz", **earlier)
    with pytest.raises(StoreError, match=r"no tables of the beam-delay code.*frequency"):
        Tables.load(tmp_path / "earlier.npz")
    (tmp_path / "other.npz").write_bytes(b"no tables")
    with pytest.raises(StoreError, match="no tables of the beam-delay code"):
        Tables.load(tmp_path / "other.npz")


def test_tables_survive_their_file(tmp_path):
    tables().save(tmp_path / "t.npz")
    again = Tables.load(tmp_path / "t.npz")
    for field in dataclasses.fields(Tables)[:-1]:
        np.testing.assert_array_equal(getattr(again, field.name), getattr(tables(), field.name))


def test_gradient_of_the_code_length():
    """Against finite differences of the mean length of zeros, by one score, and of sizes, by the other."""
    rng, kinds, hidden = np.random.default_rng(3), 510, 3
    w = {"w1": rng.normal(0, 0.3, (39, hidden)), "b1": rng.normal(1, 0.3, (kinds, hidden))}
    w |= {
        "w2": rng.normal(0, 0.5, (hidden, 2)),
        "w3": rng.normal(0, 0.1, (39, 2)),
        "b2": rng.normal(0, 0.5, (kinds, 2)),
    }
    w["theta"] = rng.uniform(0.5, 2, 6)
    x, kind, level = rng.random((80, 39)), rng.integers(0, 4, 80), rng.integers(0, 9, 80)
    gradient = _gradient(w, x, kind, level)[1]
    for key, at in (("w1", (5, 1)), ("b1", (2, 0)), ("w2", (1, 0)), ("w2", (2, 1)), ("w3", (7, 0)), ("w3", (9, 1)),
                    ("b2", (1, 0)), ("b2", (3, 1)), ("theta", 0), ("theta", 3)):  # fmt: skip
        ends = []
        for change in (1e-3, -1e-3):
            moved = {**w, key: w[key].copy()}
            moved[key][at] += change
            ends.append(_gradient(moved, x, kind, level)[0])
        assert np.log(2) * (ends[0] - ends[1]) / 2e-3 == pytest.approx(gradient[key][at], rel=0.02, abs=1e-4), key


def test_learned_tables_shorten_the_code():
    """Against tables that say nothing, and more with contexts than with one table for all places."""
    c = config(Panel(4, 1, 2), num_subcarriers=8, subband_size=1)
    v = np.moveaxis(channels(c, 600, paths=2)[:, 0, 0], 1, 2)
    v /= np.linalg.norm(v, axis=2, keepdims=True)
    frame = Frame(c.panel, 8)
    cells = quantized(frame, v, np.random.default_rng(1), (0.1, 0.3))
    lines = []
    found = learn([cells], hidden=4, epochs=3, log=lines.append)
    grid = Grid(frame.shape, found.importance)
    symbols = cells.symbols(grid)[1:]
    contexts = Contexts(grid, found.network)
    bins = contexts.bins(contexts.features(cells.symbols(grid), cells.energy))[1:]
    counts = np.bincount(symbols.ravel(), minlength=NUM_SYMBOLS)
    pooled = -np.sum(counts[counts > 0] * np.log2(counts[counts > 0] / counts.sum()))
    spent = (22 - np.log2(found.frequency[bins, symbols])).sum()
    assert spent < 0.85 * pooled
    share = np.any(cells.q != 0, axis=0).mean(axis=0)[grid.order]
    assert share[1 : grid.size // 4].mean() > 2 * share[-grid.size // 2 :].mean()


class Channels:
    """A store of a few channels in memory."""

    name, origin, hash = "few", {"format": "generic"}, "0" * 64

    def __init__(self):
        self.layout = ChannelLayout(Panel(4, 2, 2), 8, 360e3)
        self._h = channels(config(num_subcarriers=8), 60)[:, 0][:, :, :, None]

    def read(self, split):
        yield self._h, {}


def test_the_recipe_trains_tables_that_the_scheme_takes(tmp_path):
    recipe = BeamDelayRecipe(
        task="beamdelay", name="few", datasets=("few",), samples=(60,), hidden=2, passes=1, subband_size=2
    )
    task = BeamDelayTask(recipe, [Channels()])
    found = task.build(tmp_path, lambda line: None)
    card = task.card(found, {}, tmp_path / "few")
    assert card["task"] == "beamdelay" and card["channels"] == "recorded"
    scores = task.score(found, tmp_path / "few")
    assert scores["b172"].values.mean() > scores["b64"].values.mean() > 0.7
    c = config(num_subcarriers=8, subband_size=2)
    scheme = BeamDelayFeedback(c, bits=80, weights=str(tmp_path / "few"))
    assert scheme.label == "beamdelay-b80-few" and scheme.reconstruct(scheme.report(estimate(c, 4))).valid.all()


def test_a_number_of_samples_for_each_data_set():
    with pytest.raises(ConfigError, match="samples"):
        parse_training({"task": "beamdelay", "name": "few", "datasets": ["a", "b"], "samples": [1]})


def test_tables_of_the_first_places_are_those_of_all():
    """A content that ends early has the tables of a whole one."""
    coder = coder_of((2, 2, 8, 13), 2, (60, 90))
    content = content_of(coder, 150, scale=0.2)
    for places in (1, 32, 200):
        part = dataclasses.replace(content, real=content.real[:places], imag=content.imag[:places])
        assert np.array_equal(coder.bins(part), coder.bins(content)[:places])


def test_blocks_reach_to_the_last_coefficient_that_may_be_sent():
    """Every report once; beyond its reach nothing is as large as half a step, and 31 places before there is."""
    c = config(Panel(8, 2, 2), num_subcarriers=52)
    quantizer = BeamDelayFeedback(c, bits=90).codebooks[1]._quantizer
    v = subband_eigenvectors(channels(c, 200, paths=9)[:, 0], 4, 1)
    step = np.arange(200) % 8
    target, *_ = quantizer.start(v, step, np.zeros((200, 1), np.float32))
    blocks, reached = list(quantizer.blocks(target, step)), np.zeros(200, int)
    for rows, part in blocks:
        assert len(part.cells) == part.reach.max() and np.array_equal(part.cells, target.cells[: len(part.cells), rows])
        reached[rows] = part.reach
    assert sorted(np.concatenate([rows for rows, _ in blocks]).tolist()) == list(range(200))
    for report in range(200):
        cells = target.cells[:, report, 0]
        parts = np.maximum(np.abs(cells.real), np.abs(cells.imag))
        last = max(place for place, size in enumerate(parts) if size > 0.5 * quantizer.steps[step[report]])
        assert last < reached[report] <= min(last + 32, len(cells))
    assert reached.min() <= 64 < 256 < reached.max()


@pytest.mark.long
def test_reports_of_a_budget_do_not_depend_on_their_block(monkeypatch):
    """In blocks of all, up to the last place that any of them can reach, and one by one."""
    c = config(Panel(8, 2, 2), num_subcarriers=52)
    book = BeamDelayFeedback(c, bits=70).codebooks[1]
    h = channels(c, 40, paths=12)[:, 0]
    monkeypatch.setattr("receivers.beamdelay.quantizer._PLACES", 1)
    whole = book.select(h)
    monkeypatch.setattr("receivers.beamdelay.quantizer._BLOCK", 1)
    parts = book.select(h)
    assert all(np.array_equal(whole[key], parts[key]) for key in whole)


def test_reports_made_by_threads_are_those_of_one(monkeypatch):
    book = BeamDelayFeedback(config(), bits=60).codebooks[1]
    h = channels(config(), 10)[:, 0]
    whole = book.select(h)
    monkeypatch.setattr(type(book), "chunk", 3)
    parts = book.select(h)
    assert all(np.array_equal(whole[key], parts[key]) for key in whole)
