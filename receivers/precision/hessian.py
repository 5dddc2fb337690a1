"""Curvature of a trained network: trace of the Hessian of its loss, per variable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from simulator.core.backend import Tensor
from simulator.core.errors import ConfigError

# Step of the central difference in units of a variable's scale: the cube root of float32's unit roundoff 2^-24, where
# the error of the difference (step squared) meets the rounding of the gradients (roundoff over step).
STEP = 2.0**-8

# Least scale of a variable in units of the largest one. Biases may be zero, and the terms between variables count in
# the standard error as the ratio of their scales.
LEAST_SCALE = 0.1


def hessian_traces(
    model: keras.Model,
    loss: Callable[[Any, Any], Any],
    x: np.ndarray,
    y: np.ndarray,
    variables: Sequence[keras.Variable],
    *,
    parts: Sequence[int] | None = None,
    probes: int = 32,
    seed: int,
    batch_size: int = 256,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Trace of the Hessian of the mean loss with respect to each variable, by Hutchinson's estimate.

    .. math:: \operatorname{Tr}(H_m) = E[v_m^T H_{mm} v_m] \approx
              E\left[v_m^T \frac{g_m(w + \epsilon s v) - g_m(w - \epsilon s v)}{2 \epsilon s_m}\right]

    with signs v drawn for all variables at once: the terms :math:`v_m^T H_{mk} v_k` between variables vanish in the
    mean. The step of a variable is :math:`\epsilon = 2^{-8}` times its scale :math:`s_m`, the root mean square of its
    entries, at least a tenth of the largest scale. The network is the one of inference (batch normalisation frozen, no
    dropout), and the loss is without regularisers. Afterwards all variables of the model have their old values.

    Args:
        model: network as built; called with ``training=False``.
        loss: ``loss(y_true, y_pred)``, float ``[batch]``.
        x: inputs float ``[sample, ...]``.
        y: targets, ``[sample, ...]``.
        variables: trainable variables of the model, float32.
        parts: of every variable along its last axis, as ``np.array_split`` cuts; each has a trace of its own. None: 1.
        probes: random sign vectors, 2 or more; two gradients over the data each.
        seed: of the signs; the same signs under every backend.
        batch_size: samples per gradient step; the result is the mean over all samples.
    Returns:
        traces and their standard errors over the probes, float64 ``[part]`` each, variable by variable.
    Raises:
        ConfigError: without data, with fewer probes than 2, or for variables that are not the model's own.
    Source: Hutchinson, Commun. Stat. Simul. 18(3), 1989; Yao et al., HAWQ-V3, ICML 2021, arXiv:2011.10680.
    """
    variables = list(variables)
    _check(model, x, y, variables, probes, batch_size)
    state = [(variable, np.array(ops.convert_to_numpy(variable))) for variable in model.variables]
    start = [np.array(ops.convert_to_numpy(variable)) for variable in variables]
    scales = np.array([np.sqrt(np.mean(np.square(w, dtype=np.float64))) for w in start])
    scales = np.maximum(scales, LEAST_SCALE * scales.max()) if scales.max() > 0 else np.ones(len(scales))
    rng = np.random.default_rng(seed)
    parts = [1] * len(variables) if parts is None else list(parts)
    samples = np.zeros((probes, sum(parts)))
    first = np.cumsum([0, *parts])
    gradients = _Gradients(model, loss, variables)
    try:
        for probe in range(probes):
            signs = [rng.integers(0, 2, w.shape) * 2.0 - 1.0 for w in start]
            for side in (1.0, -1.0):
                weights = [
                    (w + side * STEP * scale * v).astype(np.float32)
                    for w, scale, v in zip(start, scales, signs, strict=True)
                ]
                for index, g in enumerate(gradients(weights, x, y, batch_size)):
                    change = side * signs[index] * g / (2 * STEP * scales[index])
                    sums = [np.sum(part) for part in np.array_split(change, parts[index], axis=-1)]
                    samples[probe, first[index] : first[index + 1]] += sums
    finally:
        for variable, value in state:
            variable.assign(value)
        gradients.release()
    return samples.mean(axis=0), samples.std(axis=0, ddof=1) / np.sqrt(probes)


def _check(model: keras.Model, x: Tensor, y: Tensor, variables: list[Any], probes: int, batch_size: int) -> None:
    """ConfigError for arguments without a meaning."""
    if len(x) == 0 or len(x) != len(y):
        raise ConfigError("calibration", f"{len(x)} inputs, {len(y)} targets", "as many inputs as targets, not none")
    for name, value, least in (("probes", probes, 2), ("batch_size", batch_size, 1)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ConfigError(name, value, f"an integer of {least} or more")
    own = {id(variable) for variable in model.trainable_variables}
    names = [variable.path for variable in variables if id(variable) not in own]
    if not variables or names or len({id(v) for v in variables}) < len(variables):
        raise ConfigError("variables", names or len(variables), "trainable variables of the model, each once")


class _Gradients:
    """Mean gradient over data as a function of the weights.

    Keras has no gradient function for all backends, but its training step is one: here the optimiser adds the
    gradients up instead of changing the weights.
    """

    def __init__(self, network: keras.Model, loss: Any, variables: list[Any]):
        self.variables = variables
        self.optimizer = _Accumulator()
        self.model = _Inference(network, loss, variables)
        self.model.compile(
            optimizer=self.optimizer, jit_compile=keras.backend.backend() == "jax", auto_scale_loss=False
        )
        self.optimizer.build(variables)

    def __call__(self, weights: Tensor, x: Tensor, y: Tensor, batch_size: int) -> list[np.ndarray]:
        for total in self.optimizer.totals:
            total.assign(np.zeros(total.shape, np.float32))
        for begin in range(0, len(x), batch_size):
            for variable, value in zip(self.variables, weights, strict=True):
                variable.assign(value)  # every time: Keras applies constraints after a step
            self.model.train_on_batch(x[begin : begin + batch_size], y[begin : begin + batch_size])
        return [ops.convert_to_numpy(total).astype(np.float64) / len(x) for total in self.optimizer.totals]

    def release(self) -> None:
        """Drop the gradients that torch keeps at the variables."""
        if hasattr(self.model, "zero_grad"):
            self.model.zero_grad()


class _Inference(keras.Model):
    """Network in inference mode whose only trainable variables are the given ones; its loss is the sum over a batch."""

    def __init__(self, network: keras.Model, loss: Any, variables: list[Any]):
        super().__init__(name="inference")
        self.network, self.sample_loss = network, loss
        self._order = {id(variable): index for index, variable in enumerate(variables)}
        self.built = True

    @property
    def trainable_variables(self) -> list[Any]:
        """The given variables, in their order."""
        own = [variable for variable in self.variables if id(variable) in self._order]
        return sorted(own, key=lambda variable: self._order[id(variable)])

    @property
    def trainable_weights(self) -> list[Any]:
        """The same."""
        return self.trainable_variables

    @property
    def non_trainable_variables(self) -> Any:
        """All others."""
        return [variable for variable in self.variables if id(variable) not in self._order]

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Output of the network, never in training mode."""
        return self.network(x, training=False)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Sum of the loss over the batch, without regularisers."""
        return ops.sum(self.sample_loss(y, y_pred))


class _Accumulator(keras.optimizers.Optimizer):
    """Optimiser that adds gradients up and leaves the variables alone."""

    def __init__(self) -> None:
        super().__init__(learning_rate=1.0, name="accumulator")

    def build(self, variables: list[Any]) -> None:
        """One total per variable."""
        if not self.built:
            super().build(variables)
            self.totals = self.add_optimizer_variables(variables, "total")

    def update_step(self, gradient: Tensor, variable: Tensor, learning_rate: float) -> None:
        """Add the gradient to its total."""
        self.assign_add(self.totals[self._get_variable_index(variable)], gradient)
