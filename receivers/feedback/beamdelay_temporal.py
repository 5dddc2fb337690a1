"""Beam-delay reports that may refer to the newest acknowledged one."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from receivers.beamdelay.codebook import MOST_BITS
from receivers.beamdelay.predicted import PredictedTables
from receivers.beamdelay.reference import Reference
from receivers.beamdelay.temporal import TemporalCodebook
from receivers.feedback.beamdelay import BeamDelayFeedback
from receivers.weights.card import Card
from receivers.weights.folder import WeightFolder
from simulator.core import bitfield
from simulator.core.errors import PayloadError
from simulator.core.params import Integer, SnrDb, validated
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport
from simulator.core.units import db_to_lin
from simulator.maths.transforms import subband_eigenvectors


class TemporalTables(WeightFolder):
    """Folder of tables of reports with a reference: ``card.json`` and ``tables.npz``."""

    task, kind, schema = "beamdelay-temporal", "feedback", Card


class TemporalBeamDelayFeedback(BeamDelayFeedback):
    r"""Beam-delay reports, each of which may refer to the newest report that the gNB has acknowledged.

    A flag says whether it does. With a reference, the report has the group and the origins of the reference, and codes
    what the reference, times a gain of 0, 1/2, 3/4 or 1, leaves of the coefficients, in contexts that see the
    reference. Both ends compute the reference in integers, from reports and acknowledgements alone. The UE refers
    where rate and distortion are less and the report is not longer, so that the flag is the most that it may lose.

    Args:
        config: public configuration.
        bits: length of a report, RI and flag included; with ``step`` the longest, 1706 unless given.
        step: size of the quantiser's step for a layer of energy 1: reports of variable length; None: the UE chooses one
            of eight steps for every report, so that it has ``bits``.
        weights: tables of reports that stand alone, name in the zoo or folder.
        reference: tables of reports with a reference, name in the zoo or folder.
        slope: squared steps that a bit is worth to the quantiser.
        refit: fit the phases of the subbands to the quantised coefficients.
        rank: 1..4, or "auto".
        snr_db: SNR that the UE assumes for the RI [dB].
        seed: not used.

    Payload: RI, flag (1 bit); flag 0: as :class:`~receivers.feedback.beamdelay.BeamDelayFeedback` after its RI; flag 1:
    gain (2 bits), step (3 bits) where it is not public, then all coefficients, the first one like the others. A
    reference of another rank is none.

    Source: contexts from an earlier picture: Marpe, Schwarz, Wiegand, IEEE Trans. Circuits Syst. Video Technol. 13(7),
    2003.
    """

    name = "beamdelay-temporal"

    @validated("feedback.beamdelay-temporal")
    def __init__(
        self,
        config: CsiConfig,
        *,
        bits: Annotated[Integer, Field(ge=17, le=MOST_BITS)] | None = None,
        step: Annotated[float, Field(ge=0.005, le=1)] | None = None,
        weights: str = "beamdelay-urban",
        reference: str = "beamdelay-temporal",
        slope: Annotated[float, Field(gt=0, le=1)] = 0.06,
        refit: bool = True,
        rank: Annotated[int, Field(ge=1, le=4)] | Literal["auto"] = "auto",
        snr_db: SnrDb = 10.0,
        seed: int = 0,
    ):
        super().__init__(
            config, bits=bits, step=step, weights=weights, slope=slope, refit=refit, rank=rank, snr_db=snr_db
        )
        folder = TemporalTables(reference)
        self._referred, self._reference = PredictedTables.load(folder.file), folder.name
        c, ri_bits = config, self.part1_bits
        self.books = {
            rank: TemporalCodebook(
                c.panel, c.num_subcarriers, c.subband_size, rank, self._tables, self._referred, self._step,
                self._bits - ri_bits, **self._options,
            )
            for rank in self.ranks
        }  # fmt: skip

    @property
    def label(self) -> str:
        """As of ``beamdelay``, with ``-temporal`` after the name."""
        tables = "" if self._reference == "beamdelay-temporal" else f"-{self._reference}"
        return super().label.replace("beamdelay", "beamdelay-temporal", 1) + tables

    @property
    def state_size(self) -> int:  # type: ignore[override]
        """Rank, group, origins and coefficients of a report."""
        return Reference.size(self.ranks[-1], self._cells)

    @property
    def _cells(self) -> int:
        return self.config.panel.num_ports * self.config.num_subbands

    def _no_state(self, batch: int, users: int) -> np.ndarray:
        return np.zeros((batch, users, self.state_size), np.int16)

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Reports that stand alone."""
        return self.report_after(csi, self._no_state(*csi.h_hat.shape[:2]))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Directions of reports that stand alone; those that refer to another one are invalid."""
        return self.reconstruct_after(report, self._no_state(*report.bits.shape[:2]))[0]

    def report_after(self, csi: CsiEstimate, state: np.ndarray) -> CsiReport:
        """Best rank of every UE, coded with or without the state as a reference."""
        batch, users = csi.h_hat.shape[:2]
        h = csi.h_hat.reshape(batch * users, *csi.h_hat.shape[2:])
        state = state.reshape(len(h), -1)
        noise = db_to_lin(-self.snr_db) + np.asarray(csi.error_var, np.float64).reshape(-1)
        bits, num_bits = np.zeros((len(h), self.max_bits), np.uint8), np.zeros(len(h), np.int64)
        best = np.full(len(h), -np.inf)
        ri_bits = self.part1_bits
        for index, (rank, book) in enumerate(self.books.items()):
            v = subband_eigenvectors(h, self.config.subband_size, rank)
            reference, known = Reference.unpack(state, self.ranks[-1], rank, self._cells)
            payload, length, decoded, _ = book.encode(v, reference, known)
            one = len(self.books) == 1
            w = None if one else book.precoder(decoded)
            rate = np.zeros(len(h)) if w is None else self._rate(h, w, self.config.subband_size, noise)
            rows = np.flatnonzero(rate > best)
            best[rows] = rate[rows]
            bits[rows] = 0
            bits[rows, :ri_bits] = bitfield.pack(np.array([index]), ri_bits)
            bits[rows, ri_bits : ri_bits + payload.shape[1]] = payload[rows]
            num_bits[rows] = ri_bits + length[rows]
        return CsiReport(bits.reshape(batch, users, -1), num_bits.reshape(batch, users))

    def reconstruct_after(self, report: CsiReport, state: np.ndarray) -> tuple[CsiReconstruction, np.ndarray]:
        """Directions, and the state that they make; a report that refers to nothing is invalid and keeps the state."""
        batch, users, width = report.bits.shape
        bits = report.bits.reshape(batch * users, width)
        num_bits = np.asarray(report.num_bits, np.int64).reshape(-1)
        if num_bits.size and not 1 <= num_bits.min() <= num_bits.max() <= self.max_bits:
            got = f"{num_bits.min()}..{num_bits.max()}"
            raise PayloadError(f"report.num_bits: got {got}; allowed: 1..{self.max_bits}")
        bits = np.pad(bits, ((0, 0), (0, max(self.max_bits - width, 0))))
        bits = bits * (np.arange(bits.shape[1]) < num_bits[:, None])
        state = state.reshape(len(bits), -1)
        new, most, ri_bits = state.copy(), self.ranks[-1], self.part1_bits
        index = bitfield.unpack(bits[:, :ri_bits], ri_bits)[:, 0] if ri_bits else np.zeros(len(bits), np.int64)
        valid = np.zeros(len(bits), bool)
        c = self.config
        w = np.zeros((len(bits), c.panel.num_ports, c.num_layers, c.num_subbands), np.complex64)
        for number, (rank, book) in enumerate(self.books.items()):
            rows = np.flatnonzero(index == number)
            if rows.size:
                reference, known = Reference.unpack(state[rows], most, rank, self._cells)
                length = np.maximum(num_bits[rows] - ri_bits, 0)
                decoded, good = book.decode(bits[rows, ri_bits : self.max_bits], length, reference, known)
                w[rows, :, :rank] = book.precoder(decoded) * good[:, None, None, None]
                valid[rows] = good
                new[rows[good]] = decoded.pack(most)[good]
        shape = batch, users
        rec = CsiReconstruction(w=w.reshape(*shape, *w.shape[1:]), valid=valid.reshape(shape))
        return rec, new.reshape(*shape, -1)

    def omit(self, report: CsiReport, max_bits: int) -> CsiReport:
        """The first ``max_bits`` bits: every prefix is a report."""
        num_bits = np.minimum(report.num_bits, max(max_bits, self.min_bits))
        return CsiReport(report.bits * (np.arange(report.bits.shape[-1]) < num_bits[..., None]), num_bits)

    def ue_bops(self, csi: CsiEstimate) -> np.ndarray:
        """Those of both ways to code a report, with and without a reference, whether there is one or not."""
        (features, hidden), (more, units) = self._tables.w1.shape, self._referred.w1.shape
        ratio = (64 * more * units + 256 * (more + units)) / (64 * features * hidden + 256 * (features + hidden))
        return super().ue_bops(csi) * (1 + ratio)

    @property
    def min_bits(self) -> int:
        """RI, flag and one bit."""
        return self.part1_bits + 2
