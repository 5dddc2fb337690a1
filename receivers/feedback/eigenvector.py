"""Learned implicit feedback: subband eigenvectors, layer by layer, through a trained autoencoder."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from receivers.feedback.autoencoder import check_geometry, float_bops
from receivers.feedback.latents import LatentCodec
from receivers.weights.folder import TrainedModel
from simulator.core.interfaces import FeedbackScheme
from simulator.core.params import validated
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport
from simulator.maths.transforms import from_eigenvector_image, subband_eigenvectors, to_eigenvector_image


class EigenvectorFeedback(FeedbackScheme):
    """Eigenvectors of every subband -> beam domain, aligned phases -> encoder -> quantiser -> coder -> bits, and back.

    Every layer is an image of its own; no amplitude is sent, the gNB learns directions.

    Args:
        config: public configuration; panel, band and subbands must be those of the weights.
        weights: name in the zoo, or folder with ``card.json``.
        quantizer: quantiser by name; None: that of the training.
        bits: bits of one index before entropy coding, 1..16; None: those of the training.
        coder: entropy coder by name; "fixed" gives every report the same length.
        prior: tables from the histogram of every "latent", of all "pooled", or from the "learned" density.
        levels: "shipped" reads a cell as the table of the weights says, "nominal" as the quantiser has it.
        seed: not used.

    Payload: the latents of all layers, strongest first.

    Source: 3GPP TR 38.843, 6.2.2 (spatial-frequency CSI compression with eigenvectors as input).
    """

    explicit = False

    @validated("feedback.eigenvector")
    def __init__(
        self,
        config: CsiConfig,
        *,
        weights: str,
        quantizer: str | None = None,
        bits: Annotated[int, Field(ge=1, le=16)] | None = None,
        coder: str = "fixed",
        prior: Literal["latent", "pooled", "learned"] = "latent",
        levels: Literal["shipped", "nominal"] = "shipped",
        seed: int = 0,
    ):
        self.config = config
        self._trained = TrainedModel.shared(weights)
        check_geometry(config, self._trained, "eigenvector")
        self._codec = LatentCodec(self._trained, quantizer, bits, coder, prior, levels, config.num_layers)
        self._label = f"{self._trained.name}-{self._codec.key}-{coder}"
        self._label += f"-{prior}" if prior != "latent" and coder != "fixed" else ""
        self._label += "-nominal" if levels == "nominal" else ""

    @property
    def label(self) -> str:
        """``<weights>-<quantizer>-b<bits>-<coder>``."""
        return self._label

    @property
    def max_bits(self) -> int:
        """Longest possible report."""
        return self._codec.max_bits

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Compress the directions of every UE."""
        batch, users = csi.h_hat.shape[:2]
        w = subband_eigenvectors(csi.h_hat, self.config.subband_size, self.config.num_layers)
        images = to_eigenvector_image(w, self.config.panel)
        latent = self._trained.encode(images.reshape(-1, *images.shape[3:]))
        bits, num_bits = self._codec.encode(latent)
        return CsiReport(bits.reshape(batch, users, -1), num_bits.reshape(batch, users))

    def ue_bops(self, csi: CsiEstimate) -> np.ndarray:
        """Bit operations of the encoder, once for every layer."""
        return np.full(csi.h_hat.shape[:2], self.config.num_layers * float_bops(self._trained))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Decode; reports that are no codeword sequence are marked invalid."""
        batch, users, width = report.bits.shape
        num_bits = np.asarray(report.num_bits, np.int64).reshape(-1)
        latent, valid = self._codec.decode(report.bits.reshape(batch * users, width), num_bits)
        w = from_eigenvector_image(self._trained.decode(latent), self.config.panel)
        w = w.reshape(batch, users, self.config.num_layers, *w.shape[1:])  # [..., layer, subband, port]
        valid = valid.reshape(batch, users)
        w = np.where(valid[:, :, None, None, None], np.moveaxis(w, -1, 2), np.complex64(0))
        return CsiReconstruction(w=w, valid=valid)
