"""Index of the best word of a stored codebook: LBG, or refined by a network (SSLCF, MSLCF)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from receivers.codebooks.search import best_codeword
from receivers.codebooks.stored import StoredCodebook
from simulator.core import bitfield
from simulator.core.errors import ConfigError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.params import validated
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport


class CodebookFeedback(FeedbackScheme):
    r"""The UE sends :math:`\arg\max_i \sum |h c_i|^2`, the gNB looks the index up in its codebook.

    With a codebook for each of several environments (MSLCF) the gNB signals over the downlink which one holds; with
    ``environment_in_report`` the UE confirms it at the start of every report, so that every report is read with the
    codebook it was made with.

    Args:
        config: public configuration; one layer per UE.
        path: folder of the codebook.
        environment: environment of the cell; None: the only one there is.
        environment_in_report: count the index of the environment, ceil(log2) of their number, in every report.
        frequency: "wideband" or "subband".
        seed: not used.

    Payload: environment, then the index of every band, most significant bit first.

    Source: Zhuang et al., arXiv:2505.08566, Eqs. (9)-(11) (single-side), (14), (15) (dual-side).
    """

    explicit = False

    @validated("feedback.codebook")
    def __init__(
        self,
        config: CsiConfig,
        *,
        path: str,
        environment: str | None = None,
        environment_in_report: bool = True,
        frequency: Literal["wideband", "subband"] = "wideband",
        seed: int = 0,
    ):
        if config.num_layers != 1:
            raise ConfigError(
                "precoding.layers_per_user", config.num_layers, "1 with the scheme codebook (one beam per UE)"
            )
        self.config, self._stored = config, StoredCodebook(path)
        if self._stored.panel != config.panel:
            raise ConfigError("feedback.codebook.path", f"{path}: {self._stored.panel}", f"{config.panel}")
        known = self._stored.environments
        if environment is None and len(known) > 1:
            raise ConfigError("feedback.codebook.environment", None, ", ".join(known))
        self.environment = environment or known[0]
        if self.environment not in known:
            raise ConfigError("feedback.codebook.environment", environment, ", ".join(known))
        self._number = known.index(self.environment)
        self._environment_bits = (len(known) - 1).bit_length() if environment_in_report else 0
        self._starts = [0] if frequency == "wideband" else list(config.subband_starts)
        self._frequency = frequency

    @property
    def label(self) -> str:
        """``<name>-b<bits>``, with the suffix ``-subband`` where beams are per subband."""
        suffix = "-subband" if self._frequency == "subband" else ""
        return f"{self._stored.name}-b{self._stored.bits}{suffix}"

    @property
    def max_bits(self) -> int:
        """Length of every report."""
        return self._environment_bits + self._stored.bits * len(self._starts)

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Best codeword of every UE and band."""
        batch, users, _, ports, _ = csi.h_hat.shape
        searched = self._stored.searched(self.environment)
        index = np.empty((batch * users, len(self._starts)), np.int64)
        for field, band in enumerate(np.split(csi.h_hat, self._starts[1:], axis=-1)):
            rows = np.moveaxis(band, 3, 4).reshape(batch * users, -1, ports)
            index[:, field] = best_codeword(rows, searched)
        environment = np.full((batch * users, 1), self._number)
        bits = np.concatenate(
            [bitfield.pack(environment, self._environment_bits), bitfield.pack(index, self._stored.bits)], axis=1
        ).reshape(batch, users, -1)
        return CsiReport(bits, np.full((batch, users), self.max_bits))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Unit-norm beams; a report of another environment is marked invalid."""
        bits = report.expect_length(self.max_bits)
        environment, index = np.split(bits, [self._environment_bits], axis=2)
        valid = np.ones(bits.shape[:2], bool)
        if self._environment_bits:
            valid = bitfield.unpack(environment, self._environment_bits)[..., 0] == self._number
        words = self._stored.codebook(self.environment)[bitfield.unpack(index, self._stored.bits)]
        words = np.repeat(words, self.config.num_subbands // len(self._starts), axis=2)  # [batch, user, subband, port]
        w = np.where(valid[..., None, None], words, np.complex64(0))
        return CsiReconstruction(w=np.swapaxes(w, 2, 3)[:, :, :, None, :], valid=valid)
