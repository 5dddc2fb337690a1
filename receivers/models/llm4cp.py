"""LLM4CP: channel prediction with the first layers of GPT-2."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from receivers.models.autoencoder import arguments
from receivers.models.gpt2 import Gpt2Body
from receivers.models.sequence_predictor import SequencePredictor
from receivers.models.spatiotemporal_position import axis_code
from simulator.core.backend import Shape, Tensor
from simulator.core.errors import ConfigError

# Entries of GPT-2's vocabulary table, which the published parameter count includes and the network never reads.
VOCABULARY_ENTRIES = 50_257 * 768


@keras.saving.register_keras_serializable(package="csilink")
class Llm4cp(SequencePredictor):
    """Two convolutional branches, of frequency and of delay; their sum through GPT-2; dense layers to the future.

    Branch: dense over groups of ``patch`` slots, 3x3 convolution, ``num_blocks`` residual blocks with channel
    attention, 3x3 convolution back to (real, imaginary). Then circular convolution over slots to ``d_model`` features,
    fixed position, dropout; dense on slots; :class:`~receivers.models.gpt2.Gpt2Body`; dense on features, and on slots.
    The defaults are published; the published 82,869,088 parameters count :data:`VOCABULARY_ENTRIES` that are not here.

    Nothing is normalised: samples come with unit power, by a factor that is fixed or of the sample alone. The released
    code takes mean and deviation of a batch instead, so that a prediction depends on the other samples of its batch.

    Args:
        group: subcarriers of a sequence.
        num_history: slots that the network sees, a multiple of ``patch``; of a longer history the latest.
        num_future: slots that it predicts; fewer may be requested.
        patch: slots of a group.
        width: channels of the convolutions.
        num_blocks: residual blocks of a branch.
        d_model: width of GPT-2, even.
        num_heads: heads of GPT-2; must divide the width.
        num_layers: layers of GPT-2.
        num_positions: rows of GPT-2's position table, at least ``num_history``; public weights have 1024.
        dropout: share dropped in training, after the embedding and in GPT-2.
        bidirectional: GPT-2 without its causal mask.
        delay_layout: "paired", the two channels of the delay branch are real and imaginary parts. "released", that of
            the released code and its weights: all real parts, then all imaginary parts, read as if they were paired,
            so that the channels are even and odd entries of that list.
        freeze: of GPT-2 train norms and positions only, as published; meant for public weights, see
            :func:`~receivers.weights.safetensors.load_gpt2`, not for random ones.

    Call arguments, Returns, Raises: see :class:`~receivers.models.sequence_predictor.SequencePredictor`; besides,
    ConfigError for a history shorter than ``num_history`` or more than ``num_future`` steps.

    Source: Liu, Liu, Gao, Cheng, Yang, "LLM4CP: adapting large language models for channel prediction", JCIN 9(2),
        2024, and its released code. With subcarriers as steps the "delay" branch is one of Doppler.
    """

    def __init__(
        self,
        group: int = 48,
        num_history: int = 16,
        num_future: int = 4,
        patch: int = 4,
        width: int = 64,
        num_blocks: int = 4,
        d_model: int = 768,
        num_heads: int = 12,
        num_layers: int = 6,
        num_positions: int = 1024,
        dropout: float = 0.1,
        bidirectional: bool = False,
        delay_layout: str = "paired",
        freeze: bool = False,
        **kwargs: Any,
    ):
        config = arguments(locals())
        super().__init__(group, config, **kwargs)
        if patch < 1 or num_history < 1 or num_history % patch:
            raise ConfigError("num_history", num_history, f"a multiple of the patch {patch}")
        if num_positions < num_history:
            raise ConfigError("num_positions", num_positions, f"at least the {num_history} slots of the history")
        if min(num_future, width, num_blocks) < 1:
            raise ConfigError("num_future, width, num_blocks", (num_future, width, num_blocks), "at least 1")
        if d_model < 2 or d_model % 2:
            raise ConfigError("d_model", d_model, "an even number")
        if delay_layout not in ("paired", "released"):
            raise ConfigError("delay_layout", delay_layout, "paired, released")
        self.num_history, self.num_future, self.patch, self.d_model = num_history, num_future, patch, d_model
        self.body = Gpt2Body(d_model, num_layers, num_heads, num_positions, dropout, bidirectional, name="gpt2")
        self.to_delay = delay_matrix(group, delay_layout)
        self.patches = [layers.Dense(patch, name=f"patch-{name}") for name in ("frequency", "delay")]
        shape = (num_history, group, 2)
        self.branches = [_branch(shape, width, num_blocks, name) for name in ("frequency", "delay")]
        self.embed = layers.Conv1D(d_model, 3, use_bias=False, data_format="channels_last", name="embed")
        self.drop = layers.Dropout(dropout)
        self.mix = layers.Dense(num_history, name="mix")
        self.head = layers.Dense(2 * group, name="head")
        self.steps = layers.Dense(num_future, name="steps")
        for layer in self.patches:
            layer.build((None, None, patch))
        self.embed.build((None, None, 2 * group))
        for layer, features in ((self.mix, num_history), (self.head, d_model), (self.steps, num_history)):
            layer.build((None, None, features))
        if freeze:
            self.body.freeze()
        self.built = True

    def check(self, shape: Shape, num_future: int) -> None:
        """Raise the error that a call with a history of this shape would raise."""
        super().check(shape, num_future)
        if shape[1] < self.num_history:
            raise ConfigError("history", tuple(shape), f"{self.num_history} steps or more")
        if num_future > self.num_future:
            raise ConfigError("num_future", num_future, f"at most {self.num_future}, for which the network was made")

    def call(self, history: Tensor, num_future: int, training: bool = False) -> Tensor:
        """Branches, GPT-2, heads."""
        x = history[:, -self.num_history :]
        y = 0.0
        inputs = (x, ops.matmul(x, ops.convert_to_tensor(self.to_delay)))
        for part, patch, branch in zip(inputs, self.patches, self.branches, strict=True):
            part = _on_slots(patch, ops.reshape(part, (-1, self.patch, 2 * self.group)))
            y = y + branch(ops.reshape(part, (-1, self.num_history, self.group, 2)), training=training)
        y = ops.reshape(y, (-1, self.num_history, 2 * self.group))
        y = self.embed(ops.concatenate([y[:, -1:], y, y[:, :1]], axis=1)) + ops.convert_to_tensor(self._position())
        y = _on_slots(self.mix, self.drop(y, training=training))
        y = self.head(self.body(y, training=training))
        return _on_slots(self.steps, y)[:, :num_future]

    def _position(self) -> NDArray[np.float32]:
        """Sines and cosines in turn, ``[slot, d_model]``."""
        code = axis_code(np.arange(self.num_history), self.d_model).reshape(self.num_history, 2, -1)
        return code.swapaxes(1, 2).reshape(self.num_history, -1).astype(np.float32)


def delay_matrix(size: int, layout: str = "paired") -> NDArray[np.float32]:
    r"""Inverse DFT :math:`x_n = \frac1K \sum_k X_k e^{2\pi j k n / K}` as a real matrix M: ``x = X @ M``.

    Args:
        size: K.
        layout: of x. "paired": real and imaginary part in turn, as X is. "released": all real parts, then all imaginary
            parts.

    Returns:
        float32 ``[2 * size, 2 * size]``.
    """
    angle = 2 * np.pi * (np.outer(np.arange(size), np.arange(size)) % size) / size
    # [k, part of X, n, part of x]
    matrix = np.empty((size, 2, size, 2))
    matrix[:, 0, :, 0] = matrix[:, 1, :, 1] = np.cos(angle) / size
    matrix[:, 0, :, 1], matrix[:, 1, :, 0] = np.sin(angle) / size, -np.sin(angle) / size
    if layout == "released":
        matrix = matrix.swapaxes(2, 3)
    return matrix.reshape(2 * size, 2 * size).astype(np.float32)


def _on_slots(layer: keras.layers.Layer, x: Tensor) -> Tensor:
    """A dense layer along axis 1 of ``[batch, slot, feature]``."""
    return ops.swapaxes(layer(ops.swapaxes(x, 1, 2)), 1, 2)


def _branch(shape: tuple[int, int, int], width: int, num_blocks: int, name: str) -> keras.Model:
    """Convolutions of one branch, ``[batch, slot, entry, 2]`` to the same shape."""

    def conv(channels: int) -> layers.Layer:
        return layers.Conv2D(channels, 3, padding="same", data_format="channels_last")

    x = keras.Input(shape)
    y = conv(width)(x)
    for _ in range(num_blocks):
        z = conv(width)(ops.relu(conv(width)(y)))
        down, up = (layers.Dense(width, use_bias=False) for _ in range(2))
        pooled = (ops.mean(z, axis=(1, 2), keepdims=True), ops.max(z, axis=(1, 2), keepdims=True))
        mean, peak = (up(ops.relu(down(p))) for p in pooled)
        y = y + z * ops.sigmoid(mean + peak)
    return keras.Model(x, conv(2)(y), name=f"branch-{name}")
