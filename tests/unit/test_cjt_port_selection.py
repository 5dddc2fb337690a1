"""Port selection for coherent joint transmission: sizes and payloads by hand, one station, the link."""

from dataclasses import replace
from math import ceil, comb, log2

import numpy as np
import pytest
from test_pmi_codebooks import gaussian, read
from test_port_selection import bits_for, random_pmi, set_of

from benchmarks.build import build_link
from receivers.codebooks.fetype2 import FurtherEnhancedTypeTwoCodebook
from receivers.codebooks.fetype2_cjt import ALPHAS, PAIRS, SHARES, CjtPortSelectionCodebook
from receivers.estimation.perfect import PerfectEstimator
from receivers.feedback.fetype2_cjt import CjtPortSelectionFeedback
from receivers.feedback.perfect import PerfectFeedback
from receivers.feedback.trp_selection import TrpSelectionFeedback
from scenarios.schema import parse_scenario
from simulator.core import registry
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, Panel
from simulator.link import Link
from simulator.precoding.port_beams import PortBeamforming
from simulator.reporting.beamformed import BeamformedCsiRs
from simulator.reporting.reporting import Reporting
from simulator.scores.csi import CsiRsPorts, Sgcs

UNITS = 13


def book_of(ports, alpha, combination, rank=1, mode=1, units=UNITS, unit=1, **more):
    panel = Panel(ports // 2, 1, 2).at(len(ALPHAS[alpha]))
    return CjtPortSelectionCodebook(
        panel, units * unit, unit, rank, combination, alpha, mode, max_rank=rank, **more
    )  # fmt: skip


# Sizes and tables ----------------------------------------------------------------------------------------------------

# Bits of part 2 with all coefficients of the budget, field by field (TS 38.214, 5.2.2.2.9), 13 subbands:
# i_{1,2} of all stations, v i_{1,8}, i_{1,6}, v i_{1,7}, v i_{2,3}, 7 (K_NZ - v), i_{1,9}.
BITS = {
    # P, alpha, combination, rank, mode, O_3, N: bits
    (16, 4, 1, 1, 1, 4, 2): (7 + 7) + 4 + 0 + 16 + 4 + 7 * 7 + 6,
    (16, 4, 1, 1, 2, 4, 2): (7 + 7) + 4 + 0 + 16 + 4 + 7 * 7 + 0,
    (32, 8, 2, 1, 1, 4, 2): 0 + 6 + 0 + 64 + 4 + 7 * 47 + 6,
    (16, 8, 4, 1, 2, 4, 4): 0 + 6 + 2 + 64 + 4 + 7 * 31 + 0,
    (8, 16, 2, 2, 1, 4, 2): 0 + 2 * 5 + 0 + 2 * 24 + 8 + 7 * 34 + 2 * 6,
    (8, 20, 3, 1, 1, 4, 2): 0 + 5 + 0 + 0 + 4 + 7 * 31 + 3 * 6,  # all coefficients: no bitmap
    (16, 13, 4, 3, 1, 1, 2): (7 + 7) + 3 * 6 + 0 + 3 * 64 + 12 + 7 * 61 + 2 * 4,
    (24, 7, 2, 1, 1, 4, 2): (8 + 8) + 6 + 0 + 36 + 4 + 7 * 26 + 6,  # nine of twelve ports twice
    (8, 19, 4, 4, 1, 4, 4): (3 + 3) + 4 * 6 + 2 + 4 * 48 + 16 + 7 * 44 + 3 * 6,
}


@pytest.mark.parametrize("case", BITS)
def test_sizes(case, rng):
    ports, alpha, combination, rank, mode, steps, window = case
    book = book_of(ports, alpha, combination, rank, mode, oversampling_delay=steps, window=window)
    assert book.payload.part2_length(book.payload.most) == BITS[case]
    h = gaussian(rng, 4, rank, ports * len(ALPHAS[alpha]), UNITS)
    found = book.pack(book.select(h))[2]
    assert found.max() <= book.part2_bits and book.unpack(*book.pack(book.select(h)))[1].all()


def test_the_tables_hold_those_of_release_17():
    """The pairs for one station are the eight of Table 5.2.2.2.7-1, no more and no less."""
    mine = {(SHARES[c][0], ALPHAS[a][0], SHARES[c][1]) for a in (1, 2, 3) for c in PAIRS[a]}
    assert mine == {
        (1, 0.75, 0.5), (1, 1, 0.5), (1, 1, 0.75), (1, 1, 1), (2, 0.5, 0.5), (2, 0.75, 0.5), (2, 1, 0.5), (2, 1, 0.75)
    }  # fmt: skip
    assert ALPHAS.keys() == PAIRS.keys() == set(range(1, 21))
    assert [sum(len(alphas) == n for alphas in ALPHAS.values()) for n in (1, 2, 3, 4)] == [3, 5, 8, 4]


@pytest.mark.parametrize(
    ("alpha", "combination", "of_r17"),
    [(2, 1, 1), (3, 1, 2), (3, 2, 3), (3, 3, 4), (1, 4, 5), (2, 4, 6), (3, 4, 7), (3, 5, 8)],
)
@pytest.mark.parametrize("rank", [1, 3])
def test_one_station_is_release_17(alpha, combination, of_r17, rank, rng):
    """Bit for bit, of either mode."""
    h = gaussian(rng, 20, 4, 16, UNITS)
    one = book_of(16, alpha, combination, rank)
    other = FurtherEnhancedTypeTwoCodebook(Panel(8, 1, 2), UNITS, 1, rank, of_r17, rank)
    pmi = one.select(h)
    for found, expected in zip(one.pack(pmi), other.pack(other.select(h)), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(one.precoder(pmi), other.precoder(other.select(h)), atol=1e-6)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: CjtPortSelectionCodebook(Panel(8, 1, 2).at(2), 13, 1, 1, 1, 3), r"alpha.*3.*4\.\.8 with 2 station"),
        (lambda: book_of(16, 8, 1), r"combination.*1.*2, 4 with alpha 8.*5\.2\.2\.2\.9-1 to -3"),
        (lambda: book_of(12, 7, 2), r"alpha.*7 with 12 ports.*3/4 with 4 or 12"),
        (lambda: book_of(32, 16, 5), r"alpha.*16 with 32 ports.*not all 1 with 32 ports"),
        (lambda: book_of(4, 4, 1, 3), r"alpha.*4 with 4 ports.*rank 3.*1/2 with 4 ports beyond rank 2"),
        (lambda: book_of(20, 4, 1), r"CSI-RS ports.*20"),
        (lambda: book_of(16, 4, 1, mode=3), r"mode.*3.*1, 2"),
        (lambda: book_of(16, 4, 1, oversampling_delay=2), r"oversampling.*2.*1, 4"),
        (lambda: book_of(16, 4, 4, window=3), r"window.*3.*2, 4"),
        (lambda: book_of(16, 4, 1, unit=2, two_units=True), r"cjt-ps-r18\.r.*2.*one tap"),
        (lambda: book_of(16, 4, 1, 5), r"rank.*1\.\.4"),
    ],
)
def test_what_the_tables_do_not_have(build, words):
    with pytest.raises(ConfigError, match=words):
        build()


# Payload -------------------------------------------------------------------------------------------------------------


def by_hand(part1, part2, ports, alpha, combination, rank, mode, steps, window, units=UNITS):
    """Sums of ports ``[port, layer, unit]`` of one report, field by field, as in TS 38.214, 5.2.2.2.9 and 5.2.3."""
    (taps, _), trps, half = SHARES[combination], len(ALPHAS[alpha]), ports // 2
    lengths = [round(share * half) for share in ALPHAS[alpha]]
    rows = 2 * sum(lengths)
    nonzero = read(part1, [len(part1)])[0][0] + 1
    # Group 0: i_{1,2} of the stations that choose, i_{1,8}, i_{1,6}.
    widths = [bits_for(comb(half, length)) for length in lengths] + [bits_for(rows * taps)] * rank
    values, at = read(part2, [*widths, 2 if taps == 2 and window == 4 else 0])
    i12, i18, i16 = values[:trps], values[trps:-1], values[-1]
    priority = sorted(
        (rows * rank * f + rank * (2 * sum(lengths[:j]) + i) + layer, layer, j, i, f)
        for layer in range(rank) for j in range(trps) for i in range(2 * lengths[j]) for f in range(taps)
    )  # fmt: skip
    last, first = nonzero // 2, max(ceil(nonzero / 2) - rank, 0)
    rest, full = nonzero - rank - first, rank <= 2 and nonzero == rows * taps * rank
    # Group 1: first part of i_{1,7}, i_{2,3}, first parts of i_{2,4} and i_{2,5}, i_{1,9}. Group 2: the rest.
    parts = []
    offset_bits = ceil(log2(units * steps)) if mode == 1 else 0
    for count, width in (
        (0 if full else len(priority) - last, 1), (rank, 4), (first, 3), (first, 4), (trps - 1, offset_bits),
        (0 if full else last, 1), (rest, 3), (rest, 4),
    ):  # fmt: skip
        values, used = read(part2[at:], [width] * count)
        at += used
        parts.append(values)
    assert at == len(part2)
    bitmap = [1] * len(priority) if full else [*parts[0], *parts[5]]
    mapped = [place[1:] for place, bit in zip(priority, bitmap, strict=True) if bit]
    assert len(mapped) == nonzero
    every = [(j, i) for j in range(trps) for i in range(2 * lengths[j])]
    star = [(*every[number % rows], number // rows) for number in i18]
    numbers = iter(zip([*parts[2], *parts[6]], [*parts[3], *parts[7]], strict=True))
    w = np.zeros((trps, 2, half, rank, units), complex)
    for layer, j, i, f in mapped:
        value = 1.0
        if (j, i, f) != star[layer]:
            k, c = next(numbers)
            j0, i0, _ = star[layer]
            same = i // lengths[j] == i0 // lengths[j0]
            value = 2 ** (-(7 - k) / 2) * np.exp(2j * np.pi * c / 16)
            value *= 1.0 if same else 2 ** (-(15 - parts[1][layer]) / 4)
        port = set_of(i12[j], half, lengths[j])[i % lengths[j]]
        psi = parts[4][j - 1] / steps if mode == 1 and j else 0.0
        n3 = 1 + i16 if f else 0
        w[j, i // lengths[j], port, layer] += value * np.exp(2j * np.pi * np.arange(units) * (n3 + psi) / units)
    return w.reshape(-1, rank, units)


def some_pmi(book, rng, count):
    """Random legal indices of all stations."""
    pmi, pool = random_pmi(book, rng, count), book.payload
    chosen = [np.argsort(rng.random((count, pool.group_size)), axis=1)[:, :length] for length in pool.trp_beams]
    pmi["beams"] = np.concatenate([np.sort(own, axis=1) for own in chosen], axis=1)
    pmi["group"] = np.zeros((count, len(pool.trp_beams)), np.int64)
    if pool.num_offsets > 1:
        pmi["offset"] = rng.integers(0, pool.num_offsets, (count, len(pool.trp_beams) - 1))
    return pmi


@pytest.mark.parametrize("case", BITS)
def test_payload_read_field_by_field(case, rng):
    ports, alpha, combination, rank, mode, steps, window = case
    book = book_of(ports, alpha, combination, rank, mode, oversampling_delay=steps, window=window)
    pmi = some_pmi(book, rng, 40)
    w = book.precoder(pmi)
    part1, part2, length = book.pack(pmi)
    assert len(set(length)) > 2
    for i in range(len(w)):
        fields = ports, alpha, combination, rank, mode, steps, window
        sums = by_hand(part1[i], part2[i, : length[i]], *fields)
        norm = np.linalg.norm(sums, axis=0)
        seen = norm > 1e-3 * norm.max()
        np.testing.assert_allclose(w[i] * seen, sums / np.where(seen, norm, np.inf), atol=2e-4)
    back, valid = book.unpack(part1, part2, length)
    assert valid.all() and back.keys() == pmi.keys()
    for key, value in pmi.items():
        np.testing.assert_array_equal(back[key], value, err_msg=key)
    assert not book.unpack(part1, part2, length + 1)[1].any()


# Selection -----------------------------------------------------------------------------------------------------------


def cosine(w, h):
    """Mean squared cosine ``[report]`` of ``w [report, port, 1, unit]`` to one antenna."""
    v = h[:, 0].conj() / np.linalg.norm(h[:, 0], axis=1, keepdims=True)
    return np.mean(np.abs(np.einsum("npt,npt->nt", v.conj(), w[:, :, 0])) ** 2, axis=1)


@pytest.mark.parametrize("late", [0, 1, 6, 19, 51])
def test_a_late_station_is_rebuilt_in_mode_1(late):
    r"""One port of each of two stations, the second ``late`` quarters of a tap later: exact; mode 2 has one tap."""
    t = np.arange(UNITS)
    h = np.zeros((1, 1, 32, UNITS), complex)
    h[0, 0, 3], h[0, 0, 16 + 5] = 1.0, 0.5 * np.exp(-2j * np.pi * late / 4 * t / UNITS)
    fits = {mode: cosine(b.precoder(b.select(h)), h)[0] for mode in (1, 2) for b in [book_of(16, 4, 1, mode=mode)]}
    np.testing.assert_allclose(fits[1], 1, atol=1e-5)
    assert fits[2] > 0.999 if late == 0 else fits[2] < 0.995


@pytest.mark.parametrize(("alpha", "combination"), [(4, 4), (8, 2), (16, 2), (19, 3)])
@pytest.mark.parametrize("mode", [1, 2])
def test_a_channel_in_the_span_is_found(alpha, combination, mode, rng):
    """A codeword as the channel comes back nearly exactly."""
    book = book_of(8, alpha, combination, mode=mode)
    h = gaussian(rng, 40, 1, 8 * len(ALPHAS[alpha]), 1) * np.ones(UNITS)
    first = book.precoder(book.select(h.astype(np.complex64)))
    assert cosine(first, h).mean() > 0.7
    w = first[:, None, :, 0].conj()
    value = cosine(book.precoder(book.select(w)), w)
    assert value.mean() > 0.97 and np.median(value) > 0.98


@pytest.mark.parametrize("name", ["etype2-cjt-r18", "fetype2-cjt-ps-r18", "trp-selection"])
def test_a_station_that_is_not_received(name, rng):
    """A UE of a traced site may have no path to a station: its ports get nothing that matters."""
    config = CsiConfig(Panel(4, 1, 2).at(3), 1, 13, 1.44e6, 1)
    params = {
        "etype2-cjt-r18": {"beams": 8, "combination": 2},
        "fetype2-cjt-ps-r18": {"alpha": 16, "combination": 2},
        "trp-selection": {"of": "etype2-r16", "combination": 2},
    }[name]
    scheme = registry.build("feedback", name, config, rank=1, **params)
    h = gaussian(rng, 6, 1, 1, 24, 1) * np.ones(13, np.complex64)
    h[:, :, :, :8] = 0
    known = scheme.reconstruct(scheme.report(CsiEstimate(h, np.zeros((6, 1), np.float32))))
    assert known.valid.all()
    power = np.abs(known.w[:, 0, :, 0]) ** 2
    np.testing.assert_allclose(power.sum(axis=1), 1, rtol=1e-4)
    assert power[:, :8].sum(axis=1).max() < 1e-6 and cosine(known.w[:, 0], h[:, 0]).min() > 0.3


# Link ----------------------------------------------------------------------------------------------------------------


def test_reports_of_ports_of_all_stations_in_the_link(rng):
    """Ports of every station from its own uplink: better than those of the best station alone; ports are counted."""
    panel, drops, users, samples = Panel(4, 2, 2).at(3), 30, 2, 24
    shape = drops, users, 3, 3, 1
    place = rng.uniform(-0.4, 0.4, shape)[..., None] * np.arange(4)[:, None] + 0.1 * np.arange(2)
    steering = np.exp(2j * np.pi * place).reshape(drops, users, 3, 3, 8)
    turns = np.exp(-2j * np.pi * rng.random(shape) * 0.4 * np.arange(samples))
    gains = gaussian(rng, drops, users, 3, 3, 2) * np.array([1, 0.5, 0.3])[:, None]
    h = np.einsum("bujkp,bujke,bujkn->bujpen", gains, steering, turns).reshape(drops, users, 1, 48, 1, samples)
    h = (h / np.sqrt(np.mean(np.abs(h) ** 2, axis=(2, 3, 4, 5), keepdims=True))).astype(np.complex64)
    config = CsiConfig(panel, 1, samples, 360e3, 2)
    ports = replace(config, panel=Panel(8, 1, 2).at(3))
    csi_rs = BeamformedCsiRs(PortBeamforming(panel, 16), PerfectEstimator())
    reporting = {
        "perfect": Reporting(PerfectFeedback(config)),
        "best": Reporting(TrpSelectionFeedback(config, of="perfect")),
        "one": Reporting(TrpSelectionFeedback(ports, of="fetype2-ps-r17", combination=4, rank=1), csi_rs=csi_rs),
        "all": Reporting(CjtPortSelectionFeedback(ports, alpha=16, combination=2, rank=1), csi_rs=csi_rs),
        "more": Reporting(CjtPortSelectionFeedback(ports, alpha=16, combination=5, rank=1), csi_rs=csi_rs),
    }
    found = {}
    for label, precoder, outcome in Link(config, PerfectEstimator(), reporting, {}, (10.0,)).run(h, seed=1, uplink=h):
        if precoder is None:
            (count,) = set(CsiRsPorts().evaluate(outcome)["csi_rs_ports"])
            assert count == (users * 3 * 16 if label in ("one", "all", "more") else 48)
            found[label] = Sgcs().evaluate(outcome)["sgcs"]
    assert found["perfect"].mean() > 0.9999 and found["all"].mean() > 0.85
    for worse, better in (("one", "best"), ("best", "all"), ("one", "all")):
        gain = found[better] - found[worse]
        assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain)), (worse, better)


def test_a_scenario_with_ports_of_several_stations():
    data = {
        "name": "ports",
        "carrier": {"num_rb": 52},
        "bs": {"n1": 4, "n2": 2, "num_pol": 2, "num_trps": 3},
        "channel": {"model": "umi"},
        "sounding": {"uplink_snr_db": 5},
        "feedback": [
            {"scheme": "fetype2-cjt-ps-r18", "alpha": [9, 16], "combination": [4, 2], "beamformed": {"ports": 16}},
            {"scheme": "trp-selection", "of": "fetype2-ps-r17", "combination": 1, "beamformed": {"ports": 16}},
        ],
        "snr_db": [10],
    }
    with pytest.raises(ConfigError, match=r"combination.*2.*1, 4 with alpha 9"):
        build_link(parse_scenario(data))
    data["feedback"][0] |= {"alpha": [13, 14, 16], "combination": 2}
    link = build_link(parse_scenario(data))
    assert list(link.reporting) == [
        *(f"fetype2cjt-P16-a{alpha}-pc2-mode1+delays" for alpha in (13, 14, 16)), "fetype2ps-P16-pc1+cri+delays"
    ]  # fmt: skip
    assert link.reporting["fetype2ps-P16-pc1+cri+delays"].csi_rs.beamforming.all_ports == 48
    data["estimation"] = {"name": "csi_rs_ls", "snr_db": 10}
    with pytest.raises(ConfigError, match=r"bs\.num_trps.*1 with estimators on CSI-RS"):
        build_link(parse_scenario(data))


def test_omitted_groups(rng):
    """Fewer groups of part 2 are a worse report, still a report."""
    scheme = CjtPortSelectionFeedback(CsiConfig(Panel(8, 1, 2).at(2), 1, 13, 1.44e6, 1), alpha=8, combination=4, rank=1)
    h = (gaussian(rng, 60, 1, 32, 1) * np.ones(13)).astype(np.complex64)
    report = scheme.report(CsiEstimate(h[:, None], np.zeros((60, 1), np.float32)))
    quality = []
    for most in (scheme.max_bits, report.num_bits.min() - 1, 30):
        known = scheme.reconstruct(scheme.omit(report, most))
        assert known.valid.all()
        quality.append(cosine(known.w[:, 0], h).mean())
    assert quality[0] > quality[1] + 0.02 and quality[1] > quality[2] + 0.02
