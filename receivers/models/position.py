"""Learned positions of tokens."""

from __future__ import annotations

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="csilink")
class Position(layers.Layer):
    """Adds a learned vector to every token of ``[batch, token, dim]``, drawn with standard deviation ``stddev``."""

    def __init__(self, stddev: float = 0.02, **kwargs):
        super().__init__(**kwargs)
        self.stddev = stddev

    def build(self, shape):
        """One vector per token."""
        self.table = self.add_weight(
            shape=shape[1:], initializer=keras.initializers.RandomNormal(0, self.stddev), name="table"
        )

    def call(self, x):
        """Add."""
        return x + ops.expand_dims(self.table, 0)

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), "stddev": self.stddev}
