"""Enhanced Type II codebook for predicted PMI (Release 18): the precoders of several intervals in one report."""

from __future__ import annotations

from typing import Any

import numpy as np

from receivers.codebooks.alignment import delay_turns, starts
from receivers.codebooks.beams import BeamGroups
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.codebooks.etype2_doppler_payload import DopplerPayload
from receivers.codebooks.etype2_payload import EnhancedTypeTwoPayload
from receivers.codebooks.pmi import Pmi, oversampling
from simulator.core.errors import ConfigError
from simulator.core.types import Panel
from simulator.maths.transforms import subband_eigenvectors

# paramCombination-Doppler-r18: L, p_v of ranks 1-2 and of ranks 3-4, beta.
_COMBINATIONS = {
    1: (2, 1 / 8, 1 / 16, 1 / 4),
    2: (2, 1 / 4, 1 / 8, 1 / 2),
    3: (4, 1 / 4, 1 / 8, 1 / 4),
    4: (4, 1 / 4, 1 / 4, 1 / 4),
    5: (4, 1 / 4, 1 / 4, 1 / 2),
    6: (4, 1 / 4, 1 / 4, 3 / 4),
    7: (4, 1 / 2, 1 / 4, 1 / 2),
    8: (6, 1 / 4, 0, 1 / 2),
    9: (6, 1 / 4, 0, 3 / 4),
}
_INTERVALS = 1, 2, 4, 8


class DopplerCodebook(EnhancedTypeTwoCodebook):
    r"""Precoder of layer l in subband t and interval :math:`\iota`: beams, taps and Doppler shifts.

    .. math:: w_{t,\iota} = \frac{1}{\sqrt{\gamma_{t,\iota}}} \begin{bmatrix} \sum_{i<L} v_i \, p^{(1)}_0
        \sum_f y_t^{(f)} \sum_\tau z_\iota^{(\tau)} p^{(2)}_{i,f,\tau} \varphi_{i,f,\tau} \\
        \sum_{i<L} v_i \, p^{(1)}_1 \sum_f y_t^{(f)} \sum_\tau z_\iota^{(\tau)}
        p^{(2)}_{i+L,f,\tau} \varphi_{i+L,f,\tau} \end{bmatrix},
        \quad z_\iota^{(\tau)} = e^{j 2 \pi \iota n_4^{(\tau)} / N_4}

    with :math:`n_4^{(0)} = 0` and :math:`n_4^{(1)} = i_{1,10} + 1`; the rest is that of
    :class:`EnhancedTypeTwoCodebook`, which it equals with one interval. The phases of all subbands and intervals are
    free: the selection turns the strongest coefficient to tap 0 and shift 0 and takes the other shift with the most
    energy.

    A PMI has ``doppler`` (i_{1,10}) where there are intervals. Its rows are those of the beams for the first, then for
    the second Doppler-domain vector: row :math:`2 L \tau + i`.

    Args:
        panel: gNB panel of 4 to 32 ports.
        num_samples: frequency samples of the channel.
        unit: samples of one PMI subband (subband size divided by R).
        rank: layers, 1..4.
        combination: paramCombination-Doppler-r18, 1..9.
        intervals: N_4 of 1, 2, 4, 8.
        max_rank: largest rank that may be reported (width of the field in part 1).
        two_units: R = 2.
    Raises:
        ConfigError: for parameters that are not in the tables.
    Source: TS 38.214 (Rel. 18), 5.2.2.2.10; bits: TS 38.212, Table 6.3.2.1.2-1C; groups of part 2: TS 38.214, 5.2.3.
    """

    field = "feedback.etype2-doppler-r18"
    combinations = _COMBINATIONS
    table = "TS 38.214, Table 5.2.2.2.10-1"

    def __init__(
        self,
        panel: Panel,
        num_samples: int,
        unit: int,
        rank: int,
        combination: int,
        intervals: int = 4,
        max_rank: int = 1,
        two_units: bool = False,
    ):
        if intervals not in _INTERVALS:
            raise ConfigError(f"{self.field}.intervals", intervals, "1, 2, 4, 8 (TS 38.331, vectorLengthDD)")
        self.num_intervals = intervals
        super().__init__(panel, num_samples, unit, rank, combination, max_rank, two_units)

    def _basis(self, panel: Panel) -> BeamGroups:
        """Beams of the panels of Release 15."""
        return BeamGroups(panel, *oversampling(panel, self.field))

    def _payload(self, *sizes: Any) -> EnhancedTypeTwoPayload:
        return super()._payload(*sizes) if self.num_intervals == 1 else DopplerPayload(*sizes, self.num_intervals)

    def _select(self, h: np.ndarray) -> Pmi:
        """PMI of channels complex64 ``[report, rx_ant, port, subcarrier]``, or ``[.., port, interval, subcarrier]``."""
        if self.num_intervals == 1:
            return super()._select(h)
        v = subband_eigenvectors(np.moveaxis(h, 3, 1), self.unit, self.rank)  # [report, interval, layer, unit, port]
        v = np.swapaxes(v, 1, 2).reshape(len(h), self.rank, -1, h.shape[2])
        group, beams, c = self._groups.select(v, self.num_beams)
        return {"group": group, "beams": beams, **self._best(starts(c, self.num_units))}

    def _sparse(self, c: np.ndarray, limit: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, Pmi]:
        """The same with the strongest coefficient at shift 0, too; units are those of interval after interval."""
        if self.num_intervals == 1:
            return super()._sparse(c, limit)
        units, intervals = self.num_units, self.num_intervals
        turns, shifts = delay_turns(units), delay_turns(intervals)
        x = c.reshape(*c.shape[:3], intervals, units) @ (turns.conj() / units)
        x = (shifts.conj() / intervals) @ x  # [report, layer, row, shift, tap]
        power = np.square(x.real) + np.square(x.imag)
        shift, tap = np.divmod(power.max(axis=2).reshape(*x.shape[:2], -1).argmax(axis=2), units)
        turn = shifts[shift][..., None] * turns[tap][:, :, None]
        c = c * turn.conj().reshape(*c.shape[:2], 1, -1)
        # Next to the shift of the strongest coefficient only the one with the most energy stays.
        energy = power.sum(axis=(2, 4))
        np.put_along_axis(energy, shift[..., None], -1, axis=2)
        pair = np.stack([shift, energy.argmax(axis=2)], axis=2)
        delays = (np.arange(units) + tap[..., None]) % units
        energy = np.take_along_axis(power.sum(axis=2), pair[..., None], axis=2).sum(axis=2)
        window, taps = self._taps(np.take_along_axis(energy, delays, axis=2))
        kept = np.take_along_axis(delays, taps, axis=2)
        x = np.take_along_axis(x, pair[:, :, None, :, None], axis=3)
        x = np.take_along_axis(x, kept[:, :, None, None], axis=4)
        x = np.swapaxes(x, 2, 3).reshape(*x.shape[:2], -1, self.num_taps)
        return c, x, {"window": window, "taps": taps, "doppler": (pair[..., 1] - shift) % intervals - 1}

    def _largest(self, x: np.ndarray) -> np.ndarray:
        """Without those that are too small: of a slow UE few turn."""
        x = super()._largest(x)
        return x if self.num_intervals == 1 else self._representable(x)

    def _synthesis(self, x: np.ndarray, pmi: Pmi) -> np.ndarray:
        weights = super()._synthesis(x, pmi)
        if self.num_intervals == 1:
            return weights
        constant, turning = np.split(weights[:, :, :, None], 2, axis=2)  # [report, layer, 2 L, 1, unit]
        shift = delay_turns(self.num_intervals)[pmi["doppler"] + 1][:, :, None, :, None]
        both = constant + turning * shift
        return both.reshape(*both.shape[:3], -1)

    def precoder(self, pmi: Pmi) -> np.ndarray:
        """Unit-norm directions complex64 ``[report, port, layer, unit]``, or ``[.., layer, interval, unit]``."""
        if self.num_intervals == 1:
            return super().precoder(pmi)
        weights = self._synthesis(self._coefficients(pmi), pmi)
        w = self._groups.combine(pmi["group"], pmi["beams"], weights)
        return w.reshape(*w.shape[:3], self.num_intervals, -1)
