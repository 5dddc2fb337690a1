"""Variable-bit feedback: the first n bits of one network's report, for any n that the network grants."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from receivers.feedback.autoencoder import check_geometry, float_bops
from receivers.weights.folder import TrainedModel
from simulator.core.errors import ConfigError, PayloadError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.params import validated
from simulator.core.seeding import of_each
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport
from simulator.maths.transforms import from_mimo_image, to_mimo_image


class VariableBitFeedback(FeedbackScheme):
    r"""Channel of all antennas -> encoder -> log-odds -> bits; the gNB decodes as many as arrive.

    Reports are nested: the first n bits of a long report are the short report, so a report that the uplink cuts still
    decodes. The decoder reads -1 for bits that were not sent. With weights for images of unit power (``scaling:
    per_sample``) the amplitude of an image is not sent, so that every channel must have unit power per entry.

    Args:
        config: public configuration; panel, band and UE antennas must be those of the weights.
        weights: name in the zoo, or folder with ``card.json``.
        bits: n, length of every report; None: all bits of the weights.
        noisy: draw every bit with its probability, as the released code evaluates; otherwise the more probable value.
        seed: of the draw, together with the channels.

    Payload: n bits in the network's order, most important first by training.

    Source: Ji, Chung, IEEE Trans. Wireless Commun. 23(10), 2024; NF-KD.
    """

    nested: ClassVar[bool] = True

    @validated("feedback.variable-bit")
    def __init__(
        self,
        config: CsiConfig,
        *,
        weights: str,
        bits: Annotated[int, Field(ge=1)] | None = None,
        noisy: bool = False,
        seed: int = 0,
    ):
        self.config = config
        self._trained = TrainedModel.shared(weights)
        check_geometry(config, self._trained, "mimo")
        known = self._trained.input
        most = known.num_latents
        if self._trained.codec is not None:
            raise ConfigError("feedback.variable-bit.weights", weights, "weights of a network of bits (variable_bit)")
        if known.scaling == "per_sample" and config.amplitude_range_db is not None:
            allowed = "weights with scaling none, or normalization: per_sample (a nested report has no amplitude field)"
            raise ConfigError("feedback.variable-bit.weights", weights, allowed)
        if bits is not None and bits > most:
            allowed = f"1..{most}, what the weights {self._trained.name} have"
            raise ConfigError("feedback.variable-bit.bits", bits, allowed)
        self._bits, self._most = bits or most, most
        self._noise = seed if noisy else None
        self._taps = known.num_delays if known.domain == "angular_delay" else None

    @property
    def label(self) -> str:
        """``<weights>-b<n>``."""
        return f"{self._trained.name}-b{self._bits}" + "-noisy" * (self._noise is not None)

    @property
    def max_bits(self) -> int:
        """Length of every report."""
        return self._bits

    def report(self, csi: CsiEstimate) -> CsiReport:
        """The first n bits of every UE's report."""
        lead, images = csi.h_hat.shape[:2], to_mimo_image(csi.h_hat, self.config.panel, self._taps)
        images = images.reshape(-1, *images.shape[2:])
        if self._trained.input.scaling == "per_sample":  # after truncation, as in training
            power = 2 * np.mean(np.square(images, dtype=np.float64), axis=(1, 2, 3), keepdims=True)
            images = (images / np.sqrt(np.maximum(power, 1e-30))).astype(np.float32)
        logit = self._trained.encode(images)
        if self._noise is not None:
            noise = [rng.logistic(size=logit.shape[1]) for rng in of_each(self._noise, images)]
            logit = logit + np.reshape(noise, logit.shape)
        bits = (logit[:, : self._bits] > 0).astype(np.uint8).reshape(*lead, -1)
        return CsiReport(bits, np.full(lead, self._bits))

    def ue_bops(self, csi: CsiEstimate) -> np.ndarray:
        """Bit operations of the encoder, whatever the length."""
        return np.full(csi.h_hat.shape[:2], float_bops(self._trained))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Decode reports of any length up to the weights' own; one without a bit is marked invalid."""
        from receivers.models.concrete import MASKED  # imports Keras, which a check before a run does not need

        num_bits = np.asarray(report.num_bits)
        if num_bits.size and num_bits.max() > self._most:
            raise PayloadError(f"report.num_bits: got {num_bits.max()}; allowed: 0..{self._most}")
        width = min(report.bits.shape[-1], self._most)
        received = np.full((*num_bits.shape, self._most), MASKED, np.float32)
        sent = np.arange(width) < num_bits[..., None]
        received[..., :width] = np.where(sent, report.bits[..., :width], np.float32(MASKED))
        images = self._trained.decode(received.reshape(-1, self._most))
        h = from_mimo_image(images, self.config.panel, self._taps, self.config.num_subcarriers)
        h = h.reshape(*num_bits.shape, *h.shape[1:])
        valid = num_bits > 0
        return CsiReconstruction(h=np.where(valid[..., None, None, None], h, np.complex64(0)), valid=valid)
