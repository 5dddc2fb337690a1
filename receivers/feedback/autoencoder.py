"""Learned compression: encoder, quantiser and entropy coder at the UE; the inverse at the gNB."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from receivers.feedback.amplitude import AmplitudeField
from receivers.feedback.images import from_unit_images, to_unit_images
from receivers.feedback.latents import LatentCodec
from receivers.quantization.weight_bits import WIDTHS
from receivers.weights.folder import TrainedModel
from simulator.core.errors import ConfigError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.params import validated
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport


class AutoencoderFeedback(FeedbackScheme):
    r"""Angular-delay image -> encoder -> quantiser -> entropy coder -> bits, and back.

    .. code-block:: text

        h_hat -> 2-D DFT per polarisation, IDFT -> first taps -> unit power -> encoder -> cells -> coder -> bits
        h     <- DFT                             <- taps       <- decoder <- cell levels  <- coder <-

    Every receive antenna is an image of its own. The image has unit power; its amplitude is sent where the
    scenario does not normalise every sample.

    Args:
        config: public configuration; panel and band must be those of the weights.
        weights: name in the zoo, or folder with ``card.json``.
        quantizer: quantiser by name; None: that of the training.
        bits: bits of one index before entropy coding, 1..16;
            None: those of the training.
        coder: entropy coder by name; its tables ship with the weights.
        prior: tables from the histogram of every "latent", of all "pooled", or from the "learned" density.
        levels: "shipped" reads a cell as the table of the weights says (for most the mean of the training latents in
            it), "nominal" as the quantiser has it.
        scale_bits: bits of the amplitude of an image, uniform in dB; None: 0 where all have unit power, else 8.
        weight_bits: bits of the encoder's weights, 16, 8, 4 or 2 (symmetric, one scale per channel), with activations
            of 16 bits; None runs it in floating point.
        seed: not used.

    Payload: amplitudes of all receive antennas (``scale_bits`` each), then the latents of all, entropy coded, each
    preceded by the image's scale where the weights have one.
    """

    @validated("feedback.autoencoder")
    def __init__(
        self,
        config: CsiConfig,
        *,
        weights: str,
        quantizer: str | None = None,
        bits: Annotated[int, Field(ge=1, le=16)] | None = None,
        coder: str = "range",
        prior: Literal["latent", "pooled", "learned"] = "latent",
        levels: Literal["shipped", "nominal"] = "shipped",
        scale_bits: Annotated[int, Field(ge=0, le=16)] | None = None,
        weight_bits: int | None = None,
        seed: int = 0,
    ):
        if weight_bits not in (None, *WIDTHS):
            raise ConfigError("feedback.autoencoder.weight_bits", weight_bits, ", ".join(map(str, WIDTHS)))
        self._amplitude = AmplitudeField(config, "autoencoder", scale_bits)
        self.config, self.scale_bits, self._weight_bits = config, self._amplitude.bits, weight_bits
        self._trained = TrainedModel.shared(weights, alone=True)
        check_geometry(config, self._trained, "channel")
        self._codec = LatentCodec(self._trained, quantizer, bits, coder, prior, levels, config.num_rx_ant)
        self._label = f"{self._trained.name}-{self._codec.key}-{coder}"
        self._label += f"-{prior}" if prior != "latent" and coder != "fixed" else ""
        self._label += "-nominal" if levels == "nominal" else ""
        self._label += self._amplitude.suffix
        self._label += f"-w{weight_bits}" if weight_bits else ""

    @cached_property
    def _rounded(self) -> Any:
        """Encoder with rounded weights and its one policy."""
        from receivers.models.mixed_precision import MixedPrecisionEncoder

        encoder = MixedPrecisionEncoder(self._trained.model.encoder)
        return encoder, (self._weight_bits,) * len(encoder.blocks)

    def _encode(self, images: np.ndarray) -> np.ndarray:
        if self._weight_bits is None:
            return self._trained.encode(images)
        encoder, policy = self._rounded
        return encoder.encode(self._trained.network_images(images), policy)

    def ue_bops(self, csi: CsiEstimate) -> np.ndarray:
        """Bit operations of the encoder, the same for all reports."""
        if self._weight_bits is None:
            each = float_bops(self._trained)
        else:
            encoder, policy = self._rounded
            each = encoder.bops(policy)
        return np.full(csi.h_hat.shape[:2], self.config.num_rx_ant * each)

    @property
    def label(self) -> str:
        """``<weights>-<quantizer>-b<bits>-<coder>``, e.g. ``csinet-250-mid_tread-b5-range``."""
        return self._label

    @property
    def max_bits(self) -> int:
        """Longest possible report."""
        return self.config.num_rx_ant * self.scale_bits + self._codec.max_bits

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Compress the estimate of every UE."""
        batch, users, rx = csi.h_hat.shape[:3]
        images, scale = to_unit_images(csi.h_hat, self.config, self._trained.input.num_delays)
        latent = self._encode(images)
        coded, lengths = self._codec.encode(latent)
        head = self._amplitude.pack(scale.reshape(batch * users, rx))
        bits = np.concatenate([head, coded], axis=1)
        return CsiReport(bits.reshape(batch, users, -1), (lengths + head.shape[1]).reshape(batch, users))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Decode and decompress; reports that are no codeword sequence are marked invalid."""
        batch, users, width = report.bits.shape
        bits, num_bits = report.bits.reshape(batch * users, width), np.asarray(report.num_bits, np.int64).reshape(-1)
        head = self.config.num_rx_ant * self.scale_bits
        latent, valid = self._codec.decode(bits[:, head:], np.maximum(num_bits - head, 0))
        valid = (valid & (num_bits >= head)).reshape(batch, users)
        amplitude = self._amplitude.unpack(bits[:, :head]) if width >= head else None
        return from_unit_images(self._trained.decode(latent), valid, self.config, amplitude)


def float_bops(trained: TrainedModel) -> float:
    """Bit operations of one image through the encoder in floating point."""
    return trained.encoder_macs * 32.0 * 32.0


def check_geometry(config: CsiConfig, trained: TrainedModel, target: str) -> None:
    """ConfigError unless panel, band and target are those of the weights."""
    panel, known = config.panel, trained.input
    received = {
        "bs.n1": (panel.n1, known.n1),
        "bs.n2": (panel.n2, known.n2),
        "bs.num_pol": (panel.num_pol, known.num_pol),
        "carrier (frequency samples)": (config.num_subcarriers, known.num_subcarriers),
        "carrier (sample spacing in Hz)": (float(config.spacing_hz), known.spacing_hz),
        "feedback.weights (target of the training)": (target, known.target),
    }
    if target == "mimo":
        received["ue.num_rx_ant"] = (config.num_rx_ant, known.num_rx_ant)
    if target == "eigenvector":
        received["carrier.subband_rb (frequency samples of a subband)"] = (config.subband_size, known.subband_size)
    for field, (value, expected) in received.items():
        if value != expected:
            raise ConfigError(field, value, f"{expected}, what the weights {trained.name} were trained for")
