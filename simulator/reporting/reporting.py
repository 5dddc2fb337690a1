"""Path of one scheme's CSI to the gNB: reports, uplink, prediction, replacement of lost reports.

Estimates and reconstructions are by slot, what belongs to a report alone by drop (:mod:`simulator.core.views`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from simulator.core.errors import ConfigError
from simulator.core.interfaces import FeedbackScheme, Payload
from simulator.core.seeding import derive_wide
from simulator.core.types import CsiEstimate, CsiReconstruction, CsiReport
from simulator.core.views import by_drop, by_interval, by_slot
from simulator.reporting.beamformed import BeamformedCsiRs
from simulator.reporting.monitoring import NO_PAI, pai_widths, prediction_accuracy
from simulator.reporting.prediction import Prediction
from simulator.reporting.report_fields import CqiOfUe, Extras, ReportFields
from simulator.reporting.uplink import Uplink, UplinkModel, filled, last_good, take_slots


class Known(NamedTuple):
    """What the gNB knows in every scored slot, and the report that should have served that slot."""

    csi: CsiReconstruction  # by slot, zeros without CSI
    num_bits: np.ndarray  # int [batch, user, slot], as sent
    good: np.ndarray  # bool [batch, user, slot], arrived and a codeword
    wrong: np.ndarray  # bool [batch, user, slot], accepted by the gNB with wrong bits
    bops: np.ndarray | None  # float64 [batch, user, slot], bit operations of the UE's network
    cqi: np.ndarray | None  # int64 [snr, batch, user, slot, field], CQI as received
    pai: np.ndarray | None  # int64 [batch, user, slot, 2 * layer], monitored predictions as received


class _Received(NamedTuple):
    """Reports of some slots on both ends of the uplink; as :class:`Known`, by the slot of the report."""

    value: np.ndarray  # complex64 [batch, slot, user, ...], reconstruction; [.., user, interval, ...] of several
    explicit: bool  # channels, or precoder directions
    num_bits: np.ndarray
    good: np.ndarray
    wrong: np.ndarray
    bops: np.ndarray | None
    cqi: np.ndarray | None
    pai: np.ndarray | None


@dataclass(frozen=True)
class Reporting:
    """From estimates of all slots to the CSI that the gNB uses in those that are scored.

    Args:
        scheme: feedback scheme of the UEs.
        uplink: delay, impairments, slots of a report.
        prediction: how the delay is predicted away, or None.
        period_slots: slots from the beginning of a report to that of the next one, at least those that it takes.
        csi_rs: beamformed ports, which are then those of the scheme's configuration; None: its ports are the antennas.

    In slot t the gNB uses the report of slot ``t - delay_slots``. A report that takes n slots is used ``delay_slots``
    after its last one until the next one takes its place; it is of the estimate in its first slot. Of several intervals
    the first one begins with the first use; beyond the last one the gNB stays with it.
    """

    scheme: FeedbackScheme
    uplink: Uplink = field(default_factory=UplinkModel)
    prediction: Prediction | None = None
    period_slots: int = 1
    csi_rs: BeamformedCsiRs | None = None

    @cached_property
    def gnb(self) -> FeedbackScheme:
        """The scheme at the gNB: an object of its own, so that nothing but bits gets there."""
        return self.scheme.twin()

    @property
    def wait(self) -> int:
        """Slots, after its first, that a report takes."""
        return self.uplink.slots_per_report - 1

    @property
    def lead(self) -> int:
        """Slots from an estimate to its first use."""
        return self.uplink.delay_slots + self.wait

    @property
    def monitored(self) -> bool:
        """Whether reports say how good the UE's last predictions were."""
        return self.prediction is not None and self.prediction.monitor

    @property
    def unscored(self) -> int:
        """Slots from the first estimate with a history to the first scored one.

        Monitored UEs make their first report when the first prediction has come due.
        """
        return self.lead + (self.ahead[0] if self.monitored else 0)

    def fields(self, cqi: tuple[int, ...]) -> ReportFields:
        """The reports as the uplink carries them, with a CQI of fields of these widths."""
        return ReportFields(self.scheme, cqi + (pai_widths(self.scheme.config) if self.monitored else ()))

    def payload(self, cqi: tuple[int, ...]) -> Payload:
        """The same; the scheme itself where there is nothing to add."""
        fields = self.fields(cqi)
        return fields if fields.widths else self.scheme

    @property
    def period(self) -> int:
        """Slots from the beginning of a report to that of the next one."""
        return max(self.period_slots, self.uplink.slots_per_report)

    @property
    def ahead(self) -> list[int]:
        """Slots from an estimate to the middle of every interval of its report; of one interval, of its whole use."""
        several = self.scheme.num_intervals > 1
        slots = self.scheme.interval_slots if several else self.period
        return [self.lead + slots * number + (slots - 1) // 2 for number in range(self.scheme.num_intervals)]

    def check(self, label: str, history_slots: int) -> None:
        """ConfigError for a prediction, or beamformed ports, that do not fit."""
        if self.csi_rs is not None and (self.scheme.explicit or self.prediction is not None):
            allowed = "a scheme that reports directions of ports, without predict"
            raise ConfigError("feedback.beamformed", label, allowed)
        if self.prediction is not None:
            at_ue = self.prediction.at == "ue"
            self.prediction.predictor.check(history_slots, self.ahead[-1] if at_ue else self.lead)
            self.prediction.check(self.scheme, label, self.period)

    def run(
        self,
        warm_up: CsiEstimate | None,
        csi: CsiEstimate,
        shape: tuple[int, int],
        *,
        seed: int,
        history_slots: int = 1,
        cqi: CqiOfUe | None = None,
    ) -> Known:
        """Report, send, reconstruct.

        Args:
            warm_up: estimates ``[batch * slot, ...]`` of the slots that fill the history, or None.
            csi: estimates of all later slots, with their past.
            shape: batch and scored slots.
            seed: seeds impairments of the uplink.
            history_slots: reconstructions that a predicting gNB has.
            cqi: CQI that UEs put into their reports; None: no CQI.
        """
        batch, slots = shape
        at_gnb = self.prediction if self.prediction is not None and self.prediction.at == "gnb" else None
        pai = None
        if self.prediction is not None and at_gnb is None:
            measured, csi = csi, self.prediction.at_ue(csi, self.ahead)
            if self.monitored:
                (ahead,) = self.ahead
                pai = prediction_accuracy(measured, csi, self.scheme.config, batch, ahead)
                pai = _every(pai, batch, slice(None, None, self.period))
                csi = _of_slots(csi, batch, slice(ahead, None))
        csi = _of_slots(csi, batch, slice(None, None, self.period))
        received = self._deliver(csi, batch, derive_wide(seed, "uplink"), cqi, pai)
        newest = np.arange(slots) // self.period  # report that had arrived a delay before each scored slot
        serving = received
        if at_gnb is None:
            csi_hat, cqi_hat = self._held(received, newest), self._held_cqi(received, newest)
        else:
            if warm_up is not None:
                early = self._deliver(warm_up, batch, derive_wide(seed, "uplink of the warm-up"), cqi)
                received = _joined(early, received)
            scored = self.wait + history_slots - 1 + np.arange(slots)
            csi_hat = self._expected(at_gnb, received, scored, history_slots)
            cqi_hat = self._held_cqi(received, scored)
        return Known(
            csi=csi_hat,
            num_bits=serving.num_bits[..., newest],
            good=serving.good[..., newest],
            wrong=serving.wrong[..., newest],
            bops=None if serving.bops is None else serving.bops[..., newest],
            cqi=cqi_hat,
            pai=self._held_pai(serving, newest),
        )

    def _deliver(
        self, csi: CsiEstimate, batch: int, seed: int, cqi_of_ue: CqiOfUe | None, pai: np.ndarray | None = None
    ) -> _Received:
        """Report of every estimate ``[batch * slot, ...]``, over the uplink."""
        if self.scheme.state_size:
            return self._deliver_in_turn(csi, batch, seed, cqi_of_ue, pai)
        report = own = self.scheme.report(csi)
        sent = None if cqi_of_ue is None else self.gnb.reconstruct(own)
        extras = Extras(None if cqi_of_ue is None or sent is None else cqi_of_ue.at_ue(csi, sent), pai)
        fields = self.fields(() if cqi_of_ue is None else cqi_of_ue.widths)
        if extras:
            report = fields.insert(own, extras.values)
        arrived, lost = self.uplink.transmit(report, seed=seed)
        inner = arrived
        if extras:
            inner, values = fields.extract(arrived)
            extras = extras.received(values)
        if sent is None:
            rec = self.gnb.reconstruct(inner)
        else:
            rec = sent if arrived is report else self._where_changed(sent, own, inner)
        good = ~lost if rec.valid is None else ~lost & rec.valid
        bops = self.scheme.ue_bops(csi)
        value = rec.value if rec.intervals is None else by_interval(rec.intervals)
        return _Received(
            value=by_drop(value, batch, 1),
            explicit=rec.h is not None,
            num_bits=by_drop(np.asarray(arrived.num_bits), batch, 2),
            good=by_drop(good, batch, 2),
            wrong=by_drop(good & _differs(report, arrived), batch, 2),
            bops=None if bops is None else by_drop(bops, batch, 2),
            cqi=None if extras.cqi is None else by_drop(extras.cqi, batch, 3, lead=1),
            pai=None if extras.pai is None else by_drop(extras.pai, batch, 2),
        )

    def _deliver_in_turn(
        self, csi: CsiEstimate, batch: int, seed: int, cqi_of_ue: CqiOfUe | None, pai: np.ndarray | None
    ) -> _Received:
        """The same with reports that refer to the newest one acknowledged before they begin.

        An accepted report is acknowledged in the slot of its first use, with a check sum of what was decoded: a UE
        whose report came out wrong does not refer to it. Neither end holds anything else.
        """
        total, users = csi.h_hat.shape[:2]
        slots = total // batch
        late = self.lead // self.period + 1  # reports from one to the first that may refer to it
        none = np.zeros((batch, users, self.scheme.state_size), np.int16), np.zeros((batch, users), bool)
        held = [none]  # acknowledged state, and whether it is wrong, before any report, then after every one
        found, fields = [], self.fields(() if cqi_of_ue is None else cqi_of_ue.widths)
        for slot in range(slots):
            rows = np.arange(batch) * slots + slot
            parts: dict[str, Any] = {name: None if x is None else x[rows] for name, x in vars(csi).items()}
            now = CsiEstimate(**parts)
            state, mistaken = held[max(slot + 1 - late, 0)]
            own = self.scheme.report_after(now, np.where(mistaken[..., None], np.int16(0), state))
            cqi = None if cqi_of_ue is None else cqi_of_ue.at_ue(now, self.gnb.reconstruct_after(own, state)[0])
            extras = Extras(cqi, None if pai is None else pai[rows])
            report = fields.insert(own, extras.values) if extras else own
            arrived, lost = self._sent(report, rows, total, seed)
            inner = arrived
            if extras:
                inner, values = fields.extract(arrived)
                extras = extras.received(values)
            rec, new = self.gnb.reconstruct_after(inner, state)
            good = ~lost if rec.valid is None else ~lost & rec.valid
            wrong = good & _differs(report, arrived)
            last, last_wrong = held[-1]
            held.append((np.where(good[..., None], new, last), np.where(good, wrong, last_wrong)))
            found.append((rec, np.asarray(arrived.num_bits), good, wrong, extras))
        recs, num_bits, accepted, mistakes, extras_of = zip(*found, strict=True)
        bops = self.scheme.ue_bops(csi)
        return _Received(
            value=np.stack([rec.value for rec in recs], axis=1),
            explicit=recs[0].h is not None,
            num_bits=np.stack(num_bits, axis=2),
            good=np.stack(accepted, axis=2),
            wrong=np.stack(mistakes, axis=2),
            bops=None if bops is None else by_drop(bops, batch, 2),
            cqi=None if cqi_of_ue is None else np.stack([np.asarray(each.cqi) for each in extras_of], axis=3),
            pai=None if pai is None else np.stack([np.asarray(each.pai) for each in extras_of], axis=2),
        )

    def _sent(self, report: CsiReport, rows: np.ndarray, total: int, seed: int) -> tuple[CsiReport, np.ndarray]:
        """Reports of one slot over the uplink: they meet the losses and errors of these ``rows`` of ``total``."""
        bits = np.zeros((total, *report.bits.shape[1:]), np.uint8)
        num_bits = np.zeros((total, report.bits.shape[1]), np.int64)
        bits[rows], num_bits[rows] = report.bits, report.num_bits
        arrived, lost = self.uplink.transmit(CsiReport(bits, num_bits), seed=seed)
        return CsiReport(arrived.bits[rows], np.asarray(arrived.num_bits)[rows]), lost[rows]

    def _where_changed(self, rec: CsiReconstruction, own: CsiReport, arrived: CsiReport) -> CsiReconstruction:
        """CSI of reports as they arrived, from that of the same reports as sent: only those that differ are new."""
        shorter = np.asarray(arrived.num_bits) != own.num_bits
        changed = np.flatnonzero(np.any(shorter | _differs(own, arrived), axis=1))
        if not changed.size:
            return rec
        new = self.gnb.reconstruct(CsiReport(arrived.bits[changed], np.asarray(arrived.num_bits)[changed]))
        return replace(rec, **{name: _put(x, changed, vars(new)[name]) for name, x in vars(rec).items()})

    def _held(self, received: _Received, newest: np.ndarray) -> CsiReconstruction:
        """CSI that the gNB uses in every scored slot: the last good report, or zeros without one."""
        source, value = last_good(received.good, self.uplink.on_loss)[..., newest], received.value
        if self.scheme.num_intervals > 1:
            age = np.arange(len(newest)) - source * self.period  # slots since the first use
            interval = np.minimum(age // self.scheme.interval_slots, self.scheme.num_intervals - 1)
            used = take_slots(value, source, interval)
        else:
            used = value[:, newest] if received.good.all() else take_slots(value, source)
        used = by_slot(used, 1)
        return CsiReconstruction(h=used) if received.explicit else CsiReconstruction(w=used)

    def _held_cqi(self, received: _Received, newest: np.ndarray) -> np.ndarray | None:
        """CQI of the last good report for every scored slot; without one the rows are 0 and the CQI is not used."""
        if received.cqi is None:
            return None
        source = last_good(received.good, self.uplink.on_loss)[None, ..., newest, None]
        return np.take_along_axis(received.cqi, np.maximum(source, 0), axis=3)

    def _held_pai(self, received: _Received, newest: np.ndarray) -> np.ndarray | None:
        """Monitored predictions in the last good report for every scored slot; :data:`NO_PAI` without one."""
        if received.pai is None:
            return None
        source = last_good(received.good, self.uplink.on_loss)[..., newest, None]
        held = np.take_along_axis(received.pai, np.maximum(source, 0), axis=2)
        return np.where(source < 0, NO_PAI, held)

    def _expected(
        self, at_gnb: Prediction, received: _Received, scored: np.ndarray, history_slots: int
    ) -> CsiReconstruction:
        """The same where the gNB predicts: lost reports leave gaps in its history, which the last good ones fill."""
        past = np.arange(self.wait, scored[-1] + 1)
        history = take_slots(received.value, filled(received.good)[..., past])
        ahead = at_gnb.at_gnb(history, history_slots, self.uplink.delay_slots)
        # Without a report nothing is known, whatever a predictor makes of its history.
        known = last_good(received.good, self.uplink.on_loss)[..., scored] >= 0
        return CsiReconstruction(h=by_slot(ahead, 1) * by_slot(known, 2)[..., None, None, None])


def check_slots(reporting: Mapping[str, Reporting], num_slots: int, history_slots: int) -> None:
    """ConfigError for drops too short for the history, the delay and the longest report."""
    label = max(reporting, key=lambda label: reporting[label].unscored)
    need, wait = history_slots + reporting[label].unscored, reporting[label].wait
    if num_slots < need:
        lead = "uplink.delay_slots" + (f" + {wait}" if wait else "")
        parts = f"time.history_slots + {lead}"
        parts += f", as a report of {label} takes {wait + 1} slots" if wait else ""
        monitored = f" + {reporting[label].ahead[0]}, after which the first prediction of {label} has come due"
        parts += monitored if reporting[label].monitored else ""
        raise ConfigError("time.num_slots", num_slots, f"at least {need} ({parts})")


def _differs(sent: CsiReport, arrived: CsiReport) -> np.ndarray:
    """Bool ``[batch, user]``: a received bit differs from the one sent."""
    if arrived.bits is sent.bits:
        return np.zeros(sent.num_bits.shape, bool)
    inside = np.arange(sent.bits.shape[-1]) < np.asarray(arrived.num_bits)[..., None]
    different: np.ndarray = np.any((arrived.bits != sent.bits) & inside, axis=-1)
    return different


def _put(x: np.ndarray | None, rows: np.ndarray, new: np.ndarray | None) -> np.ndarray | None:
    """A copy of ``x`` with new rows; None where there is neither."""
    if x is None:
        return new
    x = x.copy()
    x[rows] = new
    return x


def _joined(early: _Received, late: _Received) -> _Received:
    """Reports of all slots in a row; predictions of a gNB, which has them, are not monitored."""

    def join(name: str, axis: int) -> Any:
        parts = getattr(early, name), getattr(late, name)
        return None if parts[1] is None else np.concatenate(parts, axis=axis)

    by_slot = {name: join(name, 2) for name in ("num_bits", "good", "wrong", "bops")}
    return _Received(join("value", 1), late.explicit, **by_slot, cqi=join("cqi", 3), pai=late.pai)


def _of_slots(csi: CsiEstimate, batch: int, chosen: slice) -> CsiEstimate:
    """Estimates ``[batch * slot, ...]`` of some slots."""
    if chosen == slice(None, None, 1):
        return csi
    return replace(csi, **{name: _every(x, batch, chosen) for name, x in vars(csi).items() if x is not None})


def _every(x: np.ndarray, batch: int, chosen: slice) -> np.ndarray:
    """Some slots of ``[batch * slot, ...]``."""
    return by_slot(by_drop(x, batch, 1)[:, chosen], 1)
