"""One link: channel -> estimate -> report -> uplink -> reconstruct -> precode -> rate. Knows no scheme.

Takes channels and gives outcomes by drop; in between they are by slot and by sample (:mod:`simulator.core.views`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any

import numpy as np

from simulator.core.backend import ops
from simulator.core.errors import ConfigError, Faults
from simulator.core.finite import LARGEST_IN_LINK, check_channels
from simulator.core.interfaces import Estimator, Precoder
from simulator.core.seeding import derive_wide
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, PrecodingContext
from simulator.core.views import band_last, by_drop, by_sample, by_slot
from simulator.downlink.detection import Detection
from simulator.downlink.scheduler import Scheduler
from simulator.downlink.serve import Downlink, Served
from simulator.maths import rates
from simulator.maths.directions import subband_directions
from simulator.maths.rates import known_rows
from simulator.outcomes import CsiOutcome, LinkOutcome
from simulator.precoding.port_beams import PortBeams
from simulator.reporting.beamformed import BeamformedCsiRs
from simulator.reporting.prediction import windows
from simulator.reporting.reporting import Known, Reporting, check_slots
from simulator.throughput.blocks import Throughput
from simulator.throughput.cqi import Cqi

_BY_DROP = "[batch, user, rx_ant, port, slot, subcarrier]"


@dataclass(frozen=True)
class Link:
    """The link of one scenario point. All schemes, precoders and SNRs see the same channels.

    Args:
        config: public configuration.
        estimator: channel estimator of the UEs.
        reporting: how CSI gets to the gNB, scheme by scheme, by label.
        precoders: precoders by name.
        snr_db: total transmit power over noise power per subcarrier [dB].
        gammas: relative outage targets.
        rates_bpshz: absolute outage targets.
        history_slots: estimates that the UE knows when it reports, its current one included; reconstructions that a
            gNB which predicts knows.
        detection: how UEs demodulate.
        scheduler: selects the users of a slot from the CSI at the gNB; None: all users.
        adaptive_rank: the gNB chooses the layers of every user, up to ``config.num_layers``.
        keep_sinr: outcomes hold the SINR of every layer.
        throughput: transport blocks, with a CQI in every report.

    When reports are used: :class:`~simulator.reporting.reporting.Reporting`.
    The first slots of a drop fill the history, the delay and the first report of a scheme; they are not scored.
    Where the gNB predicts, the UE also reports, without a history, in the slots that fill the history.
    """

    config: CsiConfig
    estimator: Estimator
    reporting: Mapping[str, Reporting]
    precoders: Mapping[str, Precoder]
    snr_db: tuple[float, ...]
    gammas: tuple[float, ...] = (0.95,)
    rates_bpshz: tuple[float, ...] = (1.0,)
    history_slots: int = 1
    detection: Detection = field(default_factory=Detection)
    scheduler: Scheduler | None = None
    adaptive_rank: bool = False
    keep_sinr: bool = False
    throughput: Throughput | None = None

    def __post_init__(self) -> None:
        faults = Faults()
        for label, reporting in self.reporting.items():
            with faults:
                reporting.check(label, self.history_slots)
        faults.throw()

    def run(
        self, h: np.ndarray, *, seed: int, uplink: np.ndarray | None = None
    ) -> Iterator[tuple[str, str | None, CsiOutcome | LinkOutcome]]:
        """Outcomes of one block of drops, scheme by scheme.

        Args:
            h: true channel complex64 ``[batch, user, rx_ant, port, slot, subcarrier]``.
            seed: seeds estimation noise and uplink impairments, the same for every scheme.
            uplink: uplink channel in the axes of ``h``, unit mean power for every user, of which the gNB measures the
                first slot; needed where CSI-RS are beamformed, read for nothing else.

        Yields:
            ``(scheme, None, CsiOutcome)``, then ``(scheme, precoder, LinkOutcome)`` for every precoder.

        Raises:
            ConfigError: no drops, too few slots, or a channel with entries that are not finite or above 1e6; the last
                names drop and user.
        """
        if h.ndim != 6 or not h.size:
            raise ConfigError("h", list(h.shape), f"{_BY_DROP}, each at least 1")
        check_channels(h, LARGEST_IN_LINK)
        check_slots(self.reporting, h.shape[4], self.history_slots)
        warm_up, csi = self._estimates(h, seed)
        seen = cache(partial(self._through_ports, h, uplink, seed))
        scored = cache(lambda slots: _Scored(self, h[..., -slots:, :], derive_wide(seed, "dmrs")))
        for label in self.reporting:
            ports, own = None, (warm_up, csi)
            if (csi_rs := self.reporting[label].csi_rs) is not None:
                ports, own = seen(csi_rs)
            yield from self._run_scheme(label, scored(h.shape[4] - self._lead(label)), *own, ports, seed)

    def _run_scheme(
        self,
        label: str,
        scored: _Scored,
        warm_up: CsiEstimate | None,
        csi: CsiEstimate,
        ports: PortBeams | None,
        seed: int,
    ) -> Iterator[tuple[str, str | None, CsiOutcome | LinkOutcome]]:
        known = self.reporting[label].run(
            warm_up, csi, scored.shape, seed=seed, history_slots=self.history_slots, cqi=self._cqi
        )
        if ports is not None:
            known = known._replace(csi=ports.to_antennas(known.csi, self.config.subband_of))
        rows_hat = known_rows(known.csi, self.config)
        correlation2 = ops.convert_to_numpy(rates.correlation2(scored.rows, rows_hat))
        reported = self._directions(lambda: known.csi)
        outcome = self._csi_outcome(label, known, scored.h, correlation2)
        yield label, None, replace(outcome, directions=lambda: (scored.directions(), reported()))
        context = PrecodingContext(scored.streams.num_users, relative_error(correlation2))
        amplitude = None if self._cqi is None or known.cqi is None else self._cqi.amplitude(rows_hat, known.cqi)
        for name, precoder in self.precoders.items():
            used = precoder.for_link(context)
            served = scored.serve(rows_hat, used)
            expected = None
            if amplitude is not None:
                expected = self._downlink.expected_sinr(rows_hat, amplitude, used, scored.shape)
            yield label, name, self._link_outcome(served, scored.reference[name], expected, seed)

    def _through_ports(
        self, h: np.ndarray, uplink: np.ndarray | None, seed: int, csi_rs: BeamformedCsiRs
    ) -> tuple[PortBeams, tuple[CsiEstimate | None, CsiEstimate]]:
        """Ports that the gNB makes from the uplink of the first slot, and estimates of the channel of these ports."""
        if uplink is None or uplink.shape != h.shape:
            got = None if uplink is None else list(uplink.shape)
            raise ConfigError("uplink", got, f"a channel of shape {list(h.shape)}, as CSI-RS are beamformed")
        ports = csi_rs.beamforming.design(uplink[..., 0, :], seed=derive_wide(seed, "sounding"))
        return ports, self._estimates(ports.channel(h), seed, csi_rs.estimator)

    def _estimates(
        self, h: np.ndarray, seed: int, estimator: Estimator | None = None
    ) -> tuple[CsiEstimate | None, CsiEstimate]:
        """Estimates by slot: of the history slots, then of all later slots with their history."""
        csi = (estimator or self.estimator).estimate(h, seed=derive_wide(seed, "estimation"))
        past = self.history_slots - 1

        def part(slots: slice) -> CsiEstimate:
            return CsiEstimate(by_slot(csi.h_hat[..., slots, :], 4), by_slot(csi.error_var[..., slots], 2))

        if not past:
            return None, part(slice(None))
        history = by_slot(windows(csi.h_hat, self.history_slots, 4), 4)
        return part(slice(past)), replace(part(slice(past, None)), history=history)

    def _lead(self, label: str) -> int:
        """Slots that are not scored: those that fill the history, the delay, and the first report."""
        return self.history_slots - 1 + self.reporting[label].unscored

    @cached_property
    def _within_power(self) -> set[str]:
        """Precoders whose power was checked."""
        return set()

    @property
    def _cqi(self) -> Cqi | None:
        if self.throughput is None or self.throughput.cqi is None:
            return None
        return Cqi(self.throughput, self.config, self.snr_db)

    @property
    def _downlink(self) -> Downlink:
        return Downlink(self.snr_db, self.detection, self.scheduler, self.adaptive_rank)

    def _directions(self, csi: Callable[[], CsiReconstruction]) -> Callable[[], np.ndarray]:
        """Directions by subband, computed when first asked for."""
        return cache(lambda: subband_directions(csi(), self.config))

    def _csi_outcome(self, label: str, known: Known, h: np.ndarray, correlation2: np.ndarray) -> CsiOutcome:
        """What metrics see of the CSI; ``correlation2 [batch * slot, subcarrier, user, layer]``."""
        reporting = self.reporting[label]
        may_fail = reporting.uplink.may_fail
        h_hat = known.csi.h
        return CsiOutcome(
            h=h,
            h_hat=None if h_hat is None else by_drop(h_hat, len(h), 4),
            correlation2=by_drop(band_last(correlation2), len(h), 3),
            num_bits=known.num_bits,
            snr_db=self.snr_db,
            part1_bits=reporting.scheme.part1_bits
            + reporting.fields(() if self._cqi is None else self._cqi.widths).num_bits,
            ue_bops=known.bops,
            lost=~known.good if may_fail else None,
            wrong=known.wrong if may_fail else None,
            pai=known.pai,
            csi_rs_ports=self._csi_rs_ports(reporting, h.shape[1]),
            period_slots=reporting.period,
        )

    def _csi_rs_ports(self, reporting: Reporting, users: int) -> int | None:
        """CSI-RS ports of a scheme for all users of a drop; None where no scheme has beamformed ones."""
        if all(other.csi_rs is None for other in self.reporting.values()):
            return None
        if reporting.csi_rs is None:
            return self.config.panel.num_ports
        return users * reporting.csi_rs.beamforming.all_ports

    def _link_outcome(self, served: Served, reference: Served, expected: Any, seed: int) -> LinkOutcome:
        """What metrics see of the downlink; the gNB chooses MCSs by the SINRs that it expects, None: by the true ones.

        Blocks are lost by the true SINRs.
        """
        blocks = None
        if self.throughput is not None:
            true = ops.convert_to_numpy(served.sinr)
            batch = served.rate.shape[1]
            true, expected = (by_drop(x, batch, 2, lead=1) for x in (true, true if expected is None else expected))
            blocks = self.throughput.run(true, expected, seed=derive_wide(seed, "blocks"))
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


class _Scored:
    """Scored slots of a block, and the rates of all precoders in them with perfect CSI.

    Args:
        link: of the block.
        h: their channel complex64 ``[batch, user, rx_ant, port, slot, subcarrier]``.
        seed: of the DM-RS.
    """

    def __init__(self, link: Link, h: np.ndarray, seed: int):
        self.h, self.shape = h, (len(h), h.shape[4])
        channel = ops.convert_to_tensor(by_sample(by_slot(h, 4)))
        self.rows = rates.effective_rows(channel, link.config.num_layers)  # [bt, n, user, layer, port]
        self.directions = link._directions(lambda: CsiReconstruction(h=by_slot(h, 4)))
        self.streams = PrecodingContext(h.shape[1] if link.scheduler is None else link.scheduler.num_selected)
        self.serve = partial(link._downlink.serve, channel, shape=self.shape, seed=seed)
        for name, precoder in link.precoders.items():
            if name not in link._within_power:
                served = self.rows[:, :, : self.streams.num_users]
                link._downlink.check_power(served, precoder.for_link(self.streams), name)
                link._within_power.add(name)
        self.reference = {name: self.serve(self.rows, p.for_link(self.streams)) for name, p in link.precoders.items()}


def relative_error(correlation2: np.ndarray) -> np.ndarray:
    r"""Long-term error variance over the power of the estimated rows, :math:`1 / \rho^2 - 1`, float32 ``[layer]``.

    Known rows are ``c g + e`` in any unit and phase. The linear MMSE estimate of the true row has the share
    :math:`\rho^2` of its power, the error the share :math:`1 - \rho^2`. The mean over one block of drops stands for
    what a gNB learns over time; the size of a block depends on the geometry alone, not on the run's length or chunks.
    Rows without CSI (0) do not count.

    Args:
        correlation2: squared cosine between true and known rows, ``[batch, subcarrier, user, layer]``.
    """
    present = correlation2 > 0
    mean = np.sum(correlation2, axis=(0, 1, 2), dtype=np.float64) / np.maximum(np.sum(present, axis=(0, 1, 2)), 1)
    perfect = (mean == 0) | (mean > 1 - 1e-6)  # no CSI, or rounding alone
    return np.where(perfect, 0.0, 1.0 / np.where(perfect, 1.0, mean) - 1.0).astype(np.float32)
