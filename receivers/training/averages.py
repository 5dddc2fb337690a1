"""Moving averages of weights: kept by the optimiser, in the model only where it is scored or its weights are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops


def keep_averages(optimizer: keras.optimizers.Optimizer) -> None:
    """Let ``fit`` leave the weights alone: Keras puts the averages in their place whenever ``fit`` returns.

    A training that calls it once an epoch, or goes on from a checkpoint, would go on from its averages.
    """
    optimizer.finalize_variable_values = lambda var_list: None


@contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    r"""Inside, the trainable weights are their averages, if the optimiser has any; then they are as before.

    .. math:: \bar w_1 = w_1, \qquad \bar w_t = m \bar w_{t-1} + (1 - m) w_t

    Variables that are not trained (statistics of batch norm, levels of a quantiser) stay those of the weights.
    """
    optimizer = model.optimizer
    if not getattr(optimizer, "use_ema", False):
        yield
        return
    weights: Sequence[Any] = optimizer._trainable_variables
    before = [np.array(ops.convert_to_numpy(w)) for w in weights]  # a copy: torch gives a view
    for weight, average in zip(weights, optimizer._model_variables_moving_average, strict=True):
        weight.assign(average)
    try:
        yield
    finally:
        for weight, value in zip(weights, before, strict=True):
            weight.assign(value)
