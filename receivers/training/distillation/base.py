"""A student that learns from a teacher in some epochs: components compared, networks that fit, losses (MCAKD)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from receivers.training.distillation.caks import CrossAttentionSelection, LinearMatch
from receivers.training.steps import SteppedModel, Untracked
from simulator.core.backend import Tensor
from simulator.core.errors import ConfigError
from simulator.core.seeding import derive

TERMS = ("attention", "embedding", "hidden")
KINDS = ("mcakd", "lmkd", "none")
SELECTIONS = ("ca_ks", "linear")


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
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


def attention_loss(teacher: Sequence[Any], student: Sequence[Any]) -> Tensor:
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


def token_loss(teacher: Tensor, student: Tensor) -> Tensor:
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


def selection_layer(place: str, student: Any, teacher: Any, kind: str, scope: str, order: str) -> keras.layers.Layer:
    """Layer that compares tokens of a student and a teacher of different widths at one place of the networks.

    Args:
        place: name of the place.
        student: network with ``dim``.
        teacher: network with ``dim`` and ``num_heads``.
        kind: "ca_ks" or "linear".
        scope: of "ca_ks".
        order: of "ca_ks".

    Raises:
        ConfigError: widths that do not fit.
    """
    if kind == "linear":
        layer: keras.layers.Layer = LinearMatch(student.dim, teacher.dim, name=f"match-{place}")
    else:
        sizes = (student.dim, teacher.dim, teacher.num_heads)
        layer = CrossAttentionSelection(*sizes, scope, order, name=f"select-{place}")
    layer.build()
    layer.built = True
    return layer


def selection_layers(terms: Sequence[str], student: Any, teacher: Any, *options: str) -> dict[str, Any]:
    """:func:`selection_layer` of every place that is compared: embedding, last states of encoder and decoder."""
    places = ["embedding"] * ("embedding" in terms) + ["encoder", "decoder"] * ("hidden" in terms)
    return {place: selection_layer(place, student, teacher, *options) for place in places}


def selected_loss(selection: keras.layers.Layer, teacher: Tensor, student: Tensor) -> Tensor:
    """:func:`token_loss` after a layer of :func:`selection_layer`, float ``[batch]``."""
    if isinstance(selection, LinearMatch):
        return token_loss(teacher, selection(student))
    return token_loss(selection(student, teacher), student)


class Taught(SteppedModel):
    r"""Base of students in training; a final class gives ``losses_of``, and what ``alike`` and ``idle`` say.

    Called, it gives the loss of every sample. While ``passive`` is true, :math:`\lambda (L_{att} + L_{emb} + L_{hid})`
    ("mcakd") or :math:`\lambda` times the error to the teacher's output ("lmkd") is in it; a training sets that epoch
    by epoch (:class:`~receivers.training.distillation.phases.Phases`). The teacher runs in passive epochs only, and is
    neither trained nor saved with this model. Tokens after the embedding, and after the last attention of encoder and
    decoder, pass a selection each; the two hidden states count one half each.

    Args:
        student: network that learns.
        teacher: frozen network that sees the same tokens.
        kind: "mcakd", "lmkd", or "none" (no teacher).
        weight: :math:`\lambda`.
        terms: terms in the loss, of "attention", "embedding" and "hidden".
        selection: "ca_ks", or "linear": without CA-KS, see :class:`~receivers.training.distillation.caks.LinearMatch`.
        scope: of the selection.
        order: of the selected features.
        seed: of all that is drawn.

    Raises:
        ConfigError: options or networks that do not fit.

    Source: Tiny-WiFo (MCAKD), Eqs. (1)-(9).
    """

    alike: ClassVar[tuple[str, ...]]  # attributes in which student and teacher agree

    def __init__(
        self,
        student: Any,
        teacher: Any = None,
        kind: str = "none",
        *,
        weight: float = 1.0,
        terms: Sequence[str] = TERMS,
        selection: str = "ca_ks",
        scope: str = "sample",
        order: str = "importance",
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.passive = False
        check_kind(kind, teacher, terms, selection)
        self.student, self.kind, self.weight, self.terms = student, kind, weight, tuple(terms)
        self._seed = keras.random.SeedGenerator(derive(seed, "training"))
        self._teacher = Untracked(teacher)
        self.selections: dict[str, keras.layers.Layer] = {}
        if teacher is not None:
            teacher.trainable = False
            self._check(teacher)
        if kind == "mcakd":
            self.selections = selection_layers(terms, student, teacher, selection, scope, order)
        self.built = True

    def set_step(self, epoch: int, step: int = 0, shape: Any = None) -> None:
        """Take the step of the phase for the next batch."""
        self.select((self.passive, shape))

    @property
    def network(self) -> Any:
        """What learns and is served."""
        return self.student

    def _check(self, teacher: Any) -> None:
        """Teacher and student must see the same tokens, and have heads that match."""
        student = self.student
        for name in self.alike:
            ours, theirs = getattr(student, name), getattr(teacher, name)
            if ours != theirs:
                raise ConfigError(f"teacher.{name}", theirs, f"that of the student, {ours}")
        if self.kind == "mcakd" and "attention" in self.terms:
            if student.num_heads != teacher.num_heads:
                raise ConfigError("teacher.num_heads", teacher.num_heads, f"that of the student, {student.num_heads}")
            self.check_maps(teacher)
            matched_layers(len(teacher.encoder), len(student.encoder))
            matched_layers(len(teacher.decoder), len(student.decoder))

    def check_maps(self, teacher: Any) -> None:
        """ConfigError unless the attention maps of student and teacher can be compared."""

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Loss of every sample."""
        idle = [*self.idle(), *([] if self.passive else self.selections.values())]
        # A gradient of zero where a step does not use weights: so all backends step alike.
        unused = 0.0 * sum(ops.sum(w) for layer in idle for w in layer.trainable_weights) if idle else 0.0
        return sum(self.losses_of(x, training).values()) + unused

    def idle(self) -> list[Any]:
        """Layers of the student that a step does not use."""
        return []

    def losses_of(self, x: Tensor, training: bool = False) -> dict[str, Any]:
        """Terms of the loss, weighted, by name, float ``[batch]`` each: they add up to the loss."""
        raise NotImplementedError

    def compared(self, theirs: Any, ours: Any, encoder: Any = lambda loss: loss) -> dict[str, Any]:
        """Terms "embedding" and "hidden" of a passive step, not weighted.

        Args:
            theirs: trace of the teacher, constants.
            ours: of the student.
            encoder: mean over what the encoder sees as samples of their own, of losses ``[...]`` to ``[batch]``.
        """
        terms: dict[str, Any] = {}
        if "embedding" in self.terms:
            terms["embedding"] = encoder(selected_loss(self.selections["embedding"], theirs.embedding, ours.embedding))
        if "hidden" in self.terms:
            terms["hidden"] = 0.5 * (
                encoder(selected_loss(self.selections["encoder"], theirs.encoder_state, ours.encoder_state))
                + selected_loss(self.selections["decoder"], theirs.decoder_state, ours.decoder_state)
            )
        return terms
