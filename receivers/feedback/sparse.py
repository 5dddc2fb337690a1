"""Sparse angular-delay coding: the largest coefficients with their positions, no training."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import Field

from receivers.feedback.amplitude import AmplitudeField
from simulator.core import bitfield
from simulator.core.errors import ConfigError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.params import Count, validated
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport
from simulator.core.units import db_to_amplitude
from simulator.maths.transforms import from_angular_delay, to_angular_delay

# Bits of the field that names the grid, and of the largest amplitude.
_GRID_BITS, _TOP_BITS = 2, 4


@dataclass(frozen=True)
class _Grid:
    """Amplitudes on ``amplitude_bits`` in steps of ``step_db`` below the largest, the last index is 0; phases."""

    amplitude_bits: int
    step_db: float
    phase_bits: int
    num_kept: int = 0
    rank_bits: int = 0

    @property
    def length(self) -> int:
        return self.rank_bits + self.num_kept * (self.amplitude_bits + self.phase_bits)

    def quantize(self, kept: np.ndarray, top_db: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices of amplitudes and phases of entries ``[image, kept]``."""
        zero = 2**self.amplitude_bits - 1
        below = (top_db - 20 * np.log10(np.maximum(np.abs(kept), 1e-15))) / self.step_db
        smallest = float(db_to_amplitude(-(zero - 1) * self.step_db)) / 2  # nearer to 0 than to the last amplitude
        index = np.clip(np.round(below), 0, zero - 1)
        index[np.abs(kept) < db_to_amplitude(top_db) * smallest] = zero
        phase = np.round(np.angle(kept) / (2 * np.pi) * 2**self.phase_bits) % 2**self.phase_bits
        return index.astype(np.int64), phase.astype(np.int64)

    def dequantize(self, amplitude: np.ndarray, phase: np.ndarray, top_db: np.ndarray) -> np.ndarray:
        """Entries complex128 of indices."""
        size = db_to_amplitude(top_db - self.step_db * amplitude) * (amplitude < 2**self.amplitude_bits - 1)
        return size * np.exp(2j * np.pi / 2**self.phase_bits * phase)


# From coarse, 18 dB below the largest entry, to fine, 37 dB: the finer, the fewer entries fit in a report.
_GRIDS = (_Grid(3, 3.0, 4), _Grid(4, 1.75, 5), _Grid(5, 1.0, 6), _Grid(6, 0.6, 7))


class SparseFeedback(FeedbackScheme):
    r"""The S largest entries of the angular-delay image: positions, amplitudes and phases.

    The UE tries four grids of amplitude and phase and sends the one of least error. With a grid of :math:`b_a + b_p`
    bits, S is the largest number whose report fits in ``bits``:
    :math:`2 + 4 + \lceil \log_2 \binom{N}{S} \rceil + S (b_a + b_p)` bits for one image of N entries. The set is sent
    as its rank among all sets of S (combinatorial number system); the largest amplitude on 4 bits, uniform in dB
    between the root mean square of the channel and the most that an entry can be; the others in dB below it or 0. The
    root mean square itself comes first where the scenario does not normalise every sample.

    Payload: for every receive antenna its root mean square where that is sent, the grid (2 bits), the largest amplitude
    (4 bits), the rank of the set of positions, then amplitude and phase of every entry.

    Args:
        config: public configuration.
        bits: budget per receive antenna and report, 16..8192.
        num_delays: delay taps of the image.
        scale_bits: bits of the root mean square, uniform in dB; None: 0 where all channels have unit power, else 8.
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
        scale_bits: Annotated[int, Field(ge=0, le=16)] | None = None,
        seed: int = 0,
    ):
        if num_delays > config.num_subcarriers:
            raise ConfigError("feedback.sparse.num_delays", num_delays, f"1..{config.num_subcarriers}")
        self.config, self.bits, self.num_delays = config, bits, num_delays
        self._amplitude = AmplitudeField(config, "sparse", scale_bits)
        self._entries = num_delays * config.panel.num_ports
        self._max_top_db = 10 * math.log10(config.panel.num_ports * config.num_subcarriers)
        fitted = (self._fitted(grid, bits - self._amplitude.bits - _GRID_BITS - _TOP_BITS) for grid in _GRIDS)
        self._grids = [grid for grid in fitted if grid.num_kept]
        if not self._grids:
            raise ConfigError("feedback.sparse.bits", bits, "more, one coefficient does not fit")
        # Binomials C(n, k) for the rank, Python integers [k][n].
        most = self._grids[0].num_kept
        self._binomials = [[math.comb(n, k) for n in range(self._entries)] for k in range(most + 1)]

    @property
    def label(self) -> str:
        """``sparse-b<bits>``, with ``-s<scale_bits>`` where amplitudes are sent."""
        return f"sparse-b{self.bits}{self._amplitude.suffix}"

    @property
    def max_bits(self) -> int:
        """Length of every report; shorter grids are filled up with zeros."""
        head = self._amplitude.bits + _GRID_BITS + _TOP_BITS
        return self.config.num_rx_ant * (head + max(grid.length for grid in self._grids))

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Positions and values of the largest entries of every UE, on the best of the grids."""
        batch, users, _, ports, subcarriers = csi.h_hat.shape
        h = csi.h_hat.reshape(-1, ports, subcarriers)
        x = to_angular_delay(h, self.config.panel, self.num_delays).reshape(len(h), -1)
        scale = np.sqrt(np.maximum(np.mean(np.abs(h) ** 2, axis=(1, 2)), 1e-30))
        x = x / scale[:, None]
        order = np.argsort(-np.abs(x), axis=1, kind="stable")[:, : self._grids[0].num_kept]
        peak_db = 20 * np.log10(np.maximum(np.abs(x).max(axis=1), 1e-15))
        steps = 2**_TOP_BITS - 1
        top = np.clip(np.ceil(peak_db / self._max_top_db * steps - 1e-9), 0, steps).astype(np.int64)
        top_db = self._top_db(top)[:, None]
        payloads, errors = [], []
        for number, grid in enumerate(self._grids):
            chosen = np.sort(order[:, : grid.num_kept], axis=1)
            kept = np.take_along_axis(x, chosen, axis=1)
            amplitude, phase = grid.quantize(kept, top_db)
            value = grid.dequantize(amplitude, phase, top_db)
            errors.append(np.sum(np.abs(kept - value) ** 2 - np.abs(kept) ** 2, axis=1))  # all grids lose the rest of x
            payloads.append((number, grid, chosen, amplitude, phase))
        best = np.argmin(errors, axis=0)
        head = self._amplitude.bits
        bits = np.zeros((len(h), self.max_bits // self.config.num_rx_ant), np.uint8)
        bits[:, :head] = self._amplitude.pack(scale[:, None])
        for number, grid, chosen, amplitude, phase in payloads:
            rows = np.flatnonzero(best == number)
            fields = [
                bitfield.pack(np.full((len(rows), 1), number), _GRID_BITS),
                bitfield.pack(top[rows, None], _TOP_BITS),
                self._rank(chosen[rows], grid.rank_bits),
                bitfield.pack(amplitude[rows], grid.amplitude_bits),
                bitfield.pack(phase[rows], grid.phase_bits),
            ]
            bits[rows, head : head + _GRID_BITS + _TOP_BITS + grid.length] = np.concatenate(fields, axis=1)
        bits = bits.reshape(batch, users, -1)
        return CsiReport(bits, np.full((batch, users), bits.shape[2], np.int64))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Entries at their positions; unknown grids and ranks beyond the number of sets are marked invalid."""
        batch, users = report.bits.shape[:2]
        rx, panel = self.config.num_rx_ant, self.config.panel
        bits = report.expect_length(self.max_bits).reshape(batch * users * rx, -1)
        ends = np.cumsum([self._amplitude.bits, _GRID_BITS, _TOP_BITS])
        scale, number, top, rest = np.split(bits, ends, axis=1)
        number = bitfield.unpack(number, _GRID_BITS)[:, 0]
        top_db = self._top_db(bitfield.unpack(top, _TOP_BITS))
        x = np.zeros((len(bits), self._entries), np.complex64)
        valid = number < len(self._grids)
        for index, grid in enumerate(self._grids):
            rows = np.flatnonzero(number == index)
            ends = np.cumsum([grid.rank_bits, grid.num_kept * grid.amplitude_bits, grid.num_kept * grid.phase_bits])
            rank, amplitude, phase, _ = np.split(rest[rows], ends, axis=1)
            chosen, valid[rows] = self._positions(rank, grid.num_kept)
            amplitude = bitfield.unpack(amplitude, grid.amplitude_bits)
            value = grid.dequantize(amplitude, bitfield.unpack(phase, grid.phase_bits), top_db[rows])
            x[rows[:, None], chosen] = value
        amplitude = self._amplitude.unpack(scale)
        x = x if amplitude is None else x * amplitude
        x = x.reshape(len(x), self.num_delays, panel.num_ports)
        h = from_angular_delay(x, panel, self.config.num_subcarriers).reshape(batch, users, rx, panel.num_ports, -1)
        valid = valid.reshape(batch, users, rx).all(axis=2)
        return CsiReconstruction(h=np.where(valid[:, :, None, None, None], h, np.complex64(0)), valid=valid)

    def _fitted(self, grid: _Grid, bits: int) -> _Grid:
        """The grid with as many entries as fit."""
        for kept in range(1, self._entries + 1):
            rank_bits = (math.comb(self._entries, kept) - 1).bit_length()
            larger = replace(grid, num_kept=kept, rank_bits=rank_bits)
            if larger.length > bits:
                break
            grid = larger
        return grid

    def _top_db(self, index: np.ndarray) -> np.ndarray:
        return index * (self._max_top_db / (2**_TOP_BITS - 1))

    def _rank(self, chosen: np.ndarray, rank_bits: int) -> np.ndarray:
        """Bits of the rank of increasing positions ``[image, kept]``: the sum of C(position_k, k), k = 1, 2, ..."""
        ranks = [sum(self._binomials[k][n] for k, n in enumerate(row, 1)) for row in chosen.tolist()]
        width = -(-rank_bits // 8)
        octets = np.frombuffer(b"".join(r.to_bytes(width) for r in ranks), np.uint8).reshape(len(ranks), width)
        return np.unpackbits(octets, axis=1)[:, 8 * width - rank_bits :]

    def _positions(self, bits: np.ndarray, num_kept: int) -> tuple[np.ndarray, np.ndarray]:
        """Increasing positions int64 ``[image, kept]`` and whether the rank is legal."""
        chosen = np.zeros((len(bits), num_kept), np.int64)
        valid = np.ones(len(bits), bool)
        total = math.comb(self._entries, num_kept)
        padded = np.pad(bits, ((0, 0), (-bits.shape[1] % 8, 0)))
        for index, row in enumerate(np.packbits(padded, axis=1)):
            rank = int.from_bytes(row.tobytes())
            if rank >= total:
                valid[index], rank = False, 0
            for k in range(num_kept, 0, -1):
                n = bisect_right(self._binomials[k], rank) - 1
                chosen[index, k - 1] = n
                rank -= self._binomials[k][n]
        return chosen, valid
