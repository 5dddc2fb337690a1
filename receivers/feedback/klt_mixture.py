"""Mixture transform coding of directions: class, KLT of the class, quantiser, code."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from receivers.feedback.autoencoder import check_geometry
from receivers.feedback.klt_codec import LIMIT, KltCodec
from receivers.models.klt_mixture import KltMixture
from receivers.weights.folder import TrainedModel
from simulator.core import bitfield
from simulator.core.errors import ConfigError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.params import validated
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport
from simulator.maths.transforms import from_eigenvector_image, subband_eigenvectors, to_eigenvector_image


class KltMixtureFeedback(FeedbackScheme):
    """Subband eigenvectors -> beam domain, phases aligned -> class -> its KLT -> quantiser -> bits, and back.

    The UE takes the class that codes its layers with fewest bits at the water level of the budget, and turns the
    phases of the subbands, which are free, to suit that class.

    Args:
        config: public configuration; panel, band and subbands must be those of the transform.
        weights: folder or zoo name of a mixture (recipe with model ``klt_mixture`` and target ``eigenvector``).
        bits: of one layer, the class included, 1..4096.
        coding: "entropy" (one step for all classes, ``bits`` is the mean over the training samples) or "fixed" (whole
            bits for each coefficient; no report is longer).
        seed: not used.

    Payload: the class, ceil(log2(K)) bits, then the coefficients of all layers.

    Source: as :class:`receivers.models.klt_mixture.KltMixture`; target: 3GPP TR 38.843, 6.2.2.
    """

    explicit = False

    @validated("feedback.klt-mixture")
    def __init__(
        self,
        config: CsiConfig,
        *,
        weights: str,
        bits: Annotated[int, Field(ge=1, le=4096)],
        coding: Literal["entropy", "fixed"] = "entropy",
        seed: int = 0,
    ):
        self.config, self.bits, self.coding = config, bits, coding
        self._trained = TrainedModel.shared(weights)
        if self._trained.card["model"]["name"] != "klt_mixture":
            raise ConfigError("feedback.klt-mixture.weights", weights, "weights of a recipe with model klt_mixture")
        check_geometry(config, self._trained, "eigenvector")
        self._mixture = KltMixture.load(self._trained.file)
        self._head, layers = (len(self._mixture.klts) - 1).bit_length(), config.num_layers
        coded = bits - -(-self._head // layers)
        if coded < 1:
            raise ConfigError("feedback.klt-mixture.bits", bits, f"at least {bits - coded + 1} (class included)")
        step = self._mixture.step_for(coded, LIMIT) if coding == "entropy" else None
        self._codecs = [KltCodec(klt, layers, coded, step) for klt in self._mixture.klts]
        self._level = self._mixture.water_level(coded)

    @property
    def label(self) -> str:
        """``<weights>-b<bits>`` (entropy coded) or ``<weights>-fixed-b<bits>``."""
        return f"{self._trained.name}-{'fixed-' if self.coding == 'fixed' else ''}b{self.bits}"

    @property
    def max_bits(self) -> int:
        """Longest possible report."""
        return self._head + max(codec.max_bits for codec in self._codecs)

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Class and coefficients of every UE."""
        layers, lead = self.config.num_layers, csi.h_hat.shape[:2]
        w = subband_eigenvectors(csi.h_hat, self.config.subband_size, layers)
        images = to_eigenvector_image(w, self.config.panel)
        images = images.reshape(-1, *images.shape[3:])
        index, images = self._mixture.classify(images, self._level, layers)
        bits = np.zeros((len(index), self.max_bits), np.uint8)
        bits[:, : self._head] = bitfield.pack(index[:, None], self._head)
        num_bits = np.full(len(index), self._head, np.int64)
        for k, rows in self._members(index):
            own = images.reshape(len(index), layers, *images.shape[1:])[rows].reshape(-1, *images.shape[1:])
            coded, length = self._codecs[k].encode(self._mixture.klts[k].coefficients(own))
            bits[rows, self._head : self._head + coded.shape[1]] = coded
            num_bits[rows] += length
        return CsiReport(bits.reshape(*lead, -1), num_bits.reshape(lead))

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Decode and transform back; reports that are no code words are marked invalid."""
        config, layers = self.config, self.config.num_layers
        batch, users, width = report.bits.shape
        bits = np.pad(report.bits, ((0, 0), (0, 0), (0, max(self._head - width, 0)))).reshape(batch * users, -1)
        num_bits = np.asarray(report.num_bits, np.int64).reshape(-1)
        index = bitfield.unpack(bits[:, : self._head], self._head)[:, 0] if self._head else 0 * num_bits
        subbands, ports = config.num_subbands, config.panel.num_ports
        w = np.zeros((len(bits), ports, layers, subbands), np.complex64)
        valid = np.zeros(len(bits), bool)
        for k, rows in self._members(index):
            z, valid[rows] = self._codecs[k].decode(bits[rows, self._head :], num_bits[rows] - self._head)
            own = from_eigenvector_image(self._mixture.klts[k].images(z, subbands, ports), config.panel)
            own = np.moveaxis(own.reshape(-1, layers, subbands, ports), 3, 1)
            w[rows] = np.where(valid[rows, None, None, None], own, 0)
        return CsiReconstruction(w=w.reshape(batch, users, *w.shape[1:]), valid=valid.reshape(batch, users))

    def _members(self, index: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Classes that occur with their rows."""
        found = [(k, np.flatnonzero(index == k)) for k in range(len(self._codecs))]
        return [(k, rows) for k, rows in found if rows.size]
