"""Common part of the schemes of TS 38.214: rank, PMI of the chosen rank, and back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from receivers.codebooks.pmi import Pmi, PmiCodebook, check_subband
from receivers.feedback.refinement import ReportRefinement
from simulator.core import bitfield
from simulator.core.errors import ConfigError, PayloadError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport
from simulator.core.units import db_to_lin

BitString = Annotated[str, Field(pattern="^[01]+$", max_length=1024)]  # most significant bit first

_MAX_SAMPLES = 64  # of the band, for the estimate of the rate
_CHUNK = 256  # reports at a time


def pmi_unit(config: CsiConfig, r: int, name: str) -> int:
    """Frequency samples of a PMI subband, of which a subband has ``r``; ConfigError where it cannot be divided."""
    if config.subband_size % r:
        raise ConfigError(f"feedback.{name}.r", r, f"1 with subbands of {config.subband_size} samples")
    return config.subband_size // r


def restricted(subset: str | None, ranks: str | None) -> str:
    """Suffix of the label of a restricted scheme: ``-cbsr`` (codebook subset restriction), ``-ri<bits>``."""
    return ("" if subset is None else "-cbsr") + ("" if ranks is None else f"-ri{ranks}")


class PmiFeedback(FeedbackScheme):
    r"""RI and PMI as in TS 38.214, from a codebook for each rank.

    The UE estimates the rate :math:`\sum_l \log_2(1 + \mathrm{SINR}_l)` of every allowed rank after an LMMSE receiver
    that has the whole cell to itself, at ``snr_db``, and reports the best one.

    Payload: part 1 is RI (ceil(log2) of the number of allowed ranks), then the fields of the PMI in part 1; part 2 is
    the PMI. Its length follows from part 1. The link puts a CQI after the RI where the scenario has link adaptation.

    Args:
        config: public configuration.
        rank: the rank, or "auto" for every rank from 1 to ``num_layers``.
        snr_db: SNR that the UE assumes for the RI [dB].
        ranks: ranks that the codebook has and the gNB allows, increasing.
        name: scheme, for error messages.
    """

    explicit = False

    name: str

    def __init__(self, config: CsiConfig, rank: int | str, snr_db: float, ranks: Sequence[int]):
        self.config, self.snr_db = config, snr_db
        self.ranks = [each for each in ranks if each <= config.num_layers and rank in ("auto", each)]
        if not self.ranks:
            most = min(config.num_layers, ranks[-1])
            whole = list(ranks) == list(range(1, ranks[-1] + 1))
            which = (
                f"1..{most}" if whole else ", ".join(map(str, (each for each in ranks if each <= most))) or "no rank"
            )
            allowed = f"auto or {which} (precoding.layers_per_user {config.num_layers}, codebook {ranks[-1]})"
            raise ConfigError(f"feedback.{self.name}.rank", rank, allowed)
        self.codebooks = {r: self.codebook(r, self.ranks[-1]) for r in self.ranks}
        self._ri_bits = (len(self.ranks) - 1).bit_length()

    def check_band(self, num_rb: int, subband_rb: int) -> None:
        """Subbands of TS 38.214."""
        check_subband(num_rb, subband_rb)

    @abstractmethod
    def codebook(self, rank: int, max_rank: int) -> PmiCodebook:
        """Codebook of one rank."""

    _refinement: ReportRefinement | None = None

    def refine_with(self, weights: str | None) -> None:
        """Refine what the gNB decodes with these weights (see docs/refinement.md); None: do not.

        Codebooks then have ``size``, ``num_units``, ``beam_delay`` and ``combine``.
        """
        if weights is not None:
            book = self.codebooks[self.ranks[0]]
            field = f"feedback.{self.name}.refine"
            self._refinement = ReportRefinement(field, weights, book.size, book.num_units)

    @property
    def refined(self) -> str:
        """Suffix of the label: ``-<weights>`` of a refinement."""
        return "" if self._refinement is None else f"-{self._refinement.name}"

    def directions(self, book: Any, pmi: Pmi) -> np.ndarray:
        """What the gNB takes a PMI for: unit-norm directions complex64 ``[report, port, layer, unit]``."""
        if self._refinement is None:
            return book.precoder(pmi)
        report = book.beam_delay(pmi)
        return book.combine(report.group, self._refinement(report))

    @property
    def part1_bits(self) -> int:
        """Bits of part 1, the same in every report."""
        return self._ri_bits + max(book.part1_bits for book in self.codebooks.values())

    @property
    def cqi_position(self) -> int:
        """The CQI follows the RI (TS 38.212, Table 6.3.1.1.2-7)."""
        return self._ri_bits

    @property
    def max_bits(self) -> int:
        """Parts 1 and 2 at the rank that needs most bits."""
        return self.part1_bits + max(book.part2_bits for book in self.codebooks.values())

    @property
    def min_bits(self) -> int:
        """Part 1 and the shortest part 2 at the rank, and number of coefficients, that needs most bits."""
        return self.part1_bits + max(
            book.part2_bits if cuts is None else int(cuts[:, -1].max())
            for book in self.codebooks.values()
            for cuts in [book.lengths(bitfield.pack(np.arange(2**book.part1_bits)[:, None], book.part1_bits))]
        )

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Best rank of every UE with its PMI."""
        batch, users = csi.h_hat.shape[:2]
        h = self._channels(csi)
        error_var = np.asarray(csi.error_var, np.float64).reshape(-1)
        noise = db_to_lin(-self.snr_db) + error_var
        bits = np.zeros((len(h), self.max_bits), np.uint8)
        num_bits = np.zeros(len(h), np.int64)
        best = np.full(len(h), -np.inf)
        for index, book in enumerate(self.codebooks.values()):
            pmi = book.select(h, *([error_var] if book.knows_errors else []))
            one = len(self.codebooks) == 1
            rate = np.zeros(len(h)) if one else self._rate(h, book.precoder(pmi), book.unit, noise)
            part1, part2, length = book.pack(pmi)
            rows = np.flatnonzero(rate > best)
            best[rows] = rate[rows]
            fields = [
                np.broadcast_to(bitfield.pack(np.array([index]), self._ri_bits), (len(h), self._ri_bits)),
                part1,
            ]
            head = np.concatenate(fields, axis=1)
            bits[rows] = 0
            bits[rows, : head.shape[1]] = head[rows]
            bits[rows, self.part1_bits : self.part1_bits + part2.shape[1]] = part2[rows]
            num_bits[rows] = self.part1_bits + length[rows]
        return CsiReport(bits.reshape(batch, users, -1), num_bits.reshape(batch, users))

    def _channels(self, csi: CsiEstimate) -> np.ndarray:
        """Channels of all UEs as the codebook takes them."""
        return csi.h_hat.reshape(-1, *csi.h_hat.shape[2:])

    def omit(self, report: CsiReport, max_bits: int) -> CsiReport:
        """Whole groups of part 2 are left out, the least important first, until the report fits (TS 38.214, 5.2.3).

        A report that is still too long keeps its most important group.
        """
        bits = report.bits.reshape(-1, report.bits.shape[-1]).copy()
        num_bits = np.array(report.num_bits, np.int64).reshape(-1)
        index = bitfield.unpack(bits[:, : self._ri_bits], self._ri_bits)[:, 0] if self._ri_bits else 0 * num_bits
        start = self._ri_bits
        for number, book in enumerate(self.codebooks.values()):
            rows = np.flatnonzero((index == number) & (num_bits > max_bits))
            cuts = book.lengths(bits[rows, start : start + book.part1_bits])
            if cuts is None or not rows.size:
                continue
            fits = self.part1_bits + cuts <= max_bits
            cut = np.where(fits.any(axis=1), fits.argmax(axis=1), cuts.shape[1] - 1)
            num_bits[rows] = self.part1_bits + cuts[np.arange(len(rows)), cut]
        bits *= np.arange(bits.shape[1]) < num_bits[:, None]
        return CsiReport(bits.reshape(report.bits.shape), num_bits.reshape(report.num_bits.shape))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Directions of the reported rank, zeros for layers beyond it; bits that are no codeword are marked invalid."""
        batch, users, width = report.bits.shape
        bits = report.bits.reshape(batch * users, width)
        num_bits = np.asarray(report.num_bits, np.int64).reshape(-1)
        least = 1 if self.nested else self.part1_bits + 1
        if num_bits.size and not least <= num_bits.min() <= num_bits.max() <= self.max_bits:
            got = f"{num_bits.min()}..{num_bits.max()}"
            raise PayloadError(f"report.num_bits: got {got}; allowed: {least}..{self.max_bits}")
        bits = np.pad(bits, ((0, 0), (0, max(self.max_bits - width, 0))))
        index = bitfield.unpack(bits[:, : self._ri_bits], self._ri_bits)[:, 0] if self._ri_bits else 0 * num_bits
        valid = np.zeros(len(bits), bool)
        fine = any(book.fine for book in self.codebooks.values())
        samples = self.config.num_subcarriers if fine else self.config.num_subbands
        intervals = (self.num_intervals,) if self.num_intervals > 1 else ()
        shape = len(bits), self.config.panel.num_ports, self.config.num_layers, *intervals, samples
        w = np.zeros(shape, np.complex64)
        for number, (rank, book) in enumerate(self.codebooks.items()):
            rows = np.flatnonzero(index == number)
            if not rows.size:
                continue
            start = self._ri_bits
            part1 = bits[rows, start : start + book.part1_bits]
            part2 = bits[rows, self.part1_bits : self.part1_bits + book.part2_bits]
            pmi, good = book.unpack(part1, part2, np.maximum(num_bits[rows] - self.part1_bits, 0))
            directions = self.directions(book, pmi)
            directions = directions * good.reshape(-1, *[1] * (directions.ndim - 1))
            if fine:
                directions = directions[..., np.arange(samples) // book.unit]
            w[rows, :, :rank] = directions
            valid[rows] = good
        w, valid = w.reshape(batch, users, *w.shape[1:]), valid.reshape(batch, users)
        return (
            CsiReconstruction(w=w[..., 0, :], valid=valid, intervals=w)
            if intervals
            else CsiReconstruction(w=w, valid=valid)
        )

    def _rate(self, h: np.ndarray, w: np.ndarray, unit: int, noise: np.ndarray) -> np.ndarray:
        """Mean sum rate ``[report]`` of ``w`` complex64 ``[report, port, layer, unit]`` after an LMMSE receiver."""
        samples = np.unique(np.linspace(0, h.shape[3] - 1, min(h.shape[3], _MAX_SAMPLES)).astype(int))
        layers = w.shape[2]
        rate = np.empty(len(h))
        for start in range(0, len(h), _CHUNK):
            rows = slice(start, start + _CHUNK)
            channel = np.moveaxis(h[rows][..., samples], 3, 1)
            e = (
                channel @ np.moveaxis(w[rows][..., samples // unit], 3, 1) / np.sqrt(layers)
            )  # [report, sample, rx, layer]
            gram = np.conj(np.swapaxes(e, 2, 3)) @ e / noise[rows, None, None, None] + np.eye(layers)
            # SINR + 1 = 1 / [(I + E^H E / noise)^-1]_ll (Tse, Viswanath, Eq. 8.67).
            inverse = np.real(np.diagonal(np.linalg.inv(gram), axis1=2, axis2=3))
            rate[rows] = np.mean(np.sum(-np.log2(np.clip(inverse, 1e-12, 1)), axis=2), axis=1)
        return rate
