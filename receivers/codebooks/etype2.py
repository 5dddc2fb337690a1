"""Enhanced Type II codebook of Releases 16 and 19: beams in space, taps in delay, few quantised coefficients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from receivers.codebooks.alignment import delay_turns, starts
from receivers.codebooks.beam_delay import BeamDelayReport
from receivers.codebooks.beams import BeamGroups
from receivers.codebooks.coefficients import CoefficientCodebook
from receivers.codebooks.etype2_payload import EnhancedTypeTwoPayload
from receivers.codebooks.pmi import Pmi, oversampling
from receivers.codebooks.ports import PortGroups
from receivers.codebooks.restriction import LEVELS, type2_levels
from simulator.core.errors import ConfigError
from simulator.core.types import Panel
from simulator.maths.transforms import subband_eigenvectors

# paramCombination-r16: L, p_v of ranks 1-2 and of ranks 3-4, beta.
_COMBINATIONS = {
    1: (2, 1 / 4, 1 / 8, 1 / 4),
    2: (2, 1 / 4, 1 / 8, 1 / 2),
    3: (4, 1 / 4, 1 / 8, 1 / 4),
    4: (4, 1 / 4, 1 / 8, 1 / 2),
    5: (4, 1 / 4, 1 / 4, 3 / 4),
    6: (4, 1 / 2, 1 / 4, 1 / 2),
    7: (6, 1 / 4, 0, 1 / 2),
    8: (6, 1 / 4, 0, 3 / 4),
}
_ALL_TAPS = 19  # subbands up to which all taps may be chosen; above, those of a window
_STEPS, _QUANTIZED_STEPS = 10, 3
_COEFFICIENT_BITS = 7


class EnhancedTypeTwoCodebook(CoefficientCodebook):
    r"""Precoder of layer l in subband t: beams, taps and coefficients.

    .. math:: w_t = \frac{1}{\sqrt{\gamma_t}} \begin{bmatrix} \sum_{i<L} v_i \, p^{(1)}_0 \sum_f y_t^{(f)}
        p^{(2)}_{i,f} \varphi_{i,f} \\ \sum_{i<L} v_i \, p^{(1)}_1 \sum_f y_t^{(f)} p^{(2)}_{i+L,f} \varphi_{i+L,f}
        \end{bmatrix}, \quad y_t^{(f)} = e^{j 2 \pi t n_3^{(f)} / N_3}

    :math:`p^{(1)} = 2^{-(15-k)/4}`, :math:`p^{(2)} = 2^{-(7-k)/2}`, :math:`\varphi = e^{j 2 \pi c / 16}`.

    The standard leaves the selection to the UE. Here: beams by energy; then, from four starting delays, alternately
    the taps and coefficients of most energy for given phases of the subbands, and the phases that fit them best (a
    phase for each subband and a delay are free, no precoding gain depends on them). The last three steps fit the
    phases to the quantised coefficients; the start with the best mean squared cosine wins. With a slope
    :math:`\lambda` coefficients whose power is not worth their 7 bits are left out on the way; then, of the n largest
    for every n, those with the least :math:`1 - \mathrm{SGCS} + \lambda b(n)`, b(n) being the bits of part 2, are sent.

    A PMI has ``group`` (i_{1,1}), ``beams`` (i_{1,2}), ``window`` (i_{1,5}), ``taps`` (i_{1,6}), ``bitmap``
    (i_{1,7}), ``strongest`` (i_{1,8}: its beam), ``reference`` (i_{2,3}), ``amplitude`` (i_{2,4}), ``phase``
    (i_{2,5}).

    Args:
        panel: gNB panel of 4 to 32 ports, or of 48, 64 or 128 (Release 19: the same combinations, more beams).
        num_samples: frequency samples of the channel.
        unit: samples of one PMI subband (subband size divided by R).
        rank: layers, 1..4.
        combination: paramCombination-r16, 1..8.
        max_rank: largest rank that may be reported (width of the field in part 1).
        two_units: R = 2.
        slope: loss of SGCS that a bit of part 2 is worth; 0: all coefficients of the budget are sent.
        restriction: n1-n2-codebookSubsetRestriction-r16: largest root mean square of :math:`p^{(1)} p^{(2)}` over the
            coefficients of a beam that are sent, in every layer and polarisation; None: all are 1.
    Raises:
        ConfigError: for parameters that are not in the tables.
    Source: TS 38.214 (Rel. 16), 5.2.2.2.5; bits: TS 38.212, Table 6.3.2.1.2-1A; groups of part 2: TS 38.214, 5.2.3.
    """

    field: ClassVar[str] = "feedback.etype2-r16"
    combinations: ClassVar[dict[int, tuple[int, float, float, float]]] = _COMBINATIONS
    table: ClassVar[str] = "TS 38.214, Table 5.2.2.2.5-1"
    num_intervals: int = 1  # N_4

    def __init__(
        self,
        panel: Panel,
        num_samples: int,
        unit: int,
        rank: int,
        combination: int,
        max_rank: int = 1,
        two_units: bool = False,
        slope: float = 0.0,
        restriction: str | None = None,
    ):
        if not 1 <= rank <= 4:
            raise ConfigError(f"{self.field}.rank", rank, "1..4")
        self._check(panel, max(rank, max_rank), combination, two_units)
        self.num_beams, low, high, beta = self._parameters(combination)
        self._groups = self._basis(panel)
        self._limits = None  # largest amplitudes [group, beam]
        if restriction is not None:
            factors = oversampling(panel, self.field, large=True)
            levels = type2_levels(restriction, panel, factors, f"{self.field}.subset_restriction")
            self._limits = np.take(LEVELS, levels)
        self.rank, self.unit, self.fine, self._slope = rank, unit, two_units, slope
        self.num_units = -(-num_samples // unit)
        share = self.num_units / (1 + two_units)
        self.num_taps = math.ceil((low if rank <= 2 else high) * share)
        vectors = min(self.num_intervals, 2)  # Q
        self.budget = math.ceil(beta * 2 * self.num_beams * math.ceil(low * share) * vectors)  # K0
        self.size = (2, panel.n2, panel.n1)  # of the rows of a report in the beam-delay domain
        self._windowed = self.num_units > _ALL_TAPS
        self.payload = self._payload(
            rank, max_rank, self._groups.num_groups, self._groups.num_beams, self.num_beams, self.num_units,
            self.num_taps, self._windowed, self.budget,
        )  # fmt: skip
        self.part1_bits, self.part2_bits = self.payload.part1_bits, self.payload.longest

    def _parameters(self, combination: int) -> tuple[int, float, float, float]:
        """L, p_v of ranks 1-2 and of ranks 3-4, beta."""
        return self.combinations[combination]

    def _payload(self, *sizes: Any) -> EnhancedTypeTwoPayload:
        """Fields of a PMI."""
        return EnhancedTypeTwoPayload(*sizes)

    def _check(self, panel: Panel, max_rank: int, combination: int, two_units: bool) -> None:
        """ConfigError for a combination that is not in the table, or not with this panel, rank or R."""
        field, last = f"{self.field}.combination", max(self.combinations)
        if combination not in self.combinations:
            raise ConfigError(field, combination, f"1..{last} ({self.table})")
        if panel.num_ports == 4 and combination > 2:
            raise ConfigError(field, combination, f"1, 2 with 4 ports ({self.table})")
        if combination >= last - 1 and (panel.num_ports < 32 or max_rank > 2 or two_units):  # L = 6
            got = f"{combination} with {panel.num_ports} ports, rank {max_rank}, R = {1 + two_units}"
            allowed = f"{last - 1} and {last} only with 32 ports or more, rank <= 2, R = 1 ({self.table})"
            raise ConfigError(field, got, allowed)

    def unpack(self, part1: np.ndarray, part2: np.ndarray, num_bits: np.ndarray) -> tuple[Pmi, np.ndarray]:
        """PMI and ``valid``: a known number of coefficients, a length that it implies, indices that exist.

        Whole reports also obey the restriction; parts that were omitted may have lowered a mean.
        """
        pmi, valid = super().unpack(part1, part2, num_bits)
        if self._limits is not None:
            whole = num_bits == self.lengths(part1)[:, 0]
            valid = valid & (self.permitted(pmi) | ~whole)
        return pmi, valid

    def permitted(self, pmi: Pmi) -> np.ndarray:
        """Whether PMIs obey the restriction, bool ``[report]``."""
        if self._limits is None:
            return np.ones(len(pmi["bitmap"]), bool)
        return ~self._beyond(pmi, self._limit(pmi["group"], pmi["beams"])).any(axis=(1, 2))

    def _basis(self, panel: Panel) -> BeamGroups | PortGroups:
        """Vectors in space from which L are chosen."""
        return BeamGroups(panel, *oversampling(panel, self.field, large=True))

    def _select(self, h: np.ndarray) -> Pmi:
        v = subband_eigenvectors(h, self.unit, self.rank)
        group, beams, c = self._groups.select(v, self.num_beams, self._limits)
        limit = None if self._limits is None else self._limit(group, beams)
        if limit is not None:
            c = c * (limit > 0)[:, None, :, None]
        return {"group": group, "beams": beams, **self._best(starts(c), limit)}

    def _best(self, candidates: Iterable[np.ndarray], limit: np.ndarray | None = None) -> Pmi:
        """Indices for the best of some turned coefficients ``[report, layer, 2 L, unit]``, within :meth:`_limit`."""
        found, score = zip(*(self._fit(c, limit) for c in candidates), strict=True)
        best = np.argmax(score, axis=0)
        return {
            key: np.choose(best.reshape(-1, *[1] * (value.ndim - 1)), [one[key] for one in found])
            for key, value in found[0].items()
        }

    def _fit(self, c: np.ndarray, limit: np.ndarray | None) -> tuple[Pmi, np.ndarray]:
        """Indices for ``c`` complex64 ``[report, layer, row, unit]`` and their mean squared cosine ``[report]``."""
        pmi: Pmi = {}
        for step in range(_STEPS):
            c, x, pmi = self._sparse(c, limit)
            x = self._largest(x)
            if self._slope:
                power = np.square(np.abs(x))
                least = np.minimum(self.rank * _COEFFICIENT_BITS * self._slope, power.max(axis=(2, 3), keepdims=True))
                x *= power >= least
            if step >= _STEPS - _QUANTIZED_STEPS:
                pmi |= self._within(self._quantize(x, limit), limit)
                x = self._coefficients(pmi)
            w = self._synthesis(x, pmi)
            inner = np.sum(np.conj(c) * w, axis=2)
            if step < _STEPS - 1:
                c = c * np.exp(1j * np.angle(inner))[:, :, None]
        if self._slope:
            pmi, value = self._fewer(pmi, c)
            return self._within(pmi, limit), value
        power = np.sum(np.square(w.real) + np.square(w.imag), axis=2)
        return pmi, np.mean(np.abs(inner) ** 2 / np.maximum(power, 1e-30), axis=(1, 2))

    def _sparse(self, c: np.ndarray, limit: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, Pmi]:
        """``c`` with its strongest coefficient in tap 0, coefficients ``[report, layer, row, tap]``, and their taps."""
        turns = delay_turns(self.num_units)
        x = c @ (turns.conj() / self.num_units)
        full = np.abs(x) if limit is None else np.abs(x) * (limit == 1)[:, None, :, None]
        tap = full.max(axis=2).argmax(axis=2)
        c = c * turns.conj()[tap][:, :, None]
        x = np.take_along_axis(x, (np.arange(self.num_units) + tap[..., None])[:, :, None] % self.num_units, axis=3)
        window, taps = self._taps(np.sum(np.square(x.real) + np.square(x.imag), axis=2))
        return c, np.take_along_axis(x, taps[:, :, None], axis=3), {"window": window, "taps": taps}

    def _synthesis(self, x: np.ndarray, pmi: Pmi) -> np.ndarray:
        """Weights of the beams complex64 ``[report, layer, 2 L, unit]`` of coefficients ``[.., row, tap]``."""
        return x @ delay_turns(self.num_units)[pmi["taps"]]

    def _fewer(self, pmi: Pmi, c: np.ndarray) -> tuple[Pmi, np.ndarray]:
        """Indices of the best number of largest coefficients, and their mean squared cosine less what its bits cost."""
        x, (layers, rows, taps) = self._coefficients(pmi), self.payload.shape
        share = np.square(np.abs(x)).reshape(len(x), layers, -1)
        share = np.round(share / share.sum(axis=2, keepdims=True), 6).reshape(x.shape)  # equal ones by their place
        np.put_along_axis(share[..., 0], pmi["strongest"][..., None], np.inf, axis=2)  # one in every layer
        order = np.argsort(-share.reshape(len(x), -1), axis=1, kind="stable")
        count, reports = pmi["bitmap"].sum(axis=(1, 2, 3)), np.arange(len(x))
        w, turns = np.zeros(c.shape, np.complex64), delay_turns(self.num_units)
        inner, power = (
            np.zeros((len(x), layers, self.num_units), np.complex64),
            np.zeros((len(x), layers, self.num_units)),
        )
        best, most = np.zeros(len(x), np.int64), np.full(len(x), -np.inf)
        for number in range(count.max()):
            layer, row, tap = np.unravel_index(order[:, number], self.payload.shape)
            more = x[reports, layer, row, tap, None] * turns[pmi["taps"][reports, layer, tap]]
            before = w[reports, layer, row]
            inner[reports, layer] += c[reports, layer, row].conj() * more
            power[reports, layer] += np.square(np.abs(before + more)) - np.square(np.abs(before))
            w[reports, layer, row] += more
            if number < layers - 1:
                continue
            value = np.mean(np.square(np.abs(inner)) / np.maximum(power, 1e-30), axis=(1, 2))
            value -= self._slope * self.payload.part2_length(number + 1)
            better = (value > most) & (number < count)
            best, most = np.where(better, number + 1, best), np.where(better, value, most)
        kept = np.zeros((len(x), layers * rows * taps), np.int64)
        np.put_along_axis(kept, order, np.arange(order.shape[1]) < best[:, None], axis=1)
        kept = kept.reshape(x.shape)
        return {**pmi, **{key: pmi[key] * kept for key in ("bitmap", "amplitude", "phase")}}, most

    def _taps(self, energy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """i_{1,5} ``[report]`` and increasing taps ``[report, layer, tap]``, 0 first, by ``energy [.., .., unit]``."""
        energy = energy.copy()
        energy[..., 0] = np.inf
        window = np.zeros(len(energy), np.int64)
        if self._windowed:
            starts = np.arange(2 * self.num_taps)  # taps of the window before tap 0
            inside = (np.arange(self.num_units) + starts[:, None]) % self.num_units < self.payload.pool
            finite = np.where(np.isinf(energy), 0, energy)
            kept = np.sort(np.where(inside, finite[:, :, None], 0), axis=3)[..., -(self.num_taps - 1) :]
            before = kept.sum(axis=(1, 3)).argmax(axis=1)
            window = (-before) % (2 * self.num_taps)
            energy = np.where(inside[before][:, None], energy, -1)
        taps = np.argsort(-energy, axis=2, kind="stable")[..., : self.num_taps]
        return window, np.sort(taps, axis=2)

    def _limit(self, group: np.ndarray, beams: np.ndarray) -> np.ndarray:
        """Largest amplitude of every row ``[report, row]``."""
        return np.tile(self._limits[group[:, None], beams], 2)

    def _beyond(self, pmi: Pmi, limit: np.ndarray) -> np.ndarray:
        """Rows ``[report, layer, row]`` whose coefficients are too large in the mean."""
        size = self._references(pmi["reference"], pmi["strongest"]) * 2.0 ** (-(7 - pmi["amplitude"]) / 2)
        power = np.sum(pmi["bitmap"] * np.square(size), axis=3)
        return power > np.square(limit)[:, None] * pmi["bitmap"].sum(axis=3) * (1 + 1e-9)

    def _within(self, pmi: Pmi, limit: np.ndarray | None) -> Pmi:
        """The same with smaller amplitudes, step by step, in rows whose coefficients are too large in the mean."""
        while limit is not None and (beyond := self._beyond(pmi, limit)).any():
            pmi = {**pmi, "amplitude": np.maximum(pmi["amplitude"] - beyond[..., None] * pmi["bitmap"], 0)}
        return pmi

    def beam_delay(self, pmi: Pmi) -> BeamDelayReport:
        """Coefficients of a PMI on all beams of its group and all taps."""
        reports, rows = len(pmi["group"]), 2 * self._groups.num_beams
        shape = (reports, self.rank, rows, self.num_units)
        row = np.concatenate([pmi["beams"], pmi["beams"] + self._groups.num_beams], axis=1)
        at = np.arange(reports)[:, None, None, None], np.arange(self.rank)[:, None, None], row[:, None, :, None]
        at = (*at, pmi["taps"][:, :, None])
        x, sent = np.zeros(shape, np.complex64), np.zeros(shape, bool)
        x[at], sent[at] = self._coefficients(pmi), True
        size = np.abs(x)
        threshold = np.where(size > 0, size, np.inf).min(axis=(2, 3))
        return BeamDelayReport(pmi["group"], x, sent, threshold, logarithmic=True)

    def project(self, group: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Beam coefficients complex64 ``[report, layer, row, unit]`` of directions ``[report, layer, unit, port]``."""
        return self._groups.project(group, v)

    def combine(self, group: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, unit]`` of coefficients as of :meth:`beam_delay`."""
        turns = np.exp(2j * np.pi / self.num_units * np.outer(*[np.arange(self.num_units)] * 2)).astype(np.complex64)
        every = np.broadcast_to(np.arange(self._groups.num_beams), (len(group), self._groups.num_beams))
        return self._groups.combine(group, every, x @ turns)
