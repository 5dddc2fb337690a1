"""Feedback on one of several stations: the UE names the strongest and reports on its ports alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from simulator.core import bitfield, registry
from simulator.core.errors import ConfigError, PayloadError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.params import validated
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport


class TrpSelectionFeedback(FeedbackScheme):
    """Index of the station whose estimate has most energy (CRI), then the report of another scheme on its ports.

    The gNB sends to this UE from this station alone: nothing is known of the others (dynamic point selection).

    Args:
        config: public configuration of 1 to 4 stations (``bs.num_trps``).
        of: scheme of the report, without reports that refer to others or hold several intervals.
        seed: of that scheme.
        **params: of that scheme.

    Payload: CRI in ceil(log2 N_TRP) bits, then the report.

    Source: TS 38.214, 5.2.1.4.2; TS 38.212, 6.3.1.1.2 (order).
    """

    several_trps = True

    @validated("feedback.trp-selection")
    def __init__(self, config: CsiConfig, *, of: str, seed: int = 0, **params: Any):
        self.config, trps = config, config.panel.num_trps
        self._of = registry.build("feedback", of, replace(config, panel=config.panel.of_trp), seed=seed, **params)
        if self._of.state_size or self._of.num_intervals > 1:
            raise ConfigError("feedback.trp-selection.of", of, "a scheme whose reports stand alone, of one interval")
        self.explicit = self._of.explicit  # type: ignore[misc]
        self._cri_bits = (trps - 1).bit_length()

    def check_band(self, num_rb: int, subband_rb: int) -> None:
        """That of the scheme."""
        self._of.check_band(num_rb, subband_rb)

    @property
    def label(self) -> str:
        """``<scheme>+cri``."""
        return f"{self._of.label}+cri"

    @property
    def max_bits(self) -> int:
        """CRI and the longest report."""
        return int(self._cri_bits + self._of.max_bits)

    @property
    def min_bits(self) -> int:
        """CRI and the longest of the shortest reports."""
        return int(self._cri_bits + self._of.min_bits)

    @property
    def part1_bits(self) -> int:
        """CRI and part 1; 0 for schemes without one."""
        part1 = int(self._of.part1_bits)
        return self._cri_bits + part1 if part1 else 0

    @property
    def cqi_position(self) -> int:
        """After CRI and RI."""
        return int(self._cri_bits + self._of.cqi_position)

    def _own(self, csi: CsiEstimate) -> tuple[np.ndarray, CsiEstimate]:
        """The strongest station ``[batch, user]`` and the estimates of its ports."""
        energy = np.sum(np.square(np.abs(self._by_trp(csi.h_hat))), axis=(2, 4, 5))
        best = energy.argmax(axis=2)

        def part(h: np.ndarray) -> np.ndarray:
            by_trp = self._by_trp(h)
            index = best.reshape(*best.shape, *[1] * (by_trp.ndim - 2))
            return np.take_along_axis(by_trp, index, axis=3)[:, :, :, 0]

        history = None if csi.history is None else part(csi.history)
        return best, replace(csi, h_hat=part(csi.h_hat), history=history)

    def _by_trp(self, h: np.ndarray) -> np.ndarray:
        """``[batch, user, rx_ant, port, ...]`` with the axis of ports as station and port of it."""
        return h.reshape(*h.shape[:3], self.config.panel.num_trps, -1, *h.shape[4:])

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Station, and the report on it."""
        best, own = self._own(csi)
        report = self._of.report(own)
        bits = np.concatenate([bitfield.pack(best[..., None], self._cri_bits), report.bits], axis=2)
        return CsiReport(bits, np.asarray(report.num_bits) + self._cri_bits)

    def omit(self, report: CsiReport, max_bits: int) -> CsiReport:
        """The station stays."""
        cri, inner = self._split(report)
        short = self._of.omit(inner, max_bits - self._cri_bits)
        return CsiReport(np.concatenate([cri, short.bits], axis=2), np.asarray(short.num_bits) + self._cri_bits)

    def _split(self, report: CsiReport) -> tuple[np.ndarray, CsiReport]:
        num_bits = np.asarray(report.num_bits)
        if num_bits.size and num_bits.min() <= self._cri_bits:
            raise PayloadError(f"report.num_bits: got {num_bits.min()}; allowed: more than {self._cri_bits}")
        cri, inner = np.split(report.bits, [self._cri_bits], axis=2)
        return cri, CsiReport(inner, num_bits - self._cri_bits)

    def ue_bops(self, csi: CsiEstimate) -> np.ndarray | None:
        """Bit operations of the scheme."""
        found: np.ndarray | None = self._of.ue_bops(self._own(csi)[1])
        return found

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """The scheme's CSI on the ports of the station, zeros on those of the others."""
        cri, inner = self._split(report)
        trps = self.config.panel.num_trps
        best = bitfield.unpack(cri, self._cri_bits)[..., 0] if self._cri_bits else np.zeros(cri.shape[:2], np.int64)
        known = self._of.reconstruct(inner)
        good = best < trps
        on = (np.arange(trps) == best[..., None])[..., None]  # [batch, user, trp, 1]
        at = 2 if known.h is None else 3
        value = np.expand_dims(known.value, at)
        on = on.reshape(*best.shape, *[1] * (at - 2), trps, *[1] * (value.ndim - at - 1))
        spread = (value * on).reshape(*value.shape[:at], -1, *value.shape[at + 2 :])
        valid = good if known.valid is None else good & known.valid
        return CsiReconstruction(**{"w" if known.h is None else "h": spread}, valid=valid)
