"""XLA compilation of a function written in ``keras.ops``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function under XLA; compiled once for every new shape of its tensor arguments."""
    return tf.function(function, jit_compile=True, autograph=False)
