"""Sparse angular-delay coding: the largest coefficients with their positions, no training."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from pydantic import Field

from simulator.core import bitfield
from simulator.core.errors import ConfigError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.params import Count, validated
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport
from simulator.transforms import from_angular_delay, to_angular_delay

# Largest amplitude over the image's root mean square [dB], and step of the others against it [dB].
_TOP_DB = (0.0, 30.0)
_STEP_DB = 3.0


class SparseFeedback(FeedbackScheme):
    r"""The S largest entries of the angular-delay image: which they are, and their amplitudes and phases.

    S is the largest number whose report fits in ``bits``:
    :math:`\lceil \log_2 \binom{N}{S} \rceil + b_0 + S (b_a + b_p)` bits for one image of N entries. The set is sent
    as its
    rank among all sets of S (combinatorial number system); the largest amplitude on ``b_0`` bits, uniform in dB against
    the power of the image; each amplitude in steps of 3 dB below it; phases uniformly.

    Args:
        config: public configuration.
        bits: budget per receive antenna and report, 16..8192.
        num_delays: delay taps of the image.
        top_bits: b_0, bits of the largest amplitude.
        amplitude_bits: b_a, bits of an amplitude relative to it.
        phase_bits: b_p, bits of a phase.
        seed: not used.

    Source: position and amplitude fields as in the Type II codebooks, 3GPP TS 38.214, 5.2.2.2.5; rank: Cover, IEEE
    Trans. Inf. Theory 19(1), 1973 (enumerative coding).
    """

    @validated("feedback.sparse")
    def __init__(
        self,
        config: CsiConfig,
        *,
        bits: Annotated[int, Field(ge=16, le=8192)],
        num_delays: Count = 32,
        top_bits: Annotated[int, Field(ge=1, le=8)] = 4,
        amplitude_bits: Annotated[int, Field(ge=1, le=8)] = 3,
        phase_bits: Annotated[int, Field(ge=1, le=8)] = 4,
        seed: int = 0,
    ):
        if num_delays > config.num_subcarriers:
            raise ConfigError("feedback.sparse.num_delays", num_delays, f"1..{config.num_subcarriers}")
        self.config, self.bits, self.num_delays = config, bits, num_delays
        self._top, self._amplitude, self._phase = top_bits, amplitude_bits, phase_bits
        self._entries = num_delays * config.panel.num_ports
        self.num_kept, self._rank_bits = 0, 0
        for kept in range(1, self._entries + 1):
            rank_bits = (math.comb(self._entries, kept) - 1).bit_length()
            if rank_bits + top_bits + kept * (amplitude_bits + phase_bits) > bits:
                break
            self.num_kept, self._rank_bits = kept, rank_bits
        if not self.num_kept:
            raise ConfigError("feedback.sparse.bits", bits, "more, one coefficient does not fit")
        # Binomials C(n, k) for the rank, Python integers [k][n].
        self._binomials = [[math.comb(n, k) for n in range(self._entries)] for k in range(self.num_kept + 1)]

    @property
    def label(self) -> str:
        """``sparse-b<bits>``."""
        return f"sparse-b{self.bits}"

    @property
    def max_bits(self) -> int:
        """Length of every report."""
        each = self._rank_bits + self._top + self.num_kept * (self._amplitude + self._phase)
        return self.config.num_rx_ant * each

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Positions and values of the largest entries of every UE."""
        batch, users, _, ports, subcarriers = csi.h_hat.shape
        h = csi.h_hat.reshape(-1, ports, subcarriers)
        x = to_angular_delay(h, self.config.panel, self.num_delays).reshape(len(h), -1)
        rms = np.sqrt(np.maximum(np.mean(np.abs(h) ** 2, axis=(1, 2)), 1e-30))
        size = np.abs(x)
        chosen = np.sort(np.argpartition(-size, self.num_kept - 1, axis=1)[:, : self.num_kept], axis=1)
        kept = np.take_along_axis(x, chosen, axis=1)
        top_steps = 2**self._top - 1
        top_db = 20 * np.log10(np.maximum(np.abs(kept).max(axis=1) / rms, 1e-15))
        top = np.clip(np.round((top_db - _TOP_DB[0]) / (_TOP_DB[1] - _TOP_DB[0]) * top_steps), 0, top_steps)
        below = self._top_db(top)[:, None] - 20 * np.log10(np.maximum(np.abs(kept) / rms[:, None], 1e-15))
        amplitude = np.clip(np.round(below / _STEP_DB), 0, 2**self._amplitude - 1)
        phase = np.round(np.angle(kept) / (2 * np.pi) * 2**self._phase) % 2**self._phase
        fields = [
            self._rank(chosen),
            bitfield.pack(top.astype(np.int64)[:, None], self._top),
            bitfield.pack(amplitude.astype(np.int64), self._amplitude),
            bitfield.pack(phase.astype(np.int64), self._phase),
        ]
        bits = np.concatenate(fields, axis=1).reshape(batch, users, -1)
        return CsiReport(bits, np.full((batch, users), bits.shape[2], np.int64))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Entries at their positions; ranks beyond the number of sets are marked invalid."""
        batch, users = report.bits.shape[:2]
        rx, panel = self.config.num_rx_ant, self.config.panel
        bits = report.expect_length(self.max_bits).reshape(batch * users * rx, -1)
        ends = np.cumsum([self._rank_bits, self._top, self.num_kept * self._amplitude])
        rank, top, amplitude, phase = np.split(bits, ends, axis=1)
        chosen, valid = self._positions(rank)
        top_db = self._top_db(bitfield.unpack(top, self._top)[:, 0])[:, None]
        level = 10 ** ((top_db - _STEP_DB * bitfield.unpack(amplitude, self._amplitude)) / 20)
        value = level * np.exp(2j * np.pi / 2**self._phase * bitfield.unpack(phase, self._phase))
        x = np.zeros((len(bits), self._entries), np.complex64)
        np.put_along_axis(x, chosen, value.astype(np.complex64), axis=1)
        x = x.reshape(len(x), self.num_delays, panel.num_ports)
        h = from_angular_delay(x, panel, self.config.num_subcarriers).reshape(batch, users, rx, panel.num_ports, -1)
        valid = valid.reshape(batch, users, rx).all(axis=2)
        return CsiReconstruction(h=np.where(valid[:, :, None, None, None], h, np.complex64(0)), valid=valid)

    def _top_db(self, index: np.ndarray) -> np.ndarray:
        return _TOP_DB[0] + index * ((_TOP_DB[1] - _TOP_DB[0]) / (2**self._top - 1))

    def _rank(self, chosen: np.ndarray) -> np.ndarray:
        """Bits of the rank of increasing positions ``[image, kept]``: the sum of C(position_k, k), k = 1, 2, ..."""
        ranks = [sum(self._binomials[k][n] for k, n in enumerate(row, 1)) for row in chosen.tolist()]
        width = -(-self._rank_bits // 8)
        octets = np.frombuffer(b"".join(r.to_bytes(width) for r in ranks), np.uint8).reshape(len(ranks), width)
        return (
            np.unpackbits(octets, axis=1)[:, 8 * width - self._rank_bits :]
            if width
            else np.zeros((len(ranks), 0), np.uint8)
        )

    def _positions(self, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Increasing positions int64 ``[image, kept]`` and whether the rank is one."""
        from bisect import bisect_right

        chosen = np.zeros((len(bits), self.num_kept), np.int64)
        valid = np.ones(len(bits), bool)
        total = math.comb(self._entries, self.num_kept)
        padded = np.pad(bits, ((0, 0), (-bits.shape[1] % 8, 0)))
        for index, row in enumerate(np.packbits(padded, axis=1)):
            rank = int.from_bytes(row.tobytes())
            if rank >= total:
                valid[index], rank = False, 0
            for k in range(self.num_kept, 0, -1):
                n = bisect_right(self._binomials[k], rank) - 1
                chosen[index, k - 1] = n
                rank -= self._binomials[k][n]
        return chosen, valid
