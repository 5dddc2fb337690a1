"""Adam and AdamW as PyTorch computes them."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from simulator.core.backend import Tensor


@keras.saving.register_keras_serializable(package="csilink")
class TorchAdam(keras.optimizers.AdamW):
    r"""AdamW with epsilon outside the bias correction.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \qquad
        \theta_t = \theta_{t-1} - \eta \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Keras divides by :math:`\sqrt{v_t} + \epsilon` before it corrects the bias, which makes its epsilon
    :math:`1 / \sqrt{1 - \beta_2^t}` times as large: 32 times in the first step.

    Args:
        learning_rate: :math:`\eta`, a number or a schedule.
        weight_decay: 0 for Adam; above, :math:`\theta_{t-1}` is first multiplied by 1 - ``weight_decay`` :math:`\eta`.
        epsilon: :math:`\epsilon`, in PyTorch 1e-8.
        kwargs: see ``keras.optimizers.AdamW``.

    Source: Kingma, Ba, "Adam", ICLR 2015, Algorithm 1; Loshchilov, Hutter, ICLR 2019, Algorithm 2.
    """

    def __init__(self, learning_rate: float = 1e-3, weight_decay: float = 0.0, epsilon: float = 1e-8, **kwargs: Any):
        super().__init__(learning_rate, weight_decay=weight_decay, epsilon=epsilon, **kwargs)

    def update_step(self, gradient: Tensor, variable: Tensor, learning_rate: float) -> None:
        """One step of one variable."""
        rate, gradient, step = (ops.cast(x, variable.dtype) for x in (learning_rate, gradient, self.iterations + 1))
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        self.assign(m, self.beta_1 * m + (1 - self.beta_1) * gradient)
        self.assign(v, self.beta_2 * v + (1 - self.beta_2) * ops.square(gradient))
        first, second = (-ops.expm1(math.log(beta) * step) for beta in (self.beta_1, self.beta_2))  # 1 - beta^t
        self.assign_sub(variable, rate * (m / first) / (ops.sqrt(v / second) + self.epsilon))
