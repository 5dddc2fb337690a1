"""Enhanced Type II for coherent joint transmission: sizes, payloads read by hand, delays of stations, one station."""

from itertools import pairwise
from math import ceil, comb, log2

import numpy as np
import pytest
from test_pmi_codebooks import dft_beam, gaussian, read

from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.codebooks.etype2_cjt import BEAMS, PAIRS, CjtCodebook
from receivers.feedback.etype2_cjt import CjtFeedback
from receivers.feedback.trp_selection import TrpSelectionFeedback
from simulator.core.errors import ConfigError, PayloadError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel, TrpPanels

# p_v of ranks 1-2 and of ranks 3-4, beta: TS 38.214, Table 5.2.2.2.8-2.
SHARES = {
    1: (1 / 8, 1 / 16, 1 / 4), 2: (1 / 8, 1 / 16, 1 / 2), 3: (1 / 4, 1 / 8, 1 / 4), 4: (1 / 4, 1 / 8, 1 / 2),
    5: (1 / 4, 1 / 4, 3 / 4), 6: (1 / 2, 1 / 4, 1 / 2), 7: (1 / 2, 1 / 2, 1 / 2),
}  # fmt: skip


def panels(trps, n1=8, n2=2):
    return TrpPanels(n1, n2, 2, trps) if trps > 1 else Panel(n1, n2, 2)


def book_of(beams, combination, mode=1, rank=1, samples=13, unit=1, shape=(8, 2), **more):
    panel = panels(len(BEAMS[beams]), *shape)
    return CjtCodebook(panel, samples, unit, rank, combination, beams, mode, max_rank=rank, **more)


def stations(rng, reports, trps, subcarriers=13, paths=6, late=1.0):
    """Plane waves of stations of 0 to -9 dB, each later than the last; complex64 ``[report, 1, port, subcarrier]``."""
    shape = trps, reports, paths, 1
    angle, delay = rng.random(shape), 3 * rng.random(shape) + late * np.arange(trps)[:, None, None, None]
    beam = np.exp(2j * np.pi * angle * np.arange(8))
    beam = np.einsum("bnpa,bnpc->bnpac", beam, np.exp(2j * np.pi * rng.random(shape) * np.arange(2)))
    band = np.exp(-2j * np.pi * delay * np.arange(subcarriers) / subcarriers)
    gain = gaussian(rng, trps, reports, paths, 2) * 2.0 ** -np.arange(paths)[:, None]
    gain = gain * 10 ** (-0.45 * rng.random((trps, reports, 1, 1)))
    h = np.einsum("bnkq,bnkac,bnkf->nbqacf", gain, beam, band, optimize=True)
    return h.reshape(reports, 1, 32 * trps, subcarriers).astype(np.complex64)


def fit(w, h):
    """Mean squared cosine ``[report]`` of ``w [report, port, 1, unit]`` to one antenna."""
    v = h[:, 0].conj() / np.linalg.norm(h[:, 0], axis=1, keepdims=True)
    return np.mean(np.abs(np.einsum("npt,npt->nt", v.conj(), w[:, :, 0])) ** 2, axis=1)


# Sizes and tables ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize("beams", [4, 5, 7, 12, 15])
def test_sizes(beams, mode, rank, rng):
    """By the fields: i_{1,1}, i_{1,2}, i_{1,8}, i_{1,6}, i_{1,7}, i_{2,3}, i_{2,4}, i_{2,5}, i_{1,9}."""
    for combination in PAIRS[beams]:
        low, high, beta = SHARES[combination]
        lengths = BEAMS[beams]
        total, taps = sum(lengths), ceil((low if rank < 3 else high) * 13)
        most = min(ceil(beta * 2 * total * ceil(low * 13)) * min(rank, 2), rank * 2 * total * taps)
        i18 = ceil(log2(most)) if rank == 1 else ceil(log2(2 * total))
        expected = sum(4 + ceil(log2(comb(16, length))) for length in lengths)
        expected += rank * (i18 + ceil(log2(comb(12, taps - 1))) + 2 * total * taps + 4) + 7 * (most - rank)
        expected += (len(lengths) - 1) * ceil(log2(13 * 4)) if mode == 1 else 0
        book = book_of(beams, combination, mode, rank)
        assert book.part2_bits == expected
    h = gaussian(rng, 3, 4, 32 * len(lengths), 13)
    assert set(book.pack(book.select(h))[2]) == {book.part2_bits}


def test_bits_of_the_documentation():
    """Two stations, 32 ports each, 13 subbands, rank 1, mode 2: counted by hand for {4,4} and paramCombination 2."""
    # i11 8, i12 11 + 11, i18 4 of 16, i16 4 of 12, i17 32, i23 4, 15 coefficients of 7; mode 1: 6 more for d_2.
    assert book_of(7, 2, 2).part2_bits == 8 + 22 + 4 + 4 + 32 + 4 + 105
    assert book_of(7, 2, 1).part2_bits == 8 + 22 + 4 + 4 + 32 + 4 + 105 + 6
    assert book_of(7, 2, 1, oversampling_delay=1).part2_bits == 8 + 22 + 4 + 4 + 32 + 4 + 105 + 4


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: CjtCodebook(panels(2), 13, 1, 1, 2, 3), r"beams.*3.*4\.\.7 with 2 station.*5\.2\.2\.2\.8-1"),
        (lambda: CjtCodebook(panels(4), 13, 1, 1, 2, 7), r"beams.*7.*13\.\.16 with 4 station.*5\.2\.2\.2\.8-1"),
        (lambda: book_of(7, 3), r"combination.*3.*2, 4, 7 with beams 7.*5\.2\.2\.2\.8-1 to -3"),
        (lambda: book_of(16, 1), r"combination.*1.*2, 4, 5 with beams 16"),
        (lambda: book_of(7, 2, shape=(2, 1)), r"beams.*7.*L of 2 alone with 4 ports"),
        (lambda: book_of(3, 4, shape=(6, 2)), r"3 with 24 ports.*only with 32 ports.*5\.2\.2\.2\.8"),
        (lambda: book_of(3, 4, rank=3), r"beams.*rank 3.*rank <= 2"),
        (lambda: book_of(3, 4, unit=2, samples=26, two_units=True), r"beams.*R = 2"),
        (lambda: book_of(7, 2, 3), r"mode.*3.*1, 2"),
        (lambda: book_of(7, 2, oversampling_delay=2), r"oversampling.*2.*1, 4"),
        (lambda: book_of(7, 2, rank=5), r"rank.*1\.\.4"),
        (lambda: book_of(7, 2, shape=(16, 2)), r"n1.*16x2"),
        (lambda: CjtFeedback(CsiConfig(panels(2), 1, 12, 1e5, 3), beams=7, combination=2, r=2), r"r.*subbands of 3"),
        (lambda: TrpSelectionFeedback(CsiConfig(panels(2), 1, 13, 1e5, 1), of="etype2-doppler-r18"), r"of.*doppler"),
        (lambda: TrpSelectionFeedback(CsiConfig(panels(2), 1, 13, 1e5, 1), of="etype2"), r"feedback.*etype2"),
    ],
)
def test_what_the_tables_do_not_have(build, words):
    with pytest.raises(ConfigError, match=words):
        build()


# Payload -------------------------------------------------------------------------------------------------------------


def random_pmi(book, reports, rng):
    """Legal PMIs of any number of coefficients."""
    pool, (layers, rows, taps) = book.payload, book.payload.shape

    def some(count):
        order = rng.permuted(np.tile(np.arange(pool.group_size), (reports, 1)), axis=1)
        return np.sort(order[:, :count])

    pmi = {
        "group": rng.integers(0, pool.num_groups, (reports, len(pool.trp_beams))),
        "beams": np.concatenate([some(count) for count in pool.trp_beams], axis=1),
        "window": rng.integers(0, 2 * taps, reports) if pool.windowed else np.zeros(reports, int),
        "strongest": rng.integers(0, rows, (reports, layers)),
        "reference": rng.integers(1, 16, (reports, layers)),
    }
    taps_of, bitmaps = np.zeros((reports, layers, taps), int), np.zeros((reports, layers, rows, taps), int)
    for n in range(reports):
        inside = np.arange(pool.num_units)
        if pool.windowed:
            start = pmi["window"][n] - 2 * taps if pmi["window"][n] else 0
            inside = np.sort(np.arange(start, start + 2 * taps) % pool.num_units)
        for layer in range(layers):
            taps_of[n, layer] = np.sort(np.append(rng.permutation(inside[inside > 0])[: taps - 1], 0))
            most = min(pool.budget, rows * taps, pool.most // layers)
            bitmaps[n, layer].ravel()[rng.permutation(rows * taps)[: rng.integers(0, most)]] = 1
            bitmaps[n, layer, pmi["strongest"][n, layer], 0] = 1
    first = np.zeros_like(bitmaps)
    np.put_along_axis(first[..., 0], pmi["strongest"][..., None], 1, axis=2)
    amplitude = np.where(first, 7, bitmaps * rng.integers(0, 8, bitmaps.shape))
    phase = np.where(first, 0, bitmaps * rng.integers(0, 16, bitmaps.shape))
    if pool.num_offsets > 1:
        pmi["offset"] = rng.integers(0, pool.num_offsets, (reports, len(pool.trp_beams) - 1))
    return {**pmi, "taps": taps_of, "bitmap": bitmaps, "amplitude": amplitude, "phase": phase}


def by_hand(part1, part2, shape, units, rank, combination, lengths, mode, steps, two_units=False):
    """Sums of beams ``[port, layer, unit]`` of one report, field by field, as in TS 38.214, 5.2.2.2.8 and 5.2.3."""
    panel, trps, total = Panel(*shape, 2), len(lengths), sum(lengths)
    low, high, beta = SHARES[combination]
    o1, o2, beams = 4, 4 if panel.n2 > 1 else 1, panel.n1 * panel.n2
    share = units / (2 if two_units else 1)
    taps, most = ceil((low if rank < 3 else high) * share), ceil(2 * beta * ceil(low * share) * total)
    assert len(part1) == ceil(log2(most * min(rank, 2)))
    nonzero = read(part1, [len(part1)])[0][0] + 1
    last, elements = nonzero // 2, rank * 2 * total * taps
    pool = 2 * taps if units > 19 else units
    # Group 0: i_{1,1} and i_{1,2} of all stations, i_{1,8}.
    head, at = read(
        part2,
        [int(log2(o1)), int(log2(o2))] * trps
        + [ceil(log2(comb(beams, length))) for length in lengths]
        + [ceil(log2(nonzero)) if rank == 1 else ceil(log2(2 * total))] * rank,
    )
    q, i12, i18 = head[: 2 * trps], head[2 * trps : 3 * trps], head[3 * trps :]
    # Group 1: i_{1,5}, i_{1,6}, first part of i_{1,7}, i_{2,3}, first parts of i_{2,4} and i_{2,5}, i_{1,9}.
    widths = [ceil(log2(2 * taps)) if units > 19 else 0] + [ceil(log2(comb(pool - 1, taps - 1)))] * rank
    (i15, *i16), used = read(part2[at:], widths)
    at += used
    n3 = []
    for number in i16:
        chosen, rest = [0], number
        for f in range(1, taps):
            n = next(n for n in range(1, pool) if comb(pool - 1 - n, taps - f) <= rest)
            rest -= comb(pool - 1 - n, taps - f)
            chosen.append(n)
        if units > 19:
            start = 0 if i15 == 0 else i15 - 2 * taps
            chosen = [n if n <= start + 2 * taps - 1 else n + units - 2 * taps for n in chosen]
        n3.append(chosen)
    priority = []
    for layer in range(rank):
        for j, length in enumerate(lengths):
            for i in range(2 * length):
                for f in range(taps):
                    near = min(2 * n3[layer][f], 2 * (units - n3[layer][f]) - 1)
                    value = 2 * total * rank * near + rank * (2 * sum(lengths[:j]) + i) + layer
                    priority.append((value, layer, j, i, f))
    priority.sort()
    high_bits = part2[at : at + elements - last]
    at += elements - last
    first = max(ceil(nonzero / 2) - rank, 0)
    offset_bits = ceil(log2(units * steps)) if mode == 1 else 0
    parts = []
    for count, width in ((rank, 4), (first, 3), (first, 4), (trps - 1, offset_bits)):
        values, used = read(part2[at:], [width] * count)
        at += used
        parts.append(values)
    i23, k_high, c_high, d = parts
    # Group 2: the rest of i_{1,7}, i_{2,4}, i_{2,5}.
    low_bits = part2[at : at + last]
    at += last
    k_low, used = read(part2[at:], [3] * (nonzero - rank - first))
    at += used
    c_low, used = read(part2[at:], [4] * (nonzero - rank - first))
    assert at + used == len(part2)
    mapped = [place[1:] for place, bit in zip(priority, [*high_bits, *low_bits], strict=True) if bit]
    assert len(mapped) == nonzero
    n_of = []
    for length, number in zip(lengths, i12, strict=True):
        members, rest = [], number
        for i in range(length):
            n = next(n for n in range(beams) if comb(beams - 1 - n, length - i) <= rest)
            rest -= comb(beams - 1 - n, length - i)
            members.append(n)
        n_of.append(members)
    star = []
    for layer in range(rank):
        places = sorted((j, i) for ll, j, i, f in mapped if ll == layer and f == 0)
        every = [(j, i) for j, length in enumerate(lengths) for i in range(2 * length)]
        star.append(places[i18[layer]] if rank == 1 else every[i18[layer]])
    values = iter(zip([*k_high, *k_low], [*c_high, *c_low], strict=True))
    w = np.zeros((trps, 2, beams, rank, units), complex)
    for layer, j, i, f in mapped:
        value = 1.0
        if f > 0 or (j, i) != star[layer]:
            k, c = next(values)
            j0, i0 = star[layer]
            same = i // lengths[j] == i0 // lengths[j0]  # polarisation, whatever the station
            value = 2 ** (-(7 - k) / 2) * np.exp(2j * np.pi * c / 16)
            value *= 1.0 if same else 2 ** (-(15 - i23[layer]) / 4)
        n = n_of[j][i % lengths[j]]
        beam = dft_beam(o1 * (n % panel.n1) + q[2 * j], o2 * (n // panel.n1) + q[2 * j + 1], panel, o1, o2)
        psi = d[j - 1] / steps if mode == 1 and j > 0 else 0.0
        turn = np.exp(2j * np.pi * np.arange(units) * (n3[layer][f] + psi) / units)
        w[j, i // lengths[j], :, layer] += value * beam[:, None] * turn
    return w.reshape(-1, rank, units)


CASES = [
    (7, 2, 1, 1, 13, 1, (8, 2), 4, False),
    (7, 7, 2, 2, 13, 1, (8, 2), 4, False),
    (5, 1, 1, 4, 52, 4, (4, 2), 1, False),
    (6, 1, 2, 1, 40, 4, (4, 4), 4, False),
    (12, 5, 1, 3, 13, 1, (6, 1), 4, False),
    (9, 2, 1, 2, 52, 2, (3, 2), 4, False),
    (15, 4, 1, 2, 13, 1, (4, 1), 1, False),
    (16, 5, 1, 1, 104, 2, (8, 1), 4, True),
    (13, 1, 1, 1, 24, 4, (2, 1), 4, False),
    (2, 6, 1, 2, 13, 1, (8, 2), 4, False),
]


@pytest.mark.parametrize(("beams", "combination", "mode", "rank", "samples", "unit", "shape", "steps", "two"), CASES)
def test_payload_read_field_by_field(beams, combination, mode, rank, samples, unit, shape, steps, two, rng):
    book = book_of(
        beams, combination, mode, rank, samples, unit, shape, oversampling_delay=steps, two_units=two
    )  # fmt: skip
    pmi = random_pmi(book, 12, rng)
    w = book.precoder(pmi)
    part1, part2, length = book.pack(pmi)
    for i in range(len(w)):
        fields = part1[i], part2[i, : length[i]], shape, book.num_units, rank, combination, BEAMS[beams], mode, steps
        sums = by_hand(*fields, two)
        norm = np.linalg.norm(sums, axis=0)
        seen = norm > 1e-3 * norm.max()  # where all coefficients cancel any direction will do
        np.testing.assert_allclose(w[i] * seen, sums / np.where(seen, norm, np.inf), atol=2e-4)


@pytest.mark.parametrize(
    ("beams", "combination", "mode", "rank"), [(7, 4, 1, 1), (12, 2, 1, 2), (15, 5, 2, 4), (4, 1, 1, 3)]
)
def test_random_pmis_come_back(beams, combination, mode, rank, rng):
    book = book_of(beams, combination, mode, rank)
    pmi = random_pmi(book, 1500, rng)
    part1, part2, length = book.pack(pmi)
    assert len(set(length)) > 3 and length.max() <= book.part2_bits
    back, valid = book.unpack(part1, part2, length)
    assert valid.all() and back.keys() == pmi.keys()
    for key, value in pmi.items():
        np.testing.assert_array_equal(back[key], value, err_msg=key)
    assert not book.unpack(part1, part2, length + 1)[1].any()


def test_beams_and_offsets_that_do_not_exist_are_no_codewords(rng):
    """i_{1,2} of 2 among 16 beams: 120 of 128 numbers; i_{1,9} with N_3 O_3 = 52: 52 of 64."""
    book = book_of(4, 1, 1)
    pmi = random_pmi(book, 300, rng)
    part1, part2, length = book.pack(pmi)
    nonzero = pmi["bitmap"].sum(axis=(1, 2, 3))
    ends = 8 + 14 + np.ceil(np.log2(nonzero)).astype(int) + 4 + 16 - nonzero // 2 + 4
    ends += 7 * np.maximum(-(-nonzero // 2) - 1, 0)
    for start, width, most in ((8 + 0 * ends, 7, 120), (15 + 0 * ends, 7, 120), (ends, 6, 52)):
        for value in (0, most - 1, most, 2**width - 1):
            changed = part2.copy()
            for bit in range(width):
                changed[np.arange(300), start + bit] = value >> (width - 1 - bit) & 1
            valid = book.unpack(part1, changed, length)[1]
            assert valid.all() == (value < most) == valid.any()


def test_omitted_groups(rng):
    """Fewer groups of part 2 are a worse report, still a report; group 0 alone is one beam of one station."""
    scheme = CjtFeedback(CsiConfig(panels(2), 1, 13, 1.44e6, 1), beams=7, combination=4, rank=1)
    h = gaussian(rng, 60, 1, 64, 13)
    report = scheme.report(CsiEstimate(h[:, None], np.zeros((60, 1), np.float32)))
    assert set(report.num_bits.ravel()) == {scheme.max_bits}
    group2, group0 = 16 + 7 * 16, 5 + 30 + 5  # K_NZ = 32
    quality = []
    for most in (scheme.max_bits, scheme.max_bits - 1, group0 + 20):
        short = scheme.omit(report, most)
        expected = {scheme.max_bits: most, scheme.max_bits - 1: scheme.max_bits - group2}.get(most, group0)
        assert set(short.num_bits.ravel()) == {expected}
        known = scheme.reconstruct(short)
        assert known.valid.all()
        quality.append(fit(known.w[:, 0], h).mean())
    assert quality[0] > quality[1] + 0.02 and quality[1] > quality[2] + 0.02


@pytest.mark.long
def test_random_payloads_give_unit_norms_or_are_invalid(rng):
    scheme = CjtFeedback(CsiConfig(panels(3), 3, 13, 1.44e6, 1, 3), beams=8, combination=2)
    bits = rng.integers(0, 2, (3000, 1, scheme.max_bits), dtype=np.uint8)
    num_bits = rng.integers(scheme.part1_bits + 1, scheme.max_bits + 1, (3000, 1))
    bits *= np.arange(scheme.max_bits) < num_bits[..., None]
    known = scheme.reconstruct(CsiReport(bits, num_bits))
    norm = np.linalg.norm(known.w, axis=2)  # [report, user, layer, subband]
    assert 0 < known.valid.mean() < 0.5 and not norm[~known.valid].any()
    np.testing.assert_allclose(norm[known.valid][:, 0], 1, atol=1e-5)


# Selection -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beams", "combination", "of_r16"),
    [(1, 3, 1), (1, 4, 2), (2, 3, 3), (2, 4, 4), (2, 5, 5), (2, 6, 6), (3, 4, 7), (3, 5, 8)],
)
@pytest.mark.parametrize("rank", [1, 2])
def test_one_station_is_enhanced_type_two(beams, combination, of_r16, rank, rng):
    """Bit for bit: every pair of the tables for one station is a paramCombination-r16, and all of them are there."""
    h = gaussian(rng, 20, 2, 32, 13)
    one, other = book_of(beams, combination, 1, rank), EnhancedTypeTwoCodebook(panels(1), 13, 1, rank, of_r16, rank)
    pmi = one.select(h)
    for found, expected in zip(one.pack(pmi), other.pack(other.select(h)), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(one.precoder(pmi), other.precoder(other.select(h)))


@pytest.mark.parametrize("late", [0, 1, 5, 18, 51])
def test_a_late_station_is_rebuilt_in_mode_1(late):
    r"""Equal waves of two stations, the second ``late`` quarters of a tap later: exact with O_3 = 4.

    In mode 2 the two taps and four coefficients are enough only where the second station is on the grid.
    """
    t = np.arange(13)
    first, second = (
        np.kron([1, np.exp(2j * np.pi * 3 / 16)], dft_beam(4 * n, 0, Panel(8, 1, 2), 4, 1)) for n in (1, 6)
    )
    wave = np.exp(2j * np.pi * late / 4 * t / 13)
    h = np.concatenate([np.outer(first, np.ones(13)), np.outer(second, wave)]).conj()[None, None].astype(np.complex64)
    fits = {
        mode: fit(book.precoder(book.select(h)), h)[0]
        for mode in (1, 2)
        for book in [book_of(4, 1, mode, shape=(8, 1))]
    }
    np.testing.assert_allclose(fits[1], 1, atol=1e-5)
    assert fits[2] > 0.999 if late % 4 == 0 else fits[2] < 0.98


@pytest.mark.parametrize(("beams", "combination"), [(7, 2), (12, 3), (16, 4)])
@pytest.mark.parametrize("mode", [1, 2])
def test_a_channel_in_the_span_is_found(beams, combination, mode, rng):
    """A codeword as the channel: coefficients on the grid come back nearly exactly."""
    book = book_of(beams, combination, mode)
    w = book.precoder(book.select(stations(rng, 40, len(BEAMS[beams]))))
    found = book.precoder(book.select(w[:, None, :, 0].conj()))
    value = fit(found, w[:, None, :, 0].conj())
    assert value.mean() > 0.97 and np.median(value) > 0.98


def test_the_fit_grows_with_the_payload_and_with_mode_1(rng):
    """Paired over 80 channels: each step by over three standard errors; with late stations mode 1 is better."""
    h = stations(rng, 80, 2)
    values = [fit(book.precoder(book.select(h)), h) for book in (book_of(*x) for x in ((4, 1), (7, 2), (7, 4), (7, 7)))]
    values.append(np.ones(80))
    pairs = list(pairwise(values))
    late = stations(rng, 80, 3, late=4.3)
    pairs.append(tuple(fit(b.precoder(b.select(late)), late) for b in (book_of(12, 4, mode) for mode in (2, 1))))
    for small, large in pairs:
        gain = large - small
        assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))


# One of several stations ---------------------------------------------------------------------------------------------


def test_the_strongest_station_alone_reports(rng):
    """The report of Enhanced Type II on the ports of the station with most energy, after its number."""
    config = CsiConfig(panels(3), 2, 13, 1.44e6, 1, 2)
    h = gaussian(rng, 30, 2, 2, 3, 32, 13) * 2.0 ** rng.integers(0, 3, (30, 2, 1, 3, 1, 1))
    scheme = TrpSelectionFeedback(config, of="etype2-r16", combination=3)
    alone = scheme._of
    best = np.sum(np.abs(h) ** 2, axis=(2, 4, 5)).argmax(axis=2)
    own = np.stack([[h[n, u, :, best[n, u]] for u in range(2)] for n in range(30)])
    error = np.zeros((30, 2), np.float32)
    report = scheme.report(CsiEstimate(h.reshape(30, 2, 2, 96, 13).astype(np.complex64), error))
    expected = alone.report(CsiEstimate(own.astype(np.complex64), error))
    np.testing.assert_array_equal(report.bits[..., 2:], expected.bits)
    np.testing.assert_array_equal(2 * report.bits[..., 0] + report.bits[..., 1], best)
    known, inner = scheme.reconstruct(report).w, alone.reconstruct(expected).w
    for n, u, trp in np.ndindex(30, 2, 3):
        np.testing.assert_array_equal(known[n, u, 32 * trp : 32 * trp + 32], inner[n, u] * (trp == best[n, u]))
    shorter = scheme.omit(report, scheme.max_bits - 1)
    np.testing.assert_array_equal(shorter.num_bits, alone.omit(expected, alone.max_bits - 1).num_bits + 2)


def test_a_station_that_does_not_exist_is_no_codeword(rng):
    config = CsiConfig(panels(3, 2, 1), 1, 4, 1.44e6, 1)
    scheme = TrpSelectionFeedback(config, of="perfect")
    h = gaussian(rng, 4, 1, 1, 12, 4)
    report = scheme.report(CsiEstimate(h, np.zeros((4, 1), np.float32)))
    known = scheme.reconstruct(report)
    own = known.h.reshape(4, 1, 1, 3, 4, 4)
    kept = np.abs(own).sum(axis=(2, 4, 5)) > 0
    assert (kept.sum(axis=2) == 1).all() and known.valid.all()
    np.testing.assert_array_equal(known.h[known.h != 0], h[known.h != 0])
    report.bits[0, 0, :2] = 1
    known = scheme.reconstruct(report)
    assert known.valid.ravel().tolist() == [False, True, True, True] and not known.h[0].any()
    with pytest.raises(PayloadError, match="more than 2"):
        scheme.reconstruct(CsiReport(report.bits, np.full((4, 1), 2)))
