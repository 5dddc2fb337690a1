"""Codebook subset restriction and rank restriction against the algorithms of the standard, one loop at a time."""

import math

import numpy as np
import pytest

from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.codebooks.restriction import LEVELS, allowed_ranks, type1_bitmap, type2_bitmap, type2_levels
from receivers.codebooks.type1 import TypeOneCodebook
from receivers.codebooks.type2 import TypeTwoCodebook
from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.feedback.type1 import TypeOneFeedback
from receivers.feedback.type2 import TypeTwoFeedback
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel

PANELS = [Panel(4, 1, 2), Panel(2, 2, 2), Panel(4, 2, 2), Panel(4, 4, 2)]
# TS 38.331, CodebookConfig: n1-n2-codebookSubsetRestriction of type2.
TYPE2_SIZES = {
    (2, 1): 16, (2, 2): 43, (4, 1): 32, (3, 2): 59, (6, 1): 48, (4, 2): 75, (8, 1): 64,
    (4, 3): 107, (6, 2): 107, (12, 1): 96, (4, 4): 139, (8, 2): 139, (16, 1): 128,
}  # fmt: skip


def ids(panel):
    return f"{panel.n1}x{panel.n2}"


def over(panel):
    return 4, 4 if panel.n2 > 1 else 1


def gaussian(rng, *shape):
    return (rng.standard_normal((*shape, 2)) @ [1, 1j]).astype(np.complex64)


def config(panel, rx=2, layers=2, samples=16, size=4):
    return CsiConfig(panel, rx, samples, 360e3, size, layers)


def estimate(h):
    return CsiEstimate(h, np.zeros(h.shape[:2], np.float32))


def random_type2(rng, panel, zeros=0.3):
    """Random bits, and the amplitudes of all beams (m1, m2); some amplitude is 1."""
    while True:
        text, limit = _random_type2(rng, panel, zeros)
        if 1.0 in limit.values():
            return text, limit


def _random_type2(rng, panel, zeros):
    """By the algorithm of TS 38.214, 5.2.2.2.3."""
    o1, o2 = over(panel)
    n1, n2, total = panel.n1, panel.n2, o1 * o2
    beta = int(rng.integers(0, math.comb(total, 4))) if n2 > 1 else None
    b2 = [[(int(a), int(b)) for a, b in rng.integers(0, 2, (n1 * n2, 2))] for _ in range(4)]
    b2 = [[(0, 0) if rng.random() < zeros else pair for pair in group] for group in b2]
    groups, left = [0, 1, 2, 3], beta
    if n2 > 1:
        groups = []
        for k in range(4):
            x = max(x for x in range(3 - k, total - k) if left >= math.comb(x, 4 - k))
            left -= math.comb(x, 4 - k)
            groups.append(total - 1 - x)
    limit = {(m1, m2): 1.0 for m1 in range(n1 * o1) for m2 in range(n2 * o2)}
    text = "" if beta is None else f"{beta:011b}"
    for g, pairs in zip(groups, b2, strict=True):
        r1 = g % o1
        r2 = (g - r1) // o1
        for x2 in range(n2):
            for x1 in range(n1):
                high, low = pairs[n1 * x2 + x1]
                amplitude = [0, math.sqrt(1 / 4), math.sqrt(1 / 2), 1][2 * high + low]
                limit[n1 * r1 + x1, n2 * r2 + x2] = amplitude
        text += "".join(f"{high}{low}" for high, low in reversed(pairs))
    return text, limit


def beams_of(panel, group, beam):
    """(m1, m2) of a beam of a group of orthogonal ones: i_{1,1} = (q1, q2), n = N1 n2 + n1."""
    o1, o2 = over(panel)
    q1, q2 = divmod(int(group), o2)
    n2, n1 = divmod(int(beam), panel.n1)
    return o1 * n1 + q1, o2 * n2 + q2


class TestBits:
    @pytest.mark.parametrize("size", TYPE2_SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
    def test_lengths_of_type2(self, size):
        panel, number = Panel(*size, 2), TYPE2_SIZES[size]
        ones = "0" * (11 if panel.n2 > 1 else 0) + "1" * (number - (11 if panel.n2 > 1 else 0))
        assert (type2_levels(ones, panel, over(panel), "f") == 3).all()
        with pytest.raises(ConfigError, match=f"f: got .*allowed: {number} characters 0 or 1"):
            type2_levels(ones + "1", panel, over(panel), "f")

    @pytest.mark.parametrize("panel", PANELS, ids=ids)
    def test_type2_levels_are_those_of_the_algorithm(self, panel, rng):
        o1, o2 = over(panel)
        for _ in range(20):
            text, limit = random_type2(rng, panel)
            levels = type2_levels(text, panel, (o1, o2), "f")
            for group, beam in np.ndindex(o1 * o2, panel.n1 * panel.n2):
                assert LEVELS[levels[group, beam]] == limit[beams_of(panel, group, beam)]

    @pytest.mark.parametrize("panel", PANELS, ids=ids)
    def test_bitmaps_are_read_as_they_are_written(self, panel, rng):
        o1, o2 = over(panel)
        numbers = rng.choice(o1 * o2, 4, replace=False) if panel.n2 > 1 else range(4)
        wanted = {(int(g) % o1, int(g) // o1): rng.integers(0, 4, (panel.n1, panel.n2)) for g in numbers}
        levels = type2_levels(type2_bitmap(panel, (o1, o2), wanted), panel, (o1, o2), "f")
        for group, beam in np.ndindex(levels.shape):
            m1, m2 = beams_of(panel, group, beam)
            at = m1 // panel.n1, m2 // panel.n2
            expected = wanted[at][m1 % panel.n1, m2 % panel.n2] if at in wanted else 3
            assert levels[group, beam] == expected

    def test_ranks(self):
        assert allowed_ranks("00000101", 8, "f") == [1, 3] and allowed_ranks("10", 2, "f") == [2]
        assert allowed_ranks(None, 4, "f") == [1, 2, 3, 4]


def type1_beams(panel, rank, mode, i11, i12, i13, i2):
    """Beams (l, m) of a precoder as Tables 5.2.2.2.1-5 to -12 write them, those of half beams by a_{..(2l-1)}.."""
    (o1, o2), n1, n2 = over(panel), panel.n1, panel.n2
    steps = {
        2: [(0, 0), (o1, 0), (0, o2), (2 * o1, 0)] if n1 > n2 > 1 else [(0, 0), (o1, 0), (0, o2), (o1, o2)],
        3: {(4, 1): [(o1, 0), (2 * o1, 0), (3 * o1, 0)], (2, 2): [(o1, 0), (0, o2), (o1, o2)]}.get((n1, n2)),
    }
    if n2 == 1:
        steps[2] = [(k * o1, 0) for k in range(4)]
    l, m = i11, i12  # noqa: E741
    if mode == 2 and rank <= 2:
        block = i2 // (4 if rank == 1 else 2)
        l, m = 2 * i11 + (block if n2 == 1 else block % 2), 0 if n2 == 1 else 2 * i12 + block // 2  # noqa: E741
    if rank == 1:
        return [(l, m)]
    if rank in (3, 4) and 2 * n1 * n2 >= 16:
        return [(2 * l - 1, m), (2 * l, m), (2 * l + 1, m)]
    if rank <= 4:
        k1, k2 = steps[min(rank, 3)][i13]
        return [(l, m), (l + k1, m + k2)]
    if n2 == 1:
        return [(l + k * o1, m) for k in range(3 if rank <= 6 else 4)]
    near = [(l, m), (l + o1, m), (l, m + o2), (l + o1, m + o2)]
    return [near[0], near[1], near[3]] if rank <= 6 else near


@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize("rank", range(1, 9))
@pytest.mark.parametrize("panel", PANELS[:3], ids=ids)
def test_type1_selects_and_takes_allowed_precoders_alone(panel, rank, mode, rng):
    o1, o2 = over(panel)
    beams = [(m1, m2) for m1 in range(panel.n1 * o1) for m2 in range(panel.n2 * o2)]
    share = 0.4 if rank <= 2 else 0.15 if rank <= 6 else 0.0
    restricted = [beam for beam in beams if rng.random() < share]
    h = gaussian(rng, 40, 8, panel.num_ports, 8)
    taken = TypeOneCodebook(panel, 8, 4, rank, mode).select(h[:1])
    indices = (int(taken[key][0]) for key in ("i11", "i12", "i13"))
    m1, m2 = type1_beams(panel, rank, mode, *indices, int(taken["i2"][0, 0]))[-1]
    restricted.append((m1 % (panel.n1 * o1), m2 % (panel.n2 * o2)))  # of a precoder that would be taken
    bits = type1_bitmap(panel, (o1, o2), restricted)
    number = panel.n2 * o2  # a_{N2 O2 l + m}, the least significant bit last
    assert all((bits[-1 - (number * m1 + m2)] == "0") == ((m1, m2) in restricted) for m1, m2 in beams)
    free, book = (TypeOneCodebook(panel, 8, 4, rank, mode, restriction=r) for r in (None, bits))

    def legal(pmi, report):
        used = [
            type1_beams(panel, rank, mode, *(int(pmi[key][report]) for key in ("i11", "i12", "i13")), int(i2))
            for i2 in pmi["i2"][report]
        ]
        return all((m1 % (panel.n1 * o1), m2 % (panel.n2 * o2)) not in restricted for beam in used for m1, m2 in beam)

    pmi, other = book.select(h), free.select(h)
    assert all(legal(pmi, report) for report in range(40))
    good = np.array([legal(other, report) for report in range(40)])
    for key in pmi:  # the best of all is the best of those that are left, where it is among them
        np.testing.assert_array_equal(pmi[key][good], other[key][good])
    for found, valid in ((pmi, np.ones(40, bool)), (other, good)):
        part1, part2, num_bits = free.pack(found)
        np.testing.assert_array_equal(book.unpack(part1, part2, num_bits)[1], valid)
    assert not good.all()


def test_type1_selection_is_the_best_of_what_is_left(rng):
    """Every legal precoder in turn: rank 2, mode 1, half of the beams."""
    panel = PANELS[0]
    restricted = [(m1, 0) for m1 in range(0, 16, 2)]
    book = TypeOneCodebook(panel, 4, 4, 2, snr_db=10.0, restriction=type1_bitmap(panel, (4, 1), restricted))
    h = gaussian(rng, 5, 2, 8, 4).astype(np.complex128)
    pmi = book.select(h.astype(np.complex64))
    for report in range(5):
        r = sum(h[report, :, :, n].conj().T @ h[report, :, :, n] for n in range(4)) / 4
        r *= 16 / np.linalg.norm(h[report]) ** 2 * 4
        scores = {}
        for l, i13, i2 in np.ndindex(16, 4, 2):  # noqa: E741
            if (l, 0) in restricted or ((l + 4 * i13) % 16, 0) in restricted:
                continue
            v, other = (np.exp(2j * np.pi * m * np.arange(4) / 16) / np.sqrt(8) for m in (l, l + 4 * i13))
            w = np.stack([np.r_[v, 1j**i2 * v], np.r_[other, -(1j**i2) * other]], axis=1)
            scores[l, i13, i2] = np.linalg.slogdet(np.eye(2) + 10 / 2 * w.conj().T @ r @ w)[1]
        found = int(pmi["i11"][report]), int(pmi["i13"][report]), int(pmi["i2"][report, 0])
        assert scores[found] == pytest.approx(max(scores.values()), rel=1e-5)


def type2_legal(panel, limit, pmi, report):
    """p^(1) of every beam, polarisation and layer against its largest amplitude."""
    beams = pmi["beams"][report]
    for layer in range(pmi["wideband"].shape[1]):
        for row, index in enumerate(pmi["wideband"][report, layer]):
            amplitude = 0 if index == 0 else math.sqrt(0.5) ** (7 - int(index))
            if amplitude > limit[beams_of(panel, pmi["group"][report], beams[row % len(beams)])] + 1e-12:
                return False
    return True


def etype2_legal(panel, limit, pmi, report):
    """Root mean square of p^(1) p^(2) over the coefficients that are sent, beam by beam."""
    beams, half = pmi["beams"][report], pmi["beams"].shape[1]
    for layer in range(pmi["bitmap"].shape[1]):
        own = int(pmi["strongest"][report, layer]) // half
        for row in range(2 * half):
            sent = np.flatnonzero(pmi["bitmap"][report, layer, row])
            reference = 1.0 if row // half == own else 0.5 ** ((15 - int(pmi["reference"][report, layer])) / 4)
            sizes = [reference * 0.5 ** ((7 - int(pmi["amplitude"][report, layer, row, tap])) / 2) for tap in sent]
            most = limit[beams_of(panel, pmi["group"][report], beams[row % half])]
            if sizes and math.sqrt(sum(x * x for x in sizes) / len(sizes)) > most + 1e-9:
                return False
    return True


def books(kind, panel, rank, bits):
    if kind == "type2":
        return TypeTwoCodebook(panel, 16, 4, rank, 3, 8, True, 2, restriction=bits), type2_legal
    slope = 1e-3 if kind == "etype2-slope" else 0.0
    return EnhancedTypeTwoCodebook(panel, 52, 4, rank, 4, 2, slope=slope, restriction=bits), etype2_legal


@pytest.mark.parametrize("kind", ["type2", "etype2", "etype2-slope"])
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("panel", PANELS[1:], ids=ids)
def test_type2_amplitudes_are_bounded_at_both_ends(kind, rank, panel, rng):
    if kind != "type2" and panel.n1 * panel.n2 < 8:
        panel = Panel(4, 1, 2)
    for number in range(6):
        text, limit = random_type2(rng, panel)
        book, legal = books(kind, panel, rank, text)
        free, _ = books(kind, panel, rank, None)
        h = gaussian(rng, 30, 2, panel.num_ports, 16 if kind == "type2" else 52)
        h[0] = 0 if number == 0 else h[0]
        pmi, other = book.select(h), free.select(h)
        assert all(legal(panel, limit, pmi, report) for report in range(30))
        good = np.array([legal(panel, limit, other, report) for report in range(30)])
        for found, valid in ((pmi, np.ones(30, bool)), (other, good)):
            back, ok = book.unpack(*free.pack(found))
            np.testing.assert_array_equal(ok, valid)
            assert all(np.array_equal(back[key][ok], found[key][ok]) for key in found)
        assert np.isfinite(book.precoder(pmi)).all()
        np.testing.assert_allclose(np.linalg.norm(book.precoder(pmi), axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", ["type2", "etype2"])
def test_a_forbidden_beam_is_avoided_and_the_best_others_are_taken(kind, rng):
    """All beams of one elevation are forbidden: what is reported has no power on them; it beats a random choice."""
    panel, (o1, o2) = Panel(4, 4, 2), (4, 4)
    level = np.full((4, 4), 3)
    level[:, :] = 0
    # Groups r2 = 0 hold the beams with m2 = 0..3: all of them at 0.
    bits = type2_bitmap(panel, (o1, o2), {(r1, 0): level for r1 in range(4)})
    book, _ = books(kind, panel, 1, bits)
    free, _ = books(kind, panel, 1, None)
    h = np.repeat(gaussian(rng, 50, 2, 32, 1), 16 if kind == "type2" else 52, axis=3)
    for found, some in ((book.select(h), False), (free.select(h), True)):
        used = []
        for report in range(50):
            for row, beam in enumerate(np.tile(found["beams"][report], 2)):
                key = "wideband" if kind == "type2" else "bitmap"
                if np.any(found[key][report, 0, row] > 0):
                    used.append(beams_of(panel, found["group"][report], beam)[1])
        assert any(m2 < 4 for m2 in used) == some
    v = np.linalg.eigh(np.einsum("nrpt,nrqt->npq", h.conj(), h))[1][:, :, -1]
    gains = [
        np.abs(np.einsum("np,npt->nt", v.conj(), one.precoder(one.select(h))[:, :, 0])) ** 2 for one in (book, free)
    ]
    assert gains[1].mean() > gains[0].mean() > 0.15


SCHEMES = [
    (TypeOneFeedback, {}, "00001010", [2, 4]),
    (TypeTwoFeedback, {"beams": 2}, "10", [2]),
    (EnhancedTypeTwoFeedback, {"combination": 2}, "0101", [1, 3]),
]


class TestSchemes:
    @pytest.mark.parametrize(("scheme", "params", "bits", "ranks"), SCHEMES, ids=lambda x: getattr(x, "name", None))
    def test_ranks_outside_are_not_reported_and_cost_no_bits(self, scheme, params, bits, ranks, rng):
        setting = config(PANELS[2], rx=4, layers=4)
        built = scheme(setting, rank_restriction=bits, **params)
        assert built.ranks == ranks and built.cqi_position == (len(ranks) - 1).bit_length()
        csi = estimate(gaussian(rng, 30, 1, 4, 16, 16))
        w = built.twin().reconstruct(built.report(csi)).w
        found = (np.abs(w).max(axis=(2, 4)) > 0).sum(axis=2)
        assert set(found.ravel().tolist()) <= set(ranks)
        assert built.label.endswith(f"-ri{bits}")

    @pytest.mark.parametrize("scheme", [TypeOneFeedback, TypeTwoFeedback, EnhancedTypeTwoFeedback])
    def test_without_restriction_all_is_as_before(self, scheme, rng):
        panel = PANELS[2]
        setting, csi = config(panel), estimate(gaussian(rng, 12, 2, 2, 16, 16))
        ones = "1" * 128 if scheme is TypeOneFeedback else "0" * 11 + "1" * 64
        plain, full = scheme(setting), scheme(setting, subset_restriction=ones)
        np.testing.assert_array_equal(plain.report(csi).bits, full.report(csi).bits)
        assert full.label == plain.label + "-cbsr"

    def test_a_report_that_violates_it_is_no_report(self, rng):
        """From a UE that does not know of the restriction: valid exactly where its beam is allowed."""
        panel = PANELS[0]
        restricted = [(m1, 0) for m1 in range(8)]
        setting = config(panel, rx=1, layers=1)
        free = TypeOneFeedback(setting)
        own = TypeOneFeedback(setting, subset_restriction=type1_bitmap(panel, (4, 1), restricted))
        report = free.report(estimate(gaussian(rng, 60, 1, 1, 8, 16)))
        i11 = report.bits[..., :4] @ [8, 4, 2, 1]
        rec = own.reconstruct(report)
        np.testing.assert_array_equal(rec.valid, i11 >= 8)
        assert (np.abs(rec.w).max(axis=(2, 3, 4)) > 0).tolist() == rec.valid.tolist()

    def test_recoded_reports_obey_it(self, rng):
        panel = PANELS[2]
        text, limit = random_type2(rng, panel, zeros=0.6)
        setting, csi = config(panel, layers=1), estimate(gaussian(rng, 20, 1, 2, 16, 16))
        free, own = (
            EnhancedTypeTwoFeedback(setting, combination=4, recode=True, subset_restriction=r) for r in (None, text)
        )
        assert own.reconstruct(own.report(csi)).valid.all()
        pmi = free.codebooks[1].select(csi.h_hat[:, 0])
        good = [etype2_legal(panel, limit, pmi, report) for report in range(20)]
        assert own.reconstruct(free.report(csi)).valid[:, 0].tolist() == good and not all(good)

    def test_omission_keeps_legal_reports_legal(self, rng):
        """Also where the coefficients that are left are too large in the mean: nobody chose them alone."""
        panel, beyond = PANELS[2], 0
        for _ in range(8):
            text, limit = random_type2(rng, panel)
            built = EnhancedTypeTwoFeedback(config(panel, layers=1), combination=4, subset_restriction=text)
            book = built.codebooks[1]
            report = built.report(estimate(gaussian(rng, 40, 1, 2, 16, 16)))
            for budget in (built.min_bits, int(report.num_bits.mean()) - 1):
                cut = built.omit(report, budget)
                assert (cut.num_bits < report.num_bits).any() and built.reconstruct(cut).valid.all()
                bits = np.pad(cut.bits[:, 0], ((0, 0), (0, 1)))
                length = cut.num_bits[:, 0] - built.part1_bits
                pmi, _ = book.unpack(bits[:, : book.part1_bits], bits[:, book.part1_bits : -1], length)
                beyond += sum(not etype2_legal(panel, limit, pmi, row) for row in range(40))
        assert beyond > 0

    @pytest.mark.parametrize(
        ("build", "words"),
        [
            (
                lambda c: TypeOneFeedback(c, subset_restriction="01"),
                "subset_restriction: got '01'.*; allowed: 128 characters",
            ),
            (lambda c: TypeOneFeedback(c, subset_restriction="0" * 128), "a precoder of rank 1, or no such rank"),
            (lambda c: TypeOneFeedback(c, subset_restriction="2" * 128), "subset_restriction"),
            (lambda c: TypeOneFeedback(c, rank_restriction="0" * 8), "rank_restriction.*at least one 1"),
            (lambda c: TypeOneFeedback(c, rank_restriction="11110000"), "rank: got 'auto'; allowed: auto or no rank"),
            (lambda c: TypeOneFeedback(c, rank=2, rank_restriction="00000101"), "rank: got 2; allowed: auto or 1"),
            (
                lambda c: TypeTwoFeedback(c, rank_restriction="111"),
                "rank_restriction: got '111'; allowed: 2 characters",
            ),
            (lambda c: TypeTwoFeedback(c, subset_restriction="1" * 75), r"B1 = 2047'; allowed: 0\.\.1819"),
            (lambda c: EnhancedTypeTwoFeedback(c, subset_restriction="1" * 74), "allowed: 75 characters"),
        ],
    )
    def test_what_is_refused(self, build, words):
        with pytest.raises(ConfigError, match=words):
            build(config(PANELS[2]))

    def test_what_the_standard_does_not_have(self):
        with pytest.raises(ConfigError, match="no rank above 2 with combination 7"):
            EnhancedTypeTwoFeedback(config(Panel(4, 4, 2)), combination=7, rank_restriction="0111")
        with pytest.raises(ConfigError, match="null with 64 ports"):
            EnhancedTypeTwoFeedback(config(Panel(8, 4, 2)), combination=2, subset_restriction="1" * 267)
        with pytest.raises(ConfigError, match="a beam with amplitude 1"):
            TypeTwoFeedback(config(Panel(4, 1, 2)), subset_restriction="0" * 32)


def test_random_bits_never_bring_a_forbidden_beam(rng):
    """Ten thousand random reports: what is valid obeys the restriction."""
    panel = PANELS[2]
    text, limit = random_type2(rng, panel)
    built = TypeTwoFeedback(config(panel, layers=1), beams=2, subset_restriction=text)
    bits = rng.integers(0, 2, (10_000, 1, built.max_bits), np.uint8)
    report = CsiReport(bits, rng.integers(built.part1_bits + 1, built.max_bits + 1, (10_000, 1)))
    rec = built.reconstruct(report)
    assert rec.valid.any()
    book = built.codebooks[1]
    part1, part2 = bits[:, 0, : book.part1_bits], bits[:, 0, book.part1_bits :]
    pmi, valid = book.unpack(part1, part2, report.num_bits[:, 0] - book.part1_bits)
    for row in np.flatnonzero(valid):
        assert type2_legal(panel, limit, pmi, row)
