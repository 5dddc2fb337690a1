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

from receivers.models import attention, gdn, mamba, mamba_transformer, mixture_of_experts, position, separable_attention
from simulator.core.errors import ConfigError

# Layers whose weights are gains and offsets of entries: nothing is summed.
_ELEMENTWISE = (
    layers.RMSNormalization,
    mamba_transformer.ResidualMamba,
    mamba_transformer.StateNorm,
    position.Position,
)


@dataclass(frozen=True)
class Cost:
    """Cost of one sample.

    Args:
        params: trainable parameters.
        macs: multiply-accumulates of convolutions, dense layers, all other projections, attention products, selective
            scans (three for every state and token) and GDN. Activations, normalisations and exponentials are not in it.
        macs_published: those of convolution and dense layers alone, as the tables of this field count: without
            projections of fused attention and of scans, products and scans.
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
    """Multiply-accumulates of every layer of ``network`` for one sample, in the order of the calls."""
    return work_of(lambda: network(np.zeros((1, *network.input_shape[1:]), np.float32), training=False))


def work_of(run: Callable[[], Any]) -> list[Work]:
    """Multiply-accumulates of all layers while ``run`` runs them, in the order of the calls.

    A layer of your own that has weights states its cost by a method ``macs(x, y)``, the multiply-accumulates of a
    call with input x and output y.

    Raises:
        ConfigError: a layer with weights of its own whose cost is not known; it would count as 0.
    """
    work: list[Work] = []
    unknown: list[Any] = []  # Keras would wrap an error that is raised inside a model
    with _counting(work, unknown):
        run()
    if unknown:
        found = ", ".join(f"{layer.path} ({type(layer).__name__})" for layer in dict.fromkeys(unknown))
        raise ConfigError("model", found, "layers of known cost, or with a method macs(x, y)")
    return work


def _conv(layer: Any, x: Any, y: Any) -> list[Work]:
    return [Work("layer", math.prod(layer.kernel.shape[:-1]) * math.prod(y.shape), layer.kernel)]


def _depthwise(layer: Any, x: Any, y: Any) -> list[Work]:
    return [Work("layer", math.prod(layer.kernel.shape[:-2]) * math.prod(y.shape), layer.kernel)]


def _conv_transpose(layer: Any, x: Any, y: Any) -> list[Work]:
    return [Work("layer", math.prod(layer.kernel.shape) * math.prod(x.shape[:3]), layer.kernel)]


def _dense(layer: Any, x: Any, y: Any) -> list[Work]:
    return [Work("layer", x.shape[-1] * math.prod(y.shape), layer.kernel)]


def _einsum(layer: Any, x: Any, y: Any) -> list[Work]:  # one for every combination of all indices
    left, right = layer.equation.split("->")[0].replace("...", "").split(",")
    named = zip(left[::-1], x.shape[::-1], strict=False)  # axes of an ellipsis come first
    shared = math.prod(size for index, size in named if index in right)
    return [Work("layer", math.prod(layer.kernel.shape) * math.prod(x.shape) // shared, layer.kernel)]


def _fused(layer: Any, x: Any, y: Any) -> list[Work]:
    macs = x.shape[-1] * math.prod(x.shape)  # memory has the tokens of x in all our networks
    return [Work("projection", 3 * macs, layer.in_kernel), Work("projection", macs, layer.out_kernel)]


def _scan(layer: Any, x: Any, y: Any) -> list[Work]:
    tokens, channels = math.prod(x.shape[:3]), x.shape[3]
    return [
        Work("projection", tokens * math.prod(layer.x_proj.shape[1:]), layer.x_proj),
        Work("projection", tokens * math.prod(layer.dt_proj.shape[1:]), layer.dt_proj),
        Work("product", 3 * tokens * channels * layer.state),
    ]


def _pool(layer: Any, x: Any, y: Any) -> list[Work]:
    return [Work("projection", x.shape[-1] * math.prod(x.shape), layer.gamma)]


def _experts(layer: Any, x: Any, y: Any) -> list[Work]:  # those that a token passes
    tokens, sizes = math.prod(x.shape[:-1]), 3 * x.shape[-1] * layer.hidden
    return [
        Work("projection", tokens * x.shape[-1] * layer.num_experts, layer.gate),
        Work("projection", tokens * (layer.top_k + layer.num_shared) * sizes, layer.routed[0]),
    ]


def _norm(layer: Any, x: Any, y: Any) -> list[Work]:
    return [Work("norm", 4 * math.prod(x.shape))]


# Layers that multiply: Work of one call with input x and output y.
_KINDS: list[tuple[type, Callable[[Any, Any, Any], list[Work]]]] = [
    (layers.Conv1D, _conv),
    (layers.Conv2D, _conv),
    (layers.DepthwiseConv1D, _depthwise),
    (layers.DepthwiseConv2D, _depthwise),
    (layers.Conv2DTranspose, _conv_transpose),
    (layers.Dense, _dense),
    (layers.EinsumDense, _einsum),
    (layers.BatchNormalization, _norm),
    (layers.LayerNormalization, _norm),
    (attention.MultiHeadAttention, _fused),
    (mamba.SelectiveScan, _scan),
    (mixture_of_experts.MixtureOfExperts, _experts),
    (gdn.Gdn, _pool),
]


@contextmanager
def _counting(work: list[Work], unknown: list[Any]) -> Iterator[None]:
    """Count in every call of the layers that multiply; list those with weights that are not known."""
    originals = [(cls, cls.call) for cls, _ in _KINDS]
    products, run_layer = attention.attend, layers.Layer.__call__
    counted: set[int] = set()

    def attend(q: Any, k: Any, v: Any, scale: float, drop: Any = None, causal: bool = False) -> Any:
        macs = math.prod(q.shape) * k.shape[-2] + math.prod(q.shape[:-1]) * k.shape[-2] * v.shape[-1]
        work.append(Work("product", macs))
        return products(q, k, v, scale, drop, causal)

    def wrapped(original: Callable[..., Any], count: Callable[[Any, Any, Any], list[Work]]) -> Callable[..., Any]:
        def call(layer: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
            y = original(layer, x, *args, **kwargs)
            work.extend(count(layer, x, y))
            counted.add(id(layer))
            return y

        return call

    def checked(layer: Any, *args: Any, **kwargs: Any) -> Any:
        y = run_layer(layer, *args, **kwargs)
        if hasattr(layer, "macs"):
            work.append(Work("projection", layer.macs(args[0], y)))
        elif _own_weights(layer) and id(layer) not in counted and not isinstance(layer, _ELEMENTWISE):
            unknown.append(layer)
        return y

    for cls, count in _KINDS:
        cls.call = wrapped(cls.call, count)
    attention.attend = separable_attention.attend = attend
    layers.Layer.__call__ = checked
    try:
        yield
    finally:
        for cls, original in originals:
            cls.call = original
        attention.attend = separable_attention.attend = products
        layers.Layer.__call__ = run_layer


def _own_weights(layer: Any) -> bool:
    """Whether it has weights besides those of its sublayers."""
    inner = {id(weight) for part in layer._flatten_layers(include_self=False) for weight in part.weights}
    return any(id(weight) not in inner for weight in layer.weights)
