"""Refined Type I on 48, 64 and 128 ports: precoders by the tables, sizes, payloads read by hand, selection."""

import itertools

import numpy as np
import pytest
from test_pmi_codebooks import gaussian, read

from receivers.codebooks.type1_mode_b import TypeOneModeBCodebook
from receivers.codebooks.type1_multipanel import TypeOneMultiPanelCodebook
from receivers.feedback.type1 import TypeOneFeedback
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel

PANELS = [(8, 3), (6, 4), (16, 2), (8, 4), (16, 4), (8, 8)]
CASES = list(itertools.product(PANELS, (1, 2, 3, 4), ("A", "B")))
ids = [f"{n1}x{n2}-rank{rank}-mode{mode}" for (n1, n2), rank, mode in CASES]


def build(size, rank, mode, samples=6, unit=2):
    panel = Panel(*size, 2)
    if mode == "A":
        return TypeOneMultiPanelCodebook(panel, samples, unit, rank, 1, 1)
    return TypeOneModeBCodebook(panel, samples, unit, rank)


def v(size, l, m):  # noqa: E741
    """v_{l,m} by its elements, O_1 = O_2 = 4."""
    n1, n2 = size
    return np.array([np.exp(2j * np.pi * (l * a / (4 * n1) + m * b / (4 * n2))) for a in range(n1) for b in range(n2)])


def by_the_table(size, rank, mode, pmi, t):
    """W of one PMI in one subband: mode A as Type I with its own i_{1,3}; mode B layer by layer."""
    n1, n2 = size
    if mode == "B":
        q1, q2 = divmod(pmi["i11"], 4)
        columns = []
        for layer in range(rank):
            n = n1 * n2 - 1 - pmi["i12"][layer]
            beam = v(size, 4 * (n % n1) + q1, 4 * (n // n1) + q2)
            columns.append(np.concatenate([beam, np.exp(1j * np.pi * pmi["i2"][t, layer] / 2) * beam]))
        return np.stack(columns, axis=1) / np.sqrt(2 * n1 * n2)
    k1, k2 = {
        1: [(0, 0)],
        2: [(0, 0), (4, 0), (0, 4), (8, 0)],
        3: [(4, 0), (0, 4), (4, 4), (8, 0)],
        4: [(4, 0), (0, 4), (4, 4), (8, 0)],
    }[rank][pmi["i13"]]
    a, b = v(size, pmi["i11"], pmi["i12"]), v(size, pmi["i11"] + k1, pmi["i12"] + k2)
    phi = np.exp(1j * np.pi * pmi["i2"][t, 0] / 2)
    upper = {1: [a], 2: [a, b], 3: [a, b, a], 4: [a, b, a, b]}[rank]
    lower = {1: [a], 2: [a, -b], 3: [a, b, -a], 4: [a, b, -a, -b]}[rank]
    return np.concatenate([np.stack(upper, axis=1), phi * np.stack(lower, axis=1)]) / np.sqrt(2 * n1 * n2)


def random_pmi(size, rank, mode, rng, count, units):
    n1, n2 = size
    if mode == "B":
        return {
            "i11": rng.integers(0, 16, count),
            "i12": rng.integers(0, n1 * n2, (count, rank)),
            "i2": rng.integers(0, 4, (count, units, rank)),
        }
    return {
        "i11": rng.integers(0, 4 * n1, count),
        "i12": rng.integers(0, 4 * n2, count),
        "i13": rng.integers(0, 1 if rank == 1 else 4, count),
        "i14": np.zeros((count, 0), np.int64),
        "i2": rng.integers(0, 4 if rank == 1 else 2, (count, units, 1)),
    }


def one(pmi, i):
    return {key: value[i] for key, value in pmi.items()}


@pytest.mark.parametrize(("size", "rank", "mode"), CASES, ids=ids)
def test_precoders_sizes_and_bits(size, rank, mode, rng):
    """By the tables; bits field by field, i_2 of subbands 0, 2, 4, 1, 3; the sizes follow."""
    (n1, n2), units = size, 5
    book = build(size, rank, mode, samples=10)
    pmi = random_pmi(size, rank, mode, rng, 20, units)
    w = book.precoder(pmi)
    for i, t in np.ndindex(20, units):
        expected = by_the_table(size, rank, mode, one(pmi, i), t)
        np.testing.assert_allclose(w[i, :, :, t], expected, atol=2e-6)
        if mode == "A":
            np.testing.assert_allclose(expected.conj().T @ expected, np.eye(rank), atol=1e-12)
    part1, part2, length = book.pack(pmi)
    beams = int(np.ceil(np.log2(n1 * n2)))
    if mode == "A":
        head = [int(np.log2(4 * n1)) + (n1 == 6), int(np.ceil(np.log2(4 * n2)))] + [2] * (rank > 1)
        widths = head + [2 if rank == 1 else 1] * units
    else:
        widths = [4] + [beams] * rank + [2] * rank * units
    assert part1.shape == (20, 0) and set(length) == {sum(widths)} == {book.part2_bits}
    for i in range(20):
        values, _ = read(part2[i], widths)
        order = [0, 2, 4, 1, 3]
        if mode == "A":
            expected = [pmi["i11"][i], pmi["i12"][i]] + [pmi["i13"][i]] * (rank > 1) + [*pmi["i2"][i, order, 0]]
        else:
            expected = [pmi["i11"][i], *pmi["i12"][i], *pmi["i2"][i, order].ravel()]
        assert values == expected
    back, valid = book.unpack(part1, part2, length)
    assert valid.all() and not book.unpack(part1, part2, length + 1)[1].any()
    for key, value in pmi.items():
        np.testing.assert_array_equal(back[key], value)


def test_beams_that_do_not_exist_are_no_codewords(rng):
    """8x3: 24 beams of a group in 5 bits, 12 rows of beams in 4 bits."""
    for mode, start, width, most in (("A", 5, 4, 12), ("B", 4, 5, 24), ("B", 9, 5, 24)):
        book = build((8, 3), 2, mode)
        part1, part2, length = book.pack(random_pmi((8, 3), 2, mode, rng, 4, 3))
        for value in (0, most - 1, most, 2**width - 1):
            for bit in range(width):
                part2[:, start + bit] = value >> (width - 1 - bit) & 1
            valid = book.unpack(part1, part2, length)[1]
            assert valid.all() == (value < most) == valid.any()


def score(h, w, rank, unit, snr_db=10.0):
    """The measure of the selection by loops: energy, or log-determant per subband, of a channel of unit power."""
    h = h / np.sqrt(np.mean(np.abs(h) ** 2))
    total = 0.0
    for t in range(w.shape[2]):
        band = h[..., t * unit : (t + 1) * unit]
        gram = sum(
            w[:, :, t].conj().T @ band[..., s].conj().T @ band[..., s] @ w[:, :, t] for s in range(band.shape[2])
        )
        gram = gram * 10 ** (snr_db / 10) / rank / band.shape[2]
        total += np.real(np.trace(gram)) if rank == 1 else np.linalg.slogdet(np.eye(rank) + gram)[1]
    return total


@pytest.mark.long
@pytest.mark.parametrize(("mode", "share"), [("A", 1), ("B", 0.95)])
def test_the_rank_one_choice_is_the_best_of_all(mode, share, rng):
    """48 ports, one subband: no beam of the grid and no phase receives more energy; in mode B by little."""
    h = gaussian(rng, 6, 2, 48, 2)
    book = build((8, 3), 1, mode, samples=2)
    w = book.precoder(book.select(h))
    every = [
        np.concatenate([v((8, 3), l, m), 1j**n * v((8, 3), l, m)])
        for l in range(32)  # noqa: E741
        for m in range(12)
        for n in range(4)
    ]
    for i in range(6):
        best = max(score(h[i], word[:, None, None] / np.sqrt(48), 1, 2) for word in every)
        assert share * best * (1 - 1e-4) <= score(h[i], w[i], 1, 2) <= best * (1 + 1e-4)


@pytest.mark.parametrize(("rank", "mode"), [(2, "A"), (2, "B"), (3, "B"), (4, "A"), (4, "B")])
def test_the_phases_are_the_best_of_the_chosen_beams(rank, mode, rng):
    """No other i_2 of a subband scores more, and no single change of i_{1,3} or of random PMIs does."""
    h = gaussian(rng, 3, 4, 64, 4)
    book = build((8, 4), rank, mode, samples=4)
    pmi = book.select(h)
    for i in range(3):
        mine = score(h[i], book.precoder(pmi)[i], rank, 2)
        changed = {key: np.repeat(value[i : i + 1], 60, axis=0) for key, value in pmi.items()}
        others = random_pmi((8, 4), rank, mode, rng, 60, 2)
        for key in ("i2", "i13") if mode == "A" else ("i2",):
            tried = book.precoder({**changed, key: others[key]})
            if key == "i2":
                assert max(score(h[i], w, rank, 2) for w in tried) <= mine * (1 + 1e-5)
        assert max(score(h[i], w, rank, 2) for w in book.precoder(others)) < mine


@pytest.mark.parametrize("mode", ["A", "B"])
def test_a_codeword_as_the_channel_is_found(mode, rng):
    """Layers of distinct strength on beams of one group come back."""
    book = build((16, 4), 2, mode)
    pmi = random_pmi((16, 4), 2, mode, rng, 20, 3)
    pmi["i2"] = np.repeat(pmi["i2"][:, :1], 3, axis=1)
    if mode == "A":
        pmi["i13"] = np.maximum(pmi["i13"], 1)
    else:
        pmi["i12"][:, 1] = (pmi["i12"][:, 0] + 5) % 64
    w = np.repeat(book.precoder(pmi), 2, axis=3)
    h = np.moveaxis(w, 2, 1).conj() * np.array([1.0, 0.7])[None, :, None, None]
    found = np.repeat(book.precoder(book.select(h.astype(np.complex64))), 2, axis=3)
    span = np.einsum("npls,npks->nlks", w.conj(), found)
    np.testing.assert_allclose(np.sum(np.abs(span) ** 2, axis=(1, 2)), 2, atol=1e-4)


def test_mode_b_is_better_at_more_bits(rng):
    """Two strong paths on beams of one group, not at a distance of mode 1: mode B has them both, layer by layer."""
    beams = [np.concatenate([v((16, 2), 4 * n, 0), 1j**c * v((16, 2), 4 * n, 0)]) for n, c in ((2, 1), (9, 3))]
    h = (np.stack(beams).conj()[None, :, :, None] * np.ones((1, 1, 1, 4))).astype(np.complex64)
    values = {
        mode: score(h[0], b.precoder(b.select(h))[0], 2, 2) for mode in "AB" for b in [build((16, 2), 2, mode, 4)]
    }
    assert values["B"] > values["A"] + 0.5
    np.testing.assert_allclose(values["B"], 2 * 2 * np.log(1 + 10 / 2 * 64 * np.mean(np.abs(h) ** 2)), rtol=1e-4)


@pytest.mark.parametrize(
    ("size", "params", "words"),
    [
        ((8, 6), {}, r"n1.*8x6.*16x2"),
        ((8, 4), {"subset_restriction": "1" * 512}, r"subset_restriction.*null with 64 ports"),
    ],
)
def test_what_the_tables_do_not_have(size, params, words):
    with pytest.raises(ConfigError, match=words):
        TypeOneFeedback(CsiConfig(Panel(*size, 2), 8, 13, 1e5, 1, 8), **params)


@pytest.mark.parametrize("mode", [1, 2])
def test_scheme(mode, rng):
    """Reports of any rank come back; random bits are unit norms or invalid."""
    config = CsiConfig(Panel(8, 3, 2), 4, 13, 1.44e6, 1, 4)
    scheme = TypeOneFeedback(config, mode=mode)
    h = gaussian(rng, 12, 1, 4, 48, 13)
    h[:6] *= np.array([1, 0.01, 0.01, 0.01])[:, None, None].astype(np.float32)
    known = scheme.reconstruct(scheme.report(CsiEstimate(h, np.zeros((12, 1), np.float32))))
    norm = np.linalg.norm(known.w, axis=2)[:, 0, :, 0]
    assert known.valid.all() and len(set(norm.round().sum(axis=1))) > 1
    bits = rng.integers(0, 2, (500, 1, scheme.max_bits), dtype=np.uint8)
    lengths = scheme.part1_bits + np.array([book.part2_bits for book in scheme.codebooks.values()])
    num_bits = lengths[2 * bits[..., 0].astype(int) + bits[..., 1]]
    bits *= np.arange(scheme.max_bits) < num_bits[..., None]
    known = scheme.reconstruct(CsiReport(bits, num_bits))
    norm = np.linalg.norm(known.w, axis=2)
    assert 0.3 < known.valid.mean() < 1 and not norm[~known.valid].any()
    np.testing.assert_allclose(norm[known.valid][:, 0], 1, atol=1e-5)
