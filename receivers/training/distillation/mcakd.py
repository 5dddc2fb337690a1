"""MCAKD: a small masked autoencoder learns from a large one in some epochs, and by itself in the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from receivers.models.masking import TASKS, hidden_tokens
from receivers.models.wifo import Trace, WiFo
from receivers.training.distillation.caks import CrossAttentionSelection, LinearMatch
from receivers.training.distillation.phases import PhasedTraining
from receivers.training.masked import add_noise, draw_masks, masked_mse
from receivers.training.steps import Untracked
from simulator.core.errors import ConfigError
from simulator.core.seeding import derive

TERMS = ("attention", "embedding", "hidden")
KINDS = ("mcakd", "lmkd", "none")
SELECTIONS = ("ca_ks", "linear")


def cosine_distance(a, b):
    r""":math:`1 - a^T b / (\|a\| \|b\|)` over the last axis of float ``[..., feature]``: ``[...]`` in [0, 2].

    The distance to a vector of zeros is 1, without a gradient.
    """
    power = ops.sum(ops.square(a), axis=-1) * ops.sum(ops.square(b), axis=-1)
    cosine = ops.sum(a * b, axis=-1) * ops.rsqrt(ops.maximum(power, 1e-20))
    return 1.0 - ops.where(power > 1e-20, cosine, 0.0)


def matched_layers(teacher: int, student: int) -> list[int]:
    """Teacher layer of every student layer: the last of as many equal groups.

    Raises:
        ConfigError: the student's depth does not divide the teacher's.
    """
    if student < 1 or teacher % student:
        raise ConfigError("depth", student, f"a divisor of the teacher's {teacher} layers")
    return [(i + 1) * teacher // student - 1 for i in range(student)]


def attention_loss(teacher: Sequence[Any], student: Sequence[Any]):
    r"""Mean over layers and heads of the cosine distance between attention maps, each flattened to a vector.

    Args:
        teacher: maps of the matched layers, float ``[batch, head, query, key]`` each.
        student: the student's, same shapes.

    Returns:
        float ``[batch]`` in [0, 1].

    Source: Tiny-WiFo, Eq. (1).
    """
    flat = [[ops.reshape(m, (-1, m.shape[1], m.shape[2] * m.shape[3])) for m in maps] for maps in (teacher, student)]
    losses = [ops.mean(cosine_distance(t, s), axis=-1) for t, s in zip(*flat, strict=True)]
    return sum(losses) / len(losses)


def token_loss(teacher, student):
    """Cosine distance between tokens float ``[batch, token, feature]``, mean over tokens: float ``[batch]``.

    Source: Tiny-WiFo, Eqs. (5), (6), whose form is not public: every token counts the same, whatever its length.
    """
    return ops.mean(cosine_distance(teacher, student), axis=-1)


def check_kind(kind: str, teacher: Any, terms: Sequence[str], selection: str) -> None:
    """ConfigError for a kind, terms or a selection that do not exist, or for a missing or surplus teacher."""
    if kind not in KINDS:
        raise ConfigError("kind", kind, ", ".join(KINDS))
    if (teacher is None) != (kind == "none"):
        raise ConfigError("teacher", None if teacher is None else "a network", f"one unless kind is none ({kind})")
    if kind == "mcakd" and (not terms or not set(terms) <= set(TERMS)):
        raise ConfigError("terms", tuple(terms), f"one or more of {', '.join(TERMS)}")
    if selection not in SELECTIONS:
        raise ConfigError("selection", selection, ", ".join(SELECTIONS))


def selection_layer(place: str, student: Any, teacher: Any, kind: str, scope: str) -> keras.layers.Layer:
    """Layer that compares tokens of a student and a teacher of different widths at one place of the networks.

    Args:
        place: name of the place.
        student: network with ``dim``.
        teacher: network with ``dim`` and ``num_heads``.
        kind: "ca_ks" or "linear".
        scope: of "ca_ks".

    Raises:
        ConfigError: widths that do not fit.
    """
    if kind == "linear":
        layer: keras.layers.Layer = LinearMatch(student.dim, teacher.dim, name=f"match-{place}")
    else:
        layer = CrossAttentionSelection(student.dim, teacher.dim, teacher.num_heads, scope, name=f"select-{place}")
    layer.build()
    layer.built = True
    return layer


def selection_layers(terms: Sequence[str], student: Any, teacher: Any, kind: str, scope: str) -> dict[str, Any]:
    """:func:`selection_layer` of every place that is compared: embedding, last states of encoder and decoder."""
    places = ["embedding"] * ("embedding" in terms) + ["encoder", "decoder"] * ("hidden" in terms)
    return {place: selection_layer(place, student, teacher, kind, scope) for place in places}


def selected_loss(selection: keras.layers.Layer, teacher, student):
    """:func:`token_loss` after a layer of :func:`selection_layer`, float ``[batch]``."""
    if isinstance(selection, LinearMatch):
        return token_loss(teacher, selection(student))
    return token_loss(selection(student, teacher), student)


class Mcakd(PhasedTraining):
    r"""Student in training; called, it gives the loss of every sample.

    Autonomous epochs: :func:`masked_mse`, mean over the tasks. Passive epochs, with the same masks for teacher and
    student: :math:`L_{mse} + \lambda (L_{att} + L_{emb} + L_{hid})` ("mcakd") or :math:`L_{mse} + \lambda L_{lm}` with
    the mean squared error to the teacher's predictions of hidden tokens ("lmkd"). The teacher runs in passive epochs
    only. Its tokens at the embedding (all of them, before positions and masks) and after the last attention of encoder
    and decoder pass a selection each, shared by the tasks; the two hidden states count one half each.

    Args:
        student: network that learns.
        teacher: frozen network with the same patch and heads; neither trained nor saved with this model.
        kind: "mcakd", "lmkd", or "none" (no teacher).
        weight: :math:`\lambda`.
        terms: terms in the loss, of "attention", "embedding" and "hidden".
        selection: "ca_ks", or "linear": without CA-KS, see :class:`~receivers.training.distillation.caks.LinearMatch`.
        scope: of the selection.
        autonomous: epochs without the teacher; 0: always with it (no AL-PL).
        passive: epochs with the teacher that follow.
        tasks: masks.
        rotate: one task per step, in turn, in place of the mean over all: as many channels again for every task.
        ratio: share of the tokens that the random mask hides.
        frequency_axis: axis of the grid that is frequency.
        noise_snr_db: noise on the channels, as input and as target [dB], or None.
        seed: of masks and noise.

    Call arguments:
        x: channels float32 ``[batch, slot, subcarrier, antenna, 2]``.

    Returns:
        loss float32 ``[batch]`` of the phase set by :meth:`set_step`.

    Raises:
        ConfigError: options or networks that do not fit.

    Source: Tiny-WiFo (MCAKD), Eqs. (1)-(9).
    """

    def __init__(
        self,
        student: WiFo,
        teacher: WiFo | None = None,
        kind: str = "mcakd",
        *,
        weight: float = 1.0,
        terms: Sequence[str] = TERMS,
        selection: str = "ca_ks",
        scope: str = "sample",
        autonomous: int = 4,
        passive: int = 1,
        tasks: Sequence[str] = TASKS,
        rotate: bool = False,
        ratio: float = 0.85,
        frequency_axis: int = 1,
        noise_snr_db: float | None = None,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(kind != "none", autonomous, passive, **kwargs)
        check_kind(kind, teacher, terms, selection)
        if not tasks or not set(tasks) <= set(TASKS):
            raise ConfigError("tasks", tuple(tasks), f"one or more of {', '.join(TASKS)}")
        self.student, self.kind, self.weight = student, kind, weight
        self.terms, self.tasks, self.ratio, self.frequency_axis = tuple(terms), tuple(tasks), ratio, frequency_axis
        self.rotate, self.noise_snr_db = rotate, noise_snr_db
        self._active = self.tasks[:1] if rotate else self.tasks
        self._seed = keras.random.SeedGenerator(derive(seed, "training"))
        self._teacher = Untracked(teacher)
        self.selections: dict[str, keras.layers.Layer] = {}
        if teacher is not None:
            teacher.trainable = False
            _check(student, teacher, kind, self.terms)
        if kind == "mcakd":
            self.selections = selection_layers(terms, student, teacher, selection, scope)
        self.built = True

    def set_step(self, epoch: int, step: int = 0, shape: Any = None) -> None:
        """Choose phase and tasks of the next batch."""
        self._active = (self.tasks[step % len(self.tasks)],) if self.rotate else self.tasks
        super().set_step(epoch, step, (self._active, shape))

    def __call__(self, x, *args, **kwargs):
        """Validate here: Keras would wrap a ConfigError raised in ``call``."""
        draw_masks(self.tasks, 1, self.student.grid(x.shape), 0, self.ratio, self.frequency_axis)
        return super().__call__(x, *args, **kwargs)

    def call(self, x, training=False):
        """Loss of every sample."""
        return sum(self.losses_of(x).values()) + self._idle()

    def losses_of(self, x) -> dict[str, Any]:
        """Terms of the loss, mean over the tasks, weighted: they add up to the loss.

        Args:
            x: channels float32 ``[batch, slot, subcarrier, antenna, 2]``.

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

    def _task(self, x, visible, axis, target, hidden, valid) -> dict[str, Any]:
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
        if "embedding" in self.terms:
            terms["embedding"] = selected_loss(self.selections["embedding"], theirs.embedding, ours.embedding)
        if "hidden" in self.terms:
            terms["hidden"] = 0.5 * (
                selected_loss(self.selections["encoder"], theirs.encoder_state, ours.encoder_state)
                + selected_loss(self.selections["decoder"], theirs.decoder_state, ours.decoder_state)
            )
        return {name: value if name == "mse" else self.weight * value for name, value in terms.items()}

    def _idle(self):
        """Zero, with a gradient of zero where a phase does not use the selections: so all backends step alike."""
        if self.passive or not self.selections:
            return 0.0
        weights = [w for layer in self.selections.values() for w in layer.trainable_weights]
        return 0.0 * sum(ops.sum(w) for w in weights)


def _matched_maps(teacher: Trace, student: Trace) -> tuple[list[Any], list[Any]]:
    """Attention maps of the teacher for those of the student, encoder and decoder."""
    theirs, ours = [], []
    for t, s in ((teacher.encoder_maps, student.encoder_maps), (teacher.decoder_maps, student.decoder_maps)):
        theirs += [t[i] for i in matched_layers(len(t), len(s))]
        ours += s
    return theirs, ours


def _check(student: WiFo, teacher: WiFo, kind: str, terms: Sequence[str]) -> None:
    """Teacher and student must see the same tokens, and have heads that match."""
    for name in ("patch", "pad", "encoder_position"):
        ours, theirs = getattr(student, name), getattr(teacher, name)
        if ours != theirs:
            raise ConfigError(f"teacher.{name}", theirs, f"that of the student, {ours}")
    if kind == "mcakd" and "attention" in terms:
        if student.num_heads != teacher.num_heads:
            raise ConfigError("teacher.num_heads", teacher.num_heads, f"that of the student, {student.num_heads}")
        matched_layers(len(teacher.encoder), len(student.encoder))
        matched_layers(len(teacher.decoder), len(student.decoder))
