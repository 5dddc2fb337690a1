"""Type II and enhanced Type II codebooks: sizes of TS 38.212, precoders by the formulas, payloads read by hand."""

from itertools import combinations
from math import ceil, comb, log2

import numpy as np
import pytest

from receivers.codebooks.combination import combination_members, combination_rank
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.codebooks.type2 import TypeTwoCodebook
from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.feedback.etype2_ps import EnhancedTypeTwoPortSelectionFeedback
from receivers.feedback.fetype2_ps import FurtherEnhancedTypeTwoFeedback
from receivers.feedback.type2 import TypeTwoFeedback
from receivers.feedback.type2_ps import TypeTwoPortSelectionFeedback
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel

PANEL = Panel(8, 2, 2)


def gaussian(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def etype2(rank=1, combination=6, panel=PANEL, samples=52, unit=4, **more):
    return EnhancedTypeTwoCodebook(panel, samples, unit, rank, combination, max_rank=rank, **more)


def read(bits, widths):
    """Integers of consecutive fields, most significant bit first."""
    values, at = [], 0
    for width in widths:
        values.append(int("0" + "".join(map(str, bits[at : at + width])), 2))
        at += width
    return values, at


def dft_beam(m1, m2, panel, o1, o2):
    """v_{l,m} of TS 38.214, 5.2.2.2.1, by its elements."""
    return np.array(
        [
            np.exp(2j * np.pi * (m1 * a / (o1 * panel.n1) + m2 * b / (o2 * panel.n2)))
            for a in range(panel.n1)
            for b in range(panel.n2)
        ]
    )


# Sizes ---------------------------------------------------------------------------------------------------------------

# Bits of part 2, 32 ports (8, 2), 13 subbands, all coefficients: worked out from TS 38.212, Table 6.3.2.1.2-1A.
ETYPE2_BITS = {
    1: [62, 91, 111, 168, 225, 279, 243, 328],
    2: [113, 169, 207, 319, 431, 539, 467, 635],
    4: [111, 167, 207, 319, 511, 567],
}
# Of Release 19 with 64 and 128 ports, rank 1.
LARGE_BITS = {
    (16, 2): [64, 93, 116, 173, 230, 284, 250, 335],
    (8, 4): [64, 93, 116, 173, 230, 284, 250, 335],
    (16, 4): [66, 95, 120, 177, 234, 288, 257, 342],
    (8, 8): [66, 95, 120, 177, 234, 288, 257, 342],
}
TYPE2_BITS = {(1, False): 312, (1, True): 351, (2, False): 609, (2, True): 687}


@pytest.mark.parametrize("rank", ETYPE2_BITS)
def test_etype2_sizes(rank):
    assert [etype2(rank, 1 + i).part2_bits for i in range(len(ETYPE2_BITS[rank]))] == ETYPE2_BITS[rank]


@pytest.mark.parametrize("size", LARGE_BITS)
def test_etype2_sizes_of_large_panels(size):
    found = [etype2(1, combination, Panel(*size, 2)).part2_bits for combination in range(1, 9)]
    assert found == LARGE_BITS[size]


@pytest.mark.parametrize(
    ("panel", "combination", "rank", "two"),
    [
        (Panel(8, 3, 2), 7, 3, False),
        (Panel(8, 8, 2), 8, 1, True),
        (Panel(8, 4, 1), 1, 1, False),
        (Panel(32, 1, 2), 1, 1, False),
    ],
)
def test_etype2_refuses_what_the_tables_do_not_have(panel, combination, rank, two):
    with pytest.raises(ConfigError, match=r"rank <= 2, R = 1|16x4, 8x8"):
        etype2(rank, combination, panel, two_units=two)


@pytest.mark.parametrize(("rank", "amplitude"), TYPE2_BITS)
def test_type2_sizes(rank, amplitude):
    book = TypeTwoCodebook(PANEL, 52, 4, rank, 4, 8, amplitude, max_rank=rank)
    assert book.part2_bits == TYPE2_BITS[rank, amplitude]
    assert book.part1_bits == 3 * rank


def test_the_full_budget_is_what_is_sent(rng):
    h = gaussian(rng, 5, 2, 32, 52)
    for rank, sizes in ((1, ETYPE2_BITS[1]), (2, ETYPE2_BITS[2])):
        for combination, size in enumerate(sizes, 1):
            book = etype2(rank, combination)
            assert set(book.pack(book.select(h))[2]) == {size}


def test_sets_are_numbered_as_the_standard_does():
    """i_{1,2} = sum of C(N - 1 - n_i, L - i): the first set in lexical order has the largest number."""
    sets = np.array(list(combinations(range(7), 3)))
    ranks = combination_rank(sets, 7)
    np.testing.assert_array_equal(ranks, np.arange(comb(7, 3))[::-1])
    np.testing.assert_array_equal(combination_members(ranks, 7, 3), sets)


# Enhanced Type II ----------------------------------------------------------------------------------------------------


def etype2_by_hand(part1, part2, panel, units, rank, combination, two_units=False):
    """Directions ``[port, layer, unit]`` of one report, field by field, in the order of TS 38.214, 5.2.3."""
    half, low, high = {
        1: (2, 1 / 4, 1 / 8), 2: (2, 1 / 4, 1 / 8), 3: (4, 1 / 4, 1 / 8), 4: (4, 1 / 4, 1 / 8), 5: (4, 1 / 4, 1 / 4),
        6: (4, 1 / 2, 1 / 4), 7: (6, 1 / 4, None), 8: (6, 1 / 4, None),
    }[combination]  # fmt: skip
    o1, o2, beams = 4, 4 if panel.n2 > 1 else 1, panel.n1 * panel.n2
    share = units / (2 if two_units else 1)
    taps = ceil((low if rank < 3 else high) * share)
    nonzero = read(part1, [len(part1)])[0][0] + 1
    last = nonzero // 2  # elements of group 2
    elements = rank * 2 * half * taps
    windowed = units > 19
    pool = 2 * taps if windowed else units
    strongest_bits = ceil(log2(nonzero)) if rank == 1 else ceil(log2(2 * half))
    tap_bits = ceil(log2(comb(pool - 1, taps - 1)))
    head, at = read(part2, [int(log2(o1)), int(log2(o2)), ceil(log2(comb(beams, half)))] + [strongest_bits] * rank)
    q1, q2, i12, *i18 = head
    (i15, *i16), used = read(part2[at:], [ceil(log2(2 * taps)) if windowed else 0] + [tap_bits] * rank)
    at += used
    n3 = []
    for number in i16:
        chosen, rest = [0], number
        for f in range(1, taps):  # i_{1,6} = sum of C(pool - 1 - n, taps - f)
            n = next(n for n in range(1, pool) if comb(pool - 1 - n, taps - f) <= rest)
            rest -= comb(pool - 1 - n, taps - f)
            chosen.append(n)
        if windowed:
            start = 0 if i15 == 0 else i15 - 2 * taps
            chosen = [n if n <= start + 2 * taps - 1 else n + units - 2 * taps for n in chosen]
        n3.append(chosen)
    priority = sorted(
        (rank * 2 * half * min(2 * n3[layer][f], 2 * (units - n3[layer][f]) - 1) + rank * i + layer, layer, i, f)
        for layer in range(rank)
        for i in range(2 * half)
        for f in range(taps)
    )
    high_bits = part2[at : at + elements - last]
    at += elements - last
    i23, used = read(part2[at:], [4] * rank)
    at += used
    first = max(ceil(nonzero / 2) - rank, 0)
    rest = nonzero - rank - first
    k_high, used = read(part2[at:], [3] * first)
    at += used
    c_high, used = read(part2[at:], [4] * first)
    at += used
    low_bits = part2[at : at + last]
    at += last
    k_low, used = read(part2[at:], [3] * rest)
    at += used
    c_low, used = read(part2[at:], [4] * rest)
    assert at + used == len(part2)
    mapped = [place[1:] for place, bit in zip(priority, [*high_bits, *low_bits], strict=True) if bit]  # by priority
    assert len(mapped) == nonzero
    istar = []
    for layer in range(rank):
        rows = sorted(i for ll, i, f in mapped if ll == layer and f == 0)
        istar.append(rows[i18[layer]] if rank == 1 else i18[layer])
    values = iter(zip([*k_high, *k_low], [*c_high, *c_low], strict=True))
    coefficient = {}
    for layer, i, f in mapped:
        if f == 0 and i == istar[layer]:
            coefficient[layer, i, f] = 1.0
            continue
        k, c = next(values)
        same = i // half == istar[layer] // half
        p1 = 1.0 if same else 2 ** (-(15 - i23[layer]) / 4)
        coefficient[layer, i, f] = p1 * 2 ** (-(7 - k) / 2) * np.exp(2j * np.pi * c / 16)
    n_of, rest = [], i12
    for i in range(half):
        n = next(n for n in range(beams) if comb(beams - 1 - n, half - i) <= rest)
        rest -= comb(beams - 1 - n, half - i)
        n_of.append(n)
    w = np.zeros((panel.num_ports, rank, units), complex)
    for (layer, i, f), value in coefficient.items():
        n = n_of[i % half]
        beam = dft_beam(o1 * (n % panel.n1) + q1, o2 * (n // panel.n1) + q2, panel, o1, o2)
        ports = slice(0, beams) if i < half else slice(beams, 2 * beams)
        w[ports, layer] += value * np.outer(beam, np.exp(2j * np.pi * np.arange(units) * n3[layer][f] / units))
    return w / np.linalg.norm(w, axis=0)


CASES = [
    (PANEL, 1, 6, 52, 4, False),
    (PANEL, 2, 8, 52, 4, False),
    (PANEL, 4, 5, 52, 4, False),
    (Panel(4, 1, 2), 3, 4, 40, 4, False),
    (Panel(6, 2, 2), 2, 5, 52, 2, True),
    (Panel(2, 1, 2), 1, 2, 24, 4, False),
    (Panel(4, 4, 2), 1, 3, 104, 2, True),
    (PANEL, 1, 6, 1, 1, False),
    (PANEL, 1, 1, 1, 1, False),  # part 1 is empty
    (PANEL, 2, 1, 3, 1, False),
    (Panel(8, 3, 2), 2, 8, 52, 4, False),
    (Panel(6, 4, 2), 3, 4, 52, 4, False),
    (Panel(16, 2, 2), 1, 6, 52, 2, True),
    (Panel(8, 4, 2), 4, 5, 40, 4, False),
    (Panel(16, 4, 2), 1, 7, 52, 4, False),
    (Panel(8, 8, 2), 2, 8, 52, 4, False),
    (Panel(2, 2, 2), 3, 4, 26, 2, True),
    (Panel(4, 1, 2), 1, 6, 24, 2, True),
    (Panel(16, 1, 2), 4, 6, 53, 2, True),  # 27 PMI subbands: the last of the 14 subbands has one
    (Panel(8, 3, 2), 2, 4, 106, 4, True),
    (Panel(16, 4, 2), 3, 1, 273, 8, True),
    (Panel(8, 8, 2), 1, 5, 50, 2, True),
]


@pytest.mark.parametrize(("panel", "rank", "combination", "samples", "unit", "two"), CASES)
def test_etype2_payload_read_field_by_field(panel, rank, combination, samples, unit, two, rng):
    book = etype2(rank, combination, panel, samples, unit, two_units=two)
    h = gaussian(rng, 4, max(rank, 2), panel.num_ports, samples)
    pmi = book.select(h)
    w = book.precoder(pmi)
    part1, part2, length = book.pack(pmi)
    for i in range(len(h)):
        expected = etype2_by_hand(part1[i], part2[i, : length[i]], panel, book.num_units, rank, combination, two)
        np.testing.assert_allclose(w[i], expected, atol=2e-5)
    back, valid = book.unpack(part1, part2, length)
    assert valid.all()
    np.testing.assert_array_equal(book.precoder(back), w)


@pytest.mark.parametrize("num_rb", [24, 25, 26, 27, 50, 51, 72, 73, 106, 137, 273, 275])
def test_pmi_subbands_of_every_band(num_rb):
    """R = 2: two in every subband but in a last one of at most half the size (TS 38.214, 5.2.2.2.5)."""
    for size in (4, 8) if num_rb <= 72 else (8, 16) if num_rb <= 144 else (16, 32):
        wanted = 0
        for start in range(0, num_rb, size):
            inside = min(size, num_rb - start)
            wanted += 2 if inside > size // 2 else 1
        for panel in (PANEL, Panel(8, 8, 2)):
            scheme = EnhancedTypeTwoFeedback(CsiConfig(panel, 1, num_rb, 360e3, size), combination=2, r=2)
            scheme.check_band(num_rb, size)
            book = scheme.codebooks[1]
            assert book.num_units == wanted
            assert book.num_taps == -(-wanted // 8)  # p_v = 1/4 of the subbands


@pytest.mark.parametrize("rank", [1, 2])
def test_etype2_with_fewer_coefficients(rank, rng):
    """Any number of coefficients may be sent; the length follows from part 1."""
    book = etype2(rank, 4)
    pmi = book.select(gaussian(rng, 30, 2, 32, 52))
    drop = (rng.random(pmi["bitmap"].shape) < 0.4) & (pmi["bitmap"] == 1)
    drop[..., 0] &= np.arange(8) != pmi["strongest"][..., None]
    pmi = {**pmi, "bitmap": pmi["bitmap"] * ~drop, "amplitude": pmi["amplitude"] * ~drop, "phase": pmi["phase"] * ~drop}
    part1, part2, length = book.pack(pmi)
    assert len(set(length)) > 3 and length.max() < book.part2_bits
    w = book.precoder(pmi)
    for i in range(len(length)):
        expected = etype2_by_hand(part1[i], part2[i, : length[i]], PANEL, 13, rank, 4)
        np.testing.assert_allclose(w[i], expected, atol=2e-5)
    back, valid = book.unpack(part1, part2, length)
    assert valid.all() and (book.precoder(back) == w).all()
    assert not book.unpack(part1, part2, length + 1)[1].any()


@pytest.mark.parametrize(("rank", "combination"), [(1, 6), (2, 4)])
def test_the_number_of_coefficients_has_the_least_loss_and_bits(rank, combination, rng, monkeypatch):
    """Of every report and start against a loop in float64 over the numbers of largest coefficients."""
    slope, seen, plain = 1e-3, [], EnhancedTypeTwoCodebook._fewer

    def watched(self, pmi, c):
        seen.append((pmi, c, plain(self, pmi, c)))
        return seen[-1][2]

    monkeypatch.setattr(EnhancedTypeTwoCodebook, "_fewer", watched)
    h = np.einsum("nrkp,nkf->nrpf", gaussian(rng, 12, 4, 5, 32), gaussian(rng, 12, 5, 52)).astype(np.complex64)
    book, full = etype2(rank, combination, slope=slope), etype2(rank, combination)
    part1, part2, length = book.pack(book.select(h))
    assert book.unpack(part1, part2, length)[1].all()
    assert len(set(length)) > 3 and length.max() < full.pack(full.select(h))[2].min()
    for pmi, c, (found, value) in seen[::3]:
        for report in range(len(h)):
            x = book._coefficients(pmi)[report].astype(complex)
            size = np.round(np.abs(x) ** 2 / np.sum(np.abs(x) ** 2, axis=(1, 2), keepdims=True), 6)
            size[np.arange(rank), pmi["strongest"][report], 0] = np.inf
            order = np.argsort(-size.ravel(), kind="stable")
            turns = np.exp(2j * np.pi / 13 * pmi["taps"][report][:, :, None] * np.arange(13))
            values = {}
            for count in range(rank, pmi["bitmap"][report].sum() + 1):
                kept = np.isin(np.arange(x.size), order[:count]).reshape(x.shape)
                w = (x * kept) @ turns
                fit = np.abs(np.sum(c[report].conj() * w, axis=1)) ** 2 / np.sum(np.abs(w) ** 2, axis=1)
                values[count] = fit.mean() - slope * book.payload.part2_length(count)
            assert value[report] == pytest.approx(max(values.values()), abs=1e-5)
            kept = np.isin(np.arange(x.size), order[: max(values, key=values.get)]).reshape(x.shape)
            assert (found["bitmap"][report] == kept).all() and not (found["phase"][report] * ~kept).any()


def mean_cos2(w, v):
    """``w [report, port, layer, unit]``, ``v [report, port, unit]``."""
    return np.mean(np.abs(np.einsum("npt,npt->nt", v.conj(), w[:, :, 0])) ** 2, axis=1)


@pytest.mark.parametrize("combination", [2, 4, 6, 8])
def test_a_channel_in_the_span_is_found(combination, rng):
    """One codeword of the codebook as the channel: coefficients on the grid come back nearly exactly."""
    book = etype2(1, combination)
    donor = book.select(gaussian(rng, 60, 1, 32, 52))
    w = book.precoder(donor)[:, :, 0]  # [report, port, unit]
    h = np.repeat(w.conj(), 4, axis=2)[:, None]
    found = book.precoder(book.select(h))
    fit = mean_cos2(found, w)
    assert fit.mean() > 0.98 and np.median(fit) > 0.985


@pytest.mark.long
def test_a_phase_changes_nothing(rng):
    """Exact for -1; other phases, also one of every subband, round otherwise and move decisions near ties only."""
    h = gaussian(rng, 200, 1, 32, 52)
    book = etype2(1, 6)
    pmi = book.select(h)
    v = h[:, 0].conj().reshape(200, 32, 13, 4)

    def gain(pmi):
        return np.mean(np.abs(np.einsum("nptk,npt->ntk", v.conj(), book.precoder(pmi)[:, :, 0])) ** 2, axis=(1, 2))

    turned = book.select(-h)
    for key, value in pmi.items():
        np.testing.assert_array_equal(turned[key], value, err_msg=key)
    for phase in (1j, np.exp(1j), np.repeat(np.exp(2j * np.pi * rng.random(13)), 4)):
        turned = book.select((h * phase).astype(np.complex64))
        same = np.all([np.all((turned[k] == pmi[k]).reshape(200, -1), axis=1) for k in pmi], axis=0)
        assert same.mean() > 0.9
        assert abs(gain(turned).mean() / gain(pmi).mean() - 1) < 2e-3


@pytest.mark.long
def test_more_beams_and_taps_fit_better(rng):
    """Correlated channels (a few paths): the fit rises with the combinations; paired over the channels."""
    paths = [(rng.integers(0, 32, 4), rng.random(4) * 5, gaussian(rng, 2, 4)) for _ in range(120)]
    t = np.arange(52)
    h = np.stack(
        [
            np.concatenate(
                [
                    sum(
                        a * np.outer(dft_beam(m + 0.3, m % 8 + 0.4, PANEL, 4, 4), np.exp(-2j * np.pi * d * t / 52))
                        for m, d, a in zip(place, delay, gains, strict=True)
                    )
                    for gains in gain
                ]
            )
            for place, delay, gain in paths
        ]
    ).astype(np.complex64)[:, None]
    v = h[:, 0].conj().reshape(120, 32, 13, 4)
    scores = []
    for combination in range(1, 9):
        book = etype2(1, combination)
        w = book.precoder(book.select(h))[:, :, 0]
        gain = np.abs(np.einsum("nptk,npt->ntk", v.conj(), w)) ** 2
        scores.append(np.mean(gain / np.sum(np.abs(v) ** 2, axis=1), axis=(1, 2)))
    for worse, better in ((0, 1), (1, 3), (2, 3), (3, 4), (4, 5), (6, 7)):
        gain = scores[better] - scores[worse]
        assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain)), (worse + 1, better + 1)


# Type II -------------------------------------------------------------------------------------------------------------


def type2_by_hand(part1, part2, panel, units, rank, half, psk, amplitude):
    """Directions ``[port, layer, unit]`` of one report, field by field."""
    o1, o2, beams = 4, 4 if panel.n2 > 1 else 1, panel.n1 * panel.n2
    full_most = {2: 4, 3: 4, 4: 6}[half]
    counts = [m + 1 for m in read(part1, [ceil(log2(2 * half - 1))] * rank)[0]]
    widths = [int(log2(o1)), int(log2(o2)), ceil(log2(comb(beams, half)))]
    widths += ([ceil(log2(2 * half))] + [3] * (2 * half - 1)) * rank
    (q1, q2, i12, *rest), at = read(part2, widths)
    layers = []
    for layer in range(rank):
        strongest, *k = rest[layer * 2 * half : (layer + 1) * 2 * half]
        k.insert(strongest, 7)
        assert sum(x > 0 for x in k) == counts[layer]
        by_strength = sorted(range(2 * half), key=lambda i: (-k[i], i != strongest, i))
        by_strength = [i for i in by_strength if k[i] > 0]
        full = set(by_strength[:full_most] if amplitude else by_strength)
        layers.append((strongest, k, full))
    c = np.zeros((rank, 2 * half, units), complex)
    for t in [*range(0, units, 2), *range(1, units, 2)]:
        phases = []
        for strongest, k, full in layers:
            own = {strongest: 1.0}
            for i in range(2 * half):
                if k[i] and i != strongest:
                    n = psk if i in full else 4
                    (value,), used = read(part2[at:], [int(log2(n))])
                    at += used
                    own[i] = np.exp(2j * np.pi * value / n)
            phases.append(own)
        for layer, (strongest, k, full) in enumerate(layers):
            for i, turn in phases[layer].items():
                small = 1
                if amplitude and i in full and i != strongest:
                    (small,), used = read(part2[at:], [1])
                    at += used
                c[layer, i, t] = turn * 2 ** (-(7 - k[i]) / 2) * (1 if small else 0.5**0.5)
    assert at == len(part2)
    n_of, rest = [], i12
    for i in range(half):
        n = next(n for n in range(beams) if comb(beams - 1 - n, half - i) <= rest)
        rest -= comb(beams - 1 - n, half - i)
        n_of.append(n)
    w = np.zeros((panel.num_ports, rank, units), complex)
    for i in range(2 * half):
        n = n_of[i % half]
        beam = dft_beam(o1 * (n % panel.n1) + q1, o2 * (n // panel.n1) + q2, panel, o1, o2)
        ports = slice(0, beams) if i < half else slice(beams, 2 * beams)
        w[ports] += beam[:, None, None] * c[:, i]
    return w / np.linalg.norm(w, axis=0)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("amplitude", [False, True])
@pytest.mark.parametrize(
    ("panel", "half", "psk"), [(PANEL, 4, 8), (Panel(4, 1, 2), 3, 4), (Panel(2, 1, 2), 2, 8), (Panel(3, 2, 2), 2, 4)]
)
def test_type2_payload_read_field_by_field(panel, half, psk, amplitude, rank, rng):
    book = TypeTwoCodebook(panel, 22, 4, rank, half, psk, amplitude, max_rank=rank)
    h = gaussian(rng, 8, 2, panel.num_ports, 22)
    h[:4, :, : panel.num_ports // 2] *= 0.01  # amplitudes that round to zero
    pmi = book.select(h)
    part1, part2, length = book.pack(pmi)
    w = book.precoder(pmi)
    for i in range(len(h)):
        expected = type2_by_hand(part1[i], part2[i, : length[i]], panel, 6, rank, half, psk, amplitude)
        np.testing.assert_allclose(w[i], expected, atol=2e-5)
    back, valid = book.unpack(part1, part2, length)
    assert valid.all() and len(set(length)) > 1
    np.testing.assert_array_equal(book.precoder(back), w)


def test_type2_resolution_helps(rng):
    h = gaussian(rng, 200, 1, 32, 52)
    v = h[:, 0].conj().reshape(200, 32, 13, 4)

    def fit(*params):
        book = TypeTwoCodebook(PANEL, 52, 4, 1, *params)
        w = book.precoder(book.select(h))[:, :, 0]
        return np.mean(np.abs(np.einsum("nptk,npt->ntk", v.conj(), w)) ** 2)

    assert fit(2, 4, False) < fit(3, 4, False) < fit(4, 4, False) < fit(4, 8, False) < fit(4, 8, True)


# Schemes -------------------------------------------------------------------------------------------------------------


def test_rank_follows_the_channel(rng):
    """A channel of one path has rank 1; four orthogonal ones carry four layers at high SNR.

    Their gains differ a little, so that the eigenvectors are the beams: any mixture of equal ones would be as good.
    """
    config = CsiConfig(PANEL, 4, 8, 360e3, 4, num_layers=4)
    scheme = EnhancedTypeTwoFeedback(config, combination=6, snr_db=20)
    beams = np.stack([np.tile(dft_beam(4 * i, 0, PANEL, 4, 4), 2) for i in range(4)]).conj()
    beams[1::2, 16:] *= -1
    one = np.einsum("r,p->rp", gaussian(rng, 4), beams[0])
    u, _, _ = np.linalg.svd(gaussian(rng, 4, 4))
    four = u @ (np.array([1.15, 1.05, 0.95, 0.85])[:, None] * beams)
    h = np.stack([one, four])[None, :, :, :, None].repeat(8, axis=4).astype(np.complex64)
    h /= np.sqrt(np.mean(np.abs(h) ** 2, axis=(2, 3, 4), keepdims=True))
    report = scheme.report(CsiEstimate(h, np.zeros((1, 2), np.float32)))
    ri = report.bits[0, :, :2] @ [2, 1] + 1
    assert ri.tolist() == [1, 4]
    back = scheme.reconstruct(report)
    used = np.linalg.norm(back.w[0], axis=1)  # [user, layer, subband]
    np.testing.assert_allclose(used[0], [[1, 1], [0, 0], [0, 0], [0, 0]], atol=1e-5)
    np.testing.assert_allclose(used[1], 1, atol=1e-5)
    assert back.valid.all() and report.num_bits[0, 0] < report.num_bits[0, 1] <= scheme.max_bits


@pytest.mark.parametrize(
    ("scheme", "params", "layers"),
    [
        (EnhancedTypeTwoFeedback, {"combination": 4}, 3),
        (EnhancedTypeTwoFeedback, {"combination": 2, "r": 2}, 1),
        (TypeTwoFeedback, {"subband_amplitude": True}, 2),
        (FurtherEnhancedTypeTwoFeedback, {"combination": 5, "window": 4}, 3),
        (FurtherEnhancedTypeTwoFeedback, {"combination": 4}, 2),
        (EnhancedTypeTwoPortSelectionFeedback, {"combination": 4, "sampling": 3}, 2),
        (TypeTwoPortSelectionFeedback, {"beams": 3, "sampling": 3}, 2),
    ],
)
def test_random_payloads_give_unit_norms_or_are_invalid(scheme, params, layers, rng):
    """10,000 random payloads of every length."""
    built = scheme(CsiConfig(PANEL, 4, 52, 360e3, 4, num_layers=layers), **params)
    num_bits = rng.integers(built.part1_bits + 1, built.max_bits + 1, (10_000, 1))
    num_bits[::2] = built.max_bits
    bits = (rng.random((10_000, 1, built.max_bits)) < rng.choice([0.1, 0.5, 0.9], (10_000, 1, 1))).astype(np.uint8)
    bits *= np.arange(built.max_bits) < num_bits[..., None]
    back = built.reconstruct(CsiReport(bits, num_bits))
    norm = np.linalg.norm(back.w, axis=2)
    assert np.isfinite(back.w).all() and not norm[~back.valid].any()
    norm = norm[back.valid]
    assert ((np.abs(norm - 1) < 1e-4) | (norm == 0)).all() and np.all(np.abs(norm[:, 0] - 1) < 1e-4)


def test_zero_channels_are_coded(rng):
    config = CsiConfig(PANEL, 2, 52, 360e3, 4, num_layers=2)
    for build in (
        EnhancedTypeTwoFeedback, TypeTwoFeedback, FurtherEnhancedTypeTwoFeedback, EnhancedTypeTwoPortSelectionFeedback,
        TypeTwoPortSelectionFeedback,
    ):  # fmt: skip
        scheme = build(config)
        report = scheme.report(CsiEstimate(np.zeros((1, 2, 2, 32, 52), np.complex64), np.zeros((1, 2), np.float32)))
        back = scheme.reconstruct(report)
        assert back.valid.all() and np.isfinite(back.w).all()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: etype2(1, 3, Panel(2, 1, 2)), r"combination.*3.*1, 2 with 4 ports"),
        (lambda: etype2(1, 7, Panel(6, 2, 2)), r"combination.*7 with 24 ports"),
        (lambda: etype2(3, 8), r"combination.*rank 3"),
        (lambda: etype2(1, 7, unit=2, two_units=True), r"combination.*R = 2"),
        (lambda: etype2(1, 9), r"combination.*1\.\.8"),
        (lambda: etype2(5, 1), r"rank.*1\.\.4"),
        (lambda: etype2(1, 1, Panel(5, 2, 2)), r"n1.*5x2"),
        (lambda: etype2(1, 1, Panel(8, 2, 1)), r"num_pol.*1 polarisation"),
        (lambda: TypeTwoCodebook(Panel(2, 1, 2), 8, 4, 1, 3), r"beams.*2\.\.2 with 4 ports"),
        (lambda: TypeTwoCodebook(PANEL, 8, 4, 3), r"rank.*1, 2"),
        (lambda: TypeTwoCodebook(PANEL, 8, 4, 1, 2, 16), r"psk.*4, 8"),
        (lambda: EnhancedTypeTwoFeedback(CsiConfig(PANEL, 1, 12, 1e5, 3), r=2), r"r.*1 with subbands of 3"),
        (lambda: TypeTwoFeedback(CsiConfig(PANEL, 2, 12, 1e5, 3), rank=2), r"rank.*layers_per_user 1"),
    ],
)
def test_what_the_tables_do_not_have(build, words):
    with pytest.raises(ConfigError, match=words):
        build()
