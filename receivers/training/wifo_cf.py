"""Training of WiFo-CF: reconstruction after the quantiser, with or without a teacher (MCAKD)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from receivers.models.wifo_cf import Trace, WiFoCf
from receivers.quantization.unit_interval import MAX_BITS
from receivers.training.distillation.base import Taught, attention_loss, matched_layers
from simulator.core.backend import Tensor
from simulator.core.errors import ConfigError
from simulator.core.units import db_to_lin


class WiFoCfTraining(Taught):
    r"""Network in training; called, it gives the loss of every sample.

    :math:`L = L_{rec} + 0.1\, L_q + 0.01\, L_{b,enc} + 0.01\, L_{b,dec}`: error of the channels, mean over the UEs;
    commitment :math:`\operatorname{mean}(Q(z) - z)^2`, whose gradient pulls codewords to the levels; balance of the
    experts, which is one number for the batch. Every UE of every sample has a width drawn from ``bits - spread`` ..
    ``bits + spread``.

    With a teacher, passive epochs add :math:`\lambda (L_{att} + L_{emb} + L_{hid})` ("mcakd") or :math:`\lambda` times
    the reconstruction error to the teacher's output ("lmkd"), as in
    :class:`~receivers.training.distillation.mcakd.Mcakd`, with the same widths and the same noise for both. Tokens are
    compared after the dense layer of the input, and after the last attention of encoder and decoder; attention maps of
    self- and cross-attention count alike.

    Args:
        student: network that learns.
        teacher: frozen network with the same patch, ``patch_dim`` and heads; neither trained nor saved with this model.
        kind: "mcakd", "lmkd", or "none" (no teacher).
        bits: middle width.
        spread: largest difference of a width from it.
        uplink_snr_db: white noise on the quantised codewords, relative to the power of each [dB]; None: no noise. With
            ``bits=16, spread=0`` it is an analog uplink.
        error: "nmse", squared error over the power of a UE's channel, or "mse", mean squared error of complex entries.
        commitment: factor of :math:`L_q`.
        encoder_balance: factor of :math:`L_{b,enc}`.
        decoder_balance: factor of :math:`L_{b,dec}`.
        options: of :class:`~receivers.training.distillation.base.Taught`; its seed is that of widths and noise.

    Call arguments:
        x: channels float32 ``[batch, user, antenna, subcarrier, 2]``, of unit power for "mse".

    Returns:
        loss float32 ``[batch]`` of the phase, autonomous or ``passive``.

    Raises:
        ConfigError: options or networks that do not fit.

    Source: WiFo-CF (arXiv:2508.04068) and its released code (factors, widths); Tiny-WiFo (MCAKD), Eqs. (1)-(9).
    """

    alike = ("patch", "patch_dim", "pad")

    def __init__(
        self,
        student: WiFoCf,
        teacher: WiFoCf | None = None,
        kind: str = "none",
        *,
        bits: int = 5,
        spread: int = 2,
        uplink_snr_db: float | None = None,
        error: str = "nmse",
        commitment: float = 0.1,
        encoder_balance: float = 0.01,
        decoder_balance: float = 0.01,
        **options: Any,
    ):
        super().__init__(student, teacher, kind, **options)
        if spread < 0 or not 1 <= bits - spread <= bits + spread <= MAX_BITS:
            raise ConfigError("bits, spread", (bits, spread), f"widths bits - spread .. bits + spread in 1..{MAX_BITS}")
        if error not in ("nmse", "mse"):
            raise ConfigError("error", error, "nmse, mse")
        self.error, self.bits, self.spread, self.uplink_snr_db = error, bits, spread, uplink_snr_db
        self.factors = {
            "commitment": commitment,
            "encoder_balance": encoder_balance,
            "decoder_balance": decoder_balance,
        }

    def check_maps(self, teacher: WiFoCf) -> None:
        """Attention along the batch has no maps of a sample."""
        for name, network in (("student", self.student), ("teacher", teacher)):
            if network.attention != "token":
                raise ConfigError(f"{name}.attention", network.attention, "token, for the distance of attention maps")

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Validate here: Keras would wrap a ConfigError raised in ``call``."""
        self.student.grid(x.shape)
        return super().__call__(x, *args, **kwargs)

    def losses_of(self, x: Tensor, training: bool = False) -> dict[str, Any]:
        """Terms of the loss, weighted: they add up to the loss.

        Args:
            x: as in a call.
            training: dropout, and statistics of the batch.

        Returns:
            by name ("reconstruction", "commitment", "encoder_balance", "decoder_balance", and in passive epochs those
            of the kind) float ``[batch]``.
        """
        x = ops.convert_to_tensor(x)
        lead, zeros = ops.shape(x)[:2], ops.zeros_like(x[:, 0, 0, 0, 0])
        bits = keras.random.randint(lead, self.bits - self.spread, self.bits + self.spread + 1, seed=self._seed)
        uplink = self._uplink(lead, x.shape[2:4])
        keep = self.passive and self.kind == "mcakd" and "attention" in self.terms
        ours = self.student.trace(x, bits, uplink, training=training, keep=keep)
        commitment = ops.mean(ops.square(ops.stop_gradient(ours.quantised) - ours.codeword), axis=(1, 2))
        terms = {
            "reconstruction": channel_error(x, ours.prediction, self.error),
            "commitment": self.factors["commitment"] * commitment,
            "encoder_balance": self.factors["encoder_balance"] * ours.encoder_balance + zeros,
            "decoder_balance": self.factors["decoder_balance"] * ours.decoder_balance + zeros,
        }
        if self.passive:
            theirs = self._teacher.value.trace(x, bits, uplink, training=False, keep=keep)
            theirs = keras.tree.map_structure(ops.stop_gradient, theirs)
            terms |= {name: self.weight * value for name, value in self._taught(x, theirs, ours).items()}
        return terms

    def _uplink(self, lead: Tensor, sizes: Any) -> Any:
        """Noise on codewords, the same at every call of the function returned; None without."""
        if self.uplink_snr_db is None:
            return None
        latents = self.student.num_latents(*sizes)
        noise = keras.random.normal((*lead, latents), seed=self._seed)
        return lambda z: z + noise * noise_scale(z, self.uplink_snr_db)

    def _taught(self, x: Tensor, theirs: Trace, ours: Trace) -> dict[str, Any]:
        """Terms that a passive epoch adds."""
        users = x.shape[1]

        def per_sample(loss: Any) -> Tensor:  # [batch * user]
            return ops.mean(ops.reshape(loss, (-1, users)), axis=1)

        if self.kind == "lmkd":
            return {"lmkd": channel_error(theirs.prediction, ours.prediction, self.error)}
        terms: dict[str, Any] = {}
        if "attention" in self.terms:
            teacher, student = self._teacher.value, self.student
            encoder = attention_loss(
                _of_layers(theirs.encoder_maps, teacher.encoder, student.encoder), ours.encoder_maps
            )
            decoder = attention_loss(
                _of_layers(theirs.decoder_maps, teacher.decoder, student.decoder), ours.decoder_maps
            )
            layers = (len(ours.encoder_maps), len(ours.decoder_maps))
            terms["attention"] = (layers[0] * per_sample(encoder) + layers[1] * decoder) / sum(layers)
        return {**terms, **self.compared(theirs, ours, per_sample)}

    def idle(self) -> list[Any]:
        """Tokenisers and heads of other patches."""
        return [*self.student.tokenisers[1:], *self.student.heads[1:]]


def channel_error(h: Tensor, h_hat: Tensor, kind: str = "nmse") -> Tensor:
    """Error of channels, mean over the UEs.

    Args:
        h: truth float32 ``[batch, user, antenna, subcarrier, 2]``.
        h_hat: estimate, same shape.
        kind: "nmse" or "mse" (of complex entries).

    Returns:
        float ``[batch]``.
    """
    error = ops.sum(ops.square(h - h_hat), axis=(2, 3, 4))
    if kind == "nmse":
        return ops.mean(error / ops.maximum(ops.sum(ops.square(h), axis=(2, 3, 4)), 1e-12), axis=1)
    return ops.mean(error, axis=1) / (h.shape[2] * h.shape[3])


def noise_scale(z: Tensor, snr_db: float) -> Tensor:
    """Deviation ``[..., 1]`` of white noise on codewords ``[..., latent]`` at an SNR over the mean square of each."""
    power = ops.mean(ops.square(ops.stop_gradient(z)), axis=-1, keepdims=True)
    return ops.sqrt(power * float(db_to_lin(-snr_db)))


def _of_layers(maps: list[Any], teacher: Sequence[Any], student: Sequence[Any]) -> list[Any]:
    """Maps of the teacher's layers that are matched to the student's."""
    each = len(maps) // len(teacher)
    return [maps[i * each + j] for i in matched_layers(len(teacher), len(student)) for j in range(each)]
