"""Type I codebook: precoders by the tables of TS 38.214, sizes of TS 38.212, selection against brute force."""

import itertools

import numpy as np
import pytest

from receivers.codebooks.type1 import TypeOneCodebook
from receivers.feedback.type1 import TypeOneFeedback
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel

PANELS = [
    Panel(2, 1, 2),
    Panel(2, 2, 2),
    Panel(4, 1, 2),
    Panel(3, 2, 2),
    Panel(6, 1, 2),
    Panel(4, 2, 2),
    Panel(8, 1, 2),
]
PANELS += [Panel(6, 2, 2), Panel(4, 4, 2), Panel(8, 2, 2), Panel(16, 1, 2)]


def gaussian(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


def by_the_table(panel, rank, mode, i11, i12, i13, i2):
    """W of one PMI, element by element: Tables 5.2.2.2.1-3 to -12."""
    n1, n2, ports = panel.n1, panel.n2, panel.num_ports
    o1, o2 = 4, 4 if n2 > 1 else 1

    def v(l, m, columns=n1, step=1):  # noqa: E741
        return [
            np.exp(2j * np.pi * step * l * a / (o1 * n1)) * np.exp(2j * np.pi * m * b / (o2 * n2))
            for a in range(columns)
            for b in range(n2)
        ]

    def stack(*parts):
        return np.concatenate([np.asarray(part) for part in parts])

    if rank == 1:
        if mode == 1:
            l, m, n = i11, i12, i2  # noqa: E741
        elif n2 > 1:
            l, m, n = 2 * i11 + (i2 // 4) % 2, 2 * i12 + i2 // 8, i2 % 4  # noqa: E741
        else:
            l, m, n = 2 * i11 + i2 // 4, 0, i2 % 4  # noqa: E741
        return stack(v(l, m), 1j**n * np.array(v(l, m)))[:, None] / np.sqrt(ports)
    if rank == 2:
        k1, k2 = {
            True: {0: (0, 0), 1: (o1, 0), 2: (2 * o1, 0), 3: (3 * o1, 0)},
            False: {0: (0, 0), 1: (o1, 0), 2: (0, o2), 3: (o1, o2) if n1 == n2 else (2 * o1, 0)},
        }[n2 == 1][i13]
        if mode == 1:
            l, m, n = i11, i12, i2  # noqa: E741
        elif n2 > 1:
            l, m, n = 2 * i11 + (i2 // 2) % 2, 2 * i12 + i2 // 4, i2 % 2  # noqa: E741
        else:
            l, m, n = 2 * i11 + i2 // 2, 0, i2 % 2  # noqa: E741
        first, second = np.array(v(l, m)), np.array(v(l + k1, m + k2))
        return np.stack([stack(first, 1j**n * first), stack(second, -(1j**n) * second)], 1) / np.sqrt(ports)
    phi = 1j**i2
    if rank > 4:
        near = [(0, 0), (o1, 0), (0, o2), (o1, o2)] if n2 > 1 else [(k * o1, 0) for k in range(4)]
        if rank <= 6:
            near = [near[0], near[1], near[3]] if n2 > 1 else near[:3]
        beams = [np.array(v(i11 + k1, i12 + k2)) for k1, k2 in near]
        a, b, c = beams[:3]
        if rank == 5:
            upper, lower = [a, a, b, b, c], [phi * a, -phi * a, b, -b, c]
        elif rank == 6:
            upper, lower = [a, a, b, b, c, c], [phi * a, -phi * a, phi * b, -phi * b, c, -c]
        elif rank == 7:
            d = beams[3]
            upper, lower = [a, a, b, c, c, d, d], [phi * a, -phi * a, phi * b, c, -c, d, -d]
        else:
            d = beams[3]
            upper, lower = [a, a, b, b, c, c, d, d], [phi * a, -phi * a, phi * b, -phi * b, c, -c, d, -d]
        return np.concatenate([np.stack(upper, axis=1), np.stack(lower, axis=1)]) / np.sqrt(ports)
    if ports < 16:
        k1, k2 = {
            (2, 1): [(o1, 0)],
            (4, 1): [(o1, 0), (2 * o1, 0), (3 * o1, 0)],
            (6, 1): [(o1, 0), (2 * o1, 0), (3 * o1, 0), (4 * o1, 0)],
            (2, 2): [(o1, 0), (0, o2), (o1, o2)],
            (3, 2): [(o1, 0), (0, o2), (o1, o2), (2 * o1, 0)],
        }[n1, n2][i13]
        a, b = np.array(v(i11, i12)), np.array(v(i11 + k1, i12 + k2))
        columns = [stack(a, phi * a), stack(b, phi * b), stack(a, -phi * a), stack(b, -phi * b)]
    else:
        t, q = np.array(v(i11, i12, n1 // 2, 2)), np.exp(1j * np.pi * i13 / 4)
        columns = [
            stack(t, q * t, phi * t, phi * q * t),
            stack(t, -q * t, phi * t, -phi * q * t),
            stack(t, q * t, -phi * t, -phi * q * t),
            stack(t, -q * t, -phi * t, phi * q * t),
        ]
    return np.stack(columns[:rank], axis=1) / np.sqrt(ports)


CASES = [(p, r, m) for p, r, m in itertools.product(PANELS, (1, 2, 3, 4), (1, 2)) if m == 1 or r <= 2]
CASES += [(p, r, 1) for p, r in itertools.product(PANELS[1:], (5, 6, 7, 8))]
ids = [f"{p.n1}x{p.n2}-rank{r}-mode{m}" for p, r, m in CASES]


def random_pmi(book, rng, count, units):
    pmi = {key: rng.integers(0, size, count) for key, size in zip(("i11", "i12", "i13"), book._sizes, strict=True)}
    return {**pmi, "i2": rng.integers(0, book._choices, (count, units))}


@pytest.mark.parametrize(("panel", "rank", "mode"), CASES, ids=ids)
def test_precoders_are_those_of_the_tables(panel, rank, mode, rng):
    book = TypeOneCodebook(panel, 6, 2, rank, mode)
    pmi = random_pmi(book, rng, 40, 3)
    w = book.precoder(pmi)
    for i in range(40):
        for t in range(3):
            indices = (int(pmi[key][i]) for key in ("i11", "i12", "i13"))
            expected = by_the_table(panel, rank, mode, *indices, int(pmi["i2"][i, t]))
            np.testing.assert_allclose(w[i, :, :, t], expected, atol=2e-6)
            np.testing.assert_allclose(expected.conj().T @ expected, np.eye(rank), atol=1e-12)
    part1, part2, length = book.pack(pmi)
    assert part1.shape == (40, 0) and set(length) == {book.part2_bits}
    back, valid = book.unpack(part1, part2, length)
    assert valid.all()
    for key, value in pmi.items():
        np.testing.assert_array_equal(back[key], value)


# By hand from TS 38.212, Table 6.3.1.1.2-1, 13 subbands: i11 + i12 + i13 + 13 * i2.
SIZES = {
    ((8, 2), 1, 1): 5 + 3 + 0 + 13 * 2,
    ((8, 2), 1, 2): 4 + 2 + 0 + 13 * 4,
    ((8, 2), 2, 1): 5 + 3 + 2 + 13 * 1,
    ((8, 2), 2, 2): 4 + 2 + 2 + 13 * 3,
    ((8, 2), 3, 1): 4 + 3 + 2 + 13 * 1,
    ((8, 2), 4, 1): 4 + 3 + 2 + 13 * 1,
    ((4, 1), 1, 2): 3 + 0 + 0 + 13 * 4,
    ((4, 1), 3, 1): 4 + 0 + 2 + 13 * 1,
    ((2, 1), 2, 1): 3 + 0 + 1 + 13 * 1,
    ((2, 1), 4, 1): 3 + 0 + 0 + 13 * 1,
    ((6, 1), 1, 1): 5 + 0 + 0 + 13 * 2,
    ((8, 2), 5, 1): 5 + 3 + 13,
    ((8, 2), 7, 1): 5 + 2 + 13,
    ((8, 2), 8, 2): 5 + 2 + 13,
    ((4, 1), 6, 1): 4 + 0 + 13,
    ((4, 1), 8, 1): 3 + 0 + 13,
    ((8, 1), 7, 1): 5 + 0 + 13,
    ((2, 2), 8, 1): 3 + 3 + 13,
    ((4, 4), 7, 1): 4 + 4 + 13,
}


@pytest.mark.parametrize("case", SIZES)
def test_sizes(case):
    (n1, n2), rank, mode = case
    assert TypeOneCodebook(Panel(n1, n2, 2), 52, 4, rank, mode).part2_bits == SIZES[case]


@pytest.mark.parametrize(
    ("panel", "rank", "mode"),
    [(p, r, m) for p in PANELS[:3] for m in (1, 2) for r in (1, 2, 3)] + [(PANELS[1], 6, 1), (PANELS[2], 7, 1)],
    ids=lambda x: f"{x.n1}x{x.n2}" if isinstance(x, Panel) else str(x),
)
@pytest.mark.long
def test_selection_is_that_of_brute_force(panel, rank, mode, rng):
    book = TypeOneCodebook(panel, 5, 2, rank, mode, snr_db=7)
    h = gaussian(rng, 6, 3, panel.num_ports, 5)
    pmi = book.select(h)
    for i in range(6):
        x = h[i] / np.sqrt(np.mean(np.abs(h[i]) ** 2))
        bands = [x[:, :, :2], x[:, :, 2:4], x[:, :, 4:]]

        def score(w, band):
            if rank == 1:
                return sum(np.linalg.norm(band[:, :, s] @ w) ** 2 for s in range(band.shape[2]))
            r = sum(band[:, :, s].conj().T @ band[:, :, s] for s in range(band.shape[2])) / band.shape[2]
            return np.log(np.linalg.det(np.eye(rank) + 10**0.7 / rank * w.conj().T @ r @ w).real)

        best = max(
            sum(
                max(score(by_the_table(panel, rank, mode, *i1, i2), band) for i2 in range(book._choices))
                for band in bands
            )
            for i1 in itertools.product(*map(range, book._sizes))
        )
        i1 = [int(pmi[key][i]) for key in ("i11", "i12", "i13")]
        ours = sum(
            score(by_the_table(panel, rank, mode, *i1, int(i2)), band)
            for i2, band in zip(pmi["i2"][i], bands, strict=True)
        )
        assert ours == pytest.approx(best, rel=1e-5)


def test_a_codeword_as_channel_is_found(rng):
    for rank in (1, 2, 4, 5, 8):
        book = TypeOneCodebook(Panel(8, 2, 2), 8, 2, rank)
        w = book.precoder(random_pmi(book, rng, 10, 4))
        h = np.repeat(np.swapaxes(w, 1, 2).conj(), 2, axis=3)  # [report, layer, port, subcarrier]
        found = book.precoder(book.select(h))
        overlap = np.einsum("nplt,npkt->ntlk", w.conj(), found)
        np.testing.assert_allclose(np.linalg.norm(overlap, axis=(2, 3)) ** 2, rank, atol=1e-3)


def test_the_rank_follows_the_channel_up_to_eight(rng):
    """A UE with eight strong orthogonal directions takes eight layers, one with a single direction takes one."""
    config = CsiConfig(Panel(4, 1, 2), 8, 8, 360e3, 4, num_layers=8)
    scheme = TypeOneFeedback(config, snr_db=30)
    flat = np.repeat(np.linalg.qr(gaussian(rng, 4, 1, 8, 8))[0][..., None] * np.sqrt(8), 8, axis=4)
    one = np.repeat((gaussian(rng, 4, 1, 8, 1) * gaussian(rng, 4, 1, 1, 8))[..., None], 8, axis=4)
    for h, rank in ((flat, 8), (one, 1)):
        w = scheme.twin().reconstruct(scheme.report(CsiEstimate(h, np.zeros((4, 1), np.float32)))).w
        assert ((np.abs(w).max(axis=(2, 4)) > 0).sum(axis=2) == rank).all()


def test_random_payloads(rng):
    """24 ports: i11 of 6 columns has 24 values in 5 bits; all eight ranks."""
    scheme = TypeOneFeedback(CsiConfig(Panel(6, 2, 2), 8, 12, 360e3, 3, num_layers=8))
    assert list(scheme.codebooks) == list(range(1, 9)) and scheme.cqi_position == 3
    bits = rng.integers(0, 2, (10_000, 1, scheme.max_bits), np.uint8)
    lengths = np.array([scheme.part1_bits + book.part2_bits for book in scheme.codebooks.values()])
    num_bits = rng.choice([*lengths, scheme.max_bits], (10_000, 1))
    back = scheme.reconstruct(CsiReport(bits, num_bits))
    norm = np.linalg.norm(back.w, axis=2)
    assert 0.05 < back.valid.mean() < 0.95 and not norm[~back.valid].any()
    np.testing.assert_allclose(norm[back.valid][:, 0], 1, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: TypeOneCodebook(Panel(5, 1, 2), 8, 4, 1), r"n1.*5x1"),
        (lambda: TypeOneCodebook(Panel(2, 1, 1), 8, 4, 1), r"num_pol"),
        (lambda: TypeOneCodebook(Panel(2, 1, 2), 8, 4, 5), r"rank.*1\.\.4"),
        (lambda: TypeOneCodebook(Panel(4, 1, 2), 8, 4, 9), r"rank.*1\.\.8"),
        (lambda: TypeOneFeedback(CsiConfig(Panel(2, 1, 2), 4, 8, 1e5, 4, 4), rank=5), r"rank.*1\.\.4"),
        (lambda: TypeOneCodebook(Panel(2, 1, 2), 8, 4, 1, 3), r"mode.*1, 2"),
        (lambda: TypeOneFeedback(CsiConfig(Panel(2, 1, 2), 2, 8, 1e5, 4), rank=2), r"rank.*layers_per_user 1"),
    ],
)
def test_what_the_tables_do_not_have(build, words):
    with pytest.raises(ConfigError, match=words):
        build()
