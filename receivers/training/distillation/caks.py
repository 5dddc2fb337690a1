"""CA-KS: selection of the features of a wide teacher that a narrow student learns from."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from receivers.models.masking import gather_tokens
from simulator.core.backend import Shape, Tensor
from simulator.core.errors import ConfigError


class CrossAttentionSelection(layers.Layer):
    r"""Cross-attention knowledge selection: the teacher's features that matter to the student's tokens.

    The student asks (Q), the teacher answers (K, V): :math:`O = \operatorname{softmax}(Q K^T / \sqrt d) V`, heads
    concatenated, no biases and no output projection, so that O has one column for each teacher feature. Importance of
    feature j is :math:`s_j = \sum_l O_{lj}`; the ``student_dim`` most important ones are taken from the teacher's
    tokens as they are, in falling order of importance or in rising order of their index.

    Sorting has no gradient, so indices are constants; the projections learn through soft weights on the selected
    columns, :math:`\pi_j / \bar\pi_j` with :math:`\pi = \operatorname{softmax}(s / L)` and the bar a constant: exactly
    1 in the forward pass. Teacher and student tokens are constants here: the student learns from the distance alone,
    not by changing its queries.

    The paper's formulas are not public; ours are: values start as the identity (importance starts as that of the raw
    features), every sample has its own indices, order by importance. By importance, a feature of the student meets
    features of the teacher that change from sample to sample; in the order of the index, and for the batch, less so.

    Args:
        student_dim: features of the student.
        teacher_dim: features of the teacher, at least as many.
        num_heads: heads; must divide ``teacher_dim``.
        scope: "sample", indices of every sample by itself; "batch", one importance for all, the mean of the batch.
        order: of the selected features: "importance", falling; "index", rising.

    Call arguments:
        student: tokens float32 ``[batch, token, student_dim]``.
        teacher: tokens float32 ``[batch, token, teacher_dim]``.

    Returns:
        selected teacher tokens float32 ``[batch, token, student_dim]``.

    Raises:
        ConfigError: sizes that do not fit, unknown scope or order.

    Source: Tiny-WiFo (MCAKD), Sec. III-B2, Eqs. (2)-(4).
    """

    def __init__(
        self,
        student_dim: int,
        teacher_dim: int,
        num_heads: int = 8,
        scope: str = "sample",
        order: str = "importance",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not 0 < student_dim <= teacher_dim:
            raise ConfigError("student_dim", student_dim, f"1 .. {teacher_dim}, the features of the teacher")
        if num_heads < 1 or teacher_dim % num_heads:
            raise ConfigError("num_heads", num_heads, f"a divisor of the teacher's {teacher_dim} features")
        if scope not in ("sample", "batch"):
            raise ConfigError("scope", scope, "sample, batch")
        if order not in ("importance", "index"):
            raise ConfigError("order", order, "importance, index")
        self.student_dim, self.teacher_dim, self.num_heads = student_dim, teacher_dim, num_heads
        self.scope, self.order = scope, order

    def build(self, student_shape: Shape | None = None, teacher_shape: Shape | None = None) -> None:
        """Three projections to the teacher's width."""
        square = (self.teacher_dim, self.teacher_dim)
        self.query = self.add_weight(shape=(self.student_dim, self.teacher_dim), name="query")
        self.key = self.add_weight(shape=square, name="key")
        self.value = self.add_weight(shape=square, initializer=keras.initializers.Identity(), name="value")

    def importance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Importance of every teacher feature, float32 ``[batch, teacher_dim]``."""
        shape = (-1, student.shape[1], self.num_heads, self.teacher_dim // self.num_heads)
        student, teacher = ops.stop_gradient(student), ops.stop_gradient(teacher)
        q, k, v = (
            ops.swapaxes(ops.reshape(ops.matmul(x, w), shape), 1, 2)
            for x, w in ((student, self.query), (teacher, self.key), (teacher, self.value))
        )
        weights = ops.softmax(ops.matmul(q * shape[-1] ** -0.5, ops.swapaxes(k, -1, -2)), axis=-1)
        score = ops.sum(ops.matmul(weights, v), axis=2)  # [batch, head, depth]
        score = ops.reshape(score, (-1, self.teacher_dim))
        if self.scope == "batch":
            score = ops.broadcast_to(ops.mean(score, axis=0, keepdims=True), ops.shape(score))
        return score

    def indices(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Selected features int ``[batch, student_dim]`` in their order; no gradient."""
        return self._top(self.importance(student, teacher))

    def call(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Select."""
        score = self.importance(student, teacher)
        index = self._top(score)
        soft = ops.expand_dims(ops.log_softmax(score / student.shape[1], axis=-1), -1)
        soft = gather_tokens(soft, index)  # [batch, student_dim, 1]
        columns = gather_tokens(ops.swapaxes(ops.stop_gradient(teacher), 1, 2), index)
        return ops.swapaxes(columns * ops.exp(soft - ops.stop_gradient(soft)), 1, 2)

    def _top(self, score: Tensor) -> Tensor:
        index = ops.cast(ops.top_k(ops.stop_gradient(score), self.student_dim, sorted=True)[1], "int32")
        return ops.sort(index, axis=-1) if self.order == "index" else index


class LinearMatch(layers.Layer):
    """Replacement of the selection when it is switched off: student tokens, linearly mapped to the teacher's width.

    Mapping the student up, and not the teacher down, leaves the target fixed (no collapse).

    Source: Jiao et al., "TinyBERT", Findings of EMNLP 2020, Eq. (8).
    """

    def __init__(self, student_dim: int, teacher_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.student_dim, self.teacher_dim = student_dim, teacher_dim

    def build(self, shape: Shape | None = None) -> None:
        """One matrix."""
        self.matrix = self.add_weight(shape=(self.student_dim, self.teacher_dim), name="matrix")

    def call(self, student: Tensor) -> Tensor:
        """Map float32 ``[batch, token, student_dim]`` to ``[batch, token, teacher_dim]``."""
        return ops.matmul(student, self.matrix)
