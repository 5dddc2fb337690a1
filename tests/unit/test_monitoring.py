"""Monitored predictions: codes, what a UE measures and sends, what the gNB reads and counts."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from receivers.estimation.perfect import PerfectEstimator
from receivers.feedback.beamdelay import BeamDelayFeedback
from receivers.feedback.beamdelay_temporal import TemporalBeamDelayFeedback
from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.feedback.perfect import PerfectFeedback
from receivers.feedback.rvq import RvqFeedback
from receivers.prediction.ar import ArPredictor
from receivers.prediction.repeat import RepeatPredictor
from scenarios.schema import parse_scenario
from simulator.core.errors import ConfigError
from simulator.core.interfaces import Predictor
from simulator.core.types import CsiConfig, CsiEstimate, CsiReport, Panel, RadioGeometry
from simulator.link import Link
from simulator.outcomes import CsiOutcome
from simulator.reporting.monitoring import NO_PAI, pai_code, pai_value
from simulator.reporting.prediction import Prediction
from simulator.reporting.reporting import Reporting
from simulator.reporting.uplink import UplinkModel
from simulator.scores.monitoring import Pai, PaiFallback

PANEL = Panel(4, 2, 2)
CONFIG = CsiConfig(PANEL, 2, 16, 360e3, 4, num_layers=2)
GEOMETRY = RadioGeometry(3.5e9, PANEL, 1, 2, 16, 360e3, slot_s=1e-3)
USERS, HISTORY, DELAY = 2, 4, 2


def moving(rng, slots, batch=3, users=USERS, paths=3, turns=0.1):
    """Few paths whose phases turn, complex64 [batch, user, rx_ant, port, slot, subcarrier]."""
    drift, delay = rng.uniform(-turns, turns, (batch, users, paths)), rng.uniform(0, 0.3, (batch, users, paths))
    gain = rng.standard_normal((batch, users, paths, 2, 16, 2)) @ [1, 1j]
    turn = np.exp(2j * np.pi * drift[..., None] * np.arange(slots))
    band = np.exp(-2j * np.pi * delay[..., None] * np.arange(16))
    return np.einsum("bulap,bult,buln->buaptn", gain, turn, band).astype(np.complex64)


class Spied(UplinkModel):
    """Keeps the reports as sent."""

    def transmit(self, report, *, seed):
        self.__dict__.setdefault("sent", []).append(report)
        return super().transmit(report, seed=seed)


class Zero(Predictor):
    """Predicts that the ports of the first half fall silent: wrong."""

    num_history = 1

    def predict(self, history, num_slots):
        out = history[..., -1, :].copy()
        out[..., :8, :] = 0
        return out


def monitored(scheme=None, predictor=None, uplink=None, monitor=True):
    scheme = scheme or EnhancedTypeTwoFeedback(CONFIG, combination=2, rank=2)
    uplink = uplink or Spied(delay_slots=DELAY)
    return Reporting(scheme, uplink, Prediction(predictor or ArPredictor(GEOMETRY, order=2), "ue", monitor))


def link(reporting):
    return Link(reporting["x"].scheme.config, PerfectEstimator(None), reporting, {}, (10.0,), history_slots=HISTORY)


def outcome(reporting, h):
    return next(found for _, _, found in link({"x": reporting}).run(h, seed=1))


def code_of(sgcs):
    """The table, cell by cell, in exact arithmetic."""
    if Fraction(sgcs) <= Fraction(30, 100):
        return 0
    for k in range(1, 15):
        if Fraction(sgcs) <= Fraction(30 + 5 * k, 100):
            return k
    raise AssertionError(sgcs)


def layer_sgcs(h, other):
    """SGCS of every layer between two channels [rx, port, subcarrier], float64, subband by subband."""
    total = np.zeros(CONFIG.num_layers)
    for start in range(0, 16, 4):
        vectors = []
        for x in (h, other):
            r = sum(x[:, :, n].astype(complex).conj().T @ x[:, :, n].astype(complex) for n in range(start, start + 4))
            vectors.append(np.linalg.eigh(r)[1][:, ::-1])
        for layer in range(CONFIG.num_layers):
            total[layer] += abs(np.vdot(vectors[0][:, layer], vectors[1][:, layer])) ** 2 / 4
    return total


class TestCode:
    def test_cells(self):
        """Every limit of the table belongs to the cell below it."""
        for k in range(14):
            edge = (30 + 5 * k) / 100
            assert pai_code(edge) == k and pai_code(np.nextafter(edge, 1)) == k + 1
            assert pai_code(np.nextafter(edge, 0)) == k
        assert pai_code(0.0) == 0 and pai_code(1.0) == 14

    def test_against_exact_arithmetic(self, rng):
        sgcs = rng.random(2000)
        assert pai_code(sgcs).tolist() == [code_of(x) for x in sgcs]

    def test_middles(self):
        wanted = [0.15, *(0.325 + 0.05 * k for k in range(14))]
        np.testing.assert_allclose(pai_value(np.arange(15)), wanted, atol=1e-12)
        assert np.isnan(pai_value(15))
        np.testing.assert_array_equal(pai_code(pai_value(np.arange(15))), np.arange(15))


@pytest.mark.parametrize("predictor", [ArPredictor(GEOMETRY, order=2), Zero()])
def test_reports_carry_the_accuracy_of_predictions_that_have_come_due(rng, predictor):
    """Bits of every report, read by hand, against eigenvectors slot by slot; the gNB has those of its newest report."""
    slots = 10
    h, reporting = moving(rng, slots), monitored(predictor=predictor)
    found = outcome(reporting, h)
    sent = reporting.uplink.sent[0]
    first = HISTORY - 1 + DELAY  # slot of the first report: the first prediction is for it
    reports = slots - first
    assert sent.bits.shape[:2] == (3 * reports, USERS)
    at = reporting.scheme.cqi_position
    wanted = np.zeros((3, USERS, reports, 4), int)
    for drop, user, number in np.ndindex(3, USERS, reports):
        slot = first + number
        past = h[drop, user][None, None, :, :, slot - DELAY - HISTORY + 1 : slot - DELAY + 1]
        ahead = predictor.predict(past, DELAY)[0, 0]
        now, held = h[drop, user, :, :, slot], h[drop, user, :, :, slot - DELAY]
        good, stale = layer_sgcs(now, ahead), layer_sgcs(now, held)
        wanted[drop, user, number] = [code_of(x) for pair in zip(good, stale, strict=True) for x in pair]
        bits = sent.bits[drop * reports + number, user, at : at + 16]
        text = "".join(map(str, bits))
        assert [int(text[i : i + 4], 2) for i in range(0, 16, 4)] == wanted[drop, user, number].tolist()
    assert found.h.shape[4] == reports - DELAY
    np.testing.assert_array_equal(found.pai, wanted[:, :, : reports - DELAY])
    assert len(np.unique(wanted)) > 5


def test_the_rest_of_the_report_and_the_csi_stay_as_they_are(rng):
    h, with_it, without = moving(rng, 10), monitored(), monitored(monitor=False)
    found, plain = outcome(with_it, h), outcome(without, h)
    assert plain.pai is None
    np.testing.assert_array_equal(found.num_bits, plain.num_bits[..., DELAY:] + 16)
    assert found.part1_bits == plain.part1_bits + 16
    np.testing.assert_array_equal(found.correlation2, plain.correlation2[:, :, :, DELAY:])
    scheme = without.scheme
    payload = with_it.payload(cqi=(4,))
    assert payload.max_bits == scheme.max_bits + 4 + 16 and payload.part1_bits == scheme.part1_bits + 20
    assert without.payload(cqi=()) is scheme


def test_budgets_count_it(rng):
    scheme = EnhancedTypeTwoFeedback(CONFIG, combination=2, rank=2)
    reporting = monitored(scheme)
    with pytest.raises(ConfigError, match=f"room for {scheme.max_bits + 16} bits"):
        UplinkModel(max_bits=scheme.max_bits + 15).for_scheme(reporting.payload(()), "x")
    cut = UplinkModel(max_bits=(scheme.min_bits + scheme.max_bits) // 2 + 16, over_budget="omit", delay_slots=DELAY)
    uplink = cut.for_scheme(reporting.payload(()), "x")
    h = moving(rng, 8)
    np.testing.assert_array_equal(outcome(replace(reporting, uplink=uplink), h).pai, outcome(reporting, h).pai)


@pytest.mark.parametrize("on_loss", ["last", "none"])
def test_lost_reports_take_it_along(rng, on_loss):
    h, sure = moving(rng, 16), monitored()
    known = outcome(sure, h)
    lossy = UplinkModel(loss_probability=0.5, on_loss=on_loss, delay_slots=DELAY)
    found = outcome(replace(sure, uplink=lossy), h)
    last = np.full((3, USERS, 4), NO_PAI)
    for slot in range(found.pai.shape[2]):
        for drop, user in np.ndindex(3, USERS):
            if not found.lost[drop, user, slot]:
                last[drop, user] = known.pai[drop, user, slot]
            elif on_loss == "none":
                last[drop, user] = NO_PAI
        np.testing.assert_array_equal(found.pai[:, :, slot], last)
    assert found.lost.any() and not found.lost.all()


@pytest.mark.long
def test_bit_errors_change_what_the_gnb_reads(rng):
    rvq = RvqFeedback(replace(CONFIG, num_layers=1), bits=6)  # all bits are codewords
    h, sure = moving(rng, 10, batch=60), monitored(rvq, RepeatPredictor(GEOMETRY))
    wrong = replace(sure, uplink=UplinkModel(bit_flip_probability=0.1, delay_slots=DELAY))
    clean, found = outcome(sure, h).pai, outcome(wrong, h).pai
    share, wanted = np.mean(clean != found), 1 - 0.9**4
    assert abs(share - wanted) < 5 * np.sqrt(wanted * (1 - wanted) / clean.size)


class FakeCqi:
    """A CQI of two fields that numbers the reports."""

    widths = (4, 2)

    def at_ue(self, csi, own):
        number = np.arange(csi.h_hat.shape[0] * csi.h_hat.shape[1]).reshape(csi.h_hat.shape[:2])
        return np.stack([np.stack([(number + snr) % 16, number % 4], axis=-1) for snr in range(2)])


@pytest.mark.parametrize("inverted", [None, 1, 5, 6, 13])
def test_next_to_a_cqi(rng, inverted):
    """CQI, then PAI; an inverted bit changes its own field alone, that of a CQI at both SNRs."""
    h = moving(rng, 8, batch=3)
    by_slot = np.moveaxis(h[..., HISTORY - 1 :, :], 4, 1).reshape(15, USERS, 2, 16, 16)
    past = np.stack([h[..., slot : slot + HISTORY, :] for slot in range(5)], axis=1).reshape(
        15, USERS, 2, 16, HISTORY, 16
    )
    csi = CsiEstimate(by_slot, np.zeros((15, USERS), np.float32), past)

    class Inverting(UplinkModel):
        def transmit(self, report, *, seed):
            bits = report.bits.copy()
            if inverted is not None:
                bits[..., inverted] ^= 1
            return CsiReport(bits, report.num_bits), np.zeros(report.num_bits.shape, bool)

    rvq = RvqFeedback(replace(CONFIG, num_layers=1), bits=6)
    reporting = monitored(rvq, uplink=Inverting(delay_slots=1))
    alone = monitored(rvq, uplink=UplinkModel(delay_slots=1)).run(None, csi, (3, 3), seed=1, history_slots=HISTORY)
    known = reporting.run(None, csi, (3, 3), seed=1, history_slots=HISTORY, cqi=FakeCqi())
    number = (np.arange(12).reshape(3, 4)[:, None, :3] * USERS + np.arange(USERS)[:, None])[None]
    cqi = np.stack([(number + np.arange(2)[:, None, None, None]) % 16, np.repeat(number % 4, 2, axis=0)], axis=-1)
    wrong = {1: (0, 4), 5: (1, 1)}.get(inverted)
    if wrong is not None:
        cqi[..., wrong[0]] ^= wrong[1]
    np.testing.assert_array_equal(known.cqi, cqi)
    pai = alone.pai.copy()
    wrong = {6: (0, 8), 13: (1, 1)}.get(inverted)
    if wrong is not None:
        pai[..., wrong[0]] ^= wrong[1]
    np.testing.assert_array_equal(known.pai, pai)


def test_a_report_over_several_slots(rng):
    """A report begins in every third slot and is used two slots after its last one, until two slots later.

    The prediction is for the middle of that: five slots ahead.
    """
    h, slots = moving(rng, 20), 20
    scheme = EnhancedTypeTwoFeedback(CONFIG, combination=2, rank=2)
    reporting = monitored(scheme, RepeatPredictor(GEOMETRY))
    uplink = UplinkModel(delay_slots=DELAY, max_bits=(scheme.max_bits + 16) // 3 + 1, over_budget="segment")
    reporting = replace(reporting, uplink=uplink.for_scheme(reporting.payload(()), "x"))
    assert reporting.uplink.slots_per_report == 3 and reporting.lead == 4 and reporting.unscored == 9
    found = outcome(reporting, h)
    assert found.h.shape[4] == slots - HISTORY + 1 - 9
    first = HISTORY - 1 + 5
    for slot in range(found.h.shape[4]):
        begun = first + 3 * (slot // 3)
        for drop, user in np.ndindex(3, USERS):
            held = layer_sgcs(h[drop, user, :, :, begun], h[drop, user, :, :, begun - 5])
            assert found.pai[drop, user, slot].tolist() == [c for x in held for c in [code_of(x)] * 2]


@pytest.mark.long
def test_schemes_with_a_reference_report_the_same(rng):
    """Reports that refer to earlier ones go slot by slot; what a UE monitors does not depend on it."""
    h = moving(rng, 9, batch=2, users=1)
    schemes = TemporalBeamDelayFeedback(CONFIG, step=0.3, rank=1), BeamDelayFeedback(CONFIG, step=0.3, rank=1)
    turn, alone = (outcome(monitored(scheme, uplink=UplinkModel(delay_slots=1)), h) for scheme in schemes)
    np.testing.assert_array_equal(turn.pai, alone.pai)
    assert turn.pai.shape == (2, 1, 9 - HISTORY + 1 - 2, 4)


class TestScores:
    def outcome(self, pai):
        pai = np.asarray(pai)
        return CsiOutcome(None, None, np.ones((*pai.shape[:2], 1, 1, 1)), np.ones(pai.shape[:3], int), (0.0,), pai=pai)

    def test_values_by_hand(self):
        """Two drops of one UE and two slots; 15 does not count."""
        found = self.outcome([[[[14, 9], [2, 5]]], [[[15, 4], [0, 0]]]])
        values = Pai().evaluate(found)
        np.testing.assert_allclose(values["pai_predicted"], [(0.975 + 0.375) / 2, 0.15])
        np.testing.assert_allclose(values["pai_held"], [(0.725 + 0.525) / 2, (0.475 + 0.15) / 2])
        np.testing.assert_allclose(PaiFallback().evaluate(found)["pai_fallback"], [0.5, 0.0])

    def test_layers(self):
        found = self.outcome([[[[14, 9, 1, 8]]]])
        values = Pai().evaluate(found)
        assert set(values) == {f"pai_{kind}{n}" for kind in ("predicted", "held") for n in ("", "_layer1", "_layer2")}
        np.testing.assert_allclose(values["pai_predicted_layer2"], 0.325)
        np.testing.assert_allclose(values["pai_held_layer1"], 0.725)
        assert PaiFallback().evaluate(found)["pai_fallback"] == [1.0]  # 15 < 17

    def test_nothing_known_and_nothing_monitored(self):
        none = self.outcome(np.full((2, 1, 3, 4), 15))
        assert all((x == 0).all() for metric in (Pai(), PaiFallback()) for x in metric.evaluate(none).values())
        for metric in (Pai(), PaiFallback()):
            assert metric.evaluate(replace(none, pai=None)) == {}


class TestScenario:
    def scenario(self, at="ue", **time):
        return parse_scenario(
            {
                "name": "x",
                "carrier": {
                    "carrier_hz": 3.5e9,
                    "num_subcarriers": 8,
                    "subcarrier_spacing_hz": 720e3,
                    "granularity": "subcarrier",
                },
                "bs": {"n1": 4, "n2": 2, "num_pol": 2},
                "time": {"num_slots": 12, "history_slots": 4, "slot_s": 5e-4, **time},
                "channel": {"model": "rayleigh"},
                "feedback": [
                    {"scheme": "perfect", "predict": {"name": "ar", "at": at, "order": 2, "monitor": True}},
                    {"scheme": "perfect", "label": "aged"},
                ],
                "uplink": {"delay_slots": 3},
                "snr_db": 10,
            }
        )

    def test_option_of_a_line(self):
        from benchmarks.build import build_link, build_payloads

        built, payloads = build_link(self.scenario()), build_payloads(self.scenario())
        assert [each.monitored for each in built.reporting.values()] == [True, False]
        most = [payload.max_bits for payload in payloads.values()]
        assert most[0] == most[1] + 8

    def test_the_gnb_is_not_monitored(self):
        from benchmarks.build import build_link

        with pytest.raises(ConfigError, match=r"predict\.monitor: got 'true with at: gnb, 1 interval"):
            build_link(self.scenario(at="gnb"))

    def test_drops_need_the_slots_of_the_first_prediction(self):
        from benchmarks.build import build_link

        with pytest.raises(ConfigError, match=r"at least 10 \(time\.history_slots \+ uplink\.delay_slots \+ 3, after"):
            build_link(self.scenario(num_slots=9))
        build_link(self.scenario(num_slots=10))


def test_a_monitored_perfect_report_of_an_empty_batch_is_refused_like_any_other(rng):
    with pytest.raises(ConfigError, match="h"):
        outcome(monitored(PerfectFeedback(CONFIG)), moving(rng, 10)[:0])


def test_zero_channels_have_code_zero():
    reporting = monitored(predictor=RepeatPredictor(GEOMETRY))
    csi = CsiEstimate(np.zeros((12, 1, 2, 16, 16), np.complex64), np.zeros((12, 1), np.float32))
    known = reporting.run(None, csi, (2, 2), seed=1)
    assert (known.pai == 0).all()
