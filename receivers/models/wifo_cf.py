"""WiFo-CF: transformer of experts that compresses channels of any size to reports of any width."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import layers, ops

from receivers.models.attention import AXES
from receivers.models.autoencoder import arguments
from receivers.models.expert_layer import ExpertLayer
from receivers.models.patches import from_patches, to_patches
from receivers.models.token_codec import FACTOR, Compressor, Expander
from receivers.models.user_embedding import POSITIONS, WIDTH_CODES, user_embedding
from receivers.quantization.unit_interval import UnitQuantizer
from simulator.core.backend import Shape, Tensor
from simulator.core.errors import ConfigError

Pair = tuple[int, int]

# Constructor arguments of the published network, and of a student of half its depth and width.
SIZES: dict[str, dict[str, int]] = {
    "base": {"dim": 64, "depth": 2, "decoder_depth": 4},
    "tiny": {"dim": 32, "depth": 1, "decoder_depth": 2},
}


# Options of the released network that differ from our defaults.
RELEASED = {
    "attention": "batch",
    "expert_input": "branch",
    "level": "upper",
    "position": "column_first",
    "width_code": "interleaved",
}


class Trace(NamedTuple):
    """Intermediate results of a forward pass, float32; ``token`` are those of one image.

    Args:
        prediction: channels ``[batch, user, antenna, subcarrier, 2]``.
        codeword: ``[batch, user, latent]`` in (0, 1).
        quantised: the same at the levels of the quantiser, with the gradient of the identity.
        embedding: tokens of all images before positions, ``[batch * user, token, dim]``.
        encoder_state: after the last attention of the encoder, same shape.
        decoder_state: the same of the decoder, ``[batch, user * token, dim]``.
        encoder_maps: attention of every layer of the encoder, ``[batch * user, head, token, token]``.
        decoder_maps: self- and cross-attention of every layer of the decoder, ``[batch, head, user * token, user *
            token]``.
        encoder_balance: balance loss, mean over the layers of the encoder; a number.
        decoder_balance: the same of the decoder.
    """

    prediction: Any
    codeword: Any
    quantised: Any
    embedding: Any
    encoder_state: Any
    decoder_state: Any
    encoder_maps: list[Any]
    decoder_maps: list[Any]
    encoder_balance: Any
    decoder_balance: Any


@keras.saving.register_keras_serializable(package="csilink")
class WiFoCf(keras.Model):
    """One encoder for every UE, one decoder for all UEs together.

    UE: tokens of a patch, dense, :func:`~receivers.models.user_embedding.user_embedding`, ``depth`` layers with
    experts, norm, dense to ``patch_dim``, :class:`~receivers.models.token_codec.Compressor`: for L tokens a codeword of
    ``ceil(L / 8) * patch_dim / 8`` values in (0, 1), 1/32 of the reals of the channel in published sizes. Quantiser:
    :class:`~receivers.quantization.unit_interval.UnitQuantizer`, a width for each UE. gNB:
    :class:`~receivers.models.token_codec.Expander`, dense, user embedding, ``decoder_depth`` layers on the tokens of
    all UEs, with cross-attention to the decoder's own input, norm, dense to a patch.

    Args:
        dim: width of a token inside the transformers, a multiple of 8.
        depth: layers of the encoder.
        decoder_depth: layers of the decoder.
        num_heads: attention heads.
        patch_dim: features of a token outside the transformers, a multiple of 8; with the patch it fixes the length of
            the codeword.
        num_experts: routed experts of a layer.
        top_k: routed experts of a token.
        encoder_shared: experts of all tokens, in every layer of the encoder.
        decoder_shared: the same of the decoder.
        expert_dim: width of an expert; None: ``2 * dim``.
        conv_dim: channels of the convolutions.
        dropout: in training.
        patches: antennas and subcarriers of a token. The first is used; the others are tokenisers that the released
            network has and never runs, 3,224 of its parameters.
        attention: "token", or "batch": over the samples of a batch, as the released code does by mistake, see
            :class:`~receivers.models.attention.MultiHeadAttention`. A sample then depends on the others of its batch.
            "alone": "batch" in batches of one sample and one UE, however many there are.
        expert_input: input of the decoder's experts: "residual", or "branch" as in the released code by mistake, see
            :class:`~receivers.models.expert_layer.ExpertLayer`.
        law: of the quantiser, "mu_law" or "uniform".
        level: reconstruction level of a cell, "middle", or "upper" as released, see
            :class:`~receivers.quantization.unit_interval.UnitQuantizer`.
        position: index that has the first features of a position, "row_first" (antenna), or "column_first"
            (subcarrier) as released.
        width_code: "user", or "interleaved" as the released code, see
            :func:`~receivers.models.user_embedding.user_embedding`.
        pad: pad with zeros where the patch does not divide the sizes, or 8 the number of tokens; without it these are
            errors. The padding is cropped from the output.

    Call arguments:
        x: channels float32 ``[batch, user, antenna, subcarrier, 2]`` (real, imaginary).
        bits: widths of the UEs, int, ``[user]`` or ``[batch, user]``, 1..16 (not checked in tensors).

    Returns:
        channels float32, shape of ``x``, after the quantiser.

    Raises:
        ConfigError: a parameter or shape that does not fit.

    Source: WiFo-CF (arXiv:2508.04068) and its released code, which is ``RELEASED``.
    """

    def __init__(
        self,
        dim: int = 64,
        depth: int = 2,
        decoder_depth: int = 4,
        num_heads: int = 8,
        patch_dim: int = 64,
        num_experts: int = 31,
        top_k: int = 3,
        encoder_shared: int = 0,
        decoder_shared: int = 1,
        expert_dim: int | None = None,
        conv_dim: int = 64,
        dropout: float = 0.05,
        patches: Sequence[Pair] = ((4, 4), (4, 2), (2, 2)),
        attention: str = "token",
        expert_input: str = "residual",
        law: str = "mu_law",
        level: str = "middle",
        position: str = "row_first",
        width_code: str = "user",
        pad: bool = False,
        **kwargs: Any,
    ):
        config = arguments(locals())
        super().__init__(**kwargs)
        _check(**{name: config[name] for name in inspect.signature(_check).parameters})
        self._config = config
        self.dim, self.num_heads, self.patch_dim, self.attention, self.pad = dim, num_heads, patch_dim, attention, pad
        self.patch = (1, *patches[0])  # one slot
        self.quantizer = UnitQuantizer(law, level=level)
        experts = (num_experts, top_k)
        hidden = 2 * dim if expert_dim is None else expert_dim
        self.tokenisers = [layers.Dense(patch_dim, name=f"patch{i}") for i in range(len(patches))]
        self.embed, self.restore = layers.Dense(dim, name="embed"), layers.Dense(dim, name="restore")
        self.encoder = [
            ExpertLayer(
                num_heads, *experts, encoder_shared, hidden, axis=attention, dropout=dropout, name=f"encoder{i}"
            )
            for i in range(depth)
        ]
        self.norm, self.bridge = (
            layers.RMSNormalization(epsilon=1e-5, name="norm"),
            layers.Dense(patch_dim, name="bridge"),
        )
        self.compressor, self.expander = Compressor(conv_dim, name="compressor"), Expander(conv_dim, name="expander")
        options: dict[str, Any] = {"axis": attention, "expert_input": expert_input, "dropout": dropout}
        self.decoder = [
            ExpertLayer(num_heads, *experts, decoder_shared, hidden, cross=True, name=f"decoder{i}", **options)
            for i in range(decoder_depth)
        ]
        self.decoder_norm = layers.RMSNormalization(epsilon=1e-5, name="decoder-norm")
        self.heads = [layers.Dense(2 * a * b, name=f"head{i}") for i, (a, b) in enumerate(patches)]
        for layer, (a, b) in zip(self.tokenisers, patches, strict=True):
            layer.build((None, None, 2 * a * b))
        for layer in (self.embed, self.restore):
            layer.build((None, None, patch_dim))
        for layer in (*self.encoder, self.norm, self.bridge, *self.decoder, self.decoder_norm, *self.heads):
            layer.build((None, None, dim))
            layer.built = True
        for layer in (self.compressor, self.expander):
            layer.build()
            layer.built = True
        self.built = True

    def __call__(self, x: Tensor, bits: Tensor = 5, **kwargs: Any) -> Tensor:
        """Validate here: Keras would wrap a ConfigError raised in ``call``."""
        self.grid(x.shape)
        return super().__call__(x, bits=bits, **kwargs)

    def call(self, x: Tensor, bits: Tensor = 5, training: bool = False) -> Tensor:
        """Compress, quantise, restore."""
        return self.trace(x, bits, training=training, keep=False).prediction

    def grid(self, shape: Shape) -> Pair:
        """Tokens per axis of channels of this shape, ``[batch, user, antenna, subcarrier, 2]``."""
        if len(shape) != 5 or shape[-1] != 2 or not all(shape[1:4]):
            raise ConfigError("channels", tuple(shape), "[batch, user, antenna, subcarrier, 2], known but for batch")
        sizes, (_, *patch) = tuple(int(n) for n in shape[2:4]), self.patch
        a, b = (-(-n // p) for n, p in zip(sizes, patch, strict=True))
        if not self.pad and ((a * patch[0], b * patch[1]) != sizes or a * b % FACTOR):
            allowed = f"multiples of the patch {tuple(patch)}, {FACTOR} patches or a multiple; or pad=True (adds zeros)"
            raise ConfigError("channels", sizes, allowed)
        return a, b

    def num_latents(self, num_ant: int, num_subcarriers: int) -> int:
        """Values of the codeword of one image."""
        a, b = self.grid((None, 1, num_ant, num_subcarriers, 2))
        return -(-a * b // FACTOR) * (self.patch_dim // FACTOR)

    def widths(self, bits: Tensor, x: Tensor) -> Tensor:
        """``bits`` as int32 ``[batch, user]`` of ``x [batch, user, ...]``."""
        bits = ops.convert_to_tensor(bits, "int32")
        return ops.broadcast_to(bits, ops.shape(x)[:2])

    def _place(self, grid: Pair, widths: Any) -> Tensor:
        """Embedding of every token, ``[batch, user, token, dim]``."""
        return user_embedding(grid, widths, self.dim, self._config["position"], self._config["width_code"])

    def encode(self, x: Tensor, bits: Tensor, training: bool = False) -> Tensor:
        """Codewords float32 ``[batch, user, latent]`` in (0, 1) of channels, both arguments as in a call."""
        return self._encode(ops.convert_to_tensor(x), bits, training, keep=False)[0]

    def decode(self, codeword: Tensor, bits: Tensor, sizes: Pair, training: bool = False) -> Tensor:
        """Channels of received codewords ``[batch, user, latent]``; ``sizes`` are antennas and subcarriers."""
        return self._decode(ops.convert_to_tensor(codeword), bits, sizes, training, keep=False)[0]

    def trace(
        self,
        x: Tensor,
        bits: Tensor,
        uplink: Callable[[Any], Any] | None = None,
        training: bool = False,
        keep: bool = True,
    ) -> Trace:
        """Forward pass with all intermediate results.

        Args:
            x: as in a call.
            bits: as in a call.
            uplink: channel of the quantised codewords ``[batch, user, latent]``; None: error-free.
            training: dropout, and statistics of the batch.
            keep: with the attention maps.
        """
        x = ops.convert_to_tensor(x)
        codeword, embedding, encoder_state, encoder_maps, encoder_balance = self._encode(x, bits, training, keep)
        quantised = self.quantizer.soft(codeword, ops.expand_dims(self.widths(bits, x), -1))
        received = quantised if uplink is None else uplink(quantised)
        prediction, decoder_state, decoder_maps, decoder_balance = self._decode(
            received, bits, (x.shape[2], x.shape[3]), training, keep
        )
        return Trace(
            prediction,
            codeword,
            quantised,
            embedding,
            encoder_state,
            decoder_state,
            encoder_maps,
            decoder_maps,
            encoder_balance,
            decoder_balance,
        )

    def _encode(
        self, x: Tensor, bits: Tensor, training: bool, keep: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        grid, users = self.grid(x.shape), x.shape[1]
        tokens = grid[0] * grid[1]
        patches = to_patches(ops.reshape(x, (-1, 1, *x.shape[2:])), self.patch)
        embedding = self.embed(self.tokenisers[0](patches))
        place = self._place(grid, self.widths(bits, x))
        y = embedding + ops.reshape(place, (-1, tokens, self.dim))
        y, state, maps, balance = _stack(self.encoder, y, training, keep)
        z = self.compressor(self.bridge(self.norm(y)), training=training)
        return ops.reshape(z, (-1, users, z.shape[1] * z.shape[2])), embedding, state, maps, balance

    def _decode(
        self, codeword: Tensor, bits: Tensor, sizes: Pair, training: bool, keep: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        users = codeword.shape[1]
        grid = self.grid((None, users, *sizes, 2))
        tokens, columns = grid[0] * grid[1], self.patch_dim // FACTOR
        z = ops.reshape(codeword, (-1, codeword.shape[2] // columns, columns))
        y = self.restore(self.expander(z, training=training)[:, :tokens])
        place = self._place(grid, self.widths(bits, codeword))
        y = ops.reshape(y, (-1, users * tokens, self.dim)) + ops.reshape(place, (-1, users * tokens, self.dim))
        y, state, maps, balance = _stack(self.decoder, y, training, keep, memory=y)
        y = ops.reshape(self.heads[0](self.decoder_norm(y)), (-1, tokens, self.heads[0].units))
        x = from_patches(y, (1, *sizes), self.patch)
        return ops.reshape(x, (-1, users, *sizes, 2)), state, maps, balance

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return dict(self._config)


def _stack(
    blocks: Any, x: Tensor, training: bool, keep: bool, memory: Tensor = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Layers one after the other: output, state after the last attention, maps, mean balance loss."""
    maps, total, state = [], 0.0, x
    for block in blocks:
        x, balance, state, weights = block(x, memory, training=training, keep=keep)
        maps += weights
        total = total + balance
    return x, state, maps, total / len(blocks)


def _check(
    dim: int,
    patch_dim: int,
    num_heads: int,
    depth: int,
    decoder_depth: int,
    conv_dim: int,
    dropout: float,
    patches: Sequence[Pair],
    attention: str,
    expert_input: str,
    position: str,
    width_code: str,
) -> None:
    """ConfigError for an argument of the constructor that does not fit."""
    if dim < 8 or dim % 8:
        raise ConfigError("dim", dim, "a multiple of 8")
    if patch_dim < 8 or patch_dim % 8:
        raise ConfigError("patch_dim", patch_dim, "a multiple of 8")
    if num_heads < 1 or dim % num_heads:
        raise ConfigError("num_heads", num_heads, f"a divisor of the width {dim}")
    if min(depth, decoder_depth) < 1:
        raise ConfigError("depth, decoder_depth", (depth, decoder_depth), "at least 1")
    if conv_dim < 1:
        raise ConfigError("conv_dim", conv_dim, "at least 1")
    if not 0 <= dropout < 1:
        raise ConfigError("dropout", dropout, "a share of at least 0 and below 1")
    if not patches or any(len(p) != 2 or min(p) < 1 for p in patches):
        raise ConfigError("patches", patches, "one or more pairs of at least 1")
    if attention not in AXES:
        raise ConfigError("attention", attention, ", ".join(AXES))
    if expert_input not in ("residual", "branch"):
        raise ConfigError("expert_input", expert_input, "residual, branch")
    if position not in POSITIONS:
        raise ConfigError("position", position, ", ".join(POSITIONS))
    if width_code not in WIDTH_CODES:
        raise ConfigError("width_code", width_code, ", ".join(WIDTH_CODES))
