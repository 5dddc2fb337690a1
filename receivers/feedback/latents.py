"""Latents to bits and back: quantiser and entropy coder of a trained model, with the tables that both ends hold."""

from __future__ import annotations

import numpy as np

from receivers.quantization.scale import scale_index, scale_of
from receivers.weights.folder import Table, TrainedModel
from simulator.core import bitfield, registry
from simulator.core.errors import ConfigError
from simulator.core.interfaces import EntropyCoder, Quantizer

PRIORS = ("latent", "pooled", "learned")


class LatentCodec:
    """Quantiser and coder of the latents of ``count`` images per report.

    Args:
        trained: weights with tables.
        quantizer: quantiser by name; None: that of the training.
        bits: bits of one index; None: those of the training.
        coder: entropy coder by name.
        prior: source of the coder's tables: "latent", the histogram of every latent over training samples;
            "pooled", one for all; "learned", the learned density integrated over the cells.
        levels: "shipped" reads a cell as its table says, "nominal" as the quantiser has it.
        count: images of a report.
    """

    def __init__(
        self,
        trained: TrainedModel,
        quantizer: str | None,
        bits: int | None,
        coder: str,
        prior: str,
        levels: str,
        count: int,
    ):
        codec = trained.codec
        if codec is None:
            allowed = "weights with a codec (a network of bits is for variable-bit)"
            raise ConfigError("feedback.weights", trained.name, allowed)
        name, bits = quantizer or codec.quantizer, bits or codec.bits
        self.key = f"{name}-b{bits}"
        table: Table | None = trained.tables.get(self.key)
        self.quantizer: Quantizer = registry.build(
            "quantizers",
            name,
            bits=bits,
            **(codec.params if name == codec.quantizer else {}),
            **(table.params if table else {}),
        )
        self._count = count
        self._scale_bits = codec.scale_bits
        self.num_symbols = trained.input.num_latents // self.quantizer.dim
        size = 2**bits
        if table is not None:
            _check(trained, self.key, "counts", table.counts.shape, (self.num_symbols, size))
            levels_shape = (size, self.quantizer.dim) if self.quantizer.dim > 1 else (size,)
            _check(trained, self.key, "levels", table.levels.shape, levels_shape)
        counts = None
        if table is not None:
            counts = {"latent": table.counts, "pooled": table.counts.sum(axis=0), "learned": table.learned}[prior]
        if counts is None and coder != "fixed":
            known = [key for key, t in trained.tables.items() if prior != "learned" or t.learned is not None]
            raise ConfigError(
                "feedback.autoencoder.quantizer",
                f"{self.key} with coder {coder} and prior {prior}",
                f"coder fixed, or one with a shipped table: {', '.join(sorted(known)) or 'none for this prior'}",
            )
        parameters = {} if counts is None else registry.load("coders", coder).fit(counts)
        self.coder: EntropyCoder = registry.build("coders", coder, num_symbols=size, **parameters)
        index = np.arange(size)[:, None] if self.quantizer.dim > 1 else np.arange(size)
        self._levels = self.quantizer.dequantize(index)
        if levels == "shipped" and table is not None:
            self._levels = table.levels

    @property
    def max_bits(self) -> int:
        """Longest possible report."""
        return self._count * self._scale_bits + self.coder.max_bits(self._count * self.num_symbols)

    def encode(self, latent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bits uint8 ``[report, max]`` and their number ``[report]`` of latents ``[report * count, latent]``."""
        index = scale_index(np.abs(latent).max(axis=1), self._scale_bits)
        if self._scale_bits:
            latent = latent / scale_of(index, self._scale_bits)[:, None]
        cells = self.quantizer.quantize(latent).reshape(-1, self._count * self.num_symbols)
        coded, lengths = self.coder.encode(cells)
        head = bitfield.pack(index.reshape(-1, self._count), self._scale_bits)
        return np.concatenate([head, coded], axis=1), lengths + head.shape[1]

    def decode(self, bits: np.ndarray, num_bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Latents float32 ``[report * count, latent]`` and ``valid`` bool ``[report]`` of reports."""
        head = self._count * self._scale_bits
        symbols, valid = self.coder.decode(
            bits[:, head:], np.maximum(num_bits - head, 0), self._count * self.num_symbols
        )
        valid &= num_bits >= head
        latent = self._levels[symbols.reshape(-1, self.num_symbols)].reshape(len(symbols) * self._count, -1)
        if self._scale_bits:
            width = np.pad(bits, ((0, 0), (0, max(0, head - bits.shape[1]))))[:, :head]
            latent = latent * scale_of(bitfield.unpack(width, self._scale_bits), self._scale_bits).reshape(-1, 1)
        return latent, valid


def _check(trained: TrainedModel, key: str, part: str, received: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if received != expected:
        what = f"{expected[0]} levels" if part == "levels" else f"{expected}"
        raise ConfigError(f"{trained.folder}: tables.{key}.{part}", received, what)
