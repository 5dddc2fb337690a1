"""WiFo: masked autoencoder of channels over slots, subcarriers and antennas, for prediction in time and frequency."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
from keras import layers, ops

from receivers.models.autoencoder import arguments
from receivers.models.masking import gather_tokens, leading_tokens, scatter_tokens
from receivers.models.patches import Triple, from_patches, to_patches, token_grid, valid_entries
from receivers.models.prenorm_block import PreNormBlock
from receivers.models.spatiotemporal_position import split_dim, stf_position
from simulator.core.backend import Shape, Tensor
from simulator.core.errors import ConfigError

# Published widths.
SIZES = {"tiny": 64, "little": 128, "small": 256, "base": 512}


class Trace(NamedTuple):
    """Intermediate results of a forward pass, float32.

    Args:
        prediction: ``[batch, token, entry]``, of all tokens, hidden or not.
        latent: ``[batch, visible, dim]``, output of the encoder.
        embedding: ``[batch, token, dim]``, of all tokens, before positions and masking.
        encoder_maps: attention of every layer of the encoder, ``[batch, head, visible, visible]``.
        decoder_maps: the same of the decoder, ``[batch, head, token, token]``.
        encoder_state: ``[batch, visible, dim]``, after the last attention of the encoder, before its last network.
        decoder_state: ``[batch, token, dim]``, the same of the decoder.
    """

    prediction: Any
    latent: Any
    embedding: Any
    encoder_maps: list[Any]
    decoder_maps: list[Any]
    encoder_state: Any
    decoder_state: Any


@keras.saving.register_keras_serializable(package="csilink")
class WiFo(keras.Model):
    """Tokens of a channel, some of them hidden; the encoder sees the others, the decoder fills in.

    Tokeniser (dense on a patch), fixed positions, ``depth`` pre-norm layers on the visible tokens, norm, dense; hidden
    tokens are one learned vector; positions again, ``decoder_depth`` layers on all tokens, norm, dense to a patch.

    Args:
        size: published width "tiny" (64), "little" (128), "small" (256) or "base" (512), or any even number.
        depth: layers of the encoder.
        decoder_depth: layers of the decoder.
        num_heads: attention heads; must divide the width.
        mlp_ratio: width of the feed-forward networks over that of a token.
        patch: slots, subcarriers and antennas of a token.
        pad: pad sizes that the patch does not divide with zeros; without it they are errors. Encoder and
            decoder see the zeros, a channel is cropped, and :meth:`valid` marks the entries that losses leave out.
        encoder_position: "token", every visible token has its own position. "released", that of the released code and
            its weights: with tokens hidden along one axis, the index along that axis counts as the number of the token,
            so that tokens with the same index share a position (the decoder is not concerned).

    Call arguments:
        x: channels float32 ``[batch, slot, subcarrier, antenna, 2]`` (real, imaginary); hidden entries have no effect.
        visible: tokens that the encoder sees, all different, int ``[batch, visible]``, or ``[visible]`` for all samples
            alike, see ``receivers/models/masking.py``.
        axis: along which tokens are hidden: 0 slots, 1 subcarriers, 2 antennas, None for random masks. Only
            ``encoder_position="released"`` reads it.

    Returns:
        predicted patches float32 ``[batch, token, entry]``, see :func:`~receivers.models.patches.to_patches`.

    Raises:
        ConfigError: a parameter or shape that does not fit.

    Source: Liu, Gao, Liu, Cheng, Yang, "WiFo: wireless foundation model for channel prediction", Sci. China Inf. Sci.
        68(6), 2025, and its released code. Its frequency masks hide along the last axis, which therefore has the
        subcarriers: released weights want the axes slot, antenna, subcarrier.
    """

    masked = True  # learns from masks

    def __init__(
        self,
        size: str | int = "small",
        depth: int = 6,
        decoder_depth: int = 4,
        num_heads: int = 8,
        mlp_ratio: int = 2,
        patch: Triple = (4, 4, 4),
        pad: bool = False,
        encoder_position: str = "token",
        **kwargs: Any,
    ):
        config = arguments(locals())
        super().__init__(**kwargs)
        dim = SIZES.get(size) if isinstance(size, str) else size
        if dim is None or dim < 1:
            raise ConfigError("size", size, f"{', '.join(SIZES)}, or a width")
        if num_heads < 1 or dim % num_heads:
            raise ConfigError("num_heads", num_heads, f"a divisor of the width {dim}")
        if min(depth, decoder_depth, mlp_ratio) < 1:
            raise ConfigError("depth, decoder_depth, mlp_ratio", (depth, decoder_depth, mlp_ratio), "at least 1")
        if len(patch) != 3 or min(patch) < 1:
            raise ConfigError("patch", patch, "three numbers of at least 1")
        if encoder_position not in ("token", "released"):
            raise ConfigError("encoder_position", encoder_position, "token, released")
        split_dim(dim)
        self.encoder_position = encoder_position
        self._config, self.dim, self.num_heads, self.patch, self.pad = config, dim, num_heads, tuple(patch), pad
        entries = 2 * patch[0] * patch[1] * patch[2]
        self.embed = layers.Dense(dim, name="embed")
        self.encoder = [PreNormBlock(num_heads, mlp_ratio * dim, name=f"encoder{i}") for i in range(depth)]
        self.norm = layers.LayerNormalization(epsilon=1e-6, name="norm")
        self.bridge = layers.Dense(dim, name="bridge")
        self.decoder = [PreNormBlock(num_heads, mlp_ratio * dim, name=f"decoder{i}") for i in range(decoder_depth)]
        self.decoder_norm = layers.LayerNormalization(epsilon=1e-6, name="decoder-norm")
        self.head = layers.Dense(entries, name="head")
        self.embed.build((None, None, entries))
        for layer in (*self.encoder, self.norm, self.bridge, *self.decoder, self.decoder_norm, self.head):
            layer.build((None, None, dim))
        self.mask_token = self.add_weight(
            shape=(dim,), initializer=keras.initializers.RandomNormal(0, 0.02), name="mask_token"
        )
        self.built = True

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Validate here: Keras would wrap a ConfigError raised in ``call``."""
        self.grid(x.shape)
        return super().__call__(x, *args, **kwargs)

    def call(self, x: Tensor, visible: Tensor, axis: int | None = None, training: bool = False) -> Tensor:
        """Predict all tokens."""
        return self._forward(x, visible, axis, keep=False).prediction

    def trace(self, x: Tensor, visible: Tensor, axis: int | None = None) -> Trace:
        """The same with all intermediate results, for distillation."""
        return self._forward(ops.convert_to_tensor(x), ops.convert_to_tensor(visible), axis, keep=True)

    @property
    def num_history(self) -> int:
        """Slots that a history must have: one token."""
        return self.patch[0]

    def grid(self, shape: Shape) -> Triple:
        """Tokens per axis of channels of this shape, ``[batch, slot, subcarrier, antenna, 2]``."""
        return token_grid(shape, self.patch, self.pad)

    def patches(self, x: Tensor) -> Tensor:
        """Channels as tokens float32 ``[batch, token, entry]``, the form that the network predicts."""
        self.grid(x.shape)
        return to_patches(x, self.patch)

    def channels(self, tokens: Tensor, shape: Shape) -> Tensor:
        """Tokens ``[batch, token, entry]`` as channels of ``shape``, without padding."""
        return from_patches(tokens, shape[1:4], self.patch)

    def valid(self, shape: Shape) -> Tensor:
        """Float32 ``[token, entry]``, 0 for entries that are padding of channels of ``shape``."""
        return valid_entries(shape[1:4], self.patch)

    def forecast(self, history: Tensor, count: int, axis: int = 0) -> Tensor:
        """Continuation along an axis: hides as many tokens after the history as ``count`` entries need.

        A history that does not fill its last token is padded with zeros at its start, so that its end is next to the
        future; whole tokens are predicted and cropped. The other axes follow the rule of the model.

        Args:
            history: float32 ``[batch, slot, subcarrier, antenna, 2]``.
            count: slots (subcarriers) to predict, at least 1.
            axis: 0 slots, 1 subcarriers.

        Returns:
            float32, the shape of ``history`` with ``count`` entries along the axis.

        Raises:
            ConfigError: a history of less than one token, or nothing to predict.
        """
        history = ops.convert_to_tensor(history)
        step = self.patch[axis]
        if count < 1:
            raise ConfigError("count", count, "at least 1")
        if len(history.shape) != 5 or history.shape[1 + axis] < step:
            rule = f"[batch, slot, subcarrier, antenna, 2], {step} or more along axis {1 + axis} (a token)"
            raise ConfigError("history", tuple(history.shape), rule)
        known, future = (-(-n // step) for n in (history.shape[1 + axis], count))
        pads = [(0, 0)] * 5
        pads[1 + axis] = (known * step - history.shape[1 + axis], future * step)
        x = ops.pad(history, pads)
        tokens = self(x, leading_tokens(self.grid(x.shape), axis, future), axis=axis)
        cut = [slice(None)] * 5
        cut[1 + axis] = slice(known * step, known * step + count)
        return self.channels(tokens, x.shape)[tuple(cut)]

    def _forward(self, x: Tensor, visible: Tensor, axis: int | None, keep: bool) -> Trace:
        """One pass; attention maps stay in memory only with ``keep``."""
        grid = self.grid(x.shape)
        total = grid[0] * grid[1] * grid[2]
        if len(visible.shape) == 1:
            visible = ops.broadcast_to(visible, (ops.shape(x)[0], visible.shape[0]))
        position = ops.convert_to_tensor(stf_position(grid, self.dim))
        embedding = self.embed(to_patches(x, self.patch))
        if self.encoder_position == "released" and axis is not None:
            place = visible // math.prod(grid[axis + 1 :]) % grid[axis]
            y = gather_tokens(embedding, visible) + ops.take(position, place, axis=0)
        else:
            y = gather_tokens(embedding + position, visible)
        y, encoder_state, encoder_maps = _stack(self.encoder, y, keep)
        latent = self.norm(y)
        y = scatter_tokens(self.bridge(latent), visible, total, ops.convert_to_tensor(self.mask_token)) + position
        y, decoder_state, decoder_maps = _stack(self.decoder, y, keep)
        prediction = self.head(self.decoder_norm(y))
        return Trace(prediction, latent, embedding, encoder_maps, decoder_maps, encoder_state, decoder_state)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return dict(self._config)


def _stack(blocks: Any, x: Tensor, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Layers one after the other: output, state after the last attention, attention maps."""
    maps, state = [], x
    for block in blocks:
        x, state, weights = block(x, maps=keep)
        maps += [weights] if keep else []
    return x, state, maps
