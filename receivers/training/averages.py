"""Moving averages of weights: kept by the optimiser, in the model only where it is scored or its weights are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

# Training samples that give the averaged weights their statistics.
NUM_SAMPLES = 2048


def keep_averages(optimizer: keras.optimizers.Optimizer) -> None:
    r"""Averages that forget the start of a short training, and weights that ``fit`` leaves alone.

    .. math:: \bar w_t = m_t \bar w_{t-1} + (1 - m_t) w_t, \qquad m_t = \min\left(m, \frac{t - 1}{t + 8}\right)

    With the constant momentum of Keras a share :math:`m^T` of the average of T steps is the weights after the first
    one: 14 % with 0.999 and 2,000 steps. The rise is that of TensorFlow's ``ExponentialMovingAverage(num_updates)``.

    Keras also puts the averages in the place of the weights whenever ``fit`` returns: a training that calls it once an
    epoch, or goes on from a checkpoint, would go on from its averages.

    Args:
        optimizer: with ``use_ema`` and ``ema_momentum`` m.
    """

    def update(weights: Sequence[keras.Variable]) -> None:
        before = ops.cast(optimizer.iterations, "float32")
        momentum = ops.minimum(optimizer.ema_momentum, before / (before + 9))
        for weight, average in zip(weights, optimizer._model_variables_moving_average, strict=True):
            average.assign(momentum * average + (1 - momentum) * weight)

    optimizer._update_model_variables_moving_average = update
    optimizer.finalize_variable_values = lambda var_list: None


@contextmanager
def averaged(model: keras.Model, batches: Callable[[], Iterable[tuple[Any, ...]]]) -> Iterator[None]:
    r"""Inside, the trainable weights are their averages, if the optimiser has any; then all is as before.

    Running statistics of batch norm belong to the weights that they were taken with, so the averages get their own:
    means of moments over the first ``NUM_SAMPLES`` samples of ``batches``, as in Izmailov et al., "Averaging weights
    leads to wider optima and better generalization", UAI 2018, section 3.2.

    Args:
        model: compiled.
        batches: gives arguments of ``train_on_batch``; called only where the model has batch norm.
    """
    optimizer = model.optimizer
    if not getattr(optimizer, "use_ema", False):
        yield
        return
    # A copy: torch gives a view.
    before = [(w, np.array(ops.convert_to_numpy(w))) for w in [*optimizer._trainable_variables, *model.variables]]
    for weight, average in zip(optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True):
        weight.assign(average)
    try:
        _take_statistics(model, batches)
        yield
    finally:
        for weight, value in before:
            weight.assign(value)


def _take_statistics(model: keras.Model, batches: Callable[[], Iterable[tuple[Any, ...]]]) -> None:
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return
    momenta, seen = [norm.momentum for norm in norms], 0
    try:
        for number, (x, *_) in enumerate(batches()):
            for norm in norms:
                norm.momentum = number / (number + 1)  # the mean of all batches
            model(x, training=True)
            seen += len(x[0] if isinstance(x, tuple | list) else x)
            if seen >= NUM_SAMPLES:
                break
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
