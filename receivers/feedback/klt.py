"""Classical transform coding: KLT, quantiser with reverse water-filling, entropy or fixed-length code."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from receivers.feedback.amplitude import AmplitudeField
from receivers.feedback.autoencoder import check_geometry
from receivers.feedback.images import from_unit_images, to_unit_images
from receivers.feedback.klt_codec import LIMIT, KltCodec
from receivers.weights.folder import TrainedModel
from simulator.core.errors import ConfigError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.params import validated
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport


class KltFeedback(FeedbackScheme):
    r"""Best linear code for the statistics of its training channels, at any bit budget.

    The coefficients of the unit-power angular-delay image in the eigenvectors of its covariance are uncorrelated.
    Reverse water-filling gives every one with a variance above the water level D the rate
    :math:`\tfrac12 \log_2(\sigma_i^2 / D)`:

    * ``coding="entropy"``: one uniform step for all, as a common D requires, and a range coder with a table for
      each coefficient; ``bits`` is the mean over the training samples.
    * ``coding="fixed"``: whole bits, each given to the coefficient whose error it reduces most, and Lloyd-Max
    quantisers
      for Gaussian coefficients; every report has exactly ``bits``.

    Payload: amplitudes of all receive antennas (``scale_bits`` each), then the coefficients of all.

    Args:
        config: public configuration; panel and band must be those of the transform.
        weights: folder or zoo name of a KLT (recipe with model ``klt``).
        bits: budget per receive antenna and report, the amplitude included, 1..4096.
        coding: "entropy" or "fixed".
        scale_bits: bits of the amplitude of an image, uniform in dB; None: 0 where all have unit power, else 8.
        seed: not used.

    Source: Cover, Thomas, Elements of Information Theory, 2nd ed., Theorem 10.3.3; Goyal, IEEE Signal Process. Mag.
    18(5), 2001; levels: Max, 1960.
    """

    @validated("feedback.klt")
    def __init__(
        self,
        config: CsiConfig,
        *,
        weights: str,
        bits: Annotated[int, Field(ge=1, le=4096)],
        coding: Literal["entropy", "fixed"] = "entropy",
        scale_bits: Annotated[int, Field(ge=0, le=16)] | None = None,
        seed: int = 0,
    ):
        self._amplitude = AmplitudeField(config, "klt", scale_bits)
        self.config, self.bits, self.coding = config, bits, coding
        self._coded = bits - self._amplitude.bits  # of the coefficients
        if self._coded < 1:
            raise ConfigError("feedback.klt.bits", bits, f"at least {1 + self._amplitude.bits} (amplitude included)")
        self._trained = TrainedModel.shared(weights)
        if self._trained.card["model"]["name"] != "klt":
            raise ConfigError("feedback.klt.weights", weights, "weights of a recipe with model klt")
        check_geometry(config, self._trained, "channel")
        self._klt = self._trained.klt
        self._delays = self._trained.input.num_delays
        step = self._klt.step_for(self._coded, LIMIT) if coding == "entropy" else None
        self._codec = KltCodec(self._klt, config.num_rx_ant, self._coded, step)

    @property
    def label(self) -> str:
        """``<weights>-b<bits>`` (entropy coded) or ``<weights>-fixed-b<bits>``."""
        return f"{self._trained.name}-{'fixed-' if self.coding == 'fixed' else ''}b{self.bits}{self._amplitude.suffix}"

    @property
    def max_bits(self) -> int:
        """Longest possible report."""
        return self.config.num_rx_ant * self._amplitude.bits + self._codec.max_bits

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Transform and code the estimate of every UE."""
        batch, users = csi.h_hat.shape[:2]
        images, scale = to_unit_images(csi.h_hat, self.config, self._delays)
        bits, num_bits = self._codec.encode(self._klt.coefficients(images))
        head = self._amplitude.pack(scale.reshape(batch * users, -1))
        bits = np.concatenate([head, bits], axis=1)
        return CsiReport(bits.reshape(batch, users, -1), (num_bits + head.shape[1]).reshape(batch, users))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Decode and transform back."""
        batch, users = report.bits.shape[:2]
        rx = self.config.num_rx_ant
        head = rx * self._amplitude.bits
        if self.coding == "fixed":
            report.expect_length(rx * self.bits)
        flat, lengths = report.bits.reshape(batch * users, -1), np.asarray(report.num_bits, np.int64).reshape(-1)
        amplitude = self._amplitude.unpack(flat[:, :head]) if flat.shape[1] >= head else None
        z, valid = self._codec.decode(flat[:, head:], lengths - head)
        x = self._klt.images(z, self._delays, self.config.panel.num_ports)
        return from_unit_images(x, valid.reshape(batch, users), self.config, amplitude)
