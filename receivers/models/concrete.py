"""Bits inside a network: binary concrete relaxation and feedback bit masking (FBMU)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from simulator.core.backend import Tensor

# Value that the decoder reads in place of a bit that was not sent.
MASKED = -1.0


def concrete_temperature(progress: float, start: float = 10.0, end: float = 0.01) -> float:
    r"""Temperature :math:`T(e) = T_0 (T_E / T_0)^{e/E}` after the share ``progress`` = e/E of the training.

    Source: Ji, Chung, IEEE Trans. Wireless Commun. 23(10), 2024; NF-KD, Table 2: 10 to 0.01.
    """
    return start * (end / start) ** progress


def soft_bits(logit: Tensor, temperature: Tensor, seed: Any) -> Tensor:
    r"""Relaxed random bits :math:`\sigma((x + L) / T)`, L logistic: the first of two Gumbel-softmax components.

    With two logits :math:`x = \ell_0 - \ell_1`; the difference of two Gumbel variables is logistic.

    Args:
        logit: float ``[batch, bit]``, log-odds of a one.
        temperature: T > 0, a number or a tensor of no axes.
        seed: ``keras.random.SeedGenerator``.

    Returns:
        float in (0, 1), same shape.

    Source: Maddison, Mnih, Teh, ICLR 2017 (binary concrete); Jang, Gu, Poole, ICLR 2017 (Gumbel-softmax).
    """
    u = keras.random.uniform(ops.shape(logit), 1e-6, 1.0 - 1e-6, seed=seed)
    return ops.sigmoid((logit + ops.log(u) - ops.log1p(-u)) / temperature)


def hard_bits(logit: Tensor) -> Tensor:
    """Bits 0.0 or 1.0 of log-odds ``[...]``: the more probable value."""
    return ops.cast(logit > 0, "float32")


def mask_bits(bits: Tensor, num_bits: Tensor) -> Tensor:
    """The first ``num_bits`` int ``[batch]`` of ``bits`` float ``[batch, bit]``; the others are -1 (FBMU)."""
    sent = ops.arange(bits.shape[-1]) < ops.cast(num_bits, "int32")[:, None]
    return ops.where(sent, bits, MASKED)
