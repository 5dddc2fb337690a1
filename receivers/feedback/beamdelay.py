"""Beam-delay transform coding of precoder directions with learned contexts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from receivers.beamdelay.channel_codebook import ChannelCodebook
from receivers.beamdelay.codebook import MOST_BITS, BeamDelayCodebook
from receivers.beamdelay.tables import Tables
from receivers.feedback.amplitude import AmplitudeField
from receivers.feedback.pmi import PmiFeedback
from receivers.weights.card import Card
from receivers.weights.folder import WeightFolder
from simulator.core import bitfield
from simulator.core.errors import ConfigError, PayloadError
from simulator.core.params import Integer, SnrDb, validated
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport


class BeamDelayTables(WeightFolder):
    """Folder of learned tables: ``card.json`` and ``tables.npz``."""

    task, kind, schema = "beamdelay", "feedback", Card


class BeamDelayFeedback(PmiFeedback):
    r"""RI and beam-delay coefficients, entropy coded in contexts that an integer network finds.

    The directions of every subband are taken to DFT beams and delay taps around the strongest coefficient, quantised
    with one step and a rate-distortion optimised decision, and coded by a range coder; the gNB reads every coefficient
    as the mean of those in its cell and context. Every prefix of a report is a report.

    Args:
        config: public configuration.
        bits: length of a report, RI included; with ``step`` the longest, 1706 unless given.
        step: size of the quantiser's step for a layer of energy 1: reports of variable length; None: the UE chooses one
            of eight steps for every report, so that it has ``bits``.
        weights: tables, name in the zoo or folder.
        slope: squared steps that a bit is worth to the quantiser; 0: plain dead zone (with ``step`` alone).
        refit: fit the phases of the subbands to the quantised coefficients.
        rank: 1..4, or "auto".
        snr_db: SNR that the UE assumes for the RI [dB].
        refine: weights (zoo name or folder) with which the gNB refines what it decodes; None: as decoded.
        synthesis: with ``step`` and ``refine``, passes at most of a search of the UE, which then knows the refinement,
            for the report that serves the gNB best (:mod:`receivers.beamdelay.synthesis`); 0: none.
        explicit: report the channel itself, of up to four receive antennas: gains, phases and delays of all frequency
            samples are kept; ``rank`` is then "auto".
        scale_bits: with ``explicit``, bits of the root mean square of every antenna, uniform in dB; None: 0 where all
            channels have unit power, else 8.
        seed: not used.

    Payload: RI, group, step (3 bits) where it is not public, beam and polarisation of every layer's strongest
    coefficient, then all coefficients in the order of their importance. With ``explicit`` a layer is a receive antenna:
    its amplitude in place of the RI, and tap and phase (7 bits) of its strongest coefficient after its beam.

    Source: the transform of TS 38.214 (Rel. 16), 5.2.2.2.5; dead zone and decision: Sullivan, Wiegand, IEEE Signal
    Process. Mag. 15(6), 1998; contexts: Marpe, Schwarz, Wiegand, IEEE Trans. Circuits Syst. Video Technol. 13(7), 2003.
    """

    name, nested = "beamdelay", True
    _synthesis = 0

    @validated("feedback.beamdelay")
    def __init__(
        self,
        config: CsiConfig,
        *,
        bits: Annotated[Integer, Field(ge=16, le=MOST_BITS)] | None = None,
        step: Annotated[float, Field(ge=0.005, le=1)] | None = None,
        weights: str = "beamdelay-urban",
        slope: Annotated[float, Field(ge=0, le=1)] = 0.06,
        refit: bool = True,
        rank: Annotated[int, Field(ge=1, le=4)] | Literal["auto"] = "auto",
        snr_db: SnrDb = 10.0,
        refine: str | None = None,
        synthesis: Annotated[Integer, Field(ge=0, le=32)] = 0,
        explicit: bool = False,
        scale_bits: Annotated[int, Field(ge=0, le=16)] | None = None,
        seed: int = 0,
    ):
        if bits is None and step is None:
            raise ConfigError("feedback.beamdelay.bits", None, "a number of bits, or step")
        if not slope and step is None:
            raise ConfigError("feedback.beamdelay.slope", slope, "more than 0 where the report has bits to fill")
        self._bits, self._step, self._filled = bits or MOST_BITS, step, step is None
        self._options = {"slope": slope, "refit": refit}
        folder = BeamDelayTables(weights)
        self._tables = Tables.load(folder.file)
        self._rank, self._weights = rank, folder.name
        self.explicit = explicit  # type: ignore[misc]
        if explicit:
            self._check_explicit(config, rank, refine)
            self._amplitude = AmplitudeField(config, self.name, scale_bits)
            rank, layers = config.num_rx_ant, replace(config, num_layers=config.num_rx_ant)
        elif scale_bits is not None:
            raise ConfigError("feedback.beamdelay.scale_bits", scale_bits, "null without explicit: true")
        super().__init__(layers if explicit else config, rank, snr_db, range(1, 5))
        self.config = config
        self.refine_with(refine)
        self._synthesis = synthesis
        if synthesis:
            if self._filled or self._refinement is None:
                raise ConfigError("feedback.beamdelay.synthesis", synthesis, "0 without step and refine")
            for book in self.codebooks.values():
                book.synthesise(self._refinement.network, partial(self.directions, book), synthesis)

    def _check_explicit(self, config: CsiConfig, rank: int | str, refine: str | None) -> None:
        if not 1 <= config.num_rx_ant <= _MOST_ANTENNAS:
            allowed = f"false, or 1..{_MOST_ANTENNAS} receive antennas (ue.num_rx_ant {config.num_rx_ant})"
            raise ConfigError("feedback.beamdelay.explicit", True, allowed)
        if rank != "auto":
            raise ConfigError("feedback.beamdelay.rank", rank, "auto with explicit: true, which reports channels")
        if refine is not None:
            raise ConfigError("feedback.beamdelay.refine", refine, "null with explicit: true: it refines directions")

    def check_band(self, num_rb: int, subband_rb: int) -> None:
        """Any band and subbands."""

    def codebook(self, rank: int, max_rank: int) -> BeamDelayCodebook:
        """Codebook of one rank."""
        c, ri_bits = self.config, (len(self.ranks) - 1).bit_length()
        if self.explicit:
            return ChannelCodebook(
                c.panel, c.num_subcarriers, rank, self._tables, self._step, self._bits, self._amplitude, **self._options
            )  # fmt: skip
        return BeamDelayCodebook(
            c.panel, c.num_subcarriers, c.subband_size, rank, self._tables, self._step, self._bits - ri_bits,
            **self._options,
        )  # fmt: skip

    @property
    def label(self) -> str:
        """``beamdelay-b<bits>`` or ``beamdelay-s<step>``, with what was not left at its default."""
        size = f"b{self._bits}" if self._filled else f"s{self._step:g}"
        size += f"-b{self._bits}" if not self._filled and self._bits != MOST_BITS else ""
        tables = "" if self._weights == "beamdelay-urban" else f"-{self._weights}"
        changed = "".join(f"-{key}{value:g}" for key, value in self._options.items() if value != _DEFAULTS[key])
        rank = f"-rank{self._rank}" if self._rank != "auto" else ""
        explicit = f"-explicit{self._amplitude.suffix}" if self.explicit else ""
        synthesis = f"-synthesis{self._synthesis}" if self._synthesis else ""
        return f"beamdelay-{size}{tables}{changed}{rank}{explicit}{self.refined}{synthesis}"

    @property
    def max_bits(self) -> int:
        """Longest report."""
        return self._bits

    @property
    def min_bits(self) -> int:
        """RI and one bit: every prefix is a report."""
        return self.part1_bits + 1

    def ue_bops(self, csi: CsiEstimate) -> np.ndarray:
        """Bit operations of the context network: 8 x 8 bits in its first layer, 16 x 8 in the others.

        It runs over all coefficients 5 times with a public step, about 13 times in the search for a budget. With
        ``synthesis`` also once in every pass, before them, and for the first and the last report at the gNB; so does
        the refinement, there and back for the gradient or for both answers, in 32 x 32 bits.
        """
        tried = self._synthesis + 3 if self._synthesis else 0
        once = 0.0
        for rank, book in self.codebooks.items():
            features, hidden = book.coder.tables.w1.shape
            once += rank * book.coder.grid.size * (64.0 * features * hidden + 256.0 * (features + hidden))
        refined = 0.0 if self._refinement is None or not tried else 1024.0 * sum(map(self._refinement.macs, self.ranks))
        return np.full(csi.h_hat.shape[:2], ((13 if self._filled else 5) + tried) * once + tried * refined)

    def omit(self, report: CsiReport, max_bits: int) -> CsiReport:
        """As many of the first coefficients as ``max_bits`` bits hold: they come in the order of their importance."""
        batch, users, width = report.bits.shape
        bits = report.bits.reshape(-1, width).copy()
        num_bits = np.array(report.num_bits, np.int64).reshape(-1)
        most = max(max_bits, self.min_bits)
        ranks = bitfield.unpack(bits[:, : self._ri_bits], self._ri_bits)[:, 0] if self._ri_bits else 0 * num_bits
        for number, book in enumerate(self.codebooks.values()):
            rows = np.flatnonzero((ranks == number) & (num_bits > most))
            if rows.size:
                pmi, _ = book.unpack(
                    bits[rows, self._ri_bits : self.part1_bits],
                    bits[rows, self.part1_bits :],
                    num_bits[rows] - self.part1_bits,
                )
                kept = book.pack(pmi, most - self.part1_bits)[1]
                bits[rows, self.part1_bits :] = 0
                bits[rows, self.part1_bits : self.part1_bits + kept.shape[1]] = kept
                num_bits[rows] = most
        return CsiReport(bits.reshape(batch, users, width), num_bits.reshape(batch, users))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Directions as of :class:`~receivers.feedback.pmi.PmiFeedback`; with ``explicit`` channels."""
        if not self.explicit:
            return super().reconstruct(report)
        batch, users, width = report.bits.shape
        num_bits = np.asarray(report.num_bits, np.int64).reshape(-1)
        if not 1 <= num_bits.min() <= num_bits.max() <= self.max_bits:
            got = f"{num_bits.min()}..{num_bits.max()}"
            raise PayloadError(f"report.num_bits: got {got}; allowed: 1..{self.max_bits}")
        bits = np.pad(report.bits.reshape(-1, width), ((0, 0), (0, max(self.max_bits - width, 0))))
        book, start = next(iter(self.codebooks.values())), self.part1_bits
        pmi, valid = book.unpack(bits[:, :start], bits[:, start : self.max_bits], np.maximum(num_bits - start, 0))
        h = book.channels(pmi)
        return CsiReconstruction(h=h.reshape(batch, users, *h.shape[1:]), valid=valid.reshape(batch, users))


_MOST_ANTENNAS = 4
_DEFAULTS = {"slope": 0.06, "refit": True}
