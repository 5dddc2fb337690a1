"""Enhanced Type II (Release 16; large panels: Release 19) feedback."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from receivers.beamdelay.recoding import RecodedCodebook, load_tables
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.feedback.pmi import PmiFeedback, pmi_unit
from receivers.weights.card import Card
from receivers.weights.folder import WeightFolder
from simulator.core.params import SnrDb, validated
from simulator.core.types import CsiConfig

_TABLES = "etype2-recoding-urban"


class RecodingTables(WeightFolder):
    """Folder of learned tables: ``card.json`` and ``tables.npz``."""

    task, kind, schema = "etype2_recoding", "feedback", Card


class EnhancedTypeTwoFeedback(PmiFeedback):
    """RI and enhanced Type II PMI with the full budget of coefficients, or as many of them as are worth their bits.

    Args:
        config: public configuration, panels of 4 to 32, 48, 64 or 128 ports.
        combination: paramCombination-r16, 1..8.
        r: R, PMI subbands in a subband, 1 or 2 (with 2 the subband must have an even number of samples).
        rank: 1..4, or "auto".
        snr_db: SNR that the UE assumes for the RI [dB].
        refine: weights (zoo name or folder) with which the gNB refines what it decodes; None: the PMI as it is.
        recode: send parts 1 and 2 without loss in fewer bits, by a range code with learned tables; true: those of the
            zoo, or the name or folder of others. Not part of the standard; omission keeps such reports whole.
        slope: loss of SGCS that a bit of part 2 is worth: every report has the number of coefficients of least loss
            and bits, at most those of the combination; 0: as many as the combination allows.
        seed: not used.

    Source: TS 38.214 (Rel. 16), 5.2.2.2.5; 48, 64 and 128 ports: Rel. 19.
    """

    name = "etype2-r16"

    @validated("feedback.etype2-r16")
    def __init__(
        self,
        config: CsiConfig,
        *,
        combination: Annotated[int, Field(ge=1, le=8)] = 6,
        r: Literal[1, 2] = 1,
        rank: Annotated[int, Field(ge=1, le=4)] | Literal["auto"] = "auto",
        snr_db: SnrDb = 10.0,
        refine: str | None = None,
        recode: bool | str = False,
        slope: Annotated[float, Field(ge=0, le=0.02)] = 0.0,
        seed: int = 0,
    ):
        self._unit = pmi_unit(config, r, self.name)
        self.combination, self._r, self._rank, self._slope = combination, r, rank, slope
        folder = RecodingTables(_TABLES if recode is True else recode) if recode else None
        self._tables = None if folder is None else load_tables(folder.file)
        self._recoded = "" if folder is None else "-recoded" + (f"-{folder.name}" if folder.name != _TABLES else "")
        ranks = range(1, 3 if combination >= 7 else 5)
        super().__init__(config, rank, snr_db, ranks)
        self.refine_with(refine)

    @property
    def label(self) -> str:
        """``etype2-pc<combination>``, ``-R2``, ``-rank<n>``, ``-slope<x>``, ``-recoded``, ``-<weights>`` if given."""
        return (
            f"etype2-pc{self.combination}"
            + ("-R2" if self._r == 2 else "")
            + ("" if self._rank == "auto" else f"-rank{self._rank}")
            + (f"-slope{self._slope:g}" if self._slope else "")
            + self._recoded
            + self.refined
        )

    def codebook(self, rank: int, max_rank: int) -> EnhancedTypeTwoCodebook | RecodedCodebook:
        """Codebook of one rank."""
        book = EnhancedTypeTwoCodebook(
            self.config.panel, self.config.num_subcarriers, self._unit, rank, self.combination, max_rank, self._r == 2,
            self._slope,
        )  # fmt: skip
        return book if self._tables is None else RecodedCodebook(book, self.combination, self._tables)
