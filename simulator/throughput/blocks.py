"""Throughput of transport blocks with link adaptation, from post-detection SINRs by sample; outcomes are by drop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.core.errors import ConfigError
from simulator.core.params import Overhead, TargetBler, check_value
from simulator.core.seeding import derive_wide
from simulator.core.units import db_to_lin
from simulator.core.views import by_user
from simulator.nr.mcs import MAX_DATA_SHARE, MAX_LAYERS, block_size, cqi_table, mcs_table
from simulator.throughput.link_adaptation import OuterLoop, highest_row

_SYMBOLS = 14  # of a slot, which lasts as long as 15 of them without cyclic prefix (TS 38.211, 4.3.1 and 5.3.1)
_ROUNDING_DB = 1e-3  # an SINR that just meets a target may be off by this much
_BELOW_CQI_1_DB = 2.0  # the gNB assumes that CQI 0 means an SINR this far below that of CQI 1
_GAIN_ERROR_DB = 0.01  # of the effective SINR that the gNB's own CSI is scaled to


class BlerModel(Protocol):
    """Fast mode: :class:`simulator.phy.bler.EesmBler`."""

    def beta(self, modulation_order: ArrayLike, rate: ArrayLike) -> NDArray[np.float64]:
        """Beta of every modulation and rate."""

    def effective_sinr_db(self, sinr: NDArray[np.float32], beta: ArrayLike) -> NDArray[np.float64]:
        """Effective SINR [dB] ``[...]`` of SINRs ``[..., sample, layer]``."""

    def waterfall(self, num_re: ArrayLike, num_layers: ArrayLike, order: ArrayLike, rate: ArrayLike) -> Any:
        """Waterfalls: ``bler(effective_db)``, ``threshold_db(target_bler)``, index."""


class BlockDecoder(Protocol):
    """Exact mode: :class:`simulator.phy.block_decoder.BlockDecoder`."""

    def decode(
        self, sinr: NDArray[np.float32], modulation_order: int, rate: float, *, seed: int | Sequence[int]
    ) -> NDArray[np.bool_]:
        """ACK ``[block]`` of SINRs ``[block, sample, layer]``, each block with bits and noise of its own seed."""


@dataclass(frozen=True)
class ThroughputOutcome:
    """Outcome of the transport blocks of a chunk; all arrays ``[snr, batch, user, slot]``.

    Args:
        ack: bool, whether the block arrived: drawn from ``bler`` in the fast mode.
        bler: float32, probability that the block is lost; 0 or 1 in the exact mode; 0 where nothing was sent.
        mcs: int64, MCS index; -1 where nothing was sent.
        num_layers: int64, layers of the block.
        goodput_bpshz: float32, ``(1 - bler)`` times the bits of the block over bandwidth times slot duration.
        max_goodput_bpshz: that of a UE with the highest MCS on all layers without losses.
    """

    ack: NDArray[np.bool_]
    bler: NDArray[np.float32]
    mcs: NDArray[np.int64]
    num_layers: NDArray[np.int64]
    goodput_bpshz: NDArray[np.float32]
    max_goodput_bpshz: float

    @property
    def sent(self) -> NDArray[np.bool_]:
        """Where there was a block."""
        return self.mcs >= 0


@dataclass(frozen=True)
class Throughput:
    r"""One transport block per UE and slot over the whole band, with inner and outer loop link adaptation.

    The UE reports the highest wideband CQI whose block error rate, at the SINRs that it would have alone, does not
    exceed the target. The gNB takes the SINR at which that CQI just meets the target, expects SINRs for the users that
    it serves together, less the offset of the outer loop, and sends the highest MCS that meets the target there, or the
    lowest MCS where none does. The block then sees the true SINRs.

    Args:
        model: fast mode, which link adaptation uses in any case.
        num_subcarriers: of the band, that of the data and of the overhead.
        decoder: exact mode; None: a block is lost with its probability in the fast mode.
        mcs: MCS table 1..3.
        cqi: CQI table 1..3, or None: the gNB knows the SINRs of the slot beforehand, the bound of link adaptation.
        target_bler: of both loops.
        olla: outer loop, or None.
        subband_cqi: reports also have a differential CQI for every subband.
        overhead: share of the resource elements that carry no data (DM-RS, PDCCH); at least 1/14 counts, as in the
            standard.

    Source: TS 38.214, 5.1.3, 5.2.2.1.
    """

    model: BlerModel
    num_subcarriers: int
    decoder: BlockDecoder | None = None
    mcs: int = 1
    cqi: int | None = 1
    target_bler: float = 0.1
    olla: OuterLoop | None = field(default_factory=OuterLoop)
    overhead: float = 1 / 7
    subband_cqi: bool = False

    def __post_init__(self) -> None:
        check_value("throughput.overhead", Overhead, self.overhead)
        check_value("throughput.target_bler", TargetBler, self.target_bler)
        mcs_table(self.mcs)
        if self.cqi is not None:
            cqi_table(self.cqi)

    def cqi_of(self, sinr: NDArray[np.float32]) -> NDArray[np.int64]:
        """CQI index that a UE reports for the band or for a subband, int64 ``[...]``, 0 (out of range) to 15.

        Args:
            sinr: SINR expected by the UE for its report, float32 ``[..., sample, layer]``, linear, 0 for unused layers.
        """
        required, beta = self._cqi_rows(sinr)
        effective = np.stack([self.model.effective_sinr_db(sinr, np.full(required.shape[1:], b)) for b in beta])
        return highest_row(effective, required) + 1

    def gain(self, cqi: NDArray[np.int64], sinr: NDArray[np.float32]) -> NDArray[np.float32]:
        """Factor that brings SINRs of the gNB's own CSI ``[..., sample, layer]`` to those of a CQI, float32 ``[...]``.

        A CQI stands for the SINR at which its row just meets the target; CQI 0 for 2 dB less than CQI 1.

        Args:
            cqi: of :meth:`cqi_of`, as the gNB received it.
            sinr: SINRs that the gNB would expect of a UE alone, linear.
        """
        required, beta = self._cqi_rows(sinr)
        levels = np.concatenate([required[:1] - _BELOW_CQI_1_DB, required])
        target_db = np.take_along_axis(levels, cqi[None], axis=0)[0]
        beta, gain_db = beta[np.maximum(cqi - 1, 0)], np.zeros(cqi.shape)
        known = np.any(sinr > 0, axis=(-2, -1))
        for _ in range(10):  # the effective SINR grows about as the SINRs do
            scaled = (sinr * db_to_lin(gain_db)[..., None, None]).astype(np.float32)
            error_db = np.where(known, target_db - self.model.effective_sinr_db(scaled, beta), 0)
            error_db[np.abs(error_db) < _GAIN_ERROR_DB] = 0  # each on its own, whether or not others have converged
            if not error_db.any():
                break
            gain_db = np.clip(gain_db + error_db, -200, 200)
        return np.where(known, db_to_lin(gain_db), 0).astype(np.float32)

    def _cqi_rows(self, sinr: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """SINR [dB] ``[row, ...]`` that each table row requires for the layers in use, and betas ``[row]``."""
        table = cqi_table(self.cqi)
        layers = np.maximum(np.sum(np.any(sinr > 0, axis=-2), axis=-1), 1) - 1
        required = self._waterfall(table).threshold_db(self.target_bler)[:, layers]
        return required, self.model.beta(table.modulation_order, table.rate)

    def run(self, sinr: NDArray[np.float32], predicted: NDArray[np.float32], *, seed: int) -> ThroughputOutcome:
        """Blocks of one chunk, slot by slot.

        Args:
            sinr: true post-detection SINR float32 ``[snr, batch, slot, sample, user, layer]``, linear.
            predicted: the same as the gNB expects it; layers with 0 everywhere are not used, a UE without any layer is
                not served.
            seed: of the draws, and of bits and noise in the exact mode, the same at every SNR.

        Raises:
            ConfigError: shapes that differ, or more than four layers in a codeword.
        """
        if sinr.ndim != 6 or sinr.shape != predicted.shape:
            raise ConfigError("predicted", list(predicted.shape), f"the shape of sinr, six axes: {list(sinr.shape)}")
        table = mcs_table(self.mcs)
        rows, beta = self._waterfall(table), self.model.beta(table.modulation_order, table.rate)
        slots = [self._slot(sinr[:, :, slot], predicted[:, :, slot], rows, beta) for slot in range(sinr.shape[2])]
        offset = self._settled(slots, derive_wide(seed, "warm-up")) if self.olla else np.float64(0)
        by_slot: list[tuple[np.ndarray, ...]] = []
        for number, slot in enumerate(slots):
            index = slot.choose(offset)
            if self.decoder is None:
                ack, bler = slot.draw(index, derive_wide(seed, "ack", number))
            else:
                ack = self._decoded(slot.true, index, slot.num_layers, derive_wide(seed, "blocks", number))
                bler = np.where(slot.sent, ~ack, 0)
            if self.olla:
                offset = self.olla.update(offset, ack, slot.sent)
            order, rate = table.modulation_order[index], table.rate[index]
            bits = block_size(self.num_re, np.maximum(slot.num_layers, 1), order, rate).tb_size
            goodput = np.where(slot.sent, (1 - bler) * bits / (self.num_subcarriers * (_SYMBOLS + 1)), 0)
            by_slot.append((ack, bler, np.where(slot.sent, index, -1), slot.num_layers, goodput))
        ack, bler, index, num_layers, goodput = (np.stack(x, axis=-1) for x in zip(*by_slot, strict=True))
        most = block_size(self.num_re, sinr.shape[-1], table.modulation_order, table.rate).tb_size.max()
        most = float(most / (self.num_subcarriers * (_SYMBOLS + 1)))
        return ThroughputOutcome(ack, bler.astype(np.float32), index, num_layers, goodput.astype(np.float32), most)

    def _slot(self, sinr: np.ndarray, predicted: np.ndarray, rows: Any, beta: np.ndarray) -> _Slot:
        """Margin and loss of every MCS (waterfalls, betas) at SINRs ``[snr, batch, sample, user, layer]``."""
        expected, true = by_user(predicted), by_user(sinr)  # [snr, batch, user, sample, layer]
        used = np.any(expected > 0, axis=-2, keepdims=True)
        num_layers = np.sum(used, axis=(-2, -1))
        if num_layers.max(initial=0) > MAX_LAYERS:
            raise ConfigError("precoding.layers_per_user", int(num_layers.max()), f"1..{MAX_LAYERS} in a codeword")
        v, true = np.maximum(num_layers, 1) - 1, np.where(used, np.maximum(true, np.float32(1e-9)), np.float32(0))
        needed, margins, lost = rows.threshold_db(self.target_bler), [], []
        for i, value in enumerate(beta):
            betas = np.full(v.shape, value)
            margins.append(self.model.effective_sinr_db(expected, betas) - needed[i][v])
            lost.append(rows[i][v].bler(self.model.effective_sinr_db(true, betas)))
        return _Slot(true, num_layers, np.stack(margins), np.stack(lost))

    def _settled(self, slots: list[_Slot], seed: int) -> np.ndarray:
        """Offsets of an outer loop that has run for a while, over the same slots again and again."""
        offset = self.olla.start(slots[0].num_layers.shape)
        for number in range(self.olla.warm_up_slots):
            slot = slots[number % len(slots)]
            ack, _ = slot.draw(slot.choose(offset), derive_wide(seed, "ack", number))
            offset = self.olla.update(offset, ack, slot.sent)
        return offset

    @property
    def num_re(self) -> int:
        """Resource elements of a slot with data."""
        return num_data_re(self.num_subcarriers, self.overhead)

    def _waterfall(self, table: Any) -> Any:
        """Waterfalls of every row and number of layers, ``[row, layers - 1]``."""
        layers = np.arange(1, MAX_LAYERS + 1)
        return self.model.waterfall(self.num_re, layers, table.modulation_order[:, None], table.rate[:, None])

    def _decoded(self, true: np.ndarray, index: np.ndarray, num_layers: np.ndarray, seed: int) -> np.ndarray:
        """ACK ``[snr, batch, user]`` by decoding, all blocks of an MCS and number of layers together."""
        table, ack, sent = mcs_table(self.mcs), np.zeros(index.shape, bool), num_layers > 0
        for i, layers in sorted({*zip(index[sent].tolist(), num_layers[sent].tolist(), strict=True)}):
            here = sent & (index == i) & (num_layers == layers)
            blocks = true[here]  # [block, n, layer], used layers first
            first = np.argsort(~np.any(blocks > 0, axis=1), axis=-1, kind="stable")[:, None, :layers]
            quality = np.take_along_axis(blocks, first, axis=-1)
            seeds = [derive_wide(seed, "block", drop, user) for _, drop, user in np.argwhere(here).tolist()]
            ack[here] = self.decoder.decode(quality, int(table.modulation_order[i]), float(table.rate[i]), seed=seeds)
        return ack


class _Slot(NamedTuple):
    """Margin and loss of every MCS in a slot."""

    true: np.ndarray  # float32 [snr, batch, user, sample, layer], SINR
    num_layers: np.ndarray  # int [snr, batch, user]
    margin_db: np.ndarray  # float64 [mcs, snr, batch, user], expected effective SINR over the required one
    lost: np.ndarray  # float64 [mcs, snr, batch, user], block error rate at the true SINR

    @property
    def sent(self) -> np.ndarray:
        """Where there is a block, bool ``[snr, batch, user]``."""
        return self.num_layers > 0

    def choose(self, offset_db: np.ndarray) -> np.ndarray:
        """MCS ``[snr, batch, user]``: the highest that meets the target with an offset, or the lowest."""
        return np.maximum(highest_row(self.margin_db - offset_db, -_ROUNDING_DB), 0)

    def draw(self, index: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """ACK, and the block error rate that it was drawn from, 0 where nothing was sent; one draw for all SNRs."""
        bler = np.where(self.sent, np.take_along_axis(self.lost, index[None], axis=0)[0], 0)
        return self.sent & (np.random.default_rng(seed).random(bler.shape[1:]) >= bler), bler


def num_data_re(num_subcarriers: int, overhead: float) -> int:
    """Resource elements of a slot with data: at most 156 of the 168 of a resource block (TS 38.214, 5.1.3.2)."""
    return int(num_subcarriers * _SYMBOLS * min(MAX_DATA_SHARE, 1 - overhead) + 1e-6)


def sample_of_re(num_samples: int, subcarriers_per_sample: int, overhead: float) -> NDArray[np.int64]:
    """Frequency sample of every resource element with data, int64 ``[re]``: spread evenly, frequency first."""
    num_subcarriers = num_samples * subcarriers_per_sample
    num_re = num_data_re(num_subcarriers, overhead)
    cell = np.arange(num_re) * (num_subcarriers * _SYMBOLS) // num_re
    return cell % num_subcarriers // subcarriers_per_sample
