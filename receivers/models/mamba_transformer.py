"""Mamba-Transformer autoencoder: a light state-space encoder for the UE, a Transformer decoder for the gNB."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from receivers.models.attention import TransformerLayer, silence_layer
from receivers.models.autoencoder import Autoencoder, arguments
from receivers.models.blocks import unflatten
from receivers.models.mamba import Mamba2D
from simulator.core.backend import Shape, Tensor
from simulator.core.errors import ConfigError


@keras.saving.register_keras_serializable(package="csilink")
class StateNorm(layers.Layer):
    """Every map of every sample to mean 0 and variance 1 over its pixels, then a gain and an offset of its own.

    Call arguments:
        x: float32 ``[batch, height, width, channel]``.

    Returns:
        float32, same shape.
    """

    def build(self, shape: Shape) -> None:
        """Gain 1 and offset 0."""
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(shape[-1],), initializer="zeros", name="beta")

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Shape of the input; without this method Keras traces the whole call to learn it."""
        return shape

    def call(self, x: Tensor) -> Tensor:
        """Normalise."""
        mean = ops.mean(x, axis=(1, 2), keepdims=True)
        variance = ops.mean(ops.square(x - mean), axis=(1, 2), keepdims=True)
        return (x - mean) * ops.rsqrt(variance + 1e-5) * self.gamma + self.beta


@keras.saving.register_keras_serializable(package="csilink")
class ResidualMamba(layers.Layer):
    r""":math:`x + a\, f(\operatorname{SiLU}(\operatorname{StateNorm}(x)))` with the Mamba block f, a learned from 0.5.

    Args:
        state: see :class:`Mamba2D`.
        expand: see there.
        chunk: side of the squares of pixels that the block sees one by one, as in the released code; None, or an image
            whose sides it does not divide: the whole image.

    Call arguments:
        x: float32 ``[batch, height, width, channel]``.

    Returns:
        float32, same shape.
    """

    def __init__(self, state: int = 16, expand: int = 2, chunk: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.state, self.expand, self.chunk = state, expand, chunk
        self.norm = StateNorm(name="norm")
        self.mamba = Mamba2D(state, expand, name="mamba")

    def build(self, shape: Shape) -> None:
        """Branch and its gain."""
        self.norm.build(shape)
        self.mamba.build(shape)
        self.gain = self.add_weight(shape=(1,), initializer=keras.initializers.Constant(0.5), name="branch_factor")

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Shape of the input; without this method Keras traces the whole call to learn it."""
        return shape

    def call(self, x: Tensor) -> Tensor:
        """Add the branch."""
        return x + self.gain * self._chunked(ops.silu(self.norm(x)))

    def _chunked(self, x: Tensor) -> Tensor:
        """The block on every square by itself."""
        height, width, maps = x.shape[1:]
        side = self.chunk
        if not side or height % side or width % side:
            return self.mamba(x)
        rows, columns = height // side, width // side
        x = ops.transpose(ops.reshape(x, (-1, rows, side, columns, side, maps)), (0, 1, 3, 2, 4, 5))
        y = ops.reshape(self.mamba(ops.reshape(x, (-1, side, side, maps))), (-1, rows, columns, side, side, maps))
        return ops.reshape(ops.transpose(y, (0, 1, 3, 2, 4, 5)), (-1, height, width, maps))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "state": self.state, "expand": self.expand, "chunk": self.chunk}


@keras.saving.register_keras_serializable(package="csilink")
class MambaTransformer(Autoencoder):
    """Mamba-Transformer autoencoder of RP-MPQ.

    Encoder: Conv 3x3 stride 2 (``maps``) + BN + SiLU, ``num_blocks`` residual Mamba blocks with four scan directions,
    Conv 1x1 to 8 maps, which are put in the places of 2 x 2 pixels of two components, Dense(``num_latents``). Decoder:
    Dense, ``num_layers`` TransNet decoder layers with weights of their own on tokens of ``dim`` numbers.

    Args:
        height: rows of the image, even.
        width: columns of the image, even.
        num_latents: M, real entries of the codeword.
        maps: channels of the encoder.
        num_blocks: residual Mamba blocks.
        state: states of every channel; the cost of the scans, not the published cost, grows with them.
        expand: inner channels of a Mamba block over ``maps``.
        dim: numbers of a decoder token.
        num_heads: heads of the decoder's attention.
        hidden: width of its feed-forward networks.
        num_layers: decoder layers.
        norm: of the decoder layers, "post" (published) or "pre", which keeps the power of tokens of zero-mean images.
        dropout: of the decoder in training (published 0.1).
        attention_axis: "token", or "batch" as in the released code (see :class:`TransNet`).
        cross_attention: of the decoder, to "memory", or to "target" as in the released code, which takes keys and
            values from the queries' tokens.
        chunk: see :class:`ResidualMamba`; None (text), or 8 as in the released code.

    Source: Park, Choi, "Reliability-preserving mixed-precision quantization scheduling for asymmetric CSI feedback
    autoencoders", Sec. III-E; layers from the released code.
    """

    def __init__(
        self,
        height: int = 32,
        width: int = 32,
        num_latents: int = 512,
        maps: int = 32,
        num_blocks: int = 2,
        state: int = 16,
        expand: int = 2,
        dim: int = 64,
        num_heads: int = 2,
        hidden: int = 2048,
        num_layers: int = 2,
        norm: str = "post",
        dropout: float = 0.0,
        attention_axis: str = "token",
        cross_attention: str = "memory",
        chunk: int | None = None,
        **kwargs: Any,
    ):
        config = arguments(locals())
        size = 2 * height * width
        if height % 2 or width % 2:
            raise ValueError(f"height {height} and width {width} must be even")
        if size % dim:
            raise ValueError(f"{size} numbers of the image do not fill tokens of dim {dim}")
        if cross_attention not in ("memory", "target"):
            raise ConfigError("cross_attention", cross_attention, "memory, target")
        if chunk is not None and chunk < 1:
            raise ConfigError("chunk", chunk, "None, or at least 1")

        image = keras.Input((height, width, 2), name="image")
        x = layers.ZeroPadding2D(1, name="stem-pad")(image)  # torch's padding, the same on both sides
        x = layers.Conv2D(maps, 3, strides=2, use_bias=False, name="stem")(x)
        x = layers.Activation("silu")(layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="stem-norm")(x))
        for index in range(num_blocks):
            x = ResidualMamba(state, expand, chunk, name=f"mamba{index}")(x)
        x = layers.Conv2D(8, 1, use_bias=False, name="project")(x)
        x = layers.Permute((5, 1, 3, 2, 4))(layers.Reshape((height // 2, width // 2, 2, 2, 2))(x))
        codeword = layers.Dense(num_latents, name="codeword")(layers.Flatten()(x))

        latent = keras.Input((num_latents,), name="latent")
        y = layers.Reshape((size // dim, dim))(layers.Dense(size, name="expand")(latent))
        memory = y if cross_attention == "memory" else None
        for index in range(num_layers):
            options = {"cross": True, "norm": norm, "axis": attention_axis, "dropout": dropout}
            y = TransformerLayer(num_heads, hidden, name=f"decoder-layer{index}", **options)(y, memory)  # no memory: y
        y = unflatten(layers.Flatten()(y), height, width)
        super().__init__(
            keras.Model(image, codeword, name="encoder"), keras.Model(latent, y, name="decoder"), config, **kwargs
        )

    def pass_images(self) -> tuple[tuple[int, ...], float]:
        """Make identities of all but the two dense layers, so that training can start at a linear code.

        The stem carries every pixel twice, with both signs: SiLU(x) - SiLU(-x) = x. Branches start at zero.

        Returns:
            order of the image axes ``(height, width, component)`` = (1, 2, 3) in the dense layers, and the gain of the
            image before the encoder's.
        """
        config = self.get_config()
        if config["norm"] != "pre" or config["maps"] < 16:
            raise ValueError("norm: pre and maps >= 16")
        stem, project = self.find("stem"), self.find("project")
        taps, back = np.array(stem.kernel), np.zeros(project.kernel.shape, np.float32)
        taps[..., :16] = 0.0
        for index in range(8):
            row, column, component = np.unravel_index(index, (2, 2, 2))
            for sign in (1.0, -1.0):
                channel = 2 * index + (sign < 0)
                taps[1 + row, 1 + column, component, channel] = sign
                back[0, 0, channel, index] = sign
        stem.kernel.assign(taps)
        project.kernel.assign(back)
        norm = self.find("stem-norm")
        gamma, variance = np.array(norm.gamma), np.array(norm.moving_variance)
        gamma[:16], variance[:16] = 0.5**0.5, 0.5  # of one component of a unit-power image
        norm.gamma.assign(gamma)
        norm.moving_variance.assign(variance)
        for index in range(config["num_blocks"]):
            layer = self.find(f"mamba{index}")
            layer.mamba.out_proj.kernel.assign(np.zeros(layer.mamba.out_proj.kernel.shape))
        for index in range(config["num_layers"]):
            silence_layer(self.find(f"decoder-layer{index}"))
        return (3, 1, 2), 1.0
