"""Reports over the coded control channel: closed forms, fall-back, budgets, omission, segments, reproducibility."""

import hashlib
import subprocess
import sys
import tracemalloc
from math import comb
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from tolerances import SIGMAS, assert_mean

from benchmarks.build import build_link, build_payloads
from receivers.estimation.perfect import PerfectEstimator
from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.feedback.perfect import PerfectFeedback
from scenarios.schema import parse_scenario
from scenarios.sweep import expand
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel
from simulator.link import Link
from simulator.nr import uci
from simulator.reporting.coded_uplink import CodedUplink
from simulator.reporting.report_fields import ReportFields
from simulator.reporting.reporting import Reporting
from simulator.reporting.uplink import UplinkModel

CONFIG = CsiConfig(Panel(8, 2, 2), 2, 52, 360e3, 4, num_layers=2)


def reports(rng, num_bits, batch=400, users=2):
    return CsiReport(rng.integers(0, 2, (batch, users, num_bits), dtype=np.uint8), np.full((batch, users), num_bits))


def scenario(**changes):
    data = {
        "name": "uci",
        "carrier": {"num_rb": 32},
        "bs": {"n1": 4, "n2": 1},
        "ue": {"num_rx_ant": 1},
        "time": {"num_slots": 6},
        "channel": {"model": "rayleigh", "taps": 2},
        "feedback": [{"scheme": "etype2-r16", "combination": 2}],
        "uplink": {"code": "uci", "snr_db": 0, "num_re": 150},
        "snr_db": [10],
    }
    return {**data, **changes}


def outcome(link, h, label, seed=1):
    return next(out for scheme, precoder, out in link.run(h, seed=seed) if scheme == label and precoder is None)


def channel(rng, slots=6, batch=20, ports=8, rx=1, n=32):
    return (rng.standard_normal((batch, 1, rx, ports, slots, n, 2)) @ [1, 1j] / np.sqrt(2)).astype(np.complex64)


# The channel of the uplink.


@pytest.mark.statistical
@pytest.mark.parametrize("num_rx", [1, 4])
@pytest.mark.long
def test_one_bit_meets_the_closed_forms(rng, num_rx):
    """Q(sqrt(E L snr)) over AWGN; maximum-ratio combining of L Rayleigh branches (Proakis, Eq. 14.4-15)."""
    sent, snr, length = reports(rng, 1, 20_000, 1), 0.05, 20
    common = {"snr_db": 10 * np.log10(snr), "num_re": length // 2, "num_rx": num_rx}
    wrong = [
        CodedUplink(**common, fading=fading).transmit(sent, seed=4)[0].bits != sent.bits
        for fading in ("awgn", "rayleigh")
    ]
    assert_mean(wrong[0], norm.sf(np.sqrt(length * num_rx * snr)))
    mu = np.sqrt(length * snr / 2 / (1 + length * snr / 2))
    tail = sum(comb(num_rx - 1 + k, k) * ((1 + mu) / 2) ** k for k in range(num_rx))
    assert_mean(wrong[1], ((1 - mu) / 2) ** num_rx * tail)


@pytest.mark.parametrize("num_bits", [8, 60])
def test_losses_and_errors_fall_with_the_snr(rng, num_bits):
    sent = reports(rng, num_bits, 100)
    failed = []
    for snr_db in (-20, -9, -6, -3, 10):
        arrived, lost = CodedUplink(snr_db=snr_db, num_re=60).transmit(sent, seed=2)
        failed.append(np.mean(lost | (arrived.bits != sent.bits).any(axis=-1)))
        if num_bits == 8:  # no CRC: nothing is known to be lost
            assert not lost.any()
    assert failed[0] > 0.9 and failed[-1] == 0 and sorted(failed, reverse=True) == failed and failed[2] > 0


@pytest.mark.long
def test_a_report_meets_the_same_noise_in_any_company(rng):
    sent = reports(rng, 60)
    uplink = CodedUplink(snr_db=-4, num_re=60, fading="rayleigh", num_rx=2)
    arrived, lost = uplink.transmit(sent, seed=3)
    assert 0.05 < lost.mean() < 0.95
    mixed = CsiReport(sent.bits, np.where(np.arange(800).reshape(400, 2) % 3 == 1, 30, 60))
    again, lost_again = uplink.transmit(mixed, seed=3)
    same = mixed.num_bits == 60
    np.testing.assert_array_equal(lost[same], lost_again[same])
    np.testing.assert_array_equal(arrived.bits[same], again.bits[same])
    assert (uplink.transmit(sent, seed=4)[1] != lost).any()


def test_empty_reports_and_lengths(rng):
    sent = CsiReport(np.zeros((3, 1, 40), np.uint8), np.array([[0], [40], [1]]))
    arrived, lost = CodedUplink(snr_db=30, num_re=60).transmit(sent, seed=0)
    np.testing.assert_array_equal(arrived.bits, sent.bits)
    np.testing.assert_array_equal(arrived.num_bits, sent.num_bits)
    assert not lost.any()


def test_threshold_turns_errors_into_losses(rng):
    sent = reports(rng, 8, 500)
    for snr_db, lost in ((-40, 1.0), (10, 0.0)):
        found = CodedUplink(snr_db=snr_db, num_re=60, dtx_threshold=0.6).transmit(sent, seed=1)[1].mean()
        assert abs(found - lost) < 0.02


@pytest.mark.long
def test_memory_does_not_grow_with_the_number_of_reports(rng):
    uplink = CodedUplink(snr_db=0, num_re=400)
    peaks = []
    for batch in (300, 1200):
        sent = reports(rng, 300, batch, 1)
        tracemalloc.start()
        uplink.transmit(sent, seed=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 4 * 900 * 300 and peaks[1] < 80e6


# Parts, budgets, segments.


def test_layout_of_parts_and_segments():
    scheme = EnhancedTypeTwoFeedback(CONFIG, combination=4, rank=1)
    part1, most = scheme.part1_bits, scheme.max_bits
    uplink = CodedUplink(snr_db=0, num_re=200, max_bits=100, over_budget="segment").for_scheme(scheme, "x")
    assert uplink.slots_per_report == -(-most // 100) == 2
    first, second = uplink._layout(most)
    coded = 2 * int(np.ceil((part1 + uci.crc_bits(part1)) / 0.15 / 2))
    half = -(-most // 2)
    assert first == [(0, part1, coded), (part1, half, 400 - coded)] and second == [(half, most, 400)]
    assert uplink._layout(90) == [[(0, part1, coded), (part1, 90, 400 - coded)]]


def test_part_1_is_better_protected(rng):
    """At a low code rate it survives where part 2 does not."""
    scheme = ReportFields(EnhancedTypeTwoFeedback(CONFIG, combination=4, rank=1), (4,))
    csi = CsiEstimate(channel(rng, 1, 100, 32, 2, 52)[..., 0, :], np.zeros((100, 1), np.float32))
    report = scheme.insert(scheme.scheme.report(csi), rng.integers(0, 16, (100, 1, 1)))
    uplink = CodedUplink(snr_db=-3.0, num_re=180).for_scheme(scheme, "x")
    arrived, lost = uplink.transmit(report, seed=1)
    assert lost.mean() > 0.5
    part1 = slice(scheme.part1_bits)
    assert np.any(arrived.bits[..., part1] != report.bits[..., part1], axis=-1).mean() < 0.05


@pytest.mark.long
@pytest.mark.parametrize("coded", [False, True])
def test_segments_are_used_when_the_last_has_come(rng, coded):
    """Three slots a report: it describes its first slot and serves from its last one, ``delay_slots`` later, on."""
    config = CsiConfig(Panel(4), 1, 2, 360e3, 1)
    scheme, h = PerfectFeedback(config), channel(rng, 12, 3, 4, 1, 2)
    common = {"max_bits": 190, "over_budget": "segment", "delay_slots": 1}
    uplink = CodedUplink(snr_db=30, num_re=300, **common) if coded else UplinkModel(**common)
    own = uplink.for_scheme(scheme, "perfect")
    assert scheme.max_bits == 512 and own.slots_per_report == 3
    reporting = {"perfect": Reporting(scheme, own), "ideal": Reporting(scheme, UplinkModel(delay_slots=1))}
    link = Link(config, PerfectEstimator(), reporting, {}, (10.0,))
    result = outcome(link, h, "perfect")
    assert result.h.shape[4] == 9  # of 12, without delay and the first report: 1 + 2
    for k in range(9):
        slot = 3 + k
        newest = 3 * ((slot - 1 - 2) // 3)
        np.testing.assert_array_equal(result.h[..., k, :], h[..., slot, :])
        np.testing.assert_array_equal(result.h_hat[..., k, :], h[..., newest, :])
        np.testing.assert_array_equal(outcome(link, h, "ideal").h_hat[..., k + 2, :], h[..., slot - 1, :])


@pytest.mark.long
@pytest.mark.statistical
def test_a_report_is_lost_with_any_of_its_segments(rng):
    """Two segments fade on their own: 1 - (1 - p)^2, with p of a report of half the length."""
    uplink = CodedUplink(snr_db=2, num_re=60, fading="rayleigh", max_bits=50, over_budget="segment")
    p = uplink.transmit(reports(rng, 50, 1500), seed=1)[1].mean()
    both = uplink.transmit(reports(rng, 100, 1500), seed=2)[1].mean()
    assert 0.2 < p < 0.8
    error = np.sqrt((p * (1 - p) * 4 * (1 - p) ** 2 + both * (1 - both)) / 3000)  # of both sides
    assert abs(both - (1 - (1 - p) ** 2)) < SIGMAS * error


@pytest.mark.statistical
def test_erasures_of_segments(rng):
    uplink = UplinkModel(loss_probability=0.2, max_bits=100, over_budget="segment")
    for num_bits, slots in ((100, 1), (101, 2), (350, 4)):
        assert_mean(uplink.transmit(reports(rng, num_bits, 5000), seed=num_bits)[1], 1 - 0.8**slots)


# Through the link.


def test_lost_reports_fall_back_and_good_ones_are_perfect(rng):
    h = channel(rng)
    runs = {}
    for snr_db in (-100, -4, 30):
        link = build_link(parse_scenario(scenario(uplink={"code": "uci", "snr_db": snr_db, "num_re": 150})))
        runs[snr_db] = outcome(link, h, "etype2-pc2")
    ideal = outcome(build_link(parse_scenario(scenario(uplink={}))), h, "etype2-pc2")
    assert ideal.lost is None and ideal.wrong is None
    np.testing.assert_array_equal(runs[30].correlation2, ideal.correlation2)
    assert not runs[30].lost.any() and not runs[30].wrong.any()
    # All lost: up to the false alarms of an 11-bit and a 6-bit CRC in one report.
    assert runs[-100].lost.mean() > 0.99 and not runs[-100].correlation2.any()
    some = runs[-4].lost
    assert 0.05 < some.mean() < 0.95
    # What is used after a loss is the last good report, on the channel of now.
    fresh = ideal.correlation2.mean(axis=(2, 4))
    used = runs[-4].correlation2.mean(axis=(2, 4))
    np.testing.assert_array_equal(used[~some], fresh[~some])
    stale = some & (np.maximum.accumulate(~some, axis=-1))
    assert stale.any() and (used[stale] != fresh[stale]).all() and (used[stale] > 0).all()


def test_snr_is_an_axis_and_old_hashes_stay():
    points = expand(scenario(sweep={"uplink.snr_db": [-3, 0, 3]}))
    assert [point.scenario.uplink.snr_db for point in points] == [-3, 0, 3] and len({p.key for p in points}) == 3
    assert len({p.channel_key for p in points}) == 1
    dump = parse_scenario(scenario(uplink={"loss_probability": 0.1})).uplink.model_dump()
    assert set(dump) == {"loss_probability", "bit_flip_probability", "on_loss", "delay_slots"}


def test_ideal_uplink_of_one_line():
    data = scenario(uplink={"code": "uci", "snr_db": -100, "num_re": 150, "delay_slots": 2})
    data["feedback"] = [data["feedback"][0], {"scheme": "perfect", "ideal_uplink": True}]
    link = build_link(parse_scenario(data))
    assert list(link.reporting) == ["etype2-pc2", "perfect+ideal"]
    ideal = link.reporting["perfect+ideal"].uplink
    assert isinstance(ideal, UplinkModel) and ideal.delay_slots == 2 and not ideal.may_fail


# Omission.


def cut_reports(rng, rank, combination, budget):
    scheme = EnhancedTypeTwoFeedback(CONFIG, combination=combination, rank=rank)
    h = channel(rng, 1, 40, 32, 2, 52)[..., 0, :]
    report = scheme.report(CsiEstimate(h, np.zeros((40, 1), np.float32)))
    return scheme, report, scheme.omit(report, budget)


@pytest.mark.parametrize(("rank", "combination"), [(1, 2), (1, 6), (2, 4), (2, 5)])
def test_omitted_coefficients_are_the_least_important(rng, rank, combination):
    """Group 2: the coefficients of lowest priority by the formula of TS 38.214, 5.2.2.2.5, in a loop."""
    scheme, report, cut = cut_reports(rng, rank, combination, 0)
    book = scheme.codebooks[rank]
    part1 = report.bits[:, 0, : scheme.part1_bits]
    whole, without2, only0 = book.lengths(part1).T + scheme.part1_bits
    np.testing.assert_array_equal(report.num_bits[:, 0], whole)
    np.testing.assert_array_equal(cut.num_bits[:, 0], only0)
    cut = scheme.omit(report, int(without2.max()))
    np.testing.assert_array_equal(cut.num_bits[:, 0], without2)
    assert (cut.bits[..., : without2.min()] == report.bits[..., : without2.min()]).all()
    full, fine = book.unpack(part1, report.bits[:, 0, scheme.part1_bits :], whole - scheme.part1_bits)
    kept, good = book.unpack(part1, cut.bits[:, 0, scheme.part1_bits :], without2 - scheme.part1_bits)
    assert fine.all() and good.all()
    for i in range(len(whole)):
        layers, rows, taps = full["bitmap"][i].shape
        ranked = []
        for layer, row, tap in np.ndindex(layers, rows, taps):
            n3 = full["taps"][i, layer, tap]
            pi = min(2 * n3, 2 * (book.num_units - n3) - 1)
            if full["bitmap"][i, layer, row, tap] and not (tap == 0 and row == full["strongest"][i, layer]):
                ranked.append((2 * book.num_beams * rank * pi + rank * row + layer, (layer, row, tap)))
        count = full["bitmap"][i].sum()
        first = [where for _, where in sorted(ranked)][: max(-(-count // 2) - rank, 0)]
        expected = np.zeros_like(full["bitmap"][i])
        for layer, strongest in enumerate(full["strongest"][i]):
            expected[layer, strongest, 0] = 1
        for where in first:
            expected[where] = 1
            for key in ("amplitude", "phase"):
                assert kept[key][i][where] == full[key][i][where]
        np.testing.assert_array_equal(kept["bitmap"][i], expected)
    for key in ("group", "beams", "window", "taps", "strongest", "reference"):
        np.testing.assert_array_equal(kept[key], full[key])


def test_group_0_alone_leaves_a_beam(rng):
    scheme, _, cut = cut_reports(rng, 2, 4, 0)
    back = scheme.reconstruct(cut)
    assert back.valid.all()
    np.testing.assert_allclose(np.linalg.norm(back.w, axis=2), 1, rtol=1e-5)
    half = back.w.reshape(40, 1, 2, 16, 2, -1)
    assert (np.linalg.norm(half, axis=3) > 1e-6).sum(axis=2).max() == 1  # one polarisation
    assert np.ptp(back.w, axis=-1).max() < 1e-6  # one beam for the band


def test_omission_through_the_link_costs_accuracy_and_saves_bits(rng):
    h = channel(rng, 1)
    found = {}
    scheme = next(iter(build_payloads(parse_scenario(scenario())).values()))
    for budget in (scheme.max_bits, scheme.max_bits - 1, scheme.min_bits):
        uplink = {"max_bits": budget, "over_budget": "omit"}
        found[budget] = outcome(build_link(parse_scenario(scenario(uplink=uplink))), h, "etype2-pc2")
        assert found[budget].num_bits.max() <= budget
    bits = [np.mean(x.num_bits) for x in found.values()]
    sgcs = [np.mean(x.correlation2) for x in found.values()]
    assert bits[0] > bits[1] > bits[2] and sgcs[0] > sgcs[1] > sgcs[2] > 1 / 8


# Reproducibility and wrong input.

_SCRIPT = """
import hashlib, numpy as np
from simulator.core.types import CsiReport
from simulator.reporting.coded_uplink import CodedUplink
bits = np.random.default_rng(1).integers(0, 2, (60, 2, 90), dtype=np.uint8)
sent = CsiReport(bits, np.random.default_rng(2).integers(1, 91, (60, 2)))
arrived, lost = CodedUplink(snr_db=-1, num_re=64, fading="rayleigh", num_rx=2).transmit(sent, seed=5)
print(hashlib.sha256(arrived.bits.tobytes() + lost.tobytes()).hexdigest(), lost.mean())
"""


@pytest.mark.long
def test_equal_results_in_another_process():
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", _SCRIPT], cwd=root, capture_output=True, text=True, check=True)
    bits = np.random.default_rng(1).integers(0, 2, (60, 2, 90), dtype=np.uint8)
    sent = CsiReport(bits, np.random.default_rng(2).integers(1, 91, (60, 2)))
    arrived, lost = CodedUplink(snr_db=-1, num_re=64, fading="rayleigh", num_rx=2).transmit(sent, seed=5)
    assert 0 < lost.mean() < 1
    assert hashlib.sha256(arrived.bits.tobytes() + lost.tobytes()).hexdigest() == run.stdout.split()[0]


CODED = {"code": "uci", "snr_db": 0, "num_re": 150}


@pytest.mark.parametrize(
    ("uplink", "message"),
    [
        ({"snr_db": 3}, r"^uplink\.snr_db: got 3.*; allowed: no value with uplink\.code: none"),
        ({"fading": "rayleigh"}, r"^uplink\.fading: got 'rayleigh'"),
        ({"code": "uci", "num_re": 50}, r"^uplink\.snr_db: required with"),
        ({"code": "uci", "snr_db": 0}, r"^uplink\.num_re: required with"),
        ({"code": "turbo"}, r"^uplink\.code: got 'turbo'"),
        ({**CODED, "loss_probability": 0.1}, r"^uplink\.loss_probability: got 0\.1"),
        ({**CODED, "list_size": 6}, r"^uplink\.list_size: got 6; allowed: a power of two"),
        ({**CODED, "num_re": 5000}, r"^uplink\.num_re: got 5000"),
        ({**CODED, "num_re": 6}, r"^uplink\.num_re: got 6; allowed: at least \d+ for part 1 of etype2-pc2"),
        ({**CODED, "num_re": 30}, r"^uplink\.num_re: got 30; allowed: room for \d+ bits of etype2-pc2 in a slot"),
        ({**CODED, "num_re": 50, "max_bits": 120}, r"^uplink\.num_re: got 50; allowed: at least \d+ for uplink\.max"),
        ({**CODED, "max_bits": 40}, r"^uplink\.max_bits: got 40; allowed: room for 45 bits .* omit"),
        ({**CODED, "max_bits": 2000}, r"^uplink\.max_bits: got 2000; allowed: at most 1706"),
        ({"max_bits": 40}, r"^uplink\.max_bits: got 40; allowed: room for 45 bits .*segment or omit"),
        ({"max_bits": 5, "over_budget": "omit"}, r"^uplink\.max_bits: got 5; allowed: room for"),
        ({"max_bits": 2, "over_budget": "segment"}, r"^time\.num_slots: got 6; allowed: at least 23"),
        ({**CODED, "part1_code_rate": 0}, r"^uplink\.part1_code_rate: got 0"),
        ({**CODED, "dtx_threshold": 1.5}, r"^uplink\.dtx_threshold: got 1\.5"),
    ],
    ids=str,
)
def test_wrong_uplinks_are_refused(uplink, message):
    with pytest.raises(ConfigError, match=message):
        build_payloads(parse_scenario(scenario(uplink=uplink)))


def test_a_gnb_that_predicts_wants_a_report_in_every_slot():
    data = scenario(uplink={"max_bits": 4000, "over_budget": "segment"}, time={"num_slots": 12})
    data["feedback"] = [{"scheme": "perfect", "predict": {"name": "repeat", "at": "gnb"}}]
    with pytest.raises(ConfigError, match=r"predict\.at: got 'gnb'; allowed: ue; .* these take 5"):
        build_link(parse_scenario(data))
    data["feedback"][0]["predict"]["at"] = "ue"
    data["time"]["num_slots"] = 5
    build_link(parse_scenario(data))
    data["time"]["num_slots"] = 4
    with pytest.raises(ConfigError, match=r"^time\.num_slots: got 4; allowed: at least 5 .* takes 5 slots"):
        build_link(parse_scenario(data))
