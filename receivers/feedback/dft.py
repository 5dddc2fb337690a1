"""One oversampled DFT beam for the band and a co-phasing factor between polarisations."""

from __future__ import annotations

from typing import Literal

import numpy as np

from receivers.codebooks.dft import dft_beams_2d
from simulator.core import bitfield
from simulator.core.errors import ConfigError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.params import validated
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport


class DftFeedback(FeedbackScheme):
    r"""Type-I-like: :math:`w = [v_{l,m}; \varphi v_{l,m}] / \sqrt 2` with :math:`\varphi \in \{1, j, -1, -j\}`.

    The beam is chosen for the whole band; the phase for the band or per subband. Oversampling is 4 along an axis with
    more than one element, else 1. Single-polarised panels send the beam only.

    Args:
        config: public configuration; one layer per UE.
        cophasing: "wideband" or "subband".
        seed: not used (the codebook has no random part).

    Payload: beam number ``l * O2 * N2 + m``, then one 2-bit ``i2`` per band, most significant bit first.

    Source: 3GPP TS 38.214, 5.2.2.2.1 (codebookMode 1, one layer).
    """

    explicit = False

    @validated("feedback.dft")
    def __init__(self, config: CsiConfig, *, cophasing: Literal["wideband", "subband"] = "wideband", seed: int = 0):
        if config.num_layers != 1:
            raise ConfigError("precoding.layers_per_user", config.num_layers, "1 with the scheme dft (one beam per UE)")
        self.config, self.cophasing = config, cophasing
        panel = config.panel
        o1, o2 = (4 if n > 1 else 1 for n in (panel.n1, panel.n2))
        self._beams = dft_beams_2d(panel.n1, panel.n2, o1, o2)
        self._beam_bits = (len(self._beams) - 1).bit_length()
        self._phases = 1j ** np.arange(4 if panel.num_pol == 2 else 1)
        self._phase_bits = 2 if panel.num_pol == 2 else 0

    @property
    def label(self) -> str:
        """``dft``, with the suffix ``-subband`` where phases are per subband."""
        return "dft" + ("-subband" if self.cophasing == "subband" else "")

    @property
    def max_bits(self) -> int:
        """Beam index and phases."""
        return self._beam_bits + self._phase_bits * self._num_phases

    @property
    def _num_phases(self) -> int:
        return self.config.num_subbands if self.cophasing == "subband" else 1

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Beam and phases with the largest received energy."""
        batch, users, rx, _, subcarriers = csi.h_hat.shape
        pols = self.config.panel.num_pol
        h = csi.h_hat.reshape(batch, users, rx, pols, -1, subcarriers)
        # Received signal of every beam on each polarisation [batch, user, pol, beam, rx, subcarrier].
        field = np.einsum("burpes,ke->bupkrs", h, self._beams, optimize=True)
        starts = self.config.subband_starts if self.cophasing == "subband" else np.array([0])
        own = np.sum(np.abs(field) ** 2, axis=(2, 4, 5))
        if pols == 1:
            beam = own.argmax(axis=-1)
            return self._pack(beam, np.zeros((batch, users, 1), np.int64))
        cross = np.add.reduceat(np.sum(np.conj(field[:, :, 0]) * field[:, :, 1], axis=3), starts, axis=-1)
        gain = 2 * np.real(cross[..., None] * self._phases)  # [batch, user, beam, band, phase]
        beam = (own + gain.max(axis=-1).sum(axis=-1)).argmax(axis=-1)
        phase = np.take_along_axis(gain.argmax(axis=-1), beam[..., None, None], axis=2)[:, :, 0]
        return self._pack(beam, phase)

    def _pack(self, beam: np.ndarray, phase: np.ndarray) -> CsiReport:
        bits = np.concatenate(
            [bitfield.pack(beam[..., None], self._beam_bits), bitfield.pack(phase, self._phase_bits)], axis=-1
        )
        return CsiReport(bits, np.full(beam.shape, self.max_bits))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Unit-norm precoders; beam numbers that do not exist are marked invalid."""
        bits = report.expect_length(self.max_bits)
        beam = bitfield.unpack(bits[..., : self._beam_bits], self._beam_bits).sum(axis=-1)  # 0 without bits
        valid = beam < len(self._beams)
        v = self._beams[np.where(valid, beam, 0)] * valid[..., None]  # [batch, user, element]
        if self.config.panel.num_pol == 1:
            w = np.repeat(v[..., None], self.config.num_subbands, axis=-1)
        else:
            phase = self._phases[bitfield.unpack(bits[..., self._beam_bits :], self._phase_bits)]
            phase = np.repeat(phase, self.config.num_subbands // self._num_phases, axis=-1)
            second = v[..., None] * phase[:, :, None]
            w = np.concatenate([np.broadcast_to(v[..., None], second.shape), second], axis=2) / np.sqrt(2)
        return CsiReconstruction(w=w[:, :, :, None].astype(np.complex64), valid=valid)
