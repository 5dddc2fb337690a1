r"""Knowledge distillation: a student learns from the true images and from those of a frozen teacher."""

from __future__ import annotations

from typing import Any

from keras import ops

from receivers.models.autoencoder import Autoencoder
from receivers.models.losses import mse_loss
from receivers.training.recipe import DistillSection
from simulator.core.backend import Tensor


def kl_loss(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    r"""Kullback-Leibler divergence of softened outputs, :math:`\tau^2 \sum_i P_{T,i} \ln (P_{T,i} / P_{S,i})`.

    :math:`P = \operatorname{softmax}(v / \tau)` over all entries v of an image, flattened. For entries small against
    :math:`\tau` this is half the variance of ``teacher - student``: a constant added to all entries goes unseen.

    Args:
        teacher: float ``[batch, ...]``.
        student: float, same shape.
        temperature: :math:`\tau`.

    Returns:
        float ``[batch]``.

    Source: NF-KD, Eqs. (5)-(7); Hinton, Vinyals, Dean, arXiv:1503.02531.
    """
    log_t, log_s = (
        ops.log_softmax(ops.reshape(v, (ops.shape(v)[0], -1)) / temperature, axis=-1) for v in (teacher, student)
    )
    return temperature**2 * ops.sum(ops.exp(log_t) * (log_t - log_s), axis=-1)


def z_score(v: Tensor) -> Tensor:
    r"""Every image of ``v [batch, ...]`` with mean 0 and standard deviation 1: its scale is lost (NF-KD, Eq. 2)."""
    axes = tuple(range(1, len(v.shape)))
    centred = v - ops.mean(v, axis=axes, keepdims=True)
    return centred * ops.rsqrt(ops.mean(ops.square(centred), axis=axes, keepdims=True) + 1e-12)


class Distillation:
    r"""Loss of a student with a frozen teacher, :math:`(1 - \alpha) L_{task} + \alpha L_{KD}`.

    ======================  =================================================================================
    ``loss``                :math:`\alpha L_{KD}`
    ======================  =================================================================================
    ``nf_kd``               :math:`\alpha` times :func:`kl_loss` of the raw images
    ``normalized_kd``       the same of z-scored images
    ``bit_adaptive``        :math:`\alpha_i` MSE to the teacher, :math:`\alpha_i = 0.5 (1 - b_i / b_{max})`
    ``mse``                 :math:`\alpha / 2` MSE to the teacher: ``nf_kd`` to second order
    ======================  =================================================================================

    Args:
        section: of the recipe.
        teacher: autoencoder whose images have the student's shape; all its bits are sent.

    Source: NF-KD, Eqs. (2)-(7) and Sec. 4.2. The task loss is the mean over entries as in the released code; the sum of
        the text would leave distillation a millionth of the gradient.
    """

    def __init__(self, section: DistillSection, teacher: Autoencoder):
        self.section, self.teacher = section, teacher
        teacher.trainable = False

    def teacher_images(self, x: Tensor) -> Tensor:
        """Images of the teacher, float32, shape of ``x``; no gradient."""
        return ops.stop_gradient(self.teacher(x, training=False))

    def __call__(self, task: Any, target: Any, student: Any, share: Any) -> Any:
        """Loss of every sample.

        Args:
            task: float ``[batch]``, loss against the true images.
            target: images of the teacher.
            student: images of the student.
            share: float ``[batch]``, bits sent over bits at most.

        Returns:
            float ``[batch]``.
        """
        kind, alpha = self.section.loss, self.section.alpha
        if kind == "bit_adaptive":
            weight = 0.5 * (1.0 - share)
            return (1.0 - weight) * task + weight * mse_loss(target, student)
        if kind == "mse":
            return (1.0 - alpha) * task + 0.5 * alpha * mse_loss(target, student)
        if kind == "normalized_kd":
            target, student = z_score(target), z_score(student)
        return (1.0 - alpha) * task + alpha * kl_loss(target, student, self.section.temperature)
