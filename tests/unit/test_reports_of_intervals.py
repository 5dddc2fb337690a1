"""Reports of several future intervals and reports with a period: which CSI the gNB uses in which slot."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from benchmarks.build import build_link
from receivers.feedback.etype2 import EnhancedTypeTwoFeedback
from receivers.feedback.etype2_doppler import DopplerFeedback
from receivers.feedback.perfect import PerfectFeedback
from receivers.prediction.ar import ArPredictor
from receivers.prediction.network import NetworkPredictor
from scenarios.schema import parse_scenario
from simulator.core.errors import ConfigError
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport, Panel, RadioGeometry
from simulator.core.views import by_drop, by_slot
from simulator.reporting.prediction import Prediction, windows
from simulator.reporting.reporting import Reporting
from simulator.reporting.uplink import UplinkModel

CONFIG = CsiConfig(Panel(4), 1, 2, 360e3, 1)
GEOMETRY = RadioGeometry(3.5e9, Panel(4), 2, 1, 2, 360e3, slot_s=1e-3)
HISTORY = 5


class Several(PerfectFeedback):
    """The raw channel of every interval."""

    def __init__(self, config, *, intervals=3, slots=2, seed=0):
        super().__init__(config)
        self.one, self.num_intervals, self.interval_slots = PerfectFeedback(config), intervals, slots

    @property
    def max_bits(self):
        return self.one.max_bits * self.num_intervals

    def report(self, csi):
        parts = [self.one.report(replace(csi, h_hat=h)) for h in np.moveaxis(csi.future, 4, 0)]
        bits = np.concatenate([part.bits for part in parts], axis=-1)
        return CsiReport(bits, np.full(bits.shape[:2], self.max_bits))

    def reconstruct(self, report):
        raw = np.packbits(report.bits, axis=-1).view("<c8").reshape(*report.bits.shape[:2], -1, *self._shape)
        raw = np.moveaxis(raw, 2, 4)  # [batch, user, rx_ant, port, interval, subcarrier]
        return CsiReconstruction(h=raw[..., 0, :], intervals=raw)


@dataclass(frozen=True)
class Dropping(UplinkModel):
    """Loses the reports of some numbers, counted within a drop."""

    reports: int = 1
    gone: tuple[int, ...] = ()

    def transmit(self, report, *, seed):
        number = np.arange(len(report.num_bits)) % self.reports
        return report, np.repeat(np.isin(number, self.gone)[:, None], report.num_bits.shape[1], axis=1)


def exponentials(rng, slots, batch=3, users=2):
    """Two complex exponentials, which linear prediction of order 2 continues exactly."""
    shape = (2, batch, users, 1, 4, 1, 2)
    gain = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    turns = np.array([0.03, -0.08]).reshape(2, 1, 1, 1, 1, 1, 1) * np.arange(slots)[:, None]
    return np.sum(gain * np.exp(2j * np.pi * turns), axis=0).astype(np.complex64)


def known(reporting, h, **more):
    """What the gNB knows ``[batch, user, rx_ant, port, scored slot, subcarrier]``, and the number of these slots."""
    batch, slots = len(h), h.shape[4] - (HISTORY - 1)
    history = by_slot(windows(h, HISTORY, 4), 4)
    csi = CsiEstimate(history[..., -1, :], np.zeros(history.shape[:2], np.float32), history)
    scored = slots - reporting.lead
    found = reporting.run(None, csi, (batch, scored), seed=1, history_slots=HISTORY, **more)
    return by_drop(found.csi.value, batch, 4), scored, found


@pytest.mark.parametrize(("intervals", "slots", "period", "delay"), [(3, 2, 8, 2), (4, 1, 4, 0), (2, 3, 5, 1)])
def test_every_slot_has_the_csi_of_its_interval(intervals, slots, period, delay, rng):
    """The predicted channel of the middle of the interval that the slot is in; of the last one after the last."""
    h = exponentials(rng, HISTORY - 1 + delay + 2 * period + 3)
    at_ue = Prediction(ArPredictor(GEOMETRY, order=2), "ue")
    reporting = Reporting(
        Several(CONFIG, intervals=intervals, slots=slots), UplinkModel(delay_slots=delay), at_ue, period
    )
    reporting.check("x", HISTORY)
    csi, scored, _ = known(reporting, h)
    assert scored == 2 * period + 3
    for slot in range(scored):
        first = slot // period * period  # scored slot in which the report is used first
        interval = min((slot - first) // slots, intervals - 1)
        aim = HISTORY - 1 + delay + first + interval * slots + (slots - 1) // 2
        np.testing.assert_allclose(csi[..., slot, :], h[..., aim, :], atol=2e-3)
        assert np.abs(h[..., aim, :] - h[..., aim - 1, :]).max() > 0.1  # one slot off would be seen


def test_the_last_good_report_stays_in_use_at_its_last_interval(rng):
    """Report 1 of 0..3 is lost; with on_loss none the gNB knows nothing in its place."""
    h = exponentials(rng, HISTORY - 1 + 2 + 16)
    at_ue = Prediction(ArPredictor(GEOMETRY, order=2), "ue")
    scheme = Several(CONFIG, intervals=4, slots=1)
    whole, scored, _ = known(Reporting(scheme, UplinkModel(delay_slots=2), at_ue, 4), h)
    for on_loss in ("last", "none"):
        uplink = Dropping(delay_slots=2, on_loss=on_loss, reports=5, gone=(1,))  # a report 4 begins, used later
        csi, _, found = known(Reporting(scheme, uplink, at_ue, 4), h)
        assert found.good[0, 0].tolist() == [True] * 4 + [False] * 4 + [True] * 8
        for slot in range(scored):
            lost = 4 <= slot < 8
            expected = whole[..., 3 if lost else slot, :] * (not lost or on_loss == "last")
            np.testing.assert_array_equal(csi[..., slot, :], expected)


def test_a_report_of_one_interval_is_predicted_for_the_middle_of_its_use(rng):
    h = exponentials(rng, HISTORY - 1 + 1 + 10)
    at_ue = Prediction(ArPredictor(GEOMETRY, order=2), "ue")
    csi, _, found = known(Reporting(PerfectFeedback(CONFIG), UplinkModel(delay_slots=1), at_ue, 5), h)
    for slot in range(10):
        aim = HISTORY - 1 + 1 + slot // 5 * 5 + 2
        np.testing.assert_allclose(csi[..., slot, :], h[..., aim, :], atol=2e-3)
    held, _, _ = known(Reporting(PerfectFeedback(CONFIG), UplinkModel(delay_slots=1), None, 5), h)
    for slot in range(10):
        np.testing.assert_array_equal(held[..., slot, :], h[..., HISTORY - 1 + slot // 5 * 5, :])
    assert found.num_bits.shape == (3, 2, 10)


def test_reports_that_take_longer_than_their_period_follow_each_other():
    long = replace(UplinkModel(delay_slots=1), slots_per_report=3)
    assert Reporting(PerfectFeedback(CONFIG), long, None, 2).period == 3
    reporting = Reporting(Several(CONFIG, intervals=2, slots=4), long, None, 8)
    assert (reporting.period, reporting.lead, reporting.ahead) == (8, 3, [3 + 1, 3 + 4 + 1])


def test_errors():
    gnb = Prediction(ArPredictor(GEOMETRY, order=2), "gnb")
    with pytest.raises(ConfigError, match=r"feedback\.x\.predict\.at: got 'gnb'.*every slot, these take 4"):
        Reporting(PerfectFeedback(CONFIG), UplinkModel(), gnb, 4).check("x", HISTORY)
    network = Prediction(NetworkPredictor(GEOMETRY, weights="lstm-mobility"), "ue")
    far = network.predictor.horizon
    scheme = Several(CONFIG, intervals=far + 1, slots=1)
    Reporting(scheme, UplinkModel(), network, 1).check("x", 12)
    with pytest.raises(ConfigError, match=rf"delay_slots: got {far + 1}; allowed: 0\.\.{far}"):
        Reporting(scheme, UplinkModel(delay_slots=1), network, 1).check("x", 12)


SCENARIO = {
    "name": "intervals",
    "seed": 5,
    "carrier": {"num_subcarriers": 13, "subcarrier_spacing_hz": 720e3, "granularity": "subcarrier"},
    "bs": {"n1": 4, "n2": 2, "num_pol": 2},
    "ue": {"num_users": 2},
    "channel": {"model": "rayleigh"},
    "time": {"num_slots": 10, "history_slots": 3},
    "uplink": {"delay_slots": 1},
    "precoding": {"precoders": ["zf"]},
    "snr_db": [10],
}


def test_in_a_scenario():
    doppler = {
        "scheme": "etype2-doppler-r18",
        "combination": 4,
        "predict": {"at": "ue", "name": "ar"},
        "period_slots": 4,
    }
    lines = [{"scheme": "perfect"}, {"scheme": "perfect", "period_slots": 3}, doppler]
    scenario = parse_scenario({**SCENARIO, "feedback": lines})
    link = build_link(scenario)
    assert list(link.reporting) == ["perfect", "perfect+every3", "etype2-doppler-pc4-N4+ar@ue+every4"]
    assert [reporting.period for reporting in link.reporting.values()] == [1, 3, 4]
    plain, held, _ = json.loads(scenario.model_dump_json())["feedback"]
    assert "period_slots" not in plain and held["period_slots"] == 3  # results of plain lines keep their hash
    with pytest.raises(ConfigError, match=r"period_slots: got 0"):
        parse_scenario({**SCENARIO, "feedback": [{"scheme": "perfect", "period_slots": 0}]})


@pytest.mark.long
def test_predicted_intervals_serve_a_moving_user_better_than_a_held_prediction(rng):
    """Two waves, one of which turns by 1/4 against the other in a slot, reports every 4 slots, at fewer bits.

    A held prediction is right in one slot of four, a quarter turn off in two and a half turn in the last one.
    """
    config = CsiConfig(Panel(4, 2, 2), 1, 13, 720e3, 1)
    schemes = EnhancedTypeTwoFeedback(config, combination=5), DopplerFeedback(config, combination=4)
    assert schemes[1].max_bits < schemes[0].max_bits
    turns = np.array([0.0, 0.25]).reshape(2, 1, 1, 1, 1, 1) * np.arange(HISTORY - 1 + 1 + 8)[:, None]
    beam = np.exp(2j * np.pi * rng.random((2, 40, 2, 1, 1, 1)) * np.arange(16)[:, None, None])
    h = (np.sum(beam * np.exp(2j * np.pi * turns), axis=0)[:, :, None] * np.ones(13)).astype(np.complex64)
    quality = []
    for scheme in schemes:
        at_ue = Prediction(ArPredictor(GEOMETRY, order=2), "ue")
        w, scored, _ = known(Reporting(scheme, UplinkModel(delay_slots=1), at_ue, 4), h)
        v = h[:, :, 0, :, -scored:].conj()  # [drop, user, port, slot, subband]
        cosine = np.abs(np.einsum("bupst,bupst->bust", v.conj(), w[:, :, :, 0])) / np.linalg.norm(v, axis=2)
        quality.append(np.mean(cosine**2, axis=(0, 1, 3)))
    held, several = quality
    for period in (held[:4], held[4:]):
        assert period.argmax() == 1 and period.max() > 0.8 > 0.65 > period[[0, 2]].max() and period[3] < 0.3
    assert several.min() > 0.8
