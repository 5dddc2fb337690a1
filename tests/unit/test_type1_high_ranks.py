"""Refined Type I on 48, 64 and 128 ports at ranks 5 to 8: precoders and payloads from the indices, selection."""

import itertools
from math import ceil, comb, log2

import numpy as np
import pytest
from test_pmi_codebooks import gaussian
from test_type1_large import PANELS, score, v

from receivers.codebooks.type1_large import TypeOneHighRankCodebook
from receivers.feedback.type1 import TypeOneFeedback
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, Panel

CASES = list(itertools.product(PANELS, (5, 6, 7, 8), (1, 2)))
ids = [f"{n1}x{n2}-rank{rank}-mode{'AB'[mode - 1]}" for (n1, n2), rank, mode in CASES]
# Mode A: beam, sign and whether it is co-phased, layer by layer (as Tables 5.2.2.2.1-9 to -12).
COLUMNS = {
    5: ["0+p", "0-p", "1+", "1-", "2+"],
    6: ["0+p", "0-p", "1+p", "1-p", "2+", "2-"],
    7: ["0+p", "0-p", "1+p", "2+", "2-", "3+", "3-"],
    8: ["0+p", "0-p", "1+p", "1-p", "2+", "2-", "3+", "3-"],
}
# Mode B: beam, field of i_2 and what is added to it, layer by layer; bits of the fields.
LAYERS = {
    5: [(0, 0, 0), (0, 0, 2), (1, 1, 0), (1, 1, 2), (2, 2, 0)],
    6: [(0, 0, 0), (0, 0, 2), (1, 1, 0), (1, 1, 2), (2, 2, 0), (2, 2, 2)],
    7: [(0, 0, 0), (0, 0, 2), (1, 1, 0), (2, 2, 0), (2, 2, 2), (3, 3, 0), (3, 3, 2)],
    8: [(g, g, add) for g in range(4) for add in (0, 2)],
}
FIELDS = {5: [1, 1, 2], 6: [1, 1, 1], 7: [1, 2, 1, 1], 8: [1, 1, 1, 1]}


def bits_of(values, widths):
    return [
        int(bit) for value, width in zip(values, widths, strict=True) for bit in f"{value:0{width}b}"[:width] if width
    ]


def draw(size, rank, mode, rng, units):
    """Random indices as bits in the order of the report, and the precoder ``[port, layer, unit]`` of the formulas."""
    n1, n2 = size
    count = 3 if rank < 7 else 4
    if mode == 1:
        i11, i12, i13 = rng.integers(0, 4 * n1), rng.integers(0, 4 * n2), rng.integers(0, 2)
        most = (n1, 4 * n2) if i13 == 0 else (4 * n1, n2)
        own = [(rng.integers(0, most[0]), rng.integers(0, most[1])) for _ in range(count - 1)]
        places = [(i11, i12)]
        for a, b in own:
            places.append((4 * a + i11 % 4, b) if i13 == 0 else (a, 4 * b + i12 % 4))
        head = [i11, i12, i13, *itertools.chain(*own)]
        widths = [ceil(log2(4 * n1)), ceil(log2(4 * n2)), 1, *[ceil(log2(x)) for x in most] * (count - 1)]
    else:
        i11, i12 = rng.integers(0, 16), rng.integers(0, comb(n1 * n2, count))
        # Sets in the order of the standard: the last ones (largest n first) have the lowest numbers.
        left, chosen = int(i12), []
        for i in range(count):
            x = max(x for x in range(count - i - 1, n1 * n2 - i) if comb(x, count - i) <= left)
            left -= comb(x, count - i)
            chosen.append(n1 * n2 - 1 - x)
        places = [(4 * (n % n1) + i11 // 4, 4 * (n // n1) + i11 % 4) for n in chosen]
        head, widths = [i11, i12], [4, ceil(log2(comb(n1 * n2, count)))]
    fields = [1] if mode == 1 else FIELDS[rank]
    i2 = [[rng.integers(0, 2**width) for width in fields] for _ in range(units)]
    order = [*range(0, units, 2), *range(1, units, 2)]
    bits = bits_of(head, widths) + [bit for t in order for bit in bits_of(i2[t], fields)]
    beams = [v(size, *place) for place in places]
    w = np.empty((4 * n1 * n2 // 2, rank, units), complex)
    for t in range(units):
        for layer in range(rank):
            if mode == 1:
                text = COLUMNS[rank][layer]
                beam, factor = (
                    beams[int(text[0])],
                    (1 if text[1] == "+" else -1) * (1j ** i2[t][0] if "p" in text else 1),
                )
            else:
                g, field, add = LAYERS[rank][layer]
                beam, factor = beams[g], np.exp(1j * np.pi / 2 * (i2[t][field] + add))
            w[:, layer, t] = np.concatenate([beam, factor * beam]) / np.sqrt(2 * n1 * n2)
    inner = np.abs(np.array(beams) @ np.array(beams).conj().T) / (n1 * n2)
    return bits, w, np.allclose(inner, np.eye(count), atol=1e-9)


@pytest.mark.parametrize(("size", "rank", "mode"), CASES, ids=ids)
def test_precoders_and_bits_from_the_indices(size, rank, mode, rng):
    """Part 2 field by field to the precoder; beams that are not orthogonal are no codeword; packing is the inverse."""
    units = 5
    book = TypeOneHighRankCodebook(Panel(*size, 2), 2 * units, 2, rank, mode)
    drawn = [draw(size, rank, mode, rng, units) for _ in range(60)]
    part2 = np.array([bits for bits, _, _ in drawn], np.uint8)
    orthogonal = np.array([good for *_, good in drawn])
    length = np.full(len(drawn), part2.shape[1])
    assert part2.shape[1] == book.part2_bits and orthogonal.any()
    pmi, valid = book.unpack(part2[:, :0], part2, length)
    np.testing.assert_array_equal(valid, orthogonal)
    assert mode == 1 or valid.all()
    good = {key: value[valid] for key, value in pmi.items()}
    w = book.precoder(good)
    for mine, (_, expected, _) in zip(w, itertools.compress(drawn, valid), strict=True):
        np.testing.assert_allclose(mine, expected, atol=3e-6)
        for t in range(units):
            np.testing.assert_allclose(expected[..., t].conj().T @ expected[..., t], np.eye(rank), atol=1e-9)
    part1, again, lengths = book.pack(good)
    np.testing.assert_array_equal(again, part2[valid])
    assert part1.shape[1] == 0 and (lengths == book.part2_bits).all()
    assert not book.unpack(part1, again, lengths + 1)[1].any()


def test_indices_that_do_not_exist_are_no_codewords(rng):
    """8x3: rows of 12 in 4 bits, of 3 in 2 bits; 2,024 sets of 24 beams in 11 bits."""
    book = TypeOneHighRankCodebook(Panel(8, 3, 2), 2, 2, 5, 1)
    head = [9, 7, 0, 4, 5, 6, 2]  # 9 = 4 * 2 + 1: columns 4 and 6 of the same remainder
    widths = [5, 4, 1, 3, 4, 3, 4]
    for place, value, good in ((1, 11, True), (1, 12, False), (4, 11, True), (4, 12, False), (6, 15, False)):
        values = [value if i == place else x for i, x in enumerate(head)]
        part2 = np.array([[*bits_of(values, widths), 0]], np.uint8)
        assert book.unpack(part2[:, :0], part2, np.array([part2.shape[1]]))[1].item() == good
    book = TypeOneHighRankCodebook(Panel(8, 3, 2), 2, 2, 5, 2)
    for value, good in ((2023, True), (2024, False)):
        part2 = np.array([bits_of([3, value], [4, 11]) + [0] * 4], np.uint8)
        assert book.unpack(part2[:, :0], part2, np.array([part2.shape[1]]))[1].item() == good


@pytest.mark.parametrize(("rank", "mode"), [(5, 1), (5, 2), (7, 1), (8, 2)])
def test_the_selection(rank, mode, rng):
    """No other i_2 of a subband scores more than the chosen one; random ones score less; precoders come back."""
    size = (8, 4)
    h = gaussian(rng, 2, 8, 64, 4)
    book = TypeOneHighRankCodebook(Panel(*size, 2), 4, 2, rank, mode)
    pmi = book.select(h)
    packed = book.pack(pmi)
    assert book.unpack(*packed)[1].all()
    mine = [score(h[i], book.precoder(pmi)[i], rank, 2) for i in range(2)]
    choices = 2 ** (1 if mode == 1 else sum(FIELDS[rank]))
    for i in range(2):
        changed = {key: np.repeat(value[i : i + 1], choices, axis=0) for key, value in pmi.items()}
        changed["i2"] = np.stack([np.arange(choices), changed["i2"][:, 1]], axis=1)
        assert max(score(h[i], w, rank, 2) for w in book.precoder(changed)) <= mine[i] * (1 + 1e-5)
        others = [draw(size, rank, mode, rng, 2) for _ in range(40)]
        assert max(score(h[i], w, rank, 2) for _, w, good in others if good) < mine[i]
    back = tried = 0
    for _ in range(30):
        _, w, good = draw(size, rank, mode, rng, 1)
        if good:
            tried += 1
            channel = np.repeat(w, 4, axis=2).swapaxes(0, 1).conj()[None].astype(np.complex64)
            found = book.precoder(book.select(channel))[0, :, :, 0]
            back += np.isclose(np.sum(np.abs(w[..., 0].conj().T @ found) ** 2), rank, atol=1e-3)
    assert back > 0.8 * tried > 2


@pytest.mark.parametrize("mode", [1, 2])
def test_scheme(mode, rng):
    """All ranks up to 8 in one scheme, of eight antennas; a restriction leaves the ranks that it allows."""
    config = CsiConfig(Panel(8, 3, 2), 8, 8, 1.44e6, 4, 8)
    h = gaussian(rng, 3, 1, 8, 48, 8)
    estimate = CsiEstimate(h, np.zeros((3, 1), np.float32))
    for bits, rank in (("10000000", 8), ("00010000", 5)):
        scheme = TypeOneFeedback(config, mode=mode, rank_restriction=bits)
        known = scheme.reconstruct(scheme.report(estimate))
        assert known.valid.all() and list(scheme.codebooks) == [rank]
        norm = np.linalg.norm(known.w, axis=2)
        np.testing.assert_allclose(norm[:, :, :rank], 1, atol=1e-5)
        assert not norm[:, :, rank:].any()
    assert list(TypeOneFeedback(config, mode=mode).codebooks) == [*range(1, 9)]


@pytest.mark.parametrize(("size", "rank", "words"), [((8, 4), 4, r"rank.*4.*5\.\.8"), ((8, 6), 5, r"n1.*8x6.*16x2")])
def test_what_the_tables_do_not_have(size, rank, words):
    with pytest.raises(ConfigError, match=words):
        TypeOneHighRankCodebook(Panel(*size, 2), 8, 2, rank, 1)
