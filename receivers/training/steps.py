"""Models with several compiled training steps."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from simulator.core.backend import Tensor


def jit_compiled() -> bool:
    """Whether training steps are faster under XLA on the active backend.

    On a CPU, XLA makes TensorFlow's convolutions slower, and transformers no faster than its graphs.
    """
    return keras.backend.backend() == "jax"


class Untracked:
    """Holds an object that Keras would otherwise make part of a model."""

    def __init__(self, value: Any):
        self.value = value


class SteppedModel(keras.Model):
    """Called, it gives the loss of every sample; one compiled training step for every key.

    A change of phase, task or shape costs nothing. Keras compiles one step and relaxes its shapes when they change;
    networks that read their shapes, or change what they compute, need one for each.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self._steps, self._key = Untracked({}), Untracked(None)

    def select(self, key: Any) -> None:
        """Train with the step of this key from now on; a new one is compiled when it is first used."""
        if key == self._key.value:
            return
        self._steps.value[self._key.value] = getattr(self, "train_function", None)
        self.train_function, self._key.value = self._steps.value.get(key), key

    def set_step(self, epoch: int, step: int = 0, shape: Any = None) -> None:
        """Announce the next batch: its epoch, its number in the epoch and its shape."""
        self.select(shape)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Mean of the losses from the call."""
        return ops.mean(y_pred)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile, and drop cached steps: they belong to the previous optimiser."""
        self._steps.value.clear()
        super().compile(*args, **kwargs)

    def make_train_function(self, force: bool = False) -> Any:
        """Training step of the current key; JAX caches compiled steps by function, so every key needs its own."""
        if self.train_function is None or force:
            self.train_step = lambda *args: type(self).train_step(self, *args)
        return super().make_train_function(force)
