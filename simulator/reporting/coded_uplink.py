"""Reports over a coded control channel: they are lost, or wrong, as often as the code fails."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from simulator.core.errors import ConfigError
from simulator.core.interfaces import Payload
from simulator.core.params import Count, Integer, Probability, Real, SnrDb, validated
from simulator.core.shapes import flat_lead
from simulator.core.types import CsiReport
from simulator.core.units import db_to_lin
from simulator.nr import uci
from simulator.reporting.uplink import OnLoss, OverBudget, Uplink, slots_for

_BATCH = 256  # reports decoded at a time
_QPSK = 2


class _Block(NamedTuple):
    """Bits of a report in one payload of the code."""

    start: int
    stop: int
    length: int  # coded bits


class CodedUplink(Uplink):
    r"""UCI coding, QPSK over AWGN or block Rayleigh fading, list decoding.

    A slot offers ``num_re`` resource elements, E = 2 ``num_re`` coded bits. The LLR of coded bit b after maximum-ratio
    combining with known channel is :math:`(1 - 2 b) (2 \gamma + 2 \sqrt{\gamma} w)`, :math:`w \sim N(0, 1)`,
    :math:`\gamma = \mathrm{SNR} \sum_r |h_r|^2`; :math:`h_r = 1` (AWGN) or CN(0, 1), one draw for a slot. The noise
    takes the sign of the symbol, which leaves its distribution unchanged: codes and decoders are linear and symmetric,
    so that a draw of the noise inverts the same bits whatever was sent.

    Schemes with two parts send part 1 on its own, at ``part1_code_rate`` (its length is fixed, so the gNB knows where
    part 2 begins), and part 2 on the other resource elements. A report counts as lost when a CRC of it fails, in
    either part. Up to 11 bits have no CRC: they pass, right or wrong, unless ``dtx_threshold`` rejects them. The gNB is
    assumed to know the length of a report.

    A report over the budget of a slot (``max_bits``, or the capacity of the code) is refused, shortened by
    :meth:`FeedbackScheme.omit`, or sent in equal shares over several slots.

    Args:
        snr_db: Es/N0 of a resource element at one antenna, mean over fading [dB].
        num_re: resource elements for UCI in a slot.
        fading: "awgn" or "rayleigh".
        num_rx: antennas of the gNB.
        list_size: paths of the polar decoder, a power of two.
        part1_code_rate: code rate of part 1, its CRC included.
        dtx_threshold: least correlation of a codeword without CRC, in [0, 1]; 0 accepts all.
        max_bits: payload budget of a slot [bit]; None: what fits.
        over_budget: "error", "omit" or "segment".
        on_loss: see :class:`Uplink`.
        delay_slots: see :class:`Uplink`.
    Raises:
        ConfigError: also from :meth:`for_scheme`, for what does not fit.
    Source: TS 38.212, 6.3.1; split of parts 1 and 2: 6.3.1.4.1.
    """

    @validated("uplink")
    def __init__(
        self,
        *,
        snr_db: SnrDb,
        num_re: Annotated[Integer, Field(ge=1, le=uci.MAX_LENGTH // _QPSK)],
        fading: Literal["awgn", "rayleigh"] = "awgn",
        num_rx: Annotated[Integer, Field(ge=1, le=64)] = 1,
        list_size: Annotated[Integer, Field(ge=1, le=64)] = 8,
        part1_code_rate: Annotated[Real, Field(gt=0, le=1)] = 0.15,
        dtx_threshold: Probability = 0.0,
        max_bits: Count | None = None,
        over_budget: OverBudget = "error",
        on_loss: OnLoss = "last",
        delay_slots: Annotated[Integer, Field(ge=0)] = 0,
    ):
        if list_size.bit_count() != 1:
            raise ConfigError("uplink.list_size", list_size, "a power of two")
        self.snr_db, self.num_re, self.fading, self.num_rx, self.list_size = snr_db, num_re, fading, num_rx, list_size
        self.part1_code_rate, self.dtx_threshold = part1_code_rate, dtx_threshold
        self.max_bits, self.over_budget, self.on_loss, self.delay_slots = max_bits, over_budget, on_loss, delay_slots
        self._length = _QPSK * num_re
        self._scheme: Payload | None = None
        self._part1 = 0

    @property
    def may_fail(self) -> bool:
        """A coded report may be lost."""
        return True

    def for_scheme(self, scheme: Payload, label: str) -> CodedUplink:
        """This uplink for one scheme; ConfigError when its reports do not fit."""
        own = copy.copy(self)
        own._scheme, own._part1 = scheme, scheme.part1_bits
        room = own._room(label)
        if self.max_bits is not None and self.max_bits > room:
            allowed = f"at least {uci.shortest_length(min(self.max_bits, uci.MAX_BITS)) // _QPSK} for uplink.max_bits"
            if self.max_bits > uci.MAX_BITS:
                raise ConfigError("uplink.max_bits", self.max_bits, f"at most {uci.MAX_BITS} in one slot")
            raise ConfigError("uplink.num_re", self.num_re, f"{allowed} {self.max_bits} (which takes {room} bits)")
        own.max_bits = room if self.max_bits is None else self.max_bits
        field, got = ("uplink.max_bits", self.max_bits) if self.max_bits else ("uplink.num_re", self.num_re)
        own.slots_per_report = slots_for(scheme, label, own.max_bits, self.over_budget, field, got)
        return own

    def transmit(self, report: CsiReport, *, seed: int) -> tuple[CsiReport, np.ndarray]:
        """Decoded reports, and ``lost`` bool ``[batch, user]``. Report i of the call draws from ``(seed, i)`` alone."""
        if self._scheme is not None and self.over_budget == "omit" and self.max_bits is not None:
            report = self._scheme.omit(report, self.max_bits)
        shape = report.num_bits.shape
        sent = flat_lead(report.bits)
        num_bits = np.asarray(report.num_bits, np.int64).reshape(-1)
        received, lost = np.zeros_like(sent), np.zeros(len(sent), bool)
        for count in np.unique(num_bits[num_bits > 0]).tolist():
            rows = np.flatnonzero(num_bits == count)
            for chunk in np.split(rows, range(_BATCH, len(rows), _BATCH)):
                received[chunk, :count], good = self._send(sent[chunk, :count], chunk, seed)
                lost[chunk] = ~good
        return CsiReport(received.reshape(report.bits.shape), report.num_bits), lost.reshape(shape)

    def _send(self, bits: np.ndarray, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Decoded bits of reports of one length ``[report, bit]``, and bool ``[report]``: all blocks were accepted."""
        slots = self._layout(bits.shape[1])
        draws = [np.random.default_rng([seed, row]) for row in rows.tolist()]
        gain = np.full((len(rows), len(slots)), self.num_rx, np.float32)
        if self.fading == "rayleigh":
            h = np.stack([rng.standard_normal((len(slots), self.num_rx, 2), np.float32) for rng in draws])
            gain = np.sum(np.square(h), axis=(2, 3)) / 2
        gain = gain * np.float32(db_to_lin(self.snr_db))
        received, good = np.empty_like(bits), np.ones(len(rows), bool)
        for slot, blocks in enumerate(slots):
            for start, stop, length in blocks:
                code = _code(stop - start, length, self.list_size)
                noise = np.stack([rng.standard_normal(length, np.float32) for rng in draws])
                x = 1 - 2 * code.encode(bits[:, start:stop]).astype(np.float32)
                llr = x * (2 * gain[:, slot, None] + 2 * np.sqrt(gain[:, slot, None]) * noise)
                received[:, start:stop], believed = code.decode(llr, self.dtx_threshold)
                good &= believed
        return received, good

    def _layout(self, num_bits: int) -> list[list[_Block]]:
        """Blocks of every slot for a report of ``num_bits``: equal shares of the fewest slots within the budget."""
        count = -(-num_bits // self._budget)
        share = -(-num_bits // count)
        slots = [[_Block(i, min(i + share, num_bits), self._length)] for i in range(0, num_bits, share)]
        if 0 < self._part1 < slots[0][0].stop:
            first = self._part1_length
            slots[0] = [_Block(0, self._part1, first), _Block(self._part1, slots[0][0].stop, self._length - first)]
        return slots

    @property
    def _budget(self) -> int:
        return self.max_bits or uci.capacity(self._length)

    @property
    def _part1_length(self) -> int:
        """Coded bits of part 1."""
        coded = (self._part1 + uci.crc_bits(self._part1)) / self.part1_code_rate
        return max(_QPSK * int(np.ceil(coded / _QPSK)), uci.shortest_length(self._part1))

    def _room(self, label: str) -> int:
        """Bits that fit into every slot."""
        room = uci.capacity(self._length)
        if self._part1:
            rest = self._length - self._part1_length
            room = min(room, self._part1 + uci.capacity(rest)) if rest > 0 and uci.capacity(rest) else 0
        if not room:
            need = (self._part1_length if self._part1 else 0) // _QPSK + 1
            raise ConfigError(
                "uplink.num_re", self.num_re, f"at least {need} for part 1 of {label} and a bit of part 2"
            )
        return room


@lru_cache(maxsize=256)
def _code(num_bits: int, length: int, list_size: int) -> uci.UciCode:
    return uci.UciCode(num_bits, length, list_size)
