"""Throughput of transport blocks with link adaptation, from post-detection SINRs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.core.errors import ConfigError
from simulator.core.seeding import derive
from simulator.link_adaptation import OuterLoop, highest_row
from simulator.mcs import MAX_DATA_SHARE, MAX_LAYERS, block_size, cqi_table, mcs_table

_SYMBOLS = 14  # of a slot, which lasts as long as 15 of them without cyclic prefix (TS 38.211, 4.3.1 and 5.3.1)
_BELOW_CQI_1_DB = 2.0  # what the gNB takes for the SINR of a UE that reports CQI 0


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

    def decode(self, sinr: NDArray[np.float32], modulation_order: int, rate: float, *, seed: int) -> NDArray[np.bool_]:
        """ACK ``[block]`` of SINRs ``[block, sample, layer]``."""


@dataclass(frozen=True)
class ThroughputOutcome:
    """What became of the transport blocks of a chunk; all arrays ``[snr, batch, user, slot]``.

    Args:
        ack: bool, whether the block arrived: drawn from ``bler`` in the fast mode.
        bler: float32, probability that the block is lost; 0 or 1 in the exact mode; 0 where nothing was sent.
        mcs: int64, MCS index; -1 where nothing was sent.
        num_layers: int64, layers of the block.
        goodput_bpshz: float32, ``(1 - bler)`` times the bits of the block over bandwidth times slot duration.
    """

    ack: NDArray[np.bool_]
    bler: NDArray[np.float32]
    mcs: NDArray[np.int64]
    num_layers: NDArray[np.int64]
    goodput_bpshz: NDArray[np.float32]

    @property
    def sent(self) -> NDArray[np.bool_]:
        """Where there was a block."""
        return self.mcs >= 0


@dataclass(frozen=True)
class Throughput:
    r"""One transport block per UE and slot over the whole band, with inner and outer loop link adaptation.

    The UE reports the highest wideband CQI whose block error rate at the *predicted* SINRs does not exceed the target.
    The gNB takes the SINR at which that CQI just meets the target, less the offset of the outer loop, and sends the
    highest MCS that meets the target there, or the lowest MCS where none does. The block then sees the true SINRs.

    Args:
        model: fast mode, which link adaptation uses in any case.
        num_subcarriers: of the band, that of the data and of the overhead.
        decoder: exact mode; None: a block is lost with its probability in the fast mode.
        mcs: MCS table 1..3.
        cqi: CQI table 1..3, or None for an effective SINR that is not quantised.
        target_bler: of both loops.
        olla: outer loop, or None.
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

    def __post_init__(self) -> None:
        if not 0 <= self.overhead < 1:
            raise ConfigError("throughput.overhead", self.overhead, "0 or more, below 1")
        if not 0 < self.target_bler < 1:
            raise ConfigError("throughput.target_bler", self.target_bler, "above 0 and below 1")
        mcs_table(self.mcs)
        if self.cqi is not None:
            cqi_table(self.cqi)

    def run(self, sinr: NDArray[np.float32], predicted: NDArray[np.float32], *, seed: int) -> ThroughputOutcome:
        """Blocks of one chunk, slot by slot.

        Args:
            sinr: true post-detection SINR float32 ``[snr, batch, slot, sample, user, layer]``, linear.
            predicted: the same as the gNB expects it; layers with 0 everywhere are not used, a UE without any layer
                is not served.
            seed: of the draws, and of bits and noise in the exact mode.

        Raises:
            ConfigError: shapes that differ, or more than four layers in a codeword.
        """
        if sinr.ndim != 6 or sinr.shape != predicted.shape:
            raise ConfigError("predicted", list(predicted.shape), f"the shape of sinr, six axes: {list(sinr.shape)}")
        table = mcs_table(self.mcs)
        rows = self._waterfall(table)  # [mcs, layers - 1]
        threshold = rows.threshold_db(self.target_bler)
        reports = table if self.cqi is None else cqi_table(self.cqi)
        beta, needed = self.model.beta(reports.modulation_order, reports.rate), self._waterfall(reports)
        needed = needed.threshold_db(self.target_bler)
        snrs, batch, slots, _, users, _ = sinr.shape
        offset = self.olla.start((snrs, batch, users)) if self.olla else np.zeros((snrs, batch, users))
        found: list[tuple[np.ndarray, ...]] = []
        for slot in range(slots):
            expected, true = (np.moveaxis(x[:, :, slot], 2, 3) for x in (predicted, sinr))  # [snr, batch, user, n, v]
            used = np.any(expected > 0, axis=-2, keepdims=True)
            true = np.where(used, np.maximum(true, np.float32(1e-9)), np.float32(0))
            num_layers = np.sum(used, axis=(-2, -1))
            if num_layers.max(initial=0) > MAX_LAYERS:
                raise ConfigError("precoding.layers_per_user", int(num_layers.max()), f"1..{MAX_LAYERS} in a codeword")
            sent, v = num_layers > 0, np.maximum(num_layers, 1) - 1
            known = np.stack([self.model.effective_sinr_db(expected, np.full(v.shape, b)) for b in beta])
            if self.cqi is not None:
                known = _reported_db(known, needed[:, v])
            index = np.maximum(highest_row(known - offset, threshold[:, v]), 0)
            order, rate = table.modulation_order[index], table.rate[index]
            if self.decoder is None:
                effective = self.model.effective_sinr_db(true, self.model.beta(order, rate))
                bler = np.where(sent, rows[index, v].bler(effective), 0)
                draw = np.random.default_rng(derive(seed, "ack", slot)).random(bler.shape)
                ack = sent & (draw >= bler)
            else:
                ack = self._decoded(true, index, v, sent, derive(seed, "blocks", slot))
                bler = np.where(sent, ~ack, 0)
            if self.olla:
                offset = self.olla.update(offset, ack, sent)
            bits = block_size(self.num_re, v + 1, order, rate).tb_size
            goodput = np.where(sent, (1 - bler) * bits / (self.num_subcarriers * (_SYMBOLS + 1)), 0)
            found.append((ack, bler, np.where(sent, index, -1), num_layers, goodput))
        ack, bler, index, num_layers, goodput = (np.stack(x, axis=-1) for x in zip(*found, strict=True))
        return ThroughputOutcome(ack, bler.astype(np.float32), index, num_layers, goodput.astype(np.float32))

    @property
    def num_re(self) -> int:
        """Resource elements of a slot with data."""
        return num_data_re(self.num_subcarriers, self.overhead)

    def _waterfall(self, table: Any) -> Any:
        """Waterfalls of every row and number of layers, ``[row, layers - 1]``."""
        layers = np.arange(1, MAX_LAYERS + 1)
        return self.model.waterfall(self.num_re, layers, table.modulation_order[:, None], table.rate[:, None])

    def _decoded(self, true: np.ndarray, index: np.ndarray, v: np.ndarray, sent: np.ndarray, seed: int) -> np.ndarray:
        """ACK ``[snr, batch, user]`` by decoding, all blocks of an MCS and number of layers together."""
        table, ack = mcs_table(self.mcs), np.zeros(index.shape, bool)
        for i, layers in sorted({*zip(index[sent].tolist(), v[sent].tolist(), strict=True)}):
            here = sent & (index == i) & (v == layers)
            blocks = true[here]  # [block, n, layer], used layers first
            first = np.argsort(~np.any(blocks > 0, axis=1), axis=-1, kind="stable")[:, None, : layers + 1]
            quality = np.take_along_axis(blocks, first, axis=-1)
            key = derive(seed, "blocks", i, layers)
            ack[here] = self.decoder.decode(quality, int(table.modulation_order[i]), float(table.rate[i]), seed=key)
        return ack


def _reported_db(effective_db: np.ndarray, needed_db: np.ndarray) -> np.ndarray:
    """SINR ``[1, ...]`` that the gNB takes from the CQI of effective SINRs and needed ones ``[cqi - 1, ...]`` [dB]."""
    cqi = highest_row(effective_db, needed_db) + 1
    levels = np.concatenate([needed_db[:1] - _BELOW_CQI_1_DB, needed_db])
    return np.take_along_axis(levels, cqi[None], axis=0)


def num_data_re(num_subcarriers: int, overhead: float) -> int:
    """Resource elements of a slot with data: at most 156 of the 168 of a resource block (TS 38.214, 5.1.3.2)."""
    return int(num_subcarriers * _SYMBOLS * min(MAX_DATA_SHARE, 1 - overhead) + 1e-6)


def sample_of_re(num_samples: int, subcarriers_per_sample: int, overhead: float) -> NDArray[np.int64]:
    """Frequency sample of every resource element with data, int64 ``[re]``: spread evenly, frequency first."""
    num_subcarriers = num_samples * subcarriers_per_sample
    num_re = num_data_re(num_subcarriers, overhead)
    cell = np.arange(num_re) * (num_subcarriers * _SYMBOLS) // num_re
    return cell % num_subcarriers // subcarriers_per_sample
