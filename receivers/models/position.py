"""Learned positions of tokens."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from simulator.core.backend import Shape, Tensor


@keras.saving.register_keras_serializable(package="csilink")
class Position(layers.Layer):
    """Adds a learned vector to every token of ``[batch, token, dim]``, drawn with standard deviation ``stddev``."""

    def __init__(self, stddev: float = 0.02, **kwargs: Any):
        super().__init__(**kwargs)
        self.stddev = stddev

    def build(self, shape: Shape) -> None:
        """One vector per token."""
        self.table = self.add_weight(
            shape=shape[1:], initializer=keras.initializers.RandomNormal(0, self.stddev), name="table"
        )

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Shape of the input; without this method Keras traces the whole call to learn it."""
        return shape

    def call(self, x: Tensor) -> Tensor:
        """Add."""
        return x + ops.expand_dims(self.table, 0)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "stddev": self.stddev}
