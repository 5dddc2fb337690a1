"""MCAKD: a small masked autoencoder learns from a large one in some epochs, and by itself in the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from receivers.models.masking import TASKS, hidden_tokens
from receivers.models.wifo import Trace, WiFo
from receivers.training.distillation.base import Taught, attention_loss, matched_layers
from receivers.training.masked import add_noise, draw_masks, masked_mse
from simulator.core.backend import Tensor
from simulator.core.errors import ConfigError


class Mcakd(Taught):
    r"""Student in training; called, it gives the loss of every sample.

    Autonomous epochs: :func:`masked_mse`, mean over the tasks. Passive epochs, with the same masks for teacher and
    student: :math:`L_{mse} + \lambda (L_{att} + L_{emb} + L_{hid})` ("mcakd") or :math:`L_{mse} + \lambda L_{lm}` with
    the mean squared error to the teacher's predictions of hidden tokens ("lmkd"). The teacher runs in passive epochs
    only. Its tokens at the embedding (all of them, before positions and masks) and after the last attention of encoder
    and decoder pass a selection each, shared by the tasks; the two hidden states count one half each.

    Args:
        student: network that learns.
        teacher: frozen network with the same patch and heads.
        kind: "mcakd", "lmkd", or "none" (no teacher).
        tasks: masks.
        rotate: one task per step, in turn, in place of the mean over all: as many channels again for every task.
        ratio: share of the tokens that the random mask hides.
        frequency_axis: axis of the grid that is frequency.
        noise_snr_db: noise on the channels, as input and as target [dB], or None.
        options: of :class:`~receivers.training.distillation.base.Taught`; its seed is that of masks and noise.

    Call arguments:
        x: channels float32 ``[batch, slot, subcarrier, antenna, 2]``.

    Returns:
        loss float32 ``[batch]`` of the phase, autonomous or ``passive``.

    Raises:
        ConfigError: options or networks that do not fit.

    Source: Tiny-WiFo (MCAKD), Eqs. (1)-(9).
    """

    alike = ("patch", "pad", "encoder_position")

    def __init__(
        self,
        student: WiFo,
        teacher: WiFo | None = None,
        kind: str = "mcakd",
        *,
        tasks: Sequence[str] = TASKS,
        rotate: bool = False,
        ratio: float = 0.85,
        frequency_axis: int = 1,
        noise_snr_db: float | None = None,
        **options: Any,
    ):
        super().__init__(student, teacher, kind, **options)
        if not tasks or not set(tasks) <= set(TASKS):
            raise ConfigError("tasks", tuple(tasks), f"one or more of {', '.join(TASKS)}")
        self.tasks, self.ratio, self.frequency_axis = tuple(tasks), ratio, frequency_axis
        self.rotate, self.noise_snr_db = rotate, noise_snr_db
        self._active = self.tasks[:1] if rotate else self.tasks

    def set_step(self, epoch: int, step: int = 0, shape: Any = None) -> None:
        """Choose phase and tasks of the next batch."""
        self._active = (self.tasks[step % len(self.tasks)],) if self.rotate else self.tasks
        super().set_step(epoch, step, (self._active, shape))

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Validate here: Keras would wrap a ConfigError raised in ``call``."""
        draw_masks(self.tasks, 1, self.student.grid(x.shape), 0, self.ratio, self.frequency_axis)
        return super().__call__(x, *args, **kwargs)

    def losses_of(self, x: Tensor, training: bool = False) -> dict[str, Any]:
        """Terms of the loss, mean over the tasks, weighted: they add up to the loss.

        Args:
            x: channels float32 ``[batch, slot, subcarrier, antenna, 2]``.
            training: changes nothing.

        Returns:
            by name ("mse", and in passive epochs those of the kind) float ``[batch]``.
        """
        x = ops.convert_to_tensor(x)
        if self.noise_snr_db is not None:
            x = add_noise(x, self.noise_snr_db, self._seed)
        target, valid = self.student.patches(x), self.student.valid(x.shape)
        masks = draw_masks(
            self._active, ops.shape(x)[0], self.student.grid(x.shape), self._seed, self.ratio, self.frequency_axis
        )
        total: dict[str, Any] = {}
        for visible, axis in masks:
            hidden = hidden_tokens(visible, target.shape[1])
            for name, value in self._task(x, visible, axis, target, hidden, valid).items():
                total[name] = total.get(name, 0.0) + value / len(masks)
        return total

    def _task(
        self, x: Tensor, visible: Tensor, axis: int, target: Tensor, hidden: Tensor, valid: Tensor
    ) -> dict[str, Any]:
        """Terms under one mask."""
        if not self.passive:
            return {"mse": masked_mse(target, self.student(x, visible, axis=axis), hidden, valid)}
        teacher = self._teacher.value
        if self.kind == "lmkd":
            prediction = self.student(x, visible, axis=axis)
            taught = ops.stop_gradient(teacher(x, visible, axis=axis))
            return {
                "mse": masked_mse(target, prediction, hidden, valid),
                "lmkd": self.weight * masked_mse(taught, prediction, hidden, valid),
            }
        ours, theirs = self.student.trace(x, visible, axis), teacher.trace(x, visible, axis)
        theirs = keras.tree.map_structure(ops.stop_gradient, theirs)
        terms = {"mse": masked_mse(target, ours.prediction, hidden, valid)}
        if "attention" in self.terms:
            terms["attention"] = attention_loss(*_matched_maps(theirs, ours))
        terms |= self.compared(theirs, ours)
        return {name: value if name == "mse" else self.weight * value for name, value in terms.items()}


def _matched_maps(teacher: Trace, student: Trace) -> tuple[list[Any], list[Any]]:
    """Attention maps of the teacher for those of the student, encoder and decoder."""
    theirs, ours = [], []
    for t, s in ((teacher.encoder_maps, student.encoder_maps), (teacher.decoder_maps, student.decoder_maps)):
        theirs += [t[i] for i in matched_layers(len(t), len(s))]
        ours += s
    return theirs, ours
