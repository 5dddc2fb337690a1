"""Classical transform coding: KLT, quantiser with reverse water-filling, entropy or fixed-length code."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from receivers.coding.range_coder import RangeCoder
from receivers.feedback.amplitude import AmplitudeField
from receivers.feedback.autoencoder import check_geometry
from receivers.feedback.images import from_unit_images, to_unit_images
from receivers.models.klt import Klt
from receivers.quantization.lloyd_max import gaussian_levels
from receivers.weights.folder import TrainedModel
from simulator.core import bitfield
from simulator.core.errors import ConfigError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.params import validated
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport

LIMIT = 127
_MOST_BITS = 8


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
        self._trained = TrainedModel(weights)
        if self._trained.card["model"]["name"] != "klt":
            raise ConfigError("feedback.klt.weights", weights, "weights of a recipe with model klt")
        check_geometry(config, self._trained, "channel")
        self._klt = Klt.load(self._trained.file)
        self._delays = self._trained.input.num_delays
        if coding == "entropy":
            self._step = self._klt.step_for(self._coded, LIMIT)
            counts = self._klt.counts(self._step, LIMIT)
            self._coder = RangeCoder(2 * LIMIT + 1, **RangeCoder.fit(counts))
        else:
            self._allocation = allocate(np.repeat(self._klt.variances / 2, 2), self._coded)
            self._std = np.repeat(np.sqrt(self._klt.variances / 2), 2)

    @property
    def label(self) -> str:
        """``<weights>-b<bits>`` (entropy coded) or ``<weights>-fixed-b<bits>``."""
        return f"{self._trained.name}-{'fixed-' if self.coding == 'fixed' else ''}b{self.bits}{self._amplitude.suffix}"

    @property
    def max_bits(self) -> int:
        """Longest possible report."""
        if self.coding == "fixed":
            return self.config.num_rx_ant * self.bits
        head = self.config.num_rx_ant * self._amplitude.bits
        return head + self._coder.max_bits(self.config.num_rx_ant * 2 * len(self._klt.basis))

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Transform and code the estimate of every UE."""
        batch, users = csi.h_hat.shape[:2]
        images, scale = to_unit_images(csi.h_hat, self.config, self._delays)
        z = self._klt.coefficients(images)
        if self.coding == "entropy":
            cells = self._klt.cells(z, self._step, LIMIT)
            bits, num_bits = self._coder.encode(cells.reshape(batch * users, -1))
        else:
            pairs = np.ascontiguousarray(z)[..., None].view(np.float32).reshape(len(z), -1) / self._std
            fields = []
            for bits_ in range(1, _MOST_BITS + 1):
                chosen = pairs[:, self._allocation == bits_]
                levels = gaussian_levels(bits_)
                index = np.searchsorted((levels[1:] + levels[:-1]) / 2, chosen)
                fields.append(bitfield.pack(index, bits_))
            bits = np.concatenate(fields, axis=1).reshape(batch * users, -1)
            num_bits = np.full(len(bits), bits.shape[1], np.int64)
        head = self._amplitude.pack(scale.reshape(batch * users, -1))
        bits = np.concatenate([head, bits], axis=1)
        return CsiReport(bits.reshape(batch, users, -1), (num_bits + head.shape[1]).reshape(batch, users))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Decode and transform back."""
        batch, users = report.bits.shape[:2]
        rx = self.config.num_rx_ant
        components, head = len(self._klt.basis), rx * self._amplitude.bits
        flat = report.bits.reshape(batch * users, -1)
        amplitude = self._amplitude.unpack(flat[:, :head]) if flat.shape[1] >= head else None
        if self.coding == "entropy":
            lengths = np.asarray(report.num_bits, np.int64).reshape(-1)
            cells, valid = self._coder.decode(flat[:, head:], np.maximum(lengths - head, 0), rx * 2 * components)
            valid &= lengths >= head
            z = self._klt.values(cells.reshape(-1, 2 * components), self._step, LIMIT)
        else:
            flat = report.expect_length(rx * self.bits).reshape(batch * users, -1)
            bits = flat[:, head:].reshape(-1, self._coded)
            pairs, start = np.zeros((len(bits), 2 * components)), 0
            for bits_ in range(1, _MOST_BITS + 1):
                columns = np.flatnonzero(self._allocation == bits_)
                field = bits[:, start : start + bits_ * len(columns)]
                pairs[:, columns] = gaussian_levels(bits_)[bitfield.unpack(field, bits_)]
                start += bits_ * len(columns)
            z = np.ascontiguousarray((pairs * self._std).astype(np.float32)).view(np.complex64)
            valid = np.ones(batch * users, bool)
        x = self._klt.images(z, self._delays, self.config.panel.num_ports)
        return from_unit_images(x, valid.reshape(batch, users), self.config, amplitude)


def allocate(variances: np.ndarray, bits: int) -> np.ndarray:
    """Whole bits int64 ``[coefficient]`` with the sum ``bits``, each where it reduces the squared error most.

    Args:
        variances: float ``[coefficient]`` of Gaussian coefficients.
        bits: sum; at most 8 go to one coefficient.

    Source: Gersho, Gray, Vector Quantization and Signal Compression, 1992, Sec. 8.3 (greedy allocation).
    """
    if bits > _MOST_BITS * len(variances):
        raise ConfigError("feedback.klt.bits", bits, f"1..{_MOST_BITS * len(variances)} (8 per coefficient)")
    distortion = np.array([1.0] + [gaussian_distortion(b) for b in range(1, _MOST_BITS + 1)])
    gains = np.outer(distortion[:-1] - distortion[1:], variances)  # [bit, coefficient], falling along bits
    best = np.argsort(-gains.ravel(), kind="stable")[:bits]
    return np.bincount(best % len(variances), minlength=len(variances))


def gaussian_distortion(bits: int) -> float:
    """Mean squared error of the Lloyd-Max quantiser for a unit Gaussian: 1 minus the power of its levels."""
    from scipy.special import ndtr

    levels = gaussian_levels(bits)
    ends = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
    return float(1 - np.sum(np.diff(ndtr(ends)) * levels**2))
