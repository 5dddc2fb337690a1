"""Type I codebook of several panels, or of one large one: beams of a panel, co-phasing of panels and polarisations."""

from __future__ import annotations

from itertools import product

import numpy as np

from receivers.codebooks.dft import dft_beams_2d
from receivers.codebooks.pmi import Pmi, PmiCodebook, oversampling, subband_order
from receivers.codebooks.restriction import type1_allowed
from simulator.core import bitfield
from simulator.core.errors import ConfigError
from simulator.core.types import Panel
from simulator.core.units import db_to_lin

_FIELD = "feedback.type1"
# (N_g, N1, N2) of TS 38.214, Table 5.2.2.2.2-1.
_PANELS = ((2, 2, 1), (2, 4, 1), (4, 2, 1), (2, 2, 2), (2, 8, 1), (4, 4, 1), (2, 4, 2), (4, 2, 2))
# Beam (first, second) and sign (+, -) of every layer.
_LAYERS = {1: [(0, 0)], 2: [(0, 0), (1, 1)], 3: [(0, 0), (1, 0), (0, 1)], 4: [(0, 0), (1, 0), (0, 1), (1, 1)]}
_BEAMS = 16  # beams or pairs of beams whose precoders are all tried
_CHUNK = 8  # reports selected at a time


class TypeOneMultiPanelCodebook(PmiCodebook):
    r"""Ranks 1 to 4, codebook modes 1 and 2 (mode 2: two panels); of one panel of 48, 64 or 128 ports mode A.

    A column is :math:`c \otimes v_{l,m}` with the beam v of a panel and a factor for every panel and polarisation. Mode
    1: :math:`c = [1, \pm\varphi_n, \varphi_{p_1}, \pm\varphi_n \varphi_{p_1}, \ldots]`; mode 2:
    :math:`[1, \pm\varphi_{n_0}, a_{p_1} b_{n_1}, \pm a_{p_2} b_{n_2}]`, :math:`\varphi_n = e^{j\pi n/2}`,
    :math:`a_p = e^{j\pi/4} \varphi_p`, :math:`b_n = e^{-j\pi/4} \varphi_n`. Signs and beams of the layers are those of
    Type I: + v; + v, - v'; + v, + v', - v; + v, + v', - v, - v'. Panels stand in a row: panel g has the columns g N1 to
    (g + 1) N1 - 1 of the array. Mode A of Release 19 is mode 1 with one panel and a table of its own for i_{1,3}.

    The standard leaves the selection to the UE. Here: of the beams (rank 2 and higher: pairs) the 16 with the most
    received energy; of all their precoders that with the largest energy (rank 1) or log-determinant, as in Type I.

    A PMI has ``i11``, ``i12``, ``i13`` ``[report]``, ``i14`` ``[report, value]``, ``i2`` ``[report, subband, value]``.

    Args:
        panel: whole array of the gNB.
        num_samples: frequency samples of the channel.
        unit: samples of one subband.
        rank: layers, 1..4.
        panels: N_g, 2 or 4; 1 of 48, 64 or 128 ports.
        mode: codebookMode, 1 or 2.
        snr_db: SNR of the selection at rank 2 and higher [dB].
        restriction: bits of the beams of a panel, as of Type I; None: all are allowed.
    Raises:
        ConfigError: for parameters that are not in the tables; no precoder is left.
    Source: TS 38.214, 5.2.2.2.2, Tables 5.2.2.2.2-1 to -6; bits: TS 38.212, Table 6.3.1.1.2-2; one panel: TS 38.214
    (Rel. 19), 5.2.2.2.1a, codebookMode modeA.
    """

    def __init__(
        self,
        panel: Panel,
        num_samples: int,
        unit: int,
        rank: int,
        panels: int = 2,
        mode: int = 1,
        snr_db: float = 10.0,
        restriction: str | None = None,
    ):
        n1, rest = divmod(panel.n1, panels)
        if panels == 1 and panel.num_ports > 32:
            oversampling(panel, _FIELD, large=True)
        elif rest or panel.num_pol != 2 or (panels, n1, panel.n2) not in _PANELS:
            known = ", ".join(f"{g * one}x{two} of {g}" for g, one, two in _PANELS)
            got = f"{panel.n1}x{panel.n2} of {panels} panels with {panel.num_pol} polarisation(s)"
            raise ConfigError(f"{_FIELD}: bs.n1, bs.n2, panels", got, f"two polarisations and {known} panels")
        if not 1 <= rank <= 4:
            raise ConfigError(f"{_FIELD}.rank", rank, "1..4")
        if mode not in (1, 2) or (mode == 2 and panels != 2):
            raise ConfigError(f"{_FIELD}.mode", mode, "1, or 2 with two panels")
        self.rank, self.unit, self.snr_db = rank, unit, snr_db
        self.num_units = -(-num_samples // unit)
        self._order = subband_order(self.num_units)
        o1, o2 = 4, 4 if panel.n2 > 1 else 1
        self._grid = n1 * o1, panel.n2 * o2
        self._ports = (
            np.arange(panel.num_ports).reshape(2, panels, n1 * panel.n2).swapaxes(0, 1)
        )  # [panel, pol, element]
        self._beams = dft_beams_2d(n1, panel.n2, o1, o2)  # [beam, element]
        self._offsets = (_refined_distances if panels == 1 else _distances)(rank, n1, panel.n2, o1, o2)
        self._sizes = (*self._grid, len(self._offsets))
        self._fourths = panels - 1 if mode == 1 else 2
        self._choices = ((4 if rank == 1 else 2),) + (() if mode == 1 else (2, 2))  # of every value of i_2
        self._widths = [(size - 1).bit_length() for size in self._sizes] + [2] * self._fourths
        self._choice_bits = [(size - 1).bit_length() for size in self._choices]
        self.part2_bits = sum(self._widths) + self.num_units * sum(self._choice_bits)
        # Factors of panels and polarisations, [i14, i2, sign, 2 N_g], panel first.
        self._i14 = np.array(list(product(range(4), repeat=self._fourths)), np.int64)
        self._i2 = np.array(list(product(*map(range, self._choices))))
        self._factors = np.array(
            [[[_factors(p, n, s, mode) for s in (1, -1)] for n in self._i2] for p in self._i14]
        ).astype(np.complex64)
        allowed = np.ones(self._grid, bool)
        if restriction is not None:
            allowed = type1_allowed(restriction, Panel(n1, panel.n2, 2), (o1, o2), f"{_FIELD}.subset_restriction")
        self._first, self._second = self._pairs()
        self._allowed = allowed.ravel()[self._first] & (allowed.ravel()[self._second] if rank > 1 else True)
        if not self._allowed.any():
            raise ConfigError(
                f"{_FIELD}.subset_restriction", restriction, f"a precoder of rank {rank}, or no such rank"
            )

    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the first and of the second beam by (i11, i12, i13), flat."""
        column, row, third = (x.ravel() for x in np.indices(self._sizes))
        k1, k2 = np.array(self._offsets)[third].T
        columns, rows = self._grid
        return column * rows + row, (column + k1) % columns * rows + (row + k2) % rows

    def select(self, h: np.ndarray) -> Pmi:
        """PMI of channels complex64 ``[report, rx_ant, port, subcarrier]``."""
        found = [self._select(h[i : i + _CHUNK]) for i in range(0, len(h), _CHUNK)]
        pair, i14, i2 = (np.concatenate(x) for x in zip(*found, strict=True))
        i11, i12, i13 = np.unravel_index(pair, self._sizes)
        return {"i11": i11, "i12": i12, "i13": i13, "i14": self._i14[i14], "i2": self._i2[i2]}

    def _select(self, h: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        power = np.mean(np.square(h.real) + np.square(h.imag), axis=(1, 2, 3))
        h = h / np.sqrt(np.maximum(power, 1e-30))[:, None, None, None]
        # Received amplitudes of all beams on every panel and polarisation, [report, rx_ant, subcarrier, 2 N_g, beam].
        x = np.moveaxis(h[:, :, self._ports.reshape(-1, self._ports.shape[2])], -1, 2) @ self._beams.T
        x /= np.sqrt(x.shape[3])
        energy = np.sum(np.square(x.real) + np.square(x.imag), axis=(1, 2, 3))  # [report, beam]
        of_pair = energy[:, self._first] + (energy[:, self._second] if self.rank > 1 else 0)
        of_pair = np.where(self._allowed, of_pair, -1)
        count = min(_BEAMS, int(self._allowed.sum()))
        near = np.sort(np.argpartition(-of_pair, count - 1, axis=1)[:, :count], axis=1)  # [report, candidate]
        scores = np.stack([self._scores(x, near, t) for t in range(self.num_units)], axis=1)
        best = scores.max(axis=4).sum(axis=1).reshape(len(h), -1).argmax(axis=1)  # [report, unit, candidate, i14, i2]
        candidate, i14 = np.divmod(best, len(self._i14))
        reports = np.arange(len(h))
        return near[reports, candidate], i14, scores[reports, :, candidate, i14].argmax(axis=2)

    def _scores(self, x: np.ndarray, near: np.ndarray, unit: int) -> np.ndarray:
        """Score ``[report, candidate, i14, i2]`` in one subband."""
        band = x[:, :, unit * self.unit : (unit + 1) * self.unit]
        samples = band.shape[2]
        first, second = (
            np.take_along_axis(band, beams[near][:, None, None, None], axis=4) for beams in (self._first, self._second)
        )  # [report, rx_ant, subcarrier, 2 N_g, candidate]
        columns = [np.einsum("nrtgc,pqg->ncpqrt", (first, second)[i], self._factors[:, :, s], optimize=True)
                   for i, s in _LAYERS[self.rank]]  # fmt: skip
        e = np.stack(
            [x.reshape(*x.shape[:4], -1) for x in columns], axis=-1
        )  # [report, candidate, i14, i2, row, layer]
        if self.rank == 1:
            return np.sum(np.square(np.abs(e)), axis=(4, 5))
        gram = np.swapaxes(e.conj(), -1, -2) @ e * (float(db_to_lin(self.snr_db)) / self.rank / samples)
        return np.linalg.slogdet(gram + np.eye(self.rank))[1]

    def precoder(self, pmi: Pmi) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, unit]``."""
        pair = np.ravel_multi_index((pmi["i11"], pmi["i12"], pmi["i13"]), self._sizes)
        i14 = pmi["i14"] @ 4 ** np.arange(self._fourths)[::-1]
        i2 = np.ravel_multi_index(tuple(np.moveaxis(pmi["i2"], 2, 0)), self._choices)
        factors = self._factors[i14[:, None], i2]  # [report, unit, sign, 2 N_g]
        layers = [
            factors[:, :, s, :, None] * self._beams[(self._first, self._second)[i][pair]][:, None, None]
            for i, s in _LAYERS[self.rank]
        ]
        w = np.stack(layers, axis=-1).reshape(*i2.shape, -1, self.rank) / np.sqrt(factors.shape[-1])
        out = np.empty_like(w, np.complex64)
        out[:, :, self._ports.ravel()] = w
        return np.moveaxis(out, 1, 3)

    def pack(self, pmi: Pmi) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """No part 1; part 2: i_{1,1} to i_{1,4}, then i_2 of the even and of the odd subbands."""
        values = [pmi[key][:, None] for key in ("i11", "i12", "i13")] + [*pmi["i14"].T[..., None]]
        parts = [bitfield.pack(value, width) for value, width in zip(values, self._widths, strict=True)]
        for t in self._order:
            parts += [bitfield.pack(pmi["i2"][:, t, i, None], width) for i, width in enumerate(self._choice_bits)]
        part2 = np.concatenate(parts, axis=1)
        return part2[:, :0], part2, np.full(len(part2), self.part2_bits, np.int64)

    def unpack(self, part1: np.ndarray, part2: np.ndarray, num_bits: np.ndarray) -> tuple[Pmi, np.ndarray]:
        """PMI and ``valid``: indices that exist, beams that are allowed."""
        valid = np.asarray(num_bits) == self.part2_bits
        widths = self._widths + self._choice_bits * self.num_units
        fields = np.split(part2[:, : self.part2_bits], np.cumsum(widths)[:-1], axis=1)
        values = [
            bitfield.unpack(part, width)[:, 0] if width else np.zeros(len(part2), np.int64)
            for part, width in zip(fields, widths, strict=True)
        ]
        pmi = {}
        for key, value, size in zip(("i11", "i12", "i13"), values, self._sizes, strict=False):
            valid &= value < size
            pmi[key] = np.minimum(value, size - 1)
        valid &= self._allowed[np.ravel_multi_index((pmi["i11"], pmi["i12"], pmi["i13"]), self._sizes)]
        pmi["i14"], i2 = np.split(np.stack(values[3:], axis=1), [self._fourths], axis=1)
        i2 = i2.reshape(len(part2), self.num_units, -1)
        pmi["i2"] = np.empty_like(i2)
        pmi["i2"][:, self._order] = i2
        return pmi, valid


def _distances(rank: int, n1: int, n2: int, o1: int, o2: int) -> list[tuple[int, int]]:
    """(k1, k2) of the second beam by i_{1,3}: Tables 5.2.2.2.1-3 (rank 2) and 5.2.2.2.2-2 (ranks 3, 4)."""
    if rank == 1:
        return [(0, 0)]
    if rank == 2:
        if n2 == 1:
            return [(k * o1, 0) for k in range(2 if n1 == 2 else 4)]
        return [(0, 0), (o1, 0), (0, o2), (o1, o2) if n1 == n2 else (2 * o1, 0)]
    if n2 == 1:
        return [(k * o1, 0) for k in range(1, {2: 2, 4: 4, 8: 5}[n1])]
    return [(o1, 0), (0, o2), (o1, o2), *([(2 * o1, 0)] if n1 == 4 else [])]


def _refined_distances(rank: int, n1: int, n2: int, o1: int, o2: int) -> list[tuple[int, int]]:
    """The same of one large panel: TS 38.214 (Rel. 19), Table 5.2.2.2.1a-3."""
    if rank == 1:
        return [(0, 0)]
    return [(0, 0), (o1, 0), (0, o2), (2 * o1, 0)] if rank == 2 else [(o1, 0), (0, o2), (o1, o2), (2 * o1, 0)]


def _factors(p: np.ndarray, n: np.ndarray, sign: int, mode: int) -> np.ndarray:
    """Factors of panels and polarisations, complex128 ``[2 N_g]``."""
    if mode == 1:
        panels = np.concatenate([[1], 1j**p])
        return np.stack([panels, sign * 1j ** n[0] * panels], axis=1).ravel()
    a, b = np.exp(1j * np.pi / 4) * 1j**p, np.exp(-1j * np.pi / 4) * 1j ** n[1:]
    return np.array([1, sign * 1j ** n[0], a[0] * b[0], sign * a[1] * b[1]])
