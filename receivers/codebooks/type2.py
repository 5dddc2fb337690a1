"""Type II codebook of Release 15: wideband amplitudes of L beams, phases and small amplitudes of every subband."""

from __future__ import annotations

import math

import numpy as np

from receivers.codebooks.beams import BeamGroups
from receivers.codebooks.combination import combination_bits, combination_members, combination_rank
from receivers.codebooks.pmi import Pmi, PmiCodebook, oversampling, subband_order
from receivers.codebooks.ports import PortGroups
from receivers.codebooks.restriction import LEVELS, type2_levels
from simulator.core import bitfield
from simulator.core.errors import ConfigError
from simulator.core.types import Panel
from simulator.maths.transforms import subband_eigenvectors

# Coefficients of full resolution with subband amplitudes, K^(2).
_FULL = {2: 4, 3: 4, 4: 6}
_CHUNK = 256  # reports selected at a time


class TypeTwoCodebook(PmiCodebook):
    r"""Precoder of a layer in subband t: :math:`\sum_i v_i \, p^{(1)}_i p^{(2)}_{i,t} e^{j 2 \pi c_{i,t} / N_i}`.

    i runs over L beams of either polarisation; :math:`p^{(1)} = 0` (k = 0) or :math:`2^{-(7-k)/2}`;
    :math:`p^{(2)} \in \{\sqrt{1/2}, 1\}`. The strongest coefficient is 1. With subband amplitudes the 4 (L = 4: 6) of
    largest :math:`p^{(1)}` have :math:`p^{(2)}` and N = ``num_psk``, the others N = 4.

    The standard leaves the selection to the UE. Here: the directions are the strongest of every subband, beams are
    chosen by energy, wideband amplitudes are root mean squares, phases and subband amplitudes the nearest ones when
    the strongest coefficient is turned to 1.

    A PMI has ``group`` (i_{1,1}), ``beams`` (i_{1,2}), ``strongest`` (i_{1,3}), ``wideband`` (i_{1,4}, 7 for the
    strongest), ``phase`` (i_{2,1}), ``amplitude`` (i_{2,2}).

    Args:
        panel: gNB panel.
        num_samples: frequency samples of the channel.
        unit: samples of one subband.
        rank: layers, 1..2.
        num_beams: L, 2..4 (2 with 4 ports).
        num_psk: 4 or 8.
        subband_amplitude: with i_{2,2}.
        max_rank: largest rank that may be reported.
        restriction: n1-n2-codebookSubsetRestriction: larger :math:`p^{(1)}` than it allows are neither selected nor
            valid; None: all are 1.
    Raises:
        ConfigError: for parameters that are not in the tables.
    Source: TS 38.214, 5.2.2.2.3; bits: TS 38.212, Table 6.3.2.1.2-1; order of part 2: wideband, even, odd subbands.
    """

    field = "feedback.type2-r15"

    def __init__(
        self,
        panel: Panel,
        num_samples: int,
        unit: int,
        rank: int,
        num_beams: int = 4,
        num_psk: int = 8,
        subband_amplitude: bool = False,
        max_rank: int = 1,
        restriction: str | None = None,
    ):
        self._groups = self._basis(panel, num_beams)
        if rank not in (1, 2) or max_rank not in (1, 2):
            raise ConfigError(f"{self.field}.rank", max(rank, max_rank), "1, 2")
        most = 2 if panel.num_ports == 4 else 4
        if not 2 <= num_beams <= most:
            raise ConfigError(f"{self.field}.beams", num_beams, f"2..{most} with {panel.num_ports} ports")
        if num_psk not in (4, 8):
            raise ConfigError(f"{self.field}.psk", num_psk, "4, 8")
        self.rank, self.unit, self.num_beams = rank, unit, num_beams
        self.num_units = -(-num_samples // unit)
        self._subband_amplitude, self._psk_bits = subband_amplitude, num_psk.bit_length() - 1
        self._levels = self._limits = None  # of the largest amplitudes, and these, [group, beam]
        if restriction is not None:
            factors = oversampling(panel, self.field)
            self._levels = type2_levels(restriction, panel, factors, f"{self.field}.subset_restriction")
            self._limits = np.take(LEVELS, self._levels)
        self._count_bits = (2 * num_beams - 2).bit_length()  # of M_l: ceil(log2(2 L - 1))
        self.part1_bits = self._count_bits * max_rank
        self._header = [
            (self._groups.num_groups - 1).bit_length(),
            combination_bits(self._groups.num_beams, num_beams),
            *[(2 * num_beams - 1).bit_length(), 3 * (2 * num_beams - 1)] * rank,
        ]
        # Even subbands first, then the odd ones.
        self._order = subband_order(self.num_units)
        self.part2_bits = self.part2_length((2 * num_beams,) * rank)

    def _basis(self, panel: Panel, num_beams: int) -> BeamGroups | PortGroups:
        """Vectors in space from which L are chosen."""
        return BeamGroups(panel, *oversampling(panel, self.field))

    def part2_length(self, nonzero: tuple[int, ...]) -> int:
        """Bits of part 2 with ``nonzero`` wideband amplitudes in each layer."""
        each = 0
        for count in nonzero:
            full = min(count, _FULL[self.num_beams]) if self._subband_amplitude else count
            each += (full - 1) * (self._psk_bits + self._subband_amplitude) + 2 * (count - full)
        return sum(self._header) + self.num_units * each

    def select(self, h: np.ndarray) -> Pmi:
        """PMI of channels complex64 ``[report, rx_ant, port, subcarrier]``."""
        parts = [self._select(h[i : i + _CHUNK]) for i in range(0, len(h), _CHUNK)]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def _select(self, h: np.ndarray) -> Pmi:
        v = subband_eigenvectors(h, self.unit, self.rank)
        group, beams, c = self._groups.select(v, self.num_beams, self._limits)
        most = self._most(group, beams)  # [report, row]
        power = np.sqrt(np.mean(np.abs(c) ** 2, axis=3))  # [report, layer, row]
        strongest = np.where(most[:, None] == 7, power, -1).argmax(axis=2)
        top = np.take_along_axis(c, strongest[:, :, None, None], axis=2)
        power = power / np.maximum(np.take_along_axis(power, strongest[..., None], axis=2), 1e-30)
        # 0 where that is nearer than the smallest amplitude.
        wideband = np.clip(np.round(7 + 2 * np.log2(np.maximum(power, 1e-9))), 1, 7).astype(np.int64)
        wideband = np.minimum(np.where(power < 2.0**-3 / 2, 0, wideband), most[:, None])
        np.put_along_axis(wideband, strongest[..., None], 7, axis=2)
        pmi = {"group": group, "beams": beams, "strongest": strongest, "wideband": wideband}
        full, phase_bits = self._resolution(pmi)
        steps = (1 << phase_bits)[..., None]
        turn = np.angle(c * np.conj(top)) / (2 * np.pi)
        sent = self._sent(pmi)[..., None]
        pmi["phase"] = np.where(sent, np.round(turn * steps).astype(np.int64) % steps, 0)
        pmi["amplitude"] = np.ones(c.shape, np.int64)
        if self._subband_amplitude:
            expected = 2.0 ** (-(7 - wideband[..., None]) / 2) * np.abs(top)
            small = np.abs(c) < expected * (1 + 0.5**0.5) / 2
            pmi["amplitude"] = np.where(full[..., None] & sent & small, 0, 1)
        return pmi

    def _most(self, group: np.ndarray, beams: np.ndarray) -> np.ndarray:
        """Largest index of a wideband amplitude ``[report, row]``: 7, or 6, 5, 0 as the restriction says."""
        if self._levels is None:
            return np.full((len(group), 2 * self.num_beams), 7)
        return np.tile(np.array([0, 5, 6, 7])[self._levels[group[:, None], beams]], 2)

    def _sent(self, pmi: Pmi) -> np.ndarray:
        """Which coefficients ``[report, layer, row]`` have a phase: non-zero ones but the strongest."""
        rows = np.arange(2 * self.num_beams)
        return (pmi["wideband"] > 0) & (rows != pmi["strongest"][..., None])

    def _resolution(self, pmi: Pmi) -> tuple[np.ndarray, np.ndarray]:
        """Which coefficients ``[report, layer, row]`` have full resolution, and the bits of each one's phase."""
        if not self._subband_amplitude:
            full = np.ones(pmi["wideband"].shape, bool)
        else:
            strength = 2 * pmi["wideband"] + (np.arange(2 * self.num_beams) == pmi["strongest"][..., None])
            place = np.argsort(np.argsort(-strength, axis=2, kind="stable"), axis=2)  # ties: the smaller index first
            full = place < _FULL[self.num_beams]
        return full, np.where(full, self._psk_bits, 2)

    def precoder(self, pmi: Pmi) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, unit]``."""
        _, phase_bits = self._resolution(pmi)
        size = np.where(pmi["wideband"] > 0, 2.0 ** (-(7 - pmi["wideband"]) / 2), 0)[..., None]
        size = size * np.where(pmi["amplitude"] == 1, 1, 0.5**0.5)
        weights = size * np.exp(2j * np.pi * pmi["phase"] / (1 << phase_bits)[..., None])
        return self._groups.combine(pmi["group"], pmi["beams"], weights)

    # Bits ------------------------------------------------------------------------------------------------------------

    def pack(self, pmi: Pmi) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Part 1: M_l - 1 of every layer. Part 2: wideband indices, then the subbands."""
        count = np.sum(pmi["wideband"] > 0, axis=2)
        fields = bitfield.pack(count - 1, self._count_bits)
        part1 = np.zeros((len(count), self.part1_bits), np.uint8)
        part1[:, : fields.shape[1]] = fields
        num_bits = np.array([self.part2_length(tuple(m)) for m in count.tolist()], np.int64)
        part2 = np.zeros((len(count), self.part2_bits), np.uint8)
        for length in set(num_bits.tolist()):
            rows = np.flatnonzero(num_bits == length)
            part2[rows, :length] = self._pack({key: value[rows] for key, value in pmi.items()})
        return part1, part2, num_bits

    def _pack(self, pmi: Pmi) -> np.ndarray:
        others = np.arange(2 * self.num_beams) != pmi["strongest"][..., None]
        wideband = pmi["wideband"][others].reshape(len(others), self.rank, -1)
        fields = [pmi["group"][:, None], combination_rank(pmi["beams"], self._groups.num_beams)[:, None]]
        parts = [bitfield.pack(field, width) for field, width in zip(fields, self._header[:2], strict=True)]
        for layer in range(self.rank):
            parts.append(bitfield.pack(pmi["strongest"][:, layer, None], self._header[2]))
            parts.append(bitfield.pack(wideband[:, layer], 3))
        values, used = self._subband_fields(pmi)
        parts.append(values[used].reshape(len(values), -1))
        return np.concatenate(parts, axis=1)

    def _subband_fields(self, pmi: Pmi) -> tuple[np.ndarray, np.ndarray]:
        """Bits and whether they are sent, ``[report, subband, index, layer, row, bit]``; indices i_{2,1}, i_{2,2}."""
        full, phase_bits = self._resolution(pmi)
        sent, width = self._sent(pmi), self._psk_bits
        place = np.arange(width)
        used = np.zeros((*sent.shape, 2, width), bool)
        used[..., 0, :] = sent[..., None] & (place >= width - phase_bits[..., None])
        used[..., 1, -1] = sent & full & self._subband_amplitude
        shape = (len(sent), self.num_units, *sent.shape[1:], 2, width)
        used = np.broadcast_to(used[:, None], shape)
        values = np.zeros(shape, np.uint8)
        if "phase" in pmi:
            phase, amplitude = (np.moveaxis(pmi[key], 3, 1)[:, self._order] for key in ("phase", "amplitude"))
            values[..., 0, :] = phase[..., None] >> (width - 1 - place) & 1
            values[..., 1, -1] = amplitude
        return tuple(np.moveaxis(x, 4, 2) for x in (values, used))  # type: ignore[return-value]

    def unpack(self, part1: np.ndarray, part2: np.ndarray, num_bits: np.ndarray) -> tuple[Pmi, np.ndarray]:
        """PMI and ``valid``: the length that the numbers of amplitudes imply, indices that exist."""
        count = bitfield.unpack(part1, self._count_bits)[:, : self.rank] + 1
        ends = np.cumsum(self._header)
        fields = np.split(part2[:, : ends[-1]], ends[:-1], axis=1)
        group, beams = (
            bitfield.unpack(part, width)[:, 0] if width else np.zeros(len(part2), np.int64)
            for part, width in zip(fields[:2], self._header[:2], strict=True)
        )
        strongest = np.concatenate([bitfield.unpack(part, self._header[2]) for part in fields[2::2]], axis=1)
        valid = (beams < math.comb(self._groups.num_beams, self.num_beams)) & (strongest < 2 * self.num_beams).all(1)
        valid &= group < self._groups.num_groups
        strongest = np.where(valid[:, None], strongest, 0)
        rows = np.arange(2 * self.num_beams)
        wideband = np.full((len(part2), self.rank, len(rows)), 7, np.int64)
        others = rows != strongest[..., None]
        wideband[others] = np.stack([bitfield.unpack(part, 3) for part in fields[3::2]], axis=1).ravel()
        valid &= ((wideband > 0).sum(axis=2) == count).all(axis=1)
        length = np.array(
            [self.part2_length(tuple(m)) if good else -1 for m, good in zip(count.tolist(), valid, strict=True)]
        )
        valid &= length == num_bits
        shape = (*wideband.shape, self.num_units)
        pmi: Pmi = {
            "group": np.where(valid, group, 0),
            "beams": combination_members(np.where(valid, beams, 0), self._groups.num_beams, self.num_beams),
            "strongest": strongest,
            "wideband": wideband,
            "phase": np.zeros(shape, np.int64),
            "amplitude": np.ones(shape, np.int64),
        }
        valid &= (wideband <= self._most(group, pmi["beams"])[:, None]).all(axis=(1, 2))
        for each in set(length[valid].tolist()):
            chosen = np.flatnonzero(valid & (length == each))
            values, used = self._subband_fields({key: pmi[key][chosen] for key in ("strongest", "wideband")})
            values = np.array(values)
            values[used] = part2[chosen, ends[-1] : each].ravel()
            amplitude = np.where(used[:, :, 1, ..., -1], values[:, :, 1, ..., -1], 1)
            phase = values[:, :, 0].astype(np.int64) @ (1 << np.arange(self._psk_bits - 1, -1, -1))
            for key, value in (("phase", phase), ("amplitude", amplitude)):
                by_subband = np.empty_like(value)
                by_subband[:, self._order] = value
                pmi[key][chosen] = np.moveaxis(by_subband, 1, 3)
        return pmi, valid
