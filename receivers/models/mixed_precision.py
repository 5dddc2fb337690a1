"""Encoder at the UE with weights of few bits, block by block, and its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from receivers.models.cost import count_work
from receivers.quantization.weight_bits import WIDTHS, quantize_weight
from simulator.core.backend import Shape, Tensor
from simulator.core.errors import ConfigError

# Kernels with more parameters are cut into parts with widths of their own (RP-MPQ's released code: 32 parts).
LARGE = 20_000

# Samples that the encoder runs on at once.
_BATCHES = (32, 256)


@dataclass(frozen=True)
class Block:
    """Part of one kernel that a policy gives a width to.

    Args:
        name: path of the kernel, with the part where it is cut.
        weight: index of the kernel in ``encoder.weights``.
        start: first output channel (last axis).
        stop: one past the last.
        params: weights.
        macs: multiply-accumulates of one sample.
        published: counted by published tables (convolutions, dense layers).
    """

    name: str
    weight: int
    start: int
    stop: int
    params: int
    macs: int
    published: bool


class MixedPrecisionEncoder:
    r"""An encoder whose kernels have been rounded to the widths of a policy; the code of the model is not touched.

    It works on a copy of the network: kernels are rounded and converted back; outputs of the encoder's own layers are
    rounded to ``activation_bits`` (symmetric, one scale for each sample and layer). Signals inside a composite layer
    (a Mamba block, a Transformer layer), biases, gains and states of scans stay in float32, while all products
    are counted at ``activation_bits``: 16 bits are exact to -90 dB, for 8 bits the count is optimistic.

    .. math:: \mathrm{BOPs}(\pi) = \sum_m \mathrm{MACs}_m\, b_m\, b_a + \mathrm{MACs}_\mathrm{products}\, b_a^2

    Args:
        encoder: functional model.
        activation_bits: b_a, 8 or 16.
        scheme: of the weights, see :func:`quantize_weight`.
        clip: see there.
        parts: of kernels with more than 20,000 weights, along the output channels.

    Raises:
        ConfigError: for other arguments.

    Source: RP-MPQ, Sec. IV-A and Eqs. (16), (29); BOPs: Yao et al., HAWQ-V3, ICML 2021, Sec. 3.4.
    """

    def __init__(
        self,
        encoder: keras.Model,
        *,
        activation_bits: int = 16,
        scheme: str = "symmetric",
        clip: str = "max",
        parts: int = 1,
    ):
        if activation_bits not in (8, 16):
            raise ConfigError("activation_bits", activation_bits, "8 or 16")
        if isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
            raise ConfigError("parts", parts, "an integer of 1 or more")
        self.activation_bits = activation_bits
        self.blocks, self.product_macs = _blocks(encoder, parts)
        self._network, self._weights = _rounding_copy(encoder, activation_bits)
        self._kernels = {b.weight: np.array(encoder.weights[b.weight]) for b in self.blocks}
        self._rounded: dict[tuple[int, int, int], np.ndarray] = {}
        self._options = {"scheme": scheme, "clip": clip}
        self._assigned: tuple[int, ...] | None = None
        self.assign((WIDTHS[0],) * len(self.blocks))

    @property
    def layout(self) -> list[list[int]]:
        """Kernel, first and last output channel of every block: a stored policy must match them."""
        return [[block.weight, block.start, block.stop] for block in self.blocks]

    def check(self, policy: Sequence[int]) -> tuple[int, ...]:
        """The policy, if it has a supported width for every block; ConfigError otherwise."""
        if len(policy) != len(self.blocks):
            raise ConfigError("policy", f"{len(policy)} widths", f"{len(self.blocks)}, one for every block")
        wrong = [bits for bits in policy if bits not in WIDTHS]
        if wrong:
            raise ConfigError("policy", wrong[0], ", ".join(map(str, WIDTHS)))
        return tuple(int(bits) for bits in policy)

    def assign(self, policy: Sequence[int]) -> None:
        """Round every block to its width."""
        policy = self.check(policy)
        before, self._assigned = self._assigned, policy
        changed = range(len(policy)) if before is None else [i for i, b in enumerate(policy) if b != before[i]]
        for weight in {self.blocks[i].weight for i in changed}:
            kernel = np.array(self._kernels[weight])
            for block, bits in zip(self.blocks, policy, strict=True):
                if block.weight == weight:
                    kernel[..., block.start : block.stop] = self._part(block, bits)
            self._weights[weight].assign(kernel)

    def _part(self, block: Block, bits: int) -> np.ndarray:
        """Rounded weights of a block; a range for a whole tensor is that of the part, as released."""
        key = block.weight, block.start, bits
        if key not in self._rounded:
            part = self._kernels[block.weight][..., block.start : block.stop]
            self._rounded[key] = quantize_weight(part, bits, **self._options)
        return self._rounded[key]

    def perturbation(self) -> np.ndarray:
        r"""Squared error :math:`\|\Delta\theta_m^{(b)}\|^2` of every block, float64 ``[block, width]``."""
        found = np.zeros((len(self.blocks), len(WIDTHS)))
        for row, block in enumerate(self.blocks):
            kernel = self._kernels[block.weight][..., block.start : block.stop]
            for column, bits in enumerate(WIDTHS):
                found[row, column] = np.sum(np.square(np.float64(self._part(block, bits)) - kernel))
        return found

    def encode(self, images: np.ndarray, policy: Sequence[int]) -> np.ndarray:
        """Latents float32 ``[sample, latent]`` of images float32 ``[sample, height, width, 2]`` under one policy."""
        self.assign(policy)
        images = np.asarray(images, np.float32)
        size = next((size for size in _BATCHES if len(images) <= size), _BATCHES[-1])  # each is compiled once
        padded = np.concatenate([images, np.zeros((-len(images) % size, *images.shape[1:]), np.float32)])
        blocks = [self._network.predict_on_batch(padded[i : i + size]) for i in range(0, len(padded), size)]
        return np.concatenate(blocks)[: len(images)]

    def kappa(self) -> np.ndarray:
        """Cost float64 ``[block, width]``: BOPs of weights over those of all blocks at 16 bits (Eq. 29)."""
        macs = np.array([block.macs for block in self.blocks], np.float64)
        return macs[:, None] * np.array(WIDTHS) / (macs.sum() * WIDTHS[0])

    def bops(self, policy: Sequence[int]) -> float:
        """Bit operations of one sample, products of activations included."""
        weights = sum(block.macs * bits for block, bits in zip(self.blocks, self.check(policy), strict=True))
        return float(weights * self.activation_bits + self.product_macs * self.activation_bits**2)


def _blocks(encoder: keras.Model, parts: int) -> tuple[list[Block], int]:
    """Blocks of all kernels that multiply, in the order of their first use; MACs of products of activations."""
    index = {id(weight): number for number, weight in enumerate(encoder.weights)}
    macs: dict[int, list[Any]] = {}
    products = 0
    for work in count_work(encoder):
        if work.weight is not None:
            entry = macs.setdefault(index[id(work.weight)], [0, work.kind == "layer"])
            entry[0] += work.macs
        elif work.kind == "product":
            products += work.macs
    found = []
    for number, (total, published) in macs.items():
        weight = encoder.weights[number]
        size, channels = int(np.prod(weight.shape)), weight.shape[-1]
        cuts = np.array_split(np.arange(channels), min(parts if size > LARGE else 1, channels))
        for part, cut in enumerate(cuts):
            name = weight.path if len(cuts) == 1 else f"{weight.path}[{part + 1}/{len(cuts)}]"
            share = len(cut) / channels
            span = int(cut[0]), int(cut[-1]) + 1
            found.append(Block(name, number, *span, round(size * share), round(total * share), published))
    return found, products


class _Rounding(layers.Layer):
    """Round to ``bits``, symmetric, one scale for each sample."""

    def __init__(self, bits: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.steps = 2.0 ** (bits - 1) - 1

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Shape of the input; without this method Keras traces the whole call to learn it."""
        return shape

    def call(self, x: Tensor) -> Tensor:
        """Nearest multiples of the largest magnitude over the steps."""
        peak = ops.max(ops.abs(x), axis=tuple(range(1, len(x.shape))), keepdims=True)
        step = ops.maximum(peak, 1e-30) / self.steps
        return ops.round(x / step) * step


def _rounding_copy(encoder: keras.Model, bits: int) -> tuple[keras.Model, list[Any]]:
    """Copy of a functional model that rounds the output of every layer, and its weights in the model's order."""

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        y = operation(*args, **kwargs)
        return _Rounding(bits)(y) if isinstance(operation, layers.Layer) else y

    copy = keras.models.clone_model(encoder, call_function=call)
    # Rounding changes the depth of parallel branches, and with it the order of the copy's own list.
    weights = [w for layer in encoder.layers if layer.weights for w in copy.get_layer(layer.name).weights]
    for weight, value in zip(weights, encoder.weights, strict=True):
        weight.assign(value)
    return copy, weights
