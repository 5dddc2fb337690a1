"""Base of every network that refines codewords of a codebook: tokens of the polarisations in and out."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from simulator.core.backend import Tensor


def to_tokens(codewords: np.ndarray, num_pol: int) -> np.ndarray:
    """Tokens [Re; Im] of each polarisation, float32 ``[..., pol, 2 * port / pol]``, of complex ``[..., port]``.

    Source: LVM4CF, arXiv:2505.08566, Eqs. (16), (17).
    """
    parts = np.asarray(codewords).reshape(*codewords.shape[:-1], num_pol, -1)
    return np.concatenate([parts.real, parts.imag], axis=-1).astype(np.float32)


def from_tokens(tokens: np.ndarray) -> np.ndarray:
    """Unit-norm codewords complex64 ``[..., port]`` of tokens of any scale (Eq. 22; the output has none of its own)."""
    real, imag = np.split(np.asarray(tokens), 2, axis=-1)
    words: np.ndarray = (real + 1j * imag).reshape(*real.shape[:-2], -1)
    unit: np.ndarray = words / np.maximum(np.linalg.norm(words, axis=-1, keepdims=True), 1e-20)
    return unit.astype(np.complex64)


class CodewordRefiner(keras.Model):
    """Codeword -> better codeword, for the gNB; runs offline, once for each codeword.

    Args:
        network: functional model, tokens float32 ``[batch, pol, 2 * port / pol]`` to tokens of the same shape.
        config: constructor arguments of the subclass.
        backbone: layers that :meth:`freeze_backbone` freezes.
    """

    def __init__(self, network: keras.Model, config: dict[str, Any], backbone: list[Any] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.network, self.backbone = network, backbone or []
        self._config = {**config}
        self.built = True

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Refine."""
        if x.shape[0] == 0:  # layers of some backends take no empty batch
            return x
        return self.network(x, training=training)

    def freeze_backbone(self) -> None:
        """Train embedding, head and the norms of the backbone only (the paper does not state which layers it froze)."""
        for layer in self.backbone:
            layer.trainable = False
            for norm in layer.norms:
                norm.trainable = True
                for weight in norm.weights:
                    weight.trainable = True

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return dict(self._config)


class WholeCodebook(keras.Model):
    """Refined tokens of the codewords that samples chose; every word passes the network once.

    Args:
        refiner: network.
        words: tokens float32 ``[codeword, pol, 2 * port / pol]``.

    Call arguments:
        index: int ``[batch]`` or ``[..., 1]``, chosen codeword.

    Returns:
        float32 ``[..., pol, 2 * port / pol]``, equal to ``refiner(words[index])``.
    """

    def __init__(self, refiner: CodewordRefiner, words: np.ndarray, **kwargs: Any):
        super().__init__(**kwargs)
        self.refiner, self._words = refiner, np.asarray(words, np.float32)
        self.built = True

    def call(self, index: Tensor, training: bool = False) -> Tensor:
        """Refine all, pick."""
        index = index if len(index.shape) == 1 else ops.squeeze(index, -1)  # Keras adds an axis
        return ops.take(self.refiner(self._words, training=training), index, axis=0)
