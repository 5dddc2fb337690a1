"""Type I multi-panel codebook: precoders by the tables, sizes of TS 38.212, selection against brute force."""

import itertools

import numpy as np
import pytest

from receivers.codebooks import type1_multipanel
from receivers.codebooks.restriction import type1_bitmap
from receivers.codebooks.type1_multipanel import TypeOneMultiPanelCodebook
from receivers.feedback.type1 import TypeOneFeedback
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel

# (N_g, N1, N2) of Table 5.2.2.2.2-1.
PANELS = [(2, 2, 1), (2, 4, 1), (4, 2, 1), (2, 2, 2), (2, 8, 1), (4, 4, 1), (2, 4, 2), (4, 2, 2)]
CASES = [(p, r, m) for p, r, m in itertools.product(PANELS, (1, 2, 3, 4), (1, 2)) if m == 1 or p[0] == 2]
ids = [f"{'x'.join(map(str, p))}-rank{r}-mode{m}" for p, r, m in CASES]


def gaussian(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def build(size, rank, mode=1, samples=6, unit=2, **more):
    panels, n1, n2 = size
    return TypeOneMultiPanelCodebook(Panel(panels * n1, n2, 2), samples, unit, rank, panels, mode, **more)


def by_the_table(size, rank, mode, i11, i12, i13, i14, i2):
    """W of one PMI, ports as in the standard (panel, polarisation, element), then in the order of the whole array."""
    panels, n1, n2 = size
    o1, o2 = 4, 4 if n2 > 1 else 1

    def v(l, m):  # noqa: E741
        return np.array(
            [np.exp(2j * np.pi * (l * a / (o1 * n1) + m * b / (o2 * n2))) for a in range(n1) for b in range(n2)]
        )

    def phi(n):
        return np.exp(1j * np.pi * n / 2)

    def block(kind, l, m):  # noqa: E741 - W^{1,..} and W^{2,..}
        x, sign = v(l, m), 1 if kind == 1 else -1
        if mode == 1:
            n, parts = i2[0], [x, sign * phi(i2[0]) * x]
            for p in i14:
                parts += [phi(p) * x, sign * phi(n) * phi(p) * x]
        else:
            a = [np.exp(1j * np.pi / 4) * phi(p) for p in i14]
            b = [np.exp(-1j * np.pi / 4) * phi(n) for n in i2[1:]]
            parts = [x, sign * phi(i2[0]) * x, a[0] * b[0] * x, sign * a[1] * b[1] * x]
        return np.concatenate(parts)

    if rank == 1:
        k1, k2 = 0, 0
    elif rank == 2:
        flat = [(0, 0), (o1, 0), (2 * o1, 0), (3 * o1, 0)]
        k1, k2 = (flat if n2 == 1 else [(0, 0), (o1, 0), (0, o2), (o1, o2) if n1 == n2 else (2 * o1, 0)])[i13]
    else:
        k1, k2 = {
            (2, 1): [(o1, 0)],
            (4, 1): [(o1, 0), (2 * o1, 0), (3 * o1, 0)],
            (8, 1): [(o1, 0), (2 * o1, 0), (3 * o1, 0), (4 * o1, 0)],
            (2, 2): [(o1, 0), (0, o2), (o1, o2)],
            (4, 2): [(o1, 0), (0, o2), (o1, o2), (2 * o1, 0)],
        }[n1, n2][i13]
    one, two = (i11, i12), (i11 + k1, i12 + k2)
    kinds = {
        1: [(1, one)],
        2: [(1, one), (2, two)],
        3: [(1, one), (1, two), (2, one)],
        4: [(1, one), (1, two), (2, one), (2, two)],
    }[rank]
    w = np.stack([block(kind, *beam) for kind, beam in kinds], axis=1) / np.sqrt(2 * panels * n1 * n2)
    out = np.empty_like(w)
    for g, pol, a, b in np.ndindex(panels, 2, n1, n2):
        out[((pol * panels + g) * n1 + a) * n2 + b] = w[((g * 2 + pol) * n1 + a) * n2 + b]
    return out


def random_pmi(size, rank, mode, rng, count, units):
    panels, n1, n2 = size
    thirds = {1: 1, 2: 2 if (n1, n2) == (2, 1) else 4}.get(rank)
    thirds = thirds or {(2, 1): 1, (4, 1): 3, (8, 1): 4, (2, 2): 3, (4, 2): 4}[n1, n2]
    first = 4 if rank == 1 else 2
    i2 = [rng.integers(0, n, (count, units)) for n in ([first] if mode == 1 else [first, 2, 2])]
    return {
        "i11": rng.integers(0, 4 * n1, count),
        "i12": rng.integers(0, 4 * n2 if n2 > 1 else 1, count),
        "i13": rng.integers(0, thirds, count),
        "i14": rng.integers(0, 4, (count, panels - 1 if mode == 1 else 2)),
        "i2": np.stack(i2, axis=-1),
    }


@pytest.mark.parametrize(("size", "rank", "mode"), CASES, ids=ids)
def test_precoders_are_those_of_the_tables(size, rank, mode, rng):
    book = build(size, rank, mode)
    pmi = random_pmi(size, rank, mode, rng, 20, 3)
    w = book.precoder(pmi)
    for i, t in np.ndindex(20, 3):
        indices = (int(pmi[key][i]) for key in ("i11", "i12", "i13"))
        expected = by_the_table(size, rank, mode, *indices, pmi["i14"][i], pmi["i2"][i, t])
        np.testing.assert_allclose(w[i, :, :, t], expected, atol=2e-6)
        np.testing.assert_allclose(expected.conj().T @ expected, np.eye(rank), atol=1e-12)
    part1, part2, length = book.pack(pmi)
    back, valid = book.unpack(part1, part2, length)
    assert part1.shape == (20, 0) and valid.all()
    for key, value in pmi.items():
        np.testing.assert_array_equal(back[key], value)


@pytest.mark.parametrize(("size", "rank", "mode"), CASES[::3], ids=ids[::3])
def test_bits_read_field_by_field(size, rank, mode, rng):
    """TS 38.212, Table 6.3.1.1.2-2: i11, i12, i13, i14; then i2 of subbands 0, 2, 4, ..., 1, 3, ..."""
    panels, n1, n2 = size
    book = build(size, rank, mode, samples=10)
    pmi = book.select(gaussian(rng, 8, max(rank, 2), 2 * panels * n1 * n2, 10))
    w = book.precoder(pmi)
    _, part2, length = book.pack(pmi)
    third = {1: 0, 2: 1 if (n1, n2) == (2, 1) else 2}.get(rank, 0 if (n1, n2) == (2, 1) else 2)
    for i in range(8):
        left = list(map(str, part2[i, : length[i]]))

        def take(width, left=left):
            taken, left[:] = left[:width], left[width:]
            return int("".join(taken) or "0", 2)

        i11, i12 = take((4 * n1 - 1).bit_length()), take((4 * n2 - 1).bit_length() if n2 > 1 else 0)
        i13 = take(third)
        i14 = [take(2) for _ in range(panels - 1 if mode == 1 else 2)]
        for t in (0, 2, 4, 1, 3):
            i2 = [take(2 if rank == 1 else 1)] + ([take(1), take(1)] if mode == 2 else [])
            np.testing.assert_allclose(w[i, :, :, t], by_the_table(size, rank, mode, i11, i12, i13, i14, i2), atol=2e-6)
        assert not left


# By hand, 13 subbands: i11 + i12 + i13 + i14 + 13 * i2.
SIZES = {
    ((2, 4, 2), 1, 1): 4 + 3 + 0 + 2 + 13 * 2,
    ((2, 4, 2), 2, 2): 4 + 3 + 2 + 4 + 13 * 3,
    ((4, 4, 1), 3, 1): 4 + 0 + 2 + 6 + 13 * 1,
    ((2, 2, 1), 2, 1): 3 + 0 + 1 + 2 + 13 * 1,
    ((2, 2, 1), 4, 2): 3 + 0 + 0 + 4 + 13 * 3,
    ((2, 8, 1), 1, 2): 5 + 0 + 0 + 4 + 13 * 4,
}


@pytest.mark.parametrize("case", SIZES)
def test_sizes(case):
    size, rank, mode = case
    assert build(size, rank, mode, 52, 4).part2_bits == SIZES[case]


@pytest.mark.parametrize(
    ("size", "rank", "mode"), [((2, 2, 1), 1, 1), ((2, 2, 1), 1, 2), ((2, 2, 1), 2, 1), ((2, 2, 1), 4, 1)]
)
@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.long
def test_selection_is_that_of_brute_force(size, rank, mode, restricted, rng, monkeypatch):
    """All precoders in turn where all pairs of beams are candidates; some beams are forbidden."""
    monkeypatch.setattr(type1_multipanel, "_BEAMS", 1000)
    panels, n1, n2 = size
    forbidden = [(1, 0), (6, 0)] if restricted else []
    bits = type1_bitmap(Panel(n1, n2, 2), (4, 1), forbidden) if restricted else None
    book = build(size, rank, mode, 3, 2, snr_db=7, restriction=bits)
    h = gaussian(rng, 3, 4, 2 * panels * n1 * n2, 3)
    pmi = book.select(h)
    offsets = {1: [0], 2: [0, 4], 4: [4]}[rank]
    i2s = list(itertools.product(range(4 if rank == 1 else 2), *([range(2)] * (2 if mode == 2 else 0))))
    for i in range(3):
        x = h[i] / np.sqrt(np.mean(np.abs(h[i]) ** 2))
        bands = [x[:, :, :2], x[:, :, 2:]]

        def score(w, band):
            if rank == 1:
                return sum(np.linalg.norm(band[:, :, s] @ w) ** 2 for s in range(band.shape[2]))
            r = sum(band[:, :, s].conj().T @ band[:, :, s] for s in range(band.shape[2])) / band.shape[2]
            return np.log(np.linalg.det(np.eye(rank) + 10**0.7 / rank * w.conj().T @ r @ w).real)

        best = -np.inf
        for i11, i13 in itertools.product(range(4 * n1), range(len(offsets))):
            if (i11, 0) in forbidden or (rank > 1 and ((i11 + offsets[i13]) % 8, 0) in forbidden):
                continue
            for i14 in itertools.product(range(4), repeat=panels - 1 if mode == 1 else 2):
                total = sum(
                    max(score(by_the_table(size, rank, mode, i11, 0, i13, i14, i2), band) for i2 in i2s)
                    for band in bands
                )
                best = max(best, total)
        i1 = [int(pmi[key][i]) for key in ("i11", "i12", "i13")]
        ours = sum(
            score(by_the_table(size, rank, mode, *i1, pmi["i14"][i], i2), band)
            for i2, band in zip(pmi["i2"][i], bands, strict=True)
        )
        assert (i1[0], 0) not in forbidden
        assert ours == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("size", [(2, 4, 2), (4, 4, 1)])
def test_16_pairs_of_beams_lose_little(size, rng, monkeypatch):
    """Of few paths, as mobile channels are: the log-determinant with all pairs as candidates is hardly larger."""
    panels, n1, n2 = size
    total = {16: 0.0, 10_000: 0.0}
    book = build(size, 2, 1, 4, 4)
    beams = book._beams[rng.integers(0, len(book._beams), (6, 3))]
    gains = gaussian(rng, 6, 3, 2, 2 * panels) * np.array([1, 0.5, 0.25])[:, None, None]
    h = np.einsum("nkrg,nke->nrge", gains, beams.conj()).reshape(6, 2, -1)
    whole = np.empty((6, 2, 2 * panels * n1 * n2, 1), np.complex64)
    whole[:, :, book._ports.ravel(), 0] = h
    whole = np.repeat(whole, 4, axis=3)
    for count in total:
        monkeypatch.setattr(type1_multipanel, "_BEAMS", count)
        w = book.precoder(book.select(whole))[..., 0]
        e = np.einsum(
            "nrp,npl->nrl", whole[..., 0] / np.sqrt(np.mean(np.abs(whole) ** 2, axis=(1, 2, 3)))[:, None, None], w
        )
        total[count] = np.linalg.slogdet(np.eye(2) + 5 * np.swapaxes(e.conj(), 1, 2) @ e)[1].mean()
    assert total[16] > 0.99 * total[10_000]


def test_a_codeword_as_channel_is_found(rng):
    for size, rank, mode in (((2, 4, 2), 1, 1), ((2, 2, 2), 2, 2), ((4, 2, 1), 4, 1)):
        book = build(size, rank, mode, 8, 2)
        w = book.precoder(random_pmi(size, rank, mode, rng, 10, 4))
        h = np.repeat(np.swapaxes(w, 1, 2).conj(), 2, axis=3)
        overlap = np.einsum("nplt,npkt->ntlk", w.conj(), book.precoder(book.select(h)))
        np.testing.assert_allclose(np.linalg.norm(overlap, axis=(2, 3)) ** 2, rank, atol=1e-3)


@pytest.mark.parametrize("mode", [1, 2])
def test_in_a_scheme(mode, rng):
    config = CsiConfig(Panel(8, 2, 2), 4, 12, 360e3, 4, num_layers=4)
    scheme = TypeOneFeedback(config, panels=2, mode=mode)
    report = scheme.report(CsiEstimate(gaussian(rng, 6, 2, 4, 32, 12), np.zeros((6, 2), np.float32)))
    rec = scheme.twin().reconstruct(report)
    assert rec.valid.all() and scheme.label == f"type1-mode{mode}-2panels" and scheme.ranks == [1, 2, 3, 4]
    np.testing.assert_allclose(np.linalg.norm(rec.w[:, :, :, 0], axis=2), 1, atol=1e-5)
    few = TypeOneFeedback(config, panels=2, mode=mode, rank_restriction="0101")
    assert few.ranks == [1, 3] and few.cqi_position == 1


def test_random_payloads(rng):
    """Rank 3 of 2 x (4, 1): three distances in two bits."""
    scheme = TypeOneFeedback(CsiConfig(Panel(8, 1, 2), 4, 12, 360e3, 3, num_layers=4), panels=2)
    bits = rng.integers(0, 2, (5_000, 1, scheme.max_bits), np.uint8)
    lengths = np.array([scheme.part1_bits + book.part2_bits for book in scheme.codebooks.values()])
    back = scheme.reconstruct(CsiReport(bits, rng.choice(lengths, (5_000, 1))))
    norm = np.linalg.norm(back.w, axis=2)
    assert 0.1 < back.valid.mean() < 0.9 and not norm[~back.valid].any()
    np.testing.assert_allclose(norm[back.valid][:, 0], 1, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build((2, 3, 1), 1), r"6x1 of 2 panels.*4x1 of 2"),
        (lambda: TypeOneMultiPanelCodebook(Panel(3, 1, 2), 6, 2, 1, 2), "3x1 of 2 panels"),
        (lambda: build((4, 2, 1), 1, 2), r"mode: got 2; allowed: 1, or 2 with two panels"),
        (lambda: build((2, 2, 1), 5), r"rank: got 5; allowed: 1\.\.4"),
        (lambda: build((2, 2, 1), 1, restriction="0" * 8), "a precoder of rank 1"),
        (lambda: build((2, 2, 1), 1, restriction="0" * 16), "8 characters"),
    ],
)
def test_what_the_tables_do_not_have(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
