"""Training of WiFo-CF: reconstruction after the quantiser, with or without a teacher (MCAKD); folders of weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from receivers.models.wifo_cf import Trace, WiFoCf
from receivers.quantization.unit_interval import MAX_BITS
from receivers.training.distillation.mcakd import (
    TERMS,
    attention_loss,
    check_kind,
    matched_layers,
    selected_loss,
    selection_layers,
)
from receivers.training.distillation.phases import PhasedTraining
from receivers.training.steps import Untracked
from receivers.weights.folder import CARD, save_weights
from simulator.core.content import sha256
from simulator.core.durable import write_bytes
from simulator.core.errors import ConfigError
from simulator.core.seeding import derive
from simulator.core.types import CsiConfig
from simulator.core.units import db_to_lin


class WiFoCfTraining(PhasedTraining):
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
        weight: :math:`\lambda`.
        terms: terms in the loss, of "attention", "embedding" and "hidden".
        selection: "ca_ks" or "linear".
        scope: of the selection.
        autonomous: epochs without the teacher; 0: always with it.
        passive: epochs with the teacher that follow.
        seed: of widths and noise.

    Call arguments:
        x: channels float32 ``[batch, user, antenna, subcarrier, 2]``, of unit power for "mse".

    Returns:
        loss float32 ``[batch]`` of the phase set by :meth:`set_step`.

    Raises:
        ConfigError: options or networks that do not fit.

    Source: WiFo-CF (arXiv:2508.04068) and its released code (factors, widths); Tiny-WiFo (MCAKD), Eqs. (1)-(9).
    """

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
        weight: float = 1.0,
        terms: Sequence[str] = TERMS,
        selection: str = "ca_ks",
        scope: str = "sample",
        autonomous: int = 4,
        passive: int = 1,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(kind != "none", autonomous, passive, **kwargs)
        check_kind(kind, teacher, terms, selection)
        if spread < 0 or not 1 <= bits - spread <= bits + spread <= MAX_BITS:
            raise ConfigError("bits, spread", (bits, spread), f"widths bits - spread .. bits + spread in 1..{MAX_BITS}")
        if error not in ("nmse", "mse"):
            raise ConfigError("error", error, "nmse, mse")
        self.student, self.kind, self.error, self.weight, self.terms = student, kind, error, weight, tuple(terms)
        self.bits, self.spread, self.uplink_snr_db = bits, spread, uplink_snr_db
        self.factors = {
            "commitment": commitment,
            "encoder_balance": encoder_balance,
            "decoder_balance": decoder_balance,
        }
        self._seed = keras.random.SeedGenerator(derive(seed, "training"))
        self._teacher = Untracked(teacher)
        self.selections: dict[str, keras.layers.Layer] = {}
        if teacher is not None:
            teacher.trainable = False
            _check(student, teacher, kind, self.terms)
        if kind == "mcakd":
            self.selections = selection_layers(terms, student, teacher, selection, scope)
        self.built = True

    def __call__(self, x, *args, **kwargs):
        """Validate here: Keras would wrap a ConfigError raised in ``call``."""
        self.student.grid(x.shape)
        return super().__call__(x, *args, **kwargs)

    def call(self, x, training=False):
        """Loss of every sample."""
        return sum(self.losses_of(x, training).values()) + self._idle()

    def losses_of(self, x, training=False) -> dict[str, Any]:
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

    def _uplink(self, lead, sizes):
        """Noise on codewords, the same at every call of the function returned; None without."""
        if self.uplink_snr_db is None:
            return None
        latents = self.student.num_latents(*sizes)
        noise = keras.random.normal((*lead, latents), seed=self._seed)
        return lambda z: z + noise * noise_scale(z, self.uplink_snr_db)

    def _taught(self, x, theirs: Trace, ours: Trace) -> dict[str, Any]:
        """Terms that a passive epoch adds."""
        users = x.shape[1]

        def per_sample(loss):  # [batch * user]
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
        if "embedding" in self.terms:
            loss = selected_loss(self.selections["embedding"], theirs.embedding, ours.embedding)
            terms["embedding"] = per_sample(loss)
        if "hidden" in self.terms:
            encoder = selected_loss(self.selections["encoder"], theirs.encoder_state, ours.encoder_state)
            decoder = selected_loss(self.selections["decoder"], theirs.decoder_state, ours.decoder_state)
            terms["hidden"] = 0.5 * (per_sample(encoder) + decoder)
        return terms

    def _idle(self):
        """Zero, with a gradient of zero for weights that a step does not use: so all backends step alike."""
        idle = [*self.student.tokenisers[1:], *self.student.heads[1:]]
        idle += [] if self.passive else list(self.selections.values())
        return 0.0 * sum(ops.sum(w) for layer in idle for w in layer.trainable_weights) if idle else 0.0


def channel_error(h, h_hat, kind: str = "nmse"):
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


def noise_scale(z, snr_db: float):
    """Deviation ``[..., 1]`` of white noise on codewords ``[..., latent]`` at an SNR over the mean square of each."""
    power = ops.mean(ops.square(ops.stop_gradient(z)), axis=-1, keepdims=True)
    return ops.sqrt(power * float(db_to_lin(-snr_db)))


def write_weights(
    folder: str | Path,
    name: str,
    model: WiFoCf,
    config: CsiConfig,
    *,
    bits: int = 5,
    num_delays: int | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    """Folder of weights that scheme ``wifo-cf`` takes: ``card.json`` and ``model.weights.h5``.

    Args:
        folder: made if missing.
        name: of the weights.
        model: trained network.
        config: panel and band of the training; images had unit power each.
        bits: default width of the link.
        num_delays: delay taps of the images; None: images are antennas and subcarriers.
        details: further entries of the card (recipe, data, metrics).

    Raises:
        ConfigError: sizes that the network does not accept.
    """
    latents = model.num_latents(config.panel.num_ports, num_delays or config.num_subcarriers)
    path = Path(folder) / "model.weights.h5"
    save_weights(model, path)
    card = {
        **(details or {}),
        "name": name,
        "model": {"name": "wifo_cf", "params": model.get_config()},
        "weights": {"file": path.name, "sha256": sha256(path)},
        "input": {
            "n1": config.panel.n1,
            "n2": config.panel.n2,
            "num_pol": config.panel.num_pol,
            "num_subcarriers": config.num_subcarriers,
            "spacing_hz": config.spacing_hz,
            "num_delays": num_delays or config.num_subcarriers,
            "num_latents": latents,
            "domain": "antenna_frequency" if num_delays is None else "angular_delay",
        },
        "codec": {"quantizer": model.quantizer.law, "bits": bits},
    }
    write_bytes(path.with_name(CARD), (json.dumps(card, indent=2) + "\n").encode())


def _of_layers(maps: list[Any], teacher: Sequence[Any], student: Sequence[Any]) -> list[Any]:
    """Maps of the teacher's layers that are matched to the student's."""
    each = len(maps) // len(teacher)
    return [maps[i * each + j] for i in matched_layers(len(teacher), len(student)) for j in range(each)]


def _check(student: WiFoCf, teacher: WiFoCf, kind: str, terms: Sequence[str]) -> None:
    """Teacher and student must see the same tokens, and have heads that match."""
    for name in ("patch", "patch_dim", "pad"):
        ours, theirs = getattr(student, name), getattr(teacher, name)
        if ours != theirs:
            raise ConfigError(f"teacher.{name}", theirs, f"that of the student, {ours}")
    if kind == "mcakd" and "attention" in terms:
        if student.num_heads != teacher.num_heads:
            raise ConfigError("teacher.num_heads", teacher.num_heads, f"that of the student, {student.num_heads}")
        for name, network in (("student", student), ("teacher", teacher)):
            if network.attention != "token":
                raise ConfigError(f"{name}.attention", network.attention, "token, for the distance of attention maps")
        matched_layers(len(teacher.encoder), len(student.encoder))
        matched_layers(len(teacher.decoder), len(student.decoder))
