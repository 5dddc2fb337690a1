"""Parameters and multiply-accumulates of a network, counted while it runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from receivers.models import attention, gdn, separable_attention


@dataclass(frozen=True)
class Cost:
    """Cost of one sample.

    Args:
        params: trainable parameters.
        macs: multiply-accumulates of convolutions, dense layers, attention projections and products, GDN.
        macs_published: those of convolution and dense layers alone, as the tables of this field count: projections of
            fused attention, its products and normalisations are missing there.
    """

    params: int
    macs: int
    macs_published: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.macs + other.macs, self.macs_published + other.macs_published)


def count_cost(network: keras.Model) -> Cost:
    """Cost of ``network`` for one sample, from a run on zeros; a layer that runs twice counts twice."""
    counted = {"published": 0, "other": 0}
    with _counting(counted):
        network(np.zeros((1, *network.input_shape[1:]), np.float32), training=False)
    params = sum(int(np.prod(w.shape)) for w in network.trainable_weights)
    return Cost(params, counted["published"] + counted["other"], counted["published"])


@contextmanager
def _counting(counted: dict[str, int]) -> Iterator[None]:
    """Count in every call of the layers that multiply."""

    def conv(layer: Any, x: Any, y: Any) -> int:
        return math.prod(layer.kernel.shape[:3]) * math.prod(y.shape)

    def conv_transpose(layer: Any, x: Any, y: Any) -> int:
        return math.prod(layer.kernel.shape) * math.prod(x.shape[:3])

    def dense(layer: Any, x: Any, y: Any) -> int:
        return x.shape[-1] * math.prod(y.shape)

    def fused(layer: Any, x: Any, y: Any) -> int:
        return 4 * x.shape[-1] * math.prod(x.shape)  # q, k, v, out; memory has the tokens of x in all our networks

    def pool(layer: Any, x: Any, y: Any) -> int:
        return x.shape[-1] * math.prod(x.shape)

    kinds: list[tuple[type, str, Callable[[Any, Any, Any], int]]] = [
        (layers.Conv2D, "published", conv),
        (layers.Conv2DTranspose, "published", conv_transpose),
        (layers.Dense, "published", dense),
        (layers.EinsumDense, "published", dense),  # a kernel for each row
        (attention.MultiHeadAttention, "other", fused),
        (gdn.Gdn, "other", pool),
    ]
    originals = [(cls, cls.call) for cls, _, _ in kinds]
    products = attention.attend

    def attend(q: Any, k: Any, v: Any, scale: float, drop: Any = None) -> Any:
        counted["other"] += math.prod(q.shape) * k.shape[-2] + math.prod(q.shape[:-1]) * k.shape[-2] * v.shape[-1]
        return products(q, k, v, scale, drop)

    def wrapped(original: Callable[..., Any], kind: str, macs: Callable[[Any, Any, Any], int]) -> Callable[..., Any]:
        def call(layer: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
            y = original(layer, x, *args, **kwargs)
            counted[kind] += macs(layer, x, y)
            return y

        return call

    for cls, kind, macs in kinds:
        cls.call = wrapped(cls.call, kind, macs)
    attention.attend = separable_attention.attend = attend
    try:
        yield
    finally:
        for cls, original in originals:
            cls.call = original
        attention.attend = separable_attention.attend = products
