"""Enhanced Type II (Release 16; large panels: Release 19) feedback."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from receivers.beamdelay.recoding import RecodedCodebook, load_tables
from receivers.codebooks.etype2 import EnhancedTypeTwoCodebook
from receivers.codebooks.restriction import allowed_ranks
from receivers.feedback.pmi import BitString, PmiFeedback, pmi_unit, restricted
from receivers.weights.card import Card
from receivers.weights.folder import WeightFolder
from simulator.core.errors import ConfigError
from simulator.core.params import SnrDb, validated
from simulator.core.types import CsiConfig

_TABLES = "etype2-recoding-urban"


class RecodingTables(WeightFolder):
    """Folder of learned tables: ``card.json`` and ``tables.npz``."""

    task, kind, schema = "etype2_recoding", "feedback", Card


class EnhancedTypeTwoFeedback(PmiFeedback):
    """RI and enhanced Type II PMI with the full budget of coefficients, or as many of them as are worth their bits.

    Payload: RI; in part 1 the number of coefficients that are not zero. Part 2, group 0: i_{1,1}, i_{1,2}, i_{1,8};
    group 1: i_{1,5}, i_{1,6}, the more important bits of the bitmap i_{1,7}, i_{2,3} (4 bits a layer), i_{2,4} (3 bits)
    and i_{2,5} (4 bits) of the more important half of the coefficients; group 2: the rest of the three.

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
        subset_restriction: n1-n2-codebookSubsetRestriction-r16, bits B1 B2, most significant first: largest mean
            amplitudes of the beams of four groups (up to 32 ports); None: all are 1.
        rank_restriction: typeII-RI-Restriction-r16, 4 bits, that of rank 1 last; None: all are allowed.
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
        subset_restriction: BitString | None = None,
        rank_restriction: BitString | None = None,
        seed: int = 0,
    ):
        self._unit = pmi_unit(config, r, self.name)
        self.combination, self._r, self._rank, self._slope = combination, r, rank, slope
        folder = RecodingTables(_TABLES if recode is True else recode) if recode else None
        self._tables = None if folder is None else load_tables(folder.file)
        self._recoded = "" if folder is None else "-recoded" + (f"-{folder.name}" if folder.name != _TABLES else "")
        self._subset, self._suffix = subset_restriction, restricted(subset_restriction, rank_restriction)
        ranks = allowed_ranks(rank_restriction, 4, "feedback.etype2-r16.rank_restriction")
        if combination >= 7:
            if rank_restriction is not None and ranks[-1] > 2:
                allowed = f"no rank above 2 with combination {combination}"
                raise ConfigError("feedback.etype2-r16.rank_restriction", rank_restriction, allowed)
            ranks = [each for each in ranks if each <= 2]
        super().__init__(config, rank, snr_db, ranks)
        self.refine_with(refine)

    @property
    def label(self) -> str:
        """``etype2-pc<combination>`` and what was asked for.

        ``-R2``, ``-rank<n>``, ``-slope<x>``, ``-cbsr``, ``-ri<bits>``, ``-recoded``, ``-<weights>``.
        """
        return (
            f"etype2-pc{self.combination}"
            + ("-R2" if self._r == 2 else "")
            + ("" if self._rank == "auto" else f"-rank{self._rank}")
            + (f"-slope{self._slope:g}" if self._slope else "")
            + self._suffix
            + self._recoded
            + self.refined
        )

    def codebook(self, rank: int, max_rank: int) -> EnhancedTypeTwoCodebook | RecodedCodebook:
        """Codebook of one rank."""
        book = EnhancedTypeTwoCodebook(
            self.config.panel, self.config.num_subcarriers, self._unit, rank, self.combination, max_rank, self._r == 2,
            self._slope, self._subset,
        )  # fmt: skip
        return book if self._tables is None else RecodedCodebook(book, self.combination, self._tables)
