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

from receivers.models import attention, gdn, mamba, mixture_of_experts, separable_attention


@dataclass(frozen=True)
class Cost:
    """Cost of one sample.

    Args:
        params: trainable parameters.
        macs: multiply-accumulates of convolutions, dense layers, all other projections, attention products, selective
            scans (three for every state and token) and GDN. Activations, normalisations and exponentials are not in it.
        macs_published: those of convolution and dense layers alone, as the tables of this field count: projections of
            fused attention and of scans, products and scans are missing there.
        macs_thop: the same and four for every entry that a batch or layer normalisation passes, as thop counts.
    """

    params: int
    macs: int
    macs_published: int
    macs_thop: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.params + other.params,
            self.macs + other.macs,
            self.macs_published + other.macs_published,
            self.macs_thop + other.macs_thop,
        )


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates of one call of one layer.

    Args:
        kind: "layer" (convolution, dense), "projection" (weights that published counts leave out), "product" (of two
            activations) or "norm".
        macs: multiply-accumulates of one sample; for "norm" the entries times four.
        weight: the kernel that multiplies, None for products and norms.
    """

    kind: str
    macs: int
    weight: Any = None


def count_cost(network: keras.Model) -> Cost:
    """Cost of ``network`` for one sample, from a run on zeros; a layer that runs twice counts twice."""
    total = dict.fromkeys(("layer", "projection", "product", "norm"), 0)
    for work in count_work(network):
        total[work.kind] += work.macs
    params = sum(int(np.prod(w.shape)) for w in network.trainable_weights)
    published = total["layer"]
    return Cost(params, published + total["projection"] + total["product"], published, published + total["norm"])


def count_work(network: keras.Model) -> list[Work]:
    """What every layer of ``network`` multiplies for one sample, in the order of the calls."""
    return work_of(lambda: network(np.zeros((1, *network.input_shape[1:]), np.float32), training=False))


def work_of(run: Callable[[], Any]) -> list[Work]:
    """What all layers multiply while ``run`` runs them, in the order of the calls."""
    work: list[Work] = []
    with _counting(work):
        run()
    return work


@contextmanager
def _counting(work: list[Work]) -> Iterator[None]:
    """Count in every call of the layers that multiply."""

    def conv(layer: Any, x: Any, y: Any) -> list[Work]:
        return [Work("layer", math.prod(layer.kernel.shape[:-1]) * math.prod(y.shape), layer.kernel)]

    def depthwise(layer: Any, x: Any, y: Any) -> list[Work]:
        return [Work("layer", math.prod(layer.kernel.shape[:-2]) * math.prod(y.shape), layer.kernel)]

    def conv_transpose(layer: Any, x: Any, y: Any) -> list[Work]:
        return [Work("layer", math.prod(layer.kernel.shape) * math.prod(x.shape[:3]), layer.kernel)]

    def dense(layer: Any, x: Any, y: Any) -> list[Work]:  # EinsumDense: a kernel for each row
        return [Work("layer", x.shape[-1] * math.prod(y.shape), layer.kernel)]

    def fused(layer: Any, x: Any, y: Any) -> list[Work]:
        macs = x.shape[-1] * math.prod(x.shape)  # memory has the tokens of x in all our networks
        return [Work("projection", 3 * macs, layer.in_kernel), Work("projection", macs, layer.out_kernel)]

    def scan(layer: Any, x: Any, y: Any) -> list[Work]:
        tokens, channels = math.prod(x.shape[:3]), x.shape[3]
        return [
            Work("projection", tokens * math.prod(layer.x_proj.shape[1:]), layer.x_proj),
            Work("projection", tokens * math.prod(layer.dt_proj.shape[1:]), layer.dt_proj),
            Work("product", 3 * tokens * channels * layer.state),
        ]

    def pool(layer: Any, x: Any, y: Any) -> list[Work]:
        return [Work("projection", x.shape[-1] * math.prod(x.shape), layer.gamma)]

    def experts(layer: Any, x: Any, y: Any) -> list[Work]:  # those that a token passes
        tokens, sizes = math.prod(x.shape[:-1]), 3 * x.shape[-1] * layer.hidden
        return [
            Work("projection", tokens * x.shape[-1] * layer.num_experts, layer.gate),
            Work("projection", tokens * (layer.top_k + layer.num_shared) * sizes, layer.routed[0]),
        ]

    def norm(layer: Any, x: Any, y: Any) -> list[Work]:
        return [Work("norm", 4 * math.prod(x.shape))]

    kinds: list[tuple[type, Callable[[Any, Any, Any], list[Work]]]] = [
        (layers.Conv2D, conv),
        (layers.DepthwiseConv1D, depthwise),
        (layers.DepthwiseConv2D, depthwise),
        (layers.Conv2DTranspose, conv_transpose),
        (layers.Dense, dense),
        (layers.EinsumDense, dense),
        (layers.BatchNormalization, norm),
        (layers.LayerNormalization, norm),
        (attention.MultiHeadAttention, fused),
        (mamba.SelectiveScan, scan),
        (mixture_of_experts.MixtureOfExperts, experts),
        (gdn.Gdn, pool),
    ]
    originals = [(cls, cls.call) for cls, _ in kinds]
    products = attention.attend

    def attend(q: Any, k: Any, v: Any, scale: float, drop: Any = None, causal: bool = False) -> Any:
        macs = math.prod(q.shape) * k.shape[-2] + math.prod(q.shape[:-1]) * k.shape[-2] * v.shape[-1]
        work.append(Work("product", macs))
        return products(q, k, v, scale, drop, causal)

    def wrapped(original: Callable[..., Any], count: Callable[[Any, Any, Any], list[Work]]) -> Callable[..., Any]:
        def call(layer: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
            y = original(layer, x, *args, **kwargs)
            work.extend(count(layer, x, y))
            return y

        return call

    for cls, count in kinds:
        cls.call = wrapped(cls.call, count)
    attention.attend = separable_attention.attend = attend
    try:
        yield
    finally:
        for cls, original in originals:
            cls.call = original
        attention.attend = separable_attention.attend = products
