"""Type I single-panel codebook: one or two beams, co-phasing of polarisations."""

from __future__ import annotations

import numpy as np

from receivers.codebooks.dft import dft_beams
from receivers.codebooks.pmi import Pmi, PmiCodebook, oversampling, subband_order
from receivers.codebooks.restriction import type1_allowed
from simulator.core import bitfield
from simulator.core.errors import ConfigError
from simulator.core.types import Panel
from simulator.core.units import db_to_lin

_FIELD = "feedback.type1"
_CHUNK_VALUES = 1 << 24  # products kept at a time


# Columns of a precoder: number of the beam, sign of the second polarisation, whether it is co-phased.
_PAIR = [(0, 1, True), (1, 1, True), (0, -1, True), (1, -1, True)]
COLUMNS = {
    1: _PAIR[:1],
    2: [(0, 1, True), (1, -1, True)],
    3: _PAIR[:3],
    4: _PAIR,
    5: [(0, 1, True), (0, -1, True), (1, 1, False), (1, -1, False), (2, 1, False)],
    6: [(0, 1, True), (0, -1, True), (1, 1, True), (1, -1, True), (2, 1, False), (2, -1, False)],
    7: [(0, 1, True), (0, -1, True), (1, 1, True), (2, 1, False), (2, -1, False), (3, 1, False), (3, -1, False)],
}
COLUMNS[8] = [*COLUMNS[7][:3], (1, -1, True), *COLUMNS[7][3:]]


def most_layers(panel: Panel) -> int:
    """Largest rank of Type I: 8, with 4 ports 4."""
    return 8 if panel.num_ports > 4 else 4


class TypeOneCodebook(PmiCodebook):
    r"""Ranks 1 to 8, codebook modes 1 and 2 (ranks 1, 2).

    Rank 1: :math:`[v; \varphi_n v]`. Rank 2: a second beam :math:`v'` at a distance i_{1,3} with the opposite phase.
    Ranks 3, 4: the same two beams with either sign below 16 ports; from 16 ports on half beams of the panel, joined by
    :math:`\theta_p = e^{j \pi p / 4}`, p = i_{1,3}. Ranks 5 to 8 take three or four orthogonal beams next to
    each other, each with either sign but for the last (rank 5) or second (rank 7) one; the last ones are not co-phased.
    In mode 2 i_2 also chooses one of four neighbouring beams.

    The standard leaves the selection to the UE. Here: of all precoders, rank 1 the one with the largest received
    energy, higher ranks that with the largest :math:`\sum_t \log_2 \det(I + \rho / v \; W_t^H R_t W_t)`, where R_t
    is the mean covariance of subband t for a channel of unit power; i_2 for every subband.

    A PMI has ``i11``, ``i12``, ``i13`` ``[report]`` and ``i2`` ``[report, subband]``.

    Args:
        panel: gNB panel.
        num_samples: frequency samples of the channel.
        unit: samples of one subband.
        rank: layers, 1..4; from 8 ports on 1..8.
        mode: codebookMode, 1 or 2.
        snr_db: SNR :math:`\rho` of the selection at rank 2 and higher [dB].
        restriction: n1-n2-codebookSubsetRestriction, bits of all beams; no precoder with a restricted beam is
            selected, or valid. None: all are allowed.
    Raises:
        ConfigError: for parameters that are not in the tables; no precoder is left.
    Source: TS 38.214, 5.2.2.2.1, Tables 5.2.2.2.1-2 to -12; bits: TS 38.212, Table 6.3.1.1.2-1.
    """

    def __init__(
        self,
        panel: Panel,
        num_samples: int,
        unit: int,
        rank: int,
        mode: int = 1,
        snr_db: float = 10.0,
        restriction: str | None = None,
    ):
        o1, o2 = oversampling(panel, _FIELD)
        most = most_layers(panel)
        if not 1 <= rank <= most:
            raise ConfigError(f"{_FIELD}.rank", rank, f"1..{most} with {panel.num_ports} ports")
        if mode not in (1, 2):
            raise ConfigError(f"{_FIELD}.mode", mode, "1, 2")
        self.rank, self.unit, self.snr_db = rank, unit, snr_db
        self.num_units = -(-num_samples // unit)
        self._order = subband_order(self.num_units)
        self._panel, self._over = panel, (o1, o2)
        self._halved = halved = mode == 2 and rank <= 2
        self._quarter = quarter = rank in (3, 4) and panel.num_ports >= 16
        short = rank > 6  # half of the precoders of some panels are there twice
        ends = (
            panel.n1 * o1 // (2 if halved or quarter or (short and (panel.n1, panel.n2) == (4, 1)) else 1),
            panel.n2 * o2 // (2 if panel.n2 > 1 and (halved or (short and panel.n1 > panel.n2 == 2)) else 1),
        )
        self._offsets = self._distances() if 2 <= rank <= 4 and not quarter else [(0, 0)]
        thirds = 4 if quarter else len(self._offsets)
        self._sizes = (*ends, thirds)
        self._choices = (4 if rank == 1 else 2) * (4 if halved else 1)
        self._widths = [(size - 1).bit_length() for size in self._sizes]
        self._choice_bits = (self._choices - 1).bit_length()
        self.part2_bits = sum(self._widths) + self.num_units * self._choice_bits
        i11, i12, i13 = (x.ravel() for x in np.indices(self._sizes))
        # All precoders, unit-norm columns, [wideband index, i2, port, layer].
        self._table = np.stack([self._matrix(i11, i12, i13, i2) for i2 in range(self._choices)], axis=1)
        self._allowed = None
        if restriction is not None:
            field = f"{_FIELD}.subset_restriction"
            beams = type1_allowed(restriction, panel, (o1, o2), field)
            by_choice = [self._permitted(beams, i11, i12, i13, i2) for i2 in range(self._choices)]
            self._allowed = np.stack(by_choice, axis=1)
            if not self._allowed.any():
                raise ConfigError(field, f"{len(restriction)} bits", f"a precoder of rank {rank}, or no such rank")

    def _distances(self) -> list[tuple[int, int]]:
        """(k1, k2) of the second beam by i_{1,3}, in beams: Tables 5.2.2.2.1-3 (rank 2) and -4 (ranks 3, 4)."""
        n1, n2 = self._panel.n1, self._panel.n2
        o1, o2 = self._over
        if self.rank == 2:
            if n2 == 1:
                return [(k * o1, 0) for k in range(2 if n1 == 2 else 4)]
            return [(0, 0), (o1, 0), (0, o2), (o1, o2) if n1 == n2 else (2 * o1, 0)]
        if n2 == 1:
            return [(k * o1, 0) for k in range(1, {2: 2, 4: 4, 6: 5}[n1])]
        return [(o1, 0), (0, o2), (o1, o2), *([(2 * o1, 0)] if n1 == 3 else [])]

    def _matrix(self, i11: np.ndarray, i12: np.ndarray, i13: np.ndarray, i2: int) -> np.ndarray:
        """Precoders ``[wideband index, port, layer]`` of one i_2."""
        column, row, phi = self._first_beam(i11, i12, i2)
        if self._quarter:
            v = self._beam(column, row, half=True)
            theta = np.exp(1j * np.pi / 4 * i13)[:, None]
            signs = [(1, 1), (-1, 1), (1, -1), (-1, -1)][: self.rank]
            columns = [
                np.concatenate([v, a * theta * v, b * phi * v, a * b * phi * theta * v], axis=1) for a, b in signs
            ]
        else:
            beams = [self._beam(column + k1, row + k2) for k1, k2 in self._used(i13)]
            columns = [
                np.concatenate([beams[i], sign * (phi if phased else 1) * beams[i]], axis=1)
                for i, sign, phased in COLUMNS[self.rank]
            ]
        w = np.stack(columns, axis=2)
        return (w / np.linalg.norm(w, axis=1, keepdims=True)).astype(np.complex64)

    def _first_beam(self, i11: np.ndarray, i12: np.ndarray, i2: int) -> tuple[np.ndarray, np.ndarray, complex]:
        """l and m of the first beam, and the co-phasing of the polarisations."""
        neighbour, n = divmod(i2, 4 if self.rank == 1 else 2)
        if self._halved and self._panel.n2 > 1:
            i11, i12 = 2 * i11 + neighbour % 2, 2 * i12 + neighbour // 2
        elif self._halved:
            i11 = 2 * i11 + neighbour
        return i11, i12, 1j**n

    def _used(self, i13: np.ndarray) -> list[tuple[np.ndarray | int, np.ndarray | int]]:
        """(k1, k2) of all beams from the first one on."""
        (o1, o2), flat = self._over, self._panel.n2 == 1
        if self.rank <= 4:
            k1, k2 = np.array(self._offsets)[i13].T
            return [(0, 0), (k1, k2)]
        if flat:
            return [(k * o1, 0) for k in range(4)]
        return [(0, 0), (o1, 0), (o1, o2)] if self.rank <= 6 else [(0, 0), (o1, 0), (0, o2), (o1, o2)]

    def _permitted(self, allowed: np.ndarray, i11: np.ndarray, i12: np.ndarray, i13: np.ndarray, i2: int) -> np.ndarray:
        """Whether all beams of the precoders of one i_2 are among the ``allowed`` ones ``[l, m]``."""
        column, row, _ = self._first_beam(i11, i12, i2)
        if self._quarter:  # a half beam belongs to three of the panel
            near = [(2 * column + k, row) for k in (-1, 0, 1)]
        else:
            used = self._used(i13)[: 1 + max(i for i, _, _ in COLUMNS[self.rank])]
            near = [(column + k1, row + k2) for k1, k2 in used]
        columns, rows = allowed.shape
        return np.all([allowed[x % columns, y % rows] for x, y in near], axis=0)

    def _beam(self, column: np.ndarray, row: np.ndarray, half: bool = False) -> np.ndarray:
        """v_{l,m} (l: column, m: row), ``half``: of the first half of the columns; complex ``[index, element]``."""
        (o1, o2), n1, n2 = self._over, self._panel.n1, self._panel.n2
        first = dft_beams(n1, o1)[column % (o1 * n1)]
        if half:
            first = dft_beams(n1 // 2, o1)[column % (o1 * n1 // 2)]
        second = dft_beams(n2, o2)[row % (o2 * n2)]
        return (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)

    def select(self, h: np.ndarray) -> Pmi:
        """PMI of channels complex64 ``[report, rx_ant, port, subcarrier]``."""
        values = self._table.shape[0] * self._choices * self.rank * h.shape[1] * self.unit
        step = max(1, _CHUNK_VALUES // values)
        wideband, i2 = (
            np.concatenate(x)
            for x in zip(*(self._select(h[i : i + step]) for i in range(0, len(h), step)), strict=True)
        )
        i11, i12, i13 = np.unravel_index(wideband, self._sizes)
        return {"i11": i11, "i12": i12, "i13": i13, "i2": i2}

    def _select(self, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        power = np.mean(np.square(h.real) + np.square(h.imag), axis=(1, 2, 3))
        h = h / np.sqrt(np.maximum(power, 1e-30))[:, None, None, None]
        columns = np.moveaxis(self._table, 2, 0).reshape(self._table.shape[2], -1)
        scores = np.empty((len(h), self.num_units, *self._table.shape[:2]), np.float32)
        for t in range(self.num_units):
            band = h[..., t * self.unit : (t + 1) * self.unit]
            rows = np.moveaxis(band, 3, 1).reshape(len(h), -1, h.shape[2])
            if rows.shape[1] > rows.shape[2]:
                rows = np.linalg.qr(rows, mode="r")
            e = (rows @ columns).reshape(len(h), -1, *self._table.shape[:2], self.rank)
            if self.rank == 1:
                scores[:, t] = np.sum(np.square(e.real) + np.square(e.imag), axis=(1, 4))
                continue
            gram = np.einsum("nsabi,nsabj->nabij", e.conj(), e, optimize=True)
            gram *= float(db_to_lin(self.snr_db)) / self.rank / band.shape[3]
            scores[:, t] = np.linalg.slogdet(gram + np.eye(self.rank, dtype=np.complex64))[1]
        if self._allowed is not None:
            scores[:, :, ~self._allowed] = -np.inf
        best = scores.max(axis=3)  # [report, unit, wideband index]
        wideband = best.sum(axis=1).argmax(axis=1)
        i2 = np.take_along_axis(scores, wideband[:, None, None, None], axis=2)[:, :, 0].argmax(axis=2)
        return wideband, i2

    def precoder(self, pmi: Pmi) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, unit]``."""
        wideband = np.ravel_multi_index((pmi["i11"], pmi["i12"], pmi["i13"]), self._sizes)
        return np.moveaxis(self._table[wideband[:, None], pmi["i2"]], 1, 3)

    def pack(self, pmi: Pmi) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """No part 1; part 2: i_{1,1}, i_{1,2}, i_{1,3}, then i_2 of the even and of the odd subbands."""
        fields = zip(("i11", "i12", "i13"), self._widths, strict=True)
        parts = [bitfield.pack(pmi[key][:, None], width) for key, width in fields]
        parts.append(bitfield.pack(pmi["i2"][:, self._order], self._choice_bits))
        part2 = np.concatenate(parts, axis=1)
        return part2[:, :0], part2, np.full(len(part2), self.part2_bits, np.int64)

    def unpack(self, part1: np.ndarray, part2: np.ndarray, num_bits: np.ndarray) -> tuple[Pmi, np.ndarray]:
        """PMI and ``valid``: indices that exist."""
        valid = np.asarray(num_bits) == self.part2_bits
        at, pmi = 0, {}
        for key, width, size in zip(("i11", "i12", "i13"), self._widths, self._sizes, strict=True):
            value = bitfield.unpack(part2[:, at : at + width], width)[:, 0] if width else np.zeros(len(part2), np.int64)
            valid &= value < size
            pmi[key] = np.minimum(value, size - 1)
            at += width
        i2 = np.empty((len(part2), self.num_units), np.int64)
        i2[:, self._order] = bitfield.unpack(part2[:, at : self.part2_bits], self._choice_bits)
        pmi["i2"] = i2
        if self._allowed is not None:
            wideband = np.ravel_multi_index((pmi["i11"], pmi["i12"], pmi["i13"]), self._sizes)
            valid &= self._allowed[wideband[:, None], i2].all(axis=1)
        return pmi, valid
