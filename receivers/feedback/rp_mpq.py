"""RP-MPQ: an autoencoder whose encoder runs at a precision chosen for every CSI realisation."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from receivers.feedback.amplitude import AmplitudeField
from receivers.feedback.autoencoder import check_geometry
from receivers.feedback.images import from_unit_images, to_unit_images
from receivers.feedback.latents import LatentCodec
from receivers.precision.control import calibrate, mixture_for, select, static_policy
from receivers.precision.policy_set import FILE, PolicySet
from receivers.precision.violation import hoyer_sparsity, importance, mrt_rate, violation_cost
from receivers.weights.folder import TrainedModel
from simulator.core.errors import ConfigError, StoreError
from simulator.core.interfaces import FeedbackScheme
from simulator.core.params import validated
from simulator.core.seeding import of_each
from simulator.core.types import CsiConfig, CsiEstimate, CsiReconstruction, CsiReport
from simulator.maths.transforms import from_angular_delay, to_complex


class RpMpqFeedback(FeedbackScheme):
    r"""Angular-delay image -> policy -> encoder at that precision -> quantiser -> coder -> bits.

    The policy needs no bits: the decoder is the same for all. Controllers, all at the same average cost:

    - ``online``: per report, :math:`\arg\min_\pi w_t \tilde V(\pi; \rho, s_t) + \lambda \kappa_\pi` from the UE's own
      observations (SNR estimate, sparsity of its CSI) and the tables of the offline stage.
    - ``oracle``: the same with the true violation of every policy, for which the UE would need decoder and noise-free
      channel. An upper bound, not a scheme.
    - ``static``: one policy for all, the least divergent of the representative set within the budget.
    - ``ilp``: one policy, the least sensitive one of the ILP within the budget (HAWQ).
    - ``random``: drawn per report, blind to the channel.

    Payload: as of ``autoencoder``.

    Args:
        config: public configuration; panel and band must be those of the weights.
        weights: name in the zoo, or folder with ``card.json``.
        policies: file of ``csilink policies``; None: ``precision.npz`` beside the weights.
        controller: what chooses the policy: the algorithm, a bound that knows the true rate, or a baseline.
        budget: average cost of weights' bit operations over those at 16 bits.
        gamma: reliability target; one of those of the tables.
        snr_db: the UE's estimate of its SNR [dB].
        alpha: weight of sparse realisations in Eq. (32).
        coder: entropy coder of the latents.
        scale_bits: bits of the amplitude of an image, uniform in dB; None: 0 where all have unit power, else 8.
        seed: of random choices.

    Source: Park, Choi, RP-MPQ, Sec. V.
    """

    @validated("feedback.rp-mpq")
    def __init__(
        self,
        config: CsiConfig,
        *,
        weights: str,
        policies: str | None = None,
        controller: Literal["online", "oracle", "static", "ilp", "random"] = "online",
        budget: Annotated[float, Field(gt=0, le=1)] = 0.5,
        gamma: Annotated[float, Field(gt=0, lt=1)] = 0.95,
        snr_db: float = 10.0,
        alpha: Annotated[float, Field(ge=0)] = 1.0,
        coder: str = "fixed",
        scale_bits: Annotated[int, Field(ge=0, le=16)] | None = None,
        seed: int = 0,
    ):
        self.config, self.controller, self._seed = config, controller, seed
        self._budget, self._gamma, self._snr_db, self._alpha = budget, gamma, snr_db, alpha
        self._trained = TrainedModel.shared(weights, alone=True)
        check_geometry(config, self._trained, "channel")
        path = Path(policies) if policies else self._trained.folder / FILE
        self._set = PolicySet.load(path)
        if self._set.meta["weights_sha256"] != self._trained.card["weights"]["sha256"]:
            raise StoreError(f"{path}: policies of other weights than {self._trained.name}")
        self._codec = LatentCodec(self._trained, None, None, coder, "latent", "shipped", config.num_rx_ant)
        self._label = f"{self._trained.name}-mpq-{controller}-c{budget:g}"
        if controller in ("online", "oracle"):
            self._label += f"-g{gamma:g}-{snr_db:g}dB"
        self._label += "" if coder == "fixed" else f"-{coder}"
        self._amplitude = AmplitudeField(config, "rp-mpq", scale_bits)
        self._label += self._amplitude.suffix
        self._table = self._set.surrogate(gamma)
        self._choice = self._calibrated()

    def _calibrated(self) -> Any:
        """Parameters of the controller: multiplier, policy or probabilities."""
        s = self._set
        try:
            if self.controller in ("static", "ilp"):
                among = s.refined if self.controller == "static" else s.ilp
                merit = s.divergence if self.controller == "static" else s.omega
                return np.flatnonzero(among)[static_policy(s.kappa[among], merit[among], self._budget)]
            if self.controller == "random":
                return mixture_for(s.kappa[s.refined], self._budget)
            violation = self._table.lookup(self._snr_db, s.sparsity)[:, s.refined]
            return calibrate(violation, importance(s.sparsity, self._alpha), s.kappa[s.refined], self._budget)
        except ConfigError as error:
            raise ConfigError(f"feedback.rp-mpq.{error.field}", error.received, error.allowed) from None

    @property
    def label(self) -> str:
        """``<weights>-mpq-<controller>-c<budget>[-g<gamma>-<snr>dB]``."""
        return self._label

    @property
    def max_bits(self) -> int:
        """Longest possible report."""
        return self.config.num_rx_ant * self._amplitude.bits + self._codec.max_bits

    @cached_property
    def _encoder(self) -> Any:
        from receivers.models.mixed_precision import MixedPrecisionEncoder

        encoder = MixedPrecisionEncoder(self._trained.model.encoder, **self._set.meta["options"])
        if encoder.layout != self._set.meta["blocks"]:
            raise StoreError(f"{self._trained.folder}: the encoder's blocks are not those of the policies")
        return encoder

    def choose(self, csi: CsiEstimate) -> np.ndarray:
        """Policy of every image, int64 ``[batch * user * rx_ant]``, an index of the policy set."""
        return self._chosen(self._images(csi)[0], csi)

    def _images(self, csi: CsiEstimate) -> tuple[np.ndarray, np.ndarray]:
        return to_unit_images(csi.h_hat, self.config, self._trained.input.num_delays)

    def _chosen(self, images: np.ndarray, csi: CsiEstimate) -> np.ndarray:
        if self.controller in ("static", "ilp"):
            return np.full(len(images), self._choice)
        draw = np.array([rng.random() for rng in of_each(self._seed, images)])
        among = np.flatnonzero(self._set.refined)
        if self.controller == "random":
            return among[np.searchsorted(np.cumsum(self._choice)[:-1], draw, side="right")]
        sparsity = hoyer_sparsity(images)
        if self.controller == "online":
            violation = self._table.lookup(self._snr_db, sparsity)[:, among]
        else:
            violation = self._true_violation(csi, images, among)
        weight = importance(sparsity, self._alpha)
        choice = self._choice
        if self.controller == "oracle":  # its violations have other statistics than the table's
            choice = calibrate(violation, weight, self._set.kappa[among], self._budget)
        return among[select(violation, weight, self._set.kappa[among], choice, draw)]

    def _true_violation(self, csi: CsiEstimate, images: np.ndarray, among: np.ndarray) -> np.ndarray:
        """Violation cost of every policy ``[sample, policy]`` from the decoder's output, which no UE has."""
        h = csi.h_hat.reshape(-1, *csi.h_hat.shape[3:])
        reference = mrt_rate(h, h, self._snr_db)
        columns = []
        for policy in self._set.policies[among]:
            received, _ = self._codec.decode(*self._codec.encode(self._latents(images, policy)))
            x_hat = self._trained.decode(received)
            h_hat = from_angular_delay(to_complex(x_hat), self.config.panel, self.config.num_subcarriers)
            columns.append(violation_cost(mrt_rate(h, h_hat, self._snr_db), reference, self._gamma))
        return np.stack(columns, axis=1)

    def _latents(self, images: np.ndarray, policy: np.ndarray) -> np.ndarray:
        return self._encoder.encode(self._trained.network_images(images), policy)

    def report(self, csi: CsiEstimate) -> CsiReport:
        """Choose a precision for every image, compress at it."""
        batch, users = csi.h_hat.shape[:2]
        images, scale = self._images(csi)
        chosen = self._chosen(images, csi)
        latent = np.zeros((len(images), self._trained.input.num_latents), np.float32)
        for policy in np.unique(chosen):
            mine = chosen == policy
            latent[mine] = self._latents(images[mine], self._set.policies[policy])
        bits, num_bits = self._codec.encode(latent)
        head = self._amplitude.pack(scale.reshape(batch * users, -1))
        bits = np.concatenate([head, bits], axis=1)
        return CsiReport(bits.reshape(batch, users, -1), (num_bits + head.shape[1]).reshape(batch, users))

    def ue_bops(self, csi: CsiEstimate) -> np.ndarray:
        """Bit operations of the encoder under the chosen policies; the choice is a table lookup."""
        bops = self._set.bops[self.choose(csi)]
        return bops.reshape(*csi.h_hat.shape[:2], -1).sum(axis=-1)

    def reconstruct(self, report: CsiReport) -> CsiReconstruction:
        """Decode and decompress; reports that are no codeword sequence are marked invalid."""
        batch, users, width = report.bits.shape
        bits, num_bits = report.bits.reshape(batch * users, width), np.asarray(report.num_bits, np.int64).reshape(-1)
        head = self.config.num_rx_ant * self._amplitude.bits
        latent, valid = self._codec.decode(bits[:, head:], np.maximum(num_bits - head, 0))
        valid = (valid & (num_bits >= head)).reshape(batch, users)
        amplitude = self._amplitude.unpack(bits[:, :head]) if width >= head else None
        return from_unit_images(self._trained.decode(latent), valid, self.config, amplitude)
