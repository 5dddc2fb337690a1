"""Port selection codebooks of Releases 15 to 17: sizes counted by hand, payloads read by hand, what is refused."""

from math import ceil, comb, log2

import numpy as np
import pytest
from test_pmi_codebooks import gaussian, read

from receivers.codebooks.fetype2 import FurtherEnhancedTypeTwoCodebook
from receivers.codebooks.port_selection import EnhancedTypeTwoPortSelectionCodebook, TypeTwoPortSelectionCodebook
from receivers.feedback.fetype2_ps import FurtherEnhancedTypeTwoFeedback
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, Panel

SAMPLES, UNIT, UNITS = 52, 4, 13
COMBINATIONS = {  # Table 5.2.2.2.7-1: M, alpha, beta
    1: (1, 0.75, 0.5), 2: (1, 1, 0.5), 3: (1, 1, 0.75), 4: (1, 1, 1),
    5: (2, 0.5, 0.5), 6: (2, 0.75, 0.5), 7: (2, 1, 0.5), 8: (2, 1, 0.75),
}  # fmt: skip


def ports(number):
    return Panel(number // 2, 1, 2)


def fetype2(number, combination, rank=1, **more):
    return FurtherEnhancedTypeTwoCodebook(ports(number), SAMPLES, UNIT, rank, combination, max_rank=rank, **more)


def etype2(number, combination, rank=1, sampling=1, samples=SAMPLES, unit=UNIT):
    panel = ports(number)
    return EnhancedTypeTwoPortSelectionCodebook(
        panel, samples, unit, rank, combination, max_rank=rank, sampling=sampling
    )


def type2(number, rank=1, sampling=1, beams=4, psk=8, amplitude=False):
    panel = ports(number)
    return TypeTwoPortSelectionCodebook(panel, SAMPLES, UNIT, rank, beams, psk, amplitude, rank, sampling=sampling)


# Sizes ---------------------------------------------------------------------------------------------------------------

# Bits of part 2 with all coefficients of the budget, worked out from the fields of TS 38.214, 5.2.2.2.7, in this order:
# i_{1,2}, v i_{1,8}, i_{1,6}, v i_{1,7}, v i_{2,3}, 7 (K_NZ - v).
FETYPE2_BITS = {
    # P, combination, rank, N: bits
    (32, 1, 1, 2): 11 + 5 + 0 + 24 + 4 + 7 * 11,
    (32, 2, 1, 2): 0 + 5 + 0 + 32 + 4 + 7 * 15,
    (32, 3, 1, 2): 0 + 5 + 0 + 32 + 4 + 7 * 23,
    (32, 4, 1, 2): 0 + 5 + 0 + 0 + 4 + 7 * 31,  # all coefficients: no bitmap
    (32, 5, 1, 2): 14 + 5 + 0 + 32 + 4 + 7 * 15,
    (32, 5, 1, 4): 14 + 5 + 2 + 32 + 4 + 7 * 15,
    (32, 6, 1, 4): 11 + 6 + 2 + 48 + 4 + 7 * 23,
    (16, 1, 1, 2): 5 + 4 + 0 + 12 + 4 + 7 * 5,
    (16, 4, 1, 2): 0 + 4 + 0 + 0 + 4 + 7 * 15,
    (16, 5, 1, 2): 7 + 4 + 0 + 16 + 4 + 7 * 7,
    (16, 6, 1, 2): 5 + 5 + 0 + 24 + 4 + 7 * 11,
    (16, 7, 1, 4): 0 + 5 + 2 + 32 + 4 + 7 * 15,
    (16, 8, 1, 2): 0 + 5 + 0 + 32 + 4 + 7 * 23,
    (12, 5, 1, 2): 5 + 4 + 0 + 12 + 4 + 7 * 5,
    (16, 1, 2, 2): 5 + 8 + 0 + 24 + 8 + 7 * 10,
    (16, 4, 2, 2): 0 + 8 + 0 + 0 + 8 + 7 * 30,
    (16, 5, 2, 4): 7 + 8 + 2 + 32 + 8 + 7 * 14,
    (16, 5, 3, 2): 7 + 12 + 0 + 48 + 12 + 7 * 13,
    (8, 4, 4, 2): 0 + 12 + 0 + 32 + 16 + 7 * 12,
}
# i_{1,1}, v i_{1,8}, v i_{1,6}, v i_{1,7}, v i_{2,3}, 7 (K_NZ - v), of 13 subbands.
ETYPE2_BITS = {
    # P, combination, rank, d: bits
    (16, 1, 1, 1): 3 + 2 + 8 + 16 + 4 + 7 * 3,
    (16, 4, 1, 1): 3 + 4 + 8 + 32 + 4 + 7 * 15,
    (16, 4, 1, 2): 2 + 4 + 8 + 32 + 4 + 7 * 15,
    (16, 4, 1, 3): 2 + 4 + 8 + 32 + 4 + 7 * 15,
    (32, 6, 1, 4): 2 + 5 + 10 + 56 + 4 + 7 * 27,
    (24, 5, 2, 1): 4 + 6 + 16 + 64 + 8 + 7 * 46,
    (4, 2, 1, 2): 0 + 3 + 8 + 16 + 4 + 7 * 7,
}
# i_{1,1}, v (i_{1,3}, i_{1,4}), then phases of 13 subbands.
TYPE2_BITS = {
    # P, rank, d, L, N_PSK: bits
    (16, 1, 1, 4, 8): 3 + 3 + 21 + 13 * 7 * 3,
    (32, 1, 1, 4, 8): 4 + 3 + 21 + 13 * 7 * 3,
    (32, 2, 3, 3, 4): 3 + 2 * (3 + 15) + 13 * 2 * 5 * 2,
    (4, 1, 2, 2, 8): 0 + 2 + 9 + 13 * 3 * 3,
}


@pytest.mark.parametrize("case", FETYPE2_BITS)
def test_fetype2_sizes(case, rng):
    number, combination, rank, window = case
    book = fetype2(number, combination, rank, window=window)
    assert book.payload.part2_length(book.payload.most) == FETYPE2_BITS[case]
    assert set(book.pack(book.select(gaussian(rng, 4, rank, number, SAMPLES)))[2]) == {FETYPE2_BITS[case]}
    taps, alpha, beta = COMBINATIONS[combination]
    assert book.part1_bits == ceil(log2(ceil(beta * alpha * number * taps) * (1 if rank == 1 else 2)))


@pytest.mark.parametrize("case", ETYPE2_BITS)
def test_etype2_sizes(case):
    number, combination, rank, sampling = case
    assert etype2(number, combination, rank, sampling).part2_bits == ETYPE2_BITS[case]


@pytest.mark.parametrize("case", TYPE2_BITS)
def test_type2_sizes(case):
    number, rank, sampling, beams, psk = case
    assert type2(number, rank, sampling, beams, psk).part2_bits == TYPE2_BITS[case]


def test_one_coefficient_less_brings_the_bitmap_back():
    """7 bits less for the coefficient, 32 more for the bitmap: not the largest number makes the longest report."""
    book = fetype2(32, 4)
    assert book.payload.part2_length(31) == 226 - 7 + 32 == book.part2_bits


# Field by field ------------------------------------------------------------------------------------------------------


def set_of(number, size, count):
    """Members of the set of this number: i = sum of C(size - 1 - m, count - k) over its members m."""
    members, rest = [], number
    for k in range(count):
        m = next(m for m in range(size) if comb(size - 1 - m, count - k) <= rest)
        rest -= comb(size - 1 - m, count - k)
        members.append(m)
    return members


def bits_for(count):
    return ceil(log2(count))


def weights_by_hand(mapped, strongest, references, k, c, half):
    """Coefficients by (layer, row, tap), of those of the bitmap by priority."""
    values, found = iter(zip(k, c, strict=True)), {}
    for layer, i, f in mapped:
        if (i, f) == strongest[layer]:
            found[layer, i, f] = 1.0
            continue
        amplitude, phase = next(values)
        own = i // half == strongest[layer][0] // half
        reference = 1.0 if own else 2 ** (-(15 - references[layer]) / 4)
        found[layer, i, f] = reference * 2 ** (-(7 - amplitude) / 2) * np.exp(2j * np.pi * phase / 16)
    return found


def coefficients_by_hand(part2, priority, nonzero, rank, no_bitmap):
    """Groups 1 and 2 from i_{1,7} on: elements of the bitmap by priority, i_{2,3}, i_{2,4}, i_{2,5}."""
    last = nonzero // 2
    first = max(ceil(nonzero / 2) - rank, 0)
    rest = nonzero - rank - first
    at, high, low = 0, [1] * (len(priority) - last), [1] * last
    if not no_bitmap:
        high, at = read(part2, [1] * (len(priority) - last))
    numbers = []
    for widths in ([4] * rank, [3] * first, [4] * first):
        values, used = read(part2[at:], widths)
        at += used
        numbers.append(values)
    if not no_bitmap:
        low, used = read(part2[at:], [1] * last)
        at += used
    for widths in ([3] * rest, [4] * rest):
        values, used = read(part2[at:], widths)
        at += used
        numbers.append(values)
    references, k_high, c_high, k_low, c_low = numbers
    assert at == len(part2)
    mapped = [place for place, bit in zip(priority, [*high, *low], strict=True) if bit]
    assert len(mapped) == nonzero
    return mapped, references, [*k_high, *k_low], [*c_high, *c_low]


def on_ports(coefficients, chosen, number, rank, units, n3):
    """Equation of the precoder with v_m = 1 on port m of a polarisation, unit norm."""
    w = np.zeros((number, rank, units), complex)
    for (layer, i, f), value in coefficients.items():
        port = chosen[i % len(chosen)] + (number // 2 if i >= len(chosen) else 0)
        w[port, layer] += value * np.exp(2j * np.pi * np.arange(units) * n3[layer][f] / units)
    return w / np.linalg.norm(w, axis=0)


def fetype2_by_hand(part1, part2, number, rank, combination, window, units=UNITS):
    """Directions ``[port, layer, unit]`` of one report, in the order of TS 38.214, 5.2.3."""
    taps, alpha, _ = COMBINATIONS[combination]
    half, chosen = number // 2, round(alpha * number / 2)
    rows = 2 * chosen
    nonzero = read(part1, [len(part1)])[0][0] + 1
    widths = [bits_for(comb(half, chosen)) if alpha < 1 else 0] + [bits_for(rows * taps)] * rank
    widths += [2 if taps == 2 and window == 4 else 0]
    (i12, *i18, i16), at = read(part2, widths)
    priority = sorted(
        (rows * rank * f + rank * i + layer, layer, i, f)
        for layer in range(rank) for i in range(rows) for f in range(taps)
    )  # fmt: skip
    no_bitmap = rank <= 2 and nonzero == rows * taps * rank
    mapped, references, k, c = coefficients_by_hand(
        part2[at:], [place[1:] for place in priority], nonzero, rank, no_bitmap
    )
    strongest = [(number % rows, number // rows) for number in i18]
    n3 = [[0, 1 + i16][:taps]] * rank
    coefficients = weights_by_hand(mapped, strongest, references, k, c, chosen)
    return on_ports(coefficients, set_of(i12, half, chosen), number, rank, units, n3)


def etype2_by_hand(part1, part2, number, rank, combination, sampling, units):
    half, low, high = {
        1: (2, 1 / 4, 1 / 8), 2: (2, 1 / 4, 1 / 8), 3: (4, 1 / 4, 1 / 8), 4: (4, 1 / 4, 1 / 8), 5: (4, 1 / 4, 1 / 4),
        6: (4, 1 / 2, 1 / 4),
    }[combination]  # fmt: skip
    taps = ceil((low if rank < 3 else high) * units)
    rows, pool = 2 * half, 2 * taps if units > 19 else units
    nonzero = read(part1, [len(part1)])[0][0] + 1
    widths = [bits_for(ceil(number / 2 / sampling))] + [bits_for(nonzero if rank == 1 else rows)] * rank
    widths += [bits_for(2 * taps) if units > 19 else 0] + [bits_for(comb(pool - 1, taps - 1))] * rank
    (i11, *rest), at = read(part2, widths)
    i18, i15, i16 = rest[:rank], rest[rank], rest[rank + 1 :]
    n3 = []
    for value in i16:
        chosen = [0] + [1 + m for m in set_of(value, pool - 1, taps - 1)]
        if units > 19:
            start = 0 if i15 == 0 else i15 - 2 * taps
            chosen = [n if n <= start + 2 * taps - 1 else n + units - 2 * taps for n in chosen]
        n3.append(chosen)
    priority = sorted(
        (rows * rank * min(2 * n3[layer][f], 2 * (units - n3[layer][f]) - 1) + rank * i + layer, layer, i, f)
        for layer in range(rank) for i in range(rows) for f in range(taps)
    )  # fmt: skip
    mapped, references, k, c = coefficients_by_hand(part2[at:], [place[1:] for place in priority], nonzero, rank, False)
    in_tap0 = [sorted(i for layer, i, f in mapped if layer == wanted and f == 0) for wanted in range(rank)]
    strongest = [(in_tap0[0][i18[0]] if rank == 1 else number, 0) for number in i18]
    coefficients = weights_by_hand(mapped, strongest, references, k, c, half)
    chosen = [(i11 * sampling + i) % (number // 2) for i in range(half)]
    return on_ports(coefficients, chosen, number, rank, units, n3)


def type2_by_hand(part1, part2, number, rank, sampling, half, psk, amplitude, units=UNITS):
    counts = [m + 1 for m in read(part1, [bits_for(2 * half - 1)] * rank)[0]]
    widths = [bits_for(ceil(number / 2 / sampling))] + ([bits_for(2 * half)] + [3] * (2 * half - 1)) * rank
    (i11, *rest), at = read(part2, widths)
    layers = []
    for layer in range(rank):
        strongest, *k = rest[layer * 2 * half : (layer + 1) * 2 * half]
        k.insert(strongest, 7)
        assert sum(x > 0 for x in k) == counts[layer]
        order = [i for i in sorted(range(2 * half), key=lambda i: (-k[i], i != strongest, i)) if k[i]]
        layers.append((strongest, k, set(order[: {2: 4, 3: 4, 4: 6}[half]] if amplitude else order)))
    chosen = [(i11 * sampling + i) % (number // 2) for i in range(half)]
    w = np.zeros((number, rank, units), complex)
    for t in [*range(0, units, 2), *range(1, units, 2)]:
        weights = []
        for strongest, k, full in layers:
            own = {strongest: 1.0}
            for i in [i for i in range(2 * half) if k[i] and i != strongest]:
                order = psk if i in full else 4
                (value,), used = read(part2[at:], [bits_for(order)])
                at += used
                own[i] = 2 ** (-(7 - k[i]) / 2) * np.exp(2j * np.pi * value / order)
            weights.append(own)
        for layer, (strongest, _, full) in enumerate(layers):
            for i, weight in sorted(weights[layer].items()):
                small = 1
                if amplitude and i in full and i != strongest:
                    (small,), used = read(part2[at:], [1])
                    at += used
                w[chosen[i % half] + (number // 2 if i >= half else 0), layer, t] = weight * (1 if small else 0.5**0.5)
    assert at == len(part2)
    return w / np.linalg.norm(w, axis=0)


def random_pmi(book, rng, count):
    """Random legal indices; budgets of a layer and of all layers, the strongest coefficient among those sent."""
    payload = book.payload
    layers, rows, taps = payload.shape
    spread = book.strongest_taps
    strongest = rng.integers(0, rows * spread, (count, layers))
    order = rng.random((count, layers, rows, taps)) - 2 * payload.first(strongest)
    rank_in_layer = np.argsort(np.argsort(order.reshape(count, layers, -1), axis=2), axis=2).reshape(order.shape)
    most = min(payload.budget, rows * taps, payload.most // layers)
    numbers = rng.integers(1, most + 1, (count, layers, 1, 1))
    numbers[: count // 4] = most
    bitmap = (rank_in_layer < numbers).astype(np.int64)
    first = payload.first(strongest)
    pool = payload.pool
    if spread > 1 or pool == 1:  # Release 17
        window = np.zeros(count, np.int64)
        second = rng.integers(1, pool, (count, 1, 1)) if taps > 1 else np.zeros((count, 1, 0), np.int64)
        found = np.repeat(np.concatenate([np.zeros((count, 1, 1), np.int64), second], axis=2), layers, axis=1)
    else:
        window = rng.integers(0, 2 * taps, count) if payload.windowed else np.zeros(count, np.int64)
        picked = np.sort(np.argsort(rng.random((count, layers, pool - 1)), axis=2)[..., : taps - 1], axis=2) + 1
        found = np.concatenate([np.zeros((count, layers, 1), np.int64), picked], axis=2)
        if payload.windowed:
            start = np.where(window == 0, 0, window - 2 * taps)[:, None, None]
            found = np.where(found <= start + 2 * taps - 1, found, found + payload.num_units - pool)
    beams = np.sort(np.argsort(rng.random((count, payload.group_size)), axis=1)[:, : payload.num_beams], axis=1)
    return {
        "group": rng.integers(0, payload.num_groups, count),
        "beams": beams,
        "window": window,
        "taps": found,
        "bitmap": bitmap,
        "strongest": strongest,
        "reference": rng.integers(1, 16, (count, layers)),
        "amplitude": np.where(first, 7, rng.integers(0, 8, bitmap.shape) * bitmap),
        "phase": np.where(first, 0, rng.integers(0, 16, bitmap.shape) * bitmap),
    }


def norms_that_do_not_vanish(w):
    """Reports whose coefficients cancel nowhere: there the equation of the standard divides by zero."""
    return np.abs(w).max(axis=1).min(axis=(1, 2)) > 0


FETYPE2_CASES = [
    (32, 1, 1, 2), (32, 4, 1, 2), (32, 5, 1, 4), (32, 6, 2, 4), (16, 1, 2, 2), (16, 2, 3, 2), (16, 4, 2, 2),
    (16, 5, 4, 4), (16, 7, 1, 4), (16, 8, 2, 2), (12, 3, 4, 2), (12, 5, 3, 4), (8, 6, 1, 2), (4, 5, 2, 2), (4, 4, 1, 2),
    (24, 8, 1, 4),
]  # fmt: skip


@pytest.mark.parametrize("case", FETYPE2_CASES)
def test_fetype2_payload_read_field_by_field(case, rng):
    number, combination, rank, window = case
    book = fetype2(number, combination, rank, window=window)
    selected = book.select(gaussian(rng, 3, max(rank, 2), number, SAMPLES))
    drawn = random_pmi(book, rng, 12)
    pmi = {key: np.concatenate([selected[key], drawn[key]]) for key in selected}
    w = book.precoder(pmi)
    part1, part2, length = book.pack(pmi)
    assert len(set(length)) > 1
    for i in np.flatnonzero(norms_that_do_not_vanish(w)):
        expected = fetype2_by_hand(part1[i], part2[i, : length[i]], number, rank, combination, window)
        np.testing.assert_allclose(w[i], expected, atol=2e-5)
    _check_round_trip(book, pmi)


@pytest.mark.parametrize(
    "case",
    [(16, 1, 1, 1, 52), (16, 4, 2, 3, 52), (32, 6, 1, 4, 52), (24, 5, 4, 2, 52), (4, 2, 1, 2, 52), (12, 3, 1, 4, 96)],
)
def test_etype2_payload_read_field_by_field(case, rng):
    number, combination, rank, sampling, samples = case
    book = etype2(number, combination, rank, sampling, samples)
    selected = book.select(gaussian(rng, 3, max(rank, 2), number, samples))
    drawn = random_pmi(book, rng, 12)
    pmi = {key: np.concatenate([selected[key], drawn[key]]) for key in selected}
    w = book.precoder(pmi)
    part1, part2, length = book.pack(pmi)
    for i in range(len(w)):
        expected = etype2_by_hand(part1[i], part2[i, : length[i]], number, rank, combination, sampling, book.num_units)
        np.testing.assert_allclose(w[i], expected, atol=2e-5)
    _check_round_trip(book, pmi)


@pytest.mark.parametrize(
    "case", [(16, 1, 1, 4, 8, False), (32, 2, 3, 3, 4, True), (12, 2, 4, 4, 8, True), (4, 1, 2, 2, 8, False)]
)
def test_type2_payload_read_field_by_field(case, rng):
    number, rank, sampling, half, psk, amplitude = case
    book = type2(number, rank, sampling, half, psk, amplitude)
    h = gaussian(rng, 10, 2, number, SAMPLES)
    h[:5, :, : number // 2] *= 0.01  # amplitudes that round to zero
    pmi = book.select(h)
    w = book.precoder(pmi)
    part1, part2, length = book.pack(pmi)
    for i in range(len(w)):
        expected = type2_by_hand(part1[i], part2[i, : length[i]], number, rank, sampling, half, psk, amplitude)
        np.testing.assert_allclose(w[i], expected, atol=2e-5)
    back, valid = book.unpack(part1, part2, length)
    assert valid.all() and (book.precoder(back) == w).all()


def _check_round_trip(book, pmi):
    part1, part2, length = book.pack(pmi)
    back, valid = book.unpack(part1, part2, length)
    assert valid.all()
    for key, value in pmi.items():
        np.testing.assert_array_equal(back[key], value, err_msg=key)
    assert not book.unpack(part1, part2, np.full(len(length), book.part2_bits + 1))[1].any()


@pytest.mark.long
@pytest.mark.parametrize(
    "book",
    [fetype2(32, 6, window=4), fetype2(16, 4, 2), fetype2(24, 5, 4, window=4), etype2(24, 4, 2, 3)],
    ids=["r17-rank1", "r17-rank2", "r17-rank4", "r16-rank2"],
)
def test_ten_thousand_random_pmis(book, rng):
    _check_round_trip(book, random_pmi(book, rng, 10_000))


def test_windows_that_do_not_exist_are_no_codewords(rng):
    """12 ports, d = 4: two windows in one bit; d = 3 of 16 ports: three in two bits, the fourth is invalid."""
    book = etype2(16, 4, 1, 3)
    part1, part2, length = book.pack(book.select(gaussian(rng, 6, 1, 16, SAMPLES)))
    part2[:, :2] = 1
    assert not book.unpack(part1, part2, length)[1].any()


@pytest.mark.parametrize("case", [(32, 5, 1, 4), (16, 4, 2, 2), (16, 8, 2, 4), (16, 5, 3, 2)])
def test_groups_are_omitted_whole(case, rng):
    """Without group 2 the coefficients of high priority stay; without group 1 the strongest of every layer."""
    number, combination, rank, window = case
    config = CsiConfig(ports(number), 4, SAMPLES, 360e3, UNIT, num_layers=rank)
    scheme = FurtherEnhancedTypeTwoFeedback(config, combination=combination, window=window, rank=rank)
    report = scheme.report(CsiEstimate(gaussian(rng, 4, 2, 4, number, SAMPLES), np.zeros((4, 2), np.float32)))
    book = scheme.codebooks[rank]
    whole, some, least = book.payload._cuts(book.payload.most)
    head = [bits_for(comb(number // 2, book.num_beams)), rank * bits_for(2 * book.num_beams * book.num_taps)]
    assert least == sum(head) + (2 if book.num_taps == 2 and window == 4 else 0)
    for budget, left in ((whole, book.payload.most), (some, -(-book.payload.most // 2)), (least, rank)):
        cut = scheme.omit(report, scheme.part1_bits + budget)
        assert set(cut.num_bits.ravel()) == {scheme.part1_bits + budget}
        back = scheme.reconstruct(cut)
        assert back.valid.all()
        bits = cut.bits.reshape(8, -1)
        pmi, _ = book.unpack(bits[:, : scheme.part1_bits], bits[:, scheme.part1_bits :], np.full(8, budget))
        assert set(pmi["bitmap"].sum(axis=(1, 2, 3))) == {left}


# What the tables do not have -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: fetype2(4, 1), r"combination.*1 with 4 ports.*5\.2\.2\.2\.7-1"),
        (lambda: fetype2(12, 1), r"combination.*1 with 12 ports.*5\.2\.2\.2\.7-1"),
        (lambda: fetype2(12, 6), r"combination.*6 with 12 ports.*5\.2\.2\.2\.7-1"),
        (lambda: fetype2(32, 7), r"combination.*7 with 32 ports.*5\.2\.2\.2\.7-1"),
        (lambda: fetype2(32, 8), r"combination.*8 with 32 ports.*5\.2\.2\.2\.7-1"),
        (lambda: fetype2(4, 5, 3), r"combination.*5 with 4 ports, rank 3.*up to rank 2"),
        (lambda: fetype2(16, 9), r"combination.*1\.\.8"),
        (lambda: fetype2(16, 1, 5), r"rank.*1\.\.4"),
        (lambda: fetype2(20, 4), r"CSI-RS ports.*20"),
        (lambda: fetype2(48, 4), r"CSI-RS ports.*48"),
        (lambda: fetype2(16, 5, window=3), r"window.*3.*valueOfN"),
        (lambda: fetype2(16, 4, two_units=True), r"fetype2-ps-r17\.r: got 2.*Table 5\.2\.2\.2\.7-1"),
        (lambda: FurtherEnhancedTypeTwoCodebook(ports(16), 8, 4, 1, 5, window=4), r"window.*the 2 PMI subbands"),
        (lambda: FurtherEnhancedTypeTwoCodebook(Panel(16, 1, 1), 8, 4, 1, 4), r"CSI-RS ports.*1 polarisation"),
        (lambda: etype2(32, 7), r"etype2-ps-r16\.combination.*7.*1\.\.6.*5\.2\.2\.2\.6-1"),
        (lambda: etype2(4, 3), r"combination.*4 ports"),
        (lambda: etype2(16, 1, 1, 3), r"sampling.*3.*1\.\.2.*min\(P/2, L\)"),
        (lambda: etype2(16, 4, 1, 5), r"sampling.*5.*1\.\.4"),
        (lambda: type2(16, 1, 3, 2), r"type2-ps-r15\.sampling.*3.*1\.\.2"),
        (lambda: type2(4, 1, 1, 3), r"beams.*2\.\.2 with 4 ports"),
        (lambda: type2(20), r"CSI-RS ports.*20"),
    ],
)  # fmt: skip
def test_what_the_tables_do_not_have(build, words):
    with pytest.raises(ConfigError, match=words):
        build()


# Selection -----------------------------------------------------------------------------------------------------------


def fit(book, h):
    """Mean squared cosine with the strongest direction of every sample, ``[report]``, one antenna."""
    w = book.precoder(book.select(h))[:, :, 0]
    v = h[:, 0].conj().reshape(len(h), h.shape[2], UNITS, UNIT)
    gain = np.abs(np.einsum("nptk,npt->ntk", v.conj(), w)) ** 2 / np.sum(np.abs(v) ** 2, axis=1)
    return gain.mean(axis=(1, 2))


@pytest.mark.parametrize("combination", [2, 4, 5, 6])
def test_a_channel_in_the_span_is_found(combination, rng):
    """One codeword as the channel comes back nearly exactly."""
    book = fetype2(32, combination, window=4)
    w = book.precoder(book.select(gaussian(rng, 60, 1, 32, SAMPLES)))[:, :, 0]
    found = fit(book, np.repeat(w.conj(), UNIT, axis=2)[:, None])
    assert found.mean() > 0.97 and np.median(found) > 0.98


@pytest.mark.long
def test_more_bits_fit_better(rng):
    """Ports with delays within two taps: the fit rises with the bits of the combination, paired over the channels."""
    gains = gaussian(rng, 300, 24, 2) * np.array([1, 0.5])
    gains *= 10 ** (-rng.permuted(np.tile(np.arange(12), (300, 2)), axis=1) / 15)[..., None]
    delays = np.exp(-2j * np.pi * np.arange(2)[:, None] * np.arange(SAMPLES) / SAMPLES)
    h = (gains @ delays).astype(np.complex64)[:, None]
    scores = {pc: fit(fetype2(24, pc), h) for pc in range(1, 9)}
    for worse, better in ((1, 2), (2, 3), (3, 4), (5, 6), (6, 7), (7, 8)):
        gain = scores[better] - scores[worse]
        assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain)), (worse, better)


def test_the_ports_of_most_energy_are_chosen(rng):
    def channel(strong):
        h = 0.01 * gaussian(rng, 20, 1, 16, SAMPLES)
        for port in strong:
            h[:, :, [port, port + 8]] += gaussian(rng, 20, 1, 2, 1)
        return h

    chosen = fetype2(16, 5).select(channel([1, 2, 4, 7]))["beams"]
    np.testing.assert_array_equal(chosen, np.tile([1, 2, 4, 7], (20, 1)))
    for strong, group in (([2, 3, 5], 1), ([6, 0, 1], 3)):  # windows of four ports from 0, 2, 4, 6 on
        assert (etype2(16, 3, 1, 2).select(channel(strong))["group"] == group).all()
        assert (type2(16, 1, 2).select(channel(strong))["group"] == group).all()
