"""Input of the metrics for one chunk, by drop: CSI of one scheme, and the link of one scheme and precoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simulator.throughput.blocks import ThroughputOutcome


@dataclass(frozen=True)
class CsiOutcome:
    """CSI of one scheme for a block of drops.

    Args:
        h: true channel complex64 ``[batch, user, rx_ant, port, slot, subcarrier]``.
        h_hat: channel known at the gNB, same shape, or None for implicit schemes.
        correlation2: float ``[batch, user, layer, slot, subcarrier]``, squared cosine of true and known directions.
        num_bits: int ``[batch, user, slot]``, bits sent.
        snr_db: SNR points of the scenario [dB].
        part1_bits: bits of every report outside its PMI: rank, CQI, lengths, monitored predictions.
        ue_bops: float ``[batch, user, slot]``, bit operations that the UE's network spent on every report, or None.
        lost: bool ``[batch, user, slot]``, the gNB knows that it has no report; None: the uplink never fails.
        wrong: bool ``[batch, user, slot]``, the report was taken with wrong bits in it; None as ``lost``.
        directions: gives true and known directions by subband, complex64 ``[batch * slot, user, layer, subband, port]``
            each, unit norm or 0; None: no subbands.
        pai: int ``[batch, user, slot, 2 * layer]``, codes of the monitored predictions in the report that the gNB has
            (:mod:`simulator.reporting.monitoring`); None: nothing is monitored.
        csi_rs_ports: CSI-RS ports that the gNB sends for all users of the drop; None: every scheme has those of its
            antennas.
        period_slots: slots from one report to the next.
    """

    h: np.ndarray
    h_hat: np.ndarray | None
    correlation2: np.ndarray
    num_bits: np.ndarray
    snr_db: tuple[float, ...]
    part1_bits: int = 0
    ue_bops: np.ndarray | None = None
    lost: np.ndarray | None = None
    wrong: np.ndarray | None = None
    directions: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None
    pai: np.ndarray | None = None
    csi_rs_ports: int | None = None
    period_slots: int = 1


@dataclass(frozen=True)
class LinkOutcome:
    """Rates of a block of drops under one precoder.

    Args:
        rate: float ``[snr, batch, user, slot]``, mean over the band of the sum over layers [bit/s/Hz].
        rate_ref: the same with perfect CSI at the gNB.
        gammas: relative outage targets.
        rates_bpshz: absolute outage targets [bit/s/Hz].
        rank: int ``[snr, batch, user, slot]``, layers served, 0 for users that are not; None: unknown.
        rank_ref: the same with perfect CSI at the gNB.
        max_rank: layers that the gNB wants per user.
        scheduled: the gNB chose the users of every slot; users left out count as no outage.
        sinr: float32 ``[snr, batch * slot, subcarrier, user, layer]`` after detection, linear, 0 for layers that are
            not served; None unless the link was asked to keep it.
        throughput: transport blocks with the same precoder, or None.
    """

    rate: np.ndarray
    rate_ref: np.ndarray
    gammas: tuple[float, ...]
    rates_bpshz: tuple[float, ...]
    rank: np.ndarray | None = None
    rank_ref: np.ndarray | None = None
    max_rank: int = 1
    scheduled: bool = False
    sinr: np.ndarray | None = None
    throughput: ThroughputOutcome | None = None
