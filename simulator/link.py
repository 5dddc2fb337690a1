"""One link: channel -> estimate -> report -> uplink -> reconstruct -> precode -> rate. Knows no scheme."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from simulator import metrics
from simulator.allocation import Scheduler
from simulator.core.errors import ConfigError
from simulator.core.interfaces import Estimator, FeedbackScheme, Precoder
from simulator.core.seeding import derive
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport, PrecodingContext
from simulator.core.units import db_to_lin
from simulator.cqi import CQI_BITS, alone
from simulator.detection import Detection
from simulator.downlink import Downlink, Served
from simulator.prediction import Prediction, windows
from simulator.scores import CsiOutcome, LinkOutcome
from simulator.throughput import Throughput, ThroughputOutcome
from simulator.uplink import Uplink, UplinkModel, filled, last_good, take_slots


class _Received(NamedTuple):
    """Reports of some slots on both ends of the uplink."""

    num_bits: np.ndarray  # int [batch, user, slot], as sent
    value: np.ndarray  # complex64 [batch, slot, user, ...], reconstruction
    explicit: bool  # channels, or precoder directions
    good: np.ndarray  # bool [batch, user, slot], arrived and a codeword
    wrong: np.ndarray  # bool [batch, user, slot], good for the gNB, with wrong bits
    bops: np.ndarray | None = None  # float64 [batch, user, slot], what the UE's network spent
    cqi_db: np.ndarray | None = None  # float64 [snr, batch, user, slot], SINR that the gNB takes from the CQI


@dataclass(frozen=True)
class Link:
    """The link of one scenario point. All schemes, precoders and SNRs see the same channels.

    Args:
        config: public configuration.
        estimator: channel estimator of the UEs.
        schemes: feedback schemes by label.
        precoders: precoders by name.
        snr_db: total transmit power over noise power per subcarrier [dB].
        uplink: delay and impairments.
        uplinks: the uplink of each scheme, by label, where it is not ``uplink``; its delay is the same.
        gammas: relative outage targets.
        rates_bpshz: absolute outage targets.
        history_slots: estimates that the UE knows when it reports, its current one included; reconstructions that a
            gNB which predicts knows.
        predictions: how the delay is predicted away, by label of the scheme; a scheme without an entry does not.
        detection: how UEs demodulate.
        scheduler: who is served in a slot, by what the gNB knows; None: everybody.
        adaptive_rank: the gNB chooses the layers of every user, up to ``config.num_layers``.
        keep_sinr: outcomes hold the SINR of every layer.
        throughput: transport blocks, with a CQI in every report (4 bits, where a scheme has none of its own).

    In slot t the gNB uses the report of slot ``t - delay_slots``. A report that takes n slots begins in every n-th
    slot, from the estimate there, and is used ``delay_slots`` after its last one. The first slots of a drop fill the
    history, the delay and the longest report; they are not scored, whatever the scheme. Where the gNB predicts,
    the UE also reports in the slots that fill the history, in these without a history of its own.
    """

    config: CsiConfig
    estimator: Estimator
    schemes: Mapping[str, FeedbackScheme]
    precoders: Mapping[str, Precoder]
    snr_db: tuple[float, ...]
    uplink: Uplink = field(default_factory=UplinkModel)
    uplinks: Mapping[str, Uplink] = field(default_factory=dict)
    gammas: tuple[float, ...] = (0.95,)
    rates_bpshz: tuple[float, ...] = (1.0,)
    history_slots: int = 1
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    detection: Detection = field(default_factory=Detection)
    scheduler: Scheduler | None = None
    adaptive_rank: bool = False
    keep_sinr: bool = False
    throughput: Throughput | None = None

    def __post_init__(self) -> None:
        for label, prediction in self.predictions.items():
            if label not in self.schemes:
                raise ConfigError("predictions", label, ", ".join(self.schemes))
            prediction.predictor.check(self.history_slots, self._lead(label))
            prediction.check(self.schemes[label], label, self._uplink(label).slots_per_report)

    def run(self, h: np.ndarray, *, seed: int) -> Iterator[tuple[str, str | None, CsiOutcome | LinkOutcome]]:
        """Outcomes of one chunk, scheme by scheme.

        Args:
            h: true channel complex64 ``[batch, user, rx_ant, port, slot, subcarrier]``.
            seed: seeds estimation noise and uplink impairments, the same for every scheme.

        Yields:
            ``(scheme, None, CsiOutcome)``, then ``(scheme, precoder, LinkOutcome)`` for every precoder.
        """
        batch, users = h.shape[:2]
        slots = h.shape[4] - self.num_slots + 1  # that are scored
        if slots < 1:
            raise ConfigError("time.num_slots", h.shape[4], f"at least {self.num_slots} (history, delay, segments)")
        warm_up, csi = self._estimates(h, seed)
        h = h[..., -slots:, :]
        channel = ops.convert_to_tensor(np.ascontiguousarray(np.moveaxis(_by_slot(h), -1, 1)))
        # channel [batch * slot, subcarrier, user, rx_ant, port]
        rows = metrics.effective_rows(channel, self.config.num_layers)  # [bt, n, user, layer, port]
        streams = PrecodingContext(users if self.scheduler is None else self.scheduler.num_selected)
        downlink = Downlink(self.snr_db, self.detection, self.scheduler, self.adaptive_rank)
        transmit_data = partial(downlink.serve, channel, shape=(batch, slots), seed=derive(seed, "dmrs"))
        perfect = {name: p.for_link(streams) for name, p in self.precoders.items()}
        reference = {name: transmit_data(rows, p) for name, p in perfect.items()}
        for label, scheme in self.schemes.items():
            known, sent, cqi_db = self._known(label, warm_up, csi, (batch, slots), seed)
            rows_hat = ops.convert_to_tensor(self._rows(known))
            correlation2 = ops.convert_to_numpy(metrics.correlation2(rows, rows_hat))
            yield (
                label,
                None,
                CsiOutcome(
                    h=h,
                    h_hat=None
                    if known.h is None
                    else np.moveaxis(known.h.reshape(batch, slots, *known.h.shape[1:]), 1, 4),
                    correlation2=correlation2.reshape(batch, slots, *correlation2.shape[1:]).transpose(0, 3, 4, 1, 2),
                    num_bits=sent.num_bits + (0 if scheme.part1_bits or not self._with_cqi else CQI_BITS),
                    snr_db=self.snr_db,
                    part1_bits=scheme.part1_bits,
                    ue_bops=sent.bops,
                    lost=~sent.good if self._uplink(label).may_fail else None,
                    wrong=sent.wrong if self._uplink(label).may_fail else None,
                ),
            )
            context = PrecodingContext(streams.num_users, relative_error(correlation2))
            gain = self._gain(rows_hat, cqi_db)
            for name, precoder in self.precoders.items():
                used = precoder.for_link(context)
                served = transmit_data(rows_hat, used)
                blocks = self._blocks(served, rows_hat, used, gain, (batch, slots), seed)
                yield label, name, self._outcome(served, reference[name], blocks)

    def _estimates(self, h: np.ndarray, seed: int) -> tuple[CsiEstimate | None, CsiEstimate]:
        """Estimates ``[batch * slot, ...]`` of the slots that fill the history, and of all others, with their past."""
        csi = self.estimator.estimate(h, seed=derive(seed, "estimation"))
        h_hat, error_var = np.moveaxis(csi.h_hat, 4, 1), np.moveaxis(csi.error_var, 2, 1)
        past = self.history_slots - 1
        if not past:
            return None, CsiEstimate(_flat(h_hat), _flat(error_var))
        warm_up = CsiEstimate(_flat(h_hat[:, :past]), _flat(error_var[:, :past]))
        history = _flat(windows(h_hat, self.history_slots))
        return warm_up, CsiEstimate(np.ascontiguousarray(history[..., -1, :]), _flat(error_var[:, past:]), history)

    @property
    def num_slots(self) -> int:
        """Slots that a drop has at least: history, delay, and the longest report."""
        return self.history_slots + self.uplink.delay_slots + self._wait

    @property
    def _wait(self) -> int:
        """Slots, beside its first, that the longest report takes."""
        return max(self._uplink(label).slots_per_report for label in self.schemes) - 1

    def _uplink(self, label: str) -> Uplink:
        return self.uplinks.get(label, self.uplink)

    def _lead(self, label: str) -> int:
        """Slots from an estimate to its first use."""
        return self.uplink.delay_slots + self._uplink(label).slots_per_report - 1

    def _known(
        self, label: str, warm_up: CsiEstimate | None, csi: CsiEstimate, shape: tuple[int, int], seed: int
    ) -> tuple[CsiReconstruction, _Received, np.ndarray | None]:
        """CSI that the gNB uses in every scored slot, the report that should have served that slot, and CQI [dB]."""
        scheme, prediction, uplink = self.schemes[label], self.predictions.get(label), self._uplink(label)
        batch, slots = shape
        if prediction is not None and prediction.at == "ue":
            csi = prediction.at_ue(csi, self._lead(label))
        period = uplink.slots_per_report
        received = self._deliver(scheme, uplink, _every(csi, batch, period), batch, derive(seed, "uplink"))
        # The newest report that had arrived a delay before each scored slot.
        newest = (self._wait + np.arange(slots) - (period - 1)) // period
        serving = received._replace(
            **{
                name: None if x is None else x[..., newest]
                for name, x in received._asdict().items()
                if name in ("num_bits", "good", "wrong", "bops")
            }
        )
        if prediction is None or prediction.at == "ue":
            return self._held(received, newest), serving, self._held_cqi(received, newest)
        if warm_up is not None:
            early = self._deliver(scheme, uplink, warm_up, batch, derive(seed, "uplink of the warm-up"))
            received = _joined(early, received)
        scored = self._wait + self.history_slots - 1 + np.arange(slots)
        return self._expected(received, prediction, slots), serving, self._held_cqi(received, scored)

    def _deliver(self, scheme: FeedbackScheme, uplink: Uplink, csi: CsiEstimate, batch: int, seed: int) -> _Received:
        """Report of every estimate ``[batch * slot, ...]``, over the uplink."""
        report = scheme.report(csi)
        arrived, lost = uplink.transmit(report, seed=seed)
        rec = scheme.reconstruct(arrived)
        good = ~lost if rec.valid is None else ~lost & rec.valid
        wrong = good & _differs(report, arrived)
        value = rec.h if rec.w is None else rec.w
        value = value.reshape(batch, -1, *value.shape[1:])
        bops = scheme.ue_bops(csi)
        num_bits, good, wrong, bops = (
            None if x is None else np.moveaxis(x.reshape(batch, -1, x.shape[1]), 1, 2)
            for x in (np.asarray(arrived.num_bits), good, wrong, bops)
        )
        cqi_db = self._cqi(csi, rec if arrived is report else scheme.reconstruct(report), batch)
        return _Received(num_bits, value, rec.w is None, good, wrong, bops, cqi_db)

    @property
    def _with_cqi(self) -> bool:
        return self.throughput is not None and self.throughput.cqi is not None

    def _cqi(self, csi: CsiEstimate, own: CsiReconstruction, batch: int) -> np.ndarray | None:
        """SINR [dB] ``[snr, batch, user, slot]`` of the CQI that every UE reports with its own precoder."""
        if not self._with_cqi:
            return None
        channel = ops.convert_to_tensor(np.ascontiguousarray(np.moveaxis(csi.h_hat, -1, 1)))
        sinr = alone(channel, ops.convert_to_tensor(self._rows(own)), self._noise_vars)
        level = self.throughput.cqi_db(np.moveaxis(sinr, 2, 3))  # [snr, batch * slot, user]
        return np.moveaxis(level.reshape(len(level), batch, -1, level.shape[-1]), 2, 3)

    def _held_cqi(self, received: _Received, newest: np.ndarray) -> np.ndarray | None:
        """CQI of the last good report for every scored slot; where there is none, rows are 0 and it says nothing."""
        if received.cqi_db is None:
            return None
        source = last_good(received.good, self.uplink.on_loss)[..., newest][None]
        return np.take_along_axis(received.cqi_db, np.maximum(source, 0), axis=-1)

    def _held(self, received: _Received, newest: np.ndarray) -> CsiReconstruction:
        """CSI that the gNB uses in every scored slot: the last good report, or zeros where it knows nothing."""
        source = last_good(received.good, self.uplink.on_loss)[..., newest]
        used = _flat(received.value[:, newest] if received.good.all() else take_slots(received.value, source))
        return CsiReconstruction(h=used) if received.explicit else CsiReconstruction(w=used)

    def _expected(self, received: _Received, prediction: Prediction, slots: int) -> CsiReconstruction:
        """The same where the gNB predicts: lost reports leave gaps in its history, which the last good ones fill."""
        first, past = self._wait, self.history_slots - 1
        history = take_slots(received.value, filled(received.good)[..., first : first + past + slots])
        ahead = prediction.at_gnb(history, self.history_slots, self.uplink.delay_slots)
        # Without a report nothing is known, whatever a predictor makes of its history.
        known = last_good(received.good, self.uplink.on_loss)[..., first + past : first + past + slots] >= 0
        return CsiReconstruction(h=_flat(ahead * np.moveaxis(known, 2, 1)[..., None, None, None]))

    def _rows(self, known: CsiReconstruction) -> np.ndarray:
        """Effective rows complex64 ``[batch * slot, subcarrier, user, layer, port]`` of what the gNB knows."""
        if known.h is not None:
            h = ops.convert_to_tensor(np.ascontiguousarray(np.moveaxis(known.h, -1, 1)))
            return metrics.effective_rows(h, self.config.num_layers)
        # A direction carries no gain; E|h|^2 = 1 per port stands in for it, which only precoders that depend on the
        # noise can tell.
        gain = np.float32(np.sqrt(self.config.panel.num_ports))
        w = known.w if known.w.shape[-1] == self.config.num_subcarriers else known.w[..., self.config.subband_of]
        rows = gain * np.conj(w)  # [bt, user, port, layer, n]
        return np.ascontiguousarray(rows.transpose(0, 4, 1, 3, 2))

    @property
    def _noise_vars(self) -> np.ndarray:
        """Noise powers for total transmit power 1, float32 ``[snr]``."""
        return db_to_lin([-s for s in self.snr_db]).astype(np.float32)

    def _gain(self, rows: Any, cqi_db: np.ndarray | None) -> np.ndarray | None:
        """Amplitudes ``[snr, batch * slot, 1, user, 1, 1]`` that bring rows of the gNB to the CQI of each UE."""
        if cqi_db is None:
            return None
        own = np.moveaxis(alone(rows, rows, self._noise_vars), 2, 3)  # [snr, bt, user, n, layer]
        gain = self.throughput.gain(np.moveaxis(cqi_db, 2, 3).reshape(own.shape[:3]), own)
        return np.sqrt(gain)[:, :, None, :, None, None].astype(np.complex64)

    def _blocks(
        self,
        served: Served,
        rows: Any,
        precoder: Precoder,
        gain: np.ndarray | None,
        shape: tuple[int, int],
        seed: int,
    ) -> ThroughputOutcome | None:
        """Transport blocks of every slot: MCS by what the gNB expects from rows and CQI, errors by the true SINR."""
        if self.throughput is None:
            return None
        true = predicted = ops.convert_to_numpy(served.sinr)
        if gain is not None:
            predicted = np.concatenate(
                [
                    ops.convert_to_numpy(
                        Downlink((snr_db,), scheduler=self.scheduler, adaptive_rank=self.adaptive_rank)
                        .serve(rows * ops.convert_to_tensor(amplitude), rows, precoder, shape)
                        .sinr
                    )
                    for snr_db, amplitude in zip(self.snr_db, gain, strict=True)
                ]
            )
        true, predicted = (x.reshape(len(x), *shape, *x.shape[2:]) for x in (true, predicted))
        return self.throughput.run(true, predicted, seed=derive(seed, "blocks"))

    def _outcome(self, served: Served, reference: Served, blocks: ThroughputOutcome | None) -> LinkOutcome:
        """What metrics see of the downlink."""
        return LinkOutcome(
            served.rate,
            reference.rate,
            self.gammas,
            self.rates_bpshz,
            rank=served.rank,
            rank_ref=reference.rank,
            max_rank=self.config.num_layers,
            scheduled=self.scheduler is not None,
            sinr=ops.convert_to_numpy(served.sinr) if self.keep_sinr else None,
            throughput=blocks,
        )


def relative_error(correlation2: np.ndarray) -> np.ndarray:
    r"""Long-term error of the rows relative to what is known of them, float32 ``[layer]``: :math:`1 / \rho^2 - 1`.

    Known rows are ``c g + e`` in any unit and phase. Linear MMSE of the true row gives an error of :math:`1 - \rho^2`
    of its power, beside an estimate of :math:`\rho^2` of it. The mean over a chunk stands for what a gNB learns over
    time; rows of which it knows nothing (0) do not count.

    Args:
        correlation2: squared cosine between true and known rows, ``[batch, subcarrier, user, layer]``.
    """
    known = correlation2 > 0
    mean = np.sum(correlation2, axis=(0, 1, 2), dtype=np.float64) / np.maximum(np.sum(known, axis=(0, 1, 2)), 1)
    perfect = (mean == 0) | (mean > 1 - 1e-6)  # nothing known, or nothing but rounding
    return np.where(perfect, 0.0, 1.0 / np.where(perfect, 1.0, mean) - 1.0).astype(np.float32)


def _by_slot(h: np.ndarray) -> np.ndarray:
    """One report for each slot: ``[batch, user, rx, port, slot, n]`` to ``[batch * slot, user, rx, port, n]``."""
    return _flat(np.moveaxis(h, 4, 1))


def _flat(x: np.ndarray) -> np.ndarray:
    """``[batch, slot, ...]`` to ``[batch * slot, ...]``."""
    return np.ascontiguousarray(x).reshape(-1, *x.shape[2:])


def _differs(sent: CsiReport, arrived: CsiReport) -> np.ndarray:
    """bool ``[batch, user]``: a bit that was received is not what it was."""
    if arrived.bits is sent.bits:
        return np.zeros(sent.num_bits.shape, bool)
    inside = np.arange(sent.bits.shape[-1]) < np.asarray(arrived.num_bits)[..., None]
    return np.any((arrived.bits != sent.bits) & inside, axis=-1)


def _joined(early: _Received, late: _Received) -> _Received:
    """Reports of all slots in a row."""
    return _Received(
        np.concatenate([early.num_bits, late.num_bits], axis=2),
        np.concatenate([early.value, late.value], axis=1),
        late.explicit,
        *(np.concatenate([getattr(early, x), getattr(late, x)], axis=2) for x in ("good", "wrong")),
        cqi_db=None if late.cqi_db is None else np.concatenate([early.cqi_db, late.cqi_db], axis=3),
    )


def _every(csi: CsiEstimate, batch: int, period: int) -> CsiEstimate:
    """Estimates ``[batch * slot, ...]`` of slots 0, ``period``, 2 ``period``, ..."""
    if period == 1:
        return csi
    values = {name: x for name, x in vars(csi).items() if x is not None}
    return replace(csi, **{name: _flat(x.reshape(batch, -1, *x.shape[1:])[:, ::period]) for name, x in values.items()})
